"""Beam search for one sentence in plain Python: the definition that the batched search is tested against."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

EOS = 3

# The tokens generated so far -> log p of every next token.
NextLogProbs = Callable[[tuple[int, ...]], Sequence[float]]


class Output(NamedTuple):
    tokens: list[int]  # without EOS
    log_prob: float
    score: float


def penalty(kind: str, alpha: float) -> Callable[[int], float]:
    """The divisor of log p by number of tokens, EOS included."""
    return {
        "gnmt": lambda length: ((5 + length) / 6) ** alpha,
        "average": lambda length: length**alpha,
        "none": lambda length: 1.0,
    }[kind]


def coverage(attention: Iterable[float]) -> float:
    """The coverage penalty, from the attention on each source position summed over the output."""
    return sum(math.log(min(max(weight, 1e-10), 1.0)) for weight in attention)


class Processors(NamedTuple):
    """All logits processors in one definition."""

    min_length: int = 0
    ngram: int = 0
    repetition: float = 1.0
    prefix: Sequence[int] = ()

    def apply(self, generated: tuple[int, ...], log_probs: Sequence[float], never: Collection[int]) -> list[float]:
        if len(generated) < len(self.prefix):
            forced = self.prefix[len(generated)]
            return [log_prob if token == forced else -math.inf for token, log_prob in enumerate(log_probs)]
        changed = [
            log_prob * (self.repetition if token in generated else 1.0)
            if token not in never and self._may_follow(generated, token)
            else -math.inf
            for token, log_prob in enumerate(log_probs)
        ]
        if max(changed) == -math.inf:  # no token is allowed: allow EOS
            changed[EOS] = log_probs[EOS]
        return changed

    def _may_follow(self, generated: tuple[int, ...], token: int) -> bool:
        if token == EOS:
            return len(generated) + 1 >= self.min_length
        text = (*generated, token)
        grams = [text[i : i + self.ngram] for i in range(len(text) - self.ngram + 1)] if self.ngram else []
        return not grams or grams[-1] not in grams[:-1]


def beam_search(
    next_log_probs: NextLogProbs,
    max_length: int,
    beam_size: int,
    n_best: int,
    divisor: Callable[[int], float],
    never: Collection[int],
    processors: Processors | None = None,
    bonus: Callable[[tuple[int, ...]], float] = lambda tokens: 0.0,
) -> list[Output]:
    """Search without early stopping: until no hypothesis is live or the limit is reached."""
    processors = processors or Processors()
    live: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    finished: list[Output] = []
    for length in range(1, max_length + 1):
        continuations = [
            ((*tokens, token), log_prob + more)
            for tokens, log_prob in live
            for token, more in enumerate(processors.apply(tokens, next_log_probs(tokens), never))
            if more > -math.inf and (token == EOS or length < max_length)
        ]
        continuations.sort(key=lambda one: -one[1])  # stable: ties by beam, then token
        best = continuations[:beam_size]
        finished += [Output([*t[:-1]], p, p / divisor(length) + bonus(t[:-1])) for t, p in best if t[-1] == EOS]
        live = [(tokens, log_prob) for tokens, log_prob in best if tokens[-1] != EOS]
    return sorted(finished, key=lambda one: -one.score)[:n_best]


def brute_force(
    next_log_probs: NextLogProbs,
    max_length: int,
    words: Sequence[int],
    n_best: int,
    divisor: Callable[[int], float],
) -> list[Output]:
    """Score every possible sequence."""
    outputs = []
    for length in range(max_length):
        for tokens in itertools.product(words, repeat=length):
            generated = (*tokens, EOS)
            log_prob = math.fsum(next_log_probs(generated[:i])[generated[i]] for i in range(len(generated)))
            outputs.append(Output([*tokens], log_prob, log_prob / divisor(len(generated))))
    return sorted(outputs, key=lambda one: -one.score)[:n_best]


def greedy(next_log_probs: NextLogProbs, max_length: int, words: Sequence[int]) -> list[int]:
    tokens: list[int] = []
    while len(tokens) < max_length - 1:
        log_probs = next_log_probs(tuple(tokens))
        best = max([EOS, *words], key=lambda token: log_probs[token])
        if best == EOS:
            break
        tokens.append(best)
    return tokens
