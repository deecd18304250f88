"""The corpus that overrides name: its languages and held-out sets. Its training text is read by `pair_inputs.pairs`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from seq2seq.cli.data.pair_inputs import data_config, is_override

if TYPE_CHECKING:
    from seq2seq.config.data import DataConfig
    from seq2seq.data.corpus import ParallelText


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


def held_out_sets(data: DataConfig) -> dict[str, ParallelText]:
    """Return the validation and test sets by name; of data=files those that are not drawn from its training text.

    Raises:
        ConfigError: a set of `data.valid_datasets` or `data.test_datasets` does not exist.
        DataError, DownloadError: a file is missing or damaged.
    """
    from seq2seq.config.data import DataName
    from seq2seq.data.corpora.load import load_corpus
    from seq2seq.data.corpora.named_sets import named_sets
    from seq2seq.data.reading import is_given, read_parallel

    if data.name is not DataName.files:
        corpus = load_corpus(data)
        return {"valid": corpus.valid, **corpus.tests}
    parts = {name: getattr(data, name) for name in ("valid", "test")}
    pair = (data.src, data.tgt)
    given = {name: read_parallel(files, f"data.{name}", pair) for name, files in parts.items() if is_given(files)}
    for key in ("valid_datasets", "test_datasets"):
        given |= named_sets(getattr(data, key), data, f"data.{key}")
    return given
