"""CutMix: a rectangle of one image pasted into another, and their losses by its area."""

import torch
from torch import Tensor, nn

from evenface.methods.base import Method
from evenface.methods.mixup import draw_share


class CutMix(Method):
    r"""CutMix: a rectangle of each image comes from another, and losses are mixed by area.

    .. math:: L = \lambda \, \ell(f(\tilde x), y_i) + (1 - \lambda) \, \ell(f(\tilde x), y_j), \quad
        \tilde x = M \odot x_i + (1 - M) \odot x_j, \quad r_w = W \sqrt{1 - \lambda}, \; r_h = H \sqrt{1 - \lambda}

    with :math:`\lambda \sim Beta(\alpha, \alpha)` and a mask M that is 0 in the rectangle of width :math:`r_w` and
    height :math:`r_h` about a random pixel, as far as it is inside the image; :math:`\lambda` of the losses is the
    share of M that is 1. There is one rectangle per batch, and the second image is drawn by shuffling the batch.

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`~evenface.methods.base.Method`.
    alpha : float, default=1.0
        At least 0.01; 1 makes all :math:`\lambda` equally likely.
    probability : float, default=1.0
        Of mixing a batch at all, from 0 to 1.

    Raises
    ------
    ValueError
        If an option is out of range.

    Notes
    -----
    All frames of a clip have the same rectangle. Of several devices each draws its own, and mixes what it has of the
    batch.

    References
    ----------
    Yun et al., *CutMix: regularization strategy to train strong classifiers with localizable features*, ICCV 2019,
    eq. 1 and 2.
    """

    cached_features = False
    exact_prior = True

    def __init__(self, network: nn.Module, loss: nn.Module, alpha: float = 1.0, probability: float = 1.0) -> None:
        super().__init__(network, loss)
        if not 0.01 <= alpha < float("inf"):
            raise ValueError(f"alpha must be a number of at least 0.01, got {alpha}")
        if not 0 <= probability <= 1:
            raise ValueError(f"probability must be from 0 to 1, got {probability}")
        self.alpha, self.probability = alpha, probability

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Paste a rectangle of another image into each, and give the mixed losses."""
        if torch.rand(()) >= self.probability:
            return self.network_loss(images, targets)
        order, (height, width) = torch.randperm(len(images)).to(images.device, non_blocking=True), images.shape[-2:]
        rows, columns = rectangle(draw_share(self.alpha), height, width)
        mixed = images.clone()
        mixed[..., rows, columns] = images[order][..., rows, columns]
        share = 1 - (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
        logits = self.network(mixed).logits
        loss: Tensor = share * self.loss(logits, targets) + (1 - share) * self.loss(logits, targets[order])
        return loss


def rectangle(share: float, height: int, width: int) -> tuple[slice, slice]:
    """Draw the rows and columns of a rectangle that leaves about ``share`` of an image."""
    sides = []
    for length in (height, width):
        half, centre = int(length * (1 - share) ** 0.5) // 2, int(torch.randint(length, ()))
        sides.append(slice(max(centre - half, 0), min(centre + half, length)))
    return sides[0], sides[1]
