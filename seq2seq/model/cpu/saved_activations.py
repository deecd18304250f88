"""What the steps of a recurrent layer save for backward with the compiled kernels, and backward over it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seq2seq.kernels import bindings
from seq2seq.kernels.bindings import Kernel
from seq2seq.model.cells import EPSILON, State
from seq2seq.model.cpu.cell_adapters import CellAdapter


class SavedActivations(NamedTuple):
    """The steps of one layer, time first; `carried` and `hiddens` have one place more, for the first state.

    `peepholes`, `candidate_bias` and `norm` are weights; the steps fill the other tensors. In a layer that reads in
    reverse, the first state is in the last place.
    """

    peepholes: Float[Tensor, "4 hidden"] | None
    candidate_bias: Float[Tensor, " hidden"] | None
    norm: Float[Tensor, "2 units hidden"] | None
    activations: Float[Tensor, "len rows saved"]
    carried: Float[Tensor, "len_and_1 rows carried"]
    hiddens: Float[Tensor, "len_and_1 rows hidden"]
    normal: Float[Tensor, "len rows gates"] | None
    scales: Float[Tensor, "len rows units"] | None

    def begin(self, adapter: CellAdapter, state: State | None, place: int = 0) -> None:
        """Write the first state; None: zeros."""
        if state is None:
            self.hiddens[place].zero_()
            self.carried[place].zero_()
        else:
            self.hiddens[place].copy_(state.hidden)
            self.carried[place].copy_(adapter.first_carried(state))

    def steps(
        self,
        adapter: CellAdapter,
        gates: Float[Tensor, "len rows gates"],
        output: Float[Tensor, "len rows hidden"] | None = None,
        lengths: Int[Tensor, " rows"] | None = None,
        reverse: bool = False,
    ) -> Kernel:
        """Return the kernel that takes step `t`, given `product`, the hidden state's share of the gates.

        `gates` is the inputs' share. Hidden states are written to `output`, too.
        """
        rows, size = self.hiddens.shape[1:]
        before, after = int(reverse), int(not reverse)
        return Kernel(
            "cell_forward",
            gates.dtype,
            kind=adapter.kind,
            rows=rows,
            size=size,
            inputs=gates,
            carried_before=self.carried[before:],
            peepholes=self.peepholes,
            candidate_bias=self.candidate_bias,
            norm=self.norm,
            epsilon=EPSILON,
            lengths=lengths,
            activations=self.activations,
            carried_after=self.carried[after:],
            hidden=self.hiddens[after:],
            output=output,
            output_stride=0 if output is None else output.stride(1),
            normal=self.normal,
            scales=self.scales,
        )


def new_activations(
    adapter: CellAdapter,
    gates: Float[Tensor, "len rows gates"],
    size: int,
    peepholes: Tensor | None,
    candidate_bias: Tensor | None,
    norm: Tensor | None,
) -> SavedActivations:
    """Allocate the buffers of all steps; the activations reuse the gates' buffer if both have as many blocks."""
    steps, rows, _ = gates.shape
    activations = gates if adapter.saved == adapter.gates else gates.new_empty(steps, rows, adapter.saved * size)
    carried_size, exact = adapter.carried_size(size), bindings.sum_dtype(gates.dtype)
    carried = gates.new_empty(steps + 1, rows, carried_size, dtype=exact)
    normal = None if norm is None else torch.empty_like(gates)
    scales = None if norm is None else carried.new_empty(steps, rows, adapter.gates)
    hiddens = gates.new_empty(steps + 1, rows, size)
    return SavedActivations(peepholes, candidate_bias, norm, activations, carried, hiddens, normal, scales)


class Backward:
    """Backward over the saved activations of a layer, from its last step to its first.

    Attributes:
        gates: gradient of the inputs' share of the gates, filled step by step.
        products: gradient of the hidden state's share; the same tensor, except for a GRU.
    """

    def __init__(
        self,
        adapter: CellAdapter,
        saved: SavedActivations,
        output_gradient: Float[Tensor, "len rows hidden"],
        lengths: Int[Tensor, " rows"] | None = None,
        reverse: bool = False,
    ) -> None:
        self._adapter, self._saved, self._reverse = adapter, saved, reverse
        steps, rows, size = output_gradient.shape
        self.gates = saved.activations.new_empty(steps, rows, adapter.gates * size)
        product_gradient = adapter.product_gradient(self.gates)
        self.products = self.gates if product_gradient is None else product_gradient
        # Peepholes are added to normalised gates, whose gradient is not that of `gates`.
        normalised = saved.peepholes is not None and saved.norm is not None
        self._peephole_gates = torch.empty_like(self.gates) if normalised else self.gates
        self._carried = torch.zeros_like(saved.carried[0])
        self._norm = None if saved.norm is None else saved.norm.new_zeros(rows, *saved.norm.shape)
        self._kernel = Kernel(
            "cell_backward",
            self.gates.dtype,
            kind=adapter.kind,
            rows=rows,
            size=size,
            activations=saved.activations,
            carried_before=saved.carried[int(reverse) :],
            carried_after=saved.carried[int(not reverse) :],
            peepholes=saved.peepholes,
            norm=saved.norm,
            normal=saved.normal,
            scales=saved.scales,
            lengths=lengths,
            output_gradient=output_gradient,
            carried_gradient=self._carried,
            gates_gradient=self.gates,
            product_gradient=product_gradient,
            normal_gradient=self._peephole_gates if normalised else None,
            norm_gradient=self._norm,
        )

    def step(self, t: int, hidden: Float[Tensor, "rows hidden"] | None) -> None:
        """Run backward for step t, given the gradient of its hidden state from the step that read it; None: zero."""
        self._kernel(t=t, hidden_gradient=hidden, hidden_stride=0 if hidden is None else hidden.stride(0))

    def weights(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Return the gradients of `peepholes`, `candidate_bias` and `norm`."""
        saved = self._saved
        before, after = saved.carried[:-1], saved.carried[1:]
        if self._reverse:
            before, after = after, before
        peepholes = candidate = None
        if saved.peepholes is not None:  # of i, f and g, which read the memory before the step, and of o
            gates = self._peephole_gates.unflatten(-1, (4, -1)).to(before.dtype).unbind(2)
            memories = zip(gates, (before, before, before, after), strict=True)
            peepholes = torch.stack([(gate * memory).sum((0, 1)) for gate, memory in memories])
        if saved.candidate_bias is not None:
            candidate = self.products[..., -len(saved.candidate_bias) :].sum((0, 1), dtype=before.dtype)
        return peepholes, candidate, None if self._norm is None else self._norm.sum(0)

    def first_state(self, hidden: Float[Tensor, "rows hidden"] | None) -> tuple[Tensor | None, Tensor | None]:
        """Return the gradients of the first state, given that of its hidden state from the first step's product."""
        return self._adapter.state_gradient(hidden, self._carried)
