"""Faces of synthetic people that are drawn and added to the training samples of rare classes (``data.synthetic``)."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evenface.config.recipe import Data
from evenface.data.labels import canonical_name
from evenface.data.manifest import ATTRIBUTES, Manifest, make_table
from evenface.preprocessing.image import decoded
from evenface.preprocessing.prepare import prepare
from evenface.preprocessing.store import Store
from evenface.preprocessing.target import Target
from evenface.synthesis.actions import LABELS
from evenface.utils.errors import InputError, SampleError
from evenface.utils.files import cache_folder, digest, exclusive_lock
from evenface.utils.workers import available_cores

if TYPE_CHECKING:
    from evenface.synthesis.images import Look

COLUMN = "synthetic"
"""Column of a split and a training manifest that marks the drawn faces."""
EACH = 2
"""Faces of one synthetic person in a class."""
EXAMINED = 32
"""Real images whose size and colours are examined."""
LARGER = 1.5
"""Side of an image that a face is detected in, relative to the side of the crop."""
SINGLE = 256
"""Number of faces up to which one process draws them."""


def drawn_expressions(wanted: Mapping[str, int], manifest: Manifest) -> dict[str, str]:
    """Return the expression that is drawn for each class with a number of faces above 0.

    Raises
    ------
    InputError
        If the samples are no images of classes of expressions, or a class is unknown or cannot be drawn.
    """
    names = [name for name, count in wanted.items() if count]
    if not names:
        return {}
    if manifest.content != "stills":
        raise InputError(
            f"data.synthetic draws single images, and {manifest.source} has {manifest.content}",
            "Remove data.synthetic.",
        )
    if manifest.targets or manifest.ordered:
        raise InputError(
            f"data.synthetic adds faces to classes of expressions, and {manifest.source} has none",
            "Remove data.synthetic.",
        )
    known = {name: canonical_name(name) for name in names}
    for name, expression in known.items():
        if name not in manifest.classes:
            raise InputError(
                f"data.synthetic: {manifest.source} has no class {name!r}", f"It has {', '.join(manifest.classes)}."
            )
        if expression not in LABELS:
            raise InputError(
                f"data.synthetic: synthetic people cannot show {name}", f"They can show {', '.join(LABELS)}."
            )
    return known


def draw_training_faces(settings: Data, seed: int, real: Store) -> Store | None:
    """Draw the faces of ``data.synthetic`` and prepare them as the real samples were, or open those drawn before.

    Where the real images are not cropped to detected faces, they are taken to be cropped already: drawn faces are
    framed as tightly as those of FER2013, at the resolution of the real files where that is lower. They are grey where
    the real images are.

    Parameters
    ----------
    settings : Data
        Settings of the data.
    seed : int
        The faces are a function of it: those of a smaller number are part of those of a larger one.
    real : Store
        Prepared real samples.

    Returns
    -------
    Store or None
        The drawn faces with the classes of the real samples; None where no faces are wanted.
    """
    expressions = drawn_expressions(settings.synthetic, real.manifest)
    if not expressions:
        return None
    cropped = settings.faces.crop == "face"
    side = round(LARGER * settings.size) if cropped else _resolution(real, settings)
    folder, table = _draw(settings.synthetic, expressions, side, seed, "varied" if cropped else "tight")
    rows = [
        row | {"label": real.manifest.classes.index(name), "sample": f"{COLUMN}/{name}/{row['sample'].split('/')[1]}"}
        for name, expression in expressions.items()
        for row in table[table["label"] == expression].to_dict("records")
    ]
    columns = ["sample", "path", "label", "subject", *(name for name in ATTRIBUTES if name in table)]
    drawn = make_table(pd.DataFrame(rows)[columns])
    manifest = Manifest(drawn, real.manifest.classes, COLUMN, folder)
    faces = settings.faces.replace(which="largest")
    channels = 1 if _is_grey(real) else settings.channels
    store = prepare(manifest, cache_folder() / "stores", size=settings.size, channels=channels, faces=faces)
    store.verify()
    return replace(store, images=np.broadcast_to(store.images, (*store.images.shape[:-1], settings.channels)))


def _draw(
    wanted: Mapping[str, int], expressions: Mapping[str, str], side: int, seed: int, look: "Look"
) -> tuple[Path, pd.DataFrame]:
    """Draw the faces into a folder of the cache; return it and their table."""
    from evenface.synthesis.images import VERSION, make_faces

    counts = {expression: wanted[name] for name, expression in expressions.items()}
    if len(counts) < len(expressions):
        raise InputError(f"data.synthetic: {' and '.join(expressions)} are the same expression", "Name one of them.")
    people = -(-max(counts.values()) // EACH)
    each = [
        {label: min(EACH, max(0, count - EACH * person)) for label, count in counts.items()} for person in range(people)
    ]
    # People of a training set are drawn by a seed that no other set of synthetic people has.
    own = int(digest("faces for training", str(seed))[:12], 16)
    name = f"{side}px-{digest(str([VERSION, look, own, sorted(counts.items())]))[:12]}"
    root = cache_folder() / "drawn-faces"
    root.mkdir(parents=True, exist_ok=True)
    workers = 1 if sum(counts.values()) <= SINGLE else available_cores()
    with exclusive_lock(root / f".{name}.lock", "another process is drawing the same faces"):
        table = make_faces(root / name, counts=each, people=people, size=side, seed=own, look=look, workers=workers)
    return root / name, table.assign(subject=f"{COLUMN}-" + table["subject"].astype(str))


def _resolution(real: Store, settings: Data) -> int:
    """Return the side that images are drawn at: that of the real files, where these are smaller than prepared."""
    target, sides = Target(settings.size, settings.channels, settings.faces), []
    table = real.manifest.table.iloc[_spread(len(real))]
    for path, start in zip(table["path"], table["start"], strict=True):
        try:
            row = None if pd.isna(start) else int(start)
            sides.append(min(decoded(str(real.manifest.root / path), row, target).size))
        except SampleError:
            continue
    return min(settings.size, max(16, int(np.median(sides)))) if sides else settings.size


def _is_grey(real: Store) -> bool:
    """Return whether the prepared real images have equal red, green and blue."""
    shown = np.asarray(real.images[_spread(len(real))])
    return bool((shown == shown[..., :1]).all())


def _spread(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, EXAMINED).round().astype(np.int64))


def with_drawn(manifest: Manifest, drawn: Store | None) -> Manifest:
    """Return a manifest with the rows of drawn faces after its own, marked in a column.

    They have the attributes of people that the real samples have, and all votes of annotators for their class; other
    values are missing.
    """
    if drawn is None:
        return manifest
    table = manifest.table
    known = ["sample", "path", "label", "subject", *(name for name in ATTRIBUTES if name in table)]
    rows = drawn.manifest.table[[name for name in known if name in drawn.manifest.table]].copy()
    votes = [f"votes_{name}" for name in manifest.classes]
    if set(votes) <= set(table.columns):
        shares = np.eye(len(votes))[rows["label"].to_numpy()]
        rows[votes] = shares * table[votes].sum(axis=1).median()
    both = [table.assign(**{COLUMN: False}), rows.assign(**{COLUMN: True})]
    return replace(manifest, table=pd.concat(both, ignore_index=True))


def drawn_facts(drawn: Store | None) -> dict[str, Any]:
    """Return what a run records of its drawn faces; nothing without any."""
    if drawn is None:
        return {}
    manifest = drawn.manifest
    people = int(manifest.table["subject"].nunique())
    return {COLUMN: {"counts": manifest.counts().tolist(), "people": people, "store": str(drawn.path)}}


def drawn_note(drawn: Store) -> str:
    """Return a note on drawn faces for readers of the results."""
    people = int(drawn.manifest.table["subject"].nunique())
    counts = zip(drawn.manifest.classes, drawn.manifest.counts().tolist(), strict=True)
    named = ", ".join(f"{name} {count:,}" for name, count in counts if count)
    lacking = len(drawn.quarantine)
    skipped = f", without {lacking} in which no face was detected" if lacking else ""
    return (
        f"faces of {people} synthetic people were drawn and added to the training set: {named}{skipped}; the "
        "validation and the test set have none of them"
    )
