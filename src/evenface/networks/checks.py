"""What is refused before a network is built, and how its failure is explained."""

from typing import Any, Literal, get_args

from evenface.errors import InputError
from evenface.networks.heads import Head
from evenface.recipes.schema import Temporal
from evenface.registry import nearest

Norm = Literal["batch", "group", "frozen"]
Stem = Literal["timm", "small"]
Normalise = Literal["weights", "half"]
Freeze = Literal["none", "backbone"]

_CHOICES: dict[str, Any] = {"norm": Norm, "stem": Stem, "head": Head, "normalise": Normalise, "freeze": Freeze}


def check_settings(name: str, *, classes: int, channels: int, size: int, dropout: float, head_scale: float) -> None:
    """Refuse a name that timm does not know, and numbers out of their range.

    Raises
    ------
    InputError
        Naming the setting, what it must be, and the nearest right name.
    """
    import timm

    from evenface.networks import compact  # noqa: F401, makes its networks known to timm

    if "/" in name or not timm.is_model(name):
        raise InputError(
            f"there is no network {name!r}",
            nearest(name, timm.list_models()) or "See timm.list_models() for the names.",
        )
    if classes < 2:
        raise InputError(f"network: at least 2 classes are needed, got {classes}")
    if channels not in (1, 3):
        raise InputError(f"network: channels must be 1 or 3, got {channels}")
    if size < 32:
        raise InputError(f"network: size must be at least 32 pixels, got {size}")
    if not 0 <= dropout < 1:
        raise InputError(f"network: dropout must be from 0 to below 1, got {dropout}")
    if not head_scale > 0:
        raise InputError(f"network: head_scale must be above 0, got {head_scale}")


def check_choices(**chosen: str) -> None:
    """Refuse a norm, stem or other word that there is not.

    Raises
    ------
    InputError
        Naming the option and the words that it takes.
    """
    for option, value in chosen.items():
        known = get_args(_CHOICES[option])
        if value not in known:
            raise InputError(f"network: {option} cannot be {value!r}", f"Known: {', '.join(known)}.")


def check_steps(temporal: Temporal, frames: int) -> None:
    """Refuse a recurrent network that would have nothing to run over.

    Raises
    ------
    InputError
        If it reads frames and there is one, or reads the places of a still and there are several frames.
    """
    if temporal.kind == "mean":
        return
    if temporal.over == "frames" and frames == 1:
        raise InputError(
            f"network.temporal.kind {temporal.kind} reads clips, and these samples are of one frame each",
            "Give clips and data.clips.frames above 1, network.temporal.over: spatial, or kind: mean.",
        )
    if temporal.over == "spatial" and frames > 1:
        raise InputError(
            f"network.temporal.over: spatial reads single pictures, and these samples are of {frames} frames each",
            "Set data.clips.take: windows and data.clips.frames: 1, or network.temporal.over: frames.",
        )


def cannot_build(error: Exception, name: str, size: int) -> InputError:
    """Say why a network cannot be built for a size, in the first line of what went wrong."""
    reason = str(error).strip().split("\n")[0]
    return InputError(f"network {name!r} cannot be built for images of {size} pixels ({reason})")
