"""Gates and states of every recurrent layer at each token of one sentence pair."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from seq2seq.inference.target_order import mirrored
from seq2seq.inference.word_effects import ForcedPair, forced_batch
from seq2seq.model.network import Seq2Seq
from seq2seq.model.tracing import CLOSED, OPEN, Trace, hidden_gradient_norms, stack_steps, tracing

ACTIVATION = "activation"


@dataclass(frozen=True)
class Gate:
    """The activations of one gate, by token.

    Attributes:
        mean: over units.
        closed: share of units below 0.1.
        open: share of units above 0.9.
    """

    mean: list[float]
    closed: list[float]
    open: list[float]


@dataclass(frozen=True)
class Layer:
    """What one recurrent layer does in one direction; each list has a value per token of its side, in text order.

    The values of the decoder at token t are those of the step that predicts token t.

    Attributes:
        name: `encoder.1.forward`, `encoder.1.backward`, `decoder.1`, …, from the lowest layer up.
        side: whose tokens it reads: source or target.
        gates: input, forget and output of an LSTM; reset and update of a GRU; of a plain RNN, which has no gates,
            `activation`, the absolute value of its units.
        hidden_norm: L2 norm of the hidden state.
        cell_norm: L2 norm of the memory cell of an LSTM; None: the cell has none.
        gradient_norm: L2 norm of d log p(target word that is written last) / d hidden state: how far the gradient
            reaches back.
    """

    name: str
    side: str
    gates: dict[str, Gate]
    hidden_norm: list[float]
    cell_norm: list[float] | None
    gradient_norm: list[float]


@dataclass(frozen=True)
class Pass:
    """One pass through the network, step by step.

    Attributes:
        token_log_probs: log p of each target token and EOS.
        attn_weights: of each target token and EOS to each source token and EOS.
        layers: from the lowest layer up.
    """

    token_log_probs: list[float]
    attn_weights: Float[Tensor, "tgt_len src_len"]
    layers: list[Layer]


def observe(network: Seq2Seq, pair: ForcedPair) -> Pass:
    """Force the output of a pair on the network, with cells in plain operations, and return what they did."""
    batch = forced_batch(network, pair, 1)
    vectors = network.embed_source(batch.src_ids).detach().requires_grad_()  # frozen weights have gradients, too
    with tracing(network) as traces:
        readouts, targets, attn_weights = network.read_out(batch, vectors)
    log_probs = network.output(readouts).log_softmax(-1).gather(1, targets[:, None])[:, 0]
    words, backwards = pair.written_words(network), network.config.reversed_target
    norms = hidden_gradient_norms(log_probs[list(words[0 if backwards else -1])].sum(), traces)
    layers = [_layer(name, trace, norms[name][0], backwards) for name, trace in traces.items()]
    if not backwards:
        return Pass(log_probs.tolist(), attn_weights[0].detach(), layers)
    return Pass(mirrored(log_probs.tolist()), attn_weights[0, mirrored(range(pair.tgt_len))].detach(), layers)


@torch.no_grad()
def _layer(name: str, trace: Trace, gradient_norm: Float[Tensor, " steps"], backwards: bool) -> Layer:
    hidden, memory = stack_steps(trace.hiddens)[0], stack_steps(trace.memories)[0]
    gates = {gate: stack_steps(steps)[0] for gate, steps in trace.gates.items()} or {ACTIVATION: hidden.abs()}
    encoder = name.startswith("encoder")
    flipped = name.endswith("backward")

    def by_token(values: Tensor) -> list[float]:
        ordered: list[float] = (values.flip(0) if flipped else values).tolist()
        return mirrored(ordered) if backwards and not encoder else ordered

    def gate(values: Tensor) -> Gate:
        figures = values.mean(-1), (values < CLOSED).float().mean(-1), (values > OPEN).float().mean(-1)
        return Gate(*map(by_token, figures))

    return Layer(
        name,
        "source" if encoder else "target",
        {title: gate(values) for title, values in gates.items()},
        by_token(hidden.norm(dim=-1)),
        by_token(memory.norm(dim=-1)) if memory.shape[-1] else None,
        by_token(gradient_norm),
    )
