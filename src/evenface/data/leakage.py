"""The check of a data set: what would make its results look better than they are, or mislead training."""

from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evenface.data.duplicates import Rows, first_identical_rows, near_pairs
from evenface.data.manifest import SIDES, Manifest
from evenface.data.splits import Split
from evenface.utils.errors import InputError


@dataclass(frozen=True)
class LeakageReport:
    """What the check found; every table is empty where there is nothing to say.

    Parameters
    ----------
    sides : dict of str to int
        Samples of each side; empty where the data is not divided.
    subjects, clips : DataFrame
        Those on more than one side: ``name`` and how many samples on each side.
    copies : DataFrame
        Pictures that are equal, pixel by pixel: ``group``, ``row``, ``sample``, ``path``, ``side``,
        ``label`` (name of the class). A picture without an equal is not listed.
    near : DataFrame
        Pairs that look nearly alike: ``row``, ``sample``, ``side`` and ``label`` of both, each with
        ``_1`` and ``_2``, then ``mirrored``, ``distance`` (bits of 64) and ``correlation``.
    conflicts : DataFrame
        Those lines of ``copies`` whose group has more than one label.
    missing : DataFrame
        ``side`` and ``label`` of classes without a sample there.
    unreadable : DataFrame
        ``sample``, ``path``, ``reason`` of what could not be read.
    compared : int
        How many pictures were compared; 0 where only the manifest was checked.
    complete : bool
        False where there were too many near-duplicates to list them all.
    frames : int
        Frames of each sample; near-duplicates of samples of several are those whose middle frames look alike.
    numbers : bool
        Whether samples are sequences of numbers, of which only equal ones are found.
    leaky : str
        What the split itself says that it tears apart; empty where it does not.
    notes : tuple of str
        What the source and the preparation say, such as who is missing.
    """

    sides: dict[str, int]
    subjects: pd.DataFrame
    clips: pd.DataFrame
    copies: pd.DataFrame
    near: pd.DataFrame
    conflicts: pd.DataFrame
    missing: pd.DataFrame
    unreadable: pd.DataFrame
    compared: int = 0
    complete: bool = field(default=True)
    frames: int = 1
    numbers: bool = False
    leaky: str = ""
    notes: tuple[str, ...] = ()

    @property
    def surplus(self) -> int:
        """Number of pictures that repeat another one exactly."""
        return len(self.copies) - int(self.copies["group"].nunique())

    @property
    def leaks(self) -> bool:
        """Whether anything stands on two sides: a subject, a clip, a picture or its near-duplicate."""
        return bool(len(self.subjects) or len(self.clips) or self.across() or self.near_across())

    def across(self) -> dict[tuple[str, str], int]:
        """Count, for two sides, the pictures of the second that stand in the first too; zeros are left out."""
        by_side = {side: self.copies[self.copies["side"] == side] for side in self.sides}
        found = {
            (one, other): int(by_side[other]["group"].isin(by_side[one]["group"]).sum())
            for one, other in combinations(by_side, 2)
        }
        return {pair: count for pair, count in found.items() if count}

    def near_across(self) -> dict[tuple[str, str], int]:
        """Count, for two sides, the pictures of the second that look like one of the first but equal none."""
        found = {}
        for one, other in combinations(self.sides, 2):
            there = self.copies[self.copies["side"] == one]["group"]
            equal = self.copies[(self.copies["side"] == other) & self.copies["group"].isin(there)]["row"]
            forth = self.near[(self.near["side_1"] == one) & (self.near["side_2"] == other)]["row_2"]
            back = self.near[(self.near["side_2"] == one) & (self.near["side_1"] == other)]["row_1"]
            if count := len({*forth, *back} - set(equal)):
                found[one, other] = count
        return found

    def pairs(self, near: bool = False) -> Rows:
        """Pairs of rows that show the same picture, for the protocol's ``copies``.

        Parameters
        ----------
        near : bool
            Whether near-duplicates count too.

        Returns
        -------
        int64 array of shape (P, 2)
            Each copy with the first of its group; a copy of a copy is to be taken as one.
        """
        first = self.copies.groupby("group")["row"].transform("min").to_numpy(dtype=np.int64)
        exact = np.stack([first, self.copies["row"].to_numpy(dtype=np.int64)], axis=1)
        exact = exact[exact[:, 0] != exact[:, 1]]
        exact = exact[np.argsort(exact[:, 1])]
        return np.concatenate([exact, self.near[["row_1", "row_2"]].to_numpy(dtype=np.int64)]) if near else exact

    def tables(self) -> dict[str, pd.DataFrame]:
        """All tables by name, such as for writing them to files."""
        names = ("subjects", "clips", "copies", "near", "conflicts", "missing", "unreadable")
        return {name: getattr(self, name) for name in names}

    def lines(self) -> list[str]:
        """Say it for the screen: the answer first, then what it rests on."""
        what, by = self._what(), "number by number" if self.numbers else "pixel by pixel"
        between = [
            *(f"{_many(n, f'{b} {what}')} also in {a}, {by}" for (a, b), n in self.across().items()),
            *(f"{_many(n, f'more {b} {what}')} nearly like one in {a}" for (a, b), n in self.near_across().items()),
            *(f"{_many(len(table), name)} on more than one side" for name, table in self._groups() if len(table)),
        ]
        head = "leakage: " + "; ".join(between) if between else self._clean()
        said = [head, self.leaky] if self.leaky else [head]
        if self.across():
            said.append("leave these copies out with protocol.duplicates: drop-train, or drop-test")
        if self.compared:
            mirrored = int(self.near["mirrored"].sum())
            unequal = int((self.near["label_1"] != self.near["label_2"]).sum())
            said.append(f"copies: {self.surplus:,} of {self.compared:,} {what}s repeat another exactly")
            more = "" if self.complete else "; there are more, the search stopped"
            more += "" if self.frames == 1 else f" (by the middle one of the {self.frames} frames of each sample)"
            groups = int(self.conflicts["group"].nunique())
            conflicting = f"conflicting labels: {groups:,} groups of equal {what}s"
            if self.numbers:
                said += ["near-duplicates: not looked for among sequences of numbers", conflicting]
            else:
                said.append(f"near-duplicates: {len(self.near):,} pairs, {mirrored:,} of them mirrored{more}")
                said.append(f"{conflicting}, {unequal:,} pairs of near-duplicates")
        for side, lost in self.missing.groupby("side", sort=False):
            said.append(f"missing: {side} has no sample of {', '.join(lost['label'])}")
        if len(self.unreadable):
            kinds = self.unreadable["reason"].astype(str).str.split(":").str[0].value_counts()
            reasons = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items())
            said.append(f"unreadable: {_many(len(self.unreadable), 'file')} ({reasons})")
        return [*said, *(f"note: {note}" for note in self.notes)]

    def _what(self) -> str:
        return "sequence" if self.numbers else "picture" if self.frames == 1 else "sample"

    def _groups(self) -> tuple[tuple[str, pd.DataFrame], ...]:
        return ("subject", self.subjects), ("clip", self.clips)

    def _clean(self) -> str:
        if len(self.sides) < 2:
            return "leakage: not looked for, the data is not divided into sides"
        sides = ", ".join(f"{side} {count:,}" for side, count in self.sides.items())
        none = (
            f"no subject, clip or {self._what()}"
            if self.compared
            else "no subject or clip (pictures were not compared)"
        )
        return f"leakage: none found, {none} stands on two sides ({sides})"


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


Words = NDArray[np.object_]

DISTANCE = 12
CORRELATION = 0.93


def check_leakage(
    manifest: Manifest,
    images: Any = None,
    *,
    split: Split | None = None,
    quarantine: pd.DataFrame | None = None,
    distance: int = DISTANCE,
    correlation: float = CORRELATION,
) -> LeakageReport:
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
    LeakageReport

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
    first = np.arange(len(manifest)) if images is None else first_identical_rows(images)
    copies = _copies(facts, first)
    near, complete = _near(manifest, images, facts, first, distance, correlation)
    labels = copies.groupby("group")["label"].transform("nunique")
    return LeakageReport(
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
    """Find the pairs of rows that show the same picture, as :func:`evenface.data.splits.split_manifest` takes them.

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
        return check_leakage(manifest, images).pairs(near=True)
    first = first_identical_rows(images)
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
