"""The German sentence of a syntax tree: case, agreement and the position of the verb."""

from __future__ import annotations

import re
from enum import Enum
from functools import cache

from seq2seq.data.corpora.grammar.english import person
from seq2seq.data.corpora.grammar.lexicon import lexicon
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
from seq2seq.data.corpora.grammar.words import Adverb, Case, Determiner, Pronoun, Role

# Endings by case (NOM, ACC, DAT, GEN) for the genders m, f, n and for the plural, p.
ARTICLE = {"m": "der den dem des", "f": "die die der der", "n": "das das dem des", "p": "die die den der"}
STRONG = {"m": "er en em es", "f": "e e er er", "n": "es es em es", "p": "e e en er"}
WEAK = {"m": "e en en en", "f": "e e en en", "n": "e e en en", "p": "en en en en"}
BARE_AFTER_EIN = {("m", Case.NOM), ("n", Case.NOM), ("n", Case.ACC)}
"""Genders and cases in which "ein" has no ending, so the adjective shows gender and case."""

CONTRACTIONS = {
    "in dem": "im", "in das": "ins", "an dem": "am", "an das": "ans", "zu dem": "zum", "zu der": "zur",
    "von dem": "vom",
}  # fmt: skip
JOINTS = {"and": "und", "but": ", aber"}


class Order(Enum):
    """Position of the finite verb."""

    MAIN = 2
    QUESTION = 1
    LAST = 0


def sentence(tree: Sentence) -> str:
    """Return the sentence, capitalised and with its commas and final mark."""
    text = _clause(tree.clause, Order.QUESTION if tree.question else Order.MAIN)
    if tree.second is not None:
        text += f" {JOINTS[tree.joint]} {_clause(tree.second, Order.MAIN)}"
    # Inner clauses have a comma on both sides; adjacent clauses share one, and the sentence starts and ends with none.
    text = re.sub(r"[ ,]*,[ ,]*", ", ", text).strip(" ,")
    return text[0].upper() + text[1:] + ("?" if tree.question else ".")


def _clause(clause: Clause, order: Order, first: str = "") -> str:
    """Return a clause; `first` is the conjunction or relative pronoun of a clause whose verb is last."""
    finite, closing, last = _verbs(clause)
    subject = _nominal(clause.subject, clause.verb.subject_case)
    if not isinstance(clause.subject, Gap):
        subject += _relative(clause.subject)
    middle, after = _middle(clause), _after(clause)
    sich = _reflexive(clause.subject) if clause.verb.reflexive else ""
    if order is Order.MAIN and not clause.front:
        return _join([subject, finite, sich, *middle, closing, *after])
    # "Heute freut sich der Mann", but "heute freut er sich".
    subject_and_sich = [subject, sich] if isinstance(clause.subject, Pronoun) else [sich, subject]
    if order is Order.LAST:
        return _join([first, *subject_and_sich, *middle, last, *after])
    return _join([_front(clause), finite, *subject_and_sich, *middle, closing, *after])


def _join(words: list[str]) -> str:
    return " ".join([word for word in words if word])


def _front(clause: Clause) -> str:
    front = clause.front
    if isinstance(front, Adverb):
        return front.de
    return _prepositional(front) if isinstance(front, PrepositionalPhrase) else _subordinate(front) if front else ""


def _agreement(clause: Clause) -> int:
    """Return the person and number of the German subject, as `english.person`."""
    subject = clause.object if clause.verb.subject_case is Case.DAT else clause.subject
    assert subject is not None
    return person(subject)


def _verbs(clause: Clause) -> tuple[str, str, str]:
    """Return the finite verb, the words that close a main clause, and both as they close a subordinate clause."""
    verb, past, number = clause.verb, clause.tense is Tense.PAST, _agreement(clause)
    if clause.modal:
        forms = clause.modal.preterite if past else clause.modal.present
        assert forms is not None, f"{clause.modal.en} has no past"
        finite, rest = forms[number], verb.prefix + verb.infinitive
    elif past and not verb.preterite:
        auxiliary = lexicon().verbs["be" if verb.with_sein else "have"]
        finite, rest = auxiliary.present[number], verb.participle
    else:
        forms = verb.preterite if past and verb.preterite else verb.present
        return forms[number], verb.prefix, verb.prefix + forms[number]
    return finite, rest, f"{rest} {finite}"


def _middle(clause: Clause) -> list[str]:
    """Return the phrases between subject and closing verb: definite objects, "nicht", then indefinite objects."""
    verb, (pronouns, definite, indefinite) = clause.verb, _objects(clause)
    place = _prepositional(clause.place) if clause.place else ""
    company = _prepositional(clause.company) if clause.company else ""
    # "kauft im Laden einen Hut für sie", but "kauft den Hut für sie im Laden".
    late = bool(indefinite) and clause.company is not None and clause.company.preposition.role is Role.BENEFICIARY
    return [
        *pronouns,
        clause.time.de if clause.time else "",
        *definite,
        clause.frequency.de if clause.frequency else "",
        "nicht" if clause.negated and (verb.preposition or not _takes_kein(clause.object)) else "",
        clause.manner.de if clause.manner else "",
        "" if late else company,
        place,
        *indefinite,
        company if late else "",
        _prepositional_object(clause),
        clause.predicate.de if clause.predicate else "",
    ]


def _objects(clause: Clause) -> tuple[list[str], list[str], list[str]]:
    """Return pronouns, definite and indefinite objects; German places each kind differently."""
    verb = clause.verb
    pronouns: list[str] = []
    definite: list[str] = []
    indefinite: list[str] = []
    objects = [(clause.receiver, Case.DAT)]
    if verb.object_case is not None and not verb.preposition:
        objects.append((clause.object, verb.object_case))
    for nominal, case in objects:
        if isinstance(nominal, Pronoun):
            pronouns.append(nominal.de[case])
        elif isinstance(nominal, NounPhrase) and (nominal.owner or nominal.determiner.definite):
            definite.append(_noun_phrase(nominal, case))
        elif isinstance(nominal, NounPhrase):
            indefinite.append(_noun_phrase(nominal, case, negated=clause.negated and nominal is clause.object))
    return pronouns, definite, indefinite


def _takes_kein(nominal: Nominal | None) -> bool:
    """Return True if negation turns the article, or its absence, into "kein"."""
    return isinstance(nominal, NounPhrase) and not nominal.owner and nominal.determiner.key in ("a", "")


def _reflexive(subject: Nominal) -> str:
    return subject.reflexive if isinstance(subject, Pronoun) else "sich"


def _prepositional_object(clause: Clause) -> str:
    if not clause.verb.preposition or clause.object is None or isinstance(clause.object, Gap):
        return ""
    assert clause.verb.object_case is not None
    return _with_preposition(clause.verb.preposition, clause.object, clause.verb.object_case)


def _after(clause: Clause) -> list[str]:
    """Return what follows the closing verb: relative clauses of object and place, then the final clause."""
    nominals = (clause.object, clause.place.nominal if clause.place else None)
    words = [_relative(nominal) for nominal in nominals if nominal and not isinstance(nominal, Gap)]
    if isinstance(clause.ending, Infinitive):
        words.append(_infinitive(clause.ending))
    elif clause.ending:
        words.append(_subordinate(clause.ending))
    return words


def _subordinate(tree: Subordinate) -> str:
    past = tree.clauses[0].tense is Tense.PAST
    conjunction = tree.conjunction.de_past if past else tree.conjunction.de
    return f", {conjunction} {' und '.join([_clause(clause, Order.LAST) for clause in tree.clauses])} ,"


def _infinitive(tree: Infinitive) -> str:
    verb = tree.clause.verb
    closing = f"{verb.prefix}zu{verb.infinitive}" if verb.prefix else f"zu {verb.infinitive}"
    sich = _reflexive(tree.clause.subject) if verb.reflexive else ""
    return _join([",", "um" if tree.purpose else "", sich, *_middle(tree.clause), closing, *_after(tree.clause), ","])


def _relative(nominal: NounPhrase | Pronoun) -> str:
    """Return the relative clause of a noun: its pronoun agrees with the noun and takes the case of its own verb."""
    if isinstance(nominal, Pronoun) or nominal.relative is None:
        return ""
    clause = nominal.relative
    verb, gender = clause.verb, "p" if nominal.plural else nominal.noun.gender
    case = verb.subject_case if isinstance(clause.subject, Gap) else verb.object_case
    assert case is not None
    pronoun = "denen" if (gender, case) == ("p", Case.DAT) else _ending(ARTICLE, gender, case)
    if verb.preposition and not isinstance(clause.subject, Gap):
        pronoun = f"{verb.preposition} {pronoun}"
    return f" , {_clause(clause, Order.LAST, pronoun)} ,"


def _prepositional(phrase: PrepositionalPhrase) -> str:
    return _with_preposition(phrase.preposition.de, phrase.nominal, phrase.preposition.case)


def _with_preposition(preposition: str, nominal: Nominal, case: Case) -> str:
    text = f"{preposition} {_nominal(nominal, case)}"
    if isinstance(nominal, Pronoun | Gap) or nominal.relative or nominal.determiner.key != "the":
        return text
    # "in dem Haus, das ...": no contraction before a relative clause.
    first, second, rest = text.split(" ", 2)
    contraction = CONTRACTIONS.get(f"{first} {second}")
    return f"{contraction} {rest}" if contraction else text


def _nominal(nominal: Nominal, case: Case) -> str:
    if isinstance(nominal, Pronoun):
        return nominal.de[case]
    return "" if isinstance(nominal, Gap) else _noun_phrase(nominal, case)


def _noun_phrase(phrase: NounPhrase, case: Case, negated: bool = False) -> str:
    """Return a noun phrase without its relative clause, which may follow the closing verb."""
    noun, gender = phrase.noun, "p" if phrase.plural else phrase.noun.gender
    determiner, ending = _determiner(phrase.determiner, gender, case, negated and _takes_kein(phrase))
    words = [determiner, *[adjective.stem + ending for adjective in phrase.adjectives]]
    words.append((noun.de_plural if phrase.plural else noun.de)[case])
    if phrase.owner:
        words.append(_noun_phrase(phrase.owner, Case.GEN))
    if phrase.attribute:
        words.append(_prepositional(phrase.attribute))
    return _join(words)


@cache
def _determiner(determiner: Determiner, gender: str, case: Case, kein: bool) -> tuple[str, str]:
    """Return the inflected determiner and the ending of the adjectives after it; one of the two shows the case."""
    stem, declension = ("kein", "ein") if kein else (determiner.stem, determiner.declension)
    strong, weak = _ending(STRONG, gender, case), _ending(WEAK, gender, case)
    if declension == "bare":
        return stem, strong
    if stem == "d":
        return _ending(ARTICLE, gender, case), weak
    if declension == "ein" and (gender, case) in BARE_AFTER_EIN:
        return stem, strong
    return stem + strong, strong if declension == "viel" else weak


def _ending(table: dict[str, str], gender: str, case: Case) -> str:
    return table[gender].split()[case]
