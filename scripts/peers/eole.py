"""The driver of Eole 0.6.4, the successor of OpenNMT-py: input feeding, and tied embeddings of both sides only."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import Any

from peers.driver import Clock, TimeUp, Translate, Work, main, without
from peers.opennmt import prepare, update_options


def training_config(work: Work) -> dict[str, Any]:
    """Return the config of `eole train`. A bucket holds the corpus once, as for OpenNMT-py."""
    parts = {"train": "train", "valid": "val"}
    texts = {name: (work.text_file(part, "en"), work.text_file(part, "de")) for name, part in parts.items()}
    rnn = {"layers": 2, "hidden_size": work.hidden, "rnn_type": "LSTM"}  # hidden_size: both directions together
    return {
        "data": {name: {"path_src": src, "path_tgt": tgt} for name, (src, tgt) in texts.items()},
        "src_vocab": str(work.vocabulary),
        "tgt_vocab": str(work.vocabulary),
        "share_vocab": True,
        "overwrite": True,
        "report_every": 10**6,
        "seed": 1,
        "model": {
            "architecture": "custom",
            "embeddings": {"word_vec_size": work.hidden // 2, "position_encoding_type": None},
            "encoder": {"encoder_type": "brnn", **rnn},
            "decoder": {"decoder_type": "rnn", "global_attention": "mlp", "bidirectional_encoder": True, **rnn},
            "hidden_size": work.hidden,
            "share_embeddings": True,
        },
        "training": {
            "model_path": str(work.model_folder),
            **update_options(work),
            "compute_dtype": "fp32",
        },
    }


def train(work: Work, clock: Clock) -> None:
    """Run `eole train`; the clock ticks after each update."""
    from eole.bin.run.train import train as run
    from eole.config.run import TrainConfig
    from eole.trainer import Trainer

    trainers: list[Any] = []
    update = Trainer._train_step

    def timed_update(trainer: Any, batches: list[dict[str, Any]], *args: Any, **kwargs: Any) -> None:
        trainers[:] = [trainer]
        update(trainer, batches, *args, **kwargs)
        padding = trainer.train_loss.padding_idx
        clock.tick(sum(int(batch["tgt"][:, 1:].ne(padding).sum()) for batch in batches))

    Trainer._train_step = timed_update
    with contextlib.suppress(TimeUp):
        run(TrainConfig(**json.loads(json.dumps(training_config(work)))))
    if work.save:
        trainers[0].model_saver.save(1)


def load(work: Work, beam_size: int) -> Translate:
    """Return the translation of the toolkit's inference engine."""
    from eole.config.run import PredictConfig
    from eole.inference_engine import InferenceEnginePY

    model = str(work.model_folder / "step_1")
    config = PredictConfig(model_path=[model], src="none", beam_size=beam_size, batch_size=64, max_length_ratio=0)
    engine = InferenceEnginePY(config)

    def translate(lines: Sequence[str], longest: int) -> list[str]:
        _, _, outputs = engine.infer_list(list(lines), settings={"max_length": longest})
        return [hypotheses[0] for hypotheses in outputs]

    return translate


if __name__ == "__main__":
    unused = "huggingface_hub tokenizers tokenizers.processors aiohttp uvicorn fastapi fastapi.responses"
    without(*unused.split(), "fastapi.staticfiles")  # imported by conversions and servers that are not used
    main(prepare, train, load)
