"""Paired tests, corrections for multiple comparisons, and the wording of verdicts: declared here once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SWAPS = 4999
CHUNK = 4_000_000
EPSILON = 1e-9


@dataclass(frozen=True)
class McNemar:
    """Samples that one method alone classifies correctly, and exact, mid-p and continuity-corrected p-values."""

    only_baseline: int
    only_candidate: int
    exact: float
    mid_p: float
    chi2: float
    corrected: float


def mcnemar(baseline_right: np.ndarray, candidate_right: np.ndarray) -> McNemar:
    """Compute McNemar's test of paired outcomes, arrays of bool of shape (N,); samples are assumed to be independent.

    References
    ----------
    McNemar, *Note on the sampling error of the difference between correlated proportions*, Psychometrika 1947. Edwards,
    *Note on the correction for continuity*, Psychometrika 1948.
    Fagerland, Lydersen and Laake, *The McNemar test for binary matched-pairs data*, BMC Med Res Methodol 2013.
    """
    from scipy.stats import binom, chi2

    b, c = int((baseline_right & ~candidate_right).sum()), int((candidate_right & ~baseline_right).sum())
    if b + c == 0:
        return McNemar(b, c, 1.0, 1.0, 0.0, 1.0)
    tail, point = float(binom.cdf(min(b, c), b + c, 0.5)), float(binom.pmf(min(b, c), b + c, 0.5))
    exact = min(1.0, 2 * tail)
    # where both counts are equal the two tails share their middle term
    mid_p = 1.0 if b == c else min(1.0, 2 * tail - point)
    # own code: statsmodels has no mid-p, and corrects equal counts to 1/n; R, as here, to 0
    statistic = max(0, abs(b - c) - 1) ** 2 / (b + c)
    return McNemar(b, c, exact, mid_p, statistic, float(chi2.sf(statistic, 1)))


def permuted_sums(
    baseline: np.ndarray, candidates: Sequence[np.ndarray], seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Sum the values of each method's units after exchanging them, for each unit by a coin: two arrays (SWAPS, ...).

    All candidates share the coins. If the methods were equal, exchanging their predictions would not matter, and the
    observed sums would be one of these draws.
    """
    changes = [(candidate - baseline).reshape(len(baseline), -1).astype(np.float64) for candidate in candidates]
    change = np.hstack(changes)
    change = change[np.any(change != 0, axis=1)]
    random = np.random.default_rng(seed)
    moved = np.zeros((SWAPS, change.shape[1]))
    rows = max(1, CHUNK // max(1, len(change)))
    for start in range(0, SWAPS, rows):
        r = min(rows, SWAPS - start)
        moved[start : start + r] = random.integers(0, 2, size=(r, len(change))).astype(np.float64) @ change
    parts = [part.reshape(SWAPS, *baseline.shape[1:]) for part in np.split(moved, len(candidates), axis=1)]
    return [
        (baseline.sum(axis=0) + part, candidate.sum(axis=0) - part)
        for part, candidate in zip(parts, candidates, strict=True)
    ]


def swap_floor(units: int) -> float:
    """Return the smallest p that a two-sided paired permutation test over so many units can reach.

    Examples
    --------
    >>> swap_floor(5)
    0.0625
    """
    return max(min(1.0, 2 * 0.5**units), 1 / (SWAPS + 1))


def swap_p(observed: np.ndarray, permuted: np.ndarray) -> np.ndarray:
    """Compute the two-sided p: the share of permutations with a difference at least as large as the observed one."""
    larger = (np.abs(permuted) >= np.abs(observed) - EPSILON).sum(axis=0)
    p: np.ndarray = np.where(np.isnan(observed), np.nan, (larger + 1) / (len(permuted) + 1))
    return p


def holm(p: np.ndarray) -> np.ndarray:
    """Correct p, shape (K,), for several tests by Holm's method; NaN is no test and stays NaN.

    References
    ----------
    Holm, *A simple sequentially rejective multiple test procedure*, Scand J Statist 1979.
    """
    # own code: statsmodels' multipletests collects garbage at each call, 60 ms in place of 0.01 ms
    corrected = np.full(len(p), np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    factors = len(order) - np.arange(len(order))
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * factors))
    return corrected


def bonferroni(p: np.ndarray) -> np.ndarray:
    """Multiply each p, shape (K,), by the number of tests; NaN is no test and stays NaN."""
    corrected: np.ndarray = np.minimum(1, p * (~np.isnan(p)).sum())
    return corrected


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Correct p, shape (K,), for the false discovery rate; NaN is no test and stays NaN.

    References
    ----------
    Benjamini and Hochberg, *Controlling the false discovery rate*, J R Stat Soc B 1995.
    """
    from scipy.stats import false_discovery_control

    corrected = np.full(len(p), np.nan)
    tested = ~np.isnan(p)
    if tested.any():
        corrected[tested] = false_discovery_control(p[tested], method="bh")
    return corrected


ALPHA = 0.05
NOTHING = "no evidence of a difference"
"""A test that does not reject is no evidence of equality, so "no difference" is never reported."""
FEWEST = 3
"""Fewest units for a verdict."""
TRAINING = ("seed", "run")
"""Units that repeat training on the same samples: their variance is training noise, not variance between people."""


def repeats_training(unit: str) -> bool:
    """Return whether a unit repeats training only; names of combined units are written as ``seed × run``."""
    return all(part in TRAINING for part in unit.split(" × "))


def rejects(p: float, units: int) -> bool:
    """Return whether a test rejects at 0.05 over enough units for a verdict."""
    return units >= FEWEST and p <= ALPHA


def verdict(p: float, units: int, unit: str, finding: str, missing: str = "of a difference") -> str:
    """Render the verdict of a test.

    A test that does not reject is no evidence of equality, and none is claimed; a test over seeds is about training
    noise, not about people; two units are too few for any verdict.

    Examples
    --------
    >>> verdict(0.01, 40, "person", "that focal is higher")
    'evidence that focal is higher'
    >>> verdict(0.01, 5, "seed", "that focal is higher")
    'larger than training noise: focal is higher'
    >>> verdict(0.2, 5, "seed", "that focal is higher"), verdict(0.2, 40, "person", "that focal is higher")
    ('not larger than training noise', 'no evidence of a difference')
    >>> verdict(0.01, 2, "fold", "that focal is higher")
    'no verdict, as 2 units are too few'
    """
    if units < FEWEST:
        return f"no verdict, as {units} unit{'s are' if units != 1 else ' is'} too few"
    if repeats_training(unit):
        finding_text = finding.partition(" ")[2]
        return f"larger than training noise: {finding_text}" if rejects(p, units) else "not larger than training noise"
    return f"evidence {finding}" if rejects(p, units) else f"no evidence {missing}"
