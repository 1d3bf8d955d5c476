"""Build a network by its name and settings."""

import math
import os
from typing import Any, Literal, cast, get_args

# Before timm is imported, which brings the hub's library.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import torch
from torch import Tensor, nn

from evenface.config.recipe import Temporal
from evenface.models.activation_checkpointing import recompute_blocks
from evenface.models.backbone import Head, Network, as_maps
from evenface.models.temporal import ClipNetwork
from evenface.models.weights import download, load_weights, weights_file
from evenface.utils.errors import InputError
from evenface.utils.registry import nearest

Norm = Literal["batch", "group", "frozen"]
Stem = Literal["timm", "small"]
Normalise = Literal["weights", "half"]
Freeze = Literal["none", "backbone"]

_CHOICES: dict[str, Any] = {"norm": Norm, "stem": Stem, "head": Head, "normalise": Normalise, "freeze": Freeze}


def build_network(
    name: str,
    classes: int,
    *,
    channels: int = 3,
    size: int = 112,
    start_size: int | None = None,
    weights: str = "random",
    dropout: float = 0.0,
    norm: Norm = "batch",
    stem: Stem = "timm",
    head: Head = "linear",
    head_scale: float = 30.0,
    normalise: Normalise = "weights",
    temporal: Temporal | None = None,
    freeze: Freeze = "none",
    gradient_checkpointing: bool = False,
    frames: int = 1,
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
    start_size : int, optional
        The smallest size that it takes too, where images grow during training.
    weights : str
        ``random``; ``hub``, which downloads timm's weights (nothing else ever does); ``evenface-synthetic``, those of
        the bundled model; or the path of a safetensors file.
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
        Above 0; no effect on a linear head.
    normalise : {"weights", "half"}
        ``half`` normalises by 0.5 and 0.5 whatever the weights, which makes x / 127.5 - 1 of a byte x.
    temporal : Temporal, optional
        What turns frames into clips; none is the mean.
    freeze : {"none", "backbone"}
        ``backbone`` keeps its weights, and its statistics: it works in evaluation mode, without gradients.
    gradient_checkpointing : bool
        Keep only each block's input for the gradient and compute the rest again, which takes less memory and more time.
    frames : int
        Frames of a sample, at least 1. Only whether it is 1 matters.
    seed : int
        Fixes the initial weights; the global random state is neither read nor changed.

    Returns
    -------
    Network
        In training mode, on the CPU. A :class:`~evenface.models.ClipNetwork` where samples have several frames, or a
        temporal head reads the places of a still.

    Raises
    ------
    InputError
        If the name is unknown, an option is out of its range or does not suit the network or the number of frames, the
        network cannot take images of that size, or the weights cannot be had.

    Notes
    -----
    Images from 0 to 1 are normalised inside the network: by the mean and standard deviation of the weights' own
    training where there are such (averaged over colours for grey), by 0.5 and 0.5 where they are random.
    """
    import timm

    temporal = temporal or Temporal()
    check_settings(
        name,
        classes=classes,
        channels=channels,
        size=size,
        dropout=dropout,
        head_scale=head_scale,
        temporal=temporal,
        frames=frames,
    )
    _check_choices(norm=norm, stem=stem, head=head, normalise=normalise, freeze=freeze)
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
            raise _cannot_build(error, name, size) from error
        if stem == "small":
            _small_stem(backbone, name, channels)
        if norm == "group":
            use_group_norm(backbone)
        if gradient_checkpointing and not recompute_blocks(backbone):
            raise InputError(
                f"network {name!r} has no blocks that could be computed again",
                "Set network.gradient_checkpointing: false.",
            )
        half = weights == "random" or normalise == "half"
        mean, std = (
            _per_channel(value, channels) for value in (((0.5,), (0.5,)) if half else (config.mean, config.std))
        )
        if start_size is not None:
            _probe_widths(backbone, name, channels, start_size)
        width, maps = _probe_widths(backbone, name, channels, size)
        common: dict[str, Any] = {
            "mean": mean,
            "std": std,
            "dropout": dropout,
            "frozen_norm": norm == "frozen",
            "head": head,
            "head_scale": head_scale,
            "frozen_backbone": freeze == "backbone",
        }
        if frames > 1 or temporal.kind != "mean":
            network: Network = ClipNetwork(backbone, width, classes, channels=maps, temporal=temporal, **common)
        else:
            network = Network(backbone, width, classes, **common)
    if weights not in ("random", "hub"):
        network.load_report = load_weights(
            network, weights_file(weights), first=config.first_conv, classifier=config.classifier
        )
        if half:
            network.mean.fill_(0.5)
            network.std.fill_(0.5)
    return network


def licence(name: str) -> str:
    """Return what timm states about the licence of a network's weights on the hub; an InputError for an unknown tag."""
    config = _config(name)
    return f"{config.hf_hub_id or name}: {config.license or 'timm states no licence'}"


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


def _probe_widths(backbone: nn.Module, name: str, channels: int, size: int) -> tuple[int, int]:
    """Return the widths of features and maps for one blank image; an InputError if it cannot be of this size."""
    backbone.eval()
    probe = cast(Any, backbone)
    try:
        with torch.no_grad():
            raw = probe.forward_features(torch.zeros(1, channels, size, size))
            features = probe.forward_head(raw)
            maps, _ = as_maps(raw, backbone)
    except Exception as error:
        raise _cannot_build(error, name, size) from error
    if features.ndim != 2 or 0 in maps.shape:
        raise InputError(f"network {name!r} gives no pooled features and maps, so it cannot be used here")
    return int(features.shape[1]), int(maps.shape[1])


def _per_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if len(values) == channels:
        return tuple(values)
    return (sum(values) / len(values),) * channels


class GroupNormAct(nn.GroupNorm):
    """Group norm in place of a batch norm, with the dropping and activation that timm puts behind some of them.

    Scale and shift are taken over and keep their names, so that stored weights still fit.
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


def check_settings(
    name: str,
    *,
    classes: int,
    channels: int,
    size: int,
    dropout: float,
    head_scale: float,
    temporal: Temporal,
    frames: int,
) -> None:
    """Refuse a name that timm does not know, numbers out of their range, and a temporal head without its input."""
    import timm

    from evenface.models import compact  # noqa: F401, makes its networks known to timm

    if "/" in name or not timm.is_model(name):
        raise InputError(
            f"there is no network {name!r}",
            nearest(name, timm.list_models()) or "See timm.list_models() for the names.",
        )
    if classes < 1:
        raise InputError(f"network: at least 1 output is needed, got {classes}")
    if channels not in (1, 3):
        raise InputError(f"network: channels must be 1 or 3, got {channels}")
    if size < 32:
        raise InputError(f"network: size must be at least 32 pixels, got {size}")
    if not 0 <= dropout < 1:
        raise InputError(f"network: dropout must be from 0 to below 1, got {dropout}")
    if not head_scale > 0:
        raise InputError(f"network: head_scale must be above 0, got {head_scale}")
    _check_steps(temporal, frames)


def _check_choices(**chosen: str) -> None:
    """Refuse a norm, stem or other word that there is not."""
    for option, value in chosen.items():
        known = get_args(_CHOICES[option])
        if value not in known:
            raise InputError(f"network: {option} cannot be {value!r}", f"Known: {', '.join(known)}.")


def _check_steps(temporal: Temporal, frames: int) -> None:
    """Refuse a temporal head that would have nothing to run over, and a width that its heads cannot share."""
    if temporal.kind == "mean" or (temporal.kind == "difference" and temporal.over == "frames"):
        return
    if temporal.kind == "difference":
        raise InputError(
            "network.temporal.kind: difference is over frames, the first of which is the person's baseline",
            "Remove network.temporal.over.",
        )
    if temporal.kind == "transformer" and temporal.hidden % temporal.heads:
        raise InputError(
            f"network.temporal.hidden {temporal.hidden} is not divisible by network.temporal.heads {temporal.heads}",
            "Set heads to a divisor of hidden.",
        )
    if temporal.over == "frames" and frames == 1:
        raise InputError(
            f"network.temporal.kind {temporal.kind} reads clips, and these samples are of one frame each",
            "Give clips and data.clips.frames above 1, network.temporal.over: spatial, or kind: mean.",
        )
    if temporal.over == "spatial" and frames > 1:
        raise InputError(
            f"network.temporal.over: spatial reads single images, and these samples are of {frames} frames each",
            "Set data.clips.sampling: windows and data.clips.frames: 1, or network.temporal.over: frames.",
        )


def _cannot_build(error: Exception, name: str, size: int) -> InputError:
    """Return the error of a network that cannot be built for a size."""
    reason = str(error).strip().split("\n")[0]
    return InputError(f"network {name!r} cannot be built for images of {size} pixels ({reason})")
