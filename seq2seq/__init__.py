"""Sequence-to-sequence translation with attentional LSTMs.

`Translator` and `Translation` are imported on first use, so that `import seq2seq` and `--help` do not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seq2seq.version import __version__

if TYPE_CHECKING:
    from seq2seq.inference.translation import Translation
    from seq2seq.inference.translator import Translator

__all__ = ["Translation", "Translator", "__version__"]


def __getattr__(name: str) -> object:
    if name == "Translator":
        from seq2seq.inference.translator import Translator

        return Translator
    if name == "Translation":
        from seq2seq.inference.translation import Translation

        return Translation
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
