"""Text files: only a line feed separates lines, and every broken file gives one clear error."""

import gzip
import itertools
from pathlib import Path

import pytest

from seq2seq.config.data import FilesConfig
from seq2seq.data.reading import read_lines, read_parallel
from seq2seq.errors import ConfigError, DataError


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
        (b"a\0b\n", ["a\0b"]),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_only_a_line_feed_ends_a_line(tmp_path: Path, data: bytes, lines: list[str], suffix: str) -> None:
    path = tmp_path / f"text{suffix}"
    path.write_bytes(gzip.compress(data) if suffix else data)
    assert read_lines(path) == lines


GOOD_GZIP = gzip.compress(b"a line\n" * 100)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("missing", None, "no such file"),
        ("folder/", None, "is a directory"),
        ("latin1", "ok\nok\ncaf\xe9\n".encode("latin-1"), r"line 3: not valid UTF-8 \(byte 0xe9\)"),
        ("cut.gz", GOOD_GZIP[:-12], "truncated or corrupt gzip"),
        ("flipped.gz", GOOD_GZIP[:15] + b"\xff\xff" + GOOD_GZIP[17:], "truncated or corrupt gzip"),
        ("plain.gz", b"not gzip", "truncated or corrupt gzip"),
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
    with pytest.raises(DataError, match=message) as caught:
        read_lines(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def files(folder: Path, **texts: str) -> FilesConfig:
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="")
    return FilesConfig(**{name: str(folder / name) for name in texts})


@pytest.mark.parametrize(
    "texts",
    [
        {"src": "a\nb c\n", "tgt": "A\nB C\n"},
        {"tsv": "a\tA\nb c\tB C\tCC-BY 2.0 (France)\tmore\n"},
    ],
)
def test_two_files_or_one_table_give_the_same_pairs(tmp_path: Path, texts: dict[str, str]) -> None:
    assert list(read_parallel(files(tmp_path, **texts), "data.train")) == [("a", "A"), ("b c", "B C")]


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
    ],
)
def test_text_that_is_not_parallel_raises(
    tmp_path: Path, texts: dict[str, str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        read_parallel(files(tmp_path, **texts), "data.valid")
