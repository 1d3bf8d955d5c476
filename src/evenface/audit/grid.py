"""What every section of a file of claims is made of: places, tables as printed, and numbers read as text."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PlainValidator, model_validator

from evenface.audit.printed import PrintedNumber, Size, read_bound, read_number, read_row, read_size
from evenface.config.section import Section


def _read_row(given: Any) -> list[PrintedNumber | None]:
    cells = read_row(given) if isinstance(given, str) else given
    if not isinstance(cells, list):
        raise ValueError("must be a row of numbers, such as 0.793 0.591 -")
    return [None if cell == "-" else read_bound(cell) for cell in cells]


def _read_level(given: Any) -> PrintedNumber:
    level = read_number(given)
    if not 0 < level.value < 1:
        raise ValueError("must be between 0 and 1, such as 0.95 or 95%")
    return level


def _read_class(given: Any) -> Size | None:
    return None if given in (None, "?") else read_size(given)


Number = Annotated[PrintedNumber, PlainValidator(read_number)]
Level = Annotated[PrintedNumber, PlainValidator(_read_level)]
Count = Annotated[Size, PlainValidator(read_size)]
Row = Annotated[list[PrintedNumber | None], PlainValidator(_read_row)]
Classes = dict[str, Annotated[Size | None, PlainValidator(_read_class)]]
Average = Literal["any", "macro", "weighted", "micro"]


class Place(Section):
    """Where numbers stand in the paper."""

    where: str
    note: str = ""


class TableGrid(Place):
    """A table as printed."""

    KNOWN: ClassVar[tuple[str, ...]] = ()
    NEEDED: ClassVar[tuple[str, ...]] = ()
    PLAIN: ClassVar[tuple[str, ...]] = ()
    BOUNDS: ClassVar[tuple[str, ...]] = ()
    COUNTS: ClassVar[dict[str, int]] = {}

    unit: Literal["", "%"] = ""
    columns: tuple[str, ...]
    rows: dict[str, Row] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits(self) -> "TableGrid":
        known = self.known()
        for column in self.columns:
            if known and column not in known:
                raise ValueError(f"{self.where}: unknown column {column}; known here: {', '.join(known)}")
        for column in self.NEEDED:
            if column not in self.columns:
                raise ValueError(f"{self.where}: the column {column} is missing")
        twice = [column for column in self.columns if column != "run" and self.columns.count(column) > 1]
        if twice:
            raise ValueError(f"{self.where}: duplicate column {twice[0]}")
        for name, row in self.rows.items():
            if len(row) != len(self.columns):
                raise ValueError(
                    f"{self.where}: row {name} has {len(row)} numbers for {len(self.columns)} columns; - where none is"
                )
            if any(cell is None and column in self.NEEDED for cell, column in zip(row, self.columns, strict=True)):
                raise ValueError(f"{self.where}: row {name} needs a number in each of: {', '.join(self.NEEDED)}")
            for cell, column in zip(row, self.columns, strict=True):
                check_cell(f"{self.where}: row {name}", column, cell, self.BOUNDS, self.COUNTS)
        return self

    def known(self) -> tuple[str, ...]:
        """Columns that it may have; none for any."""
        return (*self.KNOWN, *self.COUNTS) if self.KNOWN else ()

    def cells(self) -> dict[str, dict[str, PrintedNumber]]:
        """Return the figures of each row by column; those of a table of percentages as such."""
        return {
            name: {
                column: cell.percent() if self.unit and column not in self.PLAIN else cell
                for column, cell in zip(self.columns, row, strict=True)
                if cell is not None and column not in self.COUNTS
            }
            for name, row in self.rows.items()
        }

    def count(self, row: str, column: str) -> int | None:
        """Return the count that a row states in a column of ``COUNTS``; None if it states none."""
        cell = self.rows[row][self.columns.index(column)] if column in self.columns else None
        return None if cell is None else int(cell.value)


def check_cell(
    where: str, column: str, cell: PrintedNumber | None, bounds: Sequence[str], counts: Mapping[str, int]
) -> None:
    """Raise ValueError where a bound, or a count that is none, stands in a column."""
    if cell is None:
        return
    if cell.bound and column not in bounds:
        allowed = f"a bound is allowed in: {', '.join(bounds)}" if bounds else "no bound is allowed here"
        raise ValueError(f"{where}: {column} must be a number, got {cell}; {allowed}")
    least = counts.get(column)
    if least is not None and (cell.step or cell.value < least):
        raise ValueError(f"{where}: {column} must be a whole number of at least {least}, got {cell}")


_MEAN_OF_RUNS = re.compile(
    r"\b(?:means?|averages?|averaged) (?:of|over|across) (\d{1,3}|two|three|four|five|six|seven|eight|nine|ten) "
    r"(?:\w+ )?(?:runs|seeds|repetitions|trainings|trials)\b",
    re.IGNORECASE,
)
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


class Repeated(TableGrid):
    """A table whose figures may be means of several runs on one test set."""

    COUNTS: ClassVar[dict[str, int]] = {"runs": 1}

    runs: int | None = Field(default=None, ge=1)

    def runs_of(self, row: str) -> int:
        """Return of how many runs a row holds the means: its own count, the table's, or what name and place say."""
        return self.count(row, "runs") or self.runs or self.runs_said(row) or 1

    def runs_said(self, row: str = "") -> int | None:
        """Return the runs that a row's name, ``where`` or ``note`` speak of, as in "mean of 5 runs"."""
        found = _MEAN_OF_RUNS.search(f"{row}. {self.where}. {self.note}")
        if found is None:
            return None
        word = found[1].lower()
        return _WORDS.index(word) if word in _WORDS else max(int(word), 1)


class Counted(TableGrid):
    """A table of statistics of ``n`` values, the same n for all rows or a column ``n``."""

    COUNTS: ClassVar[dict[str, int]] = {"n": 2}

    n: int | None = Field(default=None, ge=2)

    @model_validator(mode="after")
    def _counted(self) -> "Counted":
        for name in self.rows:
            self.n_of(name)
        return self

    def n_of(self, row: str) -> int:
        """Return the number of values of a row; ValueError where neither it nor the table has one."""
        n = self.count(row, "n") or self.n
        if n is None:
            raise ValueError(f"{self.where}: row {row} needs an n: one of the table, or a column n")
        return n


@dataclass(frozen=True)
class Finding:
    """One thing in a paper that cannot be as printed, or one that is worth knowing.

    Parameters
    ----------
    where : str
        Place in the paper, such as ``"Table 4, Anger"``.
    line : str
        What cannot be, with its arithmetic, in one line.
    details : tuple of str
        More arithmetic, a line each.
    cannot : bool, default=True
        Whether it is impossible; False for a remark.
    """

    where: str
    line: str
    details: tuple[str, ...] = ()
    cannot: bool = True

    def lines(self) -> list[str]:
        """Give what is printed: the line, its details beneath it."""
        mark = "x" if self.cannot else "-"
        return [f"{mark} {self.where}: {self.line}", *(f"    {detail}" for detail in self.details)]


@dataclass(frozen=True)
class Audit:
    """What was found in one file of claims.

    Parameters
    ----------
    name : str
        The file's name for itself.
    about : str
        The paper.
    findings : list of Finding
        What cannot be.
    remarks : list of Finding
        What fits, but only by a reading that one should know of.
    figures : int
        How many printed numbers were looked at.
    """

    name: str
    about: str
    findings: list[Finding] = field(default_factory=list)
    remarks: list[Finding] = field(default_factory=list)
    figures: int = 0

    def lines(self) -> list[str]:
        """Give the screen: the answer first."""
        count = len(self.findings)
        verdict = f"{count} finding{'s' * (count != 1)}" if count else "nothing found that cannot be"
        description = [line for one in [*self.findings, *self.remarks] for line in one.lines()]
        return [f"{self.name}  {verdict} in {self.figures:,} printed numbers · {self.about}", *description]


def join_limited(words: list[str], most: int = 6) -> str:
    """Write a list, cut short where it is long."""
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")
