"""Beam search for one sentence in plain Python, to be read: the definition that the batched one is tested against."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

EOS = 3

# The tokens said so far -> log p of every next token.
NextLogProbs = Callable[[tuple[int, ...]], Sequence[float]]


class Output(NamedTuple):
    tokens: list[int]  # without EOS
    log_prob: float
    score: float


def length_penalty(length: int, alpha: float) -> float:
    return ((5 + length) / 6) ** alpha


def beam_search(
    next_log_probs: NextLogProbs, max_length: int, beam_size: int, n_best: int, alpha: float, never: Collection[int]
) -> list[Output]:
    """Never stops early: runs until nothing lives or the last permitted token."""
    live: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    finished: list[Output] = []
    for length in range(1, max_length + 1):
        continuations = [
            ((*tokens, token), log_prob + more)
            for tokens, log_prob in live
            for token, more in enumerate(next_log_probs(tokens))
            if more > -math.inf and token not in never and (token == EOS or length < max_length)
        ]
        continuations.sort(key=lambda one: -one[1])  # stable: equal ones stay in the order of beam, then token
        best = continuations[:beam_size]
        finished += [Output([*t[:-1]], p, p / length_penalty(length, alpha)) for t, p in best if t[-1] == EOS]
        live = [(tokens, log_prob) for tokens, log_prob in best if tokens[-1] != EOS]
    return sorted(finished, key=lambda one: -one.score)[:n_best]


def brute_force(
    next_log_probs: NextLogProbs, max_length: int, words: Sequence[int], n_best: int, alpha: float
) -> list[Output]:
    """Score every sequence there is."""
    outputs = []
    for length in range(max_length):
        for tokens in itertools.product(words, repeat=length):
            said = (*tokens, EOS)
            log_prob = math.fsum(next_log_probs(said[:i])[said[i]] for i in range(len(said)))
            outputs.append(Output([*tokens], log_prob, log_prob / length_penalty(len(said), alpha)))
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
