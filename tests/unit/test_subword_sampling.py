"""Random segmentations follow the distributions of the papers, and a seed gives the same one in every process."""

import io
import math
import random
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from scaling import scaled
from seq2seq.config.tokenizer import PieceType, TextNormalization, TokenizerConfig
from seq2seq.data.corpus import ParallelText
from seq2seq.data.special_ids import SPECIAL_IDS
from seq2seq.data.subwords import bpe_dropout, unigram_sampling
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.errors import ConfigError

EXAMPLES = hypothesis.settings(max_examples=scaled(100, 2000), deadline=None, derandomize=True)
ALWAYS_BEST = {PieceType.unigram: 1e4, PieceType.bpe: 0.0}  # p^10000 is deterministic
KINDS = list(ALWAYS_BEST)
ODD = ["", " ", "日本語 🎉 dog", "x" * 300, "a\0b", "\ud800x", "<s> </s> <0x41>", "▁ ▁▁a", "\u2028", "the " * 50, ""]


def sentences(seed: int, syllables: str, count: int = 400) -> list[str]:
    """Sentences of words of up to four syllables, which have many segmentations and do not all fit in a vocabulary."""
    rng = random.Random(seed)
    words = ["".join(rng.choices(syllables.split(), k=rng.randint(1, 4))) for _ in range(5 * count)]
    return [" ".join(rng.choices(words, k=rng.randint(1, 8))) for _ in range(count)]


TEXT = ParallelText(sentences(1, "ba lo kit ten ra su mi dor dog a"), sentences(2, "schwar z weiß lo er mi straß e en"))


def trained(kind: PieceType, **settings: object) -> Tokenizer:
    """A tokenizer trained with any options of SentencePiece, including those that TokenizerConfig lacks."""
    writer = io.BytesIO()
    settings = {"vocab_size": 400, "byte_fallback": True, **settings}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*TEXT.src, *TEXT.tgt]),
        model_writer=writer,
        model_type=kind.name,
        minloglevel=2,
        **{**SPECIAL_IDS, **settings},
    )
    return Tokenizer(writer.getvalue())


def loaded(tokenizer: Tokenizer) -> sentencepiece.SentencePieceProcessor:
    model = sentencepiece.SentencePieceProcessor()
    model.LoadFromSerializedProto(tokenizer.to_bytes()["src"])
    return model


@pytest.fixture(scope="module")
def tokenizers() -> dict[PieceType, Tokenizer]:
    return {kind: trained(kind) for kind in KINDS}


def frequencies(rows: list[list[int]]) -> dict[tuple[int, ...], float]:
    return {row: count / len(rows) for row, count in Counter(map(tuple, rows)).items()}


def assert_close(actual: dict[tuple[int, ...], float], expected: dict[tuple[int, ...], float], draws: int) -> None:
    """Allow six standard deviations of the difference of two samples: one false alarm in 10^8."""
    for key in actual.keys() | expected.keys():
        p, q = actual.get(key, 0.0), expected.get(key, 0.0)
        assert abs(p - q) < 6 * math.sqrt(2 * max(p, q) * (1 - min(p, q)) / draws) + 6 / draws, (key, p, q)


def segmentations(word: str, scores: dict[str, float]) -> Iterator[list[str]]:
    if not word:
        yield []
    for end in range(1, len(word) + 1):
        if word[:end] in scores:
            yield from ([word[:end], *rest] for rest in segmentations(word[end:], scores))


@pytest.mark.parametrize("alpha", [0.0, 0.2, 1.0])
def test_unigram_samples_by_the_power_of_the_probability(tokenizers: dict[PieceType, Tokenizer], alpha: float) -> None:
    tokenizer, draws = tokenizers[PieceType.unigram], 20_000
    model = loaded(tokenizer)
    known = [i for i in range(len(SPECIAL_IDS), tokenizer.src_size) if not model.is_byte(i)]
    scores = {model.id_to_piece(i): model.get_score(i) for i in known}
    cuts = list(segmentations("▁balokitten", scores))
    weights = np.exp([alpha * sum(scores[piece] for piece in cut) for cut in cuts])
    ids = [tuple(model.piece_to_id(piece) for piece in cut) for cut in cuts]
    expected = dict(zip(ids, (weights / weights.sum()).tolist(), strict=True))
    assert len(expected) > 8
    actual = frequencies(tokenizer.src_sampler(alpha).encode(["balokitten"] * draws, [1]))
    assert_close(actual, expected, draws)
    assert set(actual) <= set(expected)


def bpe_dropout_distribution(word: str, scores: dict[str, float], alpha: float) -> dict[tuple[str, ...], float]:
    """Enumerate the decisions: the best pair not dropped so far is merged, or dropped for good."""
    distribution: dict[tuple[str, ...], float] = Counter()

    def go(cuts: tuple[int, ...], dropped: frozenset[tuple[int, ...]], p: float) -> None:
        pairs = [cuts[i : i + 3] for i in range(len(cuts) - 2)]  # start, middle and end of two adjacent pieces
        known = [pair for pair in pairs if pair not in dropped and word[pair[0] : pair[2]] in scores]
        if not known:
            distribution[tuple(word[a:b] for a, b in pairwise(cuts))] += p
            return
        best = min(known, key=lambda pair: (-scores[word[pair[0] : pair[2]]], pair))
        go(cuts, dropped | {best}, p * alpha)
        go(tuple(cut for cut in cuts if cut != best[1]), dropped, p * (1 - alpha))

    go(tuple(range(len(word) + 1)), frozenset(), 1.0)
    return dict(distribution)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("long_word", [bpe_dropout.LONG_WORD, 0], ids=["together", "one by one"])
def test_bpe_drops_merges_with_the_given_probability(
    tokenizers: dict[PieceType, Tokenizer], alpha: float, long_word: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bpe_dropout, "LONG_WORD", long_word)
    tokenizer, draws = tokenizers[PieceType.bpe], 20_000 if long_word else 5_000
    model = loaded(tokenizer)
    known = [i for i in range(len(SPECIAL_IDS), tokenizer.src_size) if not model.is_byte(i)]
    scores = {model.id_to_piece(i): model.get_score(i) for i in known}
    distribution = bpe_dropout_distribution("▁balok", scores, alpha)
    expected = {tuple(model.piece_to_id(piece) for piece in cut): p for cut, p in distribution.items()}
    actual = frequencies(tokenizer.src_sampler(alpha).encode(["balok"] * draws, [1]))
    assert_close(actual, expected, draws)
    assert len(actual) > 4 or alpha == 1
    assert set(actual) <= set(expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("word", ["balokit", "ba dor", "日"])
def test_sentencepiece_samples_from_the_same_distribution(
    tokenizers: dict[PieceType, Tokenizer], kind: PieceType, word: str
) -> None:
    draws = 20_000
    model = loaded(tokenizers[kind])
    theirs = model.encode([word] * draws, enable_sampling=True, nbest_size=-1, alpha=0.3)
    ours = tokenizers[kind].src_sampler(0.3).encode([word] * draws, [1])
    assert_close(frequencies(ours), frequencies(theirs), draws)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"byte_fallback": False, "vocab_size": 140},
        {"user_defined_symbols": ["<2de>", "dog", "do"]},
        {"split_by_whitespace": False},
        {"treat_whitespace_as_suffix": True},
        {"remove_extra_whitespaces": False, "allow_whitespace_only_pieces": True},
        {"normalization_rule_name": "identity", "add_dummy_prefix": False},
        *({"normalization_rule_name": rule.name} for rule in TextNormalization),
    ],
    ids=lambda settings: ",".join(f"{key}={value}" for key, value in settings.items()) or "ours",
)
def test_without_randomness_it_is_the_best_segmentation(kind: PieceType, settings: dict[str, object]) -> None:
    tokenizer = trained(kind, **settings)
    lines = [*TEXT.src[:100], *TEXT.tgt[:100], *ODD, "<2de> the dog<2de>dogs do", "日本 語x日", "Ça\xa0: ½\u200cm²"]
    best, expected = tokenizer.src_sampler(ALWAYS_BEST[kind]).encode(lines, [1]), tokenizer.encode_src(lines)
    if kind is PieceType.bpe:
        assert best == expected
    model = loaded(tokenizer)
    for ours, theirs in zip(best, expected, strict=True):  # a unigram model can have two best segmentations
        assert sum(map(model.get_score, ours)) == pytest.approx(sum(map(model.get_score, theirs)), abs=1e-3)
    for line in (*lines, "日" * 300, "dog" * 300):
        (fewest,) = tokenizer.tgt_sampler(ALWAYS_BEST[kind]).encode([line], [1])
        assert not tokenizer.tgt_sampler(0.3).always_reaches(line, len(fewest) + 1)
    drawn = tokenizer.tgt_sampler(0.3).encode(lines, [1])
    assert drawn != tokenizer.encode_tgt(lines)
    assert tokenizer.decode(drawn) == tokenizer.decode(tokenizer.encode_tgt(lines))
    for symbol in settings.get("user_defined_symbols", []):  # type: ignore[attr-defined]
        (ids,) = tokenizer.encode_src([symbol])
        counts = [Counter(i for row in rows for i in row)[ids[-1]] for rows in (drawn, tokenizer.encode_tgt(lines))]
        assert counts[0] == counts[1] > 0


HOSTILE = st.sampled_from([*" \t\u3000\u200b▁", *"atdog", *"ﷺ½日🎉ß\ud800\0", "the ", "<0x41>"]) | st.characters()


@pytest.mark.parametrize("kind", KINDS)
def test_every_line_keeps_its_text(tokenizers: dict[PieceType, Tokenizer], kind: PieceType) -> None:
    tokenizer = tokenizers[kind]
    sampler, best = tokenizer.tgt_sampler(0.3), tokenizer.tgt_sampler(ALWAYS_BEST[kind])

    @EXAMPLES
    @given(st.lists(st.lists(HOSTILE, max_size=12).map("".join), max_size=4), st.integers(0, 2**31 - 1))
    def check(lines: list[str], seed: int) -> None:
        encoded, drawn = tokenizer.encode_tgt(lines), sampler.encode(lines, [seed])
        assert tokenizer.decode(drawn) == tokenizer.decode(encoded)
        assert not any({0, 2, 3} & set(row) for row in drawn)
        for line, row in zip(lines, drawn, strict=True):
            assert not sampler.always_reaches(line, len(row) + 1)
        if kind is PieceType.bpe:  # a unigram model can have two best segmentations
            assert best.encode(lines, [seed]) == encoded

    check()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_smaller_unigram_alpha_and_a_larger_bpe_alpha_give_more_pieces(
    tokenizers: dict[PieceType, Tokenizer], kind: PieceType
) -> None:
    sizes = [
        sum(map(len, tokenizers[kind].src_sampler(alpha).encode(TEXT.src, [1])))
        for alpha in sorted([0.0, 0.3, 1.0], reverse=kind is PieceType.unigram)
    ]
    assert 1.05 * sizes[0] < sizes[1] < sizes[2] / 1.05


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_is_a_function_of_its_seed(
    tokenizers: dict[PieceType, Tokenizer], kind: PieceType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(seed: tuple[int, ...] = (1, 2, 3)) -> list[list[int]]:
        return sampler.encode(lines, seed)

    lines = [*TEXT.src[:50], *ODD]
    sampler = tokenizers[kind].src_sampler(0.3)
    first = draw()
    assert draw() == first
    assert all(draw(other) != first for other in [(1, 2, 4), (2, 2, 3), (1, 3, 3)])
    sampler.encode(TEXT.tgt, [5])
    assert draw() == first
    sampler = tokenizers[kind].src_sampler(0.3)  # a new cache, filled in another order
    sampler.encode(TEXT.tgt[:50] + TEXT.src[99::-1], [5])
    assert draw() == first
    monkeypatch.setattr(unigram_sampling, "MAX_EDGES", 0)
    monkeypatch.setattr(bpe_dropout, "MAX_SEGMENTATIONS", 0)
    assert draw() == first
    with ThreadPoolExecutor(4) as pool:
        samplers = [tokenizers[kind].src_sampler(0.3) for _ in range(8)]
        assert list(pool.map(lambda sampler: sampler.encode(lines, (1, 2, 3)), samplers)) == [first] * 8


@pytest.mark.parametrize("kind", KINDS)
def test_the_cache_of_words_is_bounded(
    tokenizers: dict[PieceType, Tokenizer], kind: PieceType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unigram_sampling, "MAX_EDGES", 300)
    monkeypatch.setattr(bpe_dropout, "MAX_SEGMENTATIONS", 50)
    sampler, memory = tokenizers[kind].src_sampler(0.3), []
    tracemalloc.start()
    try:
        for start in range(0, 80, 4):
            sampler.encode(TEXT.src[start : start + 4], [1])
            memory.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert max(memory[10:]) < 1.4 * max(memory[:10])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_another_process_samples_the_same(
    tokenizers: dict[PieceType, Tokenizer], kind: PieceType, tmp_path: Path
) -> None:
    model, lines = tmp_path / "pieces.model", [line for line in [*TEXT.src, *ODD] if line.isprintable()]
    model.write_bytes(tokenizers[kind].to_bytes()["src"])
    (tmp_path / "lines").write_text("\n".join(lines), encoding="utf-8")
    code = f"""
from pathlib import Path
from seq2seq.data.subwords.tokenizer import Tokenizer
folder = Path({str(tmp_path)!r})
lines = (folder / "lines").read_text(encoding="utf-8").split("\\n")
print(Tokenizer((folder / "pieces.model").read_bytes()).src_sampler(0.3).encode(lines, [1, 2]))
"""
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == str(tokenizers[kind].src_sampler(0.3).encode(lines, [1, 2]))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("alpha", [0.0, 0.1, 1e-300, 1.0])
def test_a_very_long_word_takes_seconds_at_most(
    tokenizers: dict[PieceType, Tokenizer], kind: PieceType, alpha: float
) -> None:
    line = "balokitdor" * 2_000
    (ids,) = tokenizers[kind].tgt_sampler(alpha).encode([line], [1])
    assert tokenizers[kind].decode([ids]) == [line]


def test_a_character_model_cannot_be_sampled(tmp_path: Path) -> None:
    chars = Tokenizer.train(TEXT, TokenizerConfig(type=PieceType.char, vocab_size=300), tmp_path)
    with pytest.raises(ConfigError, match=r"data\.sampling: .* neither unigram nor bpe"):
        chars.src_sampler(0.1)
