"""A search uses the weights as they are, however they were changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from seq2seq.inference.ensemble import Ensemble
from seq2seq.inference.translator import Translator
from seq2seq.model.cpu.weight_state import WeightState
from tiny_model import make_model, make_network


@torch.inference_mode()
def logits(ensemble: Ensemble) -> Tensor:
    state = ensemble.start([[5, 6, 7], [8, 9]], torch.device("cpu"))
    return ensemble.step(torch.full((2, 1), 2), state)[0].logits.clone()


def other_memory(network: nn.Module) -> None:
    for weight in network.parameters():
        weight.data = weight.data * 2


def other_memory_twice(network: nn.Module) -> None:
    """The second time where the first values were: an allocator gives freed memory out again."""
    other_memory(network)
    other_memory(network)


def in_place(network: nn.Module) -> None:
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(2)


def other_parameters(network: nn.Module) -> None:
    """With the ids of those that were deleted, where the interpreter gives them out again."""
    for module in network.modules():
        for name in list(module._parameters):
            weight = module._parameters.pop(name)
            values = None if weight is None else weight.detach() * 2
            del weight
            module._parameters[name] = None if values is None else nn.Parameter(values)


def loaded(network: nn.Module) -> None:
    network.load_state_dict({name: values * 2 for name, values in network.state_dict().items()}, assign=True)


@pytest.mark.parametrize("change", [other_memory, other_memory_twice, in_place, other_parameters, loaded])
@pytest.mark.parametrize("part", ["encoder", "decoder", "whole"])
def test_every_counted_change_is_seen(change: Callable[[nn.Module], None], part: str) -> None:
    network = make_network(31, layers=2).eval()
    ensemble = Ensemble([network])
    before = logits(ensemble)
    assert torch.equal(logits(ensemble), before)
    change(network if part == "whole" else getattr(network, part))
    after = logits(ensemble)
    assert torch.equal(after, logits(Ensemble([network])))
    assert not torch.equal(after, before)


def test_memory_that_is_read_in_another_order_is_another_state() -> None:
    weight = nn.Parameter(torch.ones(3, 3))
    state = WeightState(weight)
    assert state.is_state_of(weight)
    weight.data = weight.data.t()
    assert not state.is_state_of(weight)


def test_a_change_through_data_is_seen_after_a_call(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    line = "pack my box"

    def score(translator: Translator) -> float:
        return translator.translate_n_best([line])[0][0].score

    translator = Translator(model.network, model.tokenizer)
    before = score(translator)
    for weight in model.network.parameters():
        weight.data.mul_(0.9)
    translator.weights_changed()
    assert score(translator) == score(Translator(model.network, model.tokenizer)) != before
