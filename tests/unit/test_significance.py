"""Comparing systems: the tests of the sacreBLEU command, runs of a system, and which differences are significant."""

import contextlib
import json
import math
import os
import random
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from sacrebleu import TER

from scaling import scaled
from seq2seq.cli.evaluation.checks import check_effects, compares
from seq2seq.cli.evaluation.systems import output_systems
from seq2seq.data.text.visible import visible
from seq2seq.errors import ConfigError, DataError
from seq2seq.evaluate import parser
from seq2seq.evaluation import resampling
from seq2seq.evaluation.comparison import Comparison, Figure, rejected
from seq2seq.evaluation.comparison_report import print_comparisons
from seq2seq.evaluation.metrics import score
from seq2seq.evaluation.report import print_scores
from seq2seq.evaluation.significance import compare
from seq2seq.evaluation.t_test import two_sided_p_value, welch_p_value

WORDS = ["the", "a", "dog", "cat", "house", "runs", "sees", "big", "small", "tree", "on", "in", "man", "woman", "red"]
QUICK = {"bootstrap": 200, "randomization": 500}


def sentences(count: int, seed: int = 1) -> list[str]:
    source = random.Random(seed)
    return [" ".join(source.choice(WORDS) for _ in range(8)) for _ in range(count)]


def output(references: list[str], error_rate: float, seed: int) -> list[str]:
    """Return a translation in which each word is replaced with probability `error_rate`."""
    source = random.Random(seed)
    return [
        " ".join(source.choice(WORDS) if source.random() < error_rate else word for word in line.split())
        for line in references
    ]


def figures(comparison: Comparison, system: int = 1) -> dict[str, Figure]:
    return dict(comparison.systems[system].figures)


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def sacrebleu(folder: Path, *options: str) -> str:
    command = [sys.executable, "-m", "sacrebleu", "ref", "-m", "bleu", "chrf", "ter", "-w", "6", *options]
    environment = {**os.environ, "NO_COLOR": "1", "PYTHONUTF8": "1"}
    process = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, encoding="utf-8")
    return process.stdout


def test_scores_intervals_and_p_values_are_those_of_the_sacrebleu_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    references = sentences(60)
    outputs = {name: output(references, rate, seed) for name, rate, seed in (("a", 0.4, 1), ("b", 0.35, 2))}
    for name, lines in {"ref": references, **outputs}.items():
        write(tmp_path / name, lines)
    monkeypatch.setenv("SACREBLEU_SEED", "7")
    comparison = compare(references, outputs, bootstrap=300, randomization=400)
    names = {"bleu": "BLEU", "chrf": "chrF2", "ter": "TER"}

    # -f json fails for the bootstrap test of sacreBLEU 2.6.
    table = sacrebleu(tmp_path, "-i", *outputs, "--paired-bs", "--paired-bs-n", "300", "-f", "latex")
    rows = [line.rstrip("\\ ").split("&")[1:] for line in table.splitlines() if " & " in line][1:]
    shuffled = json.loads(sacrebleu(tmp_path, "-i", *outputs, "--paired-ar", "--paired-ar-n", "400", "-f", "json"))
    for i, (cells, trials) in enumerate(zip(rows, shuffled, strict=True)):
        for cell, (metric, theirs) in zip(cells, names.items(), strict=True):
            figure = figures(comparison, i)[metric]
            score, mean, interval, *p_value = re.findall(r"\d+\.\d+", cell)
            assert [f"{number:.6f}" for number in (figure.value, figure.mean, figure.ci)] == [score, mean, interval]
            assert p_value == ([] if figure.p_bootstrap is None else [f"{figure.p_bootstrap:.4f}"])
            assert (figure.value, figure.p_randomization) == (trials[theirs]["score"], trials[theirs]["p_value"])
    assert len({figure.p_bootstrap for figure in figures(comparison).values()}) > 2

    (alone,) = compare(references, {"a": outputs["a"]}, bootstrap=300).systems
    by_title = {title: alone.figures[name] for name, title in names.items()}
    for found in json.loads(sacrebleu(tmp_path, "-i", "a", "-ci", "-cin", "300", "-f", "json")):
        figure = by_title[found["name"]]
        numbers = [found[key] for key in ("score", "confidence_mean", "confidence_var")]
        assert [figure.value, figure.mean, figure.ci] == pytest.approx(numbers, abs=1e-6)


def test_a_real_difference_is_significant_and_has_its_sign() -> None:
    references = sentences(100)
    better, worse = output(references, 0.2, 2), output(references, 0.4, 3)
    for systems in ({"a": worse, "b": better}, {"a": better, "b": worse}):
        found = figures(compare(references, systems, **QUICK))
        assert all(found[metric].significant for metric in ("bleu", "chrf", "ter"))
        sign = 1 if systems["b"] is better else -1
        assert [(found[metric].difference or 0) * sign > 0 for metric in ("bleu", "chrf", "ter")] == [True, True, False]


@pytest.mark.slow
def test_two_seeds_of_one_system_differ_significantly_in_no_more_than_5_percent_of_pairs() -> None:
    """The probability of at least one verdict is at most 5 % in each pair, however many scores are compared."""
    flagged = 0
    pairs = scaled(20, 100)
    for pair in range(pairs):
        references = sentences(60, seed=pair)
        systems = {name: output(references, 0.3, seed) for name, seed in (("a", 100 + pair), ("b", 200 + pair))}
        found = figures(compare(references, systems, **QUICK))
        flagged += any(figure.significant for figure in found.values())
    expected = 0.05 * pairs
    assert flagged <= expected + 2 * (expected * 0.95) ** 0.5


def test_an_output_does_not_differ_from_itself() -> None:
    # sacreBLEU gives p = 1 / (trials + 1), because no trial has a larger difference than 0.
    references = sentences(20)
    found = figures(compare(references, dict.fromkeys("ab", output(references, 0.3, 1)), **QUICK))["bleu"]
    assert (found.difference, found.p_bootstrap, found.p_randomization, found.significant) == (0, 1, 1, False)


@pytest.mark.parametrize(("changed", "least"), [(1, 1), (2, 0.5), (4, 0.125)])
def test_few_changed_sentences_are_no_significant_difference(changed: int, least: float) -> None:
    # Hardly any trial of sacreBLEU's tests has a larger difference, and its p-values are the lowest possible.
    references = sentences(30)
    first = output(references, 0.6, 1)
    found = figures(compare(references, {"a": first, "b": references[:changed] + first[changed:]}, **QUICK))
    for metric in ("bleu", "chrf", "ter"):
        assert min(found[metric].p_bootstrap or 0, found[metric].p_randomization or 0) >= least
        assert not found[metric].significant


def test_outputs_with_equal_scores_do_not_differ() -> None:
    references = sentences(30)
    first = output(references, 0.3, 1)
    found = figures(compare(references, {"a": first, "b": [line.upper() for line in first]}, **QUICK))
    assert found["bleu"].significant
    for metric in ("ter", "bleu_tok_lc"):  # of lower-cased text
        figure = found[metric]
        assert (figure.difference, figure.p_bootstrap, figure.p_randomization) == (0, 1, 1)
        assert not figure.significant
    useless = {"a": ["x"] * 30, "b": ["y z"] * 30}  # different counts, but BLEU is 0
    bleu = figures(compare(references, useless, **QUICK))["bleu"]
    assert (bleu.difference, bleu.p_value, bleu.significant) == (0, 1, False)


def test_runs_have_mean_and_deviation_and_are_compared_with_runs() -> None:
    references = sentences(50)
    base = [output(references, 0.4, seed) for seed in (1, 2, 3)]
    good = [output(references, 0.1, seed) for seed in (4, 5, 6)]
    comparison = compare(references, {"base": base, "good": good, "one": good[0]}, **QUICK)
    values = [score(lines, references).bleu.value for lines in base]
    mean = sum(values) / 3
    bleu = figures(comparison, 0)["bleu"]
    assert bleu.value == pytest.approx(mean)
    assert bleu.deviation == pytest.approx((sum((value - mean) ** 2 for value in values) / 2) ** 0.5)
    assert bleu.ci is None
    good_bleu = figures(comparison, 1)["bleu"]
    assert good_bleu.p_runs is not None
    assert good_bleu.significant
    assert (good_bleu.p_bootstrap, good_bleu.p_randomization) == (None, None)
    one = figures(comparison, 2)["bleu"]  # one run shows nothing about the runs of its configuration
    assert (one.p_value, one.significant) == (None, None)
    assert one.ci is not None
    plain = comparison.to_dict()
    assert [system["runs"] for system in plain["systems"]] == [3, 3, 1]
    assert [run["bleu"] for run in plain["systems"][0]["scores_of_runs"]] == [round(value, 2) for value in values]


@pytest.mark.parametrize("perplexity", [math.inf, math.nan])
def test_runs_whose_perplexity_is_no_number_are_compared(perplexity: float, capsys: pytest.CaptureFixture[str]) -> None:
    references = sentences(10)
    runs = [output(references, 0.4, seed) for seed in (1, 2)]
    known = {"a": [{"perplexity": perplexity}, {"perplexity": 9.0}], "b": [{"perplexity": 9.0}] * 2}
    comparison = compare(references, {"a": runs, "b": runs[::-1]}, known=known, **QUICK)
    assert math.isnan(figures(comparison, 0)["perplexity"].deviation or 0)
    assert figures(comparison, 1)["perplexity"].deviation == 0
    print_comparisons({"test": comparison})
    assert f"{perplexity:.2f} ± nan" in capsys.readouterr().out


def test_groups_are_scored_alone() -> None:
    references = sentences(12)
    first, second = output(references, 0.3, 1), output(references, 0.3, 2)
    groups = ["news", "talk", "news"] * 4
    plain = compare(references, {"a": first, "b": [first, second]}, groups=groups, **QUICK).to_dict()["groups"]
    assert [(group["group"], group["sentences"]) for group in plain] == [("news", 8), ("talk", 4)]
    rows = [i for i, group in enumerate(groups) if group == "talk"]
    chosen = [[lines[i] for i in rows] for lines in (first, second, references)]
    bleu = [score(lines, chosen[2]).bleu.value for lines in chosen[:2]]
    assert plain[1]["systems"]["a"]["bleu"] == bleu[0]
    assert plain[1]["systems"]["b"]["bleu"] == pytest.approx(sum(bleu) / 2)
    with pytest.raises(DataError, match="11 groups but 12 references"):
        compare(references, {"a": first}, groups=groups[1:])


def test_groups_are_scored_as_all_sentences_are() -> None:
    # By the script of all references, TER counts characters: also in a group that has another script.
    references = ["ฉันรักคุณ", "เขาอ่านหนังสือ", "สวัสดีครับ", "a red house"]
    outputs = [*references[:3], "a red mouse"]
    comparison = compare(references, {"a": outputs}, groups=["thai"] * 3 + ["english"], **QUICK)
    (total,) = comparison.systems[0].runs
    for group in ("thai", "english"):
        (found,) = comparison.groups[group]["a"]
        assert [one.signature for one in found.metrics().values()] == [
            one.signature for one in total.metrics().values()
        ]
    assert comparison.groups["english"]["a"][0].exact_match == 0
    with_english_only = compare(references[3:], {"a": outputs[3:]}, **QUICK).systems[0].runs[0]
    assert with_english_only.ter.signature != total.ter.signature


def test_several_references_and_what_is_known_of_a_run() -> None:
    references = sentences(10)
    systems = {"a": output(references, 0.3, 1), "b": output(references, 0.2, 2)}
    known = {"a": [{"perplexity": 9.0}], "b": [{"perplexity": 7.5}]}
    comparison = compare([references, systems["a"]], systems, known=known, **QUICK)
    assert figures(comparison, 0)["bleu"].value == pytest.approx(100)
    assert "nrefs:2" in comparison.signatures()["bleu"]
    assert figures(comparison)["perplexity"].difference == -1.5


def test_the_seed_decides_and_the_environment_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    references = sentences(20)
    systems = {"a": output(references, 0.3, 1), "b": output(references, 0.25, 2)}
    monkeypatch.delenv("SACREBLEU_SEED", raising=False)
    found = [compare(references, systems, seed=seed, **QUICK).to_dict() for seed in (None, 12345, 2)]
    assert found[0] == found[1] != found[2]
    assert found[2]["signatures"]["tests"] == "bs:200|ar:500|seed:2"
    assert "SACREBLEU_SEED" not in os.environ


def test_too_few_resamples_for_the_number_of_scores_are_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    references = sentences(3)
    systems = {str(i): output(references, 0.3, i) for i in range(5)}
    compare(references, systems, bootstrap=100, randomization=100)
    assert "16 scores are compared: with 100 bootstrap resamples no difference can be significant" in caplog.text
    assert "use at least 320 (--bootstrap)" in caplog.text


@pytest.mark.parametrize(("option", "other"), [("bootstrap", "randomization"), ("randomization", "bootstrap")])
def test_the_test_with_too_few_trials_is_named(option: str, other: str, caplog: pytest.LogCaptureFixture) -> None:
    references = sentences(3)
    systems = {str(i): output(references, 0.3, i) for i in range(5)}
    compare(references, systems, **{option: 100, other: 400})
    (warning,) = (record.getMessage() for record in caplog.records if "no difference" in record.getMessage())
    assert warning.endswith(f"use at least 320 (--{option})")
    caplog.clear()
    compare(references, {name: [lines, lines[::-1]] for name, lines in systems.items()}, bootstrap=1, randomization=1)
    assert not caplog.records  # of several runs only the t-test is made


def test_only_tests_that_were_made_are_in_the_signature() -> None:
    references = sentences(10)
    first, second = output(references, 0.4, 1), output(references, 0.3, 2)
    runs = [first, second]
    made = {"bs:200|seed:5": {"a": runs, "b": first}, "bs:200|ar:500|seed:5": {"a": first, "b": second, "c": runs}}
    for expected, systems in made.items():
        assert compare(references, systems, seed=5, **QUICK).signatures()["tests"] == expected
    assert "tests" not in compare(references, {"a": runs, "b": runs[::-1]}, **QUICK).signatures()


@pytest.mark.parametrize(
    ("options", "systems", "named"),
    [
        ("--confidence-intervals", "a=1,2 b=3,4", "--confidence-intervals has no effect on several runs"),
        ("--bootstrap 200", "a=1,2 b=3,4", "--bootstrap has no effect on several runs"),
        ("--seed 3", "a=1,2", "--seed has no effect on several runs"),
        ("--randomization 200", "a=1,2 b=3,4", "--randomization has no effect unless the first system and another"),
        ("--randomization 200", "a=1,2 b=3 c=4", "--randomization has no effect unless the first system and another"),
        ("--bootstrap 200 --seed 3", "a=1,2 b=3", ""),
        ("--bootstrap 200 --randomization 200 --seed 3", "a=1 b=2 c=3,4", ""),
    ],
)
def test_options_of_tests_that_are_not_made_are_refused(options: str, systems: str, named: str) -> None:
    outputs = [word for system in systems.split() for word in ("--hyp", system)]
    args = parser().parse_args([*outputs, "--ref", "r", *options.split()])
    given = output_systems(args.hyp)
    args.compares = compares(args, given)
    with pytest.raises(ConfigError, match=named) if named else contextlib.nullcontext():
        check_effects(args, given)


@pytest.mark.parametrize(
    ("p_values", "expected"),
    [
        ([0.04], [True]),
        ([0.04, 0.9], [False, False]),  # 0.04 > 0.05 / 2
        ([0.04, 0.02], [True, True]),  # 0.02 ≤ 0.05 / 2, then 0.04 ≤ 0.05
        ([0.03, 0.03], [False, False]),
        ([], []),
    ],
)
def test_the_procedure_of_holm(p_values: list[float], expected: list[bool]) -> None:
    assert rejected(p_values) == expected


@pytest.mark.parametrize(("t", "freedom"), [(12.706, 1.0), (4.303, 2.0), (2.776, 4.0), (2.228, 10.0), (1.984, 100.0)])
def test_students_distribution_has_the_quantiles_of_the_tables(t: float, freedom: float) -> None:
    assert two_sided_p_value(t, freedom) == pytest.approx(0.05, abs=1e-4)
    assert two_sided_p_value(0.0, freedom) == pytest.approx(1, abs=1e-6)


def test_welchs_test_of_samples_worked_out_by_hand() -> None:
    # Means 2 and 5, variances 1 and 4, of three values each: t = 3 / √(1/3 + 4/3), (5/3)² / (1/18 + 16/18) degrees.
    freedom = (5 / 3) ** 2 / (17 / 18)
    assert welch_p_value([1.0, 2.0, 3.0], [3.0, 5.0, 7.0]) == pytest.approx(
        two_sided_p_value(3 / (5 / 3) ** 0.5, freedom)
    )
    assert welch_p_value([1.0], [1.0, 2.0]) is None
    assert welch_p_value([1.0, 1.0], [2.0, 2.0]) is None


def test_tables_of_a_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    references = sentences(40)
    systems = {
        "base": output(references, 0.5, 1),
        "better": output(references, 0.1, 2),
        "same": output(references, 0.5, 3),
        "runs": [output(references, 0.5, 4), output(references, 0.5, 5)],
    }
    comparison = compare(references, systems, groups=["x", "y"] * 20, **QUICK)
    print_comparisons({"test": comparison})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "test: 40 sentences"
    bleu = figures(comparison, 0)["bleu"]
    assert lines[2].split()[:4] == ["base", f"{bleu.value:.2f}", "±", f"{bleu.ci:.2f}"]
    assert lines[2].endswith("95 % interval")
    assert lines[5].endswith("deviation of 2 runs")
    verdicts = {line.split()[0]: line for line in lines if " BLEU  " in line and line.split()[0] in systems}
    assert verdicts["better"].endswith("better")
    assert verdicts["same"].endswith("not significant")
    assert verdicts["runs"].endswith("not tested")
    assert sum(line.startswith("x ") for line in lines) == sum(line.startswith("y ") for line in lines) == 4
    assert "tests: bs:200|ar:500|seed:12345" in lines


def test_names_from_anywhere_do_not_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    references, escape = sentences(4), "\x1b[31m\u202e\r"
    systems = {f"{name}{escape}": output(references, 0.5, seed) for seed, name in enumerate("ab")}
    comparison = compare(references, systems, groups=[f"group{escape}"] * 4, **QUICK)
    print_comparisons({f"test{escape}": comparison})
    print_scores({f"set{escape}": score(references, references), "zh": score(references, references, tokenize="zh")})
    shown = capsys.readouterr().out
    assert visible(shown.replace("\n", ""), None) == shown.replace("\n", "")
    for name in ("test", "differences from a", "a", "b", "group", "set", "(set"):
        assert f"\n{name}\\x1b[31m\\u202e\\r" in f"\n{shown}" or f" {name}\\x1b[31m\\u202e\\r" in shown


def test_tests_in_blocks_are_those_of_all_trials_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    references = sentences(7)
    systems = {"a": output(references, 0.6, 1), "b": output(references, 0.2, 2), "c": output(references, 0.4, 3)}
    at_once = compare(references, systems, **QUICK).to_dict()
    monkeypatch.setattr(resampling, "BLOCK", 7 * 64)
    assert [*resampling._blocks(200, 7)] == [64, 64, 64, 8]
    assert compare(references, systems, **QUICK).to_dict() == at_once


@pytest.mark.parametrize("name", ["bootstrap", "randomization"])
def test_the_memory_of_tests_does_not_grow_with_the_trials(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "BLOCK", 2**13)
    metric = TER(references=[sentences(200)])
    outputs = [metric._extract_corpus_statistics(sentences(200, seed), None) for seed in (2, 3)]
    trials = {"bootstrap": 100, "randomization": 100} | {name: 5000}  # 8 MB of sentences, if they are drawn at once
    tracemalloc.start()
    resampling.paired_tests(metric, outputs, seed=1, **trials)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_500_000


def test_a_system_that_is_nearly_always_wrong_has_an_interval() -> None:
    """In some of the resamples no n-gram is right, and sacreBLEU returns another type of zero."""
    references = ["one two three four five six", "seven eight nine ten", "eleven twelve"]
    (system,) = compare(references, {"bad": [references[0], "x", "y"]}).systems
    assert system.figures["bleu"].ci > 0
