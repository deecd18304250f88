"""Datasets of the Hugging Face Hub, or in a folder of Parquet or JSON Lines (data=huggingface), read row by row.

No code of a dataset is run: `datasets` 3 and later refuses scripts unless they are allowed.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

from seq2seq.config.data import DataConfig
from seq2seq.data.corpora.held_out import complete
from seq2seq.data.corpus import Corpus, ParallelText
from seq2seq.data.files.archives import root_folder
from seq2seq.data.formats.columns import Columns, check_text
from seq2seq.data.text.cleaning import clean
from seq2seq.errors import ConfigError, DataError, DownloadError, Seq2SeqError, first_line

VALID = ("validation", "valid", "val", "dev")
TEST = ("test",)
ALTERNATIVES = "alternatives: data.dataset=DIR with its files, or data=files with your own text"


def load(config: DataConfig) -> Corpus:
    """See `load.Source`."""
    splits = _splits(config)
    valid = None if config.valid_datasets else _split(config, splits, "valid", VALID)
    train = _rows(config, config.splits.train)
    return complete(clean(train, config), valid, _tests(config, splits), config)


def load_tests(config: DataConfig) -> dict[str, ParallelText]:
    """See `load.Source`."""
    return _tests(config, _splits(config)) or ({} if config.test_datasets else load(config).tests)


def _tests(config: DataConfig, splits: Sequence[str]) -> dict[str, ParallelText]:
    text = _split(config, splits, "test", TEST)
    return {} if text is None else {"test": text}


def _split(config: DataConfig, splits: Sequence[str], part: str, usual: Sequence[str]) -> ParallelText | None:
    """Return the text of the configured split, else of the first usual one, else None."""
    name = getattr(config.splits, part) or next((name for name in usual if name in splits), None)
    return None if name is None else _rows(config, name)


def _splits(config: DataConfig) -> list[str]:
    """Return the names of the splits.

    Raises:
        ConfigError: `datasets` is not installed, no dataset or subset is named, or splits.train is none of them.
    """
    datasets = _library()
    if not _place(config):
        raise ConfigError("data=huggingface: set data.dataset=OWNER/NAME, or a folder of Parquet or JSON Lines")
    with _errors(config):
        splits = list(map(str, datasets.get_dataset_split_names(_place(config), config.subset)))
    for part in ("train", "valid", "test"):
        name = (getattr(config.splits, part) or "").split("[")[0]
        if name and name not in splits:
            raise ConfigError(
                f"data.splits.{part}={name}: {_place(config)} has {', '.join(splits) or 'no splits'}"
                + ("" if len(splits) != 1 else f"; set data.splits.{part}={splits[0]}")
            )
    return splits


def _rows(config: DataConfig, split: str) -> ParallelText:
    sources, targets = [], []
    where = f"{_place(config)}, {split}"
    options = ("data.columns.src", "data.columns.tgt")
    columns = Columns(config.columns.src, config.columns.tgt, (config.src, config.tgt), options)
    with _errors(config):
        rows: Iterator[dict[str, Any]] = iter(_open(config, split))
        src = tgt = ""
        for number, row in enumerate(rows, start=1):
            if number == 1:
                src, tgt = columns.choose(list(_names(row)), where)
            sources.append(_value(row, src, f"{where}, row {number}"))
            targets.append(_value(row, tgt, f"{where}, row {number}"))
    text = ParallelText(sources, targets)
    if not any(source.strip() and target.strip() for source, target in text):
        raise DataError(f"{where}: no pair has text on both sides, of {len(text):,} rows")
    return text


def _open(config: DataConfig, split: str) -> Any:
    """Return the rows of a split, streamed; a slice needs the files on the disk."""
    streaming = "[" not in split
    return _library().load_dataset(_place(config), config.subset, split=split, streaming=streaming)


def _place(config: DataConfig) -> str:
    """Return the folder of the dataset, else its name at the Hub."""
    if config.root:
        return str(root_folder(config.root))
    folder = os.path.expanduser(config.dataset or "")
    return folder if os.path.isdir(folder) else config.dataset or ""


def _names(row: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _names(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _value(row: dict[str, Any], column: str, where: str) -> str:
    """Return a text of a row; a missing one is blank."""
    value: Any = row
    for name in [column] if column in row else column.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return "" if value is None else check_text(value, where, column)


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise ConfigError(f"data=huggingface needs {error.name}: pip install 'attentional-lstm[huggingface]'") from None
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it logs every retry
    return datasets


@contextlib.contextmanager
def _errors(config: DataConfig) -> Iterator[None]:
    """Turn every exception of `datasets`, whose classes have no common base, into one line."""
    try:
        yield
    except Seq2SeqError:
        raise
    except Exception as error:
        name = f"data.dataset={_place(config)}"
        reason = first_line(error)
        if "BuilderConfig" in reason or "Config name is missing" in reason:
            found = " ".join(str(error).split())
            raise ConfigError(f"data.subset={config.subset or 'null'}: {found[:400]}") from error
        if os.path.isdir(_place(config)):
            raise DataError(f"{name}: {reason}") from error
        raise DownloadError(f"could not load {name}: {reason}; {ALTERNATIVES}") from error
