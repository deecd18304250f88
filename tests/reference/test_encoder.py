"""The encoder against nn.LSTM on one sentence at a time without padding, and against packed sequences."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from seq2seq.model.encoder import Encoder, run_packed, run_padded

SIZE, HIDDEN = 5, 4
LENGTHS = [[3, 7, 1, 5], [1], [1, 1, 1], [6, 6]]
EXACT = {"rtol": 0, "atol": 1e-10}

Run = Callable[[nn.LSTM, Tensor, Tensor], Tensor]


def randomise(module: nn.Module) -> None:
    module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.7)


def mask_of(lengths: list[int]) -> Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def run_alone(layer: nn.LSTM, inputs: Tensor, lengths: Tensor) -> Tensor:
    """The plain layer on each sentence by itself, cut to its length; zeros where padding would be."""
    rows = [layer(row[None, :n])[0][0] for row, n in zip(inputs, lengths.tolist(), strict=True)]
    return torch.stack([nn.functional.pad(row, (0, 0, 0, inputs.shape[1] - len(row))) for row in rows])


def values_and_gradients(run: Run, layer: nn.LSTM, inputs: Tensor, lengths: Tensor, ones: Tensor) -> list[Tensor]:
    """States, and the gradients of a weighted sum of them by the inputs and by every weight."""
    layer.zero_grad()
    inputs = inputs.clone().requires_grad_()
    states = run(layer, inputs, lengths)
    (states * ones).sum().backward()
    gradients = [parameter.grad for parameter in (inputs, *layer.parameters())]
    return [states.detach(), *(gradient.clone() for gradient in gradients if gradient is not None)]


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("run", [run_padded, run_packed])
@pytest.mark.parametrize("padding", [0.0, 1e30])
def test_a_layer_is_the_plain_lstm_of_each_sentence(run: Run, lengths: list[int], padding: float) -> None:
    torch.manual_seed(1)
    layer = nn.LSTM(SIZE, HIDDEN, batch_first=True, bidirectional=True)
    randomise(layer)
    mask = mask_of(lengths)
    inputs = torch.randn(*mask.shape, SIZE, dtype=torch.float64).masked_fill(~mask[..., None], padding)
    ones = torch.randn(*mask.shape, 2 * HIDDEN, dtype=torch.float64)
    expected = values_and_gradients(run_alone, layer, inputs, torch.tensor(lengths), ones)
    found = values_and_gradients(run, layer, inputs, torch.tensor(lengths), ones)
    assert len(found) == len(expected) == 2 + 8  # both directions' weights and biases have a gradient
    for value, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(value, wanted, **EXACT)


@torch.no_grad()
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_the_encoder_is_a_stacked_bidirectional_lstm(num_layers: int, lengths: list[int]) -> None:
    """States of the top layer, and as summary its final state: forward at the last token, backward at the first."""
    torch.manual_seed(2)
    encoder = Encoder(SIZE, HIDDEN, num_layers, dropout=0.5).eval()
    randomise(encoder)
    stacked = nn.LSTM(SIZE, HIDDEN, num_layers, batch_first=True, bidirectional=True).double()
    for number, layer in enumerate(encoder.layers):
        for name, parameter in layer.named_parameters():
            getattr(stacked, name.replace("_l0", f"_l{number}")).copy_(parameter)
    mask = mask_of(lengths)
    inputs = torch.randn(*mask.shape, SIZE, dtype=torch.float64).masked_fill(~mask[..., None], 1e30)
    states, summary = encoder(inputs, torch.tensor(lengths))
    assert not states[~mask].any()
    for row, length in enumerate(lengths):
        expected, (final, _) = stacked(inputs[row : row + 1, :length])
        torch.testing.assert_close(states[row, :length], expected[0], **EXACT)
        torch.testing.assert_close(summary[row], torch.cat([final[-2, 0], final[-1, 0]]), **EXACT)


def test_dropout_stands_between_layers_and_not_after_the_last() -> None:
    torch.manual_seed(3)
    encoder = Encoder(SIZE, HIDDEN, num_layers=1, dropout=0.9).double().train()
    inputs, lengths = torch.randn(2, 4, SIZE, dtype=torch.float64), torch.tensor([4, 2])
    once, again = (encoder(inputs, lengths)[0] for _ in range(2))
    assert torch.equal(once, again)
    deep = Encoder(SIZE, HIDDEN, num_layers=2, dropout=0.9).double().train()
    once, again = (deep(inputs, lengths)[0] for _ in range(2))
    assert not torch.equal(once, again)
