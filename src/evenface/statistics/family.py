"""Comparisons that were planned together, and the corrections for having made several."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from evenface.evaluation.intervals import LEVEL
from evenface.evaluation.paired import holm
from evenface.evaluation.verdict import repeats_training
from evenface.evaluation.wording import signed
from evenface.statistics.comparisons import Contrast, compare
from evenface.statistics.resample import RESAMPLES, Method
from evenface.statistics.tidy import Groups, Others, Pairs, groups, pairs

_PARTS = (("", "value"), (" low", "low"), (" high", "high"), (" Hedges", "hedges"))


@dataclass(frozen=True)
class Planned:
    """A family of comparisons, corrected together."""

    contrasts: tuple[Contrast, ...]

    @property
    def sentence(self) -> str:
        """Say which differences hold."""
        first, n = self.contrasts[0], len(self.contrasts)
        held = [f"{c.level} against {c.baseline} ({signed(c.difference.value)})" for c in self.contrasts if c.certain]
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
                c.robust: c.robust_p,
                f"{c.robust} smallest p": c.robust_floor,
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
    paired: bool = True,
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
        All factors of the design; by default those of the contrasts.
    others : {"averaged", "each"}
        What becomes of the other factors' settings, see :func:`~evenface.statistics.tidy.pairs`.
    paired : bool, default=True
        Whether both levels were measured in the same units.
    overlap : float, default=0
        n_test / n_train where units are folds, see :func:`~evenface.statistics.resampled.resampled_t_test`.
    level, resamples, method, seed
        As in :func:`compare`.
    """
    if not contrasts:
        raise ValueError("no comparison is planned")
    factors = list(dict.fromkeys(among if among is not None else (factor for factor, _, _ in contrasts)))
    found = []
    for factor, candidate, baseline in contrasts:
        rest = [name for name in factors if name != factor]
        given: Pairs | Groups = (
            pairs(table, value, factor, candidate, baseline, unit, others=others, among=rest, overlap=overlap)
            if paired
            else groups(table, value, factor, candidate, baseline, unit)
        )
        found.append(compare(given, level=level, resamples=resamples, method=method, seed=seed))
    return correct(found)


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
