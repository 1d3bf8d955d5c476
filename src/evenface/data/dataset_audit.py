"""Audit of a dataset as it is distributed: augmentation before splitting, and differences from an official release."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evenface.data.datasets.layout import side_of
from evenface.data.labels import canonical_name
from evenface.data.leakage import SIDE, LeakageReport, grey_thumbnails, perceptual_hashes
from evenface.data.manifest import Manifest
from evenface.utils.errors import InputError
from evenface.utils.progress import progress
from evenface.utils.tables import read_delimited

ANGLES = (*range(-30, 0, 5), *range(5, 31, 5), 90, 180, 270)
"""Degrees by which copies may be rotated; those between are found by the nearest."""
BITS, CORRELATION = 12, 0.95
"""Rotated copies differ in at most so many of 64 bits, and correlate at least so much within the disc."""
BRIGHTER = 8
"""Grey levels between the means or standard deviations of copies that were changed in brightness or contrast."""
AUGMENTED = 0.1
"""Share of a set with changed copies in another set from which augmentation explains them: of FER2013, which was not
augmented, 3 % of a set are other crops or prints of photographs in another."""
BLOCK, MOST = 512, 200_000
_WORDS = (
    r"(?:aug(?:mented)?|(?:[hv]|horizontal|vertical)?_?flip(?:ped)?|mirror(?:ed)?|rot(?:ated?|ation)?"
    r"|bright(?:ness|er)?|dark(?:er)?|contrast|noise|noisy|blur(?:red)?|crop(?:ped)?|shift(?:ed)?|zoom(?:ed)?)"
)
# A number after a mark belongs to the mark, but one after a mark that begins the name may be the name itself.
MARK = re.compile(
    rf"^{_WORDS}\d*[_\- .]+|[_\- .]{_WORDS}[_\-]?-?\d*(?=$|[_\- .])|\.rf\.[0-9a-f]{{8,}}$",
    re.IGNORECASE,
)
NUMBERED = re.compile(r"(?: ?\(\d+\)| ?-? copy(?: \d+)?|_copy\d*)$", re.IGNORECASE)
"""Names that a file manager gives to copies; as it also numbers other files so, only beside the original name."""
_PAIR = ["sample_1", "side_1", "label_1", "sample_2", "side_2", "label_2", "change", "correlation"]


@dataclass(frozen=True)
class DatasetAudit:
    """Result of :func:`evenface.audit_dataset`.

    Parameters
    ----------
    leakage : LeakageReport
        What :func:`evenface.check_data` reports, for the sets as distributed.
    augmented : DataFrame
        Pairs of samples in two sets (in a dataset without sets, any) of which one is a changed copy of the other:
        ``sample``, ``side`` and ``label`` of both, each with ``_1`` and ``_2``, ``change`` and ``correlation`` (missing
        for pairs found by name).
    official : DataFrame or None
        Samples that differ from the official release: ``sample``, ``side``, ``label``, ``official_side``,
        ``official_label``, ``difference`` (``label``, ``side``, ``label and side``, ``unknown``). None if no table was
        given.
    digests : DataFrame
        ``digest`` (SHA-256 of the decoded pixels), ``label``, ``side`` of each image that could be read.
    matched : int
        Samples that are in the official release.
    """

    leakage: LeakageReport
    augmented: pd.DataFrame
    official: pd.DataFrame | None
    digests: pd.DataFrame
    matched: int = 0

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return all tables by name."""
        own = {"augmented": self.augmented, "official": self.official, "digests": self.digests}
        return self.leakage.tables() | {name: table for name, table in own.items() if table is not None}

    def lines(self) -> list[str]:
        """Return the lines of a console summary, the verdicts last."""
        lines = self.leakage.lines()
        kinds = self.augmented["change"].str.replace(r" by -?\d+°", "", regex=True).value_counts()
        found = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items()) or "none found"
        where = "in two sets" if len(self.leakage.sides) > 1 else "in the dataset, which is not split"
        lines.append(f"changed copies {where}: {found}")
        if self.official is not None:
            counts = self.official["difference"].value_counts()
            differing = ", ".join(f"{count:,} differ in {kind}" for kind, count in counts.items() if kind != "unknown")
            lines.append(
                f"official release: {self.matched:,} samples are in it, {int(counts.get('unknown', 0)):,} are not; "
                f"{differing or 'labels and sets agree'}"
            )
        return [*lines, *(f"verdict: {verdict}" for verdict in self.verdicts())]

    def verdicts(self) -> list[str]:
        """Return what follows for the use of the dataset, one sentence each."""
        report, split = self.leakage, len(self.leakage.sides) > 1
        verdicts = []
        if report.across() or report.near_across():
            verdicts.append("images are in two sets: results on this split are too high; remove them from training")
        if len(report.subjects) or len(report.clips):
            verdicts.append("people or clips are in two sets: results do not hold for new people; split by subject")
        if len(self.augmented):
            verdicts.append(
                self._augmentation()
                if split
                else "it holds changed copies of its images: a random split would separate them; remove them first"
            )
        if len(report.conflicts):
            verdicts.append("identical images have different labels")
        if self.official is not None and self.official["difference"].str.contains("label").any():
            verdicts.append("labels were changed: results are not comparable with those on the official release")
        if self.official is not None and self.official["difference"].str.contains("side").any():
            verdicts.append("samples were moved between sets: results are not comparable with published ones")
        return verdicts or ["nothing was found that speaks against the use of this dataset"]

    def _augmentation(self) -> str:
        """Return the verdict on changed copies in two sets, by the largest share of a set that has them."""
        members = pd.concat(
            [
                self.augmented[["sample_1", "side_1"]],
                self.augmented[["sample_2", "side_2"]].set_axis(["sample_1", "side_1"], axis=1),
            ]
        )
        shares = members.drop_duplicates()["side_1"].value_counts() / self.digests["side"].value_counts()
        side = str(shares.idxmax())
        found = f"{shares[side]:.1%} of {side} are changed copies of images in another set"
        if shares[side] < AUGMENTED:
            return f"{found}: results are slightly too high; remove them from training"
        return f"{found}: it was probably augmented before it was split; results are too high; use the original images"


def rotate(small: NDArray[np.float32], angle: float) -> NDArray[np.float32]:
    """Rotate thumbnails (N, S, S) counter-clockwise about their centre, with bilinear interpolation."""
    radians, middle = np.deg2rad(angle), (SIDE - 1) / 2
    y, x = np.mgrid[:SIDE, :SIDE] - middle
    # Sources of the pixels, for an image whose vertical axis points down.
    xs = np.clip(np.cos(radians) * x - np.sin(radians) * y + middle, 0, SIDE - 1)
    ys = np.clip(np.sin(radians) * x + np.cos(radians) * y + middle, 0, SIDE - 1)
    left, top = np.floor(xs).astype(int), np.floor(ys).astype(int)
    right, bottom = np.minimum(left + 1, SIDE - 1), np.minimum(top + 1, SIDE - 1)
    u, v = (xs - left).astype(np.float32), (ys - top).astype(np.float32)
    above = small[:, top, left] * (1 - u) + small[:, top, right] * u
    below = small[:, bottom, left] * (1 - u) + small[:, bottom, right] * u
    rotated: NDArray[np.float32] = above * (1 - v) + below * v
    return rotated


def _disc(small: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return thumbnails within the inscribed disc, which every rotation keeps, with mean 0 and norm 1 (0 if blank)."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    inside = (np.hypot(x, y) <= SIDE / 2 - 1).astype(np.float32)
    mean = (small * inside).sum(axis=(1, 2), keepdims=True) / inside.sum()
    centred = (small - mean) * inside
    norm = np.linalg.norm(centred, axis=(1, 2), keepdims=True)
    return np.where(norm > SIDE, centred / np.maximum(norm, 1e-9), 0).astype(np.float32)


def rotated_pairs(small: NDArray[np.float32], side: NDArray[np.object_]) -> pd.DataFrame:
    """Find pairs of thumbnails of two sets (of none: any) of which one is rotated, mirrored first or not.

    Returns
    -------
    DataFrame
        ``first`` < ``second`` (rows), ``angle``, ``mirrored``, ``correlation``; of a pair the best angle.
    """
    discs = _disc(small)
    usable = discs.any(axis=(1, 2))
    hashes = perceptual_hashes(discs)[0]
    codes = pd.factorize(side)[0]
    unsplit = len(set(side) - {""}) < 2
    known = usable & ((side != "") | unsplit)
    found: list[pd.DataFrame] = []
    with progress("searching for rotated copies", len(ANGLES)) as advance:
        for angle in ANGLES:
            turned = _disc(rotate(small, angle))
            for mirrored, theirs in enumerate(perceptual_hashes(turned)):
                pairs = [
                    (start + a[keep], b[keep])
                    for start in range(0, len(small), BLOCK)
                    for a, b in [np.nonzero(np.bitwise_count(theirs[start : start + BLOCK, None] ^ hashes) <= BITS)]
                    for keep in [(codes[start + a] != codes[b]) | unsplit]
                ]
                first, second = (np.concatenate(part)[:MOST] for part in zip(*pairs, strict=True))
                keep = known[first] & known[second] & (first != second)
                first, second = first[keep], second[keep]
                alike = _correlation(turned, discs, first, second, bool(mirrored))
                near = alike >= CORRELATION
                columns = {"first": first, "second": second, "angle": angle, "mirrored": bool(mirrored)}
                found.append(pd.DataFrame({**columns, "correlation": alike})[near])
            advance(1)
    table = pd.concat(found, ignore_index=True)
    low, high = table[["first", "second"]].min(axis=1), table[["first", "second"]].max(axis=1)
    table["angle"] = np.where(low == table["first"], table["angle"], -table["angle"])
    table = table.assign(first=low, second=high).sort_values("correlation", ascending=False, kind="stable")
    return table.drop_duplicates(["first", "second"]).sort_values(["first", "second"], ignore_index=True)


def _correlation(
    turned: NDArray[np.float32],
    discs: NDArray[np.float32],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    mirrored: bool,
) -> NDArray[np.float32]:
    result = np.empty(len(first), dtype=np.float32)
    for start in range(0, len(first), 8192):
        a, b = turned[first[start : start + 8192]], discs[second[start : start + 8192]]
        result[start : start + 8192] = np.einsum("nij,nij->n", a[:, :, ::-1] if mirrored else a, b)
    return result


def base_name(path: str) -> tuple[str, bool, bool]:
    """Return a file's name without marks of augmentation, whether it has one, and whether only one of a file manager.

    Examples
    --------
    >>> base_name("train/happy/aug_0012_flip.png"), base_name("im (1).jpg"), base_name("happy_3.png")
    (('0012', True, False), ('im', True, True), ('happy_3', False, False))
    """
    stem = PurePosixPath(path.replace("\\", "/")).stem
    bare = NUMBERED.sub("", stem)
    base = re.sub(r"_(?:jpe?g|png)$", "", MARK.sub("", bare)) if MARK.search(bare) else bare
    base = base.strip("_- .") or stem
    return base, base != stem, base == bare.strip("_- .") and bare != stem


def named_copies(paths: Sequence[str], label: NDArray[np.object_], side: NDArray[np.object_]) -> list[tuple[int, int]]:
    """Find pairs of rows of two sets and one label of which the second is, by its name, a copy of the first."""
    groups: dict[tuple[str, str], list[tuple[int, bool, bool]]] = {}
    for row, path in enumerate(paths):
        base, marked, numbered = base_name(path)
        groups.setdefault((str(label[row]), base), []).append((row, marked, numbered))
    unsplit, pairs = len(set(side) - {""}) < 2, []
    for members in groups.values():
        originals = [row for row, marked, _ in members if not marked]
        for row, marked, numbered in members:
            # An original in the same set explains the copy.
            if not marked or (not unsplit and any(side[other] == side[row] for other in originals)):
                continue
            others = originals or [other for other, _, file_manager in members if not (numbered or file_manager)]
            other = next((o for o in others if o != row and (unsplit or side[o] != side[row])), None)
            if other is not None and (originals or other < row):
                pairs.append((other, row))
    return pairs


def changed_copies(manifest: Manifest, images: NDArray[np.uint8] | None, report: LeakageReport) -> pd.DataFrame:
    """Find mirrored, rotated and brightness-changed copies in two sets, and copies by the names of files."""
    side = manifest.table["split"].to_numpy(dtype=object, na_value="")
    label = np.array(manifest.classes, dtype=object)[manifest.labels]
    paths = manifest.table["path"].astype(str).tolist()
    rows: dict[tuple[int, int], tuple[str, float]] = {}
    if images is not None and images.dtype == np.uint8 and images.ndim in (4, 5):
        small = grey_thumbnails(images)
        mean, sd = small.mean(axis=(1, 2)), small.std(axis=(1, 2))
        near = report.near[(report.near["side_1"] != report.near["side_2"]) | (len(report.sides) < 2)]
        for a, b, mirrored, alike in near[["row_1", "row_2", "mirrored", "correlation"]].itertuples(index=False):
            if mirrored or max(abs(mean[a] - mean[b]), abs(sd[a] - sd[b])) > BRIGHTER:
                rows[a, b] = ("mirrored" if mirrored else "changed in brightness or contrast", alike)
        found = set(zip(report.near["row_1"], report.near["row_2"], strict=True))
        for a, b, angle, mirrored, alike in rotated_pairs(small, side).itertuples(index=False):
            if (a, b) not in found:
                rows[a, b] = (f"{'mirrored and ' * mirrored}rotated by {angle}°", alike)
    for a, b in named_copies(paths, label, side):
        rows.setdefault((a, b), ("a copy by name", np.nan))
    names = manifest.table["sample"].astype(str).to_numpy(dtype=object)
    listed = [
        (names[a], side[a], label[a], names[b], side[b], label[b], change, alike)
        for (a, b), (change, alike) in sorted(rows.items())
    ]
    return pd.DataFrame(listed, columns=_PAIR)


@dataclass(frozen=True)
class Release:
    """Labels and sets of an official release, by content: a SHA-256 digest of a file or of its decoded pixels."""

    labels: dict[str, set[str]]
    sides: dict[str, set[str]]

    @classmethod
    def load(cls, path: Path) -> "Release":
        """Read a table with the columns ``digest``, ``label`` and, optionally, ``side``.

        Raises
        ------
        InputError
            If a column is missing, or a cell is no digest or no set.
        """
        table = read_delimited(path)
        if absent := [name for name in ("digest", "label") if name not in table]:
            raise InputError(f"{path} has no column {absent[0]}", "It needs the columns digest, label and side.")
        labels: dict[str, set[str]] = {}
        sides: dict[str, set[str]] = {}
        cells = table["side"].fillna("") if "side" in table else [""] * len(table)
        for digest, label, cell in zip(table["digest"].fillna(""), table["label"].fillna(""), cells, strict=True):
            key = str(digest).lower()
            if not re.fullmatch(r"[0-9a-f]{64}", key):
                raise InputError(f"{path}: {digest!r} is not a SHA-256 digest", "Expected 64 hexadecimal digits.")
            side = side_of(str(cell)) if cell else ""
            if side is None:
                raise InputError(f"{path}: unknown set {cell!r}", "Known: train, validation, test.")
            labels.setdefault(key, set()).add(canonical_name(str(label)))
            sides.setdefault(key, set()).update({side} - {""})
        return cls(labels, sides)

    def compare(self, manifest: Manifest, digests: Sequence[tuple[str, ...]]) -> tuple[pd.DataFrame, int]:
        """Return the samples that differ, and how many are in the release; ``digests`` are those of each sample."""
        rows, matched = [], 0
        side = manifest.table["split"].to_numpy(dtype=object, na_value="")
        for index, (name, label) in enumerate(zip(manifest.table["sample"], manifest.labels, strict=True)):
            key = next((key for key in digests[index] if key in self.labels), None)
            own, labels = manifest.classes[label], self.labels.get(key or "", set())
            sides = self.sides.get(key or "", set())
            matched += key is not None
            wrong = [
                what
                for what, differs in (
                    ("label", canonical_name(own) not in labels),
                    ("side", bool(side[index] and sides) and side[index] not in sides),
                )
                if differs and key is not None
            ]
            if wrong or key is None:
                official = (" or ".join(sorted(sides)), " or ".join(sorted(labels)))
                rows.append((name, side[index], own, *official, " and ".join(wrong) or "unknown"))
        columns = ["sample", "side", "label", "official_side", "official_label", "difference"]
        return pd.DataFrame(rows, columns=columns), matched


def digest_table(manifest: Manifest, digests: Sequence[tuple[str, ...]]) -> pd.DataFrame:
    """Return the digest of the pixels, label and set of each sample that has one."""
    side = manifest.table["split"].to_numpy(dtype=object, na_value="")
    rows = [
        (own[0], manifest.classes[label], side[index])
        for index, (own, label) in enumerate(zip(digests, manifest.labels, strict=True))
        if own
    ]
    return pd.DataFrame(rows, columns=["digest", "label", "side"])
