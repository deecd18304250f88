"""One network, or an ensemble, as the step function of a search; and forced decoding.

In fp32, results do not depend on the rest of the batch: with kernels, products are summed up in a fixed order
(`model.cpu.fixed_order`). Without them, the rounding of a row of a matrix product depends on the number of rows only
below `MIN_ROWS`, so smaller batches are padded with copies of their first sentence. bf16 and int8 batches are not
padded: bf16 rounding depends on the batch in other ways too, and the sums of int8 products are exact.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seq2seq.data.batches.batch import make_batch, pad
from seq2seq.data.special_ids import EOS_ID
from seq2seq.errors import ConfigError
from seq2seq.inference.target_order import mirrored
from seq2seq.inference.vocabulary_shortlist import Candidates, Shortlist
from seq2seq.kernels import bindings
from seq2seq.model.attention import AttentionMemory
from seq2seq.model.cpu import dispatch
from seq2seq.model.cpu.decoder_step import SearchStep, Step
from seq2seq.model.cpu.search_products import Products
from seq2seq.model.decoder import DecoderState
from seq2seq.model.network import Seq2Seq
from seq2seq.search.length_penalty import coverage_penalty
from seq2seq.search.protocols import Prediction

MIN_ROWS = 16  # hypotheses
STATISTICS_ROWS = 256  # distributions over the vocabulary


@dataclass(frozen=True)
class EnsembleState:
    """Every network's decoder state and attention memory (without beam dimension: all beams read the same memory).

    Attributes:
        sentences: number of real sentences, the first rows; the rest is padding.
        min_rows: number of hypotheses that padding fills a batch up to; 0: no padding.
        decoders: decoder state of each network.
        memories: attention memory of each network.
        coverage: attention on each source position, summed over the tokens so far; None if not requested.
        candidates: of the vocabulary shortlist, for the real sentences; None: the whole vocabulary.
        steps: each network's step function, for this search.
    """

    sentences: int
    min_rows: int
    decoders: tuple[DecoderState, ...]
    memories: tuple[AttentionMemory, ...]
    coverage: Float[Tensor, "rows beam src_len"] | None
    candidates: Candidates | None = None
    steps: tuple[Step, ...] = ()

    def reorder(self, parents: Int[Tensor, "batch new_beam"]) -> EnsembleState:
        """Return the state whose beam k is this state's beam `parents[:, k]`."""
        state = self
        if parents.shape[1] == self.decoders[0].hidden.shape[1] == 1:
            return state  # greedy search
        if self.min_rows:
            rows = pad_rows(torch.arange(len(parents), device=parents.device), parents.shape[1], self.min_rows)
            state, parents = self if len(rows) == self.rows else self._select(rows), parents[rows]
        first = torch.arange(len(parents), device=parents.device)[:, None] * self.decoders[0].hidden.shape[1]
        index, shape = (parents + first).flatten(), parents.shape

        def select(tensor: Tensor) -> Tensor:
            return tensor.flatten(0, 1).index_select(0, index).view(*shape, *tensor.shape[2:])

        return state._map(select)

    def keep(self, sentences: Int[Tensor, " kept"]) -> EnsembleState:
        """Return the state of these sentences only, in this order."""
        beam = self.decoders[0].hidden.shape[1]
        state = self._select(pad_rows(sentences, beam, self.min_rows))
        candidates = self.candidates and self.candidates.keep(sentences)
        return dataclasses.replace(state, sentences=len(sentences), candidates=candidates)

    @property
    def rows(self) -> int:
        """Number of sentences, padding included."""
        return len(self.decoders[0].hidden)

    def _select(self, rows: Tensor) -> EnsembleState:
        memories = tuple(AttentionMemory(*(tensor[rows] for tensor in memory)) for memory in self.memories)
        return dataclasses.replace(self._map(lambda tensor: tensor[rows]), memories=memories)

    def _map(self, change: Callable[[Tensor], Tensor]) -> EnsembleState:
        decoders = tuple(DecoderState(*map(change, decoder)) for decoder in self.decoders)
        coverage = None if self.coverage is None else change(self.coverage)
        return dataclasses.replace(self, decoders=decoders, coverage=coverage)


@dataclass(frozen=True)
class ForcedDecoding:
    """Forced decoding of one output: log p of each token and of EOS, and the attention at each of them.

    Attributes:
        token_log_probs: log p.
        attn_weights: attention; without columns if a network has none.
        margins: log p of each token less the highest log p of another token; empty if not requested.
        entropies: of the distribution of each token, in nats; empty if not requested.
    """

    token_log_probs: list[float]
    attn_weights: Float[Tensor, "tgt_len src_len"]
    margins: list[float] = dataclasses.field(default_factory=list)
    entropies: list[float] = dataclasses.field(default_factory=list)

    def mirrored(self) -> ForcedDecoding:
        """Return the figures of the same tokens in reverse order; those of EOS stay the last."""
        rows = mirrored(range(len(self.token_log_probs)))
        lists = (self.token_log_probs, self.margins, self.entropies)
        log_probs, margins, entropies = (mirrored(values) for values in lists)
        return ForcedDecoding(log_probs, self.attn_weights[rows], margins, entropies)


class Ensemble:
    """Networks that share a vocabulary: the weighted mean of their log-probabilities, renormalised.

    This is the normalised weighted geometric mean of their distributions. Attention is the weighted arithmetic mean.

    Raises:
        ConfigError: the networks write in different orders (`model.target_order`).
    """

    def __init__(
        self,
        networks: Sequence[Seq2Seq],
        weights: Sequence[float] | None = None,
        int8: bool = False,
        shortlist: Shortlist | None = None,
    ) -> None:
        if len({network.config.target_order for network in networks}) > 1:
            raise ConfigError(
                "models that write from left to right and from right to left cannot form an ensemble: rerank the "
                "outputs of one with the other (--rerank)"
            )
        weights = weights or [1.0] * len(networks)
        self.networks, self.int8, self.shortlist = list(networks), int8, shortlist
        self.invalidate()
        self.weights = [weight / math.fsum(weights) for weight in weights]

    @property
    def reversed_target(self) -> bool:
        """True if the networks write the last token of a sentence first."""
        return self.networks[0].config.reversed_target

    def invalidate(self) -> None:
        """Discard prepared weights, after a change that they cannot see (`model.cpu.weight_state`)."""
        self._steps: list[Step] = [network.step for network in self.networks]
        self._products = [Products() for _ in self.networks]

    def start(
        self,
        sources: Sequence[Sequence[int]],
        device: torch.device,
        coverage: bool = False,
        required: Sequence[Iterable[int]] = (),
    ) -> EnsembleState:
        """Encode the sources (ids without EOS) and return the state before the first token.

        Args:
            sources: the batch.
            device: where the networks are.
            coverage: whether the state sums up the attention on each source position.
            required: target ids that a vocabulary shortlist must include, for each sentence; empty: none.
        """
        src_ids, src_lengths = pad([[*ids, EOS_ID] for ids in sources])
        min_rows = 0 if self.int8 or self._rounds_alone() else MIN_ROWS
        rows = pad_rows(torch.arange(len(sources)), 1, min_rows)
        src_ids, src_lengths = src_ids[rows].to(device), src_lengths[rows].to(device)
        encoded = []
        for network, products in zip(self.networks, self._products, strict=True):
            with products.active():
                encoded.append(network.encode(src_ids, src_lengths))
        memories, decoders = zip(*encoded, strict=True)
        self._steps = [
            dispatch.decoder_step(network, step, self.int8)
            for network, step in zip(self.networks, self._steps, strict=True)
        ]
        attention = torch.zeros(len(rows), 1, memories[0].mask.shape[1], device=device) if coverage else None
        candidates = self.shortlist.candidates(sources, required, device) if self.shortlist else None
        steps = tuple(SearchStep(step, None if candidates is None else candidates.union) for step in self._steps)
        return EnsembleState(len(sources), min_rows, decoders, memories, attention, candidates, steps)

    def step(self, last: Int[Tensor, "batch beam"], state: EnsembleState) -> tuple[Prediction, EnsembleState]:
        """Return the prediction of the next token and the new state."""
        if len(last) < state.rows:  # padding
            last = torch.cat([last, last[:1].expand(state.rows - len(last), -1)])
        parts = zip(state.steps, state.decoders, state.memories, strict=True)
        results = (step(last, decoder, memory) for step, decoder, memory in parts)
        logits, decoders, attn_weights = zip(*results, strict=True)
        coverage = None if state.coverage is None else state.coverage + self._mean(attn_weights)
        logits = tuple(network_logits[: state.sentences] for network_logits in logits)
        if state.candidates is None:
            prediction = self._prediction(logits)
        else:
            prediction = self._prediction([state.candidates.own(network_logits) for network_logits in logits])
            vocab = self.networks[0].output.out_features
            prediction = dataclasses.replace(prediction, tokens=state.candidates.tokens, vocab=vocab)
        return prediction, dataclasses.replace(state, decoders=decoders, coverage=coverage)

    def coverage_penalty(self, state: EnsembleState) -> Float[Tensor, "batch beam"]:
        """Return the coverage penalty of every hypothesis (`length_penalty.coverage_penalty`)."""
        assert state.coverage is not None
        return coverage_penalty(state.coverage, state.memories[0].mask)[: state.sentences]

    def force_decode(
        self,
        sources: Sequence[Sequence[int]],
        targets: Sequence[Sequence[int]],
        device: torch.device,
        distributions: bool = False,
    ) -> list[ForcedDecoding]:
        """Run the decoder on given outputs (teacher forcing); ids without EOS, whose log p is the last one returned.

        Ids and results are in the order of the text, whatever the order in which the networks write.

        Args:
            sources: source ids.
            targets: ids of the outputs.
            device: where the networks are.
            distributions: also return the margins and entropies of the tokens' distributions.
        """
        rows = pad_rows(torch.arange(len(sources)), 1, MIN_ROWS).tolist()
        batch = make_batch([sources[i] for i in rows], [targets[i] for i in rows])
        batch = self.networks[0].ordered(batch).to(device)
        logits, tgt_out, attn_weights = zip(*(network(batch) for network in self.networks), strict=True)
        prediction = self._prediction([network_logits[None] for network_logits in logits])
        all_log_probs, tokens = prediction.log_probs[0], tgt_out[0][:, None]
        log_probs = all_log_probs.gather(1, tokens)[:, 0]
        lengths = [len(target) + 1 for target in targets]
        token_log_probs = torch.split(log_probs[: sum(lengths)], lengths)  # the logits have no padding positions
        margins, entropies = (
            (torch.split(values[: sum(lengths)], lengths) for values in _distributions(all_log_probs, tokens))
            if distributions
            else ([log_probs[:0]] * len(targets),) * 2
        )
        same_shape = all(weights.shape == attn_weights[0].shape for weights in attn_weights)
        attention = self._mean(attn_weights) if same_shape else attn_weights[0][..., :0]  # a network without attention
        decoded = [
            ForcedDecoding(
                token_log_probs[i].tolist(),
                attention[i, : lengths[i], : len(sources[i]) + 1],
                *(values.tolist() for values in (margin, entropy)),
            )
            for i, (margin, entropy) in enumerate(zip(margins, entropies, strict=True))
        ]
        return [one.mirrored() for one in decoded] if self.reversed_target else decoded

    def _rounds_alone(self) -> bool:
        low = bindings.compute_dtype(self.networks[0].output.weight) == torch.bfloat16
        return low or all(map(dispatch.rounds_alone, self.networks))

    def _prediction(self, logits: Sequence[Tensor]) -> Prediction:
        if len(logits) > 1:
            logits = [self._mean([_normalised(network_logits).log_probs for network_logits in logits])]
        return _normalised(logits[0])

    def _mean(self, values: Sequence[Tensor]) -> Tensor:
        if len(values) == 1:
            return values[0]
        return torch.stack([weight * value for weight, value in zip(self.weights, values, strict=True)]).sum(dim=0)


def _distributions(
    log_probs: Float[Tensor, "rows vocab"], tokens: Int[Tensor, "rows 1"]
) -> tuple[Float[Tensor, " rows"], Float[Tensor, " rows"]]:
    """Return log p of each token less the highest of the others, and the entropy; a few rows at a time, for memory."""
    margins, entropies = [], []
    for some, chosen in zip(log_probs.split(STATISTICS_ROWS), tokens.split(STATISTICS_ROWS), strict=True):
        others = some.scatter(1, chosen, -torch.inf).amax(1)
        margins.append(some.gather(1, chosen)[:, 0] - others)
        entropies.append(torch.special.entr(some.exp()).sum(1))
    return torch.cat(margins), torch.cat(entropies)


def _normalised(logits: Float[Tensor, "batch beam vocab"]) -> Prediction:
    if bindings.usable(logits):
        return Prediction(logits, bindings.log_sum_exp(logits))
    return Prediction(logits, torch.logsumexp(logits.to(bindings.sum_dtype(logits.dtype)), dim=-1))


def pad_rows(sentences: Int[Tensor, " kept"], beam: int, min_rows: int) -> Int[Tensor, " rows"]:
    """Repeat the first sentence until there are `min_rows` hypotheses with this beam, and at least two sentences."""
    missing = max(2, math.ceil(min_rows / beam)) - len(sentences)
    if not min_rows or missing <= 0 or len(sentences) == 0:
        return sentences
    return torch.cat([sentences, sentences[:1].expand(missing)])
