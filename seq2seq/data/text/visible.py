"""Show sentences of unknown origin on a terminal or a page: nothing in them is obeyed, and all of it is seen."""

from __future__ import annotations

import re

_CONTROLS = "\0-\x1f\x7f-\x9f\u2028\u2029\ufff9-\ufffb\ud800-\udfff"
_IGNORABLE = (
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff"
    "\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""Unicode's Default_Ignorable_Code_Point: joiners, directions, variation selectors, fillers, tags."""

_INVISIBLE = re.compile(f"[{_CONTROLS}{_IGNORABLE}]")


def visible(text: str, limit: int | None = 160) -> str:
    r"""Return a text, cut after `limit` characters unless that is None, with \x1b or the like for what is invisible."""
    cut = text if limit is None or len(text) <= limit else f"{text[:limit]}…"
    return _INVISIBLE.sub(lambda match: match[0].encode("unicode_escape").decode(), cut)
