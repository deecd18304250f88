"""A bilingual grammar: makes synthetic English-German sentence pairs, with no network, the same ones everywhere.

The German has what a word-for-word translation cannot give: case and gender agreement, the verb second in main clauses
and last in subordinate ones, separable verbs, perfect and modal brackets. It serves tests, offline starts, and looking
at what attention learns; it is not natural text, and a score on it says nothing about real translation.

`generate` and `splits` make pairs. For a sentence of your own, build a tree (`trees`) from words (`lexicon`) and give
it to `english.sentence` and `german.sentence`.
"""

from seq2seq.data.corpora.grammar.corpus import load, load_tests
from seq2seq.data.corpora.grammar.generate import generate, splits
from seq2seq.data.corpora.grammar.lexicon import lemma_count, lexicon

__all__ = ["generate", "lemma_count", "lexicon", "load", "load_tests", "splits"]
