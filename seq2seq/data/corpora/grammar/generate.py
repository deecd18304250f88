"""Random trees of the synthetic corpus, and the pairs of sentences made of them.

No English sentence has two readings with different German words, so the corpus is a function: a place or time can only
belong to one verb, where a clause at the end belongs changes no word, and a comma parts main clauses from inner ones.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

from seq2seq.data.corpora.grammar import english, german, pools
from seq2seq.data.corpora.grammar.lexicon import Adjective, Adverb, Case, Noun, Pronoun, Verb, lexicon
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

MIN_WORDS, MAX_WORDS = 3, 40
DEEPEST = 3
"""Clauses nest this deep at most; at this depth they are simple."""

T = TypeVar("T")


def generate(count: int, seed: int) -> list[tuple[str, str]]:
    """Make `count` pairs of an English and a German sentence of 3 to 40 English words; no sentence occurs twice.

    The same arguments give the same pairs with every Python, and a larger count only adds pairs at the end.
    """
    if count < 0:
        raise ValueError(f"count must not be negative, got {count}")
    writer = _Writer(random.Random(seed))
    pairs: dict[str, str] = {}  # by German sentence: two English ones can share it ("her", "their"), never the reverse
    while len(pairs) < count:
        tree = writer.sentence()
        src = english.sentence(tree)
        if MIN_WORDS <= src.count(" ") + 1 <= MAX_WORDS:
            pairs.setdefault(german.sentence(tree), src)
    return [(src, tgt) for tgt, src in pairs.items()]


def splits(train: int, valid: int, test: int, seed: int) -> dict[str, list[tuple[str, str]]]:
    """Make three sets of pairs with no sentence in common; valid and test do not change with the size of train."""
    pairs = generate(test + valid + train, seed)
    return {"train": pairs[test + valid :], "valid": pairs[test : test + valid], "test": pairs[:test]}


class _Writer:
    """Draws trees. Every choice is one call of `random()`, the only method whose values Python promises to keep."""

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
        """Draw one sentence."""
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
            clause.front = self._adverbial(clause.tense, DEEPEST)
        elif clause.time and self._chance(0.6):
            clause.front, clause.time = clause.time, None
        elif place and "p" in clause.verb.flags and not _has_relative(place.nominal) and self._chance(0.4):
            clause.front, clause.place = place, None
        elif self._chance(0.06):
            clause.front = self._choose(pools.adverbs("sentence"))
        return clause

    def _clause(self, tense: Tense, depth: int, kind: str) -> Clause:
        """Draw a clause of a kind: main, question, or that of its conjunction."""
        past = tense is Tense.PAST
        verb = self._choose(pools.verbs(depth < DEEPEST, past, kind == "event"))
        negated = kind not in ("question", "event") and self._chance(0.12)
        clause = Clause(self._subject(verb, depth, negated), verb, tense, negated=negated)
        modals = pools.modals(verb.subjects, past, kind == "adverbial")
        if modals and "s" not in verb.flags and kind != "event" and self._chance(0.25):
            clause.modal = self._choose(modals)
        if verb.en == "be":
            self._describe(clause)
        else:
            self._complete(clause, depth)
        if kind == "event":
            clause.frequency = None
        return clause

    def _describe(self, clause: Clause) -> None:
        """Say how or where the subject is."""
        subject = clause.subject
        phrase = subject if isinstance(subject, NounPhrase) else None
        tags = phrase.noun.tags if phrase else pools.HUMAN
        if tags & pools.LIVING and self._chance(0.3):
            clause.place = self._at_place("L", pools.ANYWHERE)
        else:
            said = frozenset(adjective.rank for adjective in phrase.adjectives) if phrase else frozenset()
            clause.predicate = self._choose(pools.adjectives(tags, said))
        # "In the evening" goes with a place or a state (hungry), not with a lasting quality (clever).
        if (not clause.predicate or clause.predicate.rank == pools.STATE) and self._chance(0.2):
            clause.time = self._time(clause)

    def _complete(self, clause: Clause, depth: int) -> None:
        """Add what the verb demands and some of what it allows."""
        verb = clause.verb
        kinds = [kind for kind in "tqz" if kind in verb.flags]
        if kinds and depth < DEEPEST and (verb.object_case is None or self._chance(0.5)):
            clause.ending = self._complement(clause, self._choose(kinds), depth + 1)
            return
        if verb.place:
            clause.place = self._at_place(verb.place, verb.objects)
        elif verb.object_case is not None:
            self._add_objects(clause)
        if not clause.negated:
            self._add_adjuncts(clause)
        if clause.frequency is None and "s" not in verb.flags and self._chance(0.3):
            clause.time = self._time(clause)
        self._add_ending(clause, depth)

    def _add_objects(self, clause: Clause) -> None:
        verb = clause.verb
        # Definite where an indefinite one would sound wrong: "Der Frau gefällt das Buch", "wartet nicht auf den Bus".
        known = verb.object_case is Case.NOM or (clause.negated and bool(verb.preposition))
        if verb.receiver:
            clause.receiver = self._person(clause, known=clause.negated)
        if verb.objects >= pools.HUMAN and not pools.is_phrasal(verb) and self._chance(0.4):
            clause.object = self._person(clause, known)
        else:
            clause.object = self._noun_phrase(pools.nouns(verb.objects), known=known, plain=clause.negated)

    def _add_adjuncts(self, clause: Clause) -> None:
        flags = clause.verb.flags
        if "s" not in flags and clause.modal is None and self._chance(0.12):
            clause.frequency = self._choose(pools.adverbs("frequency"))
        manners = [kind for kind in "mv" if kind in flags]
        if manners and self._chance(0.2):
            clause.manner = self._choose(pools.adverbs(self._choose(manners)))
        elif "w" in flags and self._chance(0.15):
            clause.company = self._company("W", clause)
        elif "f" in flags and self._chance(0.2):
            clause.company = self._company("F", clause)
        if "p" in flags and self._chance(0.3):
            clause.place = self._at_place("L", pools.ANYWHERE)

    def _add_ending(self, clause: Clause, depth: int) -> None:
        """Perhaps add a relative clause to the last noun, or one more clause; the deeper, the less often."""
        phrase = _last_noun(clause)
        if phrase and not phrase.owner and depth < DEEPEST and self._chance(0.25):
            phrase.relative = self._relative(phrase)
        elif self._chance((0.18, 0.09, 0.04, 0.0)[depth]):
            clause.ending = self._adverbial(clause.tense, depth + 1)
        elif depth < 2 and _can_intend(clause) and self._chance(0.06):
            clause.ending = Infinitive(self._infinitive(clause, depth + 1), purpose=True)

    def _complement(self, clause: Clause, kind: str, depth: int) -> Subordinate | Infinitive:
        if kind == "z":
            return Infinitive(self._infinitive(clause, depth))
        conjunction = self._words.conjunctions["that" if kind == "t" else "whether"]
        tense = Tense.PAST if clause.tense is Tense.PAST else self._tense()
        return Subordinate(conjunction, (self._clause(tense, depth, conjunction.kind),))

    def _infinitive(self, clause: Clause, depth: int) -> Clause:
        """Draw what the subject of `clause` tries or wants to do."""
        inner = Clause(clause.subject, self._choose(pools.actions()), clause.tense)
        self._complete(inner, max(depth, 2))
        inner.frequency = None
        if inner.time:
            inner.time = self._choose(pools.times("PTF"))
        return inner

    def _adverbial(self, tense: Tense, depth: int) -> Subordinate:
        conjunction = self._choose(pools.conjunctions(tense is Tense.PAST))
        first = self._clause(tense, depth, conjunction.kind)
        # Only after a clause that ends with itself is it plain what "and" joins.
        if first.ending is None and self._chance(0.12):
            return Subordinate(conjunction, (first, self._clause(tense, depth, conjunction.kind)))
        return Subordinate(conjunction, (first,))

    def _relative(self, phrase: NounPhrase) -> Clause:
        """Draw a clause in which the noun is the subject or the object."""
        noun, tense = phrase.noun, self._tense()
        doers = pools.verbs_of(noun.tags, tense is Tense.PAST)
        things = pools.verbs_with(noun.tags, tense is Tense.PAST)
        gap = Gap(noun, phrase.plural)
        if doers and self._chance(0.5):
            clause = Clause(gap, self._choose(doers), tense)
            if clause.verb.place:
                clause.place = self._at_place(clause.verb.place, clause.verb.objects)
            elif clause.verb.object_case is not None:
                self._add_objects(clause)
        else:
            verb = self._choose(things)
            clause = Clause(self._subject(verb, DEEPEST), verb, tense, object=gap)
            if verb.receiver:
                clause.receiver = self._person(clause, known=False)
        if "p" in clause.verb.flags and self._chance(0.2):
            clause.place = self._at_place("L", pools.ANYWHERE)
        return clause

    # --- phrases -------------------------------------------------------------------------------------------------

    def _subject(self, verb: Verb, depth: int, negated: bool = False) -> NounPhrase | Pronoun:
        if "h" in verb.subjects and self._chance(0.3):
            return self._choose(pools.pronouns())
        phrase = self._noun_phrase(pools.nouns(verb.subjects), known=negated or verb.en == "be", plain=negated)
        if phrase.owner or depth == DEEPEST or not phrase.noun.tags & pools.LIVING:
            return phrase
        if self._chance(0.08):
            phrase.relative = self._relative(phrase)
        elif self._chance(0.06):
            phrase.attribute = self._attribute(phrase)
        return phrase

    def _attribute(self, phrase: NounPhrase) -> PrepositionalPhrase:
        if "h" in phrase.noun.tags and self._chance(0.4):
            return PrepositionalPhrase(self._words.prepositions["with"], self._noun_phrase(pools.nouns(pools.CLOTHES)))
        return self._at_place("L", pools.ANYWHERE)

    def _person(self, clause: Clause, known: bool) -> NounPhrase | Pronoun:
        """Draw another person than the subject; of "I" and "we", only one."""
        if self._chance(0.5):
            pronoun, subject = self._choose(pools.pronouns()), clause.subject
            if not isinstance(subject, Pronoun) or not _overlap(pronoun, subject):
                return pronoun
        return self._noun_phrase(pools.nouns(pools.HUMAN), known=known, plain=clause.negated)

    def _noun_phrase(self, nouns: Sequence[Noun], known: bool = False, plain: bool = False) -> NounPhrase:
        """Draw a noun phrase; `known` asks for a definite one, `plain` for none that "not" would have to deny."""
        noun = self._choose(nouns)
        plural = not noun.mass and self._chance(0.1 if "p" in noun.tags else 0.3)
        adjectives = self._adjectives(noun)
        if noun.tags & pools.OWNED and self._chance(0.08):
            owner = self._noun_phrase(pools.nouns(pools.HUMAN), known=True, plain=True)
            return NounPhrase(noun, self._words.determiners["the"], plural, adjectives, owner)
        return NounPhrase(noun, self._choose(pools.determiners(noun, plural, known, plain)), plural, adjectives)

    def _adjectives(self, noun: Noun) -> tuple[Adjective, ...]:
        fitting = pools.adjectives(noun.tags)
        if not fitting or self._chance(0.6):
            return ()
        first, second = self._choose(fitting), self._choose(fitting)
        two = first.rank < second.rank and second.rank >= pools.AGE and self._chance(0.5)
        return (first, second) if two else (first,)

    def _at_place(self, role: str, tags: frozenset[str]) -> PrepositionalPhrase:
        preposition = self._choose(pools.prepositions(role, tags))
        nouns = pools.nouns(preposition.tags & tags)
        return PrepositionalPhrase(preposition, self._noun_phrase(nouns, known=self._chance(0.7)))

    def _company(self, role: str, clause: Clause) -> PrepositionalPhrase:
        preposition = self._choose(pools.prepositions(role, pools.HUMAN))
        return PrepositionalPhrase(preposition, self._person(clause, known=False))

    def _time(self, clause: Clause) -> Adverb:
        tense = "T" if clause.tense is Tense.PAST else "F" if clause.modal else "P"
        return self._choose(pools.times(tense, clause.negated))


def _has_relative(nominal: NounPhrase | Pronoun) -> bool:
    return isinstance(nominal, NounPhrase) and nominal.relative is not None


def _last_noun(clause: Clause) -> NounPhrase | None:
    """Return the noun that ends the English clause, if it is the last one of the German clause too."""
    if clause.manner or clause.company or clause.time or isinstance(clause.receiver, NounPhrase):
        return None
    if clause.place and clause.object:
        return None
    last = clause.place.nominal if clause.place else clause.object
    return last if isinstance(last, NounPhrase) else None


def _can_intend(clause: Clause) -> bool:
    human = isinstance(clause.subject, Pronoun) or "h" in clause.subject.noun.tags
    return human and not clause.negated and clause.verb in pools.actions()


def _overlap(one: Pronoun, other: Pronoun) -> bool:
    """Whether both hold the speaker, or the hearer."""
    return {one.person, other.person} <= {0, 3} or one.person == other.person == 1
