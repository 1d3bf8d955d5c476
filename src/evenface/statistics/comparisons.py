"""Comparison of two levels: difference and equivalence, with intervals, tests, effect sizes and assumptions."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from evenface.evaluation.bootstrap import LEVEL, Estimate
from evenface.evaluation.formatting import signed, signed_interval
from evenface.evaluation.paired_tests import FEWEST, rejects, verdict
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
from evenface.statistics.nonparametric_tests import TOO_FEW, rank_sum_floor, signed_rank, signed_rank_floor
from evenface.statistics.t_tests import FLAT, estimate, resampled_t_test, standard_error, student, t_test, welch
from evenface.utils.errors import InputError


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


Margin = float | tuple[float, float]


@dataclass(frozen=True)
class TOST:
    """Two one-sided tests of one difference."""

    low: float
    high: float
    alpha: float
    p_low: float
    p_high: float
    interval: Estimate
    wide: Estimate

    @property
    def p(self) -> float:
        """The larger of the two: the p of non-equivalence."""
        return max(self.p_low, self.p_high)

    @property
    def equivalent(self) -> bool:
        """Whether both tests reject at ``alpha``."""
        return self.p <= self.alpha

    @property
    def equivalent_wide(self) -> bool:
        """Whether the 1 - alpha interval lies inside the margins: stricter than a test at ``alpha``."""
        return self.low <= self.wide.low and self.wide.high <= self.high

    @property
    def changes(self) -> bool:
        """Whether the two criteria disagree."""
        return self.equivalent != self.equivalent_wide

    @property
    def verdict(self) -> str:
        """Render whether it is equivalent, by both intervals."""
        levels = f"{1 - 2 * self.alpha:.0%}", f"{1 - self.alpha:.0%}"
        bounds = [f"[{signed_interval(e).partition(' [')[2]}" for e in (self.interval, self.wide)]
        margin = f"±{self.high:g}" if self.low == -self.high else f"[{self.low:g}, {self.high:g}]"
        lies = "lies inside" if self.equivalent else "reaches beyond"
        word = "equivalent" if self.equivalent else "equivalence not shown"
        text = f"{word} within {margin}: the {levels[0]} interval {bounds[0]} {lies} ({with_p(self.p)})"
        if self.changes:
            text += (
                f"; the {levels[1]} interval {bounds[1]} reaches beyond, so by that criterion equivalence is not shown"
            )
        return text


@dataclass(frozen=True)
class Equivalence(TOST, LevelComparison):
    """Whether two levels are practically equivalent; further fields as in :class:`~.comparisons.LevelComparison`."""

    @property
    def certain(self) -> bool:
        """Whether both tests reject, over three units or more."""
        return self.equivalent and self.replication >= FEWEST

    @property
    def answer(self) -> str:
        """Render the difference, the verdict and the units."""
        head = f"{self.named} {signed_interval(Estimate(self.interval.value))} over {self.over}"
        enough = self.replication >= FEWEST
        return f"{head}: {self.verdict if enough else verdict(self.p, self.replication, self.unit, '')}."

    @property
    def _doubted(self) -> bool:
        doubts = ("equal spread", "sphericity") if self.counts == "values" else ("normal",)
        return any(check.holds is False and check.name in doubts for check in self.checks)


def two_one_sided(difference: float, error: float, df: float, margin: Margin, *, alpha: float = ALPHA) -> TOST:
    """Test a difference against both margins, from its standard error and degrees of freedom.

    Parameters
    ----------
    difference, error, df : float
        The difference, its standard error (0 where all are the same), and its degrees of freedom.
    margin : float or (float, float)
        Half-width about zero, or lower and upper margin.
    alpha : float, default=0.05
        Level of each of the two tests; no correction is needed, as both must reject.

    Raises
    ------
    InputError
        If the margins do not enclose zero.

    References
    ----------
    Schuirmann, *A comparison of the two one-sided tests procedure and the power approach*, J Pharmacokinet Biopharm
    1987. Lakens, *Equivalence tests*, Soc Psychol Personal Sci 2017.
    """
    from scipy.stats import t

    low, high = margins(margin)
    if error <= FLAT * max(abs(difference), high - low):
        p_low, p_high = float(difference <= low), float(difference >= high)
        same = Estimate(difference, difference, difference)
        return TOST(low, high, alpha, p_low, p_high, same, same)
    p_low, p_high = float(t.sf((difference - low) / error, df)), float(t.cdf((difference - high) / error, df))
    intervals = (student(difference, error, df, level) for level in (1 - 2 * alpha, 1 - alpha))
    return TOST(low, high, alpha, p_low, p_high, *intervals)


def margins(margin: Margin) -> tuple[float, float]:
    """Read a margin: half-width about zero, or lower and upper one."""
    low, high = (-abs(margin), abs(margin)) if isinstance(margin, int | float) else margin
    if not low < 0 < high:
        raise InputError(
            f"the margins of equivalence {low:g} and {high:g} do not enclose zero", "For example 0.02, or -0.01,0.03."
        )
    return float(low), float(high)


def equivalence(given: Pairs | Groups | Contrast, margin: Margin, *, alpha: float = ALPHA) -> Equivalence:
    """Test whether two levels differ by less than a margin.

    Pairs by the paired t, groups by Welch's t, a comparison of :func:`~evenface.statistics.analysis.planned` by its own
    standard error and degrees of freedom.
    Over folds the standard error is that of :func:`~evenface.statistics.t_tests.resampled_t_test`.

    Parameters
    ----------
    given : Pairs, Groups or Contrast
        The two levels, or their comparison.
    margin, alpha
        As in :func:`two_one_sided`.
    """
    if isinstance(given, Contrast):
        value, floor = given.difference.value, 0.0
        tested = two_one_sided(value, given.error, given.df, margin, alpha=alpha)
        robust, robust_p, checks = f"{given.robust}, against both margins", math.nan, given.checks
        if not math.isnan(given.robust_error):
            robust_p = two_one_sided(value, given.robust_error, given.robust_df, margin, alpha=alpha).p
        names = {name: getattr(given, name) for name in LevelComparison.__dataclass_fields__}
    elif isinstance(given, Pairs):
        mean, sd, n = estimate(given.change)
        tested = two_one_sided(mean.value, standard_error(sd, n, given.overlap), n - 1, margin, alpha=alpha)
        floor = max(signed_rank_floor(given.change - edge, 1) for edge in (tested.low, tested.high))
        instead = TOO_FEW if floor > alpha else "use Wilcoxon's test rather than t"
        checks = (
            normal(given.change, "differences", instead, given.size),
            independent_pairs(given),
            replicated(given),
        )
        names = named_by(given)
        robust, robust_p = "Wilcoxon's signed-rank test against both margins", _signed_ranks(given.change, tested)
    else:
        tested = two_one_sided(*welch(given.values, given.base), margin, alpha=alpha)
        residuals = np.concatenate([side - side.mean() for side in (given.values, given.base)])
        floor = rank_sum_floor(len(given.values), len(given.base), 1)
        instead = TOO_FEW if floor > alpha else "use Mann and Whitney's test rather than t"
        names = named_by(given)
        checks = (normal(residuals, "residuals", instead, given.size), replicated(given))
        robust, robust_p = "Mann and Whitney's test against both margins", _rank_sums(given, tested)
    return Equivalence(
        **{name: getattr(tested, name) for name in TOST.__dataclass_fields__},
        **(names | {"robust": robust, "robust_p": max(robust_p, floor), "robust_floor": floor, "checks": checks}),
    )


def _signed_ranks(change: np.ndarray, tested: TOST) -> float:
    return max(signed_rank(change - tested.low, "greater"), signed_rank(change - tested.high, "less"))


def _rank_sums(given: Groups, tested: TOST) -> float:
    from scipy.stats import mannwhitneyu

    return max(
        float(mannwhitneyu(given.values, given.base + margin, alternative=side).pvalue)
        for margin, side in ((tested.low, "greater"), (tested.high, "less"))
    )
