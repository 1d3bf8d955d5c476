"""The level itself as a number: regression."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evenface.errors import InputError
from evenface.methods.base import Task
from evenface.methods.scale import ScaleMethod

ERRORS = {"squared": F.mse_loss, "absolute": F.l1_loss, "smooth": F.smooth_l1_loss}


class Regression(ScaleMethod):
    r"""Regression on the level, 0 to C - 1, by a network of one output.

    .. math::
        \ell = \alpha_y \, e(z - y), \qquad
        p_c = \max(0, 1 - |\hat z - c|), \quad \hat z = \min(\max(z, 0), C - 1)

    Prediction spreads the level, cut to the scale, over its two neighbouring classes, so that the expected level is
    that level and the most probable class is the nearest.

    Parameters
    ----------
    network : nn.Module
        Its classifier gives way to one of a single output, which begins at the middle of the scale.
    loss : nn.Module
        Cross-entropy, of which only the class weights count.
    task : Task
        Its classes must be ordered; neighbours are taken to be one apart.
    error : {"squared", "absolute", "smooth"}, default="squared"
        e(d): :math:`d^2`; :math:`|d|`; or :math:`d^2 / 2` up to 1 and :math:`|d| - 1/2` beyond.

    Raises
    ------
    InputError
        As :class:`~evenface.methods.scale.ScaleMethod`, and if ``error`` is unknown.

    Notes
    -----
    These probabilities are 0 for all but two classes. They say where the level lies, not how sure it is: figures of
    probabilities (log loss, calibration, average precision) mean little here.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        task: Task,
        error: Literal["squared", "absolute", "smooth"] = "squared",
    ) -> None:
        super().__init__(network, loss, "regression", task, bias=True)
        if error not in ERRORS:
            raise InputError(f"method 'regression': error must be one of {', '.join(ERRORS)}, got {error!r}")
        self.error = error
        nn.init.constant_(self.network.classifier.bias, (self.classes - 1) / 2)  # type: ignore[union-attr,arg-type]

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Give the error of the level, one value per sample."""
        level = self.output(images)
        return self.weighted(ERRORS[self.error](level, targets.to(level.dtype), reduction="none"), targets)

    def predict(self, images: Tensor) -> Tensor:
        """Give each class its share of the level."""
        level = self.output(images).clamp(0, self.classes - 1)
        steps = torch.arange(self.classes, device=level.device, dtype=level.dtype)
        return (1 - (level[:, None] - steps).abs()).clamp_min(0)

    def evidence(self, images: Tensor) -> Tensor:
        """Give how near the level is to each class: minus the distance, where all but two probabilities are 0."""
        level = self.output(images)
        return -(level[:, None] - torch.arange(self.classes, device=level.device, dtype=level.dtype)).abs()
