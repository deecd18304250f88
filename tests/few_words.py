"""Write sentence pairs of the synthetic grammar with a third of its words; tests/e2e/test_grammar.py starts it.

    python tests/few_words.py COUNT FILE

A word stays if it is the first of its kind: a noun by gender and by what can be done with it, a verb by what it takes
and how it is built, an adjective by what it is said of. So every construction of the grammar stays, too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TypeVar

from seq2seq.data.grammar import generate, lexicon
from seq2seq.data.grammar.lexicon import Adjective, Noun, Verb

NEEDED = {"uncle", "mother", "lazy", "sick", "call", "cry", "be", "have", "know"}
"""Words of the sentences in the test, and verbs that the grammar itself asks for."""
SEVERAL = frozenset("haoft")
"""Tags whose nouns stay in every gender."""

Word = TypeVar("Word")


def main() -> None:
    """Thin the lexicon out, generate, write tab-separated pairs."""
    words = lexicon()
    thin(words.nouns, facts_of_noun)
    thin(words.verbs, facts_of_verb)
    thin(words.adjectives, facts_of_adjective)
    pairs = generate(int(sys.argv[1]), seed=1)
    Path(sys.argv[2]).write_text("".join(f"{src}\t{tgt}\n" for src, tgt in pairs), encoding="utf-8")


def thin(words: dict[str, Word], facts: Callable[[Word], set[Hashable]]) -> None:
    """Keep the words that are needed, and each of which something is true that is true of none before it."""
    seen: set[Hashable] = set()
    for name, word in list(words.items()):
        if name in NEEDED or not facts(word) <= seen:
            seen |= facts(word)
        else:
            del words[name]


def facts_of_noun(noun: Noun) -> set[Hashable]:
    """Return its tags, and of some of them with its gender."""
    return {*noun.tags, *((noun.gender, tag) for tag in noun.tags & SEVERAL)}


def facts_of_verb(verb: Verb) -> set[Hashable]:
    """Return its subjects and objects (apart for verbs without a past of their own), flags and build."""
    past = verb.en_past != verb.en
    build = (bool(verb.prefix), verb.with_sein, verb.reflexive, verb.object_case, verb.place, verb.receiver)
    return {build, *verb.flags, *((tag, past) for tag in verb.subjects), *((past, tag) for tag in verb.objects)}


def facts_of_adjective(adjective: Adjective) -> set[Hashable]:
    """Return its rank with each of its tags."""
    return {(adjective.rank, tag) for tag in adjective.tags}


main()
