"""What is searched, in the grammar of Hydra's sweeps, as Optuna's distributions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, OverrideType, RangeSweep
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from seq2seq.config.error_messages import nearest_key
from seq2seq.config.field import Choice, value_range, walk
from seq2seq.config.schema import Config
from seq2seq.errors import ConfigError

NEVER = ("hydra", "experiment", "tune", "training.monitor", "training.resume")
Space = dict[str, Any]
"""Key -> Optuna's distribution."""
Point = dict[str, Any]
"""Key -> value; of a choice, the value as text."""


def split_sweeps(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the overrides of a command line that are fixed, and those that are sweeps."""
    fixed: list[str] = []
    sweeps: list[str] = []
    for argument, override in zip(arguments, OverridesParser.create().parse_overrides(list(arguments)), strict=True):
        (sweeps if override.is_sweep_override() else fixed).append(argument)
    return fixed, sweeps


def key_of(override: str) -> str:
    """Return the key or group of an override."""
    return str(OverridesParser.create().parse_override(override).key_or_group)


def but_for(fixed: Sequence[str], prefixes: Sequence[str]) -> list[str]:
    """Return the overrides that are of other keys than `prefixes` and what lies below them."""
    below = tuple(f"{prefix}." for prefix in prefixes)
    return [text for text in fixed if not f"{key_of(text)}.".startswith(below)]


def search_space(
    listed: Sequence[str], fixed: Sequence[str], sweeps: Sequence[str], groups: Mapping[str, str]
) -> Space:
    """Return key -> distribution: of `listed`, but for keys that a command line fixes, and of its sweeps.

    `groups` says which choice each group of settings has.

    Raises:
        ConfigError: not KEY=SWEEP, or a sweep that cannot be searched.
    """
    parser = OverridesParser.create()
    taken = {key_of(text) for text in fixed}
    space = {}
    for sweep in [*listed, *sweeps]:
        try:
            override = parser.parse_override(sweep)
            if sweep in sweeps or override.key_or_group not in taken:
                space[override.key_or_group] = _distribution(override, groups)
        except (HydraException, ValueError) as error:
            told = str(error).splitlines()[0]
            raise ConfigError(f"cannot search {sweep!r}: {told}") from error
    return space


def own_point(space: Space, base: DictConfig, groups: Mapping[str, str]) -> Point | None:
    """Return the values that `base` itself has of what is searched; None if the space does not hold all of them."""
    point = {}
    for key, distribution in space.items():
        own = groups[key] if key in groups else OmegaConf.select(base, key)
        value = _within(key, distribution, own.name if isinstance(own, Choice) else own)
        if value is None:
            return None
        point[key] = value
    return point


def size(space: Space) -> float:
    """Return how many points a space has."""
    return math.prod(_size(distribution) for distribution in space.values())


def holds(space: Space, point: Point) -> bool:
    """Whether a point of the space as it was lies within the space as it is: the ends of a range may have changed."""
    ranges = {key: one for key, one in space.items() if hasattr(one, "low")}
    return all(one.low <= point[key] <= one.high for key, one in ranges.items())


def overrides(point: Point) -> list[str]:
    """Return a point of the space as overrides."""
    return [f"{key}={value}" for key, value in point.items()]


def _distribution(override: Override, groups: Mapping[str, str]) -> Any:
    """Return the distribution of a sweep; ValueError where there is none."""
    from optuna.distributions import CategoricalDistribution

    key, value = override.key_or_group, override.value()
    if override.type is not OverrideType.CHANGE or override.package is not None:
        raise ValueError("write KEY=SWEEP")
    if key.startswith(tuple(f"{name}." for name in NEVER)) or key in NEVER:
        raise ValueError(f"{key} is the same in all trials")
    kind = None if key in groups else _kind(key)
    if isinstance(value, ChoiceSweep):
        return CategoricalDistribution(list(dict.fromkeys(override.sweep_string_iterator())))
    if isinstance(value, IntervalSweep | RangeSweep):
        if kind not in ("int", "float"):
            raise ValueError(f"{key} is no number, list its values: {key}=choice(A,B)")
        made = _numbers(override, value, whole=kind == "int")
        field = dict(walk(Config))[key]
        low, high = field.metadata["at_least"], field.metadata["at_most"]
        if (low is not None and made.low < low) or (high is not None and made.high > high):
            raise ValueError(f"out of range: {value_range(field)}")
        return made
    raise ValueError("write KEY=choice(A,B), KEY=range(A,B) or KEY=interval(A,B)")


def _kind(key: str) -> str:
    """Return the type of a key, as the schema writes it, but for None."""
    fields = {known: str(field.type) for known, field in walk(Config)}
    if key not in fields:
        near = nearest_key(key)
        raise ValueError(f"unknown key {key!r}" + (f"; did you mean {near!r}?" if near else ""))
    return fields[key].removesuffix(" | None")


def _numbers(override: Override, value: IntervalSweep | RangeSweep, whole: bool) -> Any:
    from optuna.distributions import FloatDistribution, IntDistribution

    log = "log" in value.tags
    if value.tags - {"log"}:
        raise ValueError(f"the only tag is log, not {', '.join(sorted(value.tags - {'log'}))}")
    if isinstance(value, IntervalSweep):
        assert value.start is not None
        assert value.end is not None
        if whole:
            return IntDistribution(math.ceil(value.start), math.floor(value.end), log=log)
        return FloatDistribution(float(value.start), float(value.end), log=log)
    count = sum(1 for _ in override.sweep_string_iterator())
    if not count:
        raise ValueError("the range is empty")
    if log:
        raise ValueError("tag(log, …) goes with an interval")
    start, step = Decimal(str(value.start)), Decimal(str(value.step))  # floats would end in 0.30000000000000004
    low, high = (float(end) for end in sorted((start, start + (count - 1) * step)))
    apart = float(abs(step))
    if not whole:
        return FloatDistribution(low, high, step=apart)
    if not (low.is_integer() and apart.is_integer()):
        raise ValueError("the key takes whole numbers")
    return IntDistribution(int(low), int(high), step=int(apart))


def _size(distribution: Any) -> float:
    from optuna.distributions import CategoricalDistribution

    if isinstance(distribution, CategoricalDistribution):
        return float(len(distribution.choices))
    if distribution.single():
        return 1.0
    return round((distribution.high - distribution.low) / distribution.step) + 1.0 if distribution.step else math.inf


def _within(key: str, distribution: Any, own: Any) -> Any:
    """Return `own` as the distribution has it; None if it has not."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        parser = OverridesParser.create()
        return next(
            (text for text in distribution.choices if parser.parse_override(f"{key}={text}").value() == own), None
        )
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if not isinstance(own, int | float) or not distribution.low <= own <= distribution.high:
        return None
    steps = (own - distribution.low) / distribution.step if distribution.step else 0.0
    return own if math.isclose(steps, round(steps), abs_tol=1e-6) else None
