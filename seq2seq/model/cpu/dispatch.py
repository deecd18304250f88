"""Choose between the reference implementation of a layer (plain torch, in `model/*.py`) and a faster one.

Each function returns the faster implementation for these operands, or None: the caller then runs the reference. A cell
with a watcher always runs the reference, because the fused layers expose no state between steps.
docs/explanation/kernels.md lists the implementations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from seq2seq.kernels import bindings
from seq2seq.model.cells import Cell
from seq2seq.model.cpu import attentional, fixed_order, probes, recurrence, search_products, torch_layers
from seq2seq.model.cpu.cell_adapters import ADAPTERS
from seq2seq.model.cpu.hashed_dropout import run_hashed

if TYPE_CHECKING:
    from seq2seq.model.network import Seq2Seq

MKL_SMALL_ROWS = 12


def recurrent_layer(cell: Cell, inputs: Tensor) -> Callable[..., Tensor] | None:
    """Return the fast `layers.run` for a layer of such cells, or None."""
    if has_kernels(cell) and bindings.usable(inputs):
        return recurrence.run_compiled
    if cell.watcher is None and not cell.layer_norm and probes.has_torch_layer(cell.name):
        return torch_layers.run_torch
    return None


def attentional_layer(cell: Cell, words: Tensor) -> Callable[..., tuple[Tensor, Tensor, Tensor]] | None:
    """Return the fast loop over `AttentionalLayer.step`, or None."""
    return attentional.run_compiled if has_kernels(cell) and bindings.usable(words) else None


def small_product(layer: nn.Linear, inputs: Tensor) -> Tensor:
    """Return `layer(inputs)` for a row per sentence, with the same result for any number of threads.

    MKL's products of 5 to 11 rows of fp32 add up in an order that depends on the number of threads.
    """
    rows = len(inputs)
    few = rows < MKL_SMALL_ROWS and inputs.is_cpu
    if few and search_products.products(inputs) is None and bindings.compute_dtype(inputs) == torch.float32:
        inputs = pad(inputs, (0, 0, 0, MKL_SMALL_ROWS - rows))
    return search_products.apply(layer, inputs)[:rows]


def dropout(values: Tensor, p: float) -> Callable[[Tensor, float], Tensor] | None:
    """Return what drops values with probability p."""
    return run_hashed if p < 1 and bindings.usable(values) else None


def decoder_step(network: Seq2Seq, cached: Any, int8: bool = False) -> Callable[..., Any]:
    """Return what computes `network.step`; for evaluation, without gradients.

    Args:
        network: whose weights must not change while the result is used.
        cached: an earlier result for it, or any step function; returned again while its weights are current.
        int8: whether the products are computed in 8 bits.
    """
    from seq2seq.model.cpu.decoder_step import CompiledStep  # reads the network's modules, which import this file

    if not (has_decoder_step(network) and bindings.usable(network.output.weight)):
        return network.step
    return CompiledStep.current(network, cached, int8)


def has_decoder_step(network: Seq2Seq) -> bool:
    """Return whether `decoder_step` has a fast form for the parts of this network, on a CPU with kernels."""
    return has_kernels(network.decoder.bottom.cell) and not network.config.input_feeding


def rounds_alone(network: Seq2Seq) -> bool:
    """Return whether the rounding of a row in a search depends on no other row: all products are in a fixed order."""
    cells = [module for module in network.modules() if isinstance(module, Cell)]
    return fixed_order.supports(network.output.weight) and has_decoder_step(network) and all(map(has_kernels, cells))


def has_kernels(cell: Cell) -> bool:
    """Return whether the compiled kernels compute this cell."""
    return cell.watcher is None and cell.name in ADAPTERS
