"""Tidy tables, a row per value: what was repeated, in which cells, and what is paired with what."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from evenface.errors import InputError

Others = Literal["averaged", "each"]
JOIN = " × "
LEAST = 2
IRREGULAR = {"person": "people", "class": "classes", "study": "studies", "category": "categories", "box": "boxes"}


def plural(unit: str) -> str:
    """Name several of a unit: folds, people, seeds × folds."""
    parts = unit.split(JOIN)
    return JOIN.join(IRREGULAR.get(part, part if part.endswith("s") else f"{part}s") for part in parts)


def counted(count: int, unit: str) -> str:
    """Write how many of a unit there are.

    Examples
    --------
    >>> counted(1, "fold"), counted(34, "person")
    ('1 fold', '34 people')
    """
    return f"{count:,} {unit if count == 1 else plural(unit)}"


@dataclass(frozen=True, eq=False)
class Grid:
    """The values of a tidy table, one for each unit in each cell.

    Parameters
    ----------
    frame : DataFrame
        Columns ``unit``, each factor (text) and ``value``.
    value, unit : str
        What was measured, and what was repeated.
    factors : dict of str to tuple of str
        Each factor's levels, in the order in which the table first names them.
    missing : int
        Rows without a value, which were left out.
    """

    frame: pd.DataFrame
    value: str
    unit: str
    factors: dict[str, tuple[str, ...]]
    missing: int

    @property
    def count(self) -> int:
        """How many units there are."""
        return int(self.frame["unit"].nunique())

    @property
    def cells(self) -> list[tuple[str, ...]]:
        """All combinations of levels."""
        return list(itertools.product(*self.factors.values()))

    def wide(self) -> pd.DataFrame:
        """Give a row for each unit and a column for each cell (its place), NaN where a unit lacks it."""
        place = {cell: i for i, cell in enumerate(self.cells)}
        cell = [place[levels] for levels in self.frame[list(self.factors)].itertuples(index=False, name=None)]
        wide = self.frame.assign(cell=cell).pivot(index="unit", columns="cell", values="value")
        return wide.reindex(columns=range(len(place)))


def grid(table: pd.DataFrame, value: str, factors: Sequence[str], unit: str | Sequence[str]) -> Grid:
    """Read a tidy table: one value for each unit in each cell.

    Several rows of one unit in one cell, such as the seeds of a fold, are averaged first: they are no further units.

    Parameters
    ----------
    table : DataFrame
        A row for each value.
    value : str
        Column of numbers.
    factors : sequence of str
        Columns that say under which conditions a value was measured; compared as text.
    unit : str or sequence of str
        Column that says what was repeated; several are taken together, such as seed and fold.

    Raises
    ------
    InputError
        If a column is missing, the values are no numbers or not finite, or nothing is left.
    """
    units = [unit] if isinstance(unit, str) else list(unit)
    wanted = [value, *factors, *units]
    lost = [name for name in wanted if name not in table.columns]
    if lost:
        known = ", ".join(map(str, table.columns))
        raise InputError(f"the table has no column {lost[0]!r}", f"Its columns are {known}.")
    if len(set(wanted)) < len(wanted):
        raise InputError(
            f"a column is named twice: {', '.join(wanted)}", "Value, factors and unit are different columns."
        )
    numbers = pd.to_numeric(table[value], errors="coerce")
    wrong = numbers.isna() & table[value].notna() | np.isinf(numbers)
    if wrong.any():
        raise InputError(
            f"{value}: {table.loc[wrong, value].iloc[0]!r} is no finite number", "Leave the cell empty instead."
        )
    frame = table[[*factors, *units]].astype(str).assign(value=numbers.astype(float))
    kept = frame[numbers.notna() & table[[*factors, *units]].notna().all(axis=1)]
    if not len(kept):
        raise InputError(f"no row has {value}, {', '.join([*factors, *units])} all filled in")
    levels = {name: tuple(dict.fromkeys(kept[name])) for name in factors}
    known_units = kept[units].agg(JOIN.join, axis=1) if len(units) > 1 else kept[units[0]]
    kept = kept.assign(**{f"_{name}": kept[name] for name in factors}, _unit=known_units)
    grouped = kept.groupby(["_unit", *(f"_{name}" for name in factors)], sort=False)["value"].mean().reset_index()
    grouped.columns = pd.Index(["unit", *factors, "value"])
    return Grid(grouped, value, JOIN.join(units), levels, len(table) - len(kept))


@dataclass(frozen=True, eq=False)
class Pairs:
    """Values of two levels that belong together one by one.

    Parameters
    ----------
    values, base : array of shape (N,)
        What the level, and what the baseline reached, in the same units.
    metric, level, baseline, factor : str
        What was measured, and what is compared.
    unit : str
        What was repeated.
    units : int
        How many different units there are: fewer than N where one unit brings several pairs.
    incomplete : int
        Units left out because they lack one of the two.
    overlap : float
        n_test / n_train where units are folds of a cross-validation, see
        :func:`~evenface.statistics.resampled.resampled_t_test`; 0 where they share no training data.
    """

    values: np.ndarray
    base: np.ndarray
    metric: str = "value"
    level: str = "candidate"
    baseline: str = "baseline"
    factor: str = ""
    unit: str = "unit"
    units: int = 0
    incomplete: int = 0
    overlap: float = 0.0

    def __post_init__(self) -> None:
        if self.values.shape != self.base.shape or self.values.ndim != 1:
            raise ValueError(f"pairs need two arrays of one shape (N,), got {self.values.shape} and {self.base.shape}")
        if not (np.isfinite(self.values).all() and np.isfinite(self.base).all()):
            raise ValueError("pairs need finite values")
        object.__setattr__(self, "units", self.units or len(self.values))

    def __len__(self) -> int:
        return len(self.values)

    @property
    def change(self) -> np.ndarray:
        """Level minus baseline, shape (N,)."""
        difference: np.ndarray = self.values - self.base
        return difference


@dataclass(frozen=True, eq=False)
class Groups:
    """Values of two levels from different units; fields as in :class:`Pairs`, the two arrays of any lengths."""

    values: np.ndarray
    base: np.ndarray
    metric: str = "value"
    level: str = "candidate"
    baseline: str = "baseline"
    factor: str = ""
    unit: str = "unit"

    def __post_init__(self) -> None:
        if not (np.isfinite(self.values).all() and np.isfinite(self.base).all()):
            raise ValueError("groups need finite values")

    def __len__(self) -> int:
        return len(self.values) + len(self.base)

    @property
    def units(self) -> int:
        """How many units there are, both levels together."""
        return len(self)


def pairs(
    table: pd.DataFrame,
    value: str,
    factor: str,
    level: str,
    baseline: str,
    unit: str | Sequence[str],
    *,
    others: Others = "averaged",
    among: Sequence[str] = (),
    overlap: float = 0.0,
) -> Pairs:
    """Pair two levels of a factor within each unit.

    Parameters
    ----------
    table, value, unit
        As in :func:`grid`.
    factor, level, baseline : str
        What is compared with what.
    others : {"averaged", "each"}
        What becomes of the settings of the factors ``among``: averaged, so that each unit brings one pair; or each
        setting is a pair of its own, which takes values of one unit as independent (the reading of some papers).
    among : sequence of str
        The other factors of the design.
    overlap : float, default=0
        n_test / n_train where units are folds of a cross-validation.

    Raises
    ------
    InputError
        If a level is not in the table, or fewer than two pairs are complete.
    """
    found = grid(table, value, [factor, *among], unit)
    _known(found, factor, level, baseline)
    sides = found.frame.set_index(["unit", *among, factor])["value"].unstack(factor)[[level, baseline]]
    if others == "averaged" and among:
        settings = len(list(itertools.product(*(found.factors[name] for name in among))))
        whole = sides.dropna().groupby(level="unit", sort=False).filter(lambda rows: len(rows) == settings)
        sides = whole.groupby(level="unit", sort=False).mean()
    else:
        sides = sides.dropna()
    kept = sides.index.get_level_values("unit").nunique() if len(sides) else 0
    if len(sides) < LEAST:
        raise InputError(
            f"{factor}: {level} and {baseline} were both measured in {counted(kept, found.unit)}; two are the least",
            f"Check the column of the unit ({found.unit}), or compare independent groups where nothing is paired.",
        )
    return Pairs(
        sides[level].to_numpy(dtype=np.float64),
        sides[baseline].to_numpy(dtype=np.float64),
        value,
        level,
        baseline,
        factor,
        found.unit,
        kept,
        found.count - kept,
        overlap,
    )


def groups(
    table: pd.DataFrame, value: str, factor: str, level: str, baseline: str, unit: str | Sequence[str]
) -> Groups:
    """Take two levels of a factor as measured on different units; several values of a unit are averaged first.

    Raises
    ------
    InputError
        If a level is not in the table, has fewer than two units, or both levels share units, as values are then paired.
    """
    found = grid(table, value, [factor], unit)
    _known(found, factor, level, baseline)
    sides = {name: found.frame[found.frame[factor] == name] for name in (level, baseline)}
    shared = set(sides[level]["unit"]) & set(sides[baseline]["unit"])
    if shared:
        raise InputError(
            f"{factor}: {counted(len(shared), found.unit)} stand in both {level} and {baseline}, such as {min(shared)}",
            "Independent groups share no unit; compare them in pairs.",
        )
    few = [name for name, rows in sides.items() if len(rows) < LEAST]
    if few:
        raise InputError(
            f"{factor}: {few[0]} was measured in {counted(len(sides[few[0]]), found.unit)}; two are the least"
        )
    taken = [sides[name]["value"].to_numpy(dtype=np.float64) for name in (level, baseline)]
    return Groups(taken[0], taken[1], value, level, baseline, factor, found.unit)


def _known(found: Grid, factor: str, *levels: str) -> None:
    """Check that the table holds these levels."""
    for level in levels:
        if level not in found.factors[factor]:
            raise InputError(f"{factor} has no level {level!r}", f"Its levels are {', '.join(found.factors[factor])}.")
