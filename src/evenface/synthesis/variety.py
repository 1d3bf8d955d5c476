"""Varied images, closer to photographs from the web: strong and mixed expressions, tight framing, hard light."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from evenface.synthesis.actions import AUS, LABELS, ActionUnits
from evenface.synthesis.geometry import Light, Pose, State
from evenface.synthesis.people import Person, draw_colour
from evenface.synthesis.props import Cover, Glasses, Hand, Props
from evenface.synthesis.renderer import Scene

Array = NDArray[np.float64]

# Variants of each expression as they are posed and felt in front of a camera, with their share and the intensity of
# their units at full strength.
VARIANTS: dict[str, tuple[tuple[float, dict[int, float]], ...]] = {
    "happy": (
        (5, {6: 0.8, 12: 0.9, 25: 0.8}),
        (3, {6: 1.0, 12: 1.0, 25: 1.0, 26: 0.45, 7: 0.3}),
        (1, {6: 0.9, 12: 1.0, 25: 1.0, 26: 0.8, 1: 0.3, 2: 0.3}),
        (2, {6: 0.7, 12: 0.9}),
        (1, {12: 0.8, 25: 0.7, 1: 0.3, 2: 0.4}),
    ),
    "sad": (
        (3, {1: 0.6, 4: 0.6, 15: 0.9, 17: 0.6}),
        (2, {1: 0.9, 4: 0.5, 15: 0.7}),
        (2, {1: 0.4, 4: 0.6, 15: 0.6, 43: 0.6}),
        (2, {1: 0.4, 4: 1.0, 6: 0.8, 7: 0.7, 20: 0.6, 25: 0.9, 26: 0.6, 15: 0.7, 43: 0.6}),
        (1, {1: 0.5, 4: 1.0, 6: 0.6, 10: 0.5, 15: 1.0, 17: 0.9, 43: 0.8}),
        (2, {1: 0.3, 15: 0.7, 24: 0.4, 43: 0.3}),
    ),
    "surprise": (
        (4, {1: 0.9, 2: 0.95, 5: 0.9, 25: 0.7, 26: 0.8}),
        (2, {1: 0.9, 2: 0.9, 5: 0.8, 18: 0.6, 26: 0.6, 25: 0.5}),
        (2, {1: 0.9, 2: 1.0, 5: 0.7, 26: 1.0, 25: 1.0}),
        (1, {1: 0.8, 2: 0.9, 5: 1.0}),
        (1, {1: 0.8, 2: 0.9, 5: 0.8, 12: 0.5, 25: 0.8, 26: 0.7}),
    ),
    "fear": (
        (3, {1: 1.0, 2: 0.6, 4: 0.6, 5: 0.9, 20: 0.8, 25: 0.7, 26: 0.3}),
        (2, {1: 0.9, 2: 0.6, 4: 0.6, 5: 1.0, 20: 0.6, 25: 1.0, 26: 0.9}),
        (1, {1: 0.9, 4: 0.7, 5: 0.6, 20: 1.0, 25: 0.9, 10: 0.4}),
        (1, {1: 1.0, 4: 0.6, 5: 0.8}),
        (1, {1: 0.8, 2: 0.8, 4: 0.3, 5: 1.0, 25: 0.5, 26: 0.4}),
    ),
    "disgust": (
        (3, {9: 1.0, 10: 0.7, 4: 0.6, 7: 0.6, 6: 0.4, 17: 0.4}),
        (2, {9: 0.8, 10: 1.0, 4: 0.5, 7: 0.5, 25: 0.6, 16: 0.5}),
        (2, {9: 0.9, 10: 0.5, 15: 0.7, 17: 0.7, 4: 0.6, 7: 0.6}),
        (1, {9: 0.9, 10: 0.8, 4: 0.5, 7: 0.7, 25: 0.9, 26: 0.5, 15: 0.4}),
    ),
    "angry": (
        (3, {4: 1.0, 5: 0.4, 7: 0.5, 23: 0.7, 24: 0.5}),
        (2, {4: 1.0, 7: 0.7, 17: 0.6, 15: 0.4, 24: 0.4}),
        (3, {4: 1.0, 5: 0.3, 7: 0.6, 9: 0.4, 10: 0.7, 16: 0.6, 20: 0.3, 25: 1.0, 26: 0.7}),
        (2, {4: 1.0, 7: 0.6, 9: 0.5, 10: 0.8, 16: 0.7, 20: 0.4, 25: 0.9}),
        (1, {4: 0.9, 5: 0.6}),
    ),
    "neutral": ((1, {}),),
}

# Strength of an expression: parameters of a beta distribution. Smiles are shown in full; fear, anger and sadness on
# photographs from the web move brows and mouth half as far as their prototypes.
STRENGTHS = {
    "happy": (4.0, 1.5),
    "surprise": (2.2, 1.3),
    "disgust": (1.8, 1.6),
    "sad": (1.7, 1.6),
    "angry": (1.6, 1.8),
    "fear": (1.5, 1.9),
    "neutral": (1.0, 1.0),
}


def draw_varied_expression(person: Person, label: str, rng: np.random.Generator) -> ActionUnits:
    """Draw units: a variant, sometimes blended with another expression, at a random strength, asymmetric."""
    posed = _variant(label, rng) * np.array(person.gains) ** 0.7
    posed *= 0.25 + 0.75 * rng.beta(*STRENGTHS[label]) * np.exp(rng.normal(0, 0.2, len(AUS)))
    if label != "neutral" and rng.random() < 0.2:
        other = LABELS[int(rng.integers(len(LABELS)))]
        posed = np.maximum(posed, _variant(other, rng) * rng.uniform(0.1, 0.4))
    unrelated = np.zeros(len(AUS))
    for unit, chance, most in ((25, 0.12, 0.6), (26, 0.06, 0.3), (7, 0.12, 0.5), (1, 0.08, 0.3), (2, 0.08, 0.3)):
        if rng.random() < chance:
            unrelated[AUS.index(unit)] = rng.uniform(0.1, most)
    if rng.random() < 0.04:
        unrelated[AUS.index(43)] = rng.uniform(0.4, 1.0)
    resting = np.array(person.resting) * (0.6 if label == "neutral" else 0.3)
    return _two_sides(np.maximum(np.maximum(posed, unrelated), resting), person, rng)


# Chance of each unit of AUS in combinations that belong to no expression.
UNIT_SHARES = np.array(
    [0.3, 0.25, 0.35, 0.2, 0.25, 0.3, 0.2, 0.25, 0.3, 0.12, 0.25, 0.12, 0.25, 0.1, 0.2, 0.2, 0.25, 0.4, 0.3, 0.15]
)


def draw_mixed_units(person: Person, rng: np.random.Generator) -> ActionUnits:
    """Draw units that need not belong to one expression: blends of two, independent units, or both.

    Units that always occur together cannot be distinguished by a network; here every pair occurs alone too.
    """
    kind = rng.random()
    posed = np.zeros(len(AUS))
    if kind < 0.35:
        first, second = (_variant(LABELS[int(rng.integers(len(LABELS)))], rng) for _ in range(2))
        posed = np.maximum(first * rng.uniform(0.1, 1), second * rng.uniform(0, 0.8))
    if kind > 0.25:
        strength = rng.uniform(0.3, 1)
        present = rng.random(len(AUS)) < UNIT_SHARES * rng.uniform(0.3, 1.3)
        posed = np.maximum(posed, present * rng.beta(1.3, 1.3, len(AUS)) * strength)
    posed *= np.exp(rng.normal(0, 0.15, len(AUS)))
    parted, dropped = AUS.index(25), AUS.index(26)
    if posed[parted] < 0.3 < posed[dropped] and rng.random() < 0.8:
        posed[parted] = rng.uniform(0.3, 1)
    both = np.maximum(posed, np.array(person.resting) * rng.uniform(0.2, 1))
    return _two_sides(both, person, rng)


def _two_sides(both: Array, person: Person, rng: np.random.Generator) -> ActionUnits:
    """Return asymmetric units; closed eyelids cannot be raised."""
    tilt = np.clip(rng.normal(0, 1.3 * person.asymmetry, len(AUS)), -0.5, 0.5)
    sides = np.stack([both * (1 + tilt), both * (1 - tilt)], 1)
    sides[AUS.index(5)] *= 1 - np.clip(sides[AUS.index(43)], 0, 1)
    return ActionUnits(np.clip(sides, 0, 1))


def _variant(label: str, rng: np.random.Generator) -> Array:
    share = np.array([own for own, _ in VARIANTS[label]], float)
    units = VARIANTS[label][int(rng.choice(len(share), p=share / share.sum()))][1]
    return np.array([units.get(unit, 0.0) for unit in AUS])


def compose_varied_face(person: Person, label: str, number: int) -> tuple[State, Scene]:
    """Draw what varies between images of a person: expression, pose, gaze, light, framing and camera."""
    row = LABELS.index(label)
    rng = np.random.default_rng([person.seed, person.index, row, number, 17])
    units = draw_varied_expression(person, label, rng)
    down = 14.0 if label == "sad" and rng.random() < 0.4 else 0.0
    pose = Pose(
        yaw=float(np.clip(rng.normal(0, 14), -42, 42)),
        pitch=float(np.clip(rng.normal(0, 8) - down * rng.random(), -26, 22)),
        roll=float(np.clip(rng.normal(0, 6.5), -22, 22)),
    )
    gaze = (
        float(np.clip(rng.normal(-0.4 * pose.yaw, 9), -28, 28)),
        float(np.clip(rng.normal(-0.3 * pose.pitch - 0.5 * down, 6), -20, 14)),
    )
    hard = rng.random() < 0.4
    light = Light(
        yaw=float(rng.normal(0, 50 if hard else 30)),
        pitch=float(np.clip(rng.normal(35, 20), -20, 80)),
        key=float(rng.uniform(1.2, 2.4) if hard else rng.uniform(0.6, 1.4)),
        ambient=float(rng.uniform(0.12, 0.4) if hard else rng.uniform(0.35, 0.8)),
    )
    scene = Scene(
        seed=(person.seed, person.index, row, number),
        shift=(float(rng.normal(0, 0.025)), float(rng.normal(-0.015, 0.025))),
        aim=pose,
        zoom=float(1.18 * np.exp(rng.normal(0, 0.08))),
        cloth=draw_colour(rng, 0.01, 0.7),
        backdrop=draw_colour(rng, 0.01, 0.9),
        clutter=float(rng.uniform(0, 1.5)),
        blur=float(rng.gamma(2.0, 0.0013)),
        grain=float(rng.gamma(2.0, 0.0045)),
        exposure=float(np.exp(rng.normal(0, 0.2))),
        props=draw_props(label, rng),
    )
    return State(units, pose, gaze, light, strong=True), scene


# Scale about the middle of the image, and shift down, by which the eyes of varied faces are on average where those of
# FER2013 (Training) are, and as far apart: 0.37 of the side, at 0.39 of the height.
TIGHT_SCALE, TIGHT_SHIFT = 1.12, 0.02


def tighten(scene: Scene) -> Scene:
    """Return a scene of a varied face with the framing of images that were cropped to faces."""
    right, up = scene.shift
    return replace(scene, zoom=TIGHT_SCALE * scene.zoom, shift=(TIGHT_SCALE * right, TIGHT_SCALE * up - TIGHT_SHIFT))


# Where a hand may be (x, y of the finger tips on the average head, direction of the fingers), and its share by class.
HANDS = (
    (0.55, 7.0, 80), (-0.55, 7.0, 100), (0.1, 6.75, 75), (-0.1, 6.75, 105), (0.35, 6.55, 60), (-0.35, 6.55, 120),
    (0.35, 7.85, 60), (-0.35, 7.85, 120), (0.0, 6.4, 90), (0.45, 7.4, 110), (-0.45, 7.4, 70),
)  # fmt: skip
HAND_SHARES = {"surprise": 0.2, "fear": 0.25, "sad": 0.2, "disgust": 0.1, "angry": 0.07, "happy": 0.07, "neutral": 0.08}


def draw_props(label: str, rng: np.random.Generator) -> Props:
    """Draw glasses, a hat or scarf, and a hand before the face; surprise, fear and sadness show hands more often."""
    glasses = cover = hand = None
    if rng.random() < 0.15:
        glasses = Glasses(
            width=float(rng.uniform(0.2, 0.3)),
            height=float(rng.uniform(0.13, 0.24)),
            power=float(rng.uniform(2, 6)),
            rim=float(rng.uniform(0.06, 0.18)),
            colour=float(rng.choice([0.01, 0.05, 0.3])),
            tint=float(rng.choice([0.0, 0.15, 0.95], p=[0.65, 0.25, 0.1])),
        )
    if rng.random() < 0.12:
        cover = Cover(float(rng.uniform(7.62, 7.95)), bool(rng.random() < 0.3), draw_colour(rng, 0.01, 0.7))
    if rng.random() < HAND_SHARES[label]:
        x, y, angle = HANDS[int(rng.integers(len(HANDS)))]
        hand = Hand(
            at=(x + float(rng.normal(0, 0.12)), y + float(rng.normal(0, 0.12))),
            angle=angle + float(rng.normal(0, 20)),
            scale=float(rng.uniform(0.8, 1.15)),
            fingers=int(rng.choice([1, 2, 3, 4], p=[0.15, 0.1, 0.1, 0.65])),
            shade=float(rng.uniform(0.7, 1.2)),
        )
    return Props(glasses, cover, hand)


def vary_person(person: Person) -> Person:
    """Return the person with darker brows and lashes, as they show in small images; some as children."""
    rng = np.random.default_rng([person.seed, person.index, 18])
    person = replace(
        person,
        brow_density=float(rng.uniform(0.75, 1.0)),
        brow_thickness=person.brow_thickness * float(rng.uniform(0.9, 1.3)),
        lashes=float(rng.uniform(0.4, 1.0)),
    )
    return _as_child(person, rng) if rng.random() < 0.18 else person


def _as_child(person: Person, rng: np.random.Generator) -> Person:
    """Return the person with the proportions of a child: large eyes, small nose and chin, round cheeks, no beard."""
    young = float(rng.uniform(0.4, 1.0))
    shape = dict(person.shape) | {
        name: weight * young
        for name, weight in {
            "head-age": -0.9, "head-fat": 0.6, "eye-scale": 0.9, "nose-scale-vert": -0.7, "nose-scale-depth": -0.7,
            "nose-scale-horiz": -0.5, "nose-hump": -0.5, "chin-height": -0.6, "chin-bones": -0.5,
            "chin-prominent": -0.4, "chin-width": -0.3, "cheek-volume": 0.8, "cheek-bones": -0.4,
            "mouth-scale-horiz": -0.4,
            "forehead-scale-vert": 0.6, "head-scale-horiz": 0.3,
        }.items()
    }  # fmt: skip
    soft = person.brow_thickness * (1 - 0.3 * young)
    return replace(
        person, age=18.0, shape=tuple(shape.items()), beard=0.0, make_up=0.0, brow_thickness=soft, hairline=0.0
    )
