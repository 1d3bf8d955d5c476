"""Class-activation maps of every class, two views of a batch, and how far their maps lie apart."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evenface.errors import InputError
from evenface.methods.transforms import TRANSFORMS, Align
from evenface.networks.backbone import Outputs

Distance = Literal["squared", "absolute"]


def class_maps(maps: Tensor, classifier: nn.Linear, *, detach: bool = True) -> Tensor:
    r"""Give the class-activation map of every class.

    .. math:: A(i, l, h, w) = \sum_c W(l, c) \, F(i, c, h, w)

    Parameters
    ----------
    maps : Tensor of shape (B, D, h, w)
        Maps of the last stage.
    classifier : nn.Linear
        From D features to C classes. Its bias plays no part.
    detach : bool, default=True
        Whether gradients stop before the classifier's weights. They always flow into the maps.

    Returns
    -------
    Tensor of shape (B, C, h, w)
        In at least 32 bits. Where features are the mean of the maps, the mean of a class's map plus its bias is its
        logit.

    Raises
    ------
    InputError
        If the maps do not have D channels.

    References
    ----------
    Zhou et al., *Learning deep features for discriminative localization*, CVPR 2016, eq. 2. Zhu et al., *A facial
    expression recognition network using rebalance-based regulation of attention consistency and focus*, 2025, eq. 2.
    """
    if maps.shape[1] != classifier.in_features:
        raise InputError(
            f"this network has no class-activation maps: its maps have {maps.shape[1]} channels, its classifier takes "
            f"{classifier.in_features}, because layers stand between pooling and classifier",
            "Take one without such layers, such as resnet18, resnet50, mobilenetv1_100 or "
            "swin_tiny_patch4_window7_224 (not VGG, not MobileNetV3), or a method that needs no such maps.",
        )
    weight = classifier.weight.detach() if detach else classifier.weight
    with torch.autocast(maps.device.type, enabled=False):  # half precision would round the difference of two maps
        kind = torch.promote_types(maps.dtype, torch.float32)
        return F.conv2d(maps.to(kind), weight.to(kind)[:, :, None, None])


def map_distance(first: Tensor, second: Tensor, distance: Distance = "squared") -> Tensor:
    """Compare maps place by place, ``(B, C, h, w) -> (B, C)``.

    Parameters
    ----------
    first, second : Tensor of shape (B, C, h, w)
        Maps of two views, laid over each other.
    distance : {"squared", "absolute"}
        Of one place; its mean over all places is given.
    """
    difference = first - second
    return (difference.square() if distance == "squared" else difference.abs()).mean(dim=(2, 3))


def two_views(network: nn.Module, images: Tensor, transform: str = "horizontal-flip") -> tuple[Outputs, Outputs, Align]:
    """Look at images and at a changed view of them, in one pass.

    Parameters
    ----------
    network : nn.Module
        See :class:`~evenface.methods.base.Method`.
    images : Tensor of shape (B, channels, H, W)
        The first view.
    transform : str
        How the second is made, one of :data:`~evenface.methods.transforms.TRANSFORMS`.

    Returns
    -------
    first, second : Outputs
        Of B samples each.
    align : callable
        Lays maps (B, C, h, w) of the second view over those of the first.

    Notes
    -----
    Batch norm sees both views as one batch of 2B: one mean and variance for both, one update of the running ones.
    That is faster than two passes, and lets a batch of one sample train.
    """
    view = TRANSFORMS[transform](images)
    outputs: Any = network(torch.cat([images, view.images]))
    halves = [value.chunk(2) for value in outputs]
    first, second = (Outputs(*(half[side] for half in halves)) for side in (0, 1))
    return first, second, view.align


def classifier_of(network: nn.Module) -> nn.Linear:
    """Give the layer from features to logits.

    Raises
    ------
    InputError
        If it is not linear: with one by angles alone, maps do not add up to logits.
    """
    if type(network.classifier) is not nn.Linear:
        raise InputError("class-activation maps need a linear classifier", "Set network.head: linear.")
    return network.classifier


def check_share(name: str, value: float) -> float:
    """Refuse a share that is not from 0 to 1.

    Raises
    ------
    ValueError
        Naming the option.
    """
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be from 0 to 1, got {value}")
    return value


def check_weight(name: str, value: float) -> float:
    """Refuse a term's weight that is no number >= 0.

    Raises
    ------
    ValueError
        Naming the option.
    """
    if not 0 <= value < float("inf"):
        raise ValueError(f"{name} must be a number >= 0, got {value}")
    return value
