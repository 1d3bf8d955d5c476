"""Errors of continuous targets with weights by the density of labels."""

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor

from evenface.data.manifest import TaskKind
from evenface.losses.label_density import LabelWeights
from evenface.losses.target_base import TargetLoss


class DensityWeightedLoss(TargetLoss):
    r"""Base of errors of continuous targets, one value per sample.

    .. math:: \ell_t = w(y_t) \, e(\hat y_t - y_t)

    Parameters
    ----------
    weights : LabelWeights, optional
        Weights w by the density of labels; none means 1. In a recipe, ``inverse`` or ``sqrt-inverse``, with the options
        of :class:`~evenface.losses.label_density.LabelWeights`.

    Raises
    ------
    ValueError
        On calling, if there are not as many targets.
    """

    tasks: ClassVar[tuple[TaskKind, ...]] = ("regression",)

    def __init__(self, weights: LabelWeights | None = None) -> None:
        super().__init__()
        self.weights = weights

    @abstractmethod
    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the error of each target, ``(B, T)``."""

    def values(self, outputs: Tensor, targets: Tensor, known: Tensor) -> Tensor:  # noqa: ARG002
        """Compute the weighted error of each target, ``(B, T)``."""
        error = self.error(outputs, targets)
        return error if self.weights is None else self.weights(targets) * error
