"""The recipe that one's own data are learnt by where no other is named."""

from collections.abc import Mapping
from typing import Any

from evenface.auto.looking import Looked
from evenface.recipes import Recipe, load_recipe

PASSES = 24_000
"""Pictures of 48 pixels, or frames of such, that a network sees in training: about a minute of one core."""
EPOCHS = (8, 40)
SIDE = 48


def own_recipe(looked: Looked, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Make a recipe for data of one's own, sized so that a training on few thousand pictures takes about a minute.

    Parameters
    ----------
    looked : Looked
        What the data are.
    overrides : mapping, optional
        Settings of the user, by dotted key.
    """
    manifest, data = looked.manifest, looked.data
    sides = set(manifest.table["split"].dropna())
    official = "train" in sides and bool(sides - {"train"})
    pixels = manifest.content != "sequences"
    content: dict[str, Any] = {
        "name": "own",
        "about": "data of one's own, by a small network from random weights",
        "data": data,
        "protocol": {"kind": "official" if official else "holdout", "validation": 0.1}
        | ({"duplicates": "drop-test"} if manifest.content == "stills" else {}),
        "network": {"name": "compact_vgg_16", "dropout": 0.3} if pixels else {"name": "recurrent"},
        "optimizer": {"lr": 2e-3, "weight_decay": 0.05} if pixels else {},
        "training": {"epochs": _epochs(looked), "batch_size": 32, "checkpoint": "last"},
    }
    if pixels:
        content["training"] |= {"ema_decay": 0.99, "tta_flip": True}
        content["augment"] = {"rotate": 10, "shift": 0.08, "zoom": 0.1, "brightness": 0.2, "contrast": 0.3}
    wanted = {key: value for key, value in (overrides or {}).items() if key not in ("data.source", "data.root")}
    return load_recipe(content, wanted)


def _epochs(looked: Looked) -> int:
    """Give as many epochs as the passes allow, within limits."""
    each = 0.05
    if looked.manifest.content != "sequences":
        frames = looked.data.get("clips", {}).get("frames", 1)
        each = frames * (looked.data["size"] / SIDE) ** 2
    return int(min(max(PASSES / (len(looked.manifest) * each), EPOCHS[0]), EPOCHS[1]))
