"""Random augmentation of a batch of images or clips, on its device, from numbers drawn beforehand."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from evenface.config.recipe import Augment
from evenface.utils.files import digest

COLUMNS = 14
"""Random numbers used for one image or clip."""


def to_float(images: Tensor) -> Tensor:
    """Convert stored images (B, H, W, C) uint8 into network input (B, C, H, W) float32 in [0, 1].

    Clips (B, T, H, W, C) become (B, T, C, H, W). Stored features, which are floating point already, pass as they are.
    """
    if images.is_floating_point():
        return images
    if images.ndim == 5:
        return to_float(images.flatten(0, 1)).unflatten(0, images.shape[:2])  # type: ignore[no-untyped-call,no-any-return]
    return images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.channels_last).div_(255)


def augment(images: Tensor, numbers: Tensor, settings: Augment) -> Tensor:
    """Augment each image, or all frames of a clip alike, by its own random numbers."""
    if settings.policy != "none":
        images = _apply_policy(images, numbers, settings)
    u = numbers.to(images.device)
    if images.ndim == 5:
        frames = images.shape[1]
        moved = _changed(images.flatten(0, 1), u.repeat_interleave(frames, dim=0), settings, frames)
        return moved.unflatten(0, images.shape[:2])  # type: ignore[no-untyped-call,no-any-return]
    return _changed(images, u, settings, 1)


def resized(images: Tensor, side: int) -> Tensor:
    """Resize images ``(..., C, H, W)`` to a smaller side, antialiased."""
    flat = images.flatten(0, -4) if images.ndim > 4 else images
    small = F.interpolate(flat, (side, side), mode="bilinear", antialias=True)
    return small.reshape(*images.shape[:-2], side, side)


def _apply_policy(images: Tensor, numbers: Tensor, s: Augment) -> Tensor:
    """Apply torchvision's randomly chosen operations to the bytes of each image, or of all frames of a clip."""
    from torchvision.transforms import RandAugment, TrivialAugmentWide

    policy = RandAugment(s.operations, s.magnitude) if s.policy == "randaugment" else TrivialAugmentWide()
    changed = torch.empty_like(images)
    with torch.random.fork_rng(devices=[]):
        for row, image, own in zip(changed, images, numbers.cpu().numpy(), strict=True):
            torch.default_generator.manual_seed(int(digest(own.tobytes())[:15], 16))
            row.copy_(operate(image, policy))
    return changed


def operate(image: Tensor, operation: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply an operation on bytes to an image (C, H, W), or to the frames of a clip, of values from 0 to 1."""
    return operation(image.mul(255).round().to(torch.uint8)).to(image.dtype).div_(255)


def _changed(images: Tensor, u: Tensor, settings: Augment, frames: int) -> Tensor:
    images = _move(images, u[:, :6], settings)
    images = _colour(images, u[:, 6:9], settings, frames)
    return _erase(images, u[:, 9:14], settings, frames)


def _means(images: Tensor, frames: int) -> Tensor:
    """Return the mean of each sample, for each of its frames, (B * T, 1, 1, 1)."""
    means = images.mean(dim=(1, 2, 3), keepdim=True)
    return means.view(-1, frames).mean(dim=1).repeat_interleave(frames).view_as(means) if frames > 1 else means


def _signed(u: Tensor, largest: float) -> Tensor:
    return (2 * u - 1) * largest


def _move(images: Tensor, u: Tensor, s: Augment) -> Tensor:
    flips = u[:, 0] < s.flip
    if not any((s.rotate, s.shift, s.zoom, s.shear)):
        return torch.where(flips[:, None, None, None], images.flip(-1), images) if s.flip else images
    angle = _signed(u[:, 1], math.radians(s.rotate))
    scale = 1 / (1 + _signed(u[:, 2], s.zoom))
    shear = _signed(u[:, 3], s.shear)
    mirror = torch.where(flips, -1.0, 1.0)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    top = torch.stack([mirror * cos, mirror * (shear * cos - sin), _signed(u[:, 4], 2 * s.shift)], dim=1)
    bottom = torch.stack([sin, shear * sin + cos, _signed(u[:, 5], 2 * s.shift)], dim=1)
    grid = _grid(torch.stack([top, bottom], dim=1), *images.shape[-2:])
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _grid(maps: Tensor, height: int, width: int) -> Tensor:
    """Compute ``F.affine_grid`` of maps (B, 2, 3) as rows plus columns, which is much faster on CPUs."""
    rows = maps[:, :, 1:2] * _centres(height, maps.device) + maps[:, :, 2:]
    columns = maps[:, :, 0:1] * _centres(width, maps.device)
    return (rows[:, :, :, None] + columns[:, :, None, :]).permute(0, 2, 3, 1)


def _centres(length: int, device: torch.device) -> Tensor:
    """Return the centres of pixels along a side from -1 to 1."""
    return (2 * torch.arange(length, device=device) + 1) / length - 1


def _colour(images: Tensor, u: Tensor, s: Augment, frames: int) -> Tensor:
    if not any((s.brightness, s.contrast, s.saturation)):
        return images
    largest = (s.brightness, s.contrast, s.saturation)  # as numbers: a tensor of them would be copied at each step
    factors = 1 + torch.stack([_signed(own, 1.0) * most for own, most in zip(u.unbind(1), largest, strict=True)], 1)
    factors = factors[:, :, None, None, None]
    mean = _means(images, frames)
    images = (images - mean) * factors[:, 1] + mean * factors[:, 0]
    if s.saturation and images.shape[1] == 3:
        grey = images.mean(dim=1, keepdim=True)
        images = (images - grey) * factors[:, 2] + grey
    return images.clamp_(0, 1)


def _erase(images: Tensor, u: Tensor, s: Augment, frames: int) -> Tensor:
    """Fill a rectangle with the sample's mean (random erasing, Zhong et al., 2020); sides from 1:2 to 2:1."""
    if not s.erase:
        return images
    height, width = images.shape[-2:]
    area = s.erase_area[0] + u[:, 1] * (s.erase_area[1] - s.erase_area[0])
    ratio = torch.exp2(_signed(u[:, 2], 1.0))
    tall, wide = (area * ratio).sqrt().clamp(max=1.0), (area / ratio).sqrt().clamp(max=1.0)
    rows = (torch.arange(height, device=u.device) + 0.5) / height
    columns = (torch.arange(width, device=u.device) + 0.5) / width
    top, left = (u[:, 3] * (1 - tall))[:, None], (u[:, 4] * (1 - wide))[:, None]
    inside_rows = (rows >= top) & (rows < top + tall[:, None]) & (u[:, 0] < s.erase)[:, None]
    inside_columns = (columns >= left) & (columns < left + wide[:, None])
    inside = inside_rows[:, None, :, None].to(images.dtype) * inside_columns[:, None, None, :].to(images.dtype)
    # By weights of 0 and 1, lerp gives exactly the one or the other, and on CPUs in a quarter of the time of where.
    return images.lerp(_means(images, frames), inside)
