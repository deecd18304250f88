"""Any text survives encoding and decoding; the cache is keyed correctly; every invalid option gives a clear error."""

import io
import random
import re
from itertools import chain
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
from seq2seq.data.encoding.ragged import RaggedIds
from seq2seq.data.special_ids import BOS_ID, EOS_ID, PAD_ID, SPECIAL_IDS, UNK_ID
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.errors import ConfigError, DataError
from seq2seq.inference.text import one_line

EXAMPLES = hypothesis.settings(max_examples=scaled(100, 2000), deadline=None, derandomize=True)
SUBWORDS = [kind for kind in PieceType if kind is not PieceType.word]  # of a word vocabulary, test_vocabulary_size.py


def sentences(seed: int, words: str, count: int = 400) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(words.split(), k=rng.randint(2, 8))) for _ in range(count)]


TEXT = ParallelText(
    sentences(1, "the a black white dog cat runs walks home street in over under near"),
    sentences(2, "der ein schwarzer weißer Hund Kater läuft geht nach Hause Straße in über unter"),
)


def config(**settings: object) -> TokenizerConfig:
    """Settings with the normalization that replaces most characters."""
    defaults = {"vocab_size": 300, "normalization": TextNormalization.nmt_nfkc}
    return TokenizerConfig(**{**defaults, **settings})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer.train(TEXT, config(), tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A tokenizer with the default normalization."""
    return Tokenizer.train(TEXT, TokenizerConfig(vocab_size=300), tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def chars(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Pieces are single characters; characters that are not in the text are bytes."""
    return Tokenizer.train(TEXT, config(type=PieceType.char), tmp_path_factory.mktemp("cache"))


def byte_ids(*values: int) -> list[int]:
    return [4 + value for value in values]


def test_special_ids_are_the_first_ids_of_every_vocabulary(joint: Tokenizer) -> None:
    assert (PAD_ID, UNK_ID, BOS_ID, EOS_ID) == (0, 1, 2, 3)  # saved models depend on them
    assert joint.src_pieces([PAD_ID, UNK_ID, BOS_ID, EOS_ID]) == ["<pad>", "<unk>", "<s>", "</s>"]


@pytest.mark.parametrize("kind", SUBWORDS)
@pytest.mark.parametrize("joint", [True, False])
def test_decoding_inverts_encoding(tmp_path: Path, kind: PieceType, joint: bool) -> None:
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


@pytest.mark.parametrize("repetitions", [0, 1, 40])
def test_rows_are_the_same_ids_as_lists(joint: Tokenizer, repetitions: int) -> None:
    lines = [line * repetitions for line in TEXT.src]
    lines[40] = ""
    for some in (lines, lines[:5], []):
        rows = joint.src_rows(some)
        assert [list(row) for row in rows] == joint.encode_src(some) == [list(row) for row in joint.tgt_rows(some)]
    assert isinstance(joint.src_rows(lines)[0], np.ndarray) == (repetitions == 40)
    assert RaggedIds.from_lists(joint.src_rows(lines)).ids.tolist() == list(chain(*joint.encode_src(lines)))


SCRIPTS = [
    *("Ça va ? Où ? Œuvre, ŉ ĳ", "Straße ſtraße", "Γειά σου, ΐ", "Привет, ёж й", "Բարեւ և", "שָׁלוֹם עולם", "مرحبا ﷺ ٣"),
    *("می‌خواهم کتاب‌ها", "नमस्ते क़ क्‍ष", "হ্যালো য়", "ਸਤ ਸ੍ਰੀ ਅਕਾਲ", "નમસ્તે", "வணக்கம்", "హలో", "ನಮಸ್ಕಾರ", "ഹലോ ന്‍", "ආයුබෝවන් ශ්‍රී"),
    *(
        "สวัสดี นำ้",
        "ສະບາຍດີ ຫຼ",
        "မင်္ဂလာပါ",
        "សួស្តី",
        "你好，世界？：；（）",
        "日本語 ｶﾞ カ゛ ２０２６",
        "안녕 한글 ᄒ",
        "ሰላም",
        "გამარჯობა",
        "བཀྲ་ཤིས༌",
        "𐎀𐎁 𝔘",
    ),
    *(
        "1½ m² ™ №5 ℃ x³ ﬁ … ‘’ €",
        "a\xa0b\u202fc\u2009d\u3000e",
        "a\u200cb\u200dc\u200bd\u200fe\u2060f\ufeffg\xadh",
        "👩‍👩‍👧 ❤️ 🇩🇪",
    ),
    *("e\u0301 é \u212b Å", "a\tb\x01c\x7f\x85\u2028d", "\u2047 ⁇ \ufffd \uffff"),
]


@pytest.mark.parametrize("joint", [True, False])
def test_the_model_learns_to_write_exactly_the_target_text(tmp_path: Path, joint: bool) -> None:
    """No character of the target is replaced by default, whether the vocabulary has it or its bytes.

    Except NUL and ▁, SentencePiece's own sign of a space, which become spaces.
    """
    text = ParallelText([*TEXT.src, *SCRIPTS[::2]], [*TEXT.tgt, *SCRIPTS[::2]])
    tokenizer = Tokenizer.train(text, TokenizerConfig(vocab_size=420, joint=joint), tmp_path)
    assert tokenizer.decode(tokenizer.encode_tgt(SCRIPTS)) == SCRIPTS
    assert tokenizer.encode_tgt(["１½"]) != tokenizer.encode_tgt(["11⁄2"])

    @EXAMPLES
    @given(
        st.lists(HOSTILE | st.characters(exclude_categories=["Cs"]) | st.sampled_from("".join(SCRIPTS)), max_size=20)
    )
    def check(characters: list[str]) -> None:
        line = "".join(characters).replace("\ud800", "")
        spaces = re.sub(" +", " ", line).replace("▁", " ").strip(" ")  # what SentencePiece does to spaces
        for encode in (tokenizer.encode_tgt, lambda lines: tokenizer.tgt_sampler(0.3).encode(lines, [1])):
            assert tokenizer.decode(encode([line])) == [spaces.replace("\0", " ")]

    check()


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (TextNormalization.identity, "Ça\xa0: می\u200cخ ，m² №5"),
        (TextNormalization.nfkc, "Ça : می\u200cخ ,m2 No5"),
        (TextNormalization.nmt_nfkc, "Ça : می خ ,m2 No5"),
        (TextNormalization.nfkc_cf, "ça : می\u200cخ ,m2 no5"),
        (TextNormalization.nmt_nfkc_cf, "ça : می خ ,m2 no5"),
    ],
)
def test_normalization_replaces_characters_of_both_sides(
    tmp_path: Path, rule: TextNormalization, expected: str
) -> None:
    tokenizer = Tokenizer.train(TEXT, config(normalization=rule), tmp_path)
    line = "Ça\xa0: می\u200cخ ，m² №5"
    assert tokenizer.decode([*tokenizer.encode_src([line]), *tokenizer.encode_tgt([line])]) == [expected] * 2
    restored = Tokenizer.from_bytes(tokenizer.to_bytes())  # the rules are part of the model
    assert restored.encode_src([line]) == tokenizer.encode_src([line])


def test_the_log_has_the_target_lines_that_no_translation_can_be_like(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = ParallelText([*TEXT.src, "½", "½"], [*TEXT.tgt, "der  Hund", "zwei  m² und 1½ l"])
    given = tmp_path / "given.model"
    given.write_bytes(Tokenizer.train(TEXT, config(), tmp_path).to_bytes()["src"])
    for settings, changes in (
        ({"normalization": TextNormalization.identity}, []),
        ({}, ["'m²' to 'm2'"]),
        ({"src_model": str(given)}, ["'m²' to 'm2'"]),
        ({"normalization": TextNormalization.identity, "byte_fallback": False, "vocab_size": 60}, ["'m²' to 'm'"]),
    ):
        caplog.clear()
        Tokenizer.train(text, config(**settings), tmp_path)
        warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert [warning.partition("such as ")[2].partition(" (data")[0] for warning in warnings] == changes
        assert all("in 1 of the first 402 target lines" in warning for warning in warnings)


def test_a_model_of_an_older_version_is_trained_again_to_the_byte(tmp_path: Path) -> None:
    """A run without a key of the settings, whose checkpoint knows the hash of its tokenizer, can be resumed."""
    writer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*TEXT.src, *TEXT.tgt]), model_writer=writer, minloglevel=2, model_type="unigram",
        vocab_size=300, character_coverage=0.9995, byte_fallback=True, num_threads=4, **SPECIAL_IDS,
    )  # fmt: skip
    assert Tokenizer.train(TEXT, config(max_line_bytes=4192), tmp_path).to_bytes() == {"src": writer.getvalue()}


LONG = "λόγος " * 1000  # 11,000 bytes


def test_lines_longer_than_the_limit_of_sentencepiece_are_learned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for kind in SUBWORDS:
        tokenizer = Tokenizer.train(ParallelText(TEXT.src, [LONG] * 20), config(type=kind, vocab_size=290), tmp_path)
        assert set("λόγος") <= set("".join(tokenizer.src_pieces(range(tokenizer.src_size))))
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_lines_that_cannot_be_learned_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    unreadable = ["word " * 20_000, "x" * 2_000_000, "░▒▓▅ 50 %"]
    tokenizer = Tokenizer.train(ParallelText(TEXT.src, [*TEXT.tgt, *unreadable]), config(), tmp_path)
    assert tokenizer.fingerprint == Tokenizer.train(TEXT, config(), tmp_path).fingerprint
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert (
        "some target lines: of 403, 2 are longer than data.tokenizer.max_line_bytes=65536 and 1 have U+2585" in warning
    )
    for side, text in {
        "source": ParallelText(unreadable, TEXT.tgt),
        "target": ParallelText(TEXT.src, unreadable),
    }.items():
        for joint in (True, False):
            with pytest.raises(
                DataError, match=f"the {side} side has no text that can be read: of 3 lines 2 are longer"
            ):
                Tokenizer.train(text, config(joint=joint, vocab_size=290), tmp_path)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", ""),
        (" \u2028\t", ""),
        ("日本語 🎉 ﷽", None),  # compatibility normalisation rewrites some of it; only check that nothing raises
        ("naïve Ægir ſtraße", "naïve Ægir straße"),
        ("a\0b", "a b"),
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


def test_decoding_ignores_special_and_unknown_ids(joint: Tokenizer) -> None:
    (ids,) = joint.encode_tgt(["der Hund"])
    noisy = [2, *ids, -1, joint.tgt_size, 10**9, 0, 3]
    assert joint.decode([noisy, [], [0, 2, 3]]) == ["der Hund", "", ""]
    assert joint.decode([[4 + 0xE6]]) == ["\ufffd"]  # the first byte of three


def test_pieces_are_readable(joint: Tokenizer) -> None:
    (ids,) = joint.encode_src(["the dog"])
    assert "".join(joint.src_pieces(ids)) == "▁the▁dog"
    assert joint.tgt_pieces([EOS_ID]) == ["</s>"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        (" \t", []),
        ("the dog", [0, 0, 0, 0, 1, 1, 1, 1]),  # ▁the▁dog
        ("\u3000the\t dog ", [0, 0, 0, 0, 1, 1, 1, 1]),
        ("日 x 🎉", [0] * 4 + [1] * 2 + [2] * 5),  # ▁ and three bytes, one, four
        ("ſt ½ b", [0] * 3 + [1] * 6 + [2] * 2),  # ▁st, ▁1⁄2, where ⁄ is three bytes, ▁b
        ("A\u0308 b", [0] * 3 + [1] * 2),  # two characters become one character of two bytes
        ("ﷺ b", [0] * 34 + [1] * 2),  # one character becomes 15 letters of two bytes and, including the first, 4 ▁
        ("a\u200bb c", [0, 0, 0, 0, 1, 1]),  # ▁a▁b▁c: a zero-width space is white space to SentencePiece only
        ("a\u200b \u200b b", [0, 0, 2, 2]),  # ▁a▁b: nothing is left of the second word
        ("▁ a", [1, 1]),  # a ▁ in the text is a space
        ("a\x1cb", [0, 0, 1]),  # ▁ab: U+001C is white space to Python only
        ("a\x85b", [0, 0, 1, 1, 1]),  # U+0085 is a character to SentencePiece
        ("a\x85", [0, 0, None, None]),
        ("\ud800 b", [0, 0, 1, 1]),
    ],
)
def test_source_pieces_belong_to_words(chars: Tokenizer, line: str, words: list[int | None]) -> None:
    assert chars.src_words(line) == words


HOSTILE = st.sampled_from([*" \t\u3000\u200b\ufeff\x01\u2028▁", *"atdog", *"ﷺ½ﬁ¨\u0300日🎉Äｶﾞß\ud800", "the ", "<0x41>"])
BREAKS = "\v\x1c\x1d\x1e\x1f\x85"  # white space to Python, removed or kept by SentencePiece


@pytest.mark.parametrize(
    "pieces",
    [
        {"vocab_size": 290},
        {"vocab_size": 290, "type": PieceType.bpe},
        {"vocab_size": 34, "byte_fallback": False},
    ],
)
def test_the_pieces_of_a_line_are_the_pieces_of_its_words(tmp_path: Path, pieces: dict[str, object]) -> None:
    tokenizer = Tokenizer.train(TEXT, config(**pieces), tmp_path)

    @EXAMPLES
    @given(st.lists(HOSTILE | st.characters(exclude_characters=BREAKS), max_size=12).map("".join))
    def check(line: str) -> None:
        words = tokenizer.encode_src(line.split())
        assert tokenizer.src_words(line) == [i for i, ids in enumerate(words) for _ in ids]

    check()


@EXAMPLES
@given(line=st.lists(HOSTILE | st.sampled_from(BREAKS) | st.characters(), max_size=12).map("".join))
def test_every_source_piece_has_a_word_of_the_line(joint: Tokenizer, exact: Tokenizer, line: str) -> None:
    for tokenizer in (joint, exact):
        words = tokenizer.src_words(line)
        known = [word for word in words if word is not None]
        assert len(words) == len(tokenizer.encode_src([line])[0])
        assert known == sorted(known)
        assert not known or 0 <= known[0] <= known[-1] < len(line.split())
        assert None not in words[: len(known)]  # only white space at the end has no word


def test_target_pieces_belong_to_words(joint: Tokenizer) -> None:
    (dog,), (space, *_) = joint.encode_tgt(["dog", "日"])
    cases: list[tuple[list[int], str, list[int | None]]] = [
        ([], "", []),
        ([dog, dog], "dog dog", [0, 1]),
        ([space, *byte_ids(0xE6, 0x97, 0xA5), dog], "日 dog", [0, 0, 0, 0, 1]),
        ([dog, space, *byte_ids(0xE6, 0x97, 0xA5)], "dog 日", [0, 1, 1, 1, 1]),
        ([dog, *byte_ids(0xE6, 0x97, 0xA5), dog], "dog日 dog", [0, 0, 0, 0, 1]),
        ([*byte_ids(0xE6, 0x97), dog], "�� dog", [0, 0, 1]),  # the third byte is missing
        ([dog, *byte_ids(0x20, 0xFF)], "dog �", [0, 1, 1]),
        ([dog, *byte_ids(0xE2, 0x80, 0xA8), dog, space], "dog  dog ", [0, 1, 1, 1, 1, None]),  # U+2028
        ([2, dog, -1, 0, dog, joint.tgt_size, 3], "dog dog", [None, 0, None, None, 1, None, None]),
        ([dog, UNK_ID, dog], "dog ⁇  dog", [0, 1, 2]),
    ]
    for ids, text, words in cases:
        assert one_line(joint.decode([ids])[0]) == text
        assert joint.tgt_words(ids, text) == words


@pytest.mark.parametrize("text", ["", "dog", "dog  dog", "dog dig"])
def test_target_words_of_a_different_text_raise(joint: Tokenizer, text: str) -> None:
    (dog,) = joint.encode_tgt(["dog"])[0]
    with pytest.raises(ValueError, match="not the text of the ids: 'dog dog'"):
        joint.tgt_words([dog, dog], text)


def test_a_nul_that_a_network_emits_is_a_space(joint: Tokenizer) -> None:
    """The output would otherwise be no text: every command refuses a file with a NUL."""
    ids = byte_ids(*b"a\0b")
    assert joint.decode([ids]) == ["a b"]
    assert joint.tgt_words(ids, "a b") == [0, 1, 1]


@EXAMPLES
@given(ids=st.lists(st.integers(-1, 300) | st.sampled_from(byte_ids(*"日 \0\u2028\x85".encode())), max_size=12))
def test_the_pieces_of_a_target_word_decode_to_it(joint: Tokenizer, ids: list[int]) -> None:
    text = one_line(joint.decode([ids])[0])
    words = joint.tgt_words(ids, text)
    known = [word for word in words if word is not None]
    assert len(words) == len(ids)
    assert known == sorted(known)
    for index, expected in enumerate(text.split()):
        # Special ids are kept: one between the bytes of a character breaks it.
        own = [i for i, word in zip(ids, words, strict=True) if word == index or i in (0, 2, 3)]
        assert joint.decode([own])[0].strip() == expected


def test_the_same_text_gives_the_same_model_in_another_cache(tmp_path: Path, joint: Tokenizer) -> None:
    assert Tokenizer.train(TEXT, config(), tmp_path).fingerprint == joint.fingerprint


def test_the_cache_is_keyed_by_text_and_settings(tmp_path: Path) -> None:
    def count() -> int:
        return len(list(tmp_path.rglob("*.model")))

    first = Tokenizer.train(TEXT, config(), tmp_path)
    assert Tokenizer.train(TEXT, config(), tmp_path).fingerprint == first.fingerprint
    assert count() == 1
    other = ParallelText(TEXT.src, [*TEXT.tgt[:-1], "noch ein Satz"])
    for n, (text, settings) in enumerate(
        [
            (other, {}),
            (TEXT, {"vocab_size": 299}),
            (TEXT, {"type": PieceType.bpe}),
            (TEXT, {"normalization": TextNormalization.identity}),
            (TEXT, {"max_line_bytes": 5000}),
        ]
    ):
        assert Tokenizer.train(text, config(**settings), tmp_path).fingerprint != first.fingerprint
        assert count() == n + 2
    assert all(not path.name.startswith(".part-") for path in tmp_path.rglob("*"))


def test_a_damaged_vocabulary_in_the_cache_is_trained_again(
    tmp_path: Path, joint: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    Tokenizer.train(TEXT, config(), tmp_path)
    (path,) = tmp_path.rglob("pieces.model")
    intact = path.read_bytes()
    path.chmod(0o600)
    for damaged in (intact[:-20], intact.replace(b"dog", b"dig", 1)):
        path.write_bytes(damaged)
        assert Tokenizer.train(TEXT, config(), tmp_path).fingerprint == joint.fingerprint
        assert path.read_bytes() == intact
        path.chmod(0o600)
    assert sum("the vocabulary is trained again" in record.message for record in caplog.records) == 2


@pytest.mark.parametrize("kind", [PieceType.unigram, PieceType.bpe])
def test_too_large_a_vocabulary_names_the_largest_that_fits(tmp_path: Path, kind: PieceType) -> None:
    with pytest.raises(ConfigError, match=r"data\.tokenizer\.vocab_size=9999 .* at most \d+") as caught:
        Tokenizer.train(TEXT, config(type=kind, vocab_size=9999), tmp_path)
    largest = int(re.findall(r"\d+", str(caught.value))[-1])
    assert Tokenizer.train(TEXT, config(type=kind, vocab_size=largest), tmp_path).src_size == largest


@pytest.mark.parametrize("kind", SUBWORDS)
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
