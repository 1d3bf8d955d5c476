"""Tables of a report, each as text, CSV and LaTeX, all from the same cells."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evenface.evaluation.bootstrap import Estimate
from evenface.evaluation.comparison import Difference
from evenface.evaluation.formatting import number, signed, with_interval
from evenface.utils.files import atomic_write
from evenface.utils.tables import escape_csv_cell

Cell = str | int | float | Estimate | Difference

LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "–": "--",
}


@dataclass(frozen=True)
class Table:
    """Cells under a header; text and LaTeX round them, CSV keeps every digit."""

    name: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    @property
    def words(self) -> list[bool]:
        """Whether each column holds words, which stand to the left, or numbers."""
        columns = list(zip(*self.shown, strict=True)) or [()] * len(self.header)
        return [any(cell[:1].isalpha() for cell in column) for column in columns]

    @property
    def shown(self) -> list[list[str]]:
        """Every cell as a reader sees it."""
        return [[shown(cell) for cell in row] for row in self.rows]

    def text(self) -> str:
        """Write in columns, words to the left, numbers to the right."""
        lines = [list(self.header), *self.shown]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.header))]
        sides = ["<" if words else ">" for words in self.words]
        return "\n".join(
            "  ".join(f"{c:{side}{w}}" for c, side, w in zip(line, sides, widths, strict=True)).rstrip()
            for line in lines
        )

    def csv(self) -> str:
        """Write as CSV; an estimate takes the columns value, low and high, what is not defined stays empty."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        parts = [_parts(column) for column in zip(*self.rows, strict=True)] if self.rows else [("",)] * len(self.header)
        header = [f"{name} {part}".strip() for name, names in zip(self.header, parts, strict=True) for part in names]
        writer.writerow([escape_csv_cell(name) for name in header])
        for row in self.rows:
            values = [v for cell, names in zip(row, parts, strict=True) for v in _values(cell, len(names))]
            writer.writerow([escape_csv_cell(v) if isinstance(v, str) else v for v in values])
        return out.getvalue()

    def latex(self) -> str:
        """Write as a LaTeX table for the package booktabs."""
        columns = "".join("l" if words else "r" for words in self.words)
        lines = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape_latex(self.title)}}}",
            rf"\label{{tab:{self.name}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join(map(escape_latex, self.header)) + r" \\",
            r"\midrule",
            *(" & ".join(map(escape_latex, row)) + r" \\" for row in self.shown),
            r"\bottomrule",
            r"\end{tabular}",
            *([rf"\par\smallskip\footnotesize {escape_latex(self.note)}"] if self.note else []),
            r"\end{table}",
        ]
        return "\n".join(lines) + "\n"

    def save(self, folder: Path) -> None:
        """Write ``<name>.csv`` and ``<name>.tex`` into ``folder``."""
        for suffix, content in ((".csv", self.csv()), (".tex", self.latex())):
            with atomic_write(folder / f"{self.name}{suffix}") as temporary:
                temporary.write_text(content, encoding="utf-8")


def clear_tables(folder: Path) -> None:
    """Remove the tables that :meth:`Table.save` wrote into a folder: pairs of files whose LaTeX bears their name."""
    for latex in folder.glob("*.tex"):
        csv_file = latex.with_suffix(".csv")
        if csv_file.is_file() and rf"\label{{tab:{latex.stem}}}" in latex.read_text(encoding="utf-8", errors="replace"):
            csv_file.unlink()
            latex.unlink()


def shown(cell: Cell) -> str:
    """Write a cell as a reader sees it."""
    if isinstance(cell, Difference):
        return f"{signed(cell.value)} [{signed(cell.low)}, {signed(cell.high)}]"
    if isinstance(cell, Estimate):
        return with_interval(cell)
    if isinstance(cell, str):
        return cell
    return f"{cell:,}" if isinstance(cell, int) else number(cell)


def escape_latex(text: str) -> str:
    """Escape what LaTeX would read as a command."""
    return "".join(LATEX.get(character, character) for character in text)


def _parts(column: tuple[Cell, ...]) -> tuple[str, ...]:
    return ("", "low", "high") if any(isinstance(cell, Estimate | Difference) for cell in column) else ("",)


def _values(cell: Cell, width: int) -> list[str | int | float]:
    values: list[Any] = [cell.value, cell.low, cell.high] if isinstance(cell, Estimate | Difference) else [cell]
    values += [""] * (width - len(values))
    return ["" if value != value else value for value in values]
