"""The driver of JoeyNMT 2.3.0. It does not bucket by length, and ties the embeddings of both sides only."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peers.driver import Clock, TimeUp, Translate, Work, main, without


def prepare(work: Work) -> None:
    """Write the vocabulary, which begins with the special symbols."""
    work.write_vocabulary("", specials=["<unk>", "<pad>", "<s>", "</s>"])


def config(work: Work) -> dict[str, Any]:
    """Return the toolkit's config."""
    emb = work.hidden // 2
    side = {"level": "word", "lowercase": False, "voc_file": str(work.vocabulary)}
    embeddings = {"embedding_dim": emb, "scale": False, "dropout": work.dropout}
    rnn = {"type": "recurrent", "rnn_type": "lstm", "num_layers": 2, "embeddings": embeddings, "dropout": work.dropout}
    return {
        "name": "benchmark",
        "model_dir": str(work.model_folder),
        "use_cuda": False,
        "random_seed": 1,
        "data": {
            "train": str(Path(work.text, "train")),
            "dev": str(Path(work.text, "val")),
            "dataset_type": "plain",
            "src": {"lang": "en", **side},
            "trg": {"lang": "de", **side},
        },
        "testing": {"beam_alpha": 1.0},
        "training": {
            "optimizer": "adam",
            "learning_rate": work.learning_rate,
            "learning_rate_min": 0,
            "scheduling": "exponential",
            "decrease_factor": 1.0,  # a constant rate
            "clip_grad_norm": 1.0,
            "label_smoothing": 0.1,
            "normalization": "tokens",
            "batch_type": "token",
            "batch_size": work.batch_tokens,
            "epochs": 10**6,
            "logging_freq": 10**6,
            "validation_freq": 10**6,
        },
        "model": {
            "tied_embeddings": True,
            "encoder": {**rnn, "hidden_size": emb, "bidirectional": True},
            "decoder": {**rnn, "hidden_size": work.hidden, "attention": "bahdanau", "init_hidden": "bridge"},
        },
    }


def train(work: Work, clock: Clock) -> None:
    """Run the toolkit's training, which saves the model when TimeUp ends it; the clock ticks after each update."""
    from joeynmt.config import parse_global_args
    from joeynmt.prediction import prepare as make
    from joeynmt.training import TrainManager

    work.model_folder.mkdir(parents=True, exist_ok=True)
    settings = parse_global_args(config(work), rank=0, mode="train")
    model, train_data, valid_data, _ = make(settings, rank=0, mode="train")
    manager = TrainManager(
        rank=0,
        model=model,
        model_dir=settings.model_dir,
        device=settings.device,
        autocast=settings.autocast,
        seed=settings.seed,
        train_args=settings.train,
        dev_args=settings.test,
    )
    step, tokens = manager._train_step, [0]

    def counting_step(batch: Any) -> Any:
        tokens[0] = int(batch.ntokens)
        return step(batch)

    manager._train_step = counting_step
    manager.optimizer.register_step_post_hook(lambda *_: clock.tick(tokens[0]))
    if not work.save:
        manager._save_checkpoint = lambda *_: None
    with contextlib.suppress(TimeUp):
        manager.train_and_validate(train_data=train_data, valid_data=valid_data)


def load(work: Work, beam_size: int) -> Translate:
    """Return the translation of the toolkit's hub interface."""
    from joeynmt.config import parse_global_args
    from joeynmt.hub_interface import TranslatorHubInterface
    from joeynmt.prediction import prepare as make

    settings = parse_global_args(config(work), rank=0, mode="translate")
    model, _, _, stream = make(settings, rank=0, mode="translate")
    hub = TranslatorHubInterface(model, stream, settings)

    def translate(lines: Sequence[str], longest: int) -> list[str]:
        return list(hub.translate(list(lines), beam_size=beam_size, max_output_length=longest))

    return translate


if __name__ == "__main__":
    without("subword_nmt", "subword_nmt.apply_bpe", "plotly", "plotly.express")  # for other tokenizers and for plots
    main(prepare, train, load)
