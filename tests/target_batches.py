"""What tests of losses for targets share: training targets, and batches of outputs and targets with missing ones."""

import math

import numpy as np
import torch

from evenface.losses import build_target_loss

NAMES = ("AU1", "AU4", "AU12")
NAN = math.nan

PRESENT = np.array([[1, 0, 1]] * 5 + [[0, 1, 1]] * 20 + [[0, 0, 0]] * 74 + [[NAN, 1, NAN]])
"""Training targets of a multi-label task: a rare unit, two that occur together, and missing ones."""
LEVELS = np.stack([np.repeat([0.0, 1.0, 2.0, 5.0], [70, 20, 9, 1])] * 3, axis=1) * [1, 2, 0.5]
LEVELS[3, 1] = NAN
"""Training targets of a regression: many low values and few high ones."""


def wave(*shape: int, speed: float = 1.7, scale: float = 3.0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Compute numbers that are the same everywhere: a sine over all places of an array."""
    places = torch.arange(1, math.prod(shape) + 1, dtype=torch.float64)
    return (scale * torch.sin(speed * places)).reshape(shape).to(dtype)


def target_batch(kind: str, rows: int = 6, dtype: torch.dtype = torch.float32):
    """Return outputs and targets of a batch; the second row misses one target, the last one all of them."""
    outputs, targets = wave(rows, 3), wave(rows, 3, speed=2.3)
    targets = (targets > 0).double() if kind == "multilabel" else (targets.abs() * 2).round() / 2
    if rows > 2:
        targets[1, 2] = targets[-1] = NAN
    return outputs.to(dtype), targets.to(dtype)


def built_target_loss(name: str, kind: str, **options):
    """Build a loss for the training targets above."""
    targets = PRESENT if kind == "multilabel" else LEVELS
    return build_target_loss(name, kind, targets=targets, names=NAMES, **options)
