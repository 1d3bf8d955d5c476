"""Checks of the assumptions of tests: what a failure means and which result to use instead."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from evenface.evaluation import paired_tests
from evenface.evaluation.formatting import p_value
from evenface.statistics.designs import DesignTable, Groups, Pairs, counted, plural
from evenface.statistics.t_tests import FLAT

ALPHA = paired_tests.ALPHA
FEW = 10
"""Fewest values with which a check of normality or of equal variances has some power."""
UNTESTED = "Equal variances cannot be checked: too few values"


@dataclass(frozen=True)
class Check:
    """An assumption."""

    name: str
    holds: bool | None
    sentence: str
    statistic: float = float("nan")
    p: float = float("nan")


def normal(values: np.ndarray, of: str, instead: str, size: float = 1.0) -> Check:
    """Shapiro and Wilk's test of normality.

    References
    ----------
    Shapiro and Wilk, *An analysis of variance test for normality (complete samples)*, Biometrika 1965.
    """
    from scipy.stats import shapiro

    n = len(values)
    if n < 3 or np.std(values) <= FLAT * size:
        return Check("normal", None, f"Normality of the {of} cannot be checked: too few values, or all equal.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # beyond 5,000 values p is less exact
        w, p = (float(part) for part in shapiro(values))
    tested = f"Shapiro–Wilk W = {w:.3f}, p {_p(p)}"
    if p <= ALPHA:
        return Check("normal", False, f"The {of} are not normal ({tested}): {instead}.", w, p)
    few = f"; with {n} values the test has little power" if n < FEW else ""
    return Check("normal", True, f"No evidence against normal {of} ({tested}{few}).", w, p)


def equal_spread(cells: Sequence[np.ndarray], instead: str) -> Check:
    """Brown and Forsythe's test of equal variances: Levene's, about medians.

    References
    ----------
    Brown and Forsythe, *Robust tests for the equality of variances*, JASA 1974.
    """
    from scipy.stats import levene

    size = max(np.abs(cell).max() for cell in cells)
    # two values lie equally far from their median, which looks as if the distances did not vary
    if min(len(cell) for cell in cells) < 3 or max(np.ptp(cell) for cell in cells) <= FLAT * size:
        return Check("equal spread", None, f"{UNTESTED}, or all equal.")
    with np.errstate(divide="ignore", invalid="ignore"):
        w, p = (float(part) for part in levene(*cells, center="median"))
    if not np.isfinite(w):
        return Check("equal spread", None, f"{UNTESTED} that differ.")
    tested = f"Brown–Forsythe F = {w:.2f}, p {_p(p)}"
    if p <= ALPHA:
        return Check("equal spread", False, f"The variances of the cells differ ({tested}): use {instead}.", w, p)
    return Check("equal spread", True, f"No evidence against equal variances ({tested}).", w, p)


def balance(counts: Iterable[int], left_out: int, missing: int, unit: str) -> Check:
    """Check that each cell has as many values, and state what was left out."""
    sizes = sorted(set(counts))
    parts = [f"cells have {sizes[0]} to {sizes[-1]} values"] if len(sizes) > 1 else []
    parts += [f"{counted(left_out, unit)} not measured in every cell excluded"] if left_out else []
    parts += [f"{missing:,} row{'s' * (missing > 1)} without a value excluded"] if missing else []
    if not parts:
        return Check("balance", True, f"Balanced: {sizes[0]:,} values in every cell.")
    return Check(
        "balance", False, f"Not balanced: {'; '.join(parts)}. If values are not missing at random, results are biased."
    )


def independent_pairs(given: Pairs) -> Check:
    """Check that each unit brings one pair."""
    if given.overlap:
        return Check(
            "independence",
            False,
            f"{plural(given.unit).capitalize()} share training samples: t and its interval are corrected for that "
            f"(Nadeau and Bengio, n_test/n_train = {given.overlap:.3g}), the rank test is not.",
        )
    if len(given) == given.units:
        return Check("independence", True, f"Each {given.unit} brings one pair.")
    return Check(
        "independence",
        False,
        f"{len(given):,} pairs come from {counted(given.units, given.unit)}: pairs of one {given.unit} are "
        f"correlated, so the interval may be too narrow and p too small. Average within each {given.unit} first.",
    )


def enough(count: int, unit: str, fewest: int, instead: str) -> Check:
    """Check that there are enough units."""
    if count >= fewest:
        return Check("units", True, f"{counted(count, unit)} are enough.")
    return Check("units", False, f"With only {counted(count, unit)} {instead}.")


def overlapping(unit: str, overlap: float, what: str = "F is") -> list[Check]:
    """Return a check that folds share training samples; empty without overlap."""
    if not overlap:
        return []
    cause = f"{plural(unit).capitalize()} share training samples: {what} corrected for that"
    return [Check("independence", False, f"{cause} (Nadeau and Bengio, n_test/n_train = {overlap:.3g}).")]


def replicated(given: DesignTable | Pairs | Groups) -> Check:
    """Check that rows of one unit and cell agree, and state what was averaged."""
    replicates = given.replicates
    if replicates is None:
        return Check("replicates", None, "No rows were averaged.")
    return Check("replicates", replicates.regular or not replicates.differing, replicates.sentence)


def failed(checks: Iterable[Check]) -> list[str]:
    """Return the sentences of failed checks."""
    return [check.sentence for check in checks if check.holds is False]


def _p(p: float) -> str:
    written = p_value(p)
    return written if written.startswith("<") else f"= {written}"


def with_p(p: float, name: str = "p") -> str:
    """Format a p-value as ``p = 0.035`` or ``p < 0.001``."""
    return f"{name} {_p(p)}"
