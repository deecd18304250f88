"""The parallel corpora that are known by name: addresses, formats, citations. Needs no network, but mtdata's index."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from seq2seq.data.index.languages import Language, language, similar
from seq2seq.data.index.mtdata_index import BOTH, Pair, Sides, elrc_licences, entries, opus_table
from seq2seq.errors import ConfigError

OPUS_URL = "https://object.pouta.csc.fi/OPUS-{corpus}/{version}/moses/{pair}.txt.zip"
ARCHIVES = ("zip", "tar", "tar.gz", "tgz")
LICENCES = {"Flores": "CC-BY-SA 4.0", "AllenAi": "ODC-BY 1.0", "OPUS": "see LICENSE in the archive"}


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


def find(src: str, tgt: str) -> tuple[Dataset, ...]:
    """Return the corpora of a language pair, in either direction.

    Raises:
        ConfigError: an unknown language, or mtdata is not installed.
    """
    pair = language(src), language(tgt)
    if pair[0].includes(pair[1]) or pair[1].includes(pair[0]):
        raise ConfigError(f"{src} and {tgt} are the same language: give two languages")
    return _found(*sorted(pair, key=lambda one: one.tag))


@functools.cache
def _found(first: Language, second: Language) -> tuple[Dataset, ...]:
    pair = first, second
    found: dict[str, Dataset] = {}
    for dataset in (*_of_opus(pair), *_of_groups(pair)):
        found.setdefault(dataset.name, dataset)  # several codes of one language: the first, as mtdata has it
    return tuple(found.values())


def named(names: Sequence[str], src: str, tgt: str, key: str) -> list[Dataset]:
    """Return the corpora of a language pair with the given names, each once.

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
    return list({name.lower(): datasets[name.lower()] for name in names}.values())


def opus_versions(corpus: str, src: str, tgt: str, key: str) -> list[tuple[str, str]]:
    """Return version and URL of an OPUS corpus in Moses format, the newest last.

    Raises:
        ConfigError: OPUS has no such corpus or not for this pair, or mtdata is not installed.
    """
    pair = language(src), language(tgt)
    rows = [row for row in opus_table() if row[0] == corpus]
    if not rows:
        corpora = {row[0].lower(): row[0] for row in opus_table()}
        near = difflib.get_close_matches(corpus.lower(), corpora, 3)
        raise ConfigError(f"{key}={corpus}: OPUS has no such corpus{similar([corpora[match] for match in near])}")
    sides = Sides(pair)
    urls = [(row[1], _opus_url(*row)) for row in rows if (sides[row[2]], sides[row[3]]) in BOTH]
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
    sides = Sides(pair)
    for corpus, version, src, tgt in opus_table():
        if (sides[src], sides[tgt]) in BOTH:
            languages = language(src), language(tgt)
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


def _of_groups(pair: Pair) -> Iterator[Dataset]:
    for entry in entries(pair):
        languages = language(str(entry.did.langs[0])), language(str(entry.did.langs[1]))
        name = "-".join((*entry.did[:3], languages[0].tag, languages[1].tag))
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
            languages=languages,
            urls=urls,
            format=kind,
            kind="hub" if hub else f"{extension} of {kind}" if members else extension,
            members=members,
            columns=tuple(entry.cols or (0, 1)),
            hub=hub,
            citation=tuple(entry.cite or ()),
            licence=elrc_licences().get(urls[0]) or LICENCES.get(entry.did.group),
        )


def _extension(name: str) -> str:
    """Return the extension of a file or URL: zip, tsv.gz."""
    suffixes = PurePosixPath(urlsplit(name).path).suffixes
    last = suffixes[-1][1:] if suffixes else "file"
    return f"{suffixes[-2][1:]}.{last}" if last in ("gz", "bz2", "xz") and len(suffixes) > 1 else last
