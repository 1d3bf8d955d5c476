"""The table of a study: what the runs' stored predictions say of each cell, and nothing else."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evenface.config.recipe import Protocol
from evenface.evaluation.bootstrap import LEVEL, Estimate
from evenface.evaluation.comparison import Difference
from evenface.evaluation.comparison import compare as compare_predictions
from evenface.evaluation.metric_registry import (
    CLIP,
    HEADLINE,
    METRICS,
    find_metric,
    is_per_class,
    label,
    limits,
    lower_note,
)
from evenface.evaluation.metrics import confusion_matrix
from evenface.evaluation.paired_tests import FEWEST, holm
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.summary import measured, measured_each
from evenface.reporting.summaries import leakage_notes
from evenface.reporting.tables import Cell, Table
from evenface.runs import VALIDATION as HELD_BACK
from evenface.runs import Run
from evenface.statistics.t_tests import ResampledT, estimate, fold_overlap, resampled_t_test
from evenface.studies.definition import CONFUSION, VALIDATION, PrintedValue
from evenface.studies.plan import OWN, StudyPlan
from evenface.utils.errors import InputError
from evenface.utils.files import atomic_write
from evenface.utils.progress import progress

REPEAT = ("seed", "fold")
RUNS, FOLDS, COHORTS = "runs", "folds", "cohorts"
"""What may be repeated."""
OVERLAP = "(n_test / n_train)"
"""Column that holds how much the training sets of a run's protocol overlap, see :func:`train_overlap`."""
SHARED = (
    "Folds share most of their training data: intervals and p are those of the corrected resampled t-test (Nadeau and "
    "Bengio, n_test/n_train = {:.3g}). The plain paired t test, which takes folds as independent, stands beside."
)
LEFT_OUT = (
    "Each fold is one person left out: test sets share nobody, training sets all people but two. Intervals and p are "
    "those of the corrected resampled t-test (Nadeau and Bengio, n_test/n_train = {:.3g}). The plain paired t test, "
    "which takes the one set of training people as given and asks about other test people alone, stands beside."
)


def by_fold(runs: pd.DataFrame) -> bool:
    """Whether folds are the units of replication: they are where there are several, as each tests on other samples."""
    return runs["fold"].nunique() > 1


def train_overlap(protocol: Protocol, facts: dict[str, Any]) -> float:
    """Return n_test / n_train of a run whose fold is one of several; 0 where runs share no training data."""
    if protocol.cohorts > 1:
        return 0.0
    if protocol.kind == "kfold":
        return fold_overlap(protocol.folds)
    if protocol.kind == "leave-one-out":
        people = facts.get("people") or {}
        trained = (people.get("train") or 0) + (people.get("validation") or 0)
        return (people.get("test") or 1) / trained if trained else math.nan
    return 0.0


def overlap(runs: pd.DataFrame) -> float:
    """Return n_test / n_train of the folds that are the units of replication; 0 where they are runs or cohorts."""
    if not by_fold(runs):
        return 0.0
    return float(runs[OVERLAP].fillna(fold_overlap(runs["fold"].nunique())).max())


def estimate_over(
    runs: pd.DataFrame, metric: str, within: tuple[float, float] = (-math.inf, math.inf)
) -> tuple[Estimate, float, int]:
    """Return the mean of a cell's units of replication with its interval, their standard deviation and number."""
    return estimate(replicates(runs, metric), within=within, overlap=overlap(runs))


def shared_note(plan: StudyPlan, runs: pd.DataFrame) -> str:
    """State how tests allow for the training data that folds share; empty where they share none."""
    share = overlap(runs)
    alone = all(run.recipe.protocol.kind == "leave-one-out" for run in plan.runs)
    return (LEFT_OUT if alone else SHARED).format(share) if share else ""


def parts(plan: StudyPlan) -> str:
    """Say what the folds of a study are: of one protocol, or cohorts that share nobody."""
    return COHORTS if any(run.recipe.protocol.cohorts > 1 for run in plan.runs) else FOLDS


def replicates(runs: pd.DataFrame, metric: str) -> "pd.Series[float]":
    """Give one value for each unit of replication.

    Units are the folds where there are several, else the runs. Seeds of one fold are tested on the same samples, so
    they are averaged, as are cells of one repetition.
    """
    unit = ["fold"] if by_fold(runs) else list(REPEAT)
    means: pd.Series[float] = runs.groupby(unit, dropna=False)[metric].mean()
    return means


def unit_note(plan: StudyPlan, runs: pd.DataFrame, *, spread: bool = True) -> str:
    """Say what means, intervals and standard deviations are over."""
    unit = parts(plan) if by_fold(runs) else RUNS
    averaged = f"; seeds of a {unit[:-1]} are averaged first" if by_fold(runs) and runs["seed"].nunique() > 1 else ""
    alone = by_fold(runs) and all(run.recipe.protocol.kind == "leave-one-out" for run in plan.runs)
    said = f"Mean over the {unit} of a cell with the {LEVEL:.0%} interval of that mean (t over {unit}){averaged}"
    said += f"; sd: standard deviation over {unit}." if spread else "."
    if share := overlap(runs):
        said += f" It allows for the training data that folds share (n_test/n_train = {share:.3g})."
    return f"{said} The unit of replication is the {unit[:-1]}{', which is one person left out' if alone else ''}."


CLASSWISE, AS = " of ", " as "
LEAKS = "(leaky)"
"""Column that says whether people or clips stand on both sides of a run's split."""
LEAKY_NOTE = "LEAKY: people or clips stand on both sides of the split of the runs so marked; their figures flatter. "


def measure(plan: StudyPlan, out: Path) -> pd.DataFrame:
    """Compute every metric of every run that has ended, from its stored predictions."""
    rows = []
    known: dict[tuple[str, str], dict[str, Any]] = {}
    with progress("reading predictions", len(plan.runs)) as bar:
        for run in plan.runs:
            bar(1)
            if not plan.ended(run, out):
                continue
            for test in plan.sides:
                folder = f"{run.folder}/on-{test}" if test in plan.tests else run.folder
                if test == VALIDATION and not (out / folder / HELD_BACK).is_file():
                    continue
                if (folder, test) not in known:
                    opened = Run(out / folder)
                    judged = opened.validation if test == VALIDATION else opened.predictions
                    assert judged is not None  # the file is there
                    names = dict.fromkeys((*plan.study.metrics, *plan.study.tested.values()))
                    values = values_of(opened, tuple(names), judged)
                    share = train_overlap(run.recipe.protocol, opened.facts)
                    known[folder, test] = {LEAKS: bool(leakage_notes(opened)), OVERLAP: share, **values}
                levels = dict(zip(plan.factors, run.cell, strict=True))
                repeat = {"seed": run.seed, "fold": run.fold}
                rows.append({**levels, **repeat, "test": test, "folder": folder, **known[folder, test]})
    columns = [*plan.factors, *REPEAT, "test", "folder", LEAKS, OVERLAP]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=[*columns, *plan.study.metrics])


def values_of(run: Run, names: Sequence[str], predictions: Predictions) -> dict[str, float]:
    """Give the metrics of what a run said; those of classes for each class."""
    matrix = confusion_matrix(predictions.labels, predictions.predicted, len(predictions.classes))
    found: dict[str, float] = {}
    for name in names:
        if is_per_class(name):
            each = measured_each(name, predictions)
            found |= {f"{name}{CLASSWISE}{c}": float(v) for c, v in zip(predictions.classes, each, strict=True)}
        elif name == CONFUSION:
            for true, counts in zip(predictions.classes, matrix.tolist(), strict=True):
                found |= {
                    f"{name}{CLASSWISE}{true}{AS}{guess}": float(count)
                    for guess, count in zip(predictions.classes, counts, strict=True)
                }
        elif find_metric(name).needs == "run":
            found[name] = float(find_metric(name).function(run.facts))
        else:
            found[name] = measured(name, predictions)
    return found


def scalar_metrics(plan: StudyPlan) -> list[str]:
    """List the metrics that give one value."""
    return [name for name in plan.study.metrics if not is_per_class(name) and name != CONFUSION]


def here(plan: StudyPlan, row: PrintedValue) -> bool:
    """Whether a figure in print is of the data set that the study is run on here."""
    return (row.dataset or next(iter(plan.study.datasets), None)) == plan.choice.on


def cell_table(plan: StudyPlan, runs: pd.DataFrame, *, spread: bool = True) -> Table:
    """Set out each cell's mean, interval over runs, standard deviation, and what stands in print."""
    names = scalar_metrics(plan)
    printed = [row for row in plan.study.printed if here(plan, row) and row.seed is None and not row.gain]
    quoted = [row for row in plan.study.quoted if here(plan, row)]
    sides = {"as printed": printed, "quoted": quoted}
    shown = {(name, side): any(name in row.values for row in given) for side, given in sides.items() for name in names}
    sources = any(row.source for row in (*printed, *quoted))
    leaky, folded = bool(runs[LEAKS].any()), by_fold(runs)
    rows: list[tuple[Cell, ...]] = []
    for test in plan.sides:
        for labels, mine, inprint in _rows(plan, runs, test, printed, quoted):
            cells: list[Cell] = [
                *([test or plan.choice.on or "own data"] if len(plan.sides) > 1 else []),
                *labels,
                *(["LEAKY" if mine[LEAKS].any() else ""] if leaky else []),
                *([mine["fold"].nunique() or "–"] if folded else []),
                len(mine) or "–",
            ]
            for name in names:
                value, sd, _ = estimate_over(mine, name, limits(name))
                cells += [value, *([sd] if spread else [])]
                for side in sides:
                    if shown[name, side]:
                        given = inprint.get(side)
                        cells.append(_number(given.values.get(name)) if given else float("nan"))
            rows.append((*cells, *([next((row.source for row in inprint.values()), "")] if sources else [])))
    header = [*(["tested on"] if len(plan.sides) > 1 else []), *plan.factors]
    header += [*(["warning"] if leaky else []), *([parts(plan)] if folded else []), "runs"]
    for name in names:
        header += [label(name), *([f"{label(name)} sd"] if spread else [])]
        header += [f"{label(name)} {side}" for side in sides if shown[name, side]]
    note = LEAKY_NOTE if leaky else ""
    note += unit_note(plan, runs, spread=spread)
    note = f"{note} {lower_note(names)}".strip()
    return Table(
        "table" if spread else "cells",
        "Cells, with standard deviations" if spread else "Cells",
        (*header, *(["source"] if sources else [])),
        tuple(rows),
        note,
    )


def _rows(
    plan: StudyPlan, runs: pd.DataFrame, test: str, printed: Sequence[PrintedValue], quoted: Sequence[PrintedValue]
) -> list[tuple[list[str], pd.DataFrame, dict[str, PrintedValue]]]:
    """Give each row's levels, its runs, and its figures in print; what is only in print comes last."""
    left = [row for row in printed if (row.test_set or OWN) == test]
    found: list[tuple[list[str], pd.DataFrame, dict[str, PrintedValue]]] = []
    for cell in plan.cells:
        levels = dict(zip(plan.factors, cell, strict=True))
        row = next((row for row in left if row.cell == levels), None)
        if row is not None:
            left.remove(row)
        found.append((list(cell), _of(runs, levels, test), {"as printed": row} if row else {}))
    nothing = runs.iloc[:0]
    found += [(row_labels(plan, row), nothing, {"as printed": row}) for row in left]
    return found + [
        (row_labels(plan, row), nothing, {"quoted": row}) for row in quoted if (row.test_set or OWN) == test
    ]


def _of(runs: pd.DataFrame, levels: dict[str, str], test: str) -> pd.DataFrame:
    chosen = runs["test"] == test
    for factor, level in levels.items():
        chosen &= runs[factor] == level
    return runs[chosen]


def row_labels(plan: StudyPlan, row: PrintedValue) -> list[str]:
    """Name a row that is only in print: by its levels, and whatever else it is called in the first free column."""
    labels = [row.cell.get(factor, "") for factor in plan.factors]
    others = ", ".join(level for factor, level in row.cell.items() if factor not in plan.factors)
    if others:
        labels[labels.index("") if "" in labels else 0] = others
    return labels


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


def printed_elsewhere(plan: StudyPlan) -> Table | None:
    """Set out figures in print of other data sets than the one here; none where there are none."""
    rows = [row for row in (*plan.study.printed, *plan.study.quoted) if not here(plan, row)]
    names = list(dict.fromkeys(name for row in rows for name, v in row.values.items() if not isinstance(v, dict)))
    if not rows or not names:
        return None
    first = next(iter(plan.study.datasets), "")
    body: list[tuple[Cell, ...]] = [
        (
            (row.dataset or first) + (f", tested on {row.test_set}" if row.test_set else ""),
            ", ".join(f"{k} {v}" for k, v in row.cell.items())
            + ("" if row.seed is None else f", seed {row.seed}")
            + (", gain" if row.gain else ""),
            "quoted" if row in plan.study.quoted else "as printed",
            *(_number(row.values.get(name)) for name in names),
            row.source,
        )
        for row in rows
    ]
    header = ("data", "cell", "kind", *map(label, names), "source")
    note = "These figures are not of the data here: they do not compare with the table above."
    return Table("in-print", "Figures in print, of other data", header, tuple(body), note)


def run_table(plan: StudyPlan, runs: pd.DataFrame) -> Table:
    """Set out every run's own values, and single runs' figures in print."""
    names = scalar_metrics(plan)
    single = [row for row in plan.study.printed if here(plan, row) and row.seed is not None and not row.gain]
    extra = [name for name in names if any(name in row.values for row in single)]
    leaky = bool(runs[LEAKS].any())
    rows: list[tuple[Cell, ...]] = []
    for record in runs.to_dict("records"):
        levels = {factor: record[factor] for factor in plan.factors}
        match = [
            r for r in single if r.cell == levels and r.seed == record["seed"] and (r.test_set or OWN) == record["test"]
        ]
        printed = [_number(match[0].values.get(name)) if match else float("nan") for name in extra]
        fold = "" if record["fold"] is None or pd.isna(record["fold"]) else str(int(record["fold"]))
        where = [record["test"] or plan.choice.on or "own data"] if len(plan.sides) > 1 else []
        where += [*levels.values(), *(["LEAKY" if record[LEAKS] else ""] if leaky else [])]
        fixed: list[Cell] = [*where, str(record["seed"]), fold]
        rows.append((*fixed, *(float(record[name]) for name in names), *printed, str(record["folder"])))
    head = [*(["tested on"] if len(plan.sides) > 1 else []), *plan.factors, *(["warning"] if leaky else []), *REPEAT]
    header = (*head, *map(label, names), *(f"{label(name)} as printed" for name in extra), "folder")
    return Table("runs", "Every run", header, tuple(rows), LEAKY_NOTE.strip() if leaky else "")


def write_table(table: Table, path: Path) -> None:
    """Write a table as CSV or Markdown, by the suffix."""
    with atomic_write(path) as temporary:
        temporary.write_text(table.csv() if path.suffix == ".csv" else f"{table.markdown()}\n", encoding="utf-8")


@dataclass(frozen=True)
class BaselineDifference:
    """A level of a factor against the factor's baseline, the other factors being equal."""

    factor: str
    level: str
    baseline: str
    setting: dict[str, str] | None
    test: str
    metric: str
    difference: Difference
    unit: str
    count: int
    noise: str
    plain_p: float
    family: int
    p_metrics: float
    relative: float
    printed: float
    printed_gain: float

    @property
    def certain(self) -> bool:
        """Whether it is larger than noise: the interval leaves out zero, corrected p is at most 0.05, of 3 pairs up."""
        return self.difference.certain and not self._too_few

    @property
    def _too_few(self) -> bool:
        return self.unit in (RUNS, FOLDS, COHORTS) and self.count < FEWEST

    @property
    def verdict(self) -> str:
        """State whether it is larger than noise, and than which."""
        if math.isnan(self.difference.p) or self._too_few:
            return f"no verdict from {self.count} {self.unit}"
        return f"{'larger' if self.certain else 'not larger'} than {self.noise}"

    @property
    def where(self) -> str:
        """Name the setting."""
        if self.setting is None:
            return "over all settings"
        return ", ".join(f"{factor} {level}" for factor, level in self.setting.items())


def changes(plan: StudyPlan, runs: pd.DataFrame, out: Path) -> list[BaselineDifference]:
    """Compare each level with its factor's baseline, in every setting of the other factors and over all of them.

    Notes
    -----
    With two pairs of runs or more the unit of replication is the run: differences are paired by seed, the interval is
    Student's t, p the paired t test's. Runs of one cell share the test samples, so nothing is said of other samples.
    With several folds the unit is the fold: the seeds of a fold are averaged first, as they share its test samples.
    Folds share training samples, so the test is :func:`~evenface.statistics.t_tests.resampled_t_test`; cohorts share
    none. Two pairs give no verdict.
    With one pair, or where every pair differs by the same number and so leaves the noise of training unknown, the
    unit is the person, the clip or the sample, by :func:`evenface.evaluation.comparison.compare`. Over all settings,
    the settings of one repetition are averaged first, and the repetitions are the unit. Holm's correction runs over all
    comparisons of one metric and data set: once over those in single settings, once over those over all settings.
    ``p_metrics`` runs over those of all metrics and data sets.
    """
    found = []
    for test, metric in itertools.product((OWN, *plan.tests), scalar_metrics(plan)):
        mine = runs[runs["test"] == test]
        single, overall = [], []
        for factor, baseline in plan.study.baseline.items():
            levels = plan.factors[factor]
            if baseline not in levels:
                continue
            for level in levels:
                if level != baseline:
                    each = _each(plan, mine, factor, level, baseline, metric, out)
                    single += each
                    overall += _together(plan, mine, factor, level, baseline, metric, each)
        found += _corrected(single) + _corrected(overall)
    single, overall = ([change for change in found if (change.setting is None) is whole] for whole in (False, True))
    widest = {id(change): p for kind in (single, overall) for change, p in zip(kind, _holm(kind), strict=True)}
    return [replace(change, p_metrics=widest[id(change)]) for change in found]


def _each(
    plan: StudyPlan, runs: pd.DataFrame, factor: str, level: str, baseline: str, metric: str, out: Path
) -> list[BaselineDifference]:
    """Compare in every setting of the other factors."""
    others = [name for name in plan.factors if name != factor]
    found = []
    for setting in itertools.product(*(plan.factors[name] for name in others)):
        named = dict(zip(others, setting, strict=True))
        pairs = _pairs(runs, named, factor, level, baseline, metric)
        if len(pairs):
            found.append(_change(plan, pairs, factor, level, baseline, named, metric, out))
    return found


def _pairs(
    runs: pd.DataFrame, setting: Mapping[str, str], factor: str, level: str, baseline: str, metric: str
) -> pd.DataFrame:
    """Give what both levels reached in the same repetition: columns ``base``, ``value`` and their folders."""
    for name, chosen in setting.items():
        runs = runs[runs[name] == chosen]
    base, value = (
        runs[runs[factor] == which].set_index(list(REPEAT))[[metric, "folder", OVERLAP]].add_suffix(f"_{side}")
        for which, side in ((baseline, "base"), (level, "value"))
    )
    pairs = base.join(value, how="inner").assign(test=runs["test"].iloc[0] if len(runs) else "")
    pairs[OVERLAP] = pairs[[f"{OVERLAP}_base", f"{OVERLAP}_value"]].max(axis=1)
    return pairs.dropna(subset=[f"{metric}_base", f"{metric}_value"])


def _change(
    plan: StudyPlan,
    pairs: pd.DataFrame,
    factor: str,
    level: str,
    baseline: str,
    setting: dict[str, str] | None,
    metric: str,
    out: Path,
) -> BaselineDifference:
    columns = [f"{metric}_base", f"{metric}_value"]
    folded = pairs.index.get_level_values("fold").nunique() > 1
    repeated = pairs[columns].groupby(level="fold").mean() if folded else pairs[columns]
    base, value = repeated.to_numpy(dtype=np.float64).T
    tested = resampled_t_test(value - base, overlap(pairs.reset_index()))
    unit, difference, plain = parts(plan) if folded else RUNS, _difference(tested, metric), tested.plain.p
    test = str(pairs["test"].iloc[0])
    silent = len(pairs) == 1 or (math.isnan(difference.p) and not folded)
    if silent and setting is not None and _resampled(metric):
        unit, difference = _on_samples(pairs, metric, out) or (unit, difference)
        plain = difference.p
    printed, gain = _in_print(plan, factor, level, baseline, setting, test, metric)
    relative = float(difference.value / base.mean()) if base.mean() else float("nan")
    noise = "training noise" if unit == RUNS or (folded and test in plan.tests) else "noise"
    told = (difference, unit, len(base), noise, plain, 0, float("nan"), relative, printed, gain)
    return BaselineDifference(factor, level, baseline, setting, test, metric, *told)


def _resampled(metric: str) -> bool:
    """Whether a metric is compared over people where runs show no spread: few, as Holm's correction is over them."""
    own = metric.removeprefix(CLIP)
    return own in HEADLINE or (own in METRICS and METRICS[own].task == "ordinal")


def _difference(tested: ResampledT, metric: str) -> Difference:
    """Take difference, interval and p of a test; all but the first NaN where noise is not known."""
    found, p = tested.difference, tested.corrected.p
    if math.isnan(p):
        return Difference(metric, found.value, *[float("nan")] * 4)
    return Difference(metric, found.value, found.low, found.high, p, p)


def _on_samples(pairs: pd.DataFrame, metric: str, out: Path) -> tuple[str, Difference] | None:
    """Compare over people or samples; None where the runs saw other samples."""
    sides = {
        side: [Run(out / str(folder)).predictions for folder in pairs[f"folder_{side}"]] for side in ("base", "value")
    }
    try:
        found = compare_predictions(sides, metrics=(metric,))
        return found.unit, found.pairs[0].overall[metric]
    except (InputError, KeyError):  # other samples, or the runs do not have the metric
        return None


def _together(
    plan: StudyPlan,
    runs: pd.DataFrame,
    factor: str,
    level: str,
    baseline: str,
    metric: str,
    each: Sequence[BaselineDifference],
) -> list[BaselineDifference]:
    """Compare over all settings where there are several: those of one repetition are averaged first."""
    if len(each) < 2:
        return []
    columns = [f"{metric}_base", f"{metric}_value", OVERLAP]
    settings = [_pairs(runs, change.setting or {}, factor, level, baseline, metric)[columns] for change in each]
    stacked = pd.concat(settings)
    whole = stacked.groupby(level=list(REPEAT), dropna=False).filter(lambda rows: len(rows) == len(each))
    if not len(whole):
        return []
    means = whole.groupby(level=list(REPEAT), dropna=False).mean()
    pairs = means.assign(test=each[0].test, folder_base="", folder_value="")
    made = _change(plan, pairs, factor, level, baseline, None, metric, Path())
    known = [change for change in each if not math.isnan(change.printed)]
    if len(known) == len(each):
        made = replace(made, printed=float(np.mean([change.printed for change in known])))
    return [made]


def _corrected(found: Sequence[BaselineDifference]) -> list[BaselineDifference]:
    family = sum(not math.isnan(change.difference.p) for change in found)
    return [
        replace(change, difference=replace(change.difference, p_holm=value), family=family)
        for change, value in zip(found, _holm(found), strict=True)
    ]


def _holm(found: Sequence[BaselineDifference]) -> list[float]:
    return [float(p) for p in holm(np.array([change.difference.p for change in found]))]


def _in_print(
    plan: StudyPlan, factor: str, level: str, baseline: str, setting: dict[str, str] | None, test: str, metric: str
) -> tuple[float, float]:
    """Give the difference of the figures in print, and their gain as a share."""

    def value(which: str, gain: bool) -> float:
        for row in plan.study.printed:
            mine = here(plan, row) and row.gain == gain and row.seed is None and (row.test_set or OWN) == test
            if mine and metric in row.values and _same(plan, row, {**(setting or {}), factor: which}):
                found = row.values[metric]
                return float(found) if isinstance(found, int | float) else float("nan")
        return float("nan")

    if setting is None:
        return float("nan"), float("nan")
    base, own, gain = value(baseline, False), value(level, False), value(level, True)
    return own - base, own / base - 1 if math.isnan(gain) and base else gain


def _same(plan: StudyPlan, row: PrintedValue, levels: Mapping[str, str]) -> bool:
    """Whether a figure in print is of these levels; a factor of one level need not be said."""
    return all(
        row.cell.get(name, own[0] if len(own) == 1 else None) == levels[name] for name, own in plan.factors.items()
    )
