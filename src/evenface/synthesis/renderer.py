"""The camera: pictures of a person from a sequence of states."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from evenface.synthesis.figure import PIVOT, Figure, Light, Pose, State, act, build, turn, vertex_normals
from evenface.synthesis.head import PARTS, load_head
from evenface.synthesis.people import Person
from evenface.synthesis.rasteriser import Array, Fragments, rasterise
from evenface.synthesis.shading import Look, Surface, colour, length, sees_through
from evenface.synthesis.skin import Paint, noise, paint

DISTANCE = 9.0


@dataclass(frozen=True)
class Scene:
    """What stays the same through a clip: framing, backdrop, clothes, camera."""

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


class Renderer:
    """Pictures of one size.

    Parameters
    ----------
    size : int
        Height and width of the pictures in pixels, 16 to 2048.
    samples : int, default=2
        Rows and columns of samples per pixel; more is smoother and slower.

    Raises
    ------
    ValueError
        If ``size`` or ``samples`` is out of range.

    Notes
    -----
    A picture depends on person, state, scene, size and samples only, and is the same whatever was drawn before it.
    """

    def __init__(self, size: int, samples: int = 2) -> None:
        if not 16 <= size <= 2048:
            raise ValueError(f"size must be 16 to 2048, got {size}")
        if not 1 <= samples <= 8:
            raise ValueError(f"samples must be 1 to 8, got {samples}")
        self.size = size
        self.samples = samples

    def render(self, person: Person, states: Sequence[State], scene: Scene | None = None) -> NDArray[np.uint8]:
        """Draw a clip, or a still where there is one state.

        Parameters
        ----------
        person : Person
            Who is seen.
        states : sequence of State
            One per frame.
        scene : Scene, optional
            The surroundings; a plain grey wall without blur and noise where not given.

        Returns
        -------
        ndarray of shape (T, size, size, 3)
            sRGB, uint8.
        """
        scene = scene or Scene()
        figure, painted = _ready(person, 512 if self.size <= 160 else 1024)
        frames = [self._frame(person, figure, painted, state, scene, number) for number, state in enumerate(states)]
        return np.stack(frames) if frames else np.zeros((0, self.size, self.size, 3), np.uint8)

    def _frame(
        self, person: Person, figure: Figure, painted: Paint, state: State, scene: Scene, number: int
    ) -> NDArray[np.uint8]:
        side = self.size * self.samples
        upright = act(figure, state)
        space = turn(figure, upright, state.pose)
        eye = np.array([0, 7.04, 1.0 + DISTANCE], np.float32)
        screen = _project(space, figure, scene, eye, side)
        keep = sees_through(person, figure.faces, figure.parts)
        seen = rasterise(screen, figure.faces, side, side, keep)
        surface = _surface(figure, upright, space, seen, state.light, 128 if self.size <= 160 else 320)
        look = Look(scene.cloth, _strand_map(person))
        picture = _backdrop(scene, side)
        picture.reshape(-1, 3)[seen.pixels] = colour(person, painted, figure, state, surface, look, eye)
        return _develop(picture, self.size, scene, number)


@lru_cache(maxsize=4)
def _ready(person: Person, chart: int) -> tuple[Figure, Paint]:
    return build(person), paint(person, chart)


@lru_cache(maxsize=4)
def _strand_map(person: Person) -> Array:
    rng = np.random.default_rng([person.seed, person.index, 4])
    fine, broad = noise(rng, 512, (6, 160)), noise(rng, 512, (3, 30))
    return 0.7 * fine + 0.6 * broad


def _project(space: Array, figure: Figure, scene: Scene, eye: Array, side: int) -> Array:
    """Give column, row and depth of points; the camera looks along -z and frames the face by its own height."""
    depth = eye[2] - space[:, 2]
    focal = scene.zoom * side * DISTANCE / (1.7 * figure.height)
    middle = np.array([0, eye[1], 1.0], np.float32)
    off = PIVOT + scene.aim.matrix() @ (middle - PIVOT) - middle
    column = side * (0.5 + scene.shift[0]) + focal * (space[:, 0] / depth - 0.7 * off[0] / DISTANCE)
    row = side * (0.5 - scene.shift[1]) - focal * ((space[:, 1] - eye[1]) / depth - 0.7 * off[1] / DISTANCE)
    return np.stack([column, row, depth], 1).astype(np.float32)


def _surface(figure: Figure, upright: Array, space: Array, seen: Fragments, light: Light, shadow: int) -> Surface:
    head = load_head()
    outside = figure.faces[figure.parts != PARTS.index("hair_inside")]
    normals = vertex_normals(space, outside)
    table = np.concatenate([head.vertices, upright, space, normals, head.occlusion[:, None]], 1)
    corners = figure.faces[seen.triangles]
    values = table[corners[:, 0]] * seen.weights[:, 0:1]
    values += table[corners[:, 1]] * seen.weights[:, 1:2]
    values += table[corners[:, 2]] * seen.weights[:, 2:3]
    direction = values[:, 9:12] / (length(values[:, 9:12]) + 1e-9)
    return Surface(
        parts=figure.parts[seen.triangles],
        template=values[:, :3],
        upright=values[:, 3:6],
        space=values[:, 6:9],
        normals=direction,
        openness=np.clip(values[:, 12], 0, 1),
        shade=_shade(figure, space, values[:, 6:9] + 0.04 * direction, light, shadow),
    )


def _shade(figure: Figure, space: Array, points: Array, light: Light, size: int) -> Array:
    """Say how much of the lamp reaches each point: a depth map seen from the lamp, compared at four neighbours.

    ``size`` is the map's height and width.
    """
    towards = light.direction()
    side = np.cross([0, 1, 0], towards)
    side /= np.linalg.norm(side)
    basis = np.stack([side, np.cross(towards, side), towards]).astype(np.float32)
    middle = np.array([0, 7.1, 0.6], np.float32)

    def seen_from_lamp(places: Array) -> Array:
        turned = (places - middle) @ basis.T
        turned[:, :2] = turned[:, :2] * np.array([1, -1], np.float32) * (size / 3.6) + size / 2
        turned[:, 2] = 8 - turned[:, 2]
        return turned

    solid = figure.faces[
        (figure.parts < PARTS.index("lashes"))
        & (figure.parts != PARTS.index("eye_left"))
        & (figure.parts != PARTS.index("eye_right"))
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


def _backdrop(scene: Scene, side: int) -> Array:
    rng = np.random.default_rng([*scene.seed, 5])
    picture = np.empty((side, side, 3), np.float32)
    picture[:] = np.array(scene.backdrop, np.float32)
    slope = rng.normal(0, 0.25, 2)
    ramp = np.linspace(-1, 1, side, dtype=np.float32)
    picture *= np.exp(slope[0] * ramp[:, None] + slope[1] * ramp[None, :])[..., None].astype(np.float32)
    for cells in ((2, 3), (5, 4)):
        blot = noise(rng, side, cells)
        tint = rng.normal(0, 0.12, 3).astype(np.float32)
        picture *= np.exp(scene.clutter * np.clip(blot, -2, 2)[..., None] * (0.3 + tint))
    return picture


def _develop(picture: Array, size: int, scene: Scene, number: int) -> NDArray[np.uint8]:
    """Average the samples, blur, encode as sRGB, add grain."""
    from scipy.ndimage import gaussian_filter

    step = len(picture) // size
    picture = picture.reshape(size, step, size, step, 3).mean((1, 3)) * np.float32(scene.exposure)
    if scene.blur > 0:
        picture = gaussian_filter(picture, (scene.blur * size, scene.blur * size, 0), truncate=3)
    # A soft shoulder keeps highlights from clipping hard.
    picture = np.where(picture > 0.8, 0.8 + 0.2 * np.tanh((picture - 0.8) / 0.2 * 0.7), picture)
    shown = np.clip(picture, 0, 1) ** np.float32(1 / 2.2)
    if scene.grain > 0:
        rng = np.random.default_rng([*scene.seed, 6, number])
        shown = shown + scene.grain * rng.standard_normal(shown.shape, np.float32)
    result: NDArray[np.uint8] = (np.clip(shown, 0, 1) * 255 + 0.5).astype(np.uint8)
    return result
