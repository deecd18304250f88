"""Words of the synthetic corpus: an English word with its German translation, and the forms of both."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum


class Case(IntEnum):
    """German case; the index of a form in the tuples below."""

    NOM = 0
    ACC = 1
    DAT = 2
    GEN = 3


class Role(Enum):
    """Role of a prepositional phrase; the values are those of lexicon.yaml."""

    PLACE = "L"
    GOAL = "G"
    COMPANY = "W"
    BENEFICIARY = "F"


# Words are compared and hashed by identity (eq=False): the lexicon holds one object per word.


@dataclass(frozen=True, eq=False)
class Noun:
    """An English noun and its German translation; `de` and `de_plural` hold one form per case.

    `de` has a genitive for people only: they are the only owners in the corpus, and the genitive of things is harder
    to derive.
    """

    en: str
    en_plural: str
    gender: str
    de: tuple[str, ...]
    de_plural: tuple[str, ...]
    tags: frozenset[str]

    @property
    def mass(self) -> bool:
        """A mass noun, without a plural."""
        return not self.en_plural

    @property
    def human(self) -> bool:
        """A person."""
        return "h" in self.tags

    @property
    def place(self) -> bool:
        """A place, such as a garden."""
        return "p" in self.tags


@dataclass(frozen=True, eq=False)
class Verb:
    """An English verb and its German translation, with the cases that it governs.

    `present` and `preterite` hold the forms for ich, du, er, wir and sie, without the separable `prefix`. `flags` are
    explained in lexicon.yaml.
    """

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
    place: Role | None
    flags: frozenset[str]

    @property
    def subject_case(self) -> Case:
        """Dative where the German subject is the English object ("Der Frau gefällt das Buch")."""
        return Case.DAT if self.object_case is Case.NOM else Case.NOM

    @property
    def state(self) -> bool:
        """A state rather than an action: it takes neither a modal verb nor "often"."""
        return "s" in self.flags

    @property
    def takes_place(self) -> bool:
        """May have an optional place ("sleeps in the garden"); `place` is a required one."""
        return "p" in self.flags

    @property
    def takes_company(self) -> bool:
        """May have company ("dances with a friend")."""
        return "w" in self.flags

    @property
    def takes_beneficiary(self) -> bool:
        """May have a beneficiary ("buys a hat for her")."""
        return "f" in self.flags

    @property
    def manners(self) -> list[str]:
        """Kinds of the adverbs of manner that go with it."""
        return [kind for kind in "mv" if kind in self.flags]

    @property
    def complements(self) -> list[str]:
        """Kinds of clauses that complete it: t ("that"), q ("whether"), z (infinitive)."""
        return [kind for kind in "tqz" if kind in self.flags]


@dataclass(frozen=True, eq=False)
class Modal:
    """A modal verb; `link` joins it to the English infinitive, and it has no past if `en_past` is empty."""

    en: str
    en_past: str
    link: str
    infinitive: str
    present: tuple[str, ...]
    preterite: tuple[str, ...] | None
    subjects: frozenset[str]


@dataclass(frozen=True, eq=False)
class Adjective:
    """An adjective; `stem` takes the German endings, `rank` orders two adjectives before one noun."""

    en: str
    de: str
    stem: str
    rank: int
    tags: frozenset[str]


@dataclass(frozen=True, eq=False)
class Adverb:
    """An adverb or fixed adverbial phrase; `kind` is that of lexicon.yaml, for a time its tenses."""

    en: str
    de: str
    kind: str
    comma: bool


@dataclass(frozen=True, eq=False)
class Preposition:
    """A preposition with the German case that it governs."""

    en: str
    de: str
    case: Case
    role: Role
    tags: frozenset[str]
    weight: int


@dataclass(frozen=True, eq=False)
class Determiner:
    """An article, possessive, quantifier or numeral; the English form of a number that does not exist is empty."""

    key: str
    en: str
    en_plural: str
    stem: str
    declension: str
    weight: int

    @property
    def definite(self) -> bool:
        """Refers to something known; such objects come early in the German clause."""
        return self.stem in ("d", "dies", "beid") or self.possessive

    @property
    def possessive(self) -> bool:
        """Names the owner ("my")."""
        return self.declension == "ein" and self.stem != "ein"


@dataclass(frozen=True, eq=False)
class Pronoun:
    """A personal pronoun; `de` holds nominative, accusative and dative, `person` indexes ich, du, er, wir, sie."""

    en: str
    en_object: str
    de: tuple[str, ...]
    reflexive: str
    person: int


@dataclass(frozen=True, eq=False)
class Conjunction:
    """A subordinating conjunction; it has no past if `de_past` is empty."""

    en: str
    de: str
    de_past: str
    kind: str
