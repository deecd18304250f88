"""The searched keys: sweeps in Hydra's grammar, converted to Optuna's distributions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, OverrideType, RangeSweep
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from seq2seq.config.error_messages import unknown_key
from seq2seq.config.field import Choice, schema_key, value_range, walk
from seq2seq.config.schema import Config
from seq2seq.errors import ConfigError

NOT_SEARCHABLE = ("hydra", "experiment", "tune", "training.monitor", "training.resume")
Space = dict[str, Any]
"""Key -> Optuna's distribution."""
Point = dict[str, Any]
"""Key -> value; the value of a categorical key is text."""


def split_sweeps(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the overrides of a command line into those with one value and sweeps."""
    fixed: list[str] = []
    sweeps: list[str] = []
    for argument, override in zip(arguments, OverridesParser.create().parse_overrides(list(arguments)), strict=True):
        (sweeps if override.is_sweep_override() else fixed).append(argument)
    return fixed, sweeps


def key_of(override: str) -> str:
    """Return the key or group of an override."""
    return str(OverridesParser.create().parse_override(override).key_or_group)


def without_keys(overrides: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Return the overrides except those of `keys` and of keys below them."""
    prefixes = tuple(f"{key}." for key in keys)
    return [override for override in overrides if not f"{key_of(override)}.".startswith(prefixes)]


def search_space(
    listed: Sequence[str], fixed: Sequence[str], sweeps: Sequence[str], groups: Mapping[str, str]
) -> Space:
    """Return the space of the sweeps in `tune.space` and on the command line.

    Args:
        listed: Sweeps in `tune.space`; those of keys in `fixed` are skipped.
        fixed: Overrides with one value on the command line.
        sweeps: Sweeps on the command line; they replace listed sweeps of the same key.
        groups: Config group -> its option.

    Raises:
        ConfigError: not KEY=SWEEP, or a key or sweep that cannot be searched.
    """
    parser = OverridesParser.create()
    fixed_keys = {key_of(override) for override in fixed}
    space = {}
    for sweep in [*listed, *sweeps]:
        try:
            override = parser.parse_override(sweep)
            if sweep in sweeps or override.key_or_group not in fixed_keys:
                space[override.key_or_group] = _distribution(override, groups)
        except (HydraException, ValueError) as error:
            raise ConfigError(f"cannot search {sweep!r}: {str(error).splitlines()[0]}") from error
    return space


def baseline_point(space: Space, base: DictConfig, groups: Mapping[str, str]) -> Point | None:
    """Return the values of the searched keys in the config `base`, or None if one is outside the space."""
    point = {}
    for key, distribution in space.items():
        value = groups[key] if key in groups else OmegaConf.select(base, key)
        drawn = _as_drawn(key, distribution, value.name if isinstance(value, Choice) else value)
        if drawn is None:
            return None
        point[key] = drawn
    return point


def number_of_points(space: Space) -> float:
    """Return the number of points in a space; infinite if a distribution is continuous."""
    return math.prod(_number_of_values(distribution) for distribution in space.values())


def contains(space: Space, point: Point) -> bool:
    """Return whether a point with the keys of `space` is within its ranges, which may have changed since the draw."""
    ranges = {key: distribution for key, distribution in space.items() if hasattr(distribution, "low")}
    return all(distribution.low <= point[key] <= distribution.high for key, distribution in ranges.items())


def as_overrides(point: Point) -> list[str]:
    """Return a point as overrides."""
    return [f"{key}={value}" for key, value in point.items()]


def _distribution(override: Override, groups: Mapping[str, str]) -> Any:
    """Return the distribution of a sweep; raise ValueError if it cannot be searched."""
    from optuna.distributions import CategoricalDistribution

    key, value = override.key_or_group, override.value()
    if override.type is not OverrideType.CHANGE or override.package is not None:
        raise ValueError("write KEY=SWEEP")
    if f"{key}.".startswith(tuple(f"{name}." for name in NOT_SEARCHABLE)):
        raise ValueError(f"{key} is the same in all trials")
    value_type = None if key in groups else _type_of(key)
    if isinstance(value, ChoiceSweep):
        return CategoricalDistribution(list(dict.fromkeys(override.sweep_string_iterator())))
    if not isinstance(value, IntervalSweep | RangeSweep):
        raise ValueError("write KEY=choice(A,B), KEY=range(A,B) or KEY=interval(A,B)")
    if value_type not in ("int", "float"):
        raise ValueError(f"{key} is not a number, list its values: {key}=choice(A,B)")
    distribution = _numeric_distribution(override, value, integer=value_type == "int")
    field = dict(walk(Config, entries=True))[schema_key(key, Config)]
    low, high = field.metadata["at_least"], field.metadata["at_most"]
    if (low is not None and distribution.low < low) or (high is not None and distribution.high > high):
        raise ValueError(f"out of range: {value_range(field)}")
    return distribution


def _type_of(key: str) -> str:
    """Return the type of a key as written in the schema, without `| None`; raise ValueError if it is unknown."""
    types = {known: str(field.type) for known, field in walk(Config, entries=True)}
    if schema_key(key, Config) not in types:
        raise ValueError(unknown_key(key))
    return types[schema_key(key, Config)].removesuffix(" | None")


def _numeric_distribution(override: Override, value: IntervalSweep | RangeSweep, integer: bool) -> Any:
    """Return the distribution of an interval or a range; raise ValueError if a tag or a bound is invalid."""
    from optuna.distributions import FloatDistribution, IntDistribution

    log = "log" in value.tags
    if value.tags - {"log"}:
        raise ValueError(f"the only tag is log, not {', '.join(sorted(value.tags - {'log'}))}")
    if isinstance(value, IntervalSweep):
        assert value.start is not None
        assert value.end is not None
        if integer:
            return IntDistribution(math.ceil(value.start), math.floor(value.end), log=log)
        return FloatDistribution(float(value.start), float(value.end), log=log)
    count = sum(1 for _ in override.sweep_string_iterator())
    if not count:
        raise ValueError("the range is empty")
    if log:
        raise ValueError("tag(log, …) needs an interval")
    start, step = Decimal(str(value.start)), Decimal(str(value.step))  # in floats 0.1 + 2 · 0.1 > 0.3
    low, high = (float(end) for end in sorted((start, start + (count - 1) * step)))
    step_size = float(abs(step))
    if not integer:
        return FloatDistribution(low, high, step=step_size)
    if not (low.is_integer() and step_size.is_integer()):
        raise ValueError("the key takes whole numbers")
    return IntDistribution(int(low), int(high), step=int(step_size))


def _number_of_values(distribution: Any) -> float:
    from optuna.distributions import CategoricalDistribution

    if isinstance(distribution, CategoricalDistribution):
        return float(len(distribution.choices))
    if distribution.single():
        return 1.0
    return round((distribution.high - distribution.low) / distribution.step) + 1.0 if distribution.step else math.inf


def _as_drawn(key: str, distribution: Any, value: Any) -> Any:
    """Return a config value as the distribution would draw it, or None if it cannot draw it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        parser = OverridesParser.create()
        return next(
            (text for text in distribution.choices if parser.parse_override(f"{key}={text}").value() == value), None
        )
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if not isinstance(value, int | float) or not distribution.low <= value <= distribution.high:
        return None
    steps = (value - distribution.low) / distribution.step if distribution.step else 0.0
    return value if math.isclose(steps, round(steps), abs_tol=1e-6) else None
