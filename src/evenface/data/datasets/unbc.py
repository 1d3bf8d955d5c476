"""UNBC-McMaster Shoulder Pain Expression Archive: 200 sequences of 25 people, with facial pain scores of every frame.

Lucey et al., *Painful data: the UNBC-McMaster shoulder pain expression archive database*, IEEE FG 2011. Lines of the
files in ``Frame_Labels/FACS`` are action unit, intensity, onset and offset, as public programs read them.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from evenface.data.datasets.layout import SourceFacts, check_root, folders, names_in, part_of, read_numbers
from evenface.data.manifest import Manifest, make_table
from evenface.utils.errors import InputError
from evenface.utils.files import IMAGE_SUFFIXES, listed
from evenface.utils.progress import progress

MAXIMUM = {"pspi": 16, "opr": 5, "vas": 10, "aff": 15, "sen": 15}
"""Highest value of each scale."""
SIX_LEVELS = (0, 1, 2, 3, 4, 6)
"""Lowest PSPI of each of the usual six levels: 0, 1, 2, 3, 4 to 5, 6 and above."""
SUFFIX = "_facs.txt"
EXPECTED = (
    "Expected Images/<subject>/<sequence>/<frame>.png, Frame_Labels/PSPI/<subject>/<sequence>/<frame>_facs.txt and "
    "Sequence_Labels/<OPR, VAS, AFF or SEN>/<subject>/<sequence>.txt; Frame_Labels/FACS is optional."
)
UNITS = (4, 6, 7, 9, 10, 12, 20, 25, 26, 27, 43)
"""Action units that are coded in the archive."""
FACTS = SourceFacts(
    "UNBC-McMaster: 25 people with shoulder pain move their arms",
    "levels of PSPI, 0 to 16, of frames or sequences, or of observers' and self-reported pain; as columns, PSPI and 11 "
    "action units, 0 to 5",
    EXPECTED,
    "University of Pittsburgh",
    "Available from its owners for research, under a signed agreement; see the paper",
)

Scale = Literal["pspi", "opr", "vas", "aff", "sen"]


class _UNBCSequence(NamedTuple):
    subject: str
    name: str
    folder: Path
    images: list[str]

    @property
    def clip(self) -> str:
        return f"{self.subject}/{self.name}"


class _Invalid(NamedTuple):
    """Label file without a value on the scale, and what it contains."""

    path: Path
    content: str


def read(
    root: Path,
    *,
    unit: Literal["frame", "clip"] = "frame",
    scale: Scale | None = None,
    levels: Literal["usual", "all"] | Sequence[int] = "usual",
) -> Manifest:
    """Read frames with their PSPI as images, or sequences as clips."""
    check_root(root, "unbc")
    if unit == "frame" and scale not in (None, "pspi"):
        raise InputError(f"unbc: frames are labelled with pspi, not with {scale}", "Set unit: clip.")
    kind = "pspi" if unit == "frame" else scale or "opr"
    starts = _level_starts(levels, kind)
    sequences, notes = _sequences(part_of([root], "Images", "unbc", EXPECTED))
    if kind == "pspi":
        frames, label_notes = _frames(root, sequences, part_of([root], "Frame_Labels", "unbc", EXPECTED) / "PSPI")
        label_notes += _add_units(frames, root / "Frame_Labels" / "FACS")
        rows = frames if unit == "frame" else _clip_maximum(frames)
    else:
        rows, label_notes = _rated_clips(
            root, sequences, part_of([root], "Sequence_Labels", "unbc", EXPECTED) / kind.upper(), kind
        )
    maximum = MAXIMUM[kind]
    if kind == "pspi" and levels == "all":
        starts, maximum = _every_level(rows)
    for row in rows:
        row["label"] = int(np.searchsorted(starts, row[kind], side="right")) - 1
    names = _level_names(starts, maximum)
    absent = [name for label, name in enumerate(names) if all(row["label"] != label for row in rows)]
    notes += [*label_notes, *([f"levels of {kind} without samples: {listed(absent, 16)}"] if absent else [])]
    content: Literal["stills", "clips"] = "stills" if unit == "frame" else "clips"
    return Manifest(make_table(rows), names, "unbc", root, tuple(notes), content, "ordinal")


def _level_starts(levels: Literal["usual", "all"] | Sequence[int], kind: str) -> list[int]:
    """Return the lowest value of each level."""
    if isinstance(levels, str):
        return list(SIX_LEVELS) if kind == "pspi" and levels == "usual" else list(range(MAXIMUM[kind] + 1))
    starts = list(levels)
    if len(starts) < 2 or starts[0] != 0 or any(a >= b for a, b in pairwise(starts)) or starts[-1] > MAXIMUM[kind]:
        raise InputError(
            f"unbc: invalid levels {starts}",
            f"List the lowest value of each level, increasing from 0 to at most {MAXIMUM[kind]}, such as [0, 1, 2, 3].",
        )
    return starts


def _every_level(rows: Sequence[dict[str, Any]]) -> tuple[list[int], int]:
    """Return every value of PSPI, and the highest: frames of the archive reach 15 of the possible 16."""
    maximum = MAXIMUM["pspi"] if any(row["pspi"] >= MAXIMUM["pspi"] for row in rows) else MAXIMUM["pspi"] - 1
    return list(range(maximum + 1)), maximum


def _level_names(starts: list[int], maximum: int) -> tuple[str, ...]:
    """Name levels by their values: ``3``, ``4-5``."""
    return tuple(f"{a}" if a == b - 1 else f"{a}-{b - 1}" for a, b in pairwise([*starts, maximum + 1]))


def _sequences(images: Path) -> tuple[list[_UNBCSequence], list[str]]:
    """List the sequences that have images, and a note on folders without any."""
    every = [
        _UNBCSequence(subject, name, images / subject / name, names_in(images / subject / name, IMAGE_SUFFIXES))
        for subject in folders(images)
        for name in folders(images / subject)
    ]
    filled = [sequence for sequence in every if sequence.images]
    if not filled:
        raise InputError(f"unbc: no sequences of images in {images}, which has {listed(folders(images))}", EXPECTED)
    empty = [sequence.clip for sequence in every if not sequence.images]
    empty += [subject for subject in folders(images) if not folders(images / subject)]
    return filled, [f"folders without images: {listed(empty)}"] if empty else []


def _frames(root: Path, sequences: list[_UNBCSequence], labels: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Return a row for each frame with a valid PSPI, without the class, and notes on the others."""
    rows, unlabelled, absent = [], [], []
    invalid: list[_Invalid] = []
    with progress("reading PSPI", sum(len(sequence.images) for sequence in sequences)) as advance:
        for sequence in sequences:
            folder = labels / sequence.subject / sequence.name
            unused = set(names_in(folder, (SUFFIX,))) if folder.is_dir() else set()
            for image in sequence.images:
                stem = Path(image).stem
                if stem + SUFFIX not in unused:
                    unlabelled.append(f"{sequence.clip}/{image}")
                    continue
                unused.remove(stem + SUFFIX)
                value = _value(folder / (stem + SUFFIX), "pspi", invalid)
                if value is None:
                    continue
                path = (sequence.folder / image).relative_to(root).as_posix()
                row = {"sample": f"{sequence.clip}/{stem}", "path": path, "subject": sequence.subject}
                rows.append({**row, "clip": sequence.clip, "pspi": value})
            absent += [f"{folder.name}/{name}" for name in sorted(unused)]
            advance(len(sequence.images))
    invalid_notes = _invalid_notes(invalid, labels, "pspi", alone=not rows)
    if not rows:
        raise InputError(
            f"unbc: none of the {len(unlabelled)} frames has a label in {labels}, such as {unlabelled[0]}", EXPECTED
        )
    notes = [f"{len(unlabelled)} frames without label are excluded, such as {unlabelled[0]}"] if unlabelled else []
    notes += [*invalid_notes, *([f"{len(absent)} labels have no frame, such as {absent[0]}"] if absent else [])]
    return rows, notes


def _add_units(frames: list[dict[str, Any]], labels: Path) -> list[str]:
    """Add the intensity of each unit to the rows of frames, if there are such labels, and return notes."""
    if not labels.is_dir():
        return []
    absent, others, differing = 0, set(), 0
    with progress("reading action units", len(frames)) as advance:
        for row in frames:
            advance(1)
            path = labels / row["clip"] / f"{row['sample'].rpartition('/')[2]}{SUFFIX}"
            if not path.is_file():
                absent += 1
                row.update({f"AU{unit}": math.nan for unit in UNITS})
                continue
            coded = _units(path)
            others |= coded.keys() - set(UNITS)
            row.update({f"AU{unit}": coded.get(unit, 0.0) for unit in UNITS})
            differing += prkachin_solomon(coded) != row["pspi"]
    notes = [f"frames without action units: {absent}"] if absent else []
    notes += [f"action units that are not read: {listed(map(str, sorted(others)))}"] if others else []
    notes += [f"frames whose PSPI is not that of their action units: {differing}"] if differing else []
    return notes


def _units(path: Path) -> dict[int, float]:
    """Read the units of a frame and their intensities; an empty file codes none."""
    lines = read_numbers(path, "unbc", "an action unit and its intensity", columns=(2, 3, 4))
    if not lines.size:
        return {}
    wrong = ~np.isin(lines[:, 1], range(6)) | (lines[:, 0] % 1 != 0)
    if wrong.any():
        row = lines[wrong.argmax()]
        raise InputError(f"unbc: {path} codes AU{row[0]:g} at {row[1]:g}, expected 0 to 5")
    return {int(unit): float(intensity) for unit, intensity in lines[:, :2]}


def prkachin_solomon(units: Mapping[int, float]) -> float:
    """Return the pain intensity of action units: AU4 + max(AU6, AU7) + max(AU9, AU10) + AU43; absent units are 0."""
    at = [units.get(unit, 0.0) for unit in (4, 6, 7, 9, 10, 43)]
    return at[0] + max(at[1:3]) + max(at[3:5]) + at[5]


def _clip_maximum(frames: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each clip, with the highest PSPI and intensities of its frames."""
    clips: dict[str, dict[str, Any]] = {}
    for row in frames:
        highest = clips.get(row["clip"], row)
        numbers = {name: np.fmax(row[name], highest[name]) for name in row if name == "pspi" or name.startswith("AU")}
        clips[row["clip"]] = {**row, **numbers, "sample": row["clip"], "path": row["path"].rpartition("/")[0]}
    return list(clips.values())


def _rated_clips(
    root: Path, sequences: list[_UNBCSequence], labels: Path, kind: str
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return a row for each sequence with a valid rating, without the class, and notes on the others."""
    rows, unlabelled = [], []
    invalid: list[_Invalid] = []
    for sequence in sequences:
        path = labels / sequence.subject / f"{sequence.name}.txt"
        if not path.is_file():
            unlabelled.append(sequence.clip)
            continue
        value = _value(path, kind, invalid)
        if value is not None:
            folder = sequence.folder.relative_to(root).as_posix()
            row = {"sample": sequence.clip, "path": folder, "subject": sequence.subject}
            rows.append({**row, "clip": sequence.clip, kind: value})
    notes = _invalid_notes(invalid, labels, kind, alone=not rows)
    if not rows:
        raise InputError(
            f"unbc: none of the {len(unlabelled)} sequences has a label in {labels}, such as {unlabelled[0]}", EXPECTED
        )
    if unlabelled:
        notes.insert(0, f"{len(unlabelled)} sequences without label are excluded, such as {unlabelled[0]}")
    return rows, notes


def _invalid_notes(invalid: list[_Invalid], labels: Path, kind: str, *, alone: bool) -> list[str]:
    """Return a note on label files without a value on the scale; an InputError if there are no others."""
    if not invalid:
        return []
    expected = f"expected one number from 0 to {MAXIMUM[kind]}"
    if alone:
        raise InputError(f"unbc: {invalid[0].path} contains {invalid[0].content}, {expected}")
    files = listed(f"{path.relative_to(labels).as_posix()} contains {content}" for path, content in invalid)
    return [f"{len(invalid)} samples with an invalid label are excluded, {expected}: {files}"]


def _value(path: Path, kind: str, invalid: list[_Invalid]) -> float | None:
    """Read the number in a label file; add the file to ``invalid`` if it has no value on the scale."""
    try:
        content = path.read_text(encoding="utf-8-sig").strip()
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"unbc: cannot read {path}: {error}") from error
    try:
        value = float(content)
    except ValueError:
        value = math.nan
    if not 0 <= value <= MAXIMUM[kind]:
        invalid.append(_Invalid(path, repr(content[:40]) if content else "nothing"))
        return None
    return value
