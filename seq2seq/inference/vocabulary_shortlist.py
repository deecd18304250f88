"""Vocabulary shortlists: candidate target tokens for each source token of a sentence (Jean et al. 2015, section 3.3).

The vocabulary projection then has at most some thousand rows, whatever the size of the vocabulary. Outputs may differ
from those of the whole vocabulary, but depend on the sentence alone: the logits of a batch are computed for the
candidates of all its sentences, and each sentence reads those of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor
from torch.nn.functional import pad

from seq2seq.data.special_ids import EOS_ID
from seq2seq.data.subwords.ibm_model_1 import likeliest_translations
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.errors import ConfigError
from seq2seq.filesystem.atomic_files import write_atomically

KIND = "seq2seq shortlist 1"
WIDTH_MULTIPLE = 64  # candidates: a sum over a multiple of it rounds the same whatever number of zeros follows


class Candidates(NamedTuple):
    """The candidates of each sentence of a batch; rows of fewer are filled up with -1.

    Attributes:
        union: target ids that are a candidate of any sentence, ascending.
        tokens: ids of each sentence's candidates, ascending.
        columns: their positions in `union` (-1 where there is none).
    """

    union: Int[Tensor, " union"]
    tokens: Int[Tensor, "sentences tokens"]
    columns: Int[Tensor, "sentences tokens"]

    def keep(self, sentences: Int[Tensor, " kept"]) -> Candidates:
        """Return the candidates of these sentences only, in this order."""
        return self._replace(tokens=self.tokens[sentences], columns=self.columns[sentences])

    def own(self, logits: Float[Tensor, "sentences beam union"]) -> Float[Tensor, "sentences beam tokens"]:
        """Return each sentence's logits of its own candidates, -inf where there is none."""
        columns = self.columns[:, None].expand(-1, logits.shape[1], -1)
        return logits.gather(2, columns.clamp(min=0)).masked_fill_(columns < 0, -torch.inf)


class Shortlist:
    """Candidate target tokens per source token, and frequent tokens that every sentence gets."""

    def __init__(self, table: Int[Tensor, "src_vocab best"], frequent: Int[Tensor, " frequent"]) -> None:
        self.table, self.frequent = table, frequent

    @classmethod
    def make(
        cls, src: Sequence[Sequence[int]], tgt: Sequence[Sequence[int]], src_vocab: int, best: int, frequent: int
    ) -> Shortlist:
        """Make a shortlist from sentence pairs, given as ids without EOS.

        Args:
            src: source sentences.
            tgt: target sentences.
            src_vocab: size of the source vocabulary.
            best: candidates per source token, the likeliest by IBM Model 1.
            frequent: most frequent target tokens, added to every sentence.
        """
        counts = np.bincount(np.concatenate([np.empty(0, np.int64), *map(np.asarray, tgt)]).astype(np.int64))
        most_frequent = np.sort(np.argsort(-counts, kind="stable")[:frequent])
        table = likeliest_translations(zip(src, tgt, strict=True), src_vocab, best)
        return cls(torch.from_numpy(table), torch.from_numpy(most_frequent))

    def candidates(
        self,
        sources: Sequence[Sequence[int]],
        required: Sequence[Iterable[int]] = (),
        device: str | torch.device = "cpu",
    ) -> Candidates:
        """Return the candidates of each sentence of a batch.

        Args:
            sources: ids without EOS.
            required: target ids that each sentence must have as candidates; empty: none.
            device: of the result.
        """
        rows = [self._tokens_of(ids, own) for ids, own in zip(sources, required or [()] * len(sources), strict=True)]
        width = -(-max(map(len, rows)) // WIDTH_MULTIPLE) * WIDTH_MULTIPLE
        tokens = torch.stack([pad(row, (0, width - len(row)), value=-1) for row in rows]).to(device)
        union = tokens[tokens >= 0].unique()
        columns = torch.searchsorted(union, tokens).masked_fill_(tokens < 0, -1)
        return Candidates(union, tokens, columns)

    def _tokens_of(self, source: Sequence[int], required: Iterable[int]) -> Int[Tensor, " tokens"]:
        """Return the target ids of one sentence, ascending: special, frequent and required ids, and candidates."""
        always = torch.tensor([*required, *range(EOS_ID + 1)], dtype=torch.long)
        src_ids = torch.tensor([*source, EOS_ID], dtype=torch.long)
        tokens: Tensor = torch.cat([always, self.frequent, self.table[src_ids].flatten()]).unique()
        return tokens

    def save(self, path: Path, fingerprint: str) -> None:
        """Write the shortlist, and the fingerprint of the tokenizer it was made with, to a file.

        Raises:
            StorageError: the file cannot be written.
        """
        tensors = {"table": self.table.int().numpy(), "frequent": self.frequent.int().numpy()}
        metadata = {"kind": KIND, "vocabulary": fingerprint}
        write_atomically(path, lambda file: save_file(tensors, file, metadata))

    @classmethod
    def load(cls, path: str | Path, tokenizer: Tokenizer) -> Shortlist:
        """Read a file written by `save`.

        Raises:
            ConfigError: no such file, another kind of file, a damaged one, or a shortlist for another vocabulary.
        """
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("kind") != KIND:
                    raise ConfigError(f"shortlist {path}: not a file made by seq2seq.shortlist")
                if metadata.get("vocabulary") != tokenizer.fingerprint:
                    raise ConfigError(
                        f"shortlist {path}: made for another vocabulary; make one for this model with seq2seq.shortlist"
                    )
                table, frequent = file.get_tensor("table"), file.get_tensor("frequent")
        except OSError as error:
            raise ConfigError(f"shortlist {path}: {error.strerror or error}") from None
        except SafetensorError:
            raise ConfigError(f"shortlist {path}: not a file made by seq2seq.shortlist") from None
        for name, tensor, dimensions in (("table", table, 2), ("frequent", frequent, 1)):
            if not _are_ids(tensor, tokenizer.tgt_size) or tensor.dim() != dimensions:
                raise ConfigError(f"shortlist {path}: {name} is damaged; make it again with seq2seq.shortlist")
        if len(table) != tokenizer.src_size:
            raise ConfigError(f"shortlist {path}: {len(table):,} source tokens, the model has {tokenizer.src_size:,}")
        return cls(table.long(), frequent.long())


def _are_ids(tensor: Tensor, vocabulary: int) -> bool:
    return tensor.dtype == torch.int32 and bool(((tensor >= 0) & (tensor < vocabulary)).all())
