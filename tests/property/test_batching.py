"""The order of an epoch has each pair once, stays within the budget and is a function of (seed, epoch)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.config.data import DataConfig, DataName
from seq2seq.config.tokenizer import TokenizerConfig
from seq2seq.data.batches.batch import Batch, make_batch, pad
from seq2seq.data.batches.batching import batch_order, batches, costliest, fixed_batches
from seq2seq.data.corpora.load import load_corpus
from seq2seq.data.corpus import ParallelText
from seq2seq.data.encoding.binarised import PairedIds, prepare
from seq2seq.data.special_ids import BOS_ID, EOS_ID, PAD_ID
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.errors import ConfigError

LENGTHS = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=300)
SEED = st.integers(0, 2**31 - 1)
IDS = st.lists(st.integers(0, 2**31 - 1), max_size=12)


def sides(lengths: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    array = np.array(lengths, np.int64)
    return array[:, 0], array[:, 1]


@given(LENGTHS, st.integers(40, 400), SEED, st.integers(0, 100))
def test_each_pair_occurs_once_and_the_budget_is_a_ceiling(
    lengths: list[tuple[int, int]], batch_tokens: int, seed: int, epoch: int
) -> None:
    order = batch_order(*sides(lengths), batch_tokens, seed, epoch)
    assert sorted(i for batch in order for i in batch) == list(range(len(lengths)))
    assert all(order)
    for batch in order:
        assert len(batch) * max(max(lengths[i]) for i in batch) <= batch_tokens
    assert list(order) == list(batch_order(*sides(lengths), batch_tokens, seed, epoch))


def test_epochs_and_seeds_differ() -> None:
    lengths = sides([(3 + i % 20, 3 + i % 23) for i in range(2000)])
    orders = [batch_order(*lengths, 200, seed, epoch) for seed, epoch in [(1, 0), (1, 1), (2, 0), (0, 1)]]
    assert len({str(list(order)) for order in orders}) == 4
    as_sets = [{frozenset(batch) for batch in order} for order in orders]
    assert len(as_sets[0] & as_sets[1]) < 0.2 * len(as_sets[0])  # different batches, not only a different order


def test_short_and_long_batches_are_mixed() -> None:
    lengths = sides([(1 + i % 40, 1 + i % 40) for i in range(4000)])
    longest = [max(lengths[0][batch]) for batch in batch_order(*lengths, 400, 1, 0)]
    assert abs(np.mean(longest[: len(longest) // 2]) - np.mean(longest[len(longest) // 2 :])) < 5
    assert np.corrcoef(longest[:-1], longest[1:])[0, 1] < 0.5


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_pairs(count: int) -> None:
    lengths = np.full(count, 5)
    assert sorted(i for batch in batch_order(lengths, lengths, 8, 1, 0) for i in batch) == list(range(count))


def test_a_pair_that_exceeds_the_budget_names_the_key() -> None:
    with pytest.raises(ConfigError, match=r"training\.batch_tokens=40 .* 41 tokens"):
        batch_order(*sides([(3, 3), (2, 41)]), 40, 1, 0)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> PairedIds:
    cache = tmp_path_factory.mktemp("cache")
    text = ParallelText([f"go {i} " * (i % 9) for i in range(200)], [f"geh {i} " * (i % 7) for i in range(200)])
    return prepare(text, Tokenizer.train(text, TokenizerConfig(vocab_size=290), cache), None, cache)


def stacked(lists: list[list[int]]) -> torch.Tensor:
    """Pad the lists cell by cell."""
    longest = max(len(ids) for ids in lists)
    cells = [ids[k] if k < len(ids) else PAD_ID for ids in lists for k in range(longest)]
    return torch.tensor(cells, dtype=torch.int64).reshape(len(lists), longest)


def assert_batch_is(batch: Batch, src: list[list[int]], tgt: list[list[int]]) -> None:
    expected = {
        "src_ids": stacked([[*ids, EOS_ID] for ids in src]),
        "src_lengths": torch.tensor([len(ids) + 1 for ids in src]),
        "tgt_in": stacked([[BOS_ID, *ids] for ids in tgt]),
        "tgt_out": stacked([[*ids, EOS_ID] for ids in tgt]),
    }
    for name, tensor in expected.items():
        actual = getattr(batch, name)
        assert (actual.dtype, actual.is_contiguous()) == (torch.int64, True)
        assert torch.equal(actual, tensor), name


@given(st.lists(st.tuples(IDS, IDS), min_size=1, max_size=12))
def test_a_batch_is_the_lists_stacked(sides: list[tuple[list[int], list[int]]]) -> None:
    src, tgt = [src for src, _ in sides], [tgt for _, tgt in sides]
    assert_batch_is(make_batch(src, tgt), src, tgt)
    ids, lengths = pad(src)
    assert torch.equal(ids, stacked(src))
    assert lengths.tolist() == [len(ids) for ids in src]


@given(indices=st.lists(st.integers(0, 199), min_size=1, max_size=40))
def test_a_batch_of_a_corpus_is_its_lists_stacked(pairs: PairedIds, indices: list[int]) -> None:
    (batch,) = batches(pairs, [indices])
    assert_batch_is(batch, [pairs.src(i).tolist() for i in indices], [pairs.tgt(i).tolist() for i in indices])


def rows(batch: Batch) -> list[tuple[list[int], list[int]]]:
    """Return the pairs of a batch, after checking the positions of its special ids."""
    unpadded = []
    for src, length, tgt_in, tgt_out in zip(
        batch.src_ids.tolist(), batch.src_lengths.tolist(), batch.tgt_in.tolist(), batch.tgt_out.tolist(), strict=True
    ):
        end = tgt_out.index(EOS_ID)
        assert src[length - 1] == EOS_ID
        assert tgt_in[0] == BOS_ID
        assert tgt_in[1 : end + 1] == tgt_out[:end]
        assert {*src[length:], *tgt_in[end + 1 :], *tgt_out[end + 1 :]} <= {PAD_ID}
        unpadded.append((src[: length - 1], tgt_out[:end]))
    return unpadded


def test_batches_hold_the_pairs_of_their_indices_from_any_position(pairs: PairedIds) -> None:
    order = batch_order(pairs.src_lengths, pairs.tgt_lengths, 300, 1, 0)
    expected = [[(pairs.src(i).tolist(), pairs.tgt(i).tolist()) for i in batch] for batch in order]
    for start in (0, 3, len(order)):
        assert [rows(batch) for batch in batches(pairs, order, start)] == expected[start:]


@pytest.mark.parametrize("batch_tokens", [1, 300, 10**9])
def test_fixed_batches_hold_every_pair(pairs: PairedIds, batch_tokens: int) -> None:
    fixed = list(fixed_batches(pairs, batch_tokens))
    actual = [row for batch in fixed for row in rows(batch)]
    assert sorted(actual) == sorted((pairs.src(i).tolist(), pairs.tgt(i).tolist()) for i in range(len(pairs)))
    for batch in fixed:
        size = max(batch.src_ids.numel(), batch.tgt_in.numel())
        assert size <= batch_tokens or len(batch.src_lengths) == 1


def test_little_padding_on_a_real_corpus(corpora: Path, tmp_path: Path) -> None:
    config = DataConfig(name=DataName.multi30k, src="en", tgt="de", root=str(corpora / "multi30k"))
    train = load_corpus(config).train.first(10_000)
    pairs = prepare(train, Tokenizer.train(train, config.tokenizer, tmp_path), 100, tmp_path)
    real = slots = 0
    for batch in batches(pairs, batch_order(pairs.src_lengths, pairs.tgt_lengths, 1536, 1, 0)):
        real += int(batch.src_lengths.sum()) + batch.tgt_tokens
        slots += batch.src_ids.numel() + batch.padded_tokens
    assert 1 - real / slots < 0.10  # unsorted batches have about 0.45


@given(LENGTHS, st.integers(40, 400), SEED)
def test_the_costliest_batch_has_the_highest_cost(lengths: list[tuple[int, int]], batch_tokens: int, seed: int) -> None:
    src, tgt = sides(lengths)
    order = batch_order(src, tgt, batch_tokens, seed, 0)

    def cost(rows: np.ndarray, src_len: np.ndarray, tgt_len: np.ndarray) -> np.ndarray:
        return rows * (2 * src_len + tgt_len + src_len * tgt_len)

    costs = [cost(np.array(len(batch)), max(src[batch]), max(tgt[batch])) for batch in order]
    assert costliest(order, src, tgt, cost) == costs.index(max(costs))
