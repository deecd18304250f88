"""Lines as search inputs: token ids, prefix and phrases of each line; a long line is split into parts."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from seq2seq.data.special_ids import UNK_ID
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.inference.glossary import Glossary
from seq2seq.inference.sentences import Splitter
from seq2seq.inference.text import split_long, valid_unicode, words_before
from seq2seq.search.batched_search import SearchInput

MAX_PART_TOKENS = 1000
"""Maximum source tokens of one search; a longer line is split (time and memory grow with the square)."""

Segment = tuple[str, str, list[int]]
"""A part as it is in the line, as it is translated, and its ids."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LinePart:
    """A line, or a part of one, and its search input.

    Attributes:
        text: what is translated; a sentence has no white space around it.
        first_word: number of the line's words before it.
        input: of the search.
        spaced: the part with its white space, as it is in the line.
        tag_tokens: number of ids at the start of the input that are the tag of the target language.
    """

    text: str
    first_word: int
    input: SearchInput
    spaced: str
    tag_tokens: int = 0


class LineEncoder:
    """Encodes lines, prefixes and terms as search inputs.

    Args:
        tokenizer: of the model.
        max_tokens: source tokens above which a line is split.
    """

    def __init__(self, tokenizer: Tokenizer, max_tokens: int) -> None:
        self.tokenizer, self.max_tokens = tokenizer, max_tokens

    def encode(
        self,
        lines: Sequence[str],
        prefixes: Sequence[str],
        terms: Sequence[Sequence[str]],
        glossary: Glossary | None,
        splitter: Splitter | None = None,
        tags: Sequence[list[int]] | None = None,
    ) -> list[list[LinePart]]:
        """Return the parts of each line: none if it is blank, one unless it is longer than `max_tokens`.

        With a `splitter`, every sentence of a line is a part, and is split in turn if it is longer than `max_tokens`.
        A line's prefix and terms go to its first part; glossary terms go to the part that contains their source term.
        Each part begins with the tag of its line, if `tags` are given.
        """
        texts = ["" if line.isspace() else valid_unicode(line) for line in lines]
        sentences = [splitter(text) if splitter and text else [text] for text in texts]
        clean = str.strip if splitter else str
        whole = iter(self._segments([sentence for row in sentences for sentence in row], clean))
        segments = [[self._split(next(whole), clean) for _ in row] for row in sentences]
        if split := [len(parts) for row in segments for parts in row if len(parts) > 1]:
            log.warning(
                "%d of %d %s have more than %d tokens, more than the sentences of training: translated in %d parts",
                *(len(split), sum(map(len, sentences)), "sentences" if splitter else "lines"),
                *(self.max_tokens, sum(split)),
            )
        rows = zip(segments, prefixes, terms, tags or [[]] * len(lines), strict=True)
        return [
            [_tagged(part, tag) for part in self._parts([*itertools.chain(*row)], prefix, row_terms, glossary)]
            for row, prefix, row_terms, tag in rows
        ]

    def banned_sequences(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the id sequences that an output must not contain for it to contain none of these texts."""
        sequences = [ids for ids in map(self._target_ids, texts) if ids]
        # "." is encoded as a word start and the full stop; inside a word it has no word start.
        inside = [ids[1:] for ids in sequences if len(ids) > 1 and self.tokenizer.tgt_pieces(ids[:1]) == ["▁"]]
        return sequences + inside

    def _parts(
        self, segments: Sequence[Segment], prefix: str, terms: Sequence[str], glossary: Glossary | None
    ) -> list[LinePart]:
        line = "".join(spaced for spaced, _, _ in segments)
        starts = itertools.accumulate((len(spaced) for spaced, _, _ in segments), initial=0)
        parts: list[LinePart] = []
        for (spaced, text, ids), first_word in zip(segments, words_before(line, [*starts]), strict=False):
            if ids:
                part_terms = [*(() if parts else terms), *(glossary.terms_for(text) if glossary else ())]
                phrases = [phrase for phrase in map(self._phrase, part_terms) if phrase]
                search_input = SearchInput(ids, self._target_ids("" if parts else prefix), phrases)
                parts.append(LinePart(text, first_word, search_input, spaced))
        return parts

    def _split(self, segment: Segment, clean: Callable[[str], str]) -> list[Segment]:
        text, _, ids = segment
        if len(ids) <= self.max_tokens:
            return [segment]
        max_chars = self.max_tokens * self.tokenizer.longest_src_piece
        texts = split_long(text, lambda part: len(self.tokenizer.encode_src([part])[0]), self.max_tokens, max_chars)
        return self._segments(texts, clean)

    def _segments(self, texts: Sequence[str], clean: Callable[[str], str]) -> list[Segment]:
        cleaned = [clean(text) for text in texts]
        return list(zip(texts, cleaned, self.tokenizer.encode_src(cleaned), strict=True))

    def _phrase(self, term: str) -> list[int]:
        ids = self._target_ids(term)
        if UNK_ID in ids:
            log.warning("term %r is skipped: the target vocabulary has no tokens for it", term)
            return []
        return ids

    def _target_ids(self, text: str) -> list[int]:
        return self.tokenizer.encode_tgt([valid_unicode(text)])[0]


def _tagged(part: LinePart, tag: list[int]) -> LinePart:
    if not tag:
        return part
    search_input = dataclasses.replace(part.input, ids=[*tag, *part.input.ids])
    return dataclasses.replace(part, input=search_input, tag_tokens=len(tag))
