"""Text files: only a line feed separates lines, and every broken file gives one clear error."""

import bz2
import codecs
import gzip
import io
import itertools
import lzma
import os
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from seq2seq.cli import line_reader
from seq2seq.cli.line_reader import count_lines, lines_of
from seq2seq.config.text_files import FilesConfig
from seq2seq.data.files.reading import read_lines, read_parallel
from seq2seq.data.files.text_file import text_lines
from seq2seq.data.text.cleaning import clean
from seq2seq.errors import ConfigError, DataError

COMPRESS = (gzip.compress, lzma.compress, bz2.compress, zstandard.compress)


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"a\nb\n", ["a", "b"]),
        (b"a\nb", ["a", "b"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"\n\n", ["", ""]),
        ("a\u2028b\x85c\x0bd\x0ce\x1cf\n".encode(), ["a\u2028b\x85c\x0bd\x0ce\x1cf"]),
        (b"a\rb\n", ["a\rb"]),
        ("\ufeffa\n\ufeffb".encode(), ["a", "\ufeffb"]),
        (b" a\t\n", [" a\t"]),
        (b"\x1f\n\x1fa", ["\x1f", "\x1fa"]),  # the first byte of gzip alone
        (b"PK\nBZh9\nPAR1 is a gene\n", ["PK", "BZh9", "PAR1 is a gene"]),
    ],
)
@pytest.mark.parametrize(
    "compress",
    [bytes, *COMPRESS, *(lambda data, c=c: c(data[:3]) + c(data[3:]) for c in COMPRESS)],  # also several streams
)
@pytest.mark.parametrize("name", ["text", "text.gz"])  # the name does not matter
def test_only_a_line_feed_ends_a_line(
    tmp_path: Path, data: bytes, lines: list[str], compress: Callable[[bytes], bytes], name: str
) -> None:
    (tmp_path / name).write_bytes(compress(data))
    assert read_lines(tmp_path / name) == lines
    assert [*lines_of(str(tmp_path / name))] == lines
    assert count_lines([str(tmp_path / name)] * 2) == 2 * len(lines)


def test_lines_that_come_one_after_the_other_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The input does not pause; the writer waits for an answer, or 3 seconds."""
    monkeypatch.setattr(line_reader, "WAIT_SEC", 30.0)
    monkeypatch.setattr(line_reader, "MAX_WAIT_SEC", 0.1)
    reading, writing = os.pipe()
    answered = threading.Event()

    def write() -> None:
        with open(writing, "wb", buffering=0) as pipe:
            for number in range(60):
                pipe.write(b"%d\n" % number)
                if answered.wait(0.05):
                    return

    thread = threading.Thread(target=write)
    thread.start()
    answers = []
    for window in line_reader.windows([f"/dev/fd/{reading}"], 10_000):
        answers.append(window)
        answered.set()
    thread.join()
    os.close(reading)
    assert 0 < len(answers[0]) < 60
    lines = [line for window in answers for line in window]
    assert lines == [str(number) for number in range(len(lines))]


ZIP = io.BytesIO()
with zipfile.ZipFile(ZIP, "w") as _archive:
    _archive.writestr("text", "a line")
GOOD_GZIP = gzip.compress(b"a line\n" * 100)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("missing", None, "no such file"),
        ("folder/", None, "is a directory"),
        ("latin1", "ok\nok\ncaf\xe9\n".encode("latin-1"), r"line 3: not UTF-8 \(byte 0xe9 at position 4\)"),
        ("surrogate", b"ok\n\xed\xa0\x80\n", "line 2: not UTF-8"),
        ("cut.gz", GOOD_GZIP[:-12], "truncated or corrupt gzip"),
        ("flipped.gz", GOOD_GZIP[:15] + b"\xff\xff" + GOOD_GZIP[17:], "truncated or corrupt gzip"),
        ("trailing.gz", GOOD_GZIP + b"junk", "truncated or corrupt gzip"),
        ("twice.gz", gzip.compress(GOOD_GZIP), "a gzip file that was compressed twice"),
        ("nul", b"ok\na\0b\n", "line 2: a NUL byte"),
        ("nul.gz", gzip.compress(b"ok\na\0b\n"), "line 2: a NUL byte"),
        ("model.safetensors", b"\x40\0\0\0\0\0\0\0" + b'{"__metadata__":{}}', "line 1: a NUL byte"),
        ("utf-16", "ok\n".encode("utf-16-le"), "line 1: a NUL byte: not a text file, or UTF-16"),
        ("utf-16-han", "是\n好\n".encode("utf-16-le"), "line 2: a NUL byte"),  # the first is also UTF-8
        ("utf-16-bom", "ok\n".encode("utf-16"), "UTF-16 text: convert it with iconv"),
        ("utf-16-be-bom", codecs.BOM_UTF16_BE + "ok\n".encode("utf-16-be"), "UTF-16 text: convert it with iconv"),
        ("utf-32", "ok\n".encode("utf-32"), "UTF-16 text: convert it"),
        ("mac", b"one\rtwo\r", "its lines end in CR: convert it with tr"),
        ("archive.zip", ZIP.getvalue(), "a zip archive, or an office document, not text: unpack or export it first"),
        ("text.xz", lzma.compress(b"a line\n")[:-4], "truncated or corrupt xz file"),
        ("text.bz2", bz2.compress(b"a line\n", 1)[:-4], "truncated or corrupt bzip2 file"),
        ("text.zst", b"\x28\xb5\x2f\xfd\x20\x07a line\n", "truncated or corrupt zstd file"),
        ("table.parquet", b"PAR1\x15\x04\x15\x10", "a Parquet file, not text"),
        ("program", b"\x7fELF\x02\x01\n\0", "a program, not text"),
        ("zip.gz", gzip.compress(ZIP.getvalue()), "a zip archive"),
        ("nul\0name", None, "null"),
    ],
    ids=itertools.count(),  # archives contain the time, and test ids must be the same in every process
)
def test_an_unreadable_file_is_one_line_that_names_it(
    tmp_path: Path, name: str, data: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    elif name.endswith("/"):
        path.mkdir()
    for read in (read_lines, lambda path: [*lines_of(str(path), strict=True)]):
        with pytest.raises(DataError, match=message) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"\xff\xfeo\0k\0", gzip.compress(b"ok\n", mtime=0), b"ok\n", b"\n", b"\x1f\n"])
def test_the_lines_of_a_pipe_arrive_one_by_one(data: bytes) -> None:
    """Only as many bytes are looked at as tell whether the file is compressed or not text."""
    reader, writer = os.pipe()
    with open(writer, "wb", buffering=0) as pipe:
        pipe.write(data)
        if data.endswith(b"\n"):  # the pipe stays open
            assert next(text_lines(reader, "pipe")) == data.decode().rstrip("\n")
            return
    if data[0] == 0xFF:
        with pytest.raises(DataError, match="pipe: UTF-16"):
            next(text_lines(reader, "pipe"))
    else:
        assert [*text_lines(reader, "pipe")] == ["ok"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX terminals")
@pytest.mark.parametrize("typed", [b"", b"P"])
def test_one_ctrl_d_ends_the_lines_of_a_terminal(typed: bytes) -> None:
    terminal, program = os.openpty()
    with open(terminal, "wb", buffering=0) as keys:
        keys.write(typed + b"\x04" * (1 + len(typed)))  # after other characters, the first only sends them
        assert [*text_lines(program, "terminal")] == ([typed.decode()] if typed else [])
    os.close(program)


def files(folder: Path, **texts: str) -> FilesConfig:
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="")
    return FilesConfig(**{name: str(folder / name) for name in texts})


@pytest.mark.parametrize(
    "texts",
    [
        {"src": "a\nb c\n", "tgt": "A\nB C\n"},
        {"tsv": "a\tA\nb c\tB C\tCC-BY 2.0 (France)\tmore" + "\t" * 1000 + "\n"},
    ],
)
def test_two_files_or_one_table_give_the_same_pairs(tmp_path: Path, texts: dict[str, str]) -> None:
    assert list(read_parallel(files(tmp_path, **texts), "data.train")) == [("a", "A"), ("b c", "B C")]


@pytest.mark.parametrize("texts", [{"src": "a\n\n \nb\n", "tgt": "A\n\n\nB\n"}, {"tsv": "a\tA\n\n \nb\tB\n"}])
def test_a_blank_line_is_a_pair_of_blank_sentences(tmp_path: Path, texts: dict[str, str]) -> None:
    text = read_parallel(files(tmp_path, **texts), "data.train")
    assert [(src.strip(), tgt) for src, tgt in text] == [("a", "A"), ("", ""), ("", ""), ("b", "B")]
    assert list(clean(text)) == [("a", "A"), ("b", "B")]


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        ({}, ConfigError, "data.valid: give either data.valid.src and data.valid.tgt, or data.valid.tsv"),
        ({"src": "a\n"}, ConfigError, "data.valid"),
        ({"src": "a\n", "tgt": "a\n", "tsv": "a\ta\n"}, ConfigError, "data.valid"),
        ({"src": "a\nb\n", "tgt": "a\n"}, DataError, "src has 2 lines but .*tgt has 1"),
        ({"tsv": "a\tA\nb\n"}, DataError, "tsv, line 2: no tab"),
        ({"src": "", "tgt": ""}, DataError, "data.valid: no text"),
        ({"src": "\n \n", "tgt": "\n\n"}, DataError, "data.valid: no text"),
        (
            {"src": "a\nb\n", "tgt": "\n \n"},
            DataError,
            r"data.valid: no text in .*/src, .*/tgt: .* all 2 have a blank side",
        ),
        ({"src": " \n\n", "tgt": "a\nb\n"}, DataError, "data.valid: no text"),
        ({"tsv": "a\t\n\tb\n"}, DataError, "data.valid: no text"),
    ],
)
def test_text_that_is_not_parallel_raises(
    tmp_path: Path, texts: dict[str, str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        read_parallel(files(tmp_path, **texts), "data.valid")
