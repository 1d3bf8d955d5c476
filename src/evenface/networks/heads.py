"""Classifiers on pooled features: linear, or by the angle alone."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

Head = Literal["linear", "cosine"]


class CosineClassifier(nn.Linear):
    r"""Logits that are the scaled cosine of the angle between features and the weights of each class.

    .. math:: z_j = s \cos(f, w_j)

    Parameters
    ----------
    in_features, out_features : int
        Length of the features, number of classes.
    scale : float
        s, above 0. Cosines end at 1, so a softmax of them alone is nearly flat: with 7 classes no probability could
        exceed 0.56.

    References
    ----------
    Wang et al., *CosFace: large margin cosine loss for deep face recognition*, CVPR 2018, eq. 3. There, and in the
    source of LDAM, the same scale stands in the loss; here the network has it, so that training and prediction agree.
    """

    def __init__(self, in_features: int, out_features: int, scale: float) -> None:
        super().__init__(in_features, out_features, bias=False)
        self.scale = scale

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002, the name that nn.Linear gives it
        """Give logits from ``-scale`` to ``scale``, ``(B, D) -> (B, C)``."""
        return self.scale * F.linear(F.normalize(input), F.normalize(self.weight))


def build_head(head: Head, width: int, classes: int, scale: float) -> nn.Linear:
    """Build a classifier of that kind; ``scale`` is of no effect on a linear one."""
    return CosineClassifier(width, classes, scale) if head == "cosine" else nn.Linear(width, classes)


def fresh_head(old: nn.Linear, classes: int) -> nn.Linear:
    """Build a classifier of the kind, width, device and type of another, with newly drawn weights."""
    head: Head = "cosine" if isinstance(old, CosineClassifier) else "linear"
    new = build_head(head, old.in_features, classes, getattr(old, "scale", 1.0))
    return new.to(old.weight.device, old.weight.dtype)
