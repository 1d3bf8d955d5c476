"""The page a report is printed on: one HTML file that needs nothing else, and the tables and figures beside it."""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evenface.reporting.style import FORMATS, inline_svg, save
from evenface.reporting.tables import Table, clear_tables
from evenface.utils.errors import InputError
from evenface.utils.files import atomic_write, disk_error
from evenface.utils.progress import progress
from evenface.utils.version import __version__

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

FACE, GAP = 64, 4
TABLES = "tables"
"""Folder beside the page."""
NARROW = 5


@dataclass(frozen=True)
class Picture:
    """A figure, its file name without suffix, and the sentence under it."""

    name: str
    figure: "Figure"
    caption: str


@dataclass(frozen=True)
class Shown:
    """A drawing, RGB, as wide as the page where it is wider, and the sentence under it; ``link`` is the file itself."""

    image: "Image.Image"
    caption: str
    link: str = ""


@dataclass(frozen=True)
class Tile:
    """A number that stands at the top; ``series`` is the place of its colour, none for a number without one."""

    name: str
    value: str
    interval: str
    series: int | None = None


@dataclass(frozen=True)
class Verdict:
    """A sentence at the top: what comes first in bold, then the rest."""

    head: str
    tail: str = ""


@dataclass(frozen=True)
class PageSection:
    """A part of the page: a paragraph for each line of text, figures, tables, folded tables (closed first), faces.

    ``told`` stands below the tables: a word and the sentences about it; ``shown`` below that.
    """

    title: str
    text: str = ""
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    folded: tuple[Table, ...] = ()
    faces: Mapping[str, np.ndarray] = field(default_factory=dict)
    told: Mapping[str, Sequence[str]] = field(default_factory=dict)
    shown: tuple[Shown, ...] = ()


@dataclass(frozen=True)
class Page:
    """All that a report says: the answer first, then how sure, then what to know, then the details.

    ``measure`` says what the tiles show, where they all show the same. ``warnings`` stand before the answer;
    ``source`` says what the page was made from.
    """

    kind: str
    title: str
    measure: str
    tiles: tuple[Tile, ...]
    verdicts: tuple[Verdict, ...]
    sure: tuple[str, ...]
    notes: tuple[str, ...]
    sections: tuple[PageSection, ...]
    facts: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    source: str = "stored predictions"


def write(page: Page, path: Path, formats: Sequence[str] = ()) -> Path:
    """Write the page, ``tables/*.csv|tex`` beside it and, if asked for, ``figures/*.<format>``.

    Tables that an earlier page left there and this one has not are removed, and so is that page, before anything is
    written: nothing of two pages ever stands side by side. Files of other names and kinds are left alone.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise InputError(f"figures cannot be saved as {unknown[0]!r}", f"Known are {', '.join(FORMATS)}.")
    with progress("writing the report", len(page.sections)) as advance:
        sections = []
        for section in page.sections:
            sections.append(_section(section))
            advance(1)
    html = _template().render(
        version=__version__,
        css=_markup(resources.files("evenface.reporting").joinpath("templates/report.css").read_text(encoding="utf-8")),
        kind=page.kind,
        title=page.title,
        measure=page.measure,
        tiles=page.tiles,
        verdicts=page.verdicts,
        sure=page.sure,
        notes=page.notes,
        warnings=page.warnings,
        facts=page.facts,
        source=page.source,
        sections=sections,
    )
    if (path.parent / TABLES).is_symlink():
        raise InputError(f"{path.parent / TABLES} is a link: nothing is written through it", "Remove it.")
    try:
        path.unlink(missing_ok=True)
        clear_tables(path.parent / TABLES)
    except OSError as error:
        raise disk_error(error, path) from error
    for section in page.sections:
        for table in (*section.tables, *section.folded):
            table.save(path.parent / TABLES)
        for picture in section.pictures:
            for name in formats:
                save(picture.figure, path.parent / "figures" / f"{picture.name}.{name}")
    with atomic_write(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return path


def _section(section: PageSection) -> dict[str, Any]:
    return {
        "name": re.sub(r"\W+", "-", section.title.lower()),
        "title": section.title,
        "text": section.text,
        "pictures": [
            {"svg": _markup(inline_svg(picture.figure, picture.caption)), "caption": picture.caption}
            for picture in section.pictures
        ],
        "tables": section.tables,
        "beside": len(section.pictures) == 1 and all(len(table.header) <= NARROW for table in section.tables),
        "folded": section.folded,
        "told": section.told,
        "shown": [
            {
                "uri": _jpeg(one.image),
                "width": one.image.width,
                "height": one.image.height,
                "caption": one.caption,
                "link": one.link,
            }
            for one in section.shown
        ],
        "faces": [_strip(name, pictures) for name, pictures in section.faces.items()],
    }


def _template() -> Any:
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["minus"] = lambda text: re.sub(r"(?<![\w.])-(?=\d)", "\N{MINUS SIGN}", str(text))
    source = resources.files("evenface.reporting").joinpath("templates/report.html").read_text(encoding="utf-8")
    return environment.from_string(source)


def _markup(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)


def _strip(name: str, pictures: np.ndarray) -> dict[str, Any]:
    """Put a class's pictures, uint8 (K, H, W) or (K, H, W, C), side by side into one small JPEG."""
    from PIL import Image

    if pictures.dtype != np.uint8 or pictures.ndim not in (3, 4) or not len(pictures):
        raise InputError(f"faces of {name!r} must be uint8 of shape (K, H, W) or (K, H, W, C), found {pictures.shape}")
    grey = pictures[..., 0] if pictures.ndim == 4 and pictures.shape[-1] == 1 else pictures
    strip = Image.new("RGB", (len(grey) * (2 * FACE + 2 * GAP) - 2 * GAP, 2 * FACE), "white")
    for place, picture in enumerate(grey):
        face = Image.fromarray(picture).convert("RGB").resize((2 * FACE, 2 * FACE), Image.Resampling.BICUBIC)
        strip.paste(face, (place * (2 * FACE + 2 * GAP), 0))
    return {"name": name, "uri": _jpeg(strip), "width": strip.width // 2, "height": strip.height // 2}


def _jpeg(image: "Image.Image") -> str:
    """Write a picture as text that a page can hold."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
