"""BioVid Heat Pain Database, part A: clips of 5.5 s at four levels of heat pain and without pain.

Walter et al., *The BioVid heat pain database*, IEEE CYBCONF 2013. Filtered biosignals are tables separated by tabs, one
per clip, at 512 Hz, with the columns time, gsr, ecg, emg_trapezius, emg_corrugator and emg_zygomaticus, as public
programs read them.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from evenface.data.datasets.layout import SourceFacts, absent_files, check_root, folders, naming
from evenface.data.datasets.sequences import as_sequences
from evenface.data.manifest import Manifest, make_table
from evenface.utils.errors import InputError
from evenface.utils.files import listed
from evenface.utils.registry import nearest
from evenface.utils.tables import read_delimited

PERSON = re.compile(r"[0-9]{6}_(?P<sex>[wmWM])_(?P<age>[0-9]{1,3})")
"""Subject name: date, sex (w for women, m for men) and age."""
SEX = {"w": "female", "m": "male"}
LEVELS = ("BL1", "PA1", "PA2", "PA3", "PA4")
COLUMNS = ("subject_name", "class_id", "sample_name")
LISTS = ("samples.csv", "starting_point/samples.csv")
EXPECTED = (
    "Expected part A: samples.csv, or starting_point/samples.csv, and video/<subject_name>/<sample_name>.mp4, or "
    "biosignals_filtered/<subject_name>/<sample_name>_bio.csv for modality: signals."
)
FILES = {"video": ("video", ".mp4"), "signals": ("biosignals_filtered", "_bio.csv")}
"""Folder of the files of a modality, and how their names end."""
SIGNALS = "gsr,ecg,emg_trapezius,emg_corrugator,emg_zygomaticus"
FACTS = SourceFacts(
    "BioVid: 87 people at four levels of heat pain and without pain",
    "5 levels, or none against the highest; of videos, or of skin conductance, ECG and EMG",
    EXPECTED,
    "Otto von Guericke University Magdeburg and Ulm University",
    "For non-commercial research only, under an agreement with its owners",
    "https://www.nit.ovgu.de/BioVid.html",
)
# fmt: off
LEAST_EXPRESSIVE = (
    "082315_w_60", "082414_m_64", "082909_m_47", "083009_w_42", "083013_w_47", "083109_m_60", "083114_w_55",
    "091914_m_46", "092009_m_54", "092014_m_56", "092509_w_51", "092714_m_64", "100514_w_51", "100914_m_39",
    "101114_w_37", "101209_w_61", "101809_m_59", "101916_m_40", "111313_m_64", "120614_w_61",
)
# fmt: on
"""The 20 subjects that public code excludes because they show no response, after Werner et al., *Analysis of facial
expressiveness during experimentally induced heat pain*, ACIIW 2017."""


def read(
    root: Path,
    *,
    levels: Literal["five", "binary"] = "five",
    exclude: Literal["none", "least-expressive"] | Sequence[str] = "none",
    modality: Literal["video", "signals"] = "video",
) -> Manifest:
    """Read the official list and the folder of videos, or of biosignals, beside it."""
    check_root(root, "biovid")
    root = next((root / name for name in folders(root) if name.lower() == "parta"), root)
    path = next((root / name for name in LISTS if (root / name).is_file()), None)
    if path is None:
        raise InputError(
            f"biovid: no list of samples (samples.csv) in {root}, which has {listed(folders(root))}", EXPECTED
        )
    folder, suffix = FILES[modality]
    if not (root / folder).is_dir():
        raise InputError(f"biovid: no folder {folder} in {root}, which has {listed(folders(root))}", EXPECTED)
    cells, level_notes = _drop_unknown_levels(_load(path), path)
    unlisted = sorted(set(folders(root / folder)) - set(cells["subject_name"]))
    cells, notes = _exclude(cells, exclude, path)
    cells, folder_notes = _with_folder(cells, root / folder, path)
    if unlisted:
        folder_notes.append(
            f"{len(unlisted)} folders in {folder} are not in {path.name} and are excluded: {listed(unlisted)}"
        )
    classes = LEVELS if levels == "five" else (LEVELS[0], LEVELS[-1])
    rows = [_row(cell, classes, folder, suffix) for cell in cells.to_dict("records") if cell["level"] in classes]
    if not rows:
        raise InputError(f"biovid: {path.name} has no clips of {' or '.join(classes)} after the exclusions")
    if len(rows) < len(cells):
        notes.append(f"clips excluded: {len(cells) - len(rows)} of PA1, PA2 and PA3")
    notes += [
        *level_notes,
        *folder_notes,
        *absent_files(root, [row["path"] for row in rows], "biovid", path.name, EXPECTED),
    ]
    manifest = Manifest(make_table(rows), classes, "biovid", root, tuple(notes), "clips", "ordinal")
    return as_sequences(manifest, "features", SIGNALS) if modality == "signals" else manifest


def _row(cell: dict[Any, Any], classes: tuple[str, ...], folder: str, suffix: str) -> dict[str, Any]:
    sample, subject = cell["sample_name"], cell["subject_name"]
    path = f"{folder}/{subject}/{sample}{suffix}"
    label = classes.index(cell["level"])
    row = {"sample": sample, "path": path, "label": label, "subject": subject, "clip": sample}
    if person := PERSON.fullmatch(subject):
        row |= {"sex": SEX[person["sex"].lower()], "age": int(person["age"])}
    return row


def _load(path: Path) -> pd.DataFrame:
    """Read the list, indexed by line number, and add the column ``level``, the name of the class."""
    with naming("biovid", EXPECTED):
        cells = read_delimited(path)
    missing = [name for name in COLUMNS if name not in cells]
    if missing:
        raise InputError(
            f"biovid: expected the columns {', '.join(COLUMNS)} in {path.name}, found {listed(cells.columns)}",
            "The columns of the official list are separated by tabs.",
        )
    cells = cells.fillna("")
    if cells.empty:
        raise InputError(f"biovid: {path} has no lines below its header", EXPECTED)
    for name in COLUMNS:
        _check_lines(cells, cells[name] == "", path, f"{name} is empty")
    cells["level"] = cells["class_id"].map({str(code): name for code, name in enumerate(LEVELS)})
    if "class_name" in cells:
        other = cells["level"].notna() & (cells["class_name"] != cells["level"]) & (cells["class_name"] != "")
        _check_lines(cells, other, path, "class_id {class_id} is {level}, but class_name is {class_name}")
    _check_lines(cells, cells["sample_name"].duplicated(), path, "duplicate sample_name {sample_name}")
    return cells


def _drop_unknown_levels(cells: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Exclude clips whose class_id is not one of the five levels, with a note; an InputError if no others are left."""
    unknown = cells["level"].isna()
    known = listed(f"{code} {name}" for code, name in enumerate(LEVELS))
    if unknown.all():
        _check_lines(cells, unknown, path, "class_id {class_id} of {sample_name} is none of " + known)
    if not unknown.any():
        return cells, []
    lines = listed(f"line {line} ({cell})" for line, cell in cells["class_id"][unknown].items())
    note = (
        f"{int(unknown.sum())} of {len(cells)} clips in {path.name} are excluded, as their class_id is none of {known}"
    )
    return cells[~unknown], [f"{note}: {lines}"]


def _check_lines(cells: pd.DataFrame, wrong: "pd.Series[bool]", path: Path, problem: str) -> None:
    """Raise an InputError that names the first line where ``wrong`` is true; ``problem`` may use columns in braces."""
    if wrong.any():
        line = cells.index[wrong.to_numpy(dtype=bool)][0]
        message = problem.format(**cells.loc[line].to_dict())
        more = f" ({int(wrong.sum())} such lines)" if wrong.sum() > 1 else ""
        raise InputError(f"biovid: line {line} of {path.name}: {message}{more}")


def _exclude(
    cells: pd.DataFrame, exclude: Literal["none", "least-expressive"] | Sequence[str], path: Path
) -> tuple[pd.DataFrame, list[str]]:
    subjects = set(cells["subject_name"])
    if isinstance(exclude, str):
        excluded = set(LEAST_EXPRESSIVE) & subjects if exclude == "least-expressive" else set()
    else:
        excluded = set(exclude)
        for name in exclude:
            if name not in subjects:
                raise InputError(
                    f"biovid: the option exclude has the subject {name!r}, who is not in {path.name}",
                    nearest(name, subjects),
                )
    if not excluded:
        return cells, []
    note = f"subjects excluded by the option exclude: {len(excluded)} of {len(subjects)}"
    return cells[~cells["subject_name"].isin(excluded)], [note]


def _with_folder(cells: pd.DataFrame, video: Path, path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Exclude subjects without a folder of videos, with a note."""
    subjects = set(cells["subject_name"])
    absent = sorted(subjects - set(folders(video)))
    if not absent:
        return cells, []
    if len(absent) == len(subjects):
        raise InputError(f"biovid: none of the {len(absent)} subjects in {path.name} has a folder in {video}", EXPECTED)
    kept = cells[~cells["subject_name"].isin(absent)]
    note = f"{len(absent)} of {len(subjects)} subjects in {path.name} have no folder in {video.name} and are excluded"
    return kept, [f"{note} with {len(cells) - len(kept)} clips: {listed(absent)}"]
