"""The optimizer and the learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.autograd.graph import increment_version

from seq2seq.config.training import OptimizerName, ScheduleName, TrainingConfig


def make_optimizer(parameters: Iterable[nn.Parameter], config: TrainingConfig) -> torch.optim.Optimizer:
    """Return fused Adam or AdamW; its learning rate is set from `learning_rate` before every step."""
    kind = torch.optim.Adam if config.optimizer is OptimizerName.adam else torch.optim.AdamW
    parameters = list(parameters)
    optimizer = kind(
        parameters,
        lr=config.learning_rate,
        betas=(0.9, config.beta2),
        eps=1e-9,
        weight_decay=config.weight_decay,
        fused=True,
    )

    def count_change(*_: object) -> None:
        # The fused step changes weights without incrementing their version, the cache key of
        # model/cpu/decoder_step.py.
        for weight in parameters:
            increment_version(weight)

    optimizer.register_step_post_hook(count_change)
    return optimizer


def learning_rate(config: TrainingConfig, step: int, share_done: float, plateau_scale: float = 1.0) -> float:
    """Return the learning rate of update `step`.

    Args:
        config: peak rate, schedule, warm-up and floor.
        step: number of the update, from 1.
        share_done: share of the run that is over, by the nearest limit (steps, epochs or minutes), so that a run that
            is limited by time also ends at the floor.
        plateau_scale: product of the plateau schedule's reductions so far.
    """
    warm = min(1.0, step / config.warmup_steps) if config.warmup_steps else 1.0
    floor, left = config.min_rate_ratio, 1.0 - min(1.0, share_done)
    match config.schedule:
        case ScheduleName.constant:
            scale = 1.0
        case ScheduleName.inverse_sqrt:  # Vaswani et al. 2017, section 5.3, scaled to 1 at the end of warm-up
            scale = max(floor, math.sqrt(max(1, config.warmup_steps) / max(step, config.warmup_steps, 1)))
        case ScheduleName.linear:
            scale = floor + (1 - floor) * left
        case ScheduleName.cosine:  # Loshchilov and Hutter 2017, eq. 5, one period
            scale = floor + (1 - floor) * 0.5 * (1 - math.cos(math.pi * left))
        case ScheduleName.plateau:
            scale = max(floor, plateau_scale)
    return config.learning_rate * warm * scale
