"""Lists of ids of unequal length in one array. This module does not import torch: processes that encode use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray


def ragged_positions(begins: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the positions of lists of these lengths that begin at `begins` in one array."""
    shifts = begins - (np.cumsum(lengths) - lengths)  # from the position in the result to that in the array
    positions: NDArray[np.int64] = np.arange(lengths.sum()) + np.repeat(shifts, lengths)
    return positions


@dataclass(frozen=True)
class RaggedIds:
    """Lists of ids of unequal length, concatenated into one array."""

    ids: NDArray[np.integer[Any]]
    lengths: NDArray[np.int64]

    @classmethod
    def from_lists(cls, lists: Sequence[Sequence[int]] | Sequence[NDArray[np.integer[Any]]]) -> RaggedIds:
        """Concatenate lists, or arrays."""
        lengths = np.fromiter(map(len, lists), np.int64, len(lists))
        if len(lists) and isinstance(lists[0], np.ndarray):
            return cls(np.concatenate(lists), lengths)
        return cls(np.fromiter(chain.from_iterable(lists), np.int64, int(lengths.sum())), lengths)

    def rows(self, indices: NDArray[np.int64]) -> RaggedIds:
        """Return these lists, in this order."""
        begins, lengths = (np.cumsum(self.lengths) - self.lengths)[indices], self.lengths[indices]
        return RaggedIds(self.ids[ragged_positions(begins, lengths)], lengths)

    def after(self, prefix: Sequence[int]) -> RaggedIds:
        """Return the lists with `prefix` before each."""
        size, lengths = len(prefix), self.lengths + len(prefix)
        places = ((np.cumsum(lengths) - lengths)[:, None] + np.arange(size)).ravel()
        ids = np.empty(int(lengths.sum()), self.ids.dtype)
        own = np.ones(len(ids), bool)
        own[places] = False
        ids[places], ids[own] = np.tile(np.asarray(prefix, self.ids.dtype), len(lengths)), self.ids
        return RaggedIds(ids, lengths)

    def replaced(self, indices: Sequence[int], new: RaggedIds) -> RaggedIds:
        """Return these lists with those of `new` at `indices`."""
        begins, lengths = np.cumsum(self.lengths) - self.lengths, self.lengths.copy()
        begins[indices] = len(self.ids) + np.cumsum(new.lengths) - new.lengths
        lengths[indices] = new.lengths
        return RaggedIds(np.concatenate([self.ids, new.ids])[ragged_positions(begins, lengths)], lengths)
