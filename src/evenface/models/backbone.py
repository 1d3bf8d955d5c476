"""A timm backbone with a classifier, returning logits, pooled features and last maps."""

import math
from typing import Any, Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from evenface.config.recipe import NetworkSettings
from evenface.models.weights import LoadReport

Head = Literal["linear", "cosine"]


class Outputs(NamedTuple):
    """Outputs of a network for a batch.

    Attributes
    ----------
    logits : Tensor of shape (B, C)
        The classifier's answer to the features.
    features : Tensor of shape (B, D)
        Pooled features, before dropout and classifier.
    maps : Tensor of shape (B, D', h, w)
        The last stage's maps; tokens of a transformer as a grid. Features and logits are computed from them, so
        gradients with respect to them exist (but are zero where a class token alone is pooled). D' is D except where
        a backbone has layers between pooling and classifier (MobileNetV3, VGG). Of clips, (B, T, D', h, w). Empty
        for cached features in place of images.
    """

    logits: Tensor
    features: Tensor
    maps: Tensor


class Network(nn.Module):
    """A timm backbone, a dropout and a classifier.

    Build it with :func:`build_network`.

    Parameters
    ----------
    backbone : nn.Module
        A timm model without classifier.
    width : int
        Length D of its pooled features.
    classes : int
        Number of classes C.
    mean, std : sequence of float
        One value per channel: images are normalised by them inside the network, and they are stored with the weights.
    dropout : float
        Share of the features dropped before the classifier, in training.
    frozen_norm : bool
        Whether batch norms use their stored statistics in training too.
    head, head_scale : str, float
        Kind of the classifier and, for ``cosine``, the logit of a cosine of 1.
    frozen_backbone : bool
        Whether the backbone learns nothing: its parameters take no gradient.

    Attributes
    ----------
    classifier : nn.Linear
        From features to logits; a :class:`~evenface.models.backbone.CosineClassifier` has no bias.
    frozen_backbone : bool
        While it is set, the backbone works as at prediction in training too: in evaluation mode and without
        gradients. A method may set it for a while, and calls :meth:`train` then.
    load_report : LoadReport or None
        What was taken from a local file of weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        width: int,
        classes: int,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        dropout: float = 0.0,
        frozen_norm: bool = False,
        head: Head = "linear",
        head_scale: float = 30.0,
        frozen_backbone: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(not frozen_backbone)
        self.width = width
        self.dropout = nn.Dropout(dropout)
        self.classifier = build_head(head, width, classes, head_scale)
        self.frozen_norm, self.frozen_backbone = frozen_norm, frozen_backbone
        self.load_report: LoadReport | None = None
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))
        self.train()

    def train(self, mode: bool = True) -> "Network":
        """Switch to training or evaluation; frozen statistics stay frozen, and a frozen backbone in evaluation."""
        super().train(mode)
        if self.frozen_norm:
            freeze_statistics(self)
        if self.frozen_backbone:
            self.backbone.eval()
        return self

    def reset_classifier(self, classes: int | None = None) -> None:
        """Replace the classifier by a new one of the same kind; by default of as many classes."""
        self.classifier = fresh_head(self.classifier, classes or self.classifier.out_features)

    def forward(self, images: Tensor) -> Outputs:
        """Compute the outputs of a batch.

        Parameters
        ----------
        images : Tensor of shape (B, channels, size, size) or (B, D)
            Floating point, from 0 to 1; or the backbone's features, where they were stored.

        Raises
        ------
        ValueError
            If the images are not floating point or have another number of channels.
        """
        features, maps = self.forward_backbone(images)
        return Outputs(self.classifier(self.dropout(features)), features, maps)

    def forward_backbone(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the backbone's features (N, D) and maps (N, D', h, w) of N images.

        Stored features pass as they are, with empty maps. Parameters and errors as for :meth:`forward`.
        """
        channels = self.mean.shape[1]
        if images.is_floating_point() and images.ndim == 2 and images.shape[1] == self.width:
            return images, images.new_empty(len(images), 0, 0, 0)
        if not images.is_floating_point() or images.ndim != 4 or images.shape[1] != channels:
            raise ValueError(
                f"expected floating-point images of shape (B, {channels}, H, W) or features of shape "
                f"(B, {self.width}), got {images.dtype} of shape {tuple(images.shape)}"
            )
        backbone = cast(Any, self.backbone)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not (self.frozen_backbone and self.training)):
            raw = backbone.forward_features((images - self.mean) / self.std)
            maps, back = as_maps(raw, self.backbone)
            return backbone.forward_head(back), maps


def as_maps(raw: Tensor, backbone: nn.Module, other: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return a backbone's last output as (B, D, h, w), and the same again in its own layout, computed from the maps.

    Other maps, where they are given, take the place of its own.
    """
    if raw.ndim == 3:
        extra = int(getattr(backbone, "num_prefix_tokens", 0))
        prefix, tokens = raw[:, :extra], raw[:, extra:]
        side = math.isqrt(tokens.shape[1])  # images are square, so tokens are
        own = tokens.transpose(1, 2).unflatten(2, (side, side))  # type: ignore[no-untyped-call]
        maps = own if other is None else other
        return maps, torch.cat([prefix, maps.flatten(2).transpose(1, 2)], dim=1)
    if getattr(backbone, "output_fmt", "NCHW") == "NHWC":
        maps = raw.permute(0, 3, 1, 2) if other is None else other
        return maps, maps.permute(0, 2, 3, 1)
    maps = raw if other is None else other
    return maps, maps


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
    source of LDAM, the same scale is part of the loss; here the network has it, so that training and prediction agree.
    """

    def __init__(self, in_features: int, out_features: int, scale: float) -> None:
        super().__init__(in_features, out_features, bias=False)
        self.scale = scale

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002, the name that nn.Linear gives it
        """Return logits from ``-scale`` to ``scale``, ``(B, D) -> (B, C)``."""
        return self.scale * F.linear(F.normalize(input), F.normalize(self.weight))


def build_head(head: Head, width: int, classes: int, scale: float) -> nn.Linear:
    """Build a classifier of that kind; ``scale`` has no effect on a linear one."""
    return CosineClassifier(width, classes, scale) if head == "cosine" else nn.Linear(width, classes)


def fresh_head(old: nn.Linear, classes: int, width: int | None = None) -> nn.Linear:
    """Build a classifier of the kind, device, type and, by default, width of another, with newly drawn weights."""
    head: Head = "cosine" if isinstance(old, CosineClassifier) else "linear"
    new = build_head(head, width or old.in_features, classes, getattr(old, "scale", 1.0))
    return new.to(old.weight.device, old.weight.dtype)


class HeadOnly(nn.Module):
    """A classifier without backbone, which takes the first two numbers of an image for its features."""

    def __init__(self, settings: NetworkSettings, classes: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            self.classifier = build_head(settings.head, 2, classes, settings.head_scale)
        self.frozen_backbone = settings.freeze == "backbone"

    def reset_classifier(self, classes: int | None = None) -> None:
        """Replace the classifier as that of :class:`Network`."""
        self.classifier = fresh_head(self.classifier, classes or self.classifier.out_features)

    def forward(self, images: Tensor) -> Outputs:
        """Compute the outputs of a batch of any images."""
        features = images.flatten(1)[:, :2]
        return Outputs(self.classifier(features), features, features[:, :, None, None])


def freeze_statistics(module: nn.Module) -> None:
    """Make every batch norm inside ``module`` use its stored mean and variance; scale and shift stay trainable."""
    for child in module.modules():
        if isinstance(child, _BatchNorm):
            child.eval()
