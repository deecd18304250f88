"""Corpora of OPUS (Tiedemann 2012) in Moses format (data=opus): two line-aligned files in a zip archive."""

from __future__ import annotations

import logging
from pathlib import Path, PurePosixPath

from seq2seq.config.data import DataConfig
from seq2seq.data.corpora import indexed
from seq2seq.data.corpus import Corpus, ParallelText
from seq2seq.data.files import archives
from seq2seq.data.index import corpus_index, languages
from seq2seq.errors import ConfigError

log = logging.getLogger(__name__)

LATEST = "latest"
LICENCE_BYTES = 4096
SHOWN = 300


def load(config: DataConfig) -> Corpus:
    """See `load.Source`."""
    return indexed.load_files([_files(config)], config)


def load_tests(config: DataConfig) -> dict[str, ParallelText]:
    """See `load.Source`."""
    return {} if config.test_datasets else load(config).tests


def _files(config: DataConfig) -> list[Path]:
    """Return source and target file."""
    version, url = _address(config)
    log.info("OPUS %s %s: %s", config.corpus, version, url)
    path = indexed.fetch_file(url, config)
    _log_licence(path, f"{config.corpus} {version}")
    pair = PurePosixPath(url).name.removesuffix(".txt.zip").split("-")
    members = [f"*.{code}" for code in pair]
    files = archives.extract(path, members, indexed.members_folder(config))
    return files[::-1] if _is_swapped(pair, config) else files


def _is_swapped(pair: list[str], config: DataConfig) -> bool:
    if config.src in pair or not languages.is_installed():
        return pair[0] != config.src
    return not languages.language(config.src).includes(languages.language(pair[0]))


def _address(config: DataConfig) -> tuple[str, str]:
    """Return version and URL of the corpus; the index knows the versions, and the codes of its languages.

    Raises:
        ConfigError: there is no such corpus or version.
    """
    if not config.corpus:
        raise ConfigError(
            f"data=opus: set data.corpus, for example data.corpus=Tatoeba; python -m seq2seq.data search "
            f"{config.src}-{config.tgt} OPUS lists the corpora"
        )
    newest = config.version in (None, LATEST)
    if not newest and not languages.is_installed():
        pair = "-".join(sorted((config.src, config.tgt)))
        return str(config.version), corpus_index.OPUS_URL.format(
            corpus=config.corpus, version=config.version, pair=pair
        )
    versions = dict(corpus_index.opus_versions(config.corpus, config.src, config.tgt, "data.corpus"))
    version = list(versions)[-1] if newest else str(config.version)
    if version not in versions:
        raise ConfigError(
            f"data.version={version}: {config.corpus} {config.src}-{config.tgt} has {', '.join(versions)}"
        )
    return version, versions[version]


def _log_licence(path: Path, name: str) -> None:
    text = " ".join(archives.zipped_text(path, "LICENSE", LICENCE_BYTES).split())
    shown = f"{text[:SHOWN]} …" if len(text) > SHOWN else text
    log.info("%s: licence: %s", name, shown or f"not stated in {path.name}; see https://opus.nlpl.eu")
