"""The check of a data set: what would make its results look better than they are, or mislead training."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evenface.data.findings import Findings
from evenface.data.manifest import SIDES, Manifest
from evenface.data.protocol import Split
from evenface.data.similar import Rows, near_pairs, same_content
from evenface.errors import InputError

__all__ = ["Findings", "check", "copies_across"]

Words = NDArray[np.object_]

DISTANCE = 12
CORRELATION = 0.93


def check(
    manifest: Manifest,
    images: Any = None,
    *,
    split: Split | None = None,
    quarantine: pd.DataFrame | None = None,
    distance: int = DISTANCE,
    correlation: float = CORRELATION,
) -> Findings:
    """Look for everything that would make results untrue.

    Parameters
    ----------
    manifest : Manifest
        What there is.
    images : uint8 array of shape (N, H, W, C) or (N, T, H, W, C), optional
        The pictures, row by row, such as ``store.images``. Samples of several frames are copies if all frames are
        equal, and near-duplicates if their middle frames are. Arrays of other kinds are compared for equal content
        only; none leaves out the comparison.
    split : Split, optional
        Who trains and who tests; none takes the sides that the data set's authors gave.
    quarantine : DataFrame, optional
        ``sample``, ``path``, ``reason`` of what could not be read, such as ``store.quarantine``.
    distance, correlation : int, float
        Near-duplicates differ in at most ``distance`` of 64 bits of their perceptual hashes and their
        pixels correlate at least by ``correlation``. The defaults were set by eye on FER2013. Pairs of the
        same subject or clip on the same side are not listed: they are bound to look alike.

    Returns
    -------
    Findings

    Raises
    ------
    InputError
        If there are not as many pictures as samples or a threshold is out of its range.
    """
    if images is not None and len(images) != len(manifest):
        raise InputError(f"check: {len(images)} pictures for {len(manifest)} samples")
    if not 0 <= distance <= 64 or not -1 <= correlation <= 1:
        raise InputError(f"check: distance must be 0 to 64 and correlation -1 to 1, got {distance} and {correlation:g}")
    side = _sides(manifest, split)
    facts = pd.DataFrame(
        {
            "row": np.arange(len(manifest)),
            "sample": manifest.table["sample"].astype(str).to_numpy(dtype=object),
            "path": manifest.table["path"].astype(str).to_numpy(dtype=object),
            "side": side,
            "label": np.array(manifest.classes, dtype=object)[manifest.labels],
        }
    )
    first = np.arange(len(manifest)) if images is None else same_content(images)
    copies = _copies(facts, first)
    near, complete = _near(manifest, images, facts, first, distance, correlation)
    labels = copies.groupby("group")["label"].transform("nunique")
    return Findings(
        sides={name: int((side == name).sum()) for name in SIDES if (side == name).any()},
        subjects=_on_two_sides(manifest, "subject", side),
        clips=_on_two_sides(manifest, "clip", side),
        copies=copies,
        near=near,
        conflicts=copies[labels > 1].reset_index(drop=True),
        missing=_missing(manifest, side),
        unreadable=pd.DataFrame(columns=["sample", "path", "reason"]) if quarantine is None else quarantine,
        compared=0 if images is None else len(images),
        complete=complete,
        frames=images.shape[1] if images is not None and images.ndim == 5 else 1,
        numbers=images is not None and images.dtype.kind == "f",
        leaky=next((note for note in split.notes if note.startswith("LEAKY")), "") if split else "",
    )


def copies_across(images: Any, manifest: Manifest, *, near: bool = False) -> Rows:
    """Find the pairs of rows that show the same picture, as :func:`evenface.data.protocol.split` takes them.

    Parameters
    ----------
    images : array of shape (N, ...)
        The pictures, row by row.
    manifest : Manifest
        What they show.
    near : bool
        Whether near-duplicates count too; without, only pictures that are equal pixel by pixel.

    Returns
    -------
    int64 array of shape (P, 2)
        A copy of a copy is to be taken as one. Pairs within a side are among them, so that cutting
        validation from training need not part them.
    """
    if near:
        return check(manifest, images).pairs(near=True)
    first = same_content(images)
    rows = np.flatnonzero(first != np.arange(len(first)))
    return np.stack([first[rows], rows], axis=1)


def _sides(manifest: Manifest, split: Split | None) -> Words:
    if split is None:
        return np.asarray(manifest.table["split"].to_numpy(dtype=object, na_value=""))
    side = np.full(len(manifest), "", dtype=object)
    for name, rows in zip(SIDES, (split.train, split.validation, split.test), strict=True):
        side[rows] = name
    return side


def _copies(facts: pd.DataFrame, first: Rows) -> pd.DataFrame:
    repeated = np.bincount(first, minlength=len(first))[first] > 1
    listed = facts[repeated].copy()
    listed.insert(0, "group", np.unique(first[repeated], return_inverse=True)[1])
    return listed.sort_values(["group", "row"], ignore_index=True)


def _near(
    manifest: Manifest, images: Any, facts: pd.DataFrame, first: Rows, distance: int, correlation: float
) -> tuple[pd.DataFrame, bool]:
    names = ["row", "sample", "side", "label"]
    if images is None or images.dtype != np.uint8 or images.ndim not in (4, 5):
        empty = [f"{name}_{i}" for i in (1, 2) for name in names]
        return pd.DataFrame(columns=[*empty, "mirrored", "distance", "correlation"]), True
    side = pd.factorize(facts["side"])[0]
    groups = [pd.factorize(manifest.table[name])[0] for name in ("subject", "clip")]

    def skip(one: Rows, other: Rows) -> NDArray[np.bool_]:
        skipped: NDArray[np.bool_] = first[one] == first[other]
        for group in groups:
            skipped |= (group[one] == group[other]) & (group[one] >= 0) & (side[one] == side[other])
        return skipped

    pairs = near_pairs(images, distance, correlation, skip)
    parts = [
        facts[names].iloc[rows].add_suffix(suffix).reset_index(drop=True)
        for rows, suffix in ((pairs.first, "_1"), (pairs.second, "_2"))
    ]
    table = pd.concat(parts, axis=1)
    table["mirrored"], table["distance"], table["correlation"] = pairs.mirrored, pairs.distance, pairs.correlation
    return table, pairs.complete


def _on_two_sides(manifest: Manifest, column: str, side: Words) -> pd.DataFrame:
    """Count samples per side for every subject (or clip) that stands on more than one."""
    known = manifest.table[column].notna().to_numpy() & (side != "")
    names = manifest.table[column].astype(str).to_numpy(dtype=object)[known]
    table = pd.crosstab(pd.Series(names, name="name"), pd.Series(side[known], name="side"))
    table = table.reindex(columns=list(SIDES), fill_value=0)
    table.columns.name = None
    return table[(table > 0).sum(axis=1) > 1].reset_index()


def _missing(manifest: Manifest, side: Words) -> pd.DataFrame:
    lost = [
        {"side": name, "label": label}
        for name in SIDES
        if (side == name).any()
        for label, count in zip(manifest.classes, manifest.counts(side == name), strict=True)
        if count == 0
    ]
    return pd.DataFrame(lost, columns=["side", "label"])
