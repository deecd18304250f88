"""Command: text in, trained and tested translator out. `python -m seq2seq.train --help` lists every key."""

from __future__ import annotations

import functools
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from omegaconf import OmegaConf
from rich.console import Console

from seq2seq.atomic_files import write_atomically
from seq2seq.cli.hydra_app import CONFIG_NAME, Launch, launch
from seq2seq.config.schema import Config, to_dict
from seq2seq.data.batching import fixed_batches
from seq2seq.data.binarised import prepare
from seq2seq.data.corpora.load import load_corpus
from seq2seq.data.corpus import Corpus
from seq2seq.data.download import cache_dir
from seq2seq.data.epoch_batches import EpochBatches
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.errors import ConfigError
from seq2seq.evaluation.metrics import score
from seq2seq.evaluation.report import print_scores
from seq2seq.evaluation.validation import Validator
from seq2seq.inference.translator import Translator
from seq2seq.model.network import Seq2Seq
from seq2seq.runtime import configure, kernels_problem, resolve_device, resolve_precision, seed_everything
from seq2seq.storage.model_file import BEST_NAME, Model, save_model
from seq2seq.storage.provenance import fingerprint, make_facts, record
from seq2seq.training.fine_tuning import Start, load_start
from seq2seq.training.memory import available_bytes, check_memory, check_weights, rough_bytes
from seq2seq.training.run_log import NoLog, RunLog, Window, log, log_to
from seq2seq.training.trainer import Trainer, Watch, watch_nothing

SAMPLES = 5
LABELS = ("source", "translation", "reference")
VALIDATION_BATCH_TOKENS = 4096
ECHO_SEC = 2.0


def main() -> None:
    """Run the command and exit with its status."""
    sys.exit(launch(train))


def train(config: Config, run: Launch, watch: Watch = watch_nothing, *, tested: bool = True) -> None:
    """Train as `config` says in `run.folder`, then test the best model, unless `tested` is false.

    `watch` sees each validation as it is made; what it raises ends the run.

    Raises:
        Seq2SeqError: bad input or settings; one line says what to change.
        Stopped: Ctrl-C or SIGTERM; the run can be resumed.
    """
    ranks, console = run.ranks, Console(stderr=True)
    configure(config.runtime)
    device = ranks.device(resolve_device(config.training.device))
    dtype = resolve_precision(config.training.precision, device)
    if ranks.main:
        log_to(run.folder, console)
    for change in run.overrides if run.resumes else []:
        log.info("override on resume: %s", change)

    seed_everything(config.training.seed)
    with ranks.first_alone():
        start = load_start(config, run.folder if run.resumes else None)
        corpus = load_corpus(config.data)
        model = make_model(config, corpus, device, start, ranks.here)
        network, tokenizer = model.network, model.tokenizer
        data = EpochBatches(config.data, config.training, corpus.train, tokenizer)
        validate = make_validator(config, corpus, Translator(network, tokenizer, config.decode, device, dtype))
    texts = fingerprint(corpus)
    ranks.check_same(tokenizer.fingerprint, "tokenizer")
    ranks.check_same(texts, "corpus")
    ranks.check_same(str(dtype), "precision (set training.precision)")
    counts = network.parameter_counts()
    log.info("%s parameters: %s", f"{sum(counts.values()):,}", ", ".join(f"{k} {v:,}" for k, v in counts.items()))
    problem = kernels_problem(device)
    kernels = f"kernels off or slow, up to 1.5 times the time ({problem}), " if problem else ""
    log.info("device %s, precision %s, %srun folder %s", device, str(dtype).removeprefix("torch."), kernels, run.folder)

    with RunLog(run.folder, config.training.log_every_steps, console) if ranks.main else NoLog() as run_log:
        trainer = Trainer(
            network,
            config.training,
            dtype,
            data=data,
            validate=validate,
            keep=lambda path: save_model(path, model),
            watch=watch,
            run_log=run_log,
            folder=run.folder,
            pieces=tokenizer.fingerprint,
            ranks=ranks,
        )
        begin(trainer, data, config, run, texts)
        with stop_on_signal(trainer):
            trainer.fit()
        if ranks.main and tested:
            test(run.folder, corpus, config, run_log)


def begin(trainer: Trainer, data: EpochBatches, config: Config, run: Launch, texts: str) -> None:
    """Bring the trainer to where the run stands, and write down in the folder what it is made with.

    `texts` is the fingerprint of the corpus. A run that is refused has changed no setting in its folder.

    Raises:
        ModelFileError: the run cannot be resumed.
        Seq2SeqError: there is too little memory.
    """
    if run.resumes:
        trainer.resume()
    else:
        trainer.run_log.rewind(0, -1, Window())  # of a run in this folder that was killed before it saved anything
    guard_memory(trainer, data, run.resumes)
    if run.ranks.main:
        yaml = OmegaConf.create(to_dict(config))
        write_atomically(run.folder / CONFIG_NAME, lambda path: OmegaConf.save(yaml, path))
        device, dtype = trainer.update.device, trainer.update.dtype
        facts = make_facts(config.training.seed, device, dtype, run.ranks.count, texts, trainer.progress.step)
        record(run.folder, facts, run.resumes)


def make_model(config: Config, corpus: Corpus, device: torch.device, start: Start, ranks: int) -> Model:
    """Return tokenizer and network as the run begins with them: new, or from `training.init_from`.

    Raises:
        ConfigError: on a CPU, whose memory `ranks` processes share, the network is too large to be trained.
    """
    tokenizer = start.tokenizer or Tokenizer.train(
        corpus.pieces or corpus.train, config.data.tokenizer, cache_dir(config.data.cache_dir)
    )
    if device.type == "cpu":
        check_weights(config.model, tokenizer.src_size, tokenizer.tgt_size, free_bytes(ranks))
    network = Seq2Seq(config.model, tokenizer.src_size, tokenizer.tgt_size).to(device)
    model = Model(network, tokenizer, config)
    start.initialise(model)
    return model


def guard_memory(trainer: Trainer, data: EpochBatches, resumed: bool) -> None:
    """Find out before the first update whether there is memory for the worst batch; on a GPU, in how many parts.

    Raises:
        ConfigError: there is not, on a CPU; the message says what fits.
        Seq2SeqError: there is not, on a GPU, even for one sentence.
    """
    network, config, ranks = trainer.network, trainer.config, trainer.ranks
    worst = data.worst(trainer.progress.epoch, functools.partial(rough_bytes, network))
    device = trainer.update.device.type
    copies = 0 if resumed else 2  # Adam's moments
    if device == "cuda":
        trainer.update.try_worst(worst, copies)
    refused = None
    if device == "cpu":
        try:
            check_memory(
                trainer.update.part_gradient,
                network,
                worst,
                batch_tokens=config.batch_tokens,
                available=free_bytes(ranks.here),
                micro_batches=config.micro_batches,
                ranks=ranks.count,
                copies=copies,
            )
        except ConfigError as error:
            refused = error
    if any(row[0] for row in ranks.gather([float(refused is not None)])):
        raise refused or ConfigError("another process of this run has too little memory, see its message")


def free_bytes(processes: int) -> int | None:
    """Return what each of so many processes on this machine may take; None where the system does not say."""
    free = available_bytes()
    return None if free is None else free // processes


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


def test(folder: Path, corpus: Corpus, config: Config, run_log: RunLog) -> None:
    """Score the best model on every test set, show translations, and say what to do next (on standard output)."""
    translator = Translator.load(folder, device=config.training.device, precision=config.training.precision)
    results = {}
    for name, text in corpus.tests.items():
        hypotheses = translator.translate(text.src)
        results[name] = score(hypotheses, text.tgt)
        run_log.event("test", set=name, **results[name].to_dict())
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
