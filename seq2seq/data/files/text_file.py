"""Read text files line by line: UTF-8, plain or compressed, which the first bytes of a file show, not its name.

Every command reads text through this module. The only separator of lines is a line feed: U+2028, U+0085 and similar
characters occur inside real sentences. `str.splitlines` would split there and misalign every later line with the other
language. A file that is no text is refused, because every line of it would get a fluent translation.
"""

from __future__ import annotations

import codecs
import contextlib
import io
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from seq2seq.data.formats.compression import COMPRESSIONS, decompressed
from seq2seq.errors import DataError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Stream: TypeAlias = "io.RawIOBase | io.BufferedIOBase"

BLOCK = 1 << 18
MAX_LINE_BYTES = 1 << 26
"""A longer line is no sentence; reading it would fill the memory if a small compressed file stands for it."""
PARQUET = b"PAR1\x15"
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_EXPORT = ", not text: unpack or export it first"
REFUSED = {
    **dict.fromkeys(UTF_16, "UTF-16 text: convert it with iconv -f UTF-16 -t UTF-8"),
    b"PK\x03\x04": "a zip archive, or an office document" + _EXPORT,
    b"\x04\x22\x4d\x18": "an lz4 file" + _EXPORT,
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive" + _EXPORT,
    b"\x1f\x9d": "a file of compress" + _EXPORT,
    PARQUET: "a Parquet file, not text: name it as a file of columns (data.train.table), or export it first",
    b"%PDF-": "a PDF file" + _EXPORT,
    b"\x7fELF": "a program" + _EXPORT,
}
"""First bytes of files that are often taken for text; others have a NUL byte in their first line."""


def text_lines(file: str | Path | int, name: str, warn: Callable[[str], None] | None = None) -> Iterator[str]:
    """Yield the lines of a file without their line ends, each as soon as it has arrived.

    Args:
        file: a path, or the number of an open file.
        name: of the file in messages.
        warn: read whatever can be read: bytes that are not UTF-8 become U+FFFD, and `warn` is called with a message;
            only in the first line, where binary files and UTF-16 have one, is a NUL byte an error.

    Raises:
        DataError: the file cannot be read, is not text, or is damaged; the lines before that are yielded first.
    """
    with opened(file, name) as stream:
        yield from decoded(stream, name, warn)


@contextlib.contextmanager
def opened(file: str | Path | int, name: str, allowed: Collection[bytes] = ()) -> Iterator[io.BufferedReader]:
    """Open a text file and yield its bytes, decompressed if necessary.

    Args:
        file: a path, or the number of an open file.
        name: of the file in messages.
        allowed: keys of `REFUSED` that the caller reads itself.

    Raises:
        DataError: as `text_lines`, also for what the caller reads inside the block.
    """
    try:
        with open(file, "rb", buffering=0, closefd=not isinstance(file, int)) as raw:
            yield _content(raw, name, allowed)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{name}: {reason[:1].lower()}{reason[1:]}") from None


def decoded(
    stream: io.BufferedReader | io.BytesIO, name: str, warn: Callable[[str], None] | None = None
) -> Iterator[str]:
    """Yield the lines of `stream` as `text_lines` does; remove a byte-order mark and the CR of Windows line ends."""
    number = 1
    for block in _whole_lines(stream, name):
        if block.endswith(b"\n"):
            content = block.replace(b"\r\n", b"\n").removesuffix(b"\n")
        else:
            content = block.removesuffix(b"\r")  # one line, the last
        if number == 1:
            content = content.removeprefix(codecs.BOM_UTF8)
            if b"\r" in content and b"\n" not in block and b"\0" not in content:
                raise DataError(f"{name}: its lines end in CR: convert it with tr '\\r' '\\n'")
        lines = _clean_lines(content)
        if lines is None:
            raw_lines = content.split(b"\n")
            for index, line in enumerate(raw_lines, start=number):
                yield _decode(line, f"{name}, line {index}", warn, may_have_nul=index > 1)
            number += len(raw_lines)
        else:
            yield from lines
            number += len(lines)


def rejoined(head: bytes, rest: Stream) -> io.BufferedReader:
    """Return a stream of the bytes that were read to look at them, then the rest."""
    return io.BufferedReader(_Chunks(_rejoined(head, rest)), BLOCK)


def _whole_lines(stream: io.BufferedReader | io.BytesIO, name: str) -> Iterator[bytes]:
    """Yield what has arrived in blocks that end in a line feed; the last line may lack it, and is yielded alone."""
    parts: list[bytes] = []
    size = 0
    while block := stream.read1(BLOCK):
        end = block.rfind(b"\n") + 1
        if end:
            yield b"".join([*parts, block[:end]])
            parts, size, block = [], 0, block[end:]
        if block:
            parts.append(block)
            size += len(block)
        if size > MAX_LINE_BYTES:
            raise DataError(f"{name}: a line of more than {MAX_LINE_BYTES >> 20} MiB: not text of one sentence a line")
    if parts:
        yield b"".join(parts)


def _clean_lines(content: bytes) -> list[str] | None:
    """Return the lines of a block; None if a line of it needs a closer look."""
    if b"\0" in content:
        return None
    try:
        return content.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        return None


def _decode(line: bytes, where: str, warn: Callable[[str], None] | None, may_have_nul: bool) -> str:
    if b"\0" in line and (warn is None or not may_have_nul):
        raise DataError(f"{where}: a NUL byte: not a text file, or UTF-16; save it as UTF-8 text")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        problem = f"{where}: not UTF-8 (byte 0x{line[error.start]:02x} at position {error.start + 1})"
        if warn is None:
            raise DataError(problem) from None
        warn(problem)
        return line.decode("utf-8", "replace")


def _content(raw: Stream, name: str, allowed: Collection[bytes]) -> io.BufferedReader:
    head, stream = _peek(raw, (*COMPRESSIONS, *REFUSED))
    if head in COMPRESSIONS:
        stream.read(len(head))
        content = io.BufferedReader(_Chunks(decompressed(head, stream.read1, name)), BLOCK)
        head, stream = _peek(content, (*COMPRESSIONS, *REFUSED))
        if head in COMPRESSIONS:
            raise DataError(f"{name}: a {COMPRESSIONS[head][0]} file that was compressed twice: unpack it first")
    if head in REFUSED and head not in allowed:
        raise DataError(f"{name}: {REFUSED[head]}")
    return stream


def _peek(raw: Stream, known: Collection[bytes]) -> tuple[bytes, io.BufferedReader]:
    """Return the first bytes, if they are one of `known`, and a stream of all bytes.

    No more bytes are read than tell whether they are, because the next line of a pipe may be long in coming.
    """
    head, rest = b"", raw
    while any(len(head) < len(first) and first.startswith(head) for first in known):
        byte = raw.read(1)
        if not byte:
            rest = io.BytesIO()  # a terminal that is read on asks for a second Ctrl-D
            break
        head += byte
    return head, rejoined(head, rest)


def _rejoined(head: bytes, rest: Stream) -> Iterator[bytes]:
    if head:
        yield head
    read = rest.read1 if isinstance(rest, io.BufferedIOBase) else rest.read
    while chunk := read(BLOCK):
        yield chunk


class _Chunks(io.RawIOBase):
    """A stream of the bytes that an iterator yields."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._chunk = chunks, b""
        self._position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        if self._position == len(self._chunk):
            self._chunk, self._position = next(self._chunks, b""), 0
        view = memoryview(buffer)
        size = min(len(view), len(self._chunk) - self._position)
        view[:size] = self._chunk[self._position : self._position + size]
        self._position += size
        return size
