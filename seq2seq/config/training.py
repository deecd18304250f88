"""Schema of training: optimisation, limits, validation, checkpoints."""

from __future__ import annotations

from dataclasses import dataclass

from seq2seq.config.decode import MAX_HYPOTHESES, UtilityName
from seq2seq.config.field import MAX_COUNT, MAX_MINUTES, Choice, Effect, field


class OptimizerName(Choice):
    """Optimizer."""

    adam = "adam"
    adamw = "adamw"


class ScheduleName(Choice):
    """Learning-rate schedule after warm-up."""

    constant = "constant"
    inverse_sqrt = "inverse_sqrt"
    linear = "linear"
    cosine = "cosine"
    plateau = "plateau"


class SamplingScheduleName(Choice):
    """Decay of the teacher-forcing ratio (Bengio et al. 2015, section 2.4)."""

    none = "none"
    linear = "linear"
    exponential = "exponential"
    inverse_sigmoid = "inverse_sigmoid"


class CandidatesName(Choice):
    """How minimum-risk training finds its candidates."""

    sample = "sample"
    beam = "beam"


class VocabularyName(Choice):
    """Tokenizer of a run that starts from another model."""

    keep = "keep"
    replace = "replace"


class MonitorName(Choice):
    """Validation metric that model selection uses."""

    bleu = "bleu"
    chrf = "chrf"
    loss = "loss"


class PrecisionName(Choice):
    """Type of the matrix products; softmax, loss, weights and optimizer state stay in fp32."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


@dataclass
class ScheduledSamplingConfig:
    """Feed the decoder its own predictions instead of some reference tokens (Bengio et al. 2015)."""

    schedule: SamplingScheduleName = field(
        SamplingScheduleName.none,
        "decay of the teacher-forcing ratio, the probability of feeding the reference token: none (1 throughout), "
        "linear, exponential or inverse_sigmoid",
    )
    final_ratio: float = field(
        0.5, "teacher-forcing ratio at the end of the run; it starts at 1", at_least=0, at_most=1
    )


@dataclass
class MinimumRiskConfig:
    """Lower the expected cost of the model's own translations (Shen et al. 2016)."""

    weight: float = field(
        0.0,
        "weight of the expected risk; the cross entropy keeps 1 - weight (Edunov et al. 2018). 0: off",
        at_least=0,
        at_most=1,
    )
    samples: int = field(
        8,
        "candidates searched per sentence; duplicates count once",
        unit="candidates",
        at_least=2,
        at_most=MAX_HYPOTHESES,
    )
    candidates: CandidatesName = field(
        CandidatesName.sample,
        "how candidates are found: sample (drawn from the model) or beam (the best of a beam search, with the length "
        "penalty of decode)",
    )
    sharpness: float = field(
        1.0,
        "alpha: a candidate of n tokens has the weight p^(alpha/n), renormalised over the candidates; a larger alpha "
        "raises the share of the likeliest ones",
        at_least=0.001,
        at_most=1000,
    )
    metric: UtilityName = field(
        UtilityName.bleu, "sentence score of a candidate against the reference: bleu (smoothed) or chrf"
    )
    reference: bool = field(True, "add the reference to the candidates")


@dataclass
class TrainingConfig:
    """Optimisation, limits, validation and checkpoints of a run."""

    seed: int = field(1, "seed of initialisation, data order and dropout", at_least=0, at_most=2**31 - 1)
    max_steps: int | None = field(
        None, "stop after this many updates", unit="updates", at_least=1, at_most=MAX_COUNT, effect=Effect.limit
    )
    max_epochs: int | None = field(
        None, "stop after this many epochs", unit="epochs", at_least=1, at_most=MAX_COUNT, effect=Effect.limit
    )
    max_minutes: float | None = field(
        9,
        "stop after this much training time, resumed parts included",
        unit="minutes",
        at_least=0,
        at_most=MAX_MINUTES,
        effect=Effect.limit,
    )
    batch_tokens: int = field(
        640,
        "maximum batch size of an update: rows × longest row (either side)",
        unit="tokens",
        at_least=8,
        at_most=10_000_000,
    )
    micro_batches: int = field(
        1,
        "gradient accumulation: split each update into this many parts to save memory; the gradient is the same",
        at_least=1,
        at_most=10_000,
    )
    precision: PrecisionName = field(
        PrecisionName.auto,
        "type of the matrix products; auto: bf16 if the hardware has it, else fp32; fp16: on a CUDA GPU only, with a "
        "loss scale, for which a few skipped updates are normal",
    )
    device: str = field("auto", "auto, cpu, cuda, cuda:N or mps", effect=Effect.process)
    optimizer: OptimizerName = field(
        OptimizerName.adam, "adam (Kingma and Ba 2015) or adamw (Loshchilov and Hutter 2019)"
    )
    learning_rate: float = field(2.5e-3, "peak learning rate, reached after warm-up", at_least=0, at_most=1e38)
    beta2: float = field(0.98, "decay of Adam's second moment", at_least=0, at_most=0.999999)
    weight_decay: float = field(0.0, "adam: L2 term in the gradient; adamw: decoupled decay", at_least=0, at_most=10)
    schedule: ScheduleName = field(
        ScheduleName.linear,
        "learning-rate schedule after warm-up: constant, inverse_sqrt, plateau, or linear or cosine, which reach the "
        "floor at the end of the run",
    )
    warmup_steps: int = field(200, "linear warm-up from 0", unit="updates", at_least=0, at_most=MAX_COUNT)
    min_rate_ratio: float = field(
        0.01, "floor of the learning rate, as a fraction of learning_rate", at_least=0, at_most=1
    )
    plateau_factor: float = field(
        0.5, "plateau: factor of each reduction of the learning rate", at_least=0.01, at_most=0.99
    )
    plateau_patience: int = field(
        2,
        "plateau: reduce the learning rate after this many validations without improvement",
        unit="validations",
        at_least=1,
        at_most=MAX_COUNT,
    )
    max_grad_norm: float = field(
        1.0, "gradient clipping: maximum L2 norm (Pascanu et al. 2013); 0: off", at_least=0, at_most=1e9
    )
    max_skipped: int = field(
        20,
        "stop after this many consecutive updates with a non-finite loss or gradient (each is skipped); with fp16, "
        "those that lower the loss scale, down to 1, do not count",
        unit="updates",
        at_least=1,
        at_most=MAX_COUNT,
    )
    label_smoothing: float = field(
        0.1,
        "label smoothing: probability mass spread over the vocabulary (Szegedy et al. 2016)",
        at_least=0,
        at_most=0.9,
    )
    r_drop: float = field(
        0.0,
        "R-Drop: weight alpha of the divergence between two passes with different dropout masks (Liang et al. "
        "2021); 0: off",
        at_least=0,
        at_most=1000,
    )
    scheduled_sampling: ScheduledSamplingConfig = field(
        ScheduledSamplingConfig, "scheduled sampling: feed the decoder its own predictions"
    )
    minimum_risk: MinimumRiskConfig = field(
        MinimumRiskConfig, "minimum-risk training: lower the expected cost of the model's own translations"
    )
    validate_every_steps: int | None = field(
        1000, "updates between validations; null: once per epoch", unit="updates", at_least=1, at_most=MAX_COUNT
    )
    validate_sentences: int | None = field(
        500,
        "sentences translated for the validation BLEU (perplexity always uses all); null: all",
        unit="pairs",
        at_least=1,
        at_most=MAX_COUNT,
    )
    calibrate_sentences: int = field(
        2000,
        "at the end, translate this many validation sentences with the best model and calibrate its confidence "
        "(translate --confidence); changes no weights and no scores; 0: off",
        unit="pairs",
        at_least=0,
        at_most=MAX_COUNT,
        effect=Effect.process,
    )
    early_stopping: int | None = field(
        None,
        "stop after this many validations without improvement of the monitored metric; null: off",
        unit="validations",
        at_least=1,
        at_most=MAX_COUNT,
        effect=Effect.limit,
    )
    monitor: MonitorName = field(
        MonitorName.bleu, "metric that selects the best model: bleu, chrf (higher) or loss (lower)", effect=Effect.fixed
    )
    keep_best: int = field(
        1,
        "number of best models to keep; if more than 1, in the folder models/",
        unit="models",
        at_least=1,
        at_most=1000,
    )
    keep_last: int = field(
        0, "number of last models to keep, in the folder models/", unit="models", at_least=0, at_most=1000
    )
    ema: float | None = field(
        None,
        "decay of an exponential moving average of the weights, which is then validated and saved as the model; "
        "null: off",
        at_least=0,
        at_most=0.999999,
        effect=Effect.fixed,
    )
    save_every_steps: int | None = field(
        None,
        "updates between checkpoints (last.pt); null: every 45 seconds, or less often if saving takes over 2 seconds",
        unit="updates",
        at_least=1,
        at_most=MAX_COUNT,
        effect=Effect.process,
    )
    log_every_steps: int = field(
        100,
        "updates between log lines and TensorBoard points",
        unit="updates",
        at_least=1,
        at_most=MAX_COUNT,
        effect=Effect.process,
    )
    diagnostics: bool = field(
        False,
        "log gradient norms by layer and over time, attention entropy and gate saturation every log_every_steps "
        "updates",
        effect=Effect.process,
    )
    report: bool = field(
        True,
        "write report.html, a page about the run with curves, scores and sentences, at its end",
        effect=Effect.process,
    )
    init_from: str | None = field(
        None, "fine-tuning: model file or run folder whose weights the run starts from", unit="path"
    )
    init_vocabulary: VocabularyName = field(
        VocabularyName.keep,
        "fine-tuning: keep the tokenizer of init_from; replace: train one on this text and copy the embeddings of the "
        "tokens that both have",
        effect=Effect.fixed,
    )
    resume: str | None = field(
        None,
        "null: new run; RUN: continue the run in that folder; auto: continue the run in hydra.run.dir, or start one",
        effect=Effect.process,
    )
