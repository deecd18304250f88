"""How much a system loses if its input is written carelessly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from seq2seq.evaluation.analysis.structure import Cell, Section
from seq2seq.evaluation.analysis.texts import Texts
from seq2seq.evaluation.metrics import bleu_score, chrf


@dataclass(frozen=True)
class Variant:
    """A variant of the test set, as `data.robustness` makes it.

    Attributes:
        name: upper, title, nopunct or typos.
        references: of its sources.
        systems: translations by system.
        ignore_case: it is compared ignoring case, and so is the clean set with it.
    """

    name: str
    references: Sequence[str]
    systems: Mapping[str, Sequence[str]]
    ignore_case: bool = False


def robustness(texts: Texts, variants: Sequence[Variant]) -> Section:
    """Return BLEU and chrF of the clean set and of each variant, and the BLEU that is lost."""
    systems = {name: text.lines for name, text in texts.systems.items()}
    clean = {ignore: Variant("clean", texts.references.lines, systems, ignore) for ignore in (False, True)}
    rows: list[list[Cell]] = []
    for variant in (clean[False], *variants):
        row: list[Cell] = [variant.name + " (case ignored)" * variant.ignore_case]
        for name in texts.systems:
            bleu, characters = _scores(variant, name, texts.tokenize)
            before, _ = _scores(clean[variant.ignore_case], name, texts.tokenize)
            row += [bleu, before - bleu, characters]
        rows.append(row)
    columns = [title for name in texts.systems for title in (f"{name}: BLEU", "lost", "chrF")]
    note = "The test set in capitals, without final punctuation, with typos: what is lost against the clean set."
    return Section("Robustness", note, ["input", *columns], rows)


def _scores(variant: Variant, name: str, tokenize: str) -> tuple[float, float]:
    outputs, references = variant.systems[name], variant.references
    if variant.ignore_case:
        outputs, references = ([line.lower() for line in lines] for lines in (outputs, references))
    return bleu_score(outputs, references, tokenize=tokenize).value, chrf(outputs, references)
