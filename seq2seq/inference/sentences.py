"""Split a line into its sentences, by the rules of its language."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from seq2seq.data.text.writing import join_sentences
from seq2seq.errors import ConfigError
from seq2seq.inference.text import one_line

Splitter = Callable[[str], list[str]]
"""Returns the sentences of a text; they concatenate to the text, each with the white space after it."""

_SPACE = re.compile(r"\s*")


def sentence_splitter(language: str) -> Splitter:
    """Return the splitter of a language code; the rules of a region (`de-AT`) or an unknown language are its parent's.

    Raises:
        ConfigError: sentencex is not installed.
    """
    try:
        import sentencex
    except ModuleNotFoundError as error:
        if error.name != "sentencex":
            raise
        raise ConfigError(
            "splitting lines into sentences needs sentencex: pip install 'attentional-lstm[data]'"
        ) from error
    code = re.split("[-_]", language, maxsplit=1)[0].lower()

    def split(text: str) -> list[str]:
        sentences: list[str] = sentencex.segment(code, text)
        # A rule that lost or changed a character would lose it in the translation, too.
        return _without_blank(sentences) if "".join(sentences) == text else [text]

    return split


def join_with_spacing(sources: Sequence[str], outputs: Sequence[str]) -> str:
    """Join translated sentences with the white space that the sources have around and between them.

    A single space, or none, between two sentences is written as the script of the outputs does: "你好。再见。" has no
    space between its sentences, and its English translation has one. A line break is a space, so that the result is
    one line.

    Args:
        sources: the sentences; they concatenate to the line.
        outputs: their translations.
    """
    sources = [one_line(source) for source in sources]
    text = sources[0][: len(sources[0]) - len(sources[0].lstrip())] if sources else ""
    for i, output in enumerate(outputs):
        text += output
        gap = sources[i][len(sources[i].rstrip()) :]
        if i + 1 < len(outputs):
            gap += _SPACE.match(sources[i + 1])[0]  # type: ignore[index]
            text += _between(output, outputs[i + 1]) if gap in ("", " ") else gap
        else:
            text += gap
    return text


def _without_blank(sentences: Sequence[str]) -> list[str]:
    """Return the sentences with those of white space alone joined to the sentence before, or after them."""
    joined: list[str] = []
    for sentence in sentences:
        if joined and (sentence.isspace() or joined[-1].isspace()):
            joined[-1] += sentence
        else:
            joined.append(sentence)
    return joined


def _between(one: str, other: str) -> str:
    return join_sentences([one, other])[len(one) : -len(other)] if one and other else ""
