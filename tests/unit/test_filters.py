"""Each filter drops what it names, and no filter drops ordinary sentences of any script."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scaling import scaled
from seq2seq.data.filters.base import Pair, UnknownLanguageError
from seq2seq.data.filters.presets import LIGHT, PRESETS, STRICT, combined, pipeline, preset
from seq2seq.data.filters.registry import FILTERS, described, make_filter
from seq2seq.data.text.digests import DigestSet
from seq2seq.errors import ConfigError

GERMAN = ("The old man is reading a newspaper.", "Der alte Mann liest gerade eine Zeitung.")

ORDINARY = {
    "de": [GERMAN, ("Hi.", "Guten Tag, meine Damen und Herren!"), ("It's $10.00.", "Das macht 10,00 €."), ("OK", "OK")],
    "zh": [
        ("He has lived in Beijing since 1995 and works as a teacher.", "他从1995年起就住在北京，是一名教师。"),
        ("I bought a new iPhone yesterday.", "我昨天买了一部新的iPhone。"),
        ("Where is the nearest station?", "最近的车站在哪里？"),
    ],
    "ja": [("Could you tell me the way to the library, please?", "図書館への道を教えていただけませんか。")],
    "ko": [("The weather is nice today, so let's take a walk.", "오늘은 날씨가 좋으니까 산책하러 갑시다.")],
    "ar": [
        ("My brother bought three books from this shop.", "اشترى أخي ثلاثة كتب من هذا المتجر."),
        ("The meeting starts at 10:30 tomorrow.", "يبدأ الاجتماع غدًا في الساعة ١٠:٣٠."),
        ("Do you speak Arabic?", "هل تتحدث العربية؟"),
    ],
    "fa": [("I do not know where he lives.", "نمی‌دانم او کجا زندگی می‌کند.")],
    "he": [("She wants to learn Hebrew this year.", "היא רוצה ללמוד עברית השנה.")],
    "hi": [
        ("The children are playing in the garden.", "बच्चे बगीचे में खेल रहे हैं।"),
        ("He was born in 1947 in a small village.", "उनका जन्म १९४७ में एक छोटे से गाँव में हुआ था।"),
    ],
    "th": [("I would like to eat rice at home with my family.", "ฉันอยากกินข้าวที่บ้านกับครอบครัวของฉัน")],
    "km": [("I live in the city of Phnom Penh.", "ខ្ញុំរស់នៅក្នុងទីក្រុងភ្នំពេញ។")],
    "ru": [("Everything will be fine, do not worry.", "Всё будет хорошо, не волнуйся.")],
    "el": [("What time does the next bus leave?", "Τι ώρα φεύγει το επόμενο λεωφορείο;")],
    "ta": [("My mother cooks very well.", "என் அம்மா நன்றாக சமைப்பார்.")],
    "am": [("Peace be with you, my friend.", "ሰላም ለአንተ ይሁን ወዳጄ።")],
    "vi": [("The two of us went to school together.", "Hai chúng tôi đã đi học cùng nhau.")],
}

DROPPED = {
    "empty": [("", "Hallo."), ("Hello.", "  \u3000")],
    "unencodable": [("a\ud800", "b"), ("a", "b\0c")],
    "control_characters": [("a\x1b[31m red", "rot"), ("a", "b\x85c\x99")],
    "zero_width:action=drop": [("a\u200bb", "c"), ("a", "\ufeffb")],
    "mojibake": [("caf\ufffd", "Café")],
    "mojibake:action=drop": [("Ã¼ber", "over"), ("It’s", "â€œJaâ€\x9d"), ("Hello", "РџСЂРёРІРµС‚")],
    "max_length:words=4": [("a b c d e", "f"), ("a", "f " * 5), ("a", "他从一九九")],
    "max_length:characters=5": [("abcdef", "x")],
    "min_length:words=2": [("one", "eins zwei")],
    "length_ratio": [("one two three four five six seven eight", "eins"), ("a", "一二三四五六七八九十")],
    "max_word_length": [("x" * 41, "y")],
    "identical": [("This was not translated.", "This was not Translated.")],
    "alpha_ratio": [("--- *** | 7 %", "Mittag"), ("a", "$$$ 1")],
    "num_mismatch": [("in 1995", "im Jahr 2008"), ("٣٤", "12")],
    "url_mismatch": [("see https://example.org", "siehe dort"), ("me@example.org", "ich"), ("a", "www.example.org")],
    "terminal_punctuation": [("He went home.", "Er ging nach"), ("Where", "最近的车站在哪里？")],
    "repeated_ngram": [("the end", "das das das das"), ("ok", "哈呵哈呵哈呵哈呵"), ("no", "eins zwei drei " * 4)],
}


@pytest.fixture(scope="module", params=sorted(ORDINARY))
def ordinary(request: pytest.FixtureRequest) -> tuple[str, list[Pair]]:
    return request.param, ORDINARY[request.param]


@pytest.mark.parametrize("name", PRESETS)
def test_no_preset_drops_or_changes_ordinary_sentences(name: str, ordinary: tuple[str, list[Pair]]) -> None:
    language, pairs = ordinary
    filters = pipeline(PRESETS[name], ("en", language))
    assert [filters.judge(pair) for pair in pairs] == [(pair, None) for pair in pairs]
    swapped = pipeline(PRESETS[name], (language, "en"))
    assert [swapped.judge(pair[::-1])[1] for pair in pairs] == [None] * len(pairs)


@pytest.mark.parametrize("name", FILTERS)
def test_no_filter_alone_drops_ordinary_sentences(name: str, ordinary: tuple[str, list[Pair]]) -> None:
    language, pairs = ordinary
    apply = make_filter(name, ("en", language))
    assert [apply(pair) for pair in pairs] == pairs


@pytest.mark.parametrize(("spec", "pair"), [(spec, pair) for spec, pairs in DROPPED.items() for pair in pairs])
def test_filters_drop_what_they_name(spec: str, pair: Pair) -> None:
    assert make_filter(spec)(pair) is None
    assert make_filter(spec)(GERMAN if "max_length" not in spec else ("a", "b")) is not None


def test_repairs() -> None:
    assert make_filter("mojibake")(("Ã¼ber", "over")) == ("über", "over")
    assert make_filter("mojibake")(("РџСЂРёРІРµС‚", "Hi")) == ("Привет", "Hi")
    assert make_filter("control_characters:action=fix")(("a\x02b", "c")) == ("ab", "c")
    assert make_filter("control_characters:action=fix")(("\x02", "c")) is None
    assert make_filter("zero_width")(("a\u200bb", "c")) == ("ab", "c")


@pytest.mark.parametrize(
    "pair",
    [
        ("Tora! Tora! Tora! Tora!", "Tora! Tora! Tora! Tora!"),
        ("1,000 of 10:30", "1.000 um 10.30"),
        ("two", "2"),
        ("«Привет…»", "À bientôt… »"),
        ("Ça coûte 5 € — naïve", "Ärger über Ölöfen"),
        ("A" * 5 + " https://example.org/" + "b" * 60, "B https://example.org/" + "b" * 60),
        ("٣ كتب", "3 books"),
    ],
)
def test_legitimate_pairs_are_kept(pair: Pair) -> None:
    for name in DROPPED:
        if name.partition(":")[0] not in (
            "identical",
            "alpha_ratio",
            "max_length",
            "min_length",
            "terminal_punctuation",
        ):
            assert make_filter(name)(pair) == pair


@pytest.mark.parametrize(
    ("language", "line", "kept"),
    [
        ("zh", "This is English text.", False),
        ("zh", "这是中文。", True),
        ("ru", "Это русский текст с одним словом iPhone.", True),
        ("ru", "OK", True),
        ("sr-Latn", "Ovo je srpski jezik.", True),
        ("sr-Latn", "Ово је српски језик.", False),
        ("hi", "ये हिन्दी है।", True),
        ("de", "これは日本語です。", False),
    ],
)
def test_script(language: str, line: str, kept: bool) -> None:
    assert (make_filter("script", ("en", language))(("Some English.", line)) is not None) is kept


def test_language_identification_drops_other_languages_only() -> None:
    apply = make_filter("lang_id", ("en", "de"))
    assert apply(GERMAN) == GERMAN
    assert apply((GERMAN[0], "Le vieil homme est en train de lire un journal.")) is None
    assert apply((GERMAN[1], GERMAN[1])) is None
    assert apply(("Hi.", "Salut.")) == ("Hi.", "Salut.")  # too short to be judged


def test_duplicates_are_dropped_by_side() -> None:
    pairs = [("a", "b"), ("a", "c"), ("d", "b"), ("a", "b")]
    for by, kept in (("pair", 3), ("src", 2), ("tgt", 2)):
        filters = pipeline([f"deduplicate:by={by}"], ("", ""))
        assert [filters.judge(pair)[1] for pair in pairs].count(None) == kept


def test_a_digest_set_grows_and_forgets_nothing() -> None:
    seen = DigestSet()
    texts = [str(number) for number in range(5000)] + ["", "\ud800"]
    assert all(seen.add(text) for text in texts)
    assert not any(seen.add(text) for text in texts)
    assert len(seen) == len(texts)


EXAMPLES = settings(
    max_examples=scaled(40, 1000), deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
TEXT = st.text(alphabet=st.sampled_from("ab 1.?é\x01\ud800\ufffd中\t"), max_size=12)


@EXAMPLES
@given(st.lists(st.tuples(TEXT, TEXT), max_size=30))
def test_the_counts_add_up_and_cleaning_twice_changes_nothing_more(pairs: list[Pair]) -> None:
    for name in ("harmless", "light", "strict"):
        specs = [spec for spec in PRESETS[name] if spec != "lang_id"]
        filters = pipeline(specs, ("en", "de"), examples=2)
        judged = [filters.judge(pair) for pair in pairs]
        kept = [pair for pair, reason in judged if reason is None]
        assert filters.total == len(pairs) == filters.kept + sum(t.removed for t in filters.tallies.values())
        assert filters.kept == len(kept)
        assert all(len(tally.examples) <= 2 for tally in filters.tallies.values())
        again = pipeline(specs, ("en", "de"))
        assert [again.judge(pair) for pair in kept] == [(pair, None) for pair in kept]


@pytest.mark.parametrize("spec", ["nonsense", "length_ratio:max=0", "length_ratio:max=x", "length_ratio:top=2"])
def test_a_bad_spec_names_the_filter_or_the_nearest(spec: str) -> None:
    with pytest.raises(ConfigError, match=spec.partition(":")[0]):
        make_filter(spec)


def test_filters_by_language_need_languages_that_they_know(caplog: pytest.LogCaptureFixture) -> None:
    for name in ("script", "lang_id"):
        for languages in (("", ""), ("en", "qqq")):
            with pytest.raises(UnknownLanguageError, match=name):
                make_filter(name, languages)
    assert "script:min=0.3" not in pipeline(LIGHT, ("", "")).filters
    assert "the filter script needs the languages" in caplog.text


def test_presets_combine_with_single_filters() -> None:
    specs = combined(LIGHT, ["length_ratio:max=2", "min_length"], ["mojibake"])
    assert "length_ratio:max=2" in specs
    assert "length_ratio:max=4,words=12" not in specs
    assert "mojibake" not in specs
    assert specs[-1] == "deduplicate"  # of what the other filters keep
    with pytest.raises(ConfigError, match="lang_id"):
        combined(LIGHT, [], ["lang_id"])
    with pytest.raises(ConfigError, match="twice"):
        combined([], ["empty", "empty"], [])


def test_a_file_is_a_preset(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("preset") / "mine"
    file.write_text("# mine\nempty\nlength_ratio:max=2  # stricter\n\n")
    assert preset(str(file)) == ["empty", "length_ratio:max=2"]
    with pytest.raises(ConfigError, match="harmless"):
        preset("no-such-preset")


def test_every_filter_is_described_with_its_defaults() -> None:
    assert described("length_ratio").startswith("length_ratio:max=3,words=8  Drop")
    assert {spec.partition(":")[0] for spec in STRICT} <= FILTERS.keys()
