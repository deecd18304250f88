"""The pairs that a subcommand of `python -m seq2seq.data` reads: files, standard input or overrides."""

import gzip
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from seq2seq.cli.data.pair_inputs import add_pair_inputs, pairs
from seq2seq.cli.process_options import CommandParser
from seq2seq.errors import ConfigError, DataError


def read(*arguments: str) -> list[tuple[str, str]]:
    parser = CommandParser(prog="data")
    add_pair_inputs(parser)
    return list(pairs(parser.parse_args(arguments)))


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in {"a": "1\n2\n", "b": "x\ny\n", "t.tsv": "1\tx\n2\ty\n", "k=v": "1\tx\n"}.items():
        Path(name).write_text(text)
    Path("c.csv.gz").write_bytes(gzip.compress(b"id,en,de\n7,1,x\n8,2,y\n"))


@pytest.fixture
def stdin() -> Iterator[io.FileIO]:
    """Yield the writing end of a pipe that is standard input."""
    kept = os.dup(0)
    reading, writing = os.pipe()
    os.dup2(reading, 0)
    os.close(reading)
    with io.FileIO(writing, "w") as pipe:
        yield pipe
    os.dup2(kept, 0)
    os.close(kept)


@pytest.mark.parametrize(
    "arguments",
    [
        ["a", "b"],
        ["t.tsv"],
        ["c.csv.gz", "--src-lang", "en", "--tgt-lang", "de"],
        ["c.csv.gz", "--src-column", "2", "--tgt-column", "de"],
        ["data=files", "data.src=en", "data.tgt=de", "data.train.src='[a]'", "data.train.tgt='b*'"],
        ["data=files", "data.src=en", "data.tgt=de", "data.train.table=c.csv.gz"],
    ],
)
def test_every_kind_of_input_gives_the_pairs(arguments: list[str]) -> None:
    assert read(*arguments) == [("1", "x"), ("2", "y")]


def test_a_file_with_an_equals_sign() -> None:
    assert read("k=v") == [("1", "x")]


@pytest.mark.parametrize("data", [b"en,de\n1,x\n", zstandard.compress(b'{"src": "1", "tgt": "x"}\n')])
def test_standard_input(stdin: io.FileIO, data: bytes) -> None:
    stdin.write(data)
    stdin.close()
    assert read("-", "--src-lang", "en", "--tgt-lang", "de") == [("1", "x")]


def test_pairs_of_an_open_pipe_arrive(stdin: io.FileIO) -> None:
    parser = CommandParser(prog="data")
    add_pair_inputs(parser)
    stdin.write(b"1\tx\n")
    arriving = pairs(parser.parse_args(["-"]))
    assert next(arriving) == ("1", "x")
    stdin.write(b"2\ty\n")
    assert next(arriving) == ("2", "y")


def test_a_target_language_with_a_meaning_of_its_own_needs_no_source_language() -> None:
    parser = CommandParser(prog="data")
    add_pair_inputs(parser)
    for arguments in (["a", "b", "--tgt-lang", "de"], ["t.tsv", "--tgt-lang", "de"]):
        assert list(pairs(parser.parse_args(arguments), tgt_lang_alone=True)) == [("1", "x"), ("2", "y")]
    with pytest.raises(ConfigError, match="give both of --src-lang and --tgt-lang"):
        pairs(parser.parse_args(["a", "b", "--src-lang", "en"]), tgt_lang_alone=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "b", "t.tsv"], "3 files: give two"),
        (["a", "data=files"], "a, data=files: give either files or overrides"),
        (["a", "-"], r"standard input \(-\) is read as one file"),
        (["a", "b", "--src-column", "1", "--tgt-column", "2"], "--src-column 1 needs one file of columns"),
        (["t.tsv", "--src-column", "1"], "--src-column is given without --tgt-column"),
        (["t.tsv", "--tgt-lang", "de"], "give both of --src-lang and --tgt-lang"),
        (["data=files", "--src-column", "1", "--tgt-column", "2"], "with overrides, give columns and languages as"),
        (["t.tsv", "--src-column", "q", "--tgt-column", "r"], "t.tsv, line 1: no column 'q'"),
        (["none"], "none: no such file"),
        (["none*"], r"FILE.table=none\*: no file matches"),
        (["data=files", "data.src=en", "data.tgt=de", "data.train.src=a"], "data.train: give either"),
        (
            ["data=files", "data.src=en", "data.tgt=de", "data.train.table={a: b}"],
            "data.train.table={'a': 'b'}: give a",
        ),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=message) as caught:
        read(*arguments)
    assert "\n" not in str(caught.value)
