"""The test sets of sacreBLEU, downloaded by sacreBLEU into its own cache."""

from __future__ import annotations

import contextlib
import difflib
import logging
import socket
import warnings
from collections.abc import Iterator
from typing import Any

from seq2seq.data.files.reading import read_lines
from seq2seq.errors import ConfigError, DataError, DownloadError, first_line

TIMEOUT_SEC = 30


def is_known(name: str) -> bool:
    """Return True if sacreBLEU has a test set of this name."""
    from sacrebleu.dataset import DATASETS

    return name in DATASETS


def check_known(name: str, pair: str, key: str) -> None:
    """Check, without the network, that sacreBLEU has a test set for a language pair.

    Raises:
        ConfigError: it has not; names the nearest test sets, or the pairs.
    """
    from sacrebleu.dataset import DATASETS

    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, n=3, cutoff=0.5)
        meant = f"did you mean {', '.join(near)}? " if near else ""
        raise ConfigError(f"{key}: sacreBLEU has no test set {name}: {meant}sacrebleu --list names all")
    if pair not in DATASETS[name].langpairs:
        raise ConfigError(f"{key}: sacreBLEU has {name} for {', '.join(DATASETS[name].langpairs)}, not for {pair}")


def read(name: str, pair: str, key: str, own_files: str) -> list[list[str]]:
    """Return the source lines and each list of references of a test set.

    Args:
        name: of the test set.
        pair: languages of source and target: en-de.
        key: the config key or option that names the test set, for messages.
        own_files: what the user can give in place of a test set, for messages.

    Raises:
        ConfigError: as `check_known`.
        DataError: the files are damaged.
        DownloadError: the files could not be downloaded.
    """
    from sacrebleu.dataset import DATASETS
    from sacrebleu.utils import SACREBLEU_DIR

    check_known(name, pair, key)
    try:
        with _quietly():
            dataset: Any = DATASETS[name]
            references: list[str] = dataset.get_reference_files(pair)
            files = [dataset.get_source_file(pair), *references]
    except (Exception, SystemExit) as error:  # of urllib, tarfile, portalocker; it exits if a digest is wrong
        reason = "its MD5 is wrong, or no secure connection" if isinstance(error, SystemExit) else first_line(error)
        raise DownloadError(
            f"{key}: sacreBLEU could not download {name}: {reason}; run sacrebleu -t {name} -l {pair} --echo src where "
            f"there is a network and copy its folder {SACREBLEU_DIR}, or give {own_files}"
        ) from error
    if not references:
        raise ConfigError(f"{key}: {name} has no references for {pair}: give {own_files}")
    texts = [read_lines(file) for file in files]
    for file, lines in zip(files, texts, strict=True):
        if len(lines) != len(texts[0]):
            raise DataError(
                f"{files[0]} has {len(texts[0]):,} lines but {file} has {len(lines):,}: remove their folder, and "
                "sacreBLEU downloads them again"
            )
    return texts


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Silence sacreBLEU, whose errors are in our message, and limit its wait for a server."""
    logger, waited = logging.getLogger("sacrebleu"), socket.getdefaulttimeout()
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    socket.setdefaulttimeout(TIMEOUT_SEC)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Python 3.14 will", DeprecationWarning)  # of tarfile in 3.12 and 3.13
            yield
    finally:
        logger.setLevel(level)
        socket.setdefaulttimeout(waited)
