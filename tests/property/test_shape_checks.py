"""The checks of annotations that the tests install: a wrong shape or type is an error at every call."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from beartype import beartype
from jaxtyping import Float
from torch import Tensor

import shape_checks

checked = shape_checks.jaxtyped(typechecker=beartype)


@checked
def scaled_by(
    rows: Float[Tensor, "batch size"], weights: Float[Tensor, "size"], wrong: int = 0
) -> Float[Tensor, "batch size"]:
    return (rows * weights)[:, wrong:]


@checked
def length(text: str) -> int:
    return len(text) if text else None  # type: ignore[return-value]


def test_a_wrong_shape_is_an_error_also_after_right_ones() -> None:
    rows, weights = torch.ones(2, 3), torch.ones(3)
    for _ in range(2):
        assert torch.equal(scaled_by(rows, weights), rows)
        assert torch.equal(scaled_by(rows, weights=weights), rows)
        for one, other in ((rows, torch.ones(1)), (rows[0], weights), (rows.int(), weights), (rows, [1.0, 1.0, 1.0])):
            with pytest.raises(Exception, match="checking the parameters"):
                scaled_by(one, other)
        with pytest.raises(
            Exception, match="checking the return value"
        ):  # the arguments have the same shapes as before
            scaled_by(rows, weights, 1)


def test_a_wrong_type_is_an_error() -> None:
    assert length("abc") == 3
    for text in (3, ""):
        with pytest.raises(Exception, match="violates type hint"):
            length(text)  # type: ignore[arg-type]


def test_the_package_is_checked() -> None:
    from seq2seq.data.batches.batch import make_batch
    from tiny_model import make_network

    network = make_network(12).eval()
    ids = torch.tensor([[4, 5, 3]])
    with torch.no_grad():
        memory, state = network.encode(ids, torch.tensor([3]))
        for wrong in (ids[0], ids.float()):
            with pytest.raises(Exception, match="checking the parameters of seq2seq"):
                network.step(wrong, state, memory)
    made: Any = make_batch
    with pytest.raises(Exception, match="violates type hint"):
        made(3, 4)
