"""Named lists of filters, in the same words as `--filter`; `python -m seq2seq.data clean --list` prints them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from seq2seq.data.files.text_file import text_lines
from seq2seq.data.filters.base import UnknownLanguageError
from seq2seq.data.filters.pipeline import Pipeline
from seq2seq.data.filters.registry import make_filter, name_of
from seq2seq.errors import ConfigError

log = logging.getLogger(__name__)

BLANK = ("empty",)
HARMLESS = (*BLANK, "unencodable")
LIGHT = (
    *HARMLESS,
    "control_characters",
    "mojibake",
    "max_length:words=250,characters=2500",
    "length_ratio:max=4,words=12",
    "max_word_length:characters=60",
    "identical",
    "script:min=0.3",
    "url_mismatch",
    "repeated_ngram:times=6",
    "deduplicate",
)
STRICT = (
    *HARMLESS,
    "control_characters",
    "mojibake",
    "max_length",
    "length_ratio",
    "max_word_length",
    "identical:words=2",
    "alpha_ratio",
    "script",
    "num_mismatch",
    "url_mismatch",
    "terminal_punctuation",
    "repeated_ngram",
    "lang_id",
    "deduplicate",
)
PRESETS: dict[str, Sequence[str]] = {"none": BLANK, "harmless": HARMLESS, "light": LIGHT, "strict": STRICT}
"""light drops what is no translation, strict also what is probably not the translation of the other side."""


def preset(name: str) -> list[str]:
    """Return the specs of a preset, or of a file with one spec per line, in which `#` starts a comment.

    Raises:
        ConfigError: there is no such preset.
        DataError: the file cannot be read.
    """
    if name in PRESETS:
        return list(PRESETS[name])
    if not Path(name).expanduser().exists():
        raise ConfigError(f"no preset {name!r}: choose {', '.join(PRESETS)}, or name a file of filters, one per line")
    lines = (line.partition("#")[0].strip() for line in text_lines(Path(name).expanduser(), name))
    return list(filter(None, lines))


def combined(base: Sequence[str], added: Sequence[str], without: Sequence[str]) -> list[str]:
    """Return the specs of `base`, those of the same name replaced by `added`, without the names `without`.

    Raises:
        ConfigError: an unknown name; `without` names no filter of the rest; one spec occurs twice.
    """
    replaced = {name_of(spec) for spec in added}
    specs = [spec for spec in base if name_of(spec) not in replaced]
    last = [spec for spec in specs if name_of(spec) == "deduplicate"]  # of what the other filters keep
    specs = [spec for spec in specs if spec not in last] + list(added) + last
    for name in without:
        if all(name_of(spec) != name_of(name) for spec in specs):
            raise ConfigError(f"--without {name}: the filter is not in use")
    specs = [spec for spec in specs if name_of(spec) not in {name_of(name) for name in without}]
    if twice := next((spec for spec in specs if specs.count(spec) > 1), None):
        raise ConfigError(f"the filter {twice} is given twice")
    return specs


def pipeline(
    specs: Sequence[str], languages: tuple[str, str], required: Sequence[str] = (), examples: int = 0
) -> Pipeline:
    """Return new filters.

    Args:
        specs: of the filters.
        languages: see `make_filter`.
        required: specs whose languages must be known; without a known language others are left out, with a warning.
        examples: see `Pipeline`.

    Raises:
        ConfigError: as `make_filter`.
    """
    filters = {}
    for spec in specs:
        try:
            filters[spec] = make_filter(spec, languages)
        except UnknownLanguageError as error:
            if spec in required:
                raise
            log.warning("%s: left out", error)
    return Pipeline(filters, examples)
