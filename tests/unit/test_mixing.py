"""Epochs of several corpora: shares, repeats, tags, and a single corpus that stays as it is."""

import itertools
import logging
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seq2seq.config.data import DataConfig, DataName, MixConfig
from seq2seq.config.text_files import FilesConfig
from seq2seq.config.tokenizer import PieceType, SamplingConfig, TokenizerConfig
from seq2seq.config.training import TrainingConfig
from seq2seq.data.batches.batch import Batch
from seq2seq.data.batches.epoch_batches import EpochBatches
from seq2seq.data.batches.mixing import counts, draw
from seq2seq.data.corpora.load import load_corpus, load_tests
from seq2seq.data.corpus import ParallelText
from seq2seq.data.special_ids import EOS_ID, PAD_ID
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.errors import ConfigError, DataError
from seq2seq.storage.provenance import fingerprint

WORDS = ["pack", "my", "box", "with", "five", "dozen", "jugs"]
MAIN_TEXT = ParallelText.from_pairs([(a, f"{b} {a}") for a, b in itertools.permutations(WORDS, 2)])
WEB_TEXT = ParallelText.from_pairs([(f"{a} {a}", b) for a, b in itertools.combinations(WORDS, 2)])


@pytest.mark.parametrize("sizes", [[7], [5, 3], [1, 1000, 10**7], [123_457, 999_983, 31]])
def test_without_weights_an_epoch_has_every_pair_once(sizes: list[int]) -> None:
    assert counts(sizes, [None] * len(sizes), 1.0) == sizes


def test_shares_follow_weights_and_temperature() -> None:
    assert counts([300, 100], [1.0, 3.0], 1.0) == [100, 300]
    assert counts([300, 100], [None, 3.0], 1.0) == [100, 300]  # no weight is 1
    assert counts([300, 100], [1.0, 9.0], 2.0) == [100, 300]  # 1 : 9^(1/2)
    assert counts([900, 100], [None, None], 2.0) == [750, 250]  # 900^(1/2) : 100^(1/2)
    assert counts([10**6, 10], [None, None], 1000.0)[1] == pytest.approx(500_005, rel=0.01)
    for sizes in ([17, 29, 3], [1, 2, 3]):
        assert sum(counts(sizes, [0.7, 11.0, 1e-6], 1.3)) == sum(sizes)


@pytest.mark.parametrize("count", [0, 3, 10, 25, 40])
def test_a_draw_repeats_whole_passes_and_adds_a_random_part(count: int) -> None:
    times = Counter(draw(count, 10, [1, 4, 0]).tolist())
    assert sum(times.values()) == count
    assert {times[i] for i in range(10)} <= {count // 10, -(-count // 10)}


def test_a_draw_is_a_function_of_seed_epoch_and_corpus() -> None:
    drawn = draw(13, 40, [1, 2, 0])
    assert drawn.tolist() == draw(13, 40, [1, 2, 0]).tolist()
    for other in ([2, 2, 0], [1, 3, 0], [1, 2, 1]):
        assert drawn.tolist() != draw(13, 40, other).tolist()


def test_epochs_use_up_a_corpus_before_they_repeat_it() -> None:
    three = np.concatenate([draw(13, 40, [1, epoch, 0]) for epoch in range(3)])
    assert len(set(three.tolist())) == 39


def test_target_tokens_are_counted_by_corpus(tmp_path: Path) -> None:
    data = epoch_data(config(tmp_path, {"web": MixConfig(weight=2.0)}))
    _, batches = data(0, 0)
    for batch in batches:
        assert sum(batch.corpus_tokens.values()) == int((batch.tgt_out != PAD_ID).sum())


def config(cache: Path, mix: dict[str, MixConfig] | None = None, **settings: Any) -> DataConfig:
    tokenizer = TokenizerConfig(vocab_size=34, byte_fallback=False)
    return DataConfig(src="en", tgt="xx", cache_dir=str(cache), tokenizer=tokenizer, mix=mix or {}, **settings)


def epoch_data(data: DataConfig, batch_tokens: int = 64) -> EpochBatches:
    text = ParallelText(MAIN_TEXT.src + WEB_TEXT.src, MAIN_TEXT.tgt + WEB_TEXT.tgt)
    tokenizer = Tokenizer.train(text, data.vocabulary, Path(str(data.cache_dir)))
    training = TrainingConfig(max_steps=1, batch_tokens=batch_tokens, seed=1)
    return EpochBatches(data, training, MAIN_TEXT, tokenizer, dict.fromkeys(data.mix, WEB_TEXT))


def decoded(data: DataConfig, batches: Sequence[Batch]) -> Counter[tuple[str, str]]:
    """How often each pair occurs, with its tag as text."""
    text = ParallelText(MAIN_TEXT.src + WEB_TEXT.src, MAIN_TEXT.tgt + WEB_TEXT.tgt)
    tokenizer = Tokenizer.train(text, data.vocabulary, Path(str(data.cache_dir)))
    rows = ((s.tolist(), t.tolist()) for batch in batches for s, t in zip(batch.src_ids, batch.tgt_out, strict=True))
    ids = [[[i for i in side if i not in (PAD_ID, EOS_ID)] for side in row] for row in rows]
    return Counter((tokenizer.decode([src])[0], tokenizer.decode([tgt])[0]) for src, tgt in ids)


def as_lists(batches: Sequence[Batch]) -> list[tuple[list[list[int]], list[list[int]]]]:
    return [(batch.src_ids.tolist(), batch.tgt_out.tolist()) for batch in batches]


def rows_of(batches: Sequence[Batch]) -> list[tuple[list[int], list[int]]]:
    """Source and target ids of every pair, without padding, sorted."""
    pairs = ((s.tolist(), t.tolist()) for batch in batches for s, t in zip(batch.src_ids, batch.tgt_out, strict=True))
    return sorted(([i for i in src if i != PAD_ID], [i for i in tgt if i != PAD_ID]) for src, tgt in pairs)


def test_an_epoch_has_each_corpus_as_often_as_its_weight_says(tmp_path: Path) -> None:
    data = config(tmp_path, {"web": MixConfig(weight=2.0, tag="<web>")}, weight=1.0)
    epochs = epoch_data(data)
    batches = list(epochs(3, 0)[1])
    times = decoded(data, batches)
    web = {pair: n for pair, n in times.items() if pair[0].startswith("<web>")}
    assert sum(times.values()) == len(MAIN_TEXT) + len(WEB_TEXT) == 63
    assert (sum(web.values()), len(web)) == (42, len(WEB_TEXT))
    assert set(web.values()) == {2}  # two whole passes
    assert {(src.removeprefix("<web>").strip(), tgt) for src, tgt in web} == set(WEB_TEXT)
    main = {pair: n for pair, n in times.items() if pair not in web}
    assert set(main.values()) == {1}
    assert main.keys() < set(MAIN_TEXT)
    tokens = Counter[str]()
    for batch in batches:
        tokens.update(batch.corpus_tokens)
        assert sum(batch.corpus_tokens.values()) == batch.tgt_tokens
        assert max(batch.src_ids.numel(), batch.tgt_out.numel()) <= 64
    assert tokens.keys() == {"main", "web"}


def test_the_batches_of_a_mix_are_a_function_of_seed_and_epoch(tmp_path: Path) -> None:
    mix = {"web": MixConfig(weight=2.5), "more": MixConfig(weight=0.3, tag="<x> <y>")}
    first, again = (epoch_data(config(tmp_path, mix)) for _ in range(2))
    whole = as_lists(list(first(2, 0)[1]))
    again(5, 0)
    assert as_lists(list(again(2, 4)[1])) == whole[4:]  # a resume in another process
    assert as_lists(list(first(3, 0)[1])) != whole


def test_a_single_corpus_is_unchanged_by_weight_and_temperature(tmp_path: Path) -> None:
    plain = as_lists(list(epoch_data(config(tmp_path))(1, 0)[1]))
    weighted = epoch_data(config(tmp_path, weight=5.0, mix_temperature=7.0))
    assert as_lists(list(weighted(1, 0)[1])) == plain
    assert not next(weighted(1, 0)[1]).corpus_tokens


def test_a_tag_is_a_token_before_the_source_and_changes_nothing_else(tmp_path: Path) -> None:
    symbols = config(tmp_path)
    symbols.tokenizer.user_symbols = ["<xx>"]
    plain, tagged = (list(epoch_data(data)(0, 0)[1]) for data in (symbols, config(tmp_path, tag="<xx>")))
    (tag,) = {int(row[0]) for batch in tagged for row in batch.src_ids}
    assert rows_of(tagged) == sorted(([tag, *src], tgt) for src, tgt in rows_of(plain))


def test_pairs_too_long_with_their_tag_are_dropped_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    free = epoch_data(config(tmp_path, {"web": MixConfig(tag="<web>")}))
    longest = free.longest_src() + 1
    limited = epoch_data(config(tmp_path, {"web": MixConfig(tag="<web>")}, max_length=longest))
    caplog.clear()
    batches = list(limited(0, 0)[1])
    assert max(int(batch.src_lengths.max()) for batch in batches) <= longest
    (row,) = [message.split() for message in caplog.messages if message.startswith("web")]
    pairs, dropped = int(row[1]), int(row[2])
    assert dropped > 0
    assert pairs + dropped == len(WEB_TEXT)
    with pytest.raises(DataError, match=r"^main: every source is longer than 3 tokens with its tag "):
        epoch_data(config(tmp_path, max_length=3, tag="<a> <b> <c>"))(0, 0)


def test_subword_sampling_works_with_a_mix(tmp_path: Path) -> None:
    data = config(tmp_path, {"web": MixConfig(weight=2.0, tag="<web>")}, sampling=SamplingConfig(src=0.2))
    first, again = as_lists(list(epoch_data(data)(1, 0)[1])), as_lists(list(epoch_data(data)(1, 0)[1]))
    assert first == again


# --- symbols ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [PieceType.unigram, PieceType.bpe, PieceType.char])
def test_a_user_symbol_is_one_token_wherever_it_occurs(tmp_path: Path, kind: PieceType) -> None:
    symbols = ["<url>", 'a"b,c', "box"]
    settings = TokenizerConfig(type=kind, vocab_size=285, user_symbols=symbols)
    tokenizer = Tokenizer.train(MAIN_TEXT, settings, tmp_path)
    lines = [f"my {symbols[0]} with{symbols[1]}five", "boxbox x<url>"]
    expected = [["<url>", 'a"b,c'], ["box", "box", "<url>"]]

    def symbols_of(rows: list[list[int]]) -> list[list[str]]:
        return [[piece for piece in tokenizer.src_pieces(row) if piece in symbols] for row in rows]

    assert symbols_of(tokenizer.encode_src(lines)) == expected
    assert tokenizer.decode(tokenizer.encode_tgt(lines)) == lines
    if kind is not PieceType.char:
        sampler = tokenizer.src_sampler(0.3)
        for seed in range(20):
            assert symbols_of(sampler.encode(lines, [seed])) == expected
    plain = Tokenizer.train(MAIN_TEXT, TokenizerConfig(type=kind, vocab_size=285), tmp_path)
    assert plain.fingerprint != tokenizer.fingerprint


def test_a_given_vocabulary_without_the_symbol_is_an_error(tmp_path: Path) -> None:
    model = Tokenizer.train(MAIN_TEXT, TokenizerConfig(vocab_size=285), tmp_path).to_bytes()["src"]
    (tmp_path / "given.model").write_bytes(model)
    settings = TokenizerConfig(src_model=str(tmp_path / "given.model"), user_symbols=["<url>"])
    with pytest.raises(ConfigError, match=r"^the vocabulary has no token '<url>': "):
        Tokenizer.train(MAIN_TEXT, settings, tmp_path)


# --- loading ---------------------------------------------------------------------------------------------------------


def write(path: Path, rows: Sequence[tuple[str, str]]) -> FilesConfig:
    path.write_text("".join(f"{src}\t{tgt}\n" for src, tgt in rows))
    return FilesConfig(tsv=str(path))


def test_each_corpus_has_its_own_sets(tmp_path: Path) -> None:
    train = write(tmp_path / "train", [(f"a {i}", f"b {i}") for i in range(200)])
    own = write(tmp_path / "own", [("x 1", "y 1"), ("x 2", "y 2")])
    data = config(tmp_path, {"web": MixConfig(train=own, valid=own, test=own, train_pairs=1)}, train=train)
    data.name = DataName.files
    corpus = load_corpus(data)
    web = corpus.mix["web"]
    assert (len(web.train), len(web.valid), list(web.tests)) == (1, 2, ["test"])
    assert list(corpus.all_tests()) == list(load_tests(data)) == ["test", "web.test"]
    assert corpus.all_tests() == load_tests(data)
    assert corpus.held_out_texts().keys() == {"valid", "test"}
    before = fingerprint(corpus)
    web.train = ParallelText(web.train.src, [web.train.tgt[0] + "!", *web.train.tgt[1:]])
    assert fingerprint(corpus) != before
    assert data.of_test("web.test").train is own
    assert data.of_test("test").train is train


def test_a_corpus_that_is_named_as_a_test_set_of_the_main_one_has_its_own_sets_only() -> None:
    mix = {name: MixConfig(tgt=f"language of {name}") for name in ("test", "wmt14", "a")}
    data = DataConfig(src="xx", tgt="main", mix=mix, test_datasets=["wmt14", "wmt14/full", "a.b-c"])
    for name in ("test", "test.upper", "wmt14", "wmt14.typos", "wmt14/full", "a.b-c", "a.b-c.title"):
        assert data.of_test(name).tgt == "main", name
    for name in ("test.test", "test.test.upper", "wmt14.test", "wmt14.test.nopunct", "a.test"):
        assert data.of_test(name).tgt == f"language of {name.partition('.')[0]}", name


def test_no_corpus_contains_a_held_out_sentence_of_another(tmp_path: Path) -> None:
    rows = [(f"a {i}", f"b {i}") for i in range(200)]
    random.Random(1).shuffle(rows)
    back = write(tmp_path / "back", [(f"synthetic {src}", tgt) for src, tgt in rows])
    other_language = MixConfig(train=back, tgt="yy", tag="<yy>")
    mix = {"back": MixConfig(train=back, tag="<BT>"), "yy": other_language}
    data = config(tmp_path, mix, train=write(tmp_path / "train", rows), tag="<xx>")
    data.name = DataName.files
    corpus = load_corpus(data)
    held_out = {tgt for text in corpus.held_out_texts().values() for tgt in text.tgt}
    assert len(held_out) == 20
    assert {*corpus.mix["back"].train.tgt} == {tgt for _, tgt in rows} - held_out
    assert len(corpus.mix["yy"].train) == 200  # the same text in another language is another sentence


def test_another_code_of_the_same_language_is_no_other_language(tmp_path: Path) -> None:
    rows = [(f"a {i}", f"b {i}") for i in range(200)]
    back = MixConfig(train=write(tmp_path / "back", [(f"synthetic {src}", tgt) for src, tgt in rows]), tgt="de_DE")
    data = config(tmp_path, {"back": back}, train=write(tmp_path / "train", rows))
    data.name, data.src, data.tgt = DataName.files, "eng", "deu"
    corpus = load_corpus(data)
    held_out = {tgt for text in corpus.held_out_texts().values() for tgt in text.tgt}
    assert held_out
    assert not held_out & {*corpus.mix["back"].train.tgt}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (MixConfig(), "data.mix.web.train: give either "),
        (MixConfig(train=FilesConfig(tsv="/absent")), "/absent"),
        (MixConfig(name=DataName.multi30k, src="xx"), "data.mix.web: data.src=xx: data=multi30k has"),
    ],
)
def test_a_corpus_that_cannot_be_loaded_is_named(tmp_path: Path, entry: MixConfig, message: str) -> None:
    data = config(tmp_path, {"web": entry}, train=write(tmp_path / "t", [(f"a {i}", f"b {i}") for i in range(200)]))
    data.name = DataName.files
    with pytest.raises((ConfigError, DataError)) as caught:
        load_corpus(data)
    assert str(caught.value).startswith(message)
