"""HTML of the pages that this program writes: one file each, which needs no network and obeys nothing in the text.

The policy of a page allows its own style and script by their hashes, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import html
import itertools
import re
from collections.abc import Iterable
from pathlib import Path

from seq2seq.data.text.visible import visible

_NUMBER = ' class="number"'
MAX_CHARACTERS = 300
"""Shown of a text; the rest is cut."""


def page(title: str, body: Iterable[str], style: str = "", script: str = "") -> str:
    """Return a whole page.

    Args:
        title: plain text.
        body: parts of HTML.
        style: added to that of all pages.
        script: runs after the body is read; "": the page has none.
    """
    style = own_file("page.css") + style
    policy = f"default-src 'none'; style-src '{_digest(style)}'; base-uri 'none'; form-action 'none'"
    if script:
        policy += f"; script-src '{_digest(script)}'"
    content = "\n".join(body)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n{content}\n"
        + (f"<script>{script}</script>\n" if script else "")
        + "</body>\n</html>\n"
    )


def own_file(name: str) -> str:
    """Return the text of a style or script of this package."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _digest(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def escaped(text: str, limit: int = MAX_CHARACTERS) -> str:
    """Return a text for HTML and its attributes, with what is invisible as escapes, cut after `limit` characters."""
    return html.escape(visible(text, limit))


def text(sentence: str, limit: int = MAX_CHARACTERS) -> str:
    """Return a sentence as HTML: escaped, and isolated, so that its direction changes nothing around it."""
    return f"<bdi>{escaped(sentence, limit)}</bdi>"


def heading(title: str, level: int = 2) -> str:
    """Return a heading of plain text."""
    return f"<h{level}>{escaped(title)}</h{level}>"


def note(sentence: str) -> str:
    """Return a remark of plain text."""
    return f'<p class="faint">{escaped(sentence, 2000)}</p>'


def cell(content: str) -> str:
    """Return a table cell of HTML."""
    return f"<td>{content}</td>"


def number(value: int | float | str) -> str:
    """Return a table cell of a number, or of one that is already written, aligned at its right side."""
    shown = escaped(value) if isinstance(value, str) else f"{value:,}"
    return f"<td{_NUMBER}>{shown}</td>"


def value_cell(value: str | float | int | None) -> str:
    """Return a table cell of a text, a number with two decimals, a count, or nothing."""
    if value is None:
        return "<td></td>"
    if isinstance(value, str):
        return cell(text(value))
    return number(f"{value:,.2f}" if isinstance(value, float) else value)


def named_cell(name: object) -> str:
    """Return the cell that names its row."""
    return f'<th scope="row">{text(str(name))}</th>'


def table(head: Iterable[str], rows: Iterable[str]) -> str:
    """Return a table, which scrolls by itself if it is too wide.

    Args:
        head: titles, plain text.
        rows: the cells of each row.
    """
    rows = list(rows)
    begins = itertools.chain(re.findall(r"<t[dh][^>]*>", rows[0]) if rows else (), itertools.repeat(""))
    titles = "".join(
        f'<th scope="col"{_NUMBER if _NUMBER in begin else ""}>{escaped(title)}</th>'
        for title, begin in zip(head, begins, strict=False)
    )
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'
