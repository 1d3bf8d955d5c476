"""Modality: images and clips, or sequences of numbers; which recipe keys have an effect on which."""

from evenface.config import Recipe
from evenface.config.recipe import RECURRENT, Augment, Recurrent
from evenface.utils.errors import InputError

OPTIMIZERS = ("adam", "adamw", "sgd")
OF_SEQUENCES = {
    "network": {"name", "recurrent"},
    "augment": {"flip", "flip_landmarks", "flip_duplicates"},
    "training": {
        "epochs",
        "batch_size",
        "sampling",
        "sampling_beta",
        "checkpoint",
        "tta_flip",
        "monitor",
        "patience",
        "accelerator",
        "checkpoint_minutes",
        "loggers",
    },
}
"""Keys of these sections that have an effect on sequences."""
SAME_AS_UNSET = {"training.precision": "32-true"}
"""Values other than the default that describe sequences correctly."""


def check_modality(recipe: Recipe) -> None:
    """Refuse keys that have no effect on the modality of the recipe."""
    if recipe.modality == "sequences":
        _check_sequences(recipe)
    else:
        _check_images(recipe)


def _check_sequences(recipe: Recipe) -> None:
    for section, known in OF_SEQUENCES.items():
        given = getattr(recipe, section)
        for key, info in type(given).model_fields.items():
            unset = (info.get_default(call_default_factory=True), SAME_AS_UNSET.get(f"{section}.{key}"))
            if key not in known and getattr(given, key) not in unset:
                raise InputError(
                    f"{section}.{key} has no effect on sequences (network.name: {RECURRENT})",
                    _instead(section, key) or f"Remove it. {section} for sequences: {', '.join(sorted(known))}.",
                )
    if recipe.optimizer.name not in OPTIMIZERS:
        raise InputError(
            f"sequences are not trained by the optimiser {recipe.optimizer.name}", f"Use {', '.join(OPTIMIZERS)}."
        )


def _instead(section: str, key: str) -> str:
    return {
        "network.dropout": "Set network.recurrent.dropout.",
        "network.norm": "Set network.recurrent.norm.",
        "network.temporal": "Set network.recurrent: kind, hidden.",
        "training.devices": "Remove it: networks of sequences are trained together on one device.",
        "training.nodes": "Remove it: networks of sequences are trained together on one device.",
    }.get(f"{section}.{key}", "")


def _check_images(recipe: Recipe) -> None:
    if recipe.search.trials:
        raise InputError(
            f"search is for networks of sequences, but the network {recipe.network.name} learns from images",
            "Set search.trials: 0, and compare settings in a study.",
        )
    other = {
        "network.recurrent": recipe.network.recurrent != Recurrent(),
        "augment.flip_duplicates": recipe.augment.flip_duplicates,
        "augment.flip_landmarks": recipe.augment.flip_landmarks != Augment().flip_landmarks,
        "data.sequences": recipe.data.sequences.source != "none",
    }
    if named := [key for key, given in other.items() if given]:
        raise InputError(
            f"{named[0]} has no effect on images, which the network {recipe.network.name} learns from",
            f"Set network.name: {RECURRENT} to learn from sequences, or remove the key.",
        )


def check_mirror(recipe: Recipe, points: str, middle: float | None) -> None:
    """Check that the data can be mirrored if mirroring is on."""
    wanted = {
        "augment.flip": recipe.augment.flip > 0 and not recipe.augment.flip_duplicates,
        "augment.flip_duplicates": recipe.augment.flip_duplicates,
        "training.tta_flip": recipe.training.tta_flip,
    }
    for key, asked in wanted.items():
        if asked and points == "openface-aus":
            raise InputError(
                f"{key}: sequences of action units cannot be mirrored, as they have no left and right", _off(key)
            )
        if asked and middle is None and points != "blendshapes":
            raise InputError(
                f"{key}: the horizontal centre of the face is unknown for {points} in these files",
                f"Set data.sequences.normalise: position. Or: {_off(key)}",
            )


def _off(key: str) -> str:
    return f"Set {key}: {'0' if key == 'augment.flip' else 'false'}."


def check_content(recipe: Recipe, *, sequences: bool) -> None:
    """Check that a network of sequences gets sequences, and a network of images gets images."""
    if (recipe.modality == "sequences") == sequences:
        return
    if sequences:
        raise InputError(
            f"the source {recipe.data.source} gives sequences of numbers, but the network {recipe.network.name} takes "
            "images",
            f"Set network.name: {RECURRENT}.",
        )
    raise InputError(
        f"the source {recipe.data.source} gives images, but the network {RECURRENT} takes sequences of numbers",
        "Set data.sequences.source: mesh to detect face landmarks in every frame, or use another network.",
    )
