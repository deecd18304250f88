"""What the probabilities of a confidence are about: whether a word is right, and whether a sentence is good.

Both compare an output with one reference, so a good translation in other words counts as wrong. The probabilities are
fitted to these labels (`evaluation.calibration`), and are as strict.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Sequence

from seq2seq.data.text.writing import words_of
from seq2seq.evaluation.metrics import sentence_scores

GOOD_CHRF = 40.0
"""Sentence chrF, in points, from which a translation counts as good."""
PIECE = 1000
"""Words of each text that are compared at once, in about 0.2 seconds."""


def sentence_chrf(hypotheses: Sequence[str], references: Sequence[str]) -> list[float]:
    """Return the chrF of each sentence, in points; two empty sentences are equal and have 100."""
    scores = sentence_scores(hypotheses, references) if hypotheses else []
    rows = zip(hypotheses, references, scores, strict=True)
    return [score if hypothesis.strip() or reference.strip() else 100.0 for hypothesis, reference, score in rows]


def words_right(hypothesis: str, reference: str) -> list[bool]:
    """Return for each word of `word_spans(hypothesis)` whether it is right.

    A word is right if it is one of the longest sequence of words that both texts have in this order (as the OK and BAD
    tags of word-level quality estimation). Case, and punctuation at the ends of a word, are ignored. Texts of more than
    `PIECE` words are compared piece by piece, from the first word that differs: the cost of a piece is its square.
    """
    words, others = [[_form(word) for word in words_of(text)] for text in (hypothesis, reference)]
    begin = len([*itertools.takewhile(lambda pair: pair[0] == pair[1], zip(words, others, strict=False))])
    right = [True] * begin
    for start in range(begin, len(words), PIECE):
        piece = slice(start, start + PIECE)
        right += _in_longest_common_subsequence(words[piece], others[piece])
    return right


def _form(word: str) -> str:
    """Return a word in the form that is compared; a word of punctuation alone is compared as it is."""
    plain = unicodedata.normalize("NFC", word).casefold()
    letters = [i for i, char in enumerate(plain) if not unicodedata.category(char).startswith("P")]
    return plain[letters[0] : letters[-1] + 1] if letters else plain


def _in_longest_common_subsequence(words: Sequence[str], others: Sequence[str]) -> list[bool]:
    """Return which of `words` belong to a longest common subsequence; of several, to the one that is found first."""
    lengths = [[0] * (len(others) + 1)]  # lengths[i][j]: of the last i words and the last j others
    for word in reversed(words):
        below, row = lengths[-1], [0]
        for j, other in enumerate(reversed(others)):
            row.append(below[j] + 1 if word == other else max(below[j + 1], row[j]))
        lengths.append(row)
    found, rest = [False] * len(words), len(others)
    for i, word in enumerate(words):
        left = len(words) - i
        while rest and word != others[-rest] and lengths[left][rest] == lengths[left][rest - 1]:
            rest -= 1
        if rest and word == others[-rest]:
            found[i] = True
            rest -= 1
    return found
