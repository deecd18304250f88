"""Read pre-trained word vectors: the text format of word2vec, fastText and GloVe, plain or gzip."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.files.text_file import text_lines
from seq2seq.errors import ConfigError, DataError

Vector = NDArray[np.float32]


def read_vectors(path: str, key: str, wanted: Collection[str], size: int) -> dict[str, Vector]:
    """Return the vectors of the `wanted` words; of a word that occurs twice, the first one.

    A line is a word and its numbers, separated by spaces; word2vec and fastText write the numbers of words and
    dimensions in a first line. Bytes that are not UTF-8, which some of these files have in rare words, match no word.

    Args:
        path: of the file.
        key: that names the file, for messages.
        wanted: words; the other lines are not parsed.
        size: of a vector.

    Raises:
        ConfigError: the vectors have another size.
        DataError: the file cannot be read, is not such a file, has a damaged line or none of the words.
    """
    vectors: dict[str, Vector] = {}
    for number, line in _lines(path, key, size):
        word = line.partition(" ")[0]
        if word in wanted and word not in vectors:
            vectors[word] = _vector(line, size, f"{key}: {path}, line {number}")
    if not vectors:
        raise DataError(f"{key}: {path} has a vector for no token of the vocabulary: is it of another language?")
    return vectors


def _lines(path: str, key: str, size: int) -> Iterator[tuple[int, str]]:
    """Yield the lines with a vector and their numbers, after a check of the first one."""
    lines = enumerate((line.rstrip() for line in _text(path, key)), start=1)
    number, first = next(lines, (0, ""))
    fields = first.split(" ")
    is_header = len(fields) == 2 and all(map(str.isdecimal, fields))
    dimensions = int(fields[1]) if is_header else len(fields) - 1
    if dimensions < 1:
        raise DataError(
            f"{key}: {path} is not a text file of vectors: expected a word and its numbers in a line (of a binary "
            "file, save the text form)"
        )
    if dimensions != size:
        raise ConfigError(
            f"{key}: the vectors in {path} have {dimensions} numbers, but model.emb_size={size}: set "
            f"model.emb_size={dimensions}"
        )
    yield from itertools.chain([] if is_header else [(number, first)], lines)


def _text(path: str, key: str) -> Iterator[str]:
    try:
        yield from text_lines(Path(path).expanduser(), path, lambda message: None)
    except DataError as error:
        raise DataError(f"{key}: {error}") from None


def _vector(line: str, size: int, place: str) -> Vector:
    try:
        with np.errstate(over="ignore"):  # checked below
            vector = np.array(line.split(" ")[1:], np.float32)
    except ValueError:
        raise DataError(f"{place}: a number is expected after the word: {line[:50]!r}") from None
    if len(vector) != size or not np.isfinite(vector).all():
        raise DataError(f"{place}: expected {size} finite numbers after the word: {line[:50]!r}")
    return vector
