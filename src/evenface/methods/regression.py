"""Regression on the value of the level."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evenface.methods.base import Task
from evenface.methods.ordinal import OrdinalMethod
from evenface.utils.errors import InputError

ERRORS = {"squared": F.mse_loss, "absolute": F.l1_loss, "smooth": F.smooth_l1_loss}


class Regression(OrdinalMethod):
    r"""Regression on the value of the level, by a network of one output.

    .. math::
        \ell = \alpha_y \, e\!\left(\frac{z - v_y}{s}\right), \qquad s = \frac{v_{C-1} - v_0}{C - 1}, \qquad
        p_c = \frac{\hat z - v_{c-1}}{v_c - v_{c-1}} \text{ or } \frac{v_{c+1} - \hat z}{v_{c+1} - v_c}, \quad
        \hat z = \min(\max(z, v_0), v_{C-1})

    with the values v of the levels: their names where these are numbers in rising order, else 0 to C - 1. The error is
    measured in mean steps s of the scale, so that learning rates do not depend on its unit. Prediction spreads the
    output, cut to the scale, over the two levels next to it, so that the expected value is that output and the most
    probable level is the nearest.

    Parameters
    ----------
    network : nn.Module
        Its classifier gives way to one of a single output, which begins at the middle of the scale.
    loss : nn.Module
        Cross-entropy, of which only the class weights count.
    task : Task
        Its classes must be ordered. Levels without training samples are allowed.
    error : {"squared", "absolute", "smooth"}, default="squared"
        e(d): :math:`d^2`; :math:`|d|`; or :math:`d^2 / 2` up to 1 and :math:`|d| - 1/2` beyond.

    Raises
    ------
    InputError
        As :class:`~evenface.methods.ordinal.OrdinalMethod`, and if ``error`` is unknown.

    Notes
    -----
    These probabilities are 0 for all but two classes. They encode the level, not a confidence: metrics of
    probabilities (log loss, calibration, average precision) mean little here. The output itself, not cut to the scale,
    is kept beside them.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        task: Task,
        error: Literal["squared", "absolute", "smooth"] = "squared",
    ) -> None:
        super().__init__(network, loss, task, bias=True)
        if error not in ERRORS:
            raise InputError(f"error must be one of {', '.join(ERRORS)}, got {error!r}")
        self.error = error
        nn.init.constant_(self.network.classifier.bias, (self.classes - 1) / 2)  # type: ignore[union-attr,arg-type]

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return the error of the level in mean steps of the scale, one value per sample."""
        place = self.output(images)
        return self.weighted(
            ERRORS[self.error](place, self._places[targets].to(place.dtype), reduction="none"), targets
        )

    def predict(self, images: Tensor) -> Tensor:
        """Return the share of each level."""
        return self._spread(self.output(images))

    def outputs(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the shares of the levels, ``(B, C)``, and the output itself in their values, ``(B,)``."""
        place = self.output(images)
        return self._spread(place), self.values[0] + self._step * place

    def class_scores(self, images: Tensor) -> Tensor:
        """Return how near the level is to each class: minus the distance, where all but two probabilities are 0."""
        return -(self.output(images)[:, None] - self._places).abs()

    @property
    def _step(self) -> Tensor:
        """Mean distance of neighbouring levels."""
        return (self.values[-1] - self.values[0]) / (self.classes - 1)

    @property
    def _places(self) -> Tensor:
        """Place of each level in mean steps from the lowest, ``(C,)``; what the network's output is trained on."""
        return (self.values - self.values[0]) / self._step

    def _spread(self, place: Tensor) -> Tensor:
        """Interpolate linearly between the levels, ``(B,) -> (B, C)``."""
        nodes = self._places
        rise = (place.clamp(0, self.classes - 1)[:, None] - nodes[:-1]) / nodes.diff()
        return torch.minimum(F.pad(rise, (1, 0), value=1.0), F.pad(1 - rise, (0, 1), value=1.0)).clamp_min(0)
