"""Drawing outputs from the model, token by token; like the search it knows no text and no model class."""

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
from seq2seq.search.top_k import NAN, stable_top_k

TOP_P_CANDIDATES = (
    64  # likeliest tokens among which top_p is tried first; sorting a whole vocabulary takes longer than the model
)


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

    What is drawn for a sentence depends on its seed, on what the model and the processors say, and on `samples`: never on
    the other sentences of the batch. Equal outputs all stay. Log p is the model's own, whatever was drawn from.

    Args:
        step: says what comes next; called with a beam of `samples`.
        state: the state before the first token, with a beam of 1.
        max_length: most tokens of each output, EOS included; on the device of the model. The last permitted token is
            always EOS. A sample ends there, too, if nothing at all is possible (then EOS may have log p of -inf).
        samples: outputs per sentence.
        temperature: draws from p^(1/temperature), renormalised.
        top_k: draws from so many of the likeliest tokens only (Fan et al. 2018); 0: from all.
        top_p: draws from the fewest of the likeliest tokens that hold this much probability after temperature and
            `top_k` (Holtzman et al. 2020); 1: from all.
        seeds: one for each sentence, of which the lower 32 bits count.
        banned_tokens: token ids that are never drawn, unless a `ForcedPrefix` asks for one.
        processors: what else may not be said, or is drawn less often.
        penalty: what the log p of so many tokens is divided by for the score.

    Raises:
        ValueError: an option out of range.
        NotFiniteError: the step function returned NaN.
    """
    _check(max_length, samples, temperature, top_k, top_p, seeds)
    processors = [BannedSequences([[token] for token in banned_tokens]), *processors]
    drawn = _Samples(max_length, samples, seeds, penalty)
    last = torch.full_like(drawn.finished, BOS_ID, dtype=torch.long)
    if len(last):
        state = state.reorder(torch.zeros_like(last))
    while len(last):
        prediction, state = step(last, state)
        log_probs = prediction.log_probs
        if log_probs.amax(dim=2).isnan().any():  # CPU–GPU sync
            raise NotFiniteError(NAN)
        allowed = apply_processors(processors, log_probs, drawn.tokens)
        last = draw_tokens(allowed.flatten(0, 1), drawn.numbers().to(allowed), temperature, top_k, top_p).view_as(last)
        last = drawn.advance(last, allowed, log_probs)
        kept = drawn.retire()
        if kept is not None:
            last, state, processors = last[kept], state.keep(kept), [processor.keep(kept) for processor in processors]
    return drawn.results


def draw_tokens(
    log_probs: Float[Tensor, "draws vocab"],
    numbers: Float[Tensor, " draws"],
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    candidates: int = TOP_P_CANDIDATES,
) -> Int[Tensor, " draws"]:
    """Return for each number in (0, 1] the token whose piece of the unit interval it falls into (inverse CDF).

    The tokens' probabilities lie there end to end: in the order of ids, or likeliest first (equal ones by id) where
    `top_k` or `top_p` leave some out. A token of probability 0 is drawn only where there is no other.
    """
    best = log_probs.amax(dim=1, keepdim=True).clamp_min(torch.finfo(log_probs.dtype).min)  # no -inf - -inf
    if not top_k and top_p == 1:
        return _inverse_cdf(((log_probs - best) / temperature).exp(), numbers)
    width = min(top_k or candidates, log_probs.shape[1])
    values, ids = stable_top_k(log_probs, width)
    shares = ((values - best) / temperature).exp()
    everything = shares if top_k else ((log_probs - best) / temperature).exp()
    wanted, held = top_p * everything.sum(dim=1), shares.cumsum(dim=1)
    if top_p < 1:
        shares = shares.masked_fill(pad(held[:, :-1], (1, 0)) >= wanted[:, None], 0.0)
    tokens = ids.gather(1, _inverse_cdf(shares, numbers)[:, None])[:, 0]
    if not top_k and width < log_probs.shape[1]:
        more = held[:, -1] < wanted
        if more.any():  # CPU–GPU sync
            tokens[more] = draw_tokens(log_probs[more], numbers[more], temperature, top_k, top_p, 8 * candidates)
    return tokens


def _inverse_cdf(shares: Float[Tensor, "draws choices"], numbers: Float[Tensor, " draws"]) -> Int[Tensor, " draws"]:
    """Return the first choice up to which the shares sum to `numbers` of all."""
    sums = shares.cumsum(dim=1)
    index = torch.searchsorted(sums, numbers[:, None] * sums[:, -1:])
    # A GPU sums in blocks, whose rounding can make it look as if a share of 0 added something.
    empty = shares.gather(1, index) == 0
    return torch.where(empty, shares.argmax(dim=1, keepdim=True), index)[:, 0]


def _check(
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
        raise ValueError("max_length must be at least 1: EOS counts")


class _Samples:
    """The outputs drawn so far. Rows are the sentences of which some sample is unfinished.

    A finished sample goes on beside the others; what it says after its EOS is left out at the end.
    """

    def __init__(self, max_length: Tensor, samples: int, seeds: Sequence[int], penalty: LengthPenalty) -> None:
        rows = len(max_length)
        self.penalty, self.limits = penalty, max_length
        self.results: list[list[Hypothesis]] = [[] for _ in range(rows)]
        self.sentences = list(range(rows))  # row -> place in results
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.finished = torch.zeros(rows, samples, dtype=torch.bool, device=max_length.device)
        self.tokens = torch.empty(rows, samples, 0, dtype=torch.long, device=max_length.device)
        self.token_log_probs = torch.empty(rows, samples, 0, device=max_length.device)

    def numbers(self) -> Float[Tensor, " draws"]:
        """Return the next number in (0, 1] for every sample; on the CPU, where they are the same for every device."""
        samples = self.finished.shape[1]
        return 1 - torch.cat([torch.rand(samples, generator=one, dtype=torch.float64) for one in self.generators])

    def advance(self, chosen: Tensor, allowed: Tensor, log_probs: Tensor) -> Int[Tensor, "batch beam"]:
        """Lengthen the samples by the chosen tokens, by EOS where they must end, and return what was added."""
        impossible = allowed.gather(2, chosen[:, :, None])[:, :, 0] == -torch.inf
        at_limit = self.limits == self.tokens.shape[2] + 1
        chosen = chosen.masked_fill(impossible | at_limit[:, None], EOS_ID)
        said = log_probs.gather(2, chosen[:, :, None])
        self.tokens = torch.cat([self.tokens, chosen[:, :, None]], dim=2)
        self.token_log_probs = torch.cat([self.token_log_probs.to(said), said], dim=2)
        self.finished = self.finished | (chosen == EOS_ID)
        return chosen

    def retire(self) -> Int[Tensor, " kept"] | None:
        """Move sentences without unfinished samples to the results; return the rows that go on, None if all do."""
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
        drawn = zip(rows, self.tokens[rows].tolist(), self.token_log_probs[rows].tolist(), strict=True)
        for row, tokens, log_probs in drawn:
            self.results[self.sentences[row]] = [self._hypothesis(*one) for one in zip(tokens, log_probs, strict=True)]

    def _hypothesis(self, tokens: list[int], log_probs: list[float]) -> Hypothesis:
        length = tokens.index(EOS_ID)
        log_probs = log_probs[: length + 1]
        return Hypothesis(tokens[:length], log_probs, sum(log_probs) / self.penalty(length + 1))
