"""Contact sheets: what was taken from a clip, where the face was found in it, and what became of it."""

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from PIL import Image

from evenface.data.manifest import Manifest
from evenface.errors import InputError
from evenface.faces.clips import Plan, Row, crops, plan_clip
from evenface.faces.mesh_sheets import draw_points
from evenface.faces.read import Target
from evenface.faces.sheet_page import CELLS, INK, RED, Cell, draw_frames, draw_page, looked_at
from evenface.faces.taking import uniform
from evenface.faces.trouble import UnusableError
from evenface.files import atomic_write
from evenface.progress import progress

CLIPS = 40
"""Clips of which sheets are made."""


def write_sheets(manifest: Manifest, target: Target, folder: Path) -> list[Path]:
    """Write a contact sheet of each clip, of 40 spread evenly where there are more.

    Parameters
    ----------
    manifest : Manifest
        Clips; or stills whose points are looked for.
    target : Target
        What prepare makes of them.
    folder : Path
        Where to write ``NUMBER-NAME.png``.

    Returns
    -------
    list of Path
        The files, in order.

    Raises
    ------
    InputError
        If the manifest is one of stills whose points are not looked for, or of files of numbers, a package is
        missing or nothing can be written.
    """
    if not target.one_by_one:
        kind = "numbers" if target.sequencing else "stills"
        raise InputError(f"{manifest.source}: contact sheets show clips, and these are {kind}", "Leave out --sheets.")
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
    """Let libraries that write to the screen past Python write nowhere, and Python's own messages through."""
    sys.stderr.flush()
    try:
        screen = os.dup(2)
    except OSError:  # a process without a screen
        yield
        return
    before, nowhere = sys.stderr, os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        # Whoever put something else in its place, such as a test, keeps it.
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
    """Draw the sheet of one clip.

    Parameters
    ----------
    path, start, end, target
        As in :func:`~evenface.faces.clips.plan_clip`.
    title : str
        What stands on top.

    Returns
    -------
    Image
        RGB: frames with the box and the eyes found and the square that is cut out, and the crops beneath; or with the
        points found, and beneath them the face with its points. Of a clip
        that is set aside, frames that were looked at, and the reason.
    """
    if target.sequencing:
        return draw_points(path, start, end, target, title)
    try:
        plan = plan_clip(path, start, end, target)
        cells = looked_at(plan.film, plan.looks, plan.found) if plan.trouble else _taken(plan, target)
        frames = draw_frames(plan.film, cells)
        made = dict(crops(plan, target, {cell.place for cell in cells}))
    except UnusableError as error:
        return draw_page([title, f"set aside: {error}"], [], [], {}, RED)
    if plan.trouble:
        return draw_page([title, f"set aside: {plan.trouble}"], cells, frames, made, RED)
    return draw_page([title, _told(plan, target)], cells, frames, made, INK)


def _told(plan: Plan[Row], target: Target) -> str:
    rows, frames = len(plan.rows), target.frames
    text = f"{rows * frames:,} of {plan.rows[0].facts[2]:,} frames"
    text += f" in {rows:,} samples of {frames}" if rows > 1 else ""
    if target.crop is None:
        return text
    lost = sum(row.facts[3] for row in plan.rows)
    kind = "left out for want of a face" if target.taking and target.taking.lost == "skip" else "without a face"
    text += f"; faces looked for in {len(plan.looks):,}; {kind}: {lost:,}"
    if len(plan.tracks) > 1:
        text += f"; {len(plan.tracks)} faces followed, {max(row.facts[5] for row in plan.rows)} kept"
    return text


def _taken(plan: Plan[Row], target: Target) -> list[Cell]:
    """Choose frames of all samples evenly."""
    total = len(plan.rows) * target.frames
    looks = {frame: look for look, frame in enumerate(plan.looks.tolist())}
    cells = []
    for place in uniform(total, min(total, CELLS)).tolist():
        row, i = plan.rows[place // target.frames], place % target.frames
        frame = int(row.frames[i])
        look = looks.get(frame, -1)
        face = plan.tracks[row.facts[5] - 1].faces.get(look) if plan.tracks else None
        others = [other for other in plan.found[look] if other is not face] if look >= 0 else []
        state = "" if target.crop is None else "lost" if not row.seen[i] else "seen" if face else "followed"
        sample = f"#{place // target.frames + 1}: " if len(plan.rows) > 1 else ""
        caption = f"{sample}frame {frame}, {plan.film.times[frame]:.2f} s  {state}".rstrip()
        cells.append(Cell(frame, place, state, row.squares[i] if row.squares else None, face, others, caption))
    return cells
