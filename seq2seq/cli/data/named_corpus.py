"""The corpus that overrides name."""

from __future__ import annotations

import argparse
import functools
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

from seq2seq.cli.data.overrides import data_config, is_override

if TYPE_CHECKING:
    from seq2seq.config.data import DataConfig
    from seq2seq.data.corpus import Corpus, ParallelText


def named_data(args: argparse.Namespace) -> DataConfig | None:
    """Return the data config that overrides describe; None if the inputs are files.

    Raises:
        ConfigError: an invalid override.
    """
    return data_config(args.inputs) if all(map(is_override, args.inputs)) else None


def languages(args: argparse.Namespace, data: DataConfig | None) -> tuple[str, str]:
    """Return the codes of source and target; "" where nothing names them."""
    if data is not None:
        return data.src, data.tgt
    return args.src_lang or "", args.tgt_lang or ""


class NamedCorpus:
    """The texts of a corpus, which is loaded once; of `data=files`, the given files are read, and nothing is held out.

    The methods raise as `load_corpus`.
    """

    def __init__(self, data: DataConfig) -> None:
        self.data = data

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Return an iterator over the training text."""
        if not self._is_files:
            return iter(self._corpus.train)
        from seq2seq.data.files.reading import read_pairs

        data = self.data  # its text may be larger than memory
        return itertools.islice(read_pairs(data.train, "data.train", (data.src, data.tgt)), data.train_pairs)

    def held_out_sets(self) -> dict[str, ParallelText]:
        """Return the validation and test sets by name; of `data=files` those that are given."""
        if not self._is_files:
            return {"valid": self._corpus.valid, **self._corpus.tests}
        from seq2seq.data.corpora.named_sets import named_sets
        from seq2seq.data.files.reading import is_given, read_parallel

        data, pair = self.data, (self.data.src, self.data.tgt)
        parts = {name: getattr(data, name) for name in ("valid", "test")}
        given = {name: read_parallel(files, f"data.{name}", pair) for name, files in parts.items() if is_given(files)}
        for key in ("valid_datasets", "test_datasets"):
            given |= named_sets(getattr(data, key), data, f"data.{key}")
        return given

    @property
    def _is_files(self) -> bool:
        from seq2seq.config.data import DataName

        return self.data.name is DataName.files

    @functools.cached_property
    def _corpus(self) -> Corpus:
        from seq2seq.data.corpora.load import load_corpus

        return load_corpus(self.data)
