"""The schema of every setting: type, meaning, unit, range and default, in one place.

YAML files under conf/ hold values; this file says which keys exist and what they mean. Hydra composes them against
these dataclasses (so a typo or a wrong type is refused with its key), `to_config` turns the result into plain
dataclasses once, range checks run there, and nothing mutates a config afterwards.
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seq2seq.decode_config import DecodeConfig, check_decode
from seq2seq.errors import ConfigError
from seq2seq.model_config import AttentionName, ModelConfig, TieName, check_model
from seq2seq.settings import Choice, check_ranges, setting, walk


class DataName(Choice):
    """Where the sentence pairs come from."""

    tatoeba = "tatoeba"
    grammar = "grammar"
    multi30k = "multi30k"
    files = "files"


class PieceType(Choice):
    """SentencePiece's segmentation model (Kudo 2018 for unigram, Sennrich et al. 2016 for bpe)."""

    unigram = "unigram"
    bpe = "bpe"
    char = "char"


class OptimizerName(Choice):
    """Update rule."""

    adam = "adam"
    adamw = "adamw"


class ScheduleName(Choice):
    """Learning-rate curve after warm-up."""

    constant = "constant"
    inverse_sqrt = "inverse_sqrt"
    linear = "linear"
    cosine = "cosine"
    plateau = "plateau"


class SamplingScheduleName(Choice):
    """How the teacher-forcing ratio falls (Bengio et al. 2015, section 2.4)."""

    none = "none"
    linear = "linear"
    exponential = "exponential"
    inverse_sigmoid = "inverse_sigmoid"


class VocabularyName(Choice):
    """Which tokenizer a run that starts from another model has."""

    keep = "keep"
    replace = "replace"


class MonitorName(Choice):
    """What makes one validation better than another."""

    bleu = "bleu"
    chrf = "chrf"
    loss = "loss"


class PrecisionName(Choice):
    """Type of the matrix products; softmax, loss, weights and optimizer state stay fp32."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


class AllocatorName(Choice):
    """Whether a command tells glibc to keep freed memory for the next tensor."""

    auto = "auto"
    default = "default"


class KernelsName(Choice):
    """Whether the recurrent layers run with the compiled kernels on a CPU."""

    auto = "auto"
    plain = "plain"


@dataclass
class FilesConfig:
    """One parallel text: either two line-aligned files or one tab-separated file, plain or .gz."""

    src: str | None = setting(None, "source-side file, one sentence a line (plain or .gz)", unit="path")
    tgt: str | None = setting(None, "target-side file, line-aligned with src (plain or .gz)", unit="path")
    tsv: str | None = setting(
        None, "one file instead of two: source, tab, target; more columns are ignored", unit="path"
    )


@dataclass
class TokenizerConfig:
    """SentencePiece model, trained on the training text unless given."""

    type: PieceType = setting(PieceType.unigram, "segmentation model: unigram, bpe or char")
    vocab_size: int = setting(4000, "pieces per vocabulary, special ids included", unit="pieces", at_least=8)
    joint: bool = setting(True, "one vocabulary for both languages (needed by three-way tied embeddings)")
    byte_fallback: bool = setting(True, "spell unknown characters as bytes, so that no input is lost (256 pieces)")
    character_coverage: float = setting(
        0.9995, "share of characters that get a piece of their own", at_least=0.98, at_most=1.0
    )
    src_model: str | None = setting(None, "SentencePiece .model for the source instead of training one", unit="path")
    tgt_model: str | None = setting(None, "the same for the target; leave null where joint", unit="path")


@dataclass
class SamplingConfig:
    """Another segmentation of the training text in every epoch, by side.

    unigram: pieces are drawn by p^alpha (Kudo 2018; 0.1 to 0.5, the smaller the more varied). bpe: alpha is the share
    of merges left out (Provilkov et al. 2020; 0.1).
    """

    src: float | None = setting(
        None, "alpha of the source side; null: always the best segmentation", at_least=0, at_most=1
    )
    tgt: float | None = setting(
        None, "alpha of the target side; null: always the best segmentation", at_least=0, at_most=1
    )


@dataclass
class DataConfig:
    """Which sentence pairs, in which direction, cut into which pieces."""

    name: DataName = setting(DataName.tatoeba, "corpus: tatoeba, grammar (synthetic), multi30k or files")
    src: str = setting(MISSING, "source language code")
    tgt: str = setting(MISSING, "target language code")
    root: str | None = setting(None, "read the corpus files from this folder instead of downloading them", unit="path")
    cache_dir: str | None = setting(
        None,
        "where downloads and prepared data are kept; null: data/ in a checkout, else the user's cache folder",
        unit="path",
    )
    train: FilesConfig = setting(FilesConfig, "training text (data=files)")
    valid: FilesConfig = setting(FilesConfig, "validation text (data=files); absent: held out of train")
    test: FilesConfig = setting(FilesConfig, "test text (data=files); absent: held out of train")
    train_pairs: int | None = setting(
        None, "use only this many training pairs; null: all (grammar: 100,000)", unit="pairs", at_least=1
    )
    valid_pairs: int = setting(
        2000, "pairs held out for validation where the corpus has no such set", unit="pairs", at_least=1
    )
    test_pairs: int = setting(2000, "pairs held out for test where there is no such set", unit="pairs", at_least=1)
    max_length: int = setting(
        100,
        "longest side of a training pair, EOS included; longer pairs are dropped and counted",
        unit="pieces",
        at_least=1,
    )
    overfit_pairs: int | None = setting(
        None,
        "train, validate and test on the first so many training pairs: can the network memorise them? null: off",
        unit="pairs",
        at_least=1,
    )
    fold: str | None = setting(
        None, "K/N: cross-validation; of N parts of all but the test sets validate on part K, train on the others"
    )
    tokenizer: TokenizerConfig = setting(TokenizerConfig, "subword segmentation")
    sampling: SamplingConfig = setting(SamplingConfig, "subword sampling, BPE-dropout")

    @property
    def fold_of(self) -> tuple[int, int] | None:
        """K and N of `fold`.

        Raises:
            ConfigError: there is no such part.
        """
        if self.fold is None:
            return None
        numbers = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", self.fold)
        part, parts = (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
        if parts < 2 or not 1 <= part <= parts:
            raise ConfigError(f"data.fold={self.fold}: write K/N with 1 ≤ K ≤ N and N ≥ 2, for example data.fold=1/5")
        return part, parts


@dataclass
class ScheduledSamplingConfig:
    """Feed the decoder words that it said itself in place of those of the reference (Bengio et al. 2015)."""

    schedule: SamplingScheduleName = setting(
        SamplingScheduleName.none,
        "how the share of words that are the reference's falls: none (it is 1, teacher forcing), linear, exponential, "
        "inverse_sigmoid",
    )
    final_ratio: float = setting(0.5, "that share at the end of the run; 1 at its beginning", at_least=0, at_most=1)


@dataclass
class TrainingConfig:
    """How the weights are found."""

    seed: int = setting(1, "fixes initialisation, data order and dropout", at_least=0, at_most=2**31 - 1)
    max_steps: int | None = setting(None, "stop after this many updates", unit="updates", at_least=1)
    max_epochs: int | None = setting(None, "stop after this many passes over the data", unit="epochs", at_least=1)
    max_minutes: float | None = setting(
        8, "stop after this much time, all resumed parts counted", unit="minutes", at_least=0
    )
    batch_tokens: int = setting(
        1536, "ceiling of rows × longest row (either side) of one update", unit="tokens", at_least=8
    )
    micro_batches: int = setting(
        1, "parts an update is computed in, to save memory; the gradient is the same", at_least=1
    )
    precision: PrecisionName = setting(PrecisionName.auto, "auto: bf16 where the hardware has it, else fp32")
    device: str = setting("auto", "auto, cpu, cuda, cuda:N or mps")
    optimizer: OptimizerName = setting(
        OptimizerName.adam, "adam (Kingma and Ba 2015), adamw (Loshchilov and Hutter 2019)"
    )
    learning_rate: float = setting(3e-3, "highest rate, reached after warm-up", at_least=0)
    beta2: float = setting(0.98, "Adam's second-moment decay", at_least=0, at_most=0.999999)
    weight_decay: float = setting(0.0, "Adam: L2 term in the gradient; AdamW: decoupled decay", at_least=0)
    schedule: ScheduleName = setting(
        ScheduleName.linear,
        "after warm-up: constant, inverse_sqrt, linear or cosine (both reach the floor when the run ends), plateau",
    )
    warmup_steps: int = setting(200, "updates of linear warm-up from 0", unit="updates", at_least=0)
    min_rate_ratio: float = setting(0.01, "floor of the rate, as a share of learning_rate", at_least=0, at_most=1)
    plateau_factor: float = setting(0.5, "plateau: multiply the rate by this …", at_least=0.01, at_most=0.99)
    plateau_patience: int = setting(
        2,
        "plateau: … after this many validations without a better one",
        unit="validations",
        at_least=1,
    )
    max_grad_norm: float = setting(1.0, "clip the gradient's L2 norm to this (Pascanu et al. 2013); 0: off", at_least=0)
    max_skipped: int = setting(
        20,
        "stop after this many updates in a row whose loss or gradient is not finite; each is skipped",
        unit="updates",
        at_least=1,
    )
    label_smoothing: float = setting(
        0.1, "probability mass spread over the vocabulary (Szegedy et al. 2016)", at_least=0, at_most=0.9
    )
    r_drop: float = setting(
        0.0,
        "weight of the divergence of two passes with other dropout masks (Liang et al. 2021, alpha); 0: one pass",
        at_least=0,
    )
    scheduled_sampling: ScheduledSamplingConfig = setting(ScheduledSamplingConfig, "words the decoder said itself")
    validate_every_steps: int | None = setting(
        1000, "updates between validations; null: once an epoch", unit="updates", at_least=1
    )
    validate_sentences: int | None = setting(
        500, "sentences translated for the validation BLEU (perplexity uses all); null: all", unit="pairs", at_least=1
    )
    early_stopping: int | None = setting(
        None, "stop after this many validations without a better one (see monitor)", unit="validations", at_least=1
    )
    monitor: MonitorName = setting(
        MonitorName.bleu, "what the best validation is best in: bleu or chrf (higher), loss (lower)"
    )
    keep_best: int = setting(
        1, "models of the best validations to keep; more than 1: in the folder models/", unit="models", at_least=1
    )
    keep_last: int = setting(0, "models of the last validations to keep, in models/", unit="models", at_least=0)
    ema: float | None = setting(
        None,
        "decay of an exponential moving average of the weights, which is then what is validated and kept; null: none",
        at_least=0,
        at_most=0.999999,
    )
    save_every_steps: int | None = setting(
        None, "updates between saves of last.pt; null: every 45 seconds", unit="updates", at_least=1
    )
    log_every_steps: int = setting(100, "updates between log lines and TensorBoard points", unit="updates", at_least=1)
    diagnostics: bool = setting(
        False,
        "every log_every_steps updates, log gradient norms by layer and over time, attention entropy, gate saturation",
    )
    init_from: str | None = setting(
        None, "model file or run folder whose weights the run starts from (fine-tuning)", unit="path"
    )
    init_vocabulary: VocabularyName = setting(
        VocabularyName.keep,
        "init_from: keep its tokenizer; replace: learn one from this text and copy the rows of pieces that both have",
    )
    resume: str | None = setting(None, "null: fresh run; RUN: continue that folder; auto: continue hydra.run.dir")


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
    package = Path(__file__).resolve().parent
    for candidate in (package / "conf", package.parent / "conf"):
        if (candidate / "train.yaml").is_file():
            return str(candidate)
    raise ConfigError(f"no conf/train.yaml in {package} or {package.parent}; is the installation complete?")
