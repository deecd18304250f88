"""Write short sentence pairs of few words of the synthetic grammar; tests/e2e/test_grammar.py starts it.

    python tests/few_words.py COUNT FILE

The script keeps a word if it has a property that no word before it has: gender and tags of a noun, arguments and
construction of a verb, tags of an adjective. So every construction of the grammar remains. Of COUNT pairs it writes
those that are short and have frequent English words only; sentences with a comma may be longer, since nearly every
subordinate clause is in one.
"""

from __future__ import annotations

import collections
import sys
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TypeVar

from seq2seq.data.corpora.grammar import generate, lexicon
from seq2seq.data.corpora.grammar.words import Adjective, Noun, Verb

NEEDED = {"uncle", "mother", "lazy", "sick", "call", "cry", "be", "have", "know"}
"""Words of the test sentences, and verbs that the grammar names."""
SEVERAL = frozenset("haoft")
"""Tags of which one noun in every gender is kept."""

LONGEST, WITH_COMMA, FREQUENT = 7, 9, 130

Word = TypeVar("Word")


def main() -> None:
    """Remove words from the lexicon, generate pairs and write them tab-separated."""
    words = lexicon()
    thin(words.nouns, properties_of_noun)
    thin(words.verbs, properties_of_verb)
    thin(words.adjectives, properties_of_adjective)
    pairs = simple(generate(int(sys.argv[1]), seed=1))
    Path(sys.argv[2]).write_text("".join(f"{src}\t{tgt}\n" for src, tgt in pairs), encoding="utf-8")


def simple(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Keep the short pairs of the most frequent words."""
    split = [[word.strip(",.?!").lower() for word in src.split()] for src, _ in pairs]
    short = [
        (pair, words)
        for pair, words in zip(pairs, split, strict=True)
        if len(words) <= (WITH_COMMA if "," in pair[0] else LONGEST)
    ]
    counts = collections.Counter(word for _, words in short for word in words)
    frequent = {word for word, _ in counts.most_common(FREQUENT)}
    return [pair for pair, words in short if frequent.issuperset(words)]


def thin(words: dict[str, Word], properties: Callable[[Word], set[Hashable]]) -> None:
    """Keep the words of NEEDED and each word with a property that no word before it has."""
    seen: set[Hashable] = set()
    for name, word in list(words.items()):
        if name in NEEDED or not properties(word) <= seen:
            seen |= properties(word)
        else:
            del words[name]


def properties_of_noun(noun: Noun) -> set[Hashable]:
    """Return the tags, and the gender with those in SEVERAL."""
    return {*noun.tags, *((noun.gender, tag) for tag in noun.tags & SEVERAL)}


def properties_of_verb(verb: Verb) -> set[Hashable]:
    """Return subjects and objects (verbs with an unchanged past apart), flags and construction."""
    past = verb.en_past != verb.en
    construction = (bool(verb.prefix), verb.with_sein, verb.reflexive, verb.object_case, verb.place, verb.receiver)
    return {construction, *verb.flags, *((tag, past) for tag in verb.subjects), *((past, tag) for tag in verb.objects)}


def properties_of_adjective(adjective: Adjective) -> set[Hashable]:
    """Return the rank with each tag."""
    return {(adjective.rank, tag) for tag in adjective.tags}


main()
