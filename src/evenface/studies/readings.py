"""What a study's statistics take as repeated: its repetitions, or, as some papers do, the classes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from evenface.errors import InputError
from evenface.evaluation.metric_registry import label
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
from evenface.studies.plan import OWN, Plan
from evenface.studies.repeats import by_fold, overlap, shared_note
from evenface.studies.table import CLASSWISE

CLASS = "class"
MEDIUM, SMALL = 0.5, 0.2
"""d_z that power is planned for."""


@dataclass(frozen=True, eq=False)
class Reading:
    """A tidy table of values, and what in it counts as repeated.

    Parameters
    ----------
    name : {"repetitions", "classes"}
        Which it is.
    unit : str
        Column of the table that says what is repeated.
    table : DataFrame
        A row for each unit and cell: the factors, the unit, and a column for each metric.
    said : str
        What is repeated, and what that takes for granted.
    overlap : float
        n_test / n_train where what is repeated is a fold; else 0.
    """

    name: Literal["repetitions", "classes"]
    unit: str
    table: pd.DataFrame
    said: str
    overlap: float = 0.0

    @property
    def title(self) -> str:
        """Name it with the unit and how many there are."""
        how = "repetitions" if self.name == "repetitions" else "the classes taken as repetitions"
        return f"{how}, n = {self.units}"

    @property
    def units(self) -> int:
        """How many units there are."""
        return int(self.table[self.unit].nunique())


@dataclass(frozen=True)
class Analysis:
    """All tests of one metric in one reading.

    Parameters
    ----------
    metric : str
        What is tested.
    factorial : Factorial or None
        Analysis of variance.
    mixed : MixedModel or None
        The model with the unit as random effect, where it is asked for.
    contrasts : tuple of Contrast
        Planned comparisons of each factor's levels with its baseline, corrected together.
    equivalences : tuple of Equivalence
        The same against the margin, where the study gives one.
    powers : tuple of (Power, Power, Power, Power)
        For each comparison: of an effect as large as the one seen; the smallest effect that so many units find; units
        that d_z of 0.5 and 0.2 need.
    trouble : tuple of str
        What could not be computed, and why.
    """

    metric: str
    factorial: Factorial | None
    mixed: MixedModel | None
    contrasts: tuple[Contrast, ...]
    equivalences: tuple[Equivalence, ...]
    powers: tuple[tuple[Power, Power, Power, Power], ...]
    trouble: tuple[str, ...]


def factors_of(plan: Plan) -> list[str]:
    """List the factors that vary."""
    return [name for name, levels in plan.factors.items() if len(levels) > 1]


def readings(plan: Plan, runs: pd.DataFrame) -> list[Reading]:
    """Give both readings of a study: first its repetitions, then the classes.

    Parameters
    ----------
    plan : Plan
        A study with statistics.
    runs : DataFrame
        What :func:`evenface.studies.table.measure` gave.
    """
    own = runs[runs["test"] == OWN]
    names, factors = plan.study.tested, factors_of(plan)
    unit, said = _repeated(plan, own)
    column = "fold" if by_fold(own) else "seed"
    repeated = own.assign(**{unit: own[column].astype(str)})[[*factors, unit, *names]]
    found = [Reading("repetitions", unit, repeated, said, overlap(own))]
    means = own.groupby(factors, sort=False)[
        [name for name in own.columns if any(str(name).startswith(each + CLASSWISE) for each in names.values())]
    ].mean()
    parts = [
        means[[f"{each}{CLASSWISE}{label}" for each in names.values()]]
        .set_axis(list(names), axis=1)
        .reset_index()
        .assign(**{CLASS: label})
        for label in classes_of(own, next(iter(names.values())))
    ]
    if parts:
        count = counted(len(parts), CLASS)
        said = (
            f"Here {count} are taken as what was repeated, as papers do. They are no sample of anything, and values "
            "over the conditions are taken as independent, which they are not: how classes differ counts as noise."
        )
        found.append(Reading("classes", CLASS, pd.concat(parts, ignore_index=True), said))
    return found


def classes_of(runs: pd.DataFrame, each: str) -> list[str]:
    """List the classes of which there are values of a metric of classes."""
    start = each + CLASSWISE
    return [str(name).removeprefix(start) for name in runs.columns if str(name).startswith(start)]


def _repeated(plan: Plan, runs: pd.DataFrame) -> tuple[str, str]:
    """Name what is repeated, and say what independence it has."""
    protocol = plan.runs[0].recipe.protocol
    if not by_fold(runs):
        return "run", "The unit is the run (its seed). All runs share their samples: nothing is said of other people."
    if protocol.cohorts > 1:
        return (
            "cohort",
            "The unit is the cohort: cohorts share nobody, in training or in testing, so they are independent.",
        )
    unit = "person" if protocol.kind == "leave-one-out" else "fold"
    return unit, f"The unit is the {unit}, each tested in turn. {shared_note(plan, runs)}"


def analyse(plan: Plan, reading: Reading, metric: str) -> Analysis:
    """Test one metric in one reading.

    Notes
    -----
    Repetitions: each unit stands in all cells, so factors are tested within units, and comparisons average the
    settings of the other factors first. Classes: as the paper does, every value counts as independent in the analysis
    of variance, and each setting of the other factors brings pairs of its own.
    """
    assert plan.study.statistics is not None
    factors, trouble = factors_of(plan), list[str]()
    table, name = reading.table.rename(columns={metric: label(metric)}), label(metric)
    whole = reading.name == "repetitions"
    variance: Factorial | None = None
    model: MixedModel | None = None
    try:
        variance = factorial(
            table, name, factors, reading.unit, kind="within" if whole else "between", overlap=reading.overlap
        )
    except InputError as error:
        trouble.append(str(error))
    if whole and plan.study.statistics.mixed_model:
        try:
            model = mixed(table, name, factors, reading.unit, overlap=reading.overlap)
        except InputError as error:
            trouble.append(str(error))
    contrasts, equal = list[Contrast](), list[Equivalence]()
    for factor, level, base in comparisons(plan):
        others = [other for other in factors if other != factor]
        try:
            given = pairs(
                *(table, name, factor, level, base, reading.unit),
                others="averaged" if whole else "each",
                among=others,
                overlap=reading.overlap,
            )
        except InputError as error:
            trouble.append(str(error))
            continue
        contrasts.append(compare(given))
        if metric in plan.study.statistics.margins:
            equal.append(equivalence(given, plan.study.statistics.margins[metric]))
    corrected = correct(contrasts).contrasts if contrasts else ()
    return Analysis(name, variance, model, corrected, tuple(equal), _powers(corrected), tuple(trouble))


def comparisons(plan: Plan) -> list[tuple[str, str, str]]:
    """List what is planned: each level of each factor against the factor's baseline, or its first level."""
    return [
        (factor, level, base)
        for factor in factors_of(plan)
        for base in [plan.study.baseline.get(factor, plan.factors[factor][0])]
        for level in plan.factors[factor]
        if level != base
    ]


def _powers(contrasts: Sequence[Contrast]) -> tuple[tuple[Power, Power, Power, Power], ...]:
    found = []
    for contrast in contrasts:
        seen, unit, shared = contrast.effect("d_z").value, contrast.unit, contrast.overlap
        parts = (smallest_effect(contrast.units, unit=unit, overlap=shared), units_needed(MEDIUM, unit=unit))
        power = power_of(0.0 if math.isnan(seen) else seen, contrast.units, unit=unit, overlap=shared)
        found.append((power, *parts, units_needed(SMALL, unit=unit)))
    return tuple(found)
