"""Attention consistency: class activation maps of two views of a batch, the views, and the distance of the maps."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evenface.config.recipe import Augment
from evenface.models.backbone import Outputs
from evenface.preprocessing.augmentation import COLUMNS, augment
from evenface.utils.errors import InputError

Distance = Literal["squared", "absolute"]
SMALLEST, DARKEST = 0.5, 0.5
"""What scaling and intensity leave at least of the size and of the brightness; downsampling leaves so much of the
resolution."""

Align = Callable[[Tensor], Tensor]


class View(NamedTuple):
    """A changed batch.

    Attributes
    ----------
    images : Tensor of shape (B, channels, H, W)
        As bright as 0 to 1.
    align : callable
        Takes maps (B, C, h, w) of these images and gives them as they lie in the images before the change.
    """

    images: Tensor
    align: Align


def horizontal_flip(images: Tensor) -> View:
    """Mirror left and right."""
    return View(images.flip(-1), lambda maps: maps.flip(-1))


def vertical_flip(images: Tensor) -> View:
    """Flip upside down."""
    return View(images.flip(-2), lambda maps: maps.flip(-2))


def scaling(images: Tensor) -> View:
    """Shrink each image about its centre, to a size drawn from half to whole; its edge is repeated around it.

    All of the image stays in view, so the inverse resampling of the maps finds a value for every place.
    """
    share = _shares(images, SMALLEST)
    return View(_zoom(images, 1 / share), lambda maps: _zoom(maps, share))


def downsampling(images: Tensor) -> View:
    """Halve the resolution of each image and enlarge it again: detail is lost, and everything stays in its place."""
    small = F.interpolate(images, scale_factor=SMALLEST, mode="area")
    return View(F.interpolate(small, size=images.shape[-2:], mode="bilinear", align_corners=False), _as_it_is)


def intensity(images: Tensor) -> View:
    """Darken each image, to a brightness drawn from half to whole."""
    return View(images * _shares(images, DARKEST).to(images.dtype)[:, None, None, None], _as_it_is)


def erase(images: Tensor) -> View:
    """Erase a rectangle of 2 to 25 % of each image, as the augmentation of that name does."""
    numbers = torch.rand(len(images), COLUMNS)
    return View(augment(images, numbers, Augment(flip=0.0, erase=1.0)), _as_it_is)


TRANSFORMS: dict[str, Callable[[Tensor], View]] = {
    "horizontal-flip": horizontal_flip,
    "vertical-flip": vertical_flip,
    "scaling": scaling,
    "downsampling": downsampling,
    "intensity": intensity,
    "erase": erase,
}
"""How the second view is made: ``images (B, channels, H, W) -> View``. Numbers come from torch's own CPU generator."""


def class_maps(maps: Tensor, classifier: nn.Linear, *, detach: bool = True) -> Tensor:
    r"""Return the class-activation map of every class.

    .. math:: A(i, l, h, w) = \sum_c W(l, c) \, F(i, c, h, w)

    References
    ----------
    Zhou et al., *Learning deep features for discriminative localization*, CVPR 2016, eq. 2. Zhu et al., *A facial
    expression recognition network using rebalance-based regulation of attention consistency and focus*, 2025, eq. 2.
    """
    if maps.shape[1] != classifier.in_features:
        raise InputError(
            f"this network has no class-activation maps: its maps have {maps.shape[1]} channels, its classifier takes "
            f"{classifier.in_features}, because there are layers between pooling and classifier",
            "Take one without such layers, such as resnet18, resnet50, mobilenetv1_100 or "
            "swin_tiny_patch4_window7_224 (not VGG, not MobileNetV3), or a method that needs no such maps.",
        )
    weight = classifier.weight.detach() if detach else classifier.weight
    with torch.autocast(maps.device.type, enabled=False):  # half precision would round the difference of two maps
        kind = torch.promote_types(maps.dtype, torch.float32)
        return F.conv2d(maps.to(kind), weight.to(kind)[:, :, None, None])


def map_distance(first: Tensor, second: Tensor, distance: Distance = "squared") -> Tensor:
    """Compare maps place by place, ``(B, C, h, w) -> (B, C)``."""
    difference = first - second
    return (difference.square() if distance == "squared" else difference.abs()).mean(dim=(2, 3))


def two_views(network: nn.Module, images: Tensor, transform: str = "horizontal-flip") -> tuple[Outputs, Outputs, Align]:
    """Run the network on images and on a transformed view of them, in one pass.

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
    """Return the layer from features to logits."""
    if type(network.classifier) is not nn.Linear:
        raise InputError("class-activation maps need a linear classifier", "Set network.head: linear.")
    return network.classifier


def check_share(name: str, value: float) -> float:
    """Refuse a share that is not from 0 to 1."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be from 0 to 1, got {value}")
    return value


def check_weight(name: str, value: float) -> float:
    """Refuse a term's weight that is no number >= 0."""
    if not 0 <= value < float("inf"):
        raise ValueError(f"{name} must be a number >= 0, got {value}")
    return value


def _as_it_is(maps: Tensor) -> Tensor:
    return maps


def _shares(images: Tensor, least: float) -> Tensor:
    """Draw one number from ``least`` to 1 for each image, the same ones on every device."""
    return (least + (1 - least) * torch.rand(len(images))).to(images.device)


def _zoom(values: Tensor, step: Tensor) -> Tensor:
    """Resample (B, C, h, w) about the centre, in steps of ``step`` (B,) pixels; below 1 enlarges."""
    theta = step.new_zeros(len(step), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = step
    grid = F.affine_grid(theta, list(values.shape), align_corners=False).to(values.dtype)
    return F.grid_sample(values, grid, padding_mode="border", align_corners=False)
