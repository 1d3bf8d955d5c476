"""Everything there is to say of one tidy table: for people who bring their own."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from evenface.errors import InputError
from evenface.evaluation.style import save
from evenface.files import atomic_write, csv_safe
from evenface.statistics.anova import factorial
from evenface.statistics.comparisons import Contrast, compare
from evenface.statistics.family import Planned, correct
from evenface.statistics.margins import Equivalence, equivalence
from evenface.statistics.power import smallest_effect
from evenface.statistics.random_effects import Mixed, mixed
from evenface.statistics.ranks import LEAST, Ranks, friedman
from evenface.statistics.resampled import fold_overlap
from evenface.statistics.tidy import Grid, Groups, Others, Pairs, grid, groups, pairs
from evenface.statistics.variance import Factorial, Kind

FOLD = "fold"


@dataclass(frozen=True)
class Examined:
    """What was found in a table.

    Parameters
    ----------
    variance : Factorial or None
        None where a mixed model stands in because units lack cells.
    mixed : Mixed or None
        None where every unit was measured in every cell, or each in one.
    comparisons : Planned
        Each level against the first of its factor.
    equivalences : tuple of Equivalence
        The same comparisons against the margin; empty where none was given.
    ranks : Ranks or None
        Where there is one factor of three or more levels, measured in the same units.
    """

    variance: Factorial | None
    mixed: Mixed | None
    comparisons: Planned
    equivalences: tuple[Equivalence, ...]
    ranks: Ranks | None

    @property
    def lines(self) -> list[str]:
        """Say all of it, the answer first."""
        parts = [part.sentence for part in (self.variance, self.mixed) if part]
        parts += [effect.sentence for effect in (self.variance.effects if self.variance else ())]
        parts += [c.sentence for c in self.comparisons.contrasts] + [e.sentence for e in self.equivalences]
        return parts + ([self.ranks.sentence] if self.ranks else []) + [_power(self.comparisons.contrasts[0])]

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
    kind: Kind | None = None,
    overlap: float | None = None,
) -> Examined:
    """Analyse a tidy table as a whole.

    Parameters
    ----------
    source : Path or DataFrame
        CSV, TSV or Parquet, a row for each value.
    value, factors, unit
        As in :func:`~evenface.statistics.tidy.grid`. The level of a factor that is named first is its baseline.
    margin : float, optional
        Half-width of the zone of equivalence.
    kind : {"between", "within"}, optional
        As in :func:`~evenface.statistics.anova.factorial`.
    overlap : float, optional
        n_test / n_train where units are folds of a cross-validation, see
        :func:`~evenface.statistics.resampled.resampled_t_test`; 0 for units that share no training data. By default
        1 / (k - 1) where a column of the unit is called ``fold`` and has k values, else 0.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column, or the table does not allow an analysis.
    """
    table = source if isinstance(source, pd.DataFrame) else read_table(source)
    given = grid(table, value, factors, unit)
    repeated = bool(given.frame["unit"].duplicated().any())
    shared = (_overlap(table, unit) if overlap is None else overlap) if repeated and kind != "between" else 0.0
    lacking = repeated and kind is None and bool(given.wide().isna().to_numpy().any())
    compared = [
        _two(table, given, name, level, unit, repeated, "each" if kind == "between" else "averaged", shared)
        for name, levels in given.factors.items()
        for level in levels[1:]
    ]
    if not compared:
        raise InputError(f"no factor of {', '.join(factors)} has more than one level", "There is nothing to compare.")
    single = len(factors) == 1 and len(given.factors[factors[0]]) >= LEAST and repeated
    return Examined(
        None if lacking else factorial(table, value, factors, unit, kind=kind, overlap=shared),
        mixed(table, value, factors, unit, overlap=shared) if lacking else None,
        correct([compare(two) for two in compared]),
        tuple(equivalence(two, margin) for two in compared) if margin is not None else (),
        friedman(table, value, factors[0], unit) if single else None,
    )


def _overlap(table: pd.DataFrame, unit: str | Sequence[str]) -> float:
    """Return n_test / n_train of k-fold cross-validation where a column of the unit is called fold."""
    names = [unit] if isinstance(unit, str) else unit
    folds = max((table[name].nunique() for name in names if name.lower() == FOLD), default=0)
    return fold_overlap(folds) if folds > 1 else 0.0


def _two(
    table: pd.DataFrame,
    given: Grid,
    factor: str,
    level: str,
    unit: str | Sequence[str],
    repeated: bool,
    others: Others,
    overlap: float,
) -> Pairs | Groups:
    """Take a level and its factor's first, in pairs where units stand in several cells."""
    base, rest = given.factors[factor][0], [name for name in given.factors if name != factor]
    if repeated:
        return pairs(table, given.value, factor, level, base, unit, others=others, among=rest, overlap=overlap)
    return groups(table, given.value, factor, level, base, unit)


def read_table(path: Path) -> pd.DataFrame:
    """Read a table of CSV, TSV or Parquet.

    Raises
    ------
    InputError
        If there is no such file, or it is none of these.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        separator = "\t" if path.suffix == ".tsv" else ","
        # A level may be called None: only what is empty is missing.
        return pd.read_csv(path, sep=separator, skipinitialspace=True, keep_default_na=False, na_values=[""])
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: cannot be read as a table ({error})", "CSV, .tsv and .parquet are read.") from None


def _power(first: Contrast) -> str:
    """Say what so many units can show."""
    paired = first.effects[0].kind == "d_z"
    count = first.units if paired else first.units // 2
    return smallest_effect(max(count, 2), paired=paired, unit=first.unit, overlap=first.overlap).sentence


def _row(result: Equivalence) -> dict[str, object]:
    """Lay out an equivalence test for a table, every digit."""
    names = ("metric", "factor", "level", "baseline", "low", "high", "alpha", "p_low", "p_high", "p", "equivalent")
    found = {name: getattr(result, name) for name in (*names, "equivalent_wide", "changes", "unit", "units", "count")}
    for name, estimate in (("test", result.interval), ("wide", result.wide)):
        found |= {f"{name} low": estimate.low, f"{name} high": estimate.high}
    return {"difference": result.interval.value, **found}
