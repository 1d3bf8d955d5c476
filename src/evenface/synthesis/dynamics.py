"""Pain and emotions in time: how they come and go, who shows them how, and what else a face does meanwhile."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from evenface.synthesis.actions import AUS, ActionUnits
from evenface.synthesis.people import Person, habitual

Array = NDArray[np.float64]

KINDS = ("neutral", "phasic", "tonic", "stimulus", "rising")

# Expressions beside what the clip is about, as unit strengths at their height. Speech opens and shuts the mouth too.
DISTRACTORS: dict[str, dict[int, float]] = {
    "smile": {6: 0.4, 12: 0.9, 25: 0.5},
    "surprise": {1: 0.9, 2: 0.9, 5: 0.7, 25: 0.4, 26: 0.4},
    "speech": {18: 0.3, 25: 0.7, 26: 0.4},
}
# Share of people with their pain hardly showing, and what is left of it.
_RESERVED, _LEFT = 0.1, 0.45


@dataclass(frozen=True)
class Course:
    """How strongly pain or an emotion is shown over a clip: it rises, holds and falls along raised cosines."""

    peak: float = 0.0
    start: float = 0.0
    rise: float = 0.1
    hold: float = 1.0
    fall: float = 0.1

    def intensity(self, places: Array) -> Array:
        """Give the intensity, 0 to ``peak``, at places in the clip, 0 its beginning and 1 its end; same shape."""
        up = _eased((places - self.start) / self.rise)
        down = _eased((places - self.start - self.rise - self.hold) / self.fall)
        result: Array = self.peak * up * (1 - down)
        return result


def _eased(share: Array) -> Array:
    result: Array = 0.5 - 0.5 * np.cos(np.pi * np.clip(share, 0, 1))
    return result


def draw_course(kind: str, peak: float, rng: np.random.Generator) -> Course:
    """Draw when pain of one kind comes and goes."""
    if kind == "neutral":
        return Course()
    ranges = {
        "phasic": ((0.08, 0.5), (0.06, 0.12), (0.04, 0.12), (0.12, 0.2)),
        "tonic": ((0.02, 0.15), (0.3, 0.45), (0.4, 0.7), (0.15, 0.3)),
        "stimulus": ((0.08, 0.22), (0.12, 0.25), (0.25, 0.45), (0.12, 0.25)),
        "rising": ((0.0, 0.15), (0.55, 0.8), (1.0, 1.0), (0.1, 0.1)),
    }
    if kind not in ranges:
        raise ValueError(f"unknown course {kind!r}; there are {', '.join(KINDS)}")
    return Course(peak, *(float(rng.uniform(*around)) for around in ranges[kind]))


@dataclass(frozen=True)
class Manner:
    """How one person shows pain or an emotion."""

    units: tuple[float, ...]
    reach: float


@lru_cache(maxsize=64)
def pain_manner(person: Person) -> Manner:
    """Draw a person's way of showing pain, the same in all clips.

    Brow (AU4), eyes (AU6, AU7) and nose (AU9, AU10) share a sum that is about the same for all, in a mixture of the
    person's own; closed eyes (AU43) and one habit of the mouth come to it.

    References
    ----------
    Prkachin and Solomon, *The structure, reliability and validity of pain expression*, Pain 139, 2008: the units of
    the score. People differ in which of them they show: Kunz and Lautenbacher, *The faces of pain*, Eur. J. Pain 18,
    2014. The numbers here are our own.
    """
    rng = np.random.default_rng([person.seed, person.index, 11])
    brow, eyes, nose = np.minimum(0.4 + 0.9 * rng.dirichlet([0.9, 0.9, 0.9]), 1.0)
    full = {4: brow, 43: rng.uniform(0, 0.6)}
    for strength, pair in ((eyes, (6, 7)), (nose, (9, 10))):
        first, second = rng.permutation(pair)
        full |= {int(first): strength, int(second): strength * rng.uniform(0.2, 0.9)}
    habits: tuple[dict[int, float], ...] = ({}, {25: 0.6, 20: 0.4}, {25: 0.7, 26: 0.35}, {24: 0.6, 17: 0.4}, {12: 0.4})
    full |= habits[int(rng.integers(len(habits)))]
    reach = person.expressiveness * (_LEFT if rng.random() < _RESERVED else 1.0)
    return Manner(tuple(float(full.get(unit, 0.0)) for unit in AUS), reach)


def emotion_manner(person: Person, label: str, rng: np.random.Generator) -> Manner:
    """Draw how a person shows an emotion once: one of the person's own variants, each unit somewhat off."""
    units = habitual(person, label, rng) * np.exp(rng.normal(0, 0.15, len(AUS)))
    return Manner(tuple(float(unit) for unit in units), person.expressiveness)


@dataclass(frozen=True)
class Stray:
    """What a face does in a clip that has nothing to do with what the clip is about."""

    kind: str
    start: float
    length: float
    strength: float
    pace: float
    blinks: tuple[float, ...]
    tilt: tuple[float, ...]


def draw_stray(person: Person, seconds: float, rng: np.random.Generator) -> Stray:
    """Draw what comes beside pain or emotion in a clip that lasts ``seconds``; it does not depend on them."""
    kind = str(rng.choice(["", *DISTRACTORS], p=[0.55, 0.15, 0.12, 0.18]))
    return Stray(
        kind=kind,
        start=float(rng.uniform(0, 0.6)),
        length=float(rng.uniform(0.2, 0.45)),
        strength=float(rng.uniform(0.4, 0.9) * min(person.expressiveness, 1.0)),
        pace=float(rng.uniform(1.5, 3.0)),
        blinks=tuple(float(at) for at in rng.uniform(0, seconds, rng.poisson(0.2 * seconds))),
        tilt=tuple(float(side) for side in np.clip(rng.normal(0, person.asymmetry, len(AUS)), -0.35, 0.35)),
    )


def show(person: Person, manner: Manner, intensity: Array, stray: Stray, seconds: float) -> list[ActionUnits]:
    """Turn a course into what the face does."""
    frames = len(intensity)
    places = (np.arange(frames) + 0.5) / frames
    both = intensity[:, None] * manner.reach * np.array(manner.units)
    both = np.maximum(both, np.array(person.resting) * 0.7)
    if stray.kind:
        swell = stray.strength * np.sin(np.pi * np.clip((places - stray.start) / stray.length, 0, 1)) ** 2
        if stray.kind == "speech":
            swell = np.sqrt(swell) * (0.5 + 0.5 * np.sin(2 * np.pi * stray.pace * seconds * places)) * 0.9
        other = np.array([DISTRACTORS[stray.kind].get(unit, 0.0) for unit in AUS])
        both = np.maximum(both, swell[:, None] * other)
    lids = AUS.index(43)
    for middle in stray.blinks:
        both[:, lids] = np.maximum(both[:, lids], np.clip(1.3 - np.abs(places * seconds - middle) / 0.15, 0, 1))
    tilt = np.array(stray.tilt)
    sides = np.clip(np.stack([both * (1 + tilt), both * (1 - tilt)], -1), 0, 1)
    # Shut lids cannot be wide open.
    sides[:, AUS.index(5)] *= 1 - sides[:, lids]
    return [ActionUnits(values) for values in sides]
