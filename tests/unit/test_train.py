"""How `train` connects its parts: the data of an epoch, and signals."""

from __future__ import annotations

import dataclasses
import itertools
import signal
import types
from pathlib import Path

import pytest

from seq2seq.cli.signals import stop_on_signal
from seq2seq.config.data import DataConfig
from seq2seq.config.schema import Config
from seq2seq.config.tokenizer import PieceType
from seq2seq.config.training import TrainingConfig
from seq2seq.data.batches.epoch_batches import EpochBatches
from seq2seq.data.corpus import ParallelText
from seq2seq.data.subwords.tokenizer import Tokenizer
from tiny_model import make_model
from tiny_trainer import random_data, tiny_trainer

WORDS = ["pack", "my", "box", "with", "five", "dozen", "jugs"]
TEXT = ParallelText.from_pairs([(one, f"{other} {one}") for one, other in itertools.permutations(WORDS, 2)])


def epoch_of(cache: Path, epoch: int, start: int = 0, seed: int = 1, max_length: int = 100) -> list[list[list[int]]]:
    """The source ids of every batch of an epoch."""
    data = DataConfig(src="en", tgt="fr", cache_dir=str(cache), max_length=max_length)
    config = Config(data=data, training=TrainingConfig(max_steps=1, batch_tokens=64, seed=seed))
    count, batches = EpochBatches(config.data, config.training, TEXT, make_model(cache).tokenizer)(epoch, start)
    made = [batch.src_ids.tolist() for batch in batches]
    assert len(made) == count - start
    return made


def test_the_order_of_the_data_is_a_function_of_seed_and_epoch(tmp_path: Path) -> None:
    first = epoch_of(tmp_path, 0)
    assert epoch_of(tmp_path, 0) == first
    assert epoch_of(tmp_path, 0, start=3) == first[3:]
    for other in (epoch_of(tmp_path, 1), epoch_of(tmp_path, 0, seed=2)):
        assert other != first
        trimmed = [sorted([i for i in row if i] for batch in epoch for row in batch) for epoch in (first, other)]
        assert trimmed[0] == trimmed[1]  # the same sentences


def test_pairs_longer_than_the_limit_are_left_out(tmp_path: Path) -> None:
    sources = [row for batch in epoch_of(tmp_path, 0, max_length=9) for row in batch]
    # Every letter is a piece, as are the space and the mark before each word; EOS counts too.
    short = [src for src, tgt in TEXT if len(tgt) + 2 <= 9]
    assert 0 < len(sources) == len(short) < len(TEXT)


def test_the_first_ctrl_c_is_a_request_and_the_second_acts_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([10.0, 10.5, 13.0, 20.0])
    monkeypatch.setattr("seq2seq.cli.signals.time", types.SimpleNamespace(monotonic=lambda: next(now)))
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with tiny_trainer(tmp_path, random_data(2), max_steps=1) as trainer:
        with stop_on_signal(trainer):
            signal.raise_signal(signal.SIGINT)
            assert trainer.stop_signal == signal.SIGINT
            signal.raise_signal(signal.SIGINT)  # within moments: the same one, sent on by torchrun
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
        with stop_on_signal(trainer):
            signal.raise_signal(signal.SIGTERM)
            assert trainer.stop_signal == signal.SIGTERM
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize("alpha", [None, 0.2])
def test_the_longest_training_sentence_is_measured_without_the_pairs_left_out(
    tmp_path: Path, alpha: float | None
) -> None:
    data = DataConfig(src="en", tgt="fr", cache_dir=str(tmp_path), max_length=12)
    data.sampling.src = alpha
    tokenizer = make_model(tmp_path).tokenizer
    if alpha is not None:
        pieces = dataclasses.replace(data.tokenizer, type=PieceType.unigram, vocab_size=34, byte_fallback=False)
        tokenizer = Tokenizer.train(TEXT, pieces, tmp_path)
    batches = EpochBatches(data, TrainingConfig(max_steps=1), TEXT, tokenizer)
    sides = zip(tokenizer.encode_src(TEXT.src), tokenizer.encode_tgt(TEXT.tgt), strict=True)
    assert batches.longest_src() == max(len(src) for src, tgt in sides if max(len(src), len(tgt)) < 12)


@pytest.mark.parametrize("ignored", [False, True])
def test_a_closed_terminal_is_a_request_unless_nohup_ignores_it(tmp_path: Path, ignored: bool) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        with tiny_trainer(tmp_path, random_data(2), max_steps=1) as trainer, stop_on_signal(trainer):
            if not ignored:
                assert signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL  # which would end the tests
            signal.raise_signal(signal.SIGHUP)
            assert trainer.stop_signal == (None if ignored else signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
