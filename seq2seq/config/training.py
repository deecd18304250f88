"""The settings of training: optimisation, limits, guards, and what is kept."""

from __future__ import annotations

from dataclasses import dataclass

from seq2seq.config.field import Choice, setting


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
    weight_decay: float = setting(0.0, "Adam: L2 term in the gradient; AdamW: decoupled decay", at_least=0, at_most=10)
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
