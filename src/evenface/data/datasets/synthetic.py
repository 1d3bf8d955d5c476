"""Synthetic people: images (``synthetic``) and clips (``synthetic-clips``) rendered from 3-D models, without any data.

``synthetic-demo`` are images that come with the package.

Clips show levels or courses of pain, trends, or expressions.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from evenface.data.datasets.layout import SourceFacts
from evenface.data.imbalance import exponential_counts
from evenface.data.manifest import Manifest, TaskKind, make_table
from evenface.synthesis.actions import LABELS
from evenface.utils.errors import InputError
from evenface.utils.files import atomic_write, digest, read_frame

MOST_INTENSE = 5.0
"""Intensity of an action unit at full strength: grade E of FACS."""
CLOSED_EYES = "AU43"
"""Unit that is coded as 0 or 1, as PSPI counts it."""
_TERMS = "Rendered by evenface; no real people. The shapes come from MakeHuman (CC0)"
FACTS = {
    "synthetic": SourceFacts(
        "Images of synthetic people, rendered on your computer",
        "7 expressions; action units",
        "Nothing.",
        "evenface",
        _TERMS,
    ),
    "synthetic-demo": SourceFacts(
        "Images of 80 synthetic people in the package", "7 expressions; action units", "Nothing.", "evenface", _TERMS
    ),
    "synthetic-clips": SourceFacts(
        "Clips of synthetic people, rendered on your computer",
        "5 levels of pain, 3 courses of pain, 2 trends, or 6 expressions",
        "Nothing.",
        "evenface",
        _TERMS,
    ),
}

CLASSES_BY_FREQUENCY = ("happy", "neutral", "sad", "fear", "angry", "surprise", "disgust")
"""Classes of images from common to rare."""
CLIP_CLASSES_BY_FREQUENCY = {
    "level": ("0", "1", "2", "3", "4"),
    "course": ("neutral", "tonic", "phasic"),
    "trend": ("rising", "falling"),
    "expression": ("surprise", "happy", "disgust", "angry", "sad", "fear"),
}
"""Classes of clips from common to rare, by kind of label."""
PUBLISHED_COUNTS = {
    "p1": ("level", (1340, 1050, 700, 400, 250)),
    "p3": ("course", (1320, 725, 379)),
    "ck+": ("expression", (83, 69, 59, 45, 28, 25)),
}
"""Published class counts: five levels of pain in p1 (its Table 1); neutral, tonic and phasic pain in p3; and labelled
sequences of CK+ without contempt."""
DEMO_PEOPLE = Path(__file__).with_name("demo-people.zip")
"""Grey 48 px images of 80 people and their table; written by ``tools/draw_demo_people.py``."""
NOTE = "synthetic people, not real faces: results compare methods here and do not predict accuracy on real people"
LABEL_BY_IDENTITY = (
    "labels were assigned to people at random and are not visible in any clip: only identity predicts the label"
)


def read(
    root: Path,
    *,
    people: int = 40,
    counts: Mapping[str, int] | None = None,
    total: int = 2800,
    factor: float = 1.0,
    size: int = 112,
    render_size: int | None = None,
    seed: int = 0,
    workers: int = 1,
    look: Literal["plain", "varied", "tight"] = "plain",
) -> Manifest:
    """Render synthetic faces, or load those rendered before with the same settings.

    Parameters
    ----------
    root : Path
        Cache folder; each combination of settings has its own folder in it.
    people : int, default=40
        Number of people.
    counts : mapping of str to int, optional
        Images per class; replaces ``total`` and ``factor``.
    total : int, default=2800
        Approximate number of images: the closest whole numbers with the given factor are used.
    factor : float, default=1.0
        Imbalance factor, >= 1: largest over smallest class count. Counts fall exponentially in the order happy,
        neutral, sad, fear, angry, surprise, disgust, similar to images in the wild.
    size : int, default=112
        Height and width of prepared images, in pixels.
    render_size : int, optional
        Height and width of rendered images; by default ``size``. Larger where faces are cropped from them.
    seed : int, default=0
        Seed of people, expressions, poses, light and backgrounds.
    workers : int, default=1
        Number of rendering processes; the images do not depend on it.
    look : {"plain", "varied", "tight"}, default="plain"
        As in a laboratory; or strong and mixed expressions, hard light, children, glasses, hats and hands, closer to
        photographs from the web; or the same framed as tightly as images that were cropped to faces.

    Returns
    -------
    Manifest
        With the subject of every sample, and the parameters it was rendered with: ``AU<number>`` (intensity from 0 to
        5, as FACS grades A to E are numbered; closed eyes, ``AU43``, 0 or 1), ``pspi`` (0 to 16), ``pose_yaw``,
        ``pose_pitch``, ``pose_roll`` (degrees), ``age``, ``sex``.

    Raises
    ------
    InputError
        If a setting is out of its range, a class is unknown, or the package for rendering is not installed.
    """
    from evenface.synthesis.images import VERSION, make_faces

    wanted = (
        dict(counts) if counts is not None else long_tailed_counts("synthetic", CLASSES_BY_FREQUENCY, total, factor)
    )
    size = render_size or size
    settings = [VERSION, people, wanted, size, seed]
    if look != "plain":
        settings.append(look)
    folder = root / f"{people}-people-{size}px-{digest(json.dumps(settings))[:8]}"
    samples = make_faces(folder, counts=wanted, people=people, size=size, seed=seed, workers=workers, look=look)
    table, classes = _with_labels("synthetic", samples, LABELS)
    return Manifest(table, classes, "synthetic", folder, (NOTE,))


def read_demo(root: Path) -> Manifest:
    """Read the people that come with the package; their images are unpacked into ``root`` once."""
    content = DEMO_PEOPLE.read_bytes()
    folder = root / hashlib.blake2b(content, digest_size=4).hexdigest()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        samples = pd.read_csv(io.BytesIO(archive.read("faces.csv")))
        for path in samples["path"]:
            if not (folder / path).is_file():
                with atomic_write(folder / path) as temporary:
                    temporary.write_bytes(archive.read(path))
    table, classes = _with_labels("synthetic-demo", samples, LABELS)
    return Manifest(table, classes, "synthetic-demo", folder, (NOTE,))


def read_clips(
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
    unit: Literal["clip", "frame"] = "clip",
    every: int = 1,
) -> Manifest:
    """Render synthetic clips, or load those rendered before with the same settings.

    With ``unit: frame`` every so many frames is a sample, with the action units (0 to 5) and PSPI of that frame.
    """
    from evenface.synthesis.clips import CLASSES, VERSION, make_clips

    wanted = dict(counts) if counts is not None else clip_counts(label, total, factor)
    settings = [VERSION, label, people, wanted, frames, rate, size, seed, identity]
    kind = f"{label}-identity" if identity else label
    folder = root / f"{kind}-{people}-people-{size}px-{digest(json.dumps(settings))[:8]}"
    samples = make_clips(
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
    if unit == "frame":
        samples = _frames(samples, folder / "frames.parquet", every)
    elif every != 1:
        raise InputError("synthetic-clips: every is for unit: frame", "Leave it out, or set data.unit=frame.")
    table, classes = _with_labels("synthetic-clips", samples, CLASSES[label])
    notes = (NOTE, LABEL_BY_IDENTITY) if identity else (NOTE,)
    task: TaskKind = "ordinal" if label == "level" else "classification"
    return Manifest(table, classes, "synthetic-clips", folder, notes, "clips", task)


def _frames(clips: pd.DataFrame, path: Path, every: int) -> pd.DataFrame:
    """Return a row for every so many frames of each clip, with what is true of that frame."""
    if every < 1:
        raise InputError(f"synthetic-clips: every must be 1 or more, got {every}")
    truth = read_frame(path, ("sample", "frame", "pspi"), "Delete the folder: the clips are rendered again.")
    truth = truth[truth["frame"] % every == 0]
    of_clip = clips[["sample", "path", "label", "subject", "clip", "age", "sex"]]
    rows = truth.merge(of_clip, on="sample", suffixes=("_frame", ""))
    frames = rows["frame"].astype("int64")
    names = rows["sample"] + "-" + frames.astype(str)
    return rows.assign(sample=names, start=frames, end=frames + 1).drop(columns=["frame", "time"])


def _with_labels(source: str, samples: pd.DataFrame, order: Sequence[str]) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return a manifest's table with class indices as labels, and the classes that have samples."""
    present = set(samples["label"])
    classes = tuple(name for name in order if name in present)
    if len(classes) < 2:
        raise InputError(f"{source}: expected at least two classes, counts has only {', '.join(classes)}")
    labels = samples["label"].map({name: index for index, name in enumerate(classes)}).astype("int64")
    units = {name: f"AU{name[3:]}" for name in samples.columns if str(name).startswith("au_")}
    samples = samples.assign(label=labels).rename(columns=units)
    graded = [name for name in units.values() if name != CLOSED_EYES]
    samples[graded] *= MOST_INTENSE
    if CLOSED_EYES in samples:
        samples[CLOSED_EYES] = (samples[CLOSED_EYES] >= 0.5).astype("float64")
    rows = samples.to_dict("records")
    return make_table([{str(key): value for key, value in row.items()} for row in rows]), classes


def long_tailed_counts(source: str, classes: Sequence[str], total: int, factor: float) -> dict[str, int]:
    """Distribute about ``total`` samples over classes, with exponentially falling counts of an imbalance factor."""
    if total < len(classes):
        raise InputError(f"{source}: total must be {len(classes)} or more, got {total}")
    if factor < 1:
        raise InputError(f"{source}: factor must be >= 1, got {factor:g}")
    steps = [factor ** (-i / (len(classes) - 1)) for i in range(len(classes))]
    largest = max(round(total / sum(steps)), 1)
    return dict(zip(classes, exponential_counts([largest] * len(classes), factor).tolist(), strict=True))


def clip_counts(label: str, total: int, factor: float | Literal["p1", "p3", "ck+"]) -> dict[str, int]:
    """Distribute about ``total`` clips over the classes of ``label``, by a factor or by published proportions."""
    classes = CLIP_CLASSES_BY_FREQUENCY[label]
    if not isinstance(factor, str):
        return long_tailed_counts("synthetic-clips", classes, total, factor)
    if total < len(classes):
        raise InputError(f"synthetic-clips: total must be {len(classes)} or more, got {total}")
    published_label, counts = PUBLISHED_COUNTS[factor]
    if published_label != label:
        raise InputError(f"synthetic-clips: factor: {factor} is for label: {published_label}, not {label}")
    return {name: max(round(total * n / sum(counts)), 1) for name, n in zip(classes, counts, strict=True)}
