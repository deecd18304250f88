"""Lines as search inputs: token ids, prefix and phrases of each line; a long line is split into parts."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from seq2seq.data.special_ids import UNK_ID
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.inference.glossary import Glossary
from seq2seq.inference.text import split_long, valid_unicode, words_before
from seq2seq.search.batched_search import SearchInput

MAX_PART_TOKENS = 1000
"""Maximum source tokens of one search; a longer line is split (time and memory grow with the square)."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LinePart:
    """A line, or a part of a long one, and its search input; `first_word` words of the line come before it.

    The first `tag_tokens` ids of the input are the tag of the target language, which is no part of the text.
    """

    text: str
    first_word: int
    input: SearchInput
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
        tags: Sequence[list[int]] | None = None,
    ) -> list[list[LinePart]]:
        """Return the parts of each line: none if it is blank, one unless it is longer than `max_tokens`.

        A line's prefix and terms go to its first part; glossary terms go to the part that contains their source term.
        Each part begins with the tag of its line, if `tags` are given.
        """
        texts = ["" if line.isspace() else valid_unicode(line) for line in lines]
        rows = zip(texts, self.tokenizer.encode_src(texts), prefixes, terms, strict=True)
        lines_parts = [self._parts(text, ids, prefix, line_terms, glossary) for text, ids, prefix, line_terms in rows]
        if tags is not None and any(tags):
            lines_parts = [[_tagged(part, tag) for part in parts] for parts, tag in zip(lines_parts, tags, strict=True)]
        if split := [len(parts) for parts in lines_parts if len(parts) > 1]:
            log.warning(
                "%d of %d lines have more than %d tokens, more than the sentences of training: translated in %d parts",
                *(len(split), len(lines_parts), self.max_tokens, sum(split)),
            )
        return lines_parts

    def banned_sequences(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the id sequences that an output must not contain for it to contain none of these texts."""
        sequences = [ids for ids in map(self._target_ids, texts) if ids]
        # "." is encoded as a word start and the full stop; inside a word it has no word start.
        inside = [ids[1:] for ids in sequences if len(ids) > 1 and self.tokenizer.tgt_pieces(ids[:1]) == ["▁"]]
        return sequences + inside

    def _parts(
        self, text: str, ids: list[int], prefix: str, terms: Sequence[str], glossary: Glossary | None
    ) -> list[LinePart]:
        segments = [(text, ids)]
        if len(ids) > self.max_tokens:
            segments = self._split(text)
        starts = itertools.accumulate((len(segment) for segment, _ in segments), initial=0)
        parts: list[LinePart] = []
        for (segment, ids), first_word in zip(segments, words_before(text, [*starts]), strict=False):
            if ids:
                part_terms = [*(() if parts else terms), *(glossary.terms_for(segment) if glossary else ())]
                phrases = [phrase for phrase in map(self._phrase, part_terms) if phrase]
                search_input = SearchInput(ids, self._target_ids("" if parts else prefix), phrases)
                parts.append(LinePart(segment, first_word, search_input))
        return parts

    def _split(self, text: str) -> list[tuple[str, list[int]]]:
        max_chars = self.max_tokens * self.tokenizer.longest_src_piece
        texts = split_long(text, lambda part: len(self.tokenizer.encode_src([part])[0]), self.max_tokens, max_chars)
        return list(zip(texts, self.tokenizer.encode_src(texts), strict=True))

    def _phrase(self, term: str) -> list[int]:
        ids = self._target_ids(term)
        if UNK_ID in ids:
            log.warning("term %r is skipped: the target vocabulary has no tokens for it", term)
            return []
        return ids

    def _target_ids(self, text: str) -> list[int]:
        return self.tokenizer.encode_tgt([valid_unicode(text)])[0]


def _tagged(part: LinePart, tag: list[int]) -> LinePart:
    search_input = dataclasses.replace(part.input, ids=[*tag, *part.input.ids])
    return dataclasses.replace(part, input=search_input, tag_tokens=len(tag))
