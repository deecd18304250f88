"""The same network, training step and beam search as a good tutorial writes them: the baseline of the benchmark.

It uses PyTorch's modules (`nn.LSTM` over packed sequences, `nn.LSTMCell` in a loop over time, `cross_entropy`) in fp32,
without memory optimisation but also without known waste: attention keys are projected once per sentence, and the
vocabulary projection runs once, after the loop, over positions without padding. With the same weights it computes the
same function as ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seq2seq.config.model import ModelConfig
from seq2seq.data.batches.batch import Batch, pad
from seq2seq.data.special_ids import BOS_ID, EOS_ID, PAD_ID, UNK_ID
from seq2seq.model.network import Seq2Seq

Cells = list[tuple[Tensor, Tensor]]  # (hidden, cell) of every decoder layer, each [rows, hidden]


class Textbook(nn.Module):
    """Bidirectional LSTM encoder, additive attention, LSTM decoder; both embeddings and the output layer are tied."""

    def __init__(self, config: ModelConfig, vocab: int) -> None:
        super().__init__()
        emb, hidden, context = config.emb_size, config.hidden_size, 2 * config.encoder_size
        self.hidden_size, self.num_layers = hidden, config.decoder_layers
        self.embedding = nn.Embedding(vocab, emb, padding_idx=PAD_ID)
        self.encoder = nn.LSTM(
            emb,
            config.encoder_size,
            config.encoder_layers,
            batch_first=True,
            bidirectional=True,
            dropout=config.dropout.layers if config.encoder_layers > 1 else 0.0,
        )
        self.bridge = nn.Linear(context, 2 * self.num_layers * hidden)
        self.attention = Attention(hidden, context, config.attention_size)
        sizes = [emb] + [hidden] * (self.num_layers - 1)
        self.cells = nn.ModuleList(nn.LSTMCell(size + context, hidden) for size in sizes)
        self.readout = nn.Linear(emb + hidden + context, emb)
        self.output = nn.Linear(emb, vocab)
        self.output.weight = self.embedding.weight
        nn.init.normal_(self.embedding.weight, std=emb**-0.5)
        self.embedding_dropout = nn.Dropout(config.dropout.embedding)
        self.layer_dropout = nn.Dropout(config.dropout.layers)
        self.context_dropout = nn.Dropout(config.dropout.context)
        self.readout_dropout = nn.Dropout(config.dropout.readout)

    def embed(self, ids: Int[Tensor, "*rows"]) -> Float[Tensor, "*rows emb"]:
        """Return embeddings scaled to unit variance."""
        embeddings: Tensor = self.embedding_dropout(self.embedding(ids) * math.sqrt(self.embedding.embedding_dim))
        return embeddings

    def encode(
        self, src_ids: Int[Tensor, "batch src_len"], src_lengths: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch src_len enc"], Float[Tensor, "batch src_len attn"], Cells]:
        """Return encoder states, attention keys and the initial decoder state."""
        packed = pack_padded_sequence(self.embed(src_ids), src_lengths, batch_first=True, enforce_sorted=False)
        packed_states, (last, _) = self.encoder(packed)
        states, _ = pad_packed_sequence(packed_states, batch_first=True)
        states = self.context_dropout(states)
        bridged = torch.tanh(self.bridge(torch.cat([last[-2], last[-1]], dim=-1)))
        hiddens, cells = bridged.view(len(src_ids), 2, self.num_layers, self.hidden_size).unbind(1)
        return states, self.attention.key(states), list(zip(hiddens.unbind(1), cells.unbind(1), strict=True))

    def step(
        self,
        words: Float[Tensor, "rows emb"],
        cells: Cells,
        states: Float[Tensor, "rows src_len enc"],
        keys: Float[Tensor, "rows src_len attn"],
        mask: Bool[Tensor, "rows src_len"],
    ) -> tuple[Float[Tensor, "rows features"], Cells]:
        """Advance by one token; return the input of the readout, [embedding; state; context], and the new state."""
        context = self.attention(cells[0][0], states, keys, mask)
        new: Cells = []
        below = words
        for layer, cell in zip(self.cells, cells, strict=True):
            inputs = self.layer_dropout(below) if new else below
            new.append(layer(torch.cat([inputs, context], dim=-1), cell))
            below = new[-1][0]
        return torch.cat([words, below, context], dim=-1), new

    def output_logits(self, features: Float[Tensor, "rows features"]) -> Float[Tensor, "rows vocab"]:
        """Return the logits of the next token."""
        logits: Tensor = self.output(self.readout_dropout(torch.tanh(self.readout(features))))
        return logits

    def forward(self, batch: Batch) -> tuple[Float[Tensor, "tokens vocab"], Int[Tensor, " tokens"]]:
        """Return logits and targets of all target positions without padding (teacher forcing)."""
        states, keys, cells = self.encode(batch.src_ids, batch.src_lengths)
        mask, words = batch.src_ids != PAD_ID, self.embed(batch.tgt_in)
        features = []
        for word in words.unbind(1):
            feature, cells = self.step(word, cells, states, keys, mask)
            features.append(feature)
        real = batch.tgt_out != PAD_ID
        return self.output_logits(torch.stack(features, dim=1)[real]), batch.tgt_out[real]


class Attention(nn.Module):
    """Additive attention (Bahdanau et al. 2015) with precomputed keys."""

    def __init__(self, query_size: int, encoder_size: int, attention_size: int) -> None:
        super().__init__()
        self.query = nn.Linear(query_size, attention_size, bias=False)
        self.key = nn.Linear(encoder_size, attention_size)
        self.energy = nn.Linear(attention_size, 1, bias=False)

    def forward(
        self,
        query: Float[Tensor, "rows query"],
        states: Float[Tensor, "rows src_len enc"],
        keys: Float[Tensor, "rows src_len attn"],
        mask: Bool[Tensor, "rows src_len"],
    ) -> Float[Tensor, "rows enc"]:
        """Return the context, the attention-weighted mean of the states."""
        energies = self.energy(torch.tanh(self.query(query)[:, None] + keys)).squeeze(-1)
        weights = torch.softmax(energies.masked_fill(~mask, float("-inf")), dim=-1)
        return torch.bmm(weights[:, None], states).squeeze(1)


def train_step(
    network: Textbook, optimizer: torch.optim.Optimizer, batch: Batch, smoothing: float, max_norm: float
) -> None:
    """Make one update."""
    optimizer.zero_grad()
    logits, targets = network(batch)
    F.cross_entropy(logits, targets, label_smoothing=smoothing).backward()
    nn.utils.clip_grad_norm_(network.parameters(), max_norm)
    optimizer.step()


@torch.inference_mode()
def beam_search(
    network: Textbook, sources: Sequence[Sequence[int]], limits: Sequence[int], beam_size: int, alpha: float
) -> list[list[int]]:
    """Return the best output of each source, as ids without EOS, by log p / ((5 + length) / 6)^alpha.

    The search ends when every sentence has `beam_size` finished outputs or has reached its limit.

    Args:
        network: in evaluation mode.
        sources: ids without EOS.
        limits: maximum length of each output, EOS included; EOS is forced at the limit.
        beam_size: hypotheses per sentence; 1 is greedy search.
        alpha: length penalty.
    """
    beams = Beams(network, sources, beam_size)
    limit = torch.tensor(limits)
    for length in range(1, max(limits) + 1):
        log_probs = beams.log_probs()
        log_probs[:, :, [PAD_ID, UNK_ID, BOS_ID]] = float("-inf")
        log_probs[limit == length] = only_eos(log_probs[limit == length])
        beams.advance(log_probs)
        beams.collect_finished(((5 + length) / 6) ** alpha)
        if all(len(ended) >= beam_size or limit <= length for ended, limit in zip(beams.finished, limits, strict=True)):
            break
    return [max(ended)[1] for ended in beams.finished]


class Beams:
    """The hypotheses of a batch, one per row; the encoder states are repeated for each hypothesis.

    Finished hypotheses are appended to `finished` with their scores and remain as dead rows; no sentence leaves the
    batch.
    """

    def __init__(self, network: Textbook, sources: Sequence[Sequence[int]], beam_size: int) -> None:
        self.network, self.beam_size = network, beam_size
        src_ids, src_lengths = pad([[*ids, EOS_ID] for ids in sources])
        states, keys, cells = network.encode(src_ids, src_lengths)
        rows = torch.arange(len(sources)).repeat_interleave(beam_size)
        self.states, self.keys, self.mask = states[rows], keys[rows], (src_ids != PAD_ID)[rows]
        self.cells = [(hidden[rows], cell[rows]) for hidden, cell in cells]
        self.tokens = torch.full((len(rows), 1), BOS_ID)
        self.scores = torch.full((len(sources), beam_size), float("-inf"))  # log p, -inf where dead
        self.scores[:, 0] = 0
        self.finished: list[list[tuple[float, list[int]]]] = [[] for _ in sources]

    def log_probs(self) -> Float[Tensor, "sentences beam vocab"]:
        """Return the log probabilities of the next tokens."""
        embeddings = self.network.embed(self.tokens[:, -1])
        features, self.cells = self.network.step(embeddings, self.cells, self.states, self.keys, self.mask)
        return torch.log_softmax(self.network.output_logits(features), dim=-1).view(*self.scores.shape, -1)

    def advance(self, log_probs: Float[Tensor, "sentences beam vocab"]) -> None:
        """Keep the `beam_size` best continuations of each sentence."""
        vocab = log_probs.shape[-1]
        self.scores, best = (self.scores[:, :, None] + log_probs).flatten(1).topk(self.beam_size)
        first_rows = torch.arange(len(best))[:, None] * self.beam_size
        parents = (first_rows + best // vocab).flatten()
        self.tokens = torch.cat([self.tokens[parents], (best % vocab).view(-1, 1)], dim=1)
        self.cells = [(hidden.index_select(0, parents), cell.index_select(0, parents)) for hidden, cell in self.cells]

    def collect_finished(self, penalty: float) -> None:
        """Move hypotheses that just ended to `finished` and mark their rows as dead."""
        ended = (self.tokens[:, -1].view_as(self.scores) == EOS_ID) & (self.scores > float("-inf"))
        for sentence, beam in ended.nonzero().tolist():
            output = self.tokens[sentence * self.beam_size + beam, 1:-1].tolist()
            self.finished[sentence].append((float(self.scores[sentence, beam]) / penalty, output))
        self.scores = self.scores.masked_fill(ended, float("-inf"))


def only_eos(log_probs: Float[Tensor, "rows beam vocab"]) -> Float[Tensor, "rows beam vocab"]:
    """Mask every token except EOS."""
    forced = torch.full_like(log_probs, float("-inf"))
    forced[:, :, EOS_ID] = log_probs[:, :, EOS_ID]
    return forced


def copy_of(network: Seq2Seq) -> Textbook:
    """Return the textbook network with the weights of `network`.

    Raises:
        ValueError: the config of `network` differs from the default in a part that the textbook network lacks.
    """
    parts = ("cell", "attention", "attention_heads", "tie_embeddings", "layer_norm", "residual", "coverage")
    for part in (*parts, "input_feeding"):
        value, default = getattr(network.config, part), getattr(ModelConfig(), part)
        if value != default:
            raise ValueError(f"the textbook network needs model.{part}={default}, not {value}")
    ours = network.state_dict()
    copy = Textbook(network.config, len(ours["output.weight"]))
    context = 2 * network.config.encoder_size
    weights = {name: ours[name] for name in ("output.weight", "output.bias")}
    weights["embedding.weight"] = ours["tgt_embedding.weight"]
    for part in ("bridge", "readout"):
        weights |= {f"{part}.{kind}": ours[f"decoder.{part}.{kind}"] for kind in ("weight", "bias")}
    for name in copy.attention.state_dict():
        weights[f"attention.{name}"] = ours[f"decoder.bottom.attention.{name}"]
    for name in copy.encoder.state_dict():  # weight_ih_l1_reverse is weight_ih_l0_reverse of our layer 1
        kind, _, place = name.partition("_l")
        weights[f"encoder.{name}"] = ours[f"encoder.layers.{place[0]}.{kind}_l0{place[1:]}"]
    recurrent = ours["decoder.bottom.recurrent.weight"]
    weights["cells.0.weight_ih"] = torch.cat([ours["decoder.bottom.word_gates.weight"], recurrent[:, :context]], dim=1)
    weights["cells.0.weight_hh"] = recurrent[:, context:]
    weights["cells.0.bias_ih"] = ours["decoder.bottom.word_gates.bias"]
    weights["cells.0.bias_hh"] = torch.zeros_like(weights["cells.0.bias_ih"])
    for number in range(1, network.config.decoder_layers):
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            weights[f"cells.{number}.{kind}"] = ours[f"decoder.upper.{number - 1}.{kind}_l0"]
    copy.load_state_dict(weights)
    return copy.to(network.output.weight.dtype).train(network.training)
