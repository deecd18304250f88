"""The encoder against torch's own layers on one sentence at a time without padding, in every way a layer can run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reference import encoder_numpy
from seq2seq.config.model import CellName, DropoutConfig, ModelConfig
from seq2seq.kernels import bindings
from seq2seq.model.cpu.recurrence import run_compiled
from seq2seq.model.cpu.torch_layers import run_torch
from seq2seq.model.encoder import Encoder
from seq2seq.model.layers import RecurrentLayer, run_steps
from seq2seq.model.padding import run_directions

SIZE, HIDDEN = 5, 4
LENGTHS = [[3, 7, 1, 5], [1], [1, 1, 1], [6, 6]]
EXACT = {"rtol": 0, "atol": 1e-10}
TORCH = {CellName.lstm: nn.LSTM, CellName.gru: nn.GRU, CellName.rnn: nn.RNN}

Run = Callable[..., Tensor]


def config_of(
    num_layers: int = 1, cell: CellName = CellName.lstm, dropout: float = 0.5, **settings: Any
) -> ModelConfig:
    sizes = {"emb_size": SIZE, "hidden_size": 2 * HIDDEN, "encoder_layers": num_layers}
    return ModelConfig(**sizes, cell=cell, dropout=DropoutConfig(layers=dropout), **settings)


def randomise(module: nn.Module) -> None:
    module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.7)


def mask_of(lengths: list[int]) -> Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def run_plain(*arguments: Any) -> Tensor:
    return run_directions(run_steps, *arguments)


def run_alone(layer: nn.Module, inputs: Tensor, lengths: Tensor) -> Tensor:
    """The plain layer on each sentence by itself, cut to its length; zeros where padding would be."""
    rows = [layer(row[None, :n])[0][0] for row, n in zip(inputs, lengths.tolist(), strict=True)]
    return torch.stack([nn.functional.pad(row, (0, 0, 0, inputs.shape[1] - len(row))) for row in rows])


def values_and_gradients(run: Callable[..., Tensor], layer: nn.Module, inputs: Tensor, *rest: Tensor) -> list[Tensor]:
    """States, and the gradients of a weighted sum of them by the inputs and by every weight."""
    lengths, ones = rest
    layer.zero_grad()
    inputs = inputs.clone().requires_grad_()
    states = run(layer, inputs, lengths)
    (states * ones).sum().backward()
    gradients = [parameter.grad for parameter in (inputs, *layer.parameters())]
    return [states.detach(), *(gradient.clone() for gradient in gradients if gradient is not None)]


@pytest.mark.parametrize("cell", TORCH)
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("run", [run_plain, run_torch, run_compiled])
@pytest.mark.parametrize("padding", [0.0, 1e30])
def test_a_layer_is_the_plain_layer_of_each_sentence(
    run: Run, lengths: list[int], padding: float, cell: CellName
) -> None:
    if run is run_compiled and not bindings.usable(torch.zeros(1)):
        pytest.skip("no C++ compiler, so no kernels")
    torch.manual_seed(1)
    plain = TORCH[cell](SIZE, HIDDEN, batch_first=True, bidirectional=True)
    randomise(plain)
    layer = RecurrentLayer(config_of(cell=cell), SIZE, HIDDEN, directions=2).double()
    layer.load_state_dict(plain.state_dict())
    mask = mask_of(lengths)
    inputs = torch.randn(*mask.shape, SIZE, dtype=torch.float64).masked_fill(~mask[..., None], padding)
    ones = torch.randn(*mask.shape, 2 * HIDDEN, dtype=torch.float64)
    expected = values_and_gradients(run_alone, plain, inputs, torch.tensor(lengths), ones)

    def run_layer(layer: RecurrentLayer, inputs: Tensor, lengths: Tensor) -> Tensor:
        return run([layer.cell(0), layer.cell(1)], [layer.weights(0), layer.weights(1)], inputs, lengths, None)

    found = values_and_gradients(run_layer, layer, inputs, torch.tensor(lengths), ones)
    assert len(found) == len(expected) == 2 + 8  # both directions' weights and biases have a gradient
    for value, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(value, wanted, **EXACT)


@torch.no_grad()
@pytest.mark.parametrize("cell", TORCH)
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_the_encoder_is_a_stacked_bidirectional_layer(num_layers: int, lengths: list[int], cell: CellName) -> None:
    """States of the top layer, and as summary its final state: forward at the last token, backward at the first."""
    torch.manual_seed(2)
    encoder = Encoder(config_of(num_layers, cell)).eval()
    randomise(encoder)
    stacked = TORCH[cell](SIZE, HIDDEN, num_layers, batch_first=True, bidirectional=True).double()
    for number, layer in enumerate(encoder.layers):
        for name, parameter in layer.named_parameters():
            getattr(stacked, name.replace("_l0", f"_l{number}")).copy_(parameter)
    mask = mask_of(lengths)
    inputs = torch.randn(*mask.shape, SIZE, dtype=torch.float64).masked_fill(~mask[..., None], 1e30)
    states, summary = encoder(inputs, torch.tensor(lengths))
    assert not states[~mask].any()
    for row, length in enumerate(lengths):
        expected, final = stacked(inputs[row : row + 1, :length])
        final = final[0] if cell is CellName.lstm else final
        torch.testing.assert_close(states[row, :length], expected[0], **EXACT)
        torch.testing.assert_close(summary[row], torch.cat([final[-2, 0], final[-1, 0]]), **EXACT)


@torch.no_grad()
@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize(
    ("cell", "settings"),
    [
        *((cell, {"residual": True}) for cell in CellName),
        (CellName.peephole_lstm, {"peephole_candidate": True}),
        *((cell, {"layer_norm": True, "residual": cell is CellName.gru}) for cell in CellName),
        (CellName.peephole_lstm, {"peephole_candidate": True, "layer_norm": True}),
    ],
    ids=lambda value: value.name if isinstance(value, CellName) else " ".join(value),
)
def test_the_encoder_is_its_equations(cell: CellName, settings: dict[str, Any], kernels: bool) -> None:
    """Peepholes, layer normalisation and residual connections, which torch's layers do not have."""
    torch.manual_seed(4)
    encoder = Encoder(config_of(3, cell, **settings)).eval()
    randomise(encoder)
    weights = {name: value.numpy() for name, value in encoder.state_dict().items()}
    lengths = LENGTHS[0]
    mask = mask_of(lengths)
    inputs = torch.randn(*mask.shape, SIZE, dtype=torch.float64).masked_fill(~mask[..., None], 1e30)
    bindings.enable(kernels)
    try:
        states, summary = encoder(inputs, torch.tensor(lengths))
    finally:
        bindings.enable(True)
    assert not states[~mask].any()
    for row, length in enumerate(lengths):
        words = inputs[row, :length].numpy()
        expected = encoder_numpy.encode(cell.name, weights, words, 3, HIDDEN, settings.get("residual", False))
        np.testing.assert_allclose(states[row, :length], expected[0], rtol=0, atol=1e-12)
        np.testing.assert_allclose(summary[row], expected[1], rtol=0, atol=1e-12)


def test_dropout_stands_between_layers_and_not_after_the_last() -> None:
    torch.manual_seed(3)
    inputs, lengths = torch.randn(2, 4, SIZE, dtype=torch.float64), torch.tensor([4, 2])
    for num_layers in (1, 2):
        encoder = Encoder(config_of(num_layers, dropout=0.9)).train()
        randomise(encoder)
        once, again = (encoder(inputs, lengths)[0] for _ in range(2))
        assert torch.equal(once, again) == (num_layers == 1)
