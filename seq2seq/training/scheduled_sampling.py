"""Scheduled sampling: the decoder learns to go on from what it said itself (Bengio et al. 2015)."""

from __future__ import annotations

import dataclasses
import math

import torch

from seq2seq.config.training import SamplingScheduleName, ScheduledSamplingConfig
from seq2seq.data.batch import Batch
from seq2seq.data.special_ids import EOS_ID, PAD_ID
from seq2seq.model.cpu import dispatch
from seq2seq.model.network import Seq2Seq
from seq2seq.runtime import evaluating

STEEPNESS = 20.0  # k of the inverse sigmoid: its middle half of the run has 0.7 of the fall


def teacher_forcing_ratio(config: ScheduledSamplingConfig, share_done: float) -> float:
    """Return the probability with which a word of the reference is fed: epsilon of Bengio et al. 2015, section 2.4.

    It falls from 1 at the beginning of the run to `final_ratio` at its end, whatever the run is bounded by. The
    paper's curves are functions of the number i of the update; here the rate at which i grows is such that they do so.

    Args:
        config: curve and final ratio.
        share_done: share of the run that is over, by whichever limit is nearest (steps, epochs or minutes).
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
            first, now, last = map(_inverse_sigmoid, (0.0, done, 1.0))
            return final + (1 - final) * (now - last) / (first - last)


def _inverse_sigmoid(done: float) -> float:
    """Return k / (k + exp(i / k)), with i from 0 to 2 k log k: the part that is symmetrical about the middle."""
    return STEEPNESS / (STEEPNESS + math.pow(STEEPNESS, 2 * done))


def choose_inputs(network: Seq2Seq, batch: Batch, ratio: float) -> Batch:
    """Return the batch with some words of `tgt_in` replaced by those that the network says in their place.

    A coin is tossed for every word of every sentence, drawn from torch's generator: with probability `ratio` the word
    of the reference is fed, else the likeliest word after all that was fed before. As in the paper no gradient flows
    through the choice, so that all of it can be made first, and the chosen words are then learned from like any others.

    Dropout is off: the mistakes to learn from are those of the network that translates. What a translation never goes
    on from (EOS, which ends it, and PAD, BOS and UNK, which are never said) is never fed; the reference's word is. BOS,
    padding and what must be said (`tgt_out`) stay as they are.
    """
    if ratio >= 1:
        return batch
    own = torch.rand(batch.tgt_in.shape) >= ratio  # on the CPU: the same coins on every device
    own = own.to(batch.tgt_in.device) & (batch.tgt_in != PAD_ID)
    with evaluating(network), torch.no_grad():
        step = dispatch.decoder_step(network, network.step)
        memory, state = network.encode(batch.src_ids, batch.src_lengths)
        fed = [batch.tgt_in[:, :1]]
        for word, wanted in zip(batch.tgt_in[:, 1:].split(1, dim=1), own[:, 1:].split(1, dim=1), strict=True):
            logits, state, _ = step(fed[-1], state, memory)
            said = logits.argmax(dim=2)
            fed.append(torch.where(wanted & (said > EOS_ID), said, word))
    # Weights that autocast converted here have no gradient, and it would use them again.
    torch.clear_autocast_cache()
    return dataclasses.replace(batch, tgt_in=torch.cat(fed, dim=1))
