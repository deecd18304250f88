"""The gradient of an update: cut into parts over processes and memory, each part with random numbers of its own."""

from __future__ import annotations

import contextlib
import logging

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from seq2seq.atomic_files import first_line
from seq2seq.config.training import TrainingConfig
from seq2seq.data.batch import Batch
from seq2seq.errors import Seq2SeqError
from seq2seq.model.network import Seq2Seq
from seq2seq.runtime import autocast
from seq2seq.training.distributed import ProcessGroup
from seq2seq.training.loss import output_loss
from seq2seq.training.r_drop import r_drop_loss
from seq2seq.training.scheduled_sampling import mix_inputs

log = logging.getLogger(__name__)


class BatchLoss(nn.Module):
    """A network with the loss it is trained for; one module, so that gradients can be gathered from all ranks."""

    def __init__(self, network: Seq2Seq, config: TrainingConfig, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.config, self.dtype = network, config, dtype

    def forward(self, batch: Batch, ratio: float = 1.0) -> tuple[Tensor, Tensor]:
        """Return (training loss, negative log-likelihood), summed over the target tokens of the batch, in nats.

        Of the words that the decoder reads, so large a `ratio` is the reference's, the others are its own.
        """
        smoothing, alpha = self.config.label_smoothing, self.config.r_drop
        with autocast(batch.src_ids.device, self.dtype):
            batch = mix_inputs(self.network, batch, ratio)
            readouts, targets, _ = self.network.read_out(batch.twice() if alpha else batch)
            if alpha:
                return r_drop_loss(self.network.output, readouts, targets, smoothing, alpha)
            return output_loss(self.network.output, readouts, targets, smoothing)


class GradientAccumulator:
    """Makes gradients. A batch is cut into ranks × micro-batches; part i goes to rank i mod ranks.

    The random numbers of a part (dropout, sampled inputs) are a function of (seed, step, number of the part). So N
    ranks with one part each and one rank with N parts make the same gradient up to rounding, and nothing need be saved.
    """

    def __init__(self, network: Seq2Seq, config: TrainingConfig, dtype: torch.dtype, ranks: ProcessGroup) -> None:
        self._loss, self._config, self._ranks = BatchLoss(network, config, dtype), config, ranks
        self._shared: nn.Module | None = None
        self.splits = 1
        """Into how many times as many micro-batches as configured a batch is cut, for want of memory."""
        self.device, self.dtype = next(network.parameters()).device, dtype

    def accumulate(self, batch: Batch, step: int, ratio: float = 1.0) -> float:
        """Add the gradient of `batch`, divided by all its tokens, and return the nll of this rank's share, summed.

        The decoder is fed a word of the reference with probability `ratio` (training/scheduled_sampling.py).

        Out of memory, a process that works alone cuts the batch into smaller parts and begins again.

        Raises:
            Seq2SeqError: a single sentence, or one of several processes, has not enough memory.
        """
        if self._shared is None:  # not earlier: the weights may have been loaded since
            self._shared = self._ranks.wrap(self._loss)
        while True:
            try:
                return self._gradient(self._shared, batch, step, ratio)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                told = first_line(error)
            # Not in the handler: the exception keeps the tensors of the failed part alive.
            if self._ranks.size > 1 or self._micro_batches >= len(batch.src_lengths):
                raise Seq2SeqError(
                    f"out of memory ({told}): lower training.batch_tokens or raise training.micro_batches "
                    f"({self._micro_batches})"
                )
            self._split_further(told)

    @property
    def _micro_batches(self) -> int:
        return self._config.micro_batches * self.splits

    def accumulate_part(self, part: Batch) -> None:
        """Add the gradient of one part, as `gradient` does; for measuring what it needs."""
        self._loss.train()
        self._backward(self._loss, part, part.tgt_tokens, last=True)

    def fit_to_memory(self, batch: Batch, copies: int) -> None:
        """Find out, before the first update, in how many parts the batch that needs most memory is computed.

        With room for so many `copies` of the weights that do not exist yet (Adam's moments). Nothing else is changed.

        Raises:
            Seq2SeqError: one sentence by itself is too much.
        """
        self._loss.train()
        moments = [torch.empty_like(weight) for weight in self._loss.parameters() for _ in range(copies)]
        while True:
            told = ""
            try:
                self._gradient(self._loss, batch, step=0)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                told = first_line(error)
            self._loss.zero_grad(set_to_none=True)
            failed = max(row[0] for row in self._ranks.all_gather([float(bool(told))]))
            if not failed:
                break
            if self._micro_batches * self._ranks.size >= len(batch.src_lengths):
                told = told or "in another process"
                raise Seq2SeqError(f"out of memory with a single sentence ({told}): lower data.max_length")
            self._split_further(told)
        del moments

    def _split_further(self, told: str) -> None:
        self._loss.zero_grad(set_to_none=True)
        self.splits *= 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        log.warning("out of memory (%s): from now on %d micro-batches an update", told, self._micro_batches)

    def _gradient(self, module: nn.Module, batch: Batch, step: int, ratio: float = 1.0) -> float:
        ranks, tokens = self._ranks, batch.tgt_tokens
        parts = batch.split(ranks.size * self._micro_batches)
        mine = list(enumerate(parts))[ranks.rank :: ranks.size]
        nll = torch.zeros((), device=self.device)
        for number, part in mine:
            self._seed(step, number)
            nll += self._backward(module, part, tokens, ratio, last=number == mine[-1][0])
        if not mine:  # more ranks than sentences: nothing to add, but the others wait for this rank's gradient
            self._backward(module, parts[0], tokens, last=True, weight=0.0)
        return float(nll)  # a CPU–GPU sync

    def _backward(
        self, module: nn.Module, part: Batch, tokens: int, ratio: float = 1.0, *, last: bool, weight: float = 1.0
    ) -> Tensor:
        """Add the gradient of one part; the ranks' gradients are averaged with that of each one's last part."""
        waits = last or not isinstance(module, DistributedDataParallel)
        with contextlib.nullcontext() if waits else module.no_sync():  # type: ignore[operator]
            losses: tuple[Tensor, Tensor] = module(part.to(self.device), ratio)
            self._ranks.backward(losses[0] * (weight * self._ranks.size / tokens))
        return losses[1]

    def _seed(self, step: int, part: int) -> None:
        sequence = np.random.SeedSequence([self._config.seed, step, part])
        torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0]))


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in str(error) for words in ("can't allocate memory", "out of memory")
    )
