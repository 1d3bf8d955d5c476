"""Schema of claims files: sections of a paper's printed numbers and their keys.

Most sections are tables, copied as printed: ``columns`` are the column names, ``rows`` contain a line of numbers for
each row, with ``-`` for an empty cell. Digits are kept as printed.
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


def _read_row(value: Any) -> list[PrintedNumber | None]:
    cells = read_row(value) if isinstance(value, str) else value
    if not isinstance(cells, list):
        raise ValueError("must be a row of numbers, such as 0.793 0.591 -")
    return [None if cell == "-" else read_bound(cell) for cell in cells]


def _read_level(value: Any) -> PrintedNumber:
    level = read_number(value)
    if not 0 < level.value < 1:
        raise ValueError("must be between 0 and 1, such as 0.95 or 95%")
    return level


def _read_class(value: Any) -> Size | None:
    return None if value in (None, "?") else read_size(value)


Number = Annotated[PrintedNumber, PlainValidator(read_number)]
Level = Annotated[PrintedNumber, PlainValidator(_read_level)]
Count = Annotated[Size, PlainValidator(read_size)]
Row = Annotated[list[PrintedNumber | None], PlainValidator(_read_row)]
Classes = dict[str, Annotated[Size | None, PlainValidator(_read_class)]]
Average = Literal["any", "macro", "weighted", "micro"]


class Place(Section):
    """A section with its location in the paper."""

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
                raise ValueError(f"{self.where}: unknown column {column}; allowed: {', '.join(known)}")
        for column in self.NEEDED:
            if column not in self.columns:
                raise ValueError(f"{self.where}: missing column {column}")
        duplicates = [column for column in self.columns if column != "run" and self.columns.count(column) > 1]
        if duplicates:
            raise ValueError(f"{self.where}: duplicate column {duplicates[0]}")
        for name, row in self.rows.items():
            if len(row) != len(self.columns):
                raise ValueError(
                    f"{self.where}: row {name} has {len(row)} numbers for {len(self.columns)} columns; use - if empty"
                )
            if any(cell is None and column in self.NEEDED for cell, column in zip(row, self.columns, strict=True)):
                raise ValueError(
                    f"{self.where}: row {name} needs a number in each of the columns {', '.join(self.NEEDED)}"
                )
            for cell, column in zip(row, self.columns, strict=True):
                check_cell(f"{self.where}: row {name}", column, cell, self.BOUNDS, self.COUNTS)
        return self

    def known(self) -> tuple[str, ...]:
        """Return the allowed columns; empty if any are."""
        return (*self.KNOWN, *self.COUNTS) if self.KNOWN else ()

    def cells(self) -> dict[str, dict[str, PrintedNumber]]:
        """Return the numbers of each row by column, as percentages if the table has them."""
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
    """Raise ValueError if a cell is a bound or an invalid count in a column that does not allow it."""
    if cell is None:
        return
    if cell.bound and column not in bounds:
        allowed = f"a bound is allowed in: {', '.join(bounds)}" if bounds else "no bound is allowed here"
        raise ValueError(f"{where}: {column} must be a number, got {cell}; {allowed}")
    least = counts.get(column)
    if least is not None and (cell.step or cell.value < least):
        raise ValueError(f"{where}: {column} must be an integer of at least {least}, got {cell}")


_MEAN_OF_RUNS = re.compile(
    r"\b(?:means?|averages?|averaged) (?:of|over|across) (\d{1,3}|two|three|four|five|six|seven|eight|nine|ten) "
    r"(?:\w+ )?(?:runs|seeds|repetitions|trainings|trials)\b",
    re.IGNORECASE,
)
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


class Repeated(TableGrid):
    """A table whose numbers may be means over several runs on one test set."""

    COUNTS: ClassVar[dict[str, int]] = {"runs": 1}

    runs: int | None = Field(default=None, ge=1)

    def runs_of(self, row: str) -> int:
        """Return the number of runs averaged in a row: its own, the table's, or one stated in the text."""
        return self.count(row, "runs") or self.runs or self.runs_in_text(row) or 1

    def runs_in_text(self, row: str = "") -> int | None:
        """Return the number of runs stated in a row's name, ``where`` or ``note``, as in "mean of 5 runs"."""
        match = _MEAN_OF_RUNS.search(f"{row}. {self.where}. {self.note}")
        if match is None:
            return None
        word = match[1].lower()
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
        """Return the number of values of a row; ValueError if neither the row nor the table has one."""
        n = self.count(row, "n") or self.n
        if n is None:
            raise ValueError(f"{self.where}: row {row} has no n: set n for the table, or add a column n")
        return n


NO_SHARES = ("precision", "f1", "auc", "roc_auc", "mcc", "kappa", "balanced_accuracy", "sd", "std")
"""Columns that are not counts out of the test set."""
_RUN = re.compile(r"(?:run|seed|trial|repetition)\b", re.IGNORECASE)


class Accuracies(Repeated):
    """Proportions of one test set: every number is a count out of ``size`` samples, or a mean of ``runs`` such counts.

    A column ``mean`` beside columns of runs or seeds is their mean.
    """

    COUNTS: ClassVar[dict[str, int]] = {"size": 1, "runs": 1}

    size: Count | None = None
    at_most: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _shares(self) -> "Accuracies":
        wrong = [name for name in self.columns if name.lower().replace(" ", "_").replace("-", "_") in NO_SHARES]
        if wrong:
            raise ValueError(
                f"{self.where}: {wrong[0]} is not a proportion of all samples; use averages, recalls or reports"
            )
        return self

    def runs_in(self, row: str, column: str) -> int:
        """Return the number of runs averaged in a cell: that of the row; in a column ``mean``, times run columns."""
        run_columns = [name for name in self.columns if name not in self.COUNTS and _RUN.match(name)]
        return self.runs_of(row) * (len(run_columns) or 1 if column.lower() in ("mean", "average") else 1)


AVERAGED = ("accuracy", "mean", "precision", "recall", "f1")


class Recalls(Repeated):
    """A classifier per row, recall of each class in the columns; ``accuracy`` overall, ``mean`` over the classes."""

    size: Count | None = None
    classes: Classes
    average: Average = "any"

    def known(self) -> tuple[str, ...]:
        """Return the classes and the averages over them."""
        return (*self.classes, *AVERAGED, *self.COUNTS)


class Averages(TableGrid):
    """A classifier per row, its averaged precision, recall and F1 in the columns."""

    KNOWN = ("accuracy", "precision", "recall", "f1")
    average: Average = "any"


class Report(Repeated):
    """One classifier: precision, recall and F1 of one class per row; a confusion matrix (true x predicted)."""

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
            raise ValueError(f"{self.where}: {unknown[0]} is not one of the classes: {', '.join(self.classes)}")
        count = len(self.classes)
        if self.matrix is not None and [len(row) for row in self.matrix] != [count] * count:
            raise ValueError(f"{self.where}: the matrix must have {count} rows and columns, one for each class")
        if self.matrix is not None and (any(cell < 0 for row in self.matrix for cell in row) or not self.total):
            raise ValueError(f"{self.where}: the matrix must contain counts >= 0, not all of them zero")
        if self.matrix is not None and self.runs_of("") > 1:
            raise ValueError(f"{self.where}: a matrix belongs to one run, but runs is {self.runs_of('')}")
        return self

    @property
    def total(self) -> int:
        """Samples in the matrix."""
        return sum(map(sum, self.matrix or []))


class Binaries(Repeated):
    """Binary problems (one class against the rest), one per row, all on one test set."""

    KNOWN = ("accuracy", "precision", "recall", "sensitivity", "specificity", "f1", "positives")
    PLAIN = ("positives",)

    size: Count
    exclusive: bool = False


class Ratios(TableGrid):
    """Negative-to-positive ratios of disjoint classes; ``all: false`` if there are further classes."""

    KNOWN = ("ratio",)
    NEEDED = ("ratio",)
    every: bool = Field(default=True, alias="all")

    @model_validator(mode="after")
    def _positive(self) -> "Ratios":
        if any(cells["ratio"].value < 0 for cells in self.cells().values()):
            raise ValueError(f"{self.where}: a ratio must not be negative")
        return self


class SampleValues(Counted):
    """Means, standard deviations, medians and intervals of n values; ``values`` are the printed values of a row."""

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
                    raise ValueError(f"{self.where}: {family}, {name} has no n: set n for the table, or add a column n")
        return self


class Powers(TableGrid):
    """Power of a t test to detect an effect d with n pairs (or n in each of two groups); ``smallest`` n for a power."""

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
                raise ValueError(
                    f"{self.where}: row {name} needs an integer n of at least 2 and a power between 0 and 1"
                )
        return self


class Equivalences(Counted):
    """Intervals of differences and margins; ``equivalent`` lists the rows that the paper calls equivalent."""

    KNOWN = ("difference", "low", "high", "margin")
    NEEDED = ("low", "high", "margin")
    level: Level = read_number("0.95")
    equivalent: tuple[str, ...] = ()


class Differences(TableGrid):
    """Differences between the means of two ``sides``, of which the text calls one ``higher``.

    ``means`` contains, for some rows, the printed values that are averaged on each side. They determine the direction
    of subtraction in all rows of the table.
    """

    KNOWN = ("difference",)
    NEEDED = ("difference",)

    sides: tuple[str, str]
    means: dict[str, dict[str, Row]] = Field(default_factory=dict)
    higher: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _named(self) -> "Differences":
        for key, names in (("means", self.means), ("higher", self.higher)):
            unknown = [name for name in names if name not in self.rows]
            if unknown:
                raise ValueError(f"{self.where}: {key} has {unknown[0]}, which is not a row: {', '.join(self.rows)}")
        for name, sides in self.means.items():
            if set(sides) != set(self.sides) or any(not row or None in row for row in sides.values()):
                raise ValueError(f"{self.where}: means of {name} need values for each side: {', '.join(self.sides)}")
            for row in sides.values():
                for cell in row:
                    check_cell(f"{self.where}: means of {name}", "each", cell, (), {})
        wrong = [side for side in self.higher.values() if side not in self.sides]
        if wrong:
            raise ValueError(f"{self.where}: {wrong[0]} is not one of the sides: {', '.join(self.sides)}")
        return self


class Sums(Place):
    """Parts of a total, and their proportions."""

    total: Number | None = None
    parts: dict[str, Number]
    shares: dict[str, Number] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _named(self) -> "Sums":
        unknown = [name for name in self.shares if name not in self.parts]
        if unknown:
            raise ValueError(
                f"{self.where}: shares has {unknown[0]}, which is not one of the parts: {', '.join(self.parts)}"
            )
        counted = [*self.parts.values(), *([self.total] if self.total else [])]
        if any(cell.value < 0 for cell in counted) or sum(cell.range().lo for cell in self.parts.values()) <= 0:
            raise ValueError(f"{self.where}: parts and total must not be negative, nor all zero")
        if self.total and self.total.range(truncation=True).lo <= 0:
            raise ValueError(f"{self.where}: the total must be above zero")
        return self


class Gains(TableGrid):
    """Gains: difference in ``points``, ``relative`` to the start, or ``either``."""

    KNOWN = ("from", "to", "gain")
    NEEDED = ("from", "to", "gain")
    PLAIN = ("gain",)

    reading: Literal["points", "relative", "either"] = "either"


class Bests(TableGrid):
    """The ``best`` of several runs, or their ``mean``, and a column ``run`` for each run."""

    KNOWN = ("best", "mean", "run")
    NEEDED = ("run",)


class Orders(TableGrid):
    """Values that the paper calls larger than others."""

    KNOWN = ("larger", "smaller")
    NEEDED = ("larger", "smaller")


class Repeats(Place):
    """A value printed in several places."""

    unit: Literal["", "%"] = ""
    values: dict[str, Number] = Field(min_length=2)


class Products(Place):
    """A number and its stated factors."""

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
    """YAML loader that keeps scalars as text: 0.40 stays 0.40."""


def shipped_claims() -> dict[str, Path]:
    """Return the shipped claims files by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


def load_claims(source: str | Path | Mapping[str, Any]) -> Claims:
    """Read and validate a claims file.

    Parameters
    ----------
    source : str, Path or mapping
        Name of a shipped file, path of a YAML file, or the content of one. Numbers of a mapping must be text,
        so that their digits are kept.

    Raises
    ------
    InputError
        If the file does not exist, is not valid YAML, or has an unknown key or an invalid number.
    """
    if isinstance(source, Mapping):
        return _checked(dict(source), "the claims")
    path = shipped_claims().get(str(source)) or user_path(source)
    if not path.is_file():
        raise InputError(
            f"claims file not found: {source}", f"Use a YAML file, or one of: {', '.join(shipped_claims())}."
        )
    try:
        content = yaml.load(read_text(path), Loader=_ExactNumberLoader)
    except yaml.YAMLError as error:
        raise not_yaml(path, error) from None
    if not isinstance(content, dict):
        raise InputError(f"{path} is not a claims file", "A claims file is a mapping of keys to values.")
    return _checked(content, str(path))


def _checked(content: dict[str, Any], origin: str) -> Claims:
    try:
        return Claims.model_validate(content)
    except ValidationError as error:
        raise explained(error, Claims, origin) from None
