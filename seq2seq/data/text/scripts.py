"""Unicode scripts: how many letters of each a line has, and which ones a language is written in.

The script of a letter is the first word of its Unicode name (LATIN SMALL LETTER A), so no table of ranges is needed.
"""

from __future__ import annotations

import unicodedata

from seq2seq.data.index.language_codes import base_code

BEYOND_LATIN = "\u0250"
"""Every letter before it is Latin; most lines of Latin text have no other character than those."""
_OTHER = "\0"
_NAMES = {"IDEOGRAPHIC": "CJK", "KATAKANA-HIRAGANA": "KATAKANA"}
_WIDTHS = ("FULLWIDTH", "HALFWIDTH")
_WITHOUT_SCRIPT = (
    "COMBINING",
    "MODIFIER",
    "MATHEMATICAL",
    "FEMININE",
    "MASCULINE",
    "MICRO",
    "DOUBLE-STRUCK",
    "VARIATION",
)


class _Scripts(dict[int, str]):
    """Maps a code point to a character that stands for its script, as `str.translate` needs; filled when asked."""

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, str] = {}
        self._codes: dict[str, str] = {}

    def __missing__(self, point: int) -> str:
        script = script_of(chr(point))
        if script is None:
            code = _OTHER
        elif script in self._codes:
            code = self._codes[script]
        else:
            code = self._codes[script] = chr(len(self._codes) + 1)
            self.names[code] = script
        self[point] = code
        return code


def script_of(char: str) -> str | None:
    """Return the script of a letter or of its vowel sign (LATIN, CJK, …); None for any other character.

    A letter without a script of its own, such as ª, and a combining accent have COMMON.
    """
    if unicodedata.category(char)[0] not in "LM":
        return None
    first, _, rest = unicodedata.name(char, "UNKNOWN").partition(" ")
    if first in _WIDTHS:
        first = rest.partition(" ")[0]
    return "COMMON" if first in _WITHOUT_SCRIPT else _NAMES.get(first, first)


_SCRIPTS = _Scripts()


def letter_counts(line: str) -> dict[str, int]:
    """Return the number of letters by script, without those of no script."""
    codes = line.translate(_SCRIPTS)
    return {
        name: codes.count(code) for code in set(codes) if code != _OTHER and (name := _SCRIPTS.names[code]) != "COMMON"
    }


def letters_of(line: str) -> int:
    """Return the number of letters and their marks."""
    return len(line) - line.translate(_SCRIPTS).count(_OTHER)


_LANGUAGES = {
    "ARABIC": "ar ary arz fa ur ps ckb sd ug sdh",
    "ARMENIAN": "hy",
    "BENGALI": "bn as",
    "CJK": "zh cmn yue wuu lzh",
    "CJK HIRAGANA KATAKANA": "ja",
    "CYRILLIC": "ru uk be bg mk ky mn tg tt ba cv ce os sah udm",
    "CYRILLIC LATIN": "sr sh kk uz az tk",
    "DEVANAGARI": "hi mr ne sa bho mai gom",
    "ETHIOPIC": "am ti",
    "GEORGIAN": "ka",
    "GREEK": "el grc",
    "GUJARATI": "gu",
    "GURMUKHI": "pa",
    "HANGUL CJK": "ko",
    "HEBREW": "he iw yi hbo",
    "KANNADA": "kn",
    "KHMER": "km",
    "LAO": "lo",
    "MALAYALAM": "ml",
    "MYANMAR": "my",
    "ORIYA": "or",
    "SINHALA": "si",
    "TAMIL": "ta",
    "TELUGU": "te",
    "THAANA": "dv",
    "THAI": "th",
    "TIBETAN": "bo dz",
    "LATIN": "af an ast br bs ca cs cy da de en eo es et eu fi fo fr fy ga gd gl gn gsw ha haw hr ht hu hsb dsb ia id "
    "ig in io is it jv kab kl la lb lg li lij ln lt ltg lv mg mi ms mt nb nds nl nn no nso ny oc om pl pt qu ro rw scn "
    "se sk sl sm sn so sq st su sv sw szl tl tn tpi tr ts ve vec vi vo wa wo xh yo zu",
}
_SCRIPTS_OF = {code: tuple(scripts.split()) for scripts, codes in _LANGUAGES.items() for code in codes.split()}
_SUBTAGS = {"latn": ("LATIN",), "cyrl": ("CYRILLIC",), "arab": ("ARABIC",), "deva": ("DEVANAGARI",)}


def expected_scripts(language: str) -> tuple[str, ...] | None:
    """Return the scripts of a language code, whose subtags may name one (sr-Latn); None if it is not known."""
    subtags = language.lower().replace("_", "-").split("-")[1:]
    named = [_SUBTAGS[subtag] for subtag in subtags if subtag in _SUBTAGS]
    return named[0] if named else _SCRIPTS_OF.get(base_code(language))
