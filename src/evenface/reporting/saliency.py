"""Explanations drawn as images: saliency maps over faces, importance of frames, landmarks and features."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from evenface.reporting.annotation import font
from evenface.reporting.style import GRID, INK, MUTED, SERIES

Array = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]
COLOUR_MAP = ((255, 236, 90), (250, 140, 20), (190, 10, 30))
"""Colours of a saliency map from low to high: yellow, orange, red."""
CELL, GAP, FONT_SIZE = 168, 10, 15
"""Width of an image, space between images, font size; in pixels."""
BAND, BAR, LABEL_WIDTH = 34, 17, 170
"""Height of the frames of a class, height of a bar, width of the labels on the left."""
POSITIVE, NEGATIVE, PAPER = SERIES[1], SERIES[0], "#ffffff"
MAX_BARS = 60
"""Maximum number of features that are drawn: the most important ones."""
LEGEND = "orange is evidence for the class, blue against it; each class has its own scale"


def enlarged(values: npt.NDArray[np.floating], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Resize a map (h, w) to ``size``, rows and columns, by bicubic interpolation."""
    image = Image.fromarray(np.asarray(values, dtype=np.float32))
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BICUBIC), dtype=np.float32)


def overlay(image: Pixels, saliency: npt.NDArray[np.floating], strength: float = 0.6) -> Pixels:
    """Blend a saliency map into an image, from transparent over yellow to red.

    Parameters
    ----------
    image : ndarray of shape (H, W, 3), (H, W, 1) or (H, W), uint8
        RGB or greyscale.
    saliency : ndarray of shape (h, w)
        Saliency from 0 to 1.
    strength : float, default=0.6
        Opacity at saliency 1, 0 to 1.

    Returns
    -------
    ndarray of shape (H, W, 3), uint8
        The image itself where the saliency is 0.
    """
    channels = image if image.ndim == 3 else image[..., None]
    base = np.repeat(channels, 3, axis=2) if channels.shape[2] == 1 else channels
    values = enlarged(saliency, (base.shape[0], base.shape[1])).clip(0, 1)
    stops = np.linspace(0, 1, len(COLOUR_MAP))
    colours = np.stack([np.interp(values, stops, [colour[i] for colour in COLOUR_MAP]) for i in range(3)], axis=-1)
    opacity = (strength * np.sqrt(values))[..., None]  # square root: medium saliency stays visible
    return np.asarray(np.rint(base * (1 - opacity) + colours * opacity), dtype=np.uint8)


@dataclass(frozen=True)
class SaliencyFigure:
    """Explanation of one sample to draw.

    ``shown`` are the indices of the classes to draw; ``names`` those of features, empty for landmarks. ``marked`` are
    framed and named by ``mark``, predicted or present; by default the most probable class. The arrays are those of
    :class:`evenface.explanation.Explanation`.
    """

    heading: str
    classes: tuple[str, ...]
    shown: tuple[int, ...]
    probabilities: Array
    truth: int | None = None
    names: tuple[str, ...] = ()
    maps: npt.NDArray[np.float32] | None = None
    frames: Array | None = None
    points: Array | None = None
    attention: Array | None = None
    marked: tuple[int, ...] | None = None
    mark: str = "predicted"

    @property
    def predicted(self) -> tuple[int, ...]:
        """Indices of what is predicted: by default the most probable class."""
        return (int(self.probabilities.argmax()),) if self.marked is None else self.marked

    def title(self, label: int) -> str:
        """Return a class or target, its probability or value, and whether it is true, predicted or present."""
        marks = ["true"] * (label == self.truth) + [self.mark] * (label in self.predicted)
        if len(marks) > 1:
            marks = ["correct"]
        return f"{self.classes[label]} {self.probabilities[label]:.2f}" + (f" · {marks[0]}" if marks else "")

    def draw(self, sample: np.ndarray) -> Image.Image:
        """Draw the explanation of a sample (T, H, W, channels) or (T, P, D)."""
        parts = [_heading(self.heading)]
        if self.points is not None:
            landmarks = not self.names and sample.shape[2] >= 2
            parts.append(_landmarks(self, self.points, sample) if landmarks else _feature_bars(self, self.points))
            if self.frames is not None and self.frames.shape[1] > 1:
                parts.append(_frame_bars(self, self.frames, CELL // 3))
        elif self.maps is not None and self.frames is not None:
            width = _frame_width(sample)
            parts += _clip_rows(self, self.maps, sample)
            if self.attention is not None:
                parts.append(_attention_bars(self.attention, width))
            parts.append(_frame_bars(self, self.frames, width))
        elif self.maps is not None:
            parts.append(_face_maps(self, self.maps, sample[0]))
        return stacked(parts)


def stacked(parts: Sequence[Image.Image]) -> Image.Image:
    """Arrange images below each other, on white."""
    width = max(part.width for part in parts)
    page = Image.new("RGB", (width, sum(part.height + GAP for part in parts)), PAPER)
    top = 0
    for part in parts:
        page.paste(part, (0, top))
        top += part.height + GAP
    return page


def _side_by_side(cells: Sequence[Image.Image]) -> Image.Image:
    page = Image.new("RGB", (sum(cell.width + GAP for cell in cells), max(cell.height for cell in cells)), PAPER)
    left = GAP
    for cell in cells:
        page.paste(cell, (left, 0))
        left += cell.width + GAP
    return page


def _heading(text: str) -> Image.Image:
    heading_font = font(FONT_SIZE)
    box = heading_font.getbbox(text)
    image = Image.new("RGB", (int(box[2]) + 2 * GAP, FONT_SIZE + 8), PAPER)
    ImageDraw.Draw(image).text((GAP, 2), text, INK, heading_font, stroke_width=0.3, stroke_fill=INK)
    return image


def _titled(image: Image.Image, title: str, *, framed: bool = False) -> Image.Image:
    """Add a title above an image; the predicted class has a frame."""
    page = Image.new("RGB", (image.width, image.height + FONT_SIZE + 7), PAPER)
    draw, height = ImageDraw.Draw(page), FONT_SIZE
    while height > 8 and draw.textlength(title, font(height)) > image.width:
        height -= 1
    stroke = 0.3 if framed else 0
    draw.text((0, FONT_SIZE - height + 1), title, INK, font(height), stroke_width=stroke, stroke_fill=INK)
    page.paste(image, (0, FONT_SIZE + 7))
    if framed:
        draw.rectangle((0, FONT_SIZE + 7, page.width - 1, page.height - 1), outline=INK, width=2)
    return page


def _resized(frame: Pixels, width: int) -> Image.Image:
    greyscale_or_rgb = frame[..., 0] if frame.shape[2] == 1 else frame
    size = width, round(width * frame.shape[0] / frame.shape[1])
    image = Image.fromarray(np.ascontiguousarray(greyscale_or_rgb)).convert("RGB")
    return image.resize(size, Image.Resampling.BICUBIC)


def _with_map(frame: Pixels, saliency: npt.NDArray[np.floating], width: int) -> Image.Image:
    """Enlarge a frame before its map is blended in, so that the map stays smooth."""
    return Image.fromarray(overlay(np.asarray(_resized(frame, width)), saliency))


def _face_maps(figure: SaliencyFigure, maps: npt.NDArray[np.float32], face: Pixels) -> Image.Image:
    cells = [_titled(_resized(face, CELL), "face")]
    for label in figure.shown:
        image = _with_map(face, maps[label], CELL)
        cells.append(_titled(image, figure.title(label), framed=label in figure.predicted))
    return _side_by_side(cells)


def _frame_width(sample: np.ndarray) -> int:
    return max(36, min(96, 1500 // len(sample)))


def _clip_rows(figure: SaliencyFigure, maps: npt.NDArray[np.float32], sample: Pixels) -> list[Image.Image]:
    """Draw the frames of a clip, and below them their maps for the predicted class, or the first of the targets."""
    width, predicted = _frame_width(sample), (figure.predicted or figure.shown)[0]
    frames = [_resized(frame, width) for frame in sample]
    with_maps = [_with_map(frame, maps[predicted][t], width) for t, frame in enumerate(sample)]
    rows = []
    for name, images in (("frames", frames), (f"map, {figure.classes[predicted]}", with_maps)):
        page = Image.new("RGB", (LABEL_WIDTH + len(sample) * width + GAP, images[0].height), PAPER)
        ImageDraw.Draw(page).text((GAP, page.height / 2), name, INK, font(13), anchor="lm")
        for t, image in enumerate(images):
            page.paste(image.resize((width - 2, page.height)), (LABEL_WIDTH + t * width, 0))
        rows.append(page)
    return rows


def _frame_bars(figure: SaliencyFigure, frames: Array, width: int) -> Image.Image:
    """Draw a row for each class, with a bar for each frame."""
    count = frames.shape[1]
    page = Image.new("RGB", (LABEL_WIDTH + count * width + GAP, len(figure.shown) * (BAND + 4) + 18), PAPER)
    draw = ImageDraw.Draw(page)
    for row, label in enumerate(figure.shown):
        middle = row * (BAND + 4) + BAND / 2
        stroke = 0.3 if label in figure.predicted else 0
        draw.text((GAP, middle), figure.title(label), INK, font(12), anchor="lm", stroke_width=stroke, stroke_fill=INK)
        draw.line((LABEL_WIDTH, middle, page.width - GAP, middle), GRID)
        for t, value in enumerate(_relative(frames[label]).tolist()):
            left = LABEL_WIDTH + t * width
            _bar(draw, (left + 2, middle), (left + width - 3, middle - value * BAND / 2), value)
    for t in range(0, count, max(1, count // 16)):
        x = LABEL_WIDTH + (t + 0.5) * width
        draw.text((x, page.height - 16), f"{t + 1}", MUTED, font(11), anchor="mt")
    draw.text((GAP, page.height - 16), "frame", MUTED, font(11), anchor="lt")
    return page


def _attention_bars(attention: Array, width: int) -> Image.Image:
    """Draw a bar for the attention to each frame, above a line at 0."""
    page = Image.new("RGB", (LABEL_WIDTH + len(attention) * width + GAP, BAND + 4), PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((GAP, BAND / 2), f"attention, highest {attention.max():.2f}", INK, font(12), anchor="lm")
    for t, value in enumerate(_relative(attention).tolist()):
        left = LABEL_WIDTH + t * width
        draw.rectangle((left + 2, BAND * (1 - value), left + width - 3, BAND), fill=MUTED)
    draw.line((LABEL_WIDTH, BAND, page.width - GAP, BAND), GRID)
    return page


def _relative(values: Array) -> Array:
    """Scale by the largest absolute value; 0 where all are 0."""
    return values / (float(np.abs(values).max()) or 1.0)


def _bar(draw: ImageDraw.ImageDraw, first: tuple[float, float], second: tuple[float, float], value: float) -> None:
    (left, right), (top, bottom) = sorted((first[0], second[0])), sorted((first[1], second[1]))
    if value and right - left >= 0.5 and bottom - top >= 0.5:
        draw.rectangle((left, top, right, bottom), fill=POSITIVE if value > 0 else NEGATIVE)


def _landmarks(figure: SaliencyFigure, points: Array, sample: np.ndarray) -> Image.Image:
    """Draw landmarks at their mean position over time; more important ones larger and more saturated."""
    positions = sample[..., :2].mean(axis=0, dtype=np.float64)
    low, high = positions.min(axis=0), positions.max(axis=0)
    oversampling, side = 3, round(CELL * 1.35)
    scale = (side - 2 * GAP) / float((high - low).max() or 1.0)
    centres = (positions - (low + high) / 2) * scale + side / 2
    cells = []
    for label in figure.shown:
        values = _relative(points[label])
        image = Image.new("RGB", (side * oversampling, side * oversampling), PAPER)
        draw = ImageDraw.Draw(image)
        for point in np.argsort(np.abs(values), kind="stable").tolist():
            few = 1.5 if len(centres) < 100 else 1
            radius = (1.1 + 3.2 * abs(values[point]) ** 0.5) * oversampling * few
            x, y = (centres[point] * oversampling).tolist()
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_colour_of(float(values[point])))
        image = image.resize((side, side), Image.Resampling.LANCZOS)
        cells.append(_titled(image, figure.title(label), framed=label in figure.predicted))
    return _side_by_side(cells)


def _colour_of(value: float) -> tuple[int, int, int]:
    """Interpolate a colour for a value of -1 to 1: grey at 0."""
    ends = (GRID, POSITIVE if value > 0 else NEGATIVE)
    rgb = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in ends], dtype=np.float64)
    weight = abs(value) ** 0.5
    red, green, blue = (rgb[0] * (1 - weight) + rgb[1] * weight).round().astype(int).tolist()
    return red, green, blue


def _feature_bars(figure: SaliencyFigure, points: Array) -> Image.Image:
    """Draw a row for each feature, with a bar for each class."""
    values, width = np.stack([_relative(points[label]) for label in figure.shown]), 132
    features = np.sort(np.argsort(-np.abs(values).max(axis=0), kind="stable")[:MAX_BARS]).tolist()
    page = Image.new("RGB", (LABEL_WIDTH + len(figure.shown) * width + GAP, (len(features) + 1) * BAR + 8), PAPER)
    draw = ImageDraw.Draw(page)
    for column, label in enumerate(figure.shown):
        stroke = 0.3 if label in figure.predicted else 0
        middle = LABEL_WIDTH + (column + 0.5) * width
        draw.text((middle, 2), figure.title(label), INK, font(11), anchor="mt", stroke_width=stroke, stroke_fill=INK)
        draw.line((middle, BAR + 4, middle, page.height - 4), GRID)
        for row, feature in enumerate(features):
            value, top = float(values[column, feature]), (row + 1) * BAR + 5
            _bar(draw, (middle, top), (middle + value * (width - 12) / 2, top + BAR - 5), value)
    for row, feature in enumerate(features):
        name = figure.names[feature] if feature < len(figure.names) else f"{feature}"
        draw.text((LABEL_WIDTH - 8, (row + 1.5) * BAR + 3), name, INK, font(11), anchor="rm")
    return page
