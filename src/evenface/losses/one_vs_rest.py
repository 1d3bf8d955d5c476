"""One-vs-rest loss: each class against the rest, as a binary problem."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from evenface.data import imbalance
from evenface.losses.adaptive import AdaptiveLossSelection
from evenface.losses.base import Loss, declared_factor
from evenface.utils.errors import InputError
from evenface.utils.registry import check_options


class OneVsRestLoss(Loss):
    r"""Sum of the losses of C detectors, one value per sample.

    .. math:: \ell = \sum_c \ell_c\bigl((0, z_c), [y = c]\bigr)

    With cross-entropy, each term is the binary cross-entropy of :math:`\sigma(z_c)`.

    Parameters
    ----------
    losses : sequence of C nn.Module
        ``(logits (B, 2), targets (B,)) -> (B,)``; class 1 is the detector's own, class 0 the rest.

    Raises
    ------
    ValueError
        On calling, if there is not one loss per logit.
    """

    one_vs_rest = True
    prior_reason = "weights of the detectors"

    def __init__(self, losses: Sequence[nn.Module]) -> None:
        super().__init__()
        self.losses = nn.ModuleList(losses)

    def prior_factor(self, counts: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return how much more each detector's positives weigh than its negatives."""
        n = np.asarray(counts, dtype=np.float64)
        pairs = [declared_factor(loss, [n.sum() - own, own]) for loss, own in zip(self.losses, n, strict=True)]
        return np.array([positive / negative for negative, positive in pairs])

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute one value per sample: logits ``(B, C)``, targets ``(B,)`` int64."""
        if logits.ndim != 2 or logits.shape[1] != len(self.losses):
            raise ValueError(f"logits must be of shape (B, {len(self.losses)}), got {tuple(logits.shape)}")
        values = [loss(pair(logits[:, place]), (targets == place).long()) for place, loss in enumerate(self.losses)]
        return torch.stack(values).sum(dim=0)


LOSS_SELECTIONS = {"adaptive": AdaptiveLossSelection}
"""Rules that select a loss for each class against the rest, by the name that recipes give as the loss."""


def pair(logit: Tensor) -> Tensor:
    """Read a detector's logit as those of two classes, the rest and its own: ``(...) -> (..., 2)``, (0, z)."""
    return torch.stack([torch.zeros_like(logit), logit], dim=-1)


@dataclass(frozen=True)
class BinaryLossSpec:
    """What a detector learns by.

    Parameters
    ----------
    name : str
        Its class.
    counts : tuple of two int
        Training samples of the rest, and of the class.
    loss : str
        Name of its loss.
    options : dict
        Those of the loss, for two classes.
    """

    name: str
    counts: tuple[int, int]
    loss: str
    options: dict[str, Any]

    @property
    def ratio(self) -> float:
        """Negatives over positives, unrounded."""
        return self.counts[0] / self.counts[1]

    @property
    def facts(self) -> dict[str, Any]:
        """Ratio, loss and its options."""
        return {"ratio": self.ratio, "loss": self.loss, **self.options}

    def __str__(self) -> str:
        options = ", ".join(f"{key} {_short(value)}" for key, value in self.options.items())
        return f"{self.name}: ratio {self.ratio:.4g}, {self.loss}" + (f" ({options})" if options else "")


def binary_loss_specs(
    name: str, counts: npt.ArrayLike, names: Sequence[str] | None = None, **options: Any
) -> tuple[BinaryLossSpec, ...]:
    """Choose the loss of each class's detector.

    Parameters
    ----------
    name : str
        A registered loss, or ``adaptive``: see :class:`~evenface.losses.adaptive.AdaptiveLossSelection`.
    counts : array_like of shape (C,)
        Training samples of each class, all above 0.
    names : sequence of str, optional
        The classes.
    **options
        Of the loss. A single number as ``alpha`` is the weight of the class, and the rest has 1 - alpha.

    Raises
    ------
    InputError
        If a class has no sample, or an option of ``adaptive`` cannot be.
    """
    known = tuple(names or (str(place) for place in range(len(np.asarray(counts)))))
    ratios = imbalance.imbalance_ratios(counts, known)
    n = np.asarray(counts, dtype=np.int64)
    alpha = options.get("alpha")
    chosen = [(name, options)] * len(n)
    if name in LOSS_SELECTIONS:
        selection = LOSS_SELECTIONS[name]
        check_options("loss", name, options, selection.__dataclass_fields__)
        rule = selection(**options)
        chosen = [rule.choose(float(ratio)) for ratio in ratios]
    elif isinstance(alpha, int | float):
        if not 0 <= alpha <= 1:
            raise InputError(f"loss {name!r}: alpha must be 0 to 1 where each class is against the rest, got {alpha}")
        chosen = [(name, {**options, "alpha": [1 - alpha, alpha]})] * len(n)
    rest = n.sum() - n
    return tuple(
        BinaryLossSpec(label, (int(others), int(own)), *choice)
        for label, others, own, choice in zip(known, rest, n, chosen, strict=True)
    )


def _short(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "/".join(_short(one) for one in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
