"""What each visible point looks like: skin, hair, eyes, teeth and cloth under one lamp and the light around it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evenface.synthesis.figure import Figure, Light, State
from evenface.synthesis.head import PARTS, load_head
from evenface.synthesis.people import Person
from evenface.synthesis.rasteriser import Array, Keep
from evenface.synthesis.skin import AXIS_DEPTH, FOLDS, Paint, chart_place, folds, smooth

# Which actions fold the skin where: rows as FOLDS, weights per action unit.
_FOLDING: dict[str, dict[int, float]] = {
    "brow_middle": {1: 0.7, 2: 0.25},
    "brow_outer": {2: 0.75},
    "frown": {4: 1.2, 9: 0.4},
    "crow": {6: 0.9, 12: 0.3, 7: 0.2},
    "nose": {9: 0.9, 10: 0.15},
    "cheek": {12: 0.8, 10: 0.8, 9: 0.6, 6: 0.2, 20: 0.3},
    "chin": {17: 1.1, 15: 0.2},
    "mouth": {15: 1.0, 14: 0.7, 12: 0.25, 24: 0.3},
    "lid": {7: 0.7, 6: 0.7, 9: 0.3},
}
TONGUE = np.array([0.36, 0.11, 0.10], np.float32)
CAVITY = np.array([0.09, 0.018, 0.016], np.float32)
ENAMEL = np.array([0.98, 0.91, 0.78], np.float32)
GUM = np.array([0.42, 0.15, 0.14], np.float32)
SCLERA = np.array([0.70, 0.66, 0.63], np.float32)


@dataclass(frozen=True)
class Surface:
    """The visible points of one picture, one row each.

    ``template`` is the place on the average head, ``upright`` the place on this head before it is turned, ``space``
    the place before the camera, ``normals`` point outwards there, ``openness`` says how much surrounding light
    arrives, ``shade`` how much of the lamp's (both 0 to 1).
    """

    parts: NDArray[np.int64]
    template: Array
    upright: Array
    space: Array
    normals: Array
    openness: Array
    shade: Array


@dataclass(frozen=True)
class Look:
    """Colour of the clothes (linear RGB), and a map of streaks in the hair, shape (S, S), about unit variance."""

    cloth: tuple[float, float, float]
    strands: Array


def colour(
    person: Person, paint: Paint, figure: Figure, state: State, surface: Surface, look: Look, eye: Array
) -> Array:
    """Give linear RGB (N, 3) of every point; ``eye`` is where the camera stands."""
    parts = surface.parts
    base = np.empty((len(parts), 3), np.float32)
    gloss = np.full(len(parts), 0.25, np.float32)
    sharp = np.full(len(parts), 18.0, np.float32)
    normals = surface.normals
    dim = np.ones(len(parts), np.float32)

    skin = np.flatnonzero(parts == PARTS.index("skin"))
    base[skin], gloss[skin] = _skin(person, paint, state, surface.template[skin], look)
    for name in ("hair", "hair_inside"):
        rows = np.flatnonzero(parts == PARTS.index(name))
        base[rows] = _strands(person, surface.template[rows], look.strands)
        dim[rows] = 0.45 if name == "hair_inside" else 0.9
        gloss[rows] = 0.12
    lashes = parts == PARTS.index("lashes")
    base[lashes] = 0.01
    gloss[lashes] = 0
    _mouth(person, surface, base, gloss, dim)
    turned = state.pose.matrix()
    for side, name in enumerate(("eye_left", "eye_right")):
        rows = np.flatnonzero(parts == PARTS.index(name))
        if len(rows):
            outward = surface.upright[rows] - figure.eyes[side]
            outward /= length(outward)
            base[rows], dim[rows] = _eye(person, outward, state.gaze)
            normals[rows] = outward @ turned.T
            gloss[rows], sharp[rows] = 9.0, 160.0
    lit = _lit(base * dim[:, None], gloss, sharp, normals, surface, state.light, eye)
    # A bright window opposite every face: the small reflection that makes eyes look alive.
    rows = np.flatnonzero((parts == PARTS.index("eye_left")) | (parts == PARTS.index("eye_right")))
    window = np.array([np.sin(np.deg2rad(np.clip(state.light.yaw / 3, -12, 12))), 0.13, 1.0], np.float32)
    window /= np.linalg.norm(window)
    lit[rows] += (0.55 * smooth(0.9875, 0.9965, normals[rows] @ window))[:, None]
    return lit


def _skin(person: Person, paint: Paint, state: State, template: Array, look: Look) -> tuple[Array, Array]:
    column, row = chart_place(template)
    size = len(paint.hair)
    at = (np.clip(row * size, 0, size - 1).astype(np.int64), np.clip(column * size, 0, size - 1).astype(np.int64))
    base = paint.albedo[at]
    active = np.array(
        [sum(f * state.units.intensity(au) for au, f in _FOLDING[name].items()) for name in FOLDS], np.float32
    )
    depth = 0.45 + 0.4 * np.clip((person.age - 20) / 50, 0, 1)
    folded = np.clip(folds(size)[at] @ np.clip(active, 0, 1.2), 0, 1) * np.float32(depth)
    base = base * (1 - folded[:, None] * np.array([0.50, 0.62, 0.66], np.float32))
    gloss = paint.gloss[at]
    hair = paint.hair[at]
    behind = np.abs(column - 0.5) > 0.49
    hair = np.where(behind & (template[:, 1] > 6.5) & (person.hair_style != "bald"), 1.0, hair)
    hair = (
        hair
        * (template[:, 1] > 6.35)
        * ~((np.abs(template[:, 0]) > 0.745) & (template[:, 1] < 7.37) & (template[:, 2] > 0.2))
    )
    if person.hair_style == "buzz":
        hair = hair * 0.75
    base += (_strands(person, template, look.strands) - base) * hair[:, None]
    gloss = gloss * (1 - 0.7 * hair)
    collar = smooth(
        5.72, 5.69, template[:, 1] + 0.12 * np.clip(template[:, 2] - 0.6, 0, 1) * 2 - 0.10 * np.abs(template[:, 0])
    )
    base += (np.array(look.cloth, np.float32) - base) * collar[:, None]
    return base, gloss * (1 - 0.9 * collar)


def _strands(person: Person, template: Array, strands: Array) -> Array:
    """Colour hair by streaks that run away from the crown."""
    size = len(strands)
    angle = np.arctan2(template[:, 0], template[:, 2] - AXIS_DEPTH)
    columns = (angle * (2.2 * size / np.pi)).astype(np.int64) % size
    rows = ((template[:, 1] + 0.35 * template[:, 2]) * (size / 6.0)).astype(np.int64) % size
    streak = strands[rows, columns]
    own = np.array(person.hair, np.float32)
    result: Array = own * np.clip(0.85 + 0.32 * streak, 0.25, 2.0)[:, None]
    return result


def _mouth(person: Person, surface: Surface, base: Array, gloss: Array, dim: Array) -> None:
    """Paint teeth, gums, tongue and the inside of the mouth, darker the deeper."""
    parts, place = surface.parts, surface.template
    rows = np.flatnonzero(parts == PARTS.index("cavity"))
    front = smooth(1.36, 1.47, place[rows, 2])[:, None]
    base[rows] = CAVITY + (np.array(person.lips, np.float32) * 0.75 - CAVITY) * front
    dim[rows] = 0.3 + 0.7 * front[:, 0]
    gloss[rows] = 0.25 * front[:, 0]
    rows = np.flatnonzero(parts == PARTS.index("tongue"))
    base[rows] = TONGUE
    dim[rows] = smooth(0.9, 1.45, place[rows, 2]) * 0.8
    gloss[rows] = 0.5 * dim[rows]
    for name, edge, sign in (("teeth_upper", 6.725, 1), ("teeth_lower", 6.575, -1)):
        rows = np.flatnonzero(parts == PARTS.index(name))
        x, y, z = np.abs(place[rows].T)
        gaps = np.minimum.reduce([np.abs(x - at) for at in (0.0, 0.088, 0.158, 0.225, 0.275)])
        tooth = ENAMEL * (1 - 0.28 * smooth(0.010, 0.002, gaps))[:, None]
        gum = smooth(-0.012, 0.012, (y - edge) * sign)[:, None]
        base[rows] = tooth + (GUM - tooth) * gum
        dim[rows] = smooth(1.0, 1.42, z) * smooth(0.29, 0.17, x) * (1.25 if sign > 0 else 0.95)
        # Their surroundings move away when the mouth opens, which the calm head's occlusion does not know.
        surface.openness[rows] = 0.8
        surface.shade[rows] = np.maximum(surface.shade[rows], 0.26)
        gloss[rows] = 0.9 * dim[rows]


def _eye(person: Person, outward: Array, gaze: tuple[float, float]) -> tuple[Array, Array]:
    aside, up = np.deg2rad(gaze)
    forward = np.array([np.sin(aside) * np.cos(up), np.sin(up), np.cos(aside) * np.cos(up)], np.float32)
    off = np.arccos(np.clip(outward @ forward, -1, 1))
    around = np.arctan2(outward[:, 1] - forward[1], outward[:, 0] - forward[0])
    iris = np.array(person.iris, np.float32)
    fibres = 1 + 0.25 * np.sin(around * 23) * np.sin(around * 9 + 1) + 0.5 * smooth(0.40, 0.22, off)
    inner = iris * fibres[:, None] * (1 - 0.65 * smooth(0.36, 0.46, off))[:, None]
    inner = inner * smooth(0.165, 0.195, off)[:, None]
    red = smooth(0.45, 1.0, off)[:, None] * np.array([0.05, 0.22, 0.24], np.float32)
    base = inner + (SCLERA * (1 - red) - inner) * smooth(0.435, 0.48, off)[:, None]
    # The upper lid and its lashes shade the top of the ball; the corners lie deeper.
    lid = 1 - 0.6 * smooth(0.02, 0.42, outward[:, 1]) - 0.15 * smooth(-0.15, -0.4, outward[:, 1])
    return base, lid * (1 - 0.35 * smooth(0.5, 0.95, np.abs(outward[:, 0])))


def _lit(base: Array, gloss: Array, sharp: Array, normals: Array, surface: Surface, light: Light, eye: Array) -> Array:
    """Light the points: wrapped diffuse light, redder where it fades as in skin, and a highlight."""
    towards = light.direction()
    warm = np.array([1 + 0.10 * light.warmth, 1.0, 1 - 0.16 * light.warmth], np.float32)
    cool = np.array([0.97, 1.0, 1.05], np.float32)
    facing = normals @ towards
    living = (surface.parts == PARTS.index("skin"))[:, None]
    wrap = np.where(living, np.array([0.30, 0.16, 0.10], np.float32), 0.08)
    diffuse = np.clip((facing[:, None] + wrap) / (1 + wrap), 0, None) * surface.shade[:, None]
    sky = (0.72 + 0.28 * normals[:, 1:2]) * (0.25 + 0.75 * surface.openness[:, None]) ** 1.15
    bounce = np.clip(-normals[:, 1:2], 0, 1) * np.array([0.10, 0.07, 0.05], np.float32) * surface.openness[:, None]
    lit = base * (light.key * warm * diffuse + light.ambient * (cool * sky + bounce))
    view = eye - surface.space
    view /= length(view)
    half = view + towards
    half /= length(half)
    shine = np.clip(np.einsum("nc,nc->n", normals, half), 0, 1) ** sharp * surface.shade * light.key
    grazing = (1 - np.clip(np.einsum("nc,nc->n", normals, view), 0, 1)) ** 4
    rim = 0.05 * grazing * light.ambient * surface.openness * living[:, 0]
    result: Array = lit + (0.09 * gloss * shine + rim)[:, None] * warm
    return result


def length(vectors: Array) -> Array:
    """Give the lengths of vectors (N, 3) as a column (N, 1)."""
    result: Array = np.sqrt(np.einsum("nc,nc->n", vectors, vectors))[:, None]
    return result


def hidden(person: Person, template: Array, parts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say which points of hair sheets and lashes are see-through: gaps between strands, ends, the free face."""
    x, y, z = template.T
    angle = np.arctan2(x, z - AXIS_DEPTH)
    strand = np.sin(angle * 71) * 0.5 + np.sin(angle * 173 + 1) * 0.5
    hair = parts >= PARTS.index("hair")
    end = (6.22 if person.hair_style == "bob" else 5.15) + 0.10 * strand
    side = 1.16 + 0.05 * strand + 0.25 * smooth(7.4, 6.6, y)
    bare = (np.abs(angle) < side) & (y < hairline_top(person) + 0.04 * strand)
    lashes = parts == PARTS.index("lashes")
    about = np.arctan2(y - 7.18, np.abs(x) - 0.32)
    thin = np.sin(about * 95) > person.lashes * 1.6 - 0.7
    result: NDArray[np.bool_] = (hair & ((y < end) | bare)) | (lashes & (thin | (np.abs(x) > 0.49)))
    return result


def hairline_top(person: Person) -> float:
    """Give the height of the hairline over the middle of the forehead."""
    return 8.02 + 0.5 * person.hairline


def sees_through(person: Person, faces: NDArray[np.int64], parts: NDArray[np.int64]) -> Keep:
    """Make the rasteriser's ``keep`` for a person: fragments of strands stay, gaps go."""
    template = load_head().vertices

    def keep(triangles: NDArray[np.int64], weights: Array) -> NDArray[np.bool_]:
        solid = np.ones(len(triangles), bool)
        open_parts = np.flatnonzero(parts[triangles] >= PARTS.index("lashes"))
        chosen = triangles[open_parts]
        place = (template[faces[chosen]] * weights[open_parts][..., None]).sum(1)
        solid[open_parts] = ~hidden(person, place, parts[chosen])
        return solid

    return keep
