"""What was left in the source language: whole sentences, single words."""

from __future__ import annotations

from collections.abc import Iterator

from seq2seq.evaluation.analysis.texts import Lines, Texts
from seq2seq.evaluation.analysis.words import is_alphabetic

MIN_LETTERS = 4
SENTENCE_WORDS = 3
FOREIGN = 20
"""A word is foreign to the target language if it is so many times as frequent in the sources."""
NOUNS_IN_CAPITALS = 0.12
"""Share of words with a capital, of those inside a sentence, above which capitals are no sign of a name (German)."""


def copied(texts: Texts, text: Lines) -> dict[int, str]:
    """Find outputs that have the words of the source, if the reference has others.

    One or two words may be the same in both languages: one of them must be foreign to the target language.
    """
    found = {}
    triples = zip(texts.sources.words, texts.references.words, text.words, strict=True)
    for line, (source, reference, output) in enumerate(triples):
        if output != source or output == reference or not any(map(is_alphabetic, output)):
            continue
        if len(source) >= SENTENCE_WORDS or any(_is_foreign(word, texts) for word in source):
            found[line] = ""
    return found


def untranslated(texts: Texts, text: Lines) -> dict[int, str]:
    """Find words of the source in the output that are neither in the reference nor words of the target language.

    Names are left out: words with a capital inside a source sentence. In a source language that writes every noun with
    a capital, only if the reference has a word with a capital that the output lacks, which may be the name translated.
    """
    capitals = _share_of_capitals(texts.sources)
    whole = copied(texts, text)
    found = {}
    for line, output in enumerate(text.words):
        if line in whole:
            continue
        shared = set(texts.sources.words[line]) & set(output) - set(texts.references.words[line])
        left = [word for word in sorted(shared) if _is_left(word, line, texts)]
        if left and (names := _names(texts, text, line, capitals)):
            left = [word for word in left if word not in names]
        if left:
            found[line] = ", ".join(left)
    return found


def _is_left(word: str, line: int, texts: Texts) -> bool:
    if len(word) < MIN_LETTERS or not is_alphabetic(word.replace("'", "").replace("’", "")):
        return False
    stem = word[: max(MIN_LETTERS, len(word) - 2)]
    return _is_foreign(word, texts) and not any(other.startswith(stem) for other in texts.references.words[line])


def _names(texts: Texts, text: Lines, line: int, capitals: float) -> set[str]:
    source = list(_capitalised(texts.sources.tokens[line]))
    if capitals > NOUNS_IN_CAPITALS:
        translated = set(_capitalised(texts.references.tokens[line])) - set(text.tokens[line])
        return {word.casefold() for word in source} if translated else set()
    return {word.casefold() for word in source}


def _capitalised(line: list[str]) -> Iterator[str]:
    """Yield the words with a capital, except the first word of the line."""
    return (token for token in line[1:] if token[0].isupper())


def _share_of_capitals(text: Lines) -> float:
    inside = [token for line in text.tokens for token in line[1:] if token[0].isupper() or token[0].islower()]
    return sum(token[0].isupper() for token in inside) / max(1, len(inside))


def _is_foreign(word: str, texts: Texts) -> bool:
    """Return True if a word is much more frequent in the sources than in the target language, as far as it is known."""
    training, references = texts.training_words or {}, texts.references.counts
    count, total = training.get(word, 0) + references[word], texts.training_total + texts.references.total
    return FOREIGN * count * texts.sources.total < texts.sources.counts[word] * total
