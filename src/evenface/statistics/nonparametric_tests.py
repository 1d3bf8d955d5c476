"""Nonparametric tests: Wilcoxon's, Mann and Whitney's, Friedman's with Nemenyi's comparisons, McNemar's."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from evenface.evaluation.bootstrap import units_of
from evenface.evaluation.formatting import UNITS, listed
from evenface.evaluation.metric_registry import known_direction
from evenface.evaluation.paired_tests import FEWEST, McNemar, verdict
from evenface.evaluation.paired_tests import mcnemar as compare_outcomes
from evenface.evaluation.predictions import Predictions, align
from evenface.statistics.assumptions import ALPHA, Check, balance, enough, failed, replicated, with_p
from evenface.statistics.designs import counted, design_table
from evenface.utils.errors import InputError

LEAST = 3
FEW = 10
FEW_DISCORDANT = 25
TOO_FEW = "t is then approximate, and a rank test of so few values cannot reach 0.05"


def signed_rank_floor(change: np.ndarray, sides: int = 2) -> float:
    """Return the smallest p that Wilcoxon's signed-rank test can reach: ``sides / 2**n``, n the differences not zero.

    Examples
    --------
    >>> signed_rank_floor(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    0.0625
    """
    return min(1.0, sides * 0.5 ** int(np.count_nonzero(change)))


def signed_rank(change: np.ndarray, alternative: Literal["two-sided", "greater", "less"] = "two-sided") -> float:
    """Return the p of Wilcoxon's signed-rank test, never below what an exact test can reach.

    With ties SciPy takes a normal approximation, which for few differences goes below that.
    """
    from scipy.stats import wilcoxon

    if not np.any(change != 0):
        return 1.0
    floor = signed_rank_floor(change, 2 if alternative == "two-sided" else 1)
    return max(float(wilcoxon(change, alternative=alternative).pvalue), floor)


def rank_sum_floor(n: int, m: int, sides: int = 2) -> float:
    """Return the smallest p that Mann and Whitney's test of n and m values can reach."""
    return min(1.0, sides / math.comb(n + m, n))


@dataclass(frozen=True)
class Ranks:
    """Average ranks of methods, best first, and which of them differ."""

    metric: str
    methods: tuple[str, ...]
    average: tuple[float, ...]
    chi2: float
    p: float
    iman_f: float
    iman_p: float
    critical: float
    pairwise: dict[tuple[str, str], float]
    alpha: float
    unit: str
    units: int
    checks: tuple[Check, ...]
    higher_is_better: bool

    @property
    def certain(self) -> tuple[tuple[str, str], ...]:
        """Pairs that differ, the better one first."""
        return tuple(pair for pair, p in self.pairwise.items() if p <= self.alpha and self.units >= FEWEST)

    @property
    def sentence(self) -> str:
        """Render whether methods differ, which pairs do, and over what."""
        ranked = ", ".join(f"{m} {rank:.2f}" for m, rank in zip(self.methods, self.average, strict=True))
        over = f"{self.metric}, {len(self.methods)} methods on {counted(self.units, self.unit)}"
        if math.isnan(self.p):
            return f"{over}: all methods are tied in every {self.unit}."
        better = [f"{first} over {second}" for first, second in self.certain]
        pairs = f"better by Nemenyi's test: {listed(better)}" if better else "no pair differs by Nemenyi's test"
        judged = verdict(self.p, self.units, self.unit, "that methods differ", "that methods differ")
        head = f"{over}: {judged} (Friedman χ² = {self.chi2:.2f}, {with_p(self.p)})"
        answer = f"{head}; {pairs} (critical difference of ranks {self.critical:.2f})."
        direction = "higher" if self.higher_is_better else "lower"
        return " ".join([answer, f"Average ranks ({direction} is better): {ranked}.", *failed(self.checks)])

    def frame(self) -> pd.DataFrame:
        """Return a row per pair, unrounded."""
        rank = dict(zip(self.methods, self.average, strict=True))
        return pd.DataFrame(
            [
                {"metric": self.metric, "better": a, "other": b, "ranks apart": rank[b] - rank[a], "p Nemenyi": p}
                for (a, b), p in self.pairwise.items()
            ]
        )


def direction_of(value: str, higher_is_better: bool | None = None) -> bool:
    """Return whether higher values of a metric are better, as specified or as known from its name."""
    known = known_direction(value) if higher_is_better is None else higher_is_better
    if known is None:
        raise InputError(
            f"{value}: the direction of this metric is not known",
            "Specify --higher-is-better or --lower-is-better (in Python: higher_is_better=True or False).",
        )
    return known


def friedman(
    table: pd.DataFrame,
    value: str,
    method: str,
    unit: str | Sequence[str],
    *,
    higher_is_better: bool | None = None,
    alpha: float = ALPHA,
) -> Ranks:
    """Rank methods within each unit, test whether they differ, and compare all pairs.

    Parameters
    ----------
    table, value, unit
        As in :func:`~evenface.statistics.designs.design_table`. Units that lack a method are left out.
    method : str
        Column that names the methods, three or more.
    higher_is_better : bool, optional
        Whether rank 1 goes to the highest value; by default as the metric ``value`` has it, if that is a known one.
    alpha : float, default=0.05
        Level of the critical difference.

    Raises
    ------
    InputError
        If there are fewer than three methods or two complete units, or the metric's direction is not known.

    References
    ----------
    Friedman, *The use of ranks to avoid the assumption of normality*, JASA 1937. Nemenyi, *Distribution-free multiple
    comparisons*, 1963. Iman and Davenport, *Approximations of the critical region of the Friedman statistic*, 1980.
    Demšar, *Statistical comparisons of classifiers over multiple data sets*, JMLR 2006.
    """
    from scipy.stats import f as central
    from scipy.stats import friedmanchisquare, rankdata, studentized_range

    given = design_table(table, value, [method], unit)
    names = given.factors[method]
    if len(names) < LEAST:
        raise InputError(
            f"{method} has {len(names)} levels; a rank test requires three or more", "Compare two levels in pairs."
        )
    higher = direction_of(value, higher_is_better)
    values = given.wide()
    values = values[~np.isnan(values).any(axis=1)]
    n, k = values.shape
    if n < 2:
        raise InputError(f"{counted(n, given.unit)} measured with all {k} methods; at least two are required")
    ranks = rankdata(-values if higher else values, axis=1)
    mean = ranks.mean(axis=0)
    tied = bool((ranks == ranks[:, :1]).all())
    chi2, p = (math.nan, math.nan) if tied else (float(part) for part in friedmanchisquare(*values.T))
    rest = n * (k - 1) - chi2
    iman = math.nan if tied else math.inf if rest < 1e-9 else (n - 1) * chi2 / rest
    iman_p = math.nan if tied else float(central.sf(iman, k - 1, (k - 1) * (n - 1)))
    error = math.sqrt(k * (k + 1) / (6 * n))
    order = sorted(range(k), key=lambda i: (mean[i], i))
    pairwise = {
        (names[i], names[j]): float(studentized_range.sf(abs(mean[j] - mean[i]) / error * math.sqrt(2), k, np.inf))
        for i, j in itertools.combinations(order, 2)
    }
    critical = float(studentized_range.isf(alpha, k, np.inf)) / math.sqrt(2) * error
    few = "the p-values of Friedman's and Nemenyi's tests are approximate"
    checks = (
        balance([n], given.count - n, given.missing, given.unit),
        enough(n, given.unit, FEW, few),
        replicated(given),
    )
    return Ranks(
        value,
        tuple(names[i] for i in order),
        tuple(float(mean[i]) for i in order),
        *(chi2, p, iman, iman_p, critical, pairwise, alpha, given.unit, n, checks, higher),
    )


@dataclass(frozen=True)
class McNemarResult:
    """McNemar's test of two methods, named."""

    baseline: str
    candidate: str
    test: McNemar
    unit: str
    count: int
    checks: tuple[Check, ...]

    @property
    def sentence(self) -> str:
        """Render the discordant counts, the verdict and the p-values."""
        test = self.test
        better = self.candidate if test.only_candidate > test.only_baseline else self.baseline
        answer = verdict(test.mid_p, self.count, self.unit, f"that {better} is correct more often")
        counts = (
            f"Of {self.count:,} samples only {self.candidate} is correct on {test.only_candidate:,}, only "
            f"{self.baseline} on {test.only_baseline:,}"
        )
        tests = f"McNemar's mid-{with_p(test.mid_p)}, exact {with_p(test.exact)}, corrected {with_p(test.corrected)}"
        return " ".join([f"{counts}: {answer} ({tests}).", *failed(self.checks)])


def mcnemar(
    baseline: Predictions, candidate: Predictions, *, names: tuple[str, str] = ("baseline", "candidate")
) -> McNemarResult:
    """Compare two methods on the same samples by McNemar's test.

    Parameters
    ----------
    baseline, candidate : Predictions
        Predictions of both methods on the same samples, in any order.
    names : (str, str)
        Names of the methods.

    Raises
    ------
    InputError
        If the samples, their labels or the classes differ.

    References
    ----------
    McNemar, *Note on the sampling error of the difference between correlated proportions*, Psychometrika 1947. Edwards,
    *Note on the correction for continuity*, Psychometrika 1948.
    """
    (first,), (second,) = align({names[0]: (baseline,), names[1]: (candidate,)}).values()
    test = compare_outcomes(*(run.predicted == run.labels for run in (first, second)))
    discordant = test.only_baseline + test.only_candidate
    units = units_of(first)
    clustered = units.name != "samples" and units.count < len(first)
    checks = (
        Check(
            "independence",
            not clustered,
            f"Samples are assumed to be independent, but {len(first):,} of them come from {units.count:,} "
            f"{units.name}: p may be too small. The paired permutation test of a comparison takes the "
            f"{UNITS[units.name]} as the unit."
            if clustered
            else "Samples are assumed to be independent.",
        ),
        Check("units", None if discordant < FEW_DISCORDANT else True, f"The methods differ on {discordant:,} samples."),
    )
    return McNemarResult(*names, test, "sample", len(first), checks)
