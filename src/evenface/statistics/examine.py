"""Everything there is to say of one tidy table: for people who bring their own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from evenface.errors import InputError
from evenface.evaluation.style import save
from evenface.files import atomic_write, csv_safe
from evenface.statistics.checks import failed
from evenface.statistics.comparisons import Contrast
from evenface.statistics.family import Analysed, Model, Planned, analysed, correct
from evenface.statistics.margins import Equivalence
from evenface.statistics.power import smallest_effect
from evenface.statistics.random_effects import Mixed
from evenface.statistics.ranks import LEAST, Ranks, direction_of, friedman
from evenface.statistics.resampled import fold_overlap
from evenface.statistics.tidy import grid
from evenface.statistics.variance import Factorial
from evenface.tabular import read_table

FOLD = "fold"


@dataclass(frozen=True)
class Examined:
    """What was found in a table.

    Parameters
    ----------
    analysed : Analysed
        The analysis of variance or mixed model, which comparisons are contrasts of.
    comparisons : Planned
        Each level against the baseline of its factor.
    equivalences : tuple of Equivalence
        The same comparisons against the margin; empty where none was given.
    ranks : Ranks or None
        Where there is one factor of three or more levels, measured in the same units.
    """

    analysed: Analysed
    comparisons: Planned
    equivalences: tuple[Equivalence, ...]
    ranks: Ranks | None

    @property
    def variance(self) -> Factorial | None:
        """Analysis of variance; None where a mixed model stands in."""
        return self.analysed.variance

    @property
    def mixed(self) -> Mixed | None:
        """Mixed model; None where every unit was measured in every cell, or each in one."""
        return self.analysed.mixed

    @property
    def lines(self) -> list[str]:
        """Say all of it, the answer first."""
        whole = self.variance or self.mixed
        effects = self.variance.effects if self.variance else self.mixed.terms if self.mixed else ()
        parts = [whole.sentence] if whole else []
        parts += [effect.sentence for effect in effects]
        told = failed(whole.checks) if whole else []
        for found in (*self.comparisons.contrasts, *self.equivalences):
            fresh = [said for said in failed(found.checks) if said not in told]
            parts.append(" ".join([found.answer, *fresh, *found.beside]))
        return parts + ([self.ranks.sentence] if self.ranks else []) + _power(self.comparisons.contrasts[0])

    def save(self, folder: Path) -> None:
        """Write every table as CSV and every figure as SVG into a folder."""
        from evenface.statistics import drawing

        contrasts, unit = self.comparisons.contrasts, self.comparisons.contrasts[0].unit
        tables = {"comparisons": self.comparisons.frame()}
        figures = {"differences": drawing.differences(contrasts), "effects": drawing.effect_sizes(contrasts)}
        if self.variance:
            tables["variance"] = self.variance.frame()
        if self.mixed:
            tables["mixed-model"] = self.mixed.frame()
        if self.equivalences:
            tables["equivalence"] = pd.DataFrame([_row(result) for result in self.equivalences])
            figures["equivalence"] = drawing.equivalence(self.equivalences)
        if self.ranks:
            tables["ranks"] = self.ranks.frame()
            figures["ranks"] = drawing.critical_difference(self.ranks)
        if (
            contrasts[0].effects[0].kind == "d_z"
            and contrasts[0].count == contrasts[0].units
            and not contrasts[0].overlap
        ):
            figures["power"] = drawing.power_curves(count=contrasts[0].units, unit=unit)
        for name, table in tables.items():
            with atomic_write(folder / f"{name}.csv") as temporary:
                csv_safe(table).to_csv(temporary, index=False)
        for name, figure in figures.items():
            save(figure, folder / f"{name}.svg")


def examine(
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
) -> Examined:
    """Analyse a tidy table as a whole.

    Parameters
    ----------
    source : Path or DataFrame
        CSV, TSV or Parquet, a row for each value.
    value, factors, unit
        As in :func:`~evenface.statistics.tidy.grid`.
    margin : float, optional
        Half-width of the zone of equivalence.
    kind : {"between", "within", "mixed"}, optional
        As in :func:`~evenface.statistics.family.analysed`.
    baselines : mapping of str to str, optional
        Factor to the level that others are compared with; by default the one that the table names first.
    higher_is_better : bool, optional
        Direction of ``value``; by default as known of a metric of that name.
    overlap : float, optional
        n_test / n_train where units are folds of a cross-validation, see
        :func:`~evenface.statistics.resampled.resampled_t_test`; 0 for units that share no training data. By default
        1 / (k - 1) where a column of the unit is called ``fold`` and has k values, else 0.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column, the direction of the metric is not known, or the table does not
        allow an analysis.
    """
    if not factors:
        raise InputError("there is no factor to compare by", "Name the columns of the conditions.")
    table = source if isinstance(source, pd.DataFrame) else load(source)
    given = grid(table, value, factors, unit)
    higher = direction_of(value, higher_is_better)
    bases = {name: levels[0] for name, levels in given.factors.items()} | dict(baselines or {})
    for name, base in bases.items():
        given.code(name, base)  # says what is wrong with it
    plan = [(name, level, bases[name]) for name, levels in given.factors.items() for level in levels]
    plan = [(name, level, base) for name, level, base in plan if level != base]
    if not plan:
        raise InputError(f"no factor of {', '.join(factors)} has more than one level", "There is nothing to compare.")
    shared = _overlap(table, unit) if overlap is None else overlap
    found = analysed(given, kind, shared if given.repeated else 0.0)
    compared = correct([replace(found.compare(*three), higher_is_better=higher) for three in plan])
    whole = given.whole()
    single = len(factors) == 1 and len(plan) + 1 >= LEAST and whole.complete and whole.count > 1 and given.repeated
    return Examined(
        found,
        compared,
        tuple(found.equivalence(contrast, margin) for contrast in compared.contrasts) if margin is not None else (),
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
    """Load a table of CSV, TSV or Parquet; cells of text files stay text, so that the levels 1, 1.0 and 01 differ.

    Raises
    ------
    InputError
        If there is no such file, or it is none of these.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.suffix.lower() != ".parquet":
        return read_table(path)
    try:
        return pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: cannot be read as Parquet ({error})") from None


def _power(first: Contrast) -> list[str]:
    """Say what so many units can show, where a t test of pairs or groups is near the one that was made."""
    kind = first.effects[0].kind
    if kind == "d_total":
        return []
    paired = kind == "d_z"
    count = first.units if paired else first.units // 2
    return [smallest_effect(max(count, 2), paired=paired, unit=first.unit, overlap=first.overlap).sentence]


def _row(result: Equivalence) -> dict[str, object]:
    """Lay out an equivalence test for a table, every digit."""
    names = ("metric", "factor", "level", "baseline", "low", "high", "alpha", "p_low", "p_high", "p", "equivalent")
    found = {name: getattr(result, name) for name in (*names, "equivalent_wide", "changes", "unit", "units", "count")}
    for name, estimate in (("test", result.interval), ("wide", result.wide)):
        found |= {f"{name} low": estimate.low, f"{name} high": estimate.high}
    return {"difference": result.interval.value, **found}
