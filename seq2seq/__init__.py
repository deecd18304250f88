"""Sequence-to-sequence translation with attentional LSTMs.

`Translator` is imported on first use, so that `import seq2seq` and `--help` cost nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seq2seq.version import __version__

if TYPE_CHECKING:
    from seq2seq.inference.translator import Translation, Translator

__all__ = ["Translation", "Translator", "__version__"]


def __getattr__(name: str) -> object:
    if name in ("Translation", "Translator"):
        from seq2seq.inference import translator

        return getattr(translator, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
