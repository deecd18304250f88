"""What is known of a run: its settings, data, size, machine, versions and test scores, from its folder and its model.

Everything but the model may be missing or damaged: a model file may be alone, and a folder may be of an older version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seq2seq.config.data import DataConfig
from seq2seq.config.schema import Config
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.errors import DataError
from seq2seq.model.network import Seq2Seq
from seq2seq.pictures.run_metrics import Curves, read_run
from seq2seq.storage.metrics_file import EventKind, read_events
from seq2seq.storage.model_file import find_model
from seq2seq.storage.provenance import read_parts
from seq2seq.storage.run_folder import METRICS_NAME, PROVENANCE_NAME, run_of


@dataclass(frozen=True)
class RunFacts:
    """The facts of one run.

    Attributes:
        name: of the folder, or of the model file without one.
        model: path of the model file.
        bytes: its size.
        config: all settings.
        parameters: of each part of the network.
        vocabulary: number of source and target tokens.
        joint: both sides share the vocabulary.
        parts: the provenance of each part of the run; empty if it is unknown.
        curves: its events; None without metrics.jsonl.
        tests: the events of the test sets, by name.
        notes: what is missing.
    """

    name: str
    model: Path
    bytes: int
    config: Config
    parameters: dict[str, int]
    vocabulary: tuple[int, int]
    joint: bool
    parts: list[dict[str, Any]] = field(default_factory=list)
    curves: Curves | None = None
    tests: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def first(self) -> dict[str, Any]:
        """Return the facts of the first part; empty if they are unknown."""
        return self.parts[0] if self.parts else {}

    @property
    def last(self) -> dict[str, Any]:
        """Return the facts of the last part; empty if they are unknown."""
        return self.parts[-1] if self.parts else {}

    @property
    def date(self) -> str:
        """Return the time at which the run started, or an empty text."""
        return str(self.first.get("time", ""))

    @property
    def languages(self) -> tuple[str, list[str]]:
        """Return the source language and the target languages."""
        return self.config.data.src, list(self.config.data.tags()) or [self.config.data.tgt]

    @property
    def pair(self) -> str:
        """Return the languages as text."""
        src, tgt = self.languages
        return f"{src} → {', '.join(tgt)}"

    def groups(self) -> dict[str, dict[str, str]]:
        """Return what was trained on what and how, as texts by title and name."""
        return {
            "Data": self._data(),
            "Network": self._network(),
            "Training": self._training(),
            "Machine": machine(self.last),
        }

    def commands(self) -> list[str]:
        """Return the command of each part of the run."""
        return [str(part["command"]) for part in self.parts if "command" in part]

    def versions(self) -> dict[str, str]:
        """Return the versions of the packages that trained the model."""
        return texts(self.last.get("versions", {}))

    def commit(self) -> str:
        """Return the commit of the code, or an empty text."""
        code = texts(self.last.get("code", {}))
        changed = ", with changes that are not in it" if code.get("dirty") == "True" else ""
        return f"{code['commit']}{changed}" if "commit" in code else ""

    def _data(self) -> dict[str, str]:
        data, pairs = self.config.data, self.last.get("pairs")
        vocabulary = data.vocabulary
        source, target = self.vocabulary
        size = f"{source:,}, shared by both sides" if self.joint else f"{source:,} and {target:,}"
        return {
            "languages": self.pair,
            "corpus": ", ".join(
                [corpus_name(data), *(f"{name} ({corpus_name(own)})" for name, own in mixed(data).items())]
            ),
            "weights of the mix": weights(data),
            **{f"{name} pairs": count(number) for name, number in (pairs if isinstance(pairs, dict) else {}).items()},
            "vocabulary": f"{size}; {vocabulary.type.name}{', with bytes' if vocabulary.byte_fallback else ''}",
            "BLEU tokenizer": str(self.last.get("bleu_tokenizer", "")),
            "fingerprint of the texts": str(self.last.get("data", "")),
        }

    def _network(self) -> dict[str, str]:
        model = self.config.model
        layers = f"{model.encoder_layers} + {model.decoder_layers}"
        return {
            "cells": f"{model.cell.name}, {layers} layers of {model.hidden_size} units, embeddings of {model.emb_size}",
            "attention": model.attention.name,
            **({"target order": "right to left"} if model.reversed_target else {}),
            "parameters": count(sum(self.parameters.values())),
            **{f"parameters of {name}": count(number) for name, number in self.parameters.items()},
            "model file": f"{self.bytes / 1e6:,.1f} MB",
        }

    def _training(self) -> dict[str, str]:
        steps = self.curves.events["step"] if self.curves else []
        best = [event for event in (self.curves.events["validation"] if self.curves else []) if event.get("best")]
        last = steps[-1] if steps else {}
        return {
            "date": self.date,
            "time": minutes(last.get("elapsed_sec")),
            "updates": count(last.get("step")),
            "epochs": f"{last['epoch']:.2f}" if isinstance(last.get("epoch"), int | float) else "",
            "best model": f"update {count(best[-1]['step'])}" if best else "",
            "seed": str(self.config.training.seed),
            "parts": str(len(self.parts)) if len(self.parts) > 1 else "",
        }


def machine(part: Mapping[str, Any]) -> dict[str, str]:
    """Return where a part of a run was computed."""
    platform = texts(part.get("platform", {}))
    threads = platform.get("torch_threads", "")
    return {
        "device": texts(part).get("device", ""),
        "precision": texts(part).get("precision", ""),
        "processor": ", ".join(filter(None, [platform.get("cpu", ""), f"{threads} threads" if threads else ""])),
        "GPU": platform.get("gpu", ""),
        "system": platform.get("os", ""),
        "processes": texts(part).get("ranks", ""),
    }


def read_facts(name: str, model: Path, config: Config, network: Seq2Seq, tokenizer: Tokenizer) -> RunFacts:
    """Return the facts of a run.

    Args:
        name: shown for the run.
        model: model file or run folder.
        config: of the model.
        network: of the model.
        tokenizer: of the model.

    Raises:
        ModelFileError: there is no such file.
        DataError: metrics.jsonl cannot be read.
    """
    file = find_model(model)
    folder, notes, curves, tests = run_of(file), [], None, {}
    parts: list[dict[str, Any]] = []
    if folder is None:
        notes.append(f"{file.name} is not in its run folder: nothing is known of its training but what the file holds.")
    else:
        parts = read_parts(folder)
        if not parts:
            notes.append(f"{PROVENANCE_NAME} is missing or damaged: the machine, versions and command are unknown.")
        try:
            curves = read_run(folder, name)
            tests = {event["set"]: event for event in read_events(folder / METRICS_NAME) if is_test(event)}
        except DataError as error:
            notes.append(f"There are no learning curves: {error}.")
    return RunFacts(
        name,
        file,
        file.stat().st_size,
        config,
        network.parameter_counts(),
        (tokenizer.src_size, tokenizer.tgt_size),
        tokenizer.joint,
        parts,
        curves,
        tests,
        notes,
    )


def is_test(event: Mapping[str, Any]) -> bool:
    """Return True for the scores of a test set."""
    return bool(event["event"] == EventKind.test.value)


def texts(values: object) -> dict[str, str]:
    """Return the values of a record that are known, as text; a damaged record has none."""
    if not isinstance(values, dict):
        return {}
    return {str(key): str(value) for key, value in values.items() if value is not None}


def mixed(data: DataConfig) -> dict[str, DataConfig]:
    """Return the corpora besides the main one."""
    return {name: own for name, own in data.corpora().items() if name in data.mix}


def weights(data: DataConfig) -> str:
    """Return the weights by which the corpora of a mix are drawn; without any weight, an empty text."""
    own = {name: corpus.weight for name, corpus in data.corpora().items()}
    if not data.mix or not any(own.values()):
        return ""
    return ", ".join(f"{name} {1 if weight is None else weight:g}" for name, weight in own.items())


def corpus_name(data: DataConfig) -> str:
    """Return the name of a corpus, with the names of its parts where the user chose them."""
    chosen = data.dataset or ", ".join(data.datasets or ())
    return f"{data.name.name} {chosen}".strip()


def count(value: object) -> str:
    """Return a count as text; an unknown one is empty."""
    return f"{value:,}" if isinstance(value, int) else ""


def minutes(seconds: object) -> str:
    """Return a duration as text; an unknown one is empty."""
    if not isinstance(seconds, int | float):
        return ""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"
