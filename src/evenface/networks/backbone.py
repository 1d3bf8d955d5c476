"""Any timm network as one that returns logits, pooled features and last maps."""

import math
import os
from pathlib import Path
from typing import Any, NamedTuple, cast

# Before timm is imported, which brings the hub's library.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import torch
from torch import Tensor, nn

from evenface.errors import InputError
from evenface.networks import torchvision_cpu  # noqa: F401, timm cannot be imported without it
from evenface.networks.checks import Norm, Stem, cannot_build, check_choices, check_settings
from evenface.networks.heads import Head, build_head, fresh_head
from evenface.networks.norms import freeze_statistics, use_group_norm
from evenface.networks.weights import Loaded, download, load_weights


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
        a backbone has layers between pooling and classifier (MobileNetV3, VGG).
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

    Attributes
    ----------
    classifier : nn.Linear
        From features to logits; a :class:`~evenface.networks.heads.CosineClassifier` has no bias.
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
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.classifier = build_head(head, width, classes, head_scale)
        self.frozen = frozen
        self.loaded: Loaded | None = None
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))
        self.train()

    def train(self, mode: bool = True) -> "Network":
        """Switch to training or evaluation; frozen statistics stay frozen."""
        super().train(mode)
        if self.frozen:
            freeze_statistics(self)
        return self

    def reset_classifier(self, classes: int | None = None) -> None:
        """Put a new classifier of the same kind and freshly drawn weights in place; of as many classes, if not said."""
        self.classifier = fresh_head(self.classifier, classes or self.classifier.out_features)

    def forward(self, images: Tensor) -> Outputs:
        """Look at a batch.

        Parameters
        ----------
        images : Tensor of shape (B, channels, size, size)
            Floating point, from 0 to 1.

        Raises
        ------
        ValueError
            If the images are not floating point or have another number of channels.
        """
        if not images.is_floating_point() or images.ndim != 4 or images.shape[1] != self.mean.shape[1]:
            raise ValueError(
                f"expected floating-point images of shape (B, {self.mean.shape[1]}, H, W), "
                f"got {images.dtype} of shape {tuple(images.shape)}"
            )
        backbone = cast(Any, self.backbone)
        raw = backbone.forward_features((images - self.mean) / self.std)
        maps, back = _as_maps(raw, self.backbone)
        features = backbone.forward_head(back)
        return Outputs(self.classifier(self.dropout(features)), features, maps)


def build_network(
    name: str,
    classes: int,
    *,
    channels: int = 3,
    size: int = 112,
    weights: str = "random",
    dropout: float = 0.0,
    norm: Norm = "batch",
    stem: Stem = "timm",
    head: Head = "linear",
    head_scale: float = 30.0,
    seed: int = 0,
) -> Network:
    """Build a network by its timm name.

    Parameters
    ----------
    name : str
        A name of ``timm.list_models()``, such as ``resnet18``; a tag behind a dot chooses among hub weights.
    classes : int
        Number of classes, at least 2.
    channels : {1, 3}
        Grey or colour.
    size : int
        Width and height of the images in pixels, at least 32.
    weights : str
        ``random``; ``hub``, which downloads timm's weights (nothing else ever does); or the path of a safetensors file.
    dropout : float
        Share of the pooled features dropped before the classifier, from 0 to below 1.
    norm : {"batch", "group", "frozen"}
        ``group`` puts group norm in place of batch norm; ``frozen`` keeps batch norm's statistics as initialised or
        loaded (scale and shift still learn). With both, an image's output does not depend on the rest of its batch.
    stem : {"timm", "small"}
        ``small`` gives a ResNet a first convolution of 3 x 3 with stride 1 and no max-pooling, for small images.
    head : {"linear", "cosine"}
        ``cosine`` gives ``head_scale`` times the cosine of features and class weights as logits, as LDAM and CosFace
        have it.
    head_scale : float
        Above 0; of no effect on a linear head.
    seed : int
        Fixes the initial weights; the global random state is neither read nor changed.

    Returns
    -------
    Network
        In training mode, on the CPU.

    Raises
    ------
    InputError
        If the name is unknown, an option is out of its range or does not suit the network, the network cannot take
        images of that size, or the weights cannot be had.

    Notes
    -----
    Images from 0 to 1 are normalised inside the network: by the mean and standard deviation of the weights' own
    training where there are such (averaged over colours for grey), by 0.5 and 0.5 where they are random.
    """
    import timm

    check_settings(name, classes=classes, channels=channels, size=size, dropout=dropout, head_scale=head_scale)
    check_choices(norm=norm, stem=stem, head=head)
    config = _config(name)
    options: dict[str, Any] = {"img_size": size} if config.fixed_input_size else {}
    if weights == "hub":
        options["pretrained_cfg_overlay"] = {"file": str(download(name, config))}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            backbone = timm.create_model(
                name, pretrained=weights == "hub", num_classes=0, in_chans=channels, drop_rate=0.0, **options
            )
        except Exception as error:
            raise cannot_build(error, name, size) from error
        if stem == "small":
            _small_stem(backbone, name, channels)
        if norm == "group":
            use_group_norm(backbone)
        mean, std = ((0.5,), (0.5,)) if weights == "random" else (config.mean, config.std)
        network = Network(
            backbone,
            _width(backbone, name, channels, size),
            classes,
            mean=_per_channel(mean, channels),
            std=_per_channel(std, channels),
            dropout=dropout,
            frozen=norm == "frozen",
            head=head,
            head_scale=head_scale,
        )
    if weights not in ("random", "hub"):
        network.loaded = load_weights(network, Path(weights), first=config.first_conv, classifier=config.classifier)
    return network


def _config(name: str) -> Any:
    import timm

    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        raise InputError(f"network {name!r}: timm knows no weights of that tag", str(error)) from error
    return config if config is not None else timm.models.PretrainedCfg(mean=(0.5,), std=(0.5,))


def _small_stem(backbone: nn.Module, name: str, channels: int) -> None:
    first = getattr(backbone, "conv1", None)
    if not isinstance(first, nn.Conv2d) or not hasattr(backbone, "maxpool"):
        raise InputError(f"network {name!r}: stem small is for ResNets only", "Leave stem at timm.")
    conv = nn.Conv2d(channels, first.out_channels, kernel_size=3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    backbone.conv1, backbone.maxpool = conv, nn.Identity()


def _width(backbone: nn.Module, name: str, channels: int, size: int) -> int:
    # One blank image tells the width of any family, and whether the network can take this size at all.
    backbone.eval()
    probe = cast(Any, backbone)
    try:
        with torch.no_grad():
            raw = probe.forward_features(torch.zeros(1, channels, size, size))
            features = probe.forward_head(raw)
            maps, _ = _as_maps(raw, backbone)
    except Exception as error:
        raise cannot_build(error, name, size) from error
    if features.ndim != 2 or 0 in maps.shape:
        raise InputError(f"network {name!r} gives no pooled features and maps, so it cannot be used here")
    return int(features.shape[1])


def _as_maps(raw: Tensor, backbone: nn.Module) -> tuple[Tensor, Tensor]:
    """Give a backbone's last output as (B, D, h, w), and the same again in its own layout, computed from the maps."""
    if raw.ndim == 3:
        extra = int(getattr(backbone, "num_prefix_tokens", 0))
        prefix, tokens = raw[:, :extra], raw[:, extra:]
        side = math.isqrt(tokens.shape[1])  # images are square, so tokens are
        maps = tokens.transpose(1, 2).unflatten(2, (side, side))  # type: ignore[no-untyped-call]
        return maps, torch.cat([prefix, maps.flatten(2).transpose(1, 2)], dim=1)
    if getattr(backbone, "output_fmt", "NCHW") == "NHWC":
        maps = raw.permute(0, 3, 1, 2)
        return maps, maps.permute(0, 2, 3, 1)
    return raw, raw


def _per_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if len(values) == channels:
        return tuple(values)
    return (sum(values) / len(values),) * channels
