"""The user's own normalisation rules, in SentencePiece's format (`data.tokenizer.normalization_rules`)."""

from __future__ import annotations

import re
from pathlib import Path

from seq2seq.data.files.text_file import text_lines
from seq2seq.errors import ConfigError, DataError

KEY = "data.tokenizer.normalization_rules"
_CODE_POINT = re.compile("[0-9A-Fa-f]{1,6}")


def read_rules(path: str) -> str:
    """Return the text of a file of rules, one a line: hexadecimal code points, a tab, those that replace them.

    `FB01<tab>66 69` makes the ligature ﬁ two letters; without code points after the tab the source is removed.
    SentencePiece's own check names no line and accepts a line without a tab.

    Raises:
        ConfigError: the file is missing, has no rule, or a line that is not one; names the line.
    """
    try:
        lines = list(text_lines(Path(path).expanduser(), path))
    except DataError as error:
        raise ConfigError(f"{KEY}: {error}") from None
    for number, line in enumerate(lines, start=1):
        src, tab, tgt = line.partition("\t")
        codes = [*src.split(" "), *filter(None, tgt.split(" "))]
        if not tab or not all(map(_is_character, codes)):
            raise ConfigError(
                f"{KEY}: {path}, line {number}: expected hexadecimal code points, a tab and code points, such as "
                f"FB01<tab>66 69, not {line[:50]!r}"
            )
    if not lines:
        raise ConfigError(f"{KEY}: {path} has no rules")
    return "".join(f"{line}\n" for line in lines)


def _is_character(code: str) -> bool:
    if not _CODE_POINT.fullmatch(code):
        return False
    point = int(code, 16)
    return 0 < point <= 0x10FFFF and not 0xD800 <= point < 0xE000
