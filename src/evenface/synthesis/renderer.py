"""Render images of a person from a sequence of states: projection, materials, lighting, camera."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from evenface.synthesis.geometry import (
    PIVOT,
    HeadGeometry,
    Light,
    Pose,
    State,
    Surface,
    build_head,
    deform,
    rotate,
    vertex_normals,
)
from evenface.synthesis.head import PARTS, load_head
from evenface.synthesis.people import Person
from evenface.synthesis.props import Props, draw_hand, paint_cover, paint_glasses
from evenface.synthesis.rasteriser import Array, Fragments, Keep, rasterise
from evenface.synthesis.skin import (
    AXIS_DEPTH,
    WRINKLES,
    SkinTexture,
    noise,
    paint_skin,
    smoothstep,
    texture_coordinates,
    wrinkles,
)

DISTANCE = 9.0


@dataclass(frozen=True)
class Scene:
    """Settings that are constant over a clip: framing, backdrop, clothes and camera."""

    seed: tuple[int, ...] = (0,)
    shift: tuple[float, float] = (0.0, 0.0)
    aim: Pose = field(default_factory=Pose)
    zoom: float = 1.0
    cloth: tuple[float, float, float] = (0.12, 0.14, 0.2)
    backdrop: tuple[float, float, float] = (0.28, 0.3, 0.33)
    clutter: float = 0.0
    blur: float = 0.0
    grain: float = 0.0
    exposure: float = 1.0
    props: Props = field(default_factory=Props)


@dataclass(frozen=True)
class Materials:
    """Colour of the clothes (linear RGB), and a texture of hair strands (S, S) of about unit variance."""

    cloth: tuple[float, float, float]
    strands: Array


class Renderer:
    """Render images of one size.

    Parameters
    ----------
    size : int
        Height and width of the images in pixels, 16 to 2048.
    samples : int, default=2
        Rows and columns of samples per pixel (supersampling); more is smoother and slower.

    Raises
    ------
    ValueError
        If ``size`` or ``samples`` is out of range.

    Notes
    -----
    An image depends only on person, state, scene, size and samples, not on images rendered before.
    """

    def __init__(self, size: int, samples: int = 2) -> None:
        if not 16 <= size <= 2048:
            raise ValueError(f"size must be 16 to 2048, got {size}")
        if not 1 <= samples <= 8:
            raise ValueError(f"samples must be 1 to 8, got {samples}")
        self.size = size
        self.samples = samples

    def render(self, person: Person, states: Sequence[State], scene: Scene | None = None) -> NDArray[np.uint8]:
        """Render a clip, or a still image from one state.

        Parameters
        ----------
        person : Person
            Person to render.
        states : sequence of State
            One per frame.
        scene : Scene, optional
            Surroundings; by default a plain grey wall without blur and noise.

        Returns
        -------
        ndarray of shape (T, size, size, 3)
            sRGB, uint8.
        """
        scene = scene or Scene()
        geometry, texture = _prepare(person, 512 if self.size <= 160 else 1024)
        frames = [self._frame(person, geometry, texture, state, scene, number) for number, state in enumerate(states)]
        return np.stack(frames) if frames else np.zeros((0, self.size, self.size, 3), np.uint8)

    def _frame(
        self, person: Person, geometry: HeadGeometry, texture: SkinTexture, state: State, scene: Scene, number: int
    ) -> NDArray[np.uint8]:
        side = self.size * self.samples
        upright = deform(geometry, state)
        space = rotate(geometry, upright, state.pose)
        eye = np.array([0, 7.04, 1.0 + DISTANCE], np.float32)
        screen = _project(space, geometry, scene, eye, side)
        keep = opaque_filter(person, geometry.faces, geometry.parts)
        seen = rasterise(screen, geometry.faces, side, side, keep)
        surface = _surface(geometry, upright, space, seen, state.light, 128 if self.size <= 160 else 320)
        materials = Materials(scene.cloth, _strand_map(person))
        image = np.empty((side * side, 3), np.float32)
        image[seen.pixels] = shade_points(person, texture, geometry, state, surface, materials, eye, scene.props)
        covered = np.zeros(side * side, bool)
        covered[seen.pixels] = True
        behind = np.flatnonzero(~covered)
        image[behind] = _backdrop(scene, side, behind)
        if scene.props.hand:
            draw_hand(image, side, screen, seen, surface.parts, scene.props.hand)
        return _to_srgb(image.reshape(side, side, 3), self.size, scene, number)


@lru_cache(maxsize=4)
def _prepare(person: Person, texture_size: int) -> tuple[HeadGeometry, SkinTexture]:
    return build_head(person), paint_skin(person, texture_size)


@lru_cache(maxsize=4)
def _strand_map(person: Person) -> Array:
    rng = np.random.default_rng([person.seed, person.index, 4])
    fine, broad = noise(rng, 512, (6, 160)), noise(rng, 512, (3, 30))
    return 0.7 * fine + 0.6 * broad


def _project(space: Array, geometry: HeadGeometry, scene: Scene, eye: Array, side: int) -> Array:
    """Project points to column, row and depth; the camera looks along -z, and the face height sets the focal length."""
    depth = eye[2] - space[:, 2]
    focal = scene.zoom * side * DISTANCE / (1.7 * geometry.height)
    middle = np.array([0, eye[1], 1.0], np.float32)
    off = PIVOT + scene.aim.matrix() @ (middle - PIVOT) - middle
    column = side * (0.5 + scene.shift[0]) + focal * (space[:, 0] / depth - 0.7 * off[0] / DISTANCE)
    row = side * (0.5 - scene.shift[1]) - focal * ((space[:, 1] - eye[1]) / depth - 0.7 * off[1] / DISTANCE)
    return np.stack([column, row, depth], 1).astype(np.float32)


def _surface(
    geometry: HeadGeometry, upright: Array, space: Array, seen: Fragments, light: Light, shadow: int
) -> Surface:
    head = load_head()
    outside = geometry.faces[geometry.parts != PARTS.index("hair_inside")]
    normals = vertex_normals(space, outside)
    table = np.concatenate([head.vertices, upright, space, normals, head.occlusion[:, None]], 1)
    corners = geometry.faces[seen.triangles]
    values = table[corners[:, 0]] * seen.weights[:, 0:1]
    values += table[corners[:, 1]] * seen.weights[:, 1:2]
    values += table[corners[:, 2]] * seen.weights[:, 2:3]
    direction = values[:, 9:12] / (norms(values[:, 9:12]) + 1e-9)
    return Surface(
        parts=geometry.parts[seen.triangles],
        template=values[:, :3],
        upright=values[:, 3:6],
        space=values[:, 6:9],
        normals=direction,
        openness=np.clip(values[:, 12], 0, 1),
        shade=_shadow(geometry, space, values[:, 6:9] + 0.04 * direction, light, shadow),
    )


def _shadow(geometry: HeadGeometry, space: Array, points: Array, light: Light, size: int) -> Array:
    """Compute soft shadows: compare each point with a depth map (size, size) seen from the lamp, at four neighbours."""
    towards = light.direction()
    side = np.cross([0, 1, 0], towards)
    side /= np.linalg.norm(side)
    basis = np.stack([side, np.cross(towards, side), towards]).astype(np.float32)
    middle = np.array([0, 7.1, 0.6], np.float32)

    def seen_from_lamp(positions: Array) -> Array:
        turned = (positions - middle) @ basis.T
        turned[:, :2] = turned[:, :2] * np.array([1, -1], np.float32) * (size / 3.6) + size / 2
        turned[:, 2] = 8 - turned[:, 2]
        return turned

    solid = geometry.faces[
        (geometry.parts < PARTS.index("lashes"))
        & (geometry.parts != PARTS.index("eye_left"))
        & (geometry.parts != PARTS.index("eye_right"))
    ]
    drawn = rasterise(seen_from_lamp(space), solid, size, size)
    depth = np.full(size * size, 1e9, np.float32)
    depth[drawn.pixels] = drawn.depth
    at = seen_from_lamp(points)
    free = np.zeros(len(points), np.float32)
    for right, down in ((-0.7, -0.3), (0.3, -0.7), (0.7, 0.3), (-0.3, 0.7)):
        column = np.clip(at[:, 0] + right, 0, size - 1).astype(np.int64)
        row = np.clip(at[:, 1] + down, 0, size - 1).astype(np.int64)
        free += np.clip(1 - (at[:, 2] - depth[row * size + column] - 0.07) / 0.05, 0, 1)
    return 0.12 + 0.22 * free


def _backdrop(scene: Scene, side: int, pixels: NDArray[np.int64]) -> Array:
    """Compute the colours (N, 3) of the pixels that nothing covers."""
    rng = np.random.default_rng([*scene.seed, 5])
    colours = np.tile(np.array(scene.backdrop, np.float32), (len(pixels), 1))
    slope = rng.normal(0, 0.25, 2)
    ramp = np.linspace(-1, 1, side, dtype=np.float32)
    row, column = np.divmod(pixels, side)
    colours *= np.exp(slope[0] * ramp[row] + slope[1] * ramp[column])[:, None].astype(np.float32)
    for cells in ((2, 3), (5, 4)):
        blot = noise(rng, side, cells).ravel()[pixels]
        tint = rng.normal(0, 0.12, 3).astype(np.float32)
        colours *= np.exp(scene.clutter * np.clip(blot, -2, 2)[:, None] * (0.3 + tint))
    return colours


def _to_srgb(image: Array, size: int, scene: Scene, number: int) -> NDArray[np.uint8]:
    """Average samples, blur, encode as sRGB and add grain."""
    step = len(image) // size
    image = image.reshape(size, step, size, step, 3).mean((1, 3)) * np.float32(scene.exposure)
    if scene.blur > 0:
        image = _blur(image, scene.blur * size)
    # Compress highlights instead of clipping them.
    image = np.where(image > 0.8, 0.8 + 0.2 * np.tanh((image - 0.8) / 0.2 * 0.7), image)
    shown = np.clip(image, 0, 1) ** np.float32(1 / 2.2)
    if scene.grain > 0:
        rng = np.random.default_rng([*scene.seed, 6, number])
        shown = shown + scene.grain * rng.standard_normal(shown.shape, np.float32)
    result: NDArray[np.uint8] = (np.clip(shown, 0, 1) * 255 + 0.5).astype(np.uint8)
    return result


def _blur(image: Array, sigma: float) -> Array:
    """Convolve rows and columns with a Gaussian cut off at 3 ``sigma`` (pixels); the image is mirrored at its edges."""
    radius = int(3 * sigma + 0.5)
    kernel = np.exp(-0.5 / sigma**2 * np.arange(-radius, 1) ** 2)
    kernel /= 2 * kernel.sum() - kernel[-1]
    for axis in (0, 1):
        padded = np.pad(np.moveaxis(image, axis, 0), ((radius, radius), (0, 0), (0, 0)), "symmetric").astype(np.float64)
        count = len(image)
        total = padded[radius : radius + count] * kernel[-1]
        for step, weight in enumerate(kernel[:-1]):
            total += (padded[step : step + count] + padded[2 * radius - step : 2 * radius - step + count]) * weight
        image = np.moveaxis(total.astype(np.float32), 0, axis)
    return image


# Weight of each action unit on each kind of wrinkle.
_WRINKLE_WEIGHTS: dict[str, dict[int, float]] = {
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


def shade_points(
    person: Person,
    texture: SkinTexture,
    geometry: HeadGeometry,
    state: State,
    surface: Surface,
    materials: Materials,
    eye: Array,
    props: Props | None = None,
) -> Array:
    """Compute linear RGB (N, 3) of every point; ``eye`` is the camera position."""
    parts = surface.parts
    base = np.empty((len(parts), 3), np.float32)
    gloss = np.full(len(parts), 0.25, np.float32)
    sharp = np.full(len(parts), 18.0, np.float32)
    normals = surface.normals
    dim = np.ones(len(parts), np.float32)

    skin = np.flatnonzero(parts == PARTS.index("skin"))
    base[skin], gloss[skin] = _skin(person, texture, state, surface.template[skin], materials)
    for name in ("hair", "hair_inside"):
        rows = np.flatnonzero(parts == PARTS.index(name))
        base[rows] = _hair_colour(person, surface.template[rows], materials.strands)
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
            outward = surface.upright[rows] - geometry.eyes[side]
            outward /= norms(outward)
            base[rows], dim[rows] = _eye(person, outward, state.gaze)
            normals[rows] = outward @ turned.T
            gloss[rows], sharp[rows] = 9.0, 160.0
    if props and props.cover:
        paint_cover(surface, base, gloss, props.cover)
    if props and props.glasses:
        paint_glasses(surface, geometry.eyes, base, gloss, props.glasses)
    lit = _illuminate(base * dim[:, None], gloss, sharp, normals, surface, state.light, eye)
    # Reflection of a bright window in the eyes.
    rows = np.flatnonzero((parts == PARTS.index("eye_left")) | (parts == PARTS.index("eye_right")))
    window = np.array([np.sin(np.deg2rad(np.clip(state.light.yaw / 3, -12, 12))), 0.13, 1.0], np.float32)
    window /= np.linalg.norm(window)
    lit[rows] += (0.55 * smoothstep(0.9875, 0.9965, normals[rows] @ window))[:, None]
    return lit


def _skin(
    person: Person, texture: SkinTexture, state: State, template: Array, materials: Materials
) -> tuple[Array, Array]:
    column, row = texture_coordinates(template)
    size = len(texture.hair)
    at = (np.clip(row * size, 0, size - 1).astype(np.int64), np.clip(column * size, 0, size - 1).astype(np.int64))
    base = texture.albedo[at]
    active = np.array(
        [sum(f * state.units.intensity(au) for au, f in _WRINKLE_WEIGHTS[name].items()) for name in WRINKLES],
        np.float32,
    )
    depth = 0.45 + 0.4 * np.clip((person.age - 20) / 50, 0, 1)
    folded = np.clip(wrinkles(size)[at] @ np.clip(active, 0, 1.2), 0, 1) * np.float32(depth)
    if state.strong:
        # Folds of strong expressions have depth: broad soft shadows around the lines, which show in small images.
        broad = np.clip(wrinkles(size, 2.5)[at] @ np.clip(active, 0, 1.2), 0, 1)
        folded = np.clip(1.2 * folded + 0.45 * broad, 0, 1)
    base = base * (1 - folded[:, None] * np.array([0.50, 0.62, 0.66], np.float32))
    gloss = texture.gloss[at]
    hair = texture.hair[at]
    behind = np.abs(column - 0.5) > 0.49
    hair = np.where(behind & (template[:, 1] > 6.5) & (person.hair_style != "bald"), 1.0, hair)
    hair = (
        hair
        * (template[:, 1] > 6.35)
        * ~((np.abs(template[:, 0]) > 0.745) & (template[:, 1] < 7.37) & (template[:, 2] > 0.2))
    )
    if person.hair_style == "buzz":
        hair = hair * 0.75
    base += (_hair_colour(person, template, materials.strands) - base) * hair[:, None]
    gloss = gloss * (1 - 0.7 * hair)
    collar = smoothstep(
        5.72, 5.69, template[:, 1] + 0.12 * np.clip(template[:, 2] - 0.6, 0, 1) * 2 - 0.10 * np.abs(template[:, 0])
    )
    base += (np.array(materials.cloth, np.float32) - base) * collar[:, None]
    return base, gloss * (1 - 0.9 * collar)


def _hair_colour(person: Person, template: Array, strands: Array) -> Array:
    """Compute hair colour with streaks that run away from the crown."""
    size = len(strands)
    angle = np.arctan2(template[:, 0], template[:, 2] - AXIS_DEPTH)
    columns = (angle * (2.2 * size / np.pi)).astype(np.int64) % size
    rows = ((template[:, 1] + 0.35 * template[:, 2]) * (size / 6.0)).astype(np.int64) % size
    streak = strands[rows, columns]
    own = np.array(person.hair, np.float32)
    result: Array = own * np.clip(0.85 + 0.32 * streak, 0.25, 2.0)[:, None]
    return result


def _mouth(person: Person, surface: Surface, base: Array, gloss: Array, dim: Array) -> None:
    """Set colour of teeth, gums, tongue and oral cavity, darker with depth."""
    parts, template = surface.parts, surface.template
    rows = np.flatnonzero(parts == PARTS.index("cavity"))
    front = smoothstep(1.36, 1.47, template[rows, 2])[:, None]
    base[rows] = CAVITY + (np.array(person.lips, np.float32) * 0.75 - CAVITY) * front
    dim[rows] = 0.3 + 0.7 * front[:, 0]
    gloss[rows] = 0.25 * front[:, 0]
    rows = np.flatnonzero(parts == PARTS.index("tongue"))
    base[rows] = TONGUE
    dim[rows] = smoothstep(0.9, 1.45, template[rows, 2]) * 0.8
    gloss[rows] = 0.5 * dim[rows]
    for name, edge, sign in (("teeth_upper", 6.725, 1), ("teeth_lower", 6.575, -1)):
        rows = np.flatnonzero(parts == PARTS.index(name))
        x, y, z = np.abs(template[rows].T)
        gaps = np.minimum.reduce([np.abs(x - at) for at in (0.0, 0.088, 0.158, 0.225, 0.275)])
        tooth = ENAMEL * (1 - 0.28 * smoothstep(0.010, 0.002, gaps))[:, None]
        gum = smoothstep(-0.012, 0.012, (y - edge) * sign)[:, None]
        base[rows] = tooth + (GUM - tooth) * gum
        dim[rows] = smoothstep(1.0, 1.42, z) * smoothstep(0.29, 0.17, x) * (1.25 if sign > 0 else 0.95)
        # The occlusion of the neutral head does not account for an open mouth.
        surface.openness[rows] = 0.8
        surface.shade[rows] = np.maximum(surface.shade[rows], 0.26)
        gloss[rows] = 0.9 * dim[rows]


def _eye(person: Person, outward: Array, gaze: tuple[float, float]) -> tuple[Array, Array]:
    yaw, pitch = np.deg2rad(gaze)
    forward = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)], np.float32)
    off = np.arccos(np.clip(outward @ forward, -1, 1))
    around = np.arctan2(outward[:, 1] - forward[1], outward[:, 0] - forward[0])
    iris = np.array(person.iris, np.float32)
    fibres = 1 + 0.25 * np.sin(around * 23) * np.sin(around * 9 + 1) + 0.5 * smoothstep(0.40, 0.22, off)
    inner = iris * fibres[:, None] * (1 - 0.65 * smoothstep(0.36, 0.46, off))[:, None]
    inner = inner * smoothstep(0.165, 0.195, off)[:, None]
    red = smoothstep(0.45, 1.0, off)[:, None] * np.array([0.05, 0.22, 0.24], np.float32)
    base = inner + (SCLERA * (1 - red) - inner) * smoothstep(0.435, 0.48, off)[:, None]
    # The upper lid and lashes shade the top of the eyeball; the corners are deeper.
    lid = 1 - 0.6 * smoothstep(0.02, 0.42, outward[:, 1]) - 0.15 * smoothstep(-0.15, -0.4, outward[:, 1])
    return base, lid * (1 - 0.35 * smoothstep(0.5, 0.95, np.abs(outward[:, 0])))


def _illuminate(
    base: Array, gloss: Array, sharp: Array, normals: Array, surface: Surface, light: Light, eye: Array
) -> Array:
    """Compute lighting: wrapped diffuse light, redder at its edge on skin, and a specular highlight."""
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
    view /= norms(view)
    half = view + towards
    half /= norms(half)
    shine = np.clip(np.einsum("nc,nc->n", normals, half), 0, 1) ** sharp * surface.shade * light.key
    grazing = (1 - np.clip(np.einsum("nc,nc->n", normals, view), 0, 1)) ** 4
    rim = 0.05 * grazing * light.ambient * surface.openness * living[:, 0]
    result: Array = lit + (0.09 * gloss * shine + rim)[:, None] * warm
    return result


def norms(vectors: Array) -> Array:
    """Return the norms of vectors (N, 3) as a column (N, 1)."""
    result: Array = np.sqrt(np.einsum("nc,nc->n", vectors, vectors))[:, None]
    return result


def is_transparent(person: Person, template: Array, parts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which points of hair sheets and lashes are transparent: gaps between strands, ends, over the face."""
    x, y, z = template.T
    angle = np.arctan2(x, z - AXIS_DEPTH)
    strand = np.sin(angle * 71) * 0.5 + np.sin(angle * 173 + 1) * 0.5
    hair = parts >= PARTS.index("hair")
    end = (6.22 if person.hair_style == "bob" else 5.15) + 0.10 * strand
    side = 1.16 + 0.05 * strand + 0.25 * smoothstep(7.4, 6.6, y)
    bare = (np.abs(angle) < side) & (y < hairline_top(person) + 0.04 * strand)
    lashes = parts == PARTS.index("lashes")
    about = np.arctan2(y - 7.18, np.abs(x) - 0.32)
    thin = np.sin(about * 95) > person.lashes * 1.6 - 0.7
    result: NDArray[np.bool_] = (hair & ((y < end) | bare)) | (lashes & (thin | (np.abs(x) > 0.49)))
    return result


def hairline_top(person: Person) -> float:
    """Return the height of the hairline over the middle of the forehead."""
    return 8.02 + 0.5 * person.hairline


def opaque_filter(person: Person, faces: NDArray[np.int64], parts: NDArray[np.int64]) -> Keep:
    """Return the rasteriser's ``keep`` for a person, which removes transparent fragments."""
    template = load_head().vertices

    def keep(triangles: NDArray[np.int64], weights: Array) -> NDArray[np.bool_]:
        solid = np.ones(len(triangles), bool)
        open_parts = np.flatnonzero(parts[triangles] >= PARTS.index("lashes"))
        chosen = triangles[open_parts]
        points = (template[faces[chosen]] * weights[open_parts][..., None]).sum(1)
        solid[open_parts] = ~is_transparent(person, points, parts[chosen])
        return solid

    return keep
