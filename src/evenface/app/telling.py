"""Saying what went wrong without saying where things lie on this machine."""

import os
import re
from pathlib import Path

from evenface.errors import InputError

INSIDE = "Something went wrong inside evenface"
# A slash that follows no letter or digit begins a path, when folders follow it; so does a drive.
_FOLDERS = re.compile(r"(?<![\w.)\]>/\\])(?:[A-Za-z]:)?[/\\](?:[^\s/\\'\"<>|:*?]+[/\\])+")


def told(text: str, *paths: Path) -> str:
    """Leave the folders out of the paths in a text.

    Parameters
    ----------
    text : str
        What is told.
    *paths : Path
        Files and folders that it may name, with spaces in their names too.

    Examples
    --------
    >>> told("the run /home/ann/runs/a-1 has no weights.safetensors")
    'the run a-1 has no weights.safetensors'
    >>> told("/home/Ann Lee/x.onnx is damaged, 3/4 of it", Path("/home/Ann Lee/x.onnx"))
    'x.onnx is damaged, 3/4 of it'
    """
    for path in paths:
        text = text.replace(f"{path.parent}{os.sep}", "")
    return _FOLDERS.sub("", text)


def problem(error: BaseException, *paths: Path) -> dict[str, str]:
    """Say what went wrong, and what to do, of any error: of those that a user cannot mend, nothing but that."""
    if isinstance(error, InputError):
        return {"what": told(error.message, *paths), "do": told(error.hint, *paths) or "Mend that and try again."}
    if isinstance(error, MemoryError):
        return {"what": "There is not enough memory for this", "do": "Take something smaller."}
    return {"what": INSIDE, "do": "The terminal that evenface app runs in says more."}
