"""Sequence-to-sequence translation with attentional LSTMs.

`Translator` translates, `train` trains. Both are imported on first use, so that `import seq2seq` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from seq2seq.kernels import instruction_set
from seq2seq.version import __version__

if TYPE_CHECKING:
    from seq2seq.inference.translation import Translation
    from seq2seq.inference.translator import Translator
    from seq2seq.train import train

__all__ = ["Translation", "Translator", "__version__", "train"]

instruction_set.limit_libraries()  # before torch computes anything

_HOMES = {"Translation": "seq2seq.inference.translation", "Translator": "seq2seq.inference.translator"}


def __getattr__(name: str) -> object:
    if name == "train":  # a module that can be called
        return importlib.import_module("seq2seq.train")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
