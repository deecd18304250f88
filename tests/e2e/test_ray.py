"""`translate --engine ray`, `data prepare --engine ray`: files, blocks, restarts and killed workers."""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import signal
import threading
import time
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seq2seq.bulk import block_translator
from seq2seq.bulk.block_translator import BlockTranslator
from seq2seq.bulk.blocks import find_files, list_blocks, read_lines
from seq2seq.cli.data.overrides import run_config
from seq2seq.cli.data.prepare import prepared
from seq2seq.data.encoding import shards
from seq2seq.errors import ConfigError, DataError
from seq2seq.inference.translator import Translator
from seq2seq.storage.model_file import save_model
from seq2seq.storage.run_folder import BEST_NAME
from seq2seq.translate import main, parser
from tiny_model import SENTENCES, make_model

LINES = [*SENTENCES, "a fox", "", "x", "jugs", "five dozen", "over the box", "dog", "quick", "lazy"]
FAST = ["--precision", "fp32", "--device", "cpu", "--beam-size", "1", "--max-length-ratio", "0.3"]
MARK = f"cluster of {uuid.uuid4()}"  # in the environment of its processes
SETTINGS = {"beam_size": 1, "max_length_ratio": 0.3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("run")
    save_model(made / BEST_NAME, make_model(made))
    return made


@pytest.fixture(scope="module")
def translator(folder: Path) -> Translator:
    return Translator.load(folder, precision="fp32", device="cpu")


@pytest.fixture(scope="module")
def expected(translator: Translator) -> list[str]:
    return translator.translate(LINES, **SETTINGS)


def text_of(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def arguments(folder: Path, tmp_path: Path, *options: object) -> argparse.Namespace:
    given = [folder, "--engine", "ray", "--input", tmp_path / "in/*", "--output", tmp_path / "out", "--threads", 1]
    return parser().parse_intermixed_args([*map(str, given), *FAST, *map(str, options)])


# --- blocks, without Ray ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", ""])
@pytest.mark.parametrize("size", [1, 7, 40, 10_000])
def test_blocks_of_any_size_hold_every_line_once(size: int, end: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(["é" * 30, "", *LINES, "z"]) + end, encoding="utf-8")
    (tmp_path / "b.txt").write_bytes(b"")
    blocks = list_blocks(find_files([str(tmp_path / "*.txt")]), str(tmp_path / "out"), size)
    assert [line for block in blocks for line in read_lines(block, None)] == ["é" * 30, "", *LINES, "z"]
    outputs = [block.output for block in blocks]
    assert outputs == sorted(set(outputs))
    assert outputs[-1] == str(tmp_path / "out/b-000000.txt")  # an empty file has an empty output


def test_a_compressed_file_is_one_block(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(text_of(LINES)))
    (block,) = list_blocks(find_files([str(tmp_path / "*")]), str(tmp_path / "out"), 5)
    assert read_lines(block, None) == LINES


def test_files_of_two_folders_keep_theirs_and_equal_outputs_are_refused(tmp_path: Path) -> None:
    for name in ("one/a.txt", "two/a.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x\n")
    blocks = list_blocks(find_files([str(tmp_path / "*/*.txt")]), "out", 100)
    assert [block.output for block in blocks] == ["out/one/a-000000.txt", "out/two/a-000000.txt"]
    (tmp_path / "one/a.txt.gz").write_bytes(gzip.compress(b"x\n"))
    with pytest.raises(ConfigError, match="would have the same outputs"):
        list_blocks(find_files([str(tmp_path / "*/*")]), "out", 100)
    with pytest.raises(DataError, match="no such file"):
        find_files([str(tmp_path / "*.parquet")])


def test_every_format_is_translated_as_its_lines(
    folder: Path,
    tmp_path: Path,
    expected: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(block_translator, "WINDOW", 5)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt").write_bytes(text_of(LINES))
    objects = [json.dumps({"src": line, "id": i}) for i, line in enumerate(LINES)]
    (tmp_path / "in/b.jsonl").write_bytes(text_of([*objects, "broken"]))
    table = pa.table({"id": range(len(LINES) + 1), "src": [*LINES, None]})
    pq.write_table(table, tmp_path / "in/c.parquet", row_group_size=6)
    blocks = list_blocks(find_files([str(tmp_path / "in/*")]), str(tmp_path / "out"), 10_000)
    worker = BlockTranslator(arguments(folder, tmp_path, "--scores"), [str(folder)])
    capsys.readouterr()
    assert [worker.translate(block).lines for block in blocks] == [12, 13, 6, 6, 1]
    assert f"warning: {blocks[1].source}, from byte 0, line 13: not JSON" in capsys.readouterr().err
    out = tmp_path / "out"
    assert [line.split("\t")[1] for line in (out / "a-000000.txt").read_text().split("\n")[:-1]] == expected
    answers: list[dict[str, Any]] = [json.loads(line) for line in (out / "b-000000.jsonl").read_text().splitlines()]
    assert [(answer.get("id"), answer.get("text")) for answer in answers] == [*enumerate(expected), (None, None)]
    written = pa.concat_tables(pq.read_table(path) for path in sorted(out.glob("c-*.parquet")))
    assert written.column_names == ["id", "src", "translation", "score"]
    assert written.column("id").to_pylist() == [*range(len(LINES) + 1)]
    assert written.column("translation").to_pylist() == [*expected, None]
    damaged = bytearray((tmp_path / "in/c.parquet").read_bytes())
    damaged[4:60] = bytes(56)  # in the first row group
    (tmp_path / "in/c.parquet").write_bytes(damaged)
    assert "cannot read" in str(worker.translate(blocks[2]).error)
    pq.write_table(table, tmp_path / "in/c.parquet", row_group_size=6)
    worker = BlockTranslator(arguments(folder, tmp_path, "--column", "text"), [str(folder)])
    assert "has no column text: give --column id, src" in str(worker.translate(blocks[-1]).error)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--input", "x"], "--input needs --engine ray"),
        (["--actors", "2"], "--actors needs --engine ray"),
        (["--engine", "ray"], "--engine ray needs --input GLOB"),
        (["--engine", "ray", "--input", "x"], "- is not a folder"),
        (["--engine", "ray", "--input", "x", "--output", "FILE"], "FILE is not a folder"),
        (["--engine", "ray", "--input", "x", "--output", "new", "FILE"], "FILE has no effect with --engine ray"),
        (["--engine", "ray", "--input", "x", "--output", "new", "--resume"], "--resume has no effect"),
        (["--engine", "ray", "--input", "x", "--output", "new", "--format", "jsonl"], "--format has no effect"),
        (["--engine", "ray", "--input", "x", "--output", "new", "--device", "cuda:1"], "give --device cuda\n"),
        (["--engine", "ray", "--input", "FILE", "--output", "new", "--device", "cuda", "--precision", "int8"], "int8"),
        (["--engine", "ray", "--input", "no-such-*", "--output", "new"], "--input no-such-*: no such file"),
    ],
)
def test_user_error_is_one_line(
    options: list[str], message: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"x\n")
    named = [str(tmp_path / "file") if option == "FILE" else option for option in options]
    assert main([str(folder), *named]) == 2
    err = capsys.readouterr().err
    assert message.replace("FILE is", f"{tmp_path / 'file'} is") in err
    assert err.count("\n") == 1


def test_missing_ray_is_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")  # the command sets it
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt").write_bytes(b"x\n")
    given = [folder, "--engine", "ray", "--input", tmp_path / "in/*", "--output", tmp_path / "out"]
    for device in ("cpu", "cuda"):  # this machine needs no GPU: its processes have them
        assert main([*map(str, given), *[device if option == "cpu" else option for option in FAST]]) == 2
        assert "--engine ray needs Ray: pip install 'attentional-lstm[ray]'" in capsys.readouterr().err


# --- a local cluster --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    before = dict(os.environ)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("SEQ2SEQ_TEST", MARK)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        warnings.simplefilter("ignore")  # of Ray's own code
        module = pytest.importorskip("ray", reason="Ray is not installed: pip install 'attentional-lstm[ray]'")
        module.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=80_000_000)
        yield module
        module.shutdown()
        for name in os.environ.keys() - before.keys():  # those of Ray, too
            del os.environ[name]


@pytest.mark.slow
def test_a_killed_worker_and_a_restart_lose_and_repeat_nothing(
    ray: Any, folder: Path, tmp_path: Path, expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        (tmp_path / f"in/{name}.txt").write_bytes(text_of(LINES * 50))
    given = [folder, "--engine", "ray", "--input", tmp_path / "in/*", "--output", tmp_path / "out", "--block-kib", 1]
    command = [*map(str, given), *FAST]
    killed: list[int] = []
    killer = threading.Thread(target=lambda: killed.extend(kill_one("BlockTranslator", tmp_path / "out", "*.txt")))
    killer.start()
    assert main(command) == 0
    killer.join()
    assert killed
    outputs = sorted((tmp_path / "out").glob("*.txt"))
    for name in ("a", "b"):
        lines = [line for path in outputs if path.name[0] == name for line in path.read_text().split("\n")[:-1]]
        assert lines == expected * 50
    outputs[1].unlink()
    kept = {path: path.stat().st_mtime_ns for path in outputs if path.exists()}
    capsys.readouterr()
    assert main(command) == 0
    assert f"{len(outputs)} blocks, {len(kept)} finished before" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert outputs[1].exists()
    assert main([*command, "--no-repeat-ngram", "2"]) == 2
    assert "was made with other options" in capsys.readouterr().err
    assert main([*command, "--actors", "3"]) == 0  # nothing is left to do


@pytest.mark.slow
def test_shards_of_a_cluster_with_a_killed_worker_are_those_of_one_process(
    ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_PAIRS", 2000)
    lines = [f"line {i} of a text of many words, {i * i} and {i % 7} of them numbers" for i in range(40_000)]
    for side in ("src", "tgt"):
        (tmp_path / side).write_bytes(text_of(lines))
    overrides = ["data=files", "data.src=en", "data.tgt=de", "data.clean=none", "data.tokenizer.vocab_size=300"]
    overrides += [f"data.train.{side}={tmp_path / side}" for side in ("src", "tgt")]
    with_ray, without = ([*overrides, f"data.cache_dir={tmp_path / name}"] for name in ("ray", "here"))
    killed: list[int] = []
    killer = threading.Thread(
        target=lambda: killed.extend(kill_one("ray::_write", tmp_path / "ray/prepared", "*/000*/src_ids.npy"))
    )
    killer.start()
    result = prepared(run_config(with_ray), "ray")
    killer.join()
    assert killed
    expected = prepared(run_config(without))
    assert result["pairs"] == expected["pairs"]
    files = sorted(Path(expected["folder"]).rglob("*.npy"))
    assert len(files) > 50
    for file in files:
        assert file.read_bytes() == (Path(result["folder"]) / file.relative_to(expected["folder"])).read_bytes()


def kill_one(title: str, out: Path, pattern: str) -> list[int]:
    """Kill a worker of this test's cluster as soon as `out` has a file of `pattern`; return its process id."""
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        for process in Path("/proc").iterdir() if any(out.glob(pattern)) else ():
            with contextlib.suppress(OSError):
                worker = process.name.isdigit() and title.encode() in (process / "cmdline").read_bytes()
                if worker and MARK.encode() in (process / "environ").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)
                    return [int(process.name)]
        time.sleep(0.005)
    return []
