"""Reading rows of different lengths in both directions without letting padding reach a real state."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seq2seq.model.cells import Cell, State

Weights = Sequence[Tensor]  # of inputs and hidden state, then their biases, as torch orders and names them
Direction = Callable[[Cell, Tensor, Weights, State | None], Tensor]


def run_directions(
    direction: Direction,
    cells: Sequence[Cell],
    weights: Sequence[Weights],
    inputs: Float[Tensor, "batch len in"],
    lengths: Int[Tensor, " batch"] | None,
    start: State | None,
) -> Float[Tensor, "batch len out"]:
    """Run `direction` once for each cell, the second time from each row's end, and join the hidden states.

    The second direction reads each row reversed within its own length, so in both directions the padding comes after
    the last real token, where it can change no real state; its outputs are zeroed. Without lengths all rows are real
    from end to end, and there is one direction.
    """
    forward = direction(cells[0], inputs, weights[0], start)
    if lengths is None:
        return forward
    index, mask = reversal(lengths, inputs.shape[1])
    states = [forward]
    if len(cells) == 2:
        backward = direction(cells[1], _reorder(inputs, index), weights[1], None)
        states.append(_reorder(backward, index))
    return torch.cat(states, dim=-1) * mask[..., None]


def reversal(
    lengths: Int[Tensor, " batch"], max_length: int
) -> tuple[Int[Tensor, "batch len"], Bool[Tensor, "batch len"]]:
    """Return the index that reverses each row within its length (its own inverse) and the mask of real positions."""
    positions = torch.arange(max_length, device=lengths.device)
    mask = positions < lengths[:, None]
    return torch.where(mask, lengths[:, None] - 1 - positions, positions), mask


def _reorder(
    values: Float[Tensor, "batch len size"], index: Int[Tensor, "batch len"]
) -> Float[Tensor, "batch len size"]:
    return values.gather(1, index[..., None].expand_as(values))
