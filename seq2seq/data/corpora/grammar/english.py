"""The English sentence of a syntax tree."""

from __future__ import annotations

from seq2seq.data.corpora.grammar.trees import (
    Clause,
    Gap,
    Infinitive,
    Nominal,
    NounPhrase,
    PrepositionalPhrase,
    Sentence,
    Subordinate,
    Tense,
)
from seq2seq.data.corpora.grammar.words import Adverb, Pronoun

BE = {Tense.PRESENT: ("am", "are", "is", "are", "are"), Tense.PAST: ("was", "were", "was", "were", "were")}
LEXICAL_MODALS = {"want": ("wants", "wanted"), "have": ("has", "had")}
"""Third person and past of the modal verbs that take "do", as ordinary verbs."""


def sentence(tree: Sentence) -> str:
    """Return the sentence, capitalised and with its final mark."""
    text = _clause(tree.clause, question=tree.question)
    if tree.second is not None:
        text += f", {tree.joint} {_clause(tree.second)}"
    return text[0].upper() + text[1:] + ("?" if tree.question else ".")


def _clause(clause: Clause, question: bool = False) -> str:
    auxiliary, main = _verbs(clause, question)
    subject = _nominal(clause.subject)
    start = [auxiliary, subject, main] if question else [_front(clause), subject, auxiliary, main]
    return _join([*start, *_after_verb(clause)])


def _join(words: list[str]) -> str:
    return " ".join([word for word in words if word]).replace(" ,", ",")


def _front(clause: Clause) -> str:
    front = clause.front
    if front is None:
        return ""
    if isinstance(front, Adverb):
        return front.en + ("," if front.comma or " " in front.en else "")
    return (_subordinate(front) if isinstance(front, Subordinate) else _prepositional(front)) + ","


def person(nominal: Nominal) -> int:
    """Return the person and number that the verb agrees with, as the index of ich, du, er, wir, sie."""
    return nominal.person if isinstance(nominal, Pronoun) else 4 if nominal.plural else 2


def _verbs(clause: Clause, question: bool) -> tuple[str, str]:
    """Return the auxiliary ("does"; empty if there is none), which precedes the subject of a question, and the rest."""
    verb, modal, past, number = clause.verb, clause.modal, clause.tense is Tense.PAST, person(clause.subject)
    not_, often = "not" if clause.negated else "", clause.frequency.en if clause.frequency else ""
    base, third, preterite, after = verb.en, verb.en_third, verb.en_past, ""
    if modal and modal.en in LEXICAL_MODALS:
        base, (third, preterite), after = modal.en, LEXICAL_MODALS[modal.en], f"{modal.link} {verb.en}"
    elif modal and modal.en == "be":
        return _join([BE[clause.tense][number], not_]), _join([often, modal.link, verb.en])
    elif modal:
        auxiliary = modal.en_past if past else modal.en
        auxiliary = "cannot" if clause.negated and auxiliary == "can" else _join([auxiliary, not_])
        return auxiliary, _join([often, modal.link, verb.en])
    elif verb.en == "be":
        return _join([BE[clause.tense][number], not_]), often
    if question or clause.negated:
        auxiliary = "did" if past else "does" if number == 2 else "do"
        return _join([auxiliary, not_]), _join([often, base, after])
    return "", _join([often, preterite if past else third if number == 2 else base, after])


def _after_verb(clause: Clause) -> list[str]:
    """Return the phrases after the verb in order: objects, predicate, manner, company, place, time, final clause."""
    words = [_nominal(nominal, as_object=True) for nominal in (clause.receiver, clause.object) if nominal]
    if clause.predicate:
        words.append(clause.predicate.en)
    if clause.manner:
        words.append(clause.manner.en)
    words += [_prepositional(phrase) for phrase in (clause.company, clause.place) if phrase]
    if clause.time:
        words.append(clause.time.en)
    if isinstance(clause.ending, Infinitive):
        words.append(_infinitive(clause.ending))
    elif clause.ending:
        words += ["," if clause.ending.conjunction.en == "although" else "", _subordinate(clause.ending)]
    return words


def _subordinate(tree: Subordinate) -> str:
    return f"{tree.conjunction.en} " + " and ".join([_clause(clause) for clause in tree.clauses])


def _infinitive(tree: Infinitive) -> str:
    clause = tree.clause
    start = ["not" if clause.negated else "", "in order to" if tree.purpose else "to"]
    return _join([*start, clause.frequency.en if clause.frequency else "", clause.verb.en, *_after_verb(clause)])


def _prepositional(phrase: PrepositionalPhrase) -> str:
    return f"{phrase.preposition.en} {_nominal(phrase.nominal, as_object=True)}"


def _nominal(nominal: Nominal, as_object: bool = False) -> str:
    if isinstance(nominal, Pronoun):
        return nominal.en_object if as_object else nominal.en
    return "" if isinstance(nominal, Gap) else _noun_phrase(nominal)


def _noun_phrase(phrase: NounPhrase) -> str:
    words = [adjective.en for adjective in phrase.adjectives]
    words.append(phrase.noun.en_plural if phrase.plural else phrase.noun.en)
    determiner = phrase.determiner.en_plural if phrase.plural else phrase.determiner.en
    if phrase.owner:
        owner = _noun_phrase(phrase.owner)
        determiner = owner + ("'" if phrase.owner.plural and owner.endswith("s") else "'s")
    elif determiner == "a" and (words[0][0] in "aeiouAEIOU" or words[0] == "honest"):
        determiner = "an"
    attribute = _prepositional(phrase.attribute) if phrase.attribute else ""
    return _join([determiner, *words, attribute, _relative(phrase.relative, phrase) if phrase.relative else ""])


def _relative(clause: Clause, antecedent: NounPhrase) -> str:
    """Return "who sleeps" or, with the pronoun as the object, "whom the woman sees"."""
    of_subject = isinstance(clause.subject, Gap)
    pronoun = "that" if not antecedent.noun.human else "who" if of_subject else "whom"
    return f"{pronoun} {_clause(clause)}"
