"""Run the search that a `DecodeConfig` describes on one batch of sentences, and make batches. Ids only, no text."""

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

NARROW_BEAM = 8  # up to this many hypotheses per sentence, `batch_tokens` alone limits a batch

MAX_OUTPUT_TOKENS = 20_000
"""Upper bound of an output, whatever the settings and the source are: each step takes time."""


@dataclass(frozen=True)
class SearchInput:
    """One source sentence (ids without EOS), the prefix of its output, and phrases that its output must contain."""

    ids: list[int]
    prefix: list[int]
    phrases: list[list[int]]

    def max_length(self, decode: DecodeConfig) -> int:
        """Return the maximum output length in tokens, EOS included; it always has room for prefix and phrases."""
        limit = math.ceil(decode.max_length_ratio * len(self.ids)) + decode.max_length_extra
        return max(min(limit, MAX_OUTPUT_TOKENS), len(self.prefix) + sum(map(len, self.phrases)) + 1)

    def min_length(self, decode: DecodeConfig) -> int:
        """Return the minimum output length in tokens, EOS included."""
        limit = math.ceil(decode.min_length_ratio * len(self.ids)) + decode.min_length_extra
        return min(limit, MAX_OUTPUT_TOKENS)


def search(
    model: StepModel[State],
    inputs: Sequence[SearchInput],
    decode: DecodeConfig,
    *,
    n_best: int = 1,
    banned_sequences: Sequence[Sequence[int]] = (),
    device: torch.device | str = "cpu",
) -> list[list[Hypothesis]]:
    """Return the outputs of one batch; the caller sets evaluation mode and precision.

    Args:
        model: the model as a step function.
        inputs: the batch.
        decode: the settings; those about text (`never_emit`, `mbr_utility`) are left to the caller.
        n_best: outputs per sentence. Samples are returned in the order drawn; mbr returns all `decode.samples`.
        banned_sequences: sequences of ids that no output contains.
        device: where the model is.
    """
    device = torch.device(device)
    limits = torch.tensor([sentence.max_length(decode) for sentence in inputs], device=device)
    state = model.start(
        [sentence.ids for sentence in inputs],
        device,
        coverage=decode.coverage_penalty > 0,
        required=[itertools.chain(sentence.prefix, *sentence.phrases) for sentence in inputs],
    )
    processors = make_processors(inputs, decode, banned_sequences, device)
    penalty = length_penalty(decode.length_normalization, decode.length_penalty)
    if decode.search is not SearchName.beam:
        return sample(
            model.step,
            state,
            limits,
            samples=num_hypotheses(decode, n_best),
            temperature=decode.temperature,
            top_k=decode.top_k,
            top_p=decode.top_p,
            seeds=[sentence_seed(sentence.ids, decode.seed) for sentence in inputs],
            processors=processors,
            penalty=penalty,
        )
    selector: TopKSelector | None = None
    if any(sentence.phrases for sentence in inputs):
        selector = DynamicBeamAllocation([sentence.phrases for sentence in inputs], limits.tolist())
    return beam_search(
        model.step,
        state,
        limits,
        beam_size=decode.beam_size,
        n_best=n_best,
        penalty=penalty,
        processors=processors,
        final_term=(lambda state: decode.coverage_penalty * model.coverage_penalty(state))
        if decode.coverage_penalty
        else None,
        selector=selector,
    ).hypotheses


def make_processors(
    inputs: Sequence[SearchInput],
    decode: DecodeConfig,
    banned_sequences: Sequence[Sequence[int]],
    device: torch.device,
) -> list[LogitsProcessor]:
    """Return the logits processors that the settings switch on."""
    processors: list[LogitsProcessor] = []
    min_lengths = torch.tensor([sentence.min_length(decode) for sentence in inputs], device=device)
    if (min_lengths > 1).any():
        processors.append(MinLength(min_lengths))
    if decode.no_repeat_ngram:
        processors.append(NoRepeatNgrams(decode.no_repeat_ngram))
    if decode.repetition_penalty != 1:
        processors.append(RepetitionPenalty(decode.repetition_penalty))
    if banned_sequences:
        processors.append(BannedSequences(banned_sequences))
    if any(sentence.prefix for sentence in inputs):
        processors.append(ForcedPrefix([sentence.prefix for sentence in inputs]))
    return processors


def sentence_seed(ids: Sequence[int], seed: int) -> int:
    """Return the seed of a sentence's samples, which depends on the sentence and `seed` but not on its batch."""
    digest = hashlib.sha256(repr((seed, list(ids))).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # torch takes 63 bits


def num_hypotheses(decode: DecodeConfig, n_best: int) -> int:
    """Return how many hypotheses per sentence the search keeps at once."""
    return {SearchName.beam: decode.beam_size, SearchName.sample: n_best, SearchName.mbr: decode.samples}[decode.search]


def batches(lengths: Sequence[int], budget_tokens: int, hypotheses: int = 1) -> Iterator[list[int]]:
    """Yield indices of `lengths` in batches of rows × longest ≤ budget, longest first; a longer one is a batch alone.

    With more than `NARROW_BEAM` hypotheses per sentence the budget shrinks in proportion, as memory grows with them.
    """
    budget_tokens = budget_tokens * NARROW_BEAM // max(hypotheses, NARROW_BEAM)
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > budget_tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
