"""What a recipe's search may try: every key's range, checked; and a recipe with settings of a trial."""

import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from evenface.config.loading import load_recipe
from evenface.config.recipe import Recipe
from evenface.config.renamed import check_key
from evenface.config.section import OpenSection
from evenface.utils.errors import InputError
from evenface.utils.registry import nearest

SECTIONS = ("network", "method", "loss", "optimizer", "schedule", "training", "augment")
"""What may be searched: how is learnt. Data and protocol say from what, and whom figures are of."""
PLACES = ("training.devices", "training.nodes", "training.checkpoint_minutes")
"""Numbers that say where a run happens, and change no result."""


@dataclass(frozen=True)
class SearchRange:
    """The values that a search may try for one key.

    Parameters
    ----------
    key : str
        Dotted, such as ``network.recurrent.hidden``.
    low, high : float
        Both may be tried.
    log : bool
        Whether even steps are factors.
    whole : bool
        Whether only whole numbers are tried, as the key is one.
    """

    key: str
    low: float
    high: float
    log: bool
    whole: bool


def check_installed() -> None:
    """Refuse to search without optuna; an InputError that says how to install it."""
    if importlib.util.find_spec("optuna") is None:
        raise InputError("optuna, which searches settings, is not installed", "Run: pip install 'evenface[search]'.")


def ranges(recipe: Recipe) -> tuple[SearchRange, ...]:
    """Give what the search of a recipe may try, in the order in which it is written."""
    if not recipe.search.space:
        raise InputError(
            "search.trials is above 0, and search.space names nothing",
            "Name keys with their lowest and highest value: search.space: {network.recurrent.hidden: [32, 128]}.",
        )
    if recipe.training.checkpoint == "test":
        raise InputError(
            "training.checkpoint is test: a search would choose its settings on the test data",
            "Set training.checkpoint: best, or search.trials: 0.",
        )
    found = tuple(_range(key, given) for key, given in recipe.search.space.items())
    for one in found:
        for end in (one.low, one.high):
            with_settings(recipe, {one.key: end})
    return found


def with_settings(recipe: Recipe, settings: Mapping[str, float], **others: Any) -> Recipe:
    """Give a recipe with other settings, which searches no further."""
    content = recipe.model_dump(exclude={"search"})
    return load_recipe({**content, **others}, settings)


def _range(key: str, given: tuple[Any, ...]) -> SearchRange:
    check_key(key)
    low, high, log, where = float(given[0]), float(given[1]), len(given) > 2, f"search.space: {key}"
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
        raise InputError(f"{where} is no number that can be searched", hint or f"Sections: {', '.join(SECTIONS)}.")
    if not low < high:
        raise InputError(f"{where}: the lowest value must be below the highest, got {given[0]:g} and {given[1]:g}")
    if log and low <= 0:
        raise InputError(f"{where}: log steps need a lowest value above 0, got {low:g}")
    if whole and not (low.is_integer() and high.is_integer()):
        raise InputError(f"{where}: only whole numbers can be tried, got {low:g} and {high:g}")
    return SearchRange(key, low, high, log, whole)


def _numbers() -> Iterator[tuple[str, bool]]:
    """Give each key that is a number, and whether it is a whole one."""
    for section in SECTIONS:
        for key, whole in _inside(section, Recipe.model_fields[section].annotation):
            if key not in PLACES:
                yield key, whole


def _inside(key: str, kind: Any) -> Iterator[tuple[str, bool]]:
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, UnionType):
        kind = next(one for one in get_args(kind) if one is not NoneType)
    if kind is int or kind is float:
        yield key, kind is int
    elif isinstance(kind, type) and issubclass(kind, BaseModel) and not issubclass(kind, OpenSection):
        for name, info in kind.model_fields.items():
            yield from _inside(f"{key}.{name}", info.annotation)
