"""Read text files line by line: UTF-8, plain or gzip, which the first bytes of a file show, not its name.

Every command reads text through this module. The only separator of lines is a line feed: U+2028, U+0085 and similar
characters occur inside real sentences. `str.splitlines` would split there and misalign every later line with the other
language. A file that is no text is refused, because every line of it would get a fluent translation.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from seq2seq.errors import DataError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Stream: TypeAlias = "io.RawIOBase | io.BufferedIOBase"

GZIP = b"\x1f\x8b"
_UTF_16 = "UTF-16 text: convert it with iconv -f UTF-16 -t UTF-8"
FORMATS = {
    codecs.BOM_UTF16_LE: _UTF_16,
    codecs.BOM_UTF16_BE: _UTF_16,
    b"PK\x03\x04": "a zip archive, or an office document",
    b"\xfd7zXZ\0": "an xz file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"\x04\x22\x4d\x18": "an lz4 file",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"\x1f\x9d": "a file of compress",
    b"PAR1\x15": "a Parquet file",
    b"%PDF-": "a PDF file",
    b"\x7fELF": "a program",
    GZIP: "a gzip file that was compressed twice",
    **{b"BZh%d1AY&SY" % level: "a bzip2 file" for level in range(1, 10)},
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
def opened(file: str | Path | int, name: str) -> Iterator[io.BufferedReader]:
    """Open a text file and yield its bytes, decompressed if they are gzip.

    Raises:
        DataError: as `text_lines`, also for what the caller reads inside the block.
    """
    try:
        with open(file, "rb", buffering=0, closefd=not isinstance(file, int)) as raw:
            yield _text_stream(raw, name)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{name}: truncated or corrupt gzip file ({error})") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{name}: {reason[:1].lower()}{reason[1:]}") from None


def decoded(stream: Iterable[bytes], name: str, warn: Callable[[str], None] | None = None) -> Iterator[str]:
    """Yield the lines of `stream` as `text_lines` does; remove a byte-order mark and the CR of Windows line ends."""
    for number, raw in enumerate(stream, start=1):  # a binary file splits at \n only
        where = f"{name}, line {number}"
        if b"\0" in raw and (warn is None or number == 1):
            raise DataError(f"{where}: a NUL byte: not a text file, or UTF-16; save it as UTF-8 text")
        line = raw.removesuffix(b"\n").removesuffix(b"\r")
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
            if b"\r" in line and not raw.endswith(b"\n"):
                raise DataError(f"{name}: its lines end in CR: convert it with tr '\\r' '\\n'")
        yield _decode(line, where, warn)


def _decode(line: bytes, where: str, warn: Callable[[str], None] | None) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        problem = f"{where}: not UTF-8 (byte 0x{line[error.start]:02x} at position {error.start + 1})"
        if warn is None:
            raise DataError(problem) from None
        warn(problem)
        return line.decode("utf-8", "replace")


def _text_stream(raw: Stream, name: str) -> io.BufferedReader:
    head, stream = _peek(raw)
    if head == GZIP:
        head, stream = _peek(gzip.GzipFile(fileobj=stream))
    if head in FORMATS:
        what = FORMATS[head]
        raise DataError(f"{name}: {what}" + ("" if what is _UTF_16 else ", not text: unpack or export it first"))
    return stream


def _peek(raw: Stream) -> tuple[bytes, io.BufferedReader]:
    """Return the first bytes, if they are those of a known format, and a stream of all bytes.

    No more bytes are read than tell whether they are, because the next line of a pipe may be long in coming.
    """
    head, rest = b"", raw
    while any(len(head) < len(first) and first.startswith(head) for first in FORMATS):
        byte = raw.read(1)
        if not byte:
            rest = io.BytesIO()  # a terminal that is read on asks for a second Ctrl-D
            break
        head += byte
    return head, io.BufferedReader(_Rejoined(head, rest))


class _Rejoined(io.RawIOBase):
    """The bytes that were read to look at them, then the rest; a read returns what has arrived."""

    def __init__(self, head: bytes, rest: Stream) -> None:
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        if not self._head:
            return self._rest.readinto(buffer)
        view = memoryview(buffer)
        size = min(len(view), len(self._head))
        view[:size], self._head = self._head[:size], self._head[size:]
        return size
