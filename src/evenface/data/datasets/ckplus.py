"""CK+, the Extended Cohn-Kanade set: 593 sequences of 123 people from neutral to peak expression, 327 labelled.

Lucey et al., *The Extended Cohn-Kanade Dataset (CK+): a complete dataset for action unit and emotion-specified
expression*, CVPR Workshops 2010; the layout is that of the readme that comes with it.
"""

import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

from evenface.data.datasets.layout import check_root, folders, listed, names_in, part_of
from evenface.data.datasets.sequences import as_sequences
from evenface.data.manifest import Manifest, make_table
from evenface.utils.errors import InputError
from evenface.utils.files import IMAGE_SUFFIXES

LICENCE = (
    "Available from its owners for research, under a signed agreement: https://www.pitt.edu/~emotion/ck-spread.htm"
)

CODES = {1: "angry", 2: "contempt", 3: "disgust", 4: "fear", 5: "happy", 6: "sad", 7: "surprise"}
"""Number in a file of the folder Emotion to its class."""
CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "contempt")
LABELLED = 327
"""Labelled sequences in the complete dataset."""
EXPECTED = (
    "Expected cohn-kanade-images/S005/001/S005_001_00000001.png, Emotion/S005/001/S005_001_00000011_emotion.txt and, "
    "for features: landmarks, Landmarks/S005/001/S005_001_00000001_landmarks.txt."
)


class _CKPlusSequence(NamedTuple):
    name: str
    folder: Path
    files: list[str]
    emotion: str


def read(
    root: Path,
    *,
    emotions: Literal[6, 7] = 7,
    unit: Literal["clip", "peak"] = "clip",
    peaks: int = 3,
    neutral: bool = False,
    features: Literal["images", "landmarks"] = "images",
) -> Manifest:
    """Read the labelled sequences."""
    check_root(root, "ckplus")
    if unit == "clip" and neutral:
        raise InputError("ckplus: neutral: true is for single images, as each clip starts neutral", "Set unit: peak.")
    if unit == "peak" and features == "landmarks":
        raise InputError("ckplus: features: landmarks is for sequences, not for unit: peak", "Set unit: clip.")
    if peaks < 1:
        raise InputError(f"ckplus: peaks must be at least 1, got {peaks}")
    labelled, notes = _labelled_sequences(root, features)
    classes = (*CLASSES[:emotions], *(["neutral"] if neutral else []))
    used = [sequence for sequence in labelled if sequence.emotion in classes]
    if len(used) < len(labelled):
        notes.append(f"sequences excluded: {len(labelled) - len(used)} of contempt")
    rows = [row for sequence in used for row in _rows(sequence, root, unit, peaks, neutral, classes)]
    if not rows:
        raise InputError(f"ckplus: all {len(labelled)} labelled sequences are of contempt", "Set emotions: 7.")
    absent = [name for label, name in enumerate(classes) if all(row["label"] != label for row in rows)]
    notes += [f"emotions without samples: {listed(absent)}"] if absent else []
    content: Literal["stills", "clips"] = "clips" if unit == "clip" else "stills"
    manifest = Manifest(make_table(rows), classes, "ckplus", root, tuple(notes), content)
    return as_sequences(manifest, "dlib-68") if features == "landmarks" else manifest


def _labelled_sequences(root: Path, features: str) -> tuple[list[_CKPlusSequence], list[str]]:
    """List the sequences that have files and an emotion, and notes on the others."""
    part, suffixes = (
        ("cohn-kanade-images", IMAGE_SUFFIXES) if features == "images" else ("Landmarks", ("_landmarks.txt",))
    )
    tops = [root, *(root / inner for inner in folders(root))]
    top, labels = (part_of(tops, name, "ckplus", EXPECTED) for name in (part, "Emotion"))
    files = {
        f"{subject}/{number}": names_in(top / subject / number, suffixes)
        for subject in folders(top)
        for number in folders(top / subject)
    }
    emotions = {
        f"{subject}/{number}": emotion
        for subject in folders(labels)
        for number in folders(labels / subject)
        if (emotion := _emotion(labels / subject / number))
    }
    labelled = [
        _CKPlusSequence(name, top / name, own, emotions[name])
        for name, own in files.items()
        if name in emotions and own
    ]
    if not labelled:
        raise InputError(
            f"ckplus: none of the {len(files)} sequences in {top} has files and one of the {len(emotions)} emotions "
            f"in {labels}",
            EXPECTED,
        )
    unlabelled = [name for name in files if name not in emotions]
    absent = [name for name in emotions if not files.get(name)]
    notes = [f"{len(unlabelled)} of {len(files)} sequences without emotion are excluded"] if unlabelled else []
    notes += [f"{len(absent)} emotions have no files in {part}, such as {absent[0]}"] if absent else []
    if len(labelled) != LABELLED:
        notes.append(f"found {len(labelled)} labelled sequences; the complete dataset has {LABELLED}")
    return labelled, notes


def _emotion(folder: Path) -> str | None:
    """Return the emotion of a sequence; None if there is no file, or its number is 0."""
    files = names_in(folder, ("_emotion.txt",))
    if not files:
        return None
    if len(files) > 1:
        raise InputError(f"ckplus: expected one file *_emotion.txt in {folder}, found {listed(files)}")
    path = folder / files[0]
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
    label = classes.index(sequence.emotion)
    if unit == "clip":
        return [{"sample": sequence.name, "path": path, "label": label, **common}]
    # No image is both neutral and peak.
    first = sequence.files[:1] if neutral and len(sequence.files) > peaks else []
    images = [(file, classes.index("neutral")) for file in first]
    images += [(file, label) for file in sequence.files[-peaks:]]
    return [
        {"sample": f"{sequence.name}/{Path(file).stem}", "path": f"{path}/{file}", "label": image_label, **common}
        for file, image_label in images
    ]
