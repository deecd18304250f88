"""The minimal matrix products of a training or search step, and their time: an upper bound of its speed.

`share_gemm` of a step is the time of these products, each measured alone with a warm cache, divided by the time of the
whole step. Products that do not depend on the recurrence are one product over all positions. The others are one product
per time step, and so are their input gradients; the gradient of a recurrent weight is one product over all steps. No
product is counted twice, so recomputation lowers the share.
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

MIN_SEC, MIN_REPEATS = 0.01, 3


@dataclass(frozen=True)
class Product:
    """`count` times `batch` products [m, k] @ [k, n]; `transposed` names the operand ("a", "b") stored transposed."""

    name: str
    m: int
    k: int
    n: int
    count: int = 1
    batch: int = 1
    transposed: str = ""

    @property
    def flops(self) -> int:
        """Number of floating-point operations, counting multiplications and additions."""
        return 2 * self.m * self.k * self.n * self.count * self.batch


class BatchShape(NamedTuple):
    """Sizes of a padded training batch; `tgt_tokens` excludes padding and includes EOS."""

    rows: int
    src_len: int
    tgt_len: int
    tgt_tokens: int


class SearchStep(NamedTuple):
    """Sizes of one search step: unfinished sentences, hypotheses per sentence, padded source length."""

    sentences: int
    beam: int
    src_len: int


class Matrix(NamedTuple):
    """`copies` weight matrices [outputs, inputs] that are applied to inputs of the same shape."""

    name: str
    inputs: int
    outputs: int
    copies: int = 1


class Matrices(NamedTuple):
    """The weight matrices of the network, grouped by what they are applied to."""

    src_positions: list[Matrix]
    src_steps: list[Matrix]  # sequential
    sentences: list[Matrix]
    tgt_positions: list[Matrix]
    tgt_steps: list[Matrix]  # sequential
    tgt_tokens: list[Matrix]  # without padding


def matrices(model: ModelConfig, vocab: int) -> Matrices:
    """Return the matrices of a network with additive attention, except the vector of the energies."""
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
    src_positions, tgt_positions, parts = rows * src_len, rows * tgt_len, matrices(model, vocab)
    parallel = [(src_positions, parts.src_positions), (rows, parts.sentences), (tgt_positions, parts.tgt_positions)]
    parallel.append((tgt_tokens, parts.tgt_tokens))
    sequential = [(src_len, parts.src_steps), (tgt_len, parts.tgt_steps)]
    return [
        *(product for m, group in parallel for matrix in group for product in _trained(matrix, m)),
        *(product for steps, group in sequential for matrix in group for product in _trained(matrix, rows, steps)),
        *_attention(src_positions, model.attention_size, tgt_len),
        Product("context", 1, src_len, 2 * model.encoder_size, tgt_len, rows),
        Product("context, gradient of the weights", 1, 2 * model.encoder_size, src_len, tgt_len, rows, "b"),
        Product("context, gradient of the states", src_len, tgt_len, 2 * model.encoder_size, 1, rows, "a"),
    ]


def _trained(matrix: Matrix, m: int, steps: int = 1) -> list[Product]:
    """Return forward and gradient products of a matrix that is applied to `m` rows in each of `steps` steps."""
    name, inputs, outputs, copies = matrix
    return [
        Product(name, m, inputs, outputs, steps * copies, transposed="b"),
        Product(f"{name}, gradient of the input", m, outputs, inputs, steps * copies),
        Product(f"{name}, gradient of the weight", outputs, m * steps, inputs, copies, transposed="a"),
    ]


def _attention(positions: int, size: int, steps: int) -> list[Product]:
    """Return the products with the vector of the energies at `positions` source positions and each of `steps` steps.

    Its gradient is computed in every step, too: keeping the tanh outputs of all steps would double the memory.
    """
    return [
        Product("energies", positions, size, 1, steps, transposed="b"),
        Product("energies, gradient of the input", positions, 1, size, steps),
        Product("energies, gradient of the weight", 1, positions, size, steps, transposed="a"),
    ]


def search_products(
    model: ModelConfig, vocab: int, rows: int, src_len: int, steps: Iterable[SearchStep]
) -> list[Product]:
    """Return the products of translating `rows` sentences together with the given search steps."""
    parts = matrices(model, vocab)
    parallel = [(rows * src_len, parts.src_positions), (rows, parts.sentences)]
    products = [_applied(matrix, m) for m, group in parallel for matrix in group]
    products += [_applied(matrix, rows, src_len) for matrix in parts.src_steps]
    for sentences, beam, positions in steps:
        hypotheses = sentences * beam
        products += [_applied(matrix, hypotheses) for group in parts[3:] for matrix in group]
        products.append(Product("energies", hypotheses * positions, model.attention_size, 1, transposed="b"))
        products.append(Product("context", beam, positions, 2 * model.encoder_size, 1, sentences))
    return products


def _applied(matrix: Matrix, m: int, steps: int = 1) -> Product:
    return Product(matrix.name, m, matrix.inputs, matrix.outputs, steps * matrix.copies, transposed="b")


def measure(products: Iterable[Product], dtype: torch.dtype) -> float:
    """Return the seconds of all products; each distinct product is timed alone."""
    return sum(p.count * _seconds(p.m, p.k, p.n, p.batch, p.transposed, dtype) for p in products)


@functools.cache
def _seconds(m: int, k: int, n: int, batch: int, transposed: str, dtype: torch.dtype) -> float:
    a, b = _operand(batch, m, k, transposed == "a", dtype), _operand(batch, k, n, transposed == "b", dtype)
    out = torch.empty(batch, m, n, dtype=dtype)
    multiply, a, b, out = (torch.bmm, a, b, out) if batch > 1 else (torch.mm, a[0], b[0], out[0])
    times: list[float] = []  # the first repeat has a cold cache, which does not change the median
    while len(times) < MIN_REPEATS or sum(times) < MIN_SEC:
        start = time.perf_counter()
        multiply(a, b, out=out)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _operand(batch: int, rows: int, columns: int, transposed: bool, dtype: torch.dtype) -> Tensor:
    if transposed:
        return torch.randn(batch, columns, rows).to(dtype).transpose(1, 2)
    return torch.randn(batch, rows, columns).to(dtype)
