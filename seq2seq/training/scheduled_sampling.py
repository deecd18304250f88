"""Scheduled sampling: the decoder is sometimes fed its own predictions in training (Bengio et al. 2015)."""

from __future__ import annotations

import dataclasses
import math

import torch

from seq2seq.config.training import SamplingScheduleName, ScheduledSamplingConfig
from seq2seq.data.batches.batch import Batch
from seq2seq.data.special_ids import EOS_ID, PAD_ID
from seq2seq.model.cpu import dispatch
from seq2seq.model.network import Seq2Seq
from seq2seq.runtime import evaluating

STEEPNESS = 20.0  # k of the inverse sigmoid; the middle half of the run makes 0.7 of the decay


def teacher_forcing_ratio(config: ScheduledSamplingConfig, share_done: float) -> float:
    """Return the probability of feeding the reference token: epsilon of Bengio et al. 2015, section 2.4.

    It decays from 1 to `final_ratio` over the run. The paper's curves are functions of the update i; here i is scaled
    such that the final ratio is reached at the end of the run.

    Args:
        config: schedule and final ratio.
        share_done: share of the run that is over, by the nearest limit (steps, epochs or minutes).
    """
    final, done = config.final_ratio, min(1.0, share_done)
    match config.schedule:
        case SamplingScheduleName.none:
            return 1.0
        case SamplingScheduleName.linear:
            return 1 - (1 - final) * done
        case SamplingScheduleName.exponential:  # k^i
            return math.pow(final, done)
        case SamplingScheduleName.inverse_sigmoid:
            first, current, last = map(_inverse_sigmoid, (0.0, done, 1.0))
            return final + (1 - final) * (current - last) / (first - last)


def _inverse_sigmoid(done: float) -> float:
    """Return k / (k + exp(i / k)) with i = 2 k log(k) * done, which is point-symmetric about done = 1/2."""
    return STEEPNESS / (STEEPNESS + math.pow(STEEPNESS, 2 * done))


def mix_inputs(network: Seq2Seq, batch: Batch, ratio: float) -> Batch:
    """Return the batch with some tokens of `tgt_in` replaced by the model's own predictions.

    With probability `ratio` (drawn for each token from torch's generator) the reference token is fed, otherwise the
    most probable token given the tokens fed before. As in the paper no gradient flows through the prediction, so that
    all inputs are computed first, without gradient, and then trained on like a reference.

    Dropout is off, as in translation, whose errors are to be learned from. Where the prediction is PAD, UNK, BOS or
    EOS, which a translation never continues from, the reference token is fed. BOS, padding and `tgt_out` are unchanged.
    """
    if ratio >= 1:
        return batch
    replaced = torch.rand(batch.tgt_in.shape) >= ratio  # drawn on the CPU, to be the same on every device
    replaced = replaced.to(batch.tgt_in.device) & (batch.tgt_in != PAD_ID)
    with evaluating(network), torch.no_grad():
        step = dispatch.decoder_step(network, network.step)
        memory, state = network.encode(batch.src_ids, batch.src_lengths)
        fed = [batch.tgt_in[:, :1]]
        columns = (tensor[:, 1:].split(1, dim=1) for tensor in (batch.tgt_in, replaced))
        for reference, replace in zip(*columns, strict=True):
            logits, state, _ = step(fed[-1], state, memory)
            predicted = logits.argmax(dim=2)
            fed.append(torch.where(replace & (predicted > EOS_ID), predicted, reference))
    # Otherwise autocast would reuse the weights that it cast here, without gradient, in the training pass.
    torch.clear_autocast_cache()
    return dataclasses.replace(batch, tgt_in=torch.cat(fed, dim=1))
