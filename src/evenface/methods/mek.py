"""Mine extra knowledge (MEK): rebalanced attention consistency and rebalanced smooth labels."""

import torch
from torch import Tensor, nn

from evenface.data.imbalance import inverse_frequency_weights
from evenface.methods.attention_consistency import check_weight, class_maps, classifier_of, map_distance, two_views
from evenface.methods.base import Method, Task


class MEK(Method):
    r"""Rebalanced attention consistency and rebalanced smooth labels.

    .. math::
        L = \sum_k t_{yk} \, \ell(z, k)
            + \lambda \sum_l w_l \, \frac{1}{hw} \sum_{h, w} (A_{lhw} - \tilde A_{lhw})^2, \quad
        w_l = \frac{N}{10 \, n_l}, \quad
        t_{yk} = \begin{cases} 1 - \epsilon & k = y \\ \epsilon \, w_k / \sum_{j \ne y} w_j & k \ne y \end{cases}

    with the class-activation maps :math:`A` of the image and :math:`\tilde A` of its mirror, flipped back.

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`~evenface.methods.base.Method`. The loss is of the image alone, not of its mirror; cross-entropy
        is the authors' own.
    task : Task
        Of which the counts of the classes are used.
    lam : float, default=0.1
        :math:`\lambda`, weight of the consistency, >= 0. The weighted maps are summed over classes.
    smoothing : float, default=0.3
        :math:`\epsilon`, what the true class leaves to the others, from 0 to below 1.

    Raises
    ------
    InputError
        If a class has no sample or the classifier is not linear; on the first step, if the network has no
        class-activation maps.
    ValueError
        If an option is out of range.

    Notes
    -----
    With another loss than cross-entropy, the smoothed label mixes that loss's values for each class as the true one.
    No gradient flows into the classifier's weights from the maps. The authors' public program looks at both views in
    two passes; here they are one batch, also for batch norm, see :func:`.two_views`.

    References
    ----------
    Zhang et al., *Leave no stone unturned: mine extra knowledge for imbalanced facial expression recognition*,
    NeurIPS 2023.
    """

    modalities = ("images",)
    cached_features = False
    needs_maps = True
    weights: Tensor
    labels: Tensor

    def __init__(
        self, network: nn.Module, loss: nn.Module, task: Task, lam: float = 0.1, smoothing: float = 0.3
    ) -> None:
        super().__init__(network, loss)
        self.lam = check_weight("lam", lam)
        classifier_of(network)
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing must be from 0 to below 1, got {smoothing}")
        inverse = inverse_frequency_weights(task.counts, normalise="none", names=task.names)
        weights = torch.tensor(inverse * task.samples / 10, dtype=torch.float32)
        # From the data set on every start, so not part of what is stored.
        self.register_buffer("weights", weights, persistent=False)
        self.register_buffer("labels", smoothed_labels(weights, smoothing), persistent=False)

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss against smoothed labels plus what the weighted maps differ by, one value per sample."""
        first, second, align = two_views(self.network, images)
        classifier = classifier_of(self.network)
        ours, theirs = class_maps(first.maps, classifier), align(class_maps(second.maps, classifier))
        each = [self.loss(first.logits, torch.full_like(targets, label)) for label in range(len(self.labels))]
        smoothed = (self.labels[targets] * torch.stack(each, dim=1)).sum(dim=1)
        return smoothed + self.lam * (map_distance(ours, theirs) * self.weights).sum(dim=1)


def smoothed_labels(weights: Tensor, smoothing: float) -> Tensor:
    """Return the label of each true class: what it leaves goes to the others in proportion to their weights."""
    others = weights.repeat(len(weights), 1).fill_diagonal_(0)
    spread = smoothing * others / others.sum(dim=1, keepdim=True)
    return spread + (1 - smoothing) * torch.eye(len(weights))
