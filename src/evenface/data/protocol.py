"""The protocol: who trains, who tests, and how uneven training is made."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evenface.data.cohorts import cohort_rows
from evenface.data.copies import Copies
from evenface.data.folds import Rows, deal, deal_groups
from evenface.data.manifest import Manifest
from evenface.data.uneven import thin, wanted_counts
from evenface.errors import InputError
from evenface.recipes.data import Imbalance, Protocol

__all__ = ["Split", "fold_count", "split"]

SHARE, CLIPS = 4, 5
"""Purposes of the draws of those who are trained on and of test clips; 0 to 3 are sides, validation, imbalance and
cohorts."""


@dataclass(frozen=True)
class Split:
    """Row positions of each side, and what a reader of results must know about them.

    Parameters
    ----------
    train, validation, test : int64 array
        Positions in the manifest, in the order of the samples' names. No position stands on two sides.
    notes : tuple of str
        How the sides were made and what was left out.
    """

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


def split(manifest: Manifest, protocol: Protocol, duplicates: NDArray[np.int64] | None = None) -> Split:
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
            return deal(labels, shares, seed)
        found = len(np.unique(groups.astype(str)))
        if found < len(shares):
            what, hint = {1: ("validation", "Set validation: 0."), SHARE: ("share", "Set share: 1.")}.get(
                purpose, ("protocol", "Ask for fewer folds.")
            )
            raise InputError(
                f"protocol: {what} needs {len(shares)} {self.unit}s or more to divide, there are {found}", hint
            )
        return deal_groups(labels, groups, shares, seed)

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
        kept, how = thin(rows, self.labels[rows], wanted, subjects=subjects, clips=clips, seed=seed)
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
