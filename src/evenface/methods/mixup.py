"""Mixup: convex combinations of two images and of their losses."""

import torch
from torch import Tensor, nn

from evenface.methods.base import Method


def draw_share(alpha: float) -> float:
    """Draw the share of the first image from Beta(alpha, alpha), by torch's default generator on the CPU."""
    # In 64 bits, as a small alpha needs; on the CPU, so that every device mixes alike.
    concentration = torch.tensor(alpha, dtype=torch.float64)
    return float(torch.distributions.Beta(concentration, concentration).sample())


def mix(images: Tensor, alpha: float) -> tuple[Tensor, float, Tensor]:
    """Mix each image with another of the batch; return them, the share of the first, and the order of the others."""
    share, order = draw_share(alpha), torch.randperm(len(images)).to(images.device, non_blocking=True)
    return torch.lerp(images[order], images, share), share, order


def check_alpha(alpha: float) -> float:
    """Refuse a parameter of the distribution of shares that torch cannot draw from."""
    if not 0.01 <= alpha < float("inf"):
        raise ValueError(f"alpha must be a number of at least 0.01, got {alpha}")
    return alpha


class Mixup(Method):
    r"""Mixup: convex combinations of two images, and of their losses.

    .. math:: L = \lambda \, \ell(f(\tilde x), y_i) + (1 - \lambda) \, \ell(f(\tilde x), y_j), \quad
        \tilde x = \lambda x_i + (1 - \lambda) x_j, \quad \lambda \sim Beta(\alpha, \alpha)

    There is one λ per batch, and the second image is drawn by shuffling the batch.

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`Method`. Class weights are those of the two true classes, each with its part of the loss.
    alpha : float, default=0.2
        At least 0.01: below, torch draws too many shares of one half. Close to 0 hardly anything is mixed; 1 makes
        all shares equally likely.

    Raises
    ------
    ValueError
        If ``alpha`` is out of range.

    Notes
    -----
    Of several devices each draws its own share, and mixes what it has of the batch.

    References
    ----------
    Zhang et al., *mixup: beyond empirical risk minimization*, ICLR 2018, sec. 2; alpha from 0.1 to 0.4 on ImageNet, 1
    on CIFAR. That the losses are mixed instead of one-hot labels is the same for cross-entropy.
    """

    cached_features = False
    exact_prior = True

    def __init__(self, network: nn.Module, loss: nn.Module, alpha: float = 0.2) -> None:
        super().__init__(network, loss)
        self.alpha = check_alpha(alpha)

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Mix each image with another of the batch, and give the mixed losses."""
        mixed, share, order = mix(images, self.alpha)
        logits, others = self.network(mixed).logits, targets[order]
        first, second = self.loss(logits, targets), self.loss(logits, others)
        return torch.lerp(second, first, self.label_share(share, targets, others).to(first.dtype))

    def label_share(self, share: float, targets: Tensor, others: Tensor) -> Tensor:  # noqa: ARG002, for Remix
        """Return the first label's share of each sample's loss, ``(B,)``: that of its image."""
        return torch.full(targets.shape, share, device=targets.device)
