"""First values of the weights, chosen so that gradients neither vanish nor explode through time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seq2seq.config.model import InitialisationConfig, MatrixInit
from seq2seq.data.special_ids import PAD_ID
from seq2seq.model.cells import Cell
from seq2seq.model.decoder import AttentionalLayer
from seq2seq.model.layers import RecurrentLayer
from seq2seq.runtime.threads import one_thread


def initialise(network: nn.Module, config: InitialisationConfig) -> None:
    """Fill every parameter of `network` in place, from torch's global random state.

    The defaults: matrices are Xavier-uniform (Glorot and Bengio 2010), recurrent ones orthogonal per gate
    (Saxe et al. 2014), forget gates start open (bias 1, Jozefowicz et al. 2015). Other biases and peepholes are 0, the
    gains of layer normalisation 1, word vectors N(0, 1/emb_size).
    """
    for module in network.modules():
        if isinstance(module, nn.Linear):
            _fill(module.weight, 1, config.matrices, config)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, RecurrentLayer):
            _initialise_layer(module, config)
        elif isinstance(module, AttentionalLayer):
            _initialise_attentional(module, config)
        elif isinstance(module, nn.Embedding):  # after nn.Linear: a tied output matrix is a word-vector matrix
            nn.init.normal_(module.weight, std=module.embedding_dim**-0.5)
            with torch.no_grad():
                module.weight[PAD_ID].zero_()


def randomise_biases(layer: RecurrentLayer) -> None:
    """Fill the biases of a normalised layer that may read zeros with N(0, 0.01).

    With biases of 0, the gates of a sentence's first words would be 0 exactly if these words are dropped, and
    normalising zeros multiplies the gradient by 1/sqrt(EPSILON) at each such step.
    """
    for name, parameter in layer.named_parameters(recurse=False):
        if name.startswith("bias"):
            nn.init.normal_(parameter, std=0.1)


def _initialise_layer(layer: RecurrentLayer, config: InitialisationConfig) -> None:
    cell = layer.cell(0)
    for name, parameter in layer.named_parameters(recurse=False):
        if name.startswith("bias"):
            nn.init.zeros_(parameter)
        else:
            kind = config.recurrent if name.startswith("weight_hh") else config.matrices
            _fill(parameter, cell.gates, kind, config)
    for direction in range(len(layer.cells)):
        _open_forget_gate(layer.cell(direction), layer.bias(direction), config.forget_bias)


def _initialise_attentional(layer: AttentionalLayer, config: InitialisationConfig) -> None:
    cell = layer.cell
    _fill(layer.word_gates.weight, cell.gates, config.matrices, config)
    if layer.readout_gates is not None:
        _fill(layer.readout_gates.weight, cell.gates, config.matrices, config)
    _fill(layer.recurrent.weight[:, : -cell.size], cell.gates, config.matrices, config)
    _fill(layer.recurrent.weight[:, -cell.size :], cell.gates, config.recurrent, config)
    _open_forget_gate(cell, layer.word_gates.bias, config.forget_bias)


@torch.no_grad()
def _open_forget_gate(cell: Cell, bias: Tensor, value: float) -> None:
    """Set the bias of an LSTM's forget gate to `value`; of a normalised gate, the shift."""
    if cell.memory_size:
        (cell.shift if cell.layer_norm else bias.unflatten(0, (cell.gates, cell.size)))[1].fill_(value)


@torch.no_grad()
def _fill(weight: Tensor, gates: int, kind: MatrixInit, config: InitialisationConfig) -> None:
    """Fill a matrix gate by gate."""
    for gate in weight.chunk(gates):
        match kind:
            case MatrixInit.xavier:
                nn.init.xavier_uniform_(gate)
            case MatrixInit.orthogonal:
                with one_thread():  # torch's QR decomposition depends on the number of threads
                    gate.copy_(nn.init.orthogonal_(torch.empty_like(gate)))
            case MatrixInit.uniform:
                nn.init.uniform_(gate, -config.uniform_range, config.uniform_range)
