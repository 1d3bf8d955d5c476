"""Factorial analysis of variance, between or within units, and the least-squares model of cell means beneath it."""

import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from evenface.evaluation.bootstrap import LEVEL, Estimate
from evenface.evaluation.formatting import listed
from evenface.evaluation.paired_tests import rejects, verdict
from evenface.statistics.assumptions import (
    ALPHA,
    Check,
    balance,
    equal_spread,
    failed,
    normal,
    overlapping,
    replicated,
    with_p,
)
from evenface.statistics.comparisons import Contrast
from evenface.statistics.designs import DesignTable, counted, design_table, plural
from evenface.statistics.effect_sizes import ETA_LEVEL, Kind, eta_word, partial_eta, standardised
from evenface.statistics.nonparametric_tests import signed_rank, signed_rank_floor
from evenface.statistics.t_tests import FLAT, student, t_test
from evenface.utils.errors import InputError

COLON = ":"
Term = tuple[str, ...]


def sum_coding(levels: int) -> np.ndarray:
    """Code of each level, shape (L, L - 1): its own column is 1, the last level is -1 in all."""
    return np.vstack([np.eye(levels - 1), -np.ones(levels - 1)])


def orthonormal(levels: int) -> np.ndarray:
    """Contrasts of length one at right angles to each other and to the mean, shape (L, L - 1)."""
    basis = np.linalg.qr(np.column_stack([np.ones(levels), np.eye(levels)[:, : levels - 1]]))[0]
    return np.asarray(basis[:, 1:])


def cell_contrasts(given: DesignTable, term: Term, factors: Sequence[str]) -> np.ndarray:
    """Orthonormal contrasts of an effect over the cells of some factors, shape (cells, df)."""
    sizes = {name: len(given.factors[name]) for name in factors}
    parts = (orthonormal(size) if name in term else np.full((size, 1), size**-0.5) for name, size in sizes.items())
    return functools.reduce(np.kron, parts)


def term_names(factors: Sequence[str], *, interactions: bool = True) -> Iterator[Term]:
    """Iterate over main effects, then interactions of two, three, and so on."""
    largest = len(factors) if interactions else 1
    return (term for size in range(1, largest + 1) for term in itertools.combinations(factors, size))


@dataclass(frozen=True, eq=False)
class Design:
    """A design matrix of the factors of a grid."""

    matrix: np.ndarray
    columns: dict[Term, slice]
    left_out: tuple[Term, ...]
    given: DesignTable

    def rows(self, term: Term) -> np.ndarray:
        """Return the matrix (df, K) that picks the coefficients of a term."""
        return np.eye(self.matrix.shape[1])[self.columns[term]]

    def difference(self, factor: str, level: str, baseline: str) -> np.ndarray:
        """Return the row (K,) that makes of coefficients a level minus another, averaged over the other factors."""
        code = sum_coding(len(self.given.factors[factor]))
        row = np.zeros(self.matrix.shape[1])
        row[self.columns[(factor,)]] = code[self.given.code(factor, level)] - code[self.given.code(factor, baseline)]
        return row


def design(given: DesignTable, *, interactions: bool = True) -> Design:
    """Code factors and those of their interactions that can be estimated."""
    for name, levels in given.factors.items():
        if len(levels) < 2:
            raise InputError(f"the factor {name} has one level only, {levels[0]}", "Leave it out.")
    seen, cell_of = np.unique(given.codes, axis=0, return_inverse=True)
    codes = {
        name: sum_coding(len(levels))[seen[:, place]] for place, (name, levels) in enumerate(given.factors.items())
    }
    matrix, columns, left_out = np.ones((len(seen), 1)), dict[Term, slice](), list[Term]()
    for term in term_names(list(given.factors), interactions=interactions):
        parts = (codes[name] for name in term)
        width = int(np.prod([len(given.factors[name]) - 1 for name in term]))
        start = matrix.shape[1]
        lower = all(part in columns for part in itertools.combinations(term, len(term) - 1)) or len(term) == 1
        if lower and start + width <= len(seen):
            block = next(parts)
            for other in parts:
                block = (block[:, :, None] * other[:, None, :]).reshape(len(seen), -1)
            wider = np.hstack([matrix, block])
            if np.linalg.matrix_rank(wider) == wider.shape[1]:
                matrix, columns[term] = wider, slice(start, start + width)
                continue
        if len(term) == 1:
            raise InputError(
                _confounded(given, term[0]), "Leave out one of the factors, or measure the missing combinations."
            )
        left_out.append(term)
    return Design(matrix[cell_of.ravel()], columns, tuple(left_out), given)


def _confounded(given: DesignTable, factor: str) -> str:
    others = listed([name for name in given.factors if name != factor])
    return (
        f"the effects of {factor} and {others} cannot be separated: {absent(given, list(given.factors))}, and the "
        "remaining values do not determine them"
    )


def absent(given: DesignTable, factors: Sequence[str]) -> str:
    """Render how many combinations of factors lack a value, with an example."""
    places = [list(given.factors).index(name) for name in factors]
    seen = {tuple(row) for row in given.codes[:, places].tolist()}
    sizes = [given.shape[place] for place in places]
    count = int(np.prod(sizes)) - len(seen)
    cell = next(cell for cell in itertools.product(*map(range, sizes)) if cell not in seen)
    named = ", ".join(given.factors[name][code] for name, code in zip(factors, cell, strict=True))
    combinations = f"{count:,} combination{'s' * (count != 1)} of {', '.join(factors)}"
    return f"{combinations} {'have' if count != 1 else 'has'} no value, such as {named}"


APPROXIMATE = "F and t are then approximate"
SPHERICAL = 0.75
HC3 = "HC3, which allows for unequal variances"
OWN = "t test against the variance of this difference alone"


@dataclass(frozen=True)
class Effect:
    """F test of a main effect or an interaction; values that the design does not define are NaN."""

    name: str
    df: float
    df_error: float
    f: float
    p: float
    unit: str
    units: int
    robust: str
    robust_p: float
    epsilon: float = 1.0
    robust_floor: float = 0.0
    sum_squares: float = math.nan
    eta: float = math.nan
    low: float = math.nan
    high: float = math.nan
    power: float = math.nan
    factors: tuple[str, ...] = ()

    @property
    def certain(self) -> bool:
        """Whether p is at most 0.05, over three units or more."""
        return rejects(self.p, self.units)

    @property
    def test(self) -> str:
        """Format as ``F(2, 13) = 3.98, p = 0.045``."""
        return f"F({self.df:g}, {self.df_error:g}) = {self.f:.2f}, {with_p(self.p)}"

    @property
    def sentence(self) -> str:
        """Render the verdict, F, p and effect size, and p of the robust test where it leads to another verdict."""
        if math.isnan(self.f):
            return f"{self.name}: not defined, as there is no variance."
        parts = [self.test]
        if not math.isnan(self.eta):
            size = f"partial η² = {self.eta:.3f} [{self.low:.3f}, {self.high:.3f}]"
            parts += [size, eta_word(self.eta)]
        text = ", ".join(parts)
        if not math.isnan(self.robust_p) and (self.robust_p <= ALPHA) != (self.p <= ALPHA):
            floor = ", the smallest possible with so few units" if self.robust_floor > ALPHA else ""
            text += f"; {self.robust} {with_p(self.robust_p)}{floor}"
        return f"{self.name}: {verdict(self.p, self.units, self.unit, 'of an effect', 'of an effect')} ({text})."


class FTest(NamedTuple):
    """F test of an effect; NaN where there is no variance."""

    f: float
    df: int
    df_error: float
    p: float


@dataclass(frozen=True, eq=False)
class UnitVariation:
    """Variance of each effect's own contrasts between units, where a random intercept assumes one variance for all."""

    covariance: np.ndarray
    contrasts: Mapping[Term, np.ndarray]
    pooled: float
    df: float

    def of(self, rows: np.ndarray) -> tuple[float, float]:
        """Return the mean variance of contrasts (cells, df) in shares of ``pooled``, and Box's epsilon."""
        spread = rows.T @ self.covariance @ rows
        mean, squares = float(np.trace(spread)) / len(spread), float((spread**2).sum())
        epsilon = len(spread) * mean**2 / squares if squares > 0 else 1.0
        return mean / self.pooled, min(1.0, max(1 / len(spread), epsilon))


@dataclass(frozen=True, eq=False)
class CellMeans:
    """A linear model of the cell means of a grid, by least squares or with a random intercept for each unit."""

    coded: Design
    kind: Literal["between", "mixed"]
    beta: np.ndarray
    cov: np.ndarray
    free: Mapping[Term, float]
    sd: float
    residual: float
    beside: np.ndarray | None
    own: UnitVariation | None
    checks: tuple[Check, ...]
    overlap: float = 0.0

    @property
    def flat(self) -> bool:
        """Whether there is no variance within cells."""
        return self.residual <= FLAT * self.coded.given.size

    def f_test(self, term: Term, cov: np.ndarray | None = None) -> FTest:
        """Test an effect, by the model's covariance or another one."""
        from scipy.stats import f as central

        rows, used = self.coded.rows(term), self.cov if cov is None else cov
        if self.flat:
            return FTest(math.nan, len(rows), self.free[term], math.nan)
        chosen = rows @ self.beta
        f = float(chosen @ np.linalg.solve(rows @ used @ rows.T, chosen)) / len(rows)
        return FTest(f, len(rows), self.free[term], float(central.sf(f, len(rows), self.free[term])))

    def own_f_test(self, term: Term) -> tuple[float, float]:
        """Return p of an effect against the spread of its own contrasts (Box), and its epsilon; NaN where unknown."""
        from scipy.stats import f as central

        found = self.f_test(term)
        if self.own is None or term not in self.own.contrasts or math.isnan(found.f):
            return math.nan, math.nan
        share, epsilon = self.own.of(self.own.contrasts[term])
        if not share > 0:
            return math.nan, math.nan
        df = epsilon * found.df
        return float(central.sf(found.f / share, df, df * self.own.df)), epsilon

    def contrast(self, factor: str, level: str, baseline: str, *, confidence: float = LEVEL) -> Contrast:
        """Compare two levels of a factor, the cells of the other factors weighing equally.

        Notes
        -----
        The estimated marginal means of R's emmeans, with the error and the degrees of freedom of the analysis of
        variance: of two levels, t² is the factor's F.

        References
        ----------
        Searle, Speed and Milliken, *Population marginal means in the linear model*, Am Stat 1980.
        """
        given, row = self.coded.given, self.coded.difference(factor, level, baseline)
        value, df = float(row @ self.beta), self.free[(factor,)]
        value = 0.0 if abs(value) <= FLAT * given.size else value
        error = 0.0 if self.flat else math.sqrt(float(row @ self.cov @ row))
        found = t_test(value, error, df, given.size)
        sides = [given.of(factor, name) for name in (level, baseline)]
        units = [np.unique(given.units[side]) for side in sides]
        count = int(sides[0].sum() + sides[1].sum())
        robust, robust_error, robust_df = self._beside(row, factor, (level, baseline), error)
        kind: Kind = "d_s" if self.kind == "between" else "d_total"
        spread = 0.0 if self.flat else self.sd
        return Contrast(
            metric=given.value,
            factor=factor,
            level=level,
            baseline=baseline,
            unit=given.unit,
            units=len(np.union1d(*units)),
            count=count,
            counts="values",
            replication=max(map(len, units)),
            checks=self.checks,
            difference=Estimate(value) if math.isnan(found.p) else student(value, error, df, confidence),
            error=error,
            sd=self.sd,
            test="contrast of cell means" + (" in the mixed model" if self.kind == "mixed" else ""),
            **found._asdict(),
            overlap=self.overlap,
            plain_p=t_test(value, error / math.sqrt(1 + given.count * self.overlap), df, given.size).p,
            holm=found.p,
            bonferroni=found.p,
            fdr=found.p,
            family=1,
            effects=(standardised(kind, value, error, df, spread, confidence, given.unit, count),),
            resampled=None,
            robust=robust,
            robust_error=robust_error,
            robust_df=robust_df,
            robust_floor=0.0,
            robust_p=t_test(value, robust_error, robust_df, given.size).p,
        )

    def _beside(self, row: np.ndarray, factor: str, levels: tuple[str, str], error: float) -> tuple[str, float, float]:
        """Return name, standard error and degrees of freedom of the robust test of a contrast."""
        if self.beside is not None:
            return HC3, math.sqrt(float(row @ self.beside @ row)), self.free[(factor,)]
        if self.own is None or (factor,) not in self.own.contrasts or self.flat:
            return "", math.nan, math.nan
        given = self.coded.given
        above, below = np.eye(len(given.factors[factor]))[[given.code(factor, level) for level in levels]]
        inner = self.own.contrasts[(factor,)] @ (orthonormal(len(above)).T @ (above - below))
        share, _ = self.own.of(inner[:, None] / np.linalg.norm(inner))
        return (OWN, error * math.sqrt(share), self.own.df) if share > 0 else ("", math.nan, math.nan)


def least_squares(given: DesignTable) -> CellMeans:
    """Fit cell means by ordinary least squares: every value is independent of all others."""
    import statsmodels.api as sm

    coded = design(given)
    free = len(given.values) - coded.matrix.shape[1]
    if free < 1:
        raise InputError(
            f"{given.value}: {len(given.values)} values in {len(np.unique(given.places))} cells leave no "
            "degrees of freedom for the error",
            "Add a second value per cell, or leave out a factor.",
        )
    fitted = sm.OLS(given.values, coded.matrix).fit()
    cells = [given.values[given.places == place] for place in np.unique(given.places)]
    sd = float(np.sqrt(fitted.mse_resid))
    hc3 = None
    if min(map(len, cells)) > 1 and sd > FLAT * given.size:
        hc3 = np.asarray(fitted.get_robustcov_results("HC3", use_t=True).cov_params())
    checks = (
        normal(np.asarray(fitted.resid), "residuals", APPROXIMATE, given.size),
        equal_spread(cells, "the p by HC3, which allow for it"),
        balance(map(len, cells), 0, given.missing, given.unit),
        independent_values(given),
        *structure(coded),
    )
    return CellMeans(
        coded,
        "between",
        np.asarray(fitted.params),
        np.asarray(fitted.cov_params()),
        dict.fromkeys(coded.columns, float(free)),
        sd,
        sd,
        hc3,
        None,
        checks,
    )


def independent_values(given: DesignTable) -> Check:
    """Check that each unit brings one value."""
    if not given.repeated:
        return Check("independence", True, f"Each {given.unit} brings one value.")
    return Check(
        "independence",
        False,
        f"The same {counted(given.count, given.unit)} were measured in several cells, so the values are not "
        "independent: the "
        f"variance between {plural(given.unit)} is counted as error. A test within {plural(given.unit)} may give a "
        "very different p.",
    )


def structure(coded: Design) -> list[Check]:
    """Check that rows do not contradict each other, and that all interactions can be estimated."""
    checks = [replicated(coded.given)]
    if coded.left_out:
        names = listed([COLON.join(term) for term in coded.left_out])
        why = absent(coded.given, list(coded.given.factors))
        message = (
            f"{names} cannot be estimated, as {why}: left out. The other effects and the comparisons are valid only if "
            "these factors do not interact."
        )
        checks.append(Check("interactions", False, message))
    return checks


FactorialKind = Literal["between", "within"]
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
    kind: FactorialKind
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
    kind: FactorialKind | None = None,
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
        scores = values @ cell_contrasts(given, term, list(given.factors))
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
