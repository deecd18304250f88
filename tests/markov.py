"""A model that is a table, a second-order Markov chain, for tests of the searches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from seq2seq.search.protocols import Prediction

BOS, SPECIAL_IDS = 2, 4  # those of seq2seq.data.special_ids, which must not be imported before jaxtyping's hook


class MarkovState(NamedTuple):
    """The next token depends on the last two, so a wrong parent or mixed-up sentences change the result."""

    tables: Tensor  # batch, token before last, last token, next token
    before_last: Tensor  # batch, beam

    def reorder(self, parents: Tensor) -> MarkovState:
        return MarkovState(self.tables, self.before_last.gather(1, parents))

    def keep(self, sentences: Tensor) -> MarkovState:
        return MarkovState(self.tables[sentences], self.before_last[sentences])


def markov_start(tables: Tensor) -> MarkovState:
    return MarkovState(tables, torch.full((len(tables), 1), BOS))


def markov_step(last: Tensor, state: MarkovState) -> tuple[Prediction, MarkovState]:
    """The table's values are log p already, so the normaliser is 0."""
    from seq2seq.search.protocols import Prediction

    assert state.before_last.shape == last.shape
    rows = torch.arange(len(last))[:, None]
    values = state.tables[rows, state.before_last, last]
    normaliser = torch.where(values.isnan().any(dim=2), math.nan, torch.zeros_like(values[:, :, 0]))
    return Prediction(values, normaliser), MarkovState(state.tables, last)


def next_log_probs_of(table: Tensor) -> Callable[[Sequence[int]], list[float]]:
    """The same model for one sentence in plain Python: tokens so far -> log p of every next token."""
    rows = table.tolist()

    def next_log_probs(tokens: Sequence[int]) -> list[float]:
        before_last, last = (BOS, BOS, *tokens)[-2:]
        return rows[before_last][last]

    return next_log_probs


def random_tables(seed: int, sentences: int, words: int, tied: bool = False) -> Tensor:
    """Random tables in float64; tied ones have few values, whose sums are exact, so ties are common."""
    generator = torch.Generator().manual_seed(seed)
    shape = (sentences, *[SPECIAL_IDS + words] * 3)
    if tied:
        return torch.randint(-3, 1, shape, generator=generator).double() / 2
    return torch.log_softmax(2 * torch.randn(shape, generator=generator, dtype=torch.float64), dim=-1)
