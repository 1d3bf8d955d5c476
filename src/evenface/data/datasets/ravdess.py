"""RAVDESS: 24 actors speak and sing two sentences in eight emotions; videos, or OpenFace tables of them.

Livingstone and Russo, *The Ryerson audio-visual database of emotional speech and song (RAVDESS)*, PLoS ONE 13, 2018.
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

from evenface.data.datasets.layout import SourceFacts, check_root, files_below, folders
from evenface.data.datasets.sequences import Features, as_openface
from evenface.data.labels import canonical_name
from evenface.data.manifest import Manifest, make_table
from evenface.utils.errors import InputError
from evenface.utils.files import VIDEO_SUFFIXES, listed

CODES = {1: "neutral", 2: "calm", 3: "happy", 4: "sad", 5: "angry", 6: "fear", 7: "disgust", 8: "surprise"}
"""Third number of a file name to its class."""
CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "calm")
MODALITIES = {1: "audio-video", 2: "video"}
CHANNELS = {1: "speech", 2: "song"}
INTENSITIES = {1: "normal", 2: "strong"}
ACTORS = 24
NAME = re.compile(r"^(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)$")
EXPECTED = (
    "Expected files such as Actor_01/01-01-03-02-01-01-01.mp4 or .csv, at any depth: modality, channel, emotion, "
    "intensity, statement, repetition, actor."
)

FACTS = SourceFacts(
    "RAVDESS: 24 actors speak and sing two sentences",
    "8 emotions, or 6",
    EXPECTED,
    "S. R. Livingstone and F. A. Russo, Toronto Metropolitan University",
    "CC BY-NC-SA 4.0, which forbids commercial use; its owners sell other licences",
    "https://zenodo.org/records/1188976",
)


class _Recording(NamedTuple):
    path: str
    modality: int
    channel: int
    emotion: int
    intensity: int
    statement: int
    repetition: int
    actor: int


def read(
    root: Path,
    *,
    files: Literal["auto", "videos", "openface"] = "auto",
    features: Features = "both",
    emotions: Literal["all", "six"] | Sequence[str] = "all",
    channel: Literal["speech", "song", "both"] = "speech",
    modality: Literal["any", "audio-video", "video"] = "any",
    intensity: Literal["both", "normal", "strong"] = "both",
) -> Manifest:
    """Read the recordings, whose file names state what they show."""
    check_root(root, "ravdess")
    classes = _classes(emotions)
    recordings, notes = _recordings(root, files)
    selected, excluded = _select(recordings, classes, channel, modality, intensity)
    if excluded:
        notes.append("files excluded: " + ", ".join(f"{count} {reason}" for reason, count in excluded.items()))
    if not selected:
        raise InputError(
            f"ravdess: all {len(recordings)} files in {root} are excluded: {notes[-1]}",
            "Change the options emotions, channel, modality or intensity.",
        )
    actors = {recording.actor for recording in selected}
    if len(actors) < ACTORS:
        notes.append(f"found {len(actors)} of the {ACTORS} actors")
    present = {CODES[recording.emotion] for recording in selected}
    absent = [name for name in classes if name not in present]
    classes = tuple(name for name in classes if name in present)
    if len(classes) < 2:
        raise InputError(f"ravdess: expected at least two classes in {root}, found {listed(classes)}")
    notes += [f"emotions without samples: {listed(absent)}"] if absent else []
    table = make_table([_row(recording, classes) for recording in selected])
    manifest = Manifest(table, classes, "ravdess", root, tuple(notes), "clips")
    first = selected[0].path
    return as_openface(manifest, root / first, features) if first.lower().endswith(".csv") else manifest


def _classes(emotions: str | Sequence[str]) -> tuple[str, ...]:
    """Return the classes in order."""
    if isinstance(emotions, str):
        return CLASSES if emotions == "all" else CLASSES[:6]
    wanted = tuple(map(canonical_name, emotions))
    unknown = [name for name in wanted if name not in CLASSES]
    if unknown:
        raise InputError(f"ravdess: unknown emotion {unknown[0]!r}", f"Known: {', '.join(CLASSES)}.")
    if len(set(wanted)) < max(len(wanted), 2):
        raise InputError(f"ravdess: emotions must list two or more, each once, got {listed(wanted)}")
    return wanted


def _recordings(root: Path, files: str) -> tuple[list[_Recording], list[str]]:
    """List the recordings of the requested kind of files, or of the only kind that is there."""
    suffixes = {"videos": VIDEO_SUFFIXES, "openface": (".csv",)}
    paths = [name for name in files_below(root) if name.lower().endswith((*VIDEO_SUFFIXES, ".csv"))]
    matches = [(path, NAME.match(PurePosixPath(path).stem)) for path in paths]
    recordings = {
        kind: [_parse(path, match) for path, match in matches if match and path.lower().endswith(suffix)]
        for kind, suffix in suffixes.items()
    }
    if files == "auto":
        present = [kind for kind, own in recordings.items() if own]
        if len(present) > 1:
            raise InputError(
                f"ravdess: {root} has {len(recordings['videos'])} videos and {len(recordings['openface'])} OpenFace "
                "tables",
                "Choose with files: videos or files: openface.",
            )
        files = present[0] if present else files
    if not recordings.get(files):
        raise InputError(
            f"ravdess: no videos or tables with RAVDESS file names in {root}, which has {listed(folders(root))}",
            EXPECTED,
        )
    others = [path for path, match in matches if not match and path.lower().endswith(suffixes[files])]
    notes = [f"files with other names are ignored: {len(others)}, such as {others[0]}"] if others else []
    return recordings[files], notes


def _parse(path: str, match: re.Match[str]) -> _Recording:
    recording = _Recording(path, *map(int, match.groups()))
    valid = {
        "modality": recording.modality in (1, 2, 3),
        "channel": recording.channel in CHANNELS,
        "emotion": recording.emotion in CODES,
        "intensity": recording.intensity in INTENSITIES,
    }
    invalid = [field for field, known in valid.items() if not known]
    if invalid:
        raise InputError(
            f"ravdess: unknown {invalid[0]} {getattr(recording, invalid[0]):02} in the file name {path}", EXPECTED
        )
    return recording


def _select(
    recordings: list[_Recording], classes: tuple[str, ...], channel: str, modality: str, intensity: str
) -> tuple[list[_Recording], dict[str, int]]:
    """Select each performance once, and count the excluded files by reason."""
    selected: dict[tuple[int, ...], _Recording] = {}
    excluded: Counter[str] = Counter()
    for recording in sorted(recordings, key=lambda recording: (recording.modality, recording.path)):
        performance = tuple(recording[2:])
        if recording.modality == 3:
            excluded["audio only"] += 1
        elif modality not in ("any", MODALITIES[recording.modality]):
            excluded["of another modality"] += 1
        elif channel not in ("both", CHANNELS[recording.channel]):
            excluded["of another channel"] += 1
        elif intensity not in ("both", INTENSITIES[recording.intensity]):
            excluded["of another intensity"] += 1
        elif CODES[recording.emotion] not in classes:
            excluded["of other emotions"] += 1
        elif performance not in selected:
            selected[performance] = recording
        elif selected[performance].modality == recording.modality:
            raise InputError(
                f"ravdess: {selected[performance].path} and {recording.path} are the same recording", "Remove one."
            )
        else:
            excluded["of a performance in another modality"] += 1
    return sorted(selected.values(), key=lambda recording: recording.path), dict(excluded)


def _row(recording: _Recording, classes: tuple[str, ...]) -> dict[str, Any]:
    name = PurePosixPath(recording.path).stem
    row = {"sample": name, "path": recording.path, "label": classes.index(CODES[recording.emotion]), "clip": name}
    return row | {
        "subject": f"Actor_{recording.actor:02}",
        "channel": CHANNELS[recording.channel],
        "intensity": INTENSITIES[recording.intensity],
        "statement": recording.statement,
        "repetition": recording.repetition,
    }
