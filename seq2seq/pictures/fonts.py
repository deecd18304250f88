"""Fonts for any script: which installed fonts have the characters of a picture, and what to install if none has."""

from __future__ import annotations

import functools
import os
import unicodedata
from collections.abc import Iterable

BASE_FAMILY = "DejaVu Sans"
"""Comes with Matplotlib: Latin, Greek, Cyrillic, Hebrew, Arabic, Armenian, Georgian."""
MAX_SHOWN = 8
_RIGHT_TO_LEFT_MARK = "\u200f"
_INVISIBLE = {"Cc", "Cf", "Zs", "Zl", "Zp"}
_VARIATION_SELECTORS = {*map(chr, range(0xFE00, 0xFE10)), *map(chr, range(0xE0100, 0xE01F0))}
# The first character of a range of blocks, and the Debian package of a font for it.
_PACKAGES = (
    (0x0000, "fonts-noto-core"),
    (0x1100, "fonts-noto-cjk"),  # Hangul
    (0x1200, "fonts-noto-core"),
    (0x2600, "fonts-symbola"),
    (0x2C00, "fonts-noto-core"),
    (0x2E80, "fonts-noto-cjk"),  # Han, kana, bopomofo
    (0xA000, "fonts-noto-core"),
    (0xAC00, "fonts-noto-cjk"),  # Hangul
    (0xD800, "fonts-noto-core"),
    (0xF900, "fonts-noto-cjk"),
    (0xFB00, "fonts-noto-core"),
    (0xFE30, "fonts-noto-cjk"),
    (0xFE50, "fonts-noto-core"),
    (0xFF00, "fonts-noto-cjk"),  # full-width forms
    (0x10000, "fonts-noto-core"),
    (0x1F000, "fonts-symbola"),  # pictographs
    (0x20000, "fonts-noto-cjk"),
)


def choose_fonts(characters: Iterable[str]) -> tuple[list[str], set[str]]:
    """Return font families, in the order of fallback, that have the characters, and the characters that none has.

    The choice depends on the characters and the installed fonts alone.
    """
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    base = FT2Font(str(font_manager.findfont(BASE_FAMILY)))
    lacking = frozenset(c for c in characters if _is_visible(c) and not base.get_char_index(ord(c)))
    families, missing = _cover(lacking)
    return [BASE_FAMILY, *families, "sans-serif"], set(missing)


def describe_missing(characters: Iterable[str]) -> str:
    """Return which characters have no font, and what to install, as the part of a message."""
    missing = sorted(characters)
    shown = ", ".join(f"{c} (U+{ord(c):04X})" for c in missing[:MAX_SHOWN])
    more = f" and {len(missing) - MAX_SHOWN} more characters" if len(missing) > MAX_SHOWN else ""
    packages = " ".join(dict.fromkeys(_package(c) for c in missing))
    return (
        f"no installed font has {shown}{more}: install a font, on Debian and Ubuntu apt install {packages}, "
        "or copy its file to ~/.local/share/fonts"
    )


def printable(text: str, limit: int = 80) -> str:
    r"""Return a text as a label.

    White space is one space, characters without a form are written as \x1b or the like, and of a text of more than
    `limit` characters the middle is left out.
    """
    text = " ".join(text.split())
    text = text if len(text) <= limit else f"{text[: limit // 2]}…{text[-(limit // 2) :]}"
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in {"Cc", "Cs", "Co", "Cn"} else c for c in text
    )


def is_right_to_left(text: str) -> bool:
    """Return True if the first letter of a text is of a right-to-left script."""
    first = next((kind for kind in map(unicodedata.bidirectional, text) if kind in {"L", "R", "AL"}), "L")
    return first != "L"


def isolated(text: str) -> str:
    """Return a right-to-left text between marks, which keep punctuation at its ends on the side where it is read."""
    return f"{_RIGHT_TO_LEFT_MARK}{text}{_RIGHT_TO_LEFT_MARK}" if is_right_to_left(text) else text


def needs_shaping(text: str) -> bool:
    """Return True if this Matplotlib cannot order or join the letters of a text, as before its version 3.11."""
    from matplotlib import ft2font

    if hasattr(ft2font, "__libraqm_version__"):
        return False
    # Right-to-left letters, and the vowel signs of Indic scripts.
    return any(unicodedata.bidirectional(c) in {"R", "AL"} or unicodedata.category(c) == "Mc" for c in text)


@functools.lru_cache(maxsize=64)
def _cover(characters: frozenset[str]) -> tuple[list[str], frozenset[str]]:
    """Return few families that have the characters, each time the one with most, and the characters that none has."""
    from matplotlib import font_manager

    fonts, families, missing = _fonts_with(characters) if characters else [], [], characters
    while missing:
        # Of fonts that have equally many, max returns the first.
        file, family, found = max(fonts, key=lambda font: len(font[2] & missing), default=("", "", frozenset()))
        if not found & missing:
            break
        if file not in {entry.fname for entry in font_manager.fontManager.ttflist}:
            font_manager.fontManager.addfont(file)
        families.append(family)
        missing -= found
    return families, missing


def _fonts_with(characters: frozenset[str]) -> list[tuple[str, str, frozenset[str]]]:
    """Return file and family of each installed font with some of the characters, and which it has.

    Upright sans-serif fonts of normal weight come first.
    """
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    ranked = []
    for file in font_manager.findSystemFonts():  # the font manager's own list lacks fonts installed since it was made
        try:
            font = FT2Font(file)
        except (RuntimeError, OSError, ValueError):  # FreeType cannot read it
            continue
        found = frozenset(c for c in characters if font.get_char_index(ord(c)))
        if found and font.scalable:  # a bitmap font, such as one of coloured emoji, has one size
            name = os.path.basename(file)
            regular = font.style_name in {"Regular", "Book", "Roman"}
            rank = not regular, "Sans" not in name, "Mono" in name or "UI" in name, file
            ranked.append((rank, (file, font.family_name, found)))
    return [font for _, font in sorted(ranked, key=lambda item: item[0])]


def _is_visible(character: str) -> bool:
    return unicodedata.category(character) not in _INVISIBLE and character not in _VARIATION_SELECTORS


def _package(character: str) -> str:
    return next(package for first, package in reversed(_PACKAGES) if first <= ord(character))
