"""Build a report page: one self-contained HTML file, with its tables and figures as files beside it."""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evenface.evaluation.bootstrap import Estimate
from evenface.evaluation.formatting import with_interval
from evenface.reporting.style import check_formats, inline_svg, save
from evenface.reporting.tables import Table, clear_tables
from evenface.utils import __version__
from evenface.utils.errors import InputError
from evenface.utils.files import atomic_write, disk_error
from evenface.utils.progress import progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

FACE, GAP = 64, 4
TABLES = "tables"
"""Folder beside the page."""
NARROW = 5
"""Columns up to which tables fit beside a figure."""


@dataclass(frozen=True)
class CaptionedFigure:
    """A figure, its file name without suffix, and its caption."""

    name: str
    figure: "Figure"
    caption: str


@dataclass(frozen=True)
class CaptionedImage:
    """An RGB image, shrunk to the page's width if needed, its caption, and the link to its file."""

    image: "Image.Image"
    caption: str
    link: str = ""


@dataclass(frozen=True)
class Tile:
    """A number at the top of the page; ``series`` is the index of its colour, None for a number without one."""

    name: str
    value: str
    interval: str
    series: int | None = None

    @classmethod
    def of(cls, name: str, estimate: Estimate, series: int | None = None) -> "Tile":
        """Return the tile of an estimate."""
        value, _, interval = with_interval(estimate).partition(" ")
        return cls(name, value, interval, series)


@dataclass(frozen=True)
class Verdict:
    """A statement at the top: the conclusion in bold, then its details."""

    head: str
    tail: str = ""


@dataclass(frozen=True)
class PageSection:
    """A section of the page: a paragraph for each line of text, figures, tables, definitions, images.

    ``folded`` tables are collapsed; ``faces`` maps classes to uint8 arrays of images; ``definitions`` maps terms to
    sentences.
    """

    title: str
    text: str = ""
    figures: tuple[CaptionedFigure, ...] = ()
    tables: tuple[Table, ...] = ()
    folded: tuple[Table, ...] = ()
    faces: Mapping[str, np.ndarray] = field(default_factory=dict)
    definitions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    images: tuple[CaptionedImage, ...] = ()


@dataclass(frozen=True)
class Page:
    """Content of a report: warnings, results, uncertainty, notes, sections, provenance, in this order.

    ``measure`` names what the tiles show, where they all show the same; ``source`` what the page was made from.
    """

    kind: str
    title: str
    measure: str
    tiles: tuple[Tile, ...]
    verdicts: tuple[Verdict, ...]
    uncertainty: tuple[str, ...]
    notes: tuple[str, ...]
    sections: tuple[PageSection, ...]
    provenance: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    source: str = "stored predictions"


def write_page(page: Page, path: Path, formats: Sequence[str] = ()) -> Path:
    """Write the page, ``tables/*.csv|tex`` beside it and, if asked for, ``figures/*.<format>``.

    The previous page and its tables are removed first, so that files of two pages are never mixed. Files of other
    names and kinds are kept.
    """
    check_formats(formats)
    with progress("writing the report", len(page.sections)) as advance:
        sections = []
        for section in page.sections:
            sections.append(_section(section))
            advance(1)
    html = _template().render(
        version=__version__,
        css=_markup(resources.files("evenface.reporting").joinpath("templates/report.css").read_text(encoding="utf-8")),
        page=page,
        sections=sections,
    )
    if (path.parent / TABLES).is_symlink():
        raise InputError(f"{path.parent / TABLES} is a symbolic link; reports do not write through links", "Remove it.")
    try:
        path.unlink(missing_ok=True)
        clear_tables(path.parent / TABLES)
    except OSError as error:
        raise disk_error(error, path) from error
    for section in page.sections:
        for table in (*section.tables, *section.folded):
            table.save(path.parent / TABLES)
        for drawn in section.figures:
            for name in formats:
                save(drawn.figure, path.parent / "figures" / f"{drawn.name}.{name}")
    with atomic_write(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return path


def _section(section: PageSection) -> dict[str, Any]:
    return {
        "id": re.sub(r"\W+", "-", section.title.lower()),
        "content": section,
        "figures": [
            {"svg": _markup(inline_svg(drawn.figure, drawn.caption)), "caption": drawn.caption}
            for drawn in section.figures
        ],
        "beside": bool(section.tables)
        and len(section.figures) == 1
        and all(len(table.header) <= NARROW for table in section.tables),
        "images": [
            {
                "uri": _jpeg(item.image),
                "width": item.image.width,
                "height": item.image.height,
                "caption": item.caption,
                "link": item.link,
            }
            for item in section.images
        ],
        "faces": [_strip(name, images) for name, images in section.faces.items()],
    }


@cache
def _template() -> Any:
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["minus"] = lambda text: re.sub(r"(?<![\w.])-(?=\d)", "\N{MINUS SIGN}", str(text))
    environment.filters["sentence"] = lambda text: text[:1].upper() + text[1:]
    source = resources.files("evenface.reporting").joinpath("templates/report.html").read_text(encoding="utf-8")
    return environment.from_string(source)


def _markup(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)


def _strip(name: str, images: np.ndarray) -> dict[str, Any]:
    """Join the images of a class, uint8 (K, H, W) or (K, H, W, C), side by side into one small JPEG."""
    from PIL import Image

    if images.dtype != np.uint8 or images.ndim not in (3, 4) or not len(images):
        raise InputError(f"faces of {name!r} must be uint8 of shape (K, H, W) or (K, H, W, C), found {images.shape}")
    squeezed = images[..., 0] if images.ndim == 4 and images.shape[-1] == 1 else images
    strip = Image.new("RGB", (len(squeezed) * (2 * FACE + 2 * GAP) - 2 * GAP, 2 * FACE), "white")
    for index, pixels in enumerate(squeezed):
        face = Image.fromarray(pixels).convert("RGB").resize((2 * FACE, 2 * FACE), Image.Resampling.BICUBIC)
        strip.paste(face, (index * (2 * FACE + 2 * GAP), 0))
    return {"name": name, "uri": _jpeg(strip), "width": strip.width // 2, "height": strip.height // 2}


def _jpeg(image: "Image.Image") -> str:
    """Encode an image as a data URI."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
