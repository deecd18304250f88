"""Which words of the synthetic corpus can fill which slot. Each pool is made once, in the order of the lexicon."""

from __future__ import annotations

from functools import cache

from seq2seq.data.corpora.grammar.lexicon import (
    Adjective,
    Adverb,
    Case,
    Conjunction,
    Determiner,
    Modal,
    Noun,
    Preposition,
    Pronoun,
    Verb,
    lexicon,
)

HUMAN, LIVING, CLOTHES = frozenset("h"), frozenset("ha"), frozenset("c")
ANYWHERE = frozenset("IOANU")
OWNED = frozenset("haotcvJ")
PRIVATE = frozenset("GJ")
"""What makes a place somebody's: "my kitchen", but not "my river"."""
COMPLEMENTS = frozenset("tqz")
STATE, AGE, ORIGIN = 3, 4, 6
"""Ranks of adjectives."""

COPULA_SHARE = 8
"""How many verbs "to be" counts for."""


@cache
def nouns(tags: frozenset[str]) -> tuple[Noun, ...]:
    """List the nouns with any of the tags."""
    return tuple(noun for noun in lexicon().nouns.values() if noun.tags & tags)


@cache
def adjectives(tags: frozenset[str], beside: frozenset[int] | None = None) -> tuple[Adjective, ...]:
    """List what such a noun can be; after "to be", only what does not clash with the ranks already said of it."""
    fitting = [adjective for adjective in lexicon().adjectives.values() if adjective.tags & tags]
    if beside is None:
        return tuple(fitting)
    return tuple(adjective for adjective in fitting if adjective.rank < ORIGIN and adjective.rank not in beside)


@cache
def determiners(noun: Noun, plural: bool, known: bool, plain: bool) -> tuple[Determiner, ...]:
    """List the determiners, each as often as its weight; see `_Writer._noun_phrase` for `known` and `plain`."""
    found: list[Determiner] = []
    public = "p" in noun.tags and not noun.tags & PRIVATE
    for word in lexicon().determiners.values():
        bare = not word.key
        if bare:
            exists = plural or noun.mass
        else:
            exists = bool(word.en_plural if plural else word.en) and not (noun.mass and word.key in ("a", "every"))
        quantifies = not (bare or word.possessive or word.key in ("the", "a", "this"))
        unfit = (known and not word.definite) or (plain and quantifies) or (public and word.possessive)
        if exists and not unfit:
            found += [word] * word.weight
    return tuple(found)


@cache
def pronouns() -> tuple[Pronoun, ...]:
    """List the personal pronouns."""
    return tuple(lexicon().pronouns.values())


@cache
def adverbs(kind: str) -> tuple[Adverb, ...]:
    """List the adverbs of a kind."""
    return tuple(adverb for adverb in lexicon().adverbs.values() if adverb.kind == kind)


@cache
def times(tense: str, negated: bool = False) -> tuple[Adverb, ...]:
    """List the times that go with a tense: P, T, F, or all of them (PTF)."""
    words = lexicon().times.values()
    return tuple(adverb for adverb in words if tense in adverb.kind and not (negated and "R" in adverb.kind))


@cache
def conjunctions(past: bool) -> tuple[Conjunction, ...]:
    """List the conjunctions of adverbial clauses."""
    words = lexicon().conjunctions.values()
    return tuple(word for word in words if word.kind != "complement" and (word.de_past or not past))


@cache
def prepositions(role: str, tags: frozenset[str]) -> tuple[Preposition, ...]:
    """List the prepositions of a role before nouns with any of the tags, each as often as its weight."""
    fitting = [word for word in lexicon().prepositions.values() if word.role == role and word.tags & tags]
    return tuple(word for word in fitting for _ in range(word.weight))


@cache
def modals(subjects: frozenset[str], past: bool, conditional: bool) -> tuple[Modal, ...]:
    """List the modal verbs for all of these subjects; "will" does not follow "if" or "when"."""
    return tuple(
        modal
        for modal in lexicon().modals.values()
        if ("*" in modal.subjects or subjects <= modal.subjects)
        and (modal.en_past or not past)
        and not (conditional and modal.en == "will")
    )


@cache
def verbs(complements: bool, past: bool, event: bool) -> tuple[Verb, ...]:
    """List the verbs of a clause: with or without those that need another clause after them; for events, no states."""
    words = lexicon().verbs
    found = [verb for verb in words.values() if _in_tense(verb, past) and (complements or not _needs_clause(verb))]
    if event:
        return tuple(verb for verb in found if "s" not in verb.flags and verb.en != "be")
    return (*found, *[words["be"]] * (COPULA_SHARE - 1))


@cache
def actions() -> tuple[Verb, ...]:
    """List what people can try or refuse to do."""
    return tuple(verb for verb in verbs_of(HUMAN, past=False) if "s" not in verb.flags)


@cache
def verbs_of(subject: frozenset[str], past: bool) -> tuple[Verb, ...]:
    """List the verbs that a noun with these tags can be the subject of, in a relative clause."""
    return tuple(
        verb
        for verb in lexicon().verbs.values()
        if verb.subjects & subject and _in_tense(verb, past) and not _needs_clause(verb) and verb.en != "be"
    )


@cache
def verbs_with(thing: frozenset[str], past: bool) -> tuple[Verb, ...]:
    """List the verbs that a noun with these tags can be the object of."""
    return tuple(
        verb
        for verb in lexicon().verbs.values()
        if verb.object_case is not None and verb.objects & thing and _in_tense(verb, past)
    )


def is_phrasal(verb: Verb) -> bool:
    """Whether an English pronoun would stand inside the verb ("picks her up"), which the grammar leaves out."""
    return " " in verb.en and verb.object_case is Case.ACC and not verb.preposition


def _in_tense(verb: Verb, past: bool) -> bool:
    """A past like the present ("they read") would need two translations."""
    return not past or verb.en_past != verb.en


def _needs_clause(verb: Verb) -> bool:
    return verb.object_case is None and bool(verb.flags & COMPLEMENTS)
