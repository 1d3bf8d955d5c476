"""A contact sheet's page: frames, what was found in them, what was made of them, and what the colours mean."""

from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from evenface.faces.align import Face, Square
from evenface.faces.taking import Indices, uniform
from evenface.faces.video import Film

CELLS, COLUMNS = 32, 8
"""Frames on a sheet, and in a line of it."""
CELL, CROP, GAP, LINE = 236, 150, 8, 20
"""Width of a frame, side of a crop, what lies between them, height of a line of text; in pixels."""
INK, PAPER, RED, YELLOW = "#202020", "#ffffff", "#d03020", "#f0c000"
KEY = {
    "seen": ("#1a8f3c", "a face was found in this frame"),
    "followed": ("#2468c8", "not looked at; followed from the frames about it"),
    "lost": (RED, "no face was found here; where a crop stands beneath, it is of where the face was last"),
}
"""Colour and meaning of what becomes of a frame."""


@dataclass(frozen=True)
class Cell:
    """One frame on a sheet.

    Parameters
    ----------
    frame : int
        Its number in the file.
    place : int
        Its place among all frames taken; -1 for one that was only looked at.
    state : str
        What became of it, one of :data:`KEY`, or empty.
    square : Square or None
        What is cut out.
    face : Face or None
        The one that is followed.
    others : list of Face
        Whatever else was found.
    caption : str
        What stands beneath.
    """

    frame: int
    place: int
    state: str
    square: Square | None
    face: Face | None
    others: list[Face]
    caption: str


def looked_at(film: Film, looks: Indices, found: list[list[Face]]) -> list[Cell]:
    """Choose, of a clip that is set aside, frames that were looked at."""
    cells = []
    for look in sorted(set(uniform(len(looks), 2 * COLUMNS).tolist())):
        frame = int(looks[look])
        state, word = ("seen", "") if found[look] else ("lost", "no face")
        caption = f"frame {frame}, {film.times[frame]:.2f} s  {word}".rstrip()
        cells.append(Cell(frame, -1, state, None, None, found[look], caption))
    return cells


def draw_frames(film: Film, cells: list[Cell]) -> list[Image.Image]:
    """Give a small copy of each cell's frame, with what was found drawn into it."""
    small = {}
    for frame, image in film.frames(sorted({cell.frame for cell in cells})):
        scale = CELL / max(image.size)
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        small[frame] = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0), scale
    return [_marked(small[cell.frame][0].copy(), cell, small[cell.frame][1]) for cell in cells]


def _marked(image: Image.Image, cell: Cell, scale: float) -> Image.Image:
    draw = ImageDraw.Draw(image)
    for other in cell.others:
        draw.rectangle([value * scale for value in other.box], outline=YELLOW, width=2)
    if cell.square:
        corners = [cell.square.outside(x, y) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1), (0, 0))]
        draw.line([(x * scale, y * scale) for x, y in corners], fill=KEY[cell.state][0], width=3)
    if cell.face:
        draw.rectangle([value * scale for value in cell.face.box], outline=PAPER, width=1)
        for x, y in cell.face.eyes:
            draw.ellipse(
                [x * scale - 3, y * scale - 3, x * scale + 3, y * scale + 3], fill=KEY["seen"][0], outline=PAPER
            )
    return image


def draw_page(
    lines: list[str], cells: list[Cell], frames: list[Image.Image], made: dict[int, Image.Image], colour: str
) -> Image.Image:
    """Put title, frames, captions and crops on one page, and beneath it what the colours mean."""
    title, text = (ImageFont.load_default(size) for size in (20, 13))
    high = max((image.height for image in frames), default=0)
    block = high + LINE + (CROP + GAP if made else 0) + 2 * GAP
    top = GAP + 3 * LINE
    bands = -(-len(cells) // COLUMNS)
    page = Image.new("RGB", (GAP + COLUMNS * (CELL + GAP), top + bands * block + 2 * LINE), PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((GAP, GAP), lines[0], INK, title)
    draw.text((GAP, GAP + 1.4 * LINE), lines[1], colour, title)
    for number, (cell, image) in enumerate(zip(cells, frames, strict=True)):
        x, y = GAP + number % COLUMNS * (CELL + GAP), top + number // COLUMNS * block
        page.paste(image, (x + (CELL - image.width) // 2, y))
        ink = KEY[cell.state][0] if cell.state else INK
        draw.text((x, y + high + 2), cell.caption, ink, text)
        if cell.place in made:
            left, upper = x + (CELL - CROP) // 2, y + high + LINE
            page.paste(made[cell.place].convert("RGB").resize((CROP, CROP)), (left, upper))
            draw.rectangle([left - 2, upper - 2, left + CROP + 1, upper + CROP + 1], outline=ink, width=2)
    x = GAP
    for state in dict.fromkeys(cell.state for cell in cells if cell.state):
        ink, meaning = KEY[state]
        draw.text((x, page.height - 1.5 * LINE), f"{state}: {meaning}", ink, text)
        x += 30 + round(draw.textlength(f"{state}: {meaning}", text))
    return page
