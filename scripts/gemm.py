"""The least matrix products that a step must make, and how long they take on their own: the ceiling of its speed.

A step's `share_gemm` is the time of these products, each timed hot by itself, divided by the time of the whole step.
Products that do not depend on the recurrence are one over all positions; those that do are made at every time step,
with their gradients to the input, while the gradient of a recurrent weight is one product over all steps. Nothing is
counted twice, so what a step recomputes lowers its share.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from seq2seq.config.model import ModelConfig

LEAST_SEC, LEAST_REPEATS = 0.01, 3


@dataclass(frozen=True)
class Product:
    """`count` times `batch` products [m, k] @ [k, n]; `flipped` names the operand that lies transposed in memory."""

    name: str
    m: int
    k: int
    n: int
    count: int = 1
    batch: int = 1
    flipped: str = ""

    @property
    def flops(self) -> int:
        """Floating-point operations of all of them, a multiplication and an addition each counted."""
        return 2 * self.m * self.k * self.n * self.count * self.batch


class BatchShape(NamedTuple):
    """Sizes of a padded training batch; `tgt_tokens` are the real ones, EOS included."""

    rows: int
    src_len: int
    tgt_len: int
    tgt_tokens: int


class SearchStep(NamedTuple):
    """Sizes of one step of a search: sentences not yet finished, hypotheses of each, padded source length."""

    sentences: int
    beam: int
    src_len: int


class Matrix(NamedTuple):
    """A weight matrix [outputs, inputs]; `copies` of that size are applied to inputs of the same shape."""

    name: str
    inputs: int
    outputs: int
    copies: int = 1


class Matrices(NamedTuple):
    """The network's weight matrices, by what they are applied to."""

    src_positions: list[Matrix]
    src_steps: list[Matrix]  # one after the other
    sentences: list[Matrix]
    tgt_positions: list[Matrix]
    tgt_steps: list[Matrix]  # one after the other
    tgt_tokens: list[Matrix]  # padding left out


def matrices(model: ModelConfig, vocab: int) -> Matrices:
    """Return every matrix of a network with additive attention, but the energy's vector."""
    emb, enc, hidden, context = model.emb_size, model.encoder_size, model.hidden_size, 2 * model.encoder_size
    layers, upper = model.encoder_layers, model.decoder_layers - 1
    return Matrices(
        src_positions=[
            Matrix("encoder input, layer 1", emb, 4 * enc, 2),
            *[Matrix("encoder input, layers above", 2 * enc, 4 * enc, 2 * (layers - 1))][: layers - 1],
            Matrix("keys", context, model.attention_size),
        ],
        src_steps=[Matrix("encoder recurrence", enc, 4 * enc, 2 * layers)],
        sentences=[Matrix("bridge", context, 2 * model.decoder_layers * hidden)],
        tgt_positions=[
            Matrix("words", emb, 4 * hidden),
            *[Matrix("decoder input, layers above", hidden + context, 4 * hidden, upper)][:upper],
            Matrix("readout", emb + hidden + context, emb),
        ],
        tgt_steps=[
            Matrix("query", hidden, model.attention_size),
            Matrix("decoder recurrence, layer 1", context + hidden, 4 * hidden),
            *[Matrix("decoder recurrence, layers above", hidden, 4 * hidden, upper)][:upper],
        ],
        tgt_tokens=[Matrix("vocabulary", emb, vocab)],
    )


def training_products(model: ModelConfig, vocab: int, shape: BatchShape) -> list[Product]:
    """Return the products of one training step: forward, gradients of the inputs, gradients of the weights."""
    rows, src_len, tgt_len, tgt_tokens = shape
    read, written, parts = rows * src_len, rows * tgt_len, matrices(model, vocab)
    at_once = [(read, parts.src_positions), (rows, parts.sentences), (written, parts.tgt_positions)]
    at_once.append((tgt_tokens, parts.tgt_tokens))
    in_turn = [(src_len, parts.src_steps), (tgt_len, parts.tgt_steps)]
    return [
        *(product for m, group in at_once for matrix in group for product in _trained(matrix, m)),
        *(product for steps, group in in_turn for matrix in group for product in _trained(matrix, rows, steps)),
        *_attention(read, model.attention_size, tgt_len),
        Product("context", 1, src_len, 2 * model.encoder_size, tgt_len, rows),
        Product("context, gradient of the weights", 1, 2 * model.encoder_size, src_len, tgt_len, rows, "b"),
        Product("context, gradient of the states", src_len, tgt_len, 2 * model.encoder_size, 1, rows, "a"),
    ]


def _trained(matrix: Matrix, m: int, steps: int = 1) -> list[Product]:
    """Return the three products of a matrix that is applied to `m` rows, `steps` times one after the other."""
    name, inputs, outputs, copies = matrix
    return [
        Product(name, m, inputs, outputs, steps * copies, flipped="b"),
        Product(f"{name}, gradient of the input", m, outputs, inputs, steps * copies),
        Product(f"{name}, gradient of the weight", outputs, m * steps, inputs, copies, flipped="a"),
    ]


def _attention(read: int, size: int, steps: int) -> list[Product]:
    """Return the products with the energy's vector, one for each of `read` source positions and `steps`.

    Its gradient, too, is made at every step: all tanh layers together would be a tensor as large as all other memory.
    """
    return [
        Product("energies", read, size, 1, steps, flipped="b"),
        Product("energies, gradient of the input", read, 1, size, steps),
        Product("energies, gradient of the weight", 1, read, size, steps, flipped="a"),
    ]


def search_products(
    model: ModelConfig, vocab: int, rows: int, src_len: int, steps: Iterable[SearchStep]
) -> list[Product]:
    """Return the products of translating `rows` sentences together, of which some are finished before others."""
    parts = matrices(model, vocab)
    at_once = [(rows * src_len, parts.src_positions), (rows, parts.sentences)]
    products = [_applied(matrix, m) for m, group in at_once for matrix in group]
    products += [_applied(matrix, rows, src_len) for matrix in parts.src_steps]
    for sentences, beam, positions in steps:
        said = sentences * beam
        products += [_applied(matrix, said) for group in parts[3:] for matrix in group]
        products.append(Product("energies", said * positions, model.attention_size, 1, flipped="b"))
        products.append(Product("context", beam, positions, 2 * model.encoder_size, 1, sentences))
    return products


def _applied(matrix: Matrix, m: int, steps: int = 1) -> Product:
    return Product(matrix.name, m, matrix.inputs, matrix.outputs, steps * matrix.copies, flipped="b")


def measure(products: Iterable[Product], dtype: torch.dtype) -> float:
    """Return the seconds that all products take, each kind timed by itself with its operands in place."""
    return sum(one.count * _seconds(one.m, one.k, one.n, one.batch, one.flipped, dtype) for one in products)


@functools.cache
def _seconds(m: int, k: int, n: int, batch: int, flipped: str, dtype: torch.dtype) -> float:
    a, b = _operand(batch, m, k, flipped == "a", dtype), _operand(batch, k, n, flipped == "b", dtype)
    out = torch.empty(batch, m, n, dtype=dtype)
    multiply, a, b, out = (torch.bmm, a, b, out) if batch > 1 else (torch.mm, a[0], b[0], out[0])
    times: list[float] = []  # the first one is cold, which does not move the median
    while len(times) < LEAST_REPEATS or sum(times) < LEAST_SEC:
        start = time.perf_counter()
        multiply(a, b, out=out)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _operand(batch: int, rows: int, columns: int, flipped: bool, dtype: torch.dtype) -> Tensor:
    if flipped:
        return torch.randn(batch, columns, rows).to(dtype).transpose(1, 2)
    return torch.randn(batch, rows, columns).to(dtype)
