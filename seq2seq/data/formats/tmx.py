"""TMX, the exchange format of translation memories, read unit by unit."""

from __future__ import annotations

import io
import logging
from collections import Counter
from collections.abc import Iterator
from xml.parsers import expat

from seq2seq.data.files.text_file import MAX_LINE_BYTES
from seq2seq.data.formats.columns import Columns, one_line
from seq2seq.errors import DataError

CHUNK = 1 << 16
CODES = {"bpt", "ept", "it", "ph", "ut"}
"""Inline elements whose text is markup of another program; `hi` and `sub` hold text of the sentence."""
log = logging.getLogger(__name__)


def tmx_pairs(stream: io.BufferedReader, name: str, columns: Columns) -> Iterator[tuple[str, str]]:
    """Yield the segments in two languages of each translation unit; log the number of units that lack one.

    A language matches its variants: de matches de-DE, and de itself first. Line breaks become spaces.

    Raises:
        DataError: the file is not well-formed XML or no TMX, declares entities, or has no unit in both languages.
    """
    languages = columns.given or columns.languages
    if languages is None:
        options = " and ".join(columns.options)
        raise DataError(f"{name}: a TMX file: name its languages with {options}")
    reader = _Reader(name)
    units = lacking = 0
    seen: Counter[str] = Counter()
    for unit in reader.units(stream):
        units += 1
        seen.update(unit.keys())
        src, tgt = (_segment(unit, language) for language in languages)
        if src is None or tgt is None:
            lacking += 1
        else:
            yield src, tgt
    if units == lacking:
        shown = ", ".join(language for language, _ in seen.most_common(12)) or "none"
        raise DataError(f"{name}: no unit has both {languages[0]} and {languages[1]}; its languages: {shown}")
    if lacking:
        log.warning("%s: skipped %d of %d units: not in both %s and %s", name, lacking, units, *languages)


def _segment(unit: dict[str, str], language: str) -> str | None:
    wanted = _code(language)
    if wanted in unit:
        return unit[wanted]
    return next((text for code, text in unit.items() if code.startswith(f"{wanted}-")), None)


def _code(language: str) -> str:
    return language.lower().replace("_", "-")


class _Reader:
    """Calls expat and collects what it reports; nothing but the current unit is kept."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._units: list[dict[str, str]] = []
        self._unit: dict[str, str] = {}
        self._language = ""
        self._text: list[str] = []
        self._size = 0
        self._in_segment = False
        self._path: list[str] = []
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.EntityDeclHandler = self._refuse_entity
        self._parser.SkippedEntityHandler = self._refuse_skipped

    def units(self, stream: io.BufferedReader) -> Iterator[dict[str, str]]:
        """Yield the segments of each unit by language code."""
        try:
            while data := stream.read(CHUNK):
                self._parser.Parse(data, False)
                yield from self._units
                self._units = []
            self._parser.Parse(b"", True)
        except expat.ExpatError as error:
            what = expat.ErrorString(error.code)
            raise DataError(f"{self._name}, line {error.lineno}: not well-formed XML ({what})") from None
        except (LookupError, ValueError) as error:
            raise DataError(f"{self._name}: XML in an encoding that is not supported ({error})") from None
        yield from self._units

    def _start(self, element: str, attributes: dict[str, str]) -> None:
        if not self._path and element != "tmx":
            raise DataError(f"{self._name}: XML whose outermost element is <{element}>, not <tmx>")
        self._path.append(element)
        if element == "tu":
            self._unit = {}
        elif element == "tuv":
            self._language = _code(attributes.get("xml:lang") or attributes.get("lang") or "")
        elif element == "seg":
            self._text, self._size, self._in_segment = [], 0, True

    def _end(self, element: str) -> None:
        self._path.pop()
        if element == "seg":
            self._in_segment = False
            self._unit.setdefault(self._language, one_line("".join(self._text)))
        elif element == "tu":
            self._units.append(self._unit)

    def _characters(self, text: str) -> None:
        if self._in_segment and not self._in_code():
            self._text.append(text)
            self._size += len(text)
            if self._size > MAX_LINE_BYTES:
                raise DataError(f"{self._name}: a segment of more than {MAX_LINE_BYTES >> 20} MiB: not a sentence")

    def _in_code(self) -> bool:
        """Return True inside markup of another program, but not in the sentence that such markup can contain (sub)."""
        inner = next((part for part in reversed(self._path) if part in CODES or part in ("sub", "seg")), "")
        return inner in CODES

    def _refuse_entity(self, entity: str, *_: object) -> None:
        where = f"{self._name}, line {self._parser.CurrentLineNumber}"
        raise DataError(f"{where}: it declares the entity {entity!r}, which is not read: remove its <!ENTITY …>")

    def _refuse_skipped(self, entity: str, is_parameter: int) -> None:
        if not is_parameter:
            where = f"{self._name}, line {self._parser.CurrentLineNumber}"
            raise DataError(f"{where}: &{entity}; is not declared in the file: write the character")
