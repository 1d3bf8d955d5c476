"""Targets of a task: columns to be predicted, and the strata that splits and sampling balance in place of classes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from evenface.data.labels import level_values
from evenface.data.manifest import ATTRIBUTES, COLUMNS, Manifest, TaskKind
from evenface.utils.errors import InputError
from evenface.utils.extras import LazyModule
from evenface.utils.files import natural_order
from evenface.utils.registry import nearest

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LazyModule("pandas")

__all__ = ["TaskKind", "select_targets"]

LEVEL = "level"
"""Name of the target that ordered classes give to a regression: the value of the level."""
BINS = 10
"""Strata of a continuous target, of equal width, so that rare high values are rare strata."""
FEWEST = 10
"""Samples of a combination of units that make a stratum of their own; rarer ones are joined by their rarest unit."""
UNIT = re.compile(r"AU\d{1,2}[LR]?", re.IGNORECASE)
"""Name of an action unit, or of its left or right side."""
UNKNOWN = "unknown"
RAW = "raw_"
"""Prefix of the column with the values of a multi-label target that is graded, such as intensities of 0 to 5."""


def select_targets(
    manifest: Manifest, task: TaskKind | None = None, targets: Sequence[str] = (), positive_from: float = 1.0
) -> Manifest:
    """Return the manifest of a task: which columns are predicted, and the strata of their values.

    Parameters
    ----------
    manifest : Manifest
        Samples with their classes, and with numeric columns such as action units (``AU12``), ``pspi`` or ``valence``.
    task : {"classification", "ordinal", "regression", "multilabel"}, optional
        By default that of the dataset, also where ``targets`` are of those that it declares; with others,
        ``multilabel`` where all of them are action units or have no values but 0 and 1, else ``regression``.
    targets : sequence of str
        Columns to be predicted, of numbers; missing values are allowed. By default those that the dataset declares. A
        regression without any predicts the value of ordered classes, as the target ``level``.
    positive_from : float, default=1.0
        Multi-label: the value from which a target is present, such as an intensity of 2 of 0 to 5 in DISFA.

    Returns
    -------
    Manifest
        For regression and multi-label, ``label`` and ``classes`` are strata: bins of equal width of the first target,
        or combinations of present targets, of which those of fewer than 10 samples are joined by their rarest target.
        Splits, sampling and induced imbalance balance these as they do classes.

    Raises
    ------
    InputError
        If a column does not exist or has no numbers, a target does not vary, or the classes have no order.
    """
    graded = manifest.task == "multilabel" and any(RAW + name in manifest.table for name in manifest.targets)
    if not targets and task in (None, manifest.task) and not graded:
        return manifest
    if not targets and task in ("classification", "ordinal"):
        return _of_classes(manifest, task)
    if task in ("classification", "ordinal"):
        raise InputError(
            f"data.task: {task} predicts classes, but data.targets names columns",
            "Set data.task to regression or multilabel, or leave data.targets out.",
        )
    names = list(dict.fromkeys(targets)) or list(manifest.targets)
    if not names and task == "regression" and manifest.ordered:
        table = manifest.table.assign(**{LEVEL: level_values(manifest.classes)[manifest.labels]})
        return _with_strata(replace(manifest, table=table), "regression", [LEVEL], positive_from)
    if not names:
        hint = f"Set data.targets, such as data.targets=[{', '.join(target_columns(manifest)[:2]) or 'AU1, AU2'}]."
        if task == "regression":
            hint += " To predict the value of classes that are levels: data.ordered=true."
        raise InputError(f"{manifest.source}: data.task: {task} needs the columns that are to be predicted", hint)
    return _with_strata(manifest, task or _task_of(manifest, names), names, positive_from)


def target_columns(manifest: Manifest) -> list[str]:
    """Return the columns of a manifest that can be predicted: numbers, beside those that every manifest has."""
    table = manifest.table
    return [
        str(name)
        for name in table.columns
        if name not in COLUMNS
        and not str(name).startswith(("votes_", RAW))
        and name not in ATTRIBUTES
        and pd.api.types.is_numeric_dtype(table[name])
    ]


def _of_classes(manifest: Manifest, task: TaskKind) -> Manifest:
    if manifest.targets:
        raise InputError(
            f"{manifest.source} has no classes, so data.task: {task} cannot be",
            f"It is a {manifest.task} of {', '.join(manifest.targets)}.",
        )
    if task == "ordinal" and not manifest.ordered:
        raise InputError(
            f"{manifest.source}: the classes {', '.join(manifest.classes)} are not known to be steps of one scale",
            "Set data.ordered: true; names that are no numbers need data.classes too, from lowest to highest.",
        )
    return replace(manifest, task=task)


def _task_of(manifest: Manifest, names: Sequence[str]) -> TaskKind:
    """Return the dataset's task for targets that it declares; else multilabel for units and columns of 0 and 1."""
    if set(names) <= set(manifest.targets):
        return manifest.task
    binary = are_binary(column_values(manifest, names), names)
    return "multilabel" if all(b or is_unit(name) for b, name in zip(binary, names, strict=True)) else "regression"


def are_binary(values: np.ndarray, names: Sequence[str]) -> list[bool]:
    """Return which targets have no values but 0 and 1; of units all or none, as a rare one may never be above 1.

    Examples
    --------
    >>> are_binary(np.array([[0.0, 1.0, 1.0], [np.nan, 3.0, 0.0]]), ["AU9", "AU12", "smile"])
    [False, False, True]
    """
    binary = (np.isin(values, (0, 1)) | np.isnan(values)).all(axis=0)
    units = [is_unit(name) for name in names]
    binary[units] = binary[units].all()
    return [bool(each) for each in binary]


def is_unit(name: str) -> bool:
    """Return whether a column is named like an action unit: ``AU12``, or ``AU12L`` of the left side."""
    return UNIT.fullmatch(name) is not None


def column_values(manifest: Manifest, names: Sequence[str], key: str = "data.targets") -> np.ndarray:
    """Return the values of columns that a recipe's key names, float64, (N, T), NaN where missing."""
    known = target_columns(manifest)
    for name in names:
        if name not in known:
            hint = nearest(name, known) if known else f"{manifest.source} has no columns of numbers."
            raise InputError(f"{manifest.source}: there is no column of numbers {name!r} for {key}", hint)
    columns = [RAW + name if RAW + name in manifest.table else name for name in names]
    values: np.ndarray = manifest.table[columns].to_numpy(dtype=np.float64, na_value=np.nan)
    return values


def predicted_values(manifest: Manifest, names: Sequence[str], task: TaskKind, positive_from: float) -> np.ndarray:
    """Return targets of samples as a model of the task predicts them, (N, T), NaN where missing; none need vary."""
    values = column_values(manifest, names)
    return present_from(values, positive_from) if task == "multilabel" else values


def present_from(values: np.ndarray, positive_from: float) -> np.ndarray:
    """Return whether targets are present, 1 or 0, NaN where missing."""
    return np.where(np.isnan(values), np.nan, values >= positive_from)


def strata_of(values: np.ndarray, names: Sequence[str], task: TaskKind) -> list[str]:
    """Name the stratum of each sample: its combination of present targets, or the bin of the first value."""
    return combinations(values, names) if task == "multilabel" else value_bins(values[:, 0], names[0])


def _with_strata(manifest: Manifest, task: TaskKind, names: list[str], positive_from: float) -> Manifest:
    values = column_values(manifest, names)
    raw: dict[str, np.ndarray] = {}
    if task == "multilabel":
        graded = ~np.isin(values, (0, 1)) & ~np.isnan(values)
        raw = {RAW + names[index]: values[:, index] for index in np.flatnonzero(graded.any(axis=0)).tolist()}
        values = present_from(values, positive_from)
    for name, column in zip(names, values.T, strict=True):
        known = column[~np.isnan(column)]
        if len(np.unique(known)) < 2:
            what = f"only the value {known[0]:g}" if len(known) else "no value"
            change = ", or change data.positive_from" if task == "multilabel" else ""
            raise InputError(
                f"{manifest.source}: the target {name} has {what}, so nothing can be learnt of it",
                f"Leave it out of data.targets{change}.",
            )
    strata = strata_of(values, names, task)
    order = natural_order(set(strata))
    labels = pd.Series(strata).map({name: index for index, name in enumerate(order)}).to_numpy(dtype=np.int64)
    table = manifest.table.assign(label=labels, **raw, **dict(zip(names, values.T, strict=True)))
    return replace(manifest, table=table, classes=tuple(order), task=task, targets=tuple(names))


def combinations(present: np.ndarray, names: Sequence[str]) -> list[str]:
    """Name the combination of units present in each sample; missing units count as absent where others are known.

    Examples
    --------
    >>> combinations(np.repeat([[0, 0], [1, 0], [1, 1]], [10, 10, 3], axis=0), ["AU1", "AU9"])[::10]
    ['none', 'AU1', 'AU9 in rare combinations']
    """
    rows = np.nan_to_num(present) > 0
    unique, inverse, counts = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    frequency = rows.sum(axis=0)
    called = []
    for combination, count in zip(unique, counts, strict=True):
        members = np.flatnonzero(combination)
        if not len(members):
            called.append("none")
        elif count >= FEWEST or len(members) == 1:
            called.append("+".join(names[int(index)] for index in members))
        else:
            rarest = int(members[frequency[members].argmin()])
            called.append(f"{names[rarest]} in rare combinations")
    unknown = np.isnan(present).all(axis=1)
    return [UNKNOWN if lost else called[index] for lost, index in zip(unknown, inverse.ravel().tolist(), strict=True)]


def bin_index(values: np.ndarray) -> np.ndarray:
    """Return the bin of each value: its place among the different values, or one of 10 of equal width.

    Examples
    --------
    >>> bin_index(np.array([0.0, 7.0, 7.0])).tolist(), bin_index(np.arange(12.0)).tolist()
    ([0, 1, 1], [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9])
    """
    unique = np.unique(values)
    if len(unique) <= BINS:
        return np.searchsorted(unique, values)
    edges = np.linspace(unique[0], unique[-1], BINS + 1)
    return np.clip(np.searchsorted(edges, values, side="right") - 1, 0, BINS - 1)


def value_bins(values: np.ndarray, name: str) -> list[str]:
    """Name the bin of each value: the value itself where there are few different ones, else one of 10 of equal width.

    Examples
    --------
    >>> value_bins(np.array([0.0, 3.0, np.nan]), "pspi")
    ['pspi 0', 'pspi 3', 'unknown']
    """
    known = np.unique(values[~np.isnan(values)])
    called = [f"{name} {value:g}" for value in known]
    if len(known) > BINS:
        edges = np.linspace(known[0], known[-1], BINS + 1)
        called = [f"{name} {low:.3g} to {high:.3g}" for low, high in pairwise(edges)]
    named = np.full(len(values), UNKNOWN, dtype=object)
    rows = ~np.isnan(values)
    named[rows] = np.array(called, dtype=object)[bin_index(values[rows])]
    return list(named)
