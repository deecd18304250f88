"""The words of the synthetic corpus with all their forms: the tables of `vocabulary` plus the regular inflection."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cache

from seq2seq.data.corpora.grammar import vocabulary


class Case(IntEnum):
    """German case; the index of a form in the tuples below."""

    NOM = 0
    ACC = 1
    DAT = 2
    GEN = 3


CASES = {"N": Case.NOM, "A": Case.ACC, "D": Case.DAT}
IRREGULAR_THIRD = {"have": "has", "be": "is"}

# Words are compared and hashed as objects (eq=False): each exists once, in the lexicon.


@dataclass(frozen=True, eq=False)
class Noun:
    """An English noun and its German translation; `de` and `de_plural` hold one form per case.

    Only people have a genitive singular: nothing else owns anything here, and of the others it is harder to predict.
    """

    en: str
    en_plural: str
    gender: str
    de: tuple[str, ...]
    de_plural: tuple[str, ...]
    tags: frozenset[str]

    @property
    def mass(self) -> bool:
        """Whether it has no plural."""
        return not self.en_plural


@dataclass(frozen=True, eq=False)
class Verb:
    """A verb pair with the cases it governs. `present` and `preterite` hold ich, du, er, wir, sie; without `prefix`."""

    en: str
    en_third: str
    en_past: str
    infinitive: str
    prefix: str
    present: tuple[str, ...]
    preterite: tuple[str, ...] | None
    participle: str
    with_sein: bool
    reflexive: bool
    subjects: frozenset[str]
    objects: frozenset[str]
    preposition: str
    object_case: Case | None
    receiver: bool
    place: str
    flags: frozenset[str]

    @property
    def subject_case(self) -> Case:
        """Dative where the German subject is the English object ("Der Frau gefällt das Buch")."""
        return Case.DAT if self.object_case is Case.NOM else Case.NOM


@dataclass(frozen=True, eq=False)
class Modal:
    """A modal verb; `link` joins it to the English infinitive, and no `en_past` means no past."""

    en: str
    en_past: str
    link: str
    infinitive: str
    present: tuple[str, ...]
    preterite: tuple[str, ...] | None
    subjects: frozenset[str]


@dataclass(frozen=True, eq=False)
class Adjective:
    """An adjective; `stem` takes the German endings, `rank` orders two of them."""

    en: str
    de: str
    stem: str
    rank: int
    tags: frozenset[str]


@dataclass(frozen=True, eq=False)
class Adverb:
    """An adverb or fixed adverbial phrase; `kind` is as in the tables, or the tenses of a time."""

    en: str
    de: str
    kind: str


@dataclass(frozen=True, eq=False)
class Preposition:
    """A preposition, the German case it governs, and its role: L place, G goal, W company, F for someone."""

    en: str
    de: str
    case: Case
    role: str
    tags: frozenset[str]
    weight: int


@dataclass(frozen=True, eq=False)
class Determiner:
    """An article, possessive, quantifier or numeral; an English form is empty where the number does not exist."""

    key: str
    en: str
    en_plural: str
    stem: str
    declension: str
    weight: int

    @property
    def definite(self) -> bool:
        """Whether it points at something known: such objects come early in the German clause."""
        return self.stem in ("d", "dies", "beid") or (self.declension == "ein" and self.stem != "ein")

    @property
    def possessive(self) -> bool:
        """Whether it says whose."""
        return self.declension == "ein" and self.stem != "ein"


@dataclass(frozen=True, eq=False)
class Pronoun:
    """A personal pronoun; `de` holds nominative, accusative and dative, `person` counts ich, du, er, wir, sie."""

    en: str
    en_object: str
    de: tuple[str, ...]
    reflexive: str
    person: int


@dataclass(frozen=True, eq=False)
class Conjunction:
    """A subordinating conjunction; an empty `de_past` means that it takes no past."""

    en: str
    de: str
    de_past: str
    kind: str


@dataclass(frozen=True, eq=False)
class Lexicon:
    """All words by their English base form."""

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
    """Parse the tables, once."""
    nouns = [_noun(kind, entry) for kind, entry in _noun_entries()]
    return Lexicon(
        nouns={noun.en: noun for noun in nouns},
        verbs={row[0].partition("/")[0].replace("_", " "): _verb(*row) for row in _rows(vocabulary.VERBS)},
        modals={row[0]: _modal(*row) for row in _rows(vocabulary.MODALS)},
        adjectives={row[0]: _adjective(*row) for row in _rows(vocabulary.ADJECTIVES)},
        adverbs={_text(row[0]): _adverb(*row) for row in _rows(vocabulary.ADVERBS)},
        times={_text(row[0]): _adverb(*row) for row in _rows(vocabulary.TIMES)},
        prepositions={_text(row[0]): _preposition(*row) for row in _rows(vocabulary.PREPOSITIONS)},
        determiners={word.key: word for word in (_determiner(*row) for row in _rows(vocabulary.DETERMINERS))},
        pronouns={row[0]: _pronoun(*row) for row in _rows(vocabulary.PRONOUNS)},
        conjunctions={row[0]: _conjunction(*row) for row in _rows(vocabulary.CONJUNCTIONS)},
    )


def lemma_count() -> int:
    """Count the distinct German base forms, each word class on its own."""
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


def _rows(table: str) -> list[list[str]]:
    return [line.split() for line in table.strip().splitlines()]


def _noun_entries() -> Iterator[tuple[str, list[str]]]:
    for line in vocabulary.NOUNS.strip().splitlines():
        kind, _, entries = line.partition(": ")
        for entry in entries.split(", "):
            yield kind, entry.split()


def _text(field: str) -> str:
    return "" if field == "-" else field.replace("_", " ")


def _noun(kind: str, fields: list[str]) -> Noun:
    english, gender, german, plural, *tags = fields
    en, _, en_plural = english.partition("/")
    weak, mass = gender == "w", plural == "-"
    singular = (german, *[plural if weak else german] * 2)
    return Noun(
        en=en,
        en_plural="" if mass else en_plural or _add_s(en),
        gender="m" if weak else gender,
        de=(*singular, plural if weak else _genitive(german, gender)) if kind == "h" else singular,
        de_plural=() if mass else (plural, plural, plural if plural[-1] in "ns" else plural + "n", plural),
        tags=frozenset(kind + "".join(tags)),
    )


def _genitive(noun: str, gender: str) -> str:
    """Add -es to one syllable, -s to more."""
    if gender == "f":
        return noun
    syllables = re.findall("[aeiouäöü]+", noun.lower())
    return noun + ("es" if len(syllables) == 1 else "s")


def _add_s(word: str) -> str:
    """Add the English -s of plurals and of the third person."""
    if word.endswith(("s", "x", "z", "ch", "sh", "o")):
        return word + "es"
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


def _add_ed(word: str) -> str:
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ied"
    return word + ("d" if word.endswith("e") else "ed")


def _verb(english: str, german: str, change: str, participle: str, subjects: str, arguments: str, flags: str) -> Verb:
    en, _, past = english.partition("/")
    en = _text(en.partition("#")[0])
    head, space, rest = en.partition(" ")
    reflexive, german = german.startswith("sich_"), german.removeprefix("sich_")
    prefix, _, infinitive = german.rpartition("|")
    frame, _, tags = arguments.rpartition(":")
    preposition, _, case = frame.rpartition("+")
    place = case if case in ("L", "G") else ""
    return Verb(
        en=en,
        en_third=IRREGULAR_THIRD.get(head) or _add_s(head) + space + rest,
        en_past=_text(past) or _add_ed(head) + space + rest,
        infinitive=infinitive,
        prefix=prefix,
        present=_present(infinitive, change.strip("-")),
        preterite=_preterite(vocabulary.PRETERITES.get(infinitive)),
        participle=participle.strip("+-") or _participle(prefix, infinitive),
        with_sein=participle.startswith("+"),
        reflexive=reflexive,
        subjects=frozenset(subjects.strip("-")),
        objects=frozenset(tags.strip("-")),
        preposition=preposition,
        object_case=None if place or not frame else Case.ACC if case == "DA" else CASES[case],
        receiver=case == "DA",
        place=place,
        flags=frozenset(flags.strip("-")),
    )


def _stem(infinitive: str) -> str:
    return infinitive.removesuffix("en") if infinitive.endswith("en") else infinitive.removesuffix("n")


def _needs_e(stem: str) -> bool:
    """Whether -t and -st need an -e- before them: du arbeitest, es öffnet, but er lernt, sie filmt."""
    return stem[-1] in "dt" or (stem[-1] in "mn" and stem[-2] not in "aeiouäöülrhmn")


def _present(infinitive: str, change: str) -> tuple[str, ...]:
    for row in _rows(vocabulary.IRREGULAR):
        if row[0] == infinitive:
            return (*row[1:], row[-1])
    stem = _stem(infinitive)
    first = stem[:-2] + "le" if infinitive.endswith("eln") else stem + "e"
    joint = "e" if not change and _needs_e(stem) else ""
    stem = change or stem
    second = stem + joint + ("t" if stem[-1] in "sßzx" else "st")
    third = stem if change.endswith("t") else stem + joint + "t"
    return (first, second, third, infinitive, infinitive)


def _preterite(first: str | None) -> tuple[str, ...] | None:
    if first is None:
        return None
    plural = first + ("n" if first.endswith("e") else "en")
    return (first, first + "st", first, plural, plural)


def _participle(prefix: str, infinitive: str) -> str:
    stem = _stem(infinitive)
    joint = "e" if _needs_e(stem) else ""
    unstressed = infinitive.startswith(("be", "ver", "er", "ent", "zer", "ge")) or infinitive.endswith("ieren")
    return prefix + ("" if unstressed else "ge") + stem + joint + "t"


def _modal(en: str, link: str, past: str, infinitive: str, *forms: str) -> Modal:
    *present, preterite, subjects = forms
    return Modal(
        en=en,
        en_past=_text(past),
        link=_text(link),
        infinitive=infinitive,
        present=(*present, present[-1]),
        preterite=_preterite(_text(preterite) or None),
        subjects=frozenset(subjects),
    )


def _adjective(en: str, german: str, rank: str, tags: str) -> Adjective:
    de, _, stem = german.partition("/")
    return Adjective(en, de, stem or de, int(rank), frozenset(tags))


def _adverb(en: str, de: str, kind: str) -> Adverb:
    return Adverb(_text(en), _text(de), kind)


def _preposition(en: str, de: str, case: str, role: str, tags: str, weight: str) -> Preposition:
    return Preposition(_text(en), de, CASES[case], role, frozenset(tags), int(weight))


def _determiner(en: str, plural: str, stem: str, declension: str, weight: str) -> Determiner:
    singular, plural = _text(en), _text(plural)
    return Determiner(singular or plural, singular, plural, _text(stem), declension, int(weight))


def _pronoun(
    en: str, en_object: str, nominative: str, accusative: str, dative: str, reflexive: str, person: str
) -> Pronoun:
    return Pronoun(en, en_object, (nominative, accusative, dative), reflexive, int(person))


def _conjunction(en: str, de: str, past: str, kind: str) -> Conjunction:
    return Conjunction(en, de, _text(past), kind)
