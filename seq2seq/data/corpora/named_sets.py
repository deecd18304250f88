"""Validation and test sets by name, for any training corpus: those of sacreBLEU, and corpora of the index."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from seq2seq.config.data import DataConfig
from seq2seq.data import corpus_index
from seq2seq.data.corpora import indexed
from seq2seq.data.corpus import ParallelText
from seq2seq.data.reading import read_pair
from seq2seq.errors import ConfigError, DownloadError, first_line


def named_sets(names: list[str], config: DataConfig, key: str) -> dict[str, ParallelText]:
    """Return the sets in the configured direction, by name.

    Raises:
        ConfigError: a name is neither a test set of sacreBLEU nor a corpus of the index, or not for these languages.
        DataError: a file is damaged.
        DownloadError: a file could not be downloaded.
    """
    return {name: _read(name, config, key) for name in dict.fromkeys(names)}


def _read(name: str, config: DataConfig, key: str) -> ParallelText:
    from sacrebleu.dataset import DATASETS

    if name in DATASETS:
        return _of_sacrebleu(name, DATASETS[name], config, key)
    if name.count("-") < 4:
        raise ConfigError(
            f"{key}: {name} is neither a test set of sacreBLEU (sacrebleu --list) nor a corpus of the index (python -m "
            f"seq2seq.data search {config.src}-{config.tgt})"
        )
    (dataset,) = corpus_index.named([name], config.src, config.tgt, key)
    return indexed.read(dataset, config, key)


def _of_sacrebleu(name: str, dataset: Any, config: DataConfig, key: str) -> ParallelText:
    """Return a test set; of several references the first."""
    pair = f"{config.src}-{config.tgt}"
    if pair not in dataset.langpairs:
        raise ConfigError(f"{key}: sacreBLEU has {name} for {', '.join(dataset.langpairs)}, not for {pair}")
    from sacrebleu.utils import SACREBLEU_DIR

    logger = logging.getLogger("sacrebleu")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # its errors are in the message below
    try:
        files = [dataset.get_source_file(pair), *dataset.get_reference_files(pair)]
    except (Exception, SystemExit) as error:  # of urllib, tarfile, portalocker; it exits if a digest is wrong
        reason = "its MD5 is wrong, or no secure connection" if isinstance(error, SystemExit) else first_line(error)
        raise DownloadError(
            f"{key}: sacreBLEU could not download {name}: {reason}; run sacrebleu -t {name} -l {pair} --echo src where "
            f"there is a network and copy its folder {SACREBLEU_DIR}, or give data.test.src and data.test.tgt"
        ) from error
    finally:
        logger.setLevel(level)
    return read_pair(*map(Path, files[:2]))
