"""Candidate words for each slot of a sentence.

Every tuple is built once, in the order of the lexicon: the corpus of a seed depends on that order. `tags` select nouns
by their tags in lexicon.yaml.
"""

from __future__ import annotations

from functools import cache

from seq2seq.data.corpora.grammar.lexicon import lexicon
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

HUMAN, LIVING, CLOTHES = frozenset("h"), frozenset("ha"), frozenset("c")
ANYWHERE = frozenset("IOANU")
OWNED = frozenset("haotcvJ")
PRIVATE = frozenset("GJ")
"""Tags of places that can have an owner: "my kitchen", but not "my river"."""
STATE, AGE, ORIGIN = 3, 4, 6
"""Ranks of adjectives."""
ANY_TENSE = "PTF"

COPULA_WEIGHT = 8
"""Frequency of "to be" relative to another verb."""


@cache
def nouns(tags: frozenset[str]) -> tuple[Noun, ...]:
    """Return the nouns with any of the tags."""
    return tuple(noun for noun in lexicon().nouns.values() if noun.tags & tags)


@cache
def adjectives(tags: frozenset[str]) -> tuple[Adjective, ...]:
    """Return the adjectives of a noun with these tags."""
    return tuple(adjective for adjective in lexicon().adjectives.values() if adjective.tags & tags)


@cache
def predicates(tags: frozenset[str], attribute_ranks: frozenset[int]) -> tuple[Adjective, ...]:
    """Return the adjectives that follow "to be": no origin, and no rank that the subject's attributes have."""
    return tuple(word for word in adjectives(tags) if word.rank < ORIGIN and word.rank not in attribute_ranks)


@cache
def determiners(noun: Noun, plural: bool, definite: bool, negatable: bool) -> tuple[Determiner, ...]:
    """Return the determiners, each as often as its weight; arguments as for `TreeSampler._noun_phrase`."""
    weighted: list[Determiner] = []
    public = noun.place and not noun.tags & PRIVATE
    for word in lexicon().determiners.values():
        bare = not word.key
        if bare:
            exists = plural or noun.mass
        else:
            exists = bool(word.en_plural if plural else word.en) and not (noun.mass and word.key in ("a", "every"))
        quantifies = not (bare or word.possessive or word.key in ("the", "a", "this"))
        excluded = (definite and not word.definite) or (negatable and quantifies) or (public and word.possessive)
        if exists and not excluded:
            weighted += [word] * word.weight
    return tuple(weighted)


@cache
def pronouns() -> tuple[Pronoun, ...]:
    """Return the personal pronouns."""
    return tuple(lexicon().pronouns.values())


@cache
def adverbs(kind: str) -> tuple[Adverb, ...]:
    """Return the adverbs of a kind."""
    return tuple(adverb for adverb in lexicon().adverbs.values() if adverb.kind == kind)


@cache
def times(tense: str, negated: bool = False) -> tuple[Adverb, ...]:
    """Return the times that go with a tense: P (present), T (past), F (future) or ANY_TENSE."""
    words = lexicon().times.values()
    return tuple(adverb for adverb in words if tense in adverb.kind and not (negated and "R" in adverb.kind))


@cache
def conjunctions(past: bool) -> tuple[Conjunction, ...]:
    """Return the conjunctions of adverbial clauses."""
    words = lexicon().conjunctions.values()
    return tuple(word for word in words if word.kind != "complement" and (word.de_past or not past))


@cache
def prepositions(role: Role, tags: frozenset[str]) -> tuple[Preposition, ...]:
    """Return the prepositions of a role before nouns with any of the tags, each as often as its weight."""
    suitable = [word for word in lexicon().prepositions.values() if word.role is role and word.tags & tags]
    return tuple(word for word in suitable for _ in range(word.weight))


@cache
def modals(subjects: frozenset[str], past: bool, conditional: bool) -> tuple[Modal, ...]:
    """Return the modal verbs that all of these subjects take; "will" does not follow "if" or "when"."""
    return tuple(
        modal
        for modal in lexicon().modals.values()
        if ("*" in modal.subjects or subjects <= modal.subjects)
        and (modal.en_past or not past)
        and not (conditional and modal.en == "will")
    )


@cache
def verbs(complements: bool, past: bool, event: bool) -> tuple[Verb, ...]:
    """Return the verbs of a clause.

    Args:
        complements: include verbs that need another clause after them.
        past: only verbs whose past differs from their present.
        event: no states.
    """
    words = lexicon().verbs
    suitable = [verb for verb in words.values() if _in_tense(verb, past) and (complements or not _needs_clause(verb))]
    if event:
        return tuple(verb for verb in suitable if not verb.state and verb.en != "be")
    return (*suitable, *[words["be"]] * (COPULA_WEIGHT - 1))


@cache
def actions() -> tuple[Verb, ...]:
    """Return the actions that people can try or refuse."""
    return tuple(verb for verb in verbs_with_subject(HUMAN, past=False) if not verb.state)


@cache
def verbs_with_subject(tags: frozenset[str], past: bool) -> tuple[Verb, ...]:
    """Return the verbs of a relative clause whose subject is a noun with these tags."""
    return tuple(
        verb
        for verb in lexicon().verbs.values()
        if verb.subjects & tags and _in_tense(verb, past) and not _needs_clause(verb) and verb.en != "be"
    )


@cache
def verbs_with_object(tags: frozenset[str], past: bool) -> tuple[Verb, ...]:
    """Return the verbs of a relative clause whose object is a noun with these tags."""
    return tuple(
        verb
        for verb in lexicon().verbs.values()
        if verb.object_case is not None and verb.objects & tags and _in_tense(verb, past)
    )


def is_phrasal(verb: Verb) -> bool:
    """Return True if an English pronoun would stand inside the verb ("picks her up"), which the grammar omits."""
    return " " in verb.en and verb.object_case is Case.ACC and not verb.preposition


def _in_tense(verb: Verb, past: bool) -> bool:
    """Exclude a past that looks like the present ("they read"): it would have two translations."""
    return not past or verb.en_past != verb.en


def _needs_clause(verb: Verb) -> bool:
    return verb.object_case is None and bool(verb.complements)
