"""Ancestral sampling: draw outputs token by token, with temperature, top-k and top-p."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from seq2seq.data.special_ids import BOS_ID, EOS_ID
from seq2seq.errors import NotFiniteError
from seq2seq.search.length_penalty import LengthPenalty
from seq2seq.search.logits_processors import BannedSequences, apply_processors
from seq2seq.search.protocols import NEVER_EMITTED, Hypothesis, LogitsProcessor, State, StepFunction
from seq2seq.search.top_k import NAN_MESSAGE, stable_top_k

# top_p is first tried on this many likeliest tokens: sorting a whole vocabulary takes longer than the model.
TOP_P_CANDIDATES = 64


def sample(
    step: StepFunction[State],
    state: State,
    max_length: Int[Tensor, " batch"],
    *,
    samples: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seeds: Sequence[int],
    banned_tokens: Sequence[int] = NEVER_EMITTED,
    processors: Sequence[LogitsProcessor] = (),
    penalty: LengthPenalty,
) -> list[list[Hypothesis]]:
    """Draw `samples` independent outputs for every sentence of a batch; return them in the order of drawing.

    A sentence's samples depend on its seed, the model, the processors and `samples`, not on the rest of the batch.
    Duplicates are kept. `token_log_probs` are the model's own, before temperature, truncation and processors.

    Args:
        step: called with a beam of `samples`.
        state: the state before the first token, with a beam of 1.
        max_length: maximum output length in tokens, EOS included, on the device of the model. The last token allowed is
            always EOS. A sample also ends where every token has probability 0 (its EOS may have log p of -inf).
        samples: outputs per sentence.
        temperature: draw from p^(1/temperature), renormalised.
        top_k: draw from this many likeliest tokens (Fan et al. 2018); 0: from all.
        top_p: draw from the smallest set of likeliest tokens whose probability, after temperature and `top_k`, is at
            least this (nucleus sampling, Holtzman et al. 2020); 1: from all.
        seeds: one per sentence; the lower 32 bits are used.
        banned_tokens: token ids that are never drawn, unless a `ForcedPrefix` contains them.
        processors: applied to the log-probabilities at every step.
        penalty: divisor of log p in the score.

    Raises:
        ValueError: an option out of range.
        NotFiniteError: the step function returned NaN.
    """
    _check_options(max_length, samples, temperature, top_k, top_p, seeds)
    processors = [BannedSequences([[token] for token in banned_tokens]), *processors]
    search = _Samples(max_length, samples, seeds, penalty)
    last = torch.full_like(search.finished, BOS_ID, dtype=torch.long)
    if len(last):
        state = state.reorder(torch.zeros_like(last))
    while len(last):
        prediction, state = step(last, state)
        log_probs = prediction.log_probs
        if log_probs.amax(dim=2).isnan().any():  # CPU–GPU sync
            raise NotFiniteError(NAN_MESSAGE)
        allowed = apply_processors(processors, log_probs, search.tokens)
        drawn = draw_tokens(allowed.flatten(0, 1), search.uniforms().to(allowed), temperature, top_k, top_p)
        last = search.advance(drawn.view_as(last), allowed, log_probs)
        kept = search.retire()
        if kept is not None:
            last, state, processors = last[kept], state.keep(kept), [processor.keep(kept) for processor in processors]
    return search.results


def draw_tokens(
    log_probs: Float[Tensor, "draws vocab"],
    uniforms: Float[Tensor, " draws"],
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    candidates: int = TOP_P_CANDIDATES,
) -> Int[Tensor, " draws"]:
    """Return the token that each number in (0, 1] selects by inverse CDF.

    Tokens are ordered by id, or by probability (ties by id) if `top_k` or `top_p` truncates. A token of probability 0
    is drawn only where every token has probability 0. `candidates` is the number of likeliest tokens that top_p is
    first tried on; it affects speed only.
    """
    best = log_probs.amax(dim=1, keepdim=True).clamp_min(torch.finfo(log_probs.dtype).min)  # avoids -inf - -inf
    if not top_k and top_p == 1:
        return _inverse_cdf(((log_probs - best) / temperature).exp(), uniforms)
    width = min(top_k or candidates, log_probs.shape[1])
    values, ids = stable_top_k(log_probs, width)
    weights = ((values - best) / temperature).exp()
    all_weights = weights if top_k else ((log_probs - best) / temperature).exp()
    nucleus, cumulative = top_p * all_weights.sum(dim=1), weights.cumsum(dim=1)
    if top_p < 1:
        weights = weights.masked_fill(pad(cumulative[:, :-1], (1, 0)) >= nucleus[:, None], 0.0)
    tokens = ids.gather(1, _inverse_cdf(weights, uniforms)[:, None])[:, 0]
    if not top_k and width < log_probs.shape[1]:
        too_few = cumulative[:, -1] < nucleus
        if too_few.any():  # CPU–GPU sync
            tokens[too_few] = draw_tokens(
                log_probs[too_few], uniforms[too_few], temperature, top_k, top_p, 8 * candidates
            )
    return tokens


def _inverse_cdf(weights: Float[Tensor, "draws tokens"], uniforms: Float[Tensor, " draws"]) -> Int[Tensor, " draws"]:
    """Return the first index at which the cumulated weights reach `uniforms` of their sum."""
    sums = weights.cumsum(dim=1)
    index = torch.searchsorted(sums, uniforms[:, None] * sums[:, -1:])
    # A GPU sums in blocks, whose rounding can select a token of weight 0.
    empty = weights.gather(1, index) == 0
    return torch.where(empty, weights.argmax(dim=1, keepdim=True), index)[:, 0]


def _check_options(
    max_length: Tensor, samples: int, temperature: float, top_k: int, top_p: float, seeds: Sequence[int]
) -> None:
    if samples < 1:
        raise ValueError(f"samples={samples} must be at least 1")
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature={temperature} must be above 0 and finite")
    if top_k < 0:
        raise ValueError(f"top_k={top_k} must not be negative")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p={top_p} must be above 0 and at most 1")
    if len(seeds) != len(max_length):
        raise ValueError(f"{len(seeds)} seeds for {len(max_length)} sentences")
    if (max_length < 1).any():
        raise ValueError("max_length must be at least 1: EOS is a token")


class _Samples:
    """The samples so far. Rows are the sentences with an unfinished sample.

    A finished sample stays in its row; tokens after its EOS are cut off at the end.
    """

    def __init__(self, max_length: Tensor, samples: int, seeds: Sequence[int], penalty: LengthPenalty) -> None:
        rows = len(max_length)
        self.penalty, self.limits = penalty, max_length
        self.results: list[list[Hypothesis]] = [[] for _ in range(rows)]
        self.sentences = list(range(rows))  # row -> index in results
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.finished = torch.zeros(rows, samples, dtype=torch.bool, device=max_length.device)
        self.tokens = torch.empty(rows, samples, 0, dtype=torch.long, device=max_length.device)
        self.token_log_probs = torch.empty(rows, samples, 0, device=max_length.device)

    def uniforms(self) -> Float[Tensor, " draws"]:
        """Return a random number in (0, 1] per sample; drawn on the CPU, so that every device gets the same."""
        samples = self.finished.shape[1]
        draws = [torch.rand(samples, generator=generator, dtype=torch.float64) for generator in self.generators]
        return 1 - torch.cat(draws)

    def advance(self, drawn: Tensor, allowed: Tensor, log_probs: Tensor) -> Int[Tensor, "batch beam"]:
        """Append the drawn tokens, or EOS where a sample must end; return the tokens appended."""
        impossible = allowed.gather(2, drawn[:, :, None])[:, :, 0] == -torch.inf
        at_limit = self.limits == self.tokens.shape[2] + 1
        drawn = drawn.masked_fill(impossible | at_limit[:, None], EOS_ID)
        token_log_probs = log_probs.gather(2, drawn[:, :, None])
        self.tokens = torch.cat([self.tokens, drawn[:, :, None]], dim=2)
        self.token_log_probs = torch.cat([self.token_log_probs.to(token_log_probs), token_log_probs], dim=2)
        self.finished = self.finished | (drawn == EOS_ID)
        return drawn

    def retire(self) -> Int[Tensor, " kept"] | None:
        """Move finished sentences to the results; return the rows still drawn, or None if all are."""
        flags: list[bool] = self.finished.all(dim=1).tolist()  # CPU–GPU sync
        if not any(flags):
            return None
        self._store([row for row, flag in enumerate(flags) if flag])
        kept = [row for row, flag in enumerate(flags) if not flag]
        self.sentences = [self.sentences[row] for row in kept]
        self.generators = [self.generators[row] for row in kept]
        index = torch.tensor(kept, dtype=torch.long, device=self.finished.device)
        for name in ("limits", "finished", "tokens", "token_log_probs"):
            setattr(self, name, getattr(self, name)[index])
        return index

    def _store(self, rows: list[int]) -> None:
        samples = zip(rows, self.tokens[rows].tolist(), self.token_log_probs[rows].tolist(), strict=True)
        for row, tokens, log_probs in samples:
            self.results[self.sentences[row]] = list(map(self._hypothesis, tokens, log_probs))

    def _hypothesis(self, tokens: list[int], log_probs: list[float]) -> Hypothesis:
        length = tokens.index(EOS_ID)
        log_probs = log_probs[: length + 1]
        total = sum(log_probs)
        return Hypothesis(tokens[:length], log_probs, total / self.penalty(length + 1), total)
