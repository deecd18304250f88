"""Codes of one language are the same language, wherever corpora and filters compare them."""

from __future__ import annotations

import pytest

from seq2seq.data.filters.language import LangId
from seq2seq.data.index.language_codes import base_code
from seq2seq.data.text.scripts import expected_scripts


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ("de deu ger de_DE DE-at deu_Latn", "de"),
        ("en eng en-GB eng_Latn", "en"),
        ("zh zho chi cmn zh_Hant zho_Hans", "zh"),
        ("no nb nob nb_NO", "no"),
        ("he heb iw", "he"),
        ("sr srp sr-Cyrl", "sr"),
        ("ar ara arb_Arab", "ar"),
        ("yue", "yue"),
        ("xx", "xx"),
    ],
)
def test_every_code_of_a_language_has_one_base(codes: str, expected: str) -> None:
    assert {base_code(code) for code in codes.split()} == {expected}


def test_scripts_and_identification_know_codes_of_three_letters() -> None:
    assert expected_scripts("rus") == expected_scripts("ru") == ("CYRILLIC",)
    assert expected_scripts("ger") == ("LATIN",)
    assert expected_scripts("srp_Latn") == ("LATIN",)
    assert expected_scripts("xx") is None
    line = "Das ist ein deutscher Satz, der lang genug ist."
    assert LangId(src="deu", tgt="eng")((line, "This is an English sentence, which is long enough."))
    assert LangId(src="eng", tgt="deu")((line, "This is an English sentence, which is long enough.")) is None
