"""The root schema: all groups, and what must hold between them.

YAML files under conf/ hold values; the dataclasses declare the keys with type, meaning, unit, range and default. Hydra
composes the values against the schema, so that a typo or a wrong type is rejected with its key; `loading.to_config`
converts the result to plain dataclasses once, which runs the checks. Nothing mutates a config afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from seq2seq.config.augment import check_augment
from seq2seq.config.bleu import BLEU_TOKENIZERS
from seq2seq.config.data import DataConfig, DataName
from seq2seq.config.decode import DecodeConfig, check_decode
from seq2seq.config.field import Effect, check_ranges, field
from seq2seq.config.mix import check_mix, corpus_key
from seq2seq.config.model import AttentionName, ModelConfig, TieName, check_model
from seq2seq.config.paths import path_list
from seq2seq.config.runtime import RuntimeConfig
from seq2seq.config.text_files import PARTS
from seq2seq.config.tokenizer import PieceType, TextNormalization
from seq2seq.config.training import PrecisionName, SamplingScheduleName, TrainingConfig, VocabularyName
from seq2seq.config.tune import TuneConfig
from seq2seq.errors import ConfigError


@dataclass
class Config:
    """All settings of a run."""

    data: DataConfig = field(DataConfig, "sentence pairs and their tokenizer")
    model: ModelConfig = field(ModelConfig, "network", effect=Effect.fixed)
    training: TrainingConfig = field(TrainingConfig, "optimisation, limits, checkpoints")
    decode: DecodeConfig = field(DecodeConfig, "search")
    runtime: RuntimeConfig = field(RuntimeConfig, "process", effect=Effect.process)
    tune: TuneConfig = field(TuneConfig, "hyper-parameter search", effect=Effect.process)

    def __post_init__(self) -> None:
        check_ranges(self)
        check_decode(self.decode)
        check_model(self.model)
        _check_data(self.data)
        _check_training(self.training)
        _check_combinations(self)


def _check_data(data: DataConfig) -> None:
    for corpus, own in data.corpora().items():
        for part in PARTS:
            for file in ("src", "tgt", "tsv", "table"):
                path_list(getattr(getattr(own, part), file), f"{corpus_key(corpus)}.{part}.{file}")
        _check_source(own, corpus_key(corpus))
    check_augment(data.augment)
    if data.fold_of and data.overfit_pairs is not None:
        raise ConfigError(
            f"data.fold={data.fold} and data.overfit_pairs={data.overfit_pairs} validate on different pairs: set one"
        )
    sampled = data.sampling.src is not None or data.sampling.tgt is not None
    if sampled and data.tokenizer.type in (PieceType.char, PieceType.word):
        raise ConfigError(
            f"data.sampling needs data.tokenizer.type=unigram or bpe: {data.tokenizer.type} has only one segmentation "
            "of a text"
        )
    tokenizer = data.tokenizer
    if tokenizer.normalization_rules is not None and tokenizer.normalization is not TextNormalization.identity:
        raise ConfigError(
            f"data.tokenizer.normalization={tokenizer.normalization} and data.tokenizer.normalization_rules="
            f"{tokenizer.normalization_rules} are two sets of rules: set one"
        )
    if data.bleu_tokenizer not in (None, *BLEU_TOKENIZERS):
        raise ConfigError(f"data.bleu_tokenizer={data.bleu_tokenizer} is unknown: use {', '.join(BLEU_TOKENIZERS)}")
    check_mix(data)


def _check_source(data: DataConfig, group: str) -> None:
    """Check that no key of another source is set in `group`, where it would be ignored."""
    key_of_source = "data" if group == "data" else f"{group}.name"
    name = DataName.mtdata if data.name is DataName.wmt else data.name
    keys: dict[DataName, dict[str, Any]] = {
        DataName.files: {part: any(vars(getattr(data, part)).values()) for part in PARTS},
        DataName.mtdata: {"datasets": data.datasets},
        DataName.opus: {"corpus": data.corpus, "version": data.version},
        DataName.huggingface: {"dataset": data.dataset, "subset": data.subset},
    }
    for source, values in keys.items():
        for key, value in values.items():
            if value and name is not source:
                instead = f" or, for sets of any corpus, data.{key}_datasets" if key in ("valid", "test") else ""
                raise ConfigError(
                    f"{group}.{key} is a key of {key_of_source}={source}, but {group}.name={data.name}: set "
                    f"{key_of_source}={source}{instead if group == 'data' else ''}"
                )
    if data.valid_datasets and any(vars(data.valid).values()):
        raise ConfigError("data.valid and data.valid_datasets are both set: set one")


def _check_training(training: TrainingConfig) -> None:
    if training.max_steps is None and training.max_epochs is None and training.max_minutes is None:
        raise ConfigError("training has no limit: set training.max_steps, training.max_epochs or training.max_minutes")
    sampling = training.scheduled_sampling
    if sampling.schedule is SamplingScheduleName.exponential and sampling.final_ratio == 0:
        raise ConfigError(
            "training.scheduled_sampling.final_ratio=0 is never reached by schedule=exponential: set it above 0, "
            "or choose another schedule"
        )
    risk = training.minimum_risk
    for key, used in {
        f"r_drop={training.r_drop}": training.r_drop,
        f"scheduled_sampling.schedule={sampling.schedule}": sampling.schedule is not SamplingScheduleName.none,
    }.items():
        if risk.weight and used:
            raise ConfigError(
                f"training.minimum_risk.weight={risk.weight} and training.{key} are two objectives of an update: "
                "set one of them"
            )
    if training.precision is PrecisionName.fp16 and training.r_drop:
        raise ConfigError(
            f"training.r_drop={training.r_drop} needs gradients that fp16 rounds to 0: set training.precision=bf16"
        )
    if training.init_from is None and training.init_vocabulary is not VocabularyName.keep:
        raise ConfigError(f"training.init_vocabulary={training.init_vocabulary} needs training.init_from")


def _check_combinations(config: Config) -> None:
    """Check what must hold between fields of different groups."""
    if config.model.tie_embeddings is TieName.three_way and not config.data.tokenizer.joint:
        raise ConfigError(
            "model.tie_embeddings=three_way needs a joint vocabulary: set data.tokenizer.joint=true, or "
            "model.tie_embeddings=two_way"
        )
    if config.training.r_drop and not config.model.drops_by_row:
        raise ConfigError(
            f"training.r_drop={config.training.r_drop} compares two dropout masks, and no dropout is active that "
            "differs between rows: set model.dropout.embedding, readout, src_words or tgt_words (or layers with "
            "several layers, or context with attention)"
        )
    if config.decode.coverage_penalty and config.model.attention is AttentionName.none:
        raise ConfigError(
            f"decode.coverage_penalty={config.decode.coverage_penalty} needs attention: set model.attention"
        )
