"""Who is asked to show what how often, and what else varies between the pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evenface.errors import InputError
from evenface.synthesis.actions import LABELS
from evenface.synthesis.figure import Light, Pose, State
from evenface.synthesis.people import Person, expression
from evenface.synthesis.render import Scene

Counts = Mapping[str, int] | Sequence[Mapping[str, int]]


@dataclass(frozen=True)
class Sample:
    """One picture to make: the ``number``-th of ``person`` showing ``label``."""

    person: int
    label: str
    number: int

    @property
    def name(self) -> str:
        """Give the sample's id, its path without ``.png``."""
        return f"{self.label}/p{self.person:04d}-{self.number:03d}"


def spread(counts: Counts, people: int, seed: int) -> list[Sample]:
    """Share out the pictures among the people.

    Parameters
    ----------
    counts : mapping of str to int, or sequence of such mappings
        Pictures per class in total; or one mapping per person.
    people : int
        How many people.
    seed : int
        Decides who goes first in each class.

    Returns
    -------
    list of Sample
        Ordered by person, class and number. Within a class no person has over one picture more than another, and
        the people who have one more, or who alone show a rare class, differ from class to class.

    Raises
    ------
    InputError
        If a class is unknown, a count is negative, there is nothing to draw, or the people do not match.
    """
    if people < 1:
        raise InputError(f"synthetic: there must be at least 1 person, got {people}")
    each = [dict(own) for own in counts] if isinstance(counts, Sequence) else shares(counts, LABELS, people, seed)
    if len(each) != people:
        raise InputError(f"synthetic: counts for {len(each)} people, but {people} people were asked for")
    for own in each:
        _check_counts(own, LABELS)
    samples = [Sample(p, label, n) for p, own in enumerate(each) for label in LABELS for n in range(own.get(label, 0))]
    if not samples:
        raise InputError("synthetic: all counts are 0", "Ask for at least one picture.")
    return samples


def shares(counts: Mapping[str, int], labels: Sequence[str], people: int, seed: int) -> list[dict[str, int]]:
    """Share out what there shall be of each class in total; the classes are ``labels``.

    Raises
    ------
    InputError
        If a class is unknown or a count is negative.
    """
    _check_counts(counts, labels)
    each: list[dict[str, int]] = [{} for _ in range(people)]
    for row, label in enumerate(labels):
        order = np.random.default_rng([seed, row, 9]).permutation(people)
        total = counts.get(label, 0)
        for place, person in enumerate(order):
            each[person][label] = total // people + (place < total % people)
    return each


def _check_counts(counts: Mapping[str, int], labels: Sequence[str]) -> None:
    unknown = [name for name in counts if name not in labels]
    if unknown:
        raise InputError(f"synthetic: unknown class {unknown[0]!r}", f"There are {', '.join(labels)}.")
    negative = [name for name, count in counts.items() if count < 0]
    if negative:
        raise InputError(f"synthetic: the count of {negative[0]} is negative")


def compose(person: Person, sample: Sample) -> tuple[State, Scene]:
    """Draw all that varies between one person's pictures: expression, pose, gaze, light, framing, camera.

    Parameters
    ----------
    person : Person
        Who is seen; ``person.index`` must be ``sample.person``.
    sample : Sample
        Which picture.

    Returns
    -------
    state : State
    scene : Scene
        Both depend on the person's seed and the sample only.
    """
    row = LABELS.index(sample.label)
    rng = np.random.default_rng([person.seed, person.index, row, sample.number, 7])
    units = expression(person, sample.label, rng)
    down = 5.0 if sample.label == "sad" else 0.0
    pose = Pose(
        yaw=float(np.clip(rng.normal(0, 11), -35, 35)),
        pitch=float(np.clip(rng.normal(0, 7) - down * rng.random(), -22, 18)),
        roll=float(np.clip(rng.normal(0, 5), -15, 15)),
    )
    gaze = (
        float(np.clip(rng.normal(-0.4 * pose.yaw, 7), -28, 28)),
        float(np.clip(rng.normal(-0.3 * pose.pitch, 5), -18, 14)),
    )
    light = Light(
        yaw=float(rng.normal(0, 38)),
        pitch=float(np.clip(rng.normal(35, 16), -5, 75)),
        key=float(rng.uniform(0.55, 1.35)),
        ambient=float(rng.uniform(0.35, 0.9)),
        warmth=float(rng.normal(0, 0.7)),
    )
    scene = Scene(
        seed=(person.seed, person.index, row, sample.number),
        shift=(float(rng.normal(0, 0.025)), float(rng.normal(0, 0.02))),
        aim=pose,
        zoom=float(rng.uniform(0.92, 1.12)),
        cloth=tint(rng, 0.02, 0.5),
        backdrop=tint(rng, 0.03, 0.7),
        clutter=float(rng.uniform(0, 1)),
        blur=float(rng.gamma(2.0, 0.0013)),
        grain=float(rng.gamma(2.0, 0.0045)),
        exposure=float(np.exp(rng.normal(0, 0.16))),
    )
    return State(units, pose, gaze, light), scene


def tint(rng: np.random.Generator, low: float, high: float) -> tuple[float, float, float]:
    """Draw a linear RGB colour of a brightness between ``low`` and ``high``, near grey."""
    red, green, blue = np.clip(np.exp(rng.uniform(np.log(low), np.log(high))) * np.exp(rng.normal(0, 0.13, 3)), 0, 0.9)
    return float(red), float(green), float(blue)
