"""A mixed model: factors as fixed effects, the unit (subject, fold, actor) as a random intercept."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from evenface.errors import InputError
from evenface.evaluation.intervals import LEVEL, Estimate
from evenface.evaluation.verdict import rejects, verdict
from evenface.evaluation.wording import listed, signed
from evenface.statistics.checks import Check, failed, normal, with_p
from evenface.statistics.coding import COLON, Design, design
from evenface.statistics.means import FLAT, student, t_test
from evenface.statistics.tidy import counted, grid

BOUNDARY = 1e-6
FEW = 6


@dataclass(frozen=True)
class Term:
    """Test of a fixed effect: F, its degrees of freedom, p."""

    name: str
    df: int
    df_error: float
    f: float
    p: float


@dataclass(frozen=True)
class Marginal:
    """A level minus the first one, the levels of other factors weighing equally."""

    factor: str
    level: str
    baseline: str
    difference: Estimate
    p: float


@dataclass(frozen=True)
class Mixed:
    """A model with a random intercept for each unit.

    Parameters
    ----------
    metric : str
        What was measured.
    terms : tuple of Term
        Fixed effects.
    differences : tuple of Marginal
        Each level of each factor against the factor's first.
    unit_sd, residual_sd : float
        Standard deviation between units, and within them.
    fitted : {"mixed", "least squares"}
        Which model the numbers are of; the second where the first could not be had.
    unit : str
        What was repeated.
    units, count : int
        How many of them, and how many values.
    checks : tuple of Check
        Assumptions; ``convergence`` says why least squares stand in.
    """

    metric: str
    terms: tuple[Term, ...]
    differences: tuple[Marginal, ...]
    unit_sd: float
    residual_sd: float
    fitted: str
    unit: str
    units: int
    count: int
    checks: tuple[Check, ...]

    @property
    def share(self) -> float:
        """Share of the variance that lies between units (intraclass correlation)."""
        whole = self.unit_sd**2 + self.residual_sd**2
        return self.unit_sd**2 / whole if whole > 0 else math.nan

    @property
    def sentence(self) -> str:
        """Say which effects there is evidence of, how much units differ, and which assumptions fail."""
        held = [term for term in self.terms if rejects(term.p, self.units)]
        found = [f"{t.name} (F({t.df:g}, {t.df_error:g}) = {t.f:.2f}, {with_p(t.p)})" for t in held]
        least = min((term.p for term in held), default=math.nan)
        said = verdict(least, self.units, self.unit, f"of {listed(found)}", "of any effect")
        over = f"{counted(self.count, 'value')} of {counted(self.units, self.unit)} as random effect"
        head = f"{self.metric}, {over}: {said}"
        share = f"; {self.share:.0%} of the remaining variance lies between them" if self.fitted == "mixed" else ""
        return " ".join([f"{head}{share}.", *failed(self.checks)])

    def frame(self) -> pd.DataFrame:
        """Give a row for each term, every digit."""
        return pd.DataFrame([{"metric": self.metric, **vars(term)} for term in self.terms])

    def lines(self) -> list[str]:
        """Write each level's difference from the first of its factor."""
        return [
            f"{d.factor}: {d.level} against {d.baseline} {signed(d.difference.value)} "
            f"[{signed(d.difference.low)}, {signed(d.difference.high)}], {with_p(d.p)}"
            for d in self.differences
        ]


def mixed(
    table: pd.DataFrame,
    value: str,
    factors: Sequence[str],
    unit: str | Sequence[str],
    *,
    interactions: bool = True,
    overlap: float = 0.0,
    level: float = LEVEL,
) -> Mixed:
    """Fit a mixed model by restricted maximum likelihood: units may lack cells, and differ by a constant.

    Parameters
    ----------
    table, value, factors, unit
        As in :func:`~evenface.statistics.tidy.grid`.
    interactions : bool, default=True
        Whether factors may interact.
    overlap : float, default=0
        n_test / n_train where units are folds of a cross-validation: F and intervals are corrected as in
        :func:`~evenface.statistics.anova.factorial`.
    level : float, default=0.95
        Confidence level of the differences.

    Raises
    ------
    InputError
        If there are too few units or values, or effects cannot be told apart.

    Notes
    -----
    Tests are F tests. Degrees of freedom are counted as within units for what varies within them, and between units
    for what does not (Pinheiro and Bates), not the infinitely many of a Wald test, which with few units finds too much.
    Where units turn out not to differ (their variance is zero), or the fit does not converge, the numbers are those of
    ordinary least squares, and a check says so.

    References
    ----------
    Laird and Ware, *Random-effects models for longitudinal data*, Biometrics 1982. Pinheiro and Bates, *Mixed-effects
    models in S and S-PLUS*, 2000, section 2.4.2.
    """
    import statsmodels.api as sm

    given = grid(table, value, factors, unit)
    coded = design(given.frame, given.factors, interactions=interactions)
    names, y = given.frame["unit"].to_numpy(), given.frame["value"].to_numpy(dtype=np.float64)
    inner = {term: _varies(coded.matrix[:, columns], names) for term, columns in coded.columns.items()}
    free = _freedom(coded, inner, given.count, len(y))
    if given.count < 2 or min(free.values()) < 1:
        raise InputError(
            f"{value}: {len(y)} values of {counted(given.count, given.unit)} are too few for {', '.join(factors)}",
            "Leave out interactions or a factor.",
        )
    scale = float(y.std())
    if scale < FLAT:
        raise InputError(f"{value}: all values are the same, {y[0]:g}")
    found, why = _fitted(y / scale, coded.matrix, names)
    unit_sd = math.sqrt(float(np.asarray(found.cov_re).squeeze()) * scale**2) if found is not None else 0.0
    fit: Any = found if found is not None else sm.OLS(y / scale, coded.matrix).fit()
    k = coded.matrix.shape[1]
    if found is None:
        free = dict.fromkeys(free, float(fit.df_resid))
    beta, cov = np.asarray(fit.params)[:k] * scale, np.asarray(fit.cov_params())[:k, :k] * scale**2
    cov *= 1 + given.count * overlap
    residuals = np.asarray(fit.resid)
    checks = (
        Check("convergence", not why, why or "The fit converged."),
        normal(residuals, "residuals", "F is then approximate; planned comparisons have rank tests"),
        _units(given.count, given.unit),
    )
    return Mixed(
        value,
        tuple(_term(term, coded.rows(term), beta, cov, free[term]) for term in coded.columns),
        tuple(_marginals(coded, beta, cov, free, level)),
        unit_sd,
        math.sqrt(float(fit.scale)) * scale,
        "mixed" if found is not None else "least squares",
        given.unit,
        given.count,
        len(y),
        checks,
    )


def _varies(columns: np.ndarray, units: np.ndarray) -> bool:
    """Whether columns change within some unit."""
    frame = pd.DataFrame(columns).groupby(units)
    return bool((frame.nunique() > 1).to_numpy().any())


def _freedom(coded: Design, inner: Mapping[tuple[str, ...], bool], units: int, n: int) -> dict[tuple[str, ...], float]:
    """Degrees of freedom of the error of each term."""
    sizes = {term: columns.stop - columns.start for term, columns in coded.columns.items()}
    within = float(n - units - sum(size for term, size in sizes.items() if inner[term]))
    between = float(units - 1 - sum(size for term, size in sizes.items() if not inner[term]))
    return {term: within if inner[term] else between for term in sizes}


def _fitted(y: np.ndarray, matrix: np.ndarray, units: np.ndarray) -> tuple[Any, str]:
    """Fit, or say why there is no fit to be had."""
    import statsmodels.api as sm

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they would say is looked at below
        try:  # Powell's search takes no gradient, which is not defined at the boundary
            found = sm.MixedLM(y, matrix, groups=units).fit(reml=True, method="powell", xtol=1e-8, ftol=1e-12)
        except (np.linalg.LinAlgError, ValueError):
            found = None
    if found is None or not found.converged or not np.isfinite(np.asarray(found.cov_params())).all():
        return None, "The mixed model did not converge: the numbers are those of ordinary least squares, units ignored."
    if float(np.asarray(found.cov_re).squeeze()) < BOUNDARY * float(found.scale):
        return None, (
            "The variance between units was found to be zero, at the boundary of the model: the numbers are those of "
            "ordinary least squares, which is then the same model."
        )
    return found, ""


def _units(count: int, unit: str) -> Check:
    if count >= FEW:
        return Check("units", True, f"{counted(count, unit)}.")
    return Check("units", False, f"With only {counted(count, unit)} the variance between them is hardly known.")


def _term(name: tuple[str, ...], rows: np.ndarray, beta: np.ndarray, cov: np.ndarray, free: float) -> Term:
    from scipy.stats import f as central

    chosen = rows @ beta
    f = float(chosen @ np.linalg.solve(rows @ cov @ rows.T, chosen)) / len(rows)
    return Term(COLON.join(name), len(rows), free, f, float(central.sf(f, len(rows), free)))


def _marginals(
    coded: Design, beta: np.ndarray, cov: np.ndarray, free: Mapping[tuple[str, ...], float], level: float
) -> list[Marginal]:
    found = []
    for factor, levels in coded.factors.items():
        for name in levels[1:]:
            row = coded.difference(factor, name, levels[0])
            value, error, df = float(row @ beta), math.sqrt(float(row @ cov @ row)), free[(factor,)]
            found.append(
                Marginal(factor, name, levels[0], student(value, error, df, level), t_test(value, error, df).p)
            )
    return found
