"""The validation a trainer is given: loss of teacher forcing, BLEU of real translations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch

from seq2seq.batch import Batch
from seq2seq.data.corpus import ParallelText
from seq2seq.decoding.translator import Translator
from seq2seq.evaluation.metrics import bleu, chrf
from seq2seq.runtime import autocast, evaluating
from seq2seq.training.loss import output_loss
from seq2seq.training.trainer import Validation


class Validator:
    """Measures the network inside `translator` on a validation set; call it as often as you like."""

    def __init__(
        self, translator: Translator, batches: Callable[[], Iterable[Batch]], text: ParallelText, beam_size: int
    ) -> None:
        self._translator, self._batches, self._text, self._beam_size = translator, batches, text, beam_size

    def __call__(self) -> Validation:
        """Return mean negative log-likelihood, perplexity, BLEU and chrF."""
        loss = self._loss()
        hypotheses = self._translator.translate(self._text.src, beam_size=self._beam_size)
        perplexity = math.exp(loss) if loss < 700 else math.inf
        scores = (metric(hypotheses, self._text.tgt) for metric in (bleu, chrf))
        return Validation(loss, perplexity, *scores)

    def _loss(self) -> float:
        network, device = self._translator.network, self._translator.device
        total, tokens = torch.zeros((), dtype=torch.float64), 0
        with evaluating(network), torch.inference_mode(), autocast(device, self._translator.dtype):
            for batch in self._batches():
                readouts, targets, _ = network.read_out(batch.to(device))
                total += output_loss(network.output, readouts, targets, 0.0)[1].cpu()
                tokens += len(targets)
        return float(total) / tokens
