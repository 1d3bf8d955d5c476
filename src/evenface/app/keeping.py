"""Uploads and results that the user asked to keep; and what an upload is called meanwhile."""

import datetime
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evenface.faces.numbers import ARRAYS, TABLES
from evenface.files import write_json
from evenface.filetypes import PICTURES, VIDEOS

KNOWN = (*PICTURES, *VIDEOS, *ARRAYS, *TABLES)


def suffix_of(name: str) -> str:
    """Give the ending of a file's name, where it is one that says what the file is; nothing else of a name is used.

    Examples
    --------
    >>> suffix_of("../../etc/Holiday.JPG"), suffix_of("a.png/../../x"), suffix_of("run.sh")
    ('.jpg', '', '')
    """
    found = re.search(r"\.[A-Za-z0-9]{1,8}$", name)
    return found[0].lower() if found and found[0].lower() in KNOWN else ""


class Keeper:
    """Keeps uploads, and what was said of them, in a folder.

    Parameters
    ----------
    folder : Path
        Made when the first one comes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of(self, name: str) -> Callable[[Path, dict[str, Any]], None]:
        """Give what keeps an upload of this name: a file of a name of our own, beside ``.json`` with the result."""
        stem = re.sub(r"[^A-Za-z0-9-]+", "-", name.replace("\\", "/").rpartition("/")[2].rpartition(".")[0]).strip("-")

        def keep(folder: Path, result: dict[str, Any]) -> None:
            moment = datetime.datetime.now().strftime("%Y%m%d-%H%M%S-%f")
            self.folder.mkdir(parents=True, exist_ok=True)
            (upload,) = folder.iterdir()
            kept = self.folder / f"{moment}{'-' if stem else ''}{stem[:60]}{upload.suffix}"
            shutil.copyfile(upload, kept)
            write_json(kept.with_name(f"{kept.name}.json"), {"file": kept.name, **result})

        return keep
