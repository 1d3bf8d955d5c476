"""UNBC-McMaster Shoulder Pain Expression Archive: 200 sequences of 25 people, pain by the face in every frame.

Lucey et al., *Painful data: the UNBC-McMaster shoulder pain expression archive database*, IEEE FG 2011.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from evenface.data.datasets.layout import check_root, folders, listed, names_in
from evenface.data.manifest import Manifest, make_table
from evenface.utils.errors import InputError
from evenface.utils.file_types import IMAGE_SUFFIXES
from evenface.utils.progress import progress

LICENCE = "Available from its owners for research, under a signed agreement; see the paper."

TOP = {"pspi": 16, "opr": 5, "vas": 10, "aff": 15, "sen": 15}
"""Highest value of each scale."""
SIX = (0, 1, 2, 3, 4, 6)
"""Where the usual six levels of PSPI begin: 0, 1, 2, 3, 4 and 5, 6 and above."""
ENDING = "_facs.txt"
EXPECTED = (
    "Expected Images/<subject>/<sequence>/<frame>.png, Frame_Labels/PSPI/<subject>/<sequence>/<frame>_facs.txt and "
    "Sequence_Labels/<OPR, VAS, AFF or SEN>/<subject>/<sequence>.txt."
)

Scale = Literal["pspi", "opr", "vas", "aff", "sen"]


class _UNBCSequence(NamedTuple):
    subject: str
    name: str
    folder: Path
    pictures: list[str]


def read(
    root: Path,
    *,
    unit: Literal["frame", "clip"] = "frame",
    scale: Scale | None = None,
    levels: Literal["usual", "all"] | Sequence[int] = "usual",
) -> Manifest:
    """Read frames with their PSPI as stills, or sequences as clips."""
    check_root(root, "unbc")
    if unit == "frame" and scale not in (None, "pspi"):
        raise InputError(f"unbc: frames are labelled by pspi, not by {scale}", "Say unit: clip.")
    kind = "pspi" if unit == "frame" else scale or "opr"
    starts = _starts(levels, kind)
    sequences, notes = _sequences(_part(root, "Images"))
    if kind == "pspi":
        frames, said = _frames(root, sequences, _part(root, "Frame_Labels") / "PSPI")
        rows = frames if unit == "frame" else _highest(frames)
    else:
        rows, said = _rated(root, sequences, _part(root, "Sequence_Labels") / kind.upper(), kind)
    top = TOP[kind]
    if kind == "pspi" and levels == "all":
        starts, top = _every(rows)
    for row in rows:
        row["label"] = int(np.searchsorted(starts, row[kind], side="right")) - 1
    names = _names(starts, top)
    bare = [name for label, name in enumerate(names) if all(row["label"] != label for row in rows)]
    notes += [*said, *([f"levels of {kind} that do not occur: {listed(bare, 16)}"] if bare else [])]
    content: Literal["stills", "clips"] = "stills" if unit == "frame" else "clips"
    return Manifest(make_table(rows), names, "unbc", root, tuple(notes), content, ordered=True)


def _starts(levels: Literal["usual", "all"] | Sequence[int], kind: str) -> list[int]:
    """Find the lowest value of each level."""
    if isinstance(levels, str):
        return list(SIX) if kind == "pspi" and levels == "usual" else list(range(TOP[kind] + 1))
    starts = list(levels)
    if len(starts) < 2 or starts[0] != 0 or any(a >= b for a, b in pairwise(starts)) or starts[-1] > TOP[kind]:
        raise InputError(
            f"unbc: levels cannot be {starts}",
            f"Give the lowest value of each level, rising from 0 to at most {TOP[kind]}, such as [0, 1, 2, 3].",
        )
    return starts


def _every(rows: Sequence[dict[str, Any]]) -> tuple[list[int], int]:
    """Return every step of PSPI, and the highest: the archive's frames have at most 15 of the 16 that are possible."""
    top = TOP["pspi"] if any(row["pspi"] >= TOP["pspi"] for row in rows) else TOP["pspi"] - 1
    return list(range(top + 1)), top


def _names(starts: list[int], top: int) -> tuple[str, ...]:
    """Name levels by the values they hold: ``3``, ``4-5``."""
    return tuple(f"{a}" if a == b - 1 else f"{a}-{b - 1}" for a, b in pairwise([*starts, top + 1]))


def _part(root: Path, name: str) -> Path:
    """Find a part of the archive; unpacked copies often have its folder twice."""
    if not (root / name).is_dir():
        raise InputError(f"unbc: there is no folder {name} in {root}, which holds {listed(folders(root))}", EXPECTED)
    return root / name / name if (root / name / name).is_dir() else root / name


def _sequences(images: Path) -> tuple[list[_UNBCSequence], list[str]]:
    """List the sequences that have pictures, and say which folders have none."""
    every = [
        _UNBCSequence(subject, name, images / subject / name, names_in(images / subject / name, IMAGE_SUFFIXES))
        for subject in folders(images)
        for name in folders(images / subject)
    ]
    found = [sequence for sequence in every if sequence.pictures]
    if not found:
        raise InputError(
            f"unbc: no sequences with pictures in {images}, which holds {listed(folders(images))}", EXPECTED
        )
    bare = [f"{sequence.subject}/{sequence.name}" for sequence in every if not sequence.pictures]
    bare += [subject for subject in folders(images) if not folders(images / subject)]
    return found, [f"folders without pictures: {listed(bare)}"] if bare else []


def _frames(root: Path, sequences: list[_UNBCSequence], labels: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Make a row of each frame that has a label, without the class."""
    rows, bare, absent = [], [], []
    off: list[tuple[Path, str]] = []
    with progress("reading PSPI", sum(len(sequence.pictures) for sequence in sequences)) as advance:
        for sequence in sequences:
            where = labels / sequence.subject / sequence.name
            known = set(names_in(where, (ENDING,))) if where.is_dir() else set()
            for picture in sequence.pictures:
                stem = Path(picture).stem
                if stem + ENDING not in known:
                    bare.append(f"{sequence.subject}/{sequence.name}/{picture}")
                    continue
                known.remove(stem + ENDING)
                value = _value(where / (stem + ENDING), "pspi", off)
                if value is None:
                    continue
                clip = f"{sequence.subject}/{sequence.name}"
                path = (sequence.folder / picture).relative_to(root).as_posix()
                row = {"sample": f"{clip}/{stem}", "path": path, "subject": sequence.subject}
                rows.append({**row, "clip": clip, "pspi": value})
            absent += [f"{where.name}/{name}" for name in sorted(known)]
            advance(len(sequence.pictures))
    said = _off_scale(off, labels, "pspi", alone=not rows)
    if not rows:
        raise InputError(f"unbc: none of the {len(bare)} frames has a label in {labels}, such as {bare[0]}", EXPECTED)
    notes = [f"{len(bare)} frames without a label are left out, such as {bare[0]}"] if bare else []
    return rows, [*notes, *said, *([f"{len(absent)} labels have no frame, such as {absent[0]}"] if absent else [])]


def _highest(frames: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Make a row of each clip from those of its frames."""
    clips: dict[str, dict[str, Any]] = {}
    for row in frames:
        clip = {**row, "sample": row["clip"], "path": row["path"].rpartition("/")[0]}
        clip["pspi"] = max(row["pspi"], clips.get(row["clip"], row)["pspi"])
        clips[row["clip"]] = clip
    return list(clips.values())


def _rated(
    root: Path, sequences: list[_UNBCSequence], labels: Path, kind: str
) -> tuple[list[dict[str, Any]], list[str]]:
    """Make a row of each sequence that was rated, without the class."""
    rows, bare = [], []
    off: list[tuple[Path, str]] = []
    for sequence in sequences:
        clip = f"{sequence.subject}/{sequence.name}"
        path = labels / sequence.subject / f"{sequence.name}.txt"
        if not path.is_file():
            bare.append(clip)
            continue
        row = {"sample": clip, "path": sequence.folder.relative_to(root).as_posix(), "subject": sequence.subject}
        value = _value(path, kind, off)
        if value is not None:
            rows.append({**row, "clip": clip, kind: value})
    said = _off_scale(off, labels, kind, alone=not rows)
    if not rows:
        raise InputError(
            f"unbc: none of the {len(bare)} sequences has a label in {labels}, such as {bare[0]}", EXPECTED
        )
    if bare:
        said.insert(0, f"{len(bare)} sequences without a label are left out, such as {bare[0]}")
    return rows, said


def _off_scale(off: list[tuple[Path, str]], labels: Path, kind: str, *, alone: bool) -> list[str]:
    """Say which files hold no value of the scale, and what; refuse them where there are no others."""
    if not off:
        return []
    expected = f"expected one number from 0 to {TOP[kind]}"
    if alone:
        raise InputError(f"unbc: {off[0][0]} holds {off[0][1]}, {expected}")
    files = listed(f"{path.relative_to(labels).as_posix()} holds {shown}" for path, shown in off)
    return [f"{len(off)} labels are left out with what they are of, {expected}: {files}"]


def _value(path: Path, kind: str, off: list[tuple[Path, str]]) -> float | None:
    """Read the one number in a file of labels; where there is none on the scale, note what is."""
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"unbc: cannot read {path}: {error}") from error
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= TOP[kind]:
        off.append((path, repr(text[:40]) if text else "nothing"))
        return None
    return value
