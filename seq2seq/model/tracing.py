"""Record what every cell does at every step: states and gates, and how far a gradient reaches back through them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from seq2seq.model.cells import Cell, State
from seq2seq.model.layers import RecurrentLayer
from seq2seq.model.network import Seq2Seq

CLOSED, OPEN = 0.1, 0.9  # a gate below CLOSED or above OPEN is saturated (Karpathy et al. 2015, section 4.2)
DIRECTIONS = ("forward", "backward")


@dataclass
class Trace:
    """States and gates of one cell, in the order of its steps."""

    hiddens: list[Tensor] = field(default_factory=list)
    memories: list[Tensor] = field(default_factory=list)
    gates: dict[str, list[Tensor]] = field(default_factory=dict)

    def record(self, gates: dict[str, Tensor], state: State) -> None:
        """Append one step."""
        self.hiddens.append(state.hidden)
        self.memories.append(state.cell)
        for name, values in gates.items():
            self.gates.setdefault(name, []).append(values)


@contextmanager
def tracing(network: Seq2Seq) -> Iterator[dict[str, Trace]]:
    """Record the states and gates of every cell inside the block, by layer; traced cells run step by step."""
    cells = cells_of(network)
    traces = {layer: Trace() for layer in cells}
    for layer, cell in cells.items():
        cell.watcher = traces[layer].record
    try:
        yield traces
    finally:
        for cell in cells.values():
            cell.watcher = None


def cells_of(network: Seq2Seq) -> dict[str, Cell]:
    """Return every cell by the name of its layer, from the lowest encoder layer up."""
    cells: dict[str, Cell] = {}
    for number, layer in enumerate(network.encoder.layers, start=1):
        assert isinstance(layer, RecurrentLayer)
        cells |= {f"encoder.{number}.{name}": layer.cell(direction) for direction, name in enumerate(DIRECTIONS)}
    cells["decoder.1"] = network.decoder.bottom.cell
    for number, layer in enumerate(network.decoder.upper, start=2):
        assert isinstance(layer, RecurrentLayer)
        cells[f"decoder.{number}"] = layer.cell(0)
    return cells


def hidden_gradient_norms(
    value: Float[Tensor, ""], traces: dict[str, Trace]
) -> dict[str, Float[Tensor, "batch steps"]]:
    """Return, by layer, the norm of d value / d hidden state for each sentence and step.

    The total derivative: through all later states and memory cells, attention and higher layers, but not through the
    memory cell of the same step, which does not depend on that hidden state. It is 0 for a state that does not reach
    `value`. Parameter gradients are unchanged.
    """
    hiddens = [hidden for trace in traces.values() for hidden in trace.hiddens]
    gradients = iter(torch.autograd.grad(value, hiddens, materialize_grads=True))
    norms = {
        layer: stack_steps([next(gradients) for _ in trace.hiddens]).norm(dim=-1) for layer, trace in traces.items()
    }
    return {layer: values.cpu() for layer, values in norms.items()}


def stack_steps(steps: Sequence[Float[Tensor, "*rows units"]]) -> Float[Tensor, "batch steps units"]:
    """Stack steps; those of the decoder have a beam dimension of size 1."""
    return torch.stack([values.flatten(0, -2) for values in steps], dim=1)
