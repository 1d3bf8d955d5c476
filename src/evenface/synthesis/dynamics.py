"""Expression dynamics: intensity profiles over time, individual styles of expression, distractors and blinks."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from evenface.synthesis.actions import AUS, ActionUnits
from evenface.synthesis.people import Person, draw_variant

Array = NDArray[np.float64]

KINDS = ("neutral", "phasic", "tonic", "stimulus", "rising")

# Expressions unrelated to the label, as unit intensities at their peak. Speech also opens and closes the mouth.
DISTRACTORS: dict[str, dict[int, float]] = {
    "smile": {6: 0.4, 12: 0.9, 25: 0.5},
    "surprise": {1: 0.9, 2: 0.9, 5: 0.7, 25: 0.4, 26: 0.4},
    "speech": {18: 0.3, 25: 0.7, 26: 0.4},
}
# Proportion of people who show little pain, and the factor on its amplitude.
_RESERVED, _RESERVED_FACTOR = 0.1, 0.45


@dataclass(frozen=True)
class IntensityProfile:
    """Intensity of pain or an emotion over a clip: onset, apex and offset as raised cosines."""

    peak: float = 0.0
    start: float = 0.0
    rise: float = 0.1
    hold: float = 1.0
    fall: float = 0.1

    def intensity(self, times: Array) -> Array:
        """Return the intensity, 0 to ``peak``, at times from 0 (start of the clip) to 1 (end); same shape."""
        up = _ease((times - self.start) / self.rise)
        down = _ease((times - self.start - self.rise - self.hold) / self.fall)
        result: Array = self.peak * up * (1 - down)
        return result


def _ease(share: Array) -> Array:
    result: Array = 0.5 - 0.5 * np.cos(np.pi * np.clip(share, 0, 1))
    return result


def draw_profile(kind: str, peak: float, rng: np.random.Generator) -> IntensityProfile:
    """Draw the intensity profile of one kind."""
    if kind == "neutral":
        return IntensityProfile()
    ranges = {
        "phasic": ((0.08, 0.5), (0.06, 0.12), (0.04, 0.12), (0.12, 0.2)),
        "tonic": ((0.02, 0.15), (0.3, 0.45), (0.4, 0.7), (0.15, 0.3)),
        "stimulus": ((0.08, 0.22), (0.12, 0.25), (0.25, 0.45), (0.12, 0.25)),
        "rising": ((0.0, 0.15), (0.55, 0.8), (1.0, 1.0), (0.1, 0.1)),
    }
    if kind not in ranges:
        raise ValueError(f"unknown intensity profile {kind!r}; available: {', '.join(KINDS)}")
    return IntensityProfile(peak, *(float(rng.uniform(*bounds)) for bounds in ranges[kind]))


@dataclass(frozen=True)
class ExpressionStyle:
    """Action units of a person's pain or emotion at full intensity, and the amplitude that scales them."""

    units: tuple[float, ...]
    amplitude: float


@lru_cache(maxsize=64)
def pain_style(person: Person) -> ExpressionStyle:
    """Draw a person's style of pain expression, which is the same in all clips.

    The intensities of brow (AU4), eyes (AU6, AU7) and nose (AU9, AU10) have about the same sum for all people, in
    individual proportions; closed eyes (AU43) and one habitual mouth movement are added.

    References
    ----------
    Prkachin and Solomon, *The structure, reliability and validity of pain expression*, Pain 139, 2008: the units of
    the score. Individual patterns: Kunz and Lautenbacher, *The faces of pain*, Eur. J. Pain 18, 2014. The numbers
    are evenface's own.
    """
    rng = np.random.default_rng([person.seed, person.index, 11])
    brow, eyes, nose = np.minimum(0.4 + 0.9 * rng.dirichlet([0.9, 0.9, 0.9]), 1.0)
    full = {4: brow, 43: rng.uniform(0, 0.6)}
    for strength, pair in ((eyes, (6, 7)), (nose, (9, 10))):
        first, second = rng.permutation(pair)
        full |= {int(first): strength, int(second): strength * rng.uniform(0.2, 0.9)}
    habits: tuple[dict[int, float], ...] = ({}, {25: 0.6, 20: 0.4}, {25: 0.7, 26: 0.35}, {24: 0.6, 17: 0.4}, {12: 0.4})
    full |= habits[int(rng.integers(len(habits)))]
    amplitude = person.expressiveness * (_RESERVED_FACTOR if rng.random() < _RESERVED else 1.0)
    return ExpressionStyle(tuple(float(full.get(unit, 0.0)) for unit in AUS), amplitude)


def emotion_style(person: Person, label: str, rng: np.random.Generator) -> ExpressionStyle:
    """Draw the style of one emotional expression: a variant of the prototype with noise on each unit."""
    units = draw_variant(person, label, rng) * np.exp(rng.normal(0, 0.15, len(AUS)))
    return ExpressionStyle(tuple(float(unit) for unit in units), person.expressiveness)


@dataclass(frozen=True)
class Distractors:
    """Facial behaviour unrelated to the label: a distractor expression, blinks and asymmetry."""

    kind: str
    start: float
    length: float
    strength: float
    pace: float
    blinks: tuple[float, ...]
    tilt: tuple[float, ...]


def draw_distractors(person: Person, seconds: float, rng: np.random.Generator) -> Distractors:
    """Draw behaviour unrelated to the label, independently of it, for a clip of ``seconds``."""
    kind = str(rng.choice(["", *DISTRACTORS], p=[0.55, 0.15, 0.12, 0.18]))
    return Distractors(
        kind=kind,
        start=float(rng.uniform(0, 0.6)),
        length=float(rng.uniform(0.2, 0.45)),
        strength=float(rng.uniform(0.4, 0.9) * min(person.expressiveness, 1.0)),
        pace=float(rng.uniform(1.5, 3.0)),
        blinks=tuple(float(at) for at in rng.uniform(0, seconds, rng.poisson(0.2 * seconds))),
        tilt=tuple(float(side) for side in np.clip(rng.normal(0, person.asymmetry, len(AUS)), -0.35, 0.35)),
    )


def action_unit_sequence(
    person: Person, style: ExpressionStyle, intensity: Array, distractors: Distractors, seconds: float
) -> list[ActionUnits]:
    """Compute action units per frame from an intensity profile, a style and distractors."""
    frames = len(intensity)
    times = (np.arange(frames) + 0.5) / frames
    both = intensity[:, None] * style.amplitude * np.array(style.units)
    both = np.maximum(both, np.array(person.resting) * 0.7)
    if distractors.kind:
        envelope = (
            distractors.strength * np.sin(np.pi * np.clip((times - distractors.start) / distractors.length, 0, 1)) ** 2
        )
        if distractors.kind == "speech":
            envelope = np.sqrt(envelope) * (0.5 + 0.5 * np.sin(2 * np.pi * distractors.pace * seconds * times)) * 0.9
        other = np.array([DISTRACTORS[distractors.kind].get(unit, 0.0) for unit in AUS])
        both = np.maximum(both, envelope[:, None] * other)
    lids = AUS.index(43)
    for middle in distractors.blinks:
        both[:, lids] = np.maximum(both[:, lids], np.clip(1.3 - np.abs(times * seconds - middle) / 0.15, 0, 1))
    tilt = np.array(distractors.tilt)
    sides = np.clip(np.stack([both * (1 + tilt), both * (1 - tilt)], -1), 0, 1)
    # Closed eyelids cannot be raised.
    sides[:, AUS.index(5)] *= 1 - sides[:, lids]
    return [ActionUnits(values) for values in sides]
