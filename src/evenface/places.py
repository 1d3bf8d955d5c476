"""Where evenface keeps what it makes once and uses again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Give the folder of prepared faces and synthetic people.

    It is ``EVENFACE_CACHE`` where that is set, else ``evenface`` in the user's cache folder.
    """
    named = os.environ.get("EVENFACE_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "evenface"
