"""A vocabulary for each batch: the target pieces that its source pieces may ask for (Jean et al. 2015, section 3.3).

The vocabulary projection then has some thousand rows or fewer, whatever the size of the vocabulary. Outputs may differ
from those of the whole vocabulary, and with the other sentences of a batch, whose pieces may be said, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from seq2seq.atomic_files import write_atomically
from seq2seq.data.ibm_model_1 import likeliest_translations
from seq2seq.data.special_ids import EOS_ID
from seq2seq.errors import ConfigError

KIND = "seq2seq shortlist 1"


class Shortlist:
    """Target pieces by source piece, and those that any sentence may need."""

    def __init__(self, table: Int[Tensor, "src_vocab best"], frequent: Int[Tensor, " frequent"]) -> None:
        self.table, self.frequent = table, frequent

    @classmethod
    def make(
        cls, src: Sequence[Sequence[int]], tgt: Sequence[Sequence[int]], src_vocab: int, best: int, frequent: int
    ) -> Shortlist:
        """Count in sentence pairs, given as ids without EOS: `best` pieces for each, `frequent` for all."""
        counts = np.bincount(np.concatenate([np.empty(0, np.int64), *map(np.asarray, tgt)]).astype(np.int64))
        commonest = np.sort(np.argsort(-counts, kind="stable")[:frequent])
        table = likeliest_translations(zip(src, tgt, strict=True), src_vocab, best)
        return cls(torch.from_numpy(table), torch.from_numpy(commonest))

    def tokens_for(self, sources: Sequence[Sequence[int]], required: Iterable[int] = ()) -> Int[Tensor, " words"]:
        """Return the target ids that a batch may say, ascending: special and frequent ones, `required`, translations."""
        said = torch.tensor(sorted({*required, *range(EOS_ID + 1)}), dtype=torch.long)
        read = torch.tensor(sorted({EOS_ID}.union(*sources)), dtype=torch.long)
        words: Tensor = torch.cat([said, self.frequent, self.table[read].flatten()]).unique()
        return words

    def save(self, path: Path, fingerprint: str) -> None:
        """Write it to a file for the vocabulary with this fingerprint.

        Raises:
            StorageError: the disk refuses.
        """
        tensors = {"table": self.table.int().numpy(), "frequent": self.frequent.int().numpy()}
        notes = {"kind": KIND, "vocabulary": fingerprint}
        write_atomically(path, lambda file: save_file(tensors, file, notes))

    @classmethod
    def load(cls, path: str | Path, fingerprint: str) -> Shortlist:
        """Read what `save` wrote.

        Raises:
            ConfigError: no such file, another kind of file, or one that was made for another vocabulary.
        """
        try:
            with safe_open(path, framework="pt") as file:
                notes = file.metadata() or {}
                if notes.get("kind") != KIND:
                    raise ConfigError(f"shortlist {path}: not a file made by seq2seq.shortlist")
                if notes.get("vocabulary") != fingerprint:
                    raise ConfigError(f"shortlist {path}: made for another vocabulary than the model's")
                return cls(file.get_tensor("table").long(), file.get_tensor("frequent").long())
        except OSError as error:
            raise ConfigError(f"shortlist {path}: {error.strerror or error}") from None
        except SafetensorError:
            raise ConfigError(f"shortlist {path}: not a file made by seq2seq.shortlist") from None
