"""One look for every figure, on screen (light or dark) and on paper."""

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from evenface.utils.errors import InputError
from evenface.utils.files import atomic_write, digest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")
R = TypeVar("R")

# Okabe and Ito's colours, told apart with any common colour vision; ordered so that the first ones differ most.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
INK, MUTED, GRID = "#1f2328", "#66707a", "#d8dde2"
WIDTH = 4.6
FORMATS = ("pdf", "png", "svg")


def colour(place: int) -> str:
    """Colour of the series at ``place``; they repeat after seven, markers with them."""
    return SERIES[place % len(SERIES)]


@contextmanager
def _settings() -> Iterator[None]:
    import matplotlib

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
        # Letters that Matplotlib's font lacks stay letters in SVG, which the reader's own fonts show.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Run a drawing function under the house's settings, which matplotlib reads whenever something is added."""

    @wraps(draw)
    def drawing(*args: P.args, **kwargs: P.kwargs) -> R:
        with _settings():
            return draw(*args, **kwargs)

    return drawing


def panels(rows: int = 1, columns: int = 1, height: float = 3.0, **options: Any) -> "tuple[Figure, list[Axes]]":
    """Make a figure as wide as a column of text with ``rows`` × ``columns`` axes, given row by row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, [axis for row in axes for axis in row]


def check_format(path: Path) -> None:
    """Refuse a suffix that no figure is written with."""
    if path.suffix.removeprefix(".") not in FORMATS:
        raise InputError(f"figures cannot be written as {path.name}", f"Known are {', '.join(FORMATS)}.")


def save(figure: "Figure", path: Path) -> None:
    """Write as PDF, PNG (300 dots per inch) or SVG, by the suffix; the same figure gives the same bytes."""
    check_format(path)
    kind = path.suffix.removeprefix(".")
    fixed = {"pdf": {"CreationDate": None}, "png": {"Software": None}, "svg": {"Date": None}}[kind]
    with atomic_write(path) as temporary, _settings():
        figure.savefig(temporary, dpi=300, metadata=fixed)


def inline_svg(figure: "Figure", title: str) -> str:
    """Write as SVG for a page: text stays text, colours follow the page's (dark) style sheet, ids are its own."""
    import io
    from html import escape

    buffer = io.StringIO()
    with _settings():
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    drawn = buffer.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", drawn, count=1)
    drawn = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", drawn, count=1)
    drawn = re.sub(r"font: (?:\d+ )?([\d.]+px) [^;\"]*", r"font-size: \1", drawn)
    drawn = re.sub(r"font-family: [^;\"]*;? ?", "", drawn)
    drawn = _own_ids(drawn, digest(title, drawn)[:8])
    for place, value in enumerate(SERIES):
        drawn = drawn.replace(value, f"var(--series-{place})")
    for value, name in ((INK, "ink"), (MUTED, "muted"), (GRID, "grid")):
        drawn = drawn.replace(value, f"var(--{name})")
    return drawn.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)


def _own_ids(drawn: str, mark: str) -> str:
    """Make ids that something refers to unique to this figure, drop the others."""
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', drawn))

    def renamed(found: re.Match[str]) -> str:
        return f' id="{mark}-{found[1]}"' if found[1] in used else ""

    drawn = re.sub(r' id="([^"]+)"', renamed, drawn)
    return re.sub(r'(url\(#|href="#)([^)"]+)', rf"\g<1>{mark}-\g<2>", drawn)
