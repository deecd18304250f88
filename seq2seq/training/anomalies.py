"""Anomalies of training: updates that are not finite, and spikes of the loss."""

from __future__ import annotations

import logging
import math

from seq2seq.errors import Seq2SeqError
from seq2seq.training.progress import Progress

WINDOW = 100  # updates in the moving average of the loss
SPIKE_DEVIATIONS = 6.0
log = logging.getLogger(__name__)


def record_skip(progress: Progress, step: int, max_skipped: int, *, lowered_to: float = 0.0) -> None:
    """Count update `step`, which is skipped because its loss or gradient norm is not finite.

    With fp16 the loss scale starts high, and every overflow halves it. Such a skip does not count for the limit while
    the scale stays at least 1: below it the scale cannot be the cause, so a scale that never settles ends the run, too.

    Args:
        progress: its counters are raised.
        step: number of the update.
        max_skipped: the limit.
        lowered_to: the loss scale, if the loss was finite and the gradient overflowed with twice that scale.

    Raises:
        Seq2SeqError: it is the `max_skipped`-th in a row.
    """
    progress.skipped += 1
    if lowered_to >= 1:
        log.warning("step %d: fp16 gradient overflows; update skipped, loss scale lowered to %g", step, lowered_to)
        return
    progress.skipped_in_a_row += 1
    log.warning("step %d: loss or gradient is not finite; update skipped", step)
    if progress.skipped_in_a_row >= max_skipped:
        raise Seq2SeqError(
            f"training diverged: {max_skipped} updates in a row were not finite (training.max_skipped); "
            "lower training.learning_rate or training.max_grad_norm, or set training.precision=fp32"
        )


def record_loss(progress: Progress, step: int, loss: float) -> bool:
    """Add the loss per token of update `step` to its moving average; return True if it is a spike.

    A spike is more than `SPIKE_DEVIATIONS` standard deviations above the mean. Mean and variance are exponential
    averages over `WINDOW` updates (West 1979). A spike enters them as the threshold itself: a single one hardly moves
    them, and a loss that stays high soon stops being a spike.
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
        log.warning("step %d: loss %.3f, the mean of the last %d updates is %.3f", step, loss, WINDOW, mean)
    return spike
