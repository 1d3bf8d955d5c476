"""Load recipes from files, names of shipped recipes, and ``key=value`` overrides."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from evenface.config.recipe import Baseline, Recipe
from evenface.config.renamed import check_key, check_method_name
from evenface.config.section import in_force, merge, part_at
from evenface.config.yaml import explained, parse_yaml, read_mapping, setting_of_value
from evenface.utils.errors import InputError
from evenface.utils.files import is_vacant, user_path
from evenface.utils.registry import nearest

SHIPPED = Path(__file__).parent / "recipes"
STUDIES = Path(__file__).parents[1] / "studies" / "definitions"
"""Where the files of shipped studies are: a study in place of a recipe is a common slip."""
TABLES = (".csv", ".tsv")
NAMED = ("network", "method", "loss", "optimizer", "schedule")
"""Sections that may be written as a single string, the name."""


def shipped_recipes() -> dict[str, Path]:
    """Return the file of every shipped recipe, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


def is_own_data(source: object) -> bool:
    """Return whether a folder of files or a table is given in place of a recipe."""
    if not isinstance(source, str | Path) or str(source) in shipped_recipes():
        return False
    path = user_path(source)
    if path.is_dir():
        return not is_vacant(path) and not any((path / name).exists() for name in ("recipe.yaml", "study.yaml"))
    return path.is_file() and path.suffix.lower() in TABLES


def load_recipe(source: str | Path | Mapping[str, Any], *overrides: Mapping[str, Any] | None) -> Recipe:
    """Load a recipe and validate every key.

    Parameters
    ----------
    source : str, Path or mapping
        Path of a YAML file or of a run folder, name of a shipped recipe, or the content of a recipe.
    *overrides : mapping, optional
        Values that replace those of the recipe, by dotted key: ``{"optimizer.lr": 1e-4}``; later mappings take
        precedence. A mapping for a section is merged into it, unless it has the key that identifies the section
        (``name``, ``source``, ``kind``): then it replaces the section.

    Returns
    -------
    Recipe
        Complete and valid. Deviations whose condition the settings do not meet are removed.

    Raises
    ------
    InputError
        If the recipe does not exist, is not a YAML mapping, or has an invalid key or value.
    """
    content, origin = (dict(source), "recipe") if isinstance(source, Mapping) else _read(source)
    for settings in overrides:
        content = override(content, settings or {})
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors()[0]["loc"])
        given = {part for settings in overrides for part in settings or {}}
        own = any(f"{key}.".startswith(f"{part}.") or f"{part}.".startswith(f"{key}.") for part in given)
        raise explained(error, Recipe, "" if own and key else origin) from None
    check_method_name(recipe.method.name, origin)
    return recipe.model_copy(update={"deviations": in_force(recipe.deviations, recipe)})


def recipe_content(source: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a recipe without validation; ``source`` as in :func:`load_recipe`."""
    return dict(source) if isinstance(source, Mapping) else _read(source)[0]


def override(content: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a recipe with settings replaced, by dotted key; see :func:`load_recipe`."""
    for key, value in settings.items():
        check_key(key)
        content = _replaced(content, key.split("."), value, key, Recipe)
    return dict(content)


def dump_recipe(recipe: Recipe) -> str:
    """Return a recipe as YAML with every key."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def parse_overrides(words: Iterable[str]) -> dict[str, Any]:
    """Parse ``key=value`` arguments of the command line; values are YAML (``1e-3``, ``[1, 2]``, ``null``)."""
    settings: dict[str, Any] = {}
    for word in words:
        key, sign, value = word.partition("=")
        if not sign or not key:
            meant = setting_of_value(Recipe, word)
            hint = f"Did you mean {meant}?" if meant else "Write key=value, such as optimizer.lr=1e-4."
            if user_path(word).exists():
                hint = f"For data of your own: --data {word}. A folder of other data for a recipe: data.root={word}."
            raise InputError(f"{word!r} is not a setting", hint)
        if key in settings:
            raise InputError(f"duplicate setting {key} on the command line, the second is {word!r}", "Remove one.")
        settings[key] = _value(value, word)
    return settings


def _value(value: str, word: str) -> Any:
    try:
        return parse_yaml(value)
    except yaml.YAMLError:
        raise InputError(f"the value in {word!r} is not valid YAML", "Quote the value.") from None


def _read(source: str | Path) -> tuple[dict[str, Any], str]:
    path = user_path(source)
    if path.is_dir() and (path / "recipe.yaml").is_file():
        path = path / "recipe.yaml"
    shipped = shipped_recipes()
    as_study = (STUDIES / f"{source}.yaml").is_file() and str(source) not in shipped
    if (path / "study.yaml").is_file() or (as_study and not path.exists()):
        raise not_a_recipe(source)
    if path.is_dir() and str(source) not in shipped:
        raise InputError(
            f"the folder {source} has no recipe.yaml",
            f"For a folder of images: evenface train --data {source}, or train_folder in Python. For a run that was "
            f"stopped before it started: give the recipe again, with --out {source}.",
        )
    if not path.is_file():
        if str(source) not in shipped:
            near = nearest(str(source), shipped, show=0)
            raise InputError(
                f"no recipe {str(source)!r}",
                f"{near} `evenface recipes` lists the shipped recipes; or give the path of a YAML file.".strip(),
            )
        path = shipped[str(source)]
    if path.suffix.lower() in TABLES:
        raise InputError(f"{source} is a table, not a recipe", f"For data of your own: --data {source}.")
    content = read_mapping(path, "recipe")
    if {"factors", "extends"} & set(content):
        raise not_a_recipe(source)
    return content, str(path)


def not_a_recipe(source: object) -> InputError:
    """Return the error for a study where a recipe is expected."""
    return InputError(f"{source} is a study, not a recipe", f"Train its runs: evenface study {source}")


def _replaced(
    content: Mapping[str, Any], keys: list[str], value: Any, dotted: str, section: type[BaseModel] | None
) -> dict[str, Any]:
    """Return a copy of ``content`` with one nested key replaced, or a section merged."""
    head, *rest = keys
    part = part_at(section, head)
    if not rest:
        return {**content, head: merge(part, content.get(head), value)}
    inner = content.get(head) or {}
    if isinstance(inner, str) and head in NAMED:
        inner = {"name": inner}
    elif isinstance(inner, str) and part is Baseline:
        inner = {"kind": inner}
    if not isinstance(inner, dict):
        raise InputError(f"{dotted}: {head} is a value, not a section with keys")
    return {**content, head: _replaced(inner, rest, value, dotted, part)}
