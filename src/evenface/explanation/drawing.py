"""Drawing explanations: the face first, then every class beside it; bands of frames; points on the face; bars."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from evenface.explanation.explanation import Array, Explanation, overlay
from evenface.inference.drawing import font
from evenface.reporting.style import GRID, INK, MUTED, SERIES

CELL, GAP, TEXT = 168, 10, 15
"""Side of a picture, what lies between, height of letters; in pixels."""
BAND, BAR, LABEL = 34, 17, 170
"""Height of a band of frames, and of a bar; width of what stands before them."""
FOR, AGAINST, PAPER = SERIES[1], SERIES[0], "#ffffff"
"""Colours of what speaks for a class and against it."""
BARS = 60
"""Columns that are drawn as bars, those that count most."""
KEY = "orange speaks for the class, blue against it; each class has its own scale"


@dataclass(frozen=True)
class DrawnExplanation:
    """What is said about a sample beside its pictures."""

    heading: str
    classes: tuple[str, ...]
    shown: tuple[int, ...]
    predicted: int
    truth: int | None = None
    names: tuple[str, ...] = ()

    def title(self, label: int, shares: Array) -> str:
        """Name a class, its probability, and whether it is the true or the predicted one."""
        marks = [word for word, place in (("true", self.truth), ("predicted", self.predicted)) if place == label]
        if self.truth == self.predicted == label:
            marks = ["right"]
        return f"{self.classes[label]} {shares[label]:.2f}" + (f" · {marks[0]}" if marks else "")


def draw(sample: np.ndarray, found: Explanation, said: DrawnExplanation) -> Image.Image:
    """Draw one sample."""
    parts = [_words(said.heading, bold=True)]
    if found.kind == "map":
        parts.append(_maps(sample, found, said))
    elif found.kind == "frames":
        parts.append(_clip(sample, found, said))
    else:
        on_face = not said.names and sample.shape[2] >= 2
        parts.append(_points(sample, found, said) if on_face else _bars(found, said))
        if found.frames is not None and found.frames.shape[1] > 1:
            parts.append(_bands(found, said, CELL // 3))
    return stacked(parts)


def stacked(parts: Sequence[Image.Image]) -> Image.Image:
    """Put pictures beneath each other, on white."""
    width = max(part.width for part in parts)
    page = Image.new("RGB", (width, sum(part.height + GAP for part in parts)), PAPER)
    top = 0
    for part in parts:
        page.paste(part, (0, top))
        top += part.height + GAP
    return page


def _beside(cells: Sequence[Image.Image]) -> Image.Image:
    page = Image.new("RGB", (sum(cell.width + GAP for cell in cells), max(cell.height for cell in cells)), PAPER)
    left = GAP
    for cell in cells:
        page.paste(cell, (left, 0))
        left += cell.width + GAP
    return page


def _words(text: str, *, bold: bool = False, colour: str = INK) -> Image.Image:
    letters = font(TEXT)
    box = letters.getbbox(text)
    image = Image.new("RGB", (int(box[2]) + 2 * GAP, TEXT + 8), PAPER)
    ImageDraw.Draw(image).text((GAP, 2), text, colour, letters, stroke_width=0.3 if bold else 0, stroke_fill=colour)
    return image


def _cell(picture: npt.NDArray[np.uint8], title: str, *, marked: bool = False, side: int = CELL) -> Image.Image:
    """Put a title above a picture; the class that was named has a frame."""
    size = side, round(side * picture.shape[0] / picture.shape[1])
    flat = picture[..., 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture
    image = Image.fromarray(np.ascontiguousarray(flat)).convert("RGB").resize(size, Image.Resampling.BICUBIC)
    return _titled(image, title, marked=marked)


def _titled(image: Image.Image, title: str, *, marked: bool = False) -> Image.Image:
    page = Image.new("RGB", (image.width, image.height + TEXT + 7), PAPER)
    pen, high = ImageDraw.Draw(page), TEXT
    while high > 8 and pen.textlength(title, font(high)) > image.width:
        high -= 1
    pen.text((0, TEXT - high + 1), title, INK, font(high), stroke_width=0.3 if marked else 0, stroke_fill=INK)
    page.paste(image, (0, TEXT + 7))
    if marked:
        pen.rectangle((0, TEXT + 7, page.width - 1, page.height - 1), outline=INK, width=2)
    return page


def enlarged_for(picture: npt.NDArray[np.uint8], heat: npt.NDArray[np.floating], side: int) -> npt.NDArray[np.uint8]:
    """Enlarge a small picture before a map is laid over it, so that the map stays smooth."""
    flat = picture[..., 0] if picture.shape[2] == 1 else picture
    size = side, round(side * picture.shape[0] / picture.shape[1])
    large = Image.fromarray(np.ascontiguousarray(flat)).convert("RGB").resize(size, Image.Resampling.BICUBIC)
    return overlay(np.asarray(large), heat)


def _maps(sample: np.ndarray, found: Explanation, said: DrawnExplanation) -> Image.Image:
    assert found.maps is not None
    cells = [_cell(sample[0], "face")]
    for label in said.shown:
        picture = enlarged_for(sample[0], found.maps[label], CELL)
        cells.append(_cell(picture, said.title(label, found.probabilities), marked=label == said.predicted))
    return _beside(cells)


def _clip(sample: np.ndarray, found: Explanation, said: DrawnExplanation) -> Image.Image:
    """Draw frames, their maps for the class that was named, and bands that stand beneath the frames."""
    assert found.maps is not None
    side = max(36, min(96, 1500 // len(sample)))
    below = [enlarged_for(frame, np.zeros((1, 1)), side) for frame in sample]
    heat = [enlarged_for(frame, found.maps[said.predicted][t], side) for t, frame in enumerate(sample)]
    rows = []
    for name, pictures in (("frames", below), (f"map, {said.classes[said.predicted]}", heat)):
        page = Image.new("RGB", (LABEL + len(sample) * side + GAP, pictures[0].shape[0]), PAPER)
        ImageDraw.Draw(page).text((GAP, page.height / 2), name, INK, font(13), anchor="lm")
        for t, picture in enumerate(pictures):
            page.paste(Image.fromarray(picture).resize((side - 2, page.height)), (LABEL + t * side, 0))
        rows.append(page)
    return stacked([*rows, _bands(found, said, side)])


def _bands(found: Explanation, said: DrawnExplanation, side: int) -> Image.Image:
    """Draw a band for each class, with a bar for each frame."""
    assert found.frames is not None
    count = found.frames.shape[1]
    page = Image.new("RGB", (LABEL + count * side + GAP, len(said.shown) * (BAND + 4) + 18), PAPER)
    pen = ImageDraw.Draw(page)
    for row, label in enumerate(said.shown):
        top = row * (BAND + 4)
        middle = top + BAND / 2
        bold = 0.3 if label == said.predicted else 0
        title = said.title(label, found.probabilities)
        pen.text((GAP, middle), title, INK, font(12), anchor="lm", stroke_width=bold, stroke_fill=INK)
        pen.line((LABEL, middle, page.width - GAP, middle), GRID)
        for t, value in enumerate(_relative(found.frames[label]).tolist()):
            _bar(pen, (LABEL + t * side + 2, middle), (LABEL + (t + 1) * side - 3, middle - value * BAND / 2), value)
    for t in range(0, count, max(1, count // 16)):
        pen.text((LABEL + (t + 0.5) * side, page.height - 16), f"{t + 1}", MUTED, font(11), anchor="mt")
    pen.text((GAP, page.height - 16), "frame", MUTED, font(11), anchor="lt")
    return page


def _relative(values: Array) -> Array:
    """Scale by the largest of either sign, so that it is 1 or -1; where there is none, all is 0."""
    return values / (float(np.abs(values).max()) or 1.0)


def _bar(pen: ImageDraw.ImageDraw, one: tuple[float, float], other: tuple[float, float], value: float) -> None:
    (left, right), (top, bottom) = sorted((one[0], other[0])), sorted((one[1], other[1]))
    if value and right - left >= 0.5 and bottom - top >= 0.5:
        pen.rectangle((left, top, right, bottom), fill=FOR if value > 0 else AGAINST)


def _points(sample: np.ndarray, found: Explanation, said: DrawnExplanation) -> Image.Image:
    """Draw the points where they are in the mean over time, the more they count, the larger and the more coloured."""
    assert found.points is not None
    places = sample[..., :2].mean(axis=0, dtype=np.float64)
    low, high = places.min(axis=0), places.max(axis=0)
    fine, side = 3, round(CELL * 1.35)
    scale = (side - 2 * GAP) / float((high - low).max() or 1.0)
    where = (places - (low + high) / 2) * scale + side / 2
    cells = []
    for label in said.shown:
        values = _relative(found.points[label])
        image = Image.new("RGB", (side * fine, side * fine), PAPER)
        pen = ImageDraw.Draw(image)
        for point in np.argsort(np.abs(values), kind="stable").tolist():
            size = (1.1 + 3.2 * abs(values[point]) ** 0.5) * fine * (1.5 if len(where) < 100 else 1)
            x, y = (where[point] * fine).tolist()
            pen.ellipse((x - size, y - size, x + size, y + size), fill=_mixed(float(values[point])))
        small = image.resize((side, side), Image.Resampling.LANCZOS)
        cells.append(_titled(small, said.title(label, found.probabilities), marked=label == said.predicted))
    return _beside(cells)


def _mixed(value: float) -> tuple[int, int, int]:
    """Mix a colour for a value of -1 to 1: grey where it is 0."""
    end = FOR if value > 0 else AGAINST
    ends = np.array([[int(one[i : i + 2], 16) for i in (1, 3, 5)] for one in (GRID, end)], dtype=np.float64)
    share = abs(value) ** 0.5
    red, green, blue = (ends[0] * (1 - share) + ends[1] * share).round().astype(int).tolist()
    return red, green, blue


def _bars(found: Explanation, said: DrawnExplanation) -> Image.Image:
    """Draw a row for each column of numbers, with a bar for each class."""
    assert found.points is not None
    values, wide = np.stack([_relative(found.points[label]) for label in said.shown]), 132
    chosen = np.sort(np.argsort(-np.abs(values).max(axis=0), kind="stable")[:BARS])
    page = Image.new("RGB", (LABEL + len(said.shown) * wide + GAP, (len(chosen) + 1) * BAR + 8), PAPER)
    pen = ImageDraw.Draw(page)
    for place, label in enumerate(said.shown):
        bold = 0.3 if label == said.predicted else 0
        middle = LABEL + (place + 0.5) * wide
        title = said.title(label, found.probabilities)
        pen.text((middle, 2), title, INK, font(11), anchor="mt", stroke_width=bold, stroke_fill=INK)
        pen.line((middle, BAR + 4, middle, page.height - 4), GRID)
        for row, column in enumerate(chosen.tolist()):
            value, top = float(values[place, column]), (row + 1) * BAR + 5
            _bar(pen, (middle, top), (middle + value * (wide - 12) / 2, top + BAR - 5), value)
    for row, column in enumerate(chosen.tolist()):
        name = said.names[column] if column < len(said.names) else f"{column}"
        pen.text((LABEL - 8, (row + 1.5) * BAR + 3), name, INK, font(11), anchor="rm")
    return page
