"""Schema of the places of texts: files, and splits and columns of a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from seq2seq.config.field import field

PARTS = ("train", "valid", "test")
"""Keys of the texts of `data=files`."""


@dataclass
class FilesConfig:
    """One parallel text: line-aligned files, or files of columns.

    The paths are of type Any because OmegaConf has no union of a string and a list; `config.paths.path_list` gives
    the list.
    """

    src: Any = field(
        None,
        "source file, one sentence per line, plain or compressed (gz, xz, bz2, zst); several: a list, or a pattern "
        "with * ? [ ], whose matches are sorted",
        unit="path",
    )
    tgt: Any = field(
        None, "target file, line-aligned with src; of several, each belongs to the src file at its place", unit="path"
    )
    tsv: Any = field(
        None, "instead of src and tgt: source, tab, target in each line; further columns are ignored", unit="path"
    )
    table: Any = field(
        None,
        "instead of src and tgt: file of columns, CSV, TSV, JSON Lines, TMX or Parquet, recognised by its content",
        unit="path",
    )
    src_column: str | None = field(
        None,
        "source column: name, place (from 1), dotted path in JSON and Parquet (translation.de), language in TMX; null: "
        "language code data.src, translation.CODE, src or source, else the first",
    )
    tgt_column: str | None = field(None, "target column, as src_column; null: as there, else the second")


@dataclass
class SplitsConfig:
    """Names of the splits of a dataset at the Hugging Face Hub or in a folder."""

    train: str = field("train", "split of the training text; slices such as train[:10%] are possible")
    valid: str | None = field(
        None,
        "split of the validation text; null: validation, valid, val or dev if there is one, else held out of train",
    )
    test: str | None = field(None, "split of the test text; null: test if there is one, else held out of train")


@dataclass
class ColumnsConfig:
    """Names of the columns of a dataset at the Hugging Face Hub or in a folder."""

    src: str | None = field(
        None,
        "source column, with dots for nested ones (translation.en); null: the code data.src, translation.CODE, src or "
        "source",
    )
    tgt: str | None = field(None, "target column, as src")
