"""Differences from the baseline: which are larger than noise, and which are not."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from evenface.errors import InputError
from evenface.evaluation.comparison import Difference
from evenface.evaluation.comparison import compare as compare_predictions
from evenface.evaluation.metric_registry import CLIP, HEADLINE, METRICS
from evenface.evaluation.paired import holm
from evenface.evaluation.verdict import FEWEST
from evenface.runs import Run
from evenface.statistics.t_tests import ResampledT, resampled_t_test
from evenface.studies.plan import OWN, Plan
from evenface.studies.repeats import COHORTS, FOLDS, OVERLAP, REPEAT, RUNS, overlap, parts
from evenface.studies.schema import Printed
from evenface.studies.table import here, scalar_metrics


@dataclass(frozen=True)
class Change:
    """A level of a factor against the factor's baseline, the other factors being equal.

    Parameters
    ----------
    factor, level, baseline : str
        Which level is compared with which.
    setting : dict or None
        Levels of the other factors; none for the mean over all of them.
    test : str
        Data set tested on, empty for the own.
    metric : str
        What is compared.
    difference : Difference
        Level minus baseline, with interval and p over what ``unit`` says.
    unit : str
        What was repeated: ``runs`` (paired by seed), ``folds`` (paired, their seeds averaged), or with one run each
        ``people``, ``clips`` or ``samples``.
    count : int
        How many pairs of runs, or of folds.
    noise : str
        What it is held against: ``training noise`` where runs, or networks of several folds, are tested on the same
        samples; else ``noise``.
    plain_p : float
        p of the paired t test that takes folds as independent; the same as the difference's where they are.
    family : int
        Differences that Holm's correction runs over.
    p_metrics : float
        p by Holm over all metrics and data sets as well.
    relative : float
        The difference as a share of the baseline's value.
    printed, printed_gain : float
        The same difference of the figures in print, and as a share; NaN where there are none.
    """

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


def changes(plan: Plan, runs: pd.DataFrame, out: Path) -> list[Change]:
    """Compare each level with its factor's baseline, in every setting of the other factors and over all of them.

    Parameters
    ----------
    plan : Plan
        The study.
    runs : DataFrame
        What :func:`evenface.studies.table.measure` gave.
    out : Path
        The study's folder, for predictions.

    Returns
    -------
    list of Change

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
    plan: Plan, runs: pd.DataFrame, factor: str, level: str, baseline: str, metric: str, out: Path
) -> list[Change]:
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
    plan: Plan,
    pairs: pd.DataFrame,
    factor: str,
    level: str,
    baseline: str,
    setting: dict[str, str] | None,
    metric: str,
    out: Path,
) -> Change:
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
    return Change(factor, level, baseline, setting, test, metric, *told)


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
        found = compare_predictions(sides, names=(metric,))
        return found.unit, found.pairs[0].overall[metric]
    except (InputError, KeyError):  # other samples, or the runs do not have the metric
        return None


def _together(
    plan: Plan, runs: pd.DataFrame, factor: str, level: str, baseline: str, metric: str, each: Sequence[Change]
) -> list[Change]:
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


def _corrected(found: Sequence[Change]) -> list[Change]:
    family = sum(not math.isnan(change.difference.p) for change in found)
    return [
        replace(change, difference=replace(change.difference, p_holm=value), family=family)
        for change, value in zip(found, _holm(found), strict=True)
    ]


def _holm(found: Sequence[Change]) -> list[float]:
    return [float(p) for p in holm(np.array([change.difference.p for change in found]))]


def _in_print(
    plan: Plan, factor: str, level: str, baseline: str, setting: dict[str, str] | None, test: str, metric: str
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


def _same(plan: Plan, row: Printed, levels: Mapping[str, str]) -> bool:
    """Whether a figure in print is of these levels; a factor of one level need not be said."""
    return all(
        row.cell.get(name, own[0] if len(own) == 1 else None) == levels[name] for name, own in plan.factors.items()
    )
