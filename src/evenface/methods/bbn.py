"""Bilateral-branch network (BBN): a conventional and a re-balancing branch with cumulative learning."""

import torch
from torch import Tensor, nn

from evenface.methods.base import Method


class BBN(Method):
    r"""Bilateral-branch network with cumulative learning.

    .. math::
        z = W \, [\, 2 \alpha f_c \, ; \, 2 (1 - \alpha) f_r \,], \quad
        L = \alpha \, \ell(z, y_c) + (1 - \alpha) \, \ell(z, y_r), \quad \alpha = 1 - (T / T_{max})^2

    :math:`f_c` comes from the batch and the conventional branch, :math:`f_r` from a second batch, drawn with the rarest
    class most often, and the re-balancing branch. T is the epoch, from 0.

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`~evenface.methods.base.Method`. Both branches use the network's feature maps; its classifier, and
        what a few backbones have between maps and classifier, are not used.
    width : int, optional
        Channels inside a branch's residual block; a quarter of the maps' where none is given.

    Raises
    ------
    ValueError
        If ``width`` is below 1 or, in training, no second batch was drawn.

    Notes
    -----
    Channels of the maps are read from ``network.backbone.num_features``, as timm names them, or else are taken to be
    those of the classifier. Prediction shows the same image to both branches, with :math:`\alpha = 0.5`.

    References
    ----------
    Zhou et al., *BBN: bilateral-branch network with cumulative learning for long-tailed visual recognition*, CVPR 2020.
    """

    modalities = ("images",)
    cached_features = False
    needs_maps = True
    second_sampling = "reversed"
    uses_all_parameters = False  # layers between maps and classifier, where a backbone has them

    def __init__(self, network: nn.Module, loss: nn.Module, width: int | None = None) -> None:
        super().__init__(network, loss)
        if width is not None and width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        old: nn.Linear = network.classifier  # type: ignore[assignment]
        channels = int(getattr(getattr(network, "backbone", None), "num_features", old.in_features))
        inner = width or max(1, channels // 4)
        self.conventional, self.rebalancing = ResidualBranch(channels, inner), ResidualBranch(channels, inner)
        self.classifier = nn.Linear(2 * channels, old.out_features)
        network.classifier = nn.Identity()

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of both batches' joined features against the labels of both, one value per pair."""
        if self.ctx.second is None:
            raise ValueError("bbn trains on two batches, only one was given")
        others, rare = self.ctx.second
        alpha = share(self.ctx.epoch, self.ctx.epochs)
        logits = self._join(self.network(images).maps, self.network(others).maps, alpha)
        loss: Tensor = alpha * self.loss(logits, targets) + (1 - alpha) * self.loss(logits, rare)
        return loss

    def logits(self, images: Tensor) -> Tensor:
        """Compute the logits of both branches on the same images, ``(B, C)``."""
        maps = self.network(images).maps
        return self._join(maps, maps, 0.5)

    def _join(self, common: Tensor, rare: Tensor, alpha: float) -> Tensor:
        features = (alpha * self.conventional(common), (1 - alpha) * self.rebalancing(rare))
        logits: Tensor = self.classifier(2 * torch.cat(features, dim=1))
        return logits


def share(epoch: int, epochs: int) -> float:
    """Compute alpha, the conventional branch's share in an epoch counted from 0.

    Examples
    --------
    >>> [share(epoch, 4) for epoch in range(4)]
    [1.0, 0.9375, 0.75, 0.4375]
    """
    return 1 - (epoch / epochs) ** 2


class ResidualBranch(nn.Module):
    """A bottleneck with a shortcut, and the mean over places: ``(B, D, h, w) -> (B, D)``."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Compute the mean over places of the maps and what the block adds to them."""
        values: Tensor = (maps + self.body(maps)).relu()
        return values.mean(dim=(2, 3))
