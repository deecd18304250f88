"""The words of the synthetic corpus with all their forms: lexicon.yaml plus the regular inflection."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Literal

from seq2seq.data.corpora.grammar import inflection
from seq2seq.data.corpora.grammar.tables import Maker, read_tables


class Case(IntEnum):
    """German case; the index of a form in the tuples below."""

    NOM = 0
    ACC = 1
    DAT = 2
    GEN = 3


FILE = Path(__file__).with_name("lexicon.yaml")

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
    """An adverb or fixed adverbial phrase; `kind` is as in lexicon.yaml, or the tenses of a time."""

    en: str
    de: str
    kind: str
    comma: bool


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
    """Read lexicon.yaml, once.

    Raises:
        DataError: the file is missing or an entry is wrong; the message names it.
    """
    return load(FILE)


def load(file: Path) -> Lexicon:
    """Read the words of a file with the keys of lexicon.yaml."""
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


# --- entries of lexicon.yaml -----------------------------------------------------------------------------------------
# Each function makes the word of one entry and returns it with its name. Its arguments are the keys of the entry.

CaseName = Literal["NOM", "ACC", "DAT"]
Gender = Literal["m", "f", "n"]
Place = Literal["L", "G"]
Role = Literal["L", "G", "W", "F"]
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
    place: Place | None = None,
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
        place=place or "",
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


def _preposition(*, en: str, de: str, case: CaseName, role: Role, tags: str, weight: int) -> tuple[str, Preposition]:
    return en, Preposition(en, de, Case[case], role, frozenset(tags), weight)


def _determiner(
    *, declension: Declension, weight: int, en: str = "", en_plural: str = "", de: str = ""
) -> tuple[str, Determiner]:
    key = en or en_plural
    return key, Determiner(key, en, en_plural, de, declension, weight)


def _pronoun(*, en: str, en_object: str, de: list[str], reflexive: str, person: int) -> tuple[str, Pronoun]:
    return en, Pronoun(en, en_object, tuple(de), reflexive, person)


def _conjunction(*, en: str, de: str, kind: ConjunctionKind, de_past: str = "") -> tuple[str, Conjunction]:
    return en, Conjunction(en, de, de_past, kind)
