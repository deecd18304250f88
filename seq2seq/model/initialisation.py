"""First values of the weights, chosen so that gradients neither vanish nor explode through time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seq2seq.batch import PAD_ID
from seq2seq.model.decoder import AttentionalLSTM


def initialise(network: nn.Module) -> None:
    """Fill every parameter of `network` in place, from torch's global random state.

    Matrices are Xavier-uniform (Glorot and Bengio 2010), recurrent ones orthogonal per gate (Saxe et al. 2014), forget
    gates start open (bias 1, Jozefowicz et al. 2015), other biases are 0, word vectors N(0, 1/emb_size).
    """
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, nn.LSTM):
            _initialise_lstm(module)
        elif isinstance(module, AttentionalLSTM):
            _initialise_attentional(module)
        elif isinstance(module, nn.Embedding):  # after nn.Linear: a tied output matrix is a word-vector matrix
            nn.init.normal_(module.weight, std=module.embedding_dim**-0.5)
            with torch.no_grad():
                module.weight[PAD_ID].zero_()


def _initialise_lstm(layer: nn.LSTM) -> None:
    for name, parameter in layer.named_parameters():
        if name.startswith("weight_hh"):
            _orthogonal_gates(parameter)
        elif name.startswith("weight_ih"):
            _xavier_gates(parameter)
        else:
            _open_forget_gate(parameter, 1.0 if name.startswith("bias_ih") else 0.0)


def _initialise_attentional(layer: AttentionalLSTM) -> None:
    hidden_size = layer.recurrent.out_features // 4
    _xavier_gates(layer.word_gates.weight)
    _open_forget_gate(layer.word_gates.bias, 1.0)
    _xavier_gates(layer.recurrent.weight[:, :-hidden_size])
    _orthogonal_gates(layer.recurrent.weight[:, -hidden_size:])


def _orthogonal_gates(weight: Tensor) -> None:
    for gate in weight.detach().chunk(4):
        gate.copy_(nn.init.orthogonal_(torch.empty_like(gate)))


def _xavier_gates(weight: Tensor) -> None:
    for gate in weight.detach().chunk(4):
        nn.init.xavier_uniform_(gate)


def _open_forget_gate(bias: Tensor, value: float) -> None:
    nn.init.zeros_(bias)
    with torch.no_grad():
        bias.chunk(4)[1].fill_(value)
