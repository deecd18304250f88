"""What keeps a bad update away from the weights, and says that training goes astray."""

from __future__ import annotations

import logging
import math

from seq2seq.errors import Seq2SeqError
from seq2seq.training.checkpoint import Progress

WINDOW = 100  # updates that mean and deviation of the loss are taken over
SPIKE_DEVIATIONS = 6.0
log = logging.getLogger(__name__)


def skip(progress: Progress, most: int) -> None:
    """Count an update that may not reach the weights, since its loss or its gradient norm is not a number.

    Raises:
        Seq2SeqError: it is the `most`-th in a row.
    """
    progress.skipped += 1
    progress.skipped_in_a_row += 1
    log.warning("step %d: loss or gradient is not finite; update skipped", progress.step)
    if progress.skipped_in_a_row >= most:
        raise Seq2SeqError(
            f"training diverged: {most} updates in a row were not finite (training.max_skipped); "
            "lower training.learning_rate or training.max_grad_norm, or set training.precision=fp32"
        )


def is_spike(progress: Progress, loss: float) -> bool:
    """Return whether the loss per token is far above that of the updates before it; take it into their mean.

    Mean and variance are exponential averages over `WINDOW` updates (West 1979). A spike counts as if it were at the
    threshold: one alone hardly moves them, and a loss that stays high is soon no spike any more.
    """
    mean = progress.loss_mean
    threshold = mean + SPIKE_DEVIATIONS * math.sqrt(progress.loss_variance)
    spike = progress.losses >= WINDOW and loss > threshold
    value = min(loss, threshold) if spike else loss
    progress.losses += 1
    weight = 1 / min(progress.losses, WINDOW)
    change = value - mean
    progress.loss_mean = mean + weight * change
    progress.loss_variance = (1 - weight) * (progress.loss_variance + weight * change * change)
    if spike:
        log.warning("step %d: loss %.3f, the mean of the last %d updates is %.3f", progress.step, loss, WINDOW, mean)
    return spike
