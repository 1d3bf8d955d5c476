"""Results of a study, as numbers: metrics of every run, differences from the baseline, analyses over all factors."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from evenface.config.recipe import Protocol
from evenface.data.manifest import TARGET_TASKS
from evenface.evaluation.bootstrap import LEVEL, Estimate
from evenface.evaluation.comparison import Difference
from evenface.evaluation.comparison import compare as compare_predictions
from evenface.evaluation.metric_registry import (
    CLIP,
    METRICS,
    find_metric,
    headline_of,
    is_per_class,
    label,
)
from evenface.evaluation.metrics import confusion_matrix
from evenface.evaluation.paired_tests import FEWEST, holm
from evenface.evaluation.summary import measured, measured_each
from evenface.evaluation.target_predictions import AnyPredictions, TargetPredictions
from evenface.evaluation.target_summary import measured_targets, measured_targets_each
from evenface.reporting.summaries import leakage_notes
from evenface.runs import VALIDATION as VALIDATION_FILE
from evenface.runs import Run
from evenface.statistics import (
    Contrast,
    Equivalence,
    Factorial,
    MixedModel,
    Power,
    compare,
    correct,
    equivalence,
    factorial,
    mixed,
    pairs,
    power_of,
    smallest_effect,
    units_needed,
)
from evenface.statistics.designs import counted
from evenface.statistics.t_tests import ResampledT, estimate, fold_overlap, resampled_t_test
from evenface.studies.definition import CONFUSION, VALIDATION, PrintedValue
from evenface.studies.plan import OWN, StudyPlan
from evenface.utils.errors import InputError
from evenface.utils.progress import progress

REPEAT = ("seed", "fold")
RUNS, FOLDS, COHORTS = "runs", "folds", "cohorts"
"""Units of replication of a study."""
OVERLAP = "(n_test / n_train)"
"""Column of a run's ratio of test to training samples where training sets overlap, see :func:`train_overlap`."""
LEAKS = "(leaky)"
"""Column that marks runs with people or clips in both training and test set."""
CLASSWISE, AS = " of ", " as "
SHARED = (
    "Folds share most of their training data: intervals and p are those of the corrected resampled t-test (Nadeau and "
    "Bengio, n_test/n_train = {:.3g}). The plain paired t test, which assumes independent folds, is listed as well."
)
LEFT_OUT = (
    "Each fold is one person left out: test sets share nobody, training sets all people but two. Intervals and p are "
    "those of the corrected resampled t-test (Nadeau and Bengio, n_test/n_train = {:.3g}). The plain paired t test, "
    "which takes the training people as fixed and generalises to other test people only, is listed as well."
)
CLASS = "class"
MEDIUM, SMALL = 0.5, 0.2
"""d_z that power is planned for."""


# Metrics of every run


def measure(plan: StudyPlan, out: Path) -> pd.DataFrame:
    """Compute every metric of every finished run from its stored predictions."""
    rows = []
    known: dict[tuple[str, str], dict[str, Any]] = {}
    with progress("reading predictions", len(plan.runs)) as bar:
        for planned in plan.runs:
            bar(1)
            if not plan.ended(planned, out):
                continue
            for test in plan.evaluation_sets:
                folder = f"{planned.folder}/on-{test}" if test in plan.tests else planned.folder
                if test == VALIDATION and not (out / folder / VALIDATION_FILE).is_file():
                    continue
                if (folder, test) not in known:
                    run = Run(out / folder)
                    predictions = run.validation_results if test == VALIDATION else run.results
                    assert predictions is not None  # the file exists
                    names = dict.fromkeys((*plan.study.metrics, *plan.study.tested.values()))
                    values = metric_values(run, tuple(names), predictions)
                    share = train_overlap(planned.recipe.protocol, run.facts)
                    known[folder, test] = {LEAKS: bool(leakage_notes(run)), OVERLAP: share, **values}
                levels = dict(zip(plan.factors, planned.cell, strict=True))
                repeat = {"seed": planned.seed, "fold": planned.fold}
                rows.append({**levels, **repeat, "test": test, "folder": folder, **known[folder, test]})
    columns = [*plan.factors, *REPEAT, "test", "folder", LEAKS, OVERLAP]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=[*columns, *plan.study.metrics])


def metric_values(run: Run, names: Sequence[str], predictions: AnyPredictions) -> dict[str, float]:
    """Compute metrics of a run's predictions; per-class metrics for each class, or for each target."""
    if isinstance(predictions, TargetPredictions):
        return _target_values(run, names, predictions)
    matrix = confusion_matrix(predictions.labels, predictions.predicted, len(predictions.classes))
    values: dict[str, float] = {}
    for name in names:
        if is_per_class(name):
            each = measured_each(name, predictions)
            values |= {f"{name}{CLASSWISE}{c}": float(v) for c, v in zip(predictions.classes, each, strict=True)}
        elif name == CONFUSION:
            for true, counts in zip(predictions.classes, matrix.tolist(), strict=True):
                values |= {
                    f"{name}{CLASSWISE}{true}{AS}{predicted}": float(count)
                    for predicted, count in zip(predictions.classes, counts, strict=True)
                }
        elif find_metric(name).needs == "run":
            values[name] = float(find_metric(name).function(run.facts))
        else:
            values[name] = measured(name, predictions)
    return values


def _target_values(run: Run, names: Sequence[str], predictions: TargetPredictions) -> dict[str, float]:
    values: dict[str, float] = {}
    for name in names:
        if find_metric(name).needs == "run":
            values[name] = float(find_metric(name).function(run.facts))
        elif is_per_class(name):
            each = measured_targets_each(name, predictions)
            values |= {f"{name}{CLASSWISE}{c}": float(v) for c, v in zip(predictions.names, each, strict=True)}
        else:
            values[name] = measured_targets(name, predictions)
    return values


def scalar_metrics(plan: StudyPlan) -> list[str]:
    """List the metrics that have one value."""
    return [name for name in plan.study.metrics if not is_per_class(name) and name != CONFUSION]


def classes_of(runs: pd.DataFrame, metric: str) -> list[str]:
    """List the classes for which there are values of a per-class metric."""
    start = metric + CLASSWISE
    return [str(name).removeprefix(start) for name in runs.columns if str(name).startswith(start)]


def select_runs(runs: pd.DataFrame, levels: Mapping[str, str], test: str = OWN) -> pd.DataFrame:
    """Return the rows of these levels on a test set."""
    keep = runs["test"] == test
    for factor, level in levels.items():
        keep &= runs[factor] == level
    return runs[keep]


# Units of replication


def by_fold(runs: pd.DataFrame) -> bool:
    """Return whether folds are the units of replication: where there are several, as each has its own test samples."""
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


def replicates(runs: pd.DataFrame, metric: str) -> "pd.Series[float]":
    """Return one value for each unit of replication.

    Units are the folds where there are several, else the runs. Seeds of one fold are tested on the same samples, so
    they are averaged, as are cells of one repetition.
    """
    unit = ["fold"] if by_fold(runs) else list(REPEAT)
    means: pd.Series[float] = runs.groupby(unit, dropna=False)[metric].mean()
    return means


def estimate_over(
    runs: pd.DataFrame, metric: str, within: tuple[float, float] = (-math.inf, math.inf)
) -> tuple[Estimate, float, int]:
    """Return the mean over a cell's units of replication with its interval, their standard deviation and number."""
    return estimate(replicates(runs, metric), within=within, overlap=overlap(runs))


def fold_unit(plan: StudyPlan) -> str:
    """Return what the folds of a study are: folds of one protocol, or cohorts that share nobody."""
    return COHORTS if any(run.recipe.protocol.cohorts > 1 for run in plan.runs) else FOLDS


def overlap_note(plan: StudyPlan, runs: pd.DataFrame) -> str:
    """State how tests account for training data that folds share; empty where they share none."""
    share = overlap(runs)
    alone = all(run.recipe.protocol.kind == "leave-one-out" for run in plan.runs)
    return (LEFT_OUT if alone else SHARED).format(share) if share else ""


def unit_note(plan: StudyPlan, runs: pd.DataFrame, *, spread: bool = True) -> str:
    """State the units of means, intervals and standard deviations."""
    unit = fold_unit(plan) if by_fold(runs) else RUNS
    averaged = f"; seeds of a {unit[:-1]} are averaged first" if by_fold(runs) and runs["seed"].nunique() > 1 else ""
    alone = by_fold(runs) and all(run.recipe.protocol.kind == "leave-one-out" for run in plan.runs)
    note = f"Mean over the {unit} of a cell with the {LEVEL:.0%} interval of that mean (t over {unit}){averaged}"
    note += f"; sd: standard deviation over {unit}." if spread else "."
    if share := overlap(runs):
        note += f" It accounts for the training data that folds share (n_test/n_train = {share:.3g})."
    return f"{note} The unit of replication is the {unit[:-1]}{', which is one person left out' if alone else ''}."


# Differences from the baseline


@dataclass(frozen=True)
class BaselineDifference:
    """Difference of a level of a factor from the factor's baseline, the other factors being equal."""

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
    p_paired_t: float
    family: int
    p_metrics: float
    relative: float
    printed: float
    printed_gain: float

    @property
    def certain(self) -> bool:
        """Whether it is larger than noise: the interval excludes zero, corrected p ≤ 0.05, at least 3 pairs."""
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


def baseline_differences(plan: StudyPlan, runs: pd.DataFrame, out: Path) -> list[BaselineDifference]:
    """Compare each level with its factor's baseline, in every setting of the other factors and over all of them.

    Notes
    -----
    With two pairs of runs or more the unit of replication is the run: differences are paired by seed, the interval is
    Student's t, p the paired t test's. Runs of one cell share the test samples, so this does not generalise to others.
    With several folds the unit is the fold: the seeds of a fold are averaged first, as they share its test samples.
    Folds share training samples, so the test is :func:`~evenface.statistics.t_tests.resampled_t_test`; cohorts share
    none. Two pairs give no verdict.
    With one pair, or where every pair differs by the same number and so leaves the noise of training unknown, the
    unit is the person, the clip or the sample, by :func:`evenface.evaluation.comparison.compare`. Over all settings,
    the settings of one repetition are averaged first, and the repetitions are the unit. Holm's correction runs over all
    comparisons of one metric and data set: once over those in single settings, once over those over all settings.
    ``p_metrics`` runs over those of all metrics and data sets.
    """
    differences = []
    for test, metric in itertools.product((OWN, *plan.tests), scalar_metrics(plan)):
        tested = runs[runs["test"] == test]
        single, overall = [], []
        for factor, baseline in plan.study.baseline.items():
            levels = plan.factors[factor]
            if baseline not in levels:
                continue
            for level in levels:
                if level != baseline:
                    each = _by_setting(plan, tested, factor, level, baseline, metric, out)
                    single += each
                    overall += _over_settings(plan, tested, factor, level, baseline, metric, each)
        differences += _corrected(single) + _corrected(overall)
    single, overall = ([d for d in differences if (d.setting is None) is whole] for whole in (False, True))
    widest = {id(d): p for kind in (single, overall) for d, p in zip(kind, _holm(kind), strict=True)}
    return [replace(d, p_metrics=widest[id(d)]) for d in differences]


def _by_setting(
    plan: StudyPlan, runs: pd.DataFrame, factor: str, level: str, baseline: str, metric: str, out: Path
) -> list[BaselineDifference]:
    """Compare in every setting of the other factors."""
    others = [name for name in plan.factors if name != factor]
    differences = []
    for levels in itertools.product(*(plan.factors[name] for name in others)):
        setting = dict(zip(others, levels, strict=True))
        paired = _pairs(runs, setting, factor, level, baseline, metric)
        if len(paired):
            differences.append(_difference(plan, paired, factor, level, baseline, setting, metric, out))
    return differences


def _pairs(
    runs: pd.DataFrame, setting: Mapping[str, str], factor: str, level: str, baseline: str, metric: str
) -> pd.DataFrame:
    """Return the values of both levels in the same repetition: columns ``base``, ``value`` and their folders."""
    for name, selected in setting.items():
        runs = runs[runs[name] == selected]
    base, value = (
        runs[runs[factor] == which].set_index(list(REPEAT))[[metric, "folder", OVERLAP]].add_suffix(f"_{side}")
        for which, side in ((baseline, "base"), (level, "value"))
    )
    paired = base.join(value, how="inner").assign(test=runs["test"].iloc[0] if len(runs) else "")
    paired[OVERLAP] = paired[[f"{OVERLAP}_base", f"{OVERLAP}_value"]].max(axis=1)
    return paired.dropna(subset=[f"{metric}_base", f"{metric}_value"])


def _difference(
    plan: StudyPlan,
    paired: pd.DataFrame,
    factor: str,
    level: str,
    baseline: str,
    setting: dict[str, str] | None,
    metric: str,
    out: Path,
) -> BaselineDifference:
    columns = [f"{metric}_base", f"{metric}_value"]
    folded = paired.index.get_level_values("fold").nunique() > 1
    repeated = paired[columns].groupby(level="fold").mean() if folded else paired[columns]
    base, value = repeated.to_numpy(dtype=np.float64).T
    tested = resampled_t_test(value - base, overlap(paired.reset_index()))
    unit, difference, p_paired_t = (
        fold_unit(plan) if folded else RUNS,
        _tested_difference(tested, metric),
        tested.plain.p,
    )
    test = str(paired["test"].iloc[0])
    without_noise = len(paired) == 1 or (math.isnan(difference.p) and not folded)
    if without_noise and setting is not None and _resampled(metric):
        unit, difference = _difference_over_samples(paired, metric, out) or (unit, difference)
        p_paired_t = difference.p
    printed, gain = _printed_difference(plan, factor, level, baseline, setting, test, metric)
    return BaselineDifference(
        factor,
        level,
        baseline,
        setting,
        test,
        metric,
        difference,
        unit,
        count=len(base),
        noise="training noise" if unit == RUNS or (folded and test in plan.tests) else "noise",
        p_paired_t=p_paired_t,
        family=0,
        p_metrics=float("nan"),
        relative=float(difference.value / base.mean()) if base.mean() else float("nan"),
        printed=printed,
        printed_gain=gain,
    )


def _resampled(metric: str) -> bool:
    """Return whether a metric is compared over people where runs do not vary: few, as Holm corrects for them."""
    own = metric.removeprefix(CLIP)
    return own in {*headline_of("classification"), *(headline_of(task)[0] for task in TARGET_TASKS)} or (
        own in METRICS and METRICS[own].task == "ordinal"
    )


def _tested_difference(tested: ResampledT, metric: str) -> Difference:
    """Return difference, interval and p of a test; all but the first NaN where noise is unknown."""
    result, p = tested.difference, tested.corrected.p
    if math.isnan(p):
        return Difference(metric, result.value, *[float("nan")] * 4)
    return Difference(metric, result.value, result.low, result.high, p, p)


def _difference_over_samples(paired: pd.DataFrame, metric: str, out: Path) -> tuple[str, Difference] | None:
    """Compare over people or samples; None where the runs were tested on different samples."""
    predictions = {
        side: [Run(out / str(folder)).results for folder in paired[f"folder_{side}"]] for side in ("base", "value")
    }
    try:
        comparison = compare_predictions(predictions, metrics=(metric,))
        return comparison.unit, comparison.pairs[0].overall[metric]
    except (InputError, KeyError):  # different samples, or the runs lack the metric
        return None


def _over_settings(
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
    settings = [_pairs(runs, d.setting or {}, factor, level, baseline, metric)[columns] for d in each]
    stacked = pd.concat(settings)
    complete = stacked.groupby(level=list(REPEAT), dropna=False).filter(lambda rows: len(rows) == len(each))
    if not len(complete):
        return []
    means = complete.groupby(level=list(REPEAT), dropna=False).mean()
    paired = means.assign(test=each[0].test, folder_base="", folder_value="")
    difference = _difference(plan, paired, factor, level, baseline, None, metric, Path())
    printed = [d.printed for d in each if not math.isnan(d.printed)]
    if len(printed) == len(each):
        difference = replace(difference, printed=float(np.mean(printed)))
    return [difference]


def _corrected(differences: Sequence[BaselineDifference]) -> list[BaselineDifference]:
    family = sum(not math.isnan(d.difference.p) for d in differences)
    return [
        replace(d, difference=replace(d.difference, p_holm=p), family=family)
        for d, p in zip(differences, _holm(differences), strict=True)
    ]


def _holm(differences: Sequence[BaselineDifference]) -> list[float]:
    return [float(p) for p in holm(np.array([d.difference.p for d in differences]))]


def is_own_data(plan: StudyPlan, row: PrintedValue) -> bool:
    """Return whether a printed value is of the data set that the study is run on."""
    return (row.dataset or next(iter(plan.study.datasets), None)) == plan.choice.on


def _printed_difference(
    plan: StudyPlan, factor: str, level: str, baseline: str, setting: dict[str, str] | None, test: str, metric: str
) -> tuple[float, float]:
    """Return the difference of the printed values, and their relative gain."""

    def value(which: str, gain: bool) -> float:
        for row in plan.study.printed:
            matches = is_own_data(plan, row) and row.gain == gain and row.seed is None and (row.test_set or OWN) == test
            if matches and metric in row.values and _same_levels(plan, row, {**(setting or {}), factor: which}):
                printed = row.values[metric]
                return float(printed) if isinstance(printed, int | float) else float("nan")
        return float("nan")

    if setting is None:
        return float("nan"), float("nan")
    base, own, gain = value(baseline, False), value(level, False), value(level, True)
    return own - base, own / base - 1 if math.isnan(gain) and base else gain


def _same_levels(plan: StudyPlan, row: PrintedValue, levels: Mapping[str, str]) -> bool:
    """Return whether a printed value is of these levels; factors with a single level may be omitted."""
    return all(
        row.cell.get(name, own[0] if len(own) == 1 else None) == levels[name] for name, own in plan.factors.items()
    )


def main_differences(plan: StudyPlan, differences: Sequence[BaselineDifference]) -> list[BaselineDifference]:
    """Return the differences of the first metric, which the study's conclusion is based on."""
    names = scalar_metrics(plan)
    return [d for d in differences if names and d.metric == names[0]]


def by_size(differences: Sequence[BaselineDifference]) -> list[BaselineDifference]:
    """Return the differences that are larger than noise, the largest first, then the others."""
    return sorted(differences, key=lambda d: (not d.certain, -abs(d.difference.value) if d.certain else 0))


# Analyses over all factors


@dataclass(frozen=True, eq=False)
class Replication:
    """A tidy table of values, and the unit of replication in it.

    Of kind ``repetitions`` the units are runs, folds or cohorts; of kind ``classes`` the classes, as papers have it.
    """

    kind: Literal["repetitions", "classes"]
    unit: str
    table: pd.DataFrame
    note: str
    overlap: float = 0.0

    @property
    def title(self) -> str:
        """Name the units and their number."""
        units = "repetitions" if self.kind == "repetitions" else "classes as repetitions"
        return f"{units}, n = {self.units}"

    @property
    def units(self) -> int:
        """Number of units."""
        return int(self.table[self.unit].nunique())


@dataclass(frozen=True)
class MetricAnalysis:
    """All tests of one metric with one unit of replication."""

    metric: str
    factorial: Factorial | None
    mixed: MixedModel | None
    contrasts: tuple[Contrast, ...]
    equivalences: tuple[Equivalence, ...]
    powers: tuple[tuple[Power, Power, Power, Power], ...]
    problems: tuple[str, ...]


def factors_of(plan: StudyPlan) -> list[str]:
    """List the factors with several levels."""
    return [name for name, levels in plan.factors.items() if len(levels) > 1]


def replications(plan: StudyPlan, runs: pd.DataFrame) -> list[Replication]:
    """Return the values of a study with each unit of replication: first its repetitions, then the classes."""
    own = runs[runs["test"] == OWN]
    names, factors = plan.study.tested, factors_of(plan)
    unit, note = _repetition(plan, own)
    column = "fold" if by_fold(own) else "seed"
    repeated = own.assign(**{unit: own[column].astype(str)})[[*factors, unit, *names]]
    views = [Replication("repetitions", unit, repeated, note, overlap(own))]
    means = own.groupby(factors, sort=False)[
        [name for name in own.columns if any(str(name).startswith(each + CLASSWISE) for each in names.values())]
    ].mean()
    parts = [
        means[[f"{each}{CLASSWISE}{name}" for each in names.values()]]
        .set_axis(list(names), axis=1)
        .reset_index()
        .assign(**{CLASS: name})
        for name in classes_of(own, next(iter(names.values())))
    ]
    if parts:
        count = counted(len(parts), CLASS)
        note = (
            f"Here {count} are treated as repetitions, as some papers do. They are no random sample, and values over "
            "the conditions are assumed to be independent, which they are not: variation between classes counts as "
            "noise."
        )
        views.append(Replication("classes", CLASS, pd.concat(parts, ignore_index=True), note))
    return views


def _repetition(plan: StudyPlan, runs: pd.DataFrame) -> tuple[str, str]:
    """Return the unit that is repeated, and a note on its independence."""
    protocol = plan.runs[0].recipe.protocol
    if not by_fold(runs):
        return "run", "The unit is the run (its seed). All runs share their samples: no generalisation to other people."
    if protocol.cohorts > 1:
        return (
            "cohort",
            "The unit is the cohort: cohorts share nobody, in training or in testing, so they are independent.",
        )
    unit = "person" if protocol.kind == "leave-one-out" else "fold"
    return unit, f"The unit is the {unit}, each tested in turn. {overlap_note(plan, runs)}"


def analyse(plan: StudyPlan, replication: Replication, metric: str) -> MetricAnalysis:
    """Test one metric with one unit of replication.

    Notes
    -----
    Repetitions: each unit is measured in all cells, so factors are tested within units, and comparisons average the
    settings of the other factors first. Classes: as in the paper, every value counts as independent in the analysis
    of variance, and each setting of the other factors adds pairs of its own.
    """
    assert plan.study.statistics is not None
    factors, problems = factors_of(plan), list[str]()
    table, name = replication.table.rename(columns={metric: label(metric)}), label(metric)
    within = replication.kind == "repetitions"
    variance: Factorial | None = None
    model: MixedModel | None = None
    try:
        variance = factorial(
            *(table, name, factors, replication.unit),
            kind="within" if within else "between",
            overlap=replication.overlap,
        )
    except InputError as error:
        problems.append(str(error))
    if within and plan.study.statistics.mixed_model:
        try:
            model = mixed(table, name, factors, replication.unit, overlap=replication.overlap)
        except InputError as error:
            problems.append(str(error))
    contrasts, equivalences = list[Contrast](), list[Equivalence]()
    for factor, level, base in comparisons(plan):
        others = [other for other in factors if other != factor]
        try:
            paired = pairs(
                *(table, name, factor, level, base, replication.unit),
                others="averaged" if within else "each",
                among=others,
                overlap=replication.overlap,
            )
        except InputError as error:
            problems.append(str(error))
            continue
        contrasts.append(compare(paired))
        if metric in plan.study.statistics.margins:
            equivalences.append(equivalence(paired, plan.study.statistics.margins[metric]))
    corrected = correct(contrasts).contrasts if contrasts else ()
    return MetricAnalysis(name, variance, model, corrected, tuple(equivalences), _powers(corrected), tuple(problems))


def comparisons(plan: StudyPlan) -> list[tuple[str, str, str]]:
    """List the planned comparisons: each level of each factor with the factor's baseline, or its first level."""
    return [
        (factor, level, base)
        for factor in factors_of(plan)
        for base in [plan.study.baseline.get(factor, plan.factors[factor][0])]
        for level in plan.factors[factor]
        if level != base
    ]


def _powers(contrasts: Sequence[Contrast]) -> tuple[tuple[Power, Power, Power, Power], ...]:
    powers = []
    for contrast in contrasts:
        effect, unit, shared = contrast.effect("d_z").value, contrast.unit, contrast.overlap
        observed = power_of(0.0 if math.isnan(effect) else effect, contrast.units, unit=unit, overlap=shared)
        least = smallest_effect(contrast.units, unit=unit, overlap=shared)
        powers.append((observed, least, units_needed(MEDIUM, unit=unit), units_needed(SMALL, unit=unit)))
    return tuple(powers)
