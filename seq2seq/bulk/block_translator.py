"""Translate one block after the other: what a worker process does."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.bulk.blocks import PARQUET, Block, read_lines, read_table, write_table
from seq2seq.bulk.options import COLUMN
from seq2seq.cli.line_reader import warn
from seq2seq.cli.line_translation import LineTranslator
from seq2seq.data.files.chunks import chunks
from seq2seq.errors import ConfigError, Seq2SeqError
from seq2seq.filesystem.atomic_files import write_atomically
from seq2seq.inference.alignment import pharaoh

if TYPE_CHECKING:
    from seq2seq.inference.translation import Translation

WINDOW = 2000  # lines that are sorted by length and translated together
TRANSLATION, SCORE, CONFIDENCE, ALIGNMENT = "translation", "score", "confidence", "alignment"


@dataclass(frozen=True)
class BlockResult:
    """What became of a block: its number of lines and seconds, or the user's error that prevents it."""

    lines: int = 0
    seconds: float = 0.0
    error: Seq2SeqError | None = None


class BlockTranslator:
    """Holds the model in a worker process.

    Args:
        args: the command line of `translate`.
        models: model files.
    """

    def __init__(self, args: argparse.Namespace, models: Sequence[str]) -> None:
        self._args = args
        self._translator = LineTranslator(args, models)

    def translate(self, block: Block) -> BlockResult:
        """Translate a block and write its output atomically: a file that exists is complete."""
        start = time.perf_counter()
        try:
            lines = self._translate_table(block) if block.kind == PARQUET else self._translate_lines(block)
        except Seq2SeqError as error:
            return BlockResult(error=error)
        return BlockResult(lines, time.perf_counter() - start)

    def _translate_lines(self, block: Block) -> int:
        lines = read_lines(block, None if self._args.strict else warn)
        numbered = list(enumerate(lines, start=1))
        texts: list[str] = []
        for chunk in chunks(numbered, WINDOW):
            requests = [self._translator.request(number, line, format=block.kind) for number, line in chunk]
            texts += self._translator.formatted(requests, block.kind, str(block))
        data = "".join(texts).encode()
        write_atomically(Path(block.output), lambda temporary: temporary.write_bytes(data))
        return len(lines)

    def _translate_table(self, block: Block) -> int:
        import pyarrow as pa

        table, texts = read_table(block, self._args.column or COLUMN)
        outputs: list[Translation | None] = []
        for chunk in chunks(texts, WINDOW):
            answers = self._translator.answers([self._translator.request(0, text or "") for text in chunk])
            outputs += [None if text is None else best for text, (_, (best, *_)) in zip(chunk, answers, strict=True)]
        columns: dict[str, tuple[list[Any], Any]] = {
            TRANSLATION: ([output and output.text for output in outputs], pa.string())
        }
        if self._args.scores:
            columns[SCORE] = ([output and output.score for output in outputs], pa.float64())
        if self._args.confidence:
            values = [output and output.confidence and output.confidence.sentence for output in outputs]
            columns[CONFIDENCE] = (values, pa.float64())
        if self._args.alignments:
            columns[ALIGNMENT] = ([output and pharaoh(output.alignment or ()) for output in outputs], pa.string())
        for name, (values, kind) in columns.items():
            if name in table.column_names:
                raise ConfigError(f"{block.source} has a column {name} already: rename it")
            table = table.append_column(name, pa.array(values, kind))
        write_atomically(Path(block.output), lambda temporary: write_table(temporary, table))
        return len(texts)
