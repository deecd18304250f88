"""Show sentences of unknown origin on a terminal or a page: nothing in them is obeyed, and all of it is seen."""

from __future__ import annotations

import re

_INVISIBLE = re.compile("[\0-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]")


def visible(text: str, limit: int = 160) -> str:
    r"""Return a text, cut after `limit` characters, with \x1b, \u200b or the like for what would not be seen."""
    cut = text if len(text) <= limit else f"{text[:limit]}…"
    return _INVISIBLE.sub(lambda match: match[0].encode("unicode_escape").decode(), cut)
