"""Syntax trees of the synthetic corpus; `english` and `german` turn the same tree into a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from seq2seq.data.corpora.grammar.words import (
    Adjective,
    Adverb,
    Conjunction,
    Determiner,
    Modal,
    Noun,
    Preposition,
    Pronoun,
    Verb,
)


class Tense(Enum):
    """English past is the German perfect (or the preterite of a few verbs); "will" is a modal verb here."""

    PRESENT = "present"
    PAST = "past"


@dataclass(slots=True)
class NounPhrase:
    """Such as "my old friend" or "the teacher's dog that sleeps"; an owner is a person and replaces "the"."""

    noun: Noun
    determiner: Determiner
    plural: bool = False
    adjectives: tuple[Adjective, ...] = ()
    owner: NounPhrase | None = None
    attribute: PrepositionalPhrase | None = None
    relative: Clause | None = None


@dataclass(slots=True)
class Gap:
    """The subject or object of a relative clause, replaced by a relative pronoun for `noun` in front of the clause."""

    noun: Noun
    plural: bool = False


Nominal = NounPhrase | Pronoun | Gap


@dataclass(slots=True)
class PrepositionalPhrase:
    """Such as "in the garden"."""

    preposition: Preposition
    nominal: NounPhrase | Pronoun


@dataclass(slots=True)
class Clause:
    """A verb with its subject, objects and adverbials; an adverbial in `front` precedes the subject."""

    subject: Nominal
    verb: Verb
    tense: Tense = Tense.PRESENT
    modal: Modal | None = None
    negated: bool = False
    receiver: Nominal | None = None
    object: Nominal | None = None
    predicate: Adjective | None = None
    frequency: Adverb | None = None
    manner: Adverb | None = None
    time: Adverb | None = None
    company: PrepositionalPhrase | None = None
    place: PrepositionalPhrase | None = None
    front: Adverb | PrepositionalPhrase | Subordinate | None = None
    ending: Subordinate | Infinitive | None = None


@dataclass(slots=True)
class Subordinate:
    """Such as "because the man sleeps" or "because the man sleeps and the dog runs away"."""

    conjunction: Conjunction
    clauses: tuple[Clause, ...]


@dataclass(slots=True)
class Infinitive:
    """Such as "to call the woman", with `purpose` "in order to call the woman"; the subject is not expressed."""

    clause: Clause
    purpose: bool = False


@dataclass(slots=True)
class Sentence:
    """One main clause, a yes-no question, or two main clauses joined by "and" or "but"."""

    clause: Clause
    question: bool = False
    joint: str = ""
    second: Clause | None = None
