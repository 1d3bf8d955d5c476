"""Designs read from tidy tables with a row per value: factors, cells, units, pairs and groups."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from evenface.statistics.t_tests import FLAT
from evenface.utils.errors import InputError

Others = Literal["averaged", "each"]
JOIN = " × "
LEAST = 2
IRREGULAR = {"person": "people", "class": "classes", "study": "studies", "category": "categories", "box": "boxes"}


def plural(unit: str) -> str:
    """Return the plural of a unit: folds, people, seeds × folds."""
    parts = unit.split(JOIN)
    return JOIN.join(IRREGULAR.get(part, part if part.endswith("s") else f"{part}s") for part in parts)


def counted(count: int, unit: str) -> str:
    """Format a count of units.

    Examples
    --------
    >>> counted(1, "fold"), counted(34, "person")
    ('1 fold', '34 people')
    """
    return f"{count:,} {unit if count == 1 else plural(unit)}"


@dataclass(frozen=True)
class Replicates:
    """Rows of one unit in one cell, which were averaged."""

    rows: tuple[int, int]
    differing: int
    combinations: int
    example: str

    @property
    def regular(self) -> bool:
        """Whether each unit has as many rows in each cell, as where every fold was run with the same seeds."""
        return self.rows[0] == self.rows[1]

    @property
    def sentence(self) -> str:
        """Render what was averaged."""
        if self.rows[1] == 1:
            return "One row for each unit and cell."
        if not self.differing:
            return f"Some rows occur up to {self.rows[1]} times with the same value; each was counted once."
        if self.regular:
            return f"Each value is the mean of {self.rows[0]} rows of one unit and cell, such as {self.example}."
        return (
            f"Contradictory rows: {self.differing:,} of {self.combinations:,} combinations of unit and cell have "
            f"several rows with different values, such as {self.example}; others have {self.rows[0]}. They were "
            "averaged. If another column distinguishes them, specify it as a factor or as part of the unit; if one is "
            "a mistake, remove it."
        )


@dataclass(frozen=True, eq=False)
class DesignTable:
    """The values of a tidy table, one per unit and cell."""

    value: str
    unit: str
    factors: dict[str, tuple[str, ...]]
    values: np.ndarray
    units: np.ndarray
    codes: np.ndarray
    names: tuple[str, ...]
    missing: int
    replicates: Replicates

    @property
    def count(self) -> int:
        """Number of units."""
        return len(self.names)

    @property
    def repeated(self) -> bool:
        """Whether some unit was measured in several cells."""
        return len(self.values) > self.count

    @property
    def complete(self) -> bool:
        """Whether every unit was measured in every cell."""
        return len(self.values) == self.count * int(np.prod(self.shape))

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of levels of each factor."""
        return tuple(map(len, self.factors.values()))

    @property
    def size(self) -> float:
        """Largest absolute value: what counts as rounding is relative to it."""
        return float(np.abs(self.values).max())

    @property
    def cells(self) -> list[tuple[str, ...]]:
        """All combinations of levels."""
        return list(itertools.product(*self.factors.values()))

    @property
    def places(self) -> np.ndarray:
        """Index of each value's cell in ``cells``, shape (N,)."""
        return np.asarray(np.ravel_multi_index(tuple(self.codes.T), self.shape))

    def wide(self) -> np.ndarray:
        """Return a row for each unit and a column for each cell, NaN where a unit lacks it."""
        wide = np.full((self.count, int(np.prod(self.shape))), np.nan)
        wide[self.units, self.places] = self.values
        return wide

    def whole(self) -> "DesignTable":
        """Return the units that were measured in every cell, where there are any."""
        kept = np.bincount(self.units) == int(np.prod(self.shape))
        if self.complete or not kept.any():
            return self
        rows, names = kept[self.units], tuple(name for name, keep in zip(self.names, kept, strict=True) if keep)
        places = np.cumsum(kept) - 1
        return replace(
            self, values=self.values[rows], units=places[self.units[rows]], codes=self.codes[rows], names=names
        )

    def code(self, factor: str, level: str) -> int:
        """Return the index of a level in its factor."""
        if factor not in self.factors:
            raise InputError(f"there is no factor {factor!r}", f"The factors are {', '.join(self.factors)}.")
        if level not in self.factors[factor]:
            raise InputError(f"{factor} has no level {level!r}", f"Its levels are {', '.join(self.factors[factor])}.")
        return self.factors[factor].index(level)

    def of(self, factor: str, level: str) -> np.ndarray:
        """Return which values were measured at a level, bool, shape (N,)."""
        return np.asarray(self.codes[:, list(self.factors).index(factor)] == self.code(factor, level))

    def replication(self, factors: Sequence[str]) -> int:
        """Return the number of units at the level of these factors that has most."""
        places = [list(self.factors).index(name) for name in factors]
        return max(
            len(np.unique(self.units[self.codes[:, place] == code]))
            for place in places
            for code in range(self.shape[place])
        )


def design_table(table: pd.DataFrame, value: str, factors: Sequence[str], unit: str | Sequence[str]) -> DesignTable:
    """Read a tidy table: one value for each unit in each cell.

    Several rows of one unit in one cell, such as the seeds of a fold, are averaged first: they are no further units.
    """
    units = [unit] if isinstance(unit, str) else list(unit)
    wanted = [value, *factors, *units]
    absent = [name for name in wanted if name not in table.columns]
    if absent:
        known = ", ".join(map(str, table.columns))
        raise InputError(f"the table has no column {absent[0]!r}", f"Its columns are {known}.")
    if len(set(wanted)) < len(wanted):
        raise InputError(
            f"a column is specified twice: {', '.join(wanted)}", "Value, factors and unit are different columns."
        )
    duplicated = [name for name in wanted if list(table.columns).count(name) > 1]
    if duplicated:
        raise InputError(f"the table has two columns {duplicated[0]!r}", "Rename one of them.")
    numbers = pd.to_numeric(table[value], errors="coerce").astype(float)
    invalid = (numbers.isna() & table[value].notna()) | np.isinf(numbers)
    if invalid.any():
        first = table.loc[invalid, value].iloc[0]
        decimal = isinstance(first, str) and re.fullmatch(r"[-+]?\d+,\d+", first.strip())
        raise InputError(
            f"{value}: {first if isinstance(first, float) else repr(first)} is not a finite number",
            "Write the decimal mark as a point." if decimal else "Leave the cell empty where there is no value.",
        )
    texts = [table[name].astype(str).str.strip() for name in (*factors, *units)]
    blank = [
        table[name].isna().to_numpy() | (text == "").to_numpy() for name, text in zip(wanted[1:], texts, strict=True)
    ]
    kept = numbers.notna().to_numpy() & ~np.any(blank, axis=0)
    if not kept.any():
        raise InputError(f"no row has values of all of {value}, {', '.join([*factors, *units])}")
    coded = [pd.factorize(text.to_numpy()[kept]) for text in texts]
    levels = {name: tuple(map(str, found)) for name, (_, found) in zip(factors, coded, strict=False)}
    unit_rows = np.column_stack([codes for codes, _ in coded[len(factors) :]])
    _, first, unit_of = np.unique(unit_rows, axis=0, return_index=True, return_inverse=True)
    unit_of = np.argsort(np.argsort(first))[unit_of.ravel()]  # in the order of first appearance
    names = tuple(
        JOIN.join(str(found[code]) for code, (_, found) in zip(unit_rows[row], coded[len(factors) :], strict=True))
        for row in np.sort(first)
    )
    rows = pd.DataFrame(np.column_stack([unit_of, *[codes for codes, _ in coded[: len(factors)]]]))
    grouped = rows.assign(value=numbers.to_numpy()[kept]).groupby(list(rows.columns), sort=False)["value"]
    means = grouped.mean()
    places = np.array(means.index.to_list()).reshape(len(means), -1)
    return DesignTable(
        value,
        JOIN.join(units),
        levels,
        means.to_numpy(),
        places[:, 0],
        places[:, 1:],
        names,
        len(table) - int(kept.sum()),
        _replicates(grouped, names, list(levels.values())),
    )


def _replicates(
    grouped: "pd.api.typing.SeriesGroupBy[Any, Any]", names: tuple[str, ...], levels: list[tuple[str, ...]]
) -> Replicates:
    sizes, differs = grouped.size(), grouped.nunique() > 1
    example = ""
    if differs.any():
        key = differs.index[int(differs.to_numpy().argmax())]
        unit, *codes = key if isinstance(key, tuple) else (key,)
        cell = [names[unit], *(found[code] for found, code in zip(levels, codes, strict=True))]
        seen = grouped.get_group(key).unique()
        example = f"{', '.join(cell)}: {' and '.join(f'{number:g}' for number in seen[:3])}"
    return Replicates((int(sizes.min()), int(sizes.max())), int(differs.sum()), len(sizes), example)


@dataclass(frozen=True, eq=False)
class _LevelValues:
    """Values of two levels, and what they are of."""

    values: np.ndarray
    base: np.ndarray
    metric: str = "value"
    level: str = "candidate"
    baseline: str = "baseline"
    factor: str = ""
    unit: str = "unit"
    replicates: Replicates | None = None

    @property
    def size(self) -> float:
        """Largest absolute value: what counts as rounding is relative to it."""
        return float(max(np.abs(self.values).max(), np.abs(self.base).max()))


@dataclass(frozen=True, eq=False)
class Pairs(_LevelValues):
    """Paired values of two levels."""

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
        """Level minus baseline, shape (N,); what is only rounding is zero."""
        difference: np.ndarray = self.values - self.base
        return np.where(np.abs(difference) <= FLAT * self.size, 0.0, difference)


@dataclass(frozen=True, eq=False)
class Groups(_LevelValues):
    """Values of two levels from different units, two arrays of any lengths."""

    def __post_init__(self) -> None:
        if not (np.isfinite(self.values).all() and np.isfinite(self.base).all()):
            raise ValueError("groups need finite values")

    def __len__(self) -> int:
        return len(self.values) + len(self.base)

    @property
    def units(self) -> int:
        """Number of units of both levels together."""
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
        As in :func:`design_table`.
    factor, level, baseline : str
        What is compared with what.
    others : {"averaged", "each"}
        What becomes of the settings of the factors ``among``: averaged, so that each unit brings one pair; or each
        setting is a pair of its own, which takes values of one unit as independent (the reading of some papers).
    among : sequence of str
        The other factors of the design. A factor that is not named is averaged over as its rows come.
    overlap : float, default=0
        n_test / n_train where units are folds of a cross-validation.

    Raises
    ------
    InputError
        If a level is not in the table, or fewer than two pairs are complete.
    """
    given = design_table(table, value, [factor, *among], unit)
    return pairs_of(given, factor, level, baseline, others=others, overlap=overlap)


def pairs_of(
    design: DesignTable, factor: str, level: str, baseline: str, *, others: Others = "averaged", overlap: float = 0.0
) -> Pairs:
    """Pair two levels of a factor of a grid within each unit; see :func:`pairs`."""
    axis = list(design.factors).index(factor)
    chosen = [design.code(factor, level), design.code(factor, baseline)]
    # (units, settings of the other factors, level and baseline)
    wide = np.moveaxis(design.wide().reshape(design.count, *design.shape), 1 + axis, -1)
    sides = wide.reshape(design.count, -1, design.shape[axis])[:, :, chosen]
    whole = ~np.isnan(sides).any(axis=2)
    complete = whole.all(axis=1)
    values = sides[complete].mean(axis=1) if others == "averaged" else sides[whole]
    kept = int(complete.sum() if others == "averaged" else whole.any(axis=1).sum())
    if len(values) < LEAST:
        rest = [name for name in design.factors if name != factor]
        every = f" with every {JOIN.join(rest)}" if rest and others == "averaged" else ""
        raise InputError(
            f"{factor}: {level} and {baseline} were both measured{every} in {counted(kept, design.unit)}; at "
            "least two are required",
            f"Check the column of the unit ({design.unit}), or compare independent groups where nothing is paired.",
        )
    return Pairs(
        values[:, 0],
        values[:, 1],
        design.value,
        level,
        baseline,
        factor,
        design.unit,
        design.replicates,
        units=kept,
        incomplete=design.count - kept,
        overlap=overlap,
    )


def groups(
    table: pd.DataFrame, value: str, factor: str, level: str, baseline: str, unit: str | Sequence[str]
) -> Groups:
    """Select two levels of a factor measured on different units; several values of a unit are averaged first.

    Other factors are ignored: where cells differ in size, they distort the difference. Use
    :func:`~evenface.statistics.analysis.planned` there.

    Raises
    ------
    InputError
        If a level is not in the table, has fewer than two units, or both levels share units, as values are then paired.
    """
    design = design_table(table, value, [factor], unit)
    sides = {name: design.of(factor, name) for name in (level, baseline)}
    shared = set(design.units[sides[level]]) & set(design.units[sides[baseline]])
    if shared:
        raise InputError(
            f"{factor}: {counted(len(shared), design.unit)} are in both {level} and {baseline}, such as "
            f"{design.names[min(shared)]}",
            "Independent groups must not share units; compare them in pairs.",
        )
    few = [name for name, chosen in sides.items() if chosen.sum() < LEAST]
    if few:
        raise InputError(
            f"{factor}: {few[0]} was measured in {counted(int(sides[few[0]].sum()), design.unit)}; at least two are "
            "required"
        )
    taken = [design.values[chosen] for chosen in sides.values()]
    return Groups(taken[0], taken[1], value, level, baseline, factor, design.unit, design.replicates)
