"""Recipes from files, names and ``key=value`` words."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from evenface.config.recipe import Recipe
from evenface.config.renamed import check_key
from evenface.config.section import in_force, merge, part_at
from evenface.config.yaml import explained, parse_yaml, read_mapping
from evenface.utils.errors import InputError
from evenface.utils.files import user_path
from evenface.utils.registry import check_renamed, nearest

SHIPPED = Path(__file__).parent / "recipes"
NAMED = ("network", "method", "loss", "optimizer", "schedule")
"""Sections that may be written as one word, the name."""


def shipped_recipes() -> dict[str, Path]:
    """Give the file of every recipe that comes with evenface, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


def load_recipe(source: str | Path | Mapping[str, Any], *overrides: Mapping[str, Any] | None) -> Recipe:
    """Read a recipe and check every key.

    Parameters
    ----------
    source : str, Path or mapping
        Path of a YAML file or of a run folder, name of a shipped recipe, or the content itself.
    *overrides : mapping, optional
        Values that replace the recipe's, by dotted key: ``{"optimizer.lr": 1e-4}``; those of later mappings replace
        those of earlier ones. A mapping for a section is merged into it, unless it names what the section is
        (``name``, ``source``, ``kind``): then it takes its place.

    Returns
    -------
    Recipe
        Complete and valid. Deviations whose condition the settings no longer meet are left out.

    Raises
    ------
    InputError
        If there is no such recipe, it is no YAML mapping, or a key or value is wrong.
    """
    content, origin = (dict(source), "recipe") if isinstance(source, Mapping) else _read(source)
    for settings in overrides:
        content = override(content, settings or {})
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        raise explained(error, Recipe, origin) from None
    check_renamed("method", recipe.method.name, origin)
    return recipe.model_copy(update={"deviations": in_force(recipe.deviations, recipe)})


def recipe_content(source: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    """Return what a recipe's file says, unchecked; ``source`` as in :func:`load_recipe`."""
    return dict(source) if isinstance(source, Mapping) else _read(source)[0]


def override(content: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's content with other settings, by dotted key; see :func:`load_recipe`."""
    for key, value in settings.items():
        check_key(key)
        content = _replaced(content, key.split("."), value, key, Recipe)
    return dict(content)


def dump_recipe(recipe: Recipe) -> str:
    """Write a recipe as YAML, every key said."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def parse_overrides(words: Iterable[str]) -> dict[str, Any]:
    """Read ``key=value`` words of the command line; values are YAML (``1e-3``, ``[1, 2]``, ``null``)."""
    found: dict[str, Any] = {}
    for word in words:
        key, sign, text = word.partition("=")
        if not sign or not key:
            raise InputError(f"{word!r} is no setting", "Write key=value, such as optimizer.lr=1e-4.")
        if key in found:
            raise InputError(f"{key} is said twice on the command line: {word!r} is the second", "Leave one out.")
        found[key] = _value(text, word)
    return found


def _value(text: str, word: str) -> Any:
    try:
        return parse_yaml(text)
    except yaml.YAMLError:
        raise InputError(f"the value in {word!r} cannot be read", "Quote it, or write it as YAML.") from None


def _read(source: str | Path) -> tuple[dict[str, Any], str]:
    path = user_path(source)
    if path.is_dir() and (path / "recipe.yaml").is_file():
        path = path / "recipe.yaml"
    if path.is_dir():
        raise InputError(
            f"the folder {source} holds no recipe.yaml",
            f"Data of your own: --data {source}. A run that was stopped before it began: name the recipe again, with "
            f"--out {source}.",
        )
    if not path.is_file():
        shipped = shipped_recipes()
        if str(source) not in shipped:
            near = nearest(str(source), shipped, show=0)
            raise InputError(
                f"no recipe {str(source)!r}",
                f"{near} `evenface recipes` lists those that ship; or give the path of a YAML file.".strip(),
            )
        path = shipped[str(source)]
    return read_mapping(path, "recipe"), str(path)


def _replaced(
    content: Mapping[str, Any], keys: list[str], value: Any, whole: str, section: type[BaseModel] | None
) -> dict[str, Any]:
    """Return a copy of ``content`` with one nested key replaced, or a section merged."""
    head, *rest = keys
    part = part_at(section, head)
    if not rest:
        return {**content, head: merge(part, content.get(head), value)}
    inner = content.get(head) or {}
    if isinstance(inner, str) and head in NAMED:
        inner = {"name": inner}
    if not isinstance(inner, dict):
        raise InputError(f"{whole}: {head} holds a value, not a section")
    return {**content, head: _replaced(inner, rest, value, whole, part)}
