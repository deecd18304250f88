"""Glossary: matching of terms in lines of any script, and one clear message for every invalid file."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling import scaled
from seq2seq.errors import DataError
from seq2seq.inference.glossary import Glossary

EXAMPLES = settings(max_examples=scaled(200, 5000), deadline=None, derandomize=True)


def matches(line: str, *terms: str) -> list[str]:
    """The terms that a glossary finds in `line`; every term is its own target."""
    return [target[1:-1] for target in Glossary({term: f"[{term}]" for term in terms}).terms_for(line)]


# --- matching of terms in lines ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "terms", "expected"),
    [
        ("the art of the party", ["art", "of"], ["art", "of"]),
        ("party, artful", ["art"], []),
        ("(art), art! 'art'-art", ["art"], ["art"] * 4),
        ("art2 2art", ["art"], []),
        ("a sea horse, a horse", ["horse", "sea horse", "sea"], ["sea horse", "horse"]),
        ("a sea horseshoe", ["sea horse", "sea"], ["sea"]),
        ("a b c d", ["b c d", "a b"], ["a b"]),  # from left to right
        ("C++ and C", ["C", "C++"], ["C++", "C"]),
        ("C++11", ["C++"], ["C++"]),  # a term that ends in no letter needs no word boundary
        ("a New\u00a0York, a New  York", ["New York"], ["New York", "New York"]),
        ("ART", ["art"], []),
        ("", ["art"], []),
        ("!?", ["art"], []),
    ],
)
def test_whole_words_longest_first_without_overlap(line: str, terms: list[str], expected: list[str]) -> None:
    assert matches(line, *terms) == expected


@pytest.mark.parametrize(
    ("line", "terms", "expected"),
    [
        ("Sea horses", ["sea horses"], ["sea horses"]),
        ("«Sea horses»", ["sea horses"], ["sea horses"]),
        ("The Sea horses", ["sea horses"], []),
        ("Sea Horses", ["sea horses"], []),
        ("May is a month", ["may", "May"], ["May"]),
        ("May Day", ["may Day", "May"], ["may Day"]),  # the longest, whatever its case
        ("May", ["may", "May", "may Day"], ["May"]),
        ("may", ["May"], []),
        ("Élan vital", ["élan"], ["élan"]),
        ("Это день", ["это"], ["это"]),
        ("Ώρα", ["ώρα"], ["ώρα"]),
        ("ǅ ǆ", ["ǆ"], ["ǆ", "ǆ"]),
    ],
)
def test_the_first_word_may_have_a_capital(line: str, terms: list[str], expected: list[str]) -> None:
    assert matches(line, *terms) == expected


@pytest.mark.parametrize(
    ("line", "terms", "expected"),
    [
        ("Die Straßenbahn und die Straße", ["Straße"], ["Straße"]),
        ("день, полдень", ["день"], ["день"]),
        ("कला और कल", ["कल"], ["कल"]),  # a vowel sign is part of the word, though no letter
        ("क्षेत्र", ["क", "क्ष"], []),
        ("كتابه كتاب", ["كتاب"], ["كتاب"]),
        ("می‌خواهم", ["خواهم", "می"], []),  # joined by a zero-width non-joiner
        ("서울은 서울", ["서울"], ["서울"]),
        ("私は東京都に住む", ["東京", "東京都"], ["東京都"]),
        ("新しいiPhoneを買う", ["iPhone", "買う"], ["iPhone", "買う"]),
        ("新しいiPhonesを買う", ["iPhone"], []),
        ("ผมอยู่กรุงเทพครับ", ["กรุงเทพ"], ["กรุงเทพ"]),
        ("ที่นี่", ["ท"], []),  # the marks above it belong to the letter
        ("は ば", ["は"], ["は"]),
        ("cafe\u0301 cafe", ["cafe"], ["cafe"]),  # the first is café
        ("x\u0323\u20d7 x", ["x"], ["x"]),  # marks that no single character holds
        ("👍🏽 👍", ["👍 👍"], []),
    ],
)
def test_scripts(line: str, terms: list[str], expected: list[str]) -> None:
    assert matches(line, *terms) == expected


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_composed_and_decomposed_letters_are_the_same(tmp_path: Path, form: str) -> None:
    path = tmp_path / "glossary.tsv"
    path.write_text(unicodedata.normalize(form, "café\tカフェー、ガ\n"), encoding="utf-8")
    glossary = Glossary.read(path)
    for line in ("un café", unicodedata.normalize("NFD", "un café")):
        assert glossary.terms_for(line) == ["カフェー、ガ"]


TEXT = st.text("aabBé1-' ", max_size=16)
TERM = st.text("aabBé1-' ", min_size=1, max_size=5).map(lambda term: " ".join(term.split())).filter(bool)


def plain_terms(terms: dict[str, str], line: str) -> list[str]:
    """The definition by characters: try all terms at every position."""
    line = " ".join(line.split())

    def is_edge(i: int) -> bool:
        return not (0 < i < len(line) and line[i - 1].isalnum() and line[i].isalnum())

    first = next((i for i, char in enumerate(line) if char.isalnum()), None)
    targets = []
    i = 0
    while i < len(line):
        forms = {source[0].upper() + source[1:]: target for source, target in terms.items()} if i == first else {}
        here = {
            len(source): target
            for source, target in {**forms, **terms}.items()
            if line.startswith(source, i) and is_edge(i) and is_edge(i + len(source))
        }
        if here:
            targets.append(here[max(here)])
        i += max(here, default=1)
    return targets


@EXAMPLES
@given(terms=st.dictionaries(TERM, st.sampled_from("xyz"), max_size=8), line=TEXT)
def test_equals_the_definition_by_characters(terms: dict[str, str], line: str) -> None:
    assert Glossary(terms).terms_for(line) == plain_terms(terms, line)


@pytest.fixture(scope="module")
def large() -> Glossary:
    single = {f"word{i}": "one" for i in range(10_000)}
    return Glossary({**single, **{f"word{i} word{i + 1}": "two" for i in range(10_000)}})


@pytest.mark.timeout(20)  # quadratic time would be minutes
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("word7 word8x " * 10_000, 10_000),
        ("word1 word2 " * 10_000, 10_000),
        ("a" * 100_000, 0),
        ("東" * 100_000, 0),
        ("a\u0308\u0323" * 50_000, 0),
        (" " * 100_000, 0),
    ],
)
def test_time_is_linear_in_line_and_glossary(large: Glossary, line: str, expected: int) -> None:
    assert len(large.terms_for(line)) == expected


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        "# animals\n\nsea horse\tSeepferd\n \t \nfox\tFuchs\n#cat\tKatze\n",
        "\ufeffsea horse\tSeepferd\r\nfox\tFuchs\r\n",
        " sea  horse \t Seepferd \nfox\tFuchs",
        "fox\tFuchs\nsea horse\tSeepferd\nfox\tFuchs\n",
        "\ufeff# after a byte-order mark\nsea horse\tSeepferd\nfox\tFuchs\n",
    ],
)
def test_accepted_files(tmp_path: Path, data: str) -> None:
    path = tmp_path / "glossary.tsv"
    path.write_bytes(data.encode())
    assert Glossary.read(path).terms_for("a fox, a sea horse, a #cat, a cat") == ["Fuchs", "Seepferd"]


def test_an_empty_file_has_no_terms(tmp_path: Path) -> None:
    path = tmp_path / "glossary.tsv"
    path.write_bytes(b"")
    assert Glossary.read(str(path)).terms_for("a fox") == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "no such file"),
        (b"fox\tFuchs\ncat Katze\n", "line 2: no tabs"),
        (b"# animals\n\nfox\tFuchs\tm\n", "line 3: 2 tabs"),
        (b"fox\t \n", "line 1: the target term is empty"),
        (b"fox\tFuchs\n\tKatze\n", "line 2: the source term is empty"),
        (b"caf\xe9\tx\n", r"line 1: not UTF-8 \(byte 0xe9 at position 4\)"),
        ("fox\tFuchs\n".encode("utf-16"), "UTF-16 text: convert it"),
        ("fox\tFuchs\n".encode("utf-16-le"), "line 1: a NUL byte"),
        (b"fox\tFuchs\n\ncat\tKatze\nfox\tReineke\n", "line 4: 'fox' has the target 'Reineke', but 'Fuchs' in line 1"),
        ("é\tx\ne\u0301\ty\u2028z\n".encode(), "line 2: 'é' has the target 'y z', but 'x' in line 1"),
    ],
)
def test_an_invalid_file_gives_a_one_line_error_that_names_it(tmp_path: Path, data: bytes | None, message: str) -> None:
    path = tmp_path / "glossary.tsv"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        Glossary.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
