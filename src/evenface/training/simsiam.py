"""SimSiam: self-supervised training of a backbone, by predicting one view of an image from another."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evenface.losses.base import at_least_float32
from evenface.methods.base import Method
from evenface.models import Network

LARGEST_WIDTH = 2048


class SimSiam(Method):
    r"""Simple siamese representation learning.

    .. math::
        L = \tfrac12 D(p_1, z_2) + \tfrac12 D(p_2, z_1), \quad
        D(p, z) = -\frac{p}{\|p\|_2} \cdot \frac{z}{\|z\|_2}

    of two views of an image, augmented independently. :math:`z` is the projector's output for the backbone's features,
    :math:`p = h(z)` that of the predictor. No gradient passes through the z that p is compared with.

    Parameters
    ----------
    network : Network
        Its classifier is neither used nor trained.
    seed : int
        Fixes the initial weights of projector and predictor.

    Notes
    -----
    The projector has three layers of d units, with batch norm after each and ReLU after the first two; the predictor
    d / 4 hidden units with batch norm and ReLU, and d outputs. d is 2048 as in the source for backbones of 512 features
    and more, and four times the features for smaller ones.

    References
    ----------
    Chen and He, *Exploring simple Siamese representation learning*, CVPR 2021, eq. 1 to 4 and sec. 4.1.
    """

    second_sampling = "none"
    measures = ("output_std",)
    training_only = (*Method.training_only, "network.classifier.", "projector.", "predictor.", "std_sum")
    std_sum: Tensor

    def __init__(self, network: Network, seed: int = 0) -> None:
        super().__init__(network, nn.Identity())
        network.classifier.requires_grad_(requires_grad=False)
        self.width = min(LARGEST_WIDTH, 4 * network.width)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.projector = nn.Sequential(
                *_hidden(network.width, self.width),
                *_hidden(self.width, self.width),
                nn.Linear(self.width, self.width, bias=False),
                nn.BatchNorm1d(self.width),
            )
            self.predictor = nn.Sequential(
                *_hidden(self.width, self.width // 4), nn.Linear(self.width // 4, self.width)
            )
        self.register_buffer("std_sum", torch.zeros(()))

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG002  labels are not used
        """Compute the loss of each image from its two views, ``(B,)``; the second is that of the step's context."""
        assert self.ctx.second is not None
        first, second = (self.project(view) for view in (images, self.ctx.second[0]))
        self.std_sum += (output_std(first) + output_std(second)) / 2
        return (distance(self.predictor(first), second) + distance(self.predictor(second), first)) / 2

    def project(self, images: Tensor) -> Tensor:
        """Return the projector's output for the backbone's features of images, ``(B, d)``."""
        projected: Tensor = self.projector(self.network.forward_backbone(images)[0])  # type: ignore[operator]
        return projected

    def end_epoch(self) -> dict[str, float]:
        """Return the mean of :func:`output_std` over the steps of the epoch."""
        mean = float(self.std_sum) / self.ctx.steps
        self.std_sum.zero_()
        return {"output_std": mean}


def _hidden(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True)


def distance(predicted: Tensor, projected: Tensor) -> Tensor:
    """Compute the negative cosine similarity of each row, ``(B, d), (B, d) -> (B,)``; no gradient passes the second."""
    return -F.cosine_similarity(at_least_float32(predicted), at_least_float32(projected).detach(), dim=1)


def output_std(projected: Tensor) -> Tensor:
    r"""Compute the standard deviation of the L2-normalised outputs over a batch, averaged over the d channels.

    Parameters
    ----------
    projected : Tensor of shape (B, d)

    Returns
    -------
    Tensor of shape ()
        From 0, where all outputs are the same (collapse), to :func:`full_std`, which outputs that vary equally in all
        directions have.
    """
    return F.normalize(at_least_float32(projected.detach()), dim=1).std(dim=0, unbiased=False).mean()


def full_std(width: int) -> float:
    r"""Return the largest :func:`output_std` of d channels, :math:`1 / \sqrt d`."""
    return 1 / math.sqrt(width)
