"""The words of the synthetic corpus with all their forms: lexicon.yaml plus the regular inflection."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from seq2seq.data.corpora.grammar import inflection
from seq2seq.data.corpora.grammar.words import (
    Adjective,
    Adverb,
    Case,
    Conjunction,
    Determiner,
    Modal,
    Noun,
    Preposition,
    Pronoun,
    Role,
    Verb,
)
from seq2seq.data.corpora.grammar.yaml_tables import Maker, read_tables

FILE = Path(__file__).with_name("lexicon.yaml")


@dataclass(frozen=True, eq=False)
class Lexicon:
    """All words by their English base form, or by the `key` of their entry."""

    nouns: dict[str, Noun]
    verbs: dict[str, Verb]
    modals: dict[str, Modal]
    adjectives: dict[str, Adjective]
    adverbs: dict[str, Adverb]
    times: dict[str, Adverb]
    prepositions: dict[str, Preposition]
    determiners: dict[str, Determiner]
    pronouns: dict[str, Pronoun]
    conjunctions: dict[str, Conjunction]


@cache
def lexicon() -> Lexicon:
    """Return the words of lexicon.yaml; the file is read once.

    Raises:
        DataError: the file is missing or an entry is invalid; the message names it.
    """
    return load(FILE)


def load(file: Path) -> Lexicon:
    """Read the words of a file in the format of lexicon.yaml; raises as `lexicon`."""
    makers: dict[str, Maker] = {
        "nouns": _noun,
        "verbs": _verb,
        "modals": _modal,
        "adjectives": _adjective,
        "adverbs": _adverb,
        "times": _time,
        "prepositions": _preposition,
        "determiners": _determiner,
        "pronouns": _pronoun,
        "conjunctions": _conjunction,
    }
    return Lexicon(**read_tables(file, makers))


def lemma_count() -> int:
    """Return the number of distinct German base forms, counted separately for each word class."""
    words = lexicon()
    return sum(
        len(set(lemmas))
        for lemmas in (
            [noun.de[Case.NOM] for noun in words.nouns.values()],
            [verb.prefix + verb.infinitive for verb in words.verbs.values()],
            [modal.infinitive for modal in words.modals.values()],
            [adjective.de for adjective in words.adjectives.values()],
            [adverb.de for adverb in (*words.adverbs.values(), *words.times.values())],
            [preposition.de for preposition in words.prepositions.values()],
            [determiner.stem for determiner in words.determiners.values() if determiner.stem],
            [pronoun.de[Case.NOM] for pronoun in words.pronouns.values()],
            [conjunction.de for conjunction in words.conjunctions.values()],
        )
    )


# --- entries of lexicon.yaml -----------------------------------------------------------------------------------------
# Each function builds the word of one entry and returns it with its name. Its arguments are the keys of the entry.

CaseName = Literal["NOM", "ACC", "DAT"]
Gender = Literal["m", "f", "n"]
PlaceName = Literal["L", "G"]
RoleName = Literal["L", "G", "W", "F"]
AdverbKind = Literal["m", "v", "frequency", "sentence"]
Declension = Literal["der", "ein", "viel", "bare"]
ConjunctionKind = Literal["complement", "adverbial", "event"]


def _noun(
    *, en: str, de: str, gender: Gender, tags: str, en_plural: str = "", de_plural: str = "", weak: bool = False
) -> tuple[str, Noun]:
    singular = (de, *[de_plural if weak else de] * 2)
    genitive = de_plural if weak else inflection.genitive(de, gender)
    mass = not de_plural
    return en, Noun(
        en=en,
        en_plural="" if mass else en_plural or inflection.add_s(en),
        gender=gender,
        de=(*singular, genitive) if "h" in tags else singular,
        de_plural=() if mass else (de_plural, de_plural, inflection.dative_plural(de_plural), de_plural),
        tags=frozenset(tags),
    )


def _verb(
    *,
    en: str,
    de: str,
    subjects: str,
    key: str = "",
    en_third: str = "",
    en_past: str = "",
    prefix: str = "",
    reflexive: bool = False,
    changed_stem: str = "",
    present: list[str] | None = None,
    preterite: str = "",
    participle: str = "",
    sein: bool = False,
    preposition: str = "",
    case: CaseName | None = None,
    receiver: bool = False,
    objects: str = "",
    place: PlaceName | None = None,
    flags: str = "",
) -> tuple[str, Verb]:
    head, space, rest = en.partition(" ")
    return key or en, Verb(
        en=en,
        en_third=en_third or inflection.add_s(head) + space + rest,
        en_past=en_past or inflection.add_ed(head) + space + rest,
        infinitive=de,
        prefix=prefix,
        present=(*present, present[-1]) if present else inflection.present(de, changed_stem),
        preterite=inflection.preterite(preterite),
        participle=participle or inflection.participle(prefix, de),
        with_sein=sein,
        reflexive=reflexive,
        subjects=frozenset(subjects),
        objects=frozenset(objects),
        preposition=preposition,
        object_case=Case[case] if case else None,
        receiver=receiver,
        place=Role(place) if place else None,
        flags=frozenset(flags),
    )


def _modal(
    *, en: str, de: str, present: list[str], subjects: str, link: str = "", en_past: str = "", preterite: str = ""
) -> tuple[str, Modal]:
    return en, Modal(
        en=en,
        en_past=en_past,
        link=link,
        infinitive=de,
        present=(*present, present[-1]),
        preterite=inflection.preterite(preterite),
        subjects=frozenset(subjects),
    )


def _adjective(*, en: str, de: str, rank: int, tags: str, stem: str = "") -> tuple[str, Adjective]:
    return en, Adjective(en, de, stem or de, rank, frozenset(tags))


def _adverb(*, en: str, de: str, kind: AdverbKind, comma: bool = False) -> tuple[str, Adverb]:
    return en, Adverb(en, de, kind, comma)


def _time(*, en: str, de: str, tenses: str) -> tuple[str, Adverb]:
    return en, Adverb(en, de, tenses, comma=False)


def _preposition(
    *, en: str, de: str, case: CaseName, role: RoleName, tags: str, weight: int
) -> tuple[str, Preposition]:
    return en, Preposition(en, de, Case[case], Role(role), frozenset(tags), weight)


def _determiner(
    *, declension: Declension, weight: int, en: str = "", en_plural: str = "", de: str = ""
) -> tuple[str, Determiner]:
    key = en or en_plural
    return key, Determiner(key, en, en_plural, de, declension, weight)


def _pronoun(*, en: str, en_object: str, de: list[str], reflexive: str, person: int) -> tuple[str, Pronoun]:
    return en, Pronoun(en, en_object, tuple(de), reflexive, person)


def _conjunction(*, en: str, de: str, kind: ConjunctionKind, de_past: str = "") -> tuple[str, Conjunction]:
    return en, Conjunction(en, de, de_past, kind)
