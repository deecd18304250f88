"""Diagnostics of training: gradient norms, gate saturation, attention entropy.

docs/explanation/diagnostics.md interprets them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seq2seq.data.batches.batch import Batch
from seq2seq.data.special_ids import PAD_ID
from seq2seq.model.attention import FixedContext
from seq2seq.model.network import Seq2Seq
from seq2seq.model.padding import reversal
from seq2seq.model.tracing import CLOSED, DIRECTIONS, OPEN, Trace, hidden_gradient_norms, stack_steps, tracing
from seq2seq.runtime import evaluating
from seq2seq.training.loss import smoothed_cross_entropy

SENTENCES = 16  # at most, which bounds the time and memory of a diagnosis


@dataclass(frozen=True)
class Diagnosis:
    """Figures by part of the network. Layers are numbered from 1, the lowest (`encoder.1.backward`, `decoder.2`).

    Attributes:
        gradient_norm: L2 norm of the gradient of each part before clipping; the squares sum to that of the whole norm.
        gradient_back: by recurrent layer, a curve over the distance d from the last step: the norm of
            d(-log p of the last target token) / d(hidden state d steps before the last), averaged over sentences. The
            token is always EOS, which is easy: as it is learned, all norms shrink together, which is not vanishing.
        gradient_slope: by recurrent layer, the slope of log10 of that norm per step back: below 0 the gradient
            vanishes, above 0 it explodes. NaN if no sentence has two steps.
        gates: by recurrent layer and gate, the share of activations that are `closed` (below 0.1) or `open` (above
            0.9).
        attention_entropy: mean entropy of the attention weights of a target token, in nats; None without attention.
        attention_spread: the entropy divided by log(source length): 0 for one source token, 1 for uniform attention.
    """

    gradient_norm: dict[str, float]
    gradient_back: dict[str, list[float]]
    gradient_slope: dict[str, float]
    gates: dict[str, dict[str, dict[str, float]]]
    attention_entropy: float | None
    attention_spread: float | None

    def scalars(self) -> dict[str, float]:
        """Return all figures except the curves, by name."""
        figures = {f"gradient_norm/{part}": value for part, value in self.gradient_norm.items()}
        figures |= {f"gradient_slope/{layer}": value for layer, value in self.gradient_slope.items()}
        for layer, gates in self.gates.items():
            figures |= {
                f"gates/{layer}/{gate}_{end}": share for gate, shares in gates.items() for end, share in shares.items()
            }
        if self.attention_entropy is not None and self.attention_spread is not None:
            figures |= {"attention_entropy": self.attention_entropy, "attention_spread": self.attention_spread}
        return figures

    def summary(self) -> str:
        """Return one line: the layer with the steepest gradient, attention, and the mean over all gates."""
        layer = max(self.gradient_slope, key=lambda name: abs(self.gradient_slope[name]))
        curve = self.gradient_back[layer]
        distance = min(10, len(curve) - 1)
        parts = [f"gradient {curve[0]:.2g}, {distance} steps back {curve[distance]:.2g} ({layer})"]
        if self.attention_spread is not None:
            parts.append(f"attention entropy {self.attention_entropy:.2f} ({self.attention_spread:.2f} of uniform)")
        shares = [shares for gates in self.gates.values() for shares in gates.values()]
        if shares:
            closed, open_ = (sum(share[end] for share in shares) / len(shares) for end in ("closed", "open"))
            parts.append(f"gates {closed:.0%} closed, {open_:.0%} open")
        return "; ".join(parts)


def diagnose(network: Seq2Seq, batch: Batch) -> Diagnosis:
    """Diagnose the gradient that the parameters hold, and the first sentences of `batch`; change neither.

    The sentences go through the network again, in evaluation mode, without autocast and step by step: the fused layers
    of an update have no hidden state per step to differentiate by.
    """
    few = batch.split(-(-len(batch.src_lengths) // SENTENCES))[0].to(network.output.weight.device)
    tgt_lengths = (few.tgt_out != PAD_ID).sum(1)
    with evaluating(network), tracing(network) as traces:
        readouts, targets, attn_weights = network.read_out(few)
        last = tgt_lengths.cumsum(0) - 1
        # Sentences are independent, so the gradient of the sum holds the gradient of each.
        loss, _ = smoothed_cross_entropy(network.output(readouts[last]), targets[last], 0.0)
        norms = hidden_gradient_norms(loss, traces)
    src_lengths, tgt_lengths, attn_weights = few.src_lengths.cpu(), tgt_lengths.cpu(), attn_weights.detach().cpu()
    lengths = {layer: src_lengths if layer.startswith("encoder") else tgt_lengths for layer in traces}
    attends = not isinstance(network.decoder.bottom.attention, FixedContext)
    entropy, spread = attention_entropy(attn_weights, src_lengths, tgt_lengths) if attends else (None, None)
    return Diagnosis(
        gradient_norm=gradient_norms(network),
        gradient_back={layer: mean_by_distance(norms[layer], lengths[layer]) for layer in traces},
        gradient_slope={layer: slope_by_distance(norms[layer], lengths[layer]) for layer in traces},
        gates={layer: saturation(trace, lengths[layer]) for layer, trace in traces.items() if trace.gates},
        attention_entropy=entropy,
        attention_spread=spread,
    )


def gradient_norms(network: Seq2Seq) -> dict[str, float]:
    """Return the norm of the gradient by part of the network; a tied matrix belongs to the embeddings."""
    gradients: dict[str, list[Tensor]] = {}
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            gradients.setdefault(part_of(name), []).append(parameter.grad)
    return {part: float(torch.nn.utils.get_total_norm(tensors)) for part, tensors in gradients.items()}


def part_of(parameter: str) -> str:
    """Return the part of the network that a parameter belongs to, by its name."""
    match parameter.split("."):
        case ["encoder", "layers", number, *rest]:
            backward = rest[:2] == ["cells", "1"] or rest[-1].endswith("_reverse")
            return f"encoder.{int(number) + 1}.{DIRECTIONS[backward]}"
        case ["decoder", "bottom", "attention", *_]:
            return "attention"
        case ["decoder", "bottom", *_]:
            return "decoder.1"
        case ["decoder", "upper", number, *_]:
            return f"decoder.{int(number) + 2}"
        case ["decoder", part, *_]:  # bridge, readout
            return part
        case ["src_embedding" | "tgt_embedding", *_]:
            return "embeddings"
        case [part, *_]:
            return part
    raise AssertionError(parameter)


def mean_by_distance(norms: Float[Tensor, "batch steps"], lengths: Int[Tensor, " batch"]) -> list[float]:
    """Return the mean norm at each distance from the last step, over the sentences that are long enough."""
    back, mask = _reversed_rows(norms, lengths)
    means: list[float] = (back.where(mask, 0).sum(0) / mask.sum(0)).tolist()
    return means


def slope_by_distance(norms: Float[Tensor, "batch steps"], lengths: Int[Tensor, " batch"]) -> float:
    """Return the least-squares slope of log10(norm) over the distance from the last step.

    Each sentence has an intercept of its own, so that a different level of the long sentences does not bias the slope.
    """
    back, mask = _reversed_rows(norms.double(), lengths)
    logs = back.clamp(min=torch.finfo(torch.float32).tiny).log10()
    distance = torch.arange(norms.shape[1], device=norms.device) - (lengths[:, None] - 1) / 2  # centred per sentence
    distance = distance.double().where(mask, 0)
    return float((distance * logs).sum() / distance.square().sum())


def saturation(trace: Trace, lengths: Int[Tensor, " batch"]) -> dict[str, dict[str, float]]:
    """Return the share of closed and open activations of each gate (Karpathy et al. 2015, section 4.2)."""
    _, mask = reversal(lengths, len(trace.hiddens))
    shares = {}
    for gate, steps in trace.gates.items():
        values = stack_steps(steps).detach().cpu()[mask]
        shares[gate] = {
            "closed": float((values < CLOSED).double().mean()),
            "open": float((values > OPEN).double().mean()),
        }
    return shares


def attention_entropy(
    attn_weights: Float[Tensor, "batch tgt_len src_len"],
    src_lengths: Int[Tensor, " batch"],
    tgt_lengths: Int[Tensor, " batch"],
) -> tuple[float, float]:
    """Return the mean of -sum_i alpha_i log alpha_i over target tokens: in nats, and divided by log(source length).

    Sources of one token, whose log length is 0, are left out of the second figure.
    """
    _, mask = reversal(tgt_lengths, attn_weights.shape[1])
    entropy = torch.special.entr(attn_weights).sum(-1)
    longer = mask & (src_lengths > 1)[:, None]
    return float(entropy[mask].mean()), float((entropy / src_lengths.log()[:, None])[longer].mean())


def _reversed_rows(
    values: Float[Tensor, "batch steps"], lengths: Int[Tensor, " batch"]
) -> tuple[Float[Tensor, "batch steps"], Bool[Tensor, "batch steps"]]:
    """Return each row from its last real step to its first, and the mask of real steps."""
    index, mask = reversal(lengths, values.shape[1])
    return values.gather(1, index), mask
