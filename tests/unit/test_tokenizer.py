"""Text to pieces and back, whatever the text; a cache that is right; a message for every wrong setting."""

import io
import random
import re
from pathlib import Path

import pytest
import sentencepiece

from seq2seq import batch
from seq2seq.config import PieceType, TokenizerConfig
from seq2seq.data.corpus import ParallelText
from seq2seq.data.tokenizer import SPECIAL_IDS, Tokenizer
from seq2seq.errors import ConfigError, DataError


def sentences(seed: int, words: str, count: int = 400) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(words.split(), k=rng.randint(2, 8))) for _ in range(count)]


TEXT = ParallelText(
    sentences(1, "the a black white dog cat runs walks home street in over under near"),
    sentences(2, "der ein schwarzer weißer Hund Kater läuft geht nach Hause Straße in über unter"),
)


def config(**settings: object) -> TokenizerConfig:
    return TokenizerConfig(**{"vocab_size": 300, **settings})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer.train(TEXT, config(), tmp_path_factory.mktemp("cache"))


def test_special_ids_are_those_of_a_batch() -> None:
    expected = {"pad_id": batch.PAD_ID, "unk_id": batch.UNK_ID, "bos_id": batch.BOS_ID, "eos_id": batch.EOS_ID}
    assert expected == SPECIAL_IDS


@pytest.mark.parametrize("kind", list(PieceType))
@pytest.mark.parametrize("joint", [True, False])
def test_text_comes_back(tmp_path: Path, kind: PieceType, joint: bool) -> None:
    tokenizer = Tokenizer.train(TEXT, config(type=kind, joint=joint, vocab_size=290), tmp_path)
    assert tokenizer.decode(tokenizer.encode_tgt(TEXT.tgt)) == TEXT.tgt
    assert tokenizer.joint == joint
    if joint:
        assert tokenizer.encode_src(TEXT.tgt) == tokenizer.encode_tgt(TEXT.tgt)
    else:
        assert tokenizer.encode_src(TEXT.src) != tokenizer.encode_tgt(TEXT.src)
    restored = Tokenizer.from_bytes(tokenizer.to_bytes())
    assert restored.fingerprint == tokenizer.fingerprint
    assert restored.encode_src(TEXT.src) == tokenizer.encode_src(TEXT.src)
    assert (restored.src_size, restored.tgt_size) == (tokenizer.src_size, tokenizer.tgt_size)
    assert set(tokenizer.to_bytes()) == ({"src"} if joint else {"src", "tgt"})


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", ""),
        (" \u2028\t", ""),
        ("日本語 🎉 ﷽", None),  # compatibility normalisation rewrites some of it; it must only not raise
        ("naïve Ægir ſtraße", "naïve Ægir straße"),
        ("a\0b", "a\0b"),
        ("a\nb", "a b"),
        ("\ud800x", "?x"),
        ("<s> </s> <pad> <unk> <0x41>", "<s> </s> <pad> <unk> <0x41>"),
        ("word " * 20_000, ("word " * 20_000).strip()),
        ("x" * 100_000, "x" * 100_000),
    ],
)
def test_any_line_is_encoded_without_special_ids(joint: Tokenizer, line: str, expected: str | None) -> None:
    (ids,) = joint.encode_src([line])
    assert not {0, 1, 2, 3} & set(ids)
    (text,) = joint.decode([ids])
    assert expected is None or text == expected


def test_decoding_ignores_what_says_nothing(joint: Tokenizer) -> None:
    (ids,) = joint.encode_tgt(["der Hund"])
    noisy = [2, *ids, -1, joint.tgt_size, 10**9, 0, 3]
    assert joint.decode([noisy, [], [0, 2, 3]]) == ["der Hund", "", ""]
    assert joint.decode([[4 + 0xE6]]) == ["\ufffd"]  # the first byte of three


def test_pieces_are_readable(joint: Tokenizer) -> None:
    (ids,) = joint.encode_src(["the dog"])
    assert "".join(joint.src_pieces(ids)) == "▁the▁dog"
    assert joint.tgt_pieces([batch.EOS_ID]) == ["</s>"]


def test_the_same_text_gives_the_same_model_in_another_cache(tmp_path: Path, joint: Tokenizer) -> None:
    assert Tokenizer.train(TEXT, config(), tmp_path).fingerprint == joint.fingerprint


def test_the_cache_is_keyed_by_text_and_settings(tmp_path: Path) -> None:
    def count() -> int:
        return len(list(tmp_path.rglob("*.model")))

    first = Tokenizer.train(TEXT, config(), tmp_path)
    assert Tokenizer.train(TEXT, config(), tmp_path).fingerprint == first.fingerprint
    assert count() == 1
    other = ParallelText(TEXT.src, [*TEXT.tgt[:-1], "noch ein Satz"])
    for n, (text, settings) in enumerate([(other, {}), (TEXT, {"vocab_size": 299}), (TEXT, {"type": PieceType.bpe})]):
        assert Tokenizer.train(text, config(**settings), tmp_path).fingerprint != first.fingerprint
        assert count() == n + 2
    assert all(not path.name.startswith(".part-") for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("kind", [PieceType.unigram, PieceType.bpe])
def test_too_large_a_vocabulary_names_the_largest_that_fits(tmp_path: Path, kind: PieceType) -> None:
    with pytest.raises(ConfigError, match=r"data\.tokenizer\.vocab_size=9999 .* at most \d+") as caught:
        Tokenizer.train(TEXT, config(type=kind, vocab_size=9999), tmp_path)
    largest = int(re.findall(r"\d+", str(caught.value))[-1])
    assert Tokenizer.train(TEXT, config(type=kind, vocab_size=largest), tmp_path).src_size == largest


@pytest.mark.parametrize("kind", list(PieceType))
def test_too_small_a_vocabulary_names_the_setting(tmp_path: Path, kind: PieceType) -> None:
    with pytest.raises(ConfigError, match=r"data\.tokenizer\.vocab_size=20 is too small"):
        Tokenizer.train(TEXT, config(type=kind, vocab_size=20), tmp_path)


def test_no_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no text"):
        Tokenizer.train(ParallelText([], []), config(), tmp_path)


def foreign_model(**settings: int) -> bytes:
    writer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT.src), model_writer=writer, vocab_size=35, minloglevel=2, **settings
    )
    return writer.getvalue()


def test_given_models_are_loaded(tmp_path: Path) -> None:
    given = tmp_path / "mine.model"
    given.write_bytes(foreign_model(**SPECIAL_IDS))
    joint = Tokenizer.train(TEXT, config(src_model=str(given)), tmp_path)
    assert joint.to_bytes() == {"src": given.read_bytes()}
    half = Tokenizer.train(TEXT, config(joint=False, src_model=str(given), vocab_size=290), tmp_path)
    assert (half.src_size, half.tgt_size) == (35, 290)


def test_unusable_given_models(tmp_path: Path) -> None:
    other_ids, junk = tmp_path / "other.model", tmp_path / "junk.model"
    other_ids.write_bytes(foreign_model())
    junk.write_bytes(b"junk")
    cases = {
        r"other\.model: its special ids are .*--pad_id=0 --unk_id=1 --bos_id=2 --eos_id=3": {"src_model": other_ids},
        r"junk\.model: not a SentencePiece model": {"src_model": junk},
        r"none\.model: No such file": {"src_model": tmp_path / "none.model"},
        r"data\.tokenizer\.tgt_model": {"tgt_model": other_ids},
    }
    for message, settings in cases.items():
        with pytest.raises(ConfigError, match=message):
            Tokenizer.train(TEXT, config(**{key: str(path) for key, path in settings.items()}), tmp_path)
