"""The protocol: who trains, who tests, and how uneven training is made."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evenface.config.recipe import Imbalance, Protocol
from evenface.data.manifest import Manifest
from evenface.data.subsampling import subsample, wanted_counts
from evenface.utils.errors import InputError

Rows = NDArray[np.int64]
Shares = NDArray[np.float64]

TRIES = 32


def assign_folds(labels: Rows, shares: Sequence[float], seed: Sequence[int]) -> Rows:
    """Give every sample a part, each class in the same shares."""
    rng = np.random.default_rng(list(seed))
    target = np.asarray(shares, dtype=np.float64)
    part = np.empty(len(labels), dtype=np.int64)
    given = np.zeros(len(target))
    done = 0
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        done += len(members)
        counts = np.floor(target * len(members)).astype(np.int64)
        # What is left goes to parts that would miss the class, then to those that lag furthest behind in all.
        lag = target * done - given - counts
        owed = target * len(members) - counts > 0
        missing = (counts == 0) & (len(members) >= len(target))
        first = np.lexsort((-lag, ~missing, ~owed))
        counts[first[: len(members) - counts.sum()]] += 1
        given += counts
        part[members] = np.repeat(np.arange(len(target)), counts)
    return part


def assign_group_folds(labels: Rows, groups: NDArray[np.object_], shares: Sequence[float], seed: Sequence[int]) -> Rows:
    """Give every group a part, so that each part has about its share of every class.

    Greedy: groups come in random order, each joins the part where the sum over parts and classes of
    ``(share of the class's samples there - wanted share)^2 / wanted share`` grows least. Of 32 seeded
    orders the one with the fewest classes missing from a part, then the smallest sum, is taken. No part
    stays empty while there are groups enough.
    """
    names, index = np.unique(groups.astype(str), return_inverse=True)
    known, label = np.unique(labels, return_inverse=True)
    table = np.zeros((len(names), len(known)))
    np.add.at(table, (index, label), 1)
    table /= table.sum(axis=0)
    target = np.asarray(shares, dtype=np.float64)
    rng = np.random.default_rng(list(seed))
    best: tuple[tuple[int, float], Rows] | None = None
    for _ in range(TRIES):
        part = _fill_empty(_assign(table, target, rng.permutation(len(names))), table, len(target))
        got = np.zeros((len(target), len(known)))
        np.add.at(got, part, table)
        score = (int((got == 0).sum()), round(float((((got - target[:, None]) ** 2) / target[:, None]).sum()), 12))
        if best is None or score < best[0]:
            best = (score, part)
    assert best is not None
    return best[1][index]


def _assign(table: Shares, target: Shares, order: Rows) -> Rows:
    """Send each group, in this order, to the part whose error it raises least."""
    got = np.zeros((len(target), table.shape[1]))
    part = np.empty(len(order), dtype=np.int64)
    for group in order:
        row = table[group]
        rise = ((2 * (got - target[:, None]) * row + row**2).sum(axis=1)) / target
        part[group] = chosen = int(rise.argmin())
        got[chosen] += row
    return part


def _fill_empty(part: Rows, table: Shares, parts: int) -> Rows:
    """Move the smallest group of the part with most groups into each empty part."""
    size = table.sum(axis=1)
    for empty in np.flatnonzero(np.bincount(part, minlength=parts) == 0):
        counts = np.bincount(part, minlength=parts)
        if counts.max() < 2:
            break
        donors = np.flatnonzero(part == counts.argmax())
        part[donors[size[donors].argmin()]] = empty
    return part


PURPOSE = 3
"""Sets these draws apart from those of sides, validation and imbalance."""


def cohort_rows(manifest: Manifest, protocol: Protocol) -> Rows:
    """Give the rows of the people in the protocol's cohort; all of them where there is only one.

    People are dealt by the protocol's seed, so that each class is spread evenly over the cohorts.
    """
    if protocol.cohorts == 1:
        return np.arange(len(manifest), dtype=np.int64)
    if not manifest.has_subjects:
        unknown = int(manifest.table["subject"].isna().sum())
        raise InputError(
            f"protocol: cohorts need to know the subject of every sample, {unknown} of {len(manifest)} lack it",
            "Set protocol.cohorts: 1, or use a source option that finds the subjects.",
        )
    people = tuple(manifest.table["subject"].astype(str))
    if (found := len(set(people))) < protocol.cohorts:
        raise InputError(f"protocol: {protocol.cohorts} cohorts need as many people or more, there are {found}")
    return np.flatnonzero(_dealt(manifest.labels.tobytes(), people, protocol.cohorts, protocol.seed) == protocol.cohort)


@functools.lru_cache(maxsize=8)
def _dealt(labels: bytes, people: tuple[str, ...], cohorts: int, seed: int) -> Rows:
    """Give the cohort of every sample; all runs of a study ask for the same."""
    groups = np.array(people, dtype=object)
    return assign_group_folds(
        np.frombuffer(labels, dtype=np.int64), groups, [1 / cohorts] * cohorts, (seed, PURPOSE, cohorts)
    )


class Copies:
    """Pairs of rows that show the same picture; a copy of a copy is one too."""

    def __init__(self, pairs: Rows, size: int) -> None:
        self.pairs, self.size = pairs, size

    @cached_property
    def leaders(self) -> Rows:
        """For every row the first of all those it is a copy of, itself included."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        links = coo_array((np.ones(len(self.pairs)), self.pairs.T), shape=(self.size, self.size))
        _, component = connected_components(links, directed=False)
        _, first, index = np.unique(component, return_index=True, return_inverse=True)
        return np.asarray(first[index], dtype=np.int64)

    def without(self, rows: Rows, others: Rows) -> Rows:
        """Those of ``rows`` that are no copy of any of ``others``."""
        return rows[~np.isin(self.leaders[rows], self.leaders[others])]

    def dropped(
        self, choice: Literal["keep", "drop-train", "drop-test"], pool: Rows, official: Rows, test: Rows
    ) -> tuple[Rows, Rows, Rows, list[str]]:
        """Leave out pictures that stand on both sides, of training and test and of training and validation."""
        if choice == "keep":
            return pool, official, test, []
        developed = np.concatenate([pool, official])
        if choice == "drop-train":
            left = self.without(developed, test)
            official = official[np.isin(official, left)]
            kept = self.without(pool[np.isin(pool, left)], official)
            notes = [f"copies: {len(developed) - len(left)} pictures left out of training, they stand in test"]
            if len(left) - len(official) > len(kept):
                dropped = len(left) - len(official) - len(kept)
                notes.append(f"copies: {dropped} pictures left out of training, they stand in validation")
            pool = kept
        else:
            kept, valid = self.without(test, developed), self.without(official, pool)
            dropped = len(test) - len(kept)
            notes = [f"copies: {dropped} pictures left out of test, they stand in training (before any imbalance)"]
            if len(official) > len(valid):
                dropped = len(official) - len(valid)
                notes.append(f"copies: {dropped} pictures left out of validation, they stand in training")
            official, test = valid, kept
        if not len(pool) or not len(test):
            raise InputError("protocol: no picture is left once copies are dropped", "Set protocol.duplicates: keep.")
        return pool, official, test, notes


SHARE, CLIPS = 4, 5
"""Purposes of the draws of those who are trained on and of test clips; 0 to 3 are sides, validation, imbalance and
cohorts."""


@dataclass(frozen=True)
class Split:
    """Row positions of each side, and what a reader of results must know about them."""

    train: Rows
    validation: Rows
    test: Rows
    notes: tuple[str, ...]


def fold_count(manifest: Manifest, protocol: Protocol) -> int:
    """Return how many folds the protocol has on this data: the values that ``fold`` can take.

    With leave-one-out these are the people in the cohort, less those whom an imbalance of the whole set leaves without
    a sample.
    """
    if protocol.kind == "kfold":
        return protocol.folds
    if protocol.kind == "leave-one-out":
        names = np.argsort(manifest.table["sample"].astype(str).to_numpy(), kind="stable")
        ordered = manifest.take(names)
        divider = _Divider(ordered.take(cohort_rows(ordered, protocol)), protocol, np.empty((0, 2), dtype=np.int64))
        return len(divider.people(divider.all_rows()))
    return 1


def split_manifest(manifest: Manifest, protocol: Protocol, duplicates: NDArray[np.int64] | None = None) -> Split:
    """Divide a manifest into training, validation and test.

    The steps, in this order: the cohort, imbalance on the whole set (only if asked for), sides, copies
    left out, imbalance on training, validation cut from training, the share that is trained on. Counts
    and factor hold therefore for training and validation together where validation is cut, and for
    training alone where the official validation is used. The same samples come out whatever the order of the rows.

    Parameters
    ----------
    manifest : Manifest
        What there is.
    protocol : Protocol
        How to divide it.
    duplicates : int64 array of shape (P, 2), optional
        Pairs of rows that show the same picture, from :func:`evenface.data.leakage.copies_across`; a
        copy of a copy counts as one. Needed if ``copies`` is not ``keep``.

    Returns
    -------
    Split

    Raises
    ------
    InputError
        If the data cannot be divided so: no official split, too few subjects, counts not there.
    """
    if protocol.duplicates != "keep" and duplicates is None:
        raise InputError(f"protocol.duplicates: {protocol.duplicates} needs the pairs that the leakage check finds")
    names = manifest.table["sample"].astype(str).to_numpy()
    order = np.argsort(names, kind="stable")
    ordered = manifest.take(order)
    rows = cohort_rows(ordered, protocol)
    order, ordered = order[rows], ordered.take(rows)
    pairs = np.empty((0, 2), dtype=np.int64)
    if protocol.duplicates != "keep" and duplicates is not None:
        place = np.full(len(manifest), -1)
        place[order] = np.arange(len(order))
        pairs = place[np.asarray(duplicates, dtype=np.int64).reshape(-1, 2)]
        pairs = pairs[(pairs >= 0).all(axis=1)]
    sides = _Divider(ordered, protocol, pairs).divide()
    return replace(sides, train=order[sides.train], validation=order[sides.validation], test=order[sides.test])


def _unit(manifest: Manifest, protocol: Protocol) -> str:
    """Column whose equal values stay on one side."""
    known = [unit for unit in ("subject", "clip") if manifest.table[unit].notna().all()]
    if protocol.by == "auto":
        return next(iter(known), "sample")
    if protocol.by == "frame":
        return "sample"
    if protocol.by not in known:
        unknown = int(manifest.table[protocol.by].isna().sum())
        raise InputError(
            f"protocol: by: {protocol.by} needs to know the {protocol.by} of every sample, "
            f"{unknown} of {len(manifest)} lack it",
            "Use by: auto, or a source option that finds it.",
        )
    return protocol.by


class _Divider:
    """One split in the making; samples are in the order of their names."""

    def __init__(self, manifest: Manifest, protocol: Protocol, pairs: Rows) -> None:
        self.manifest, self.protocol, self.copies = manifest, protocol, Copies(pairs, len(manifest))
        self.labels = manifest.labels
        self.notes: list[str] = []
        if protocol.cohorts > 1:
            people = manifest.table["subject"].nunique()
            which = f"cohort {protocol.cohort + 1} of {protocol.cohorts}"
            self.notes.append(f"{which}: {people} people with {len(manifest)} samples; the others are not seen")
        self.unit = _unit(manifest, protocol)
        self.groups = self.names(self.unit)

    def names(self, column: str, rows: Rows | slice = slice(None)) -> NDArray[np.object_]:
        found: NDArray[np.object_] = self.manifest.table[column].astype(str).to_numpy(dtype=object)[rows]
        return found

    def all_rows(self) -> Rows:
        """Return the rows that there are, less those that an imbalance of the whole set leaves out."""
        uneven = self.protocol.imbalance
        rows = np.arange(len(self.manifest), dtype=np.int64)
        if uneven and uneven.on == "all":
            rows = self.thin(rows, uneven)
            self.notes.append("imbalance applied to the whole data set: the test side is uneven too")
        return rows

    def people(self, rows: Rows) -> list[str]:
        """Return the names of the people, sorted; an InputError where some are unknown."""
        if not self.manifest.has_subjects:
            unknown, whole = int(self.manifest.table["subject"].isna().sum()), len(self.manifest)
            raise InputError(
                f"protocol: leave-one-out needs to know the subject of every sample, {unknown} of {whole} lack it",
                "Use kfold, or a source option that finds the subjects.",
            )
        return sorted(set(self.names("subject", rows)))

    def divide(self) -> Split:
        uneven = self.protocol.imbalance
        rows = self.all_rows()
        pool, official, test = self.official(rows) if self.protocol.kind == "official" else self.held_out(rows)
        pool, official, test, left_out = self.copies.dropped(self.protocol.duplicates, pool, official, test)
        self.notes += left_out
        if uneven and uneven.on == "train":
            pool = self.thin(pool, uneven)
            cut = not len(official) and self.protocol.validation > 0
            self.notes.append("imbalance applied to training only" + (", before validation is cut" if cut else ""))
        if not len(pool) or not len(test):
            raise InputError(
                f"protocol: nobody is left to {'train on' if len(test) else 'test on'}",
                "Ask for fewer folds, another fold, or less imbalance.",
            )
        train, validation = (pool, official) if len(official) else self.cut_validation(pool)
        train = self.shared(train)
        if self.protocol.kind != "official":
            self.notes.insert(0, self.say_unit(pool, test))
        self.say_missing(train, validation, test)
        return Split(train, validation, test, tuple(self.notes))

    def official(self, rows: Rows) -> tuple[Rows, Rows, Rows]:
        sides = self.manifest.table["split"].to_numpy(dtype=object, na_value="")[rows]
        train, validation, test = (rows[sides == name] for name in ("train", "validation", "test"))
        if not len(train) or not len(test) + len(validation):
            raise InputError(
                f"protocol: {self.manifest.source} has no official split into training and test",
                "Use kind: holdout, kfold or leave-one-out.",
            )
        unused = int((sides == "").sum())
        if unused:
            self.notes.append(f"{unused} samples are on no official side and stay unused")
        if not len(test):
            self.notes.append("there is no official test set: the official validation is tested on")
            return train, test, validation
        if len(validation) and self.protocol.validation == 0:
            self.notes.append(f"the official validation ({len(validation)} samples) stays unused")
            validation = validation[:0]
        elif len(validation):
            self.notes.append("the official validation is used; none is cut from training")
        return train, validation, test

    def held_out(self, rows: Rows) -> tuple[Rows, Rows, Rows]:
        kind, protocol = self.protocol.kind, self.protocol
        if kind == "leave-one-out":
            subjects = self.people(rows)
            if protocol.fold >= len(subjects):
                raise InputError(f"protocol: fold must be 0 to {len(subjects) - 1}, got {protocol.fold}")
            if len(subjects) < 2:
                raise InputError("protocol: leave-one-out needs two subjects or more, there is one")
            held = self.groups[rows] == subjects[protocol.fold]
        elif protocol.test_clips is not None:
            held = np.isin(self.names("clip", rows), self.test_clips(rows, protocol.test_clips))
        elif kind == "kfold":
            held = self.parts(rows, [1 / protocol.folds] * protocol.folds, 0) == protocol.fold
        else:
            held = self.parts(rows, [1 - protocol.test, protocol.test], 0) == 1
        return rows[~held], rows[:0], rows[held]

    def test_clips(self, rows: Rows, count: int) -> list[str]:
        """Draw whole clips to test on, as many of each class as of another, the rest from classes drawn by chance."""
        names, labels = self.names("clip", rows), self.labels[rows]
        if self.manifest.table["clip"].isna().any():
            raise InputError("protocol: test_clips needs to know the clip of every sample", "Leave test_clips out.")
        label_of = dict(zip(names, labels.tolist(), strict=True))
        if any(label_of[name] != label for name, label in zip(names, labels.tolist(), strict=True)):
            raise InputError("protocol: test_clips needs clips of one class each", "Leave test_clips out.")
        random = np.random.default_rng([self.protocol.seed, CLIPS])
        present = random.permutation(np.unique(labels)).tolist()
        drawn: list[str] = []
        for place, label in enumerate(present):
            clips = sorted(name for name, own in label_of.items() if own == label)
            wanted = count // len(present) + (place < count % len(present))
            if wanted >= len(clips):
                raise InputError(
                    f"protocol: {wanted} test clips of class {self.manifest.classes[label]} leave none of its "
                    f"{len(clips)} clips to train on",
                    "Ask for fewer test_clips.",
                )
            drawn += [clips[i] for i in random.permutation(len(clips))[:wanted]]
        return drawn

    def parts(self, rows: Rows, shares: Sequence[float], purpose: int) -> Rows:
        """Give each of ``rows`` the number of its part; whole subjects or clips stay together."""
        seed = (self.protocol.seed, purpose, self.protocol.fold if purpose else 0)
        labels, groups = self.labels[rows], self.groups[rows]
        if self.unit == "sample":
            return assign_folds(labels, shares, seed)
        found = len(np.unique(groups.astype(str)))
        if found < len(shares):
            what, hint = {1: ("validation", "Set validation: 0."), SHARE: ("share", "Set share: 1.")}.get(
                purpose, ("protocol", "Ask for fewer folds.")
            )
            raise InputError(
                f"protocol: {what} needs {len(shares)} {self.unit}s or more to divide, there are {found}", hint
            )
        return assign_group_folds(labels, groups, shares, seed)

    def thin(self, rows: Rows, uneven: Imbalance) -> Rows:
        wanted = wanted_counts(uneven, self.manifest.counts(rows), self.manifest.classes)
        subjects = clips = None
        if uneven.by == "subjects":
            if not self.manifest.has_subjects:
                raise InputError(
                    "imbalance: by: subjects needs to know the subject of every sample", "Use by: samples."
                )
            subjects = self.names("subject", rows)
            clips = self.names("clip", rows) if self.manifest.table["clip"].notna().all() else None
        seed = (self.protocol.seed, 2)
        kept, how = subsample(rows, self.labels[rows], wanted, subjects=subjects, clips=clips, seed=seed)
        counts = ", ".join(f"{c} {n}" for c, n in zip(self.manifest.classes, wanted.tolist(), strict=True))
        asked = f"factor {uneven.factor:g}" if uneven.factor is not None else "counts"
        self.notes.append(f"imbalance to {asked}: {counts} ({len(rows) - len(kept)} samples left out)")
        if how:
            self.notes += [how, *([self.say_confounded(rows, kept)] if len(kept) < len(rows) else [])]
        return kept

    def say_confounded(self, before: Rows, kept: Rows) -> str:
        """Say how many people show each class after whole people were left out of it."""
        people = [
            [len(set(self.names("subject", rows[self.labels[rows] == label]))) for rows in (before, kept)]
            for label in range(len(self.manifest.classes))
        ]
        named = zip(self.manifest.classes, people, strict=True)
        counts = ", ".join(f"{name} {left} of {there}" for name, (there, left) in named)
        return (
            "imbalance by subjects confounds identity with class: people who show each class in what is kept are "
            f"{counts}, so that who a face is tells something of its class; imbalance.by: samples keeps samples of all"
        )

    def cut_validation(self, pool: Rows) -> tuple[Rows, Rows]:
        share = self.protocol.validation
        if share == 0:
            return pool, pool[:0]
        if self.unit == "sample" and len(self.copies.pairs):
            # Copies within training go together: one of them decides for all.
            first = self.copies.leaders[pool]
            lead = np.unique(first)
            held = np.isin(first, lead[self.parts(lead, [1 - share, share], 1) == 1])
        else:
            held = self.parts(pool, [1 - share, share], 1) == 1
        return pool[~held], pool[held]

    def shared(self, train: Rows) -> Rows:
        """Leave the rest of the training people out where a share of them is asked for."""
        share = self.protocol.train_fraction
        if share == 1:
            return train
        kept: Rows = train[self.parts(train, [share, 1 - share], SHARE) == 0]
        self.notes.append(f"trained on a share of {share:g} of what there is: {len(kept)} of {len(train)} samples")
        return kept

    def say_unit(self, developed: Rows, test: Rows) -> str:
        """Say what stays together; of clips and people torn apart, how many are trained or validated and tested on."""
        if self.unit == "subject":
            return "divided by subject"
        clips, people = (self.torn(unit, developed, test) for unit in ("clip", "subject"))
        if self.protocol.test_clips is not None:
            return (
                f"LEAKY: {self.protocol.test_clips} whole clips test, as asked: clips of {people} stand on both sides; "
                "training and validation share the other clips' frames"
            )
        if self.protocol.by == "frame":
            return f"LEAKY: divided by frame as asked: frames of {clips} and of {people} stand on both sides"
        if self.unit == "clip" and self.manifest.has_subjects:
            if people == "no person":
                return "divided by clip as asked; no person stands on both sides"
            return f"LEAKY: divided by clip as asked: clips of {people} stand on both sides"
        how = "clip" if self.unit == "clip" else "sample, every class in the same shares"
        return f"subjects are not known for every sample: divided by {how}; a person may stand on both sides"

    def torn(self, unit: str, developed: Rows, test: Rows) -> str:
        """Count the clips or people that stand on both sides, in words."""
        names = self.manifest.table[unit]
        one, several = ("clip", "clips") if unit == "clip" else ("person", "people")
        if names.isna().all():
            return f"an unknown number of {several}"
        found = len(set(names.iloc[developed].dropna()) & set(names.iloc[test].dropna()))
        return f"no {one}" if not found else f"{found:,} {one if found == 1 else several}"

    def say_missing(self, train: Rows, validation: Rows, test: Rows) -> None:
        for name, rows in (("training", train), ("validation", validation), ("test", test)):
            absent = [c for c, n in zip(self.manifest.classes, self.manifest.counts(rows), strict=True) if n == 0]
            if absent and (len(rows) or name != "validation"):
                self.notes.append(f"{name} has no sample of {', '.join(absent)}")
