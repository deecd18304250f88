"""Languages by their codes of ISO 639, from the tables that are part of mtdata."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import logging
from types import ModuleType
from typing import Any, NamedTuple

from seq2seq.data.index.language_codes import BIBLIOGRAPHIC
from seq2seq.errors import ConfigError


class Language(NamedTuple):
    """A language: its ISO 639-3 code, with script and region where they are given."""

    code: str
    script: str | None
    region: str | None
    tag: str

    @property
    def short(self) -> str:
        """The ISO 639-1 code, which most files use, if there is one."""
        code: str = bcp47().languages[self.code][0]
        return code or self.code

    def includes(self, other: Language) -> bool:
        """Return True if `other` is this language, in the script and region that this one names."""
        return self.code == other.code and all(
            wanted in (None, given) for wanted, given in ((self.script, other.script), (self.region, other.region))
        )


def language(code: str) -> Language:
    """Return the language of an ISO 639-1, 639-2 or 639-3 code (de, ger, deu), perhaps with script or region (zh_Hant).

    Raises:
        ConfigError: there is none; the message has similar ones.
    """
    base, *rest = code.strip().replace("_", "-").split("-")
    found = parsed("-".join((BIBLIOGRAPHIC.get(base.lower(), base), *rest))) if base else None
    if found is None:
        raise ConfigError(
            f"unknown language {code!r}{_similar_codes(code)}: give an ISO 639 code such as de, deu or zh_Hant"
        )
    return found


def is_installed() -> bool:
    """Return True if there is an index."""
    return importlib.util.find_spec("mtdata") is not None


def mtdata() -> ModuleType:
    """Import mtdata, whose first line of work is to add a handler to the root logger; that is undone.

    Raises:
        ConfigError: it is not installed.
    """
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        import mtdata
    except ImportError as error:
        raise ConfigError(f"the index of corpora needs {error.name}: pip install 'attentional-lstm[data]'") from None
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    module: ModuleType = mtdata
    return module


def bcp47() -> Any:
    """Return mtdata's parser of language codes."""
    mtdata()
    return importlib.import_module("mtdata.iso.bcp47").bcp47


_PARSED: dict[Any, Language | None] = {}


def parsed(code: Any) -> Language | None:
    """Return the language of a code; None if it is unknown."""
    if code not in _PARSED:
        _PARSED[code] = None
        with contextlib.suppress(AssertionError, ValueError):  # also for codes of more than three parts
            _PARSED[code] = Language(*bcp47()(code))
    return _PARSED[code]


def _similar_codes(code: str) -> str:
    """Return the codes of languages whose code or name is similar."""
    known = bcp47().languages  # ISO 639-3 code -> ISO 639-1 code, name
    codes = {short: f"{short} ({name})" for short, name in known.values() if short}
    names = {name.lower(): f"{short or long} ({name})" for long, (short, name) in known.items()}
    by_name = difflib.get_close_matches(code.lower(), names, 3, cutoff=0.8)
    by_code = difflib.get_close_matches(code.lower(), codes, 3, cutoff=0.5)
    return similar([names[name] for name in by_name] or [codes[near] for near in by_code])


def similar(near: list[str]) -> str:
    """Return names that are similar to an unknown one as the end of a message."""
    return f"; similar: {', '.join(near)}" if near else ""
