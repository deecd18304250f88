"""Every numeric option of every command has bounds, and every path option refuses an empty path."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from seq2seq import align, average, curves, evaluate, report, score, shortlist, translate, tune
from seq2seq.cli.exit_status import run
from seq2seq.cli.process_options import model_list
from seq2seq.cli.search_options import FIELDS, search_overrides
from seq2seq.errors import ConfigError

PARSERS = {
    module.__name__: module.parser()
    for module in (align, average, curves, evaluate, report, score, shortlist, translate)
} | {tune.__name__: tune._parser()}
OPTIONS = [
    (command, option.option_strings[-1], option)
    for command, parser in PARSERS.items()
    for option in parser._actions
    if option.option_strings and option.type is not None
]
NUMBERS = [(command, flag) for command, flag, option in OPTIONS if option.metavar in ("N", "X", "W,W")]
PATHS = [(command, flag) for command, flag, option in OPTIONS if option.metavar in ("FILE", "DIR")]
POSITIONAL = {
    "seq2seq.align": ["a"],
    "seq2seq.average": ["a"],
    "seq2seq.curves": ["a"],
    "seq2seq.evaluate": ["a"],
    "seq2seq.translate": ["a"],
}

MODEL = Path(__file__).parents[1] / "model_files/version_2.safetensors"


def parse(command: str, *arguments: str) -> argparse.Namespace:
    parser = PARSERS[command]
    parser = argparse.ArgumentParser(parents=[parser], add_help=False, conflict_handler="resolve")
    for option in parser._actions:
        option.required = False
        option.nargs = "*" if not option.option_strings else option.nargs
    parser.error = PARSERS[command].error  # type: ignore[method-assign]
    return parser.parse_args(arguments)


def test_these_are_all_options_with_numbers_and_paths() -> None:
    untyped = [
        (command, option.option_strings)
        for command, parser in PARSERS.items()
        for option in parser._actions
        if option.metavar in ("N", "X", "W,W", "FILE", "DIR") and option.type is None
    ]
    assert untyped == []
    assert ("seq2seq.translate", "--threads") in NUMBERS
    assert ("seq2seq.evaluate", "--output") in PATHS


@pytest.mark.parametrize("text", ["1e999", "nan", "9" * 30, ""])
@pytest.mark.parametrize(("command", "flag"), NUMBERS)
def test_a_number_out_of_bounds_is_refused(command: str, flag: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_options(parse(command, f"{flag}={text}"))
    assert "\n" not in str(caught.value)


def check_options(args: argparse.Namespace) -> None:
    """Check what the commands check before they load a model, or first of all with it."""
    from seq2seq.inference.translator import Translator

    search_overrides(argparse.Namespace(**dict.fromkeys(FIELDS) | vars(args)))
    if args.weights is not None:
        Translator.load("none", weights=args.weights)
    if (weights := getattr(args, "rerank_weights", None)) is not None:
        Translator.load("none", rerank=["none"] * len(weights), rerank_weights=weights)


@pytest.mark.parametrize(("command", "flag"), PATHS)
def test_paths_have_a_home_and_are_not_empty(monkeypatch: pytest.MonkeyPatch, command: str, flag: str) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    name = flag.removeprefix("--").replace("-", "_")
    assert getattr(parse(command, f"{flag}=~/x"), name) in ("/home/me/x", ["/home/me/x"])  # a list: repeatable
    for text, word in (("", "is empty"), ("a\0b", "NUL"), ("a\nb", "line break")):
        with pytest.raises(ConfigError, match=f"argument .*{flag}.*{word}"):
            parse(command, f"{flag}={text}")


def test_names_of_models_and_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert model_list("~/a,~/b") == ["/home/me/a", "/home/me/b"]
    assert translate.split_names(["~/a", "~/text", "-"]) == (["/home/me/a"], ["/home/me/text", "-"])
    with pytest.raises(ConfigError, match="MODEL is empty"):
        model_list("")


def test_an_empty_device_is_not_auto(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lambda: evaluate.evaluate(evaluate.parser().parse_args([str(MODEL), "--device", ""]))) == 2
    assert "device '' is unknown" in capsys.readouterr().err
