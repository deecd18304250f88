"""Text to text: load a model once, translate any number of lines."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from seq2seq import runtime
from seq2seq.batch import EOS_ID, pad
from seq2seq.config import DecodeConfig, PrecisionName, check_ranges
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.decoding.beam_search import Hypothesis, beam_search
from seq2seq.decoding.text import one_line, split_long, valid_unicode
from seq2seq.errors import ConfigError
from seq2seq.model.attention import AttentionMemory
from seq2seq.model.decoder import DecoderState
from seq2seq.model.network import Seq2Seq
from seq2seq.model_file import load_model

LONGEST_PART = 1000
"""Source pieces translated as one; a longer line is cut into parts (time and memory grow with the square)."""

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Translation:
    """One output line, its score (what the search ranks by) and log p(output | source)."""

    text: str
    score: float
    log_prob: float


class Translator:
    """Translates lines with one network; holds no state between calls.

    The network may be in training: it is put in evaluation mode for each call and back afterwards.
    """

    def __init__(
        self,
        network: Seq2Seq,
        tokenizer: Tokenizer,
        decode: DecodeConfig | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.network = network
        self.tokenizer = tokenizer
        self.decode = decode or DecodeConfig()
        self.device = torch.device(device)
        self.dtype = dtype

    @classmethod
    def load(
        cls, path: str | Path, device: str = "auto", precision: PrecisionName | str = PrecisionName.auto
    ) -> Translator:
        """Load a model file, or the best model of a run folder; its decode settings become the defaults.

        Raises:
            ModelFileError: no model there, or a damaged one.
            ConfigError: unknown device or precision, or a device this machine has not.
        """
        if precision not in list(PrecisionName) and precision not in PrecisionName.__members__:
            raise ConfigError(f"precision {precision!r} is unknown: use {', '.join(PrecisionName.__members__)}")
        place = runtime.resolve_device(device)
        dtype = runtime.resolve_precision(PrecisionName(precision), place)
        model = load_model(Path(path), place)
        return cls(model.network, model.tokenizer, model.config.decode, place, dtype)

    def translate(self, lines: Sequence[str], **overrides: Any) -> list[str]:
        """Translate `lines` in order, one output per input; a blank line gives an empty one.

        Args:
            lines: text, one sentence or more each.
            **overrides: keys of `DecodeConfig` (`beam_size=1`, `length_penalty=0.6`) that differ from the model's.

        Raises:
            ConfigError: an override out of range.
        """
        return [best.text for best, *_ in self.translate_n_best(lines, **overrides)]

    def translate_n_best(self, lines: Sequence[str], n_best: int = 1, **overrides: Any) -> list[list[Translation]]:
        """Translate `lines` and return for each up to `n_best` outputs, best first and never none.

        They differ in their pieces; two ways to cut one text into pieces are two outputs.
        A line that had to be cut gets its parts' outputs of equal rank joined, with the sums of their scores.

        Raises:
            ConfigError: an override out of range, or `n_best` above the beam size.
        """
        if isinstance(lines, str):
            raise TypeError("lines must be a sequence of lines, not one string")
        decode = override(self.decode, overrides)
        if not 1 <= n_best <= decode.beam_size:
            raise ConfigError(f"n_best={n_best} is out of range: 1 ≤ n_best ≤ beam_size={decode.beam_size}")
        parts = self._encode(lines)
        flat = [ids for line_parts in parts for ids in line_parts]
        found = iter(self._search(flat, n_best, decode))
        return [self._join([next(found) for _ in line_parts]) for line_parts in parts]

    def _encode(self, lines: Sequence[str]) -> list[list[list[int]]]:
        """Return every line as the ids of its parts: none if it is blank, one unless it is very long."""
        texts = ["" if line.isspace() else valid_unicode(line) for line in lines]
        parts = [[ids] if ids else [] for ids in self.tokenizer.encode_src(texts)]
        for i, line_parts in enumerate(parts):
            if line_parts and len(line_parts[0]) > LONGEST_PART:
                pieces = len(line_parts[0])
                cut = split_long(texts[i], lambda text: self.tokenizer.encode_src([text])[0], LONGEST_PART)
                parts[i] = [ids for ids in cut if ids]
                log.warning("a line of %d pieces is translated in %d parts", pieces, len(parts[i]))
        return parts

    def _search(self, sources: list[list[int]], n_best: int, decode: DecodeConfig) -> list[list[Translation]]:
        """Search in batches of similar length and return the outputs in the order of `sources`."""
        found: list[list[Hypothesis]] = [[] for _ in sources]
        with evaluating(self.network), torch.inference_mode(), runtime.autocast(self.device, self.dtype):
            for batch in batches([len(ids) + 1 for ids in sources], decode.batch_tokens):
                hypotheses = self.search_batch([sources[i] for i in batch], n_best, decode)
                for i, row in zip(batch, hypotheses, strict=True):
                    found[i] = row
        texts = iter(self.tokenizer.decode([one.tokens for row in found for one in row]))
        return [[Translation(one_line(next(texts)), one.score, one.log_prob) for one in row] for row in found]

    def search_batch(self, sources: list[list[int]], n_best: int, decode: DecodeConfig) -> list[list[Hypothesis]]:
        """Search one batch of source ids (without EOS); the mode and precision of the network are the caller's."""
        src_ids, src_lengths = pad([[*ids, EOS_ID] for ids in sources])
        limits = [math.ceil(decode.max_length_ratio * len(ids)) + decode.max_length_extra for ids in sources]
        memory, state = self.network.encode(src_ids.to(self.device), src_lengths.to(self.device))
        return beam_search(
            self._step,
            _ModelState(state, memory),
            torch.tensor(limits, device=self.device),
            beam_size=decode.beam_size,
            n_best=n_best,
            length_penalty=decode.length_penalty,
        ).hypotheses

    def _step(self, last: Tensor, state: _ModelState) -> tuple[Tensor, _ModelState]:
        logits, decoder, _ = self.network.step(last, state.decoder, state.memory)
        exact = torch.promote_types(logits.dtype, torch.float32)
        return torch.log_softmax(logits, dim=-1, dtype=exact), state._replace(decoder=decoder)

    @staticmethod
    def _join(parts: list[list[Translation]]) -> list[Translation]:
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return [Translation("", 0.0, 0.0)]
        return [
            Translation(
                " ".join(p.text for p in equal if p.text), sum(p.score for p in equal), sum(p.log_prob for p in equal)
            )
            for equal in zip(*parts, strict=False)
        ]


class _ModelState(NamedTuple):
    """The decoder's state and what it attends to; the memory has no beam dimension, every beam reads the same."""

    decoder: DecoderState
    memory: AttentionMemory

    def reorder(self, parents: Int[Tensor, "batch new_beam"]) -> _ModelState:
        rows = torch.arange(len(parents), device=parents.device)[:, None]
        return self._replace(decoder=DecoderState(*(tensor[rows, parents] for tensor in self.decoder)))

    def keep(self, sentences: Int[Tensor, " kept"]) -> _ModelState:
        return _ModelState(
            DecoderState(*(tensor[sentences] for tensor in self.decoder)),
            AttentionMemory(*(tensor[sentences] for tensor in self.memory)),
        )


def override(decode: DecodeConfig, changes: Mapping[str, Any]) -> DecodeConfig:
    """Return `decode` with these values changed.

    Raises:
        ConfigError: a value out of range; the message names its key.
        TypeError: unknown key.
    """
    changed = dataclasses.replace(decode, **changes)
    check_ranges(changed, "decode.")
    return changed


@contextlib.contextmanager
def evaluating(network: torch.nn.Module) -> Iterator[None]:
    """Switch dropout off inside the block and put the mode back after it."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


def batches(lengths: Sequence[int], budget_tokens: int) -> Iterator[list[int]]:
    """Yield the indices of `lengths` in batches of rows × longest ≤ budget, longest first; a longer one goes alone."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > budget_tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
