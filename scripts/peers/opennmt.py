"""The driver of OpenNMT-py 3.5.1. It has input feeding, and ties the embeddings of both sides only."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peers.driver import Clock, TimeUp, Translate, Work, main, without


def prepare(work: Work) -> None:
    """Write the vocabulary."""
    work.write_vocabulary("\t1")


def update_options(work: Work) -> dict[str, Any]:
    """Return the options of an update, which have the same names in Eole, the successor.

    A bucket holds the corpus once: the toolkit reads the corpus again and again until its bucket is full.
    """
    return {
        "dropout": [work.dropout],
        "label_smoothing": 0.1,
        "optim": "adam",
        "learning_rate": work.learning_rate,
        "max_grad_norm": 1.0,
        "batch_type": "tokens",
        "batch_size": work.batch_tokens,
        "normalization": "tokens",
        "bucket_size": len(work.lines("train")),
        "num_workers": 0,
        "train_steps": 10**6,
        "valid_steps": 10**6,
        "save_checkpoint_steps": 10**6,
    }


def training_config(work: Work) -> dict[str, Any]:
    """Return the options of onmt_train."""
    parts = {"train": "train", "valid": "val"}
    texts = {name: (work.text_file(part, "en"), work.text_file(part, "de")) for name, part in parts.items()}
    return {
        "data": {name: {"path_src": src, "path_tgt": tgt} for name, (src, tgt) in texts.items()},
        "src_vocab": str(work.vocabulary),
        "tgt_vocab": str(work.vocabulary),
        "share_vocab": True,
        "save_model": str(work.model_folder / "model"),
        "encoder_type": "brnn",
        "decoder_type": "rnn",
        "word_vec_size": work.hidden // 2,
        "hidden_size": work.hidden,  # of both directions together
        "enc_layers": 2,
        "dec_layers": 2,
        "global_attention": "mlp",
        "share_embeddings": True,
        **update_options(work),
        "report_every": 10**6,
        "seed": 1,
    }


def train(work: Work, clock: Clock) -> None:
    """Run onmt_train; the clock ticks after each update."""
    from onmt.bin.train import _get_parser
    from onmt.bin.train import train as run
    from onmt.trainer import Trainer

    trainers: list[Any] = []
    update = Trainer._gradient_accumulation

    def timed_update(trainer: Any, batches: list[dict[str, Any]], *args: Any) -> None:
        trainers[:] = [trainer]
        update(trainer, batches, *args)
        padding = trainer.train_loss.padding_idx
        clock.tick(sum(int(batch["tgt"][:, 1:, 0].ne(padding).sum()) for batch in batches))

    Trainer._gradient_accumulation = timed_update
    config = Path(work.folder, "train.yaml")
    config.write_text(json.dumps(training_config(work)), encoding="utf-8")  # JSON is YAML
    options, _ = _get_parser().parse_known_args(["--config", str(config)])
    with contextlib.suppress(TimeUp):
        run(options)
    if work.save:
        trainers[0].model_saver.save(1)


def load(work: Work, beam_size: int) -> Translate:
    """Return the translation of the toolkit's inference engine."""
    from onmt.inference_engine import InferenceEnginePY
    from onmt.opts import translate_opts
    from onmt.utils.parse import ArgumentParser

    parser = ArgumentParser()
    translate_opts(parser)
    flags = ["--model", str(work.model_folder / "model_step_1.pt"), "--src", "none", "--beam_size", str(beam_size)]
    options = parser.parse_args([*flags, "--batch_size", "64", "--max_length_ratio", "0"])
    ArgumentParser.validate_translate_opts(options)
    ArgumentParser._get_all_transform_translate(options)
    ArgumentParser._validate_transforms_opts(options)
    ArgumentParser.validate_translate_opts_dynamic(options)
    engine = InferenceEnginePY(options)

    def translate(lines: Sequence[str], longest: int) -> list[str]:
        engine.translator.max_length = longest
        _, outputs = engine.infer_list(list(lines))
        return [hypotheses[0] for hypotheses in outputs]

    return translate


if __name__ == "__main__":
    without("spacy", "ahocorasick", "rapidfuzz", "fasttext")  # imported by transforms that are not used
    main(prepare, train, load)
