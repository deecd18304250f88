"""The user's own text files (data=files); validation and test sets that are not given are held out of data.train."""

from __future__ import annotations

from seq2seq.config.data import DataConfig
from seq2seq.data.cleaning import clean
from seq2seq.data.corpora.held_out import complete
from seq2seq.data.corpus import Corpus, ParallelText
from seq2seq.data.reading import is_given, read_parallel


def load(config: DataConfig) -> Corpus:
    """See `load.Source`."""
    train = clean(_read(config, "train"), config)
    valid = _read(config, "valid") if is_given(config.valid) else None
    test = _read(config, "test") if is_given(config.test) else None
    return complete(train, valid, {} if test is None else {"test": test}, config)


def load_given(config: DataConfig, key: str) -> Corpus:
    """Return the corpus of the given files alone, from which nothing is held out; `key` is that of the corpus."""
    valid = _read(config, "valid", key) if is_given(config.valid) else ParallelText([], [])
    return Corpus(clean(_read(config, "train", key)), valid, given_tests(config, key))


def given_tests(config: DataConfig, key: str) -> dict[str, ParallelText]:
    """Return the test set of the given files; none if there are none."""
    return {"test": _read(config, "test", key)} if is_given(config.test) else {}


def load_tests(config: DataConfig) -> dict[str, ParallelText]:
    """See `load.Source`."""
    if is_given(config.test):
        return {"test": _read(config, "test")}
    return {} if config.test_datasets else load(config).tests


def _read(config: DataConfig, part: str, key: str = "data") -> ParallelText:
    return read_parallel(getattr(config, part), f"{key}.{part}", (config.src, config.tgt))
