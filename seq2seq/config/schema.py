"""All settings of a run, put together from those of its parts, and what must hold between them.

YAML files under conf/ hold values; the dataclasses say which keys exist: type, meaning, unit, range and default. Hydra
composes the former against the latter (so a typo or a wrong type is refused with its key), `to_config` turns the result
into plain dataclasses once, range checks run there, and nothing mutates a config afterwards.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seq2seq.config.data import DataConfig, DataName, PieceType
from seq2seq.config.decode import DecodeConfig, check_decode
from seq2seq.config.field import Choice, check_ranges, setting, walk
from seq2seq.config.model import AttentionName, ModelConfig, TieName, check_model
from seq2seq.config.training import SamplingScheduleName, TrainingConfig, VocabularyName
from seq2seq.errors import ConfigError


class AllocatorName(Choice):
    """Whether a command tells glibc to keep freed memory for the next tensor."""

    auto = "auto"
    default = "default"


class KernelsName(Choice):
    """Whether the recurrent layers run with the compiled kernels on a CPU."""

    auto = "auto"
    plain = "plain"


@dataclass
class RuntimeConfig:
    """The process: memory and threads. Changes speed, not results, but for the dropout masks that `kernels` draws."""

    allocator: AllocatorName = setting(
        AllocatorName.auto,
        "auto: on glibc, keep freed memory instead of returning it; default: leave it",
    )
    kernels: KernelsName = setting(
        KernelsName.auto,
        "auto: on a CPU with a C++ compiler, compiled kernels in the recurrent layers; plain: torch's operations",
    )
    threads: int | None = setting(None, "CPU threads; null: torch's choice", at_least=1)


@dataclass
class TuneConfig:
    """The search of `python -m seq2seq.tune`; has no effect on a run of its own."""

    space: list[str] = setting(
        list, "what is searched, as sweeps of the command line, which has more: KEY=choice(A,B), KEY=interval(0,0.5)"
    )
    trials: int = setting(25, "trials in all, those of earlier calls counted", unit="trials", at_least=1)
    startup_trials: int = setting(
        6, "trials drawn at random before a model of them draws; none is pruned before as many are complete", at_least=1
    )
    prune: bool = setting(
        True, "end a trial whose best score is below the median of the others' after as many validations"
    )
    max_minutes: float | None = setting(
        None, "begin no trial after so much training, that of earlier calls counted", unit="minutes", at_least=0
    )
    folder: str | None = setting(None, "where study and trials are kept; null: runs/CORPUS/tune", unit="path")
    seed: int = setting(1, "fixes the values that are drawn", at_least=0, at_most=2**31 - 1)


@dataclass
class Config:
    """All settings of a run."""

    data: DataConfig = setting(DataConfig, "sentence pairs and their tokenizer")
    model: ModelConfig = setting(ModelConfig, "network")
    training: TrainingConfig = setting(TrainingConfig, "optimisation, limits, saving")
    decode: DecodeConfig = setting(DecodeConfig, "beam search")
    runtime: RuntimeConfig = setting(RuntimeConfig, "process")
    tune: TuneConfig = setting(TuneConfig, "hyper-parameter search")

    def __post_init__(self) -> None:
        check_ranges(self)
        check_decode(self.decode)
        check_model(self.model)
        if self.model.tie_embeddings is TieName.three_way and not self.data.tokenizer.joint:
            raise ConfigError(
                "model.tie_embeddings=three_way needs one vocabulary: set data.tokenizer.joint=true or two_way"
            )
        training = self.training
        if training.max_steps is None and training.max_epochs is None and training.max_minutes is None:
            raise ConfigError("set training.max_steps, training.max_epochs or training.max_minutes: no run is endless")
        if training.r_drop and not self.model.drops_by_row:
            raise ConfigError(
                f"training.r_drop={training.r_drop} compares two dropout masks: set a model.dropout, not only "
                "recurrent, nor layers where there is one, nor context without attention"
            )
        sampling = training.scheduled_sampling
        if sampling.schedule is SamplingScheduleName.exponential and sampling.final_ratio == 0:
            raise ConfigError(
                "training.scheduled_sampling.final_ratio=0 is never reached by schedule=exponential: set it above 0, "
                "or another schedule"
            )
        if training.init_from is None and training.init_vocabulary is not VocabularyName.keep:
            raise ConfigError(f"training.init_vocabulary={training.init_vocabulary} needs training.init_from")
        if self.decode.coverage_penalty and self.model.attention is AttentionName.none:
            raise ConfigError(f"decode.coverage_penalty={self.decode.coverage_penalty} needs model.attention, not none")
        if self.data.fold_of and self.data.overfit_pairs is not None:
            raise ConfigError(
                f"data.fold={self.data.fold} and data.overfit_pairs={self.data.overfit_pairs} validate on different "
                "pairs: set one of them"
            )
        sampled = self.data.sampling.src is not None or self.data.sampling.tgt is not None
        if sampled and self.data.tokenizer.type is PieceType.char:
            raise ConfigError("data.sampling: characters can be cut in one way only; use tokenizer.type unigram or bpe")
        if self.data.src == self.data.tgt and self.data.name is not DataName.files:
            raise ConfigError(f"data.src and data.tgt are both {self.data.src!r}")


def to_config(raw: DictConfig | ListConfig | dict[str, Any]) -> Config:
    """Check `raw` against the schema and return plain dataclasses.

    Raises:
        ConfigError: unknown key, wrong type or value out of range; the message names the key.
    """
    try:
        # As plain values: a typed node would bring along keys that were added to it (+training.foo=1).
        plain = OmegaConf.to_container(raw, resolve=True) if OmegaConf.is_config(raw) else raw
        merged = OmegaConf.merge(OmegaConf.structured(Config), plain)
        missing = sorted(OmegaConf.missing_keys(merged))
        if missing:
            raise ConfigError(f"set {' and '.join(missing)}: there is no default")
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        if isinstance(error.__cause__, ConfigError):
            raise error.__cause__ from None
        raise ConfigError(explain(error)) from error
    assert isinstance(config, Config)
    return config


def to_dict(config: Config) -> dict[str, Any]:
    """Return nested plain values (enums as their names), ready for YAML or JSON; `to_config` reads them back."""
    plain = OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True)
    assert isinstance(plain, dict)
    return plain  # type: ignore[return-value]


def absolute_paths(raw: DictConfig) -> None:
    """Write every path in `raw` in full, so that a run can be resumed and evaluated from any folder."""
    for key, field in walk(Config):
        path = OmegaConf.select(raw, key) if field.metadata["unit"] == "path" else None
        if path == "":
            raise ConfigError(f"{key} is empty: null means that there is none")
        if path is not None:
            OmegaConf.update(raw, key, os.path.abspath(os.path.expanduser(path)))


def nearest_key(key: str) -> str | None:
    """Return the known key that looks most like `key`, if any does."""
    keys = [known for known, _ in walk(Config)]
    same_name = [known for known in keys if known.rpartition(".")[2] == key.rpartition(".")[2]]
    match = difflib.get_close_matches(key, same_name, n=1, cutoff=0) or difflib.get_close_matches(key, keys, n=1)
    if match:
        return match[0]
    last = difflib.get_close_matches(key.rpartition(".")[2], [k.rpartition(".")[2] for k in keys], n=1, cutoff=0.6)
    return next((k for k in keys if last and k.rpartition(".")[2] == last[0]), None)


def explain(error: OmegaConfBaseException) -> str:
    """Turn OmegaConf's several lines into one that names the key and the nearest valid one."""
    message = (error.msg or str(error)).strip().splitlines()[0]
    key = error.full_key
    if not key:
        return message
    near = nearest_key(key)
    if any(known == key for known, _ in walk(Config)):
        return f"{key}: {message}"
    return f"unknown key {key!r}" + (f"; did you mean {near!r}?" if near else "")


def config_dir() -> str:
    """Return the absolute path of the Hydra config tree: <package>/conf in a wheel, ../conf in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for candidate in (package / "conf", package.parent / "conf"):
        if (candidate / "train.yaml").is_file():
            return str(candidate)
    raise ConfigError(f"no conf/train.yaml in {package} or {package.parent}; is the installation complete?")
