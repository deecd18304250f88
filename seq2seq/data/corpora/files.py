"""The user's own text files (data=files); validation and test sets that are not given are held out of data.train."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from seq2seq.config.data import DataConfig, FilesConfig
from seq2seq.data.cleaning import clean
from seq2seq.data.corpus import Corpus, ParallelText
from seq2seq.data.reading import is_given, read_parallel
from seq2seq.data.splitting import hold_out
from seq2seq.errors import DataError


def load(config: DataConfig) -> Corpus:
    """See `load.Source`."""
    train = clean(_read(config.train, "data.train"), config)
    valid = _read(config.valid, "data.valid") if is_given(config.valid) else None
    test = _read(config.test, "data.test") if is_given(config.test) else None
    held_out = frozenset(name for name, text in (("valid", valid), ("test", test)) if text is None)
    if held_out:
        splits = hold_out(train, 0 if valid else config.valid_pairs, 0 if test else config.test_pairs)
        train, valid, test = splits.train, valid or splits.valid, test or splits.test
    assert valid is not None
    assert test is not None
    return Corpus(train, valid, {"test": test}, held_out=held_out)


def load_tests(config: DataConfig) -> dict[str, ParallelText]:
    """See `load.Source`."""
    return {"test": _read(config.test, "data.test")} if is_given(config.test) else load(config).tests


def _read(files: FilesConfig, key: str) -> ParallelText:
    """Read a parallel text after a check that none of its files would be waited for without end.

    Raises:
        DataError: a file is a named pipe or a device; standard input and `<(command)`, both under /dev, may be pipes.
    """
    for name in ("src", "tgt", "tsv"):
        path = getattr(files, name)
        try:
            mode = os.stat(Path(path).expanduser()).st_mode if path else stat.S_IFREG
        except (OSError, RuntimeError, ValueError):  # reading it says why
            continue
        is_open = stat.S_ISFIFO(mode) and Path(path).is_relative_to("/dev")
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or is_open):
            raise DataError(f"{key}.{name}={path} is a pipe or a device: give a text file")
    return read_parallel(files, key)
