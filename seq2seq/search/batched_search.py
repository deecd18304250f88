"""From settings to a search: what `DecodeConfig` asks for, composed for one batch of sentences. Ids only, no text."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from seq2seq.config.decode import DecodeConfig, SearchName
from seq2seq.search.beam import beam_search
from seq2seq.search.constraints import DynamicBeamAllocation
from seq2seq.search.length_penalty import length_penalty
from seq2seq.search.logits_processors import BannedSequences, ForcedPrefix, MinLength, NoRepeatNgrams, RepetitionPenalty
from seq2seq.search.protocols import Hypothesis, LogitsProcessor, State, StepModel
from seq2seq.search.sampling import sample
from seq2seq.search.top_k import TopKSelector

NARROW_BEAM = 8  # up to this many hypotheses a sentence, `batch_tokens` alone limits a batch


@dataclass(frozen=True)
class SearchInput:
    """One sentence to search for, as ids without EOS: how its output must begin, and phrases that it must contain."""

    ids: list[int]
    prefix: list[int]
    phrases: list[list[int]]

    def max_length(self, decode: DecodeConfig) -> int:
        """Return the most tokens of the output, EOS included; prefix and phrases always have room."""
        limit = math.ceil(decode.max_length_ratio * len(self.ids)) + decode.max_length_extra
        return max(limit, len(self.prefix) + sum(map(len, self.phrases)) + 1)

    def min_length(self, decode: DecodeConfig) -> int:
        """Return the fewest tokens of the output, EOS included."""
        return math.ceil(decode.min_length_ratio * len(self.ids)) + decode.min_length_extra


def search(
    model: StepModel[State],
    sources: Sequence[SearchInput],
    decode: DecodeConfig,
    *,
    n_best: int = 1,
    banned_sequences: Sequence[Sequence[int]] = (),
    device: torch.device | str = "cpu",
) -> list[list[Hypothesis]]:
    """Find outputs for one batch; mode and precision of the networks are the caller's.

    Args:
        model: the network or networks, as a step function.
        sources: the batch.
        decode: the settings; those about text are the caller's.
        n_best: outputs for each sentence. Samples come in the order they were drawn, `decode.samples` of them for mbr.
        banned_sequences: sequences of ids that are never said.
        device: where the networks are.
    """
    device = torch.device(device)
    limits = torch.tensor([source.max_length(decode) for source in sources], device=device)
    state = model.start(
        [source.ids for source in sources],
        device,
        coverage=decode.coverage_penalty > 0,
        required={token for source in sources for token in itertools.chain(source.prefix, *source.phrases)},
    )
    processors = make_processors(sources, decode, banned_sequences, device)
    penalty = length_penalty(decode.length_normalization, decode.length_penalty)
    if decode.search is not SearchName.beam:
        return sample(
            model.step,
            state,
            limits,
            samples=n_best if decode.search is SearchName.sample else decode.samples,
            temperature=decode.temperature,
            top_k=decode.top_k,
            top_p=decode.top_p,
            seeds=[sentence_seed(source.ids, decode.seed) for source in sources],
            processors=processors,
            penalty=penalty,
        )
    selector: TopKSelector | None = None
    if any(source.phrases for source in sources):
        selector = DynamicBeamAllocation([source.phrases for source in sources], limits.tolist())
    return beam_search(
        model.step,
        state,
        limits,
        beam_size=decode.beam_size,
        n_best=n_best,
        penalty=penalty,
        processors=processors,
        bonus=(lambda state: decode.coverage_penalty * model.coverage_penalty(state))
        if decode.coverage_penalty
        else None,
        selector=selector,
    ).hypotheses


def make_processors(
    sources: Sequence[SearchInput],
    decode: DecodeConfig,
    banned_sequences: Sequence[Sequence[int]],
    device: torch.device,
) -> list[LogitsProcessor]:
    """Return the processors that the settings ask for, none where they ask for nothing."""
    processors: list[LogitsProcessor] = []
    shortest = torch.tensor([source.min_length(decode) for source in sources], device=device)
    if (shortest > 1).any():
        processors.append(MinLength(shortest))
    if decode.no_repeat_ngram:
        processors.append(NoRepeatNgrams(decode.no_repeat_ngram))
    if decode.repetition_penalty != 1:
        processors.append(RepetitionPenalty(decode.repetition_penalty))
    if banned_sequences:
        processors.append(BannedSequences([list(ids) for ids in banned_sequences]))
    if any(source.prefix for source in sources):
        processors.append(ForcedPrefix([source.prefix for source in sources]))
    return processors


def sentence_seed(ids: Sequence[int], seed: int) -> int:
    """Return what a sentence's samples are drawn with: the same wherever and beside whatever it stands."""
    digest = hashlib.sha256(repr((seed, list(ids))).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # torch takes 63 bits


def num_hypotheses(decode: DecodeConfig, n_best: int) -> int:
    """Return how many hypotheses of a sentence are pursued at once."""
    return {SearchName.beam: decode.beam_size, SearchName.sample: n_best, SearchName.mbr: decode.samples}[decode.search]


def batches(lengths: Sequence[int], budget_tokens: int, width: int = 1) -> Iterator[list[int]]:
    """Yield the indices of `lengths` in batches of rows × longest ≤ budget, longest first; a longer one goes alone.

    The budget shrinks in proportion where more than `NARROW_BEAM` hypotheses a sentence would need as much more memory.
    """
    budget_tokens = budget_tokens * NARROW_BEAM // max(width, NARROW_BEAM)
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > budget_tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
