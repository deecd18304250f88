"""Tatoeba sentence pairs, English with French or Spanish (CC-BY 2.0, through manythings.org/anki).

The files of 2020-08-23 are part of the source distribution of the unrelated PyPI package `nmt`, so they cannot change
and stay available as long as PyPI does. The archive is only read; none of its code runs.
"""

from __future__ import annotations

from pathlib import Path

from seq2seq.config.data import DataConfig
from seq2seq.data.corpus import Corpus, ParallelText
from seq2seq.data.files import archives
from seq2seq.data.files.download import cache_dir, fetch_sdist
from seq2seq.data.files.reading import parse_tsv
from seq2seq.data.text.cleaning import clean
from seq2seq.data.text.splitting import hold_out
from seq2seq.errors import ConfigError, DataError

PROJECT, VERSION = "nmt", "0.0.6"
SHA256 = "65db964c0afd5b0dbc4baecdce736f53222f63b791958176b5771db78a005096"
NAMES = {"fr": "fra", "es": "spa"}
ALTERNATIVES = (
    "alternatives: data=grammar (synthetic, no download), data=files with your own text, "
    f"or data.root=DIR with {PROJECT}-{VERSION}.tar.gz in it"
)


def load(config: DataConfig) -> Corpus:
    """See `load.Source`."""
    splits = hold_out(clean(_read(config), config), config.valid_pairs, config.test_pairs)
    return Corpus(splits.train, splits.valid, {"test": splits.test}, held_out=frozenset({"valid", "test"}))


def load_tests(config: DataConfig) -> dict[str, ParallelText]:
    """See `load.Source`."""
    return load(config).tests


def _read(config: DataConfig) -> ParallelText:
    """Read all pairs in the configured direction."""
    foreign = config.tgt if config.src == "en" else config.src
    if "en" not in (config.src, config.tgt) or foreign not in NAMES:
        raise ConfigError(
            f"data.src={config.src} data.tgt={config.tgt}: data=tatoeba has en-fr, fr-en, en-es and es-en"
        )
    name = NAMES[foreign]
    if config.root:
        data = _read_from_folder(archives.root_folder(config.root), name)
    else:
        folder = cache_dir(config.cache_dir) / "tatoeba"
        data = _read_from_sdist(fetch_sdist(PROJECT, VERSION, SHA256, folder, alternatives=ALTERNATIVES), name)
    text = parse_tsv(data, f"{name}.txt")
    return text if config.src == "en" else text.swapped()


def _read_from_folder(root: Path, name: str) -> bytes:
    """Return the bytes of NAME.txt from `root`: the plain file, the zipped one or the source distribution."""
    plain, zipped, sdist = root / f"{name}.txt", root / f"{name}-eng.zip", root / f"{PROJECT}-{VERSION}.tar.gz"
    if plain.is_file():
        return archives.read_file(plain)
    if zipped.is_file():
        return archives.unzip(archives.read_file(zipped), f"{name}.txt", str(zipped))
    if sdist.is_file():
        return _read_from_sdist(sdist, name)
    raise DataError(f"data.root={root} contains none of {plain.name}, {zipped.name}, {sdist.name}")


def _read_from_sdist(path: Path, name: str) -> bytes:
    member = f"{PROJECT}-{VERSION}/data/{name}-eng.zip"
    return archives.unzip(archives.untar(path, member), f"{name}.txt", f"{path}: {member}")
