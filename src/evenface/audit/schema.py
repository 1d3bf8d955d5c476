"""The file of a paper's printed numbers: its sections and their keys.

Most sections are tables, copied as they are printed: ``columns`` names what stands in each column, ``rows`` holds a
line of numbers for each row, ``-`` where none is printed. Digits are kept as printed.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import Field, PlainValidator, ValidationError, model_validator

from evenface.audit.printed import PrintedNumber, Size, read_bound, read_number, read_row, read_size
from evenface.config.section import Section
from evenface.config.yaml import Bounded, UniqueKeys, explained, not_yaml
from evenface.utils.errors import InputError
from evenface.utils.files import user_path
from evenface.utils.tables import read_text


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


NO_SHARES = ("precision", "f1", "auc", "roc_auc", "mcc", "kappa", "balanced_accuracy", "sd", "std")
"""Columns of which no size of the test set makes a count."""
_RUN = re.compile(r"(?:run|seed|trial|repetition)\b", re.IGNORECASE)


class Accuracies(Repeated):
    """Shares of one test set: every number is a count of its ``size`` samples, or the mean of ``runs`` such counts.

    A column ``mean`` beside columns of runs or seeds is their mean.
    """

    COUNTS: ClassVar[dict[str, int]] = {"size": 1, "runs": 1}

    size: Count | None = None
    at_most: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _shares(self) -> "Accuracies":
        wrong = [one for one in self.columns if one.lower().replace(" ", "_").replace("-", "_") in NO_SHARES]
        if wrong:
            raise ValueError(f"{self.where}: {wrong[0]} is no share of all samples; use averages, recalls or reports")
        return self

    def runs_in(self, row: str, column: str) -> int:
        """Return of how many runs a number is the mean: as the row is, and times the runs beside a column ``mean``."""
        beside = [one for one in self.columns if one not in self.COUNTS and _RUN.match(one)]
        return self.runs_of(row) * (len(beside) or 1 if column.lower() in ("mean", "average") else 1)


AVERAGED = ("accuracy", "mean", "precision", "recall", "f1")


class Recalls(Repeated):
    """A classifier a row, recall of each class in the columns; ``accuracy`` overall, ``mean`` over the classes."""

    size: Count | None = None
    classes: Classes
    average: Average = "any"

    def known(self) -> tuple[str, ...]:
        """Classes, and what is averaged over them."""
        return (*self.classes, *AVERAGED, *self.COUNTS)


class Averages(TableGrid):
    """A classifier a row, its averaged precision, recall and F1 in the columns."""

    KNOWN = ("accuracy", "precision", "recall", "f1")
    average: Average = "any"


class Report(Repeated):
    """One classifier: a class a row, its precision, recall and F1 in the columns; a confusion matrix (true x found)."""

    KNOWN = ("precision", "recall", "f1")
    COUNTS: ClassVar[dict[str, int]] = {}

    size: Count | None = None
    classes: Classes
    matrix: list[list[int]] | None = None
    rows: dict[str, Row] = Field(default_factory=dict)
    columns: tuple[str, ...] = ()
    accuracy: Number | None = None
    mean: Number | None = None
    precision: Number | None = None
    recall: Number | None = None
    f1: Number | None = None
    average: Average = "any"

    @model_validator(mode="after")
    def _names(self) -> "Report":
        unknown = [name for name in self.rows if name not in self.classes]
        if unknown:
            raise ValueError(f"{self.where}: {unknown[0]} is none of the classes: {', '.join(self.classes)}")
        count = len(self.classes)
        if self.matrix is not None and [len(row) for row in self.matrix] != [count] * count:
            raise ValueError(f"{self.where}: the matrix must have {count} rows and columns, one for each class")
        if self.matrix is not None and (any(cell < 0 for row in self.matrix for cell in row) or not self.total):
            raise ValueError(f"{self.where}: the matrix must hold counts, and not only zeros")
        if self.matrix is not None and self.runs_of("") > 1:
            raise ValueError(f"{self.where}: a matrix is of one run, not of the mean of {self.runs_of('')}")
        return self

    @property
    def total(self) -> int:
        """Samples in the matrix."""
        return sum(map(sum, self.matrix or []))


class Binaries(Repeated):
    """One class against the rest, a problem a row, all on one test set."""

    KNOWN = ("accuracy", "precision", "recall", "sensitivity", "specificity", "f1", "positives")
    PLAIN = ("positives",)

    size: Count
    exclusive: bool = False


class Ratios(TableGrid):
    """Negatives to positives of classes that exclude each other; ``all: false`` where there are further classes."""

    KNOWN = ("ratio",)
    NEEDED = ("ratio",)
    every: bool = Field(default=True, alias="all")

    @model_validator(mode="after")
    def _positive(self) -> "Ratios":
        if any(cells["ratio"].value < 0 for cells in self.cells().values()):
            raise ValueError(f"{self.where}: a ratio of counts is never negative")
        return self


class SampleValues(Counted):
    """Means, standard deviations, medians, intervals of n values; ``values`` holds printed values of a row."""

    KNOWN = ("mean", "sd", "median", "low", "high")
    least: Number | None = None
    most: Number | None = None
    whole: bool = False
    level: Level = read_number("0.95")
    values: dict[str, Row] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _numbers(self) -> "SampleValues":
        for name, row in self.values.items():
            for cell in row:
                check_cell(f"{self.where}: values of {name}", "each", cell, (), {})
        return self


class Effects(TableGrid):
    """F tests: F, p, partial eta squared and observed power on ``df`` degrees of freedom."""

    KNOWN = ("f", "p", "eta2", "power")
    NEEDED = ("f",)
    BOUNDS = ("p", "power")

    df: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
    alpha: Level = read_number("0.05")


class Comparisons(Place):
    """Paired or independent comparisons in families: Cohen's d, difference, its interval, corrected p-values."""

    n: int | None = Field(default=None, ge=2)
    paired: bool = True
    level: Level = read_number("0.95")
    correction: Literal["none", "bonferroni", "fdr"] = "none"
    columns: tuple[Literal["d", "difference", "low", "high", "p", "n"], ...]
    families: dict[str, dict[str, Row]]

    @model_validator(mode="after")
    def _fits(self) -> "Comparisons":
        for family, rows in self.families.items():
            for name, row in rows.items():
                if len(row) != len(self.columns):
                    raise ValueError(f"{self.where}: {family}, {name} has {len(row)} numbers for {len(self.columns)}")
                for cell, column in zip(row, self.columns, strict=True):
                    check_cell(f"{self.where}: {family}, {name}", column, cell, ("p",), {"n": 2})
                if self.n is None and ("n" not in self.columns or row[self.columns.index("n")] is None):
                    raise ValueError(f"{self.where}: {family}, {name} needs an n: one of the table, or a column n")
        return self


class Powers(TableGrid):
    """Power of a t test to find an effect d with n pairs (or n in each of two groups); ``smallest`` n for a power."""

    KNOWN = ("n", "d", "power")
    NEEDED = ("n", "d", "power")
    BOUNDS = ("power",)

    paired: bool = True
    smallest: bool = False
    alpha: Level = read_number("0.05")

    @model_validator(mode="after")
    def _whole(self) -> "Powers":
        for name, cells in self.cells().items():
            if cells["n"].value < 2 or cells["n"].value.denominator != 1 or not 0 < cells["power"].value < 1:
                raise ValueError(f"{self.where}: row {name} needs a whole n of at least 2 and a power between 0 and 1")
        return self


class Equivalences(Counted):
    """Intervals of differences against margins; ``equivalent`` names the rows that the paper calls so."""

    KNOWN = ("difference", "low", "high", "margin")
    NEEDED = ("low", "high", "margin")
    level: Level = read_number("0.95")
    equivalent: tuple[str, ...] = ()


class Differences(TableGrid):
    """Differences between the means of two ``sides``, of which the text calls one the ``higher``.

    ``means`` holds for some rows the printed values that are averaged on each side: they tell which side is subtracted
    from which, in all rows of the table.
    """

    KNOWN = ("difference",)
    NEEDED = ("difference",)

    sides: tuple[str, str]
    means: dict[str, dict[str, Row]] = Field(default_factory=dict)
    higher: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _named(self) -> "Differences":
        for key, given in (("means", self.means), ("higher", self.higher)):
            unknown = [name for name in given if name not in self.rows]
            if unknown:
                raise ValueError(f"{self.where}: {key} of {unknown[0]}, which is no row: {', '.join(self.rows)}")
        for name, sides in self.means.items():
            if set(sides) != set(self.sides) or any(not row or None in row for row in sides.values()):
                raise ValueError(f"{self.where}: means of {name} need values for each of: {', '.join(self.sides)}")
            for row in sides.values():
                for cell in row:
                    check_cell(f"{self.where}: means of {name}", "each", cell, (), {})
        wrong = [side for side in self.higher.values() if side not in self.sides]
        if wrong:
            raise ValueError(f"{self.where}: {wrong[0]} is none of the sides: {', '.join(self.sides)}")
        return self


class Sums(Place):
    """Parts of a total, and their shares of it."""

    total: Number | None = None
    parts: dict[str, Number]
    shares: dict[str, Number] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _named(self) -> "Sums":
        unknown = [name for name in self.shares if name not in self.parts]
        if unknown:
            raise ValueError(f"{self.where}: the share of {unknown[0]} is of no part; parts: {', '.join(self.parts)}")
        counted = [*self.parts.values(), *([self.total] if self.total else [])]
        if any(cell.value < 0 for cell in counted) or sum(cell.range().lo for cell in self.parts.values()) <= 0:
            raise ValueError(f"{self.where}: parts and total must not be negative, nor all zero")
        if self.total and self.total.range(truncation=True).lo <= 0:
            raise ValueError(f"{self.where}: the total must be above zero")
        return self


class Gains(TableGrid):
    """What something gained: ``points`` of difference, ``relative`` to where it came from, or ``either``."""

    KNOWN = ("from", "to", "gain")
    NEEDED = ("from", "to", "gain")
    PLAIN = ("gain",)

    reading: Literal["points", "relative", "either"] = "either"


class Bests(TableGrid):
    """The ``best`` of several runs, or their ``mean``, and a column ``run`` for each run."""

    KNOWN = ("best", "mean", "run")
    NEEDED = ("run",)


class Orders(TableGrid):
    """What the paper says is larger than something else."""

    KNOWN = ("larger", "smaller")
    NEEDED = ("larger", "smaller")


class Repeats(Place):
    """The same thing, printed in several places."""

    unit: Literal["", "%"] = ""
    values: dict[str, Number] = Field(min_length=2)


class Products(Place):
    """A number and the factors that it is said to be made of."""

    product: Number
    factors: dict[str, Number] = Field(min_length=2)


class Parameters(Place):
    """Trainable parameters of a network: dense layer on each step, recurrent layer, dense layer, output."""

    inputs: int = Field(ge=1)
    dense: Count | None = None
    cell: Literal["gru", "lstm"]
    hidden: Count
    head: Count | None = None
    outputs: int = Field(default=1, ge=1)
    count: Number
    sd: Number | None = None
    n: int | None = Field(default=None, ge=2)


class Claims(Section):
    """A paper's printed numbers."""

    name: str
    about: str
    truncation: bool = False
    accuracies: list[Accuracies] = Field(default_factory=list)
    recalls: list[Recalls] = Field(default_factory=list)
    averages: list[Averages] = Field(default_factory=list)
    reports: list[Report] = Field(default_factory=list)
    binaries: list[Binaries] = Field(default_factory=list)
    ratios: list[Ratios] = Field(default_factory=list)
    samples: list[SampleValues] = Field(default_factory=list)
    effects: list[Effects] = Field(default_factory=list)
    comparisons: list[Comparisons] = Field(default_factory=list)
    powers: list[Powers] = Field(default_factory=list)
    equivalences: list[Equivalences] = Field(default_factory=list)
    sums: list[Sums] = Field(default_factory=list)
    gains: list[Gains] = Field(default_factory=list)
    bests: list[Bests] = Field(default_factory=list)
    orders: list[Orders] = Field(default_factory=list)
    differences: list[Differences] = Field(default_factory=list)
    repeats: list[Repeats] = Field(default_factory=list)
    products: list[Products] = Field(default_factory=list)
    parameters: list[Parameters] = Field(default_factory=list)


SHIPPED = Path(__file__).parent / "claims"


class _ExactNumberLoader(Bounded, UniqueKeys, yaml.BaseLoader):
    """Leaves all as text: 0.40 stays 0.40."""


def shipped_claims() -> dict[str, Path]:
    """Give the file of every paper's claims that comes with evenface, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


def load_claims(source: str | Path | Mapping[str, Any]) -> Claims:
    """Read a file of claims and check every key.

    Parameters
    ----------
    source : str, Path or mapping
        Name of a shipped file, path of a YAML file, or the content itself. Numbers of a mapping are given as text,
        so that their digits are kept.

    Raises
    ------
    InputError
        If it is not there, is no YAML, or has an unknown key or a number that is none.
    """
    if isinstance(source, Mapping):
        return _checked(dict(source), "the claims given")
    path = shipped_claims().get(str(source)) or user_path(source)
    if not path.is_file():
        raise InputError(
            f"{source}: no such file of claims", f"Give a YAML file, or one of: {', '.join(shipped_claims())}."
        )
    try:
        content = yaml.load(read_text(path), Loader=_ExactNumberLoader)
    except yaml.YAMLError as error:
        raise not_yaml(path, error) from None
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no claims", "A file of claims is a mapping of keys to values.")
    return _checked(content, str(path))


def _checked(content: dict[str, Any], origin: str) -> Claims:
    try:
        return Claims.model_validate(content)
    except ValidationError as error:
        raise explained(error, Claims, origin) from None
