"""Text on disk gives what text in memory gives, with less memory, and a killed preparation goes on where it was."""

import contextlib
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seq2seq.cli.data import app
from seq2seq.config.augment import AugmentConfig
from seq2seq.config.data import DataConfig, DataName
from seq2seq.config.text_files import FilesConfig
from seq2seq.config.tokenizer import SamplingConfig, TokenizerConfig
from seq2seq.config.training import TrainingConfig
from seq2seq.data.batches import batching
from seq2seq.data.batches.batching import batch_order
from seq2seq.data.batches.epoch_batches import EpochBatches
from seq2seq.data.batches.epoch_pairs import epoch_pairs
from seq2seq.data.corpora import files
from seq2seq.data.corpora.load import load_corpus
from seq2seq.data.corpus import Corpus, ParallelText, lines_digest, text_bytes
from seq2seq.data.encoding import binarised, shards
from seq2seq.data.encoding.binarised import PairedIds, encode_all, prepare
from seq2seq.data.encoding.shard_workers import _feed, write_shards
from seq2seq.data.encoding.shards import PairEncoder, ShardJob
from seq2seq.data.files.cached_folders import damaged_file
from seq2seq.data.filters.presets import PRESETS
from seq2seq.data.filters.registry import complete_spec
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.data.subwords.vocabulary_training import _evenly_spaced
from seq2seq.data.text import augmentation, splitting, text_store
from seq2seq.data.text.augmentation import Augmenter
from seq2seq.data.text.splitting import fold, held_out_rows, hold_out, remove_overlap
from seq2seq.data.text.text_store import is_stored, open_text, taken, write_rows, write_text
from seq2seq.errors import DataError, StorageError
from seq2seq.filesystem.file_locks import is_held
from seq2seq.filesystem.temporary_files import IN_USE_NAME
from seq2seq.training.progress import Progress

Pair = tuple[str, str]
PAIRS = [(f"line {i % 83} {'so ' * (i % 5)}", f"Zeile {i % 91} {'also ' * (i % 3)}") for i in range(130)]
TEXT = ParallelText.from_pairs(PAIRS)
ID_FILES = ("src_ids.npy", "src_offsets.npy", "tgt_ids.npy", "tgt_offsets.npy", "dropped.npy")


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_store, "BLOCK_LINES", 7)
    monkeypatch.setattr(text_store, "READ_BLOCKS", 2)
    monkeypatch.setattr(text_store, "BUCKET_PAIRS", 11)
    monkeypatch.setattr(shards, "SHARD_PAIRS", 40)
    monkeypatch.setattr(shards, "CHUNK_PAIRS", 20)
    monkeypatch.setattr(binarised, "usable_cores", lambda: 1)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer.train(TEXT, TokenizerConfig(vocab_size=290), tmp_path_factory.mktemp("cache"))


@pytest.fixture
def stored(tmp_path: Path) -> ParallelText:
    return on_disk(tmp_path / "texts" / "text", PAIRS)


def on_disk(folder: Path, pairs: list[Pair]) -> ParallelText:
    folder.mkdir(parents=True)
    assert write_text(folder, "text", pairs) == len(pairs)
    return open_text(folder, "text")


def rows(pairs: PairedIds) -> list[tuple[list[int], list[int]]]:
    return [(pairs.src(i).tolist(), pairs.tgt(i).tolist()) for i in range(len(pairs))]


# --- text on disk ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "part",
    [slice(None), slice(3, 9), slice(7, 14), slice(0, 0), slice(9, 3), slice(-5, None), slice(100, 999),
     slice(None, None, 3), slice(5, 60, 9), slice(None, None, -2)],
)  # fmt: skip
def test_lines_are_those_of_a_list(stored: ParallelText, part: slice) -> None:
    assert list(stored.src[part]) == TEXT.src[part]
    assert list(stored.src[5:120][part]) == TEXT.src[5:120][part]
    assert len(stored.tgt[part]) == len(TEXT.tgt[part])
    assert stored.src[-1] == TEXT.src[-1]
    assert stored.first(9) == TEXT.first(9)
    assert list(stored.swapped()) == list(TEXT.swapped())


def test_any_text_is_stored_as_it_is_but_for_line_feeds(tmp_path: Path) -> None:
    pairs = [("a\nb", "\u2028 \x85 \r"), ("", " "), ("\ud800", "𝔘")]
    assert list(on_disk(tmp_path / "texts", pairs)) == [("a b", "\u2028 \x85 \r"), *pairs[1:]]
    assert list(on_disk(tmp_path / "none", [])) == []


def test_a_text_has_one_hash_and_size_wherever_it_is(stored: ParallelText) -> None:
    for lines, same in ((stored.src, TEXT.src), (stored.src[3:50], TEXT.src[3:50])):
        assert lines_digest(lines) == lines_digest(same)
        assert text_bytes(lines) == text_bytes(same)
    assert lines_digest(stored.src[1:]) != lines_digest(stored.src)


def test_pairs_are_reordered_on_disk(stored: ParallelText) -> None:
    numbers = np.random.default_rng(1).permutation(len(TEXT))[:101]
    for text in (stored, TEXT):
        assert list(taken(text, numbers)) == [PAIRS[i] for i in numbers]
        assert list(taken(text, numbers[:0])) == []


def test_parts_are_written_like_texts_of_their_own(tmp_path: Path) -> None:
    pairs = [*PAIRS, ("\ud800 \u2028", "𝔘")]
    text, parts = on_disk(tmp_path / "texts", pairs), {"one": [3, 130, 1, *range(20, 90)], "none": [], "two": [0, 2]}
    for folder in (tmp_path / "parts", tmp_path / "expected"):
        folder.mkdir()
    write_rows(tmp_path / "parts", text, {name: np.array(rows, int) for name, rows in parts.items()})
    for name, rows in parts.items():
        write_text(tmp_path / "expected", name, [pairs[i] for i in rows])
    found, expected = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("parts", "expected")
    )
    assert found == expected


def test_splits_and_folds_are_those_of_text_in_memory(stored: ParallelText) -> None:
    expected, found = hold_out(TEXT, 2, 3), hold_out(stored, 2, 3)
    for name in ("train", "valid", "test"):
        assert list(getattr(found, name)) == list(getattr(expected, name))
    assert [list(part) for part in fold(stored, 2, 3)] == [list(part) for part in fold(TEXT, 2, 3)]
    kept = remove_overlap(stored, TEXT.first(20))
    assert is_stored(kept)
    assert list(kept) == list(remove_overlap(TEXT, TEXT.first(20)))


def test_temporary_texts_are_removed(stored: ParallelText, tmp_path: Path) -> None:
    kept = remove_overlap(stored, TEXT.first(20)).first(5)
    (folder,) = (tmp_path / "texts").glob(".part-*")
    assert is_held(folder / IN_USE_NAME)  # for processes on other machines
    assert len(list(kept)) == 5  # a part keeps the whole
    del kept
    assert [path.name for path in (tmp_path / "texts").iterdir()] == ["text"]


def test_a_text_without_overlap_is_not_copied(stored: ParallelText) -> None:
    for text in (stored, TEXT):
        assert remove_overlap(text, ParallelText(["another"], ["anderer"])) is text


def test_memory_hardly_grows_with_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_store, "BLOCK_LINES", 100)
    monkeypatch.setattr(text_store, "BUCKET_PAIRS", 200)
    monkeypatch.setattr(splitting, "BLOCK_PAIRS", 200)

    def peak(count: int) -> int:
        generated = ((f"source {i} {'word ' * 40}", f"target {i} {'Wort ' * 40}") for i in range(count))
        folder = tmp_path / str(count)
        folder.mkdir()
        tracemalloc.start()
        write_text(folder, "text", generated)
        text = open_text(folder, "text")
        write_rows(folder, text, {"train": held_out_rows(text, 10, 10).train})
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    few, many = peak(3_000), peak(9_000)
    assert many - few < 6_000 * 150  # the pairs themselves are 400 bytes, and 600 as two strings


# --- the files of data=files -----------------------------------------------------------------------------------------


def files_config(tmp_path: Path, pairs: list[Pair], **settings: object) -> DataConfig:
    file = tmp_path / "pairs.tsv"
    file.write_text("".join(f"{src}\t{tgt}\n" for src, tgt in pairs), encoding="utf-8")
    return DataConfig(
        name=DataName.files, src="en", tgt="de", train=FilesConfig(tsv=str(file)), valid_pairs=3, test_pairs=4,
        cache_dir=str(tmp_path / "cache"), **settings,  # type: ignore[arg-type]
    )  # fmt: skip


def test_the_text_is_read_once_and_is_that_of_the_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "seq2seq")
    config = files_config(tmp_path, [*PAIRS, ("", "blank")])
    first = load_corpus(config)
    messages = list(caplog.messages)
    assert "dropped 1 of 131 training pairs: one side is blank" in messages
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")}
    caplog.clear()
    second = load_corpus(config)
    assert caplog.messages == messages
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")} == written
    expected = hold_out(ParallelText.from_pairs([(src.strip(), tgt.strip()) for src, tgt in PAIRS]), 3, 4)
    for corpus in (first, second):
        assert is_stored(corpus.train)
        assert list(corpus.train) == list(expected.train)
        assert corpus.valid == expected.valid
        assert corpus.tests == {"test": expected.test}


def test_another_content_or_setting_is_another_text(tmp_path: Path) -> None:
    sizes = [len(load_corpus(files_config(tmp_path, PAIRS[:count])).train) for count in (100, 110)]
    assert sizes[0] < sizes[1]
    load_corpus(files_config(tmp_path, PAIRS[:110], train_pairs=5, max_length=9))
    assert len(list((tmp_path / "cache" / "text").iterdir())) == 2


def test_a_file_that_changes_while_it_is_read_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, path = files_config(tmp_path, PAIRS), tmp_path / "pairs.tsv"
    cleaned = files.cleaned

    def changing(pairs: Iterable[Pair], data: DataConfig) -> Iterator[Pair]:
        yield from cleaned(pairs, data)
        path.write_bytes(path.read_bytes()[:-1] + b" more\n")

    with monkeypatch.context() as context:
        context.setattr(files, "cleaned", changing)
        with pytest.raises(DataError, match=rf"^{path} changed while it was read: start again when it is complete$"):
            load_corpus(config)
    assert not [folder for folder in (tmp_path / "cache" / "text").iterdir() if folder.is_dir()]
    corpus = load_corpus(config)
    assert sum(" more" in tgt for text in (corpus.train, corpus.valid, corpus.tests["test"]) for _, tgt in text) == 1


def test_text_is_filtered_again_by_another_version_of_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert complete_spec("length_ratio:max=9") == "length_ratio:max=9 (max=3.0,words=8)"
    assert complete_spec("empty") == "empty ()"
    before = {name: [complete_spec(spec) for spec in specs] for name, specs in PRESETS.items()}
    monkeypatch.setattr(metadata, "version", lambda name: f"99 of {name}")
    changed = {
        name: [spec for spec in map(complete_spec, specs) if spec not in before[name]]
        for name, specs in PRESETS.items()
    }
    assert {name: [spec.rpartition("; ")[2] for spec in specs] for name, specs in changed.items()} == {
        "none": [], "harmless": [], "light": ["ftfy 99 of ftfy)"],
        "strict": ["ftfy 99 of ftfy)", "py3langid 99 of py3langid)"],
    }  # fmt: skip


@pytest.mark.parametrize("name", ["train.src", "train.json", "messages.json"])
def test_a_damaged_text_is_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    config = files_config(tmp_path, PAIRS)
    expected = list(load_corpus(config).train)
    (file,) = (tmp_path / "cache" / "text").rglob(name)
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[: len(content) // 2])
    assert list(load_corpus(config).train) == expected
    assert f"{file} is damaged or missing: the text is read again" in caplog.text


def test_a_pipe_is_read_into_a_folder_that_is_removed(tmp_path: Path) -> None:
    read, write = os.pipe()
    config = files_config(tmp_path, [])
    config.train = FilesConfig(tsv=f"/dev/fd/{read}")
    with os.fdopen(write, "w", encoding="utf-8") as file:
        file.write("".join(f"{src}\t{tgt}\n" for src, tgt in PAIRS))
    corpus = load_corpus(config)
    os.close(read)
    assert set(corpus.train) < {(src.strip(), tgt.strip()) for src, tgt in PAIRS}
    del corpus
    assert not list((tmp_path / "cache" / "text").iterdir())


# --- shards ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_length", [None, 12])
def test_shards_hold_what_one_block_holds(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, stored: ParallelText, max_length: int | None
) -> None:
    found = prepare(stored, tokenizer, max_length, tmp_path / "shards")
    assert len(list(found.folder.iterdir())) == 4
    monkeypatch.setattr(shards, "SHARD_PAIRS", 1000)
    expected = prepare(TEXT, tokenizer, max_length, tmp_path / "block")
    assert (rows(found), found.dropped) == (rows(expected), expected.dropped)
    numbers = np.random.default_rng(1).permutation(len(found)).tolist()
    for side in ("src", "tgt"):
        some, same = (getattr(pairs, f"{side}_rows")(numbers) for pairs in (found, expected))
        assert (some.ids.tolist(), some.lengths.tolist()) == (same.ids.tolist(), same.lengths.tolist())
        assert getattr(found, f"{side}_lengths").tolist() == getattr(expected, f"{side}_lengths").tolist()


def test_a_sampled_and_augmented_epoch_does_not_depend_on_the_shards(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, stored: ParallelText
) -> None:
    data = DataConfig(src="en", tgt="de", sampling=SamplingConfig(src=0.2), augment=AugmentConfig(upper=0.3))
    found = rows(epoch_pairs(stored, tokenizer, data, 100, 1, tmp_path)(3))
    monkeypatch.setattr(shards, "SHARD_PAIRS", 1000)
    assert rows(epoch_pairs(TEXT, tokenizer, data, 100, 1, tmp_path / "other")(3)) == found


def test_a_shard_without_a_pair_is_skipped(tmp_path: Path, tokenizer: Tokenizer) -> None:
    long = [("word " * 40, "Wort")] * 40
    pairs = prepare(ParallelText.from_pairs([*long, *PAIRS[:40], *long, *long]), tokenizer, 30, tmp_path)
    assert (rows(pairs), pairs.dropped) == (rows(prepare(TEXT.first(40), tokenizer, 30, tmp_path)), 120)


def test_ids_take_two_bytes(tmp_path: Path, tokenizer: Tokenizer) -> None:
    assert prepare(TEXT, tokenizer, None, tmp_path).src_rows([0]).ids.dtype == np.uint16


def test_a_damaged_shard_alone_is_encoded_again(
    tmp_path: Path, tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    pairs = prepare(TEXT, tokenizer, None, tmp_path)
    expected, folders = rows(pairs), sorted(pairs.folder.iterdir())
    before = [folder.stat().st_ino for folder in folders]
    file = folders[2] / "tgt_ids.npy"
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[:-1])
    assert rows(prepare(TEXT, tokenizer, None, tmp_path)) == expected
    assert [folder.stat().st_ino == inode for folder, inode in zip(folders, before, strict=True)] == [1, 1, 0, 1]
    assert caplog.messages == [f"{file} is damaged or missing: the text is encoded again"]


KILLED = """
import os, pickle, signal, sys
from pathlib import Path
from seq2seq.data.encoding import shards
from seq2seq.data.encoding.binarised import prepare
with open(sys.argv[1], "rb") as file:
    text, tokenizer = pickle.load(file)
shards.SHARD_PAIRS, shards.CHUNK_PAIRS = 40, 20
encode = shards.PairEncoder.encode
def encode_or_die(self, side, lines, start):
    if (side, start) == (1, int(sys.argv[3])):
        os.kill(os.getpid(), signal.SIGKILL)
    return encode(self, side, lines, start)
shards.PairEncoder.encode = encode_or_die
prepare(text, tokenizer, None, Path(sys.argv[2]))
"""


def test_a_killed_preparation_goes_on_where_it_was(tmp_path: Path, tokenizer: Tokenizer) -> None:
    (tmp_path / "job").write_bytes(pickle.dumps((TEXT, tokenizer)))
    command = [sys.executable, "-c", KILLED, str(tmp_path / "job"), str(tmp_path / "cache"), "100"]  # within shard 2
    assert subprocess.run(command).returncode == -signal.SIGKILL
    (folder,) = (path for path in (tmp_path / "cache" / "prepared").iterdir() if path.is_dir())
    finished = {path: path.stat().st_ino for path in folder.glob("0*")}
    assert sorted(path.name for path in finished) == ["00000", "00001"]
    pairs = prepare(TEXT, tokenizer, None, tmp_path / "cache")
    assert rows(pairs) == rows(prepare(TEXT, tokenizer, None, tmp_path / "other"))
    assert {path: path.stat().st_ino for path in finished} == finished
    assert sorted(path.name for path in folder.iterdir()) == ["00000", "00001", "00002", "00003"]


def test_two_that_prepare_at_once_write_each_shard_once(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = ShardJob.write, []

    def counting(self: ShardJob, number: int) -> None:
        written.append(number)
        write(self, number)

    monkeypatch.setattr(ShardJob, "write", counting)
    with ThreadPoolExecutor(2) as threads:
        both = list(threads.map(lambda _: rows(prepare(TEXT, tokenizer, None, tmp_path)), range(2)))
    assert both[0] == both[1]
    assert sorted(written) == [0, 1, 2, 3]


class Noise:
    """Prints when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("noise",)


def test_what_a_library_prints_is_no_answer(tmp_path: Path, tokenizer: Tokenizer) -> None:
    job = ShardJob(TEXT.first(3), PairEncoder(tokenizer), None, tmp_path)
    job.folder = Noise()  # type: ignore[assignment]
    command = [sys.executable, "-m", "seq2seq.data.encoding.shard_workers"]
    ended = subprocess.run(command, input=pickle.dumps(job) + pickle.dumps(0), capture_output=True, check=True)
    assert isinstance(pickle.loads(ended.stdout), TypeError)
    assert b"noise" in ended.stderr


@pytest.mark.parametrize("code", ["print('garbage', flush=True); sys.stdin.read()", "sys.exit(3)"])
def test_a_process_without_an_answer_is_an_error(code: str) -> None:
    command = [sys.executable, "-c", f"import sys; {code}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        status = 3 if "exit" in code else -signal.SIGKILL
        with pytest.raises(StorageError, match=f"ended with status {status}"):
            _feed(process, lambda: 0, lambda: None)
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()  # type: ignore[union-attr]


@pytest.mark.slow
def test_processes_write_what_one_writes(
    tmp_path: Path, tokenizer: Tokenizer, stored: ParallelText, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "CHUNK_PAIRS", 2_000)  # as in the other processes
    jobs = [
        ShardJob(text, PairEncoder(tokenizer, SamplingConfig(src=0.3), (1, 2)), None, tmp_path / name)
        for name, text in (("two", stored), ("one", TEXT))
    ]
    done: list[None] = []
    for job in jobs:
        write_shards(job, range(4), 2, lambda: done.append(None))
    assert len(done) == 8
    assert rows(PairedIds(jobs[0].shards())) == rows(PairedIds(jobs[1].shards()))
    (tmp_path / "texts" / "text" / "text.src").write_bytes(b"")
    with pytest.raises(Exception, match=r"text\.src was cut"):
        write_shards(ShardJob(stored, PairEncoder(tokenizer), None, tmp_path / "three"), range(4), 2)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write"):
        write_shards(ShardJob(stored, PairEncoder(tokenizer), None, tmp_path / "file" / "four"), range(4), 2)


@pytest.mark.slow
def test_a_shard_that_fails_ends_the_other_processes(
    tmp_path: Path, tokenizer: Tokenizer, stored: ParallelText
) -> None:
    job = ShardJob(stored, PairEncoder(tokenizer), None, tmp_path / "job")
    job.folder.mkdir()
    job.shards()[1].touch()  # no folder
    done: list[None] = []

    def wait() -> None:
        time.sleep(0.05)
        done.append(None)

    with pytest.raises(StorageError, match="cannot write"):
        write_shards(job, [0, 1, *[2] * 40], 2, wait)
    assert len(done) < 30


def test_many_shards_need_few_open_files(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shards, "SHARD_PAIRS", 1)
    monkeypatch.setattr(binarised, "MOST_MAPS", 4)
    text = TEXT.first(30)
    pairs = prepare(text, tokenizer, None, tmp_path)
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/dev/fd"))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, limits[1]))
        assert rows(pairs) == rows(prepare(text, tokenizer, None, tmp_path))
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        with pytest.raises(StorageError, match="too many open files"):
            PairedIds(pairs.shards)
        with pytest.raises(StorageError, match="too many open files"):
            damaged_file(pairs.shards[0])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert not caplog.messages


def test_a_temporary_folder_has_few_shards_and_is_not_read_only(tmp_path: Path, tokenizer: Tokenizer) -> None:
    job = ShardJob.temporary(TEXT, PairEncoder(tokenizer), None, tmp_path)
    assert len(job.shards()) == 4
    huge = ShardJob.temporary(ParallelText([""] * 10**5, [""] * 10**5), PairEncoder(tokenizer), None, tmp_path)
    assert len(huge.shards()) <= shards.MOST_SHARDS
    assert huge.shard_pairs % shards.SHARD_PAIRS == 0
    job.write(0)
    files = list(job.shards()[0].iterdir())
    assert sorted(file.name for file in files) == sorted(ID_FILES)
    assert all(file.stat().st_mode & 0o200 for file in files)


def test_the_ranks_of_a_machine_share_its_cores(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(binarised, "write_shards", lambda job, numbers, cores: asked.append(cores))
    monkeypatch.setattr(binarised, "usable_cores", lambda: 8)
    for ranks in ("1", "4", "16"):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", ranks)
        encode_all(ShardJob(TEXT, PairEncoder(tokenizer), None, tmp_path))
    assert asked == [8, 2, 1]


def test_what_processes_that_encode_import_is_free_of_torch() -> None:
    imported = "seq2seq.data.encoding.shard_workers, seq2seq.data.encoding.edited_encoder"
    code = f"import sys, {imported}; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


# --- order -----------------------------------------------------------------------------------------------------------


def test_a_position_in_the_order_of_an_older_version_counts_only_where_that_is_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    config = DataConfig(src="en", tgt="de", cache_dir=str(tmp_path))
    data = EpochBatches(config, TrainingConfig(max_steps=1), TEXT, tokenizer)
    stored = Progress(epoch=1, position=3).state_dict()
    older = {key: value for key, value in stored.items() if key != "order_version"}

    def resumed(state: dict[str, Any]) -> tuple[int, int, int]:
        progress = Progress()
        progress.load_state_dict(state)
        progress.keep_order(data.is_order_of)
        assert progress.state_dict()["order_version"] == batching.ORDER_VERSION
        return progress.epoch, progress.position, len(caplog.messages)

    caplog.set_level(logging.WARNING)
    assert resumed(stored) == resumed(older) == (1, 3, 0)
    monkeypatch.setattr(batching, "WINDOW_PAIRS", 100)
    assert resumed(stored) == (1, 3, 0)
    assert resumed({**older, "position": 0}) == (1, 0, 0)
    assert resumed(older) == (1, 0, 1)
    assert "which had another order of batches: epoch 2 begins anew" in caplog.text


def test_a_large_text_is_ordered_window_by_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "WINDOW_PAIRS", 600)
    monkeypatch.setattr(batching, "BLOCK_PAIRS", 50)
    rng = np.random.default_rng(1)
    src, tgt = rng.integers(1, 30, (2, 2_030))
    orders = {key: list(batch_order(src, tgt, 120, *key)) for key in [(1, 0), (1, 1), (2, 0)]}
    assert orders[1, 0] == list(batch_order(src, tgt, 120, 1, 0))
    assert len({str(order) for order in orders.values()}) == 3
    for order in orders.values():
        flat = [i for batch in order for i in batch]
        assert sorted(flat) == list(range(2_030))
        assert all(len(batch) * max(max(src[i], tgt[i]) for i in batch) <= 120 for batch in order)
        # A window is read before the next one: its blocks are whole, and not neighbours in the text.
        blocks = {i // 50 for i in flat[:500]}
        assert len(blocks) <= 12
        assert max(blocks) - min(blocks) > 12
        longest = [max(src[batch]) for batch in order]
        assert np.corrcoef(longest[:-1], longest[1:])[0, 1] < 0.5


def test_each_window_has_its_share_of_every_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "WINDOW_PAIRS", 600)
    monkeypatch.setattr(batching, "BLOCK_PAIRS", 10)
    lengths = np.full(6_000, 5)
    flat = [i for batch in batch_order(lengths, lengths, 120, 1, 0) for i in batch]
    shares = [sum(i < 600 for i in flat[start : start + 600]) for start in range(0, 6_000, 600)]
    assert shares == [60] * 10  # of a corpus of a tenth of the pairs


# --- vocabulary and command ------------------------------------------------------------------------------------------


def test_a_vocabulary_reads_evenly_spaced_lines_of_both_sides(stored: ParallelText) -> None:
    total = text_bytes(TEXT.src) + text_bytes(TEXT.tgt)
    assert _evenly_spaced({"a": TEXT.src, "b": TEXT.tgt}, total) == {"a": TEXT.src, "b": TEXT.tgt}
    for text in (TEXT, stored):
        chosen = _evenly_spaced({"a": text.src, "b": text.tgt}, total // 4 + 1)
        assert [*chosen["a"], *chosen["b"]] == [*TEXT.src, *TEXT.tgt][::4]


PARTS = [slice(None), slice(3, 200), slice(0, 0), slice(None, None, 4), slice(1, 299, 7), slice(250, 3, -3)]


@pytest.mark.parametrize("part", PARTS)
def test_the_vocabulary_text_of_a_mix_is_no_copy(stored: ParallelText, part: slice) -> None:
    corpus = Corpus(TEXT, TEXT.first(0), {}, mix={"web": Corpus(stored, TEXT.first(0), {})})
    text = corpus.vocabulary_text()
    expected = [*TEXT.src, *TEXT.src], [*TEXT.tgt, *TEXT.tgt]
    for side, lines in zip((text.src, text.tgt), expected, strict=True):
        assert list(side) == lines
        assert (len(side), side[-1], side[part]) == (len(lines), lines[-1], lines[part])
        assert text_bytes(side) == text_bytes(lines)
    assert not list(stored.src.folder.parent.glob(".part-*"))  # type: ignore[attr-defined]


@pytest.mark.parametrize("part", PARTS)
def test_the_edited_vocabulary_text_is_a_function_of_the_numbers_of_its_pairs(
    stored: ParallelText, monkeypatch: pytest.MonkeyPatch, part: slice
) -> None:
    monkeypatch.setattr(augmentation, "CHUNK_PAIRS", 9)
    augment = AugmentConfig(upper=0.5, punctuation=0.3)
    text = augmentation.vocabulary_text(stored, augment)
    edited = Augmenter({"upper": 0.5, "punctuation": 0.3}, 0).edited(TEXT.src, TEXT.tgt, 0, 0)
    pairs = [edited.get(i, pair) for i, pair in enumerate(TEXT)]
    assert len(edited) > 40
    assert list(text) == pairs
    assert list(zip(text.src[part], text.tgt[part], strict=True)) == pairs[part]
    assert not list(stored.src.folder.parent.glob(".part-*"))  # type: ignore[attr-defined]


@pytest.fixture
def _quiet_afterwards() -> Iterator[None]:
    logger = logging.getLogger("seq2seq")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.mark.usefixtures("_quiet_afterwards")
def test_the_command_prepares_and_then_finds_it_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files_config(tmp_path, PAIRS)
    command = [
        "prepare", "data=files", "data.src=en", "data.tgt=de", f"data.train.tsv={tmp_path / 'pairs.tsv'}",
        "data.valid_pairs=3", "data.test_pairs=4", "data.tokenizer.vocab_size=290", "data.max_length=20",
        f"data.cache_dir={tmp_path / 'cache'}",
    ]  # fmt: skip
    assert app.main([*command, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["pairs"] + result["too_long"] == len(load_corpus(files_config(tmp_path, PAIRS)).train)
    assert (result["valid"], result["tests"], result["vocabulary"]) == (3, {"test": 4}, [290, 290])
    pairs = PairedIds(sorted(Path(result["folder"]).iterdir()))
    assert result["tokens"] == [pairs.src_lengths.sum(), pairs.tgt_lengths.sum()]
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")}
    assert app.main(command) == 0
    assert f"pairs: {result['pairs']}" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")} == written
