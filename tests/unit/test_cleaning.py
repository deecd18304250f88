"""Training text is stripped and filtered as data.clean says; what was dropped is counted in the log."""

import pytest

from seq2seq.config.data import Clean, DataConfig
from seq2seq.config.loading import to_config
from seq2seq.data.corpus import ParallelText
from seq2seq.data.filters.presets import PRESETS, pipeline
from seq2seq.data.text import cleaning
from seq2seq.data.text.cleaning import clean, cleaned
from seq2seq.errors import DataError


def test_clean_drops_pairs_with_a_blank_side_and_only_strips_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "seq2seq")
    text = ParallelText([" a ", "b", "\u3000", "", "c  \u2028 d"], ["A", " ", "x", "", "e\u0301"])
    assert list(clean(text)) == [("a", "A"), ("c  \u2028 d", "e\u0301")]
    assert caplog.messages == ["dropped 3 of 5 training pairs: one side is blank"]


def test_clean_text_is_unchanged_and_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "seq2seq")
    text = ParallelText(["a"], ["A"])
    assert clean(text) == text
    assert not caplog.messages


DIRTY = [
    ("Some words here.", "Einige Wörter hier."),
    ("Some words here.", "Einige Wörter hier."),
    ("\ud800", "b"),
    ("", "b"),
    ("This is not translated.", "This is not translated."),
    ("He is over there now.", "Er ist jetzt da drÃ¼ben."),
]


@pytest.mark.parametrize(
    ("preset", "kept", "messages"),
    [
        (Clean.none, 5, ["dropped 1 of 6 training pairs: one side is blank"]),
        (Clean.harmless, 4, ["dropped 2 of 6 training pairs: one side is blank 1, an unpaired surrogate or NUL 1"]),
        (
            Clean.light,
            2,
            [
                "dropped 4 of 6 training pairs: one side is blank 1, an unpaired surrogate or NUL 1, "
                "both sides are the same text 1, a duplicate 1",
                "repaired training pairs: wrongly decoded characters 1",
            ],
        ),
    ],
)
def test_presets_log_what_they_dropped(
    preset: Clean, kept: int, messages: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "seq2seq")
    config = DataConfig(src="en", tgt="de", clean=preset)
    result = list(cleaned(DIRTY, config))
    assert len(result) == kept
    assert caplog.messages == messages
    assert list(cleaned(DIRTY, config)) == result  # as a resumed run reads it


@pytest.mark.parametrize("block_pairs", [1, 2, 3, 7])
@pytest.mark.parametrize("preset", [Clean.none, Clean.harmless])
def test_the_look_at_blocks_changes_nothing(preset: Clean, block_pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [
        ("a", "b"),
        ("", "b"),
        ("a", " "),
        ("c", "d"),
        ("e\n\nf", "g"),
        ("", ""),
        ("\0", "b"),
        ("a", "\ud800"),
        ("h", "i"),
    ]
    config = DataConfig(src="en", tgt="de", clean=preset)
    filters = pipeline(PRESETS[preset.name], ("en", "de"))
    expected = [pair for pair in ((src.strip(), tgt.strip()) for src, tgt in pairs) if filters.judge(pair)[1] is None]
    monkeypatch.setattr(cleaning, "BLOCK_PAIRS", block_pairs)
    for start in range(len(pairs)):
        rotated = pairs[start:] + pairs[:start]
        assert sorted(cleaned(rotated, config)) == sorted(expected)


def test_text_of_which_nothing_is_left_is_an_error() -> None:
    with pytest.raises(DataError, match=r"all 2 have a blank side"):
        list(cleaned([("", "a"), ("b", " ")]))
    with pytest.raises(DataError, match=r"all 1 have a blank side"):
        list(cleaned([("", "")]))
    with pytest.raises(DataError, match=r"data\.clean.*same text"):
        list(cleaned([("one two three", "one two three")], DataConfig(src="en", tgt="de", clean=Clean.light)))


def test_cleaning_is_a_stream() -> None:
    def endless() -> "object":
        while True:
            yield "a", "b"

    assert next(iter(cleaned(endless()))) == ("a", "b")  # type: ignore[arg-type]


def test_a_stored_config_of_an_older_version_keeps_its_rule() -> None:
    assert to_config({"data": {"src": "en", "tgt": "de"}}).data.clean is Clean.none
