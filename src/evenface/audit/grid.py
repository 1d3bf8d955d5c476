"""What every section of a file of claims is made of: places, tables as printed, and numbers read as text."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PlainValidator, model_validator

from evenface.audit.numbers import Printed, Size, read_number, read_size
from evenface.recipes.section import Section


def _read_row(given: Any) -> list[Printed | None]:
    cells = given.split() if isinstance(given, str) else given
    if not isinstance(cells, list):
        raise ValueError("must be a row of numbers, such as 0.793 0.591 -")
    return [None if cell == "-" else read_number(cell) for cell in cells]


def _read_level(given: Any) -> Printed:
    level = read_number(given)
    if not 0 < level.value < 1:
        raise ValueError("must be between 0 and 1, such as 0.95 or 95%")
    return level


def _read_class(given: Any) -> Size | None:
    return None if given in (None, "?") else read_size(given)


Number = Annotated[Printed, PlainValidator(read_number)]
Level = Annotated[Printed, PlainValidator(_read_level)]
Count = Annotated[Size, PlainValidator(read_size)]
Row = Annotated[list[Printed | None], PlainValidator(_read_row)]
Classes = dict[str, Annotated[Size | None, PlainValidator(_read_class)]]
Average = Literal["any", "macro", "weighted", "micro"]


class Place(Section):
    """Where numbers stand in the paper."""

    where: str
    note: str = ""


class Grid(Place):
    """A table as printed."""

    KNOWN: ClassVar[tuple[str, ...]] = ()
    NEEDED: ClassVar[tuple[str, ...]] = ()
    PLAIN: ClassVar[tuple[str, ...]] = ()

    unit: Literal["", "%"] = ""
    columns: tuple[str, ...]
    rows: dict[str, Row] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits(self) -> "Grid":
        known = self.known()
        for column in self.columns:
            if known and column not in known:
                raise ValueError(f"{self.where}: unknown column {column}; known here: {', '.join(known)}")
        for column in self.NEEDED:
            if column not in self.columns:
                raise ValueError(f"{self.where}: the column {column} is missing")
        twice = [column for column in self.columns if column != "run" and self.columns.count(column) > 1]
        if twice:
            raise ValueError(f"{self.where}: the column {twice[0]} stands twice")
        for name, row in self.rows.items():
            if len(row) != len(self.columns):
                raise ValueError(
                    f"{self.where}: row {name} has {len(row)} numbers for {len(self.columns)} columns; - where none is"
                )
            if any(cell is None and column in self.NEEDED for cell, column in zip(row, self.columns, strict=True)):
                raise ValueError(f"{self.where}: row {name} needs a number in each of: {', '.join(self.NEEDED)}")
        return self

    def known(self) -> tuple[str, ...]:
        """Columns that it may have; none for any."""
        return self.KNOWN

    def cells(self) -> dict[str, dict[str, Printed]]:
        """Give the numbers of each row by column; those of a table of percentages as such."""
        return {
            name: {
                column: cell.percent() if self.unit and column not in self.PLAIN else cell
                for column, cell in zip(self.columns, row, strict=True)
                if cell is not None
            }
            for name, row in self.rows.items()
        }
