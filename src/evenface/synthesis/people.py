"""Synthetic people: identity and individual style of expression, drawn from a seed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evenface.synthesis.actions import AUS, LABELS, PROTOTYPES, ActionUnits
from evenface.synthesis.head import load_head

Array = NDArray[np.float64]
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Person:
    """One synthetic person: attributes that are constant over images.

    Colours are linear RGB, 0 to 1. ``shape`` contains weights of local head shapes, ``gains`` one factor per unit of
    :data:`AUS`, ``resting`` the action units of the person's neutral face, ``habits`` the probability of each variant
    of an expression, in the order of :data:`LABELS`.
    """

    seed: int
    index: int
    sex: str
    age: float
    ancestry: tuple[float, float, float]
    weight: float
    shape: tuple[tuple[str, float], ...]
    skin: Colour
    lips: Colour
    iris: Colour
    hair: Colour
    hair_style: str
    hairline: float
    brow_thickness: float
    brow_density: float
    brow_arch: float
    beard: float
    freckles: float
    make_up: float
    lashes: float
    expressiveness: float
    asymmetry: float
    gains: tuple[float, ...]
    resting: tuple[float, ...]
    habits: tuple[tuple[float, ...], ...]

    @property
    def name(self) -> str:
        """Return the name used for files and as the subject: ``p`` and four digits."""
        return f"p{self.index:04d}"


_TONES = np.array(
    [[0.80, 0.56, 0.47], [0.70, 0.45, 0.35], [0.56, 0.34, 0.24], [0.32, 0.175, 0.115], [0.15, 0.080, 0.055]]
)
_HAIR = {
    "black": (0.012, 0.010, 0.010),
    "dark": (0.035, 0.020, 0.013),
    "brown": (0.090, 0.045, 0.022),
    "red": (0.24, 0.075, 0.025),
    "blond": (0.36, 0.23, 0.10),
    "grey": (0.30, 0.30, 0.30),
    "white": (0.62, 0.61, 0.58),
}
_IRIS = {
    "dark": (0.035, 0.018, 0.010),
    "brown": (0.10, 0.045, 0.018),
    "hazel": (0.13, 0.10, 0.035),
    "green": (0.10, 0.16, 0.09),
    "blue": (0.10, 0.20, 0.36),
    "grey": (0.17, 0.21, 0.24),
}
_RESTING = {1: 0.05, 2: 0.05, 4: 0.06, 7: 0.08, 12: 0.10, 14: 0.05, 15: 0.05, 17: 0.04, 24: 0.06, 43: 0.07}


def make_person(seed: int, index: int) -> Person:
    """Draw person number ``index`` of the population ``seed``.

    Parameters
    ----------
    seed : int
        Seed of the population, >= 0.
    index : int
        Index of the person, >= 0. A person does not depend on the number of others.

    Returns
    -------
    Person
        An adult of 18 to 80 years.
    """
    rng = np.random.default_rng([seed, index, 1])
    sex = ("female", "male")[index % 2 if rng.random() < 0.8 else int(rng.integers(2))]
    age = float(18 + 62 * rng.beta(1.3, 1.9))
    ancestry = rng.dirichlet([0.35, 0.35, 0.45])
    melanin = float(np.clip(ancestry @ [0.82, 0.36, 0.18] + rng.normal(0, 0.10), 0.0, 1.0))
    skin = _ramp(_TONES, melanin) * rng.normal(1, 0.05) * np.array([1.0, rng.normal(1, 0.04), rng.normal(1, 0.07)])
    blush = np.array([0.84, 0.50, 0.56]) * (1 - 0.25 * melanin) * rng.normal(1, 0.06)
    female = sex == "female"
    style, hairline = _hair_style(rng, female, age)
    return Person(
        seed=seed,
        index=index,
        sex=sex,
        age=round(age, 1),
        ancestry=tuple(round(float(a), 4) for a in ancestry),  # type: ignore[arg-type]
        weight=float(rng.beta(2.2, 2.4)),
        shape=_head_shape(rng),
        skin=_colour(skin),
        lips=_colour(skin * blush),
        iris=_colour(np.array(_IRIS[_iris(rng, melanin)]) * rng.uniform(0.8, 1.25)),
        hair=_colour(_hair_colour(rng, melanin, age)),
        hair_style=style,
        hairline=hairline,
        brow_thickness=float(rng.uniform(0.7, 1.15) if female else rng.uniform(1.0, 1.5)),
        brow_density=float(rng.uniform(0.6, 0.95)),
        brow_arch=float(rng.normal(0.5 if female else 0.2, 0.25)),
        beard=0.0 if female else float(rng.choice([0.0, 0.25, 0.5, 1.0], p=[0.45, 0.25, 0.15, 0.15])),
        freckles=float(rng.uniform(0.4, 1) if melanin < 0.35 and rng.random() < 0.25 else 0),
        make_up=float(rng.uniform(0.2, 1) if female and rng.random() < 0.5 else 0),
        lashes=float(rng.uniform(0.5, 1.0) if female else rng.uniform(0.2, 0.6)),
        expressiveness=float(np.clip(rng.normal(0.88, 0.17), 0.5, 1.2)),
        asymmetry=float(rng.gamma(2.0, 0.05)),
        gains=tuple(float(g) for g in np.exp(rng.normal(0, 0.22, len(AUS)))),
        resting=tuple(float(_RESTING.get(au, 0.0) * rng.gamma(1.0, 1.0)) for au in AUS),
        habits=tuple(tuple(float(h) for h in rng.dirichlet(np.full(len(PROTOTYPES[name]), 0.9))) for name in LABELS),
    )


def _ramp(stops: Array, fraction: float) -> Array:
    at = fraction * (len(stops) - 1)
    low = min(int(at), len(stops) - 2)
    result: Array = stops[low] + (at - low) * (stops[low + 1] - stops[low])
    return result


def _colour(values: Array) -> Colour:
    red, green, blue = np.clip(values, 0.004, 0.9)
    return float(red), float(green), float(blue)


def _head_shape(rng: np.random.Generator) -> tuple[tuple[str, float], ...]:
    """Draw weights of local shapes: most near zero, some large, so that each person has a few distinctive features."""
    names = load_head().shapes
    chosen: dict[str, float] = {}
    for name in names:
        if name.startswith("+"):
            chosen[name[1:]] = float(np.clip(rng.standard_t(5) * 0.17, -0.55, 0.55))
    heads = [name for name in names if name.startswith("head-")]
    for name, share in zip(heads, rng.dirichlet(np.full(len(heads), 0.35)), strict=True):
        chosen[name] = float(share * rng.uniform(0.1, 0.5))
    for name in names:
        if name.startswith("asym-") and name.endswith("-l"):
            chosen[name[:-1] + "lr"[int(rng.integers(2))]] = float(np.clip(abs(rng.normal(0, 0.16)), 0, 0.45))
    return tuple(chosen.items())


def _hair_style(rng: np.random.Generator, female: bool, age: float) -> tuple[str, float]:
    names = ("bald", "buzz", "short", "medium", "tied", "bob", "long")
    share = np.array(
        [0.01, 0.02, 0.10, 0.12, 0.17, 0.26, 0.32] if female else [0.08, 0.20, 0.42, 0.22, 0.02, 0.03, 0.03]
    )
    if not female and age > 45:
        share[0] += 0.2
    receding = 0.0 if female else max(0.0, (age - 30) / 50) * rng.uniform(0, 1.2)
    style = names[int(rng.choice(len(names), p=share / share.sum()))]
    return style, float(rng.normal(0, 0.05) + 0.18 * receding)


def _hair_colour(rng: np.random.Generator, melanin: float, age: float) -> Array:
    if melanin > 0.5:
        shares = {"black": 0.8, "dark": 0.2}
    elif melanin > 0.28:
        shares = {"black": 0.45, "dark": 0.35, "brown": 0.2}
    else:
        shares = {"dark": 0.3, "brown": 0.35, "blond": 0.25, "red": 0.1}
    natural = np.array(_HAIR[str(rng.choice(list(shares), p=list(shares.values())))]) * rng.uniform(0.8, 1.2)
    grey = float(np.clip((age - 38) / 35 + rng.normal(0, 0.25), 0, 1)) if age > 35 else 0.0
    dyed = rng.random() < 0.35
    old = np.array(_HAIR["grey" if age < 65 else "white"]) * rng.uniform(0.7, 1.1)
    mixed: Array = natural if dyed else natural * (1 - grey) + old * grey
    return mixed


def _iris(rng: np.random.Generator, melanin: float) -> str:
    if melanin > 0.5:
        return str(rng.choice(["dark", "brown"], p=[0.7, 0.3]))
    if melanin > 0.3:
        return str(rng.choice(["dark", "brown", "hazel"], p=[0.4, 0.45, 0.15]))
    return str(rng.choice(["brown", "hazel", "green", "blue", "grey"], p=[0.3, 0.15, 0.15, 0.28, 0.12]))


def draw_variant(person: Person, label: str, rng: np.random.Generator) -> Array:
    """Draw a variant of an expression by the person's habits: intensity of each unit of ``AUS`` at full strength."""
    variant = PROTOTYPES[label][int(rng.choice(len(PROTOTYPES[label]), p=person.habits[LABELS.index(label)]))]
    units: Array = np.array([variant.get(unit, 0.0) for unit in AUS]) * np.array(person.gains)
    return units


def draw_expression(person: Person, label: str, rng: np.random.Generator) -> ActionUnits:
    """Draw the action units of one expression of ``person``."""
    if label not in PROTOTYPES:
        raise ValueError(f"unknown expression {label!r}; available: {', '.join(LABELS)}")
    variant = draw_variant(person, label, rng)
    strength = person.expressiveness * rng.uniform(0.45, 1.0) ** 0.6
    posed = variant * strength
    posed *= np.exp(rng.normal(0, 0.15, len(AUS)))
    # Unrelated actions in some samples: talking, squinting, a raised brow.
    unrelated = np.zeros(len(AUS))
    for unit, chance, most in ((25, 0.14, 0.6), (26, 0.08, 0.35), (7, 0.10, 0.4), (1, 0.06, 0.35), (2, 0.06, 0.35)):
        if rng.random() < chance:
            unrelated[AUS.index(unit)] = rng.uniform(0.1, most)
    if rng.random() < 0.03:
        unrelated[AUS.index(43)] = rng.uniform(0.4, 1.0)
    resting = np.array(person.resting) * (0.5 if label != "neutral" else 1.0)
    both = np.maximum(np.maximum(posed, unrelated), resting)
    tilt = np.clip(rng.normal(0, person.asymmetry, len(AUS)), -0.35, 0.35)
    sides = np.stack([both * (1 + tilt), both * (1 - tilt)], 1)
    # Closed eyelids cannot be raised.
    sides[AUS.index(5)] *= 1 - np.clip(sides[AUS.index(43)], 0, 1)
    return ActionUnits(np.clip(sides, 0, 1))


def draw_colour(rng: np.random.Generator, low: float, high: float) -> tuple[float, float, float]:
    """Draw a colour near grey in linear RGB, with a brightness between ``low`` and ``high``."""
    red, green, blue = np.clip(np.exp(rng.uniform(np.log(low), np.log(high))) * np.exp(rng.normal(0, 0.13, 3)), 0, 0.9)
    return float(red), float(green), float(blue)
