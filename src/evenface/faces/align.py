"""From a face in a picture to a square with level eyes: the geometry, and nothing of who found the face.

Places are in pixels, x to the right and y down, counted from the picture's upper left corner: the first pixel
reaches from 0 to 1 and has its middle at 0.5.
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

ALIGNMENT = 1
"""Version of what aligning does to pixels; a change makes new stores."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Face:
    """A face that was found.

    Parameters
    ----------
    box : tuple of float
        Left, top, right and bottom; may reach beyond the picture.
    score : float
        How sure the detector is, 0 to 1.
    eyes : tuple of two points
        The person's right eye first: the left one in a picture that stands upright.
    """

    box: tuple[float, float, float, float]
    score: float
    eyes: tuple[Point, Point]

    @property
    def centre(self) -> Point:
        """Middle of the box."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2

    @property
    def side(self) -> float:
        """Longer side of the box."""
        left, top, right, bottom = self.box
        return max(right - left, bottom - top)

    def overlap(self, other: "Face") -> float:
        """Area that both boxes share, as a share of what they cover together."""
        width = min(self.box[2], other.box[2]) - max(self.box[0], other.box[0])
        height = min(self.box[3], other.box[3]) - max(self.box[1], other.box[1])
        shared = max(width, 0) * max(height, 0)
        areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (self.box, other.box)]
        return shared / (sum(areas) - shared) if shared else 0.0


@dataclass(frozen=True)
class Square:
    """A square of a picture, turned by ``angle`` radians, clockwise as one sees it.

    Parameters
    ----------
    centre : tuple of float
        Its middle.
    side : float
        Length of its sides, > 0.
    angle : float
        Direction of its upper side; 0 is along the picture's rows.
    """

    centre: Point
    side: float
    angle: float

    def outside(self, x: float, y: float) -> Point:
        """Give the place in the picture of a place in the square, which reaches from (0, 0) to (1, 1)."""
        right, down = (x - 0.5) * self.side, (y - 0.5) * self.side
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return self.centre[0] + cos * right - sin * down, self.centre[1] + sin * right + cos * down


def square_of(face: Face, margin: float) -> Square:
    """Give the square around a face whose upper side runs along the eyes.

    Parameters
    ----------
    face : Face
        Where it is. The longer side of its box counts, so that nothing of the face is lost.
    margin : float
        What is added on every side, as a share of the box's longer side.

    Returns
    -------
    Square
        Of ``(1 + 2 * margin)`` times that side, about the middle of the box.
    """
    (x1, y1), (x2, y2) = face.eyes
    return Square(face.centre, face.side * (1 + 2 * margin), math.atan2(y2 - y1, x2 - x1))


def cut(image: Image.Image, square: Square, size: int) -> Image.Image:
    """Cut a square out of a picture and bring it to ``size`` × ``size`` pixels.

    Parameters
    ----------
    image : Image
        8-bit grey or RGB.
    square : Square
        What to cut. Where it reaches beyond the picture, the picture's outermost pixels go on.
    size : int
        Height and width to make, >= 1.

    Returns
    -------
    Image
        Of the mode of ``image``.

    Notes
    -----
    A pixel is the mean of places spread evenly over its area, no further apart than the pixels of the picture,
    and every place is interpolated bilinearly. So fine patterns do not turn into coarse ones when shrunk.
    """
    corners = [square.outside(x, y) for x in (0, 1) for y in (0, 1)]
    # Where many pixels fall into one, a plain mean over blocks goes ahead; at least two are left for each.
    blocks = max(1, int(square.side / size / 2))
    left, top = (math.floor(min(values)) - blocks for values in zip(*corners, strict=True))
    right, bottom = (math.ceil(max(values)) + blocks for values in zip(*corners, strict=True))
    part = _part(image, left, top, right, bottom)
    part = part.reduce(blocks) if blocks > 1 else part
    spread = math.ceil(square.side / size / blocks)
    step = square.side / blocks / (size * spread)
    cos, sin = step * math.cos(square.angle), step * math.sin(square.angle)
    x, y = square.outside(0, 0)
    found = part.transform(
        (size * spread, size * spread),
        Image.Transform.AFFINE,
        (cos, -sin, (x - left) / blocks, sin, cos, (y - top) / blocks),
        Image.Resampling.BILINEAR,
    )
    return found.reduce(spread) if spread > 1 else found


def _part(image: Image.Image, left: int, top: int, right: int, bottom: int) -> Image.Image:
    """Crop, and repeat the outermost pixels where the box reaches beyond the picture."""
    columns = np.arange(left, right).clip(0, image.width - 1)
    rows = np.arange(top, bottom).clip(0, image.height - 1)
    inside = image.crop((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    if inside.size == (right - left, bottom - top):
        return inside
    return Image.fromarray(np.asarray(inside)[np.ix_(rows - rows[0], columns - columns[0])])
