"""Model files to models that may form an ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from seq2seq.errors import ConfigError
from seq2seq.storage.model_file import Model, load_model


def load_ensemble(paths: Sequence[str | Path], device: torch.device) -> list[Model]:
    """Load models, which must have one vocabulary and the same target languages.

    Raises:
        ModelFileError: no model at a path, a damaged one, or one with weights that are not finite.
        ConfigError: the models cannot form an ensemble.
    """
    models = [load_model(Path(path), device) for path in paths]
    first = models[0]
    for path, model in zip(paths, models, strict=True):
        if model.tokenizer.fingerprint != first.tokenizer.fingerprint:
            raise ConfigError(f"{path} and {paths[0]} have different vocabularies: they cannot form an ensemble")
        tags = model.config.data.tags(), first.config.data.tags()
        if tags[0] != tags[1] and any(symbols for own in tags for symbols in own.values()):
            raise ConfigError(
                f"{path} and {paths[0]} have different target languages or tags: they cannot form an ensemble"
            )
    return models
