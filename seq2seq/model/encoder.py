"""Bidirectional deep recurrent encoder."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seq2seq.config.model import ModelConfig
from seq2seq.model.dropout import Dropout
from seq2seq.model.layers import RecurrentLayer


class Encoder(nn.Module):
    """Stack of bidirectional recurrent layers (Schuster and Paliwal 1997).

    Each layer reads the concatenated directions of the one below, with dropout between layers. With residual
    connections (Wu et al. 2016, section 3.1) each layer above the first adds its states to those it reads.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        sizes = [config.emb_size] + [config.context_size] * (config.encoder_layers - 1)
        self.layers = nn.ModuleList(RecurrentLayer(config, size, config.encoder_size, directions=2) for size in sizes)
        self.dropout = Dropout(config.dropout.layers, config.dropout.variational)
        self.residual = config.residual

    @property
    def bottom(self) -> RecurrentLayer:
        """The first layer, which reads the embeddings."""
        layer = self.layers[0]
        assert isinstance(layer, RecurrentLayer)
        return layer

    def forward(
        self, inputs: Float[Tensor, "batch src_len emb"], lengths: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch src_len enc"], Float[Tensor, "batch enc"]]:
        """Return the top layer's states (zero where padding) and its summary.

        The summary joins the states in which each direction has read the whole sentence: the forward direction's at
        the last real token, the backward direction's at the first.
        """
        states: Tensor = self.bottom(inputs, lengths)
        for layer in self.layers[1:]:
            above = layer(self.dropout(states), lengths)
            states = states + above if self.residual else above
        forward, backward = states.chunk(2, dim=-1)
        rows = torch.arange(len(lengths), device=states.device)
        return states, torch.cat([forward[rows, lengths - 1], backward[:, 0]], dim=-1)
