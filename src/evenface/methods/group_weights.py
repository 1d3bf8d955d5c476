"""Every group of people in every class weighs the same."""

from torch import Tensor, nn

from evenface.methods.base import Task
from evenface.methods.group_dro import GroupMethod


class GroupWeights(GroupMethod):
    r"""Losses weighted by the inverse number of training samples of group and class.

    .. math:: L_i = \frac{N}{G \, n_{g(i)}} \, \ell_i

    with the N training samples, G groups and :math:`n_g` samples of each, so that every group has the same weight and
    the mean weight is 1.

    Parameters
    ----------
    network, loss, task, by, classes
        See :class:`~evenface.methods.group_dro.GroupMethod`.

    Raises
    ------
    InputError
        As :class:`~evenface.methods.group_dro.GroupMethod`.

    References
    ----------
    The baseline "upweighting" of Sagawa et al., *Distributionally robust neural networks for group shifts*, ICLR 2020,
    section 3.2.
    """

    def __init__(
        self, network: nn.Module, loss: nn.Module, task: Task, by: str = "subject", *, classes: bool = True
    ) -> None:
        super().__init__(network, loss, task, by, classes=classes)
        self.register_buffer("weights", self.counts.sum() / (len(self.names) * self.counts), persistent=False)

    weights: Tensor

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the weighted loss of each sample, ``(B,)``."""
        return self.weights[self.groups[self.ctx.indices]] * self.network_loss(images, targets)
