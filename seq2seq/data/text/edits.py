"""Edits of a sentence or a pair, as users write: capitals, missing punctuation, typos, spacing, text to be copied."""

from __future__ import annotations

import operator
import random
import re
import unicodedata
from collections.abc import Sequence

from seq2seq.data.corpus import Pair
from seq2seq.data.text.writing import word_spans

WORDS_PER_TYPO = 8
_WORD_START = re.compile(r"(?<!\S)([^\w\s]*)(\w)")
_LONG_WORD = re.compile(r"[^\W\d_]{4,}")
_FINAL = re.compile(r"\s*[.!?…。！？｡।॥؟۔։።፧\u037e]+\s*$")
_OPENING = re.compile(r"^\s*[¿¡]+\s*")  # Spanish: it goes with the final mark
_FULL_STOPS = (
    (re.compile("[\u2e80-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"), "。"),
    (re.compile("[\u0900-\u09ff]"), "।"),
    (re.compile("[\u0530-\u058f]"), "։"),
    (re.compile("[\u1200-\u137f]"), "።"),
    (re.compile("[\u0e00-\u109f\u1780-\u17ff]"), ""),  # Thai and its neighbours write none
)
_KEYBOARDS = (("qwertyuiop", "asdfghjkl", "zxcvbnm"), ("йцукенгшщзхъ", "фывапролджэ", "ячсмитьбю"))
_NEIGHBOURS = {
    key: [keys[row][k] for row in (r - 1, r, r + 1) if 0 <= row < 3 for k in (i - 1, i, i + 1)
          if 0 <= k < len(keys[row]) and (row, k) != (r, i)]
    for keys in _KEYBOARDS for r, letters in enumerate(keys) for i, key in enumerate(letters)
}  # fmt: skip
_EMOJI = ((0x1F600, 0x1F645), (0x1F300, 0x1F321), (0x1F400, 0x1F43F), (0x1F680, 0x1F6C6), (0x1F90D, 0x1F93B))
_TAGS = ("b", "i", "em", "strong", "u", "p", "li", "span", "h1", "code")
_LATIN = "abcdefghijklmnopqrstuvwxyz"
_SCRIPTS = (
    (0x41, 0x250), (0x370, 0x400), (0x400, 0x530), (0x5D0, 0x5EB), (0x620, 0x64B), (0x905, 0x93A), (0xE01, 0xE31),
    (0x10D0, 0x10FB), (0x2190, 0x2300), (0x3041, 0x3097), (0x4E00, 0x9FA6), (0xAC00, 0xD7A4),
)  # fmt: skip


def upper(src: str, tgt: str) -> Pair:
    """Return both sides in upper case (ß becomes SS; i becomes I in every language, Turkish too)."""
    return _with_case(src, tgt, src.upper(), tgt.upper())


def title(src: str, tgt: str) -> Pair:
    """Return both sides with a capital at the start of every word."""
    return _with_case(src, tgt, title_case(src), title_case(tgt))


def title_case(line: str) -> str:
    """Start every word with a capital; the other letters do not change."""
    return _WORD_START.sub(lambda start: start[1] + start[2].title(), line)


def has_case(line: str) -> bool:
    """Return True if most letters of the line are of a script with upper and lower case."""
    cased: int = sum(map(operator.ne, line.upper(), line.lower()))
    return 2 * cased > sum(map(str.isalpha, line))


def _with_case(src: str, tgt: str, new_src: str, new_tgt: str) -> Pair:
    """Return the new pair, or the old one if the new source does not show that the case of the target changes."""
    return (new_src, new_tgt) if new_src != src and has_case(src) else (src, tgt)


def punctuation(src: str, tgt: str) -> Pair:
    """Remove the final punctuation of both sides, or add a full stop to both; leave a pair in which one side has it."""
    if _FINAL.search(src) and _FINAL.search(tgt):
        return without_punctuation(src, tgt)
    stops = _full_stop(src), _full_stop(tgt)
    return (src + stops[0], tgt + stops[1]) if all(stops) else (src, tgt)


def without_punctuation(src: str, tgt: str) -> Pair:
    """Remove the final punctuation of both sides, if both have text without it."""
    new = without_final(src), without_final(tgt)
    return new if src != new[0] and tgt != new[1] else (src, tgt)


def without_final(line: str) -> str:
    """Remove final punctuation, and the ¿ or ¡ that goes with it; a line without other text is left as it is."""
    shorter = _FINAL.sub("", line)
    return line if shorter == line or not shorter.strip(" ¿¡") else _OPENING.sub("", shorter)


def _full_stop(line: str) -> str:
    """Return the full stop of the script in which the line ends; empty if none can follow."""
    if not line[-1:].isalnum():
        return ""
    return next((stop for script, stop in _FULL_STOPS if script.search(line[-1])), ".")


def typos(line: str, rng: random.Random) -> str:
    """Misspell one word per eight, at least one; words of fewer than four letters are left alone.

    Neither are words of scripts without spaces, in which another character is another word.
    """
    words = _long_words(line)
    count = min(len(words), -(-len(line.split()) // WORDS_PER_TYPO))
    for begin, end in sorted(rng.sample(words, count), reverse=True):
        line = line[:begin] + misspelt(line[begin:end], rng) + line[end:]
    return line


def misspelt(word: str, rng: random.Random) -> str:
    """Exchange two neighbouring letters, drop or double one, or replace one by a neighbour on the keyboard."""
    i = rng.randrange(len(word) - 1)
    kind = rng.randrange(4)
    letter = word[i]
    if kind == 0 and letter != word[i + 1]:
        return word[:i] + word[i + 1] + letter + word[i + 2 :]
    if kind == 1:
        return word[:i] + word[i + 1 :]
    if kind == 2 and letter.lower() in _NEIGHBOURS:
        near = rng.choice(_NEIGHBOURS[letter.lower()])
        return word[:i] + (near if letter.islower() else near.upper()) + word[i + 1 :]
    return word[:i] + letter + word[i:]


def spacing(line: str, rng: random.Random) -> str:
    """Join two words, split a word, or put a space before the final punctuation."""
    edits: list[tuple[int, int, str]] = []
    if spaces := [i for i, c in enumerate(line) if c == " "]:
        edits.append((i := rng.choice(spaces), i + 1, ""))
    if words := _long_words(line):
        begin, end = rng.choice(words)
        edits.append((i := rng.randrange(begin + 1, end), i, " "))
    if (final := _FINAL.search(line)) and final.start() and not final[0].startswith(" "):
        edits.append((final.start(), final.start(), " "))
    if not edits:
        return line
    begin, end, new = rng.choice(edits)
    return line[:begin] + new + line[end:]


def copied(src: str, tgt: str, rng: random.Random) -> Pair:
    """Put the same text, which a translation copies, at the start or the end of both sides, or tags around both."""
    kind = rng.choice((_emoji, _number, _address, None))
    if kind is None:
        tag = rng.choice(_TAGS)
        return f"<{tag}>{src}</{tag}>", f"<{tag}>{tgt}</{tag}>"
    text = kind(rng)
    return (f"{text} {src}", f"{text} {tgt}") if rng.random() < 0.5 else (f"{src} {text}", f"{tgt} {text}")


def noise(rng: random.Random) -> str:
    """Return one to six words of two to five characters, each of one script."""
    return " ".join(_random_word(rng) for _ in range(rng.randint(1, 6)))


def _random_word(rng: random.Random) -> str:
    begin, end = rng.choice(_SCRIPTS)
    size, word = rng.randint(2, 5), ""
    while len(word) < size:
        character = chr(rng.randrange(begin, end))
        if unicodedata.category(character)[0] in "LS":  # not all are assigned
            word += character
    return word


def _emoji(rng: random.Random) -> str:
    return chr(rng.randrange(*rng.choice(_EMOJI))) * rng.choice((1, 1, 1, 2, 3))


def _number(rng: random.Random) -> str:
    number = rng.randrange(10 ** rng.randint(1, 7))
    return rng.choice(("{}", "({})", "[{}]", "#{}", "+{}", "{}%", "{}:00")).format(number)


def _address(rng: random.Random) -> str:
    name, host = ("".join(rng.choices(_LATIN, k=rng.randint(3, 10))) for _ in range(2))
    number = rng.randrange(1000)
    forms = ("https://www.{host}.com/{name}", "http://{host}.org/{name}?id={number}", "{name}@{host}.net", "@{name}",
             "#{name}{number}", "{{{name}}}", "/{name}/{host}.txt")  # fmt: skip
    return rng.choice(forms).format(name=name, host=host, number=number)


def _long_words(line: str) -> Sequence[tuple[int, int]]:
    """Return the spans of words of four letters or more; a character of a script without spaces is a word."""
    spans = [match.span() for match in _LONG_WORD.finditer(line)]
    return [(begin, end) for begin, end in spans if len(word_spans(line[begin:end])) == 1]
