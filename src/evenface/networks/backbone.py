"""Any timm network as one that returns logits, pooled features and last maps."""

import math
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from evenface.networks.heads import Head, build_head, fresh_head
from evenface.networks.norms import freeze_statistics
from evenface.networks.weights import Loaded


class Outputs(NamedTuple):
    """What a network says about a batch.

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
        where stored features were looked at instead of pictures.
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
    frozen : bool
        Whether batch norms use their stored statistics in training too.
    head, head_scale : str, float
        Kind of the classifier and, for ``cosine``, the logit of a cosine of 1.
    resting : bool
        Whether the backbone learns nothing: its parameters take no gradient.

    Attributes
    ----------
    classifier : nn.Linear
        From features to logits; a :class:`~evenface.networks.heads.CosineClassifier` has no bias.
    resting : bool
        While it is set, the backbone works as at prediction in training too: in evaluation mode and without
        gradients. A method may set it for a while, and calls :meth:`train` then.
    loaded : Loaded or None
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
        frozen: bool = False,
        head: Head = "linear",
        head_scale: float = 30.0,
        resting: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(not resting)
        self.width = width
        self.dropout = nn.Dropout(dropout)
        self.classifier = build_head(head, width, classes, head_scale)
        self.frozen, self.resting = frozen, resting
        self.loaded: Loaded | None = None
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))
        self.train()

    def train(self, mode: bool = True) -> "Network":
        """Switch to training or evaluation; frozen statistics stay frozen, and a resting backbone in evaluation."""
        super().train(mode)
        if self.frozen:
            freeze_statistics(self)
        if self.resting:
            self.backbone.eval()
        return self

    def reset_classifier(self, classes: int | None = None) -> None:
        """Put a new classifier of the same kind and freshly drawn weights in place; of as many classes, if not said."""
        self.classifier = fresh_head(self.classifier, classes or self.classifier.out_features)

    def forward(self, images: Tensor) -> Outputs:
        """Look at a batch.

        Parameters
        ----------
        images : Tensor of shape (B, channels, size, size) or (B, D)
            Floating point, from 0 to 1; or the backbone's features, where they were stored.

        Raises
        ------
        ValueError
            If the images are not floating point or have another number of channels.
        """
        features, maps = self.look(images)
        return Outputs(self.classifier(self.dropout(features)), features, maps)

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Give the backbone's features (N, D) and maps (N, D', h, w) of N pictures.

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
        with torch.set_grad_enabled(torch.is_grad_enabled() and not (self.resting and self.training)):
            raw = backbone.forward_features((images - self.mean) / self.std)
            maps, back = as_maps(raw, self.backbone)
            return backbone.forward_head(back), maps


def as_maps(raw: Tensor, backbone: nn.Module, other: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Give a backbone's last output as (B, D, h, w), and the same again in its own layout, computed from the maps.

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
