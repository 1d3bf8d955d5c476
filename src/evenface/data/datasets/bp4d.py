"""BP4D-Spontaneous and BP4D+: action units of every coded frame, 41 and 140 people in eight and ten tasks.

Zhang et al., *BP4D-Spontaneous: a high-resolution spontaneous 3D dynamic facial expression database*, Image and Vision
Computing 32(10), 2014; Zhang et al., *Multimodal spontaneous emotion corpus for human behavior analysis*, CVPR 2016.
The layout is that of ``AUCoding`` as public programs read it: ``AU_OCC/F001_T1.csv`` with a header of unit numbers, 9
for *not coded*, and ``AU_INT/AU06/F001_T1_AU06.csv`` without a header.
"""

import re
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evenface.data.datasets.layout import (
    SourceFacts,
    absent_files,
    check_root,
    check_step,
    folders,
    folders_within,
    manifest_of_targets,
    names_in,
    numbered_images,
    read_numbers,
)
from evenface.data.manifest import Manifest
from evenface.utils.errors import InputError
from evenface.utils.files import listed
from evenface.utils.tables import read_header

UNITS = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
"""Units of most published results; the files code more, which are columns too."""
NOT_CODED = 9
HIGHEST = 5
NAME = re.compile(r"([FM]\d{3})_(T\d{1,2})\.csv", re.IGNORECASE)
EXPECTED = (
    "Expected AUCoding/AU_OCC/F001_T1.csv and so on, for labels: intensity AUCoding/AU_INT/AU06/F001_T1_AU06.csv, and "
    "images F001/T1/0001.jpg in a folder such as Sequences(2D+3D)."
)
FACTS = SourceFacts(
    "BP4D and BP4D+: spontaneous expressions in tasks, among them pain by cold water",
    "presence of 12 action units by default, and of others as columns; intensity of 5, 0 to 5",
    EXPECTED,
    "L. Yin, Binghamton University",
    "Available from its owners for research, under a signed licence agreement",
    "https://www.cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html",
)


def read(
    root: Path, *, labels: Literal["occurrence", "intensity"] = "occurrence", every: int = 1, shift: int = 0
) -> Manifest:
    """Read every n-th coded frame; the image of a frame has its number plus ``shift``."""
    check_root(root, "bp4d")
    check_step("bp4d", every)
    coding = next((path for path in folders_within(root, 3) if path.name == "AU_OCC"), None)
    if coding is None:
        raise InputError(f"bp4d: no folder AU_OCC in {root}, which has {listed(folders(root))}", EXPECTED)
    files = [(match[1], match[2], name) for name in names_in(coding, (".csv",)) if (match := NAME.fullmatch(name))]
    if not files:
        raise InputError(f"bp4d: no files such as F001_T1.csv in {coding}", EXPECTED)
    images = _images(root, files)
    tables, without = [], []
    for subject, task, name in files:
        folder = images / subject / task
        if not folder.is_dir():
            without.append(f"{subject}/{task}")
            continue
        coded = (
            _occurrences(coding / name)
            if labels == "occurrence"
            else _intensities(coding.parent / "AU_INT", f"{subject}_{task}")
        )
        tables.append(_frames(coded.iloc[::every], folder, root, shift))
    table = pd.concat(tables)
    notes = [f"sequences without images are excluded: {listed(without)}"] if without else []
    notes += absent_files(root, table["path"].tolist(), "bp4d", coding.parent.name, EXPECTED)
    common = [f"AU{unit}" for unit in UNITS if f"AU{unit}" in table]
    task_kind: Literal["multilabel", "regression"] = "multilabel" if labels == "occurrence" else "regression"
    return manifest_of_targets(table, common, task_kind, "bp4d", root, notes)


def _images(root: Path, files: list[tuple[str, str, str]]) -> Path:
    """Return the folder with the images of the most sequences."""
    candidates = {path: sum((path / s / t).is_dir() for s, t, _ in files) for path in folders_within(root, 2)}
    best = max(candidates, key=lambda path: candidates[path])
    if not candidates[best]:
        subject, task, _ = files[0]
        raise InputError(f"bp4d: no folder of images {subject}/{task} below {root}", EXPECTED)
    return best


def _occurrences(path: Path) -> pd.DataFrame:
    """Read the coded units of a sequence, indexed by frame; units that are nowhere coded are left out."""
    header = read_header(path)
    # The first number of the header is that of the column of frames, and may be that of a unit too.
    units = [number for number in header[1:] if number.isdecimal()]
    if not units or len(units) < len(header) - 1 or len(set(units)) < len(units):
        raise InputError(f"bp4d: the header of {path} is {listed(header)}, expected numbers of units", EXPECTED)
    lines = read_numbers(path, "bp4d", f"a frame and {len(units)} numbers", columns=(len(header),), skip=1)
    wrong = ~np.isin(lines[:, 1:], (0, 1, NOT_CODED))
    if wrong.any():
        row, column = map(int, np.argwhere(wrong)[0])
        raise InputError(
            f"bp4d: AU{units[column]} of frame {lines[row, 0]:g} in {path} is {lines[row, column + 1]:g}",
            f"Expected 0, 1 or {NOT_CODED} for not coded.",
        )
    values = np.where(lines[:, 1:] == NOT_CODED, np.nan, lines[:, 1:])
    table = pd.DataFrame(values, columns=[f"AU{int(unit)}" for unit in units], index=_frame_numbers(lines, path))
    return table.loc[:, table.notna().any()]


def _intensities(folder: Path, sequence: str) -> pd.DataFrame:
    """Read the intensities of a sequence, one file per unit, indexed by frame."""
    columns = {}
    for unit in folders(folder) if folder.is_dir() else []:
        path = folder / unit / f"{sequence}_{unit}.csv"
        if path.is_file() and re.fullmatch(r"AU\d\d", unit):
            lines = read_numbers(path, "bp4d", "a frame and an intensity", columns=(2,))
            columns[f"AU{int(unit[2:])}"] = pd.Series(_levels(lines[:, 1], path), _frame_numbers(lines, path))
    if not columns:
        raise InputError(f"bp4d: no intensities of {sequence} in {folder}", EXPECTED)
    return pd.DataFrame(columns)


def _frame_numbers(lines: NDArray[np.float64], path: Path) -> NDArray[np.int64]:
    """Return the first column as numbers of frames, each once."""
    numbers = lines[:, 0]
    if (numbers % 1 != 0).any() or (numbers < 0).any() or len(np.unique(numbers)) < len(numbers):
        raise InputError(f"bp4d: the first column of {path} must be the number of each frame, once")
    return numbers.astype(np.int64)


def _levels(values: NDArray[np.float64], path: Path) -> NDArray[np.float64]:
    wrong = ~np.isin(values, (*range(HIGHEST + 1), NOT_CODED))
    if wrong.any():
        raise InputError(
            f"bp4d: line {int(wrong.argmax()) + 1} of {path} has the intensity {values[wrong.argmax()]:g}",
            f"Expected 0 to {HIGHEST}, or {NOT_CODED} for not coded.",
        )
    return np.where(values == NOT_CODED, np.nan, values)


def _frames(coded: pd.DataFrame, folder: Path, root: Path, shift: int) -> pd.DataFrame:
    """Return a row per coded frame. Image names have three or four digits."""
    images = numbered_images(folder)
    subject, task = folder.parent.name, folder.name
    numbers = coded.index.to_numpy() + shift
    path = folder.relative_to(root).as_posix()
    files = [f"{path}/{images.get(number, f'{number:04d}.jpg')}" for number in numbers.tolist()]
    names = [f"{subject}/{task}/{frame:04d}" for frame in coded.index.tolist()]
    common = {"sample": names, "path": files, "subject": subject, "clip": f"{subject}/{task}"}
    return pd.DataFrame(common).join(coded.reset_index(drop=True))
