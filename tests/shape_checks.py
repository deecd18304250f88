"""Runtime checks of annotations that cost little: of shapes where there are any, of types alone elsewhere.

The import hook of jaxtyping calls `jaxtyping.jaxtyped` for every function of the package. Its check of a call takes a
tenth of a millisecond or more, also of a function without shapes, and a function inside a function is prepared anew
each time it is made, in several milliseconds. The searches of these tests call such functions many thousands of times.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any, get_type_hints

import jaxtyping
import numpy as np
import torch

with_shapes = jaxtyping.jaxtyped


def jaxtyped(*, typechecker: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return the decorator that jaxtyping's import hook applies to every function and class."""

    def decorate(part: Any) -> Any:
        if isinstance(part, type):
            return with_shapes(part, typechecker=typechecker)
        if has_shapes(part):
            return checked_once(part, typechecker)
        if "<locals>" in part.__qualname__:
            return part
        return typechecker(part) if can_be_read(part) else with_shapes(part, typechecker=typechecker)

    return decorate


def has_shapes(function: Callable[..., Any]) -> bool:
    """Return whether an annotation has a string inside, as `Float[Tensor, "batch len"]` has."""
    return any("'" in str(annotation) for annotation in function.__annotations__.values())


def can_be_read(function: Callable[..., Any]) -> bool:
    """Return whether every annotation has a value here; names that only type checkers import have none."""
    try:
        get_type_hints(function)
    except (NameError, TypeError):  # TypeError: `array[int]`, of a class without items
        return False
    return True


def checked_once(function: types.FunctionType, typechecker: Callable[[Any], Any]) -> Callable[..., Any]:
    """Return the function with a check of each call whose types, dtypes and shapes differ from those checked before."""
    results: list[Any] = []

    def last(*args: Any, **kwargs: Any) -> Any:
        return results.pop()

    # The check reads the signature, which `wraps` sets, and the names in it, which are those of the function's module.
    same = types.FunctionType(last.__code__, function.__globals__, function.__name__, None, last.__closure__)
    check_call = with_shapes(function, typechecker=typechecker)
    check_result = with_shapes(functools.wraps(function)(same), typechecker=typechecker)
    known: set[object] = set()

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = kind(args), tuple((name, kind(value)) for name, value in kwargs.items())
        if given not in known:
            result = check_call(*args, **kwargs)
            known.update((given, (given, kind(result))))
            return result
        result = function(*args, **kwargs)
        if (given, kind(result)) not in known:
            results.append(result)
            check_result(*args, **kwargs)
            known.add((given, kind(result)))
        return result

    return call


def kind(value: object) -> object:
    """Return all that a check of the value depends on."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return type(value), value.dtype, value.shape
    if type(value) in (tuple, list):
        return type(value), *map(kind, value)  # type: ignore[call-overload]
    return type(value)
