"""The mean of the weights of several models (Junczys-Dowmunt et al. 2016; Vaswani et al. 2017, section 6.1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from seq2seq.config.model import ModelConfig
from seq2seq.errors import ModelFileError
from seq2seq.storage.model_file import Model, load_model


def average_models(files: Sequence[Path]) -> Model:
    """Return the mean of the models in `files`, with the tokenizer and the config of the first.

    It has no calibration: those of the models are for the probabilities of other weights.

    Memory: the float64 sum and one model.

    Raises:
        ModelFileError: a file is missing or damaged, has weights that are not finite, or has another network or
            vocabulary than the first.
    """
    total = WeightSum()
    for file in reversed(files[1:]):
        total.add(file)
    model = total.add(files[0])  # read last: the mean is written into its network
    with torch.no_grad():
        for name, weight in model.network.named_parameters():  # names one of several tied matrices
            weight.copy_(total.weights[name] / len(files))
    return dataclasses.replace(model, calibration=None)


class WeightSum:
    """The sum, in float64, of the weights of models with the same network and vocabulary."""

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}
        self._first: tuple[Path, dict[str, object], str] | None = None
        """File, network settings and tokenizer fingerprint of the model that was added first."""

    def add(self, file: Path) -> Model:
        """Read a model, add its weights and return it.

        Raises:
            ModelFileError: the file is missing or damaged, has weights that are not finite, or has another network or
                vocabulary than the models before it.
        """
        model = load_model(file, torch.device("cpu"))
        self._check_compatible(file, model)
        for name, weight in model.network.named_parameters():
            if name in self.weights:
                self.weights[name] += weight.detach()
            else:
                self.weights[name] = weight.detach().double()
        return model

    def _check_compatible(self, file: Path, model: Model) -> None:
        """Raise ModelFileError for another network or vocabulary; equal ones imply equal tensor shapes."""
        network, tokenizer_fingerprint = _network_settings(model.config.model), model.tokenizer.fingerprint
        if self._first is None:
            self._first = file, network, tokenizer_fingerprint
        first, first_network, first_fingerprint = self._first
        for key, value in network.items():
            if value != first_network[key]:
                raise ModelFileError(
                    f"{file} and {first} cannot be averaged: model.{key} is {_yaml(value)} and "
                    f"{_yaml(first_network[key])}; average models of one run"
                )
        if tokenizer_fingerprint != first_fingerprint:
            raise ModelFileError(
                f"{file} and {first} cannot be averaged: they have different vocabularies; average models of one run"
            )


def _network_settings(model: ModelConfig) -> dict[str, object]:
    """Return the settings that define the network; dropout and initialisation do not."""
    values = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}
    del values["dropout"], values["initialisation"]
    return values | {"encoder_hidden_size": model.encoder_size}  # null means half of hidden_size


def _yaml(value: object) -> str:
    return str(value).lower()  # True is true in YAML
