"""CK+, the Extended Cohn-Kanade set: 593 sequences of 123 people from the calm face to a peak, 327 with an emotion.

Lucey et al., *The Extended Cohn-Kanade Dataset (CK+): a complete dataset for action unit and emotion-specified
expression*, CVPR Workshops 2010; the layout is that of the readme that comes with it.
"""

import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

from evenface.data.datasets.layout import check_root, folders, listed, names_in
from evenface.data.datasets.sequence_files import of_numbers
from evenface.data.manifest import Manifest, make_table
from evenface.utils.errors import InputError
from evenface.utils.file_types import IMAGE_SUFFIXES

LICENCE = (
    "Available from its owners for research, under a signed agreement: https://www.pitt.edu/~emotion/ck-spread.htm"
)

CODES = {1: "angry", 2: "contempt", 3: "disgust", 4: "fear", 5: "happy", 6: "sad", 7: "surprise"}
"""The number in a file of the folder Emotion, and the class."""
CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "contempt")
LABELLED = 327
"""Sequences with an emotion in the whole set."""
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
    """Read the sequences that have an emotion."""
    check_root(root, "ckplus")
    if unit == "clip" and neutral:
        raise InputError("ckplus: neutral is for stills, and a sequence begins calm by itself", "Say unit: peak.")
    if unit == "peak" and features == "landmarks":
        raise InputError("ckplus: features: landmarks are of sequences", "Say unit: clip.")
    if peaks < 1:
        raise InputError(f"ckplus: peaks must be at least 1, got {peaks}")
    found, notes = _labelled(root, features)
    classes = (*CLASSES[:emotions], *(["neutral"] if neutral else []))
    chosen = [one for one in found if one.emotion in classes]
    if len(chosen) < len(found):
        notes.append(f"sequences left out: {len(found) - len(chosen)} of contempt")
    rows = [row for one in chosen for row in _rows(one, root, unit, peaks, neutral, classes)]
    if not rows:
        raise InputError(f"ckplus: all {len(found)} sequences with an emotion are of contempt", "Say emotions: 7.")
    bare = [name for label, name in enumerate(classes) if all(row["label"] != label for row in rows)]
    notes += [f"emotions that do not occur: {listed(bare)}"] if bare else []
    content: Literal["stills", "clips"] = "clips" if unit == "clip" else "stills"
    manifest = Manifest(make_table(rows), classes, "ckplus", root, tuple(notes), content)
    return of_numbers(manifest, "dlib-68") if features == "landmarks" else manifest


def _part(root: Path, name: str) -> Path:
    """Find a part of the set, in ``root`` or one folder deeper; unpacked copies often have its folder twice."""
    for top in (root, *(root / inner for inner in folders(root))):
        if (top / name).is_dir():
            return top / name / name if (top / name / name).is_dir() else top / name
    raise InputError(f"ckplus: there is no folder {name} in {root}, which holds {listed(folders(root))}", EXPECTED)


def _labelled(root: Path, features: str) -> tuple[list[_CKPlusSequence], list[str]]:
    """List the sequences that have files and an emotion, and say what was left out."""
    images, ending = (
        ("cohn-kanade-images", IMAGE_SUFFIXES) if features == "images" else ("Landmarks", ("_landmarks.txt",))
    )
    top, labels = _part(root, images), _part(root, "Emotion")
    there = {
        f"{subject}/{number}": names_in(top / subject / number, ending)
        for subject in folders(top)
        for number in folders(top / subject)
    }
    known = {
        f"{subject}/{number}": emotion
        for subject in folders(labels)
        for number in folders(labels / subject)
        if (emotion := _emotion(labels / subject / number))
    }
    found = [
        _CKPlusSequence(name, top / name, files, known[name])
        for name, files in there.items()
        if name in known and files
    ]
    if not found:
        raise InputError(
            f"ckplus: none of the {len(there)} sequences in {top} has files and one of the {len(known)} emotions "
            f"in {labels}",
            EXPECTED,
        )
    bare = [name for name in there if name not in known]
    absent = [name for name in known if not there.get(name)]
    notes = [f"{len(bare)} of {len(there)} sequences have no emotion and are left out"] if bare else []
    notes += [f"{len(absent)} emotions have no files in {images}, such as {absent[0]}"] if absent else []
    if len(found) != LABELLED:
        notes.append(f"{len(found)} sequences with an emotion are here; the whole set has {LABELLED}")
    return found, notes


def _emotion(folder: Path) -> str | None:
    """Read the emotion of a sequence; None where there is no file, or its number is the 0 of none."""
    files = names_in(folder, ("_emotion.txt",))
    if not files:
        return None
    if len(files) > 1:
        raise InputError(f"ckplus: {folder} holds {listed(files)}, expected one file")
    try:
        text = (folder / files[0]).read_text(encoding="utf-8-sig").strip()
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"ckplus: cannot read {folder / files[0]}: {error}") from error
    code = float(text) if re.fullmatch(r"\d(\.0*)?(e[+-]?0+)?", text) else -1.0
    if code == 0:
        return None
    if code not in CODES:
        shown = repr(text[:40]) if text else "nothing"
        known = ", ".join(f"{number} {word}" for number, word in CODES.items())
        raise InputError(f"ckplus: {folder / files[0]} holds {shown}, expected one number", f"Known are {known}.")
    return CODES[int(code)]


def _rows(
    one: _CKPlusSequence, root: Path, unit: str, peaks: int, neutral: bool, classes: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Make the rows of one sequence: one, or one for each of its pictures that is taken."""
    path = one.folder.relative_to(root).as_posix()
    common = {"subject": one.name.partition("/")[0], "clip": one.name}
    label = classes.index(one.emotion)
    if unit == "clip":
        return [{"sample": one.name, "path": path, "label": label, **common}]
    # A picture is never both calm and peak.
    first = one.files[:1] if neutral and len(one.files) > peaks else []
    taken = [(name, classes.index("neutral")) for name in first] + [(name, label) for name in one.files[-peaks:]]
    return [
        {"sample": f"{one.name}/{Path(name).stem}", "path": f"{path}/{name}", "label": of, **common}
        for name, of in taken
    ]
