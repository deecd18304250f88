"""Gradient accumulation over micro-batches and ranks, with random numbers that do not depend on the number of ranks."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn.parallel import DistributedDataParallel

from seq2seq.config.training import TrainingConfig
from seq2seq.data.batches.batch import Batch
from seq2seq.errors import Seq2SeqError, first_line
from seq2seq.model.network import Seq2Seq
from seq2seq.runtime import autocast
from seq2seq.training.distributed import ProcessGroup
from seq2seq.training.loss import output_loss
from seq2seq.training.minimum_risk import CandidateSearch, find_candidates, longest_candidates, minimum_risk_loss
from seq2seq.training.progress import Progress
from seq2seq.training.r_drop import r_drop_loss
from seq2seq.training.records import NO_SUMS
from seq2seq.training.scheduled_sampling import mix_inputs

ROWS_ON_GPU = 8  # rows are filled up to a multiple of it, which tensor cores and cuDNN's persistent kernels need
Counts = NDArray[np.int64]
log = logging.getLogger(__name__)


class BatchLoss(nn.Module):
    """A network with its training loss: one module, as DistributedDataParallel hooks into a module's forward."""

    def __init__(
        self, network: Seq2Seq, config: TrainingConfig, dtype: torch.dtype, find: CandidateSearch | None = None
    ) -> None:
        super().__init__()
        self.network, self.config, self.dtype, self.find = network, config, dtype, find

    def forward(self, batch: Batch, ratio: float = 1.0) -> tuple[Tensor, ...]:
        """Return (training loss, negative log-likelihood), summed over the target tokens of the batch, in nats.

        With minimum-risk training the risk and the candidates' score follow, summed like those of `UpdateSums`. With
        several corpora both follow in any case, and then the negative log-likelihood of each corpus. `ratio` is the
        probability of feeding the reference token; otherwise the model's own prediction is fed.
        """
        if batch.corpora is None:
            return self._losses(batch, ratio)
        tokens = len(batch.real_positions()[0])
        token_nll = torch.empty(tokens, dtype=self.network.output.weight.dtype, device=batch.src_ids.device)
        loss, nll, *risk = self._losses(batch, ratio, token_nll)
        return loss, nll, *(risk or nll.new_zeros(2)), *batch.corpus_sums(token_nll)

    def _losses(self, batch: Batch, ratio: float, token_nll: Tensor | None = None) -> tuple[Tensor, ...]:
        smoothing, alpha = self.config.label_smoothing, self.config.r_drop
        with autocast(batch.src_ids.device, self.dtype):
            if self.config.minimum_risk.weight:
                assert self.find is not None
                candidates = find_candidates(self.network, self.find, batch)
                return minimum_risk_loss(self.network, batch, candidates, self.config, token_nll)
            batch = mix_inputs(self.network, batch, ratio)
            readouts, targets, _ = self.network.read_out(batch.twice() if alpha else batch)
            if alpha:
                return r_drop_loss(self.network.output, readouts, targets, smoothing, alpha, token_nll)
            return output_loss(self.network.output, readouts, targets, smoothing, token_nll)

    @contextlib.contextmanager
    def longest_candidates(self) -> Iterator[None]:
        """Train, inside the block, on as many candidates as allowed, each as long as allowed: they need most memory."""
        found = self.find
        if found is not None:
            self.find = functools.partial(longest_candidates, found, self.config.minimum_risk.samples)
        try:
            yield
        finally:
            self.find = found


class GradientAccumulator:
    """Accumulates the gradient of an update, part by part.

    A batch is cut into ranks × micro-batches parts; rank r of R computes the parts r, r + R, r + 2 R ... The random
    numbers of a part (dropout, sampled inputs and candidates) are a function of (seed, step, part). So R ranks with one
    part each and one rank with R parts make the same gradient up to rounding, and no generator's state needs to be
    saved.
    """

    def __init__(
        self,
        network: Seq2Seq,
        config: TrainingConfig,
        dtype: torch.dtype,
        group: ProcessGroup,
        progress: Progress,
        find: CandidateSearch | None = None,
    ) -> None:
        self._loss, self._config = BatchLoss(network, config, dtype, find), config
        self._group, self._progress = group, progress
        self._wrapped: nn.Module | None = None
        self.device = next(network.parameters()).device
        self.rows = ROWS_ON_GPU if self.device.type == "cuda" and not config.minimum_risk.weight else 1
        # Gradients of fp16 underflow without a scale (Micikevicius et al. 2018, section 3.2); otherwise it is 1.
        self.scaler = GradScaler(self.device.type, enabled=dtype == torch.float16)

    def accumulate(self, batch: Batch, step: int, ratio: float = 1.0) -> Float[Tensor, " figures"]:
        """Add the gradient of the mean loss per token of `batch`; return the `UpdateSums` of this rank's parts.

        The negative log-likelihood of each corpus of a mix follows. The gradient is multiplied by the loss scale, and
        the sums are on the device: reading them is a CPU–GPU sync. `ratio` is the teacher-forcing ratio. If memory runs
        out, a single process cuts the batch into smaller parts and starts again.

        Raises:
            Seq2SeqError: out of memory with a single sentence, or with several processes.
        """
        if self._wrapped is None:  # only now: wrapping broadcasts the weights, which may have been loaded since
            self._wrapped = self._group.wrap(self._loss)
        while True:
            sums, error = self._try(self._wrapped, batch, step, ratio)
            if not error:
                return sums
            if self._group.size > 1 or self._micro_batches >= len(batch.src_lengths):
                if self._group.size == 1:
                    raise Seq2SeqError(f"out of memory with a single sentence ({error}): lower data.max_length")
                raise Seq2SeqError(
                    f"out of memory ({error}): lower training.batch_tokens or raise training.micro_batches "
                    f"({self._micro_batches})"
                )
            self._split_further(error)

    def update_scale(self) -> Float[Tensor, ""]:
        """Adapt the loss scale after an update; return the new one if an overflow has lowered it, else 0."""
        if not self.scaler.is_enabled():
            return torch.zeros((), device=self.device)
        one = torch.ones((), device=self.device)
        before = self.scaler.scale(one)  # `get_scale` would be a CPU–GPU sync
        self.scaler.update()
        after = self.scaler.scale(one)
        return after * (after < before)

    def filled_rows(self, rows: Counts) -> Counts:
        """Return how many rows the largest part of a batch of `rows` rows has, with the rows of padding."""
        largest = -(-rows // (self._group.size * self._micro_batches))
        return np.where(largest < self.rows, largest, -(-largest // self.rows) * self.rows)

    def accumulate_part(self, part: Batch) -> None:
        """Add the gradient of one part as `accumulate` does, to measure its memory."""
        self._loss.train()
        with self._loss.longest_candidates():
            self._backward(self._loss, part, part.tgt_tokens, last=True)

    def fit_to_memory(self, batch: Batch, copies: int) -> None:
        """Cut batches into smaller parts until the gradient of `batch` fits, with room for `copies` of all weights.

        The copies are those that do not exist yet (Adam's moments). Gradients are reset afterwards.

        Raises:
            Seq2SeqError: out of memory with a single sentence, or with the copies.
        """
        self._loss.train()
        with enough_memory("the state of the optimizer"):
            moments = [weight.new_empty(copies, *weight.shape) for weight in self._loss.parameters()]
        while True:
            with self._loss.longest_candidates():
                _, error = self._try(self._loss, batch, step=0)
            self._loss.zero_grad(set_to_none=True)
            failed = max(row[0] for row in self._group.all_gather([float(bool(error))]))
            if not failed:
                break
            error = error or "on another rank"
            if self._micro_batches * self._group.size >= len(batch.src_lengths):
                raise Seq2SeqError(f"out of memory with a single sentence ({error}): lower data.max_length")
            self._split_further(error)
        del moments

    @property
    def _micro_batches(self) -> int:
        return self._config.micro_batches * self._progress.splits

    def _try(self, module: nn.Module, batch: Batch, step: int, ratio: float = 1.0) -> tuple[Tensor, str]:
        """Return (sums, ""), or (zeros, reason) if memory ran out.

        The caller reacts outside the except block, which keeps the tensors of the failed part alive.
        """
        try:
            return self._gradient(module, batch, step, ratio), ""
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            return torch.tensor(NO_SUMS), first_line(error)

    def _split_further(self, reason: str) -> None:
        self._loss.zero_grad(set_to_none=True)
        self._progress.splits *= 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        log.warning("out of memory (%s): from now on %d micro-batches per update", reason, self._micro_batches)

    def _gradient(self, module: nn.Module, batch: Batch, step: int, ratio: float) -> Tensor:
        group, tokens = self._group, batch.tgt_tokens
        parts = batch.split(group.size * self._micro_batches)
        own = list(enumerate(parts))[group.rank :: group.size]
        corpora = batch.corpora.names if batch.corpora else ()
        sums = torch.zeros(len(NO_SUMS) + len(corpora), device=self.device)
        for number, part in own:
            self._seed(step, number)
            figures = self._backward(module, part, tokens, ratio, last=number == own[-1][0])
            sums[: len(figures)] += figures
        if not own:  # more ranks than sentences: add a zero gradient, as the other ranks wait for this one
            self._backward(module, parts[0], tokens, last=True, weight=0.0)
        return sums

    def _backward(
        self, module: nn.Module, part: Batch, tokens: int, ratio: float = 1.0, *, last: bool, weight: float = 1.0
    ) -> Float[Tensor, " figures"]:
        """Add the gradient of one part and return its nll, and the other sums of `accumulate` that it has.

        Gradients are averaged over ranks with the `last` part.
        """
        syncs = last or not isinstance(module, DistributedDataParallel)
        with contextlib.nullcontext() if syncs else module.no_sync():  # type: ignore[operator]
            losses: tuple[Tensor, ...] = module(self._filled(part).to(self.device), ratio)
            loss = losses[0] * (weight * self._group.size / tokens)  # times size: the sum, not the mean
            self._group.backward(self.scaler.scale(loss))
        return torch.stack(losses[1:])

    def _filled(self, part: Batch) -> Batch:
        """Return the part with a multiple of `rows` rows; a smaller one as it is, so that splitting saves memory.

        `filled_rows` counts them.
        """
        return part.filled(self.rows) if len(part.src_lengths) >= self.rows else part

    def _seed(self, step: int, part: int) -> None:
        sequence = np.random.SeedSequence([self._config.seed, step, part])
        torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0]))


@contextlib.contextmanager
def enough_memory(what: str) -> Iterator[None]:
    """Raise one line if memory runs out inside the block, which allocates `what`.

    Raises:
        Seq2SeqError: instead of RuntimeError.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        raise Seq2SeqError(
            f"out of memory with {what} ({first_line(error)}): lower model.hidden_size or the other sizes of the model"
        ) from error


def _is_out_of_memory(error: RuntimeError) -> bool:
    # The last one is of cuBLAS and cuDNN (CUBLAS_STATUS_ALLOC_FAILED), which allocate memory of their own.
    messages = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(message in str(error) for message in messages)
