"""Sequences of per-frame numbers: files of landmarks, OpenFace tables, or any numbers in one .npz or Parquet file.

OpenFace tables have action units or 68 landmarks per frame, one file per video (Baltrusaitis et al., *OpenFace 2.0:
facial behavior analysis toolkit*, IEEE FG 2018). Tables of py-feat (Cheong et al., *Py-Feat: Python facial expression
analysis toolbox*, Affective Science 4, 2023) have columns such as ``AU01``, ``FaceRectX``, ``x_0`` and ``anger``.
MediaPipe publishes no file format: its blendshapes are read from columns with the names of its categories, such as
``browDownLeft``.
"""

import fnmatch
import glob
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evenface.data.datasets.csv import read_as, with_own_clips
from evenface.data.datasets.folder import clips_of_classes
from evenface.data.datasets.layout import (
    SourceFacts,
    check_root,
    class_notes,
    files_below,
    names_in,
    side_of,
    task_of_scale,
)
from evenface.data.manifest import Manifest, make_table
from evenface.utils.errors import InputError
from evenface.utils.files import listed, natural_order
from evenface.utils.tables import read_header

OWN = "Terms of its owner, unknown to evenface"
LANDMARK_SUFFIXES = (".npy", ".npz", ".csv", ".parquet")
EXPECTED_LANDMARKS = (
    "Expected class/file or split/class/file, or a table with the columns path and label; a file is .npy, .npz, .csv "
    "or .parquet with the landmarks of each frame."
)


class Listing(NamedTuple):
    """Options that state where the files are and what they show."""

    table: str | None
    columns: Mapping[str, str] | None
    delimiter: str | None
    subjects: str | None
    classes: Sequence[str] | None
    ordered: bool
    targets: Sequence[str]


def read_landmarks(
    root: Path,
    *,
    points: Literal["mesh-468", "dlib-68"] = "mesh-468",
    array: str | None = None,
    table: str | None = None,
    columns: Mapping[str, str] | None = None,
    delimiter: str | None = None,
    subjects: str | None = None,
    classes: Sequence[str] | None = None,
    ordered: bool = False,
    targets: Sequence[str] = (),
) -> Manifest:
    """Read files of MediaPipe's 468 or dlib's 68 face landmarks, detected by another tool."""
    listing = Listing(table, columns, delimiter, subjects, classes, ordered, targets)
    return as_sequences(
        read_sequence_files("landmarks", root, LANDMARK_SUFFIXES, EXPECTED_LANDMARKS, listing), points, array
    )


def as_sequences(manifest: Manifest, points: str, numbers: str | None = None) -> Manifest:
    """Declare a manifest's files as sequences, with the columns ``points`` and ``numbers`` equal in all rows."""
    table = manifest.table.assign(
        points=pd.array([points] * len(manifest), dtype="string"),
        numbers=pd.array([numbers] * len(manifest), dtype="string"),
    )
    return replace(manifest, table=table, content="sequences")


def read_sequence_files(
    source: str, root: Path, suffixes: tuple[str, ...], expected: str, listing: Listing
) -> Manifest:
    """List the files in class folders or in a table; a file, or a range of its frames, is a sample."""
    by_table = listing.table is not None or root.is_file()
    unused = ("subjects",) if by_table else ("columns", "delimiter")
    for option in unused:
        if getattr(listing, option) is not None:
            condition = "with a table" if by_table else "without a table"
            raise InputError(f"{source}: the option {option} has no effect {condition}", expected)
    if by_table:
        manifest = read_as(source, root, *listing[:2], listing.classes, listing.delimiter, listing.targets)
        if not manifest.targets:
            scale = task_of_scale(source, manifest.classes, listing.classes, listing.ordered)
            manifest = replace(manifest, task=scale)
        return with_own_clips(manifest)
    others: list[str] = []

    def list_sequences(folder: Path) -> list[str]:
        files = files_below(folder)
        sequences = [name for name in files if name.lower().endswith(suffixes)]
        others.extend((folder / name).relative_to(root).as_posix() for name in sorted(set(files) - set(sequences)))
        return sequences

    rows, order, notes = clips_of_classes(
        root, source, expected, listing.subjects, listing.classes, listing.ordered, list_sequences
    )
    if others:
        notes.append(f"files other than {', '.join(suffixes)} are ignored: {len(others)}, such as {others[0]}")
    task = task_of_scale(source, order, listing.classes, listing.ordered)
    return Manifest(make_table(rows), order, source, root, tuple(notes), task=task)


# --- OpenFace


EXPECTED_OPENFACE = "Expected class/file.csv or split/class/file.csv, or a table with the columns path and label."

Features = Literal["both", "intensities", "presences", "landmarks"]


class TableFeatures(NamedTuple):
    """One choice of features: kind of points, patterns of the columns to read, and a column that must be there."""

    points: str
    numbers: str | None
    column: str


OPENFACE: dict[str, TableFeatures] = {
    "both": TableFeatures("openface-aus", None, "AU01_r"),
    "intensities": TableFeatures("openface-aus", "AU*_r", "AU01_r"),
    "presences": TableFeatures("openface-aus", "AU*_c", "AU01_c"),
    "landmarks": TableFeatures("dlib-68", None, "x_67"),
}
"""Value of the option ``features`` to what it reads."""


def read_openface(
    root: Path,
    *,
    features: Features = "both",
    table: str | None = None,
    columns: Mapping[str, str] | None = None,
    delimiter: str | None = None,
    subjects: str | None = None,
    classes: Sequence[str] | None = None,
    ordered: bool = False,
    targets: Sequence[str] = (),
) -> Manifest:
    """Read a folder of OpenFace tables, one sequence each."""
    listing = Listing(table, columns, delimiter, subjects, classes, ordered, targets)
    manifest = read_sequence_files("openface", root, (".csv",), EXPECTED_OPENFACE, listing)
    return as_openface(manifest, manifest.root / manifest.table["path"].iloc[0], features)


def as_openface(manifest: Manifest, first: Path, features: Features) -> Manifest:
    """Declare a manifest's files as OpenFace tables, after checking that the header of the first has the features."""
    hint = "Expected the output of OpenFace's FeatureExtraction: AU01_r, AU01_c ... (-aus), x_0 ... y_67 (-2Dfp)."
    return _as_tables(manifest, first, OPENFACE[features], f"features: {features}", hint)


def _as_tables(manifest: Manifest, first: Path, kind: TableFeatures, option: str, hint: str) -> Manifest:
    if first.is_file() and kind.column not in (names := read_header(first)):
        raise InputError(
            f"{manifest.source}: {option} needs columns such as {kind.column}, but {first} has {listed(names)}", hint
        )
    return as_sequences(manifest, kind.points, kind.numbers)


# --- py-feat and MediaPipe


PYFEAT: dict[str, TableFeatures] = {
    "units": TableFeatures("features", "AU*", "AU01"),
    "emotions": TableFeatures("features", "anger,disgust,fear,happiness,sadness,surprise,neutral", "anger"),
    "pose": TableFeatures("features", "Pitch,Roll,Yaw", "Pitch"),
    "landmarks": TableFeatures("dlib-68", None, "x_67"),
}
EXPECTED_PYFEAT = (
    "Expected class/file.csv or split/class/file.csv, or a table with the columns path and label; a file is what "
    "py-feat's Fex.to_csv writes: AU01, FaceRectX, x_0, anger and so on, with one face per frame."
)
# fmt: off
BLENDSHAPES = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight",
)
# fmt: on
"""Categories of MediaPipe's Face Landmarker without ``_neutral``, in its order."""
EXPECTED_MEDIAPIPE = (
    "Expected class/file.csv or split/class/file.csv, or a table with the columns path and label; a file has a row per "
    "frame and the 51 columns browDownLeft to noseSneerRight."
)


def read_pyfeat(
    root: Path,
    *,
    features: Literal["units", "emotions", "pose", "landmarks"] = "units",
    table: str | None = None,
    columns: Mapping[str, str] | None = None,
    delimiter: str | None = None,
    subjects: str | None = None,
    classes: Sequence[str] | None = None,
    ordered: bool = False,
    targets: Sequence[str] = (),
) -> Manifest:
    """Read a folder of py-feat tables, one sequence each."""
    listing = Listing(table, columns, delimiter, subjects, classes, ordered, targets)
    manifest = read_sequence_files("py-feat", root, (".csv",), EXPECTED_PYFEAT, listing)
    first = manifest.root / manifest.table["path"].iloc[0]
    return _as_tables(manifest, first, PYFEAT[features], f"features: {features}", EXPECTED_PYFEAT)


def read_mediapipe(
    root: Path,
    *,
    table: str | None = None,
    columns: Mapping[str, str] | None = None,
    delimiter: str | None = None,
    subjects: str | None = None,
    classes: Sequence[str] | None = None,
    ordered: bool = False,
    targets: Sequence[str] = (),
) -> Manifest:
    """Read a folder of tables of MediaPipe's blendshapes, one sequence each."""
    listing = Listing(table, columns, delimiter, subjects, classes, ordered, targets)
    manifest = read_sequence_files("mediapipe", root, (".csv",), EXPECTED_MEDIAPIPE, listing)
    kind = TableFeatures("features", ",".join(BLENDSHAPES), BLENDSHAPES[0])
    first = manifest.root / manifest.table["path"].iloc[0]
    return _as_tables(manifest, first, kind, "a table of blendshapes", EXPECTED_MEDIAPIPE)


# --- one file


FILE_SUFFIXES = (".npz", ".parquet")
EXPECTED_ARRAYS = (
    "Expected arrays sequences (N, T, P, D), or values (frames, P, D) and lengths (N,); and labels (N,); classes, "
    "subjects, clips, samples and splits are optional."
)
ARRAY_OPTIONS = {"subjects": "subject", "clips": "clip", "splits": "split"}
# Number of axes of an array of sequences of equal length, and of one with the frames of all sequences concatenated.
PADDED_AXES = {"features": (4,), "openface-aus": (3,), "mesh-468": (3, 4), "dlib-68": (3, 4)}
CONCATENATED_AXES = {"features": (2, 3), "openface-aus": (2,), "mesh-468": (2, 3), "dlib-68": (2, 3)}
EXPECTED_TABLE = (
    "Expected the columns sample, frame, label and columns of numbers; subject, clip and split are optional."
)
REQUIRED, OPTIONAL = ("sample", "frame"), ("subject", "clip", "split")
_OF_VIDEOS = "Videos: terms of their owner, unknown to evenface"
FACTS = {
    "sequences": SourceFacts(
        "One file of sequences of any numbers",
        "your classes or levels",
        f"{EXPECTED_ARRAYS} Or Parquet. {EXPECTED_TABLE}",
        "you",
        OWN,
    ),
    "landmarks": SourceFacts(
        "Files of face landmarks, one per video", "your classes or levels", EXPECTED_LANDMARKS, "you", OWN
    ),
    "openface": SourceFacts(
        "Tables of OpenFace, one per video",
        "your classes or levels; in a table, any targets",
        EXPECTED_OPENFACE,
        "you; OpenFace: T. Baltrusaitis",
        f"{_OF_VIDEOS}; OpenFace is licensed for non-commercial research only",
        "https://github.com/TadasBaltrusaitis/OpenFace",
    ),
    "py-feat": SourceFacts(
        "Tables of py-feat, one per video",
        "your classes or levels",
        EXPECTED_PYFEAT,
        "you; py-feat: Cosan laboratory, Dartmouth College",
        f"{_OF_VIDEOS}; py-feat is under the MIT licence, some of its models under others",
        "https://py-feat.org",
    ),
    "mediapipe": SourceFacts(
        "Tables of MediaPipe's blendshapes, one per video",
        "your classes or levels",
        EXPECTED_MEDIAPIPE,
        "you; MediaPipe: Google",
        f"{_OF_VIDEOS}; MediaPipe is under the Apache licence 2.0",
        "https://ai.google.dev/edge/mediapipe/solutions/vision/face_landmarker",
    ),
}

Arrays = Mapping[str, NDArray[Any]]


class SequenceColumns(NamedTuple):
    """Content of a file: one row per sequence, classes in order if stated, names of the numbers, notes."""

    table: pd.DataFrame
    classes: tuple[str, ...] | None
    numbers: str | None
    notes: Sequence[str] = ()


def read(
    root: Path,
    *,
    file: str | None = None,
    points: Literal["features", "mesh-468", "dlib-68", "openface-aus"] = "features",
    numbers: str | Sequence[str] | None = None,
    label: str | None = None,
    names: str = "classes",
    classes: Sequence[str] | None = None,
    ordered: bool = False,
) -> Manifest:
    """Read the sequences of one file.

    Notes
    -----
    An ``.npz`` has ``sequences`` of shape (N, T, P, D) (``openface-aus``: (N, T, P)), or, for sequences of different
    lengths, ``values`` of shape (frames, P, D) or (frames, P) with ``lengths`` (N,); ``labels`` (N,); and optionally
    ``classes`` (C,), ``subjects``, ``clips``, ``samples``, ``splits`` (N,). Parquet has one row per frame with
    ``sample``, ``frame``, ``label``, and optionally ``subject``, ``clip``, ``split``, sorted by sample and frame.
    """
    path = _find_file(root, file)
    if path.suffix.lower() == ".npz":
        content = _read_arrays(path, points, numbers, label or "labels", names)
    else:
        content = _read_rows(path, points, numbers, label or "label")
    table = content.table
    present = set(table["class"])
    order = list(map(str, classes)) if classes else [*(content.classes or natural_order(present))]
    task = task_of_scale("sequences", order, classes or content.classes, ordered)
    unknown = sorted(present - set(order))
    if unknown:
        raise InputError(f"sequences: {path.name} has the label {unknown[0]!r}, which is none of {listed(order)}")
    if len(order) < 2:
        raise InputError(f"sequences: expected at least two classes in {path.name}, found {listed(order)}")
    table = table.assign(path=path.name, label=[order.index(name) for name in table["class"]])
    if "split" in table:
        sides = [None if pd.isna(name) else side_of(str(name)) for name in table["split"]]
        wrong = [name for name, side in zip(table["split"], sides, strict=True) if side is None and not pd.isna(name)]
        if wrong:
            raise InputError(f"sequences: split {wrong[0]!r} in {path.name} must be train, validation or test")
        table = table.assign(split=pd.array(sides, dtype="string"))
    rows = [{str(key): value for key, value in row.items()} for row in table.drop(columns="class").to_dict("records")]
    notes = (*class_notes(order), *content.notes)
    manifest = Manifest(make_table(rows), tuple(order), "sequences", path.parent, notes)
    clips = manifest.table["clip"].fillna(manifest.table["sample"])
    manifest = replace(manifest, table=manifest.table.assign(clip=clips), task=task)
    return as_sequences(manifest, points, content.numbers)


def _find_file(root: Path, file: str | None) -> Path:
    if root.is_file() and file is None:
        path = root
    else:
        check_root(root, "sequences")
        files = names_in(root, FILE_SUFFIXES)
        if file is None and len(files) != 1:
            raise InputError(
                f"sequences: expected one .npz or .parquet in {root}, found {listed(files)}",
                "Name the file with the option file.",
            )
        path = root / (file or files[0])
        if not path.is_file():
            raise InputError(f"sequences: the file {path} does not exist", f"{root} has {listed(files)}.")
    if path.suffix.lower() not in FILE_SUFFIXES:
        raise InputError(
            f"sequences: expected an .npz or .parquet file, got {path}",
            "For one file per sequence, use the sources landmarks and openface.",
        )
    return path


# --- arrays of an .npz


def _read_arrays(
    path: Path, points: str, numbers: str | Sequence[str] | None, label: str, names: str
) -> SequenceColumns:
    try:
        # Arrays of Python objects are never read: unpickling them could run any code.
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, AttributeError, BadZipFile) as error:
        raise InputError(f"sequences: cannot read {path} as arrays: {error}", EXPECTED_ARRAYS) from error
    if not isinstance(numbers, str | None):
        raise InputError(
            "sequences: for an .npz the option numbers must name one array", f"{path.name} has {listed(arrays)}."
        )
    values = _values_name(path, arrays, numbers)
    starts, ends = _ranges(path, arrays, values, points)
    table = pd.DataFrame({"sample": _strings(path, arrays, "samples", len(ends)), "start": starts, "end": ends})
    for array, column in ARRAY_OPTIONS.items():
        if array in arrays:
            table[column] = _strings(path, arrays, array, len(ends))
    if label not in arrays:
        raise InputError(f"sequences: {path.name} has no array {label}, only {listed(arrays)}", EXPECTED_ARRAYS)
    classes = tuple(map(str, arrays[names].tolist())) if names in arrays else None
    labels = arrays[label]
    if len(labels) != len(ends) or labels.ndim > 2:
        raise InputError(f"sequences: {label} in {path.name} has the shape {labels.shape}, expected ({len(ends)},)")
    if labels.ndim == 2:
        return _label_by_rating(path, table, labels, label, classes, values)
    table["class"] = _class_names(path, labels, label, classes)
    return SequenceColumns(table, classes, values)


def _values_name(path: Path, arrays: Arrays, wanted: str | None) -> str:
    """Return the name of the array of sequences."""
    if wanted is not None:
        if wanted not in arrays:
            raise InputError(f"sequences: {path.name} has no array {wanted}, only {listed(arrays)}", EXPECTED_ARRAYS)
        return wanted
    usual = [name for name in ("sequences", "values") if name in arrays]
    candidates = usual[:1] or [name for name, array in arrays.items() if array.ndim >= 3]
    if len(candidates) != 1:
        raise InputError(
            f"sequences: {path.name} has no array sequences or values, only {listed(arrays)}",
            f"{EXPECTED_ARRAYS} Or name the array with the option numbers.",
        )
    return candidates[0]


def _ranges(path: Path, arrays: Arrays, name: str, points: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first frame of each sequence, and the frame after its last."""
    values, concatenated = arrays[name], "lengths" in arrays
    axes = (CONCATENATED_AXES if concatenated else PADDED_AXES)[points]
    if values.ndim not in axes or not values.size:
        hint = "" if concatenated else "Turn an array (N, T, F) of features into one of four axes: array[..., None]."
        raise InputError(
            f"sequences: {name} in {path.name} has the shape {values.shape}, but {points} "
            f"{'with lengths ' if concatenated else ''}need {' or '.join(map(str, axes))} axes",
            hint,
        )
    if not concatenated:
        lengths = np.full(len(values), values.shape[1], np.int64)
    else:
        lengths = arrays["lengths"]
        if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or (lengths < 1).any() or lengths.sum() != len(values):
            raise InputError(
                f"sequences: lengths in {path.name} must be integers >= 1 that sum to {len(values)}, the number of "
                f"frames in {name}"
            )
    ends = np.cumsum(lengths, dtype=np.int64)
    return ends - lengths, ends


def _strings(path: Path, arrays: Arrays, name: str, count: int) -> list[str]:
    """Return the entries of an array as strings; consecutive numbers if there is no such array."""
    if name not in arrays:
        return [f"{i:05}" for i in range(count)]
    if arrays[name].shape != (count,):
        raise InputError(f"sequences: {name} in {path.name} has the shape {arrays[name].shape}, expected ({count},)")
    return [str(entry) for entry in arrays[name].tolist()]


def _class_names(path: Path, labels: NDArray[Any], label: str, classes: tuple[str, ...] | None) -> list[str]:
    """Return the class name of each label; integers are indices into ``classes`` if these are given."""
    entries = labels.tolist()
    if labels.dtype.kind == "U":
        return [str(entry) for entry in entries]
    if labels.dtype.kind not in "iub":
        raise InputError(f"sequences: {label} in {path.name} must be integers or strings, found {labels.dtype}")
    if classes is None:
        return [str(int(entry)) for entry in entries]
    if labels.min() < 0 or labels.max() >= len(classes):
        raise InputError(
            f"sequences: {label} in {path.name} must be 0 to {len(classes) - 1}, the indices of {listed(classes)}; "
            f"found {labels.min()} to {labels.max()}"
        )
    return [classes[int(entry)] for entry in entries]


def _label_by_rating(
    path: Path, table: pd.DataFrame, ratings: NDArray[Any], label: str, classes: tuple[str, ...] | None, values: str
) -> SequenceColumns:
    """Label each sequence by its highest rating; sequences with a tie are excluded."""
    classes = classes or tuple(map(str, range(ratings.shape[1])))
    if ratings.dtype.kind not in "fiu" or ratings.shape[1] != len(classes):
        raise InputError(
            f"sequences: {label} in {path.name} has the shape {ratings.shape} and type {ratings.dtype}, expected one "
            f"number for each of {listed(classes)}"
        )
    unique = (ratings == ratings.max(axis=1, keepdims=True)).sum(axis=1) == 1
    if not unique.any():
        raise InputError(f"sequences: no row of {label} in {path.name} has a unique highest rating")
    labelled = table[unique].assign(**{"class": [classes[i] for i in ratings[unique].argmax(axis=1)]})
    notes = [f"{label} are ratings: a sequence's class is the one with the highest rating"]
    if not unique.all():
        notes.append(f"{int((~unique).sum())} sequences without a unique highest rating in {label} are excluded")
    return SequenceColumns(labelled, classes, values, notes)


# --- rows of a Parquet table


def _read_rows(path: Path, points: str, numbers: str | Sequence[str] | None, label: str) -> SequenceColumns:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
        missing = [name for name in (*REQUIRED, label) if name not in schema.names]
        if missing:
            raise InputError(
                f"sequences: expected the columns {', '.join((*REQUIRED, label))} in {path.name}, found "
                f"{listed(schema.names)}",
                EXPECTED_TABLE,
            )
        optional = [name for name in OPTIONAL if name in schema.names and name != label]
        rows = pq.read_table(path, columns=[*REQUIRED, label, *optional]).to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"sequences: cannot read {path} as Parquet: {error}", EXPECTED_TABLE) from error
    if rows.empty:
        raise InputError(f"sequences: {path} has no rows", EXPECTED_TABLE)
    known = {*REQUIRED, *OPTIONAL, label}
    numeric = [
        field.name
        for field in schema
        if field.name not in known
        and (pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_boolean(field.type))
    ]
    table = _sequences_of_frames(path, rows, [label, *optional], label)
    return SequenceColumns(table, None, _number_columns(path, numeric, points, numbers))


def _sequences_of_frames(path: Path, rows: pd.DataFrame, columns: list[str], label: str) -> pd.DataFrame:
    """Return one row per sequence from one row per frame."""
    if rows[[*REQUIRED, label]].replace("", pd.NA).isna().to_numpy().any():
        raise InputError(f"sequences: {path.name} has rows without sample, frame or {label}")
    names = rows["sample"].astype(str).to_numpy()
    starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]])
    ends = np.r_[starts[1:], len(rows)]
    unsorted = np.flatnonzero((np.diff(rows["frame"].to_numpy()) <= 0) & (names[1:] == names[:-1]))
    if len(set(names[starts])) < len(starts) or len(unsorted):
        name = names[unsorted[0]] if len(unsorted) else pd.Series(names[starts]).mode()[0]
        raise InputError(
            f"sequences: the rows of {name!r} in {path.name} are not in order", "Sort by sample and frame."
        )
    table = pd.DataFrame({"sample": names[starts], "start": starts, "end": ends})
    for column in columns:
        values = rows[column].astype("string").fillna("").to_numpy()
        differing = np.flatnonzero(values != np.repeat(values[starts], ends - starts))
        if len(differing):
            raise InputError(f"sequences: {names[differing[0]]!r} in {path.name} has several values of {column}")
        table["class" if column == label else column] = [value or None for value in values[starts]]
    return table


def _number_columns(path: Path, numeric: list[str], points: str, numbers: str | Sequence[str] | None) -> str | None:
    """Return patterns of the columns that are features, joined by commas; None for all that ``points`` imply."""
    if numbers is not None:
        patterns = [numbers] if isinstance(numbers, str) else list(numbers)
        unmatched = [p for pattern in patterns for p in pattern.split(",") if not fnmatch.filter(numeric, p.strip())]
        if unmatched:
            raise InputError(
                f"sequences: no numeric column of {path.name} matches {unmatched[0]}, found {listed(numeric)}"
            )
        return ",".join(patterns)
    if points != "features":
        return None
    if not numeric:
        raise InputError(f"sequences: {path.name} has no numeric columns", EXPECTED_TABLE)
    if invalid := [name for name in numeric if "," in name or name != name.strip()]:
        raise InputError(
            f"sequences: the column name {invalid[0]!r} in {path.name} has a comma, or blanks at an end",
            "Rename the column.",
        )
    return ",".join(glob.escape(name) for name in numeric)
