"""The index of parallel corpora that is part of mtdata: names, addresses, formats, citations. Needs no network.

`import mtdata.index` would first build all of its 290,000 entries (10 s), write 145 MB to the home folder, and run
mtdata*.py of the current folder. Here its modules run with stand-ins for the classes they fill (`_collecting`), which
keep the entries of one language pair only; those of OPUS are read from its table.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import importlib.util
import logging
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

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
OPUS_URL = "https://object.pouta.csc.fi/OPUS-{corpus}/{version}/moses/{pair}.txt.zip"
ARCHIVES = ("zip", "tar", "tar.gz", "tgz")
LICENCES = {"Flores": "CC-BY-SA 4.0", "AllenAi": "ODC-BY 1.0", "OPUS": "see LICENSE in the archive"}


class Language(NamedTuple):
    """A language: its ISO 639-3 code, with script and region where they are given."""

    code: str
    script: str | None
    region: str | None
    tag: str

    @property
    def short(self) -> str:
        """The ISO 639-1 code, which most files use, if there is one."""
        return _bcp47().languages[self.code][0] or self.code

    def includes(self, other: Language) -> bool:
        """Return True if `other` is this language, in the script and region that this one names."""
        return self.code == other.code and all(
            wanted in (None, given) for wanted, given in ((self.script, other.script), (self.region, other.region))
        )


Pair = tuple[Language, Language]


@dataclass(frozen=True)
class Dataset:
    """A parallel corpus of the index.

    Attributes:
        name: GROUP-NAME-VERSION-SOURCE-TARGET, the ID that mtdata has for it.
        languages: of the two sides, as the files have them.
        urls: one file, or one per side.
        kind: what is downloaded: `zip of tmx`, `tsv.gz`, or `hub`.
        format: of the text: txt (line-aligned), tsv, tmx, sgm, or one that cannot be read here.
        members: patterns of the members of an archive; empty if the URL is the text itself.
        columns: places of the two sides in a file of columns, from 0.
        hub: name, subset and split at the Hugging Face Hub instead of files.
        citation: BibTeX keys.
        licence: None if the index does not know it.
    """

    name: str
    languages: Pair
    urls: tuple[str, ...]
    kind: str
    format: str
    members: tuple[str, ...] = ()
    columns: tuple[int, int] = (0, 1)
    hub: tuple[str, str | None, str | None] | None = None
    citation: tuple[str, ...] = ()
    licence: str | None = None

    def is_swapped(self, src: str, tgt: str) -> bool:
        """Return True if the files have the target language first."""
        return not (language(src).includes(self.languages[0]) and language(tgt).includes(self.languages[1]))


def language(code: str) -> Language:
    """Return the language of an ISO 639-1, 639-2 or 639-3 code (de, ger, deu), with a script or region (zh_Hant, de_AT).

    Raises:
        ConfigError: there is none; the message has similar ones.
    """
    base, *rest = code.strip().replace("_", "-").split("-")
    found = _parsed("-".join((BIBLIOGRAPHIC.get(base.lower(), base), *rest))) if base else None
    if found is None:
        raise ConfigError(f"unknown language {code!r}{_similar(code)}: give an ISO 639 code such as de, deu or zh_Hant")
    return found


def is_installed() -> bool:
    """Return True if there is an index."""
    return importlib.util.find_spec("mtdata") is not None


@functools.cache
def find(src: str, tgt: str) -> tuple[Dataset, ...]:
    """Return the corpora of a language pair, in either direction.

    Raises:
        ConfigError: an unknown language, or mtdata is not installed.
    """
    pair = language(src), language(tgt)
    if pair[0].includes(pair[1]) or pair[1].includes(pair[0]):
        raise ConfigError(f"{src} and {tgt} are the same language: give two languages")
    found = {dataset.name: dataset for dataset in (*_of_opus(pair), *_of_groups(pair))}
    return tuple(found.values())


def named(names: Iterable[str], src: str, tgt: str, key: str) -> list[Dataset]:
    """Return the corpora of a language pair with the given names.

    Raises:
        ConfigError: a name is not in the index, or mtdata is not installed; the message begins with `key`.
    """
    datasets = {dataset.name.lower(): dataset for dataset in find(src, tgt)}
    for name in names:
        if name.lower() not in datasets:
            near = difflib.get_close_matches(name.lower(), datasets, 3)
            hint = f"; similar: {', '.join(datasets[match].name for match in near)}" if near else ""
            raise ConfigError(
                f"{key}: {name} is no corpus of {src}-{tgt} in the index{hint}; list them with python -m seq2seq.data "
                f"search {src}-{tgt}"
            )
    return [datasets[name.lower()] for name in names]


def opus_versions(corpus: str, src: str, tgt: str, key: str) -> list[tuple[str, str]]:
    """Return version and URL of an OPUS corpus in Moses format, the newest last.

    Raises:
        ConfigError: OPUS has no such corpus or not for this pair, or mtdata is not installed.
    """
    pair = language(src), language(tgt)
    rows = [row for row in _opus_table() if row[0] == corpus]
    if not rows:
        corpora = {row[0].lower(): row[0] for row in _opus_table()}
        near = difflib.get_close_matches(corpus.lower(), corpora, 3)
        raise ConfigError(f"{key}={corpus}: OPUS has no such corpus{_or([corpora[match] for match in near])}")
    entries = _Filter(pair)
    urls = [(row[1], _opus_url(*row)) for row in rows if entries.match(row[2], row[3])]
    if not urls:
        raise ConfigError(f"{key}={corpus}: OPUS does not have it for {src}-{tgt}")
    return sorted(urls, key=lambda item: _version_key(item[0]))


def _version_key(version: str) -> tuple[list[int], str]:
    """Return a key that sorts v2, v20190709, v2020-05-31 and v7.1 by time."""
    parts = "".join(character if character.isdigit() else " " for character in version).split()
    dated = [[part[:4], part[4:6], part[6:]] if len(part) == 8 else [part] for part in parts]
    return [int(number) for part in dated for number in part], version


def _opus_url(corpus: str, version: str, src: str, tgt: str) -> str:
    return OPUS_URL.format(corpus=corpus, version=version, pair=f"{src}-{tgt}")


def _of_opus(pair: Pair) -> Iterator[Dataset]:
    entries = _Filter(pair)
    for corpus, version, src, tgt in _opus_table():
        if languages := entries.match(src, tgt):
            name = f"OPUS-{corpus.replace('-', '_').lower()}-{version.replace('-', '').lower()}"
            yield Dataset(
                name=f"{name}-{languages[0].tag}-{languages[1].tag}",
                languages=languages,
                urls=(_opus_url(corpus, version, src, tgt),),
                kind="zip of txt",
                format="txt",
                members=(f"*.{src}", f"*.{tgt}"),
                citation=("tiedemann2012parallel",),
                licence=LICENCES["OPUS"],
            )


def _opus_table() -> Iterator[list[str]]:
    """Yield corpus, version, source and target of every OPUS corpus in Moses format."""
    text = (_package() / "resource" / "opus_index.tsv").read_text(encoding="utf-8")
    yield from (columns for columns in (line.split("\t") for line in text.split("\n")) if len(columns) == 4)


class _Filter:
    """Finds the entries of a language pair, in either direction, among many thousands."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._sides: dict[Any, int] = {}

    def match(self, src: Any, tgt: Any) -> Pair | None:
        """Return the languages of an entry if they are those of the pair, else None."""
        sides = self._of(src) | self._of(tgt) << 2
        if sides & 0b1001 != 0b1001 and sides & 0b0110 != 0b0110:
            return None
        first, second = _parsed(src), _parsed(tgt)
        assert first is not None
        assert second is not None
        return first, second

    def _of(self, code: Any) -> int:
        """Return 1 for the first language of the pair, 2 for the second; added if it is both."""
        sides = self._sides.get(code)
        if sides is None:
            parsed = _parsed(code)
            sides = 0 if parsed is None else sum(side for side, one in zip((1, 2), self._pair) if one.includes(parsed))
            self._sides[code] = sides
        return sides


def _of_groups(pair: Pair) -> Iterator[Dataset]:
    for entry in _entries(pair):
        name = "-".join((*entry.did.parts, *(tag.tag for tag in entry.did.languages)))
        urls = (entry.url,) if isinstance(entry.url, str) else tuple(entry.url)
        extension = entry.ext or _extension(entry.filename or urls[0])
        kind = entry.in_ext or extension.split(".")[0]
        is_archive = extension in ARCHIVES
        members = tuple(entry.in_paths or ()) if is_archive else ()
        if len(members) == 2 and members[0] == members[1]:
            continue  # mtdata 0.5 names one file for both sides of flores101
        hub = None
        if entry.in_ext == "hfds" and isinstance(entry.meta["config"], (str, type(None))):
            hub = (entry.meta["orig_id"], entry.meta["config"], entry.meta["split"])
        yield Dataset(
            name=name,
            languages=entry.did.languages,
            urls=urls,
            format=kind,
            kind="hub" if hub else f"{extension} of {kind}" if members else extension,
            members=members,
            columns=tuple(entry.cols or (0, 1)),
            hub=hub,
            citation=tuple(entry.cite or ()),
            licence=_elrc_licences().get(urls[0]) or LICENCES.get(entry.did.parts[0]),
        )


class _Id:
    """Stand-in for mtdata's DatasetId."""

    def __init__(self, group: str, name: str, version: str, langs: Iterable[Any]) -> None:
        self.parts = (group, name, version)
        self.langs = tuple(langs)
        self.languages: Any = ()


@dataclass
class _Entry:
    """Stand-in for mtdata's Entry."""

    did: Any
    url: Any
    filename: str | None = None
    ext: str | None = None
    in_paths: Any = None
    in_ext: str | None = None
    cite: Any = None
    cols: Any = None
    meta: Any = None


class _Index:
    """Stand-in for mtdata's Index, which keeps the entries of one language pair."""

    def __init__(self, pair: Pair) -> None:
        self._filter = _Filter(pair)
        self.entries: list[_Entry] = []

    def add_entry(self, entry: _Entry) -> None:
        """Keep the entry if it is of the pair."""
        if isinstance(entry.did, str):
            group, name, version, *langs = entry.did.split("-")
            entry.did = _Id(group, name, version, langs)
        if len(entry.did.langs) == 2 and (languages := self._filter.match(*entry.did.langs)):
            entry.did.languages = languages
            self.entries.append(entry)

    def __iadd__(self, entry: _Entry) -> _Index:
        self.add_entry(entry)
        return self

    def __contains__(self, did: object) -> bool:  # the first entry of a name is kept at the end
        return False


def _entries(pair: Pair) -> list[_Entry]:
    index = _Index(pair)
    with _collecting():
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
    stand_in.__path__ = [str(_package() / "index")]
    others = {"bcp47": _bcp47(), "log": logging.getLogger("mtdata")}
    vars(stand_in).update({"Index": _Index, "Entry": _Entry, "DatasetId": _Id}, **others)
    entry = ModuleType("mtdata.entry")
    vars(entry).update({"Entry": _Entry, "DatasetId": _Id})
    replaced = {name: module for name, module in sys.modules.items() if _is_replaced(name)}
    for name in replaced:
        del sys.modules[name]
    sys.modules.update({"mtdata.index": stand_in, "mtdata.entry": entry})
    try:
        yield
    except (AttributeError, ImportError, OSError, TypeError, ValueError, KeyError) as error:
        raise ConfigError(
            f"the index of mtdata cannot be read ({error}): install another version, pip install 'mtdata==0.5.1'"
        ) from error
    finally:
        for name in [*lacking, *filter(_is_replaced, sys.modules)]:
            del sys.modules[name]
        sys.modules.update(replaced)


def _is_replaced(name: str) -> bool:
    return name in ("mtdata.index", "mtdata.entry") or name.startswith("mtdata.index.")


def _package() -> Path:
    return Path(_mtdata().__file__ or "").parent


def _mtdata() -> ModuleType:
    """Import mtdata, whose first line of work is to add a handler to the root logger; that is undone.

    Raises:
        ConfigError: it is not installed.
    """
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        import mtdata
    except ImportError as error:
        raise ConfigError(f"the index of corpora needs {error.name}: pip install 'seq2seq-lstm[data]'") from None
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    return mtdata


def _bcp47() -> Any:
    _mtdata()
    return importlib.import_module("mtdata.iso.bcp47").bcp47


BIBLIOGRAPHIC = dict(
    pair.split(":")
    for pair in [
        "alb:sqi",
        "arm:hye",
        "baq:eus",
        "bur:mya",
        "chi:zho",
        "cze:ces",
        "dut:nld",
        "fre:fra",
        "geo:kat",
        "ger:deu",
        "gre:ell",
        "ice:isl",
        "mac:mkd",
        "mao:mri",
        "may:msa",
        "per:fas",
        "rum:ron",
        "slo:slk",
        "tib:bod",
        "wel:cym",
    ]
)
"""ISO 639-2 codes for use in libraries, which mtdata does not know."""
_PARSED: dict[Any, Language | None] = {}


def _parsed(code: Any) -> Language | None:
    if code not in _PARSED:
        _PARSED[code] = None
        with contextlib.suppress(AssertionError, ValueError):  # also for codes of more than three parts
            _PARSED[code] = Language(*_bcp47()(code))
    return _PARSED[code]


def _similar(code: str) -> str:
    """Return the codes of languages whose code or name is similar."""
    known = _bcp47().languages  # ISO 639-3 code -> ISO 639-1 code, name
    codes = {short: f"{short} ({name})" for short, name in known.values() if short}
    names = {name.lower(): f"{short or long} ({name})" for long, (short, name) in known.items()}
    near = difflib.get_close_matches(code.lower(), names, 3, cutoff=0.8)
    return _or([names[name] for name in near] or [codes[c] for c in difflib.get_close_matches(code.lower(), codes, 3)])


def _or(near: list[str]) -> str:
    return f"; similar: {', '.join(near)}" if near else ""


def _elrc_licences() -> dict[str, str]:
    if not _LICENCES:
        with (_package() / "resource" / "elrc_share.tsv").open(encoding="utf-8") as lines:
            for line in lines:
                columns = line.split("\t")
                _LICENCES[columns[6]] = columns[7]
    return _LICENCES


_LICENCES: dict[str, str] = {}


def _extension(name: str) -> str:
    """Return the extension of a file or URL: zip, tsv.gz."""
    suffixes = PurePosixPath(urlsplit(name).path).suffixes
    last = suffixes[-1][1:] if suffixes else "file"
    return f"{suffixes[-2][1:]}.{last}" if last in ("gz", "bz2", "xz") and len(suffixes) > 1 else last
