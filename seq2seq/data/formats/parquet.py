"""Parquet files: string columns, also inside a struct (translation.de), read batch by batch."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from seq2seq.data.formats.columns import Columns, check_text
from seq2seq.errors import DataError, first_line

ROWS = 8192  # decoded at once


def parquet_pairs(file: io.BufferedReader, name: str, columns: Columns) -> Iterator[tuple[str, str]]:
    """Yield two string columns of a Parquet file.

    Raises:
        DataError: the file is damaged, a column is missing or is no string, a value is null, or the package that reads
            Parquet is missing.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise DataError(f"{name}: Parquet needs the package pyarrow: pip install 'attentional-lstm[data]'") from None
    row = 0
    try:
        table = parquet.ParquetFile(file)
        types = dict(_leaves(table.schema_arrow))
        chosen = columns.choose(list(types), name)
        for column in chosen:
            _check_type(types[column], name, column)
        for batch in table.iter_batches(ROWS, columns=list(chosen), use_threads=False):
            sides = [_values(batch, column) for column in chosen]
            for src, tgt in zip(*sides, strict=True):
                row += 1
                where = f"{name}, row {row}"
                yield check_text(src, where, chosen[0]), check_text(tgt, where, chosen[1])
    except UnicodeDecodeError:
        raise DataError(f"{name}, rows {row + 1} to {row + ROWS}: text that is not UTF-8") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{name}: truncated or corrupt Parquet file ({first_line(error)})") from None


def _leaves(fields: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted path and type of every column, and of the fields inside a struct."""
    from pyarrow import types

    for field in fields:
        if types.is_struct(field.type):
            yield from _leaves([field.type.field(i) for i in range(field.type.num_fields)], f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", field.type


def _check_type(kind: Any, name: str, column: str) -> None:
    from pyarrow import types

    value = kind.value_type if types.is_dictionary(kind) else kind
    if not (types.is_string(value) or types.is_large_string(value) or str(value) == "string_view"):
        raise DataError(f"{name}: {column} is a column of type {kind}; expected strings")


def _values(batch: Any, column: str) -> list[Any]:
    """Return the values of a column, or of a field inside a struct."""
    from pyarrow import compute

    names = batch.schema.names
    if column in names:
        return batch.column(column).to_pylist()  # type: ignore[no-any-return]
    outer = next(name for name in names if column.startswith(f"{name}."))
    inside = batch.column(outer)
    for part in column.removeprefix(f"{outer}.").split("."):
        inside = compute.struct_field(inside, part)
    return inside.to_pylist()  # type: ignore[no-any-return]
