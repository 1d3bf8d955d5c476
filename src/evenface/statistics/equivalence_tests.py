"""Practical equivalence: two one-sided tests against margins fixed in advance."""

import math
from dataclasses import dataclass

import numpy as np

from evenface.evaluation.bootstrap import Estimate
from evenface.evaluation.formatting import signed_interval
from evenface.evaluation.paired_tests import FEWEST, verdict
from evenface.statistics.assumptions import ALPHA, independent_pairs, normal, replicated, with_p
from evenface.statistics.comparisons import Contrast, LevelComparison, named_by
from evenface.statistics.designs import Groups, Pairs
from evenface.statistics.rank_tests import TOO_FEW, rank_sum_floor, signed_rank, signed_rank_floor
from evenface.statistics.t_tests import FLAT, estimate, standard_error, student, welch
from evenface.utils.errors import InputError

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
