"""Factorial analysis of variance, between or within units, with partial eta squared and its interval."""

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from evenface.evaluation.formatting import listed
from evenface.evaluation.paired_tests import verdict
from evenface.statistics.assumptions import ALPHA, Check, balance, failed, normal, overlapping, replicated, with_p
from evenface.statistics.designs import DesignTable, counted, design_table
from evenface.statistics.effect_sizes import ETA_LEVEL, partial_eta
from evenface.statistics.linear_model import (
    COLON,
    SPHERICAL,
    CellMeans,
    Effect,
    absent,
    design,
    least_squares,
    orthonormal,
    term_names,
)
from evenface.statistics.rank_tests import signed_rank, signed_rank_floor
from evenface.statistics.t_tests import FLAT
from evenface.utils.errors import InputError

Kind = Literal["between", "within"]
COLUMNS = (
    *("name", "df", "df_error", "sum_squares", "f", "p", "eta", "low", "high", "power"),
    *("robust", "robust_p", "unit", "units", "epsilon", "robust_floor"),
)
INTERACTING = "Where factors interact, a main effect is the mean of different simple effects."


@dataclass(frozen=True)
class Factorial:
    """A k-way analysis of variance."""

    metric: str
    factors: dict[str, tuple[str, ...]]
    kind: Kind
    effects: tuple[Effect, ...]
    unit: str
    units: int
    count: int
    checks: tuple[Check, ...]

    def effect(self, name: str) -> Effect:
        """Return an effect by its name, such as ``loss`` or ``architecture:loss``; the order of factors is free."""
        return next(
            effect
            for effect in self.effects
            if name in map(COLON.join, itertools.permutations(effect.factors or (effect.name,)))
        )

    @property
    def sentence(self) -> str:
        """Render the design, the significant effects and the failed assumptions."""
        shape = " × ".join(str(len(levels)) for levels in self.factors.values())
        over = (
            f"each of {counted(self.units, self.unit)} measured in all cells"
            if self.kind == "within"
            else f"{self.count:,} values taken as independent, of {counted(self.units, self.unit)}"
        )
        significant = [e for e in self.effects if e.certain]
        named = "of " + listed([f"{e.name} ({with_p(e.p)}, partial η² = {e.eta:.3f})" for e in significant])
        smallest = min((e.p for e in significant), default=math.nan)
        answer = verdict(smallest, self.units, self.unit, named, "of any effect")
        answer += "" if significant else f" (smallest p: {self._smallest})"
        head = f"{self.metric}, {shape} factorial of {', '.join(self.factors)}, {over}: {answer}."
        interacting = any(len(effect.factors) > 1 for effect in significant)
        return " ".join([head, *([INTERACTING] if interacting else []), *failed(self.checks)])

    @property
    def _smallest(self) -> str:
        known = [effect for effect in self.effects if not math.isnan(effect.p)]
        best = min(known, key=lambda effect: effect.p, default=None)
        return f"{with_p(best.p)}, {best.name}" if best else "none is defined"

    def frame(self) -> pd.DataFrame:
        """Return a row per effect, unrounded."""
        rows = [{"metric": self.metric, **{name: getattr(effect, name) for name in COLUMNS}} for effect in self.effects]
        return pd.DataFrame(rows).rename(columns={"name": "effect", "eta": "partial_eta_squared"})


def factorial(
    table: pd.DataFrame,
    value: str,
    factors: Sequence[str],
    unit: str | Sequence[str],
    *,
    kind: Kind | None = None,
    overlap: float = 0.0,
    level: float = ETA_LEVEL,
) -> Factorial:
    """Analyse the variance of a full factorial: every main effect and interaction, type III.

    Parameters
    ----------
    table, value, factors, unit
        As in :func:`~evenface.statistics.designs.design_table`.
    kind : {"between", "within"}, optional
        ``between``: each value is independent of all others, the error is the spread within cells. ``within``: each
        unit was measured in every cell, and each effect is tested against how much it differs between units; units
        that lack a cell are left out. By default ``within`` where a unit was measured in several cells.
    overlap : float, default=0
        Within units: n_test / n_train where units are folds of a cross-validation. F is divided by
        1 + units × overlap, which with two levels is the square of
        :func:`~evenface.statistics.t_tests.resampled_t_test`.
    level : float, default=0.90
        Confidence level of partial eta squared.

    Raises
    ------
    InputError
        If the table does not allow it: a factor of one level, an empty cell, too few units.

    Notes
    -----
    Sum-to-zero contrasts: a main effect is the mean over cells, whatever their sizes (type III). With two levels, the
    test within units is the paired t test of their means, and sphericity is not asked for; with more, the p of
    Greenhouse and Geisser is given too.

    References
    ----------
    Maxwell, Delaney and Kelley, *Designing experiments and analyzing data*, 2018. Greenhouse and Geisser, *On methods
    in the analysis of profile data*, Psychometrika 1959. MacKinnon and White, *Some heteroskedasticity-consistent
    covariance matrix estimators*, J Econometrics 1985 (HC3).
    """
    if not factors:
        raise InputError("an analysis of variance requires a factor")
    given = design_table(table, value, factors, unit)
    chosen = kind or ("within" if given.repeated else "between")
    return within(given, overlap, level) if chosen == "within" else between(least_squares(given), level)


def between(model: CellMeans, level: float = ETA_LEVEL) -> Factorial:
    """Analyse the variance of independent values from the model of their cell means."""
    given, effects = model.coded.given, []
    for term in model.coded.columns:
        test = model.f_test(term)
        robust = model.f_test(term, model.beside).p if model.beside is not None else math.nan
        squares = test.f * test.df * model.sd**2
        effects.append(
            _effect(given, term, test.df, test.df_error, squares, test.f, level, "HC3", robust, given.replication(term))
        )
    return Factorial(
        *(given.value, given.factors, "between", tuple(effects), given.unit, given.count, len(given.values)),
        model.checks,
    )


def within(given: DesignTable, overlap: float = 0.0, level: float = ETA_LEVEL) -> Factorial:
    """Analyse the variance within units, those that were measured in every cell."""
    wide = given.wide()
    known = ~np.isnan(wide)
    values = wide[known.all(axis=1)]
    n = len(values)
    if n < 2:
        empty = not known.any(axis=0).all()
        hint = "A mixed model accepts incomplete units." + (
            f" However, {absent(given, list(given.factors))}." if empty else ""
        )
        raise InputError(
            f"{given.value}: {counted(n, given.unit)} measured in all {len(given.cells)} cells; at least two are "
            "required",
            hint,
        )
    design(given)  # raises if the factors are not valid
    effects, spherical = [], []
    for term in term_names(list(given.factors)):
        scores = values @ _contrasts(given, term)
        df, mean = scores.shape[1], scores.mean(axis=0)
        error = float(((scores - mean) ** 2).sum())
        squares = n * float((mean**2).sum())
        f = squares / (error / (n - 1)) / (1 + n * overlap) if error > (FLAT * given.size) ** 2 else math.nan
        epsilon, robust, beside = _beside(scores, f)
        floor = signed_rank_floor(scores[:, 0]) if df == 1 else 0.0
        effect = _effect(given, term, df, df * (n - 1.0), squares, f, level, robust, beside, n)
        effects.append(replace(effect, epsilon=epsilon, robust_floor=floor))
        spherical += [(COLON.join(term), epsilon)] if df > 1 and not math.isnan(f) else []
    residuals = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
    checks = [
        normal(residuals.ravel(), "residuals", "F is then approximate; Wilcoxon's p is given too", given.size),
        balance([n], given.count - n, given.missing, given.unit),
        *[_sphericity(name, epsilon) for name, epsilon in spherical],
        *overlapping(given.unit, overlap),
        replicated(given),
    ]
    return Factorial(given.value, given.factors, "within", tuple(effects), given.unit, n, values.size, tuple(checks))


def _contrasts(given: DesignTable, term: tuple[str, ...]) -> np.ndarray:
    """Orthonormal contrasts of an effect over all cells, shape (cells, df)."""
    parts = (
        orthonormal(len(levels)) if name in term else np.full((len(levels), 1), len(levels) ** -0.5)
        for name, levels in given.factors.items()
    )
    return functools.reduce(np.kron, parts)


def _beside(scores: np.ndarray, f: float) -> tuple[float, str, float]:
    """Compute Greenhouse and Geisser's epsilon, and the robust test: its name and p."""
    from scipy.stats import f as central

    n, df = scores.shape
    if df == 1:
        return 1.0, "Wilcoxon", signed_rank(scores[:, 0])
    spread = np.cov(scores, rowvar=False)
    traces = float(np.trace(spread)) ** 2, float((spread**2).sum())
    epsilon = min(1.0, max(1 / df, traces[0] / (df * traces[1]))) if traces[1] > 0 else 1.0
    return epsilon, "Greenhouse–Geisser", float(central.sf(f, epsilon * df, epsilon * df * (n - 1)))


def _sphericity(name: str, epsilon: float) -> Check:
    measured = f"{name}: Greenhouse and Geisser's epsilon is {epsilon:.2f}"
    if epsilon < SPHERICAL:
        return Check("sphericity", False, f"{measured}, far from sphericity: use the p by Greenhouse–Geisser.", epsilon)
    return Check("sphericity", True, f"{measured}, near sphericity.", epsilon)


def _effect(
    given: DesignTable,
    term: tuple[str, ...],
    df: int,
    df_error: float,
    squares: float,
    f: float,
    level: float,
    robust: str,
    beside: float,
    units: int,
) -> Effect:
    from scipy.stats import f as central
    from scipy.stats import ncf

    p = float(central.sf(f, df, df_error))
    power = (
        float(ncf.sf(central.isf(ALPHA, df, df_error), df, df_error, f * df))
        if f > 0
        else (ALPHA if f == 0 else math.nan)
    )
    eta = partial_eta(f, df, df_error, level)
    return Effect(
        COLON.join(term),
        df,
        df_error,
        f,
        p,
        given.unit,
        units,
        robust,
        beside,
        sum_squares=squares,
        eta=eta[0],
        low=eta[1],
        high=eta[2],
        power=power,
        factors=term,
    )
