"""Text around the search: what goes in is valid Unicode of a length the model can hold, what comes out is one line."""

from __future__ import annotations

import re
from collections.abc import Callable

# Everything str.splitlines splits at; a model may have learned any of them as text.
_LINE_BREAKS = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’»)\]]*\s+|(?<=[。！？])")
_SPACE = re.compile(r"\s+")


def valid_unicode(text: str) -> str:
    """Replace lone surrogates, which no encoder accepts, by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def one_line(text: str) -> str:
    """Write every line break as a space: one line in, one line out."""
    return _LINE_BREAKS.sub(" ", text)


def split_long(text: str, length: Callable[[str], int], limit: int) -> list[str]:
    """Return `text` in parts whose `length` (in pieces) is at most `limit`; joined they are the text.

    A part that is too long is cut at the sentence end nearest its middle, else at the space, else in the middle.
    """
    if len(text) < 2 or length(text) <= limit:
        return [text]
    cut = _cut(text)
    return split_long(text[:cut], length, limit) + split_long(text[cut:], length, limit)


def words_before(text: str, position: int) -> int:
    """Return how many whitespace words of `text` begin before `position` and have ended there."""
    before = text[:position].split()
    cut_in_two = 0 < position < len(text) and not any(map(str.isspace, text[position - 1 : position + 1]))
    return len(before) - cut_in_two


def _cut(text: str) -> int:
    low, middle, high = len(text) // 4, len(text) // 2, 3 * len(text) // 4
    for pattern in (_SENTENCE_END, _SPACE):
        cuts = [match.end() for match in pattern.finditer(text) if low < match.end() < high]
        if cuts:
            return min(cuts, key=lambda cut: abs(cut - middle))
    return middle
