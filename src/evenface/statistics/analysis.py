"""Planned comparisons corrected as a family, and the complete analysis of a tidy table."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from evenface.evaluation.bootstrap import LEVEL, Estimate
from evenface.evaluation.formatting import signed_interval
from evenface.evaluation.paired_tests import benjamini_hochberg, bonferroni, holm, repeats_training
from evenface.statistics.anova import CellMeans, Factorial, between, least_squares, within
from evenface.statistics.assumptions import failed
from evenface.statistics.bootstrap_intervals import RESAMPLES, Method
from evenface.statistics.comparisons import Contrast, Equivalence, Margin, compare, equivalence
from evenface.statistics.designs import DesignTable, Others, Pairs, design_table, pairs_of
from evenface.statistics.mixed_model import MixedModel, random_intercept
from evenface.statistics.nonparametric_tests import LEAST, Ranks, direction_of, friedman
from evenface.statistics.power import smallest_effect
from evenface.statistics.t_tests import fold_overlap
from evenface.utils.errors import InputError
from evenface.utils.tables import read_delimited

Model = Literal["between", "within", "mixed"]
FOLD = "fold"
_PARTS = (("", "value"), (" low", "low"), (" high", "high"), (" Hedges", "hedges"))


@dataclass(frozen=True)
class PlannedComparisons:
    """A family of comparisons, corrected together."""

    contrasts: tuple[Contrast, ...]

    @property
    def sentence(self) -> str:
        """Summarise which comparisons are significant, in a sentence."""
        first, n = self.contrasts[0], len(self.contrasts)
        significant = [
            f"{c.level} against {c.baseline} ({signed_interval(Estimate(c.difference.value))})"
            for c in self.contrasts
            if c.certain
        ]
        share = f"{len(significant)} of {n}" if n > 1 else "the" if significant else "no"
        kind = "larger than training noise" if repeats_training(first.unit) else "with evidence of a difference"
        answer = f"{first.metric}: {share} planned comparison{'s' * (n > 1)} {kind} at 0.05"
        corrected = f" after Holm's correction for {first.family}" if n > 1 else ""
        units = f"The unit of replication is the {first.unit} ({first.units})."
        return f"{answer}{corrected}{': ' if significant else ''}{', '.join(significant)}. {units}"

    def frame(self) -> pd.DataFrame:
        """Return a row per comparison, unrounded."""
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
) -> PlannedComparisons:
    """Compare levels that were chosen before the data were seen; their p are corrected as one family.

    Parameters
    ----------
    table, value, unit
        As in :func:`~evenface.statistics.designs.design_table`.
    contrasts : sequence of (factor, level, baseline)
        What is compared with what.
    among : sequence of str, optional
        All factors of the design; by default those of the contrasts. A factor that is not named is averaged over as its
        rows come, so name every factor that was varied.
    others : {"averaged", "each"}
        What becomes of the other factors' settings of pairs, see :func:`~evenface.statistics.designs.pairs`.
    kind : {"between", "within", "mixed"}, optional
        As in :func:`fit_design`.
    overlap : float, default=0
        n_test / n_train where units are folds, see :func:`~evenface.statistics.t_tests.resampled_t_test`.
    level, resamples, method, seed
        As in :func:`compare`.
    """
    if not contrasts:
        raise ValueError("no planned comparison was given")
    factors = list(dict.fromkeys([*(among or ()), *(factor for factor, _, _ in contrasts)]))
    given = design_table(table, value, factors, unit)
    drawn: dict[str, Any] = {"level": level, "resamples": resamples, "method": method, "seed": seed}
    if others == "each":
        return correct(
            [compare(pairs_of(given, *contrast, others="each", overlap=overlap), **drawn) for contrast in contrasts]
        )
    model = fit_design(given, kind, overlap)
    return correct([model.compare(*contrast, **drawn) for contrast in contrasts])


@dataclass(frozen=True, eq=False)
class FittedDesign:
    """A grid with the model that its effects and its comparisons come from."""

    given: DesignTable
    variance: Factorial | None
    mixed: MixedModel | None
    model: CellMeans | None
    overlap: float

    def compare(self, factor: str, candidate: str, baseline: str, **drawn: Any) -> Contrast:
        """Compare two levels, the cells of other factors weighing equally; ``drawn`` as in :func:`compare`."""
        if self.model is not None:
            return self.model.contrast(factor, candidate, baseline, confidence=drawn.get("level", LEVEL))
        return compare(self.pairs(factor, candidate, baseline), **drawn)

    def pairs(self, factor: str, candidate: str, baseline: str) -> Pairs:
        """Pair two levels within the units that were measured in every cell, as the analysis of variance does."""
        complete = pairs_of(self.given.whole(), factor, candidate, baseline, overlap=self.overlap)
        return replace(complete, incomplete=self.given.count - complete.units)

    def equivalence(self, contrast: Contrast, margin: Margin) -> Equivalence:
        """Test a comparison of this model against margins."""
        if self.model is not None:
            return equivalence(contrast, margin)
        return equivalence(self.pairs(contrast.factor, contrast.level, contrast.baseline), margin)


def fit_design(given: DesignTable, kind: Model | None = None, overlap: float = 0.0) -> FittedDesign:
    """Fit the model that a design requires."""
    chosen = kind or ("between" if not given.repeated else "within" if given.complete else "mixed")
    if chosen == "mixed":
        fitted = random_intercept(given, overlap=overlap)
        return FittedDesign(given, None, fitted, fitted.model, overlap)
    if chosen == "within":
        return FittedDesign(given, within(given, overlap), None, None, overlap)
    model = least_squares(given)
    return FittedDesign(given, between(model), None, model, 0.0)


def correct(contrasts: Sequence[Contrast]) -> PlannedComparisons:
    """Correct the p of comparisons that were planned together, by Holm, Bonferroni and Benjamini and Hochberg."""
    p = np.array([contrast.p for contrast in contrasts])
    tested = int((~np.isnan(p)).sum())
    corrected = zip(contrasts, holm(p), bonferroni(p), benjamini_hochberg(p), strict=True)
    return PlannedComparisons(
        tuple(replace(c, holm=float(h), bonferroni=float(b), fdr=float(f), family=tested) for c, h, b, f in corrected)
    )


@dataclass(frozen=True)
class Analysis:
    """Results of the analysis of a table."""

    analysed: FittedDesign
    comparisons: PlannedComparisons
    equivalences: tuple[Equivalence, ...]
    ranks: Ranks | None

    @property
    def variance(self) -> Factorial | None:
        """Analysis of variance; None where a mixed model is used instead."""
        return self.analysed.variance

    @property
    def mixed(self) -> MixedModel | None:
        """Mixed model; None where every unit was measured in every cell, or each in one."""
        return self.analysed.mixed

    @property
    def lines(self) -> list[str]:
        """Render the whole analysis as sentences, the answer first."""
        model = self.variance or self.mixed
        effects = self.variance.effects if self.variance else self.mixed.terms if self.mixed else ()
        parts = [model.sentence] if model else []
        parts += [effect.sentence for effect in effects]
        reported = failed(model.checks) if model else []
        for result in (*self.comparisons.contrasts, *self.equivalences):
            new = [text for text in failed(result.checks) if text not in reported]
            parts.append(" ".join([result.answer, *new, *result.beside]))
        return parts + ([self.ranks.sentence] if self.ranks else []) + _power(self.comparisons.contrasts[0])

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Tables by name, as they are written to CSV."""
        tables = {"comparisons": self.comparisons.frame()}
        if self.variance:
            tables["variance"] = self.variance.frame()
        if self.mixed:
            tables["mixed-model"] = self.mixed.frame()
        if self.equivalences:
            tables["equivalence"] = pd.DataFrame([_row(result) for result in self.equivalences])
        if self.ranks:
            tables["ranks"] = self.ranks.frame()
        return tables


def analyse(
    source: Path | pd.DataFrame,
    value: str,
    factors: Sequence[str],
    unit: str | Sequence[str],
    *,
    margin: float | None = None,
    kind: Model | None = None,
    baselines: Mapping[str, str] | None = None,
    higher_is_better: bool | None = None,
    overlap: float | None = None,
) -> Analysis:
    """Analyse a tidy table as a whole.

    Parameters
    ----------
    source : Path or DataFrame
        CSV, TSV or Parquet, a row for each value.
    value, factors, unit
        As in :func:`~evenface.statistics.designs.design_table`.
    margin : float, optional
        Half-width of the zone of equivalence.
    kind : {"between", "within", "mixed"}, optional
        As in :func:`~evenface.statistics.analysis.fit_design`.
    baselines : mapping of str to str, optional
        Factor to the level that others are compared with; by default the one that the table names first.
    higher_is_better : bool, optional
        Direction of ``value``; by default as known of a metric of that name.
    overlap : float, optional
        n_test / n_train where units are folds of a cross-validation, see
        :func:`~evenface.statistics.t_tests.resampled_t_test`; 0 for units that share no training data. By default
        1 / (k - 1) where a column of the unit is called ``fold`` and has k values, else 0.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column, the direction of the metric is not known, or the table does not
        allow an analysis.
    """
    if not factors:
        raise InputError("no factor was given", "Specify the columns of the conditions.")
    table = source if isinstance(source, pd.DataFrame) else load(source)
    given = design_table(table, value, factors, unit)
    higher = direction_of(value, higher_is_better)
    bases = {name: levels[0] for name, levels in given.factors.items()} | dict(baselines or {})
    for name, base in bases.items():
        given.code(name, base)  # raises if the level is unknown
    plan = [(name, level, bases[name]) for name, levels in given.factors.items() for level in levels]
    plan = [(name, level, base) for name, level, base in plan if level != base]
    if not plan:
        raise InputError(f"no factor of {', '.join(factors)} has more than one level", "There is nothing to compare.")
    shared = _overlap(table, unit) if overlap is None else overlap
    fitted = fit_design(given, kind, shared if given.repeated else 0.0)
    compared = correct([replace(fitted.compare(*contrast), higher_is_better=higher) for contrast in plan])
    complete = given.whole()
    single = (
        len(factors) == 1 and len(plan) + 1 >= LEAST and complete.complete and complete.count > 1 and given.repeated
    )
    return Analysis(
        fitted,
        compared,
        tuple(fitted.equivalence(contrast, margin) for contrast in compared.contrasts) if margin is not None else (),
        friedman(table, value, factors[0], unit, higher_is_better=higher) if single else None,
    )


def _overlap(table: pd.DataFrame, unit: str | Sequence[str]) -> float:
    """Return n_test / n_train of k-fold cross-validation where a column of the unit is called fold."""
    names = [unit] if isinstance(unit, str) else unit
    folds = max(
        (table[name].dropna().astype(str).str.strip().nunique() for name in names if name.lower() == FOLD), default=0
    )
    return fold_overlap(folds) if folds > 1 else 0.0


def load(path: Path) -> pd.DataFrame:
    """Load a table of CSV, TSV or Parquet; cells of text files stay text, so that the levels 1, 1.0 and 01 differ."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.suffix.lower() != ".parquet":
        return read_delimited(path)
    try:
        return pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: cannot be read as Parquet ({error})") from None


def _power(first: Contrast) -> list[str]:
    """Return the smallest detectable effect in a sentence; empty for mixed models."""
    kind = first.effects[0].kind
    if kind == "d_total":
        return []
    paired = kind == "d_z"
    count = first.units if paired else first.units // 2
    return [smallest_effect(max(count, 2), paired=paired, unit=first.unit, overlap=first.overlap).sentence]


def _row(result: Equivalence) -> dict[str, object]:
    """Return the row of an equivalence test, unrounded."""
    names = ("metric", "factor", "level", "baseline", "low", "high", "alpha", "p_low", "p_high", "p", "equivalent")
    row = {name: getattr(result, name) for name in (*names, "equivalent_wide", "changes", "unit", "units", "count")}
    for name, estimate in (("test", result.interval), ("wide", result.wide)):
        row |= {f"{name} low": estimate.low, f"{name} high": estimate.high}
    return {"difference": result.interval.value, **row}
