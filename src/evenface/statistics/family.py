"""Comparisons that were planned together, and the corrections for having made several."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from evenface.evaluation.formatting import signed_interval
from evenface.evaluation.intervals import LEVEL, Estimate
from evenface.evaluation.paired import holm
from evenface.evaluation.verdict import repeats_training
from evenface.statistics.anova import between, within
from evenface.statistics.cell_means import CellMeans, least_squares
from evenface.statistics.comparisons import Contrast, compare
from evenface.statistics.margins import Equivalence, Margin, equivalence
from evenface.statistics.random_effects import Mixed, random_intercept
from evenface.statistics.resample import RESAMPLES, Method
from evenface.statistics.tidy import Grid, Others, Pairs, grid, pairs_of
from evenface.statistics.variance import Factorial

Model = Literal["between", "within", "mixed"]
_PARTS = (("", "value"), (" low", "low"), (" high", "high"), (" Hedges", "hedges"))


@dataclass(frozen=True)
class Planned:
    """A family of comparisons, corrected together."""

    contrasts: tuple[Contrast, ...]

    @property
    def sentence(self) -> str:
        """Say which differences hold."""
        first, n = self.contrasts[0], len(self.contrasts)
        held = [
            f"{c.level} against {c.baseline} ({signed_interval(Estimate(c.difference.value))})"
            for c in self.contrasts
            if c.certain
        ]
        found = f"{len(held)} of {n}" if n > 1 else "the" if held else "no"
        what = "larger than training noise" if repeats_training(first.unit) else "with evidence of a difference"
        said = f"{first.metric}: {found} planned comparison{'s' * (n > 1)} {what} at 0.05"
        corrected = f" after Holm's correction for {first.family}" if n > 1 else ""
        units = f"The unit of replication is the {first.unit} ({first.units})."
        return f"{said}{corrected}{': ' if held else ''}{', '.join(held)}. {units}"

    def frame(self) -> pd.DataFrame:
        """Give a row for each comparison, every digit."""
        return pd.DataFrame(
            {
                "metric": c.metric,
                "factor": c.factor,
                "level": c.level,
                "baseline": c.baseline,
                "difference": c.difference.value,
                "low": c.difference.low,
                "high": c.difference.high,
                "t": c.t,
                "df": c.df,
                "p": c.p,
                "p plain t": c.plain_p,
                "p Holm": c.holm,
                "p Bonferroni": c.bonferroni,
                "p FDR": c.fdr,
                **{f"{e.kind}{part}": getattr(e, key) for e in c.effects for part, key in _PARTS},
                "bootstrap low": c.resampled.estimate.low if c.resampled else math.nan,
                "bootstrap high": c.resampled.estimate.high if c.resampled else math.nan,
                "test": c.test,
                "test beside": c.robust,
                "p beside": c.robust_p,
                "smallest p beside": c.robust_floor,
                "unit": c.unit,
                "units": c.units,
                "values": c.count,
            }
            for c in self.contrasts
        )


def planned(
    table: pd.DataFrame,
    value: str,
    contrasts: Sequence[tuple[str, str, str]],
    unit: str | Sequence[str],
    *,
    among: Sequence[str] | None = None,
    others: Others = "averaged",
    kind: Model | None = None,
    overlap: float = 0.0,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    method: Method = "bca",
    seed: int = 0,
) -> Planned:
    """Compare levels that were chosen before the data were seen; their p are corrected as one family.

    Parameters
    ----------
    table, value, unit
        As in :func:`~evenface.statistics.tidy.grid`.
    contrasts : sequence of (factor, level, baseline)
        What is compared with what.
    among : sequence of str, optional
        All factors of the design; by default those of the contrasts. A factor that is not named is averaged over as its
        rows come, so name every factor that was varied.
    others : {"averaged", "each"}
        What becomes of the other factors' settings of pairs, see :func:`~evenface.statistics.tidy.pairs`.
    kind : {"between", "within", "mixed"}, optional
        As in :func:`analysed`.
    overlap : float, default=0
        n_test / n_train where units are folds, see :func:`~evenface.statistics.resampled.resampled_t_test`.
    level, resamples, method, seed
        As in :func:`compare`.
    """
    if not contrasts:
        raise ValueError("no comparison is planned")
    factors = list(dict.fromkeys([*(among or ()), *(factor for factor, _, _ in contrasts)]))
    given = grid(table, value, factors, unit)
    drawn: dict[str, Any] = {"level": level, "resamples": resamples, "method": method, "seed": seed}
    if others == "each":
        return correct(
            [compare(pairs_of(given, *contrast, others="each", overlap=overlap), **drawn) for contrast in contrasts]
        )
    model = analysed(given, kind, overlap)
    return correct([model.compare(*contrast, **drawn) for contrast in contrasts])


@dataclass(frozen=True, eq=False)
class Analysed:
    """A grid with the model that its effects and its comparisons come from.

    Parameters
    ----------
    given : Grid
        The values.
    variance : Factorial or None
        Analysis of variance, of independent values or within units.
    mixed : Mixed or None
        A mixed model, where units stand in several cells but not in all.
    model : CellMeans or None
        What comparisons are contrasts of; None within units, where they are of pairs.
    overlap : float
        n_test / n_train where units are folds, else 0.
    """

    given: Grid
    variance: Factorial | None
    mixed: Mixed | None
    model: CellMeans | None
    overlap: float

    def compare(self, factor: str, candidate: str, baseline: str, **drawn: Any) -> Contrast:
        """Compare two levels, the cells of other factors weighing equally; ``drawn`` as in :func:`compare`."""
        if self.model is not None:
            return self.model.contrast(factor, candidate, baseline, confidence=drawn.get("level", LEVEL))
        return compare(self.pairs(factor, candidate, baseline), **drawn)

    def pairs(self, factor: str, candidate: str, baseline: str) -> Pairs:
        """Pair two levels within the units that stand in every cell, as the analysis of variance does."""
        found = pairs_of(self.given.whole(), factor, candidate, baseline, overlap=self.overlap)
        return replace(found, incomplete=self.given.count - found.units)

    def equivalence(self, contrast: Contrast, margin: Margin) -> Equivalence:
        """Test a comparison of this model against margins."""
        if self.model is not None:
            return equivalence(contrast, margin)
        return equivalence(self.pairs(contrast.factor, contrast.level, contrast.baseline), margin)


def analysed(given: Grid, kind: Model | None = None, overlap: float = 0.0) -> Analysed:
    """Fit the model that a design asks for.

    Parameters
    ----------
    given : Grid
        The values.
    kind : {"between", "within", "mixed"}, optional
        ``between``: all values are independent (least squares). ``within``: units stand in every cell, and each
        comparison is tested against how much it differs between units. ``mixed``: a random intercept for each unit. By
        default what the table shows: ``between`` where each unit stands in one cell, ``within`` where each stands in
        all, else ``mixed``, as for factors that vary between units, blocks, and units that lack cells.
    overlap : float, default=0
        n_test / n_train where units are folds; of no effect on independent values.
    """
    chosen = kind or ("between" if not given.repeated else "within" if given.complete else "mixed")
    if chosen == "mixed":
        found = random_intercept(given, overlap=overlap)
        return Analysed(given, None, found, found.model, overlap)
    if chosen == "within":
        return Analysed(given, within(given, overlap), None, None, overlap)
    model = least_squares(given)
    return Analysed(given, between(model), None, model, 0.0)


def correct(contrasts: Sequence[Contrast]) -> Planned:
    """Correct the p of comparisons that were planned together, by Holm, Bonferroni and Benjamini and Hochberg."""
    p = np.array([contrast.p for contrast in contrasts])
    tested = int((~np.isnan(p)).sum())
    corrected = zip(contrasts, holm(p), bonferroni(p), benjamini_hochberg(p), strict=True)
    return Planned(
        tuple(replace(c, holm=float(h), bonferroni=float(b), fdr=float(f), family=tested) for c, h, b, f in corrected)
    )


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
