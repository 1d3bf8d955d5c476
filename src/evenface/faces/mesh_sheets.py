"""Contact sheets of points: where they were found on the frames of a clip or in a picture."""

import numpy as np
from PIL import Image, ImageDraw

from evenface.faces.clips import Plan
from evenface.faces.mesh import MeshRow, plan_mesh
from evenface.faces.read import Target
from evenface.faces.sequences import Array, held
from evenface.faces.sheet_page import CELL, CELLS, CROP, INK, KEY, PAPER, RED, Cell, draw_frames, draw_page, looked_at
from evenface.faces.taking import uniform
from evenface.faces.trouble import UnusableError

ROOM = 0.15
"""What is shown about the points, as a share of their width or height."""
DETAIL = 3
"""How many times finer the face beneath is drawn than it is shown."""


def draw_points(path: str, start: int | None, end: int | None, target: Target, title: str) -> Image.Image:
    """Draw the sheet of one clip or picture; parameters are those of :func:`~evenface.faces.sheets.draw_sheet`."""
    try:
        plan = plan_mesh(path, start, end, target)
        if plan.trouble:
            cells = looked_at(plan.film, plan.looks, plan.found)
            return draw_page([title, f"set aside: {plan.trouble}"], cells, draw_frames(plan.film, cells), {}, RED)
        return _page(plan, target, title)
    except UnusableError as error:
        return draw_page([title, f"set aside: {error}"], [], [], {}, RED)


def _page(plan: Plan[MeshRow], target: Target, title: str) -> Image.Image:
    """Put frames with points on one page, those of all samples evenly."""
    total = len(plan.rows) * target.frames
    cells = [_cell(plan, place, target) for place in uniform(total, min(total, CELLS)).tolist()]
    frames, made = {}, {}
    for frame, image in plan.film.frames(sorted({cell.frame for cell, _ in cells})):
        scale = CELL / max(image.size)
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        small = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
        for cell, points in cells:
            if cell.frame == frame:
                frames[cell.place] = _dotted(small.copy(), points * scale, 0.5, KEY[cell.state][0])
                made[cell.place] = _close(image, points, KEY[cell.state][0])
    lost = sum(row.facts[3] for row in plan.rows)
    faces = f" of each of {len(plan.rows)} faces" if len(plan.rows) > 1 else ""
    told = f"{target.frames:,} taken from {plan.rows[0].facts[2]:,} frames{faces}; without a face: {lost:,}"
    return draw_page([title, told], [cell for cell, _ in cells], [frames[cell.place] for cell, _ in cells], made, INK)


def _cell(plan: Plan[MeshRow], place: int, target: Target) -> tuple[Cell, Array]:
    """Give what is shown at a place among all frames taken: the frame nearest to it, and the points."""
    row = plan.rows[place // target.frames]
    where = float(row.where[place % target.frames])
    nearest = round(where)
    frame, state = int(row.frames[nearest]), "seen" if row.seen[nearest] else "lost"
    face = f"#{row.facts[5]}: " if len(plan.rows) > 1 else ""
    between = "" if nearest == where else ", nearest to what is taken"
    caption = f"{face}frame {frame}, {plan.film.times[frame]:.2f} s  {state}{between}"
    return Cell(frame, place, state, None, None, [], caption), held(row.points, row.seen)[nearest]


def _close(image: Image.Image, points: Array, colour: str) -> Image.Image:
    """Show the face alone, large, with its points."""
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    side = float((high - low).max()) * (1 + 2 * ROOM)
    left, top = (low + high) / 2 - side / 2
    size = CROP * DETAIL
    box = (round(left), round(top), round(left + side), round(top + side))
    face = image.crop(box).resize((size, size), Image.Resampling.BILINEAR)
    return _dotted(face, (points - np.array([*box[:2], 0])) * size / (box[2] - box[0]), 2.5, colour)


def _dotted(image: Image.Image, points: Array, radius: float, colour: str) -> Image.Image:
    draw = ImageDraw.Draw(image)
    for x, y in points[:, :2].tolist():
        draw.ellipse(
            [x - radius, y - radius, x + radius, y + radius], fill=colour, outline=None if radius < 1 else PAPER
        )
    return image
