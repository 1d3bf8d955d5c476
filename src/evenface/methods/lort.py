"""Logits retargeting (LORT): the classifier trained on with labels that are nearly even."""

from torch import Tensor, nn

from evenface.methods.base import loss_of_each_class
from evenface.methods.decoupled import Decoupled
from evenface.models.backbone import Outputs


class LORT(Decoupled):
    r"""Classifier trained on with over-smoothed labels, in the last ``share`` of the epochs.

    .. math:: L = (1 - \delta) \, \ell(z, y) + \frac{\delta}{C} \sum_j \ell(z, j)

    of a frozen network. The true class keeps :math:`1 - \delta + \delta / C` of its label, every other has
    :math:`\delta / C`. See :class:`~evenface.methods.decoupled.Decoupled` for the stages; samples are drawn as in the
    first, and no count of a class is used.

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`~evenface.methods.base.Method`.
    share : float, default=0.1
        Share of the epochs that belong to the second stage, above 0 and below 1.
    delta : float, default=0.98
        :math:`\delta`, from 0 to below 1.

    Raises
    ------
    ValueError
        If ``share`` or ``delta`` is out of range.

    Notes
    -----
    The classifier is that of the first stage. With cross-entropy this is label smoothing. The authors' program freezes
    weights alone; here the network is in evaluation mode, as in all two-stage methods.

    References
    ----------
    Lu et al., *Rethinking classifier re-training in long-tailed recognition: a simple logits retargeting approach*,
    2024; ICLR 2025 as *Label over-smooth can balance*.
    """

    resampling = None

    def __init__(self, network: nn.Module, loss: nn.Module, share: float = 0.1, delta: float = 0.98) -> None:
        super().__init__(network, loss, share)
        if not 0 <= delta < 1:
            raise ValueError(f"delta must be from 0 to below 1, got {delta}")
        self.delta = delta

    def second_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss against over-smoothed labels."""
        values = loss_of_each_class(self.loss, logits)
        true = values.gather(1, targets[:, None])[:, 0]
        return (1 - self.delta) * true + self.delta * values.mean(dim=1)

    def head_logits(self, outputs: Outputs) -> Tensor:
        """Return the classifier's logits."""
        logits: Tensor = self.network.classifier(outputs.features)  # type: ignore[operator]
        return logits
