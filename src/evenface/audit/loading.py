"""Files of claims: those that ship, and reading one with every digit as printed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from evenface.audit.schema import Claims
from evenface.errors import InputError
from evenface.places import user_path
from evenface.recipes.reading import Bounded, UniqueKeys, explained, not_yaml
from evenface.tabular import read_text

SHIPPED = Path(__file__).parent / "claims"


class _Loader(Bounded, UniqueKeys, yaml.BaseLoader):
    """Leaves all as text: 0.40 stays 0.40."""


def shipped_claims() -> dict[str, Path]:
    """Give the file of every paper's claims that comes with evenface, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


def load_claims(source: str | Path | Mapping[str, Any]) -> Claims:
    """Read a file of claims and check every key.

    Parameters
    ----------
    source : str, Path or mapping
        Name of a shipped file, path of a YAML file, or the content itself. Numbers of a mapping are given as text,
        so that their digits are kept.

    Raises
    ------
    InputError
        If it is not there, is no YAML, or has an unknown key or a number that is none.
    """
    if isinstance(source, Mapping):
        return _checked(dict(source), "the claims given")
    path = shipped_claims().get(str(source)) or user_path(source)
    if not path.is_file():
        raise InputError(
            f"{source}: no such file of claims", f"Give a YAML file, or one of: {', '.join(shipped_claims())}."
        )
    try:
        content = yaml.load(read_text(path), Loader=_Loader)
    except yaml.YAMLError as error:
        raise not_yaml(path, error) from None
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no claims", "A file of claims is a mapping of keys to values.")
    return _checked(content, str(path))


def _checked(content: dict[str, Any], origin: str) -> Claims:
    try:
        return Claims.model_validate(content)
    except ValidationError as error:
        raise explained(error, Claims, origin) from None
