"""Contact sheets of clips: sampled frames, detected faces and crops."""

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from evenface.data.manifest import Manifest
from evenface.preprocessing.clips import ClipPlan, ClipRow, crop_frames, plan_clip
from evenface.preprocessing.detect_align import Face, Square
from evenface.preprocessing.face_mesh import MeshRow, plan_mesh
from evenface.preprocessing.frame_sampling import Array, Indices, hold_last_face, uniform
from evenface.preprocessing.target import Target
from evenface.preprocessing.video import Film
from evenface.utils.errors import InputError, SampleError
from evenface.utils.files import atomic_write
from evenface.utils.progress import progress

CELLS, COLUMNS = 32, 8
"""Frames per sheet and per row."""
CELL, CROP, GAP, LINE = 236, 150, 8, 20
"""Width of a frame, side of a crop, gap between them and height of a line of text, in pixels."""
INK, PAPER, RED, YELLOW = "#202020", "#ffffff", "#d03020", "#f0c000"
KEY = {
    "seen": ("#1a8f3c", "face detected in this frame"),
    "followed": ("#2468c8", "no detection in this frame; interpolated between others"),
    "lost": (RED, "no face detected; a crop below is at the position of the last detection"),
}
"""Colour and meaning of the state of a frame."""


@dataclass(frozen=True)
class Cell:
    """One frame on a sheet."""

    frame: int
    place: int
    state: str
    square: Square | None
    face: Face | None
    others: list[Face]
    caption: str


def detection_cells(film: Film, frames: Indices, detections: list[list[Face]]) -> list[Cell]:
    """Choose some detection frames of a skipped clip."""
    cells = []
    for i in sorted(set(uniform(len(frames), 2 * COLUMNS).tolist())):
        frame = int(frames[i])
        state, word = ("seen", "") if detections[i] else ("lost", "no face")
        caption = f"frame {frame}, {film.times[frame]:.2f} s  {word}".rstrip()
        cells.append(Cell(frame, -1, state, None, None, detections[i], caption))
    return cells


def draw_frames(film: Film, cells: list[Cell]) -> list[Image.Image]:
    """Return a small copy of the frame of each cell, with detections drawn."""
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
        corners = [cell.square.to_image(x, y) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1), (0, 0))]
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
    """Draw title, frames, captions, crops and a legend on one page."""
    title, text = (ImageFont.load_default(size) for size in (20, 13))
    high = max((image.height for image in frames), default=0)
    block = high + LINE + (CROP + GAP if made else 0) + 2 * GAP
    top = GAP + 3 * LINE
    rows = -(-len(cells) // COLUMNS)
    page = Image.new("RGB", (GAP + COLUMNS * (CELL + GAP), top + rows * block + 2 * LINE), PAPER)
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


ROOM = 0.15
"""Margin around landmarks, relative to their width or height."""
DETAIL = 3
"""Oversampling of the enlarged face."""


def draw_points(path: str, start: int | None, end: int | None, target: Target, title: str) -> Image.Image:
    """Draw the contact sheet of one clip or image with its landmarks."""
    try:
        plan = plan_mesh(path, start, end, target)
        if plan.error:
            cells = detection_cells(plan.film, plan.detection_frames, plan.detections)
            return draw_page([title, f"skipped: {plan.error}"], cells, draw_frames(plan.film, cells), {}, RED)
        return _page(plan, target, title)
    except SampleError as error:
        return draw_page([title, f"skipped: {error}"], [], [], {}, RED)


def _page(plan: ClipPlan[MeshRow], target: Target, title: str) -> Image.Image:
    """Draw frames with landmarks on one page, evenly from all samples."""
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
    summary = f"{target.frames:,} sampled of {plan.rows[0].facts[2]:,} frames{faces}; without a face: {lost:,}"
    return draw_page(
        [title, summary], [cell for cell, _ in cells], [frames[cell.place] for cell, _ in cells], made, INK
    )


def _cell(plan: ClipPlan[MeshRow], place: int, target: Target) -> tuple[Cell, Array]:
    """Return the cell of a sampled position, with the nearest frame, and its landmarks."""
    row = plan.rows[place // target.frames]
    where = float(row.where[place % target.frames])
    nearest = round(where)
    frame, state = int(row.frames[nearest]), "seen" if row.seen[nearest] else "lost"
    face = f"#{row.facts[5]}: " if len(plan.rows) > 1 else ""
    between = "" if nearest == where else ", nearest to the sampled position"
    caption = f"{face}frame {frame}, {plan.film.times[frame]:.2f} s  {state}{between}"
    return Cell(frame, place, state, None, None, [], caption), hold_last_face(row.points, row.seen)[nearest]


def _close(image: Image.Image, points: Array, colour: str) -> Image.Image:
    """Return the enlarged face with its landmarks."""
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


CLIPS = 40
"""Largest number of sheets."""


def write_contact_sheets(manifest: Manifest, target: Target, folder: Path) -> list[Path]:
    """Write a contact sheet of each clip; of 40 evenly spaced ones where there are more."""
    if not target.one_by_one:
        kind = "sequences" if target.sequences else "images"
        raise InputError(
            f"{manifest.source}: contact sheets show clips, and these are {kind}", "Leave out --contact-sheets."
        )
    chosen = sorted({int(i) for i in uniform(len(manifest), min(CLIPS, len(manifest)))})
    written = []
    with _quiet(), progress("drawing contact sheets", len(chosen)) as advance:
        for i in chosen:
            row = manifest.table.iloc[i]
            title = f"{row['sample']}   label {manifest.classes[row['label']]}"
            path = folder / f"{i:05d}-{re.sub(r'[^A-Za-z0-9._-]+', '_', row['sample'])[:80]}.png"
            start, end = (None if pd.isna(row[name]) else int(row[name]) for name in ("start", "end"))
            sheet = draw_sheet(str(manifest.root / row["path"]), start, end, target, title)
            with atomic_write(path) as temporary:
                sheet.save(temporary)
            written.append(path)
            advance(1)
    return written


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress what libraries write to stderr directly; Python's own messages are kept."""
    sys.stderr.flush()
    try:
        screen = os.dup(2)
    except OSError:  # a process without stderr
        yield
        return
    before, nowhere = sys.stderr, os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        # A replacement, such as that of a test, is kept.
        if before is sys.__stderr__:
            sys.stderr = os.fdopen(os.dup(screen), "w", encoding="utf-8", errors="replace")
        yield
    finally:
        if sys.stderr is not before:
            sys.stderr.close()
            sys.stderr = before
        os.dup2(screen, 2)
        for handle in (screen, nowhere):
            os.close(handle)


def draw_sheet(path: str, start: int | None, end: int | None, target: Target, title: str) -> Image.Image:
    """Draw the sheet of one clip."""
    if target.sequences:
        return draw_points(path, start, end, target, title)
    try:
        plan = plan_clip(path, start, end, target)
        cells = (
            detection_cells(plan.film, plan.detection_frames, plan.detections)
            if plan.error
            else _sampled_cells(plan, target)
        )
        frames = draw_frames(plan.film, cells)
        made = dict(crop_frames(plan, target, {cell.place for cell in cells}))
    except SampleError as error:
        return draw_page([title, f"skipped: {error}"], [], [], {}, RED)
    if plan.error:
        return draw_page([title, f"skipped: {plan.error}"], cells, frames, made, RED)
    return draw_page([title, _summary(plan, target)], cells, frames, made, INK)


def _summary(plan: ClipPlan[ClipRow], target: Target) -> str:
    rows, frames = len(plan.rows), target.frames
    text = f"{rows * frames:,} of {plan.rows[0].facts[2]:,} frames"
    text += f" in {rows:,} samples of {frames}" if rows > 1 else ""
    if target.crop is None:
        return text
    lost = sum(row.facts[3] for row in plan.rows)
    kind = "dropped without a face" if target.clips and target.clips.missing_face == "skip" else "without a face"
    text += f"; faces detected in {len(plan.detection_frames):,}; {kind}: {lost:,}"
    if len(plan.tracks) > 1:
        text += f"; {len(plan.tracks)} faces tracked, {max(row.facts[5] for row in plan.rows)} kept"
    return text


def _sampled_cells(plan: ClipPlan[ClipRow], target: Target) -> list[Cell]:
    """Choose sampled frames evenly from all samples."""
    total = len(plan.rows) * target.frames
    detections = {frame: i for i, frame in enumerate(plan.detection_frames.tolist())}
    cells = []
    for place in uniform(total, min(total, CELLS)).tolist():
        row, i = plan.rows[place // target.frames], place % target.frames
        frame = int(row.frames[i])
        detection = detections.get(frame, -1)
        face = plan.tracks[row.facts[5] - 1].faces.get(detection) if plan.tracks else None
        others = [other for other in plan.detections[detection] if other is not face] if detection >= 0 else []
        state = "" if target.crop is None else "lost" if not row.seen[i] else "seen" if face else "followed"
        sample = f"#{place // target.frames + 1}: " if len(plan.rows) > 1 else ""
        caption = f"{sample}frame {frame}, {plan.film.times[frame]:.2f} s  {state}".rstrip()
        cells.append(Cell(frame, place, state, row.squares[i] if row.squares else None, face, others, caption))
    return cells
