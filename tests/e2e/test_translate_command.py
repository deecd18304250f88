"""`python -m seq2seq.translate`: stdout, stderr and exit status for every kind of input and option."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
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
from seq2seq.cli.search_options import FIELDS, search_overrides
from seq2seq.config.decode import DecodeConfig, NormalizationName, RecaseName, SearchName, UtilityName
from seq2seq.config.model import AttentionName
from seq2seq.inference import translator as translator_module
from seq2seq.inference.alignment import pharaoh
from seq2seq.inference.glossary import Glossary
from seq2seq.inference.translation import Translation
from seq2seq.inference.translator import Translator
from seq2seq.storage.model_file import Model, save_model
from seq2seq.storage.run_folder import BEST_NAME
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
def second_model(model: Model, run_folder: Path) -> Path:
    """Return the file of a second model with the same vocabulary."""
    path = run_folder / "second.safetensors"
    save_model(path, dataclasses.replace(model, network=make_network(model.tokenizer.src_size, seed=2)))
    return path


@pytest.fixture(scope="module")
def translator(run_folder: Path) -> Translator:
    return Translator.load(run_folder, precision="fp32", device="cpu")


@pytest.fixture(scope="module")
def expected(translator: Translator) -> dict[str, str]:
    """Return line -> its translation on its own."""
    return {line: translator.translate([line])[0] for line in [*LINES, "a \ufffd fox", "a\u2028fox", "\ufffdx"]}


class Run:
    """Runs the command in this process; stdout is bytes."""

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
        return status, out, re.sub(r"^warning: compiled kernels .*\n", "", err.decode())  # on a machine without them

    def objects(self, content: bytes | None, *options: object) -> list[dict[str, Any]]:
        """Run with --format jsonl, check that there is no error or warning, and return the output objects."""
        status, out, err = self(content, "--format", "jsonl", *options)
        assert (status, err) == (0, "")
        return parsed(out)


@pytest.fixture
def run(run_folder: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    return Run(run_folder, capfdbinary)


def n_best_lines(n_best: list[list[Translation]]) -> list[str]:
    """Return the lines of --n-best output."""
    return [f"{number}\t{t.score:.4f}\t{t.text}" for number, row in enumerate(n_best, start=1) for t in row]


def text_of(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def json_of(*objects: object) -> bytes:
    return text_of([json.dumps(value) for value in objects])


def parsed(out: bytes) -> list[dict[str, Any]]:
    """Parse JSON Lines strictly: NaN and Infinity are errors."""
    assert out.endswith(b"\n") or not out

    def reject(name: str) -> None:
        raise AssertionError(name)

    return [json.loads(line, parse_constant=reject) for line in out.decode("ascii").split("\n")[:-1]]


def object_of(translation: Translation, translator: Translator) -> dict[str, Any]:
    return {
        "text": translation.text,
        "score": pytest.approx(translation.score, abs=1e-6),
        "log_prob": pytest.approx(translation.log_prob, abs=1e-6),
        "pieces": translator.tokenizer.tgt_pieces(translation.ids),
        "token_log_probs": pytest.approx(translation.token_log_probs, abs=1e-6),
    }


# --- text in, text out ------------------------------------------------------------------------------------------------


def test_output_lines_match_input_lines_for_any_buffer_size(run: Run, expected: dict[str, str]) -> None:
    output = text_of([expected[line] for line in LINES])
    for buffer_lines in ("1", "3", str(len(LINES)), "2000"):
        assert run(text_of(LINES), "--buffer-lines", buffer_lines) == (0, output, "")


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
def test_lines_end_at_line_feed_only(run: Run, expected: dict[str, str], content: bytes, lines: list[str]) -> None:
    assert run(content) == (0, text_of([expected[line] for line in lines]), "")


def test_invalid_utf8_is_replaced_with_a_warning(run: Run, expected: dict[str, str]) -> None:
    status, out, err = run(b"x\na \xff fox\njugs\n\xfex")
    assert status == 0
    assert out == text_of([expected[line] for line in ("x", "a \ufffd fox", "jugs", "\ufffdx")])
    assert len(err.splitlines()) == 2
    assert "input, line 2: not UTF-8 (byte 0xff at position 3)" in err
    assert "input, line 4: not UTF-8 (byte 0xfe at position 1)" in err


def test_strict_stops_at_invalid_utf8(run: Run, expected: dict[str, str]) -> None:
    status, out, err = run(b"x\njugs\na \xff fox\nx\n", "--strict")
    assert (status, out) == (2, text_of([expected["x"], expected["jugs"]]))
    assert re.fullmatch(r"error: .*input, line 3: not UTF-8 .*\n", err)


def test_a_compressed_file_is_read_as_its_text(run: Run, tmp_path: Path, translator: Translator) -> None:
    expected = text_of(translator.translate(LINES, prefixes=["a"] * len(LINES)))
    (tmp_path / "prefixes").write_bytes(gzip.compress(b"a\n" * len(LINES)))
    assert run(gzip.compress(text_of(LINES)), "--prefix", tmp_path / "prefixes") == (0, expected, "")


def test_a_file_that_is_not_text_is_refused_before_the_output_is_emptied(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"kept\n")
    (tmp_path / "archive").write_bytes(b"PK\x03\x04")
    for content, *options in (
        [b"PK\x03\x04\x0a\n", "--output", tmp_path / "out"],
        [b"x\n", "--output", tmp_path / "out", "--prefix", tmp_path / "archive"],
    ):
        status, out, err = run(content, *options)
        assert (status, out) == (2, b"")
        assert re.fullmatch(r"error: .*(input|archive): a zip archive.*, not text: .*\n", err)
    assert (tmp_path / "out").read_bytes() == b"kept\n"
    for content, number, *options in ([b"\x7f\0\nx\n", 1], [b"x\n\x7f\0\n", 2, "--strict"]):
        status, out, err = run(content, *options)
        assert (status, out.count(b"\n")) == (2, number - 1)
        assert re.fullmatch(rf"error: .*input, line {number}: a NUL byte: .*\n", err)


@pytest.mark.slow
def test_files_and_standard_input_are_concatenated(run_folder: Path, expected: dict[str, str]) -> None:
    (run_folder / "first").write_bytes(b"x")
    (run_folder / "last").write_bytes(b"a fox\n")
    command = [sys.executable, "-m", "seq2seq.translate", run_folder, run_folder / "first", "-", run_folder / "last"]
    process = subprocess.run([*command, "--precision", "fp32"], input=b"jugs", capture_output=True, check=True)
    assert process.stdout == text_of([expected[line] for line in ("x", "jugs", "a fox")])


def test_text_option(run: Run, expected: dict[str, str]) -> None:
    assert run(None, "--text", "a fox", "--text", "jugs") == (0, text_of([expected["a fox"], expected["jugs"]]), "")
    assert run(b"x\n", "--text", "a fox") == (2, b"", "error: give either FILE or --text, not both\n")


def test_scores_are_the_column_before_the_text(run: Run, translator: Translator, expected: dict[str, str]) -> None:
    score = translator.translate_n_best(["a fox"])[0][0].score
    assert run(b"a fox\n\n", "--scores") == (0, f"{score:.4f}\t{expected['a fox']}\n0.0000\t\n".encode(), "")


def test_n_best_output_has_line_numbers(run: Run, translator: Translator) -> None:
    status, out, _ = run(b"a fox\n\nx\n", "--n-best", "7", "--buffer-lines", "2")
    n_best = translator.translate_n_best(["a fox", "", "x"], n_best=7, beam_size=7)
    assert (status, len(n_best[0]), len(n_best[1])) == (0, 7, 1)
    assert out == text_of(n_best_lines(n_best))


def test_alignments_are_the_column_before_the_text(run: Run, translator: Translator) -> None:
    lines = ["the quick brown fox", "", "a lazy dog"]
    n_best = translator.translate_n_best(lines, n_best=2, alignments=True)
    assert any(row[0].alignment for row in n_best)
    best = [f"{pharaoh(row[0].alignment or ())}\t{row[0].text}" for row in n_best]
    assert run(text_of(lines), "--alignments") == (0, text_of(best), "")
    scored = [f"{row[0].score:.4f}\t{line}" for row, line in zip(n_best, best, strict=True)]
    assert run(text_of(lines), "--alignments", "--scores") == (0, text_of(scored), "")
    all_lines = [
        f"{number}\t{translation.score:.4f}\t{pharaoh(translation.alignment or ())}\t{translation.text}"
        for number, row in enumerate(n_best, start=1)
        for translation in row
    ]
    assert run(text_of(lines), "--alignments", "--n-best", 2) == (0, text_of(all_lines), "")


def test_alignments_of_a_model_without_attention_are_an_error(run: Run, model: Model, tmp_path: Path) -> None:
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
def test_every_search_setting_has_a_flag(name: str) -> None:
    values = {
        "search": SearchName.sample,
        "length_normalization": NormalizationName.average,
        "mbr_utility": UtilityName.bleu,
        "recase": RecaseName.off,
        "never_emit": ["a", ""],
        "top_p": 0.25,
    }
    value = values[name] if name in values else getattr(DecodeConfig(), name) + 1
    flag = f"--{name.replace('_', '-')}"
    arguments = [part for item in (value if isinstance(value, list) else [value]) for part in (flag, str(item))]
    overrides = search_overrides(parser().parse_intermixed_args(["model", *arguments]))
    assert overrides[name] == value
    assert type(overrides[name]) is type(value)
    assert name == "search" or overrides == {name: value}
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
        ("--seed 3", {}, "--seed needs --search sample or mbr, not beam"),  # beam is the search in the model's config
        ("--beam-size 3", {"search": SearchName.mbr}, "--beam-size needs --search beam, not mbr"),
        ("--length-normalization none --length-penalty 1", None, "--length-penalty has no effect with --length-norm"),
        ("--length-penalty 1", {"length_normalization": NormalizationName.none}, "--length-penalty has no effect"),
        ("--beam-size 0", None, "decode.beam_size=0 is out of range: 1 ≤ beam_size ≤ 1000"),
        ("--temperature nan", None, "decode.temperature=nan is not a finite number"),
    ],
)
def test_flag_that_would_have_no_effect_is_an_error(
    flags: str, stored: dict[str, Any] | None, message: str, run: Run, model: Model, tmp_path: Path
) -> None:
    path = tmp_path / "missing"  # the error comes before the model is read
    if stored is not None:
        path = tmp_path / BEST_NAME
        config = dataclasses.replace(model.config, decode=DecodeConfig(**stored))
        save_model(path, dataclasses.replace(model, config=config))
    status, out, err = run(b"x\n", *flags.split(), models=[path])
    assert (status, out, err.count("\n")) == (2, b"", 1)
    assert err.startswith(f"error: {message}")


def test_stored_settings_of_one_search_do_not_affect_another(run: Run, model: Model, tmp_path: Path) -> None:
    stored = DecodeConfig(search=SearchName.sample, temperature=0.5, top_k=3, seed=5)
    path = tmp_path / BEST_NAME
    save_model(path, dataclasses.replace(model, config=dataclasses.replace(model.config, decode=stored)))
    translator = Translator.load(path, precision="fp32", device="cpu")
    samples = text_of(translator.translate(LINES))
    assert run(text_of(LINES), models=[path]) == (0, samples, "")
    assert run(text_of(LINES), "--seed", 6, models=[path])[1] != samples
    beam = text_of(Translator(model.network, model.tokenizer, DecodeConfig()).translate(LINES))
    assert run(text_of(LINES), "--search", "beam", models=[path]) == (0, beam, "")


def test_samples_do_not_depend_on_the_buffer_size(run: Run, translator: Translator) -> None:
    flags = ("--search", "sample", "--n-best", 3, "--temperature", 1.5, "--seed", 4)
    n_best = translator.translate_n_best(LINES, n_best=3, search=SearchName.sample, temperature=1.5, seed=4)
    assert len({row[0].text for row in n_best}) > 5
    for buffer_lines in (1, 2000):
        result = run(text_of(LINES), *flags, "--buffer-lines", buffer_lines)
        assert result == (0, text_of(n_best_lines(n_best)), "")


def test_minimum_bayes_risk(run: Run, translator: Translator) -> None:
    expected = translator.translate(LINES, search=SearchName.mbr, samples=5, mbr_utility=UtilityName.bleu)
    flags = ("--search", "mbr", "--samples", 5, "--mbr-utility", "bleu")
    assert run(text_of(LINES), *flags) == (0, text_of(expected), "")
    message = "error: n_best=6 is out of range: 1 ≤ n_best ≤ samples=5\n"
    assert run(text_of(LINES), *flags, "--n-best", 6) == (2, b"", message)


# --- ensembles --------------------------------------------------------------------------------------------------------


def test_ensemble(run: Run, run_folder: Path, second_model: Path, expected: dict[str, str]) -> None:
    content = text_of(LINES)
    models = (run_folder, second_model)
    ensemble = text_of(Translator.load(*models, precision="fp32", device="cpu").translate(LINES))
    weighted = Translator.load(*models, precision="fp32", device="cpu", weights=[0.9, 0.1])
    weighted_output = text_of(weighted.translate(LINES))
    first = text_of([expected[line] for line in LINES])
    second = run(content, models=[second_model])[1]
    assert len({ensemble, first, second, weighted_output}) == 4
    assert run(content, models=models) == (0, ensemble, "")
    assert run(content, models=[f"{run_folder},{second_model}"]) == (0, ensemble, "")
    assert run(content, "--weights", "0.9,0.1", models=models) == (0, weighted_output, "")


def test_comma_in_an_existing_file_name_is_no_separator(run: Run, model: Model, tmp_path: Path) -> None:
    save_model(tmp_path / "this,that", model)
    assert run(b"", models=[tmp_path / "this,that"]) == (0, b"", "")
    assert run(b"", models=[f"{tmp_path},"]) == (
        2,
        b"",
        f"error: {tmp_path},: an empty model name; write MODEL,MODEL\n",
    )


def test_arguments_after_the_first_file_are_files(run: Run, run_folder: Path) -> None:
    status, _, err = run(b"x\n", run_folder)
    assert (status, err) == (2, f"error: cannot read {run_folder}: Is a directory\n")


def test_ensemble_of_different_vocabularies_is_an_error(run: Run, run_folder: Path, tmp_path: Path) -> None:
    save_model(tmp_path / BEST_NAME, make_model(tmp_path, byte_fallback=True))
    message = f"error: {tmp_path} and {run_folder} have different vocabularies: they cannot form an ensemble\n"
    assert run(b"x\n", models=[run_folder, tmp_path]) == (2, b"", message)


# --- JSON Lines -------------------------------------------------------------------------------------------------------


def test_one_object_per_line(run: Run, translator: Translator) -> None:
    objects = run.objects(json_of(*({"src": line} for line in LINES)))
    assert objects == [object_of(row[0], translator) for row in translator.translate_n_best(LINES)]


def test_n_best_objects(run: Run, translator: Translator) -> None:
    with_id, empty = run.objects(json_of({"src": "a fox", "id": 1}, {"src": ""}), "--n-best", 7)
    (n_best,) = translator.translate_n_best(["a fox"], 7, beam_size=7)
    outputs = [object_of(translation, translator) for translation in n_best]
    assert with_id == {"id": 1, **outputs[0], "n_best": outputs}
    assert [output["text"] for output in empty["n_best"]] == [""]


@pytest.mark.parametrize("id", ["x", "\ud800", "a\u2028b\u0085", None, 0, 10**50, -1.5, [{"a": [None]}], {"id": {}}])
def test_id_is_returned_unchanged(id: object, run: Run) -> None:
    (answer,) = run.objects(json_of({"id": id, "src": "x"}))
    assert answer["id"] == id
    status, out, _ = run(json_of({"id": id}), "--format", "jsonl")
    assert (status, parsed(out)) == (0, [{"id": id, "error": '"src" is missing'}])


def test_lone_surrogates_in_json_are_replaced(run: Run, translator: Translator) -> None:
    odd = {"src": "a \ud800 fox", "prefix": "qu\udfff", "terms": ["o\ud83d"]}
    plain = {"src": "a \ufffd fox", "prefix": "qu\ufffd", "terms": ["o\ufffd"]}
    odd_answer, plain_answer = run.objects(json_of(odd, plain))
    assert odd_answer == plain_answer
    assert "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16") == "😀"
    assert run.objects(b'{"src": "\\ud83d\\ude00 x"}\n') == run.objects(json_of({"src": "😀 x"}))


def test_prefix_and_terms_apply_to_their_object(run: Run, translator: Translator) -> None:
    lines = [("a fox", "quick", []), ("x", "", ["dog", "fox"]), ("how", "a", ["lazy"]), ("jugs", "", [])]
    objects = run.objects(json_of(*({"src": src, "prefix": prefix, "terms": terms} for src, prefix, terms in lines)))
    translations = [
        translator.translate_n_best([src], prefixes=[prefix], terms=[terms] if terms else None)[0][0]
        for src, prefix, terms in lines
    ]
    assert objects == [object_of(translation, translator) for translation in translations]
    for answer, (_, prefix, terms) in zip(objects, lines, strict=True):
        assert answer["text"].startswith(prefix)
        assert all(term in answer["text"] for term in terms)


DEEP = b"[" * 200_000
INVALID = [
    (b"", "not JSON: Expecting value: line 1 column 1 (char 0)"),
    (b"a fox", "not JSON: Expecting value: line 1 column 1 (char 0)"),
    (b'{"src": "x"} {}', "not JSON: Extra data: line 1 column 14 (char 13)"),
    (b'{"src": "x", "id": NaN}', "not JSON: NaN is not a JSON number"),
    (b'{"src": "x", "id": -Infinity}', "not JSON: -Infinity is not a JSON number"),
    (b'{"src": "x", "id": 1e999}', "not JSON: 1e999 is too large a number"),
    (b'{"src": "x", "id": ' + DEEP, "not JSON: maximum recursion depth exceeded"),
    (b'{"src": "x", "id": ' + b"1" * 5000 + b"}", "not JSON: Exceeds the limit (4300"),
    (b'{"src": "\0"}', "not JSON: Invalid control character at"),
    (b'"x"', "not a JSON object"),
    (b"[]", "not a JSON object"),
    (b"{}", '"src" is missing'),
    (b'{"src": null}', '"src" must be a string'),
    (b'{"src": "x", "prefix": 1}', '"prefix" must be a string'),
    (b'{"src": "x", "terms": "y"}', '"terms" must be a list of strings'),
    (b'{"src": "x", "terms": ["y", 1]}', '"terms" must be a list of strings'),
]


def test_invalid_json_line_is_answered_by_its_error(run: Run) -> None:
    good = json_of({"src": "a fox", "more": float("1e300")})
    for buffer_lines in (1, 2000):
        content = b"".join(line + b"\n" + good for line, _ in INVALID)
        status, out, err = run(content, "--format", "jsonl", "--buffer-lines", buffer_lines)
        assert status == 0
        answers, warnings = parsed(out), err.splitlines()
        assert len(answers) == 2 * len(warnings) == 2 * len(INVALID)
        assert answers[1::2] == run.objects(good) * len(INVALID)
        for number, (answer, warning, (_, message)) in enumerate(zip(answers[::2], warnings, INVALID, strict=True)):
            assert list(answer) == ["error"]
            assert answer["error"].startswith(message)
            assert warning == f"warning: line {2 * number + 1}: {answer['error']}"


def test_terms_without_beam_search_are_an_error_of_their_line(run: Run, translator: Translator) -> None:
    content = json_of({"src": "a fox"}, {"src": "x", "terms": ["dog"], "id": 7}, {"src": "how", "terms": []})
    status, out, err = run(content, "--format", "jsonl", "--search", "sample")
    message = "terms and glossaries need search=beam, not sample"
    first, second, third = parsed(out)
    assert (status, err, second) == (0, f"warning: line 2: {message}\n", {"id": 7, "error": message})
    assert [first["text"], third["text"]] == translator.translate(["a fox", "how"], search=SearchName.sample)


def test_objects_with_alignment_and_attention(
    run: Run, translator: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = "the quick brown fox. jumps over a lazy dog."
    (answer,) = run.objects(json_of({"src": line}), "--alignments")
    ((expected,),) = translator.translate_n_best([line], alignments=True)
    assert expected.alignment is not None
    assert expected.attention is not None
    assert answer["alignment"] == pharaoh(expected.alignment)
    assert len(answer["attention"]) == len(answer["text"].split())
    assert answer["attention"] == [[round(weight, 4) for weight in row] for row in expected.attention]
    monkeypatch.setattr(translator_module, "MAX_PART_TOKENS", 30)
    translator = Translator(translator.network, translator.tokenizer, translator.decode, max_part_tokens=30)
    status, out, _ = run(json_of({"src": line}, {"src": ""}), "--alignments", "--format", "jsonl")
    split, blank = parsed(out)
    assert (status, split["attention"], blank["attention"], blank["alignment"]) == (0, None, None, "")
    assert split["alignment"] == pharaoh(translator.translate_n_best([line], alignments=True)[0][0].alignment or ())


def test_non_finite_numbers_are_null_in_json(translator: Translator) -> None:
    from seq2seq.cli.line_format import Request, json_answer

    inf, nan = float("inf"), float("nan")
    odd = Translation("x", nan, -inf, [5], [-inf, -1e-9], [(0, 0)], [[nan, 0.00001]])
    (answer,) = parsed(json_answer(Request(1), [odd], translator.tokenizer, n_best=False, alignments=True).encode())
    assert (answer["score"], answer["log_prob"], answer["token_log_probs"]) == (None, None, [None, 0])
    assert answer["attention"] == [[None, 0]]
    assert "-0" not in json.dumps(answer["token_log_probs"])


def test_text_option_is_plain_text_in_jsonl_format(run: Run, expected: dict[str, str]) -> None:
    (answer,) = run.objects(None, "--text", "a fox")
    assert answer["text"] == expected["a fox"]


# --- prefixes and glossary --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("buffer_lines", [1, 2, 2000])
def test_prefix_file_has_one_prefix_per_line(
    run: Run, translator: Translator, tmp_path: Path, buffer_lines: int
) -> None:
    prefixes = ["the", "", "a quick", "dog"]
    expected = translator.translate(LINES[:4], prefixes=prefixes)
    assert all(text.startswith(prefix) for text, prefix in zip(expected, prefixes, strict=True))
    (tmp_path / "prefixes").write_bytes(b"\xef\xbb\xbfthe\r\n\r\na quick\r\ndog")
    options = ("--prefix", tmp_path / "prefixes", "--buffer-lines", buffer_lines)
    assert run(text_of(LINES[:4]), *options) == (0, text_of(expected), "")
    message = f"error: {tmp_path / 'prefixes'} has 4 lines, fewer than the input: give one line per input line\n"
    assert run(text_of(LINES[:5]), *options) == (2, text_of(expected), message)
    message = (
        f"error: {tmp_path / 'prefixes'} has more lines than the input, which has 3: give one line per input line\n"
    )
    assert run(text_of(LINES[:3]), *options) == (2, text_of(expected[:3]), message)


def test_glossary_terms_are_forced(run: Run, translator: Translator, tmp_path: Path) -> None:
    (tmp_path / "glossary").write_text("fox\tdog\nlazy\tquick jugs\n", encoding="utf-8")
    lines = ["a fox", "lazy", "how"]
    expected = translator.translate(lines, glossary=Glossary.read(tmp_path / "glossary"))
    assert ["dog" in expected[0], "quick jugs" in expected[1]] == [True, True]
    assert run(text_of(lines), "--glossary", tmp_path / "glossary") == (0, text_of(expected), "")
    status, out, err = run(text_of(lines), "--glossary", tmp_path / "glossary", "--search", "sample")
    assert (status, out, err) == (2, b"", "error: terms and glossaries need search=beam, not sample\n")


# --- files ------------------------------------------------------------------------------------------------------------


def test_output_file(run: Run, run_folder: Path, tmp_path: Path, expected: dict[str, str]) -> None:
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
def test_resumed_output_equals_an_uninterrupted_one(options: tuple[object, ...], run: Run, tmp_path: Path) -> None:
    (tmp_path / "prefixes").write_bytes(text_of([line[:1] for line in TEXTS]))
    flags = [tmp_path / "prefixes" if option == "PREFIXES" else option for option in options]
    flags += ["--max-length-ratio", 0.3]  # short translations are faster
    content = json_of(*({"src": line} for line in TEXTS)) if "jsonl" in options else text_of(TEXTS)
    out = tmp_path / "out"
    assert run(content, *flags, "--output", out, "--resume") == (0, b"", "")  # starts from the beginning without a file
    complete = out.read_bytes()
    assert run(content, *flags)[1] == complete
    ends = [i + 1 for i, byte in enumerate(complete) if byte == ord("\n")]
    cuts = {0, 1, ends[0] - 1, ends[0], ends[3], ends[4], ends[4] + 1, ends[-1] - 1, ends[-1]}
    for cut in cuts | {*range(0, len(complete), scaled(len(complete), 31))}:
        out.write_bytes(complete[:cut])
        assert run(content, *flags, "--output", out, "--resume", "--buffer-lines", 3) == (0, b"", "")
        assert out.read_bytes() == complete, cut


def test_resume_keeps_complete_lines(run: Run, tmp_path: Path, expected: dict[str, str]) -> None:
    (tmp_path / "out").write_bytes(b"first\nsecond\nthird, unfin")
    assert run(b"x\na fox\njugs\n", "--output", tmp_path / "out", "--resume") == (0, b"", "")
    assert (tmp_path / "out").read_bytes() == text_of(["first", "second", expected["jugs"]])
    (tmp_path / "out").write_bytes(b"first\nsecond\nthi")
    assert run(b"x\na fox\n", "--output", tmp_path / "out", "--resume") == (0, b"", "")
    assert (tmp_path / "out").read_bytes() == b"first\nsecond\n"
    assert run(b"x\n", "--output", tmp_path / "out") == (0, b"", "")
    assert (tmp_path / "out").read_bytes() == text_of([expected["x"]])


def test_resume_refuses_lines_of_another_model_or_other_options(
    run: Run, tmp_path: Path, second_model: Path, expected: dict[str, str]
) -> None:
    out, one_by_one = tmp_path / "out", ("--output", tmp_path / "out", "--buffer-lines", 1)
    assert run(b"x\n\xff\n", *one_by_one, "--strict")[0] == 2
    for models, options, changed in (
        ([second_model], (), "models"),
        ((), ("--format", "jsonl"), "format"),
        ((), ("--length-penalty", 0.1, "--scores"), "length_penalty, scores"),
        ((), ("--prefix", "/dev/null"), "prefix"),
    ):
        status, _, err = run(b"x\na fox\n", *one_by_one, "--resume", *options, models=models)
        assert (status, err) == (
            2,
            f"error: {out}.part was made with other {changed}: give the same again, or leave out --resume\n",
        )
    assert run(b"x\na fox\n", "--output", out, "--resume") == (0, b"", "")
    assert out.read_bytes() == text_of([expected["x"], expected["a fox"]])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_resume_of_n_best_output_redoes_the_last_group(run: Run, tmp_path: Path) -> None:
    content = b"x\na fox\njugs\n"
    complete = run(content, "--n-best", 2)[1]
    kept = b"1\t0\tfirst\n"
    for rest in (b"", b"2\t0\tredone\n", b"2\t0\tredone\n2\t0\tunfin"):
        (tmp_path / "out").write_bytes(kept + rest)
        assert run(content, "--n-best", 2, "--output", tmp_path / "out", "--resume") == (0, b"", "")
        output = (tmp_path / "out").read_bytes()
        assert output == (kept + b"".join(complete.splitlines(True)[2:]) if rest else complete)


@pytest.mark.parametrize(
    ("existing", "options", "message"),
    [
        (b"a\nb\nc\nd", (), "OUT has output for 3 lines but the input has 2"),
        (b"1\t0\ta\n2\t0\tb\n3\t0\tc\n3", ("--n-best", 2), "OUT has output for 3 lines but the input has 2"),
        (
            b"a fox\nx",
            ("--n-best", 2),
            "OUT, line 1: not n-best output of this command, so --resume cannot continue it",
        ),
        (b"2\t0\ta\n", ("--n-best", 2), "OUT, line 1: not n-best output"),
        (b"1\t0\ta\n3\t0\ta\n", ("--n-best", 2), "OUT, line 2: not n-best output"),
        (b"1\t0\ta\n2\t0\ta\n1\t0\ta\n", ("--n-best", 2), "OUT, line 3: not n-best output"),
        (b"0\t0\ta\n", ("--n-best", 2), "OUT, line 1: not n-best output"),
        ("²\ta\n".encode(), ("--n-best", 2), "OUT, line 1: not n-best output"),
    ],
)
def test_resume_error_leaves_the_output_unchanged(
    existing: bytes, options: tuple[object, ...], message: str, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "out").write_bytes(existing)
    status, out, err = run(b"x\na fox\n", *options, "--output", tmp_path / "out", "--resume")
    assert (status, out, err.count("\n")) == (2, b"", 1)
    assert err.startswith(f"error: {message.replace('OUT', str(tmp_path / 'out'))}")
    assert (tmp_path / "out").read_bytes() == existing


# --- user errors ------------------------------------------------------------------------------------------------------


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
        (["MODEL", "--prefix", "-"], "standard input cannot be both the input and its --prefix"),
        (["MODEL", "--text", "x", "--resume"], "--resume needs --output FILE"),
        (["MODEL", "--text", "x", "--resume", "--output", "FOLDER"], "--resume: FOLDER is not a regular file"),
        (["MODEL", "--text", "x", "--output", "x" * 300], f"cannot write {'x' * 300}: File name too long"),
        (["MODEL", "--text", "x", "--resume", "--output", "x" * 300], f"cannot read {'x' * 300}: File name too long"),
        ([f"{'m' * 300},m", "--text", "x"], f"cannot read {'m' * 300}: File name too long"),
        (["MODEL", "x" * 300], f"cannot read {'x' * 300}: File name too long"),
        (["MODEL", "--interactive", "pyproject.toml"], "--interactive reads standard input, not FILE"),
        (["MODEL", "--interactive", "--text", "x"], "--interactive reads standard input, not --text"),
        (["MODEL", "--interactive", "--buffer-lines", "9"], "--buffer-lines has no effect with --interactive"),
        (["MODEL", "--interactive", "--resume", "--output", "x"], "--resume has no effect with --interactive"),
        (["MODEL", "--format", "jsonl", "--scores"], "--scores has no effect with --format jsonl"),
        (["MODEL", "--format", "jsonl", "--prefix", "x"], "--prefix has no effect with --format jsonl"),
        (["MODEL", "--text", "x", "--output", "no/such/folder/file"], "cannot write no/such/folder/file: No such"),
        (["MODEL", "--text", "x", "--beam-size", "0"], "decode.beam_size=0 is out of range: 1 ≤ beam_size"),
        (["MODEL", "--text", "x", "--beam-size", "2", "--n-best", "3"], "n_best=3 is out of range"),
        (["MODEL", "--text", "x", "--device", "warp"], "device 'warp' is unknown"),
    ],
)
def test_user_error_is_one_line_and_status_2(
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


def test_invalid_option_value_is_a_usage_error(run: Run) -> None:
    for flags in (["--weights", "1,x"], ["--top-k", "x"], ["--search", "guess"], ["--n-best", "0"]):
        status, out, err = run(None, *flags)
        assert (status, out, err.count("\n")) == (2, b"", 1)
        assert err.startswith(f"error: argument {flags[0]}: ")


# --- processes, pipes and terminals -----------------------------------------------------------------------------------


def start(*arguments: object, **streams: object) -> subprocess.Popen[bytes]:
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    command = [sys.executable, "-m", "seq2seq.translate", *map(str, arguments), "--precision", "fp32"]
    return subprocess.Popen(command, **streams)


@pytest.mark.slow
def test_one_line_on_stderr_says_why_kernels_are_off(run_folder: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "CXX": "false", "XDG_CACHE_HOME": str(tmp_path)}
    with start(run_folder, "--device", "cpu", "--text", "a fox", env=environment) as process:
        out, err = process.communicate()
    assert out.count(b"\n") == 1
    assert err.count(b"\n") == 1
    assert err.startswith(b"warning: compiled kernels are off: false failed")


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_line_in_an_open_pipe_is_answered_immediately(run_folder: Path, expected: dict[str, str]) -> None:
    with start(run_folder) as process:
        for line in ("a fox", "", "jugs"):
            process.stdin.write(text_of([line]))
            process.stdin.flush()
            assert process.stdout.readline() == text_of([expected[line]])
        process.stdin.write(b"x")  # the last line needs no line feed
        assert process.communicate() == (text_of([expected["x"]]), b"")
    assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_ends_the_command_silently(run_folder: Path) -> None:
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
def test_closed_stdout_ends_the_command_silently(run_folder: Path) -> None:
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
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_full_disk_is_one_line_and_status_2(run_folder: Path) -> None:
    with Path("/dev/full").open("wb") as full, start(run_folder, "--text", "a fox", stdout=full) as process:
        assert process.stderr.read() == b"error: cannot write standard output: No space left on device\n"
    assert process.returncode == 2


@pytest.mark.slow
def test_help_does_not_load_torch() -> None:
    code = (
        "import sys\nfrom seq2seq.translate import main\n"
        "assert main(['--help']) == 0\nassert not {'torch', 'omegaconf', 'sentencepiece'} & {*sys.modules}"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--beam-size" in process.stdout


@contextlib.contextmanager
def killing(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Kill the process at the end, so that a failed test does not wait for one that reads a terminal."""
    try:
        yield
    finally:
        process.kill()


class Terminal:
    """A pseudo-terminal, seen from the user's side."""

    def __init__(self) -> None:
        self.ours, self.theirs = os.openpty()

    def write(self, content: bytes) -> None:
        os.write(self.ours, content)

    def read(self) -> bytes:
        """Return the output until every process has closed the terminal."""
        os.close(self.theirs)
        output = b""
        with contextlib.suppress(OSError):  # Linux signals the end by EIO
            while block := os.read(self.ours, 4096):
                output += block
        return output


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    if os.name == "nt":
        pytest.skip("no pseudo-terminals")
    terminal = Terminal()
    yield terminal
    os.close(terminal.ours)
    with contextlib.suppress(OSError):
        os.close(terminal.theirs)


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_interactive_terminal_is_prompted_on_stderr(
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
def test_interactive_pipe_is_not_prompted(run_folder: Path, expected: dict[str, str]) -> None:
    with start(run_folder, "--interactive", "--format", "jsonl") as process:
        for line in ("a fox", "jugs"):
            process.stdin.write(json_of({"src": line}))
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["text"] == expected[line]
        assert process.communicate() == (b"", b"")
    assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_progress_bar_on_a_terminal(run_folder: Path, expected: dict[str, str], terminal: Terminal) -> None:
    for name, content in (("one", b"x\njugs"), ("two", b"a fox\n")):
        (run_folder / name).write_bytes(content)
    out = run_folder / "out"
    out.write_bytes(b"before\n")  # resumed lines are included in the progress
    files = (run_folder / "one", run_folder / "two")
    with start(run_folder, *files, "--output", out, "--resume", stderr=terminal.theirs) as process:
        assert process.stdout.read() == b""
    assert out.read_bytes() == text_of(["before", expected["jugs"], expected["a fox"]])
    assert b"3/3" in terminal.read()


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_no_progress_bar_for_a_pipe_or_over_translations(run_folder: Path, terminal: Terminal) -> None:
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
def test_contradicting_options_leave_the_output_unchanged(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    kept = tmp_path / "kept"
    kept.write_text("kept")
    assert main([str(run_folder), "--text=x", "--device=cpu", f"--output={kept}", *options]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert kept.read_text() == "kept"


def test_output_does_not_overwrite_the_model(model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / BEST_NAME
    save_model(file, model)
    before = file.read_bytes()
    for name in (tmp_path, file):
        assert main([str(name), "--text=x", "--device=cpu", f"--output={file}"]) == 2
        assert "both input and output" in capsys.readouterr().err
    assert file.read_bytes() == before
