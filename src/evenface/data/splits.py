"""Split a manifest into training, validation and test set by a protocol.

The steps are: cohort, imbalance of the whole dataset (only if requested), test set, removal of duplicates, imbalance of
the training set, validation set, fraction of the training set that is used.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evenface.config.recipe import Imbalance, Protocol
from evenface.data.imbalance import subsample, wanted_counts
from evenface.data.manifest import Manifest
from evenface.utils.errors import InputError

Rows = NDArray[np.int64]
Fractions = NDArray[np.float64]

TEST, VALIDATION, IMBALANCE, COHORT, TRAIN_FRACTION, TEST_CLIPS = range(6)
"""Second entry of the seed of each random draw, so that the draws of one protocol are independent."""
PSEUDO_SUBJECT = "pseudo-subject"
ORDERS = 32
"""Random orders of groups that are tried for a stratified assignment."""


@dataclass(frozen=True)
class Split:
    """Row positions of the training, validation and test set, and notes for readers of the results."""

    train: Rows
    validation: Rows
    test: Rows
    notes: tuple[str, ...]


def split_manifest(
    manifest: Manifest,
    protocol: Protocol,
    duplicates: NDArray[np.int64] | None = None,
    pseudo_subjects: NDArray[np.int64] | None = None,
) -> Split:
    """Split a manifest into training, validation and test set.

    The counts and factor of an imbalance apply to training and validation together if the validation set is split off
    the training set, and to the training set alone if the official validation set is used. The result does not depend
    on the order of the rows.

    Parameters
    ----------
    manifest : Manifest
        Samples to split.
    protocol : Protocol
        How to split them.
    duplicates : int64 array of shape (P, 2), optional
        Pairs of rows with the same image, from :func:`evenface.data.leakage.copies_across`; the relation is taken to
        be transitive. Required unless ``protocol.duplicates`` is ``keep``.
    pseudo_subjects : int64 array of shape (N,), optional
        First row of the cluster of each row, from
        :func:`evenface.preprocessing.pseudo_subjects.find_pseudo_subjects`. Required for ``by: pseudo-subject``.

    Returns
    -------
    Split
        Rows of each set.

    Raises
    ------
    InputError
        If the protocol does not fit the data: no official split, too few subjects, or more samples requested than
        there are.
    """
    if protocol.duplicates != "keep" and duplicates is None:
        raise InputError(
            f"protocol.duplicates: {protocol.duplicates} needs the pairs of duplicates",
            "Pass the result of evenface.data.leakage.copies_across.",
        )
    order, ordered = _in_order_of_names(manifest)
    rows = cohort_rows(ordered, protocol)
    order, ordered = order[rows], ordered.take(rows)
    pairs = np.empty((0, 2), dtype=np.int64)
    if protocol.duplicates != "keep" and duplicates is not None:
        position = np.full(len(manifest), -1)
        position[order] = np.arange(len(order))
        pairs = position[np.asarray(duplicates, dtype=np.int64).reshape(-1, 2)]
        pairs = pairs[(pairs >= 0).all(axis=1)]
    clusters = None
    if protocol.by == "pseudo-subject" and pseudo_subjects is not None:
        names = manifest.table["sample"].astype(str).to_numpy(dtype=object)
        clusters = _first_names(names, pseudo_subjects)[order]
    split = _Splitter(ordered, protocol, pairs, clusters).split()
    return replace(split, train=order[split.train], validation=order[split.validation], test=order[split.test])


def fold_count(manifest: Manifest, protocol: Protocol) -> int:
    """Return the number of folds that the protocol has on this data, i.e. of values of ``fold``.

    For leave-one-out this is the number of subjects in the cohort, without those that an imbalance of the whole dataset
    leaves without a sample.
    """
    if protocol.kind == "kfold":
        return protocol.folds
    if protocol.kind == "leave-one-out":
        _, ordered = _in_order_of_names(manifest)
        cohort = ordered.take(cohort_rows(ordered, protocol))
        splitter = _Splitter(cohort, protocol, np.empty((0, 2), dtype=np.int64))
        return len(splitter.subjects(splitter.all_rows()))
    return 1


def cohort_rows(manifest: Manifest, protocol: Protocol) -> Rows:
    """Return the rows of the subjects in the protocol's cohort; all rows if there is one cohort.

    Subjects are assigned by the protocol's seed, stratified by class.
    """
    if protocol.cohorts == 1:
        return np.arange(len(manifest), dtype=np.int64)
    if not manifest.has_subjects:
        unknown = int(manifest.table["subject"].isna().sum())
        raise InputError(
            f"protocol: cohorts need the subject of every sample, but it is unknown for {unknown} of {len(manifest)}",
            "Set protocol.cohorts: 1, or an option of the source that finds subjects.",
        )
    subjects = tuple(manifest.table["subject"].astype(str))
    if (count := len(set(subjects))) < protocol.cohorts:
        raise InputError(
            f"protocol: {protocol.cohorts} cohorts need at least as many subjects, but there are {count}",
            f"Set protocol.cohorts to at most {count}.",
        )
    cohorts = _assign_cohorts(manifest.labels.tobytes(), subjects, protocol.cohorts, protocol.seed)
    return np.flatnonzero(cohorts == protocol.cohort)


@functools.lru_cache(maxsize=8)  # all runs of a study ask for the same assignment
def _assign_cohorts(labels: bytes, subjects: tuple[str, ...], cohorts: int, seed: int) -> Rows:
    groups = np.array(subjects, dtype=object)
    seeds = (seed, COHORT, cohorts)
    return assign_groups(np.frombuffer(labels, dtype=np.int64), groups, [1 / cohorts] * cohorts, seeds)


def _first_names(names: NDArray[np.object_], groups: Rows) -> NDArray[np.object_]:
    """Name the group of each row by the first of its names, which does not depend on the order of the rows."""
    order = np.argsort(names.astype(str), kind="stable")
    _, first, index = np.unique(groups[order], return_index=True, return_inverse=True)
    named = np.empty_like(names)
    named[order] = names[order][first[index]]
    return named


def _in_order_of_names(manifest: Manifest) -> tuple[Rows, Manifest]:
    order = np.argsort(manifest.table["sample"].astype(str).to_numpy(), kind="stable")
    return order, manifest.take(order)


# --- stratified assignment to parts


def assign_samples(labels: Rows, fractions: Sequence[float], seed: Sequence[int]) -> Rows:
    """Assign every sample to a part, stratified by class."""
    rng = np.random.default_rng(list(seed))
    target = np.asarray(fractions, dtype=np.float64)
    part = np.empty(len(labels), dtype=np.int64)
    assigned = np.zeros(len(target))
    done = 0
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        done += len(members)
        counts = np.floor(target * len(members)).astype(np.int64)
        # The remainder goes to parts without the class first, then to those furthest below their share of all samples.
        lag = target * done - assigned - counts
        owed = target * len(members) - counts > 0
        missing = (counts == 0) & (len(members) >= len(target))
        first = np.lexsort((-lag, ~missing, ~owed))
        counts[first[: len(members) - counts.sum()]] += 1
        assigned += counts
        part[members] = np.repeat(np.arange(len(target)), counts)
    return part


def assign_groups(labels: Rows, groups: NDArray[np.object_], fractions: Sequence[float], seed: Sequence[int]) -> Rows:
    """Assign every group to a part, so that each part has about its fraction of every class.

    Greedy: groups come in random order, and each joins the part for which the sum over parts and classes of
    ``(fraction of the class there - wanted fraction)^2 / wanted fraction`` increases least. Of 32 seeded orders, the
    one with the fewest classes missing in a part, then the smallest sum, is used. No part is empty if there are enough
    groups.
    """
    names, index = np.unique(groups.astype(str), return_inverse=True)
    classes, label = np.unique(labels, return_inverse=True)
    table = np.zeros((len(names), len(classes)))
    np.add.at(table, (index, label), 1)
    table /= table.sum(axis=0)
    target = np.asarray(fractions, dtype=np.float64)
    rng = np.random.default_rng(list(seed))
    best: tuple[tuple[int, float], Rows] | None = None
    for _ in range(ORDERS):
        part = _fill_empty_parts(_assign_greedily(table, target, rng.permutation(len(names))), table, len(target))
        reached = np.zeros((len(target), len(classes)))
        np.add.at(reached, part, table)
        error = float((((reached - target[:, None]) ** 2) / target[:, None]).sum())
        score = (int((reached == 0).sum()), round(error, 12))
        if best is None or score < best[0]:
            best = (score, part)
    assert best is not None
    return best[1][index]


def _assign_greedily(table: Fractions, target: Fractions, order: Rows) -> Rows:
    """Assign each group, in this order, to the part whose error increases least."""
    reached = np.zeros((len(target), table.shape[1]))
    part = np.empty(len(order), dtype=np.int64)
    for group in order:
        row = table[group]
        increase = ((2 * (reached - target[:, None]) * row + row**2).sum(axis=1)) / target
        part[group] = chosen = int(increase.argmin())
        reached[chosen] += row
    return part


def _fill_empty_parts(part: Rows, table: Fractions, parts: int) -> Rows:
    """Move the smallest group of the part with most groups into each empty part."""
    size = table.sum(axis=1)
    for empty in np.flatnonzero(np.bincount(part, minlength=parts) == 0):
        counts = np.bincount(part, minlength=parts)
        if counts.max() < 2:
            break
        donors = np.flatnonzero(part == counts.argmax())
        part[donors[size[donors].argmin()]] = empty
    return part


# --- duplicates


class _Duplicates:
    """Groups of rows with the same image, from pairs of rows."""

    def __init__(self, pairs: Rows, size: int) -> None:
        self.pairs, self.size = pairs, size

    @cached_property
    def first(self) -> Rows:
        """For every row the first row of its group, which may be itself."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        links = coo_array((np.ones(len(self.pairs)), self.pairs.T), shape=(self.size, self.size))
        _, component = connected_components(links, directed=False)
        _, first, index = np.unique(component, return_index=True, return_inverse=True)
        return np.asarray(first[index], dtype=np.int64)

    def without(self, rows: Rows, others: Rows) -> Rows:
        """Return those of ``rows`` that are not a duplicate of any of ``others``."""
        return rows[~np.isin(self.first[rows], self.first[others])]

    def remove(
        self, choice: Literal["keep", "drop-train", "drop-test"], train: Rows, validation: Rows, test: Rows
    ) -> tuple[Rows, Rows, Rows, list[str]]:
        """Remove images that are in two of the sets, and return the sets and notes."""
        if choice == "keep":
            return train, validation, test, []
        development = np.concatenate([train, validation])
        if choice == "drop-train":
            remaining = self.without(development, test)
            validation = validation[np.isin(validation, remaining)]
            kept = self.without(train[np.isin(train, remaining)], validation)
            removed = len(development) - len(remaining)
            notes = [f"duplicates: {removed} images removed from training that are in the test set"]
            if removed := len(remaining) - len(validation) - len(kept):
                notes.append(f"duplicates: {removed} images removed from training that are in the validation set")
            train = kept
        else:
            kept, kept_validation = self.without(test, development), self.without(validation, train)
            dropped = len(test) - len(kept) or "no"
            notes = [f"duplicates: {dropped} images removed from test that are in training (before any imbalance)"]
            if removed := len(validation) - len(kept_validation):
                notes.append(f"duplicates: {removed} images removed from validation that are in the training set")
            validation, test = kept_validation, kept
        if not len(train) or not len(test):
            raise InputError("protocol: no image is left after removing duplicates", "Set protocol.duplicates: keep.")
        return train, validation, test, notes


# --- the split


class _Splitter:
    """Computes one split of a manifest whose rows are in the order of their names."""

    def __init__(
        self, manifest: Manifest, protocol: Protocol, pairs: Rows, clusters: NDArray[np.object_] | None = None
    ) -> None:
        self.manifest, self.protocol, self.duplicates = manifest, protocol, _Duplicates(pairs, len(manifest))
        self.labels = manifest.labels
        self.notes: list[str] = []
        if protocol.cohorts > 1:
            subjects = manifest.table["subject"].nunique()
            self.notes.append(
                f"cohort {protocol.cohort + 1} of {protocol.cohorts}: {subjects} subjects with {len(manifest)} "
                "samples; the others are not used"
            )
        self.unit = self._unit()
        if self.unit == PSEUDO_SUBJECT:
            self._check_clusters(clusters is not None)
        self.groups = self.names(self.unit) if clusters is None else clusters

    def _unit(self) -> str:
        """Return the column whose equal values stay in one set."""
        table, by = self.manifest.table, self.protocol.by
        known = [unit for unit in ("subject", "clip") if table[unit].notna().all()]
        if by == "auto":
            return next(iter(known), "sample")
        if by == "frame":
            return "sample"
        if by == PSEUDO_SUBJECT:
            return by
        if by not in known:
            raise InputError(
                f"protocol: by: {by} needs the {by} of every sample, but it is unknown for "
                f"{int(table[by].isna().sum())} of {len(table)}",
                "Set by: auto, or an option of the source that finds it.",
            )
        return by

    def _check_clusters(self, found: bool) -> None:
        """Refuse pseudo-subjects where subjects are known, and without the clusters."""
        if self.manifest.has_subjects:
            raise InputError(
                "protocol: by: pseudo-subject is for unknown subjects, but all are known", "Set by: subject."
            )
        if not found:
            raise InputError(
                "protocol: by: pseudo-subject needs the clusters of similar faces",
                "Pass the result of evenface.preprocessing.pseudo_subjects.find_pseudo_subjects.",
            )

    def names(self, column: str, rows: Rows | slice = slice(None)) -> NDArray[np.object_]:
        names: NDArray[np.object_] = self.manifest.table[column].astype(str).to_numpy(dtype=object)[rows]
        return names

    def all_rows(self) -> Rows:
        """Return all rows, without those that an imbalance of the whole dataset removes."""
        imbalance = self.protocol.imbalance
        rows = np.arange(len(self.manifest), dtype=np.int64)
        if imbalance and imbalance.on == "all":
            rows = self.subsample(rows, imbalance)
            self.notes.append("imbalance induced in the whole dataset: the test set is imbalanced too")
        return rows

    def subjects(self, rows: Rows) -> list[str]:
        """Return the sorted names of the subjects; an InputError if some are unknown."""
        if not self.manifest.has_subjects:
            unknown, total = int(self.manifest.table["subject"].isna().sum()), len(self.manifest)
            raise InputError(
                f"protocol: leave-one-out needs the subject of every sample, but it is unknown for {unknown} "
                f"of {total}",
                "Use kfold, or set an option of the source that finds subjects.",
            )
        return sorted(set(self.names("subject", rows)))

    def split(self) -> Split:
        imbalance, protocol = self.protocol.imbalance, self.protocol
        rows = self.all_rows()
        pool, validation, test = self.official_sets(rows) if protocol.kind == "official" else self.hold_out(rows)
        pool, validation, test, notes = self.duplicates.remove(protocol.duplicates, pool, validation, test)
        self.notes += notes
        if imbalance and imbalance.on == "train":
            pool = self.subsample(pool, imbalance)
            before = (
                ", before the validation set is split off" if protocol.validation > 0 and not len(validation) else ""
            )
            self.notes.append(f"imbalance induced in the training set only{before}")
        if not len(pool) or not len(test):
            raise InputError(
                f"protocol: the {'training' if len(test) else 'test'} set is empty",
                "Use fewer folds, another fold, or less imbalance.",
            )
        train, validation = (pool, validation) if len(validation) else self.split_validation(pool)
        train = self.reduce_training(train)
        if protocol.kind != "official":
            self.notes.insert(0, self.unit_note(pool, test))
        self.note_absent_classes(train, validation, test)
        return Split(train, validation, test, tuple(self.notes))

    def official_sets(self, rows: Rows) -> tuple[Rows, Rows, Rows]:
        sides = self.manifest.table["split"].to_numpy(dtype=object, na_value="")[rows]
        train, validation, test = (rows[sides == name] for name in ("train", "validation", "test"))
        if not len(train) or not len(test) + len(validation):
            raise InputError(
                f"protocol: the dataset {self.manifest.source} has no official split into training and test set",
                "Use kind: holdout, kfold or leave-one-out.",
            )
        unused = int((sides == "").sum())
        if unused:
            self.notes.append(f"{unused} samples are in no official set and are not used")
        if not len(test):
            self.notes.append("there is no official test set: the official validation set is the test set")
            return train, test, validation
        if len(validation) and self.protocol.validation == 0:
            self.notes.append(f"the official validation set ({len(validation)} samples) is not used")
            validation = validation[:0]
        elif len(validation):
            self.notes.append("the official validation set is used; none is split off the training set")
        return train, validation, test

    def hold_out(self, rows: Rows) -> tuple[Rows, Rows, Rows]:
        kind, protocol = self.protocol.kind, self.protocol
        if kind == "leave-one-out":
            subjects = self.subjects(rows)
            if protocol.fold >= len(subjects):
                raise InputError(f"protocol: fold must be 0 to {len(subjects) - 1}, got {protocol.fold}")
            if len(subjects) < 2:
                raise InputError("protocol: leave-one-out needs at least two subjects, but there is one")
            test = self.groups[rows] == subjects[protocol.fold]
        elif protocol.test_clips is not None:
            test = np.isin(self.names("clip", rows), self.draw_test_clips(rows, protocol.test_clips))
        elif kind == "kfold":
            test = self.assign(rows, [1 / protocol.folds] * protocol.folds, TEST) == protocol.fold
        else:
            test = self.assign(rows, [1 - protocol.test, protocol.test], TEST) == 1
        return rows[~test], rows[:0], rows[test]

    def draw_test_clips(self, rows: Rows, count: int) -> list[str]:
        """Draw whole clips as test set: equally many per class, and the remainder from randomly chosen classes."""
        names, labels = self.names("clip", rows), self.labels[rows]
        if self.manifest.table["clip"].isna().any():
            raise InputError("protocol: test_clips needs the clip of every sample", "Remove test_clips.")
        label_of = dict(zip(names, labels.tolist(), strict=True))
        if any(label_of[name] != label for name, label in zip(names, labels.tolist(), strict=True)):
            raise InputError("protocol: test_clips needs clips with one class each", "Remove test_clips.")
        random = np.random.default_rng([self.protocol.seed, TEST_CLIPS])
        classes = random.permutation(np.unique(labels)).tolist()
        drawn: list[str] = []
        for index, label in enumerate(classes):
            clips = sorted(name for name, clip_label in label_of.items() if clip_label == label)
            wanted = count // len(classes) + (index < count % len(classes))
            if wanted >= len(clips):
                raise InputError(
                    f"protocol: {wanted} test clips of class {self.manifest.classes[label]} leave none of its "
                    f"{len(clips)} clips for training",
                    "Set a smaller number of test_clips.",
                )
            drawn += [clips[i] for i in random.permutation(len(clips))[:wanted]]
        return drawn

    def assign(self, rows: Rows, fractions: Sequence[float], purpose: int) -> Rows:
        """Assign each of ``rows`` to a part; whole subjects or clips stay together."""
        seed = (self.protocol.seed, purpose, self.protocol.fold if purpose else 0)
        labels, groups = self.labels[rows], self.groups[rows]
        if self.unit == "sample":
            return assign_samples(labels, fractions, seed)
        count = len(np.unique(groups.astype(str)))
        if count < len(fractions):
            key, hint = {
                VALIDATION: ("validation", "Set validation: 0."),
                TRAIN_FRACTION: ("train_fraction", "Set train_fraction: 1."),
            }.get(purpose, ("the split", "Use fewer folds."))
            raise InputError(
                f"protocol: {key} needs at least {len(fractions)} {self.unit}s, but there are {count}", hint
            )
        return assign_groups(labels, groups, fractions, seed)

    def subsample(self, rows: Rows, imbalance: Imbalance) -> Rows:
        wanted = wanted_counts(imbalance, self.manifest.counts(rows), self.manifest.classes)
        subjects = clips = None
        if imbalance.by == "subjects":
            if not self.manifest.has_subjects:
                raise InputError("imbalance: by: subjects needs the subject of every sample", "Use by: samples.")
            subjects = self.names("subject", rows)
            clips = self.names("clip", rows) if self.manifest.table["clip"].notna().all() else None
        seed = (self.protocol.seed, IMBALANCE)
        kept, unit_note = subsample(rows, self.labels[rows], wanted, subjects=subjects, clips=clips, seed=seed)
        counts = ", ".join(f"{c} {n}" for c, n in zip(self.manifest.classes, wanted.tolist(), strict=True))
        target = f"factor {imbalance.factor:g}" if imbalance.factor is not None else "counts"
        self.notes.append(f"imbalance to {target}: {counts} ({len(rows) - len(kept)} samples removed)")
        if unit_note:
            self.notes += [unit_note, *([self.confounding_note(rows, kept)] if len(kept) < len(rows) else [])]
        return kept

    def confounding_note(self, before: Rows, kept: Rows) -> str:
        """Report how many subjects each class has after whole subjects were removed from it."""
        numbers = [
            [len(set(self.names("subject", rows[self.labels[rows] == label]))) for rows in (before, kept)]
            for label in range(len(self.manifest.classes))
        ]
        named = zip(self.manifest.classes, numbers, strict=True)
        counts = ", ".join(f"{name} {left} of {total}" for name, (total, left) in named)
        return (
            f"imbalance by subjects confounds identity with class: the kept samples have, of the subjects of each "
            f"class, {counts}, so that identity predicts the class; imbalance.by: samples keeps samples of all subjects"
        )

    def split_validation(self, pool: Rows) -> tuple[Rows, Rows]:
        fraction = self.protocol.validation
        if fraction == 0:
            return pool, pool[:0]
        if self.unit == "sample" and len(self.duplicates.pairs):
            # Duplicates within the training set stay together: the first of them is assigned.
            first = self.duplicates.first[pool]
            unique = np.unique(first)
            validation = np.isin(first, unique[self.assign(unique, [1 - fraction, fraction], VALIDATION) == 1])
        else:
            validation = self.assign(pool, [1 - fraction, fraction], VALIDATION) == 1
        return pool[~validation], pool[validation]

    def reduce_training(self, train: Rows) -> Rows:
        """Keep the requested fraction of the training subjects or samples."""
        fraction = self.protocol.train_fraction
        if fraction == 1:
            return train
        kept: Rows = train[self.assign(train, [fraction, 1 - fraction], TRAIN_FRACTION) == 0]
        self.notes.append(
            f"a fraction of {fraction:g} of the training set is used: {len(kept)} of {len(train)} samples"
        )
        return kept

    def unit_note(self, development: Rows, test: Rows) -> str:
        """Report the unit of the split, and the number of clips and subjects in both training and test set."""
        if self.unit == "subject":
            return "subject-independent split"
        if self.unit == PSEUDO_SUBJECT:
            count, total = len(set(self.groups)), len(self.groups)
            return (
                f"WARNING: people are clusters of similar faces, not known subjects: the split keeps {count:,} "
                f"pseudo-subjects of {total:,} samples together; a person may still be in both training and test set"
            )
        clips, subjects = (self.shared(unit, development, test) for unit in ("clip", "subject"))
        if self.protocol.test_clips is not None:
            return (
                f"LEAKY: the test set is {self.protocol.test_clips} whole clips as requested: clips of {subjects} are "
                "in both training and test set; training and validation set have frames of the same clips"
            )
        if self.protocol.by == "frame":
            return (
                f"LEAKY: split by frame as requested: frames of {clips} and of {subjects} are in both training and "
                "test set"
            )
        if self.unit == "clip" and self.manifest.has_subjects:
            if subjects == "no subject":
                return "split by clip as requested; no subject is in both training and test set"
            return f"LEAKY: split by clip as requested: clips of {subjects} are in both training and test set"
        unit = "clip" if self.unit == "clip" else "sample, stratified by class"
        return (
            f"subjects are not known for every sample: split by {unit}; a subject may be in both training and test set"
        )

    def shared(self, unit: str, development: Rows, test: Rows) -> str:
        """Return the number of clips or subjects that are in both training and test set, with the noun."""
        names = self.manifest.table[unit]
        if names.isna().all():
            return f"an unknown number of {unit}s"
        count = len(set(names.iloc[development].dropna()) & set(names.iloc[test].dropna()))
        return f"no {unit}" if not count else f"{count:,} {unit}{'' if count == 1 else 's'}"

    def note_absent_classes(self, train: Rows, validation: Rows, test: Rows) -> None:
        for name, rows in (("training", train), ("validation", validation), ("test", test)):
            absent = [c for c, n in zip(self.manifest.classes, self.manifest.counts(rows), strict=True) if n == 0]
            if absent and (len(rows) or name != "validation"):
                self.notes.append(f"the {name} set has no sample of {', '.join(absent)}")
