"""Base of losses for rows of targets: input checks, missing targets, and the mean over what is known."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from evenface.data.manifest import TaskKind
from evenface.losses.base import SettingsInRepr, at_least_float32


class TargetLoss(SettingsInRepr, ABC):
    """Base of losses ``(outputs (B, T), targets (B, T)) -> (B,)``: the mean over the targets that are known.

    Missing targets are NaN: they neither add to the value nor give a gradient, and a sample without any has the value
    0. Subclasses give :meth:`values`.

    Attributes
    ----------
    tasks : tuple of {"regression", "multilabel"}
        What the loss is for.
    """

    tasks: ClassVar[tuple[TaskKind, ...]]

    @abstractmethod
    def values(self, outputs: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        """Compute the value of each target of each sample, finite also where it is not known.

        Parameters
        ----------
        outputs : Tensor of shape (B, T)
            At least float32.
        targets : Tensor of shape (B, T)
            Of the same type; 0 where missing.
        known : Tensor of shape (B, T)
            Where targets are known, bool.

        Returns
        -------
        Tensor of shape (B, T)
        """

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute one value per sample: outputs ``(B, T)``, targets ``(B, T)`` with NaN where missing."""
        check_targets(outputs, targets)
        outputs = at_least_float32(outputs)
        known = ~targets.isnan()
        values = self.values(outputs, torch.where(known, targets, 0).to(outputs.dtype), known)
        return torch.where(known, values, 0).sum(dim=1) / known.sum(dim=1).clamp_min(1)


def check_targets(outputs: Tensor, targets: Tensor) -> None:
    """Check shapes and types, without looking at values (that would make an accelerator wait)."""
    if outputs.ndim != 2 or not outputs.is_floating_point():
        raise ValueError(f"outputs must be floating point of shape (B, T), got {outputs.dtype} {tuple(outputs.shape)}")
    if targets.shape != outputs.shape or not targets.is_floating_point():
        raise ValueError(
            f"targets must be floating point of shape {tuple(outputs.shape)}, got {targets.dtype} "
            f"{tuple(targets.shape)}"
        )


def check_one_per_target(outputs: Tensor, numbers: Tensor | None) -> None:
    """Check that a loss which holds a number for each target holds as many as there are."""
    if numbers is not None and len(numbers) != outputs.shape[1]:
        raise ValueError(f"the loss must hold {outputs.shape[1]} numbers, one per target, got {len(numbers)}")
