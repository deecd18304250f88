"""A recurrent layer over a whole sequence with compiled kernels: one node of the graph, with a backward of its own.

What does not depend on the recurrence is one product over all steps: the inputs' share of the gates before the loop,
the weights' gradients after it. The loop itself is products with packed weights and compiled kernels. Tensors are
time-major here, so that a step is a block of memory. `layers.run_steps` is the definition.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from seq2seq.config.model import CellName
from seq2seq.kernels import bindings
from seq2seq.kernels.bindings import Kernel
from seq2seq.model.cells import Cell, State
from seq2seq.model.cpu import fixed_order, search_products
from seq2seq.model.cpu.cell_adapters import ADAPTERS, norm_weights, peephole_weights
from seq2seq.model.cpu.packed_linear import packed_linear
from seq2seq.model.cpu.saved_activations import Backward, SavedActivations, new_activations
from seq2seq.model.padding import Weights

FEW_ROWS = 2  # up to this number of rows, calling torch for a product takes longer than computing it in a kernel


def run_compiled(
    cells: Sequence[Cell],
    weights: Sequence[Weights],
    inputs: Float[Tensor, "batch len in"],
    lengths: Int[Tensor, " batch"] | None,
    start: State | None,
) -> Float[Tensor, "batch len out"]:
    """Run each direction with the compiled kernels; the second one reads each row from its end."""
    lengths = None if lengths is None else lengths.long().contiguous()
    states = [
        _direction(cell, inputs, own, start, lengths, reverse=bool(direction))
        for direction, (cell, own) in enumerate(zip(cells, weights, strict=True))
    ]
    return (states[0] if len(states) == 1 else torch.cat(states, dim=-1)).transpose(0, 1)


def _direction(
    cell: Cell,
    inputs: Float[Tensor, "batch len in"],
    weights: Weights,
    start: State | None,
    lengths: Int[Tensor, " batch"] | None,
    reverse: bool,
) -> Float[Tensor, "len batch hidden"]:
    dtype = bindings.compute_dtype(inputs)
    exact = bindings.sum_dtype(dtype)
    of_search = search_products.products(inputs)
    w_ih, w_hh, b_ih, b_hh = (of_search.cast(weight, dtype) if of_search else weight.to(dtype) for weight in weights)
    bias, candidate_bias = ADAPTERS[cell.name].biases(b_ih, b_hh)
    # Each direction casts the inputs itself, so that autograd sums the two gradients in the inputs' type.
    inputs = inputs.to(dtype).transpose(0, 1).contiguous()
    own = peephole_weights(cell, exact), candidate_bias, norm_weights(cell, exact)
    arguments = (cell.name, inputs, w_ih, w_hh, bias, *own, *(start or (None, None)), lengths, reverse)
    hiddens: Tensor = CellSequence.apply(*arguments)  # type: ignore[no-untyped-call]
    return hiddens


class CellSequence(torch.autograd.Function):
    """One direction of a recurrent layer over a whole sequence."""

    @staticmethod
    def forward(
        ctx: Any,
        name: CellName,
        inputs: Float[Tensor, "len rows in"],
        w_ih: Float[Tensor, "gates in"],
        w_hh: Float[Tensor, "gates hidden"],
        bias: Float[Tensor, " gates"],
        peepholes: Float[Tensor, "4 hidden"] | None,
        candidate_bias: Float[Tensor, " hidden"] | None,
        norm: Float[Tensor, "2 units hidden"] | None,
        hidden: Float[Tensor, "rows hidden"] | None,
        memory_cell: Float[Tensor, "rows memory"] | None,
        lengths: Int[Tensor, " rows"] | None,
        reverse: bool,
    ) -> Float[Tensor, "len rows hidden"]:
        """Return the hidden states; zeros from a row's length on. In reverse each row begins at its own end.

        The first state is zero if it is not given.
        """
        adapter, (steps, rows, _) = ADAPTERS[name], inputs.shape
        start = None if hidden is None or memory_cell is None else State(hidden, memory_cell)
        products = search_products.products(inputs)
        if products is None:
            gates = torch.addmm(bias, inputs.flatten(0, 1), w_ih.t()).view(steps, rows, -1)
        else:
            gates = products.multiply(inputs, w_ih, bias)
        saved = new_activations(adapter, gates, w_hh.shape[1], peepholes, candidate_bias, norm)
        saved.begin(adapter, start, steps if reverse else 0)
        step = saved.steps(adapter, gates, lengths=lengths, reverse=reverse)
        packed = products.packed(w_hh) if products and fixed_order.supports(inputs) else None
        if rows <= FEW_ROWS or packed is not None:
            hidden_before = saved.hiddens[int(reverse) :]
            every_step = Kernel("cell_sequence", gates.dtype, layer=step, steps=steps, reverse=reverse)
            weight = w_hh.contiguous() if packed is None else None
            every_step(weight=weight, packed=packed, hidden_before=hidden_before)
        else:
            recurrent = packed_linear(w_hh, rows)
            for number, t in enumerate(range(steps)[:: -1 if reverse else 1]):
                product = None if start is None and number == 0 else recurrent(saved.hiddens[t + reverse])
                step(t=t, product=product)
        ctx.save_for_backward(inputs, w_ih, w_hh, lengths, *saved)
        ctx.name, ctx.reverse, ctx.given = name, reverse, start is not None
        return saved.hiddens[:-1] if reverse else saved.hiddens[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of inputs, weights, bias, peepholes, candidate bias, norm and first state."""
        inputs, w_ih, w_hh, lengths = ctx.saved_tensors[:4]
        saved, reverse = SavedActivations(*ctx.saved_tensors[4:]), ctx.reverse
        steps, rows, _ = gradient.shape
        gradient, dhidden = gradient.contiguous(), None
        back = Backward(ADAPTERS[ctx.name], saved, gradient, lengths, reverse)
        recurrent = packed_linear(w_hh.t(), rows)
        last = steps - 1 if reverse else 0
        for t in range(steps)[:: 1 if reverse else -1]:
            back.step(t, dhidden)
            dhidden = recurrent(back.products[t]) if t != last or ctx.given else None
        before, flat = saved.hiddens[1:] if reverse else saved.hiddens[:-1], back.gates.flatten(0, 1)
        return (
            None,
            (flat @ w_ih).view_as(inputs) if ctx.needs_input_grad[1] else None,
            flat.t() @ inputs.flatten(0, 1),
            back.products.flatten(0, 1).t() @ before.flatten(0, 1),
            flat.sum(0),
            *back.weights(),
            *(back.first_state(dhidden) if ctx.given else (None, None)),
            None,
            None,
        )
