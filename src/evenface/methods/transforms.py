"""Second views of a batch, and how the maps of such a view are laid back over those of the first."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from evenface.augment import COLUMNS, augment
from evenface.recipes.schema import Augment

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
    """Turn upside down."""
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
