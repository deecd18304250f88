"""Minimum-risk training: lower the expected cost of the model's own translations (Shen et al. 2016)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from seq2seq.config.training import TrainingConfig
from seq2seq.data.batches.batch import Batch, padded
from seq2seq.data.encoding.ragged import RaggedIds
from seq2seq.data.special_ids import PAD_ID, UNK_ID
from seq2seq.errors import NotFiniteError
from seq2seq.model.attention import AttentionMemory
from seq2seq.model.decoder import DecoderState
from seq2seq.model.network import Seq2Seq
from seq2seq.runtime import evaluating
from seq2seq.training.loss import CHUNK_TOKENS, output_loss

Tokens = TypeVar("Tokens", int, Tensor, NDArray[np.int64])


@dataclass(frozen=True)
class Candidate:
    """A translation that the model may learn to prefer or to avoid.

    Attributes:
        tokens: ids without EOS.
        cost: 1 minus its sentence score against the reference, from 0 to 1.
    """

    tokens: list[int]
    cost: float


@runtime_checkable  # for the type checks of the tests
class CandidateSearch(Protocol):
    """Finds and scores translations."""

    def __call__(self, batch: Batch) -> list[list[Candidate]]:
        """Return the distinct candidates of each sentence, at least one, at most `max_candidate_tokens` long.

        Random numbers come from torch's generator. The caller sets evaluation mode and precision, and gradients off.
        """


def max_candidate_tokens(reference_tokens: Tokens) -> Tokens:
    """Return the maximum length of a candidate, from that of the reference, EOS included in both.

    A longer one costs time and memory and is a bad translation at any length.
    """
    return reference_tokens * 3 // 2 + 5


def find_candidates(network: Seq2Seq, find: CandidateSearch, batch: Batch) -> list[list[Candidate]]:
    """Return what `find` finds with dropout off, as in translation, and without gradient.

    If the outputs of the network are not finite, the references are returned: their loss is not finite either, and the
    update is skipped like any other such update.
    """
    try:
        with evaluating(network), torch.no_grad():
            found = find(batch)
    except NotFiniteError:
        found = [[Candidate(tokens, 0.0)] for tokens in references(batch)]
    # Otherwise autocast would reuse the weights that it cast here, without gradient, in the training pass.
    torch.clear_autocast_cache()
    return found


def longest_candidates(find: CandidateSearch, samples: int, batch: Batch) -> list[list[Candidate]]:
    """Return `samples` candidates of the maximum length for each sentence, after a search, which needs memory, too."""
    find(batch)
    lengths = [max_candidate_tokens(len(tokens) + 1) - 1 for tokens in references(batch)]
    return [[Candidate([UNK_ID] * length, number / samples) for number in range(samples)] for length in lengths]


def minimum_risk_loss(
    network: Seq2Seq,
    batch: Batch,
    found: Sequence[Sequence[Candidate]],
    config: TrainingConfig,
    token_nll: Float[Tensor, " tokens"] | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
    """Return (training loss, negative log-likelihood, risk, score of the candidates), summed over reference tokens.

    With w = `minimum_risk.weight`, the loss is the combined objective of Edunov et al. 2018 (section 4.3):
    (1 - w) * label-smoothed cross entropy of the references + w * sum_s |y_s| R_s, where R_s is the `expected_risk` of
    sentence s. A sentence counts once per reference token, as in the cross entropy and in corpus BLEU.

    References and candidates are one batch of rows, and each source is encoded once. `token_nll`, if given, is filled
    with the negative log-likelihood of each reference token.
    """
    risk, weight = config.minimum_risk, config.minimum_risk.weight
    rows = _Rows(batch, found, risk.reference)
    device, sources = batch.src_ids.device, torch.tensor(rows.sentences, device=batch.src_ids.device)
    memory, state = network.encode(batch.src_ids, batch.src_lengths)
    memory = AttentionMemory(*(values.index_select(0, sources) for values in memory))
    state = DecoderState(*(values.index_select(0, sources) for values in state))
    ids = RaggedIds.from_lists(rows.tokens)
    tgt_in, tgt_out = padded(ids, bos=True).to(device), padded(ids, eos=True).to(device)
    readouts, targets, _ = network.read_out_encoded(memory, state, tgt_in, tgt_out)

    lengths = (tgt_out != PAD_ID).sum(1)
    reference_lengths = lengths[: len(found)]
    reference_tokens = int(reference_lengths.sum())  # a CPU–GPU sync
    cross_entropy, nll = output_loss(
        network.output, readouts[:reference_tokens], targets[:reference_tokens], config.label_smoothing, token_nll
    )
    log_probs = token_log_probs(network.output, readouts, targets)
    by_position = log_probs.new_zeros(tgt_out.shape).masked_scatter(tgt_out != PAD_ID, log_probs)
    scores = by_position.sum(1) / lengths
    costs = scores.new_tensor(rows.costs)
    risks = expected_risk(risk.sharpness * rows.matrix(scores, -torch.inf), rows.matrix(costs, 0.0))
    means = scores.new_tensor([sum(1 - one.cost for one in some) / len(some) for some in found])
    total = (reference_lengths * risks).sum()
    loss = (1 - weight) * cross_entropy + weight * total
    return loss, nll, total.detach().to(nll), (reference_lengths * means).sum().to(nll)


def expected_risk(
    scores: Float[Tensor, "sentences candidates"], costs: Float[Tensor, "sentences candidates"]
) -> Float[Tensor, " sentences"]:
    """Return R = sum_u Q(u) cost(u) of each sentence, with Q(u) = softmax_u(score(u)); a score of -inf: no candidate.

    Shen et al. 2016, equations 11 and 12: Q ~ p^alpha. Here score(u) = alpha * log p(u) / |u|, with the length
    normalisation of Edunov et al. 2018 (section 3), so that one alpha suits sentences of any length. The gradient is
    dR/dscore(u) = Q(u) (cost(u) - R): that of REINFORCE with R as its baseline (Ranzato et al. 2016).
    """
    return (scores.softmax(1) * costs).sum(1)


def token_log_probs(
    output: nn.Linear, readouts: Float[Tensor, "tokens emb"], targets: Int[Tensor, " tokens"]
) -> Float[Tensor, " tokens"]:
    """Return log p of each target, with gradient; logits are computed in chunks, and again for the gradient.

    A token's share in the gradient depends on all candidates, so it is not known when its logits are first computed.
    """

    def of_chunk(readouts: Tensor, targets: Tensor) -> Tensor:
        logits: Tensor = output(readouts)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return logits.log_softmax(1).gather(1, targets[:, None])[:, 0]

    chunks = zip(readouts.split(CHUNK_TOKENS), targets.split(CHUNK_TOKENS), strict=True)
    return torch.cat([checkpoint(of_chunk, *chunk, use_reentrant=False, preserve_rng_state=False) for chunk in chunks])


def references(batch: Batch) -> list[list[int]]:
    """Return the target ids of each sentence without EOS."""
    lengths = (batch.tgt_out != PAD_ID).sum(1).tolist()
    return [row[: length - 1] for row, length in zip(batch.tgt_out.tolist(), lengths, strict=True)]


class _Rows:
    """The references of a batch, for the cross entropy, then all candidates, as rows of one teacher-forced pass.

    A reference that is a candidate is not computed twice: its row stands for it.
    """

    def __init__(self, batch: Batch, found: Sequence[Sequence[Candidate]], with_reference: bool) -> None:
        own = references(batch)
        distinct = [
            [one for one in some if not (with_reference and one.tokens == reference)]
            for some, reference in zip(found, own, strict=True)
        ]
        candidates = list(itertools.chain(*distinct))
        self._count, self._first = len(own), 0 if with_reference else len(own)
        self.tokens = [*own, *(one.tokens for one in candidates)]
        self.costs = [*[0.0] * len(own), *(one.cost for one in candidates)]
        self.sentences = [*range(len(own)), *(i for i, some in enumerate(distinct) for _ in some)]
        self._places = [*[0] * len(own), *(place for some in distinct for place in range(1, len(some) + 1))]

    def matrix(self, values: Float[Tensor, " rows"], missing: float) -> Float[Tensor, "sentences candidates"]:
        """Return the values of the candidates in a row for each sentence, filled up with `missing`."""
        sentences, places = (
            torch.tensor(index[self._first :], device=values.device) for index in (self.sentences, self._places)
        )
        shape = self._count, max(self._places) + 1
        return values.new_full(shape, missing).index_put((sentences, places), values[self._first :])
