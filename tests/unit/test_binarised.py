"""Encoded pairs on disk are the tokenizer's ids, and the cache never returns those of another text."""

import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import pytest

from seq2seq.config.tokenizer import TextNormalization, TokenizerConfig
from seq2seq.data.corpus import ParallelText
from seq2seq.data.encoding import shards
from seq2seq.data.encoding.binarised import prepare
from seq2seq.data.files.cached_folders import CHECKSUMS_NAME
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.errors import DataError
from seq2seq.filesystem.atomic_files import new_folder
from seq2seq.filesystem.file_locks import locked

ID_FILES = ("src_ids.npy", "src_offsets.npy", "tgt_ids.npy", "tgt_offsets.npy", "dropped.npy")
TEXT = ParallelText(
    [f"number {i} " + "and so on " * (i % 5) for i in range(60)] + ["\u2028"],
    [f"Zahl {i * i} " + "und so weiter " * (i % 3) for i in range(60)] + ["x"],
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer.train(TEXT, TokenizerConfig(vocab_size=300), tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize("max_length", [None, 15])
@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_pairs_are_the_tokenizers_ids(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, max_length: int | None, chunk: int
) -> None:
    monkeypatch.setattr(shards, "CHUNK_PAIRS", chunk)
    pairs = prepare(TEXT, tokenizer, max_length, tmp_path)
    encoded = zip(tokenizer.encode_src(TEXT.src), tokenizer.encode_tgt(TEXT.tgt), strict=True)
    expected = [(s, t) for s, t in encoded if max_length is None or max(len(s), len(t)) + 1 <= max_length]
    assert [(pairs.src(i).tolist(), pairs.tgt(i).tolist()) for i in range(len(pairs))] == expected
    assert pairs.src_lengths.tolist() == [len(s) + 1 for s, _ in expected]
    assert pairs.tgt_lengths.tolist() == [len(t) + 1 for _, t in expected]
    assert pairs.dropped == len(TEXT) - len(expected)
    assert (pairs.dropped > 0) == (max_length is not None)
    assert isinstance(pairs.src(0), np.memmap)


def test_a_second_call_opens_what_the_first_wrote(tmp_path: Path, tokenizer: Tokenizer) -> None:
    prepare(TEXT, tokenizer, None, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    assert len(prepare(TEXT, tokenizer, None, tmp_path)) == len(TEXT)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")} == before


@pytest.mark.parametrize("name", ["src_ids", "tgt_ids", "src_offsets", "tgt_offsets", "dropped"])
@pytest.mark.parametrize("kept", [None, 0, 0.5, 0.99])
def test_damaged_files_are_written_again(
    tmp_path: Path, tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture, name: str, kept: float | None
) -> None:
    expected = prepare(TEXT, tokenizer, None, tmp_path).tgt_rows(range(len(TEXT)))
    (file,) = tmp_path.rglob(f"{name}.npy")
    content = file.read_bytes()
    file.unlink()
    if kept is not None:
        file.write_bytes(content[: int(len(content) * kept)])
    found = prepare(TEXT, tokenizer, None, tmp_path).tgt_rows(range(len(TEXT)))
    assert (found.ids.tolist(), found.lengths.tolist()) == (expected.ids.tolist(), expected.lengths.tolist())
    assert [message for message in caplog.messages if "is damaged" in message and "encoded again" in message]


@pytest.mark.parametrize("side", ["src", "tgt"])
def test_ids_of_another_text_are_no_cache(
    tmp_path: Path, tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture, side: str
) -> None:
    """Whole files that do not belong together."""
    prepare(TEXT, tokenizer, None, tmp_path)
    (file,) = tmp_path.rglob(f"{side}_ids.npy")
    file.unlink()
    np.save(file, np.zeros(5, np.int32))
    prepare(TEXT, tokenizer, None, tmp_path)
    assert f"{side}_ids.npy is damaged" in caplog.text


def test_files_that_runs_have_mapped_are_read_only(tmp_path: Path, tokenizer: Tokenizer) -> None:
    prepare(TEXT, tokenizer, None, tmp_path)
    assert not any(file.stat().st_mode & 0o222 for file in tmp_path.rglob("*.npy"))


def test_each_text_limit_and_tokenizer_has_its_own_folder(tmp_path: Path, tokenizer: Tokenizer) -> None:
    moved = ParallelText([*TEXT.src[1:], TEXT.src[0]], TEXT.tgt)
    other = Tokenizer.train(TEXT, TokenizerConfig(vocab_size=290), tmp_path)
    normalising = Tokenizer.train(
        TEXT, TokenizerConfig(vocab_size=300, normalization=TextNormalization.nmt_nfkc), tmp_path
    )
    for text, chosen, limit in [
        (TEXT, tokenizer, None), (TEXT, tokenizer, 15), (moved, tokenizer, None), (TEXT, other, None),
        (TEXT, normalising, None),
    ]:  # fmt: skip
        prepare(text, chosen, limit, tmp_path)
    assert len(list((tmp_path / "prepared").iterdir())) == 5


def test_no_pair_left_is_an_error_that_names_the_limit(tmp_path: Path, tokenizer: Tokenizer) -> None:
    for _ in range(2):  # also when read from the cache
        with pytest.raises(DataError, match=r"all 60 pairs .* 2 tokens.* data\.max_length"):
            prepare(ParallelText(TEXT.src[:-1], TEXT.tgt[:-1]), tokenizer, 2, tmp_path)


def test_memory_grows_with_the_offsets_only(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "CHUNK_PAIRS", 100)

    def peak(pairs: int) -> int:
        text = ParallelText([f"number {i} " + "and so on " * 9 for i in range(pairs)], ["Zahl und so weiter"] * pairs)
        tracemalloc.start()
        prepare(text, tokenizer, None, tmp_path)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    few, many = peak(1000), peak(5000)
    assert many - few < 4000 * 40  # the ids of a pair as lists take some 4,000 bytes


def test_a_failed_write_leaves_nothing(tmp_path: Path, tokenizer: Tokenizer) -> None:
    broken = ParallelText(TEXT.src, TEXT.tgt[:-1])
    with pytest.raises(ValueError, match="shorter"):
        prepare(broken, tokenizer, None, tmp_path)
    assert not list(tmp_path.rglob("*.npy"))
    assert prepare(TEXT, tokenizer, None, tmp_path).dropped == 0


def test_the_first_of_two_writers_wins(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with new_folder(target) as late:
        (late / "who").write_text("late")
        with new_folder(target) as early:
            (early / "who").write_text("early")
    assert (target / "who").read_text() == "early"
    assert list(tmp_path.iterdir()) == [target]


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def changed(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("name", [*ID_FILES, CHECKSUMS_NAME])
@pytest.mark.parametrize("damage", [cut, changed, lambda content: b"", None])
def test_a_damaged_file_is_written_again(
    tmp_path: Path,
    tokenizer: Tokenizer,
    caplog: pytest.LogCaptureFixture,
    name: str,
    damage: Callable[[bytes], bytes] | None,
) -> None:
    prepare(TEXT, tokenizer, None, tmp_path)
    (file,) = tmp_path.rglob(name)
    before = {path.name: path.read_bytes() for path in file.parent.iterdir()}
    if damage is None:
        file.unlink()
    else:
        file.write_bytes(damage(before[name]))
    assert len(prepare(TEXT, tokenizer, None, tmp_path)) == len(TEXT)
    assert caplog.messages == [f"{file} is damaged or missing: the text is encoded again"]
    assert {path.name: path.read_bytes() for path in file.parent.iterdir()} == before
    assert list((tmp_path / "prepared").glob("*/*")) == [file.parent]


def test_a_process_waits_for_the_one_that_encodes(tmp_path: Path, tokenizer: Tokenizer) -> None:
    prepare(TEXT, tokenizer, None, tmp_path)
    (folder,) = (tmp_path / "prepared").iterdir()
    aside = folder.rename(tmp_path / "aside")
    with ThreadPoolExecutor() as threads:
        with locked(folder.with_suffix(".lock"), wait=True):
            waiting = threads.submit(prepare, TEXT, tokenizer, None, tmp_path)
            assert not wait([waiting], timeout=0.2).done
            aside.rename(folder)
            written = (folder / "00000" / "dropped.npy").stat().st_mtime_ns
        assert len(waiting.result()) == len(TEXT)
    assert (folder / "00000" / "dropped.npy").stat().st_mtime_ns == written
