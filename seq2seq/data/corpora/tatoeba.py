"""Tatoeba sentence pairs, English with French or Spanish (CC-BY 2.0, through manythings.org/anki).

The files of 2020-08-23 travel inside the source distribution of the unrelated PyPI package `nmt`, which makes them as
immutable and as reachable as PyPI itself. The archive is only read; none of its code runs.
"""

from __future__ import annotations

import io
import tarfile
import zipfile
import zlib
from pathlib import Path

from seq2seq.config.data import DataConfig
from seq2seq.data.corpus import ParallelText, read_tsv
from seq2seq.data.download import cache_dir, fetch_sdist
from seq2seq.errors import ConfigError, DataError

PROJECT, VERSION = "nmt", "0.0.6"
SHA256 = "65db964c0afd5b0dbc4baecdce736f53222f63b791958176b5771db78a005096"
NAMES = {"fr": "fra", "es": "spa"}
WAYS_ON = (
    "without it: data=grammar (synthetic, no download), data=files with your own text, "
    f"or data.root=DIR with {PROJECT}-{VERSION}.tar.gz in it"
)
DAMAGE = (OSError, EOFError, KeyError, zlib.error, tarfile.TarError, zipfile.BadZipFile)


def read(config: DataConfig) -> ParallelText:
    """Read the whole corpus in the configured direction.

    Raises:
        ConfigError: a language pair it does not hold.
        DataError: `data.root` holds none of the files, or a damaged one.
        DownloadError: it could not be fetched.
    """
    other = config.tgt if config.src == "en" else config.src
    if "en" not in (config.src, config.tgt) or other not in NAMES:
        raise ConfigError(
            f"data.src={config.src} data.tgt={config.tgt}: data=tatoeba holds en-fr, fr-en, en-es and es-en"
        )
    name = NAMES[other]
    if config.root:
        data = _find(Path(config.root).expanduser(), name)
    else:
        folder = cache_dir(config.cache_dir) / "tatoeba"
        data = _from_sdist(fetch_sdist(PROJECT, VERSION, SHA256, folder, ways_on=WAYS_ON), name)
    text = read_tsv(data, f"{name}.txt")
    return text if config.src == "en" else text.swapped()


def _find(root: Path, name: str) -> bytes:
    """Return the bytes of fra.txt (say), which `root` holds as such, zipped, or within the source distribution."""
    plain, zipped, sdist = root / f"{name}.txt", root / f"{name}-eng.zip", root / f"{PROJECT}-{VERSION}.tar.gz"
    try:
        if plain.is_file():
            return plain.read_bytes()
        if zipped.is_file():
            return _unzip(zipped.read_bytes(), name)
    except DAMAGE as error:
        raise DataError(f"data.root={root}: cannot read {name}.txt ({error})") from None
    if sdist.is_file():
        return _from_sdist(sdist, name)
    raise DataError(f"data.root={root} holds none of {plain.name}, {zipped.name}, {sdist.name}")


def _from_sdist(path: Path, name: str) -> bytes:
    try:
        with tarfile.open(path, "r:gz") as archive:
            member = archive.extractfile(f"{PROJECT}-{VERSION}/data/{name}-eng.zip")
            assert member is not None
            return _unzip(member.read(), name)
    except DAMAGE as error:
        raise DataError(f"{path}: damaged archive ({error})") from None


def _unzip(data: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(f"{name}.txt")
