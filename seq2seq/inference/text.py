"""Text before and after the search: valid Unicode, splitting of long lines, one output line."""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Sequence

from seq2seq.data.text.writing import word_spans

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


def split_long(text: str, length: Callable[[str], int], limit: int, max_chars: int | None = None) -> list[str]:
    """Split `text` into parts whose `length` (in tokens) is at most `limit`; the parts concatenate to `text`.

    A part that is too long is split at the sentence end nearest its middle, else at the space, else in the middle.

    Args:
        text: any text.
        length: tokens of a part, which takes time proportional to its characters.
        limit: maximum length of a part.
        max_chars: a part of more characters is split without asking for its length. If that is the most that `limit`
            tokens can have, the parts are the same, and the time is linear in the text.
    """
    cuts = [[match.end() for match in pattern.finditer(text)] for pattern in (_SENTENCE_END, _SPACE)]
    parts: list[str] = []
    rest = [(0, len(text))]
    while rest:
        begin, end = rest.pop()
        short = end - begin < 2 or (
            (max_chars is None or end - begin <= max_chars) and length(text[begin:end]) <= limit
        )
        if short:
            parts.append(text[begin:end])
        else:
            cut = _cut(cuts, begin, end)
            rest += [(cut, end), (begin, cut)]
    return parts


def words_before(text: str, positions: Sequence[int]) -> list[int]:
    """Return for each position how many words of `text` (see `word_spans`) end at or before it."""
    ends = [end for _, end in word_spans(text)]
    return [bisect.bisect_right(ends, position) for position in positions]


def _cut(cuts: Sequence[Sequence[int]], begin: int, end: int) -> int:
    """Return the first kind of cut nearest to the middle of (begin, end) that is not in its outer quarters."""
    size = end - begin
    low, middle, high = begin + size // 4, begin + size // 2, begin + 3 * size // 4
    for points in cuts:
        at = bisect.bisect_left(points, middle)
        near = [point for point in points[max(at - 1, 0) : at + 1] if low < point < high]
        if near:
            return min(near, key=lambda point: abs(point - middle))
    return middle
