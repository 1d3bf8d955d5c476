"""Feature distribution smoothing (FDS) of continuous targets."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evenface.losses.base import at_least_float32
from evenface.losses.label_density import gaussian_kernel, label_bins
from evenface.methods.base import Method, Task, all_gather_cat
from evenface.utils.errors import InputError

LEAST, MOST = 0.1, 10.0
"""Bounds of the ratio of variances by which features are scaled, as in the source."""


class FDS(Method):
    r"""Feature distribution smoothing (FDS): features get the statistics of samples with similar targets.

    .. math::
        \tilde z = \sqrt{\tilde v_b / v_b} \, (z - \mu_b) + \tilde \mu_b, \qquad
        \tilde \mu_b = \sum_{b'} k(b, b') \, \mu_{b'}, \quad \tilde v_b = \sum_{b'} k(b, b') \, v_{b'}

    with mean :math:`\mu_b` and variance :math:`v_b` of each feature over the training samples whose target is in the
    bin b, collected during an epoch, and averaged over epochs. The classifier is trained on :math:`\tilde z`;
    prediction uses z.

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`~evenface.methods.base.Method`.
    task : Task
        Its training targets give the bins.
    target : str, optional
        The target whose bins are used; needed where there are several.
    bins : int, optional
        Number of bins; see :func:`evenface.losses.label_density.label_bins`.
    kernel_size : int, default=5
        An odd number of bins.
    sigma : float, default=2.0
        Of the Gaussian kernel k, in bins, above 0.
    momentum : float, default=0.9
        Share of the statistics of earlier epochs in those of a bin, from 0 to below 1.
    start : int, default=1
        Epoch, from 0, from which features are smoothed; at least 1.

    Raises
    ------
    InputError
        If ``target`` is unknown, or missing where there are several.
    ValueError
        If a value is out of range.

    Notes
    -----
    The source passes all training images through the network once more after each epoch; here the features of the
    epoch's own batches are collected, before smoothing, so each is as old as its step. Bins without samples, which the
    source counts with mean 0 and variance 1, have no part in the sums. At its ends the scale is mirrored, as there.
    Ratios of variances are limited to 0.1 to 10. Features whose target is missing stay as they are. The source has one
    target.

    References
    ----------
    Yang et al., *Delving into deep imbalanced regression*, ICML 2021, sec. 3.2.
    """

    tasks = ("regression",)
    training_only = (*Method.training_only, "statistics.")

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        task: Task,
        target: str | None = None,
        bins: int | None = None,
        kernel_size: int = 5,
        sigma: float = 2.0,
        momentum: float = 0.9,
        start: int = 1,
    ) -> None:
        super().__init__(network, loss)
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be from 0 to below 1, got {momentum}")
        if isinstance(start, bool) or start < 1:
            raise ValueError(f"start must be a whole number from 1, got {start!r}")
        self.start = start
        self.column = _column(target, task.names)
        labels = np.zeros((0, len(task.names))) if task.targets is None else task.targets
        self.bins = label_bins(labels[:, self.column], bins)
        width: int = network.classifier.in_features  # type: ignore[union-attr,assignment]
        kernel = gaussian_kernel(kernel_size, sigma)
        self.statistics = FeatureStatistics(_smoothing_matrix(self.bins.count, kernel), width, momentum)

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of the classifier's logits for smoothed features, and collect the features."""
        if self.ctx.step == 0 and self.ctx.epoch > 0:
            self.statistics.finish_epoch()
        out = self.network(images)
        labels = targets[:, self.column]
        known = ~labels.isnan()
        index = self.bins.index(labels.nan_to_num()).long()
        logits = out.logits
        if self.ctx.epoch >= self.start:
            smooth = self.statistics.smoothed(at_least_float32(out.features), index, known).to(out.features.dtype)
            dropout = getattr(self.network, "dropout", nn.Identity())
            logits = self.network.classifier(dropout(smooth))  # type: ignore[operator]
        seen = at_least_float32(out.features.detach())
        self.statistics.collect(all_gather_cat(seen), all_gather_cat(index), all_gather_cat(known))
        loss: Tensor = self.loss(logits, self.encode(targets))
        return loss


class FeatureStatistics(nn.Module):
    """Mean and variance of features by bin: of the current epoch, of the earlier ones, and smoothed over bins.

    Parameters
    ----------
    smoothing : ndarray of shape (K, K)
        Weight of each bin in the sum of each bin.
    width : int
        Number D of features.
    momentum : float
        Share of earlier epochs.
    """

    smoothing: Tensor
    count: Tensor
    mean: Tensor
    squares: Tensor
    seen: Tensor
    running: Tensor
    smooth: Tensor

    def __init__(self, smoothing: np.ndarray, width: int, momentum: float) -> None:
        super().__init__()
        bins, self.momentum = len(smoothing), momentum
        self.register_buffer("smoothing", torch.tensor(smoothing, dtype=torch.float32), persistent=False)
        self.register_buffer("count", torch.zeros(bins, 1))
        self.register_buffer("mean", torch.zeros(bins, width))
        self.register_buffer("squares", torch.zeros(bins, width))
        self.register_buffer("seen", torch.zeros(bins, 1))
        self.register_buffer("running", torch.zeros(2, bins, width))
        self.register_buffer("smooth", torch.zeros(2, bins, width))

    @torch.no_grad()
    def collect(self, features: Tensor, index: Tensor, known: Tensor) -> None:
        """Add the features of a batch, (B, D), to those of the epoch; by Chan's update, which keeps digits."""
        member = F.one_hot(index, len(self.count)).to(features.dtype) * known[:, None]
        with torch.autocast(features.device.type, enabled=False):
            count = member.sum(dim=0)[:, None]
            mean = member.T @ features / count.clamp_min(1)
            squares = member.T @ (features - mean[index]).square()
        total = (self.count + count).clamp_min(1)
        difference = mean - self.mean
        self.squares += squares + difference.square() * (self.count * count / total)
        self.mean += difference * (count / total)
        self.count += count

    @torch.no_grad()
    def finish_epoch(self) -> None:
        """Merge the epoch's statistics into the running ones, smooth these over bins, and begin again."""
        fresh = self.count > 0
        found = torch.stack([self.mean, self.squares / (self.count - 1).clamp_min(1)])
        keep = torch.where(fresh, self.momentum * self.seen, 1.0)  # a bin's first statistics count in full
        self.running.copy_(keep * self.running + (1 - keep) * found)
        self.seen.copy_(torch.maximum(self.seen, fresh.to(self.seen.dtype)))
        part = (self.smoothing @ self.seen).clamp_min(torch.finfo(self.seen.dtype).tiny)
        self.smooth.copy_(self.smoothing @ (self.running * self.seen) / part)
        for value in (self.count, self.mean, self.squares):
            value.zero_()

    def smoothed(self, features: Tensor, index: Tensor, known: Tensor) -> Tensor:
        """Return features with the smoothed statistics of their bins, ``(B, D)``; unchanged where there are none."""
        mean, variance = self.running[:, index]
        new_mean, new_variance = self.smooth[:, index]
        usable = known[:, None] & (self.seen[index] > 0) & (variance > 0)
        ratio = (new_variance / variance.clamp_min(torch.finfo(variance.dtype).tiny)).clamp(LEAST, MOST)
        return torch.where(usable, (features - mean) * ratio.sqrt() + new_mean, features)


def _column(target: str | None, names: tuple[str, ...]) -> int:
    if target is None and len(names) > 1:
        raise InputError(
            f"it smooths features by the bins of one target, and there are {len(names)}: {', '.join(names)}",
            f"Set method.target, such as method.target={names[0]}.",
        )
    if target is not None and target not in names:
        raise InputError(f"there is no target {target!r}", f"Set method.target to one of {', '.join(names)}.")
    return 0 if target is None else names.index(target)


def _smoothing_matrix(bins: int, kernel: np.ndarray) -> np.ndarray:
    """Return the kernel's weight of each bin for each bin, (K, K); the scale is mirrored at its ends."""
    half = len(kernel) // 2
    sources = np.pad(np.arange(bins), half, mode="reflect")
    matrix = np.zeros((bins, bins))
    for row in range(bins):
        np.add.at(matrix[row], sources[row : row + len(kernel)], kernel / kernel.sum())
    return matrix
