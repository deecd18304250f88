"""The driver of fairseq 0.12.2. It has dot attention only; all embeddings and the output layer are tied."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peers.driver import Clock, TimeUp, Translate, Work, main


def allow_dataclass_defaults() -> None:
    """Let fairseq and its old Hydra use dataclass instances as defaults, which Python >= 3.11 allows if hashable."""
    original: Any = dataclasses.dataclass

    def dataclass(cls: Any = None, **options: Any) -> Any:
        if cls is None:
            return lambda decorated: dataclass(decorated, **options)
        if "__hash__" not in vars(cls) and not options.get("frozen"):
            options.setdefault("unsafe_hash", True)
        return original(cls, **options)

    dataclasses.dataclass = dataclass


def allow_old_numpy_names() -> None:
    """Define the names that NumPy 1.24 removed and fairseq uses."""
    import numpy

    for name, kind in {"float": float, "int": int, "bool": bool, "object": object}.items():
        if name not in vars(numpy):
            setattr(numpy, name, kind)


def data(work: Work) -> str:
    """Return the folder of the binarised text."""
    return str(Path(work.folder, "data"))


def prepare(work: Work) -> None:
    """Binarise the text with the given vocabulary."""
    from fairseq import options
    from fairseq_cli.preprocess import main as preprocess

    work.write_vocabulary(" 1")
    flags = ["--source-lang", "en", "--target-lang", "de", "--destdir", data(work), "--joined-dictionary"]
    flags += ["--trainpref", str(Path(work.text, "train")), "--validpref", str(Path(work.text, "val"))]
    preprocess(options.get_preprocessing_parser().parse_args([*flags, "--srcdict", str(work.vocabulary)]))


def training_flags(work: Work) -> list[str]:
    """Return the command line of fairseq-train."""
    emb, hidden = str(work.hidden // 2), str(work.hidden)
    flags = [data(work), "--arch", "lstm", "--cpu", "--seed", "1", "--num-workers", "0", "--no-progress-bar"]
    flags += [
        "--encoder-embed-dim",
        emb,
        "--encoder-hidden-size",
        emb,
        "--encoder-layers",
        "2",
        "--encoder-bidirectional",
    ]
    flags += ["--decoder-embed-dim", emb, "--decoder-hidden-size", hidden, "--decoder-layers", "2"]
    flags += ["--decoder-out-embed-dim", emb, "--decoder-attention", "1", "--dropout", str(work.dropout)]
    flags += ["--share-all-embeddings", "--share-decoder-input-output-embed"]
    flags += ["--optimizer", "adam", "--lr", str(work.learning_rate), "--clip-norm", "1.0"]
    flags += ["--criterion", "label_smoothed_cross_entropy", "--label-smoothing", "0.1"]
    flags += ["--max-tokens", str(work.batch_tokens), "--disable-validation", "--no-save", "--no-save-optimizer-state"]
    return [*flags, "--save-dir", str(work.model_folder), "--log-interval", "1000000"]


def train(work: Work, clock: Clock) -> None:
    """Run fairseq-train; the clock ticks after each update."""
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf
    from fairseq.trainer import Trainer
    from fairseq_cli.train import main as run

    trainers: list[Any] = []
    train_step = Trainer.train_step

    def timed_step(trainer: Any, samples: list[dict[str, Any]], *args: Any, **kwargs: Any) -> Any:
        trainers[:] = [trainer]
        result = train_step(trainer, samples, *args, **kwargs)
        clock.tick(sum(sample["ntokens"] for sample in samples))
        return result

    Trainer.train_step = timed_step
    parser = options.get_training_parser()
    with contextlib.suppress(TimeUp):
        run(convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, training_flags(work))))
    if work.save:
        work.model_folder.mkdir(parents=True, exist_ok=True)
        trainers[0].save_checkpoint(str(work.model_folder / "model.pt"), {"train_iterator": {"epoch": 1}})


def load(work: Work, beam_size: int) -> Translate:
    """Return the translation of fairseq's sequence generator, which is built once."""
    import torch
    from fairseq.checkpoint_utils import load_model_ensemble_and_task

    path = str(work.model_folder / "model.pt")
    models, config, task = load_model_ensemble_and_task([path], arg_overrides={"data": data(work)})
    for model in models:
        model.prepare_for_inference_(config)
    config.generation.beam, config.generation.max_len_a = beam_size, 0
    generator, vocabulary = task.build_generator(models, config.generation), task.target_dictionary

    def translate(lines: Sequence[str], longest: int) -> list[str]:
        generator.max_len_b = longest - 1  # without EOS
        rows = [task.source_dictionary.encode_line(line, add_if_not_exist=False).long() for line in lines]
        dataset = task.build_dataset_for_inference(rows, torch.tensor([len(row) for row in rows]))
        batch = dataset.collater([dataset[i] for i in range(len(rows))])
        found = task.inference_step(generator, models, batch)
        outputs = {int(i): hypotheses[0]["tokens"] for i, hypotheses in zip(batch["id"], found, strict=True)}
        return [vocabulary.string(outputs[i]) for i in range(len(rows))]

    return translate


if __name__ == "__main__":
    allow_dataclass_defaults()
    allow_old_numpy_names()
    main(prepare, train, load)
