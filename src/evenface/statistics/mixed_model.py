"""A mixed model: factors as fixed effects, the unit (subject, fold, actor) as a random intercept."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from evenface.evaluation.bootstrap import LEVEL
from evenface.evaluation.formatting import listed
from evenface.evaluation.paired_tests import FEWEST, verdict
from evenface.statistics.anova import (
    APPROXIMATE,
    COLON,
    SPHERICAL,
    CellMeans,
    Design,
    Effect,
    Term,
    UnitVariation,
    cell_contrasts,
    design,
    structure,
)
from evenface.statistics.assumptions import Check, balance, enough, failed, normal, overlapping
from evenface.statistics.comparisons import Contrast
from evenface.statistics.designs import DesignTable, counted, design_table, plural
from evenface.statistics.t_tests import FLAT
from evenface.utils.errors import InputError

COLUMNS = ("name", "df", "df_error", "f", "p", "unit", "units", "robust_p", "epsilon")
OWN_SPREAD = "against the variance of its own differences"
FEW = 6
STEPS = 40
UNEQUAL = 2.0
"""Ratio of the variance of an effect's own differences to the model's beyond which its F is not reliable."""


@dataclass(frozen=True)
class MixedModel:
    """A model with a random intercept for each unit."""

    metric: str
    terms: tuple[Effect, ...]
    model: CellMeans = field(repr=False)
    level: float
    unit_sd: float
    residual_sd: float
    unit: str
    units: int
    count: int
    checks: tuple[Check, ...]

    @property
    def differences(self) -> tuple[Contrast, ...]:
        """Compare each level of each factor with the factor's first."""
        return tuple(
            self.model.contrast(factor, name, levels[0], confidence=self.level)
            for factor, levels in self.model.coded.given.factors.items()
            for name in levels[1:]
        )

    @property
    def share(self) -> float:
        """Share of the variance that lies between units (intraclass correlation)."""
        whole = self.unit_sd**2 + self.residual_sd**2
        return self.unit_sd**2 / whole if whole > 0 else math.nan

    @property
    def sentence(self) -> str:
        """Render the significant effects, the share of variance between units and the failed assumptions."""
        significant = [term for term in self.terms if term.certain]
        named = "of " + listed([f"{term.name} ({term.test})" for term in significant])
        smallest = min((term.p for term in significant), default=math.nan)
        answer = verdict(smallest, self.units, self.unit, named, "of any effect")
        over = f"{counted(self.count, 'value')} of {counted(self.units, self.unit)} as random effect"
        share = "" if math.isnan(self.share) else f"; {self.share:.0%} of the remaining variance lies between them"
        return " ".join([f"{self.metric}, {over}: {answer}{share}.", *failed(self.checks)])

    def frame(self) -> pd.DataFrame:
        """Return a row per term, unrounded."""
        rows = [{"metric": self.metric, **{name: getattr(term, name) for name in COLUMNS}} for term in self.terms]
        return pd.DataFrame(rows).rename(columns={"robust_p": "own_p"})


def mixed(
    table: pd.DataFrame,
    value: str,
    factors: Sequence[str],
    unit: str | Sequence[str],
    *,
    interactions: bool = True,
    overlap: float = 0.0,
    level: float = LEVEL,
) -> MixedModel:
    """Fit a mixed model by restricted maximum likelihood: units may lack cells, and differ by a constant.

    Parameters
    ----------
    table, value, factors, unit
        As in :func:`~evenface.statistics.designs.design_table`.
    interactions : bool, default=True
        Whether factors may interact. Interactions that cannot be estimated are left out and listed by a check.
    overlap : float, default=0
        n_test / n_train where units are folds of a cross-validation: F and intervals are corrected as in
        :func:`~evenface.statistics.anova.factorial`.
    level : float, default=0.95
        Confidence level of the differences.

    Raises
    ------
    InputError
        If there are too few units or values, or effects cannot be separated.

    Notes
    -----
    F tests with the covariance :math:`(X^T V^{-1} X)^{-1}` of the fixed effects at the REML estimates, type III.
    Degrees of freedom are counted as within units for what varies within them, and between units for what does not
    (Pinheiro and Bates): the figures are those of R's ``anova(lme(...), type = "marginal")`` with sum-to-zero
    contrasts. Where units turn out not to differ (their variance is zero), estimates are those of least squares.

    A random intercept takes all differences within units as equally variable (sphericity). The check of that name
    looks at the differences of cells over the units that have both, and the p against their own variance is given too.

    References
    ----------
    Laird and Ware, *Random-effects models for longitudinal data*, Biometrics 1982. Pinheiro and Bates, *Mixed-effects
    models in S and S-PLUS*, 2000, section 2.4.2. Box, *Some theorems on quadratic forms applied in the study of
    analysis of variance problems, II*, Ann Math Stat 1954.
    """
    return random_intercept(
        design_table(table, value, factors, unit), interactions=interactions, overlap=overlap, level=level
    )


def random_intercept(
    given: DesignTable, *, interactions: bool = True, overlap: float = 0.0, level: float = LEVEL
) -> MixedModel:
    """Fit a random intercept for each unit of a grid; see :func:`mixed`."""
    coded = design(given, interactions=interactions)
    inner = {term: _varies(coded.matrix[:, columns], given.units) for term, columns in coded.columns.items()}
    free = _freedom(coded, inner)
    if given.count < 2 or min(free.values()) < 1:
        several = int((np.bincount(given.units) > 1).sum())
        short = [COLON.join(term) for term, df in free.items() if df < 1] or list(given.factors)
        raise InputError(
            f"{given.value}: {len(given.values)} values of {counted(given.count, given.unit)} are too few for "
            f"{listed(short)}: no degrees of freedom are left for the error",
            f"{several:,} of {counted(given.count, given.unit)} were measured in several cells. Leave out a "
            "factor, add values, or, where all values are independent, use --independent.",
        )
    if np.ptp(given.values) <= FLAT * given.size:
        raise InputError(f"{given.value}: all values are equal, {given.values[0]:g}")
    scale = float(given.values.std())
    found = reml(given.values / scale, coded.matrix, given.units)
    unit_sd, residual_sd = math.sqrt(found.between) * scale, math.sqrt(found.within) * scale
    residuals = given.values - coded.matrix @ found.beta * scale
    within_units = residuals - _predicted(residuals, given, found)
    if _flat_within(given, coded.matrix):
        residual_sd, within_units = 0.0, np.zeros(len(residuals))
    own = _own(given, residuals, inner, residual_sd**2, free) if residual_sd > FLAT * given.size else None
    checks = (
        _boundary(found, given),
        normal(within_units, "residuals", APPROXIMATE, given.size),
        enough(given.count, given.unit, FEW, "the variance between them is estimated poorly"),
        balance(np.unique(given.places, return_counts=True)[1].tolist(), 0, given.missing, given.unit),
        *_sphericity(own, inner, given),
        *overlapping(given.unit, overlap, "F and t are"),
        *structure(coded),
    )
    total = math.hypot(unit_sd, residual_sd)
    model = CellMeans(
        coded,
        "mixed",
        found.beta * scale,
        found.cov * scale**2 * (1 + given.count * overlap),
        free,
        total,
        residual_sd,
        None,
        own,
        checks,
        overlap,
    )
    effects = []
    for term in coded.columns:
        test, (own_p, epsilon) = model.f_test(term), model.own_f_test(term)
        numbers = (test.df, test.df_error, test.f, test.p, given.unit, given.replication(term))
        effects.append(Effect(COLON.join(term), *numbers, OWN_SPREAD, own_p, epsilon, factors=term))
    spread = (unit_sd, residual_sd)
    return MixedModel(
        given.value, tuple(effects), model, level, *spread, given.unit, given.count, len(given.values), checks
    )


class REML(NamedTuple):
    """Restricted maximum likelihood: coefficients, their covariance, variance between and within units."""

    beta: np.ndarray
    cov: np.ndarray
    between: float
    within: float


def reml(y: np.ndarray, x: np.ndarray, units: np.ndarray) -> REML:
    r"""Fit a random intercept for each unit.

    The covariance of one unit's values is :math:`\sigma^2 (I + \gamma 1 1^T)`, its inverse
    :math:`(I - w\, 1 1^T) / \sigma^2` with :math:`w = \gamma / (1 + n \gamma)`, so that sums over units are all that
    is needed, and the likelihood profiled over the one :math:`\gamma`.
    """
    from scipy.optimize import minimize_scalar

    (n, k), sizes = x.shape, np.bincount(units)
    start = np.linalg.lstsq(x, y, rcond=None)[0]
    rest = y - x @ start
    sums_x, sums = np.zeros((len(sizes), k)), np.bincount(units, rest)
    np.add.at(sums_x, units, x)

    def solve(share: float) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
        gamma = share / (1 - share)
        weights = gamma / (1 + sizes * gamma)
        bread = x.T @ x - (sums_x.T * weights) @ sums_x
        right = x.T @ rest - (sums_x.T * weights) @ sums
        beta = np.linalg.solve(bread, right)
        error = rest - x @ beta
        squares = float(error @ error - weights @ np.bincount(units, error) ** 2)
        return beta, bread, max(squares, np.finfo(float).tiny), np.log1p(sizes * gamma)

    def deviance(share: float) -> float:
        _, bread, squares, spread = solve(share)
        return float((n - k) * math.log(squares) + spread.sum() + np.linalg.slogdet(bread)[1])

    # a search from the best of a grid, as the likelihood may have two peaks
    shares = np.concatenate([[0.0], 1 / (1 + np.exp(-np.linspace(-12, 25, STEPS)))])
    best = int(np.argmin([deviance(share) for share in shares]))
    share = 0.0
    if best or deviance(shares[1]) < deviance(0.0):
        bounds = shares[max(0, best - 1)], shares[min(best + 1, STEPS)]
        share = float(minimize_scalar(deviance, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x)
        share = share if deviance(share) < deviance(0.0) else 0.0
    beta, bread, squares, _ = solve(share)
    within = squares / (n - k)
    return REML(start + beta, np.linalg.inv(bread) * within, within * share / (1 - share), within)


def _flat_within(given: DesignTable, matrix: np.ndarray) -> bool:
    """Return whether factors and units leave no spread at all, which a search for the likelihood only comes near to."""
    sizes = np.bincount(given.units)
    both = np.column_stack([given.values, matrix])
    means = np.stack([np.bincount(given.units, column) for column in both.T], axis=1) / sizes[:, None]
    y, x = np.split(both - means[given.units], [1], axis=1)
    rest = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    return bool(np.sqrt((rest**2).mean()) <= FLAT * given.size)


def _predicted(residuals: np.ndarray, given: DesignTable, found: REML) -> np.ndarray:
    """Predict each value's unit effect (BLUP)."""
    if not found.between > 0:
        return np.zeros(len(residuals))
    effects = np.bincount(given.units, residuals) / (np.bincount(given.units) + found.within / found.between)
    return np.asarray(effects[given.units])


def _varies(columns: np.ndarray, units: np.ndarray) -> bool:
    """Return whether columns change within some unit."""
    first = np.unique(units, return_index=True)[1]
    return bool((columns != columns[first][units]).any())


def _freedom(coded: Design, inner: Mapping[Term, bool]) -> dict[Term, float]:
    """Degrees of freedom of the error of each term."""
    n, units = len(coded.matrix), coded.given.count
    sizes = {term: columns.stop - columns.start for term, columns in coded.columns.items()}
    within = float(n - units - sum(size for term, size in sizes.items() if inner[term]))
    between = float(units - 1 - sum(size for term, size in sizes.items() if not inner[term]))
    return {term: within if inner[term] else between for term in sizes}


def _own(
    given: DesignTable, residuals: np.ndarray, inner: Mapping[Term, bool], within: float, free: Mapping[Term, float]
) -> UnitVariation | None:
    """Estimate the covariance of a unit's cells from differences of pairs of cells; None where one has too few."""
    varying = [name for name in given.factors if inner[(name,)]]
    if not varying:
        return None
    places = [list(given.factors).index(name) for name in varying]
    rest = [place for place in range(len(given.factors)) if place not in places]
    shape = [given.shape[place] for place in places]
    wide = np.full((given.count, int(np.prod(shape))), np.nan)
    wide[given.units, np.ravel_multi_index(tuple(given.codes[:, places].T), shape)] = residuals
    first = np.unique(given.units, return_index=True)[1]
    group = np.unique(given.codes[first][:, rest], axis=0, return_inverse=True)[1].ravel()
    members = np.eye(group.max() + 1)[group]
    spread = np.zeros((wide.shape[1],) * 2)
    for i in range(wide.shape[1]):
        apart = wide - wide[:, [i]]  # (units, cells)
        known = ~np.isnan(apart)
        apart = np.where(known, apart, 0.0)
        counts = members.T @ known
        squares = (apart**2).sum(axis=0) - ((members.T @ apart) ** 2 / np.maximum(counts, 1)).sum(axis=0)
        df = counts.sum(axis=0) - (counts > 0).sum(axis=0)
        df[i] = FEWEST
        if df.min() < FEWEST - 1:
            return None
        spread[i] = squares / df
    contrasts = {term: cell_contrasts(given, term, varying) for term in inner if inner[term]}
    df_each = next(free[term] for term in inner if inner[term]) / (wide.shape[1] - 1)
    return UnitVariation(-spread / 2, contrasts, within, df_each)


def _sphericity(own: UnitVariation | None, inner: Mapping[Term, bool], given: DesignTable) -> list[Check]:
    """Check that a random intercept alone describes how units differ."""
    terms = [term for term in inner if inner[term]]
    if not terms or (len(terms) == 1 and len(given.factors[terms[0][0]]) == 2):
        return []  # one difference within units has one variance
    if own is None:
        why = f"too few {plural(given.unit)} were measured in both cells of some pair"
        return [Check("sphericity", None, f"Sphericity cannot be checked: {why}.")]
    found = {COLON.join(term): own.of(own.contrasts[term]) for term in terms}
    bad = {name: parts for name, parts in found.items() if parts[1] < SPHERICAL or parts[0] > UNEQUAL}
    if not bad:
        return [Check("sphericity", True, f"Differences vary about equally between {plural(given.unit)}.")]
    named = listed(
        [f"{name} (epsilon {parts[1]:.2f}, variance {parts[0]:.1f} × the model's)" for name, parts in bad.items()]
    )
    return [
        Check(
            "sphericity",
            False,
            f"Differences do not vary equally between {plural(given.unit)}, as a random intercept assumes: {named}. "
            "Use the p against the variance of their own differences.",
            min(parts[1] for parts in bad.values()),
        )
    ]


def _boundary(found: REML, given: DesignTable) -> Check:
    if found.between > 0:
        return Check("boundary", True, f"The variance between {plural(given.unit)} is above zero.")
    return Check(
        "boundary",
        False,
        f"The estimated variance between {plural(given.unit)} is zero: estimates are those of least squares, with "
        f"degrees of freedom as within and between {plural(given.unit)}.",
    )
