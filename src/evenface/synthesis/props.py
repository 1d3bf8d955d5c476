"""Things on and before a face: glasses, hats and scarves, and a hand."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evenface.synthesis.geometry import Surface
from evenface.synthesis.head import PARTS, load_head
from evenface.synthesis.rasteriser import Array, Fragments


@dataclass(frozen=True)
class Glasses:
    """Half width and height of a lens (dm), its roundness (2 an ellipse, 8 a rectangle), rim, brightness and tint."""

    width: float = 0.26
    height: float = 0.19
    power: float = 4.0
    rim: float = 0.1
    colour: float = 0.01
    tint: float = 0.0


@dataclass(frozen=True)
class Cover:
    """Hat or scarf: height of its edge over the forehead (dm), whether it also surrounds the face, and its colour."""

    edge: float = 7.8
    around: bool = False
    colour: tuple[float, float, float] = (0.1, 0.1, 0.1)


@dataclass(frozen=True)
class Hand:
    """Hand before the face.

    ``at`` is the middle of the finger tips on the average head (x, y), ``angle`` the direction of the fingers (degrees;
    90 points up), ``scale`` its size and ``fingers`` their number.
    """

    at: tuple[float, float] = (0.5, 6.6)
    angle: float = 90.0
    scale: float = 1.0
    fingers: int = 4
    shade: float = 1.0


@dataclass(frozen=True)
class Props:
    """What covers parts of a face."""

    glasses: Glasses | None = None
    cover: Cover | None = None
    hand: Hand | None = None


def paint_glasses(surface: Surface, eyes: Array, base: Array, gloss: Array, glasses: Glasses) -> None:
    """Paint rims, bridge, temples and lenses onto the points before the eyes."""
    x, y, z = surface.upright.T
    x = np.abs(x - eyes[:, 0].mean())
    off = float(np.abs(eyes[:, 0]).mean())
    y = y - float(eyes[:, 1].mean()) + 0.03
    u, v = np.abs(x - off) / glasses.width, np.abs(y) / glasses.height
    around = (u**glasses.power + v**glasses.power) ** (1 / glasses.power)
    front = z > 0.75
    inner = off - glasses.width
    bridge = (x < inner) & (np.abs(y - 0.05) < 0.3 * glasses.rim)
    temple = (x > off + glasses.width) & (np.abs(y - 0.06) < 0.3 * glasses.rim)
    rim = front & ((np.abs(around - 1) < glasses.rim) | bridge) | ((z > 0.1) & temple)
    lens = front & (around < 1)
    base[lens] = base[lens] * (1 - glasses.tint) + 0.02 * glasses.tint
    base[rim] = glasses.colour
    gloss[rim] = 1.0


def paint_cover(surface: Surface, base: Array, gloss: Array, cover: Cover) -> None:
    """Paint a hat above the forehead, or a scarf around the face, with folds."""
    x, y, z = surface.template.T
    line = y - cover.edge - 0.12 * np.square(x)
    covered = line > 0
    if cover.around:
        covered |= ((x / 0.66) ** 2 + ((y - 7.05) / 0.95) ** 2 > 1) & ((y < 7.9) | (z < 0.9))
    soft = (surface.parts == PARTS.index("skin")) | (surface.parts >= PARTS.index("hair"))
    covered &= soft
    folds = 0.85 + 0.15 * np.sin(9 * y + 5 * x) * np.sin(23 * x + 2)
    base[covered] = np.array(cover.colour, np.float32) * folds[covered, None].astype(np.float32)
    gloss[covered] = 0.05
    shadow = soft & ~covered & (line > -0.12)
    base[shadow] *= 0.7


def draw_hand(image: Array, side: int, screen: Array, seen: Fragments, parts: NDArray[np.int64], hand: Hand) -> None:
    """Draw fingers and palm over an image (side * side, 3), as bright as the skin that is seen."""
    template = load_head().vertices
    skin = seen.pixels[parts == PARTS.index("skin")]
    if not len(skin):
        return
    tone = np.median(image[skin], axis=0) * hand.shade
    near = np.hypot(template[:, 0] - hand.at[0], template[:, 1] - hand.at[1]) + np.where(template[:, 2] < 0.6, 9, 0)
    tip = screen[np.argsort(near)[:4], :2].mean(0)
    unit = float(np.linalg.norm(np.ptp(screen[np.abs(template[:, 0]) < 0.7, :2], axis=0))) / 3.6 * hand.scale
    turn = np.deg2rad(hand.angle)
    along, across = np.array([np.cos(turn), -np.sin(turn)]), np.array([np.sin(turn), np.cos(turn)])
    row, column = np.divmod(np.arange(side * side), side)
    points = np.stack([column, row], 1) - tip
    back, aside = -(points @ along) / unit, points @ across / unit
    depth = np.zeros(side * side)
    lengths = (0.10, 0.0, 0.03, 0.14)
    for finger in range(hand.fingers):
        middle = (finger - (hand.fingers - 1) / 2) * 0.17
        start = lengths[finger % 4]
        off = np.hypot(aside - middle, np.minimum(back - start - 0.085, 0)) / 0.085
        depth = np.maximum(depth, np.where(back < 0.85, _round(off, 0.35), 0))
    palm = np.hypot(aside / max(0.28, 0.085 * hand.fingers), (back - 1.1) / 0.5)
    depth = np.maximum(depth, _round(palm, 0.75))
    arm = (back > 1.3) & (np.abs(aside) < 0.27)
    depth = np.maximum(depth, np.where(arm, 0.9 - 0.3 * np.square(aside / 0.27), 0))
    drawn = depth > 0
    image[drawn] = tone * depth[drawn, None]


def _round(off: Array, edge: float) -> Array:
    """Return the brightness of a rounded body: ``edge`` at 1, 1 in its middle, 0 outside."""
    result: Array = np.where(off < 1, edge + (1 - edge) * np.sqrt(np.clip(1 - off**2, 0, 1)), 0)
    return result
