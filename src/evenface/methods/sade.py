"""SADE: three experts for frequent, all and rare classes on one network, whose logits are averaged."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from evenface.methods.base import Method, Task
from evenface.methods.bbn import ResidualBranch
from evenface.models.backbone import fresh_head


class SADE(Method):
    r"""Self-supervised aggregation of diverse experts (SADE), with equal weights of its experts.

    .. math:: L = \sum_{e=1}^{3} \ell(z_e + s_e, y), \qquad s_1 = 0, \quad s_2 = \log \pi, \quad
        s_3 = \log \pi - \tau \log \bar\pi, \qquad z = \sum_e v_e z_e

    with the class frequencies :math:`\pi` of training and the same in reversed order of the classes,
    :math:`\bar\pi`: the most frequent class has the frequency of the rarest. The experts thus learn for the classes as
    they are, for equally frequent ones, and for reversed frequencies; z is what predicts.

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`~evenface.methods.base.Method`. Each expert is a residual block on the network's last feature maps
        and a classifier of the network's kind; the network's own is not used.
    task : Task
        Its counts give :math:`\pi`.
    tau : float, default=2.0
        :math:`\tau`, >= 0.
    weights : sequence of 3 float, optional
        :math:`v`, >= 0, of sum 1 after division by it; by default all alike.

    Raises
    ------
    InputError
        If a class has no sample.
    ValueError
        If an option is out of range.

    Notes
    -----
    The source chooses v for each test set by the stability of predictions under augmentation, without labels. Here test
    data decide nothing, and v is equal unless the recipe has other weights, for frequencies that are known beforehand.
    The source gives each expert the last two groups of a ResNet.

    References
    ----------
    Zhang et al., *Self-supervised aggregation of diverse experts for test-agnostic long-tailed recognition*,
    NeurIPS 2022, eq. 1 to 3.
    """

    modalities = ("images",)
    cached_features = False
    needs_maps = True
    class_weights_only = True
    uses_all_parameters = False  # layers between maps and classifier, where a backbone has them
    prior_reason = "the mean of three experts' class frequencies"
    shifts: Tensor
    aggregation: Tensor

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        task: Task,
        tau: float = 2.0,
        weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
    ) -> None:
        super().__init__(network, loss)
        if not 0 <= tau < float("inf"):
            raise ValueError(f"tau must be a number >= 0, got {tau}")
        if min(weights) < 0 or not sum(weights) > 0:
            raise ValueError(f"weights must be three numbers >= 0, not all 0, got {list(weights)}")
        counts = np.asarray(task.counts, dtype=np.float64)
        if not counts.all():
            raise ValueError(f"class {task.names[int(counts.argmin())]} has no training sample")
        self.tau = tau
        prior = np.log(counts / counts.sum())
        shifts = np.stack([np.zeros_like(prior), prior, prior - tau * reversed_order(prior)])
        self.register_buffer("shifts", torch.tensor(shifts, dtype=torch.float32), persistent=False)
        share = torch.tensor(weights, dtype=torch.float32)
        self.register_buffer("aggregation", share / share.sum(), persistent=False)
        old: nn.Linear = network.classifier  # type: ignore[assignment]
        channels = int(getattr(getattr(network, "backbone", None), "num_features", old.in_features))
        self.branches = nn.ModuleList(ResidualBranch(channels, max(1, channels // 4)) for _ in range(3))
        self.classifiers = nn.ModuleList(fresh_head(old, old.out_features, channels) for _ in range(3))
        network.classifier = nn.Identity()

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the sum of the three experts' losses, one value per sample."""
        experts = self.experts(images) + self.shifts
        return torch.stack([self.loss(logits, targets) for logits in experts.unbind(dim=1)]).sum(dim=0)

    def logits(self, images: Tensor) -> Tensor:
        """Compute the weighted mean of the experts' logits, ``(B, C)``."""
        return (self.experts(images) * self.aggregation[:, None]).sum(dim=1)

    def experts(self, images: Tensor) -> Tensor:
        """Compute the logits of each expert, ``(B, 3, C)``."""
        maps = self.network(images).maps
        pairs = zip(self.branches, self.classifiers, strict=True)
        return torch.stack([classifier(branch(maps)) for branch, classifier in pairs], dim=1)

    def prior_factor(self, counts: npt.ArrayLike) -> npt.NDArray[np.float64]:
        r"""Return :math:`\pi^{v_1 - 1} \bar\pi^{\tau v_3}`, as each expert's logits have a prior of its own."""
        prior = np.log(np.asarray(counts, dtype=np.float64) / np.sum(counts))
        first, _, third = self.aggregation.double().cpu().numpy()
        exponent: npt.NDArray[np.float64] = (first - 1) * prior + self.tau * third * reversed_order(prior)
        return np.exp(exponent)


def reversed_order(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the same values in reversed order: the largest where the smallest is, and so on.

    Examples
    --------
    >>> reversed_order(np.array([5.0, 1.0, 3.0, 2.0])).tolist()
    [1.0, 5.0, 2.0, 3.0]
    """
    order = np.argsort(values, kind="stable")
    result = np.empty_like(values)
    result[order] = values[order[::-1]]
    return result
