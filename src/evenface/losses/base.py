"""Base of losses: what a loss declares, input checks, and numerically safe logarithms."""

from inspect import signature
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from evenface.data.manifest import TaskKind

SHOWN_WEIGHTS = 16
"""Weights of classes that a repr shows; more are left out."""


class FocalForm(NamedTuple):
    r"""A loss as :math:`-\alpha_y (1 - p_y)^\gamma \log p_y`, p the softmax of logits that are shifted by true class.

    Parameters
    ----------
    gamma : float
        Focusing strength.
    alpha : Tensor of shape (C,), optional
        Weight of each true class.
    shift : Tensor of shape (C,) or (C, C), optional
        What is added to the logits; of two dimensions, a row per true class.
    """

    gamma: float = 0.0
    alpha: Tensor | None = None
    shift: Tensor | None = None


class SettingsInRepr(nn.Module):
    """Module whose ``repr`` shows the settings that it was built with: numbers, words, and a weight per class."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Keep the settings; a call that does not fit is left to ``__init__`` to refuse."""
        module = super().__new__(cls)
        try:
            bound = signature(cls.__init__).bind_partial(module, *args, **kwargs)
        except TypeError:
            return module
        bound.apply_defaults()
        shown = {key: _shown(value) for key, value in bound.arguments.items()}
        vars(module)["settings"] = {key: text for key, text in shown.items() if text}
        return module

    def extra_repr(self) -> str:
        """Return the settings as torch shows those of its own modules."""
        return ", ".join(f"{key}={text}" for key, text in vars(self).get("settings", {}).items())


def _shown(value: object) -> str:
    """Return a setting as its repr shows it; empty for what it leaves out, such as training data."""
    if isinstance(value, Tensor) and value.numel() <= SHOWN_WEIGHTS:
        return f"[{', '.join(f'{weight:.4g}' for weight in value.flatten().tolist())}]"
    return repr(value) if isinstance(value, bool | int | float | str) else ""


class Loss(SettingsInRepr):
    """Base of losses ``(logits (B, C), targets (B,)) -> (B,)``: declares the class prior that a loss implies.

    A network that minimises a loss comes to the class posterior under some prior: that of the training data times
    :meth:`prior_factor`. Subclasses inherit what is declared; one that changes the minimum declares its own.

    Attributes
    ----------
    exact_prior : bool
        Whether the minimum is, up to a temperature, the posterior under that prior. A margin, for example, moves
        probabilities in a way that is no change of prior.
    prior_reason : str
        What changes the prior, in words.
    one_vs_rest : bool
        Whether it is a sum over classes, each a binary problem against the rest.
    tasks : tuple of {"classification", "ordinal"}
        What the loss is for.
    draws : bool
        Whether it draws random numbers in training, which networks trained as one cannot have.
    """

    draws: ClassVar[bool] = False
    tasks: ClassVar[tuple[TaskKind, ...]] = ("classification", "ordinal")
    one_vs_rest: bool = False
    exact_prior: bool = False
    prior_reason: str = "class weights"

    def prior_factor(self, counts: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the factor by which the loss changes the share of each class.

        Parameters
        ----------
        counts : array_like of shape (C,)
            Training samples of each class.

        Returns
        -------
        ndarray of shape (C,), float64
            Up to a common factor. Here the weights of the classes (a buffer ``alpha``), 1 where there are none.
        """
        alpha = getattr(self, "alpha", None)  # also of modules whose alpha is a number of another meaning
        return alpha.double().cpu().numpy() if isinstance(alpha, Tensor) else np.ones(len(np.asarray(counts)))

    def focal_form(self, classes: int) -> FocalForm | None:  # noqa: ARG002  for subclasses
        """Return the loss in the form in which the losses of many networks are computed as one.

        Parameters
        ----------
        classes : int
            Number C of classes.

        Returns
        -------
        FocalForm or None
            Here None: each network's loss is computed by itself. A subclass that overrides ``forward`` falls back to
            None, unless it overrides this method too.
        """
        return None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "forward" in vars(cls) and "focal_form" not in vars(cls):
            cls.focal_form = Loss.focal_form  # type: ignore[method-assign]


def declared_factor(loss: nn.Module, counts: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return what a loss declares as its :meth:`Loss.prior_factor`; the class weights of one that declares nothing."""
    own = loss.prior_factor if hasattr(loss, "prior_factor") else None
    found: npt.NDArray[np.float64] = own(counts) if callable(own) else Loss.prior_factor(loss, counts)  # type: ignore[arg-type]
    return found


def focal_form(loss: nn.Module, classes: int) -> FocalForm | None:
    """Return a loss's :meth:`Loss.focal_form`; None for a module that declares none."""
    return loss.focal_form(classes) if isinstance(loss, Loss) else None


def check_logits(logits: Tensor, targets: Tensor, alpha: Tensor | None = None) -> None:
    """Check shapes and types, without looking at values (that would make an accelerator wait)."""
    if logits.ndim != 2 or not logits.is_floating_point():
        raise ValueError(f"logits must be floating point of shape (B, C), got {logits.dtype} {tuple(logits.shape)}")
    if targets.shape != logits.shape[:1] or targets.dtype != torch.int64:
        raise ValueError(f"targets must be int64 of shape ({len(logits)},), got {targets.dtype} {tuple(targets.shape)}")
    if alpha is not None and alpha.shape != logits.shape[1:]:
        raise ValueError(f"the loss must hold {logits.shape[1]} numbers, one per class, got shape {tuple(alpha.shape)}")


def at_least_float32(logits: Tensor) -> Tensor:
    """Convert logits to float32, unless they have as many or more bits."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def true_log_probability(logits: Tensor, targets: Tensor) -> Tensor:
    """Compute log p of the true class, ``(B,)``: plain softmax, in at least 32 bits whatever the logits have."""
    return at_least_float32(logits).log_softmax(dim=-1).gather(-1, targets[:, None])[:, 0]


def subtract_margin(logits: Tensor, targets: Tensor, margin: Tensor | float) -> Tensor:
    """Subtract a margin, one for all or one per sample, from the logit of the true class, ``(B, C)``, in 32 bits."""
    true = torch.arange(logits.shape[1], device=logits.device) == targets[:, None]
    return at_least_float32(logits) - true * (margin[:, None] if isinstance(margin, Tensor) else margin)


def focal_factor(log_p: Tensor, gamma: float) -> Tensor:
    r"""Compute :math:`(1 - p)^\gamma`, with finite gradients also where p rounds to 1."""
    # expm1 keeps the digits of 1 - p near p = 1; the floor keeps the power's derivative finite there for gamma < 1.
    return (-log_p.expm1()).clamp_min(torch.finfo(log_p.dtype).tiny) ** gamma


def weighted(loss: Tensor, targets: Tensor, alpha: Tensor | None) -> Tensor:
    """Multiply each sample's loss by the weight of its true class."""
    return loss if alpha is None else alpha[targets] * loss
