"""Which search reads which setting: declared once, true of the search, and enforced alike in Python and by flags."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from seq2seq.cli.search_options import add_search_options, search_overrides
from seq2seq.config.decode import (
    DecodeConfig,
    NormalizationName,
    RecaseName,
    SearchName,
    UtilityName,
    override,
    users_of,
)
from seq2seq.data.special_ids import EOS_ID
from seq2seq.errors import ConfigError
from seq2seq.inference.translator import Translator
from seq2seq.storage.model_file import Model
from tiny_model import SENTENCES, make_model

FIELDS = [field.name for field in dataclasses.fields(DecodeConfig) if field.name != "search"]
OTHER_VALUES: dict[str, Any] = {
    "beam_size": 2,
    "length_normalization": NormalizationName.average,
    "length_penalty": 2.0,
    "coverage_penalty": 2.0,
    "min_length_ratio": 1.2,
    "min_length_extra": 8,
    "max_length_ratio": 0.3,
    "max_length_extra": 1,
    "no_repeat_ngram": 1,
    "repetition_penalty": 1.5,
    "never_emit": [*"aceiosuwz"],
    "samples": 3,
    "temperature": 0.3,
    "top_k": 2,
    "top_p": 0.3,
    "seed": 9,
    "mbr_utility": UtilityName.bleu,
    "recase": RecaseName.off,
    "batch_tokens": 100,
}


def refusal(act: Callable[[], object]) -> str | None:
    """The message with which `act` refuses, or None."""
    try:
        act()
    except ConfigError as error:
        return str(error)
    return None


def flags_of(changes: dict[str, Any]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_search_options(parser)
    flags = []
    for name, value in changes.items():
        for item in value if isinstance(value, list) else [value]:
            flags += [f"--{name.replace('_', '-')}", str(item)]
    return parser.parse_args(flags)


def as_flags(message: str | None) -> str | None:
    """Write the keys of a message from Python as flags."""
    if message is None:
        return None
    words = [
        f"--{word.removeprefix('decode.').replace('_', '-').replace('=', ' ')}" if word.startswith("decode.") else word
        for word in message.split(" ")
    ]
    return " ".join(words)


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize(("stored", "chosen"), [*itertools.product(SearchName, [None, *SearchName])])
def test_python_refuses_what_the_command_line_refuses(stored: SearchName, chosen: SearchName | None, name: str) -> None:
    model = DecodeConfig(search=stored)
    for value in (OTHER_VALUES[name], getattr(DecodeConfig(), name)):
        if value == []:
            continue  # no flag says so
        changes = {name: value} | ({} if chosen is None else {"search": chosen})
        from_python = refusal(lambda changes=changes: override(model, changes))
        assert as_flags(from_python) == refusal(lambda changes=changes: search_overrides(flags_of(changes), model))
        assert (from_python is None) == ((chosen or stored) in users_of(name))


def test_a_length_penalty_without_normalization_is_refused_by_both() -> None:
    for model, changes in (
        (DecodeConfig(), {"length_penalty": 1.0, "length_normalization": NormalizationName.none}),
        (DecodeConfig(length_normalization=NormalizationName.none), {"length_penalty": 1.0}),
    ):
        message = refusal(lambda model=model, changes=changes: override(model, changes))
        assert message == "decode.length_penalty has no effect with decode.length_normalization=none"
        assert as_flags(message) == refusal(
            lambda model=model, changes=changes: search_overrides(flags_of(changes), model)
        )


@pytest.mark.parametrize(("stored", "chosen"), [*itertools.product(SearchName, SearchName)])
def test_settings_that_the_chosen_search_ignores_return_to_their_defaults(
    stored: SearchName, chosen: SearchName
) -> None:
    values = {name: value for name, value in OTHER_VALUES.items() if stored in users_of(name)}
    values |= {"max_length_extra": 20, "max_length_ratio": 2.5}  # not below the minimum
    changed = override(DecodeConfig(search=stored, **values), {"search": chosen})
    kept = {name: value for name, value in values.items() if chosen in users_of(name)}
    assert changed == DecodeConfig(search=chosen, **kept)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    model = make_model(tmp_path_factory.mktemp("cache"))
    with torch.no_grad():
        model.network.output.bias[EOS_ID] = 0.0  # some outputs end early, some at the limit
    return model


@pytest.mark.parametrize("search", SearchName)
def test_a_search_reads_the_fields_that_declare_it_and_no_others(model: Model, search: SearchName) -> None:
    def outputs(name: str, value: Any) -> list[list[tuple[str, float]]]:
        base = {"search": search, "samples": 8, "max_length_ratio": 1.2, "max_length_extra": 8}
        translator = Translator(model.network, model.tokenizer, DecodeConfig(**{**base, name: value}))
        n_best = {SearchName.beam: 2, SearchName.sample: 4, SearchName.mbr: 2}[search]
        rows = translator.translate_n_best([*SENTENCES, SENTENCES[0].upper()], n_best)
        return [[(output.text, output.score) for output in row] for row in rows]

    unchanged = outputs("search", search)
    for name in OTHER_VALUES.keys() - {"batch_tokens"}:
        if search in users_of(name):
            assert outputs(name, OTHER_VALUES[name]) != unchanged, name
        elif (message := refusal(lambda name=name: outputs(name, OTHER_VALUES[name]))) is None:
            assert outputs(name, OTHER_VALUES[name]) == unchanged, name
        else:
            assert f"decode.{name}" in message
