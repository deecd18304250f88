"""`python -m seq2seq.translate`: what reaches stdout, stderr and the shell, for every kind of input."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from seq2seq.decoding.translator import Translator
from seq2seq.model_file import BEST_NAME, save_model
from seq2seq.translate import main
from tiny_model import SENTENCES, make_model

LINES = [*SENTENCES, "a fox", "", "x", "a lazy dog over the box", "jugs", "five dozen"]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    save_model(folder / BEST_NAME, make_model(folder))
    return folder


@pytest.fixture(scope="module")
def expected(run_folder: Path) -> dict[str, str]:
    """Translations one by one, in this process."""
    translator = Translator.load(run_folder, precision="fp32")
    return {line: translator.translate([line])[0] for line in [*LINES, "a \ufffd fox", "a\u2028fox", "\ufffdx"]}


class Run:
    """The command run in this process, its output as bytes."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[bytes]) -> None:
        self.folder, self.capture = folder, capture

    def __call__(self, content: bytes | None, *options: str) -> tuple[int, bytes, str]:
        names = []
        if content is not None:
            (self.folder / "input").write_bytes(content)
            names = [str(self.folder / "input")]
        status = main([str(self.folder), *names, "--precision", "fp32", "--device", "cpu", *options])
        out, err = self.capture.readouterr()
        return status, out, err.decode()


@pytest.fixture
def run(run_folder: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    return Run(run_folder, capfdbinary)


def text_of(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def test_one_line_out_per_line_in_in_order_over_windows(run: Run, expected: dict[str, str]) -> None:
    wanted = text_of([expected[line] for line in LINES])
    for window in ("1", "3", str(len(LINES)), "2000"):
        assert run(text_of(LINES), "--buffer-lines", window) == (0, wanted, "")


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"\n\n", ["", ""]),
        (b"a fox", ["a fox"]),
        (b"a fox\r\nx\r\n", ["a fox", "x"]),
        (b"\xef\xbb\xbfa fox\n", ["a fox"]),
        ("a\u2028fox\nx\n".encode(), ["a\u2028fox", "x"]),
    ],
)
def test_a_line_ends_at_a_line_feed_only(run: Run, expected: dict[str, str], content: bytes, lines: list[str]) -> None:
    assert run(content) == (0, text_of([expected[line] for line in lines]), "")


def test_bytes_that_are_not_utf8_are_read_as_u_fffd_with_a_warning(run: Run, expected: dict[str, str]) -> None:
    status, out, err = run(b"x\na \xff fox\njugs\n\xfex")
    assert status == 0
    assert out == text_of([expected[line] for line in ("x", "a \ufffd fox", "jugs", "\ufffdx")])
    assert len(err.splitlines()) == 2
    assert "input, line 2: not UTF-8 (byte 0xff at position 3)" in err
    assert "input, line 4: not UTF-8 (byte 0xfe at position 1)" in err


def test_strict_stops_at_the_first_line_that_is_not_utf8(run: Run, expected: dict[str, str]) -> None:
    status, out, err = run(b"x\njugs\na \xff fox\nx\n", "--strict")
    assert (status, out) == (2, text_of([expected["x"], expected["jugs"]]))
    assert re.fullmatch(r"error: .*input, line 3: not UTF-8 .*\n", err)


@pytest.mark.slow
def test_several_files_and_standard_input_are_one_text(run_folder: Path, expected: dict[str, str]) -> None:
    (run_folder / "first").write_bytes(b"x")
    (run_folder / "last").write_bytes(b"a fox\n")
    command = [sys.executable, "-m", "seq2seq.translate", run_folder, run_folder / "first", "-", run_folder / "last"]
    done = subprocess.run([*command, "--precision", "fp32"], input=b"jugs", capture_output=True, check=True)
    assert done.stdout == text_of([expected[line] for line in ("x", "jugs", "a fox")])


def test_text_on_the_command_line(run: Run, expected: dict[str, str]) -> None:
    assert run(None, "--text", "a fox", "--text", "jugs") == (0, text_of([expected["a fox"], expected["jugs"]]), "")
    assert run(b"x\n", "--text", "a fox") == (2, b"", "error: give FILE or --text, not both\n")


def test_scores_stand_before_the_text(run: Run, run_folder: Path, expected: dict[str, str]) -> None:
    translator = Translator.load(run_folder, precision="fp32")
    score = translator.translate_n_best(["a fox"])[0][0].score
    assert run(b"a fox\n\n", "--scores") == (0, f"{score:.4f}\t{expected['a fox']}\n0.0000\t\n".encode(), "")


def test_n_best_lists_carry_the_number_of_their_line(run: Run, run_folder: Path) -> None:
    status, out, _ = run(b"a fox\n\nx\n", "--n-best", "7", "--buffer-lines", "2")
    found = Translator.load(run_folder, precision="fp32").translate_n_best(["a fox", "", "x"], n_best=7, beam_size=7)
    assert (status, len(found[0]), len(found[1])) == (0, 7, 1)
    rows = [(number, one) for number, row in enumerate(found, start=1) for one in row]
    assert out == text_of([f"{number}\t{one.score:.4f}\t{one.text}" for number, one in rows])


def test_search_options_reach_the_search(run: Run, run_folder: Path) -> None:
    options = {"beam_size": 2, "length_penalty": 0.0, "batch_tokens": 9}
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    wanted = Translator.load(run_folder, precision="fp32").translate(LINES, **options)
    assert run(text_of(LINES), *flags) == (0, text_of(wanted), "")


def test_output_goes_to_a_file(run: Run, run_folder: Path, tmp_path: Path, expected: dict[str, str]) -> None:
    assert run(b"a fox\n", "--output", str(tmp_path / "out")) == (0, b"", "")
    assert (tmp_path / "out").read_bytes() == text_of([expected["a fox"]])
    same = str(run_folder / "input")
    assert run(b"a fox\n", "--output", same) == (2, b"", f"error: {same} is both input and output\n")
    assert (run_folder / "input").read_bytes() == b"a fox\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing/there", "--text", "x"], "no model at nothing/there"),
        (["MODEL", "no/such/file"], "cannot read no/such/file: No such file or directory"),
        (["MODEL", "FOLDER"], "cannot read FOLDER: Is a directory"),
        (["MODEL", "--text", "x", "--output", "no/such/folder/file"], "cannot write no/such/folder/file: No such"),
        (["MODEL", "--text", "x", "--beam-size", "0"], "decode.beam_size=0 is out of range: 1 ≤ beam_size"),
        (["MODEL", "--text", "x", "--beam-size", "2", "--n-best", "3"], "n_best=3 is out of range"),
        (["MODEL", "--text", "x", "--device", "warp"], "device 'warp' is unknown"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    arguments: list[str], message: str, run_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    names = {"MODEL": str(run_folder), "FOLDER": str(run_folder)}
    assert main([names.get(argument, argument) for argument in arguments]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(f"error: {message.replace('FOLDER', str(run_folder))}")
    assert err.count("\n") == 1


def start(*arguments: object, **streams: object) -> subprocess.Popen[bytes]:
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    command = [sys.executable, "-m", "seq2seq.translate", *map(str, arguments), "--precision", "fp32"]
    return subprocess.Popen(command, **streams)


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_line_into_an_open_pipe_is_answered_at_once(run_folder: Path, expected: dict[str, str]) -> None:
    with start(run_folder) as process:
        for line in ("a fox", "", "jugs"):
            process.stdin.write(text_of([line]))
            process.stdin.flush()
            assert process.stdout.readline() == text_of([expected[line]])
        process.stdin.write(b"x")  # the end of the input ends the last line
        assert process.communicate() == (text_of([expected["x"]]), b"")
    assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_ends_it_in_silence(run_folder: Path) -> None:
    with start(run_folder) as process:
        process.stdin.write(b"a fox\n")
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == b""
    assert process.returncode == 130


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
def test_a_reader_that_leaves_ends_it_in_silence(run_folder: Path) -> None:
    with start(run_folder, "--buffer-lines", 1) as process:
        process.stdin.write(b"a fox\n")
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        process.stdin.write(b"a fox\n" * 3)
        process.stdin.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_one_line_and_status_2(run_folder: Path) -> None:
    with Path("/dev/full").open("wb") as full, start(run_folder, "--text", "a fox", stdout=full) as process:
        assert process.stderr.read() == b"error: cannot write standard output: No space left on device\n"
    assert process.returncode == 2


@pytest.mark.slow
def test_help_does_not_load_torch() -> None:
    code = (
        "import sys\nfrom seq2seq.translate import main\n"
        "try: main(['--help'])\nexcept SystemExit: assert not {'torch', 'omegaconf', 'sentencepiece'} & {*sys.modules}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--beam-size" in done.stdout
