"""Learning rates, early stopping and the best epoch, each a pure function of how far training has come."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evenface.recipes.schema import Schedule


def rate_factor(
    settings: Schedule, step: int, steps_per_epoch: int, epochs: int, losses: Sequence[float] = ()
) -> float:
    """Return the learning rate of one step as a share of the recipe's.

    Parameters
    ----------
    settings : Schedule
        The recipe's section.
    step : int
        Optimiser steps taken before this one, over all epochs.
    steps_per_epoch, epochs : int
        Length of training.
    losses : sequence of float
        Validation losses (training losses where there is no validation) of the epochs that have ended; for ``plateau``.

    Returns
    -------
    float
        In [0, 1].
    """
    epoch = step // steps_per_epoch
    if settings.name == "step":
        return float(settings.gamma ** (epoch // settings.step_size))
    if settings.name == "exponential":
        return float(settings.gamma**epoch)
    if settings.name == "plateau":
        return float(settings.gamma ** _falls(losses, settings.patience))
    if settings.name == "cosine":
        rise = settings.warmup_epochs * steps_per_epoch
        if step < rise:
            return (step + 1) / (rise + 1)
        share = (step - rise) / max(1.0, epochs * steps_per_epoch - rise)
        return settings.min_lr_ratio + (1 - settings.min_lr_ratio) * (1 + math.cos(math.pi * min(1.0, share))) / 2
    return 1.0


def _falls(losses: Sequence[float], patience: int) -> int:
    """Count the falls of a plateau schedule: one after ``patience`` epochs without a lower loss, as Keras counts.

    Lower means lower by more than 0.0001. Torch's ReduceLROnPlateau falls an epoch later.
    """
    best, waited, falls = math.inf, 0, 0
    for loss in losses:
        if loss < best - 1e-4:
            best, waited = loss, 0
        else:
            waited += 1
        if waited >= patience:
            falls, waited = falls + 1, 0
    return falls


@dataclass(frozen=True)
class Standing:
    """Where a run stands by its monitored figure.

    Parameters
    ----------
    best : int
        Epoch with the best figure, the earlier of equals; the last epoch where there is none.
    stop : bool
        Whether patience has run out.
    """

    best: int
    stop: bool


def standing(figures: Sequence[float], *, larger_is_better: bool, patience: int | None) -> Standing:
    """Find the best epoch, and whether ``patience`` epochs have gone by since; NaN is never best."""
    best, value = len(figures) - 1, -math.inf
    for epoch, figure in enumerate(figures):
        score = figure if larger_is_better else -figure
        if score > value:
            best, value = epoch, score
    return Standing(best, patience is not None and len(figures) - 1 - best >= patience)
