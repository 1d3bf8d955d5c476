"""Class-balanced loss: cross-entropy or focal loss weighted by the effective number of samples."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evenface.data.imbalance import effective_number_weights
from evenface.losses.base import FocalForm, Loss
from evenface.losses.focal import FocalLoss


class ClassBalancedLoss(Loss):
    r"""Class-balanced loss, one value per sample.

    .. math:: CB = -\frac{1 - \beta}{1 - \beta^{n_y}} (1 - p_y)^\gamma \log p_y

    with the factors normalised to sum to the number of classes.

    Parameters
    ----------
    counts : array_like of shape (C,)
        Training samples of each class, all above 0.
    beta : float, default=0.999
        From 0 (no weighting) to below 1 (close to it: inverse frequency).
    gamma : float, default=0.0
        Focusing strength, >= 0. Zero gives class-balanced cross-entropy.
    normalise : {"classes", "sum-one", "none"}
        See :func:`evenface.data.imbalance.effective_number_weights`.

    Raises
    ------
    InputError
        If a class has no sample, or ``beta`` or ``normalise`` is not as above.
    ValueError
        If ``gamma`` is negative or, on calling, there is not one count per class.

    Notes
    -----
    Probabilities are softmax throughout. The source's focal form has one sigmoid per class instead.

    References
    ----------
    Cui et al., *Class-balanced loss based on effective number of samples*, CVPR 2019, eq. 9 and 11.

    Examples
    --------
    >>> import torch
    >>> loss = ClassBalancedLoss(counts=[900, 100], beta=0.9999)
    >>> loss(torch.zeros(2, 2), torch.tensor([0, 1]))
    tensor([0.1437, 1.2426])
    """

    exact_prior = True
    prior_reason = "class-balanced weights"

    def __init__(
        self, counts: npt.ArrayLike, beta: float = 0.999, gamma: float = 0.0, normalise: str = "classes"
    ) -> None:
        super().__init__()
        weights = effective_number_weights(counts, beta=beta, normalise=normalise)
        self.focal = FocalLoss(gamma, torch.tensor(weights, dtype=torch.float32))

    def prior_factor(self, counts: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the weights of the classes."""
        return self.focal.prior_factor(counts)

    def focal_form(self, classes: int) -> FocalForm:
        """Return the loss as focal loss of shifted logits."""
        return self.focal.focal_form(classes)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute one value per sample: logits ``(B, C)``, targets ``(B,)`` int64."""
        loss: Tensor = self.focal(logits, targets)
        return loss
