"""One file per data set: each turns an official layout on disk into a manifest."""

import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

from evenface.data.manifest import Manifest
from evenface.errors import InputError

SOURCES: dict[str, str] = {
    "affectnet": "evenface.data.sources.affectnet",
    "csv": "evenface.data.sources.csv",
    "emotion-domestic": "evenface.data.sources.emotion_domestic",
    "fer2013": "evenface.data.sources.fer2013",
    "ferplus": "evenface.data.sources.ferplus",
    "folder": "evenface.data.sources.folder",
    "mmafedb": "evenface.data.sources.mmafedb",
    "rafdb": "evenface.data.sources.rafdb",
    "synthetic": "evenface.data.sources.synthetic",
}


def read(name: str, root: Path | str, options: Mapping[str, Any] | None = None) -> Manifest:
    """Read a data set by the name of its source.

    Parameters
    ----------
    name : str
        One of ``SOURCES``.
    root : Path or str
        Where the data lies; ``~`` stands for the home folder.
    options : mapping, optional
        What the source can be told; see the page of the source.

    Returns
    -------
    Manifest

    Raises
    ------
    InputError
        If there is no such source or option, an option has the wrong type, or the data is not laid out
        as the source expects.
    """
    if name not in SOURCES:
        raise InputError(f"there is no source {name!r}", _suggest(name, SOURCES, "sources"))
    function = import_module(SOURCES[name]).read
    known = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options or {}:
        if option not in known:
            raise InputError(f"{name}: there is no option {option!r}", _suggest(str(option), known, "options"))
    hints = get_type_hints(function)
    checked = {option: _check(name, option, value, hints[option]) for option, value in (options or {}).items()}
    manifest: Manifest = function(Path(root).expanduser(), **checked)
    return manifest


def _check(name: str, option: str, value: Any, hint: Any) -> Any:
    """Bring a value to the type that the source declares for the option."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(hint).validate_python(value)
    except ValidationError as error:
        said = error.errors(include_url=False)[0]["msg"]
        raise InputError(f"{name}: the option {option} cannot be {value!r}: {said}") from error


def _suggest(word: str, known: Mapping[str, str] | list[str], what: str) -> str:
    near = get_close_matches(word, list(known), n=1, cutoff=0.5)
    listed = f"Known {what} are {', '.join(known)}." if known else f"It has no {what}."
    return f"Did you mean {near[0]}? {listed}" if near else listed
