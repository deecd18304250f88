"""Files of every format: their pairs, and one clear line for every broken file."""

import bz2
import gzip
import io
import itertools
import json
import lzma
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import zstandard
from pyarrow import parquet

from seq2seq.config.text_files import FilesConfig
from seq2seq.data.files.reading import read_pairs
from seq2seq.data.files.text_file import MAX_LINE_BYTES
from seq2seq.errors import ConfigError, DataError

PAIRS = [("a, b", "A"), ("c", "C")]
LANGUAGES = ("en", "de")
TEXT = "".join(f"line\t{i}\n" for i in range(3000)).encode()
BOTH = b"en,de\na,b\n"


def tmx(*units: str, before: str = "") -> bytes:
    return f'<?xml version="1.0"?>{before}<tmx version="1.4"><header/><body>{"".join(units)}</body></tmx>'.encode()


def unit(**segments: str) -> str:
    variants = (f'<tuv xml:lang="{code.replace("_", "-")}"><seg>{seg}</seg></tuv>' for code, seg in segments.items())
    return f"<tu>{''.join(variants)}</tu>"


def table(**columns: Any) -> bytes:
    file = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), file, row_group_size=1)
    return file.getvalue()


def lines(*records: Any) -> bytes:
    return "".join(f"{json.dumps(record)}\n" for record in records).encode()


def read(folder: Path, files: dict[str, bytes], **config: Any) -> list[tuple[str, str]]:
    """Write the files and read the text; values that name a file are its path."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    paths = {key: str(folder / value) for key, value in config.items() if key in ("src", "tgt", "tsv", "table")}
    return list(read_pairs(FilesConfig(**{**config, **paths}), "data.train", LANGUAGES))


COLUMNS = {"src_column": "x", "tgt_column": "y"}


@pytest.mark.parametrize("ending", ["", ".csv", ".tsv", ".jsonl", ".tmx", ".parquet", ".txt.gz"])
@pytest.mark.parametrize(
    ("data", "columns"),
    [
        (b"a, b\tA\nc\tC\n", {}),
        (b"src\ttgt\na, b\tA\nc\tC\n", {}),
        (b"x\tother\ty\r\na, b\t\tA\r\nc\t\tC\r\n", COLUMNS),
        (b'"a, b","A"\nc,C\n', {}),
        (b'\xef\xbb\xbfde,en\nA,"a, b"\nC,c\n', {}),
        (b'"y";"x"\n"A";"a, b"\n"C";"c"\n', COLUMNS),
        (lines({"src": "a, b", "tgt": "A"}, {"tgt": "C", "src": "c", "more": 1}), {}),
        (lines(*({"translation": {"de": tgt, "en": src}} for src, tgt in PAIRS)), {}),
        (lines(*({"deep": {"x": src}, "y": tgt} for src, tgt in PAIRS)), {"src_column": "deep.x", "tgt_column": "y"}),
        (lines({"a.b": "a, b", "y": "A"}, {"a.b": "c", "y": "C"}), {"src_column": "a.b", "tgt_column": "y"}),
        (tmx(unit(en="a, b", de_DE="A"), unit(en_GB="c", de="C")), {}),
        (tmx(unit(x="a, b", y="A"), unit(x="c", y="C")).decode().encode("utf-16"), COLUMNS),
        (table(source=["a, b", "c"], target=["A", "C"]), {}),
        (table(translation=[{"en": src, "de": tgt} for src, tgt in PAIRS]), {}),
        (table(y=pyarrow.array(["A", "C"]).dictionary_encode(), x=["a, b", "c"], z=[1, 2]), COLUMNS),
        (table(z=[1, 2], y=["A", "C"], x=["a, b", "c"]), {"src_column": "3", "tgt_column": "2"}),
    ],
)
def test_the_content_tells_the_format(tmp_path: Path, data: bytes, columns: dict[str, str], ending: str) -> None:
    assert read(tmp_path, {f"text{ending}": data}, table=f"text{ending}", **columns) == PAIRS


@pytest.mark.parametrize(
    ("name", "data", "columns", "pairs"),
    [
        ("a.csv", b'"one\nline","two\r\nlines"\n', {}, [("one line", "two lines")]),
        ("a.csv", b'"a ""b""",c\n\n,d\n', {}, [('a "b"', "c"), ("", ""), ("", "d")]),
        ("a.csv", b"a,b,c\n", {"src_column": "3", "tgt_column": "1"}, [("c", "a")]),
        ("a.csv", b"x,y\na,b\n", {"src_column": "x", "tgt_column": "2"}, [("a", "b")]),  # one name: a header
        ("a.csv", b"id;text, English;de\n1;a;b\n", {"src_column": "text, English", "tgt_column": "de"}, [("a", "b")]),
        ("a.tsv", b'"a\t"b\n', {}, [('"a', '"b')]),  # no quotes in TSV
        ("a.jsonl", b'{"src": "a\\nb\\r\\n", "tgt": "x\\u2028y"}\n\n', {}, [("a b ", "x\u2028y")]),
        ("a.parquet", table(src=["a\nb"], tgt=["c\r\nd"]), {}, [("a b", "c d")]),
        (
            "a.tmx",
            tmx(unit(en='<bpt i="1">&lt;b&gt;</bpt>a<ept i="1">&lt;/b&gt;</ept> <hi>b</hi>', de="A<ph/> B<x\n/>")),
            {},
            [("a b", "A B")],
        ),
        ("a.tmx", tmx(unit(de_AT="x", de="B", en_GB="a\nb")), {}, [("a b", "B")]),  # the language itself first
        ("a.tmx", tmx(unit(en="&lt;&amp;&#228;", de="b"), before='<!DOCTYPE tmx SYSTEM "t.dtd">'), {}, [("<&ä", "b")]),
    ],
)
def test_line_breaks_quotes_and_tags(
    tmp_path: Path, name: str, data: bytes, columns: dict[str, str], pairs: list[tuple[str, str]]
) -> None:
    assert read(tmp_path, {name: data}, table=name, **columns) == pairs


def test_units_without_a_language_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = tmx(unit(en="a", de="A"), unit(en="b"), unit(fr="c", de="C"))
    assert read(tmp_path, {"a.tmx": data}, table="a.tmx") == [("a", "A")]
    assert "skipped 2 of 3 units: not in both en and de" in caplog.text


BAD_TEXT: list[tuple[str, bytes, str]] = [
    ("cut.gz", gzip.compress(TEXT)[:-9], "truncated or corrupt gzip file"),
    ("cut.xz", lzma.compress(TEXT)[:-9], "truncated or corrupt xz file"),
    ("cut.bz2", bz2.compress(TEXT)[:-9], "truncated or corrupt bzip2 file"),
    ("cut.zst", zstandard.compress(TEXT)[:-9], "truncated or corrupt zstd file"),
    ("tail.gz", gzip.compress(TEXT) + b"tail", "truncated or corrupt gzip file"),
    ("tail.xz", lzma.compress(TEXT) + b"tail", "truncated or corrupt xz file"),
    ("tail.bz2", bz2.compress(TEXT) + b"tail", "truncated or corrupt bzip2 file"),
    ("tail.zst", zstandard.compress(TEXT) + b"tail", "truncated or corrupt zstd file"),
    ("magic.gz", b"\x1f\x8bno gzip\n", "truncated or corrupt gzip file"),
    ("magic.xz", b"\xfd7zXZ\0no xz\n", "truncated or corrupt xz file"),
    ("twice.xz", lzma.compress(gzip.compress(TEXT)), "a gzip file that was compressed twice"),
    ("other.lz4", b"\x04\x22\x4d\x18no text", "an lz4 file, not text"),
    ("utf-16", "a\n".encode("utf-16"), "UTF-16 text: convert it with iconv"),
    ("utf-16-le.csv", "a,b\n".encode("utf-16-le"), "line 1: a NUL byte"),
    ("nul.xz", lzma.compress(b"a\tb\nb\0\n"), "line 2: a NUL byte"),
    ("mac", b"a\tb\rc\td\r", "its lines end in CR"),
    ("latin-1", TEXT + b"caf\xe9\n" + TEXT, r"line 3001: not UTF-8 \(byte 0xe9 at position 4\)"),
]
BOMB = zstandard.compress(b"a" * (MAX_LINE_BYTES + 1))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [*BAD_TEXT, ("bomb.zst", BOMB, "line of more than 64 MiB")],
    ids=itertools.count(),  # a gzip file contains the time, and test ids must be the same in every process
)
@pytest.mark.parametrize("key", ["src", "tsv", "table"])
def test_bad_text_is_one_line(tmp_path: Path, name: str, data: bytes, message: str, key: str) -> None:
    partner = {"src": {"tgt": "other"}}.get(key, {})
    with pytest.raises(DataError, match=message) as caught:
        read(
            tmp_path,
            {name: data, "other": TEXT},
            **{key: name},
            **partner,
        )
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


BAD_TABLES: list[tuple[str, bytes, dict[str, str], str]] = [
    ("a.tsv", b"a\tb\nc\n", {}, "a.tsv, line 2: no tab; expected source, tab, target"),
    ("a.tsv", b"a, b\nc, d\n", {}, "a.tsv, line 1: no tab"),  # sentences have commas
    ("a.tsv", b"a\tb\n", {"src_column": "1", "tgt_column": "3"}, "a.tsv, line 1: 2 columns; expected at least 3"),
    ("a.csv", b"a,b\nc\n", {}, "a.csv, line 2: no comma; expected source, comma, target"),
    ("a.csv", b"a,b\nc\n", COLUMNS, "a.csv, line 1: no column 'x'; its columns are a, b"),
    ("a.csv", BOTH, {"src_column": "eng", "tgt_column": "de"}, "its columns are en, de; did you mean 'en'"),
    ("a.csv", b"x,x,y\na,b,c\n", COLUMNS, "2 columns are named 'x'"),
    ("a.csv", BOTH, {"src_column": "en"}, "data.train.src_column is given without data.train.tgt_column"),
    ("a.csv", b"en,de\n", {}, "data.train: no text in .*a.csv"),  # only a header
    ("a.csv", b"", {}, "data.train: no text in .*a.csv"),
    ("a.csv", b" ,b\n,c\n", {}, "no pair is complete, all 2 have a blank side"),
    ("a.csv", b'a,"b\nc,d\n', {}, "a.csv, line 2: unexpected end of data; a field with quotes"),
    ("a.csv", b'a,b\nc,"d" e\n', {}, "a.csv, line 2: ',' expected after"),
    ("a.jsonl", b'{"src": "a", "tgt": "b"}\n{"src": "a"}\n', {}, "line 2: no column 'tgt'; its columns are src"),
    ("a.jsonl", b'{"src": "a", "tgt": "b"}\n{"src": "a\n', {}, "line 2: not JSON .* at character 9"),
    ("a.jsonl", b'{"src": "a", "tgt": "b"}\n["a", "b"]\n', {}, "line 2: a JSON list; expected one object per line"),
    ("a.jsonl", b'[{"src": "a", "tgt": "b"}]\n', {}, "line 1: a JSON list; expected one object per line"),
    ("a.jsonl", b'{"src": "a", "tgt": 1}\n', {}, "line 1: tgt is int, not a string"),
    ("a.jsonl", b'{"src": null, "tgt": "b"}\n', {}, "line 1: src is null"),
    ("a.jsonl", b'{"src": "a", "tgt": "\\u0000"}\n', {}, "line 1: tgt has a NUL character"),
    ("a.jsonl", b'{"src": "a", "tgt": "\\ud83d"}\n', {}, "line 1: tgt has half of a surrogate pair"),
    ("a.jsonl", b'{"text": "a"}\n', {}, "its columns are text: choose with data.train.src_column"),
    ("a.jsonl", b"[" * 9999 + b"\n", {}, "line 1: not JSON"),
    ("a.jsonl", lines({"translation": {"en": "a", "de": "b"}}, {"translation": None}), {}, "line 2: no column"),
    ("a.jsonl", b"words\n", {}, "line 1: not JSON"),
    ("a.json", b'{\n "src": "a"\n}\n', {}, "line 1: not JSON .*; expected one object per line"),
    ("a.tmx", tmx(unit(en="a", fr="b")), {}, "no unit has both en and de; its languages: en, fr"),
    ("a.tmx", tmx(unit(en="a", de="b"))[:-9], {}, "line 1: not well-formed XML"),
    ("a.tmx", zstandard.compress(tmx(unit(en="a" * (MAX_LINE_BYTES + 1)))), {}, "a segment of more than 64 MiB"),
    ("a.tmx", b"words\n", {}, "a.tmx, line 1: not well-formed XML"),
    ("a.xml", b"<?xml version='1.0'?><html/>", {}, "outermost element is <html>, not <tmx>"),
    ("a.tmx", b"<?xml version='1.0' encoding='none'?><tmx/>", {}, "a.tmx.*encoding"),
    (
        "a.tmx",
        tmx(unit(en="&c;"), before='<!DOCTYPE tmx [<!ENTITY a "ha"><!ENTITY b "&a;&a;"><!ENTITY c "&b;&b;">]>'),
        {},
        "line 1: it declares the entity 'a'",
    ),
    (
        "a.tmx",
        tmx(unit(en="&x;"), before='<!DOCTYPE tmx [<!ENTITY x SYSTEM "file:///etc/passwd">]>'),
        {},
        "line 1: it declares the entity 'x'",
    ),
    ("a.tmx", tmx(unit(en="&x;"), before='<!DOCTYPE tmx SYSTEM "t.dtd">'), {}, "line 1: &x; is not declared"),
    ("a.parquet", table(en=["a"], de=["b"])[:-9], {}, "truncated or corrupt Parquet file"),
    ("a.parquet", b"PAR1\x15\x04", {}, "truncated or corrupt Parquet file"),
    ("a.parquet", table(en=["a"], de=[1]), {}, "de is a column of type int64; expected strings"),
    ("a.parquet", table(en=["a", "b"], de=["a", None]), {}, "a.parquet, row 2: de is null"),
    ("a.parquet", table(translation=[{"en": "a", "de": "b"}, None]), {}, "row 2: translation.en is null"),
    ("a.parquet", table(a=["a"], b=["b"]), COLUMNS, "no column 'x'; its columns are a, b"),
    ("a.parquet.gz", gzip.compress(table(en=["a"], de=["b"])), {}, "a pipe or a compressed file cannot be read"),
]


@pytest.mark.parametrize(("name", "data", "columns", "message"), BAD_TABLES, ids=itertools.count())
def test_a_bad_table_is_one_line(tmp_path: Path, name: str, data: bytes, columns: dict[str, str], message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=message) as caught:
        read(tmp_path, {name: data}, table=name, **columns)
    assert "\n" not in str(caught.value)


def test_tmx_needs_languages(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(tmx(unit(en="a", de="b")))
    with pytest.raises(DataError, match=r"name its languages with data.train.src_column and data.train.tgt_column"):
        list(read_pairs(FilesConfig(table=str(tmp_path / "a")), "data.train"))


# --- which files ------------------------------------------------------------------------------------------------------


def text(folder: Path, **files: str) -> None:
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(content, encoding="utf-8")


@pytest.mark.parametrize(
    "config",
    [
        {"src": "part-*.en", "tgt": "part-?.de"},
        {"src": ["part-1.en", "part-2.en"], "tgt": ["part-1.de", "part-[2].de"]},
        {"src": ["part-[12].en"], "tgt": "part-*.de"},
        {"tsv": ["one", "two"]},
        {"table": "[ot][nw]?"},
    ],
)
def test_several_files_are_one_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any]) -> None:
    monkeypatch.chdir(tmp_path)
    files = {"part-2_en": "c\n", "part-1_en": "a\nb\n", "part-1_de": "A\nB\n", "part-2_de": "C\n"}
    text(tmp_path, **files, one="a\tA\nb\tB\n", two="c\tC\n")
    assert list(read_pairs(FilesConfig(**config), "k")) == [("a", "A"), ("b", "B"), ("c", "C")]


def test_a_name_with_characters_of_patterns(tmp_path: Path) -> None:
    text(tmp_path, **{"part[1]": "a\tb\n", "part1": "c\td\n"})
    assert list(read_pairs(FilesConfig(tsv=str(tmp_path / "part[1]")), "k")) == [("a", "b")]


def fifo(folder: Path) -> None:
    os.mkfifo(folder / "a")


def locked(folder: Path) -> None:
    text(folder, a="a\n")
    (folder / "a").chmod(0)
    if os.access(folder / "a", os.R_OK):
        pytest.skip("root reads every file")


@pytest.mark.parametrize(
    ("make", "config", "message"),
    [
        (lambda folder: text(folder, a="1\n2\n", b="1\n"), {"src": "a", "tgt": "b"}, "a has 2 lines but b has 1: they"),
        (lambda folder: text(folder, a="1\n", b="1\n2\n3\n"), {"src": "a", "tgt": "b"}, "a has 1 lines but b has 3"),
        (
            lambda folder: text(folder, a="1\n", b="1\n", c="1\n", d="1\n2\n"),
            {"src": ["a", "c"], "tgt": ["b", "d"]},
            "c has 1 lines but d has 2",
        ),
        (
            lambda folder: text(folder, a="1\n", b="1\n", c="1\n"),
            {"src": ["a", "c"], "tgt": "b"},
            "k.src has 2 files but k.tgt has 1: c has no partner",
        ),
        (lambda folder: None, {"src": "*.en", "tgt": "*.de"}, r"k.src=\*.en: no file matches the pattern"),
        (lambda folder: None, {"table": ["a"]}, "a: no such file"),
        (lambda folder: None, {"tsv": "a"}, "a: no such file"),
        (lambda folder: (folder / "a").mkdir(), {"table": "a"}, "a: is a directory"),
        (lambda folder: (folder / "a").mkdir(), {"src": "a*", "tgt": "a*"}, "a: is a directory"),
        (fifo, {"table": "a"}, "k.table=a is a pipe or a device"),
        (fifo, {"src": ["a"], "tgt": ["a"]}, "k.src=a is a pipe or a device"),
        (locked, {"table": "a"}, "a: permission denied"),
        (lambda folder: None, {"table": "a\0b"}, "null"),
        (lambda folder: None, {"table": "~nobody-of-this-name/a"}, "a: no such file"),
        (lambda folder: None, {"src": []}, "k: give either k.src and k.tgt, or k.tsv, or k.table"),
        (lambda folder: None, {"table": "a", "tsv": "b"}, "k: give either"),
        (lambda folder: None, {"table": {"a": "b"}}, "k.table={'a': 'b'}: give a file, or a list of files"),
        (lambda folder: None, {"table": [None]}, r"k.table=\[None\]: give a file, or a list"),
        (lambda folder: None, {"src": "a", "tgt": "b", **COLUMNS}, "k.src_column x needs one file of columns"),
    ],
)
def test_files_that_cannot_be_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], object],
    config: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path)
    with pytest.raises((ConfigError, DataError), match=message) as caught:
        list(read_pairs(FilesConfig(**config), "k"))
    assert "\n" not in str(caught.value)


def test_pairs_before_an_error_are_yielded(tmp_path: Path) -> None:
    """A reader of a corpus larger than memory is not sent back to its start."""
    (tmp_path / "a").write_bytes(gzip.compress(b"a\tb\n" * 100_000)[:-8])
    pairs = read_pairs(FilesConfig(tsv=str(tmp_path / "a")), "k")
    assert [next(pairs) for _ in range(90_000)] == [("a", "b")] * 90_000
