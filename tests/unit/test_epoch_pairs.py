"""With subword sampling every epoch segments the text differently, and a resumed run segments it identically."""

import logging
import os
import pickle
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from seq2seq.config.data import DataConfig
from seq2seq.config.loading import to_dict
from seq2seq.config.schema import Config
from seq2seq.config.tokenizer import PieceType, SamplingConfig, TokenizerConfig
from seq2seq.config.training import TrainingConfig
from seq2seq.data.batches.batch import Batch
from seq2seq.data.batches.epoch_batches import EpochBatches
from seq2seq.data.batches.epoch_pairs import STALE_SEC, epoch_pairs
from seq2seq.data.corpus import ParallelText
from seq2seq.data.encoding import shards
from seq2seq.data.encoding.binarised import PairedIds, prepare
from seq2seq.data.special_ids import EOS_ID
from seq2seq.data.subwords.subword_sampling import Sampler
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.errors import DataError

BOTH = SamplingConfig(src=0.2, tgt=0.2)
KINDS = [PieceType.unigram, PieceType.bpe]
WORDS = [s + e for s in ["black", "white", "quick", "light", "dark"] for e in ["", "er", "est", "ness", "ly"]]


def text_of(pairs: int) -> ParallelText:
    rng = random.Random(1)
    lines = [" ".join(rng.choices(WORDS, k=rng.randint(1, 9))) for _ in range(2 * pairs)]
    return ParallelText(lines[:pairs], lines[pairs:])


TEXT = text_of(150)


def tokenizer_config(kind: PieceType) -> TokenizerConfig:
    return TokenizerConfig(type=kind, vocab_size=300)


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer.train(TEXT, tokenizer_config(request.param), tmp_path_factory.mktemp("cache"))


def rows(pairs: PairedIds) -> tuple[list[list[int]], list[list[int]]]:
    every = range(len(pairs))
    return [pairs.src(i).tolist() for i in every], [pairs.tgt(i).tolist() for i in every]


def data_of(sampling: SamplingConfig) -> DataConfig:
    return DataConfig(src="en", tgt="xx", sampling=sampling)


def epoch(tokenizer: Tokenizer, cache: Path, number: int = 0, seed: int = 1, **settings: float) -> PairedIds:
    sampling = SamplingConfig(**settings) if settings else BOTH
    return epoch_pairs(TEXT, tokenizer, data_of(sampling), 100, seed, cache)(number)


def test_an_epoch_is_a_function_of_seed_and_number(tmp_path: Path, tokenizer: Tokenizer) -> None:
    pairs_of = epoch_pairs(TEXT, tokenizer, data_of(BOTH), 100, 1, tmp_path)
    first, second, again = (rows(pairs_of(number)) for number in (0, 1, 0))
    assert first == again == rows(epoch(tokenizer, tmp_path / "other"))
    for other in (second, rows(epoch(tokenizer, tmp_path, seed=2))):
        changed = [np.mean([a != b for a, b in zip(*side, strict=True)]) for side in zip(first, other, strict=True)]
        assert min(changed) > 0.3
    assert tokenizer.decode(first[0]) == TEXT.src
    assert tokenizer.decode(first[1]) == tokenizer.decode(second[1]) == TEXT.tgt


def test_the_same_text_on_both_sides_is_segmented_differently(tmp_path: Path, tokenizer: Tokenizer) -> None:
    same = ParallelText(TEXT.src, TEXT.src)
    src, tgt = rows(epoch_pairs(same, tokenizer, data_of(BOTH), 100, 1, tmp_path)(0))
    assert src != tgt


def test_a_text_that_occurs_twice_is_segmented_differently(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "CHUNK_PAIRS", len(TEXT))
    twice = ParallelText(TEXT.src * 2, TEXT.tgt * 2)
    for side in rows(epoch_pairs(twice, tokenizer, data_of(BOTH), 100, 1, tmp_path)(0)):
        assert side[: len(TEXT)] != side[len(TEXT) :]


@pytest.mark.parametrize("side", ["src", "tgt"])
def test_the_other_side_keeps_its_best_segmentation(tmp_path: Path, tokenizer: Tokenizer, side: str) -> None:
    src, tgt = rows(epoch(tokenizer, tmp_path, **{side: 0.2}))
    assert (src == tokenizer.encode_src(TEXT.src)) == (side == "tgt")
    assert (tgt == tokenizer.encode_tgt(TEXT.tgt)) == (side == "src")


def test_without_sampling_all_epochs_are_the_prepared_pairs(tmp_path: Path, tokenizer: Tokenizer) -> None:
    prepared = rows(prepare(TEXT, tokenizer, 100, tmp_path))
    files = sorted(tmp_path.rglob("*"))
    pairs_of = epoch_pairs(TEXT, tokenizer, data_of(SamplingConfig()), 100, 1, tmp_path)
    assert rows(pairs_of(0)) == rows(pairs_of(7)) == prepared
    assert sorted(tmp_path.rglob("*")) == files


def test_pairs_too_long_in_every_segmentation_are_dropped_before_sampling(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled: list[str] = []
    encode = Sampler.encode

    def recording(self: Sampler, lines: Sequence[str], seed: Sequence[int]) -> list[list[int]]:
        sampled.extend(lines)
        return encode(self, lines, seed)

    monkeypatch.setattr(Sampler, "encode", recording)
    long = "black" * 400_000
    text = ParallelText([*TEXT.src, long, "x"], [*TEXT.tgt, "x", long])
    pairs = epoch_pairs(text, tokenizer, data_of(BOTH), 100, 1, tmp_path)(0)
    assert rows(pairs) == rows(epoch(tokenizer, tmp_path))
    assert pairs.dropped == 2
    assert max(map(len, sampled)) < 100
    with pytest.raises(DataError, match="all 1 pairs are longer than 100 tokens"):
        epoch_pairs(ParallelText([long], ["x"]), tokenizer, data_of(BOTH), 100, 1, tmp_path)(0)


def test_pairs_too_long_in_their_segmentation_are_dropped_and_logged_once(
    tmp_path: Path, tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    limit = 20
    pairs_of = epoch_pairs(TEXT, tokenizer, data_of(BOTH), limit, 1, tmp_path)
    unlimited = epoch_pairs(TEXT, tokenizer, data_of(BOTH), 10_000, 1, tmp_path)
    dropped = []
    for number in range(4):
        pairs = pairs_of(number)
        short = [(s, t) for s, t in zip(*rows(unlimited(number)), strict=True) if max(len(s), len(t)) + 1 <= limit]
        assert list(zip(*rows(pairs), strict=True)) == short
        assert len(pairs) + pairs.dropped == len(TEXT)
        dropped.append(pairs.dropped)
    assert len(set(dropped)) > 1
    assert [r.getMessage() for r in caplog.records if "longer than" in r.getMessage()] == [
        f"dropped {dropped[0]} of 150 pairs longer than 20 tokens (data.max_length, training.batch_tokens)"
    ]


def test_no_pair_left_is_an_error_that_names_the_limit(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match=r"all 150 pairs .* 1 tokens.* data\.max_length"):
        epoch_pairs(TEXT, tokenizer, data_of(BOTH), 1, 1, tmp_path)(0)
    assert not list(tmp_path.rglob("*.npy"))


def test_nothing_accumulates_on_the_disk(tmp_path: Path, tokenizer: Tokenizer) -> None:
    pairs_of = epoch_pairs(TEXT, tokenizer, data_of(BOTH), 100, 1, tmp_path)
    first = pairs_of(0)
    before = rows(first)
    assert isinstance(first.src(0), np.memmap)
    pairs_of(1)
    assert not list((tmp_path / "sampled").iterdir())
    assert rows(first) == before  # the file is deleted, but still mapped


def test_leftovers_of_a_killed_process_are_removed_after_an_hour(tmp_path: Path, tokenizer: Tokenizer) -> None:
    def leave(name: str, age_sec: float, file: str = "src_ids.npy") -> Path:
        folder = tmp_path / "sampled" / name
        folder.mkdir(parents=True)
        (folder / file).write_bytes(b"x")
        for path in (folder / file, folder):
            os.utime(path, (time.time() - age_sec,) * 2)
        return folder

    old = leave("old", STALE_SEC + 60)
    being_written = leave("new", 60)
    open_elsewhere = leave("nfs", STALE_SEC + 60, ".nfs0001")
    epoch(tokenizer, tmp_path)
    assert sorted(path for path in (old, being_written, open_elsewhere) if path.exists()) == [
        being_written,
        open_elsewhere,
    ]


def config_of(cache: Path, kind: PieceType, seed: int = 1) -> Config:
    data = DataConfig(
        src="en", tgt="xx", cache_dir=str(cache), tokenizer=tokenizer_config(kind), sampling=BOTH, max_length=30
    )
    return Config(data=data, training=TrainingConfig(max_steps=1, batch_tokens=60, seed=seed))


def batches_of(config: Config, number: int, start: int = 0) -> list[Batch]:
    cache = Path(str(config.data.cache_dir))
    tokenizer = Tokenizer.train(TEXT, config.data.tokenizer, cache)
    count, batches = EpochBatches(config.data, config.training, TEXT, tokenizer)(number, start)
    epoch_batches = list(batches)
    assert len(epoch_batches) == count - start
    return epoch_batches


def as_lists(batches: list[Batch]) -> list[tuple[list[list[int]], list[list[int]]]]:
    return [(batch.src_ids.tolist(), batch.tgt_out.tolist()) for batch in batches]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_batches_of_a_resumed_run_are_those_of_the_run(tmp_path: Path, kind: PieceType) -> None:
    config = config_of(tmp_path / "cache", kind)
    whole = batches_of(config, 2)
    first = as_lists(whole)
    assert as_lists(batches_of(config, 2)) == first
    assert as_lists(batches_of(config, 2, start=3)) == first[3:]
    assert as_lists(batches_of(config, 3)) != first
    assert as_lists(batches_of(config_of(tmp_path / "cache", kind, seed=2), 2)) != first
    assert max(max(batch.src_ids.numel(), batch.tgt_out.numel()) for batch in whole) <= config.training.batch_tokens
    tokenizer = Tokenizer.train(TEXT, config.data.tokenizer, tmp_path / "cache")
    decoded = {
        tuple(tokenizer.decode([[i for i in row if i != EOS_ID] for row in pair]))
        for batch in first
        for pair in zip(*batch, strict=True)
    }
    assert decoded < set(TEXT)
    # Another process with its own cache.
    (tmp_path / "settings").write_bytes(pickle.dumps(to_dict(config_of(tmp_path / "cache 2", kind))))
    code = """
import pickle, sys
sys.path += sys.argv[2:]
from test_epoch_pairs import as_lists, batches_of
from seq2seq.config.loading import to_config
with open(sys.argv[1], "rb") as file:
    print(as_lists(batches_of(to_config(pickle.load(file)), 2, start=1)))
"""
    here = Path(__file__).parent
    command = [sys.executable, "-c", code, str(tmp_path / "settings"), str(here), str(here.parent)]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() == str(first[1:])
