"""Studies from files and names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evenface.errors import InputError
from evenface.places import user_path
from evenface.recipes.reading import explained, read_mapping
from evenface.registry import nearest
from evenface.studies.schema import Study

SHIPPED = Path(__file__).parent / "definitions"


def shipped_studies() -> dict[str, Path]:
    """Give the file of every study that comes with evenface, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


def load_study(source: str | Path | Mapping[str, Any]) -> Study:
    """Read a study and check every key.

    Parameters
    ----------
    source : str, Path or mapping
        Name of a shipped study, path of a YAML file, or the content itself.

    Returns
    -------
    Study
        Valid; a recipe that is a file beside the study is given by its path.

    Raises
    ------
    InputError
        If there is no such study, it is no YAML mapping, or a key or value is wrong.
    """
    if isinstance(source, Mapping):
        return _checked(dict(source), "study")
    return _checked(_content(_found(source)), str(_found(source)))


def _found(source: str | Path) -> Path:
    """Give the file of a study that is named by its path or by its name."""
    if user_path(source).is_file():
        return user_path(source)
    shipped = shipped_studies()
    if str(source) not in shipped:
        near = nearest(str(source), shipped, show=0)
        raise InputError(
            f"no study {str(source)!r}",
            f"{near} `evenface studies` lists those that ship; or give the path of a YAML file.".strip(),
        )
    return shipped[str(source)]


def _content(path: Path) -> dict[str, Any]:
    """Read a study's file, laid over that of the study it extends."""
    content = read_mapping(path, "study")
    beside = path.parent / str(content.get("recipe"))
    if isinstance(content.get("recipe"), str) and beside.is_file():
        content["recipe"] = str(beside.resolve())
    if "extends" not in content:
        return content
    name = str(content.pop("extends"))
    under = _content(path.parent / name if (path.parent / name).is_file() else _found(name))
    together = {key: value for key, value in under.items() if key not in ("about", "paper")} | content
    return together | (
        {"datasets": _laid_over(content["datasets"], under.get("datasets", {}))} if "datasets" in content else {}
    )


def _laid_over(own: Any, under: Any) -> Any:
    """Merge mappings all the way down; whatever is no mapping is replaced."""
    if not (isinstance(own, dict) and isinstance(under, dict)):
        return own
    return {key: _laid_over(value, under[key]) if key in under else value for key, value in own.items()} | {
        key: value for key, value in under.items() if key not in own
    }


def _checked(content: dict[str, Any], origin: str) -> Study:
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        raise explained(error, Study, origin) from None
