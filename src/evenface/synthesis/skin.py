"""Skin texture: albedo and gloss of skin, lips, brows, beard and hairline, computed once per person.

The texture is a cylinder around the head's axis: columns are the angle from straight ahead, rows the height, both on
the average head. It therefore follows every head shape and expression.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from evenface.synthesis.head import HeadModel, load_head
from evenface.synthesis.people import Person
from evenface.synthesis.rasteriser import Array, rasterise

AXIS_DEPTH = 0.5
WIDEST = 2.1
LOW, HIGH = 5.8, 8.56
WRINKLES = ("brow_middle", "brow_outer", "frown", "crow", "nose", "cheek", "chin", "mouth", "lid")


@dataclass(frozen=True)
class SkinTexture:
    """Albedo (S, S, 3), hair cover (S, S) and gloss (S, S) of one person."""

    albedo: Array
    hair: Array
    gloss: Array


def texture_coordinates(points: Array) -> tuple[Array, Array]:
    """Return texture column and row (0 to 1 inside) of points (N, 3) on the average head."""
    angle = np.arctan2(points[:, 0], points[:, 2] - AXIS_DEPTH)
    return (angle / WIDEST + 1) / 2, (HIGH - points[:, 1]) / (HIGH - LOW)


@lru_cache(maxsize=2)
def texture_points(size: int) -> Array:
    """Return the point of the average head under each pixel of a square texture, shape (size, size, 3)."""
    head: HeadModel = load_head()
    faces = head.faces[head.parts == 0]
    column, row = texture_coordinates(head.vertices)
    out = np.hypot(head.vertices[:, 0], head.vertices[:, 2] - AXIS_DEPTH)
    screen = np.stack([column * size, row * size, 4 - out], 1).astype(np.float32)
    ahead = np.abs(column[faces] - 0.5).max(1) < 0.55
    seen = rasterise(screen, faces[ahead], size, size)
    angle, height = np.meshgrid(
        ((np.arange(size) + 0.5) / size * 2 - 1) * WIDEST, HIGH - (np.arange(size) + 0.5) / size * (HIGH - LOW)
    )
    points = np.stack([0.75 * np.sin(angle), height, AXIS_DEPTH + 0.85 * np.cos(angle)], -1).astype(np.float32)
    corners = head.vertices[faces[ahead][seen.triangles]]
    points.reshape(-1, 3)[seen.pixels] = (corners * seen.weights[..., None]).sum(1)
    return points


def smoothstep(edge_low: float | Array, edge_high: float | Array, values: Array) -> Array:
    """Interpolate smoothly from 0 at ``edge_low`` to 1 at ``edge_high``, which may be smaller."""
    t = np.clip((values - edge_low) / (edge_high - edge_low), 0, 1)
    result: Array = (t * t * (3 - 2 * t)).astype(np.float32)
    return result


def noise(rng: np.random.Generator, size: int, cells: tuple[int, int]) -> Array:
    """Draw smooth noise of about unit variance on a square of ``size`` pixels, with ``cells`` rows and columns."""
    grid = rng.standard_normal((cells[0] + 3, cells[1] + 3)).astype(np.float32)

    def along(values: Array, count: int) -> Array:
        at = np.linspace(0, count, size, endpoint=False, dtype=np.float32) + 0.5
        low = at.astype(np.int64)
        t = (at - low)[:, None]
        t = t * t * (3 - 2 * t)
        result: Array = values[low] * (1 - t) + values[low + 1] * t
        return result

    result: Array = along(along(grid, cells[0]).T, cells[1]).T * 1.5
    return result


def hairline_height(angle: Array, receding: float) -> Array:
    """Return the height of the hairline by the angle from straight ahead (radians), on the average head."""
    side = np.abs(angle)
    knots = np.array([0.0, 0.35, 0.7, 0.95, 1.18, 1.32, 1.5, 1.62, 1.85, 2.3, 3.2])
    heights = np.array([7.98, 7.99, 7.92, 7.72, 7.60, 7.30, 7.28, 7.40, 7.05, 6.60, 6.50])
    heights[:4] += receding * np.array([0.5, 1.3, 1.2, 0.6])
    result: Array = np.interp(side, knots, heights).astype(np.float32)
    return result


@lru_cache(maxsize=4)
def wrinkles(size: int, breadth: float = 1.0) -> Array:
    """Return masks of each kind of wrinkle, shape (size, size, len(WRINKLES)), 0 to 1; ``breadth`` widens the lines."""
    points = texture_points(size)
    x, y = np.abs(points[..., 0]), points[..., 1]
    front = smoothstep(0.6, 0.9, points[..., 2])

    def line(distance: Array, width: float) -> Array:
        result: Array = np.exp(-((distance / (breadth * width)) ** 2)).astype(np.float32)
        return result

    sway = 0.006 * np.sin(points[..., 0] * 11 + 3 * y) + 0.003 * np.sin(points[..., 0] * 41 + 1)
    thin = 0.75 + 0.25 * np.sin(points[..., 0] * 9 + 31 * y)

    def total(lines: list[Array]) -> Array:
        result: Array = np.sum(lines, axis=0)
        return result

    waves = total([line(y - (base + 0.05 * x) - sway, 0.015) for base in (7.61, 7.70, 7.79)]) * thin
    middle = waves * smoothstep(0.34, 0.16, x)
    outer = waves * smoothstep(0.12, 0.3, x) * smoothstep(0.6, 0.45, x)
    frown = line(x - (0.055 + 0.05 * (y - 7.45)), 0.014) * smoothstep(7.33, 7.40, y) * smoothstep(7.58, 7.50, y)
    frown = frown + 0.5 * line(np.hypot(x - 0.13, (y - 7.42) * 1.2), 0.06)
    frown = frown + 0.6 * line(y - 7.33, 0.012) * smoothstep(0.09, 0.05, x)
    crow = total(
        [
            line((y - 7.285) - slope * (x - 0.5), 0.010) * smoothstep(0.51, 0.545, x) * smoothstep(0.61, 0.55, x)
            for slope in (0.55, 0.1, -0.35)
        ]
    )
    crow = crow + 0.8 * line(y - (7.155 + 0.5 * np.square(x - 0.3)), 0.014) * smoothstep(0.16, 0.24, x) * smoothstep(
        0.52, 0.42, x
    )
    nose = total([line((y - base) - 0.5 * (x - 0.08), 0.012) for base in (7.16, 7.22, 7.28)])
    nose = nose * smoothstep(0.17, 0.12, x) * smoothstep(0.015, 0.06, x)
    nose = nose + 0.6 * line(np.hypot(x - 0.17, y - 7.12), 0.06)
    path = 0.185 + 0.13 * smoothstep(6.97, 6.66, y) + 0.02 * smoothstep(6.66, 6.5, y)
    cheek = line(x - path, 0.020) * smoothstep(6.99, 6.93, y) * smoothstep(6.50, 6.64, y)
    cheek = cheek + 0.35 * line(x - path - 0.03, 0.05) * smoothstep(6.99, 6.9, y) * smoothstep(6.55, 6.66, y)
    chin = line(y - (6.44 - 0.4 * np.square(x)), 0.020) * smoothstep(0.2, 0.12, x)
    chin = chin + 0.5 * line(np.hypot(x - 0.08, y - 6.36), 0.035)
    mouth = line(x - (0.275 + 0.25 * (6.6 - y)), 0.017) * smoothstep(6.62, 6.57, y) * smoothstep(6.40, 6.5, y)
    mouth = mouth + 0.7 * line(np.hypot(x - 0.275, y - 6.59), 0.025)
    lid = line(y - (7.185 + 0.5 * np.square(x - 0.31)), 0.014) * smoothstep(0.16, 0.22, x) * smoothstep(0.46, 0.40, x)
    stack = np.stack([middle, outer, frown, crow, nose, cheek, chin, mouth, lid], -1)
    result: Array = np.clip(stack * front[..., None], 0, 1).astype(np.float32)
    return result


def lip_mask(points: Array) -> Array:
    """Return the lip mask of points of the average head, 0 to 1."""
    x, y = np.abs(points[..., 0]), points[..., 1]
    bow = (
        6.668
        + 0.027 * np.exp(-(((x - 0.055) / 0.05) ** 2))
        - 0.20 * np.clip(x - 0.06, 0, None)
        - 0.7 * np.clip(x - 0.1, 0, None) ** 2
    )
    lower = 6.488 + 1.75 * x * x
    inside = np.minimum(bow - y, y - lower)
    result: Array = (
        smoothstep(-0.010, 0.012, inside) * smoothstep(0.275, 0.255, x) * smoothstep(1.1, 1.2, points[..., 2])
    )
    return result


class SkinMasks(NamedTuple):
    """Masks (S, S) that are the same for all people."""

    angle: Array
    flush: Array
    eye_ring: Array
    aged: Array
    shine: Array
    lips: Array
    lip_seam: Array
    lash_roots: Array


@lru_cache(maxsize=2)
def skin_masks(size: int) -> SkinMasks:
    """Compute the masks of a texture of ``size`` pixels."""
    points = texture_points(size)
    x, y, z = np.abs(points[..., 0]), points[..., 1], points[..., 2]
    flush = 0.55 * np.exp(-(((x - 0.38) / 0.17) ** 2) - ((y - 6.98) / 0.17) ** 2)
    flush += 0.4 * np.exp(-((x / 0.13) ** 2) - ((y - 6.93) / 0.10) ** 2) * smoothstep(1.3, 1.5, z)
    seam = np.exp(-(((y - 6.605) / 0.010) ** 2)).astype(np.float32) * smoothstep(0.27, 0.24, x)
    upper = 7.333 - 2.1 * np.square(np.clip(x - 0.31, -1, 0)) - 1.7 * np.square(np.clip(x - 0.31, 0, 1))
    rim = np.exp(-(((y - upper) / 0.014) ** 2)) * smoothstep(0.17, 0.2, x) * smoothstep(0.52, 0.46, x)
    return SkinMasks(
        angle=np.arctan2(points[..., 0], z - AXIS_DEPTH),
        flush=flush,
        eye_ring=np.exp(-((np.hypot((x - 0.31) / 0.22, (y - 7.27) / 0.12)) ** 2)).astype(np.float32),
        aged=np.clip(wrinkles(size) @ np.array([0.6, 0.55, 0.45, 0.6, 0.1, 0.75, 0.1, 0.5, 0.6], np.float32), 0, 1),
        shine=0.35 * np.exp(-((x / 0.2) ** 2)).astype(np.float32) * smoothstep(6.7, 7.2, y),
        lips=lip_mask(points),
        lip_seam=seam * smoothstep(1.1, 1.2, z),
        lash_roots=rim * smoothstep(0.8, 1.0, z),
    )


def paint_skin(person: Person, size: int) -> SkinTexture:
    """Compute the skin texture of one person."""
    rng = np.random.default_rng([person.seed, person.index, 2])
    points, masks = texture_points(size), skin_masks(size)
    x, y = np.abs(points[..., 0]), points[..., 1]
    skin = np.array(person.skin, np.float32)
    dark = 1 - float(skin.mean() / 0.6)

    tone = (
        1 + 0.035 * noise(rng, size, (9, 13)) + 0.025 * noise(rng, size, (40, 60)) + 0.03 * noise(rng, size, (160, 240))
    )
    albedo = skin * tone[..., None]
    red = (masks.flush * (1 + 0.7 * person.make_up) * (0.75 + 0.2 * noise(rng, size, (12, 18)))).astype(np.float32)
    albedo *= 1 - np.clip(red, 0, 1)[..., None] * np.array([0.02, 0.24, 0.22], np.float32)
    # Thin, darker skin around the eyes.
    albedo *= 1 - masks.eye_ring[..., None] * np.array([0.12, 0.20, 0.17], np.float32) * (1 + 0.4 * person.make_up)
    if person.freckles:
        spots = smoothstep(1.5, 2.1, noise(rng, size, (120, 180))) * np.exp(-(((y - 7.03) / 0.2) ** 2))
        spots = spots * smoothstep(0.7, 0.4, x)
        albedo *= 1 - person.freckles * spots[..., None] * np.array([0.25, 0.4, 0.45], np.float32)
    age = float(np.clip((person.age - 25) / 45, 0, 1))
    fade = 1 - 0.34 * age * masks.aged
    lined = fade < 1
    albedo[lined] *= fade[lined, None] ** np.array([0.8, 1.0, 1.05], np.float32)
    if age > 0.4:
        stains = smoothstep(1.6, 2.2, noise(rng, size, (30, 45)))
        albedo *= 1 - (age - 0.4) * 0.4 * stains[..., None] * np.array([0.4, 0.6, 0.6], np.float32)

    gloss = 0.5 + masks.shine
    if person.beard:
        albedo = _beard(person, rng, points, albedo)
    colour = np.array(person.lips, np.float32) * (1 - 0.35 * person.make_up * np.array([0.0, 0.8, 0.6], np.float32))
    colour = colour * (1 + 0.05 * noise(rng, size, (60, 300)))[..., None]
    albedo += (colour - albedo) * (masks.lips * 0.85)[..., None]
    albedo *= (1 - 0.6 * masks.lip_seam)[..., None]
    gloss = gloss + masks.lips * (0.3 + 0.5 * person.make_up)

    # Lash roots darken the rim of both lids, the upper one more.
    albedo *= (1 - np.clip(0.55 + 0.4 * person.lashes, 0, 0.92) * masks.lash_roots)[..., None].astype(np.float32)
    _brows(person, rng, points, albedo)
    line = (
        hairline_height(masks.angle, person.hairline)
        + 0.022 * noise(rng, size, (1, 40))
        + 0.011 * noise(rng, size, (1, 160))
    )
    hair = smoothstep(-0.035, 0.07, y - line)
    if person.hair_style == "bald":
        hair = hair * 0.0
    return SkinTexture(np.clip(albedo, 0.003, 0.95).astype(np.float32), hair, gloss * (0.8 + 0.5 * max(dark, 0)))


def _brows(person: Person, rng: np.random.Generator, points: Array, albedo: Array) -> None:
    """Add both brows as slanted hairs along an arch."""
    size = len(points)
    low, high = (round((HIGH - height) / (HIGH - LOW) * size) for height in (7.75, 7.1))
    rows = slice(low, high)
    points = points[rows]
    x, y = np.abs(points[..., 0]), points[..., 1]
    arch = 7.435 + 0.055 * person.brow_arch * np.sin(np.clip((x - 0.1) / 0.42, 0, 1) * np.pi * 0.85)
    arch = arch + 0.020 * smoothstep(0.1, 0.36, x) - 0.045 * smoothstep(0.38, 0.56, x)
    half = 0.036 * person.brow_thickness * smoothstep(0.07, 0.14, x) * (1 - 0.7 * smoothstep(0.3, 0.56, x))
    body = (
        smoothstep(1.25, 0.55, np.abs(y - arch) / (half + 1e-4))
        * smoothstep(0.075, 0.12, x)
        * smoothstep(0.57, 0.53, x)
    )
    body = body * smoothstep(0.6, 0.9, points[..., 2])
    strands = np.sin((x * 1.0 - (y - arch) * 0.9) * 190 + 2.5 * noise(rng, size, (20, 40))[rows])
    cover = body * person.brow_density * np.clip(0.86 + 0.12 * strands + 0.12 * noise(rng, size, (80, 120))[rows], 0, 1)
    colour = np.minimum(np.array(person.hair, np.float32) * 0.8, np.array(person.skin, np.float32) * 0.42)
    albedo[rows] += (colour - albedo[rows]) * np.clip(cover, 0, 0.97)[..., None]


def _beard(person: Person, rng: np.random.Generator, points: Array, albedo: Array) -> Array:
    size = len(points)
    x, y, z = np.abs(points[..., 0]), points[..., 1], points[..., 2]
    jaw = smoothstep(6.86, 6.70, y - 0.55 * np.clip(x - 0.35, 0, 0.5)) * smoothstep(0.2, 0.45, z)
    lip_gap = smoothstep(0.10, 0.16, np.hypot(x * 0.35, (y - 6.585) * 1.0) + 0.02)
    moustache = np.exp(-(((y - 6.745) / 0.045) ** 2)) * smoothstep(0.26, 0.2, x)
    jaw = jaw * np.where((x < 0.3) & (y > 6.48) & (y < 6.76), lip_gap, 1) + 0.7 * moustache
    grain = np.clip(0.85 + 0.12 * noise(rng, size, (220, 260)), 0, 1)
    cover = np.clip(jaw * grain, 0, 1) * (0.22 if person.beard < 0.3 else 0.5 if person.beard < 0.7 else 0.85)
    cover = cover * smoothstep(5.9, 6.15, y)
    colour = np.array(person.hair, np.float32) * 0.9 + np.array(person.skin, np.float32) * 0.06
    result: Array = albedo + (colour - albedo) * cover[..., None].astype(np.float32)
    return result
