"""Any input line is answered by one output line, the same as if it were translated alone."""

from __future__ import annotations

import codecs
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from scaling import scaled
from seq2seq.cli.line_reader import lines_of
from seq2seq.data.files.text_file import REFUSED
from seq2seq.data.formats.compression import COMPRESSIONS
from seq2seq.inference.translation import Translation
from seq2seq.inference.translator import Translator
from seq2seq.storage.model_file import save_model
from seq2seq.storage.run_folder import BEST_NAME
from seq2seq.translate import main
from tiny_model import make_model

LINES = 10  # per input
EXAMPLES = settings(
    max_examples=scaled(500, 10_000) // LINES // 2,  # half of the lines for each format
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
FAST = {"beam_size": 2, "max_length_ratio": 0.3, "max_length_extra": 3}
FLAGS = [str(part) for name, value in FAST.items() for part in (f"--{name.replace('_', '-')}", value)]

ODD = [
    *("", " ", "\t", "\0", "\r", "\r\r", "\x1a", "\x1b[31m", "\x7f", "\x85", "\x1c", "\v\f"),
    *("\u2028", "\u2029", "\ufeff", "\u200b", "\u200d", "\u00ad", "\u3000", "\u202e", "\ufffd", "\uffff", "▁", "▁▁"),
    *("é", "e\u0301", "ﬁ", "ß", "İ", "ᄀᄀᄀ각ᆨᆨ", "你好", "العربية", "ไทย", "𐎀𐎁", "𝔘", "👩‍👩‍👧‍👦", "🇩🇪", "\U0010ffff"),
    *("<s>", "</s>", "<unk>", "<pad>", "<0x0A>", "<0xFF>", "{}", '{"src": 1}', "the quick brown fox"),
]
BYTES = [
    b"\xff",
    b"\xfe\xff",
    b"\xed\xa0\x80",
    b"\xc0\xaf",
    b"\xf4\x90\x80\x80",
    b"\xe2\x80",
    b"\x80",
    b"a\xffb",
    b"\xef\xbb",
]

text = st.text(max_size=12) | st.lists(st.sampled_from(ODD), max_size=3).map("".join) | st.text("a box", max_size=40)
raw = (
    text.map(str.encode)
    | st.binary(max_size=20)
    | st.lists(st.sampled_from(BYTES) | text.map(str.encode), max_size=3).map(b"".join)
).map(lambda line: line.replace(b"\n", b""))
surrogates = st.text(st.characters(), max_size=10) | st.text("\ud83d\ude00x", max_size=4)
any_text = text | surrogates
short = any_text.map(lambda text: text[:2])
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda part: st.lists(part, max_size=3) | st.dictionaries(any_text, part, max_size=3),
    max_leaves=5,
)
plain = st.fixed_dictionaries({"src": any_text})
demanding = st.fixed_dictionaries({"src": any_text}, optional={"prefix": short, "terms": st.lists(short, max_size=2)})


class Command:
    """The command with one model; `alone` gives the expected translation of a line."""

    def __init__(self, folder: Path, byte_fallback: bool) -> None:
        self.folder = folder
        save_model(folder / BEST_NAME, make_model(folder, byte_fallback))
        self.translator = Translator.load(folder, precision="fp32", device="cpu")

    def __call__(self, content: bytes, *flags: str) -> list[str]:
        """Translate `content` and return the output lines, none of which any line splitter may split."""
        (self.folder / "input").write_bytes(content)
        files = [str(self.folder / "input"), "--output", str(self.folder / "output")]
        assert main([str(self.folder), *files, "--precision", "fp32", "--device", "cpu", *FLAGS, *flags]) == 0
        *lines, end = (self.folder / "output").read_bytes().decode().split("\n")
        assert end == ""
        assert all(len(line.splitlines()) <= 1 for line in lines)
        return lines

    def alone(self, src: str, prefix: str = "", terms: Sequence[str] = ()) -> Translation:
        """Return the translation of a source line on its own."""
        all_terms = [list(terms)] if terms else None
        return self.translator.translate_n_best([src], prefixes=[prefix], terms=all_terms, **FAST)[0][0]


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Command]:
    """Return commands whose models encode unseen characters as bytes or as UNK."""
    return {name: Command(tmp_path_factory.mktemp(name), name == "bytes") for name in ("bytes", "unknown")}


def is_text(content: bytes) -> bool:
    """Return False if the command refuses the file as a whole."""
    return not content.startswith((*COMPRESSIONS, *REFUSED)) and b"\0" not in content.partition(b"\n")[0]


def lines_in(content: bytes) -> list[str]:
    """Return the lines of `content`, split at line feeds, without CR before a line feed and without an initial BOM."""
    lines = content.removesuffix(b"\n").split(b"\n") if content else []
    lines = [line[:-1] if line.endswith(b"\r") else line for line in lines]
    return [
        line.removeprefix(codecs.BOM_UTF8 if i == 0 else b"").decode(errors="replace") for i, line in enumerate(lines)
    ]


@pytest.mark.slow
@EXAMPLES
@given(
    lines=st.lists(raw, max_size=LINES, min_size=LINES),
    break_=st.sampled_from([b"\n", b"\r\n"]),
    start=st.sampled_from([b"", codecs.BOM_UTF8]),
    end=st.booleans(),
    model=st.sampled_from(["bytes", "unknown"]),
    window=st.sampled_from(["1", "4", "2000"]),
)
@example(lines=[b"a\r"] * LINES, break_=b"\r\n", start=b"", end=True, model="bytes", window="4")
def test_each_line_of_bytes_is_answered_as_if_alone(
    lines: list[bytes], break_: bytes, start: bytes, end: bool, model: str, window: str, commands: dict[str, Command]
) -> None:
    content = start + break_.join(lines) + break_ * end
    assume(is_text(content))
    expected_lines = lines_in(content)
    assert len(expected_lines) in (LINES, LINES - 1)  # an empty last line without a line feed is no line
    answers = commands[model](content, "--buffer-lines", window)
    assert [*lines_of(str(commands[model].folder / "input"))] == expected_lines
    assert answers == [commands[model].alone(line).text for line in expected_lines]
    assert not any(answer for line, answer in zip(expected_lines, answers, strict=True) if not line.strip())


@pytest.mark.slow
@EXAMPLES
@given(
    lines=st.lists(st.tuples(plain | demanding, anything, st.booleans()) | raw, max_size=LINES, min_size=LINES),
    model=st.sampled_from(["bytes", "unknown"]),
    window=st.sampled_from(["1", "4", "2000"]),
)
def test_each_line_of_json_is_answered_as_if_alone(
    lines: list[tuple[dict[str, Any], Any, bool] | bytes], model: str, window: str, commands: dict[str, Command]
) -> None:
    written = [line if isinstance(line, bytes) else dumped({**line[0], "id": line[1]}, line[2]) for line in lines]
    assume(is_text(written[0]))
    output = commands[model](b"\n".join(written) + b"\n", "--format", "jsonl", "--buffer-lines", window)
    assert len(output) == LINES
    answers = [json.loads(text, parse_constant=pytest.fail) for text in output]
    for line, answer in zip(lines, answers, strict=True):
        if isinstance(line, bytes) or {"NaN", "Infinity"} & {*re.findall(r"\w+", json.dumps(line[1]))}:
            assert answer.keys() == {"error"}
        else:
            request, id, ascii_only = line
            assert answer["id"] == read_back(id, ascii_only)
            expected = commands[model].alone(**read_back(request, ascii_only))
            assert (answer["text"], answer["log_prob"]) == (expected.text, pytest.approx(expected.log_prob, abs=2e-6))


def dumped(value: object, ascii_only: bool) -> bytes:
    # A lone surrogate is not valid UTF-8: its bytes are read as U+FFFD.
    return json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")


def read_back(value: object, ascii_only: bool) -> Any:
    # Two adjacent surrogates written as escapes are read as one character.
    return json.loads(dumped(value, ascii_only).decode(errors="replace"))


MEASURE = """
import resource, sys, time
from seq2seq.translate import main
model, *names, out = sys.argv[1:]
for name in names:
    start = time.perf_counter()
    flags = ["--output", out, "--threads", "1", "--precision", "fp32", "--max-length-ratio", "0.05"]
    assert main([model, name, *flags]) == 0
    content = open(out, "rb").read()
    assert content.count(b"\\n") == 1 and content.endswith(b"\\n"), content
    print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit")
@pytest.mark.parametrize("unit", ["x", "日", "the quick brown fox "])
def test_a_long_line_is_cheap(unit: str, commands: dict[str, Command], tmp_path: Path) -> None:
    """Anything quadratic exceeds the limits at these lengths.

    Measured beside two training runs on two cores: 0.1 ms a character, no more memory than importing torch.
    """
    length = scaled(30_000, 100_000)
    (tmp_path / "short").write_text("a fox\n", encoding="utf-8")
    (tmp_path / "long").write_text((unit * length)[:length] + "\n", encoding="utf-8")
    files = [tmp_path / "short", tmp_path / "long", tmp_path / "out"]
    command = [sys.executable, "-c", MEASURE, commands["bytes"].folder, *files]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    (_, before), (sec, after) = (map(float, line.split()) for line in process.stdout.splitlines())
    assert sec < 2e-3 * length
    assert after - before < 100_000_000
