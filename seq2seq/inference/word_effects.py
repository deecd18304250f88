"""What each source token does to log p of each target word of one sentence pair: gradients and removal. Ids only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from seq2seq.data.batches.batch import Batch, make_batch
from seq2seq.inference.ensemble import Ensemble
from seq2seq.model.network import Seq2Seq

POSITIONS = 2**16
"""Of target steps × source positions in a batch: an attention saves its activations for each (128 MB at size 512)."""
TARGET_TOKENS = 2**11
"""Of a batch without gradients, which holds log p of the whole vocabulary for each."""


@dataclass(frozen=True)
class ForcedPair:
    """A source and the output that is forced on the decoder.

    Attributes:
        src_ids: source ids without EOS.
        tgt_ids: target ids without EOS.
        words: positions in `tgt_ids` of the tokens of each target word.
    """

    src_ids: Sequence[int]
    tgt_ids: Sequence[int]
    words: Sequence[Sequence[int]]

    @property
    def tgt_len(self) -> int:
        """Number of target tokens, EOS included."""
        return len(self.tgt_ids) + 1


class Gradients(NamedTuple):
    """log p of each target word and its gradients, with respect to the vectors of the source tokens and EOS."""

    log_probs: Float[Tensor, " words"]
    vectors: Float[Tensor, "words src_len emb"]


def saliency(network: Seq2Seq, pair: ForcedPair) -> Float[Tensor, "words src_len"]:
    """Return sum_d |dlog p(word)/dx_d · x_d| for each source token and EOS, where x is its embedding.

    It is the first-derivative saliency of Li et al. 2016 times the input, a first-order estimate of what
    replacing the embedding by zero does (Denil et al. 2014), with absolute values summed over the units.
    """
    return (gradients(network, pair).vectors * source_vectors(network, pair)).abs().sum(-1)


def integrated_gradients(
    network: Seq2Seq, pair: ForcedPair, steps: int
) -> tuple[Float[Tensor, "words src_len"], Float[Tensor, " words"]]:
    """Return attributions with sign, and by how much log p of each word exceeds that with embeddings of zero.

    x · ∫ dlog p(word)/dx (a x) da over a from 0 to 1 (Sundararajan et al. 2017, eq. 1), summed over units. The baseline
    is zero for all source tokens and EOS together. The integral is a Gauss–Legendre sum of `steps` points, each one
    forward and backward pass. Attributions sum to the difference (completeness) up to its error.
    """
    points, weights = np.polynomial.legendre.leggauss(steps)
    vectors = source_vectors(network, pair)
    integral = sum(
        weight / 2 * gradients(network, pair, (point + 1) / 2).vectors
        for point, weight in zip(points.tolist(), weights.tolist(), strict=True)
    )
    with torch.no_grad():
        ends = [torch.cat([one for _, one in _log_probs(network, pair, scale * vectors)]) for scale in (1, 0)]
    return (integral * vectors).sum(-1), ends[0] - ends[1]


def gradients(network: Seq2Seq, pair: ForcedPair, scale: float = 1.0) -> Gradients:
    """Return log p of each target word and its gradients, at `scale` times the embeddings.

    The pair stands in the batch once for each target word, so that one backward pass computes the gradients of several
    words; the gradient of the sum over the rows holds the gradient of each, because rows are independent.
    """
    vectors = (scale * source_vectors(network, pair)).requires_grad_()
    log_probs: list[Tensor] = []
    found: list[Tensor] = []
    for rows, word_log_probs in _log_probs(network, pair, vectors):
        found += torch.autograd.grad(word_log_probs.sum(), rows)
        log_probs.append(word_log_probs.detach())
    return Gradients(torch.cat(log_probs), torch.cat(found))


def occlusion(
    network: Seq2Seq, pair: ForcedPair, removed: Sequence[Sequence[int]]
) -> Float[Tensor, "words alternatives"]:
    """Return log p(word) minus log p(word | source without some positions) for each set of source positions.

    The positions are removed, not replaced by UNK: in a vocabulary with byte fallback UNK has never been trained, and
    nothing that stands in the place of a word is neutral.
    """
    sources = [[token for at, token in enumerate(pair.src_ids) if at not in set(gone)] for gone in ((), *removed)]
    ensemble, device = Ensemble([network]), network.output.weight.device
    rows, sums = max(1, TARGET_TOKENS // pair.tgt_len), []
    with torch.inference_mode():
        for start in range(0, len(sources), rows):
            batch = sources[start : start + rows]
            for decoded in ensemble.force_decode(batch, [pair.tgt_ids] * len(batch), device):
                sums.append([sum(decoded.token_log_probs[at] for at in word) for word in pair.words])
    whole, *without = torch.tensor(sums, dtype=torch.float64).unbind(0)
    return whole[:, None] - torch.stack(without, dim=1) if without else whole.new_zeros(len(whole), 0)


def source_vectors(network: Seq2Seq, pair: ForcedPair) -> Float[Tensor, "1 src_len emb"]:
    """Return the embeddings of the source tokens and of EOS."""
    return network.embed_source(forced_batch(network, pair, 1).src_ids).detach()


def _log_probs(
    network: Seq2Seq, pair: ForcedPair, vectors: Float[Tensor, "1 src_len emb"]
) -> Iterator[tuple[Float[Tensor, "rows src_len emb"], Float[Tensor, " rows"]]]:
    """Yield batches of target words: the source vectors, a row per word, and log p of the row's word."""
    limit = max(1, POSITIONS // (vectors.shape[1] * pair.tgt_len))
    for start in range(0, len(pair.words), limit):
        words = pair.words[start : start + limit]
        rows = vectors.expand(len(words), -1, -1).clone()
        batch = forced_batch(network, pair, len(words))
        readouts, targets, _ = network.read_out(batch, rows)
        row = [number for number, word in enumerate(words) for _ in word]
        positions = [number * pair.tgt_len + at for number, word in enumerate(words) for at in word]
        logits = network.output(readouts[positions])  # of the row's own word alone
        log_probs = logits.log_softmax(-1).gather(1, targets[positions][:, None])[:, 0]
        index = torch.tensor(row, dtype=torch.long, device=log_probs.device)
        yield rows, log_probs.new_zeros(len(words)).index_add(0, index, log_probs)


def forced_batch(network: Seq2Seq, pair: ForcedPair, rows: int) -> Batch:
    """Return a batch in which each row is the pair."""
    batch = make_batch([list(pair.src_ids)] * rows, [list(pair.tgt_ids)] * rows)
    return batch.to(network.output.weight.device)
