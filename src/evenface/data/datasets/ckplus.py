"""CK+, the Extended Cohn-Kanade set: 593 sequences of 123 people from neutral to peak expression, 327 labelled.

Lucey et al., *The Extended Cohn-Kanade Dataset (CK+): a complete dataset for action unit and emotion-specified
expression*, CVPR Workshops 2010; the layout is that of the readme that comes with it. A file of the folder FACS lists
the action units of the last image of its sequence with their intensity, 0 where it was not coded.
"""

import math
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import pandas as pd

from evenface.data.datasets.layout import (
    SourceFacts,
    check_root,
    completeness_notes,
    folders,
    folders_within,
    manifest_of_targets,
    names_in,
    part_of,
    read_numbers,
)
from evenface.data.datasets.sequences import as_sequences
from evenface.data.manifest import Manifest, make_table
from evenface.utils.errors import InputError
from evenface.utils.files import IMAGE_SUFFIXES, listed

CODES = {1: "angry", 2: "contempt", 3: "disgust", 4: "fear", 5: "happy", 6: "sad", 7: "surprise"}
"""Number in a file of the folder Emotion to its class."""
CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "contempt")
UNITS = (1, 2, 4, 5, 6, 7, 9, 11, 12, 15, 17, 20, 23, 24, 25, 26, 27)
"""Action units of the paper's experiments; others in the files are columns too."""
PEAKS = 3
"""Last images of a sequence that are read by default."""
LABELLED = 327
"""Labelled sequences in the complete dataset."""
EXPECTED = (
    "Expected cohn-kanade-images/S005/001/S005_001_00000001.png, Emotion/S005/001/S005_001_00000011_emotion.txt, "
    "FACS/S005/001/S005_001_00000011_facs.txt for labels: units, and "
    "Landmarks/S005/001/S005_001_00000001_landmarks.txt for features: landmarks."
)
FACTS = SourceFacts(
    "CK+: sequences of posed expressions from neutral to apex",
    "7 emotions, or 6 without contempt; 17 action units, 0 or 1",
    EXPECTED,
    "University of Pittsburgh",
    "Available from its owners for research, under a signed agreement",
    "https://www.pitt.edu/~emotion/ck-spread.htm",
)

FOLDERS = {"emotions": "Emotion", "units": "FACS"}
LabelT = TypeVar("LabelT")


class _CKPlusSequence(NamedTuple):
    name: str
    folder: Path
    files: list[str]
    emotion: str | None
    units: dict[str, float]


def read(
    root: Path,
    *,
    labels: Literal["emotions", "units"] = "emotions",
    emotions: Literal[6, 7] = 7,
    unit: Literal["clip", "peak"] = "clip",
    peaks: int = PEAKS,
    neutral: bool = False,
    features: Literal["images", "landmarks"] = "images",
) -> Manifest:
    """Read the sequences with an emotion, or those with coded action units."""
    check_root(root, "ckplus")
    if unit == "clip" and neutral:
        raise InputError("ckplus: neutral: true is for single images, as each clip starts neutral", "Set unit: peak.")
    if unit == "peak" and features == "landmarks":
        raise InputError("ckplus: features: landmarks is for sequences, not for unit: peak", "Set unit: clip.")
    _check_options(labels, emotions, unit, peaks)
    labelled, notes = _labelled_sequences(root, features, labels)
    classes = (*CLASSES[:emotions], *(["neutral"] if neutral else []))
    used = [sequence for sequence in labelled if labels == "units" or sequence.emotion in classes]
    if len(used) < len(labelled):
        notes.append(f"sequences excluded: {len(labelled) - len(used)} of contempt")
    rows = [row for sequence in used for row in _rows(sequence, root, unit, peaks, neutral, classes)]
    if not rows:
        raise InputError(f"ckplus: all {len(labelled)} labelled sequences are of contempt", "Set emotions: 7.")
    if labels == "units":
        manifest = _of_units(rows, root, notes, unit)
        return as_sequences(manifest, "dlib-68") if features == "landmarks" else manifest
    absent = [name for label, name in enumerate(classes) if all(row["label"] != label for row in rows)]
    notes += [f"emotions without samples: {listed(absent)}"] if absent else []
    content: Literal["stills", "clips"] = "clips" if unit == "clip" else "stills"
    manifest = Manifest(make_table(rows), classes, "ckplus", root, tuple(notes), content)
    return as_sequences(manifest, "dlib-68") if features == "landmarks" else manifest


def _check_options(labels: str, emotions: int, unit: str, peaks: int) -> None:
    """Check the number of peaks, and that no option is set that has no effect."""
    if peaks < 1:
        raise InputError(f"ckplus: peaks must be at least 1, got {peaks}")
    if unit == "clip" and peaks != PEAKS:
        raise InputError("ckplus: peaks is for single images, not for unit: clip", "Set unit: peak.")
    if labels == "units" and emotions != len(CLASSES):
        raise InputError(f"ckplus: emotions: {emotions} is for labels: emotions, not for labels: units")


def _of_units(rows: list[dict[str, Any]], root: Path, notes: list[str], unit: str) -> Manifest:
    """Build the manifest of a multi-label task."""
    table = pd.DataFrame(rows).drop(columns="label")
    names = [name for name in (f"AU{number}" for number in UNITS) if name in table]
    return manifest_of_targets(
        table, names, "multilabel", "ckplus", root, notes, "clips" if unit == "clip" else "stills"
    )


def _labelled_sequences(root: Path, features: str, labels: str) -> tuple[list[_CKPlusSequence], list[str]]:
    """List the sequences that have files and an emotion, or coded units, and notes on the others."""
    part, suffixes = (
        ("cohn-kanade-images", IMAGE_SUFFIXES) if features == "images" else ("Landmarks", ("_landmarks.txt",))
    )
    tops = list(folders_within(root, 1))
    top, own = (part_of(tops, name, "ckplus", EXPECTED) for name in (part, FOLDERS[labels]))
    files = {
        f"{subject}/{number}": names_in(top / subject / number, suffixes)
        for subject in folders(top)
        for number in folders(top / subject)
    }
    emotions = _by_sequence(own, _emotion) if labels == "emotions" else {}
    units, unreadable = _coded_units(tops, strict=labels == "units")
    known: Collection[str] = emotions if labels == "emotions" else units
    numbers = sorted(set().union(*units.values()))
    labelled = [
        _CKPlusSequence(name, top / name, names, emotions.get(name), _presences(units.get(name), numbers))
        for name, names in files.items()
        if name in known and names
    ]
    if not labelled:
        raise InputError(
            f"ckplus: none of the {len(files)} sequences in {top} has files and one of the {len(known)} {labels} "
            f"in {own}",
            EXPECTED,
        )
    unlabelled = [name for name in files if name not in known]
    absent = [name for name in known if not files.get(name)]
    notes = [f"{len(unlabelled)} of {len(files)} sequences without {labels[:-1]} are excluded"] if unlabelled else []
    notes += [f"{len(absent)} {labels} have no files in {part}, such as {absent[0]}"] if absent else []
    notes += [f"sequences whose action units cannot be read: {len(unreadable)}; {unreadable[0]}"] if unreadable else []
    if labels == "emotions":
        notes += completeness_notes(len(labelled), LABELLED, "labelled sequences")
    return labelled, notes


def _by_sequence(folder: Path, read_label: Callable[[Path], LabelT | None]) -> dict[str, LabelT]:
    """Read the label of each sequence, without those that have none."""
    return {
        f"{subject}/{number}": label
        for subject in folders(folder)
        for number in folders(folder / subject)
        if (label := read_label(folder / subject / number)) is not None
    }


def _coded_units(tops: list[Path], *, strict: bool) -> tuple[dict[str, frozenset[int]], list[str]]:
    """Read the units of each sequence, and what is wrong with files that cannot be read; if strict, refuse those."""
    wrong: list[str] = []

    def readable(folder: Path) -> frozenset[int] | None:
        try:
            return _units(folder)
        except InputError as error:
            if strict:
                raise
            wrong.append(error.message.removeprefix("ckplus: "))
            return None

    coded = any((top / "FACS").is_dir() for top in tops)
    return _by_sequence(part_of(tops, "FACS", "ckplus", EXPECTED), readable) if coded else {}, wrong


def _presences(units: frozenset[int] | None, numbers: list[int]) -> dict[str, float]:
    """Return 1 for present and 0 for absent units; NaN where they were not coded."""
    return {f"AU{number}": math.nan if units is None else float(number in units) for number in numbers}


def _units(folder: Path) -> frozenset[int] | None:
    """Return the units that are present in the last image of a sequence; None if there is no file."""
    path = _only_file(folder, "_facs.txt")
    if path is None:
        return None
    lines = read_numbers(path, "ckplus", "an action unit and its intensity", columns=(2,))
    wrong = (lines[:, 0] < 1) | (lines[:, 0] % 1 != 0) | (lines[:, 1] < 0) | (lines[:, 1] > 5)
    if wrong.any():
        unit, intensity = lines[wrong.argmax()].tolist()
        raise InputError(
            f"ckplus: {path} codes {unit:g} with {intensity:g}, expected action units with intensities from 0 to 5"
        )
    return frozenset(lines[:, 0].astype(int).tolist())


def _only_file(folder: Path, suffix: str) -> Path | None:
    """Return the one file with a suffix; None if there is none."""
    files = names_in(folder, (suffix,))
    if len(files) > 1:
        raise InputError(f"ckplus: expected one file *{suffix} in {folder}, found {listed(files)}")
    return folder / files[0] if files else None


def _emotion(folder: Path) -> str | None:
    """Return the emotion of a sequence; None if there is no file, or its number is 0."""
    path = _only_file(folder, "_emotion.txt")
    if path is None:
        return None
    try:
        content = path.read_text(encoding="utf-8-sig").strip()
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"ckplus: cannot read {path}: {error}") from error
    code = float(content) if re.fullmatch(r"\d(\.0*)?(e[+-]?0+)?", content) else -1.0
    if code == 0:
        return None
    if code not in CODES:
        shown = repr(content[:40]) if content else "nothing"
        known = ", ".join(f"{number} {name}" for number, name in CODES.items())
        raise InputError(f"ckplus: {path} contains {shown}, expected one number", f"Known: {known}.")
    return CODES[int(code)]


def _rows(
    sequence: _CKPlusSequence, root: Path, unit: str, peaks: int, neutral: bool, classes: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Return the rows of one sequence: one for the clip, or one for each image used."""
    path = sequence.folder.relative_to(root).as_posix()
    common = {"subject": sequence.name.partition("/")[0], "clip": sequence.name}
    label = -1 if sequence.emotion is None else classes.index(sequence.emotion)
    if unit == "clip":
        return [{"sample": sequence.name, "path": path, "label": label, **common, **sequence.units}]
    # No image is both neutral and peak.
    first = sequence.files[:1] if neutral and len(sequence.files) > peaks else []
    images = [(file, classes.index("neutral"), dict.fromkeys(sequence.units, 0.0)) for file in first]
    images += [(file, label, sequence.units) for file in sequence.files[-peaks:]]
    return [
        {"sample": f"{sequence.name}/{Path(file).stem}", "path": f"{path}/{file}", "label": image_label}
        | {**common, **units}
        for file, image_label, units in images
    ]
