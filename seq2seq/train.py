"""Command: train and test a translator. `python -m seq2seq.train --help` lists every key."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import sys
import time
import types
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from seq2seq.cli.hydra_app import run_app
from seq2seq.cli.hydra_errors import composed
from seq2seq.cli.output_file import check_not_input, data_files
from seq2seq.cli.override_paths import full_paths
from seq2seq.cli.resume import RunContext, prepare_run, relative_path
from seq2seq.cli.signals import stop_on_signal
from seq2seq.config.data import MAIN, DataConfig
from seq2seq.config.loading import to_yaml
from seq2seq.config.paths import user_path
from seq2seq.config.schema import Config
from seq2seq.config.tokenizer import AUTO
from seq2seq.data.batches.batching import fixed_batches
from seq2seq.data.batches.epoch_batches import EpochBatches
from seq2seq.data.batches.mixing import tagged
from seq2seq.data.corpora.load import load_corpus
from seq2seq.data.corpus import Corpus, ParallelText
from seq2seq.data.encoding.binarised import prepare
from seq2seq.data.files.download import cache_dir
from seq2seq.data.subwords.new_tokenizer import new_tokenizer
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.data.text.bleu_tokenizer import DEFAULT, bleu_tokenizer, warn_if_meaningless
from seq2seq.data.text.robustness import clean_name, ignores_case, with_variants
from seq2seq.errors import check_lists
from seq2seq.evaluation.candidates import CandidateFinder
from seq2seq.evaluation.metrics import Scores, score
from seq2seq.evaluation.report import print_scores
from seq2seq.evaluation.run_calibration import calibrate_best_model
from seq2seq.evaluation.validation import Validator
from seq2seq.filesystem.atomic_files import write_atomically
from seq2seq.inference.translation import Translation
from seq2seq.inference.translator import Translator
from seq2seq.model.network import Seq2Seq
from seq2seq.reporting.finished_run import document_run
from seq2seq.reporting.sentences import TestText
from seq2seq.runtime import configure, kernels_problem, resolve_device, resolve_precision, seed_everything
from seq2seq.storage.metrics_file import EventKind
from seq2seq.storage.model_file import Model, TrainingText, save_model
from seq2seq.storage.provenance import (
    check_held_out,
    fingerprint,
    first_part,
    make_facts,
    record,
    text_fingerprint,
)
from seq2seq.storage.run_folder import (
    BEST_NAME,
    CARD_NAME,
    CONFIG_NAME,
    LAST_NAME,
    LOG_NAME,
    METRICS_NAME,
    PREVIOUS_NAME,
    PROVENANCE_NAME,
    REPORT_NAME,
)
from seq2seq.storage.run_lock import folder_held, unused_folder
from seq2seq.training.available_memory import available_bytes
from seq2seq.training.callbacks import Callbacks, RunOutput, ValidationCallback, ignore_validation
from seq2seq.training.embedding_vectors import freeze_vectors, start_from_vectors
from seq2seq.training.fine_tuning import Pretrained, load_pretrained, warn_if_seen
from seq2seq.training.gradient_accumulation import enough_memory
from seq2seq.training.memory import check_weights
from seq2seq.training.run_log import NullLog, RunLog, TrainingLog, log, log_to
from seq2seq.training.trainer import Trainer

SAMPLES = 5
LABELS = ("source", "translation", "reference")
VALIDATION_BATCH_TOKENS = 4096


def main() -> None:
    """Run the command and exit with its status."""
    sys.exit(run_app(run_training))


@dataclass(frozen=True)
class Run:
    """A finished training run.

    Attributes:
        folder: the run folder.
        scores: of the best model, by name of the test set.
    """

    folder: Path
    scores: dict[str, Scores]

    def translator(self, **options: Any) -> Translator:
        """Load the best model; `options` are those of `Translator.load`."""
        return Translator.load(self.folder, **options)


def train(overrides: Sequence[str] = (), folder: str | Path | None = None) -> Run:
    """Train from Python, as `python -m seq2seq.train OVERRIDES` does, and return the finished run.

    Available as `seq2seq.train(...)`.

    Args:
        overrides: as on the command line: `["data=grammar", "training.max_minutes=1"]`.
        folder: the run folder; default: that of `training.resume`, else runs/CORPUS/DATE_TIME.

    Raises:
        Seq2SeqError: invalid input or settings; the message says what to change.
        Stopped: Ctrl-C, SIGTERM or SIGHUP; the run can be resumed with `training.resume=auto`.
    """
    check_lists(overrides=overrides)
    overrides = full_paths(overrides)
    raw = composed(overrides)
    resume = raw.training.resume
    if folder is None:
        now = time.strftime("%Y-%m-%d_%H-%M-%S")
        folder = (
            user_path(resume, "training.resume")
            if resume not in (None, "auto")
            else unused_folder(f"runs/{raw.data.name.name}/{now}")
        )
    path = Path(folder).absolute()
    with folder_held(relative_path(path), "folder"):
        config, context = prepare_run(raw, path, overrides)
        return Run(context.folder, run_training(config, context))


def run_training(
    config: Config, run: RunContext, on_validation: ValidationCallback = ignore_validation, *, test: bool = True
) -> dict[str, Scores]:
    """Train as `config` says in `run.folder`, test the best model and return its scores by test set.

    Args:
        config: all settings.
        run: folder, resuming, processes.
        on_validation: called after each validation; an exception that it raises ends the run.
        test: False: leave out calibration and test, and return no scores.

    Raises:
        Seq2SeqError: invalid input or settings; the message says what to change.
        Stopped: Ctrl-C, SIGTERM or SIGHUP; the run can be resumed.
    """
    group, console = run.group, Console(stderr=True)
    configure(config.runtime, group.local_size)
    device = group.device(resolve_device(config.training.device))
    dtype = resolve_precision(config.training.precision, device)
    if group.is_main:
        check_run_files(run.folder, config)
    with log_to(run.folder, console) if group.is_main else contextlib.nullcontext():
        return _trained(config, run, device, dtype, console, on_validation, test)


@dataclass(frozen=True)
class _Prepared:
    """What a run trains, with all that comes before the first update; the config of the model is complete."""

    corpus: Corpus
    model: Model
    data: EpochBatches
    validate: Validator
    tokenize: str
    held_out: dict[str, str]


def _prepared(config: Config, run: RunContext, device: torch.device) -> _Prepared:
    pretrained = load_pretrained(config, run.folder if run.resumes else None)
    corpus = load_corpus(config.data)
    held_out = {name: text_fingerprint(text) for name, text in corpus.held_out_texts().items()}
    if run.resumes:
        check_held_out(run.folder, held_out)
    elif pretrained.weights:
        warn_if_seen(pretrained.weights, config, held_out)
    tokenize = choose_tokenizer(config, corpus, run)
    model = make_model(config, corpus, device, pretrained, run.group.local_size)
    if not run.resumes:
        start_from_vectors(model, corpus.train)
        pretrained.initialise(model)
    freeze_vectors(model.network, model.config.model)
    config = model.config  # with the size of its vocabulary
    network, tokenizer = model.network, model.tokenizer
    texts_of_mix = {name: other.train for name, other in corpus.mix.items()}
    data = EpochBatches(config.data, config.training, corpus.train, tokenizer, texts_of_mix)
    longest = max(data.longest_src(), pretrained.longest_src)
    model = dataclasses.replace(model, text=TrainingText(longest, held_out))
    translator = Translator(network, tokenizer, config.decode, device, config.training.precision, data=config.data)
    validate = make_validator(config, corpus, translator, tokenize)
    return _Prepared(corpus, model, data, validate, tokenize, held_out)


def _trained(
    config: Config,
    run: RunContext,
    device: torch.device,
    dtype: torch.dtype,
    console: Console,
    on_validation: ValidationCallback,
    test: bool,
) -> dict[str, Scores]:
    group = run.group
    for change in run.overrides if run.resumes else []:
        log.info("override on resume: %s", change)

    seed_everything(config.training.seed)
    with group.local_main_first():
        prepared = _prepared(config, run, device)
    corpus, model, data, tokenize = prepared.corpus, prepared.model, prepared.data, prepared.tokenize
    config, network, tokenizer = model.config, model.network, model.tokenizer
    texts = fingerprint(corpus)
    group.check_same(tokenizer.fingerprint, "tokenizer")
    group.check_same(texts, "corpus")
    group.check_same(str(dtype), "precision (set training.precision)")
    log_start(network, device, dtype, run.folder)
    with RunLog(run.folder, console) if group.is_main else NullLog() as run_log:
        risk = config.training.minimum_risk
        find = CandidateFinder(network, tokenizer, risk, config.decode, tokenize) if risk.weight else None
        callbacks = Callbacks(prepared.validate, lambda path: save_model(path, model), on_validation, find)
        output = RunOutput(run.folder, run_log, tokenizer.fingerprint)
        trainer = Trainer(network, config.training, dtype, data, callbacks, output, group)
        step = trainer.begin(resume=run.resumes)
        trainer.progress.keep_order(data.is_order_of)
        trainer.guard_memory(data.worst)
        if group.is_main:
            exact = network.output.weight.device  # cuda:0 where `device` is cuda
            facts = make_facts(config.training.seed, exact, dtype, group.size, texts, step)
            known = {"held_out": prepared.held_out, "bleu_tokenizer": tokenize, "pairs": corpus.sizes()}
            write_settings(run, config, facts | known)
        with stop_on_signal(trainer):
            trainer.fit()
        if not (group.is_main and test):
            return {}
        if config.training.calibrate_sentences:
            calibrate_best_model(run.folder, corpus, config)
        return test_best_model(run.folder, corpus, config, run_log, tokenize)


def log_start(network: Seq2Seq, device: torch.device, dtype: torch.dtype, folder: Path) -> None:
    """Log the size of the network and where it is trained."""
    counts = network.parameter_counts()
    log.info("%s parameters: %s", f"{sum(counts.values()):,}", ", ".join(f"{k} {v:,}" for k, v in counts.items()))
    problem = kernels_problem(device)
    kernels = f"{problem} (up to 1.5 times slower), " if problem else ""
    log.info("device %s, precision %s, %srun folder %s", device, str(dtype).removeprefix("torch."), kernels, folder)


def check_run_files(folder: Path, config: Config) -> None:
    """Check that the run will not write into a file that it reads; raises as `check_not_input`."""
    names = (BEST_NAME, LAST_NAME, PREVIOUS_NAME, CONFIG_NAME, PROVENANCE_NAME, METRICS_NAME, LOG_NAME)
    for name in (*names, REPORT_NAME, CARD_NAME):
        check_not_input(str(folder / name), data_files(config.data))


def write_settings(run: RunContext, config: Config, facts: dict[str, Any]) -> None:
    """Write config.yaml and provenance.json, after all checks: a run that is refused leaves its folder unchanged."""
    write_atomically(run.folder / CONFIG_NAME, lambda path: path.write_text(to_yaml(config), encoding="utf-8"))
    record(run.folder, facts, run.resumes)


def choose_tokenizer(config: Config, corpus: Corpus, run: RunContext) -> str:
    """Return BLEU's tokenizer, before the training, and log it unless it is the default.

    A resumed run keeps the tokenizer that it started with: BLEU of two tokenizers cannot be compared, and the
    installed packages may have changed.

    Raises:
        ConfigError: the tokenizer cannot be used here.
    """
    key = "data.bleu_tokenizer"
    started_with = first_part(run.folder).get("bleu_tokenizer") if run.resumes else None
    tokenize = bleu_tokenizer(config.data, started_with)
    warn_if_meaningless(tokenize, corpus.valid.tgt, key)
    if tokenize != DEFAULT:
        log.info("BLEU tokenizer: %s (data.tgt=%s, %s)", tokenize, config.data.tgt, key)
    return tokenize


def make_model(config: Config, corpus: Corpus, device: torch.device, pretrained: Pretrained, ranks: int) -> Model:
    """Return a tokenizer, new or that of `training.init_from`, and a new network.

    Raises:
        ConfigError: the network does not fit into the memory of the CPU, which `ranks` processes share.
        Seq2SeqError: it does not fit on the GPU.
    """
    tokenizer, config = make_tokenizer(config, corpus, pretrained)
    if device.type == "cpu":
        check_weights(config.model, tokenizer.src_size, tokenizer.tgt_size, available_bytes(ranks))
    with enough_memory("the weights"):
        network = Seq2Seq(config.model, tokenizer.src_size, tokenizer.tgt_size).to(device)
    return Model(network, tokenizer, config)


def make_tokenizer(config: Config, corpus: Corpus, pretrained: Pretrained) -> tuple[Tokenizer, Config]:
    """Return the tokenizer, and the config with the size of its vocabulary as a number.

    Raises:
        ConfigError, DataError, StorageError: as `new_tokenizer`.
    """
    settings, tokenizer = config.data.vocabulary, pretrained.tokenizer
    if tokenizer is None:
        tokenizer, settings = new_tokenizer(corpus, config.data)
    size = tokenizer.tgt_size if settings.vocab_size == AUTO else settings.vocab_size
    stored = dataclasses.replace(config.data.tokenizer, vocab_size=size)
    return tokenizer, dataclasses.replace(config, data=dataclasses.replace(config.data, tokenizer=stored))


def make_validator(config: Config, corpus: Corpus, translator: Translator, tokenize: str) -> Validator:
    """Return the validation: perplexity of the whole set, BLEU of greedy translations of its first sentences.

    Corpora of the mix that have validation text are validated, too.
    """
    settings = config.data.corpora()
    others = {
        name: _validator(config, settings[name], other.valid, translator, bleu_tokenizer(settings[name]), {})
        for name, other in corpus.mix.items()
        if len(other.valid)
    }
    return _validator(config, settings[MAIN], corpus.valid, translator, tokenize, others)


def _validator(
    config: Config,
    data: DataConfig,
    valid: ParallelText,
    translator: Translator,
    tokenize: str,
    others: dict[str, Validator],
) -> Validator:
    pairs = prepare(valid, translator.tokenizer, None, cache_dir(data.cache_dir))
    with_tags = tagged(pairs, translator.tags.ids(data.tgt))
    return Validator(
        translator,
        lambda: fixed_batches(with_tags, VALIDATION_BATCH_TOKENS),
        valid.first(config.training.validate_sentences),
        beam_size=1,
        tokenize=tokenize,
        tgt_lang=data.tgt,
        others=others,
    )


def test_best_model(
    folder: Path, corpus: Corpus, config: Config, run_log: TrainingLog, tokenize: str
) -> dict[str, Scores]:
    """Score the best model on every test set, then print scores, some translations and the next commands on stdout."""
    translator = Translator.load(folder, device=config.training.device, precision=config.training.precision)
    tests: dict[str, tuple[TestText, list[Translation]]] = {}
    results: dict[str, Scores] = {}
    clean = {name: (text.src, text.tgt) for name, text in corpus.all_tests().items()}
    for name, (src, tgt) in with_variants(clean, config.data.robustness).items():
        own = config.data.of_test(name)
        outputs = [best for best, *_ in translator.translate_n_best(src, tgt_lang=own.tgt)]
        tokenizer = tokenize if (clean_name(name) or name) in corpus.tests else bleu_tokenizer(own)
        tests[name] = TestText(name, src, tgt, own.tgt, tokenizer), outputs
        texts = [output.text for output in outputs]
        results[name] = score(texts, tgt, tokenize=tokenizer, ignore_case=ignores_case(name))
        run_log.event(EventKind.test, set=name, **results[name].to_dict())
    first = next(iter(corpus.tests))
    text, translated = corpus.tests[first], [output.text for output in tests[first][1]]
    for row in list(zip(text.src, translated, text.tgt, strict=True))[:SAMPLES]:
        print("\n".join(f"{label:>11}  {line}" for label, line in zip(LABELS, row, strict=True)), end="\n\n")
    print_scores(results)
    if config.data.overfit_pairs is not None:  # then there is one test set
        print(f"\nmemorised {memorised(translator.tokenizer, translated, text.tgt)} of {len(text)} sentences")
    report = document_run(folder, translator, config, [*tests.values()], corpus.vocabulary_text().tgt)
    example, run = shlex.quote(text.src[0]), shlex.quote(str(folder))
    language = f" --tgt-lang {config.data.tgt}" if len(config.data.tags()) > 1 else ""
    print(f"\nModel: {folder / BEST_NAME}\nNext:\n  python -m seq2seq.translate {run}{language} --text={example}")
    print(f"  python -m seq2seq.evaluate {run}")
    if report:
        print(f"Report: {report}")
    return results


def memorised(tokenizer: Tokenizer, hypotheses: Sequence[str], references: Sequence[str]) -> int:
    """Count the translations that equal their reference, compared as tokens: a tokenizer normalises the text."""
    rows = zip(tokenizer.encode_tgt(hypotheses), tokenizer.encode_tgt(references), strict=True)
    return sum(hypothesis == reference for hypothesis, reference in rows)


class _CallableModule(types.ModuleType):
    """Makes `seq2seq.train(...)` work although `seq2seq.train` is this module: an import binds the name to it."""

    def __call__(self, overrides: Sequence[str] = (), folder: str | Path | None = None) -> Run:
        return train(overrides, folder)


sys.modules[__name__].__class__ = _CallableModule


if __name__ == "__main__":
    main()
