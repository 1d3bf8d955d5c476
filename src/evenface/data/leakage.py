"""Duplicate images, and the check of a dataset for leakage, duplicates, conflicting labels and missing classes."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evenface.data.manifest import SIDES, Manifest
from evenface.data.splits import Split
from evenface.utils.errors import InputError
from evenface.utils.progress import progress

Rows = NDArray[np.int64]
Hashes = NDArray[np.uint64]

SIDE = 32
"""Height and width of thumbnails, in pixels."""
BLOCK = 256
MOST = 2_000_000
"""Candidate pairs after which the search stops."""


class DuplicatePairs(NamedTuple):
    """Pairs of near-duplicate images.

    ``first`` < ``second`` are rows; ``mirrored`` is True if one is similar to the mirror image of the other;
    ``distance`` is the Hamming distance of the 64-bit hashes, ``correlation`` that of the pixels (-1 to 1).
    ``complete`` is False if there were more than two million candidates, of which only the first were compared.
    """

    first: Rows
    second: Rows
    mirrored: NDArray[np.bool_]
    distance: NDArray[np.uint8]
    correlation: NDArray[np.float32]
    complete: bool = True


def first_identical_rows(images: Any) -> Rows:
    """Return for every row the first row with identical values."""
    first: dict[bytes, int] = {}
    rows = np.empty(len(images), dtype=np.int64)
    with progress("comparing images", len(images)) as advance:
        for row, image in enumerate(images):
            key = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
            rows[row] = first.setdefault(key, row)
            if row % 1000 == 999:
                advance(1000)
    return rows


def find_contained(images: Any, rows: Rows, others: Any, other_rows: Rows) -> NDArray[np.bool_]:
    """Return which of ``images[rows]`` are, pixel by pixel, in ``others[other_rows]``."""
    contained = np.zeros(len(rows), dtype=bool)
    if images.shape[1:] != others.shape[1:]:
        return contained
    middle = images.shape[2] // 2
    candidates: dict[bytes, list[int]] = {}
    for index, row in enumerate(rows):
        candidates.setdefault(images[row, :, middle].tobytes(), []).append(index)
    with progress("searching for training images", len(other_rows)) as advance:
        for number, row in enumerate(other_rows, 1):
            for index in candidates.get(others[row, :, middle].tobytes(), ()):
                contained[index] = contained[index] or np.array_equal(images[rows[index]], others[row])
            if number % 1000 == 0:
                advance(1000)
    return contained


def grey_thumbnails(images: Any, side: int = SIDE) -> NDArray[np.float32]:
    """Reduce images, or middle frames of clips, to grey squares of ``side`` pixels by area averaging."""
    height, width = images.shape[-3:-1]
    rows, columns = _area_means(height, side), _area_means(width, side)
    small = np.empty((len(images), side, side), dtype=np.float32)
    for start in range(0, len(images), 1024):
        block = images[start : start + 1024]
        block = block[:, block.shape[1] // 2] if block.ndim == 5 else block
        grey = np.asarray(block, dtype=np.float32).mean(axis=-1)
        small[start : start + 1024] = rows @ grey @ columns.T
    return small


def _area_means(size: int, side: int) -> NDArray[np.float32]:
    """Return the matrix (side, size) of area averaging over equal intervals, with partial weights at their ends."""
    edges = np.arange(side + 1) * size / side
    low = np.maximum(edges[:-1, None], np.arange(size)[None])
    high = np.minimum(edges[1:, None], np.arange(1, size + 1)[None])
    inside: NDArray[np.float32] = (np.clip(high - low, 0, None) * side / size).astype(np.float32)
    return inside


def perceptual_hashes(small: NDArray[np.float32]) -> tuple[Hashes, Hashes]:
    """Compute 64-bit perceptual hashes of thumbnails and of their mirror images.

    Bit (i, j) is 1 if the coefficient of vertical frequency i and horizontal frequency j, 0 to 7, of the discrete
    cosine transform is above the median of the 63 coefficients without the mean. Mirroring changes the sign of odd
    horizontal frequencies, so that it needs no second transform.

    References
    ----------
    Zauner, *Implementation and benchmarking of perceptual image hash functions*, 2010.
    """
    frequency, position = np.arange(8)[:, None], np.arange(SIDE)[None]
    cosines = np.cos(np.pi * frequency * (2 * position + 1) / (2 * SIDE)).astype(np.float32)
    coefficients = cosines @ small @ cosines.T
    mirrored = coefficients * (1 - 2 * (np.arange(8) % 2)).astype(np.float32)
    return _bits(coefficients), _bits(mirrored)


def _bits(coefficients: NDArray[np.floating]) -> Hashes:
    flat = coefficients.reshape(len(coefficients), 64)
    above = flat > np.median(flat[:, 1:], axis=1, keepdims=True)
    return np.packbits(above, axis=1).view(np.uint64)[:, 0]


def near_pairs(
    images: Any,
    threshold: int,
    correlation: float,
    skip: Callable[[Rows, Rows], NDArray[np.bool_]],
) -> DuplicatePairs:
    """Find all pairs of near-duplicates, mirror images included, except where ``skip(first, second)`` is True.

    All pairs of hashes are compared; the pixels of pairs within ``threshold`` bits are then correlated. Images of a
    single colour are excluded.
    """
    small = grey_thumbnails(images)
    hashes, mirrored_hashes = perceptual_hashes(small)
    flat = small.reshape(len(small), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1)
    usable = norm > SIDE  # a standard deviation of one grey level
    flat /= np.maximum(norm, 1e-9)[:, None]
    blocks: list[tuple[Rows, Rows, NDArray[np.bool_], NDArray[np.uint8], NDArray[np.float32]]] = []
    candidates = 0
    with progress("searching for near-duplicates", len(images)) as advance:
        for start in range(0, len(images), BLOCK):
            stop = min(start + BLOCK, len(images))
            for mirrored in (False, True):
                block = (mirrored_hashes if mirrored else hashes)[start:stop, None]
                bits = np.bitwise_count(block ^ hashes[None, start:])
                first, second = np.nonzero(bits <= threshold)
                distance = bits[first, second]
                first, second = first + start, second + start
                keep = (first < second) & usable[first] & usable[second] & ~skip(first, second)
                first, second, distance = first[keep], second[keep], distance[keep]
                candidates += len(first)
                similarity = _correlate(flat, first, second, mirrored)
                near = similarity >= correlation
                flags = np.full(int(near.sum()), mirrored)
                blocks.append((first[near], second[near], flags, distance[near], similarity[near]))
            advance(stop - start)
            if candidates > MOST:
                break
    columns = [np.concatenate(column) for column in zip(*blocks, strict=True)]
    return _sorted(columns, candidates <= MOST)


def _correlate(flat: NDArray[np.float32], first: Rows, second: Rows, mirrored: bool) -> NDArray[np.float32]:
    """Compute the correlation of pairs of normalised thumbnails, in blocks that fit in memory."""
    result = np.empty(len(first), dtype=np.float32)
    for start in range(0, len(first), 8192):
        a, b = flat[first[start : start + 8192]], flat[second[start : start + 8192]]
        if mirrored:
            a = a.reshape(-1, SIDE, SIDE)[:, :, ::-1].reshape(a.shape)
        result[start : start + 8192] = np.einsum("np,np->n", a, b)
    return result


def _sorted(columns: list[NDArray[Any]], complete: bool) -> DuplicatePairs:
    """Sort pairs; of a pair found both plain and mirrored, keep the one with the higher correlation."""
    order = np.lexsort((-columns[4], columns[1], columns[0]))
    columns = [column[order] for column in columns]
    repeated = np.zeros(len(order), dtype=bool)
    repeated[1:] = (columns[0][1:] == columns[0][:-1]) & (columns[1][1:] == columns[1][:-1])
    first, second, mirrored, distance, correlation = (column[~repeated] for column in columns)
    return DuplicatePairs(first, second, mirrored, distance, correlation, complete)


Strings = NDArray[np.object_]

DISTANCE = 12
CORRELATION = 0.93
PROPOSAL = (
    "note: pseudo-subjects are a guess by similarity: of 80 pairs of FER2013 that were checked by eye, 79 were of one "
    "photograph or person, but most other photographs of a person are missed"
)


@dataclass(frozen=True)
class LeakageReport:
    """Result of the check; each table is empty if there is nothing to report.

    Parameters
    ----------
    sides : dict of str to int
        Samples of each set; empty if the data is not split.
    subjects, clips : DataFrame
        Those in more than one set: ``name`` and the number of samples in each set.
    copies : DataFrame
        Images that are identical, pixel by pixel, to another: ``group``, ``row``, ``sample``, ``path``, ``side``,
        ``label`` (class name).
    near : DataFrame
        Pairs of near-duplicates: ``row``, ``sample``, ``side`` and ``label`` of both, each with ``_1`` and ``_2``, then
        ``mirrored``, ``distance`` (bits of 64) and ``correlation``.
    conflicts : DataFrame
        Rows of ``copies`` whose group has more than one label.
    missing : DataFrame
        ``side`` and ``label`` of classes without a sample in a set.
    unreadable : DataFrame
        ``sample``, ``path``, ``reason`` of samples that could not be read.
    pseudo_subjects : DataFrame or None
        Samples of clusters of at least two similar faces, the largest first, in the columns of ``copies``; None if
        they were not searched for, as where subjects are known.
    compared : int
        Number of images compared; 0 if only the manifest was checked.
    complete : bool
        Whether all near-duplicates are listed; False if there are too many.
    frames : int
        Frames per sample; near-duplicates of samples with several frames have similar middle frames.
    numbers : bool
        Whether samples are sequences of numbers, of which only identical ones are found.
    leaky : str
        The split's own note that it separates clips or subjects; empty if there is none.
    notes : tuple of str
        Notes of the source and the preparation.
    known : mapping of str to int
        Number of subjects and of clips (``subject``, ``clip``) in all sets; 0 if unknown.
    """

    sides: dict[str, int]
    subjects: pd.DataFrame
    clips: pd.DataFrame
    copies: pd.DataFrame
    near: pd.DataFrame
    conflicts: pd.DataFrame
    missing: pd.DataFrame
    unreadable: pd.DataFrame
    pseudo_subjects: pd.DataFrame | None = None
    compared: int = 0
    complete: bool = True
    frames: int = 1
    numbers: bool = False
    leaky: str = ""
    notes: tuple[str, ...] = ()
    known: Mapping[str, int] = field(default_factory=dict)

    @property
    def surplus(self) -> int:
        """Number of images that are identical to an earlier one."""
        return len(self.copies) - int(self.copies["group"].nunique())

    @property
    def leaks(self) -> bool:
        """Whether a subject, a clip, an image or a near-duplicate is in two sets."""
        return bool(len(self.subjects) or len(self.clips) or self.across() or self.near_across())

    def across(self) -> dict[tuple[str, str], int]:
        """Count, for each pair of sets, the images of the second that are also in the first; zeros are omitted."""
        by_side = {side: self.copies[self.copies["side"] == side] for side in self.sides}
        counts = {
            (first, second): int(by_side[second]["group"].isin(by_side[first]["group"]).sum())
            for first, second in combinations(by_side, 2)
        }
        return {pair: count for pair, count in counts.items() if count}

    def near_across(self) -> dict[tuple[str, str], int]:
        """Count, for each pair of sets, the images of the second that are near-duplicates only of one in the first."""
        counts = {}
        for first, second in combinations(self.sides, 2):
            groups = self.copies[self.copies["side"] == first]["group"]
            identical = self.copies[(self.copies["side"] == second) & self.copies["group"].isin(groups)]["row"]
            forward = self.near[(self.near["side_1"] == first) & (self.near["side_2"] == second)]["row_2"]
            backward = self.near[(self.near["side_2"] == first) & (self.near["side_1"] == second)]["row_1"]
            if count := len({*forward, *backward} - set(identical)):
                counts[first, second] = count
        return counts

    def pairs(self, near: bool = False) -> Rows:
        """Return pairs of rows with the same image, for ``protocol.duplicates``.

        Parameters
        ----------
        near : bool
            Whether to include near-duplicates.

        Returns
        -------
        int64 array of shape (P, 2)
            Each duplicate with the first of its group; the relation is taken to be transitive.
        """
        first = self.copies.groupby("group")["row"].transform("min").to_numpy(dtype=np.int64)
        exact = np.stack([first, self.copies["row"].to_numpy(dtype=np.int64)], axis=1)
        exact = exact[exact[:, 0] != exact[:, 1]]
        exact = exact[np.argsort(exact[:, 1])]
        return np.concatenate([exact, self.near[["row_1", "row_2"]].to_numpy(dtype=np.int64)]) if near else exact

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return all tables by name."""
        names = ("subjects", "clips", "copies", "near", "conflicts", "missing", "unreadable", "pseudo_subjects")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def lines(self) -> list[str]:
        """Return the lines of a console summary, leakage first."""
        lines = [self._leakage_line()]
        if self.leaky:
            lines.append(self.leaky)
        if self.across():
            lines.append("to remove these duplicates, set protocol.duplicates: drop-train or drop-test")
        if self.compared:
            lines += self._duplicate_lines()
        for side, absent in self.missing.groupby("side", sort=False):
            lines.append(f"missing: the {_SET[str(side)]} has no sample of {', '.join(absent['label'])}")
        if len(self.unreadable):
            kinds = self.unreadable["reason"].astype(str).str.split(":").str[0].value_counts()
            reasons = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items())
            lines.append(f"unreadable: {_plural(len(self.unreadable), 'file')} ({reasons})")
        if self.pseudo_subjects is not None:
            lines += self._pseudo_subject_lines(self.pseudo_subjects)
        return [*lines, *(f"note: {note}" for note in self.notes)]

    def _leakage_line(self) -> str:
        unit, by = self._unit(), "number by number" if self.numbers else "pixel by pixel"
        groups = (("subject", self.subjects), ("clip", self.clips))
        leaks = [
            *(f"{_plural(n, f'{b} {unit}')} also in {a}, {by}" for (a, b), n in self.across().items()),
            *(f"{_plural(n, f'{b} {unit}')} similar to one in {a}" for (a, b), n in self.near_across().items()),
            *(f"{_plural(len(table), name)} in more than one set" for name, table in groups if len(table)),
        ]
        if leaks:
            return "leakage: " + "; ".join(leaks)
        if len(self.sides) < 2:
            return "leakage: not checked, as the data is not split"
        sizes = ", ".join(f"{side} {count:,}" for side, count in self.sides.items())
        none = f"none in {'both sets' if len(self.sides) == 2 else 'more than one set'}"
        separate = [
            f"{_plural(count, name)}, {none}" if count else f"{name}s unknown, so not checked"
            for name, count in self.known.items()
            if count or name == "subject"
        ]
        images = f"{_plural(self.compared, unit)}, {none}" if self.compared else f"{unit}s not compared"
        return f"leakage: none found: {'; '.join([images, *separate])} ({sizes})"

    def _duplicate_lines(self) -> list[str]:
        unit = self._unit()
        duplicates = f"duplicates: {self.surplus:,} of {self.compared:,} {unit}s are copies of another"
        conflicts = f"conflicting labels: {int(self.conflicts['group'].nunique()):,} groups of identical {unit}s"
        if self.numbers:
            return [duplicates, "near-duplicates: not searched for in sequences of numbers", conflicts]
        near = f"near-duplicates: {len(self.near):,} pairs, {int(self.near['mirrored'].sum()):,} of them mirrored"
        if not self.complete:
            near += "; there are more, as the search stopped at the limit"
        if self.frames > 1:
            near += f" (by the middle one of the {self.frames} frames of each sample)"
        unequal = int((self.near["label_1"] != self.near["label_2"]).sum())
        return [duplicates, near, f"{conflicts}, {unequal:,} pairs of near-duplicates"]

    def _pseudo_subject_lines(self, table: pd.DataFrame) -> list[str]:
        sizes = table.groupby("group").size()
        total = self.compared - len(table) + len(sizes)
        sides = table[table["side"] != ""].groupby("group")["side"].nunique()
        lines = [
            f"pseudo-subjects: {total:,} clusters of similar faces, {len(sizes):,} of several faces"
            + (f" (largest {', '.join(f'{size:,}' for size in sizes[:3])})" if len(sizes) else "")
            + (f"; {int((sides > 1).sum()):,} in more than one set" if len(self.sides) > 1 else "")
        ]
        if len(sizes):
            lines.append(f"{PROPOSAL}; to keep each in one set: protocol.by=pseudo-subject")
        return lines

    def _unit(self) -> str:
        return "sequence" if self.numbers else "image" if self.frames == 1 else "sample"


_SET = {"train": "training set", "validation": "validation set", "test": "test set"}


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def check_leakage(
    manifest: Manifest,
    images: Any = None,
    *,
    split: Split | None = None,
    quarantine: pd.DataFrame | None = None,
    pseudo_subjects: Rows | None = None,
    distance: int = DISTANCE,
    correlation: float = CORRELATION,
) -> LeakageReport:
    """Check a dataset for leakage, duplicates, conflicting labels and missing classes.

    Parameters
    ----------
    manifest : Manifest
        Samples to check.
    images : uint8 array of shape (N, H, W, C) or (N, T, H, W, C), optional
        Images in the order of the rows, such as ``store.images``. Samples with several frames are duplicates if all
        frames are identical, and near-duplicates if their middle frames are. Arrays of other types are compared for
        identical content only. Without images, only the manifest is checked.
    split : Split, optional
        Training, validation and test set; default the official split.
    quarantine : DataFrame, optional
        ``sample``, ``path``, ``reason`` of samples that could not be read, such as ``store.quarantine``.
    pseudo_subjects : int64 array of shape (N,), optional
        Cluster of similar faces that each sample is in, from
        :func:`evenface.preprocessing.pseudo_subjects.find_pseudo_subjects`.
    distance, correlation : int, float
        Near-duplicates differ in at most ``distance`` of 64 bits of their perceptual hashes, and their pixels
        correlate at least by ``correlation``. The defaults were set by eye on FER2013. Pairs of the same subject or
        clip in the same set are not listed, as they always look alike.

    Returns
    -------
    LeakageReport
        Tables of what was found.

    Raises
    ------
    InputError
        If the number of images differs from that of samples, or a threshold is out of its range.
    """
    if images is not None and len(images) != len(manifest):
        raise InputError(f"check: {len(images)} images for {len(manifest)} samples", "Pass one image per sample.")
    if not 0 <= distance <= 64 or not -1 <= correlation <= 1:
        raise InputError(f"check: distance must be 0 to 64 and correlation -1 to 1, got {distance} and {correlation:g}")
    side = _sides(manifest, split)
    samples = pd.DataFrame(
        {
            "row": np.arange(len(manifest)),
            "sample": manifest.table["sample"].astype(str).to_numpy(dtype=object),
            "path": manifest.table["path"].astype(str).to_numpy(dtype=object),
            "side": side,
            "label": np.array(manifest.classes, dtype=object)[manifest.labels],
        }
    )
    first = np.arange(len(manifest)) if images is None else first_identical_rows(images)
    copies = _copies(samples, first)
    near, complete = _near(manifest, images, samples, first, distance, correlation)
    labels = copies.groupby("group")["label"].transform("nunique")
    return LeakageReport(
        sides={name: int((side == name).sum()) for name in SIDES if (side == name).any()},
        subjects=_in_several_sets(manifest, "subject", side),
        clips=_in_several_sets(manifest, "clip", side),
        known={name: int(manifest.table[name].nunique()) for name in ("subject", "clip")},
        copies=copies,
        near=near,
        conflicts=copies[labels > 1].reset_index(drop=True),
        missing=_missing(manifest, side),
        unreadable=pd.DataFrame(columns=["sample", "path", "reason"]) if quarantine is None else quarantine,
        pseudo_subjects=None
        if pseudo_subjects is None or images is None
        else _by_size(_copies(samples, pseudo_subjects)),
        compared=0 if images is None else len(images),
        complete=complete,
        frames=images.shape[1] if images is not None and images.ndim == 5 else 1,
        numbers=images is not None and images.dtype.kind == "f",
        leaky=_leaky_note(split.notes) if split else "",
    )


def _leaky_note(notes: Sequence[str]) -> str:
    return next((note for note in notes if note.startswith("LEAKY")), "")


def copies_across(images: Any, manifest: Manifest, *, near: bool = False) -> Rows:
    """Find the pairs of rows with the same image, for :func:`evenface.data.splits.split_manifest`.

    Parameters
    ----------
    images : array of shape (N, ...)
        Images in the order of the rows.
    manifest : Manifest
        Their samples.
    near : bool
        Whether to include near-duplicates; by default only images that are identical pixel by pixel.

    Returns
    -------
    int64 array of shape (P, 2)
        The relation is taken to be transitive. Pairs within a set are included, so that splitting off a validation set
        does not separate them.
    """
    if near:
        return check_leakage(manifest, images).pairs(near=True)
    first = first_identical_rows(images)
    rows = np.flatnonzero(first != np.arange(len(first)))
    return np.stack([first[rows], rows], axis=1)


def _sides(manifest: Manifest, split: Split | None) -> Strings:
    if split is None:
        return np.asarray(manifest.table["split"].to_numpy(dtype=object, na_value=""))
    side = np.full(len(manifest), "", dtype=object)
    for name, rows in zip(SIDES, (split.train, split.validation, split.test), strict=True):
        side[rows] = name
    return side


def _copies(samples: pd.DataFrame, first: Rows) -> pd.DataFrame:
    repeated = np.bincount(first, minlength=len(first))[first] > 1
    copies = samples[repeated].copy()
    copies.insert(0, "group", np.unique(first[repeated], return_inverse=True)[1])
    return copies.sort_values(["group", "row"], ignore_index=True)


def _by_size(copies: pd.DataFrame) -> pd.DataFrame:
    """Sort groups of rows by size, the largest first, and renumber them."""
    sizes = copies.groupby("group")["row"].transform("size")
    ordered = copies.assign(size=sizes).sort_values(["size", "group", "row"], ascending=[False, True, True])
    ordered["group"] = pd.factorize(ordered["group"])[0]
    return ordered.drop(columns="size").reset_index(drop=True)


def _near(
    manifest: Manifest, images: Any, samples: pd.DataFrame, first: Rows, distance: int, correlation: float
) -> tuple[pd.DataFrame, bool]:
    names = ["row", "sample", "side", "label"]
    if images is None or images.dtype != np.uint8 or images.ndim not in (4, 5):
        empty = [f"{name}_{i}" for i in (1, 2) for name in names]
        return pd.DataFrame(columns=[*empty, "mirrored", "distance", "correlation"]), True
    side = pd.factorize(samples["side"])[0]
    groups = [pd.factorize(manifest.table[name])[0] for name in ("subject", "clip")]

    def skip(a: Rows, b: Rows) -> NDArray[np.bool_]:
        skipped: NDArray[np.bool_] = first[a] == first[b]
        for group in groups:
            skipped |= (group[a] == group[b]) & (group[a] >= 0) & (side[a] == side[b])
        return skipped

    pairs = near_pairs(images, distance, correlation, skip)
    parts = [
        samples[names].iloc[rows].add_suffix(suffix).reset_index(drop=True)
        for rows, suffix in ((pairs.first, "_1"), (pairs.second, "_2"))
    ]
    table = pd.concat(parts, axis=1)
    table["mirrored"], table["distance"], table["correlation"] = pairs.mirrored, pairs.distance, pairs.correlation
    return table, pairs.complete


def _in_several_sets(manifest: Manifest, column: str, side: Strings) -> pd.DataFrame:
    """Count samples per set for every subject (or clip) in more than one set."""
    known = manifest.table[column].notna().to_numpy() & (side != "")
    names = manifest.table[column].astype(str).to_numpy(dtype=object)[known]
    table = pd.crosstab(pd.Series(names, name="name"), pd.Series(side[known], name="side"))
    table = table.reindex(columns=list(SIDES), fill_value=0)
    table.columns.name = None
    return table[(table > 0).sum(axis=1) > 1].reset_index()


def _missing(manifest: Manifest, side: Strings) -> pd.DataFrame:
    absent = [
        {"side": name, "label": label}
        for name in SIDES
        if (side == name).any()
        for label, count in zip(manifest.classes, manifest.counts(side == name), strict=True)
        if count == 0
    ]
    return pd.DataFrame(absent, columns=["side", "label"])
