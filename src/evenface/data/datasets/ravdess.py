"""RAVDESS: 24 actors speak and sing two sentences in eight emotions; videos, or OpenFace's tables of them.

Livingstone and Russo, *The Ryerson audio-visual database of emotional speech and song (RAVDESS)*, PLoS ONE 13, 2018.
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

from evenface.data.datasets.layout import check_root, files_below, folders, listed
from evenface.data.datasets.sequence_files import OPENFACE, Features, check_column, of_numbers
from evenface.data.labels import canonical_name
from evenface.data.manifest import Manifest, make_table
from evenface.utils.errors import InputError
from evenface.utils.file_types import VIDEO_SUFFIXES

LICENCE = (
    "CC BY-NC-SA 4.0, which forbids commercial use; its owners sell other licences: https://zenodo.org/records/1188976"
)

CODES = {1: "neutral", 2: "calm", 3: "happy", 4: "sad", 5: "angry", 6: "fear", 7: "disgust", 8: "surprise"}
"""The third number of a file name, and the class."""
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


class _File(NamedTuple):
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
    """Read the recordings by their names."""
    check_root(root, "ravdess")
    classes = _classes(emotions)
    found, notes = _files(root, files)
    kept, left = _kept(found, classes, channel, modality, intensity)
    if left:
        notes.append("files left out: " + ", ".join(f"{count} {why}" for why, count in left.items()))
    if not kept:
        raise InputError(f"ravdess: none of the {len(found)} files in {root} is left: {notes[-1]}")
    actors = {one.actor for one in kept}
    if len(actors) < ACTORS:
        notes.append(f"{len(actors)} of the {ACTORS} actors are here")
    bare = [name for name in classes if all(CODES[one.emotion] != name for one in kept)]
    classes = tuple(name for name in classes if name not in bare)
    if len(classes) < 2:
        raise InputError(f"ravdess: at least two classes are needed, {root} has {listed(classes)} only")
    notes += [f"emotions that do not occur: {listed(bare)}"] if bare else []
    table = make_table([_row(one, classes) for one in kept])
    manifest = Manifest(table, classes, "ravdess", root, tuple(notes), "clips")
    if not kept[0].path.lower().endswith(".csv"):
        return manifest
    kind = OPENFACE[features]
    check_column("ravdess", root / kept[0].path, kind.column, features)
    return of_numbers(manifest, kind.points, kind.numbers)


def _classes(emotions: str | Sequence[str]) -> tuple[str, ...]:
    """Name the classes, in their order."""
    if isinstance(emotions, str):
        return CLASSES if emotions == "all" else CLASSES[:6]
    wanted = tuple(map(canonical_name, emotions))
    unknown = [name for name in wanted if name not in CLASSES]
    if unknown:
        raise InputError(f"ravdess: there is no emotion {unknown[0]!r}", f"There are {', '.join(CLASSES)}.")
    if len(set(wanted)) < max(len(wanted), 2):
        raise InputError(f"ravdess: emotions must name two or more, each once, got {listed(wanted)}")
    return wanted


def _files(root: Path, files: str) -> tuple[list[_File], list[str]]:
    """List the recordings of the one kind that is wanted or there."""
    ending = {"videos": VIDEO_SUFFIXES, "openface": (".csv",)}
    every = [name for name in files_below(root) if name.lower().endswith((*VIDEO_SUFFIXES, ".csv"))]
    found = [(name, NAME.match(PurePosixPath(name).stem)) for name in every]
    there = {
        kind: [_file(name, match) for name, match in found if match and name.lower().endswith(of)]
        for kind, of in ending.items()
    }
    if files == "auto":
        filled = [kind for kind, own in there.items() if own]
        if len(filled) > 1:
            count = {kind: len(own) for kind, own in there.items()}
            raise InputError(
                f"ravdess: {root} holds {count['videos']} videos and {count['openface']} tables",
                "Say files: videos or files: openface.",
            )
        files = filled[0] if filled else files
    if not there.get(files):
        raise InputError(
            f"ravdess: no videos or tables with names of the set in {root}, which holds {listed(folders(root))}",
            EXPECTED,
        )
    others = [name for name, match in found if not match and name.lower().endswith(ending[files])]
    return there[files], [f"files with other names: {len(others)}, such as {others[0]}"] if others else []


def _file(name: str, match: re.Match[str]) -> _File:
    one = _File(name, *map(int, match.groups()))
    known = {
        "modality": one.modality in (1, 2, 3),
        "channel": one.channel in CHANNELS,
        "emotion": one.emotion in CODES,
        "intensity": one.intensity in INTENSITIES,
    }
    wrong = [part for part, right in known.items() if not right]
    if wrong:
        raise InputError(f"ravdess: {name}: there is no {wrong[0]} {getattr(one, wrong[0]):02}", EXPECTED)
    return one


def _kept(
    found: list[_File], classes: tuple[str, ...], channel: str, modality: str, intensity: str
) -> tuple[list[_File], dict[str, int]]:
    """Take each performance once, and count what is left out by reason."""
    kept: dict[tuple[int, ...], _File] = {}
    left: Counter[str] = Counter()
    for one in sorted(found, key=lambda one: (one.modality, one.path)):
        performance = tuple(one[2:])
        if one.modality == 3:
            left["of sound alone"] += 1
        elif modality not in ("any", MODALITIES[one.modality]):
            left["of another modality"] += 1
        elif channel not in ("both", CHANNELS[one.channel]):
            left["of another channel"] += 1
        elif intensity not in ("both", INTENSITIES[one.intensity]):
            left["of another intensity"] += 1
        elif CODES[one.emotion] not in classes:
            left["of other emotions"] += 1
        elif performance not in kept:
            kept[performance] = one
        elif kept[performance].modality == one.modality:
            raise InputError(f"ravdess: {kept[performance].path} and {one.path} are the same recording")
        else:
            left["that show a performance again"] += 1
    return sorted(kept.values(), key=lambda one: one.path), dict(left)


def _row(one: _File, classes: tuple[str, ...]) -> dict[str, Any]:
    name = PurePosixPath(one.path).stem
    row = {"sample": name, "path": one.path, "label": classes.index(CODES[one.emotion]), "clip": name}
    row |= {"subject": f"Actor_{one.actor:02}", "channel": CHANNELS[one.channel]}
    return row | {
        "intensity": INTENSITIES[one.intensity],
        "statement": one.statement,
        "repetition": one.repetition,
    }
