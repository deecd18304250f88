"""Read the entries of one language pair from the index that is part of mtdata.

`import mtdata.index` would first build all of its 290,000 entries (10 s), write 145 MB to the home folder, and run
mtdata*.py of the current folder. Here its modules run with stand-ins for the classes they fill (`_collecting`), which
keep the entries of one language pair only.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
import warnings
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from seq2seq.data.index.languages import Language, bcp47, mtdata, parsed
from seq2seq.errors import ConfigError

GROUPS = (
    *("statmt", "paracrawl", "tilde", "joshua_indian", "unitednations", "wikimatrix", "other", "neulab_tedtalks"),
    *(
        "elrc_share",
        "ai4bharat",
        "eu",
        "linguatools",
        "anuvaad",
        "allenai_nllb",
        "flores",
        "opus.opus100",
        "huggingface",
    ),
)
"""Modules of mtdata.index with parallel text."""
Pair = tuple[Language, Language]


class Sides(dict[Any, int]):
    """Which language of a pair a code is: 1 for the first, 2 for the second, added up if it is both, else 0."""

    def __init__(self, pair: Pair) -> None:
        super().__init__()
        self._pair = pair

    def __missing__(self, code: Any) -> int:
        found = parsed(code)
        first, second = self._pair
        self[code] = 0 if found is None else first.includes(found) + 2 * second.includes(found)
        return self[code]


BOTH = frozenset((src, tgt) for src in range(4) for tgt in range(4) if (src & 1 and tgt & 2) or (src & 2 and tgt & 1))
"""Values of `Sides` for the two languages of an entry that is of the pair, in either order."""
Id = namedtuple("Id", "group name version langs")
"""Stand-in for mtdata's DatasetId."""
Entry = namedtuple(
    "Entry", "did url filename ext in_paths in_ext cite cols meta", defaults=(None, None, None, None, None, None, None)
)
"""Stand-in for mtdata's Entry."""


class _Index:
    """Stand-in for mtdata's Index, which keeps the entries of one language pair."""

    def __init__(self, pair: Pair) -> None:
        self._sides = Sides(pair)
        self.entries: list[Any] = []

    def __iadd__(self, entry: Any) -> _Index:
        did = entry.did
        if isinstance(did, str):
            group, name, version, *langs = did.split("-")
            did = Id(group, name, version, tuple(langs))
        if len(did.langs) == 2 and (self._sides[did.langs[0]], self._sides[did.langs[1]]) in BOTH:
            self.entries.append(entry._replace(did=did))
        return self

    add_entry = __iadd__

    def __contains__(self, did: object) -> bool:  # `corpus_index.find` keeps the first of a name
        return False


def entries(pair: Pair) -> list[Any]:
    """Return the entries (`Entry`) of a language pair, except those in `opus_table`."""
    index = _Index(pair)
    with _collecting(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # mtdata leaves files open
        for group in GROUPS:
            importlib.import_module(f"mtdata.index.{group}").load_all(index)
    return index.entries


@contextlib.contextmanager
def _collecting() -> Iterator[None]:
    """Let modules of mtdata.index, imported inside the block, use the stand-ins.

    Raises:
        ConfigError: this version of mtdata is built differently.
    """
    lacking = [] if "requests" in sys.modules else ["requests"]  # mtdata refreshes its lists with it, and it is slow
    sys.modules.update({name: ModuleType(name) for name in lacking})
    stand_in = ModuleType("mtdata.index")
    stand_in.__path__ = [str(package() / "index")]
    others = {"bcp47": bcp47(), "log": logging.getLogger("mtdata")}
    vars(stand_in).update({"Index": _Index, "Entry": Entry, "DatasetId": Id}, **others)
    entry = ModuleType("mtdata.entry")
    vars(entry).update({"Entry": Entry, "DatasetId": Id})
    replaced = {name: module for name, module in sys.modules.items() if _is_replaced(name)}
    for name in replaced:
        del sys.modules[name]
    sys.modules.update({"mtdata.index": stand_in, "mtdata.entry": entry})
    try:
        yield
    except (AssertionError, AttributeError, ImportError, LookupError, OSError, TypeError, ValueError) as error:
        raise ConfigError(
            f"the index of mtdata cannot be read ({error}): install another version, pip install 'mtdata==0.5.1'"
        ) from error
    finally:
        for name in [*lacking, *filter(_is_replaced, sys.modules)]:
            del sys.modules[name]
        sys.modules.update(replaced)


def _is_replaced(name: str) -> bool:
    return name in ("mtdata.index", "mtdata.entry") or name.startswith("mtdata.index.")


def package() -> Path:
    """Return the folder of mtdata."""
    return Path(mtdata().__file__ or "").parent


def opus_table() -> Iterator[list[str]]:
    """Yield corpus, version, source and target of every OPUS corpus in Moses format."""
    text = (package() / "resource" / "opus_index.tsv").read_text(encoding="utf-8")
    yield from (columns for columns in (line.split("\t") for line in text.split("\n")) if len(columns) == 4)


def elrc_licences() -> dict[str, str]:
    """Return licences by URL."""
    if not _LICENCES:
        with (package() / "resource" / "elrc_share.tsv").open(encoding="utf-8") as lines:
            for line in lines:
                columns = line.split("\t")
                _LICENCES[columns[6]] = columns[7]
    return _LICENCES


_LICENCES: dict[str, str] = {}
