"""Command: text in, trained and tested translator out. `python -m seq2seq.train --help` lists every key."""

from __future__ import annotations

import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from rich.console import Console

from seq2seq.atomic_files import write_atomically
from seq2seq.cli.hydra_app import run_app
from seq2seq.cli.resume import RunContext
from seq2seq.config.loading import to_dict
from seq2seq.config.schema import Config
from seq2seq.data.batching import fixed_batches
from seq2seq.data.binarised import prepare
from seq2seq.data.corpora.load import load_corpus
from seq2seq.data.corpus import Corpus
from seq2seq.data.download import cache_dir
from seq2seq.data.epoch_batches import EpochBatches
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.evaluation.metrics import score
from seq2seq.evaluation.report import print_scores
from seq2seq.evaluation.validation import Validator
from seq2seq.inference.translator import Translator
from seq2seq.model.network import Seq2Seq
from seq2seq.runtime import configure, resolve_device, resolve_precision, seed_everything
from seq2seq.storage.metrics_file import EventKind
from seq2seq.storage.model_file import Model, save_model
from seq2seq.storage.provenance import fingerprint, make_facts, record
from seq2seq.storage.run_folder import BEST_NAME, CONFIG_NAME
from seq2seq.training.available_memory import available_bytes
from seq2seq.training.callbacks import Callbacks, RunOutput, ValidationCallback, ignore_validation
from seq2seq.training.fine_tuning import Pretrained, load_pretrained
from seq2seq.training.memory import check_weights
from seq2seq.training.run_log import NullLog, RunLog, TrainingLog, log, log_to
from seq2seq.training.trainer import Trainer

SAMPLES = 5
LABELS = ("source", "translation", "reference")
VALIDATION_BATCH_TOKENS = 4096
ECHO_SEC = 2.0


def main() -> None:
    """Run the command and exit with its status."""
    sys.exit(run_app(train))


def train(
    config: Config, run: RunContext, watch: ValidationCallback = ignore_validation, *, tested: bool = True
) -> None:
    """Train as `config` says in `run.folder`, then test the best model, unless `tested` is false.

    `watch` is called after each validation; an exception it raises ends the run.

    Raises:
        Seq2SeqError: bad input or settings; one line says what to change.
        Stopped: Ctrl-C or SIGTERM; the run can be resumed.
    """
    ranks, console = run.ranks, Console(stderr=True)
    configure(config.runtime)
    device = ranks.device(resolve_device(config.training.device))
    dtype = resolve_precision(config.training.precision, device)
    if ranks.is_main:
        log_to(run.folder, console)
    for change in run.overrides if run.resumes else []:
        log.info("override on resume: %s", change)

    seed_everything(config.training.seed)
    with ranks.local_main_first():
        pretrained = load_pretrained(config, run.folder if run.resumes else None)
        corpus = load_corpus(config.data)
        model = make_model(config, corpus, device, pretrained, ranks.local_size)
        network, tokenizer = model.network, model.tokenizer
        data = EpochBatches(config.data, config.training, corpus.train, tokenizer)
        translator = Translator(network, tokenizer, config.decode, device, config.training.precision)
        validate = make_validator(config, corpus, translator)
    texts = fingerprint(corpus)
    ranks.check_same(tokenizer.fingerprint, "tokenizer")
    ranks.check_same(texts, "corpus")
    ranks.check_same(str(dtype), "precision (set training.precision)")
    counts = network.parameter_counts()
    log.info("%s parameters: %s", f"{sum(counts.values()):,}", ", ".join(f"{k} {v:,}" for k, v in counts.items()))
    log.info("device %s, precision %s, run folder %s", device, str(dtype).removeprefix("torch."), run.folder)

    with RunLog(run.folder, console) if ranks.is_main else NullLog() as run_log:
        callbacks = Callbacks(validate, lambda path: save_model(path, model), watch)
        output = RunOutput(run.folder, run_log, tokenizer.fingerprint)
        trainer = Trainer(network, config.training, dtype, data, callbacks, output, ranks)
        step = trainer.begin(resume=run.resumes)
        trainer.check_memory(data.worst)
        if ranks.is_main:
            exact = network.output.weight.device  # cuda:0 where `device` is cuda
            facts = make_facts(config.training.seed, exact, dtype, ranks.size, texts, step)
            write_settings(run, config, facts)
        with stop_on_signal(trainer):
            trainer.fit()
        if ranks.is_main and tested:
            test(run.folder, corpus, config, run_log)


def write_settings(run: RunContext, config: Config, facts: dict[str, Any]) -> None:
    """Write config.yaml and provenance.json, after all checks: a run that is refused leaves its folder unchanged."""
    yaml = OmegaConf.create(to_dict(config))
    write_atomically(run.folder / CONFIG_NAME, lambda path: OmegaConf.save(yaml, path))
    record(run.folder, facts, run.resumes)


def make_model(config: Config, corpus: Corpus, device: torch.device, pretrained: Pretrained, ranks: int) -> Model:
    """Return tokenizer and network as the run begins with them: new, or from `training.init_from`.

    Raises:
        ConfigError: on a CPU, whose memory `ranks` processes share, the network is too large to be trained.
    """
    tokenizer = pretrained.tokenizer or Tokenizer.train(
        corpus.tokenizer_text or corpus.train, config.data.tokenizer, cache_dir(config.data.cache_dir)
    )
    if device.type == "cpu":
        check_weights(config.model, tokenizer.src_size, tokenizer.tgt_size, available_bytes(ranks))
    network = Seq2Seq(config.model, tokenizer.src_size, tokenizer.tgt_size).to(device)
    model = Model(network, tokenizer, config)
    pretrained.initialise(model)
    return model


def make_validator(config: Config, corpus: Corpus, translator: Translator) -> Validator:
    """Return the validation of this run: perplexity of the whole set, greedy BLEU of its first sentences."""
    assert isinstance(translator.tokenizer, Tokenizer)
    pairs = prepare(corpus.valid, translator.tokenizer, None, cache_dir(config.data.cache_dir))
    return Validator(
        translator,
        lambda: fixed_batches(pairs, VALIDATION_BATCH_TOKENS),
        corpus.valid.first(config.training.validate_sentences),
        beam_size=1,
    )


@contextmanager
def stop_on_signal(trainer: Trainer) -> Iterator[None]:
    """Ask the trainer to save and stop at the first SIGINT or SIGTERM; a second one acts at once.

    Not one that follows within moments: what signals a whole group of processes reaches the ranks of a run twice, as
    torchrun sends it on to them.
    """
    asked: float | None = None

    def ask(number: int, frame: object) -> None:
        nonlocal asked
        if asked is None:
            trainer.stop_signal, asked = number, time.monotonic()
        elif time.monotonic() - asked > ECHO_SEC:
            signal.signal(number, before[signal.Signals(number)])
            signal.raise_signal(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test(folder: Path, corpus: Corpus, config: Config, run_log: TrainingLog) -> None:
    """Score the best model on every test set, show translations, and say what to do next (on standard output)."""
    translator = Translator.load(folder, device=config.training.device, precision=config.training.precision)
    results = {}
    for name, text in corpus.tests.items():
        hypotheses = translator.translate(text.src)
        results[name] = score(hypotheses, text.tgt)
        run_log.event(EventKind.test, set=name, **results[name].to_dict())
        if name == next(iter(corpus.tests)):
            for row in list(zip(text.src, hypotheses, text.tgt, strict=True))[:SAMPLES]:
                print("\n".join(f"{label:>11}  {line}" for label, line in zip(LABELS, row, strict=True)), end="\n\n")
    print_scores(results)
    if config.data.overfit_pairs is not None:  # then there is one test set
        print(f"\nmemorised {memorised(translator.tokenizer, hypotheses, text.tgt)} of {len(text)} sentences")
    example, run = shlex.quote(next(iter(corpus.tests.values())).src[0]), shlex.quote(str(folder))
    print(f"\nModel: {folder / BEST_NAME}\nNext:\n  python -m seq2seq.translate {run} --text={example}")
    print(f"  python -m seq2seq.evaluate {run}")


def memorised(tokenizer: Tokenizer, hypotheses: list[str], references: list[str]) -> int:
    """Count the translations that are their references; by pieces, since only the text of pieces is normalised."""
    rows = zip(tokenizer.encode_tgt(hypotheses), tokenizer.encode_tgt(references), strict=True)
    return sum(said == wanted for said, wanted in rows)


if __name__ == "__main__":
    main()
