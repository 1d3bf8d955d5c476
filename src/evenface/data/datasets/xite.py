"""X-ITE Pain Database: 134 people at three levels of short and long pain by heat and by electricity.

Gruss et al., *Multi-modal signals for analyzing pain responses to thermal and electrical stimuli*, Journal of
Visualized Experiments 146, 2019. The layout is that which public programs read: of each subject a video of the face,
``S001_fvf.mp4``, and a MATLAB file of biosignals, ``S001.mat``, whose array ``stimuli`` has the stimulus of each of
1,000 samples a second: 0 none, 1 to 3 short heat, 4 to 6 long heat, -1 to -3 and -4 to -6 the same by electricity. Its
array ``data`` has the columns EMG of corrugator, zygomaticus and trapezius, skin conductance, and ECG.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from evenface.data.datasets.layout import SourceFacts, check_root, completeness_notes, files_below, folders
from evenface.data.datasets.sequences import as_sequences
from evenface.data.manifest import Manifest, make_table
from evenface.utils.errors import InputError
from evenface.utils.files import VIDEO_SUFFIXES, listed

VIDEO = re.compile(r"(S\d{3})_fvf", re.IGNORECASE)
SIGNALS = re.compile(r"(S\d{3})\.mat", re.IGNORECASE)
RATE = 1000
"""Samples of the biosignals in a second."""
ARRAY = "data"
"""Array of the biosignals in a MATLAB file."""
FRAME_RATE = 25.0
LEVELS = ("0", "1", "2", "3")
FIRST = {"heat": {"phasic": 1, "tonic": 4}, "electrical": {"phasic": -1, "tonic": -4}}
"""Code of the lowest level of each kind of stimulus."""
SECONDS = {"phasic": 5, "tonic": 60}
PEOPLE = 134
EXPECTED = (
    "Expected S001_fvf.mp4 (or another video) and S001.mat of each subject, at any depth; S001.mat alone for modality: "
    "signals. The MATLAB file has the arrays stimuli and data with 1,000 rows a second."
)
FACTS = SourceFacts(
    "X-ITE: 134 people at three levels of short and long pain by heat and by electricity, and without pain",
    "4 levels of one kind of stimulus, 0 to 3; of videos, or of EMG, skin conductance and ECG",
    EXPECTED,
    "Otto von Guericke University Magdeburg and Ulm University",
    "Available from its owners for research, under an agreement",
    "https://www.nit.ovgu.de/en/Research/Databases/XITE+Pain.html",
)


def read(
    root: Path,
    *,
    stimulus: Literal["heat", "electrical"] = "heat",
    duration: Literal["phasic", "tonic"] = "phasic",
    delay: float = 0.0,
    frame_rate: float = FRAME_RATE,
    modality: Literal["video", "signals"] = "video",
) -> Manifest:
    """Read each stimulus of one kind, ``delay`` seconds late, and the time before it as one without pain."""
    check_root(root, "xite")
    if not (0 <= delay <= SECONDS["tonic"] and 0 < frame_rate <= RATE):
        raise InputError(
            f"xite: delay must be from 0 to {SECONDS['tonic']} and frame_rate above 0, at most {RATE}, got {delay:g} "
            f"and {frame_rate:g}"
        )
    if modality == "signals" and frame_rate != FRAME_RATE:
        raise InputError("xite: the option frame_rate has no effect with modality: signals", "Leave it out.")
    files = files_below(root)
    videos = _by_subject((name for name in files if name.lower().endswith(VIDEO_SUFFIXES)), VIDEO)
    signals = _by_subject((name for name in files if SIGNALS.fullmatch(Path(name).name)), SIGNALS)
    subjects = sorted(signals.keys() & videos.keys() if modality == "video" else signals)
    rows: list[dict[str, Any]] = []
    for subject in subjects:
        path, stimuli = _stimuli(root, signals[subject])
        if modality == "video":
            path = videos[subject][0]
            if len(videos[subject]) > 1:
                raise InputError(f"xite: several videos of the face of {subject}: {listed(videos[subject])}", EXPECTED)
        spans = _spans(stimuli, FIRST[stimulus][duration], SECONDS[duration], delay)
        rows += _rows(subject, path, spans, frame_rate if modality == "video" else RATE)
    if not rows:
        raise InputError(
            f"xite: no {duration} {stimulus} stimuli in {root}, with {len(videos)} videos of faces and {len(signals)} "
            f"files of signals, in {listed(folders(root)) or 'no folders'}",
            EXPECTED,
        )
    excluded = {
        "signals": videos.keys() - signals.keys(),
        "video": signals.keys() - set(subjects),
        f"{duration} {stimulus} stimuli": set(subjects) - {row["subject"] for row in rows},
    }
    notes = [
        f"subjects without {what} are excluded: {listed(sorted(names))}" for what, names in excluded.items() if names
    ]
    notes += completeness_notes(len({row["subject"] for row in rows}), PEOPLE)
    manifest = Manifest(make_table(rows), LEVELS, "xite", root, tuple(notes), "clips", "ordinal")
    return as_sequences(manifest, "features", ARRAY) if modality == "signals" else manifest


def _by_subject(files: Iterable[str], pattern: re.Pattern[str]) -> dict[str, list[str]]:
    """Return the files of each subject whose names match from their start."""
    found: dict[str, list[str]] = {}
    for name in files:
        if match := pattern.match(Path(name).name):
            found.setdefault(match[1].upper(), []).append(name)
    return found


def _stimuli(root: Path, names: list[str]) -> tuple[str, NDArray[Any]]:
    """Load the stimuli of a subject from the first of its files that has them, with the name of that file."""
    from scipy.io import loadmat

    for name in names:
        path = root / name
        try:
            content = loadmat(path, variable_names=["stimuli"])
        except Exception as error:  # of many classes, for files that are damaged or of MATLAB 7.3
            raise InputError(f"xite: {path} cannot be read as a MATLAB file before 7.3", EXPECTED) from error
        if "stimuli" in content:
            stimuli = np.asarray(content["stimuli"]).reshape(-1)
            if not len(stimuli) or not np.issubdtype(stimuli.dtype, np.number):
                raise InputError(f"xite: the array stimuli in {path} has no numbers", EXPECTED)
            return name, stimuli
    raise InputError(f"xite: {root / names[0]} has no array stimuli", EXPECTED)


def _spans(stimuli: NDArray[Any], first: int, seconds: int, delay: float) -> list[tuple[int, float, float]]:
    """Return (level, start, end) in seconds of stimuli after a pause, and of the end of that pause at level 0."""
    starts = np.concatenate(([0], np.flatnonzero(stimuli[1:] != stimuli[:-1]) + 1))
    ends = np.append(starts[1:], len(stimuli))
    codes = stimuli[starts]
    levels = np.abs(codes) - abs(first) + 1
    of_kind = (np.sign(codes) == np.sign(first)) & np.isin(levels, (1, 2, 3))
    spans = []
    for index in np.flatnonzero(of_kind[1:] & (codes[:-1] == 0)).tolist():
        onset, pause = starts[index + 1] / RATE, starts[index] / RATE
        end = min(ends[index + 1] / RATE + delay, len(stimuli) / RATE)
        spans.append((0, max(pause, onset - seconds), onset))
        spans.append((int(levels[index + 1]), onset + delay, end))
    return spans


def _rows(subject: str, path: str, spans: list[tuple[int, float, float]], frame_rate: float) -> list[dict[str, Any]]:
    rows = []
    for number, (level, start, end) in enumerate(spans):
        first, last = round(start * frame_rate), round(end * frame_rate)
        sample = f"{subject}/{number // 2 + 1:03d}-{level}"
        row = {"sample": sample, "path": path, "label": level, "subject": subject, "clip": sample}
        rows += [row | {"start": first, "end": last}] if last > first else []
    return rows
