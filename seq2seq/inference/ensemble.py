"""What one network, or several together, say next: the step function of every search, and forced decoding.

Results do not depend on which other sentences share a batch. How a row of a matrix product is rounded depends on the
number of rows only below `ROWS` (fp32 on the CPUs tried), so small batches are filled up with copies of their first
sentence. Not in bf16 and int8, whose rounding differs more: there a lone sentence is answered in half the time instead.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seq2seq.data.batch import make_batch, pad
from seq2seq.data.special_ids import EOS_ID
from seq2seq.inference.vocabulary_shortlist import Shortlist
from seq2seq.kernels import bindings
from seq2seq.model.attention import AttentionMemory
from seq2seq.model.cpu import dispatch
from seq2seq.model.cpu.decoder_step import CompiledStep, Step
from seq2seq.model.cpu.packed_linear import Linear
from seq2seq.model.decoder import DecoderState
from seq2seq.model.network import Seq2Seq
from seq2seq.search.length_penalty import coverage_penalty
from seq2seq.search.protocols import Prediction

ROWS = 16


@dataclass(frozen=True)
class PredictorState:
    """Every network's decoder state, and its memory: without beam dimension, as every beam reads the same.

    The first `sentences` rows are real, the rest fills the batch up to `least` hypotheses. `coverage` is the attention
    each source position has got so far [rows, beam, src_len], where it is asked for. `words` are the tokens that may be
    said, where not all, and `outputs` every network's projection to them (None: it makes all logits).
    """

    sentences: int
    least: int
    decoders: tuple[DecoderState, ...]
    memories: tuple[AttentionMemory, ...]
    coverage: Float[Tensor, "rows beam src_len"] | None
    words: Int[Tensor, " words"] | None = None
    outputs: tuple[Linear | None, ...] = ()

    def reorder(self, parents: Int[Tensor, "batch new_beam"]) -> PredictorState:
        """Return the state whose beam k is this state's beam `parents[:, k]`."""
        state = self
        if self.least:
            rows = filled(torch.arange(len(parents), device=parents.device), parents.shape[1], self.least)
            state, parents = self if len(rows) == self.rows else self._select(rows), parents[rows]
        first = torch.arange(len(parents), device=parents.device)[:, None] * self.decoders[0].hidden.shape[1]
        index, shape = (parents + first).flatten(), parents.shape

        def chosen(tensor: Tensor) -> Tensor:
            return tensor.flatten(0, 1).index_select(0, index).view(*shape, *tensor.shape[2:])

        return state._map(chosen)

    def keep(self, sentences: Int[Tensor, " kept"]) -> PredictorState:
        """Return the state of these sentences only, in this order."""
        beam = self.decoders[0].hidden.shape[1]
        state = self._select(filled(sentences, beam, self.least))
        return dataclasses.replace(state, sentences=len(sentences))

    @property
    def rows(self) -> int:
        """Sentences, the filling ones included."""
        return len(self.decoders[0].hidden)

    def _select(self, rows: Tensor) -> PredictorState:
        memories = tuple(AttentionMemory(*(tensor[rows] for tensor in memory)) for memory in self.memories)
        return dataclasses.replace(self._map(lambda tensor: tensor[rows]), memories=memories)

    def _map(self, change: Callable[[Tensor], Tensor]) -> PredictorState:
        decoders = tuple(DecoderState(*map(change, decoder)) for decoder in self.decoders)
        coverage = None if self.coverage is None else change(self.coverage)
        return dataclasses.replace(self, decoders=decoders, coverage=coverage)


@dataclass(frozen=True)
class Forced:
    """What the model thinks of a given output: log p of each token and EOS, and where it looked to say them."""

    token_log_probs: list[float]
    attn_weights: Float[Tensor, "tgt_len src_len"]


class Predictor:
    """Networks that share a vocabulary, asked together: the weighted mean of their log-probabilities, renormalised.

    That is the normalised geometric mean of their distributions. Attention is their weighted arithmetic mean.
    """

    def __init__(
        self,
        networks: Sequence[Seq2Seq],
        weights: Sequence[float] | None = None,
        int8: bool = False,
        shortlist: Shortlist | None = None,
    ) -> None:
        weights = weights or [1.0] * len(networks)
        self.networks, self.int8, self.shortlist = list(networks), int8, shortlist
        self.forget()
        self.weights = [weight / math.fsum(weights) for weight in weights]

    def forget(self) -> None:
        """Prepare the weights anew at the next start: they may have changed."""
        self._steps: list[Step] = [network.step for network in self.networks]

    def start(
        self,
        sources: Sequence[Sequence[int]],
        device: torch.device,
        coverage: bool = False,
        wanted: Iterable[int] = (),
    ) -> PredictorState:
        """Read the sources (ids without EOS) and return the state before the first token.

        Args:
            sources: the batch.
            device: where the networks are.
            coverage: whether the state is to hold the attention that each source position has got.
            wanted: target ids that the shortlist must hold.
        """
        src_ids, src_lengths = pad([[*ids, EOS_ID] for ids in sources])
        least = 0 if self.int8 or bindings.compute_dtype(self.networks[0].output.weight) == torch.bfloat16 else ROWS
        rows = filled(torch.arange(len(sources)), 1, least)
        src_ids, src_lengths = src_ids[rows].to(device), src_lengths[rows].to(device)
        encoded = [network.encode(src_ids, src_lengths) for network in self.networks]
        memories, decoders = zip(*encoded, strict=True)
        self._steps = [
            dispatch.decoder_step(network, step, self.int8)
            for network, step in zip(self.networks, self._steps, strict=True)
        ]
        received = torch.zeros(len(rows), 1, memories[0].mask.shape[1], device=device) if coverage else None
        words = self.shortlist.words(sources, wanted).to(device) if self.shortlist else None
        outputs = tuple(
            step.output_of(words) if words is not None and isinstance(step, CompiledStep) else None
            for step in self._steps
        )
        return PredictorState(len(sources), least, decoders, memories, received, words, outputs)

    def step(self, last: Int[Tensor, "batch beam"], state: PredictorState) -> tuple[Prediction, PredictorState]:
        """Return what comes next, and the new state."""
        if len(last) < state.rows:  # what fills the batch up
            last = torch.cat([last, last[:1].expand(state.rows - len(last), -1)])
        parts = zip(self._steps, state.outputs, state.decoders, state.memories, strict=True)
        logits, decoders, attn_weights = zip(*(_say(last, state.words, *part) for part in parts), strict=True)
        coverage = None if state.coverage is None else state.coverage + self._mean(attn_weights)
        prediction = self._prediction([one[: state.sentences] for one in logits])
        if state.words is not None:
            vocab = self.networks[0].output.out_features
            prediction = dataclasses.replace(prediction, tokens=state.words, vocab=vocab)
        return prediction, dataclasses.replace(state, decoders=decoders, coverage=coverage)

    def coverage_penalty(self, state: PredictorState) -> Float[Tensor, "batch beam"]:
        """Return `ranking.coverage_penalty` of every hypothesis that ends here."""
        assert state.coverage is not None
        return coverage_penalty(state.coverage, state.memories[0].mask)[: state.sentences]

    def force(
        self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], device: torch.device
    ) -> list[Forced]:
        """Run the decoder over given outputs (teacher forcing); ids come without EOS, whose log p is the last."""
        rows = filled(torch.arange(len(sources)), 1, ROWS).tolist()
        batch = make_batch([sources[i] for i in rows], [targets[i] for i in rows]).to(device)
        logits, tokens, attn_weights = zip(*(network(batch) for network in self.networks), strict=True)
        log_probs = self._prediction([one[None] for one in logits]).log_probs[0].gather(1, tokens[0][:, None])[:, 0]
        lengths = [len(target) + 1 for target in targets]
        said = torch.split(log_probs[: sum(lengths)], lengths)  # padding has been left out
        same = all(one.shape == attn_weights[0].shape for one in attn_weights)  # not where one has no attention
        looked = self._mean(attn_weights) if same else attn_weights[0][..., :0]
        return [Forced(said[i].tolist(), looked[i, : lengths[i], : len(sources[i]) + 1]) for i in range(len(sources))]

    def _prediction(self, logits: Sequence[Tensor]) -> Prediction:
        if len(logits) > 1:
            logits = [self._mean([_normalised(one).log_probs for one in logits])]
        return _normalised(logits[0])

    def _mean(self, values: Sequence[Tensor]) -> Tensor:
        if len(values) == 1:
            return values[0]
        return torch.stack([weight * value for weight, value in zip(self.weights, values, strict=True)]).sum(dim=0)


def _say(
    last: Tensor,
    words: Tensor | None,
    step: Step,
    output: Linear | None,
    decoder: DecoderState,
    memory: AttentionMemory,
) -> tuple[Tensor, DecoderState, Tensor]:
    if output is not None and isinstance(step, CompiledStep):
        return step(last, decoder, memory, output)
    logits, decoder, attn_weights = step(last, decoder, memory)
    return logits if words is None else logits[:, :, words], decoder, attn_weights


def _normalised(logits: Float[Tensor, "batch beam vocab"]) -> Prediction:
    if bindings.usable(logits):
        return Prediction(logits, bindings.log_sum_exp(logits.contiguous()))
    return Prediction(logits, torch.logsumexp(logits.to(bindings.sum_dtype(logits.dtype)), dim=-1))


def filled(sentences: Int[Tensor, " kept"], beam: int, least: int) -> Int[Tensor, " rows"]:
    """Repeat the first sentence until there are `least` hypotheses with this beam, and at least two sentences."""
    missing = max(2, math.ceil(least / beam)) - len(sentences)
    if not least or missing <= 0 or len(sentences) == 0:
        return sentences
    return torch.cat([sentences, sentences[:1].expand(missing)])
