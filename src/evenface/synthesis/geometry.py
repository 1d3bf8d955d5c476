"""Head geometry: vertices of a person in a state, from head shape, action units, gaze, hair volume and pose."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from evenface.synthesis.actions import AUS, ActionUnits, action_units
from evenface.synthesis.head import ANCESTRIES, PARTS, HeadModel, load_head
from evenface.synthesis.people import Person
from evenface.synthesis.rasteriser import Array
from evenface.synthesis.skin import AXIS_DEPTH, hairline_height, smoothstep

PIVOT = np.array([0.0, 6.35, 0.35], np.float32)

# Blend shapes of the model for each action unit, with weights; * is replaced by the side.
ACTIONS: dict[int, dict[str, float]] = {
    1: {"browInnerUp": 1.7},
    2: {"browOuterUp*": 1.15},
    4: {"browDown*": 1.5},
    5: {"eyeWide*": 1.2},
    6: {"cheekSquint*": 1.1, "eyeSquint*": 0.35},
    7: {"eyeSquint*": 0.8, "eyeBlink*": 0.08},
    9: {"noseSneer*": 1.25, "browDown*": 0.2},
    10: {"mouthUpperUp*": 1.1, "noseSneer*": 0.25},
    12: {"mouthSmile*": 1.2},
    14: {"mouthDimple*": 0.9},
    15: {"mouthFrown*": 1.15},
    16: {"mouthLowerDown*": 0.9},
    17: {"mouthShrugLower": 0.9, "mouthShrugUpper": 0.4},
    18: {"mouthPucker": 0.7, "mouthFunnel": 0.35},
    20: {"mouthStretch*": 1.1},
    23: {"mouthRollUpper": 0.5, "mouthRollLower": 0.5, "mouthPress*": 0.4},
    24: {"mouthPress*": 1.0, "mouthRollLower": 0.3},
    25: {"mouthLowerDown*": 0.45, "mouthUpperUp*": 0.15, "jawOpen": 0.12},
    26: {"jawOpen": 0.8},
    43: {"eyeBlink*": 1.0},
}
# The same for strong expressions: what is posed for a camera moves the face further than the shapes' own amplitudes.
STRONG_ACTIONS: dict[int, dict[str, float]] = {
    **ACTIONS,
    1: {"browInnerUp": 2.6, "browOuterUp*": 0.2},
    2: {"browOuterUp*": 2.0, "browInnerUp": 0.3},
    4: {"browDown*": 1.9, "eyeSquint*": 0.2},
    5: {"eyeWide*": 1.9},
    6: {"cheekSquint*": 2.0, "eyeSquint*": 0.8, "eyeBlink*": 0.12},
    7: {"eyeSquint*": 1.2, "eyeBlink*": 0.15},
    9: {"noseSneer*": 2.2, "browDown*": 0.25, "mouthUpperUp*": 0.25},
    10: {"mouthUpperUp*": 1.5, "noseSneer*": 0.5},
    12: {"mouthSmile*": 1.45, "mouthStretch*": 0.2},
    15: {"mouthFrown*": 1.8},
    17: {"mouthShrugLower": 1.3, "mouthShrugUpper": 0.6},
    23: {"mouthRollUpper": 0.8, "mouthRollLower": 0.8, "mouthPress*": 0.4, "mouthFrown*": 0.25},
    24: {"mouthPress*": 1.0, "mouthRollLower": 0.5, "mouthRollUpper": 0.3, "mouthFrown*": 0.25},
    25: {"mouthLowerDown*": 0.6, "mouthUpperUp*": 0.35, "jawOpen": 0.15},
    26: {"jawOpen": 1.05},
}
THICKNESS = {"bald": 0.0, "buzz": 0.02, "short": 0.09, "medium": 0.16, "tied": 0.06, "bob": 0.13, "long": 0.11}


@dataclass(frozen=True)
class Pose:
    """Head pose in degrees.

    ``yaw`` > 0 turns to the person's left (the right of the image), ``pitch`` > 0 lifts the chin, ``roll`` > 0
    tilts the head to the right of the image.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0

    def matrix(self) -> Array:
        """Return the rotation matrix (3, 3) applied to points of the upright head."""
        (cy, cp, cr), (sy, sp, sr) = (f(np.deg2rad([self.yaw, self.pitch, self.roll])) for f in (np.cos, np.sin))
        yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        pitch = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
        roll = np.array([[cr, sr, 0], [-sr, cr, 0], [0, 0, 1]])
        result: Array = (yaw @ pitch @ roll).astype(np.float32)
        return result


@dataclass(frozen=True)
class Light:
    """One directional lamp and ambient light.

    ``yaw`` and ``pitch`` are the direction of the lamp (degrees, 0 at the camera, yaw > 0 at the right of the image,
    pitch > 0 above), ``key`` and ``ambient`` the intensities of lamp and ambient light; ``warmth`` > 0 makes the lamp
    yellowish, < 0 bluish.
    """

    yaw: float = 25.0
    pitch: float = 35.0
    key: float = 1.0
    ambient: float = 0.5
    warmth: float = 0.0

    def direction(self) -> Array:
        """Return the unit vector towards the lamp."""
        yaw, pitch = np.deg2rad([self.yaw, self.pitch])
        return np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)], np.float32)


@dataclass(frozen=True)
class State:
    """Facial expression, pose, gaze and light of one frame.

    Attributes
    ----------
    units : ActionUnits
        Facial action units.
    pose : Pose
        Head pose.
    gaze : tuple of float
        Gaze in degrees to the right of the image and up, relative to the head.
    light : Light
        Lighting.
    strong : bool
        Whether units move the face as far as in expressions posed for a camera, with deeper folds.
    """

    units: ActionUnits = field(default_factory=lambda: action_units({}))
    pose: Pose = field(default_factory=Pose)
    gaze: tuple[float, float] = (0.0, 0.0)
    light: Light = field(default_factory=Light)
    strong: bool = False


@dataclass(frozen=True)
class HeadGeometry:
    """A person's head with neutral expression: vertices, hair offsets, neck weights, eye centres and triangles."""

    neutral: Array
    hair_offsets: Array
    neck_weights: Array
    eyes: Array
    faces: NDArray[np.int64]
    parts: NDArray[np.int64]
    height: float


@dataclass(frozen=True)
class Surface:
    """Visible points of one image, one row each.

    ``template`` is the position on the average head, ``upright`` on this head before rotation, ``space`` in front of
    the camera; ``normals`` point outwards there. ``openness`` is the share of ambient light that reaches the point,
    ``shade`` the share of the lamp's light (both 0 to 1).
    """

    parts: NDArray[np.int64]
    template: Array
    upright: Array
    space: Array
    normals: Array
    openness: Array
    shade: Array


def build_head(person: Person) -> HeadGeometry:
    """Build a person's head from the model's shapes and add hair."""
    head = load_head()
    neutral = head.vertices.copy()
    for name, weight in _identity(person, head):
        head.shapes[name].add_to(neutral, weight)
    eyes = np.stack([_middle(neutral, head, side) for side in ("eye_left", "eye_right")])
    shift = np.array([0, 7.284, 1.245], np.float32) - eyes.mean(0) * np.array([0, 1, 1], np.float32)
    neutral += shift
    if person.hair_style in ("bob", "long"):
        # Loose hair covers the ears.
        ears = smoothstep(0.73, 0.80, np.abs(head.vertices[:, 0])) * (head.parts_of_vertices == 0)
        ears = ears * (head.vertices[:, 1] > 6.7)
        neutral[:, 0] *= 1 - 0.14 * ears
    eyes = eyes + shift
    template = head.vertices
    chin = neutral[
        (head.parts_of_vertices == 0)
        & (np.abs(template[:, 0]) < 0.12)
        & (template[:, 2] > 1.2)
        & (template[:, 1] > 6.1),
        1,
    ].min()
    visible = np.ones(len(head.faces), bool)
    if person.hair_style not in ("bob", "long"):
        visible = ~np.isin(head.parts, [PARTS.index("hair"), PARTS.index("hair_inside")])
    return HeadGeometry(
        neutral=neutral,
        hair_offsets=_hair_volume(person, head, neutral),
        neck_weights=smoothstep(5.65, 6.5, template[:, 1] + 0.55 * (template[:, 2] - AXIS_DEPTH)),
        eyes=eyes,
        faces=head.faces[visible],
        parts=head.parts[visible],
        height=float(7.45 - chin),
    )


def _middle(vertices: Array, head: HeadModel, part: str) -> Array:
    own = vertices[np.unique(head.faces[head.parts == PARTS.index(part)])]
    result: Array = (own.min(0) + own.max(0)) / 2
    return result


def _identity(person: Person, head: HeadModel) -> list[tuple[str, float]]:
    """Return names of the model's shapes with their weights."""
    old = float(np.clip((person.age - 25) / 58, 0, 1))
    ages = (("young", 1 - old), ("old", old))
    chosen = [
        (f"{name}-{person.sex}-{age}", share * part)
        for name, share in zip(ANCESTRIES, person.ancestry, strict=True)
        for age, part in ages
    ]
    thin, heavy = max(0.0, 1 - 2 * person.weight), max(0.0, 2 * person.weight - 1)
    shares = {"minweight": thin, "averageweight": 1 - thin - heavy, "maxweight": heavy}
    chosen += [
        (f"universal-{person.sex}-{age}-averagemuscle-{weight}", share * part)
        for weight, share in shares.items()
        for age, part in ages
    ]
    for name, weight in person.shape:
        signed = name if name in head.shapes else ("+" if weight > 0 else "-") + name
        chosen.append((signed, abs(weight)))
    return [(name, weight) for name, weight in chosen if weight]


def _hair_volume(person: Person, head: HeadModel, neutral: Array) -> Array:
    """Compute offsets of the scalp along its normals: irregular for loose hair, zero at the hairline and the ears."""
    rng = np.random.default_rng([person.seed, person.index, 3])
    x, y, z = head.vertices.T
    angle = np.arctan2(x, z - AXIS_DEPTH)
    cover = smoothstep(0.0, 0.30, y - hairline_height(angle, person.hairline))
    ear = (np.abs(x) > 0.70) & (y < 7.40) & (z > 0.2)
    cover = np.where(ear | (head.parts_of_vertices != 0) | (y < 6.4), 0, cover)
    irregularity = sum(
        np.sin(points * scale + rng.uniform(0, 6.3)) for points, scale in ((x, 9.0), (y, 7.0), (z, 8.0), (x - y, 13.0))
    )
    loose = {"medium": 0.22, "short": 0.18, "bob": 0.1, "long": 0.1}.get(person.hair_style, 0.03)
    amount = THICKNESS[person.hair_style] * cover * (0.65 + 0.5 * smoothstep(7.5, 8.3, y)) * (1 + loose * irregularity)
    normals = vertex_normals(neutral, head.faces[head.parts == 0])
    result: Array = (normals * amount[:, None]).astype(np.float32)
    return result


def vertex_normals(vertices: Array, faces: NDArray[np.int64]) -> Array:
    """Compute unit vertex normals (V, 3) as the area-weighted mean over adjacent triangles."""
    corners = vertices[faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    flat = faces.ravel()
    summed = np.stack([np.bincount(flat, np.repeat(cross[:, k], 3), len(vertices)) for k in range(3)], 1)
    result: Array = (summed / (np.linalg.norm(summed, axis=1, keepdims=True) + 1e-12)).astype(np.float32)
    return result


def deform(head_geometry: HeadGeometry, state: State) -> Array:
    """Apply action units and gaze to the neutral head; return vertices (V, 3) of the upright head."""
    head = load_head()
    moved = head_geometry.neutral + head_geometry.hair_offsets
    for name, weight in _strengths(state).items():
        if weight > 0.01:
            head.shapes[name].add_to(moved, weight)
    return moved


def _strengths(state: State) -> dict[str, float]:
    # The model's neutral mouth and brows look stern; this raises them.
    total = {"mouthSmileLeft": 0.08, "mouthSmileRight": 0.08, "browInnerUp": 0.08}
    for unit, (left, right) in zip(AUS, state.units.values, strict=True):
        for name, factor in (STRONG_ACTIONS if state.strong else ACTIONS)[unit].items():
            for part, strength in (("Left", left), ("Right", right)) if "*" in name else (("", (left + right) / 2),):
                key = name.replace("*", part)
                total[key] = total.get(key, 0.0) + factor * float(strength)
    yaw, pitch = state.gaze
    for name, degrees in (("Up", pitch), ("Down", -pitch)):
        for part in ("Left", "Right"):
            total[f"eyeLook{name}{part}"] = max(degrees, 0.0) / 30
    if state.strong:
        _part_smiling_lips(state, total)
    # Anatomical limits.
    upper, lower = (2.6, 1.8) if state.strong else (1.8, 1.25)
    for name in total:
        total[name] = min(total[name], upper if name.startswith(("brow", "nose")) else lower)
    # The inner brow cannot move up and down at once: with both it is raised and drawn together.
    lifted = min(total["browInnerUp"] / 1.7, 1.0)
    for part in ("Left", "Right"):
        total[f"browDown{part}"] = total.get(f"browDown{part}", 0.0) * (1 - 0.6 * lifted)
        blink = f"eyeBlink{part}"
        total[blink] = min(total.get(blink, 0.0), 1.0)
        for other in (f"eyeSquint{part}", f"eyeWide{part}", f"eyeLookDown{part}"):
            total[other] = total.get(other, 0.0) * (1 - total[blink])
    total["eyeLookOutLeft"] = total["eyeLookInRight"] = max(yaw, 0.0) / 35
    total["eyeLookOutRight"] = total["eyeLookInLeft"] = max(-yaw, 0.0) / 35
    return total


def _part_smiling_lips(state: State, total: dict[str, float]) -> None:
    """Lift the upper lip off the teeth where a smile has parted lips."""
    for row, part in enumerate(("Left", "Right")):
        smile, parted = (float(state.units.values[AUS.index(unit), row]) for unit in (12, 25))
        total[f"mouthUpperUp{part}"] = total.get(f"mouthUpperUp{part}", 0.0) + 0.9 * smile * parted


def rotate(head_geometry: HeadGeometry, points: Array, pose: Pose) -> Array:
    """Rotate the upright head about the top of the neck; the neck follows gradually, the chest does not."""
    turned = (points - PIVOT) @ pose.matrix().T + PIVOT
    result: Array = points + head_geometry.neck_weights[:, None] * (turned - points)
    return result
