"""What a report says, as plain values: `gather` collects it, `report_page.page` shows it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from seq2seq.config.loading import to_yaml
from seq2seq.evaluation.analysis import analyse
from seq2seq.evaluation.calibration import Rated, assess
from seq2seq.evaluation.correctness import words_right
from seq2seq.inference.translator import Translator
from seq2seq.pictures.run_metrics import CORPUS_METRICS, METRICS, Curves, Metric
from seq2seq.reporting import SENTENCES
from seq2seq.reporting.run_facts import RunFacts
from seq2seq.reporting.sentences import Tested, shown, spread, with_confidence

EXAMPLES = 3
"""Sentences in each list of an analysis."""
MAX_LINES = 10_000
"""Of a test set that are analysed and rated, at equal distances."""


def gather(
    runs: Sequence[RunFacts],
    translator: Translator,
    tests: Sequence[Tested],
    *,
    sentences: int = SENTENCES,
    training_words: Mapping[str, int] | None = None,
    explanations: Sequence[Mapping[str, Any]] = (),
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Return what a report says.

    Args:
        runs: the run that the report is about, and those that it is compared with.
        translator: of the first run.
        tests: test sets and their translations by the runs; without any, the scores that the run recorded are shown.
        sentences: shown of all test sets together.
        training_words: occurrences of each word in the target side of the training text.
        explanations: of sentences (`Explanation.to_dict`).
        notes: what is missing.
    """
    first = runs[0]
    clean = [test for test in tests if not test.text.is_variant]
    share = max(sentences // len(clean), min(sentences, 1)) if clean else 0
    return {
        "name": first.name,
        "pair": first.pair,
        "languages": first.languages,
        "date": first.date,
        "runs": [{"name": run.name, "groups": run.groups()} for run in runs],
        "curves": curves(runs),
        "corpus_curves": corpus_curves(runs),
        "scores": [row for test in tests for row in scores(test)] or recorded(first),
        "comparisons": [{"set": test.text.name, **test.comparison.to_dict()} for test in tests],
        "tests": [about_test(test, translator, share, training_words) for test in clean],
        "explanations": list(explanations),
        "commands": first.commands(),
        "commit": first.commit(),
        "versions": first.versions(),
        "config": to_yaml(first.config),
        "notes": [*(note for run in runs for note in run.notes), *notes],
    }


def about_test(
    test: Tested,
    translator: Translator,
    sentences: int,
    training_words: Mapping[str, int] | None = None,
    max_lines: int = MAX_LINES,
) -> dict[str, Any]:
    """Return what is shown of a test set beside its scores.

    Args:
        test: the set, without confidence; `Tested.chrf` is computed once for all that is shown.
        translator: of the first system.
        sentences: shown.
        training_words: as those of `gather`.
        max_lines: that are analysed and rated, at equal distances.
    """
    text = test.text
    lines = spread(len(text.sources), max_lines)
    read = with_confidence(test.part(lines), translator)
    chrf = {system: [own[line] for line in lines] for system, own in test.chrf.items()}
    found = {
        "name": text.name,
        "tgt_lang": text.tgt_lang,
        "sentences": len(text.sources),
        "sentences_read": len(lines),
        "confidence": confidence(read, chrf, translator),
        "analysis": analysed(read, chrf, training_words),
        **shown(read, chrf, translator, sentences),
    }
    renumber(found, [line + 1 for line in lines])
    return found


def renumber(found: dict[str, Any], numbers: Sequence[int]) -> None:
    """Give the lines of a part of a test set, counted from 1, the `numbers` that they have in the whole set."""
    analysis = found["analysis"]
    for row in itertools.chain(found["spread"], found["worst"], *(group["rows"] for group in analysis["examples"])):
        row["line"] = numbers[row["line"] - 1]
    for by_system in analysis["faults"].values():
        for system, lines in by_system.items():
            by_system[system] = [numbers[line - 1] for line in lines]
    for section in analysis["sections"]:
        places = [place for place, title in enumerate(section["columns"]) if title == "lines"]
        for row, place in itertools.product(section["rows"], places):
            if isinstance(row[place], str):  # else a number of lines
                row[place] = re.sub(r"\d+", lambda match: str(numbers[int(match[0]) - 1]), row[place])


def curves(runs: Sequence[RunFacts]) -> list[dict[str, Any]]:
    """Return the learning curves of all runs, by metric."""
    known = [(run.name, run.curves) for run in runs if run.curves]
    return [
        drawn for metric in METRICS.values() for drawn in chart(metric, ((name, own, metric) for name, own in known))
    ]


def corpus_curves(runs: Sequence[RunFacts]) -> list[dict[str, Any]]:
    """Return the learning curves of the corpora of a mix, by metric; of several runs, with the name of the run."""
    known = [(f"{run.name}: " if len(runs) > 1 else "", run.curves) for run in runs if run.curves]
    return [
        drawn
        for metric in CORPUS_METRICS
        for drawn in chart(
            metric,
            ((run + name, own, each) for run, own in known for name, each in own.of_corpora(metric).items()),
        )
    ]


def chart(metric: Metric, drawn: Iterable[tuple[str, Curves, Metric]]) -> Iterator[dict[str, Any]]:
    """Yield a chart with a line per name, if any has values; a value that is not finite is None."""
    lines = []
    for name, curves, own in drawn:
        xs, ys = curves.points(own, "steps")
        if xs:
            lines.append({"name": name, "xs": xs, "ys": [None if y != y else y for y in ys]})
    if lines:
        yield {"title": metric.title, "across": "updates", "logarithmic": metric.logarithmic, "lines": lines}


def scores(test: Tested) -> list[dict[str, Any]]:
    """Return the scores of each system on a test set."""
    return [
        {"set": test.text.name, "system": system.name, **system.runs[0].to_dict()} for system in test.comparison.systems
    ]


def recorded(run: RunFacts) -> list[dict[str, Any]]:
    """Return the scores that a run recorded at its end."""
    left_out = ("event", "time")
    rows = ({key: value for key, value in event.items() if key not in left_out} for event in run.tests.values())
    return [{"system": run.name, **row} for row in rows]


def confidence(test: Tested, chrf: Mapping[str, Sequence[float]], translator: Translator) -> dict[str, Any] | None:
    """Return how well the confidence of the first system fits the test set; None if there is none."""
    outputs, scores = next(iter(test.outputs.values())), next(iter(chrf.values()))
    rows = [
        Rated(output.confidence, score, words_right(output.text, reference))
        for output, score, reference in zip(outputs, scores, test.text.references, strict=True)
        if output.confidence is not None
    ]
    return assess(rows, translator.calibration.good_chrf).to_dict() if rows and translator.calibration else None


def analysed(
    test: Tested, chrf: Mapping[str, Sequence[float]], training_words: Mapping[str, int] | None
) -> dict[str, Any]:
    """Return where the systems fail on a test set."""
    text = test.text
    analysis = analyse(
        text.sources,
        text.references,
        test.lines(),
        sentence_chrf=chrf,
        training_words=training_words,
        examples=EXAMPLES,
        tokenize=text.tokenize,
    )
    return analysis.to_dict()
