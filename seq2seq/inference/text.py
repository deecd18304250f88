"""Text before and after the search: valid Unicode, splitting of long lines, one output line."""

from __future__ import annotations

import re
from collections.abc import Callable

from seq2seq.data.writing import word_spans

# All line breaks of str.splitlines; a model may emit any of them as text.
_LINE_BREAKS = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’»)\]]*\s+|(?<=[。！？])")
_SPACE = re.compile(r"\s+")


def valid_unicode(text: str) -> str:
    """Replace lone surrogates, which UTF-8 cannot encode, by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def one_line(text: str) -> str:
    """Replace every line break by a space, so that an output is one line."""
    return _LINE_BREAKS.sub(" ", text)


def split_long(text: str, length: Callable[[str], int], limit: int) -> list[str]:
    """Split `text` into parts whose `length` (in tokens) is at most `limit`; the parts concatenate to `text`.

    A part that is too long is split at the sentence end nearest its middle, else at the space, else in the middle.
    """
    if len(text) < 2 or length(text) <= limit:
        return [text]
    middle = _split_point(text)
    return split_long(text[:middle], length, limit) + split_long(text[middle:], length, limit)


def words_before(text: str, position: int) -> int:
    """Return how many words of `text` (see `word_spans`) end at or before `position`."""
    return sum(end <= position for _, end in word_spans(text))


def _split_point(text: str) -> int:
    low, middle, high = len(text) // 4, len(text) // 2, 3 * len(text) // 4
    for pattern in (_SENTENCE_END, _SPACE):
        points = [match.end() for match in pattern.finditer(text) if low < match.end() < high]
        if points:
            return min(points, key=lambda point: abs(point - middle))
    return middle
