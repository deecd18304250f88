"""The page of a report: what `gather` collected, as one HTML file."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from seq2seq.data.text.visible import visible
from seq2seq.evaluation.report import FIGURES, TITLES
from seq2seq.filesystem.atomic_files import write_atomically
from seq2seq.reporting import markup
from seq2seq.reporting.charts import Line, legend, lines
from seq2seq.reporting.explanation_part import explanation
from seq2seq.reporting.markup import escaped, heading, named_cell, note, number, table, text, value_cell
from seq2seq.reporting.sentence_part import example, sentence

MAX_CONFIG = 100_000
"""Characters shown of the settings."""
MAX_ROWS = 200
"""Shown of a table of an analysis."""


def page(result: Mapping[str, Any]) -> str:
    """Return the HTML of `gather`."""
    parts = {
        "Scores": scores(result),
        intervals(result): [part for one in result["comparisons"] for part in comparison(one)],
        "Learning curves": [*curves(result["curves"]), *corpus_curves(result["corpus_curves"])],
        "What was trained": facts(result["runs"]),
        **{title: content for test in result["tests"] for title, content in test_parts(test, result)},
        "Explanations": [part for one in result["explanations"] for part in explanation(one)],
        "Reproduce": reproduce(result),
        "Notes": [note(line) for line in result["notes"]],
    }
    parts = {title: content for title, content in parts.items() if content}
    title = f"{result['name']}: {result['pair']}"
    date = f'<p class="faint">trained {escaped(result["date"])}</p>' if result["date"] else ""
    body = [f"<header><h1>{text(title)}</h1>{date}</header>", contents(parts)]
    for place, (name, content) in enumerate(parts.items()):
        body.append(f'<section id="s{place}">{heading(name)}{"".join(content)}</section>')
    return markup.page(title, ["<main>", *body, "</main>"], markup.own_file("report.css"), markup.own_file("report.js"))


def write_page(path: Path, result: Mapping[str, Any]) -> None:
    """Write the page of `gather`.

    Raises:
        StorageError: it cannot be written; an old file is unchanged.
    """
    content = page(result).encode("utf-8", "backslashreplace")
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def contents(titles: Iterable[str]) -> str:
    """Return links to the parts of the page."""
    links = "".join(f'<li><a href="#s{place}">{escaped(title)}</a></li>' for place, title in enumerate(titles))
    return f'<nav aria-label="Contents"><ul>{links}</ul></nav>'


def scores(result: Mapping[str, Any]) -> list[str]:
    """Return the table of scores, with the signatures that make them reproducible."""
    rows = result["scores"]
    if not rows:
        return []
    names = {name: title for name, title in {**TITLES, **FIGURES}.items() if any(name in row for row in rows)}
    cells = [
        named_cell(row["set"])
        + value_cell(row["system"])
        + "".join(value_cell(row.get(name)) for name in names)
        + value_cell(row.get("sentences"))
        for row in rows
    ]
    signatures: dict[str, list[str]] = {}
    for name in TITLES:
        for row in rows:
            signature = row.get(f"{name}_signature")
            if signature and signature not in signatures.setdefault(TITLES[name], []):
                signatures[TITLES[name]].append(signature)
    listed = (
        named_cell(title) + f"<td>{text(signature)}</td>" for title, found in signatures.items() for signature in found
    )
    return [
        table(["test set", "system", *names.values(), "sentences"], cells),
        "<h3>Signatures</h3>" if signatures else "",
        table(["score", "sacreBLEU"], listed) if signatures else "",
    ]


def comparison(result: Mapping[str, Any]) -> list[str]:
    """Return the confidence intervals of the scores, and what tests say of the differences from the first system."""
    several = len(result["systems"]) > 1
    head = ["system", "score", "value", "mean, 95 % interval"]
    if several:
        head += ["difference", "p, bootstrap", "p, randomisation", "difference is"]
    rows = [
        named_cell(system["name"]) + "".join(figure_cells(name, figure, several))
        for system in result["systems"]
        for name, figure in system["scores"].items()
        if "ci" in figure
    ]
    sentences, tests = f"{result['set']}, {result['sentences']:,} sentences", result["signatures"]["tests"]
    if not several:
        return [note(f"{sentences}: confidence intervals by bootstrap resampling ({tests})."), table(head, rows)]
    remark = (
        f"{sentences}: differences from {result['baseline']}. A difference is significant if both tests ({tests}) say "
        f"so at {result['alpha']:.0%}, with Holm's correction for the number of differences. The tests know one run of "
        "each system; runs that differ by their seed alone differ, too."
    )
    return [note(remark), table(head, rows)]


def intervals(result: Mapping[str, Any]) -> str:
    """Return the title of `comparison`."""
    return "Comparison" if len(result["runs"]) > 1 else "Confidence intervals"


def figure_cells(name: str, figure: Mapping[str, Any], several: bool) -> list[str]:
    """Return the cells of one score of one system."""
    cells = [value_cell(TITLES.get(name, name)), number(f"{figure['value']:.2f}")]
    cells.append(number(f"{figure['mean']:.2f} ± {figure['ci']:.2f}"))
    if not several:
        return cells
    difference = figure.get("difference")
    cells.append(number("" if difference is None else f"{difference:+.2f}"))
    cells += [number(f"{figure[p]:.4f}" if p in figure else "") for p in ("p_bootstrap", "p_randomization")]
    return [*cells, value_cell({True: "significant", False: "not significant", None: ""}[figure.get("significant")])]


def curves(charts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the learning curves."""
    if not charts:
        return []
    names = list(dict.fromkeys(line["name"] for chart in charts for line in chart["lines"]))
    drawn = [
        lines(
            chart["title"],
            chart["across"],
            [Line(line["name"], line["xs"], finite(line["ys"])) for line in chart["lines"]],
            names,
            logarithmic=chart["logarithmic"],
        )
        for chart in charts
    ]
    return [legend(names) if len(names) > 1 else "", f'<div class="plots">{"".join(drawn)}</div>']


def corpus_curves(charts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the learning curves of the corpora of a mix."""
    return ["<h3>Corpora of the mix</h3>", *curves(charts)] if charts else []


def finite(values: Iterable[float | None]) -> list[float]:
    """Return the values, NaN for None."""
    return [float("nan") if value is None else value for value in values]


def facts(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a table of the facts of all runs for each group, a column per run."""
    parts = []
    for title in runs[0]["groups"]:
        names = dict.fromkeys(name for run in runs for name in run["groups"][title])
        rows = []
        for name in names:
            values = [run["groups"][title].get(name, "") for run in runs]
            if any(values):
                rows.append(named_cell(name) + "".join(f"<td>{text(value)}</td>" for value in values))
        if rows:
            head = [title, *(run["name"] for run in runs)] if len(runs) > 1 else [title, ""]
            parts.append(table(head, rows))
    return parts


def test_parts(test: Mapping[str, Any], result: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Return the parts of the page about one test set."""
    where = f" ({test['name']})" if len(result["tests"]) > 1 else ""
    languages = result["languages"][0], test["tgt_lang"]
    read, size = test.get("sentences_read", test["sentences"]), test["sentences"]
    part = [note(f"Of {read:,} of the {size:,} lines of the test set, at equal distances.")] if read < size else []
    found = []
    for key, title, remark in (
        ("spread", "Sentences", "Sentences from the whole test set, at equal distances."),
        ("worst", "Worst cases", "The sentences whose translations have the lowest chrF."),
    ):
        rows = test[key]
        remarks = [*part, note(remark)]
        if any(row["attention"] for row in rows):
            remarks.append(
                note(
                    "Point at a word, tap it or move to it with Tab and the arrow keys: the words of the other "
                    "side light up by their attention weight, which shows where the model looked, not why."
                )
            )
        if any(row["confidence"] for row in rows):
            remarks.append(CONFIDENCE)
        found.append((title + where, [*remarks, *(sentence(row, languages) for row in rows)] if rows else []))
    found.append((f"Confidence{where}", [*part, *reliability(test["confidence"])] if test["confidence"] else []))
    analysis = test["analysis"]
    tables = [shown for section in analysis["sections"] for shown in table_part(section)]
    examples = [shown for group in analysis["examples"] for shown in example_part(group, languages)]
    found += [
        (f"{title}{where}", [*part, *rows] if rows else [])
        for title, rows in (("Where it fails", tables), ("Examples", examples))
    ]
    return found


def reliability(result: Mapping[str, Any]) -> list[str]:
    """Return how well the confidence fits: of what has a confidence of 70 %, 70 % should be right."""
    charts, rows = [], []
    for kind, event in (("sentences", f"has a chrF of {result['good_chrf']:g} or more"), ("words", "is right")):
        bins = result[kind]["bins"]
        if not bins:
            continue
        line = Line(kind, [one["mean_probability"] for one in bins], [one["share_right"] for one in bins])
        title = f"{kind}: share of which each {event}"
        charts.append(lines(title, "confidence", [line], unit=True))
        rows += [
            named_cell(f"{kind}, {one['low']:.0%} to {one['high']:.0%}")
            + number(one["count"])
            + number(f"{one['mean_probability']:.1%}")
            + number(f"{one['share_right']:.1%}")
            for one in bins
        ]
    errors = ", ".join(
        f"of {kind} {result[kind]['expected_calibration_error']:.3f}"
        for kind in ("sentences", "words")
        if result[kind]["expected_calibration_error"] is not None
    )
    remark = (
        "Confidence is the probability that a sentence or a word is right, fitted to validation text. On the dashed "
        f"line, as many are right as the confidence says. Expected calibration error: {errors}. "
        f"Mean chrF {result['mean_chrf']}; of the tenth of the sentences with the lowest confidence "
        f"{result['worst_tenth_chrf']}."
    )
    shown = table(["confidence", "number", "mean confidence", "share right"], rows)
    numbers = f"<details><summary>Numbers</summary>{shown}</details>"
    return [note(remark), f'<div class="plots">{"".join(charts)}</div>', numbers]


CONFIDENCE = (
    '<p class="faint">Confidence of a word: <span class="c0">below 30 %</span>, <span class="c1">below 50 %</span>, '
    '<span class="c2">below 70 %</span>, <span class="c3">below 90 %</span>, not underlined: above.</p>'
)


def table_part(section: Mapping[str, Any]) -> list[str]:
    """Return a table of an analysis."""
    rows = section["rows"][:MAX_ROWS]
    cells = [named_cell(row[0]) + "".join(map(value_cell, row[1:])) for row in rows if row]
    cut = len(section["rows"]) - len(rows)
    more = note(f"{cut:,} more rows are not shown.") if cut else ""
    return [heading(section["title"], 3), note(section["note"]), table(section["columns"], cells), more]


def example_part(group: Mapping[str, Any], languages: tuple[str, str]) -> list[str]:
    """Return a list of sentences of an analysis."""
    if not group["rows"]:
        return []
    rows = group["rows"][:MAX_ROWS]
    return [heading(group["title"], 3), note(group["note"]), *(example(row, languages) for row in rows)]


def reproduce(result: Mapping[str, Any]) -> list[str]:
    """Return commands, versions and settings of the run."""
    parts = []
    if result["commands"]:
        parts.append(note("Command of each part of the run, whose seed is among its settings:"))
        parts.append(code("\n".join(visible(line, 4000) for line in result["commands"])))
    versions = {"commit": result["commit"], **result["versions"]}
    rows = [named_cell(name) + f"<td>{text(version)}</td>" for name, version in versions.items() if version]
    if rows:
        parts.append(table(["package", "version"], rows))
    parts.append(f"<details><summary>All settings (config.yaml)</summary>{code(result['config'])}</details>")
    return parts


def code(content: str) -> str:
    """Return lines of code."""
    shown = "\n".join(visible(line, 4000) for line in content[:MAX_CONFIG].split("\n"))
    return f'<pre tabindex="0"><code>{html.escape(shown)}</code></pre>'
