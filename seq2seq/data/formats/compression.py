"""Decompress gzip, xz, bzip2 and zstd as a stream, with the same errors and in bounded memory for all of them."""

from __future__ import annotations

import bz2
import itertools
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import TypeAlias

from seq2seq.errors import DataError

ENDINGS = (".gz", ".xz", ".bz2", ".zst")
CHUNK = 1 << 16  # bytes read, and at most decompressed, at once
ZSTD_CHUNK = 1 << 12
"""Compressed bytes given to zstd at once: its decoder returns all they stand for, at most 32,768 times as many."""
ZSTD_WINDOW = 1 << 31  # files of zstd --long=31


class _Gzip:
    """zlib's decompressor with the interface of bz2's."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        output = self._decoder.decompress(self._decoder.unconsumed_tail + data, max_length)
        # zlib keeps output back after it has consumed the last byte of input.
        self.needs_input = not self._decoder.unconsumed_tail and len(output) < max_length
        return output


class _Zstd:
    """zstandard's decompressor with the interface of bz2's; it returns more than `max_length` bytes."""

    def __init__(self) -> None:
        try:
            import zstandard
        except ImportError:
            raise DataError("zstd files need the package zstandard: pip install 'attentional-lstm[data]'") from None
        self._decoder = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW).decompressobj()
        self._error = zstandard.ZstdError
        self._input = b""

    @property
    def eof(self) -> bool:
        return bool(self._decoder.eof)

    @property
    def needs_input(self) -> bool:
        return not self._input

    @property
    def unused_data(self) -> bytes:
        return bytes(self._decoder.unused_data) + self._input

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        self._input += data
        part, self._input = self._input[:ZSTD_CHUNK], self._input[ZSTD_CHUNK:]
        try:
            return bytes(self._decoder.decompress(part))
        except self._error as error:
            raise ValueError(error) from None


Decoder: TypeAlias = bz2.BZ2Decompressor | lzma.LZMADecompressor | _Gzip | _Zstd
"""The decompressors, all with the interface of the standard library's."""
COMPRESSIONS: dict[bytes, tuple[str, Callable[[], Decoder]]] = {
    b"\x1f\x8b": ("gzip", _Gzip),
    b"\xfd7zXZ\0": ("xz", lzma.LZMADecompressor),
    **{b"BZh%d1AY&SY" % level: ("bzip2", bz2.BZ2Decompressor) for level in range(1, 10)},
    **{b"BZh%d\x17rE8P\x90" % level: ("bzip2", bz2.BZ2Decompressor) for level in range(1, 10)},  # empty
    b"\x28\xb5\x2f\xfd": ("zstd", _Zstd),
    **{bytes([first]) + b"*M\x18": ("zstd", _Zstd) for first in range(0x50, 0x60)},  # a skippable frame (pzstd)
}
"""First bytes of compressed files, with the name of the format and its decoder."""


def decompressed(head: bytes, read: Callable[[int], bytes], name: str) -> Iterator[bytes]:
    """Yield the content of a compressed file, as soon as it has arrived.

    A file may be several compressed streams, one after the other, with zero bytes as padding.

    Args:
        head: the first bytes of the file, a key of `COMPRESSIONS`.
        read: returns what has arrived of the rest, at most that number of bytes, and no bytes at the end.
        name: of the file in messages.

    Raises:
        DataError: the file is truncated or corrupt, or the package that reads it is missing.
    """
    compression, start = COMPRESSIONS[head]
    decoder: Decoder | None = start()
    for data in itertools.chain([head], iter(lambda: read(CHUNK), b"")):
        rest = data if decoder else data.lstrip(b"\0")
        while rest:
            decoder = decoder or start()
            yield from _pieces(decoder, rest, name, compression)
            rest, decoder = (decoder.unused_data.lstrip(b"\0"), None) if decoder.eof else (b"", decoder)
    if decoder is not None:
        raise DataError(f"{name}: truncated or corrupt {compression} file (it ends too early)")


def _pieces(decoder: Decoder, data: bytes, name: str, compression: str) -> Iterator[bytes]:
    try:
        while not decoder.eof:
            if piece := decoder.decompress(data, CHUNK):
                yield piece
            data = b""
            if decoder.needs_input:
                return
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
        raise DataError(f"{name}: truncated or corrupt {compression} file ({error})") from None
