"""Filters by name, and how they are written: `length_ratio`, `length_ratio:max=2,words=5`."""

from __future__ import annotations

import dataclasses
import difflib
from importlib import metadata
from typing import Any

from seq2seq.config.field import Choice, check_ranges
from seq2seq.data.filters.agreement import Identical, NumMismatch, TerminalPunctuation, UrlMismatch
from seq2seq.data.filters.base import Filter
from seq2seq.data.filters.characters import AlphaRatio, ControlCharacters, Mojibake, Unencodable, ZeroWidth
from seq2seq.data.filters.language import LangId, Script
from seq2seq.data.filters.lengths import Empty, LengthRatio, MaxLength, MaxWordLength, MinLength
from seq2seq.data.filters.repetition import Deduplicate, RepeatedNgram
from seq2seq.errors import ConfigError

FILTERS: dict[str, type[Filter]] = {
    "empty": Empty,
    "unencodable": Unencodable,
    "control_characters": ControlCharacters,
    "zero_width": ZeroWidth,
    "mojibake": Mojibake,
    "max_length": MaxLength,
    "min_length": MinLength,
    "length_ratio": LengthRatio,
    "max_word_length": MaxWordLength,
    "identical": Identical,
    "alpha_ratio": AlphaRatio,
    "script": Script,
    "num_mismatch": NumMismatch,
    "url_mismatch": UrlMismatch,
    "terminal_punctuation": TerminalPunctuation,
    "repeated_ngram": RepeatedNgram,
    "lang_id": LangId,
    "deduplicate": Deduplicate,
}
"""Every filter, the cheap ones first, in the order in which a preset applies them."""


def name_of(spec: str) -> str:
    """Return the name in a spec.

    Raises:
        ConfigError: there is no such filter.
    """
    name = spec.partition(":")[0]
    if name not in FILTERS:
        near = difflib.get_close_matches(name, FILTERS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(FILTERS)}"
        raise ConfigError(f"no filter {name[:80]!r}: {hint}")
    return name


def make_filter(spec: str, languages: tuple[str, str] = ("", "")) -> Filter:
    """Return the filter that a spec describes.

    Args:
        spec: NAME or NAME:KEY=VALUE,KEY=VALUE.
        languages: codes of source and target, which filters by script and language need; "": not known.

    Raises:
        UnknownLanguageError: the filter needs a language that is not given or not known.
        ConfigError: an unknown name or key, a value of the wrong type or out of range, or a package is missing.
    """
    kind = FILTERS[name_of(spec)]
    name, _, text = spec.partition(":")
    fields = parameters(kind)
    values: dict[str, Any] = dict(zip(("src", "tgt"), languages, strict=True)) if "src" in fields else {}
    for setting in text.split(",") if text else ():
        key, equals, value = setting.partition("=")
        if not equals or key not in fields:
            known = ", ".join(f"{key}={_shown(field.default)}" for key, field in fields.items()) or "none"
            raise ConfigError(f"filter {spec}: {setting!r} is no parameter of {name}; its parameters: {known}")
        values[key] = _parsed(value, fields[key].default, f"filter {name}:{key}={value}")
    made = kind(**values)
    check_ranges(made, f"filter {name}:")
    return made


def parameters(kind: type[Filter]) -> dict[str, dataclasses.Field[Any]]:
    """Return the fields of a filter that a spec may set."""
    return {field.name: field for field in dataclasses.fields(kind)}


def complete_spec(spec: str) -> str:
    """Return a spec with all that decides what the filter does: defaults that it leaves out, version of the package."""
    kind, fields = FILTERS[name_of(spec)], parameters(FILTERS[name_of(spec)])
    defaults = ",".join(f"{key}={field.default}" for key, field in fields.items())
    if not kind.package:
        return f"{spec} ({defaults})"
    try:
        version = metadata.version(kind.package)
    except metadata.PackageNotFoundError:
        version = "none"
    return f"{spec} ({defaults}; {kind.package} {version})"


def described(name: str) -> str:
    """Return a line on a filter: its parameters with their defaults and the first line of its description."""
    kind = FILTERS[name]
    shown = ",".join(f"{key}={_shown(field.default)}" for key, field in parameters(kind).items() if field.default != "")
    return f"{name}{':' if shown else ''}{shown}  {(kind.__doc__ or '').splitlines()[0]}"


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _parsed(text: str, default: Any, what: str) -> Any:
    if isinstance(default, Choice):
        names = type(default).__members__
        if text not in names:
            raise ConfigError(f"{what}: choose {' or '.join(names)}")
        return names[text]
    try:
        return type(default)(text)
    except ValueError:
        raise ConfigError(f"{what}: not {'a whole' if isinstance(default, int) else 'a'} number") from None
