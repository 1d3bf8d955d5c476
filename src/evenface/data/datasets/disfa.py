"""DISFA and DISFA+: intensities, 0 to 5, of twelve action units in every frame of 27 and 9 people.

Mavadati et al., *DISFA: a spontaneous facial action intensity database*, IEEE Transactions on Affective Computing 4(2),
2013; Mavadati, Sanger and Mahoor, *Extended DISFA dataset: investigating posed and spontaneous facial expressions*,
CVPR Workshops 2016. The layouts are those that public programs read: ``LeftVideoSN001_comp.avi`` beside
``SN001_au1.txt`` with lines ``1,0``; and ``A1_AU1_TrailNo_1/AU1.txt`` with two lines of header, then ``000.jpg 0``.
"""

import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evenface.data.datasets.layout import (
    SourceFacts,
    absent_files,
    check_root,
    check_step,
    completeness_notes,
    folders,
    manifest_of_targets,
    names_in,
    naming,
    part_of,
    read_numbers,
)
from evenface.data.manifest import Manifest
from evenface.utils.errors import InputError
from evenface.utils.files import IMAGE_SUFFIXES, VIDEO_SUFFIXES, listed, natural_order
from evenface.utils.tables import read_text

UNITS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
NAMES = [f"AU{unit}" for unit in UNITS]
HIGHEST = 5
PEOPLE = 27
FOLDER = re.compile(r"videos?_?(left|right)camera", re.IGNORECASE)
VIDEO = re.compile(r"(?:left|right)video(SN\d{3})(?:_comp)?", re.IGNORECASE)
EXPECTED = (
    "Expected ActionUnit_Labels/SN001/SN001_au1.txt and so on, and Videos_LeftCamera/LeftVideoSN001_comp.avi, or a "
    "folder LeftVideoSN001_comp of its frames as images."
)
EXPECTED_PLUS = "Expected Images/SN001/<trial>/000.jpg and Labels/SN001/<trial>/AU1.txt and so on."
TERMS = "Available from its owners for research, under a signed agreement"
FACTS = {
    "disfa": SourceFacts(
        "DISFA: 27 people watch a film",
        "12 action units of each frame, 0 to 5",
        EXPECTED,
        "M. H. Mahoor, University of Denver",
        TERMS,
        "http://mohammadmahoor.com/disfa/",
    ),
    "disfa-plus": SourceFacts(
        "DISFA+: 9 people of DISFA, posed and spontaneous",
        "12 action units of each frame, 0 to 5",
        EXPECTED_PLUS,
        "M. H. Mahoor, University of Denver",
        TERMS,
        "http://mohammadmahoor.com/disfa/",
    ),
}


def read(root: Path, *, camera: Literal["left", "right"] = "left", every: int = 1) -> Manifest:
    """Read every n-th frame of the videos of one camera, each a clip of one frame."""
    check_root(root, "disfa")
    check_step("disfa", every)
    labels = part_of([root], "ActionUnit_Labels", "disfa", EXPECTED)
    clips = _clips(root, camera)
    tables, without = [], []
    for subject in folders(labels):
        intensities = _intensities(labels / subject, subject)
        clip = clips.pop(subject.upper(), None)
        if clip is None:
            without.append(subject)
            continue
        _check_images(clip, len(intensities), labels / subject)
        frames = np.arange(len(intensities))[::every]
        common = {"path": clip.relative_to(root).as_posix(), "subject": subject, "clip": subject}
        names = [f"{subject}/{frame + 1:05d}" for frame in frames]
        table = pd.DataFrame({"sample": names, **common, "start": frames, "end": frames + 1})
        tables.append(table.join(pd.DataFrame(intensities[frames], columns=NAMES)))
    if not tables:
        raise InputError(f"disfa: no video of the {camera} camera for {listed(without) or labels}", EXPECTED)
    notes = [f"subjects without video are excluded: {listed(without)}"] if without else []
    notes += [f"videos without labels are excluded: {listed(sorted(clips))}"] if clips else []
    notes += completeness_notes(len(tables), PEOPLE)
    return manifest_of_targets(pd.concat(tables), NAMES, "multilabel", "disfa", root, notes, "clips")


def _clips(root: Path, camera: str) -> dict[str, Path]:
    """Return the video, or folder of images, of each subject."""
    tops = [name for name in folders(root) if (match := FOLDER.fullmatch(name)) and match[1].lower() == camera]
    if not tops:
        raise InputError(
            f"disfa: no folder Videos_{camera.title()}Camera in {root}, which has {listed(folders(root))}", EXPECTED
        )
    top = root / tops[0]
    clips: dict[str, Path] = {}
    for name in [*folders(top), *names_in(top, VIDEO_SUFFIXES)]:
        if match := VIDEO.fullmatch(Path(name).stem):
            clips[match[1].upper()] = top / name
    return clips


def _intensities(folder: Path, subject: str) -> NDArray[np.float64]:
    """Read the twelve files of a subject, (frames, 12)."""
    columns = []
    for unit in UNITS:
        path = folder / f"{subject}_au{unit}.txt"
        if not path.is_file():
            raise InputError(f"disfa: {path} does not exist", EXPECTED)
        lines = read_numbers(path, "disfa", "a frame and an intensity, such as '1,0'", columns=(2,))
        wrong = ~np.isin(lines[:, 1], range(HIGHEST + 1)) | (lines[:, 0] != np.arange(1, len(lines) + 1))
        if wrong.any():
            number = int(wrong.argmax())
            raise InputError(
                f"disfa: line {number + 1} of {path} has frame {lines[number, 0]:g} and intensity {lines[number, 1]:g}",
                f"Expected consecutive frames from 1, and intensities from 0 to {HIGHEST}.",
            )
        columns.append(lines[:, 1])
    if len({len(column) for column in columns}) > 1:
        counts = listed(f"AU{unit} {len(column)}" for unit, column in zip(UNITS, columns, strict=True))
        raise InputError(f"disfa: the files in {folder} have different numbers of frames: {counts}")
    return np.stack(columns, axis=1)


def _check_images(clip: Path, count: int, labels: Path) -> None:
    """Check that a folder of images has one per labelled frame; frames of videos are counted in preprocessing."""
    if clip.is_dir() and (images := len(names_in(clip, IMAGE_SUFFIXES))) != count:
        raise InputError(f"disfa: {clip} has {images} images, but {labels} has labels of {count} frames")


# --- DISFA+


def read_plus(root: Path, *, every: int = 1) -> Manifest:
    """Read every n-th image of each trial."""
    check_root(root, "disfa-plus")
    check_step("disfa-plus", every)
    images, labels = (part_of([root], name, "disfa-plus", EXPECTED_PLUS) for name in ("Images", "Labels"))
    tables = [
        _trial(labels / subject / trial, (images / subject / trial).relative_to(root).as_posix(), subject, every)
        for subject in folders(labels)
        for trial in folders(labels / subject)
    ]
    if not tables:
        raise InputError(f"disfa-plus: no trials in {labels}, which has {listed(folders(labels))}", EXPECTED_PLUS)
    table = pd.concat(tables)
    notes = absent_files(root, table["path"].tolist(), "disfa-plus", "Labels", EXPECTED_PLUS)
    return manifest_of_targets(table, NAMES, "multilabel", "disfa-plus", root, notes)


def _trial(folder: Path, images: str, subject: str, every: int) -> pd.DataFrame:
    """Read the twelve files of a trial."""
    units = {f"AU{unit}": _plus_intensities(folder / f"AU{unit}.txt") for unit in UNITS}
    first = units[NAMES[0]]
    other = next((name for name, found in units.items() if found.keys() != first.keys()), None)
    if other:
        raise InputError(f"disfa-plus: AU1.txt and {other}.txt in {folder} do not list the same images")
    files = natural_order(first)[::every]
    clip = f"{subject}/{folder.name}"
    rows: list[dict[str, Any]] = [
        {"sample": f"{clip}/{Path(file).stem}", "path": f"{images}/{file}", "subject": subject, "clip": clip}
        | {name: float(found[file]) for name, found in units.items()}
        for file in files
    ]
    return pd.DataFrame(rows)


def _plus_intensities(path: Path) -> dict[str, int]:
    """Read the intensity of each image of a trial; lines before the first image are a header."""
    if not path.is_file():
        raise InputError(f"disfa-plus: {path} does not exist", EXPECTED_PLUS)
    with naming("disfa-plus"):
        lines = read_text(path).split("\n")
    found: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        cells = line.split()
        if not cells or not (found or cells[0].lower().endswith(IMAGE_SUFFIXES)):
            continue
        if len(cells) != 2 or cells[1] not in map(str, range(HIGHEST + 1)) or cells[0] in found:
            raise InputError(
                f"disfa-plus: line {number} of {path} is {line.strip()[:40]!r}",
                f"Expected each image once, with an intensity from 0 to {HIGHEST}: '000.jpg 0'.",
            )
        found[cells[0]] = int(cells[1])
    if not found:
        raise InputError(f"disfa-plus: {path} lists no images", EXPECTED_PLUS)
    return found
