"""Sample random syntax trees for the synthetic corpus.

No English sentence has two readings with different German words, so the corpus is a function: a place or time can
belong to one verb only, attaching the final clause elsewhere would change no word, and a comma separates main clauses
from inner ones.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

from seq2seq.data.corpora.grammar import candidates
from seq2seq.data.corpora.grammar.lexicon import lexicon
from seq2seq.data.corpora.grammar.trees import (
    Clause,
    Gap,
    Infinitive,
    NounPhrase,
    PrepositionalPhrase,
    Sentence,
    Subordinate,
    Tense,
)
from seq2seq.data.corpora.grammar.words import Adjective, Adverb, Case, Noun, Pronoun, Role, Verb

MAX_DEPTH = 3
"""Deepest nesting of clauses; a clause at this depth has no clause inside."""

T = TypeVar("T")


class TreeSampler:
    """Samples trees.

    Every choice is one call of `random()`, the only method whose values Python guarantees not to change.
    """

    def __init__(self, rng: random.Random) -> None:
        self._random = rng.random
        self._words = lexicon()

    def _chance(self, probability: float) -> bool:
        return self._random() < probability

    def _choose(self, options: Sequence[T]) -> T:
        return options[int(self._random() * len(options))]

    def _tense(self) -> Tense:
        return Tense.PAST if self._chance(0.4) else Tense.PRESENT

    # --- clauses -------------------------------------------------------------------------------------------------

    def sentence(self) -> Sentence:
        """Sample one sentence."""
        if self._chance(0.06):
            return Sentence(self._clause(self._tense(), 1, "question"), question=True)
        first = self._main_clause(self._tense(), depth=0)
        if self._chance(0.08):
            joint = "and" if self._chance(0.6) else "but"
            return Sentence(first, joint=joint, second=self._main_clause(first.tense, depth=1))
        return Sentence(first)

    def _main_clause(self, tense: Tense, depth: int) -> Clause:
        clause = self._clause(tense, depth, "main")
        place = clause.place
        if depth == 0 and self._chance(0.07):
            clause.front = self._adverbial(clause.tense, MAX_DEPTH)
        elif clause.time and self._chance(0.6):
            clause.front, clause.time = clause.time, None
        elif place and clause.verb.takes_place and not _has_relative(place.nominal) and self._chance(0.4):
            clause.front, clause.place = place, None
        elif self._chance(0.06):
            clause.front = self._choose(candidates.adverbs("sentence"))
        return clause

    def _clause(self, tense: Tense, depth: int, kind: str) -> Clause:
        """Sample a clause; `kind` is "main", "question" or the kind of its conjunction."""
        past = tense is Tense.PAST
        verb = self._choose(candidates.verbs(depth < MAX_DEPTH, past, kind == "event"))
        negated = kind not in ("question", "event") and self._chance(0.12)
        clause = Clause(self._subject(verb, depth, negated), verb, tense, negated=negated)
        modals = candidates.modals(verb.subjects, past, kind == "adverbial")
        if modals and not verb.state and kind != "event" and self._chance(0.25):
            clause.modal = self._choose(modals)
        if verb.en == "be":
            self._describe(clause)
        else:
            self._complete(clause, depth)
        if kind == "event":
            clause.frequency = None
        return clause

    def _describe(self, clause: Clause) -> None:
        """Complete "to be": the subject is somewhere or has a property."""
        subject = clause.subject
        phrase = subject if isinstance(subject, NounPhrase) else None
        tags = phrase.noun.tags if phrase else candidates.HUMAN
        if tags & candidates.LIVING and self._chance(0.3):
            clause.place = self._at_place(Role.PLACE, candidates.ANYWHERE)
        else:
            ranks = frozenset(adjective.rank for adjective in phrase.adjectives) if phrase else frozenset()
            clause.predicate = self._choose(candidates.predicates(tags, ranks))
        # "In the evening" fits a place or a state (hungry), not with a lasting quality (clever).
        if (not clause.predicate or clause.predicate.rank == candidates.STATE) and self._chance(0.2):
            clause.time = self._time(clause)

    def _complete(self, clause: Clause, depth: int) -> None:
        """Add what the verb requires and some of what it allows."""
        verb = clause.verb
        if verb.complements and depth < MAX_DEPTH and (verb.object_case is None or self._chance(0.5)):
            clause.ending = self._complement(clause, self._choose(verb.complements), depth + 1)
            return
        if verb.place:
            clause.place = self._at_place(verb.place, verb.objects)
        elif verb.object_case is not None:
            self._add_objects(clause)
        if not clause.negated:
            self._add_adjuncts(clause)
        if clause.frequency is None and not verb.state and self._chance(0.3):
            clause.time = self._time(clause)
        self._add_ending(clause, depth)

    def _add_objects(self, clause: Clause) -> None:
        verb = clause.verb
        # An indefinite object would sound wrong: "Der Frau gefällt das Buch", "wartet nicht auf den Bus".
        definite = verb.object_case is Case.NOM or (clause.negated and bool(verb.preposition))
        if verb.receiver:
            clause.receiver = self._person(clause, definite=clause.negated)
        if verb.objects >= candidates.HUMAN and not candidates.is_phrasal(verb) and self._chance(0.4):
            clause.object = self._person(clause, definite)
        else:
            clause.object = self._noun_phrase(
                candidates.nouns(verb.objects), definite=definite, negatable=clause.negated
            )

    def _add_adjuncts(self, clause: Clause) -> None:
        verb = clause.verb
        if not verb.state and clause.modal is None and self._chance(0.12):
            clause.frequency = self._choose(candidates.adverbs("frequency"))
        if verb.manners and self._chance(0.2):
            clause.manner = self._choose(candidates.adverbs(self._choose(verb.manners)))
        elif verb.takes_company and self._chance(0.15):
            clause.company = self._company(Role.COMPANY, clause)
        elif verb.takes_beneficiary and self._chance(0.2):
            clause.company = self._company(Role.BENEFICIARY, clause)
        if verb.takes_place and self._chance(0.3):
            clause.place = self._at_place(Role.PLACE, candidates.ANYWHERE)

    def _add_ending(self, clause: Clause, depth: int) -> None:
        """Add, with a probability that falls with depth, a relative clause to the last noun or one more clause."""
        phrase = _last_noun(clause)
        if phrase and not phrase.owner and depth < MAX_DEPTH and self._chance(0.25):
            phrase.relative = self._relative(phrase)
        elif self._chance((0.18, 0.09, 0.04, 0.0)[depth]):
            clause.ending = self._adverbial(clause.tense, depth + 1)
        elif depth < 2 and _can_intend(clause) and self._chance(0.06):
            clause.ending = Infinitive(self._infinitive(clause, depth + 1), purpose=True)

    def _complement(self, clause: Clause, kind: str, depth: int) -> Subordinate | Infinitive:
        """Sample the clause that completes the verb; `kind` is one of `Verb.complements`."""
        if kind == "z":
            return Infinitive(self._infinitive(clause, depth))
        conjunction = self._words.conjunctions["that" if kind == "t" else "whether"]
        tense = Tense.PAST if clause.tense is Tense.PAST else self._tense()
        return Subordinate(conjunction, (self._clause(tense, depth, conjunction.kind),))

    def _infinitive(self, clause: Clause, depth: int) -> Clause:
        """Sample what the subject of `clause` tries or wants to do."""
        inner = Clause(clause.subject, self._choose(candidates.actions()), clause.tense)
        self._complete(inner, max(depth, 2))
        inner.frequency = None
        if inner.time:
            inner.time = self._choose(candidates.times(candidates.ANY_TENSE))
        return inner

    def _adverbial(self, tense: Tense, depth: int) -> Subordinate:
        conjunction = self._choose(candidates.conjunctions(tense is Tense.PAST))
        first = self._clause(tense, depth, conjunction.kind)
        # After a clause with a final clause it would be ambiguous what "and" joins.
        if first.ending is None and self._chance(0.12):
            return Subordinate(conjunction, (first, self._clause(tense, depth, conjunction.kind)))
        return Subordinate(conjunction, (first,))

    def _relative(self, phrase: NounPhrase) -> Clause:
        """Sample a clause in which the noun is the subject or the object."""
        noun, tense = phrase.noun, self._tense()
        as_subject = candidates.verbs_with_subject(noun.tags, tense is Tense.PAST)
        as_object = candidates.verbs_with_object(noun.tags, tense is Tense.PAST)
        gap = Gap(noun, phrase.plural)
        if as_subject and self._chance(0.5):
            clause = Clause(gap, self._choose(as_subject), tense)
            if clause.verb.place:
                clause.place = self._at_place(clause.verb.place, clause.verb.objects)
            elif clause.verb.object_case is not None:
                self._add_objects(clause)
        else:
            verb = self._choose(as_object)
            clause = Clause(self._subject(verb, MAX_DEPTH), verb, tense, object=gap)
            if verb.receiver:
                clause.receiver = self._person(clause, definite=False)
        if clause.verb.takes_place and self._chance(0.2):
            clause.place = self._at_place(Role.PLACE, candidates.ANYWHERE)
        return clause

    # --- phrases -------------------------------------------------------------------------------------------------

    def _subject(self, verb: Verb, depth: int, negated: bool = False) -> NounPhrase | Pronoun:
        if "h" in verb.subjects and self._chance(0.3):
            return self._choose(candidates.pronouns())
        phrase = self._noun_phrase(
            candidates.nouns(verb.subjects), definite=negated or verb.en == "be", negatable=negated
        )
        if phrase.owner or depth == MAX_DEPTH or not phrase.noun.tags & candidates.LIVING:
            return phrase
        if self._chance(0.08):
            phrase.relative = self._relative(phrase)
        elif self._chance(0.06):
            phrase.attribute = self._attribute(phrase)
        return phrase

    def _attribute(self, phrase: NounPhrase) -> PrepositionalPhrase:
        if phrase.noun.human and self._chance(0.4):
            return PrepositionalPhrase(
                self._words.prepositions["with"], self._noun_phrase(candidates.nouns(candidates.CLOTHES))
            )
        return self._at_place(Role.PLACE, candidates.ANYWHERE)

    def _person(self, clause: Clause, definite: bool) -> NounPhrase | Pronoun:
        """Sample a person other than the subject; "I" and "we" do not occur together."""
        if self._chance(0.5):
            pronoun, subject = self._choose(candidates.pronouns()), clause.subject
            if not isinstance(subject, Pronoun) or not _overlap(pronoun, subject):
                return pronoun
        return self._noun_phrase(candidates.nouns(candidates.HUMAN), definite=definite, negatable=clause.negated)

    def _noun_phrase(self, nouns: Sequence[Noun], definite: bool = False, negatable: bool = False) -> NounPhrase:
        """Sample a noun phrase.

        Args:
            nouns: candidates.
            definite: only definite determiners.
            negatable: no quantifier or numeral, whose negation ("not every") would be ambiguous.
        """
        noun = self._choose(nouns)
        plural = not noun.mass and self._chance(0.1 if noun.place else 0.3)
        adjectives = self._adjectives(noun)
        if noun.tags & candidates.OWNED and self._chance(0.08):
            owner = self._noun_phrase(candidates.nouns(candidates.HUMAN), definite=True, negatable=True)
            return NounPhrase(noun, self._words.determiners["the"], plural, adjectives, owner)
        return NounPhrase(
            noun, self._choose(candidates.determiners(noun, plural, definite, negatable)), plural, adjectives
        )

    def _adjectives(self, noun: Noun) -> tuple[Adjective, ...]:
        suitable = candidates.adjectives(noun.tags)
        if not suitable or self._chance(0.6):
            return ()
        first, second = self._choose(suitable), self._choose(suitable)
        both = first.rank < second.rank and second.rank >= candidates.AGE and self._chance(0.5)
        return (first, second) if both else (first,)

    def _at_place(self, role: Role, tags: frozenset[str]) -> PrepositionalPhrase:
        preposition = self._choose(candidates.prepositions(role, tags))
        nouns = candidates.nouns(preposition.tags & tags)
        return PrepositionalPhrase(preposition, self._noun_phrase(nouns, definite=self._chance(0.7)))

    def _company(self, role: Role, clause: Clause) -> PrepositionalPhrase:
        preposition = self._choose(candidates.prepositions(role, candidates.HUMAN))
        return PrepositionalPhrase(preposition, self._person(clause, definite=False))

    def _time(self, clause: Clause) -> Adverb:
        tense = "T" if clause.tense is Tense.PAST else "F" if clause.modal else "P"
        return self._choose(candidates.times(tense, clause.negated))


def _has_relative(nominal: NounPhrase | Pronoun) -> bool:
    return isinstance(nominal, NounPhrase) and nominal.relative is not None


def _last_noun(clause: Clause) -> NounPhrase | None:
    """Return the noun at the end of the English clause if it is also the last noun of the German clause."""
    if clause.manner or clause.company or clause.time or isinstance(clause.receiver, NounPhrase):
        return None
    if clause.place and clause.object:
        return None
    last = clause.place.nominal if clause.place else clause.object
    return last if isinstance(last, NounPhrase) else None


def _can_intend(clause: Clause) -> bool:
    human = isinstance(clause.subject, Pronoun) or clause.subject.noun.human
    return human and not clause.negated and clause.verb in candidates.actions()


def _overlap(first: Pronoun, second: Pronoun) -> bool:
    """Return True if both pronouns include the speaker, or both the hearer."""
    return {first.person, second.person} <= {0, 3} or first.person == second.person == 1
