"""What gradients, gates and attention look like while a network learns; docs/diagnostics.md says how to read it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seq2seq.data.batch import Batch
from seq2seq.data.special_ids import PAD_ID
from seq2seq.model.attention import FixedContext
from seq2seq.model.cells import Cell, State
from seq2seq.model.layers import RecurrentLayer
from seq2seq.model.network import Seq2Seq
from seq2seq.model.padding import reversal
from seq2seq.runtime import evaluating
from seq2seq.training.loss import smoothed_cross_entropy

SENTENCES = 16  # at most so many are looked at, which bounds the time and memory of a diagnosis
CLOSED, OPEN = 0.1, 0.9  # a gate below or above is saturated
DIRECTIONS = ("forward", "backward")


@dataclass(frozen=True)
class Diagnosis:
    """Figures by part of the network; layers are counted from 1, the lowest (`encoder.1.backward`, `decoder.2`).

    Attributes:
        gradient_norm: L2 norm of the update's gradient, before clipping; their squares add up to the whole one's.
        gradient_back: by recurrent layer, how far the gradient of the last target word reaches back: element d is the
            norm of d(-log p of that word) / d(hidden state d steps before the last), a mean over sentences. The word
            is always EOS, the easiest one: as it is learned all norms fall together, which is not vanishing.
        gradient_slope: by recurrent layer, what log10 of that norm gains in a step back: below 0 it vanishes, above 0
            it explodes, whatever its height; NaN where no sentence has two steps.
        gates: by recurrent layer and gate, the share of activations that are `closed` (below 0.1) or `open` (above
            0.9).
        attention_entropy: of the attention weights at a target word, in nats; None without attention.
        attention_spread: the same divided by log(source length): 0 is one word, 1 all alike.
    """

    gradient_norm: dict[str, float]
    gradient_back: dict[str, list[float]]
    gradient_slope: dict[str, float]
    gates: dict[str, dict[str, dict[str, float]]]
    attention_entropy: float | None
    attention_spread: float | None

    def scalars(self) -> dict[str, float]:
        """Return all figures but the lists, by a name each."""
        found = {f"gradient_norm/{part}": value for part, value in self.gradient_norm.items()}
        found |= {f"gradient_slope/{layer}": value for layer, value in self.gradient_slope.items()}
        for layer, gates in self.gates.items():
            found |= {
                f"gates/{layer}/{gate}_{how}": share for gate, ends in gates.items() for how, share in ends.items()
            }
        if self.attention_entropy is not None and self.attention_spread is not None:
            found |= {"attention_entropy": self.attention_entropy, "attention_spread": self.attention_spread}
        return found

    def summary(self) -> str:
        """Return one line: the layer whose gradient changes fastest, attention, the mean over all gates."""
        layer = max(self.gradient_slope, key=lambda name: abs(self.gradient_slope[name]))
        back = self.gradient_back[layer]
        far = min(10, len(back) - 1)
        parts = [f"gradient {back[0]:.2g}, {far} steps back {back[far]:.2g} ({layer})"]
        if self.attention_spread is not None:
            parts.append(f"attention entropy {self.attention_entropy:.2f} ({self.attention_spread:.2f} of uniform)")
        ends = [ends for gates in self.gates.values() for ends in gates.values()]
        if ends:
            closed, open_ = (sum(share[how] for share in ends) / len(ends) for how in ("closed", "open"))
            parts.append(f"gates {closed:.0%} closed, {open_:.0%} open")
        return "; ".join(parts)


@dataclass
class Trace:
    """What one cell did: its hidden states and gates in the order of its steps."""

    hiddens: list[Tensor] = field(default_factory=list)
    gates: dict[str, list[Tensor]] = field(default_factory=dict)

    def watch(self, gates: dict[str, Tensor], state: State) -> None:
        """Keep one step."""
        self.hiddens.append(state.hidden)
        for name, values in gates.items():
            self.gates.setdefault(name, []).append(values)


def diagnose(network: Seq2Seq, batch: Batch) -> Diagnosis:
    """Look at the gradient that the parameters hold and at some sentences of `batch`; nothing is changed by it.

    The sentences are read once more, in evaluation mode and outside autocast, step by step: only so is there a hidden
    state at each step to differentiate by. The update itself is made by fused layers, which show none.
    """
    few = batch.split(-(-len(batch.src_lengths) // SENTENCES))[0].to(network.output.weight.device)
    tgt_lengths = (few.tgt_out != PAD_ID).sum(1)
    with evaluating(network), watching(network) as traces:
        readouts, targets, attn_weights = network.read_out(few)
        last = tgt_lengths.cumsum(0) - 1
        # Sentences do not see each other, so the gradient of the sum holds the gradient of each.
        loss, _ = smoothed_cross_entropy(network.output(readouts[last]), targets[last], 0.0)
        norms = hidden_gradient_norms(loss, traces)
    src_lengths, tgt_lengths, attn_weights = few.src_lengths.cpu(), tgt_lengths.cpu(), attn_weights.detach().cpu()
    lengths = {layer: src_lengths if layer.startswith("encoder") else tgt_lengths for layer in traces}
    attends = not isinstance(network.decoder.bottom.attention, FixedContext)
    entropy, spread = attention_entropy(attn_weights, src_lengths, tgt_lengths) if attends else (None, None)
    return Diagnosis(
        gradient_norm=gradient_norms(network),
        gradient_back={layer: mean_back(norms[layer], lengths[layer]) for layer in traces},
        gradient_slope={layer: slope_back(norms[layer], lengths[layer]) for layer in traces},
        gates={layer: saturation(trace, lengths[layer]) for layer, trace in traces.items() if trace.gates},
        attention_entropy=entropy,
        attention_spread=spread,
    )


@contextmanager
def watching(network: Seq2Seq) -> Iterator[dict[str, Trace]]:
    """Keep what every cell does inside, by layer; watched cells run step by step, and as before afterwards."""
    cells = cells_of(network)
    traces = {layer: Trace() for layer in cells}
    for layer, cell in cells.items():
        cell.watcher = traces[layer].watch
    try:
        yield traces
    finally:
        for cell in cells.values():
            cell.watcher = None


def cells_of(network: Seq2Seq) -> dict[str, Cell]:
    """Return every cell by the name of its layer, from the source up."""
    cells: dict[str, Cell] = {}
    for number, layer in enumerate(network.encoder.layers, start=1):
        assert isinstance(layer, RecurrentLayer)
        cells |= {f"encoder.{number}.{way}": layer.cell(d) for d, way in enumerate(DIRECTIONS)}
    cells["decoder.1"] = network.decoder.bottom.cell
    for number, layer in enumerate(network.decoder.upper, start=2):
        assert isinstance(layer, RecurrentLayer)
        cells[f"decoder.{number}"] = layer.cell(0)
    return cells


def gradient_norms(network: Seq2Seq) -> dict[str, float]:
    """Return the norm of the gradient that the parameters of each part hold; a tied matrix is an embedding."""
    gradients: dict[str, list[Tensor]] = {}
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            gradients.setdefault(part_of(name), []).append(parameter.grad)
    return {part: float(torch.nn.utils.get_total_norm(found)) for part, found in gradients.items()}


def part_of(parameter: str) -> str:
    """Return the part of the network that a parameter belongs to, from its name."""
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


def hidden_gradient_norms(loss: Float[Tensor, ""], traces: dict[str, Trace]) -> dict[str, Float[Tensor, "batch steps"]]:
    """Return, by layer, the norm of d loss / d hidden state for each sentence and step in the order of reading.

    It is the total derivative: through every later state and memory cell, attention and layers above; not through the
    memory cell of the same step, which no hidden state makes. No parameter's gradient is touched.
    """
    hiddens = [hidden for trace in traces.values() for hidden in trace.hiddens]
    gradients = iter(torch.autograd.grad(loss, hiddens))
    norms = {
        layer: _side_by_side([next(gradients) for _ in trace.hiddens]).norm(dim=-1) for layer, trace in traces.items()
    }
    return {layer: values.cpu() for layer, values in norms.items()}


def mean_back(norms: Float[Tensor, "batch steps"], lengths: Int[Tensor, " batch"]) -> list[float]:
    """Return the mean norm at each distance from a sentence's last step, over the sentences that are long enough."""
    back, mask = _from_the_end(norms, lengths)
    means: list[float] = (back.where(mask, 0).sum(0) / mask.sum(0)).tolist()
    return means


def slope_back(norms: Float[Tensor, "batch steps"], lengths: Int[Tensor, " batch"]) -> float:
    """Return the slope of the least-squares line through log10 of the norms over the distance from the last step.

    Each sentence has a line of its own height, so that long sentences, which alone reach far, do not bend it.
    """
    back, mask = _from_the_end(norms.double(), lengths)
    logs = back.clamp(min=torch.finfo(torch.float32).tiny).log10()
    distance = torch.arange(norms.shape[1], device=norms.device) - (lengths[:, None] - 1) / 2  # from each one's middle
    distance = distance.double().where(mask, 0)
    return float((distance * logs).sum() / distance.square().sum())


def saturation(trace: Trace, lengths: Int[Tensor, " batch"]) -> dict[str, dict[str, float]]:
    """Return the share of closed and open activations of each gate (Karpathy et al. 2015, section 4.2)."""
    _, mask = reversal(lengths, len(trace.hiddens))
    shares = {}
    for gate, steps in trace.gates.items():
        values = _side_by_side(steps).detach().cpu()[mask]
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
    """Return the mean of -sum_i alpha_i log alpha_i over target words, in nats, and as a share of log(source length).

    A source of one piece leaves no choice, so the share is that of the others.
    """
    _, mask = reversal(tgt_lengths, attn_weights.shape[1])
    entropy = torch.special.entr(attn_weights).sum(-1)
    choice = mask & (src_lengths > 1)[:, None]
    return float(entropy[mask].mean()), float((entropy / src_lengths.log()[:, None])[choice].mean())


def _from_the_end(
    values: Float[Tensor, "batch steps"], lengths: Int[Tensor, " batch"]
) -> tuple[Float[Tensor, "batch steps"], Bool[Tensor, "batch steps"]]:
    """Return each row from its last real step to its first, and the mask of real ones."""
    index, mask = reversal(lengths, values.shape[1])
    return values.gather(1, index), mask


def _side_by_side(steps: Sequence[Float[Tensor, "*rows units"]]) -> Float[Tensor, "batch steps units"]:
    """Stack steps, of which some have a dimension of one beam."""
    return torch.stack([values.flatten(0, -2) for values in steps], dim=1)
