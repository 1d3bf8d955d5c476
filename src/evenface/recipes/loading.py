"""Recipes from files, names and ``key=value`` words."""

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from evenface.errors import InputError
from evenface.recipes.schema import Recipe

SHIPPED = Path(__file__).parent


def shipped_recipes() -> dict[str, Path]:
    """Give the file of every recipe that comes with evenface, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


def load_recipe(source: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe and check every key.

    Parameters
    ----------
    source : str, Path or mapping
        Path of a YAML file or of a run folder, name of a shipped recipe, or the content itself.
    overrides : mapping, optional
        Values that replace the recipe's, by dotted key: ``{"optimizer.lr": 1e-4}``.

    Returns
    -------
    Recipe
        Complete and valid.

    Raises
    ------
    InputError
        If there is no such recipe, it is no YAML mapping, or a key or value is wrong.
    """
    content, origin = (dict(source), "recipe") if isinstance(source, Mapping) else _read(source)
    for key, value in (overrides or {}).items():
        content = _replaced(content, key.split("."), value, key)
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise _explained(error, origin) from None


def dump_recipe(recipe: Recipe) -> str:
    """Write a recipe as YAML, every key said."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def parse_overrides(words: Iterable[str]) -> dict[str, Any]:
    """Read ``key=value`` words of the command line; values are YAML (``1e-3``, ``[1, 2]``, ``null``).

    Raises
    ------
    InputError
        If a word has no ``=`` or its value is no YAML.
    """
    found: dict[str, Any] = {}
    for word in words:
        key, sign, text = word.partition("=")
        if not sign or not key:
            raise InputError(f"{word!r} is no setting", "Write key=value, such as optimizer.lr=1e-4.")
        found[key] = _value(text, word)
    return found


class _Loader(yaml.SafeLoader):
    """YAML as people mean it (the core schema of version 1.2): ``on`` is a word, ``1e-3`` a number."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in resolvers if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:float")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^([-+]?([0-9]+\.[0-9]*|\.?[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"),
    list("-+.0123456789"),
)


def parse_yaml(text: str) -> Any:
    """Read YAML as people mean it."""
    return yaml.load(text, Loader=_Loader)


def _value(text: str, word: str) -> Any:
    try:
        return parse_yaml(text)
    except yaml.YAMLError:
        raise InputError(f"the value in {word!r} cannot be read", "Quote it, or write it as YAML.") from None


def _read(source: str | Path) -> tuple[dict[str, Any], str]:
    path = Path(source)
    if path.is_dir() and (path / "recipe.yaml").is_file():
        path = path / "recipe.yaml"
    if not path.is_file():
        shipped = shipped_recipes()
        if str(source) not in shipped:
            near = difflib.get_close_matches(str(source), shipped, n=1)
            hint = f"Did you mean {near[0]}? " if near else ""
            raise InputError(
                f"no recipe {str(source)!r}",
                f"{hint}`evenface recipes` lists those that ship; or give the path of a YAML file.",
            )
        path = shipped[str(source)]
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no recipe", "A recipe is a mapping with at least name and data.")
    return content, str(path)


def _replaced(content: dict[str, Any], keys: list[str], value: Any, whole: str) -> dict[str, Any]:
    """Give a copy of ``content`` with one nested key replaced."""
    head, *rest = keys
    if not rest:
        return {**content, head: value}
    inner = content.get(head) or {}
    if not isinstance(inner, dict):
        raise InputError(f"{whole}: {head} holds a value, not a section")
    return {**content, head: _replaced(inner, rest, value, whole)}


def _explained(error: ValidationError, origin: str) -> InputError:
    """Say the first thing that is wrong with a recipe, with the nearest right key."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    more = error.error_count() - 1
    tail = f" ({more} more like this)" if more else ""
    if first["type"] == "extra_forbidden":
        known = _keys_at(first["loc"][:-1])
        near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.5) or _elsewhere(
            str(first["loc"][-1])
        )
        hint = f"Did you mean {near[0]}?" if near else f"Known here: {', '.join(known)}."
        return InputError(f"{origin}: unknown key {where}{tail}", hint)
    if first["type"] == "missing":
        return InputError(f"{origin}: the key {where} is missing{tail}")
    message = first["msg"].removeprefix("Value error, ")
    given = first["input"]
    shown = f", got {given!r}" if isinstance(given, str | int | float | bool) or given is None else ""
    return InputError(f"{origin}: {where or 'recipe'}: {message[0].lower()}{message[1:]}{shown}{tail}")


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    """List the keys that a recipe knows at a place."""
    model: Any = Recipe
    for part in location:
        annotation = model.model_fields[str(part)].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        model = next(kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel))
    return list(model.model_fields)


def _elsewhere(name: str) -> list[str]:
    """Find sections that do know a key of this name."""
    sections = [
        key
        for key, info in Recipe.model_fields.items()
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)
    ]
    return [f"{section}.{name}" for section in sections if name in _keys_at((section,))]
