"""Density of continuous labels, its smoothing (LDS), and weights that are inverse to it."""

from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evenface.losses.base import SettingsInRepr
from evenface.losses.target_base import check_one_per_target

Values = TypeVar("Values", Tensor, npt.NDArray[np.float64])
Floats = npt.NDArray[np.float64]
WeightRule = Literal["inverse", "sqrt-inverse"]
Smoothing = Literal["none", "gaussian"]

MOST_BINS = 100
"""Bins of labels that are not steps of one width."""
FEWEST = 5
"""Least count of a bin that the rule ``inverse`` uses, as in its source."""


@dataclass(frozen=True)
class LabelBins:
    """Bins of equal width, the first and the last centred at the smallest and the largest training label.

    Parameters
    ----------
    low : float
        Centre of the first bin.
    width : float
        Of each bin.
    count : int
        Number of bins.
    """

    low: float
    width: float
    count: int

    def index(self, values: Values) -> Values:
        """Return the number of each value's bin, as floating point; values out of range are in the last ones."""
        return ((values - self.low) / self.width).round().clip(0, self.count - 1)


def label_bins(labels: npt.ArrayLike, bins: int | None = None) -> LabelBins:
    """Choose the bins of a target.

    Parameters
    ----------
    labels : array_like of shape (N,)
        Training labels, NaN where missing.
    bins : int, optional
        Their number, at least 2. By default one for each step of the scale where the labels are multiples of one step
        and have at most 100 of them, such as levels from 0 to 15; otherwise 100.

    Raises
    ------
    ValueError
        If ``bins`` is below 2.

    Examples
    --------
    >>> label_bins([0, 0, 1, 3, 15])
    LabelBins(low=0.0, width=1.0, count=16)
    """
    if bins is not None and bins < 2:
        raise ValueError(f"bins must be at least 2, got {bins}")
    values = np.asarray(labels, dtype=np.float64)
    known = np.unique(values[~np.isnan(values)])
    if len(known) < 2:
        return LabelBins(float(known[0]) if len(known) else 0.0, 1.0, 1)
    low, span = float(known[0]), float(known[-1] - known[0])
    if bins is None:
        steps = span / np.diff(known).min()
        places = (known - low) / span * np.round(steps)
        on_grid = steps < MOST_BINS and np.abs(places - places.round()).max() < 1e-3
        bins = round(steps) + 1 if on_grid else MOST_BINS
    return LabelBins(low, span / (bins - 1), bins)


def gaussian_kernel(kernel_size: int, sigma: float) -> Floats:
    r"""Compute a Gaussian over bins, cut to ``kernel_size`` of them: :math:`e^{-d^2 / 2\sigma^2}`, 1 at its centre.

    Raises
    ------
    ValueError
        If the size is not odd, or ``sigma`` is not above 0.

    Examples
    --------
    >>> gaussian_kernel(3, 1.0).round(4)
    array([0.6065, 1.    , 0.6065])
    """
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be an odd number of bins, got {kernel_size}")
    if not sigma > 0:
        raise ValueError(f"sigma must be above 0, got {sigma}")
    distance = np.arange(kernel_size) - kernel_size // 2
    return np.asarray(np.exp(-(distance**2) / (2 * sigma**2)))


class LabelWeights(SettingsInRepr):
    r"""Weights of labels, inverse to their density, which may be smoothed: label distribution smoothing (LDS).

    .. math:: w(y) \propto \frac{1}{\sum_{b'} k(b, b') \, c_{b'}}, \qquad k(b, b') = e^{-(b - b')^2 / 2\sigma^2}

    with the bin b of the label y and c the number of training labels in a bin (``inverse``), at least 5, or
    its square root (``sqrt-inverse``). Without smoothing the sum is :math:`c_b`. The mean weight of the
    training labels of each target is 1.

    Parameters
    ----------
    targets : array_like of shape (N, T)
        Training targets, NaN where missing.
    rule : {"inverse", "sqrt-inverse"}
        What the weights are inverse to.
    smoothing : {"none", "gaussian"}, default="none"
        ``gaussian``: the kernel k, over ``kernel_size`` bins. Nearby labels then share their density.
    kernel_size : int, default=5
        An odd number of bins.
    sigma : float, default=2.0
        In bins, above 0.
    bins : int, optional
        Number of bins; see :func:`label_bins`.

    Raises
    ------
    ValueError
        If a value is out of range or, on calling, there are not as many targets.

    Notes
    -----
    The least count and the order, square root before smoothing, are those of the authors' program. It also has a
    largest count, 1000, which suits ages; of pain, 40,000 frames without any would weigh as much as 1,400 of PSPI 3,
    so there is none here. It makes its kernel by filtering five numbers, which folds the tails of the Gaussian back,
    and rounds smoothed counts down; here the kernel is the paper's and nothing is rounded. A bin without any density
    has the largest weight of the others; no training label is there.

    References
    ----------
    Yang et al., *Delving into deep imbalanced regression*, ICML 2021, sec. 3.1.

    Examples
    --------
    >>> LabelWeights([[0.0]] * 16 + [[1.0]] * 4, "sqrt-inverse")(torch.tensor([[0.0], [1.0]])).T
    tensor([[0.8333, 1.6667]])
    """

    table: Tensor

    def __init__(
        self,
        targets: npt.ArrayLike,
        rule: WeightRule,
        smoothing: Smoothing = "none",
        kernel_size: int = 5,
        sigma: float = 2.0,
        bins: int | None = None,
    ) -> None:
        super().__init__()
        columns = np.asarray(targets, dtype=np.float64).T
        kernel = gaussian_kernel(kernel_size, sigma) if smoothing == "gaussian" else np.ones(1)
        self.bins = [label_bins(column, bins) for column in columns]
        table = np.ones((len(columns), max(each.count for each in self.bins)))
        for row, column, each in zip(table, columns, self.bins, strict=True):
            row[: each.count] = _bin_weights(column, each, rule, kernel)
        self.register_buffer("table", torch.tensor(table, dtype=torch.float32))

    def forward(self, targets: Tensor) -> Tensor:
        """Return the weight of each target, ``(B, T)``, of targets that are known or 0."""
        check_one_per_target(targets, self.table)
        columns = zip(self.table, self.bins, targets.T, strict=True)
        return torch.stack([row[each.index(values).long()] for row, each, values in columns], dim=1)


def _bin_weights(labels: Floats, bins: LabelBins, rule: WeightRule, kernel: Floats) -> Floats:
    """Compute the weight of each bin, ``(bins.count,)``."""
    index = bins.index(labels[~np.isnan(labels)]).astype(np.int64)
    if not len(index):
        return np.ones(bins.count)
    counts = np.bincount(index, minlength=bins.count).astype(np.float64)
    density = np.sqrt(counts) if rule == "sqrt-inverse" else counts.clip(FEWEST)
    half = len(kernel) // 2
    smooth = np.convolve(density, kernel)[half : half + bins.count]
    weights = 1 / np.where(smooth > 0, smooth, smooth[smooth > 0].min())
    return np.asarray(weights / weights[index].mean())
