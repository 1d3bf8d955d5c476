"""Where files lie that the user names, and where evenface keeps what it makes once and uses again."""

import os
from pathlib import Path

from evenface.utils.errors import InputError


def user_path(path: str | Path) -> Path:
    """Return a path that the user named, with ``~`` and ``~name`` expanded to home directories."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path}: the home directory of ~ is not known here", "Write the whole path.") from error


def cache_folder() -> Path:
    """Return the directory of prepared faces and synthetic people.

    It is ``EVENFACE_CACHE`` where that is set, else ``evenface`` in the user's cache directory.
    """
    named = os.environ.get("EVENFACE_CACHE")
    if named:
        return user_path(named)
    cache = os.environ.get("XDG_CACHE_HOME")
    try:
        return (user_path(cache) if cache else Path.home() / ".cache") / "evenface"
    except RuntimeError as error:
        raise InputError(
            "there is no home directory to keep prepared faces in", "Set EVENFACE_CACHE to a directory."
        ) from error
