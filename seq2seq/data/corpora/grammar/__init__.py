"""A synthetic English-German corpus from a bilingual grammar, without a download and identical on every machine.

The German needs more than word-for-word translation: case and gender agreement, the verb second in main clauses and
last in subordinate ones, separable verbs, perfect and modal brackets. The corpus is for tests, offline starts and
studies of attention. It is not natural text, and a score on it says nothing about real translation.

`generate` and `splits` return pairs. To translate a sentence of your own, build a tree (`trees`) from words (`lexicon`)
and pass it to `english.sentence` and `german.sentence`.
"""

from seq2seq.data.corpora.grammar.corpus import load, load_tests
from seq2seq.data.corpora.grammar.generate import generate, splits
from seq2seq.data.corpora.grammar.lexicon import lemma_count, lexicon

__all__ = ["generate", "lemma_count", "lexicon", "load", "load_tests", "splits"]
