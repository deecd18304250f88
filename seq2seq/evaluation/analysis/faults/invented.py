"""Words that no text has: a model of subwords may join them to something that is no word."""

from __future__ import annotations

from seq2seq.evaluation.analysis.texts import Lines, Texts
from seq2seq.evaluation.analysis.words import is_alphabetic

MIN_LETTERS = 4
MOST_UNSEEN = 0.05
"""Share of the reference words that the training text may lack; above it, that text is too small to judge by."""


def invented(texts: Texts, text: Lines) -> dict[int, str]:
    """Find words that are not in the training text, the references or the source, if the training text is known.

    Words with a capital inside the output may be names, and numbers and short words may be anything.
    """
    training = texts.training_words
    if not training or _unseen(texts) > MOST_UNSEEN:
        return {}
    found = {}
    for line, output in enumerate(text.words):
        new = [
            word
            for word in dict.fromkeys(output)
            if len(word) >= MIN_LETTERS
            and is_alphabetic(word)
            and word not in training
            and word not in texts.references.counts
            and word not in texts.sources.words[line]
        ]
        if new:
            names = {token.casefold() for token in text.tokens[line][1:] if token[0].isupper()}
            if left := [word for word in new if word not in names]:
                found[line] = ", ".join(left)
    return found


def _unseen(texts: Texts) -> float:
    counts = texts.references.counts
    unseen = sum(count for word, count in counts.items() if word not in (texts.training_words or {}))
    return unseen / max(1, counts.total())
