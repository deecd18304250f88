"""Scores of sentences and words by what they have in common, as compare-mt's buckets (Neubig et al. 2019)."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import fmean

from seq2seq.data.text.writing import count_words
from seq2seq.evaluation.analysis.sentence_bleu import corpus_bleu
from seq2seq.evaluation.analysis.structure import Cell, Section
from seq2seq.evaluation.analysis.texts import Texts

LENGTHS = (1, 6, 11, 16, 21, 31, 41, 61)
"""Lowest value of each bucket but the first, which has the values below them; so in the next two."""
DIFFERENCES = (-9, -4, -1, 0, 1, 2, 5, 10)
FREQUENCIES = (1, 2, 5, 10, 100, 1000, 10_000)
SCORE_STEP = 10
QUARTERS = 4


def overall(texts: Texts) -> Section:
    """Return scores of the whole text, and the mean length difference."""
    rows: list[list[Cell]] = [
        [name, corpus_bleu(texts.bleu[name]), fmean(texts.scores[name]), fmean(_length_differences(texts, name))]
        for name in texts.systems
    ]
    note = (
        f"{len(texts.sources):,} sentences. BLEU with the tokenizer {texts.tokenize}; chrF, here and below, is the "
        "mean over the sentences; length: words of the output minus words of the reference, mean."
    )
    return Section("Scores", note, ["system", "BLEU", "chrF", "length"], rows)


def by_source_length(texts: Texts) -> Section:
    """Return scores by the number of words in the source."""
    lengths = [count_words(line) for line in texts.sources.lines]
    note = "Long sentences are harder; a score that falls off suddenly points at the lengths of the training text."
    return _by_sentence("Source length", "source words", note, texts, lengths, LENGTHS)


def by_entropy(texts: Texts, entropy: Mapping[str, Sequence[float]]) -> Iterator[Section]:
    """Yield a table per system: scores by attention entropy, in quarters of the sentences that have one."""
    for name, values in entropy.items():
        known = sorted(value for value in values if value == value)
        edges = sorted({known[len(known) * quarter // QUARTERS] for quarter in range(1, QUARTERS)} if known else ())
        rows: list[list[Cell]] = []
        for label, lines in _grouped(values, edges, _span(known, edges)):
            rows.append([label, len(lines), *_sentence_scores(texts, lines, [name])])
        note = (
            "Mean entropy of the attention of each output word, divided by its maximum: 0 looks at one source word, 1 "
            "at all equally. Scores that fall as it rises show that attention is lost in hard sentences."
        )
        yield Section(f"Attention entropy: {name}", note, ["entropy", "sentences", *_titles([name])], rows)


def by_length_difference(texts: Texts) -> Section:
    """Return, by the difference of output and reference length, how many sentences of each system there are."""
    groups = {
        name: dict(_grouped(_length_differences(texts, name), DIFFERENCES, _label(DIFFERENCES, "+")))
        for name in texts.systems
    }
    labels = map(_label(DIFFERENCES, "+"), range(len(DIFFERENCES) + 1))
    rows: list[list[Cell]] = []
    for label in labels:
        lines = {name: groups[name].get(label, []) for name in texts.systems}
        if any(lines.values()):
            cells = ([len(found), _mean([texts.scores[name][i] for i in found])] for name, found in lines.items())
            rows.append([label, *(cell for pair in cells for cell in pair)])
    columns = [title for name in texts.systems for title in (f"{name}: sentences", "chrF")]
    note = "Words of the output minus words of the reference. Many sentences on one side mean a length bias."
    return Section("Length difference", note, ["difference", *columns], rows)


def by_frequency(texts: Texts, training_words: Mapping[str, int]) -> Section:
    """Return precision, recall and F1 of the target words by their frequency in training."""
    label = _label(FREQUENCIES, "")
    wanted = _by_bucket(texts.references.words, training_words)
    rows: list[list[Cell]] = [[label(i), wanted[i]] for i in range(len(FREQUENCIES) + 1)]
    for text in texts.systems.values():
        pairs = zip(texts.references.words, text.words, strict=True)
        matched = _by_bucket(((Counter(ref) & Counter(out)).elements() for ref, out in pairs), training_words)
        written = _by_bucket(text.words, training_words)
        for i, row in enumerate(rows):
            right, both = matched[i], written[i] + wanted[i]
            row += [_percent(right, written[i]), _percent(right, wanted[i]), _percent(2 * right, both)]
    columns = [title for name in texts.systems for title in (f"{name}: precision", "recall", "F1")]
    note = (
        "Target words, ignoring case, by how often the training text has them: how many of those in the output are in "
        "the reference (precision), and of those in the reference in the output (recall), in %."
    )
    shown = [row for row in rows if row[1] or any(cell is not None for cell in row[2:])]
    return Section("Word frequency in training", note, ["frequency", "in references", *columns], shown)


def score_histograms(texts: Texts) -> list[Section]:
    """Return how many sentences have which chrF, and which BLEU."""
    bleu = {name: [sentence.score for sentence in sentences] for name, sentences in texts.bleu.items()}
    return [_histogram("chrF", texts.scores), _histogram("BLEU", bleu)]


def _histogram(metric: str, scores: Mapping[str, Sequence[float]]) -> Section:
    counts = [Counter(min(int(score), 99) // SCORE_STEP for score in values) for values in scores.values()]
    rows: list[list[Cell]] = [
        [f"{low} to {low + SCORE_STEP}", *(count[low // SCORE_STEP] for count in counts)]
        for low in range(0, 100, SCORE_STEP)
    ]
    note = f"How many sentences have which {metric}. A heap at the low end are failures; the rest are near misses."
    return Section(f"Sentence {metric}", note, [metric, *scores], rows)


def _by_sentence(
    title: str, first: str, note: str, texts: Texts, values: Sequence[int], edges: Sequence[int]
) -> Section:
    names = list(texts.systems)
    rows: list[list[Cell]] = [
        [label, len(lines), *_sentence_scores(texts, lines, names)]
        for label, lines in _grouped(values, edges, _label(edges, ""))
    ]
    return Section(title, note, [first, "sentences", *_titles(names)], rows)


def _titles(names: Sequence[str]) -> list[str]:
    return [title for name in names for title in (f"{name}: chrF", "BLEU")]


def _sentence_scores(texts: Texts, lines: Sequence[int], names: Sequence[str]) -> list[Cell]:
    pairs = ((texts.scores[name], texts.bleu[name]) for name in names)
    return [
        cell
        for scores, bleu in pairs
        for cell in (fmean(scores[i] for i in lines), corpus_bleu([bleu[i] for i in lines]))
    ]


def _grouped(
    values: Sequence[int | float], edges: Sequence[int | float], label: Callable[[int], str]
) -> list[tuple[str, list[int]]]:
    """Return the label and the lines of each bucket that has any; NaN is in none."""
    groups: list[list[int]] = [[] for _ in range(len(edges) + 1)]
    for i, value in enumerate(values):
        if value == value:
            groups[bisect.bisect_right(edges, value)].append(i)
    return [(label(bucket), lines) for bucket, lines in enumerate(groups) if lines]


def _label(edges: Sequence[int], plus: str) -> Callable[[int], str]:
    """Return a function that names a bucket of whole numbers: "6 to 10"; positive numbers have the sign `plus`."""

    def shown(value: int) -> str:
        return f"{plus if value > 0 else ''}{value:,}".replace("-", "−")

    def label(bucket: int) -> str:
        if bucket == 0:
            return f"{shown(edges[0] - 1)}{'' if edges[0] == 1 else ' or less'}"
        low = edges[bucket - 1]
        if bucket == len(edges):
            return f"{shown(low)} or more"
        high = edges[bucket] - 1
        return shown(low) if low == high else f"{shown(low)} to {shown(high)}"

    return label


def _span(known: Sequence[float], edges: Sequence[float]) -> Callable[[int], str]:
    bounds = [*known[:1], *edges, *known[-1:]]
    return lambda bucket: f"{bounds[bucket]:.3f} to {bounds[bucket + 1]:.3f}"


def _length_differences(texts: Texts, name: str) -> list[int]:
    pairs = zip(texts.systems[name].lines, texts.references.lines, strict=True)
    return [count_words(output) - count_words(reference) for output, reference in pairs]


def _by_bucket(lines: Iterable[Iterable[str]], training_words: Mapping[str, int]) -> Counter[int]:
    words = Counter(word for line in lines for word in line)
    counts: Counter[int] = Counter()
    for word, count in words.items():
        counts[bisect.bisect_right(FREQUENCIES, training_words.get(word, 0))] += count
    return counts


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
