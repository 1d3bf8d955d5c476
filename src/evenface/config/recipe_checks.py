"""Checks across the keys of a recipe: those without effect on its modality, and the search space."""

import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from evenface.config.loading import load_recipe
from evenface.config.recipe import RECURRENT, Augment, Recipe, Recurrent
from evenface.config.renamed import check_key
from evenface.config.section import OpenSection
from evenface.utils.errors import InputError
from evenface.utils.registry import nearest

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
        "thresholds",
        "patience",
        "accelerator",
        "checkpoint_minutes",
        "loggers",
    },
}
"""Keys of these sections that have an effect on sequences."""
SAME_AS_UNSET = {"training.precision": "32-true"}
"""Values other than the default that describe sequences correctly."""
SECTIONS = ("network", "method", "loss", "optimizer", "schedule", "training", "augment")
"""Sections whose keys can be searched; data and protocol are fixed."""
PLACES = ("training.devices", "training.nodes", "training.checkpoint_minutes")
"""Numeric keys that do not change results."""


def check_modality(recipe: Recipe) -> None:
    """Refuse keys that have no effect on the modality of the recipe."""
    _check_synthetic(recipe)
    if recipe.modality == "sequences":
        _check_sequences(recipe)
    else:
        _check_images(recipe)


def _check_synthetic(recipe: Recipe) -> None:
    """Refuse drawn faces where they cannot be training samples, as far as that is known without the data."""
    data = recipe.data
    if not any(data.synthetic.values()):
        return
    remove = "Remove data.synthetic."
    if recipe.modality == "sequences":
        raise InputError("data.synthetic draws images of faces, and this network learns from sequences", remove)
    if data.targets or data.task not in ("auto", "classification"):
        raise InputError("data.synthetic adds faces to classes of expressions, and none are predicted", remove)
    if data.baseline.kind != "none":
        raise InputError(
            f"data.synthetic has no samples that a baseline of its people could be computed from, and data.baseline is "
            f"{data.baseline.kind}",
            "Remove one of them.",
        )


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
        "training.compile": "Remove it: networks of sequences are trained together by operations of their own.",
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
    _check_difference(recipe)
    if named := [key for key, given in other.items() if given]:
        raise InputError(
            f"{named[0]} has no effect on images, which the network {recipe.network.name} learns from",
            f"Set network.name: {RECURRENT} to learn from sequences, or remove the key.",
        )


def _check_difference(recipe: Recipe) -> None:
    """Refuse a baseline of images without the head that compares with it, and the head without a baseline."""
    baseline, difference = recipe.data.baseline, recipe.network.temporal.kind == "difference"
    if baseline.scale:
        raise InputError("data.baseline.scale is for sequences, not for images", "Remove it.")
    if (baseline.kind != "none") == difference:
        return
    if difference:
        raise InputError(
            "network.temporal.kind: difference compares with each person's baseline, and data.baseline is none",
            "Set data.baseline: neutral or subject-mean.",
        )
    raise InputError(
        f"data.baseline: {baseline.kind} has no effect on images without a head that compares with it",
        "Set network.temporal.kind: difference.",
    )


@dataclass(frozen=True)
class SearchRange:
    """Range of one key of the search space.

    Parameters
    ----------
    key : str
        Dotted, such as ``network.recurrent.hidden``.
    low, high : float
        Bounds, inclusive.
    log : bool
        Whether the scale is logarithmic.
    whole : bool
        Whether the key is an integer.
    """

    key: str
    low: float
    high: float
    log: bool
    whole: bool


def check_installed() -> None:
    """Check that optuna is installed; the InputError has the command to install it."""
    if importlib.util.find_spec("optuna") is None:
        raise InputError("optuna, which a search needs, is not installed", "Run: pip install 'evenface[search]'.")


def ranges(recipe: Recipe) -> tuple[SearchRange, ...]:
    """Return the validated ranges of a recipe's search space, in order."""
    if not recipe.search.space:
        raise InputError(
            "search.trials is above 0, but search.space is empty",
            "List keys with their lower and upper bounds: search.space: {network.recurrent.hidden: [32, 128]}.",
        )
    if recipe.training.checkpoint == "test":
        raise InputError(
            "training.checkpoint is test: a search would choose its settings on the test data",
            "Set training.checkpoint: best, or search.trials: 0.",
        )
    space = tuple(_range(key, bounds) for key, bounds in recipe.search.space.items())
    for item in space:
        for bound in (item.low, item.high):
            with_settings(recipe, {item.key: bound})  # validates the bound
    return space


def with_bounds(recipe: Recipe) -> Iterator[Recipe]:
    """Yield a recipe and, if it has a search, its recipes at the lower and at the upper bounds of the search space."""
    yield recipe
    if recipe.search.trials:
        check_installed()
        searched = ranges(recipe)
        yield with_settings(recipe, {item.key: item.low for item in searched})
        yield with_settings(recipe, {item.key: item.high for item in searched})


def with_settings(recipe: Recipe, settings: Mapping[str, float], **others: Any) -> Recipe:
    """Return a recipe with other settings and without a search."""
    content = recipe.model_dump(exclude={"search"})
    return load_recipe({**content, **others}, settings)


def _range(key: str, bounds: tuple[Any, ...]) -> SearchRange:
    check_key(key)
    low, high, log, where = float(bounds[0]), float(bounds[1]), len(bounds) > 2, f"search.space: {key}"
    known = dict(_numbers())
    section, _, option = key.partition(".")
    if key in known:
        whole = known[key]
    elif section in ("loss", "method") and option not in ("", "name"):
        whole = False
    else:
        last = key.rpartition(".")[2]
        alike = [name for name in known if name.endswith(f".{last}")]
        hint = f"Did you mean {' or '.join(alike)}?" if alike else nearest(key, known)
        raise InputError(
            f"{where} is not a numeric key that can be searched", hint or f"Sections: {', '.join(SECTIONS)}."
        )
    if not low < high:
        raise InputError(f"{where}: the lower bound must be below the upper bound, got {bounds[0]:g} and {bounds[1]:g}")
    if log and low <= 0:
        raise InputError(f"{where}: a logarithmic scale needs a lower bound above 0, got {low:g}")
    if whole and not (low.is_integer() and high.is_integer()):
        raise InputError(f"{where}: the bounds of an integer must be integers, got {low:g} and {high:g}")
    return SearchRange(key, low, high, log, whole)


def _numbers() -> Iterator[tuple[str, bool]]:
    """Yield each numeric key, and whether it is an integer."""
    for section in SECTIONS:
        for key, whole in _inside(section, Recipe.model_fields[section].annotation):
            if key not in PLACES:
                yield key, whole


def _inside(key: str, kind: Any) -> Iterator[tuple[str, bool]]:
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, UnionType):
        kind = next(option for option in get_args(kind) if option is not NoneType)
    if kind is int or kind is float:
        yield key, kind is int
    elif isinstance(kind, type) and issubclass(kind, BaseModel) and not issubclass(kind, OpenSection):
        for name, info in kind.model_fields.items():
            yield from _inside(f"{key}.{name}", info.annotation)
