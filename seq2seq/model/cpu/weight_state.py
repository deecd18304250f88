"""Whether a weight is still what it was when something was prepared from it."""

from __future__ import annotations

from torch import Tensor


class WeightState:
    """A weight as it is now.

    Changes through the weight, and other memory (`weight.data = values`), are seen. PyTorch does not count changes in
    place through `weight.data`: whoever makes one calls `Translator.weights_changed`.
    """

    def __init__(self, weight: Tensor) -> None:
        # Both are kept, because a new tensor could otherwise have the same id or address. They share their memory.
        self._weight, self._values, self._version = weight, weight.detach(), _version(weight)

    def is_state_of(self, weight: Tensor) -> bool:
        """Return whether `weight` has not changed since."""
        values = self._values
        same_memory = weight.data_ptr() == values.data_ptr() and weight.stride() == values.stride()
        return weight is self._weight and same_memory and _version(weight) == self._version


def _version(weight: Tensor) -> int | None:
    return None if weight.is_inference() else weight._version
