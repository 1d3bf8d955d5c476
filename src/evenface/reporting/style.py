"""One style for all figures, on screen (light or dark) and on paper."""

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from evenface.utils.errors import InputError
from evenface.utils.extras import require
from evenface.utils.files import atomic_write, digest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")
R = TypeVar("R")

# Okabe and Ito's colours, distinguishable with any common colour vision; the first ones differ most.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
INK, MUTED, GRID = "#1f2328", "#66707a", "#d8dde2"
DASHES = (0, (3, 2))
WIDTH = 4.6
FORMATS = ("pdf", "png", "svg")


def colour(index: int) -> str:
    """Return the colour of a series by its index; colours repeat after seven, markers with them."""
    return SERIES[index % len(SERIES)]


def marker(index: int) -> str:
    """Return the marker of a series by its index."""
    return MARKERS[index % len(MARKERS)]


@contextmanager
def _settings() -> Iterator[None]:
    matplotlib = require("matplotlib")
    settings: Any = {
        "font.size": 9,
        "font.family": "sans-serif",
        "axes.titlesize": 9,
        "axes.labelsize": 9,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8.5,
        "legend.fontsize": 8.5,
        "legend.frameon": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": MUTED,
        "axes.labelcolor": INK,
        "text.color": INK,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "grid.linewidth": 0.6,
        "axes.linewidth": 0.7,
        "lines.linewidth": 1.6,
        "lines.markersize": 4.5,
        "text.parse_math": False,  # a class may be called "$"
        "svg.fonttype": "none",
        "svg.hashsalt": "evenface",
        "pdf.fonttype": 42,
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # Text stays text in SVG, so the reader's fonts show glyphs that Matplotlib's font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Run a drawing function under these settings, which matplotlib reads whenever something is added."""

    @wraps(draw)
    def with_settings(*args: P.args, **kwargs: P.kwargs) -> R:
        with _settings():
            return draw(*args, **kwargs)

    return with_settings


def panels(rows: int = 1, columns: int = 1, height: float = 3.0, **options: Any) -> "tuple[Figure, list[Axes]]":
    """Create a figure as wide as a column of text with ``rows`` × ``columns`` axes, row by row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, [axis for row in axes for axis in row]


def legend(figure: "Figure", axis: "Axes", *, columns: int | None = None, title: str = "", fewest: int = 2) -> None:
    """Put the legend of an axis below the figure, where it covers nothing; none for fewer than ``fewest`` entries."""
    entries = [pair for pair in zip(*axis.get_legend_handles_labels(), strict=True) if pair[1]]
    if len(entries) < fewest:
        return
    handles, names = zip(*entries, strict=True)
    fitting = max(1, min(len(names), int(60 / (max(map(len, names)) + 6))))
    figure.legend(handles, names, loc="outside lower center", ncols=columns or fitting, title=title or None)


def check_formats(names: Sequence[str]) -> None:
    """Check that figures can be written in these formats."""
    for name in names:
        if name not in FORMATS:
            raise InputError(f"cannot save figures as {name!r}: unknown format", f"Known: {', '.join(FORMATS)}.")


def check_format(path: Path) -> None:
    """Check that figures can be written with the suffix of a path."""
    if path.suffix.removeprefix(".") not in FORMATS:
        raise InputError(
            f"cannot save a figure as {path.name}: unknown format", f"Known formats: {', '.join(FORMATS)}."
        )


def save(figure: "Figure", path: Path) -> None:
    """Write a figure as PDF, PNG (300 dpi) or SVG, by the suffix; the same figure gives the same bytes."""
    check_format(path)
    kind = path.suffix.removeprefix(".")
    fixed = {"pdf": {"CreationDate": None}, "png": {"Software": None}, "svg": {"Date": None}}[kind]
    with atomic_write(path) as temporary, _settings():
        figure.savefig(temporary, dpi=300, metadata=fixed)


def inline_svg(figure: "Figure", title: str) -> str:
    """Return a figure as SVG for a page: text stays text, colours are variables of the style sheet, ids are unique."""
    import io
    from html import escape

    buffer = io.StringIO()
    with _settings():
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"font: (?:\d+ )?([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = _unique_ids(svg, digest(title, svg)[:8])
    for index, value in enumerate(SERIES):
        svg = svg.replace(value, f"var(--series-{index})")
    for value, name in ((INK, "ink"), (MUTED, "muted"), (GRID, "grid")):
        svg = svg.replace(value, f"var(--{name})")
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)


def _unique_ids(svg: str, prefix: str) -> str:
    """Prefix ids that are referred to, and drop the others."""
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', svg))

    def renamed(match: re.Match[str]) -> str:
        return f' id="{prefix}-{match[1]}"' if match[1] in used else ""

    svg = re.sub(r' id="([^"]+)"', renamed, svg)
    return re.sub(r'(url\(#|href="#)([^)"]+)', rf"\g<1>{prefix}-\g<2>", svg)
