"""Text around the search: what goes in is valid Unicode of a length the model can hold, what comes out is one line."""

from __future__ import annotations

import re
from collections.abc import Callable

# Everything str.splitlines splits at; a model may have learned any of them as text.
_LINE_BREAKS = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’»)\]]*\s+|(?<=[。!?])")
_SPACE = re.compile(r"\s+")


def valid_unicode(text: str) -> str:
    """Replace lone surrogates, which no encoder accepts, by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def one_line(text: str) -> str:
    """Write every line break as a space: one line in, one line out."""
    return _LINE_BREAKS.sub(" ", text)


def split_long(text: str, encode: Callable[[str], list[int]], limit: int) -> list[list[int]]:
    """Return the ids of `text` in parts of at most `limit` ids.

    A part that is too long is cut at the sentence end nearest its middle, else at the space, else in the middle.
    """
    ids = encode(text)
    if len(ids) <= limit or len(text) < 2:
        return [ids]
    cut = _cut(text)
    return split_long(text[:cut], encode, limit) + split_long(text[cut:], encode, limit)


def _cut(text: str) -> int:
    low, middle, high = len(text) // 4, len(text) // 2, 3 * len(text) // 4
    for pattern in (_SENTENCE_END, _SPACE):
        cuts = [match.end() for match in pattern.finditer(text) if low < match.end() < high]
        if cuts:
            return min(cuts, key=lambda cut: abs(cut - middle))
    return middle
