"""Normalisation that does not depend on which other images are in the batch."""

import math

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class GroupNormAct(nn.GroupNorm):
    """Group norm in place of a batch norm, with the dropping and activation that timm puts behind some of them.

    Scale and shift are taken over and keep their names, so that stored weights still fit.

    Parameters
    ----------
    batch_norm : nn.BatchNorm2d
        What is replaced. There are as many groups as the largest power of two, at most 32, that divides its channels.
    """

    def __init__(self, batch_norm: nn.BatchNorm2d) -> None:
        channels = batch_norm.num_features
        super().__init__(math.gcd(32, channels), channels, eps=batch_norm.eps, affine=batch_norm.affine)
        if batch_norm.affine:
            self.weight, self.bias = batch_norm.weight, batch_norm.bias
        self.drop = getattr(batch_norm, "drop", nn.Identity())
        self.act = getattr(batch_norm, "act", nn.Identity())

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002, the name that nn.GroupNorm gives it
        """Normalise ``(B, C, H, W)`` over groups of channels of each image."""
        out: Tensor = self.act(self.drop(super().forward(input)))
        return out


def use_group_norm(module: nn.Module) -> None:
    """Replace every 2-D batch norm inside ``module`` by a group norm."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, GroupNormAct(child))
        else:
            use_group_norm(child)


def freeze_statistics(module: nn.Module) -> None:
    """Make every batch norm inside ``module`` use its stored mean and variance; scale and shift stay trainable."""
    for child in module.modules():
        if isinstance(child, _BatchNorm):
            child.eval()
