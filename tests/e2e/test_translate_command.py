"""`python -m seq2seq.translate`: what reaches stdout, stderr and the shell, for every kind of input."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from scaling import scaled
from seq2seq.cli.options import FIELDS, search_overrides
from seq2seq.config.decode import DecodeConfig, NormalizationName, SearchName, UtilityName
from seq2seq.config.model import AttentionName
from seq2seq.inference import translator as translator_module
from seq2seq.inference.alignment import pharaoh
from seq2seq.inference.glossary import Glossary
from seq2seq.inference.translation import Translation
from seq2seq.inference.translator import Translator
from seq2seq.storage.model_file import BEST_NAME, Model, save_model
from seq2seq.translate import main, parser
from tiny_model import SENTENCES, make_model, make_network

LINES = [*SENTENCES, "a fox", "", "x", "a lazy dog over the box", "jugs", "five dozen"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return make_model(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def run_folder(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    save_model(folder / BEST_NAME, model)
    return folder


@pytest.fixture(scope="module")
def other(model: Model, run_folder: Path) -> Path:
    """A second model of the same vocabulary, in a file."""
    path = run_folder / "other.safetensors"
    save_model(path, dataclasses.replace(model, network=make_network(model.tokenizer.src_size, seed=2)))
    return path


@pytest.fixture(scope="module")
def translator(run_folder: Path) -> Translator:
    return Translator.load(run_folder, precision="fp32", device="cpu")


@pytest.fixture(scope="module")
def expected(translator: Translator) -> dict[str, str]:
    """Translations one by one, in this process."""
    return {line: translator.translate([line])[0] for line in [*LINES, "a \ufffd fox", "a\u2028fox", "\ufffdx"]}


class Run:
    """The command run in this process, its output as bytes."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[bytes]) -> None:
        self.folder, self.capture = folder, capture

    def __call__(
        self, content: bytes | None, *options: object, models: Sequence[object] = ()
    ) -> tuple[int, bytes, str]:
        names = []
        if content is not None:
            (self.folder / "input").write_bytes(content)
            names = [str(self.folder / "input")]
        models = models or [self.folder]
        status = main([*map(str, models), "--precision", "fp32", "--device", "cpu", *names, *map(str, options)])
        out, err = self.capture.readouterr()
        return status, out, err.decode()

    def objects(self, content: bytes | None, *options: object) -> list[dict[str, Any]]:
        """Run with JSON Lines in and out, which must succeed in silence."""
        status, out, err = self(content, "--format", "jsonl", *options)
        assert (status, err) == (0, "")
        return parsed(out)


@pytest.fixture
def run(run_folder: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    return Run(run_folder, capfdbinary)


def text_of(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def json_of(*objects: object) -> bytes:
    return text_of([json.dumps(one) for one in objects])


def parsed(out: bytes) -> list[dict[str, Any]]:
    """Read JSON Lines as a strict reader does, for whom NaN is no number."""
    assert out.endswith(b"\n") or not out

    def refuse(name: str) -> None:
        raise AssertionError(name)

    return [json.loads(line, parse_constant=refuse) for line in out.decode("ascii").split("\n")[:-1]]


def object_of(one: Translation, translator: Translator) -> dict[str, Any]:
    return {
        "text": one.text,
        "score": pytest.approx(one.score, abs=1e-6),
        "log_prob": pytest.approx(one.log_prob, abs=1e-6),
        "pieces": translator.tokenizer.tgt_pieces(one.ids),
        "token_log_probs": pytest.approx(one.token_log_probs, abs=1e-6),
    }


# --- text in, text out ------------------------------------------------------------------------------------------------


def test_one_line_out_per_line_in_in_order_over_windows(run: Run, expected: dict[str, str]) -> None:
    wanted = text_of([expected[line] for line in LINES])
    for window in ("1", "3", str(len(LINES)), "2000"):
        assert run(text_of(LINES), "--buffer-lines", window) == (0, wanted, "")


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"\n\n", ["", ""]),
        (b"a fox", ["a fox"]),
        (b"a fox\r\nx\r\n", ["a fox", "x"]),
        (b"\xef\xbb\xbfa fox\n", ["a fox"]),
        ("a\u2028fox\nx\n".encode(), ["a\u2028fox", "x"]),
    ],
)
def test_a_line_ends_at_a_line_feed_only(run: Run, expected: dict[str, str], content: bytes, lines: list[str]) -> None:
    assert run(content) == (0, text_of([expected[line] for line in lines]), "")


def test_bytes_that_are_not_utf8_are_read_as_u_fffd_with_a_warning(run: Run, expected: dict[str, str]) -> None:
    status, out, err = run(b"x\na \xff fox\njugs\n\xfex")
    assert status == 0
    assert out == text_of([expected[line] for line in ("x", "a \ufffd fox", "jugs", "\ufffdx")])
    assert len(err.splitlines()) == 2
    assert "input, line 2: not UTF-8 (byte 0xff at position 3)" in err
    assert "input, line 4: not UTF-8 (byte 0xfe at position 1)" in err


def test_strict_stops_at_the_first_line_that_is_not_utf8(run: Run, expected: dict[str, str]) -> None:
    status, out, err = run(b"x\njugs\na \xff fox\nx\n", "--strict")
    assert (status, out) == (2, text_of([expected["x"], expected["jugs"]]))
    assert re.fullmatch(r"error: .*input, line 3: not UTF-8 .*\n", err)


@pytest.mark.slow
def test_several_files_and_standard_input_are_one_text(run_folder: Path, expected: dict[str, str]) -> None:
    (run_folder / "first").write_bytes(b"x")
    (run_folder / "last").write_bytes(b"a fox\n")
    command = [sys.executable, "-m", "seq2seq.translate", run_folder, run_folder / "first", "-", run_folder / "last"]
    done = subprocess.run([*command, "--precision", "fp32"], input=b"jugs", capture_output=True, check=True)
    assert done.stdout == text_of([expected[line] for line in ("x", "jugs", "a fox")])


def test_text_on_the_command_line(run: Run, expected: dict[str, str]) -> None:
    assert run(None, "--text", "a fox", "--text", "jugs") == (0, text_of([expected["a fox"], expected["jugs"]]), "")
    assert run(b"x\n", "--text", "a fox") == (2, b"", "error: give FILE or --text, not both\n")


def test_scores_stand_before_the_text(run: Run, translator: Translator, expected: dict[str, str]) -> None:
    score = translator.translate_n_best(["a fox"])[0][0].score
    assert run(b"a fox\n\n", "--scores") == (0, f"{score:.4f}\t{expected['a fox']}\n0.0000\t\n".encode(), "")


def test_n_best_lists_carry_the_number_of_their_line(run: Run, translator: Translator) -> None:
    status, out, _ = run(b"a fox\n\nx\n", "--n-best", "7", "--buffer-lines", "2")
    found = translator.translate_n_best(["a fox", "", "x"], n_best=7, beam_size=7)
    assert (status, len(found[0]), len(found[1])) == (0, 7, 1)
    rows = [(number, one) for number, row in enumerate(found, start=1) for one in row]
    assert out == text_of([f"{number}\t{one.score:.4f}\t{one.text}" for number, one in rows])


def test_alignments_are_the_column_before_the_text(run: Run, translator: Translator) -> None:
    lines = ["the quick brown fox", "", "a lazy dog"]
    found = translator.translate_n_best(lines, n_best=2, alignments=True)
    assert any(row[0].alignment for row in found)
    best = [f"{pharaoh(row[0].alignment or ())}\t{row[0].text}" for row in found]
    assert run(text_of(lines), "--alignments") == (0, text_of(best), "")
    scored = [f"{row[0].score:.4f}\t{line}" for row, line in zip(found, best, strict=True)]
    assert run(text_of(lines), "--alignments", "--scores") == (0, text_of(scored), "")
    every = [
        f"{number}\t{one.score:.4f}\t{pharaoh(one.alignment or ())}\t{one.text}"
        for number, row in enumerate(found, start=1)
        for one in row
    ]
    assert run(text_of(lines), "--alignments", "--n-best", 2) == (0, text_of(every), "")


def test_alignments_of_a_model_that_looks_nowhere_are_refused(run: Run, model: Model, tmp_path: Path) -> None:
    network = make_network(model.tokenizer.src_size, attention=AttentionName.none)
    config = dataclasses.replace(model.config, model=network.config)
    save_model(tmp_path / BEST_NAME, dataclasses.replace(model, network=network, config=config))
    message = "error: alignments needs attention: the model was trained with model.attention=none\n"
    assert run(b"a fox\n", "--alignments", models=[tmp_path]) == (2, b"", message)


# --- the search -------------------------------------------------------------------------------------------------------


def test_search_options_reach_the_search(run: Run, translator: Translator) -> None:
    options = {"beam_size": 2, "length_penalty": 0.0, "batch_tokens": 9, "no_repeat_ngram": 2}
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]

    def outputs(options: dict[str, Any]) -> bytes:
        return text_of([f"{row[0].score:.4f}\t{row[0].text}" for row in translator.translate_n_best(LINES, **options)])

    for name in options.keys() - {"batch_tokens"}:
        assert outputs(options) != outputs({key: value for key, value in options.items() if key != name})
    assert run(text_of(LINES), "--scores", *flags) == (0, outputs(options), "")


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_of_the_search_has_its_flag(name: str) -> None:
    other = {
        "search": SearchName.sample,
        "length_normalization": NormalizationName.average,
        "mbr_utility": UtilityName.bleu,
        "never_emit": ["a", ""],
        "top_p": 0.25,
    }
    value = other[name] if name in other else getattr(DecodeConfig(), name) + 1
    flag = f"--{name.replace('_', '-')}"
    given = [part for one in (value if isinstance(value, list) else [value]) for part in (flag, str(one))]
    found = search_overrides(parser().parse_intermixed_args(["model", *given]))
    assert found[name] == value
    assert type(found[name]) is type(value)
    assert name == "search" or found == {name: value}
    assert search_overrides(parser().parse_intermixed_args(["model"])) == {}


@pytest.mark.parametrize(
    ("flags", "stored", "message"),
    [
        ("--search sample --beam-size 3", {}, "--beam-size needs --search beam, not sample"),
        ("--search mbr --beam-size 3", {}, "--beam-size needs --search beam, not mbr"),
        ("--search mbr --length-penalty 1", {}, "--length-penalty needs --search beam or sample, not mbr"),
        ("--search mbr --length-normalization none", {}, "--length-normalization needs --search beam or sample"),
        ("--search sample --coverage-penalty 0", {}, "--coverage-penalty needs --search beam, not sample"),
        ("--search sample --samples 9", {}, "--samples needs --search mbr, not sample"),
        ("--search beam --mbr-utility bleu", {}, "--mbr-utility needs --search mbr, not beam"),
        ("--search beam --temperature 1", {}, "--temperature needs --search sample or mbr, not beam"),
        ("--seed 3", {}, "--seed needs --search sample or mbr, not beam"),  # what the model stores counts, too
        ("--beam-size 3", {"search": SearchName.mbr}, "--beam-size needs --search beam, not mbr"),
        ("--length-normalization none --length-penalty 1", None, "--length-penalty has no effect with --length-norm"),
        ("--length-penalty 1", {"length_normalization": NormalizationName.none}, "--length-penalty has no effect"),
        ("--beam-size 0", None, "decode.beam_size=0 is out of range: 1 ≤ beam_size ≤ 1000"),
        ("--temperature nan", None, "decode.temperature=nan is not a finite number"),
    ],
)
def test_a_flag_that_would_be_ignored_is_refused(
    flags: str, stored: dict[str, Any] | None, message: str, run: Run, model: Model, tmp_path: Path
) -> None:
    place = tmp_path / "missing"  # refused before a model is looked for
    if stored is not None:
        place = tmp_path / BEST_NAME
        config = dataclasses.replace(model.config, decode=DecodeConfig(**stored))
        save_model(place, dataclasses.replace(model, config=config))
    status, out, err = run(b"x\n", *flags.split(), models=[place])
    assert (status, out, err.count("\n")) == (2, b"", 1)
    assert err.startswith(f"error: {message}")


def test_choosing_a_search_leaves_what_the_model_stores_for_another(run: Run, model: Model, tmp_path: Path) -> None:
    stored = DecodeConfig(search=SearchName.sample, temperature=0.5, top_k=3, seed=5)
    place = tmp_path / BEST_NAME
    save_model(place, dataclasses.replace(model, config=dataclasses.replace(model.config, decode=stored)))
    translator = Translator.load(place, precision="fp32", device="cpu")
    drawn = text_of(translator.translate(LINES))
    assert run(text_of(LINES), models=[place]) == (0, drawn, "")
    assert run(text_of(LINES), "--seed", 6, models=[place])[1] != drawn
    found = text_of(Translator(model.network, model.tokenizer, DecodeConfig()).translate(LINES))
    assert run(text_of(LINES), "--search", "beam", models=[place]) == (0, found, "")


def test_samples_do_not_depend_on_their_neighbours(run: Run, translator: Translator) -> None:
    flags = ("--search", "sample", "--n-best", 3, "--temperature", 1.5, "--seed", 4)
    found = translator.translate_n_best(LINES, n_best=3, search=SearchName.sample, temperature=1.5, seed=4)
    rows = [f"{number}\t{one.score:.4f}\t{one.text}" for number, row in enumerate(found, start=1) for one in row]
    assert len({row[0].text for row in found}) > 5
    for window in (1, 2000):
        assert run(text_of(LINES), *flags, "--buffer-lines", window) == (0, text_of(rows), "")


def test_minimum_bayes_risk_chooses_among_samples(run: Run, translator: Translator) -> None:
    wanted = translator.translate(LINES, search=SearchName.mbr, samples=5, mbr_utility=UtilityName.bleu)
    flags = ("--search", "mbr", "--samples", 5, "--mbr-utility", "bleu")
    assert run(text_of(LINES), *flags) == (0, text_of(wanted), "")
    message = "error: n_best=6 is out of range: 1 ≤ n_best ≤ samples=5\n"
    assert run(text_of(LINES), *flags, "--n-best", 6) == (2, b"", message)


# --- several models ---------------------------------------------------------------------------------------------------


def test_several_models_are_asked_together(run: Run, run_folder: Path, other: Path, expected: dict[str, str]) -> None:
    content = text_of(LINES)
    together = text_of(Translator.load(run_folder, other, precision="fp32", device="cpu").translate(LINES))
    weighted = Translator.load(run_folder, other, precision="fp32", device="cpu", weights=[0.9, 0.1])
    uneven = text_of(weighted.translate(LINES))
    first = text_of([expected[line] for line in LINES])
    second = run(content, models=[other])[1]
    assert len({together, first, second, uneven}) == 4
    assert run(content, models=[run_folder, other]) == (0, together, "")
    assert run(content, models=[f"{run_folder},{other}"]) == (0, together, "")
    assert run(content, "--weights", "0.9,0.1", models=[run_folder, other]) == (
        0,
        text_of(weighted.translate(LINES)),
        "",
    )


def test_a_comma_in_a_name_that_exists_separates_nothing(run: Run, model: Model, tmp_path: Path) -> None:
    save_model(tmp_path / "this,that", model)
    assert run(b"", models=[tmp_path / "this,that"]) == (0, b"", "")
    assert run(b"", models=[f"{tmp_path},"]) == (2, b"", f"error: {tmp_path},: a model without a name\n")


def test_a_name_after_the_text_is_text(run: Run, run_folder: Path) -> None:
    status, _, err = run(b"x\n", run_folder)
    assert (status, err) == (2, f"error: cannot read {run_folder}: Is a directory\n")


def test_models_of_other_vocabularies_are_no_ensemble(run: Run, run_folder: Path, tmp_path: Path) -> None:
    save_model(tmp_path / BEST_NAME, make_model(tmp_path, byte_fallback=True))
    message = f"error: {tmp_path} and {run_folder} have different vocabularies: they cannot form an ensemble\n"
    assert run(b"x\n", models=[run_folder, tmp_path]) == (2, b"", message)


# --- JSON Lines -------------------------------------------------------------------------------------------------------


def test_an_object_for_each_line(run: Run, translator: Translator) -> None:
    found = run.objects(json_of(*({"src": line} for line in LINES)))
    assert found == [object_of(row[0], translator) for row in translator.translate_n_best(LINES)]


def test_an_object_holds_all_outputs_on_request(run: Run, translator: Translator) -> None:
    best, all_of_it = run.objects(json_of({"src": "a fox", "id": 1}, {"src": ""}), "--n-best", 7)
    outputs = [object_of(one, translator) for one in translator.translate_n_best(["a fox"], 7, beam_size=7)[0]]
    assert best == {"id": 1, **outputs[0], "n_best": outputs}
    assert [one["text"] for one in all_of_it["n_best"]] == [""]


@pytest.mark.parametrize("id", ["x", "\ud800", "a\u2028b\u0085", None, 0, 10**50, -1.5, [{"a": [None]}], {"id": {}}])
def test_an_id_comes_back_as_it_was(id: object, run: Run) -> None:
    (found,) = run.objects(json_of({"id": id, "src": "x"}))
    assert found["id"] == id
    status, out, _ = run(json_of({"id": id}), "--format", "jsonl")
    assert (status, parsed(out)) == (0, [{"id": id, "error": '"src" is missing'}])


def test_lone_surrogates_in_json_are_no_obstacle(run: Run, translator: Translator) -> None:
    odd = {"src": "a \ud800 fox", "prefix": "qu\udfff", "terms": ["o\ud83d"]}
    plain = {"src": "a \ufffd fox", "prefix": "qu\ufffd", "terms": ["o\ufffd"]}
    one, two = run.objects(json_of(odd, plain))
    assert one == two
    assert "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16") == "😀"
    assert run.objects(b'{"src": "\\ud83d\\ude00 x"}\n') == run.objects(json_of({"src": "😀 x"}))


def test_each_object_has_its_own_prefix_and_terms(run: Run, translator: Translator) -> None:
    lines = [("a fox", "quick", []), ("x", "", ["dog", "fox"]), ("how", "a", ["lazy"]), ("jugs", "", [])]
    found = run.objects(json_of(*({"src": src, "prefix": prefix, "terms": terms} for src, prefix, terms in lines)))
    wanted = [
        translator.translate_n_best([src], prefixes=[prefix], terms=[terms] if terms else None)[0][0]
        for src, prefix, terms in lines
    ]
    assert found == [object_of(one, translator) for one in wanted]
    for one, (_, prefix, terms) in zip(found, lines, strict=True):
        assert one["text"].startswith(prefix)
        assert all(term in one["text"] for term in terms)


DEEP = b"[" * 200_000
WRONG = [
    (b"", "not JSON: Expecting value: line 1 column 1 (char 0)"),
    (b"a fox", "not JSON: Expecting value: line 1 column 1 (char 0)"),
    (b'{"src": "x"} {}', "not JSON: Extra data: line 1 column 14 (char 13)"),
    (b'{"src": "x", "id": NaN}', "not JSON: NaN is not a JSON number"),
    (b'{"src": "x", "id": -Infinity}', "not JSON: -Infinity is not a JSON number"),
    (b'{"src": "x", "id": 1e999}', "not JSON: 1e999 is too large a number"),
    (b'{"src": "x", "id": ' + DEEP, "not JSON: maximum recursion depth exceeded"),
    (b'{"src": "x", "id": ' + b"1" * 5000 + b"}", "not JSON: Exceeds the limit (4300 digits)"),
    (b'{"src": "\0"}', "not JSON: Invalid control character at"),
    (b'"x"', "not a JSON object"),
    (b"[]", "not a JSON object"),
    (b"{}", '"src" is missing'),
    (b'{"src": null}', '"src" must be a string'),
    (b'{"src": "x", "prefix": 1}', '"prefix" must be a string'),
    (b'{"src": "x", "terms": "y"}', '"terms" must be a list of strings'),
    (b'{"src": "x", "terms": ["y", 1]}', '"terms" must be a list of strings'),
]


def test_a_line_that_is_no_such_object_is_answered_by_its_error(run: Run) -> None:
    good = json_of({"src": "a fox", "more": float("1e300")})
    for window in (1, 2000):
        content = b"".join(line + b"\n" + good for line, _ in WRONG)
        status, out, err = run(content, "--format", "jsonl", "--buffer-lines", window)
        assert status == 0
        answers, warnings = parsed(out), err.splitlines()
        assert len(answers) == 2 * len(warnings) == 2 * len(WRONG)
        assert answers[1::2] == run.objects(good) * len(WRONG)
        for number, (answer, warning, (_, message)) in enumerate(zip(answers[::2], warnings, WRONG, strict=True)):
            assert list(answer) == ["error"]
            assert answer["error"].startswith(message)
            assert warning == f"warning: line {2 * number + 1}: {answer['error']}"


def test_terms_that_the_search_cannot_heed_are_an_error_of_their_line(run: Run, translator: Translator) -> None:
    content = json_of({"src": "a fox"}, {"src": "x", "terms": ["dog"], "id": 7}, {"src": "how", "terms": []})
    status, out, err = run(content, "--format", "jsonl", "--search", "sample")
    message = "terms and glossaries need search=beam, not sample"
    first, second, third = parsed(out)
    assert (status, err, second) == (0, f"warning: line 2: {message}\n", {"id": 7, "error": message})
    assert [first["text"], third["text"]] == translator.translate(["a fox", "how"], search=SearchName.sample)


def test_objects_hold_alignment_and_attention(
    run: Run, translator: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = "the quick brown fox. jumps over a lazy dog."
    (one,) = run.objects(json_of({"src": line}), "--alignments")
    ((wanted,),) = translator.translate_n_best([line], alignments=True)
    assert wanted.alignment is not None
    assert wanted.attention is not None
    assert one["alignment"] == pharaoh(wanted.alignment)
    assert len(one["attention"]) == len(one["text"].split())
    assert one["attention"] == [[round(weight, 4) for weight in row] for row in wanted.attention]
    monkeypatch.setattr(translator_module, "MAX_PART_TOKENS", 30)
    translator = Translator(translator.network, translator.tokenizer, translator.decode, max_part_tokens=30)
    status, out, _ = run(json_of({"src": line}, {"src": ""}), "--alignments", "--format", "jsonl")
    cut, blank = parsed(out)
    assert (status, cut["attention"], blank["attention"], blank["alignment"]) == (0, None, None, "")
    assert cut["alignment"] == pharaoh(translator.translate_n_best([line], alignments=True)[0][0].alignment or ())


def test_what_is_no_number_in_json_is_null(translator: Translator) -> None:
    from seq2seq.cli.line_format import Request, json_answer

    inf, nan = float("inf"), float("nan")
    odd = Translation("x", nan, -inf, [5], [-inf, -1e-9], [(0, 0)], [[nan, 0.00001]])
    (found,) = parsed(json_answer(Request(1), [odd], translator.tokenizer, n_best=False, alignments=True).encode())
    assert (found["score"], found["log_prob"], found["token_log_probs"]) == (None, None, [None, 0])
    assert found["attention"] == [[None, 0]]
    assert "-0" not in json.dumps(found["token_log_probs"])


def test_text_on_the_command_line_is_text_whatever_is_written(run: Run, expected: dict[str, str]) -> None:
    (found,) = run.objects(None, "--text", "a fox")
    assert found["text"] == expected["a fox"]


# --- demands on the output --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [1, 2, 2000])
def test_a_file_of_prefixes_goes_line_by_line_with_the_text(
    run: Run, translator: Translator, tmp_path: Path, window: int
) -> None:
    prefixes = ["the", "", "a quick", "dog"]
    wanted = translator.translate(LINES[:4], prefixes=prefixes)
    assert all(text.startswith(prefix) for text, prefix in zip(wanted, prefixes, strict=True))
    (tmp_path / "prefixes").write_bytes(b"\xef\xbb\xbfthe\r\n\r\na quick\r\ndog")
    options = ("--prefix", tmp_path / "prefixes", "--buffer-lines", window)
    assert run(text_of(LINES[:4]), *options) == (0, text_of(wanted), "")
    message = f"error: {tmp_path / 'prefixes'} has 4 lines, fewer than the input\n"
    assert run(text_of(LINES[:5]), *options) == (2, text_of(wanted), message)
    message = f"error: {tmp_path / 'prefixes'} has more lines than the input, which has 3\n"
    assert run(text_of(LINES[:3]), *options) == (2, text_of(wanted[:3]), message)


def test_a_glossary_says_what_must_follow(run: Run, translator: Translator, tmp_path: Path) -> None:
    (tmp_path / "glossary").write_text("fox\tdog\nlazy\tquick jugs\n", encoding="utf-8")
    lines = ["a fox", "lazy", "how"]
    wanted = translator.translate(lines, glossary=Glossary.read(tmp_path / "glossary"))
    assert ["dog" in wanted[0], "quick jugs" in wanted[1]] == [True, True]
    assert run(text_of(lines), "--glossary", tmp_path / "glossary") == (0, text_of(wanted), "")
    status, out, err = run(text_of(lines), "--glossary", tmp_path / "glossary", "--search", "sample")
    assert (status, out, err) == (2, b"", "error: terms and glossaries need search=beam, not sample\n")


# --- files ------------------------------------------------------------------------------------------------------------


def test_output_goes_to_a_file(run: Run, run_folder: Path, tmp_path: Path, expected: dict[str, str]) -> None:
    assert run(b"a fox\n", "--output", str(tmp_path / "out")) == (0, b"", "")
    assert (tmp_path / "out").read_bytes() == text_of([expected["a fox"]])
    same = str(run_folder / "input")
    assert run(b"a fox\n", "--output", same) == (2, b"", f"error: {same} is both input and output\n")
    assert (run_folder / "input").read_bytes() == b"a fox\n"


TEXTS = [
    *("x", "a fox", "", "how vexingly quick", "jugs", "x", "a lazy dog", "five dozen"),
    *("over the box", "the quick brown fox", "dog"),
]


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--n-best", 3),
        ("--n-best", 3, "--alignments"),
        ("--format", "jsonl", "--n-best", 2),
        ("--search", "sample", "--n-best", 2),
        ("--prefix", "PREFIXES", "--search", "sample", "--scores"),
    ],
)
def test_a_resumed_run_ends_with_the_bytes_of_one_never_stopped(
    options: tuple[object, ...], run: Run, tmp_path: Path
) -> None:
    (tmp_path / "prefixes").write_bytes(text_of([line[:1] for line in TEXTS]))
    flags = [tmp_path / "prefixes" if option == "PREFIXES" else option for option in options]
    flags += ["--max-length-ratio", 0.3]  # short answers: this is about lines
    content = json_of(*({"src": line} for line in TEXTS)) if "jsonl" in options else text_of(TEXTS)
    out = tmp_path / "out"
    assert run(content, *flags, "--output", out, "--resume") == (0, b"", "")  # nothing there: from the beginning
    whole = out.read_bytes()
    assert run(content, *flags)[1] == whole
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    cuts = {0, 1, ends[0] - 1, ends[0], ends[3], ends[4], ends[4] + 1, ends[-1] - 1, ends[-1]}
    for cut in cuts | {*range(0, len(whole), scaled(len(whole), 1))}:
        out.write_bytes(whole[:cut])
        assert run(content, *flags, "--output", out, "--resume", "--buffer-lines", 3) == (0, b"", "")
        assert out.read_bytes() == whole, cut


def test_a_resumed_run_keeps_what_is_complete(run: Run, tmp_path: Path, expected: dict[str, str]) -> None:
    (tmp_path / "out").write_bytes(b"first\nsecond\nthird, unfin")
    assert run(b"x\na fox\njugs\n", "--output", tmp_path / "out", "--resume") == (0, b"", "")
    assert (tmp_path / "out").read_bytes() == text_of(["first", "second", expected["jugs"]])
    (tmp_path / "out").write_bytes(b"first\nsecond\nthi")
    assert run(b"x\na fox\n", "--output", tmp_path / "out", "--resume") == (0, b"", "")
    assert (tmp_path / "out").read_bytes() == b"first\nsecond\n"
    assert run(b"x\n", "--output", tmp_path / "out") == (0, b"", "")
    assert (tmp_path / "out").read_bytes() == text_of([expected["x"]])


def test_a_resumed_n_best_list_redoes_its_last_group_only(run: Run, tmp_path: Path) -> None:
    content = b"x\na fox\njugs\n"
    whole = run(content, "--n-best", 2)[1]
    kept = b"1\t0\tfirst\n"
    for more in (b"", b"2\t0\tredone\n", b"2\t0\tredone\n2\t0\tunfin"):
        (tmp_path / "out").write_bytes(kept + more)
        assert run(content, "--n-best", 2, "--output", tmp_path / "out", "--resume") == (0, b"", "")
        found = (tmp_path / "out").read_bytes()
        assert found == (kept + b"".join(whole.splitlines(True)[2:]) if more else whole)


@pytest.mark.parametrize(
    ("there", "options", "message"),
    [
        (b"a\nb\nc\nd", (), "OUT has answers to 3 lines but the input has 2"),
        (b"1\t0\ta\n2\t0\tb\n3\t0\tc\n3", ("--n-best", 2), "OUT has answers to 3 lines but the input has 2"),
        (b"a fox\nx", ("--n-best", 2), "OUT, line 1: not the n-best output that --resume could go on with"),
        (b"2\t0\ta\n", ("--n-best", 2), "OUT, line 1: not the n-best output"),
        (b"1\t0\ta\n3\t0\ta\n", ("--n-best", 2), "OUT, line 2: not the n-best output"),
        (b"1\t0\ta\n2\t0\ta\n1\t0\ta\n", ("--n-best", 2), "OUT, line 3: not the n-best output"),
        (b"0\t0\ta\n", ("--n-best", 2), "OUT, line 1: not the n-best output"),
        ("²\ta\n".encode(), ("--n-best", 2), "OUT, line 1: not the n-best output"),
    ],
)
def test_a_resume_that_is_refused_changes_nothing(
    there: bytes, options: tuple[object, ...], message: str, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "out").write_bytes(there)
    status, out, err = run(b"x\na fox\n", *options, "--output", tmp_path / "out", "--resume")
    assert (status, out, err.count("\n")) == (2, b"", 1)
    assert err.startswith(f"error: {message.replace('OUT', str(tmp_path / 'out'))}")
    assert (tmp_path / "out").read_bytes() == there


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing/there", "--text", "x"], "no model at nothing/there"),
        (["MODEL", "no/such/file"], "cannot read no/such/file: No such file or directory"),
        (["MODEL", "-", "FOLDER"], "cannot read FOLDER: Is a directory"),
        (["MODEL", "conf"], "no model at conf/best.safetensors"),
        (["MODEL", "other.safetensors"], "no model at other.safetensors"),
        (["MODEL", "--text", "x", "--weights", "1,2"], "weights [1.0, 2.0] are not 1 positive numbers"),
        (["MODEL", "--text", "x", "--prefix", "no/such/file"], "cannot read no/such/file: No such file or directory"),
        (["MODEL", "--text", "x", "--glossary", "no/such/file"], "cannot read no/such/file: No such file or directory"),
        (["MODEL", "--prefix", "-"], "standard input cannot be both the text and its --prefix"),
        (["MODEL", "--text", "x", "--resume"], "--resume needs --output FILE"),
        (["MODEL", "--text", "x", "--resume", "--output", "FOLDER"], "--resume needs a regular file, which FOLDER is"),
        (["MODEL", "--text", "x", "--output", "x" * 300], f"cannot write {'x' * 300}: File name too long"),
        (["MODEL", "--text", "x", "--resume", "--output", "x" * 300], f"cannot read {'x' * 300}: File name too long"),
        ([f"{'m' * 300},m", "--text", "x"], f"cannot read {'m' * 300}: File name too long"),
        (["MODEL", "x" * 300], f"cannot read {'x' * 300}: File name too long"),
        (["MODEL", "--interactive", "pyproject.toml"], "--interactive reads standard input, not FILE"),
        (["MODEL", "--interactive", "--text", "x"], "--interactive reads standard input, not --text"),
        (["MODEL", "--interactive", "--buffer-lines", "9"], "--buffer-lines has no meaning with --interactive"),
        (["MODEL", "--interactive", "--resume", "--output", "x"], "--resume has no meaning with --interactive"),
        (["MODEL", "--format", "jsonl", "--scores"], "--scores has no meaning with --format jsonl"),
        (["MODEL", "--format", "jsonl", "--prefix", "x"], "--prefix has no meaning with --format jsonl"),
        (["MODEL", "--text", "x", "--output", "no/such/folder/file"], "cannot write no/such/folder/file: No such"),
        (["MODEL", "--text", "x", "--beam-size", "0"], "decode.beam_size=0 is out of range: 1 ≤ beam_size"),
        (["MODEL", "--text", "x", "--beam-size", "2", "--n-best", "3"], "n_best=3 is out of range"),
        (["MODEL", "--text", "x", "--device", "warp"], "device 'warp' is unknown"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    arguments: list[str],
    message: str,
    run_folder: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    names = {"MODEL": str(run_folder), "FOLDER": str(run_folder)}
    assert main([names.get(argument, argument) for argument in arguments]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(f"error: {message.replace('FOLDER', str(run_folder))}")
    assert err.count("\n") == 1


def test_a_word_that_is_no_number_is_refused(run: Run) -> None:
    for flags in (["--weights", "1,x"], ["--top-k", "x"], ["--search", "guess"], ["--n-best", "0"]):
        with pytest.raises(SystemExit, match="2"):
            run(None, *flags)


# --- processes, pipes and terminals -----------------------------------------------------------------------------------


def start(*arguments: object, **streams: object) -> subprocess.Popen[bytes]:
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    command = [sys.executable, "-m", "seq2seq.translate", *map(str, arguments), "--precision", "fp32"]
    return subprocess.Popen(command, **streams)


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_line_into_an_open_pipe_is_answered_at_once(run_folder: Path, expected: dict[str, str]) -> None:
    with start(run_folder) as process:
        for line in ("a fox", "", "jugs"):
            process.stdin.write(text_of([line]))
            process.stdin.flush()
            assert process.stdout.readline() == text_of([expected[line]])
        process.stdin.write(b"x")  # the end of the input ends the last line
        assert process.communicate() == (text_of([expected["x"]]), b"")
    assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_ends_it_in_silence(run_folder: Path) -> None:
    with start(run_folder) as process:
        process.stdin.write(b"a fox\n")
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == b""
    assert process.returncode == 130


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
def test_a_reader_that_leaves_ends_it_in_silence(run_folder: Path) -> None:
    with start(run_folder, "--buffer-lines", 1) as process:
        process.stdin.write(b"a fox\n")
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        process.stdin.write(b"a fox\n" * 3)
        process.stdin.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_one_line_and_status_2(run_folder: Path) -> None:
    with Path("/dev/full").open("wb") as full, start(run_folder, "--text", "a fox", stdout=full) as process:
        assert process.stderr.read() == b"error: cannot write standard output: No space left on device\n"
    assert process.returncode == 2


@pytest.mark.slow
def test_help_does_not_load_torch() -> None:
    code = (
        "import sys\nfrom seq2seq.translate import main\n"
        "try: main(['--help'])\nexcept SystemExit: assert not {'torch', 'omegaconf', 'sentencepiece'} & {*sys.modules}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--beam-size" in done.stdout


@contextlib.contextmanager
def killing(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """A test that fails does not wait for a process that waits for a terminal."""
    try:
        yield
    finally:
        process.kill()


class Terminal:
    """A terminal seen from the person's side."""

    def __init__(self) -> None:
        self.ours, self.theirs = os.openpty()

    def write(self, content: bytes) -> None:
        os.write(self.ours, content)

    def read(self) -> bytes:
        """Return what is shown until every program has closed the terminal."""
        os.close(self.theirs)
        shown = b""
        with contextlib.suppress(OSError):  # EIO, as Linux tells the end
            while block := os.read(self.ours, 4096):
                shown += block
        return shown


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    if os.name == "nt":
        pytest.skip("no pseudo-terminals")
    made = Terminal()
    yield made
    os.close(made.ours)
    with contextlib.suppress(OSError):
        os.close(made.theirs)


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_person_is_prompted_on_stderr_and_answered_at_once(
    run_folder: Path, expected: dict[str, str], terminal: Terminal
) -> None:
    with start(run_folder, "--interactive", stdin=terminal.theirs) as process, killing(process):
        for line in ("a fox", "", "jugs"):
            assert process.stderr.read(2) == b"> "
            terminal.write(text_of([line]))
            assert process.stdout.readline() == text_of([expected[line]])
        terminal.write(b"\x04")  # Ctrl-D
        assert process.communicate() == (b"", b"> \n")
    assert process.returncode == 0
    with start(run_folder, "--interactive", stdin=terminal.theirs) as process, killing(process):
        assert process.stderr.read(2) == b"> "
        process.send_signal(signal.SIGINT)
        assert process.communicate() == (b"", b"\n")
    assert process.returncode == 130


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_pipe_is_not_prompted(run_folder: Path, expected: dict[str, str]) -> None:
    with start(run_folder, "--interactive", "--format", "jsonl") as process:
        for line in ("a fox", "jugs"):
            process.stdin.write(json_of({"src": line}))
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["text"] == expected[line]
        assert process.communicate() == (b"", b"")
    assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_bar_is_shown_to_a_person_who_waits_for_files(
    run_folder: Path, expected: dict[str, str], terminal: Terminal
) -> None:
    for name, content in (("one", b"x\njugs"), ("two", b"a fox\n")):
        (run_folder / name).write_bytes(content)
    out = run_folder / "out"
    out.write_bytes(b"before\n")  # the bar counts what was done before
    files = (run_folder / "one", run_folder / "two")
    with start(run_folder, *files, "--output", out, "--resume", stderr=terminal.theirs) as process:
        assert process.stdout.read() == b""
    assert out.read_bytes() == text_of(["before", expected["jugs"], expected["a fox"]])
    assert b"3/3" in terminal.read()


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_no_bar_for_a_pipe_or_over_the_translations(run_folder: Path, terminal: Terminal) -> None:
    (run_folder / "one").write_bytes(b"")
    for arguments, streams in (
        ([run_folder / "one"], {"stdout": terminal.theirs}),
        ([], {"stdin": subprocess.DEVNULL}),
    ):
        with start(run_folder, *arguments, stderr=terminal.theirs, **streams) as process:
            pass
        assert process.returncode == 0
    assert terminal.read() == b""


@pytest.mark.parametrize("options", [["--beam-size=2", "--n-best=5"], ["--min-length-ratio=3"]])
def test_a_contradiction_is_refused_before_the_output_is_emptied(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    kept = tmp_path / "kept"
    kept.write_text("kept")
    assert main([str(run_folder), "--text=x", "--device=cpu", f"--output={kept}", *options]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert kept.read_text() == "kept"


def test_the_model_is_not_overwritten(model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / BEST_NAME
    save_model(file, model)
    before = file.read_bytes()
    for name in (tmp_path, file):
        assert main([str(name), "--text=x", "--device=cpu", f"--output={file}"]) == 2
        assert "both input and output" in capsys.readouterr().err
    assert file.read_bytes() == before
