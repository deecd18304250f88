"""Fetch and read a corpus of the index: its files are downloaded by `data/download.py`, its members copied out.

mtdata's own downloader is not used: it cannot continue a partial file, checks no digest, turns off the verification of
certificates when it fails, and writes to a cache of its own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html import unescape
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from seq2seq.config.data import DataConfig
from seq2seq.config.text_files import FilesConfig
from seq2seq.data.corpora import files
from seq2seq.data.corpus import Corpus, ParallelText
from seq2seq.data.files import archives
from seq2seq.data.files.download import cache_dir, fetch
from seq2seq.data.files.reading import read_parallel
from seq2seq.data.files.text_file import text_lines
from seq2seq.data.index.corpus_index import Dataset
from seq2seq.data.index.languages import language
from seq2seq.errors import ConfigError, DataError

ALTERNATIVES = (
    "alternatives: data.root=DIR with this file, another corpus (python -m seq2seq.data search {src}-{tgt}), or "
    "data=files with your own text"
)
READABLE = ("txt", "tsv", "tmx", "sgm")
SEGMENT = re.compile(r"<seg[^>]*>(.*?)</seg>")


def read(dataset: Dataset, config: DataConfig, key: str) -> ParallelText:
    """Return the text of a corpus in the configured direction.

    Args:
        dataset: the corpus.
        config: languages, cache folder and `data.root`.
        key: the config key that names the corpus, in messages.

    Raises:
        ConfigError: the corpus is in a format that is not read.
        DataError: a file is missing in `data.root`, damaged or not parallel.
        DownloadError: a file could not be downloaded.
    """
    text = _parsed(_files(dataset, config, key), dataset, config, f"{key}={dataset.name}")
    is_by_language = dataset.format == "tmx"
    return text.swapped() if dataset.is_swapped(config.src, config.tgt) and not is_by_language else text


def is_line_aligned(dataset: Dataset) -> bool:
    """Return True if a corpus is a text file per language."""
    return dataset.format == "txt" and len(dataset.members or dataset.urls) == 2


def line_aligned(dataset: Dataset, config: DataConfig, key: str) -> list[Path]:
    """Return source and target file of a corpus for which `is_line_aligned`; raises as `read`."""
    found = _files(dataset, config, key)
    return found[::-1] if dataset.is_swapped(config.src, config.tgt) else found


def load_files(pairs: Sequence[Sequence[Path]], config: DataConfig) -> Corpus:
    """Return the corpus of line-aligned files, which may be larger than memory; raises as `files.load`."""
    src, tgt = ([str(pair[side]) for pair in pairs] for side in (0, 1))
    return files.load(replace(config, train=FilesConfig(src=src, tgt=tgt), valid=FilesConfig(), test=FilesConfig()))


def _files(dataset: Dataset, config: DataConfig, key: str) -> list[Path]:
    if dataset.hub:
        raise ConfigError(f"{key}: {dataset.name} is at the Hugging Face Hub: use {' '.join(hub_overrides(dataset))}")
    if dataset.format not in READABLE:
        raise ConfigError(
            f"{key}: {dataset.name} is in the format {dataset.format}, which is not read: download {dataset.urls[0]}, "
            "convert it to text and use data=files"
        )
    downloaded = [fetch_file(url, config) for url in dataset.urls]
    return archives.extract(downloaded[0], dataset.members, members_folder(config)) if dataset.members else downloaded


def hub_overrides(dataset: Dataset) -> list[str]:
    """Return the overrides that train on a dataset of the Hugging Face Hub."""
    name, subset, split = dataset.hub or ("", None, None)
    settings = (("dataset", name), ("subset", subset), ("splits.train", split))
    return ["data=huggingface", *(f"data.{key}={value}" for key, value in settings if value)]


def cached_size(dataset: Dataset, cache: Path) -> int | None:
    """Return the size of a corpus that was downloaded before; None if it was not."""
    files = [_target(url, cache) for url in dataset.urls]
    return sum(file.stat().st_size for file in files) if files and all(file.is_file() for file in files) else None


def fetch_file(url: str, config: DataConfig) -> Path:
    """Return a downloaded file, or the one of the same name in `data.root`; raises as `read`."""
    if config.root:
        path = archives.root_folder(config.root) / _name(url)
        if not path.is_file():
            raise DataError(f"data.root={config.root}: {path.name} is missing; it is published at {url}")
        return path
    alternatives = ALTERNATIVES.format(src=config.src, tgt=config.tgt)
    return fetch(url, _target(url, cache_dir(config.cache_dir)), alternatives=alternatives)


def _target(url: str, cache: Path) -> Path:
    """Return where a download is kept: corpora share archives, and different URLs end in the same name."""
    return cache / "downloads" / hashlib.sha256(url.encode()).hexdigest()[:12] / _name(url)


def members_folder(config: DataConfig) -> Path:
    """Return the folder of the members of archives."""
    return cache_dir(config.cache_dir) / "downloads" / "members"


def _name(url: str) -> str:
    name = re.sub(r"[^\w.+-]", "_", unquote(PurePosixPath(urlsplit(url).path).name))
    return name.lstrip(".") or "file"


def _parsed(paths: Sequence[Path], dataset: Dataset, config: DataConfig, key: str) -> ParallelText:
    if dataset.format == "sgm" and len(paths) == 2:
        return _aligned_segments(paths)
    if dataset.format == "txt" and len(paths) == 2:
        return read_parallel(FilesConfig(src=str(paths[0]), tgt=str(paths[1])), key)
    if dataset.format in ("txt", "sgm"):
        raise DataError(f"{key}: the index names {len(paths)} files: expected one per language")
    if dataset.format == "tsv" and dataset.columns == (0, 1):
        texts = [read_parallel(FilesConfig(tsv=str(file)), key) for file in paths]
    else:
        columns = (str(place + 1) for place in dataset.columns)
        if dataset.format == "tmx":
            columns = (language(code).short for code in (config.src, config.tgt))
        src, tgt = columns
        texts = [read_parallel(FilesConfig(table=str(file), src_column=src, tgt_column=tgt), key) for file in paths]
    return joined(texts)


def joined(texts: Sequence[ParallelText]) -> ParallelText:
    """Return the texts one after the other."""
    if len(texts) == 1:
        return texts[0]
    return ParallelText([line for text in texts for line in text.src], [line for text in texts for line in text.tgt])


def _aligned_segments(paths: Sequence[Path]) -> ParallelText:
    src, tgt = (list(_segments(file)) for file in paths)
    if len(src) != len(tgt):
        raise DataError(f"{paths[0]} has {len(src):,} segments but {paths[1]} has {len(tgt):,}: they are not parallel")
    return ParallelText(src, tgt)


def _segments(file: Path) -> Iterator[str]:
    """Yield the segments of a test set of WMT before 2021: SGML, one segment a line, not always well-formed XML."""
    for line in text_lines(file, str(file)):
        if match := SEGMENT.search(line):
            yield " ".join(unescape(match[1]).split())
