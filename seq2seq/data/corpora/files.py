"""The user's own text files (data=files); validation and test sets that are not given are held out of data.train."""

from __future__ import annotations

from seq2seq.config.data import DataConfig
from seq2seq.data.cleaning import clean
from seq2seq.data.corpus import Corpus, ParallelText
from seq2seq.data.reading import is_given, read_parallel
from seq2seq.data.splitting import hold_out


def load(config: DataConfig) -> Corpus:
    """See `load.Source`."""
    train = clean(_read(config, "train"), config)
    valid = _read(config, "valid") if is_given(config.valid) else None
    test = _read(config, "test") if is_given(config.test) else None
    held_out = frozenset(name for name, text in (("valid", valid), ("test", test)) if text is None)
    if held_out:
        splits = hold_out(train, 0 if valid else config.valid_pairs, 0 if test else config.test_pairs)
        train, valid, test = splits.train, valid or splits.valid, test or splits.test
    assert valid is not None
    assert test is not None
    return Corpus(train, valid, {"test": test}, held_out=held_out)


def load_tests(config: DataConfig) -> dict[str, ParallelText]:
    """See `load.Source`."""
    return {"test": _read(config, "test")} if is_given(config.test) else load(config).tests


def _read(config: DataConfig, part: str) -> ParallelText:
    return read_parallel(getattr(config, part), f"data.{part}", (config.src, config.tgt))
