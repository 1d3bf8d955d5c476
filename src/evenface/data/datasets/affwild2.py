"""Aff-Wild2: expressions, action units, and valence and arousal of the frames of 594 videos from the internet.

Kollias and Zafeiriou, *Expression, affect, action unit recognition: Aff-Wild2, multi-task learning and ArcFace*, BMVC
2019, and the ABAW challenges. The layout is that of the challenges: ``cropped_aligned/<video>/00001.jpg``, and a file
``<video>.txt`` in ``Train_Set`` and ``Validation_Set`` of each challenge, whose n-th line after its header is frame n.
"""

import re
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evenface.data.datasets.layout import (
    SourceFacts,
    check_root,
    check_step,
    folders,
    folders_within,
    manifest_of_targets,
    names_in,
    numbered_images,
    read_numbers,
)
from evenface.data.manifest import Manifest, make_table
from evenface.utils.errors import InputError
from evenface.utils.files import listed
from evenface.utils.tables import read_header

SIDES = {"Train_Set": "train", "Validation_Set": "validation"}
CLASSES = ("neutral", "angry", "disgust", "fear", "happy", "sad", "surprise", "other")
"""Expressions in the order of their numbers; the first two challenges have no *other*."""
UNITS = tuple(f"AU{unit}" for unit in (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26))
IMAGES = ("cropped_aligned", "cropped")
EXPECTED = (
    "Expected cropped_aligned/<video>/00001.jpg, and EXPR_Recognition_Challenge, AU_Detection_Challenge or "
    "VA_Estimation_Challenge, each with Train_Set/<video>.txt and Validation_Set/<video>.txt."
)
FACTS = SourceFacts(
    "Aff-Wild2: videos from the internet, labelled in every frame",
    "8 expressions (7 in older releases); 12 action units, 0 or 1; valence and arousal, -1 to 1",
    EXPECTED,
    "D. Kollias, Queen Mary University of London",
    "For non-commercial research only, under a signed agreement",
    "https://ibug.doc.ic.ac.uk/resources/aff-wild2/",
)


class _Challenge(NamedTuple):
    """Folders of a challenge, columns of its files, and the value that marks frames without annotation."""

    folder: re.Pattern[str]
    columns: tuple[str, ...]
    invalid: float
    low: float
    high: float


CHALLENGES = {
    "expressions": _Challenge(re.compile(r"EXPR_(\w+_Challenge|Set)"), ("expression",), -1, 0, len(CLASSES) - 1),
    "units": _Challenge(re.compile(r"AU_(\w+_Challenge|Set)"), UNITS, -1, 0, 1),
    "affect": _Challenge(re.compile(r"VA_(\w+_Challenge|Set)"), ("valence", "arousal"), -5, -1, 1),
}


def read(root: Path, *, labels: Literal["expressions", "units", "affect"] = "expressions", every: int = 1) -> Manifest:
    """Read every n-th frame of one challenge that is annotated and has an image."""
    check_root(root, "affwild2")
    check_step("affwild2", every)
    challenge = CHALLENGES[labels]
    inner = list(folders_within(root, 2))
    images = next((top / name for name in IMAGES for top in inner if (top / name).is_dir()), None)
    annotations = next((top / name for top in inner for name in folders(top) if challenge.folder.fullmatch(name)), None)
    for found, what in ((images, IMAGES[0]), (annotations, f"of the challenge for labels: {labels}")):
        if found is None:
            raise InputError(f"affwild2: no folder {what} in {root}, which has {listed(folders(root))}", EXPECTED)
    assert images is not None
    assert annotations is not None
    tables, without, dropped, classes = [], [], 0, 0
    for folder, side in SIDES.items():
        for name in names_in(annotations / folder, (".txt",)) if (annotations / folder).is_dir() else []:
            video = Path(name).stem
            if not (images / video).is_dir():
                without.append(video)
                continue
            path = annotations / folder / name
            classes = max(classes, len(read_header(path)))
            table, excluded = _frames(_values(path, challenge), challenge, images / video, root, every)
            dropped += excluded
            tables.append(table.assign(clip=video, split=side))
    if not any(len(table) for table in tables):
        raise InputError(f"affwild2: no annotated frame in {annotations} has an image in {images}", EXPECTED)
    notes = [f"videos without images are excluded: {listed(without)}"] if without else []
    notes += [f"{dropped} frames without annotation or image are excluded"] if dropped else []
    table = pd.concat([table for table in tables if len(table)])
    if labels != "expressions":
        task: Literal["multilabel", "regression"] = "multilabel" if labels == "units" else "regression"
        return manifest_of_targets(table, challenge.columns, task, "affwild2", root, notes)
    table = table.rename(columns={"expression": "label"}).astype({"label": np.int64})
    names = CLASSES[: max(classes, int(table["label"].max()) + 1)]
    return Manifest(make_table(table), names, "affwild2", root, tuple(notes))


def _values(path: Path, challenge: _Challenge) -> NDArray[np.float64]:
    """Read the annotations of a video, (frames, columns), NaN where there is none."""
    count = len(challenge.columns)
    lines = read_numbers(path, "affwild2", f"{count} numbers separated by commas", columns=(count,), skip=1)
    unknown = lines == challenge.invalid
    wrong = ~unknown & ((lines < challenge.low) | (lines > challenge.high))
    if count != 2:
        wrong |= lines % 1 != 0
    if wrong.any():
        row, column = map(int, np.argwhere(wrong)[0])
        raise InputError(
            f"affwild2: {challenge.columns[column]} of frame {row + 1} in {path} is {lines[row, column]:g}",
            f"Expected {challenge.low:g} to {challenge.high:g}, or {challenge.invalid:g} where it is not annotated.",
        )
    return np.where(unknown, np.nan, lines)


def _frames(
    values: NDArray[np.float64], challenge: _Challenge, folder: Path, root: Path, every: int
) -> tuple[pd.DataFrame, int]:
    """Return a row per annotated frame with an image, and the number of the other frames."""
    images = numbered_images(folder)
    frames = np.arange(len(values))[::every]
    missing = np.isnan(values[frames]).sum(axis=1)
    # Valence and arousal are annotated together, units one by one.
    most = 0 if len(challenge.columns) == 2 else len(challenge.columns) - 1
    kept = [frame for frame in frames[missing <= most].tolist() if frame + 1 in images]
    path = folder.relative_to(root).as_posix()
    names = [f"{folder.name}/{frame + 1:05d}" for frame in kept]
    table = pd.DataFrame({"sample": names, "path": [f"{path}/{images[frame + 1]}" for frame in kept]})
    return table.join(pd.DataFrame(values[kept], columns=list(challenge.columns))), len(frames) - len(kept)
