"""Analyse the translations of one or several systems."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from seq2seq.evaluation.analysis import buckets, ngram_differences
from seq2seq.evaluation.analysis.example_lists import extremes, fault_examples
from seq2seq.evaluation.analysis.faults.registry import MEANINGS, find_faults
from seq2seq.evaluation.analysis.robustness import Variant, robustness
from seq2seq.evaluation.analysis.structure import Analysis, Cell, Section
from seq2seq.evaluation.analysis.texts import Texts, make_texts

LINES_SHOWN = 5


def analyse(
    sources: Sequence[str],
    references: Sequence[str],
    systems: Mapping[str, Sequence[str]],
    *,
    training_words: Mapping[str, int] | None = None,
    attention_entropy: Mapping[str, Sequence[float]] | None = None,
    source_dependence: Mapping[str, Sequence[float]] | None = None,
    variants: Sequence[Variant] = (),
    examples: int = 5,
    tokenize: str | None = None,
    sentence_chrf: Mapping[str, Sequence[float]] | None = None,
) -> Analysis:
    """Return where each system fails, and where the systems differ; the first one is the baseline.

    Args:
        sources: one sentence per line.
        references: of the sources.
        systems: translations of the sources, by the name of the system.
        training_words: occurrences of each word in the target side of the training text (`word_counts`).
        attention_entropy: of each sentence by system, as `evidence.attention_entropy` returns it; NaN: not known.
        source_dependence: of each output by system, as `evidence.source_dependence` returns it; NaN: not known.
        variants: the sources as careless users would write them, with their translations.
        examples: sentences per list, and n-grams per length.
        tokenize: sacreBLEU's tokenizer; default: 13a, or zh or char for scripts without spaces.
        sentence_chrf: of each sentence by system (`correctness.sentence_chrf`); default: it is computed.

    Raises:
        DataError: there are no lines or no systems, or the numbers of lines differ.
    """
    texts = make_texts(sources, references, systems, training_words, tokenize, sentence_chrf)
    found = find_faults(texts, source_dependence)
    sections = [*_scores(texts, training_words, attention_entropy), fault_table(texts, found)]
    if variants:
        sections.append(robustness(texts, variants))
    sections += ngram_differences.between_systems(texts, examples)
    sections += ngram_differences.against_references(texts, examples)
    lists = [*fault_examples(texts, found, examples), *extremes(texts, examples)] if examples else []
    lines = {fault: {system: [line + 1 for line in of] for system, of in by.items()} for fault, by in found.items()}
    return Analysis(sections, lists, lines)


def _scores(
    texts: Texts, training_words: Mapping[str, int] | None, entropy: Mapping[str, Sequence[float]] | None
) -> Iterator[Section]:
    yield buckets.overall(texts)
    yield buckets.by_source_length(texts)
    if training_words is not None:
        yield buckets.by_frequency(texts, training_words)
    yield from buckets.by_entropy(texts, entropy or {})
    yield buckets.by_length_difference(texts)
    yield from buckets.score_histograms(texts)


def fault_table(texts: Texts, found: Mapping[str, Mapping[str, Mapping[int, str]]]) -> Section:
    """Return how many lines of each system have each fault, and the first of them."""
    rows: list[list[Cell]] = []
    for fault, by_system in found.items():
        cells: list[Cell] = []
        for lines in by_system.values():
            shown = ", ".join(f"{line + 1}" for line in [*lines][:LINES_SHOWN])
            cells += [len(lines), shown + (", …" if len(lines) > LINES_SHOWN else "")]
        rows.append([f"{fault}: {MEANINGS[fault]}", *cells])
    columns = [title for name in texts.systems for title in (name, "lines")]
    note = f"Of {len(texts.sources):,} lines. What source or reference does as well is no fault."
    return Section("Faults", note, ["fault", *columns], rows)
