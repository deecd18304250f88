"""Alignment error rate: word links compared with those that people made (Och and Ney 2003).

Annotators mark a link as sure (S) or as possible (P, which includes S). For the links A of a system:

    precision = |A ∩ P| / |A|    recall = |A ∩ S| / |S|    AER = 1 - (|A ∩ S| + |A ∩ P|) / (|A| + |S|)

summed over all sentences before the division. If every link is sure, AER = 1 - F1. Importing this module loads neither
torch nor NumPy.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from seq2seq.errors import DataError

Link = tuple[int, int]
_PHARAOH = re.compile(r"([0-9]{1,9})([-p?])([0-9]{1,9})", re.ASCII)
_NAACL = re.compile(r"\s*([0-9]{1,9})\s+([0-9]{1,9})\s+([0-9]{1,9})(?:\s+([SP]))?(?:\s+[0-9.]+)?\s*", re.ASCII)


@dataclass(frozen=True)
class GoldLinks:
    """The links of a sentence pair that annotators made: (source, target) word numbers from 0."""

    sure: frozenset[Link] = frozenset()
    possible: frozenset[Link] = frozenset()
    """Includes the sure ones."""


@dataclass(frozen=True)
class AlignmentScores:
    """Alignment error rate, precision and recall, in [0, 1]; NaN where there is nothing to divide by.

    Attributes:
        aer: alignment error rate; lower is better.
        precision: share of the links that are possible.
        recall: share of the sure links that were found.
        links: number of links.
        sure: number of sure links.
        possible: number of possible links, sure ones included.
        pairs: number of sentence pairs.
    """

    aer: float
    precision: float
    recall: float
    links: int
    sure: int
    possible: int
    pairs: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; NaN is None."""
        values = dataclasses.asdict(self)
        return {name: None if math.isnan(value) else value for name, value in values.items()}


def alignment_scores(links: Sequence[Iterable[Link]], gold: Sequence[GoldLinks]) -> AlignmentScores:
    """Compare the links of each sentence pair with those of the gold alignment.

    Raises:
        ValueError: the numbers of pairs differ.
    """
    made = found_sure = found_possible = sure = possible = 0
    for pair_links, pair_gold in zip(links, gold, strict=True):
        distinct = {*pair_links}
        made += len(distinct)
        found_sure += len(distinct & pair_gold.sure)
        found_possible += len(distinct & pair_gold.possible)
        sure += len(pair_gold.sure)
        possible += len(pair_gold.possible)
    error = 1 - _share(found_sure + found_possible, made + sure)
    return AlignmentScores(
        error, _share(found_possible, made), _share(found_sure, sure), made, sure, possible, len(gold)
    )


def parse_alignment(
    lines: Sequence[str], sizes: Sequence[tuple[int, int]], name: str, *, one_based: bool = False
) -> list[GoldLinks]:
    """Read a gold alignment in the Pharaoh or the NAACL format, which are told apart by their first line with text.

    - Pharaoh: a line per pair, `0-0 1p2 1?3`: a sure link, and two possible ones in both spellings.
    - NAACL (Mihalcea and Pedersen 2003): a line per link, `pair source target`, then S or P (default: S) and a
      confidence, which is ignored. Numbers are from 1; word 0 stands for no word.

    Args:
        lines: of the file.
        sizes: number of source and target words of each pair.
        name: of the file, for messages.
        one_based: words of the Pharaoh format are counted from 1.

    Raises:
        DataError: the file has another format or number of pairs, or a link names a word that its pair does not have;
            the message names file and line.
    """
    counted = f"words are counted from {int(one_based)}" + "; if the file counts from 1, add --one-based" * (
        not one_based
    )
    parsed, missing = _parse(lines, sizes, name, int(one_based), counted)
    if missing:
        raise DataError(
            f"{name} has no links of pair {missing[0]} ({len(missing):,} of {len(sizes):,} pairs have none)"
        )
    return parsed


def parse_links(
    lines: Sequence[str], sizes: Sequence[tuple[int, int]], name: str, *, one_based: bool = False
) -> list[list[Link]]:
    """Read the links that a program made, in a format of `parse_alignment`; it may leave any pair without links.

    Words of the Pharaoh format are counted from 0, as `align` and other programs write them, or from 1 (`one_based`).

    Raises:
        DataError: as `parse_alignment`.
    """
    counted = f"words of --links are counted from {int(one_based)}, those of NAACL lines from 1"
    advice = "" if one_based else "; if the file counts from 1, add --links-one-based"
    parsed, _ = _parse(lines, sizes, name, int(one_based), counted + advice)
    return [[*found.possible] for found in parsed]


def _parse(
    lines: Sequence[str], sizes: Sequence[tuple[int, int]], name: str, first_word: int, counted: str
) -> tuple[list[GoldLinks], list[int]]:
    """Return the links of each pair, and the pairs that a file in the NAACL format does not name."""
    first = next((line for line in lines if line.strip()), "")
    if _NAACL.fullmatch(first):
        return _parse_naacl(lines, sizes, name)
    if len(lines) != len(sizes):
        raise DataError(
            f"{name} has {len(lines):,} lines for {len(sizes):,} sentence pairs: one line per pair is needed"
        )
    parsed = [
        _gold(_pharaoh_link(text, size, f"{name}:{number}", first_word, counted) for text in line.split())
        for number, (line, size) in enumerate(zip(lines, sizes, strict=True), start=1)
    ]
    return parsed, []


def _pharaoh_link(text: str, size: tuple[int, int], place: str, first_word: int, counted: str) -> tuple[Link, bool]:
    match = _PHARAOH.fullmatch(text)
    if not match:
        raise DataError(
            f"{place}: {text[:40]!r} is no link: write source-target for a sure link, sourceptarget for a possible one"
        )
    link = int(match[1]) - first_word, int(match[3]) - first_word
    _check_range(link, size, f"{place}: link {text}", counted)
    return link, match[2] == "-"


def _parse_naacl(
    lines: Sequence[str], sizes: Sequence[tuple[int, int]], name: str
) -> tuple[list[GoldLinks], list[int]]:
    links: list[list[tuple[Link, bool]]] = [[] for _ in sizes]
    seen = set()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        match = _NAACL.fullmatch(line)
        if not match:
            raise DataError(f"{name}:{number}: {line.strip()[:40]!r} is not: pair source target [S|P]")
        pair = int(match[1])
        if not 1 <= pair <= len(sizes):
            raise DataError(f"{name}:{number}: pair {pair} does not exist: the texts have {len(sizes):,} lines")
        seen.add(pair)
        if match[2] == "0" or match[3] == "0":  # linked to no word
            continue
        link = int(match[2]) - 1, int(match[3]) - 1
        _check_range(link, sizes[pair - 1], f"{name}:{number}: link {match[2]} {match[3]}", "words are counted from 1")
        links[pair - 1].append((link, match[4] != "P"))
    missing = [pair for pair in range(1, len(sizes) + 1) if pair not in seen]
    return [_gold(pair_links) for pair_links in links], missing


def _check_range(link: Link, size: tuple[int, int], what: str, counting: str) -> None:
    if not (0 <= link[0] < size[0] and 0 <= link[1] < size[1]):
        raise DataError(f"{what} is out of range: the pair has {size[0]} and {size[1]} words; {counting}")


def _gold(links: Iterable[tuple[Link, bool]]) -> GoldLinks:
    marked = list(links)
    return GoldLinks(frozenset(link for link, sure in marked if sure), frozenset(link for link, _ in marked))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
