"""Comparison of two levels: difference, intervals, test, effect size and assumptions."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from evenface.evaluation.bootstrap import LEVEL, Estimate
from evenface.evaluation.formatting import signed, signed_interval
from evenface.evaluation.paired_tests import rejects, verdict
from evenface.statistics.assumptions import (
    ALPHA,
    Check,
    balance,
    equal_spread,
    failed,
    independent_pairs,
    normal,
    replicated,
    with_p,
)
from evenface.statistics.bootstrap_intervals import RESAMPLES, Bootstrap, Method, bootstrap
from evenface.statistics.designs import Groups, Pairs, counted
from evenface.statistics.effect_sizes import EffectSize, Kind, cohens_d
from evenface.statistics.rank_tests import TOO_FEW, rank_sum_floor, signed_rank, signed_rank_floor
from evenface.statistics.t_tests import resampled_t_test, standard_error, student, t_test, welch


@dataclass(frozen=True, kw_only=True)
class LevelComparison(ABC):
    """Comparison of one level with another."""

    metric: str
    factor: str
    level: str
    baseline: str
    robust: str
    robust_p: float
    robust_floor: float
    unit: str
    units: int
    count: int
    replication: int
    counts: str = "pairs"
    checks: tuple[Check, ...]

    @property
    def named(self) -> str:
        """Label of the comparison."""
        return f"{self.metric}: {self.level} against {self.baseline}"

    @property
    @abstractmethod
    def answer(self) -> str:
        """Render the difference, its interval and the units."""

    @property
    @abstractmethod
    def _doubted(self) -> bool:
        """Whether the robust test is reported."""

    @property
    def beside(self) -> list[str]:
        """Render p of the robust test where it matters, and its floor where that is above 0.05."""
        if math.isnan(self.robust_p) or not self._doubted:
            return []
        test = f"{self.robust}: {with_p(self.robust_p)}"
        if self.robust_floor > ALPHA:
            return [f"{test}, where the smallest possible p over {self.over} is {self.robust_floor:.3g}."]
        return [f"{test}."]

    @property
    def sentence(self) -> str:
        """Render the comparison and the failed assumptions."""
        return " ".join([self.answer, *failed(self.checks), *self.beside])

    @property
    def over(self) -> str:
        """Render the number of units, and of pairs where those are more."""
        units = counted(self.units, self.unit)
        return f"{self.count:,} {self.counts} of {units}" if self.count > self.units else units


def named_by(given: Pairs | Groups) -> dict[str, Any]:
    """Return the fields of :class:`LevelComparison` that the data determine."""
    names = ("metric", "factor", "level", "baseline", "unit", "units")
    replication = given.units if isinstance(given, Pairs) else max(len(given.values), len(given.base))
    return {name: getattr(given, name) for name in names} | {"count": len(given), "replication": replication}


@dataclass(frozen=True, kw_only=True)
class Contrast(LevelComparison):
    """One level against another; further fields as in :class:`~.comparisons.LevelComparison`."""

    difference: Estimate
    error: float
    sd: float
    test: str
    t: float
    df: float
    p: float
    overlap: float
    plain_p: float
    holm: float
    bonferroni: float
    fdr: float
    family: int
    effects: tuple[EffectSize, ...]
    resampled: Bootstrap | None
    robust_error: float = math.nan
    robust_df: float = math.nan
    higher_is_better: bool | None = None

    @property
    def certain(self) -> bool:
        """Whether p by Holm's correction is at most 0.05, over three units or more."""
        return rejects(self.holm, self.replication)

    def effect(self, kind: Kind) -> EffectSize:
        """Return the effect size of a kind."""
        return next(effect for effect in self.effects if effect.kind == kind)

    @property
    def size(self) -> EffectSize:
        """The effect size that Cohen's labels apply to: d_av of pairs, d_s of groups."""
        return self.effects[-1]

    @property
    def answer(self) -> str:
        """Render difference, interval, test, effect size and units."""
        tests = [with_p(self.p)] if not math.isnan(self.p) else ["no variance to test against"]
        if self.family > 1 and not math.isnan(self.p):
            tests += [f"{with_p(self.holm)} by Holm over {self.family} comparisons"]
        if self.plain_p != self.p and not math.isnan(self.p):
            plain = "plain paired t test" if self.counts == "pairs" else "without that correction"
            tests += [f"{plain} {with_p(self.plain_p)}"]
        sizes = [
            f"; {effect.kind} = {signed(effect.value, 2)} [{signed(effect.low, 2)}, {signed(effect.high, 2)}]"
            for effect in self.effects
            if not math.isnan(effect.value)
        ]
        word = f", {self.size.word}" if sizes else ""
        tested = f"{self.test}, {', '.join(tests)}{''.join(sizes)}{word}"
        answer = f"{self.named}: {signed_interval(self.difference)} over {self.over} ({tested})"
        return f"{answer}: {self.verdict}."

    @property
    def verdict(self) -> str:
        """Render the verdict by Holm's p; see :func:`evenface.evaluation.paired_tests.verdict`."""
        word = "higher" if self.difference.value > 0 else "lower"
        if self.higher_is_better is not None:
            word += ", which is better" if (word == "higher") == self.higher_is_better else ", which is worse"
        lost = not self.certain and rejects(self.p, self.replication)
        text = verdict(self.holm, self.replication, self.unit, f"that {self.level} is {word}")
        return text + (" after correction for multiple comparisons" if lost else "")

    @property
    def _doubted(self) -> bool:
        doubts = ("equal spread", "sphericity") if self.counts == "values" else ("normal", "equal spread")
        other = not math.isnan(self.p) and (self.p <= ALPHA) != (self.robust_p <= ALPHA)
        return other or any(check.holds is False and check.name in doubts for check in self.checks)


def compare(
    given: Pairs | Groups,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    method: Method = "bca",
    seed: int = 0,
) -> Contrast:
    """Compare two levels: paired t test, or Welch's for independent groups, with Wilcoxon's rank test as a check.

    Pairs of folds (``given.overlap`` > 0) are compared by the corrected resampled t-test, see
    :func:`~evenface.statistics.t_tests.resampled_t_test`.

    Parameters
    ----------
    given : Pairs or Groups
        The values; see :func:`~evenface.statistics.designs.pairs` and :func:`~evenface.statistics.designs.groups`.
    level : float, default=0.95
        Confidence level of all intervals.
    resamples, method, seed
        Of the bootstrap, see :func:`~evenface.statistics.bootstrap_intervals.bootstrap`.
    """
    n = len(given)
    if isinstance(given, Pairs):
        tested = resampled_t_test(given.change, given.overlap, level=level, size=given.size)
        error = standard_error(tested.sd, n, given.overlap)
        difference, sd, found, plain_p = tested.difference, tested.sd, tested.corrected, tested.plain.p
        name = "corrected resampled t test" if given.overlap else "paired t test"
        robust, floor = "Wilcoxon's signed-rank test", signed_rank_floor(given.change)
        drawn = (
            None
            if given.overlap
            else bootstrap(
                given.change, method=method, resamples=resamples, level=level, seed=seed, unit=_drawn_unit(given)
            )
        )
        instead = f"use {robust}{'' if given.overlap else ' and the bootstrap interval'} rather than t"
        shape = normal(given.change, "differences", TOO_FEW if floor > ALPHA else instead, given.size)
        checks = [shape, independent_pairs(given), replicated(given)]
        checks += [balance([n], given.incomplete, 0, given.unit)] if given.incomplete else []
        kinds: tuple[Kind, ...] = ("d_z", "d_av")
    else:
        mean, error, df = welch(given.values, given.base)
        difference, name, robust, drawn = (
            student(mean, error, df, level),
            "Welch's t test",
            "Mann and Whitney's test",
            None,
        )
        floor = rank_sum_floor(len(given.values), len(given.base))
        found = t_test(difference.value, error, df, given.size)
        plain_p = found.p
        residuals = np.concatenate([side - side.mean() for side in (given.values, given.base)])
        checks = [
            normal(residuals, "residuals", TOO_FEW if floor > ALPHA else f"use {robust} rather than t", given.size),
            equal_spread([given.values, given.base], "Welch's test, which allows for it"),
            replicated(given),
        ]
        kinds = ("d_s",)
        m = len(given.values) - 1, len(given.base) - 1
        sd = math.sqrt((m[0] * given.values.var(ddof=1) + m[1] * given.base.var(ddof=1)) / sum(m))
    if math.isnan(found.p):
        difference = Estimate(difference.value)
    effects = tuple(cohens_d(given, kind, level=level) for kind in kinds)
    return Contrast(
        **named_by(given),
        difference=difference,
        error=error,
        sd=sd,
        test=name,
        **found._asdict(),
        overlap=given.overlap if isinstance(given, Pairs) else 0.0,
        plain_p=plain_p,
        holm=found.p,
        bonferroni=found.p,
        fdr=found.p,
        family=1,
        effects=effects,
        resampled=drawn,
        robust=robust,
        robust_p=_ranks(given, floor),
        robust_floor=floor,
        checks=tuple(checks),
    )


def _drawn_unit(given: Pairs) -> str:
    return given.unit if len(given) == given.units else "pair"


def _ranks(given: Pairs | Groups, floor: float) -> float:
    """Two-sided p of the rank test; exact where there are few values without ties."""
    from scipy.stats import mannwhitneyu

    if isinstance(given, Groups):
        return max(float(mannwhitneyu(given.values, given.base).pvalue), floor)
    return signed_rank(given.change)
