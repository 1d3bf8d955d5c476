"""What is kept of each explained file, written whole, so that an interrupted call goes on where it was."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evenface.explanation.explanation import Explanation
from evenface.explanation.faithfulness import Curves
from evenface.explanation.select import SelectedSample
from evenface.utils.errors import InputError
from evenface.utils.files import atomic_write, digest

PARTS, PICTURES = "parts", "pictures"
PLACES = ("frame", "end", "time", "until", "face", "left", "top", "right", "bottom")
SIDES = ("left", "top", "right", "bottom")
Part = dict[str, Any]
BEGINS = re.compile(r'\{"key": "(\w+)"')


def mark_of(path: str) -> str:
    """Name a file's part: always the same for the same file."""
    return digest(os.path.realpath(path))[:12]


def picture_of(path: str) -> str:
    """Name a file's picture, by its own name and a mark that files of the same name do not share."""
    return f"{Path(path).stem}-{mark_of(path)[:6]}.png"


def part_of(
    path: str,
    key: str,
    chosen: Sequence[SelectedSample],
    found: Sequence[Explanation],
    curves: Sequence[Sequence[Curves]],
    truth: int | None,
    names: Sequence[str],
) -> Part:
    """Make the part of a file: all that tables and page say of it."""
    samples = []
    for one, explained, several in zip(chosen, found, curves, strict=True):
        sample = one.sample
        box = [None] * 4 if sample.box is None else [round(float(side), 2) for side in sample.box]
        samples.append(
            {
                **dict(
                    zip(PLACES[:5], (sample.frame, sample.end, sample.time, sample.until, sample.face), strict=True)
                ),
                **dict(zip(SIDES, box, strict=True)),
                "probabilities": explained.probabilities.tolist(),
                "maps": _listed(explained.maps),
                "frames": _listed(explained.frames),
                "points": _listed(explained.points),
                "curves": [
                    {
                        "what": c.what,
                        "deletion": _listed(c.deletion),
                        "insertion": _listed(c.insertion),
                        "random": _listed(c.random),
                    }
                    for c in several
                ],
            }
        )
    return {
        "key": key,
        "file": path,
        "picture": f"{PICTURES}/{picture_of(path)}",
        "method": found[0].method,
        "truth": truth,
        "names": list(names),
        "samples": samples,
    }


def _listed(values: np.ndarray | None) -> list[Any] | None:
    found: list[Any] | None = None if values is None else np.asarray(values, dtype=np.float64).round(5).tolist()
    return found


def save(folder: Path, part: Part) -> None:
    """Write a part, whole or not at all."""
    with atomic_write(folder / PARTS / f"{mark_of(part['file'])}.json") as temporary:
        temporary.write_text(json.dumps(part), encoding="utf-8")


def check_folder(folder: Path, key: str) -> None:
    """Refuse a folder that holds parts of another model or of other settings; their key is what a part begins with."""
    for file in sorted((folder / PARTS).glob("*.json")):
        with file.open(encoding="utf-8", errors="replace") as opened:
            found = BEGINS.match(opened.read(64))
        if found and found[1] != key:
            raise InputError(
                f"{folder} holds explanations of another model or of other settings",
                "Choose another folder for --out, or delete this one.",
            )


def load(folder: Path, path: str, key: str) -> Part | None:
    """Give the part of a file that was explained before; none where it was not, or its picture is gone."""
    file = folder / PARTS / f"{mark_of(path)}.json"
    try:
        part: Part = json.loads(file.read_text(encoding="utf-8"))
        there = part["key"] == key and bool(part["samples"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return part if there and (folder / part["picture"]).is_file() else None


def curves_of(part: Part) -> Iterator[Curves]:
    """Give the curves of a part's samples."""
    for sample in part["samples"]:
        for one in sample["curves"]:
            yield Curves(one["what"], *(np.array(one[name]) for name in ("deletion", "insertion", "random")))


def table(parts: Sequence[Part], classes: Sequence[str]) -> pd.DataFrame:
    """Make the table: a row for each sample and class; areas under the curves stand with the class that was named."""
    rows = []
    for part in parts:
        for sample in part["samples"]:
            named = int(np.argmax(sample["probabilities"]))
            areas: dict[str, float] = {}
            for one in sample["curves"]:
                curves = Curves(one["what"], *(np.array(one[name]) for name in ("deletion", "insertion", "random")))
                areas |= dict(
                    zip((f"{one['what']}_{name}" for name in ("out", "in", "random")), curves.areas, strict=True)
                )
            rows += [
                {
                    "file": part["file"],
                    **{name: sample[name] for name in PLACES},
                    "class": name,
                    "probability": sample["probabilities"][label],
                    "predicted": label == named,
                    "true": None if part["truth"] is None else label == part["truth"],
                    "method": part["method"],
                    "picture": part["picture"],
                    **(areas if label == named else {}),
                }
                for label, name in enumerate(classes)
            ]
    found = pd.DataFrame(rows)
    for name in ("frame", "end", "face"):
        found[name] = found[name].astype("Int64")
    return found


def values(parts: Sequence[Part], classes: Sequence[str]) -> pd.DataFrame:
    """Make the long table of all that was found: a row for each place, frame or point of each sample and class."""
    tables = []
    for part in parts:
        for sample in part["samples"]:
            for what in ("maps", "frames", "points"):
                if sample[what] is not None:
                    one = _long(np.array(sample[what]), what, classes, part["names"])
                    tables.append(one.assign(file=part["file"], frame=sample["frame"], face=sample["face"]))
    found = pd.concat(tables, ignore_index=True)
    found["face"] = found["face"].astype("Int64")
    return found[["file", "frame", "face", "class", "what", "step", "row", "column", "name", "value"]]


def _long(found: np.ndarray, what: str, classes: Sequence[str], names: Sequence[str]) -> pd.DataFrame:
    """Write an array out, row by row; what an axis does not have is -1."""
    places = np.indices(found.shape).reshape(found.ndim, -1)
    nothing = np.full(found.size, -1)
    step, row, column = (nothing,) * 3
    name = np.full(found.size, "", dtype=object)
    if what == "maps":
        row, column = places[-2:]
        step = places[1] if found.ndim == 4 else nothing
    elif what == "frames":
        step = places[1]
    else:
        column = places[1]
        name = np.asarray([names[i] if i < len(names) else str(i) for i in column], dtype=object)
    word = {"maps": "place", "frames": "frame", "points": "point"}[what]
    return pd.DataFrame(
        {
            "class": np.asarray(classes, dtype=object)[places[0]],
            "what": word,
            "step": step,
            "row": row,
            "column": column,
            "name": name,
            "value": found.ravel(),
        }
    )
