"""Which clip shows whom in what pain or emotion, and all that is drawn for it: one state of the face per frame."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evenface.errors import InputError
from evenface.synthesis.courses import Course, Manner, Stray, draw_course, draw_stray, emotion_manner, pain_manner, show
from evenface.synthesis.figure import Light, Pose, State
from evenface.synthesis.people import Person
from evenface.synthesis.plan import shares, tint
from evenface.synthesis.render import Scene

Array = NDArray[np.float64]

CLASSES = {
    "level": ("0", "1", "2", "3", "4"),
    "course": ("neutral", "phasic", "tonic"),
    "trend": ("rising", "falling"),
    "expression": ("angry", "disgust", "fear", "happy", "sad", "surprise"),
}
# What a class shows: its course, and the row of its random numbers. A falling clip is a rising one backwards.
_SHOWN = {
    "neutral": ("neutral", 0),
    "phasic": ("phasic", 1),
    "tonic": ("tonic", 2),
    "rising": ("rising", 3),
    "falling": ("rising", 3),
    "0": ("neutral", 4),
    "1": ("stimulus", 5),
    "2": ("stimulus", 6),
    "3": ("stimulus", 7),
    "4": ("stimulus", 8),
    **{name: ("rising", 9 + row) for row, name in enumerate(CLASSES["expression"])},
}


@dataclass(frozen=True)
class Clip:
    """One clip to make: the ``number``-th of ``person`` with ``label``, showing ``shown``.

    ``shown`` is the label, except where the label belongs to the person: there nobody shows pain.
    """

    person: int
    label: str
    number: int
    shown: str

    @property
    def name(self) -> str:
        """Give the clip's name, its path without ``.mp4``."""
        return f"{self.label}/p{self.person:04d}-{self.number:03d}"

    @property
    def backwards(self) -> bool:
        """Say whether the frames are shown from last to first."""
        return self.shown == "falling"


@dataclass(frozen=True)
class Take:
    """All that is drawn for one clip: a state and an intensity per frame, first to last before any turning round."""

    kind: str
    course: Course
    manner: Manner
    stray: Stray
    intensity: Array
    states: list[State]
    scene: Scene


def spread_clips(
    label: str, counts: Mapping[str, int], people: int, seed: int, *, identity: bool = False
) -> list[Clip]:
    """Share out clips among people.

    Parameters
    ----------
    label : {"level", "course", "trend", "expression"}
        What the classes are; see :data:`CLASSES`.
    counts : mapping of str to int
        Clips of each class in total.
    people : int
        How many people.
    seed : int
        Decides who has one clip more, and with ``identity`` who has which label.
    identity : bool, default=False
        Give every person one label by chance, to each class as many people as to any other, give or take one.

    Returns
    -------
    list of Clip
        Ordered by person, class and number. Equal counts of ``rising`` and ``falling`` make pairs: the same person,
        the same number, the same frames. Of expressions no person has over one clip more than another, and nobody the
        same twice unless a class has more clips than there are people.

    Raises
    ------
    InputError
        If a class is unknown, a count is negative, or there are too few people or clips.
    """
    if label not in CLASSES:
        raise InputError(f"synthetic clips: unknown label {label!r}", f"There are {', '.join(CLASSES)}.")
    if people < 1:
        raise InputError(f"synthetic clips: there must be at least 1 person, got {people}")
    names = CLASSES[label]
    each = shares(counts, names, people, seed)
    if label == "trend":
        # One by one, so that the same people get one more of either.
        alone = {name: shares({name: counts.get(name, 0)}, (name,), people, seed) for name in names}
        each = [{name: alone[name][person][name] for name in names} for person in range(people)]
    if label == "expression":
        each = _round(each, names, seed)
    if identity:
        each = _dealt(counts, [name for name in names if counts.get(name, 0)], people, seed)
    clips = [
        Clip(person, name, number, "neutral" if identity else name)
        for person, own in enumerate(each)
        for name in names
        for number in range(own.get(name, 0))
    ]
    if not clips:
        raise InputError("synthetic clips: all counts are 0", "Ask for at least one clip.")
    return clips


def _round(each: Sequence[Mapping[str, int]], names: Sequence[str], seed: int) -> list[dict[str, int]]:
    """Deal class after class round the people, so that nobody has much more than another, and all have several."""
    order = np.random.default_rng([seed, 15]).permutation(len(each)).tolist()
    dealt: list[dict[str, int]] = [dict.fromkeys(names, 0) for _ in each]
    cards = [name for name in names for _ in range(sum(own.get(name, 0) for own in each))]
    for place, name in enumerate(cards):
        dealt[order[place % len(order)]][name] += 1
    return dealt


def _dealt(counts: Mapping[str, int], names: Sequence[str], people: int, seed: int) -> list[dict[str, int]]:
    if people < len(names):
        raise InputError(f"synthetic clips: {people} people cannot have {len(names)} labels", "Ask for more people.")
    order = np.random.default_rng([seed, 13]).permutation(people).tolist()
    each: list[dict[str, int]] = [{} for _ in range(people)]
    for row, name in enumerate(names):
        own = order[row :: len(names)]
        for place, person in enumerate(own):
            each[person][name] = counts[name] // len(own) + (place < counts[name] % len(own))
    return each


def compose_clip(person: Person, clip: Clip, frames: int, rate: float) -> Take:
    """Draw all that one clip shows: course, distractor, blinks, slow movement of head and eyes, room.

    Parameters
    ----------
    person : Person
        Who is seen; ``person.index`` must be ``clip.person``.
    clip : Clip
        Which clip.
    frames : int
        How many frames.
    rate : float
        Frames in a second.

    Returns
    -------
    Take
        It depends on the person, what is shown, the number, ``frames`` and ``rate`` only. Levels 1 to 4 peak at about
        a quarter, a half, three quarters and all of the person's pain; the courses, trends and expressions at 0.75
        to 1. An expression rises from the calm face to its peak and stays there, as the clips of CK+ do.
    """
    kind, row = _SHOWN[clip.shown]
    rng = np.random.default_rng([person.seed, person.index, row, clip.number, 12])
    planned = int(clip.shown) / 4 if clip.shown in CLASSES["level"] else float(rng.uniform(0.75, 1.0))
    peak = float(np.clip(planned + rng.normal(0, 0.05), 0.05, 1.0))
    posed = clip.shown in CLASSES["expression"]
    manner = emotion_manner(person, clip.shown, rng) if posed else pain_manner(person)
    course = draw_course(kind, peak, rng)
    seconds = frames / rate
    stray = draw_stray(person, seconds, rng)
    places = (np.arange(frames) + 0.5) / frames
    intensity = course.intensity(places)
    units = show(person, manner, intensity, stray, seconds)
    light, scene = _room(person, rng, (person.seed, person.index, row, clip.number, 12))
    yaw, pitch, roll = (_drift(places, amount, rng) for amount in (2.0, 1.4, 1.0))
    aside, up = (_drift(places, 2.0, rng) for _ in range(2))
    states = [
        State(
            units=units[i],
            pose=Pose(scene.aim.yaw + yaw[i], scene.aim.pitch + pitch[i], scene.aim.roll + roll[i]),
            gaze=(-0.4 * (scene.aim.yaw + yaw[i]) + aside[i], -0.3 * (scene.aim.pitch + pitch[i]) + up[i]),
            light=light,
        )
        for i in range(frames)
    ]
    return Take(kind, course, manner, stray, intensity, states, scene)


def _drift(places: Array, amount: float, rng: np.random.Generator) -> list[float]:
    """Move slowly about zero: two waves of up to about two in a clip, ``amount`` degrees strong on average."""
    waves = sum(
        rng.gamma(2.0, amount / 2) * np.sin(2 * np.pi * (rng.uniform(0.3, fastest) * places + rng.uniform()))
        for fastest in (0.9, 2.0)
    )
    return [float(wave) for wave in np.clip(waves, -4 * amount, 4 * amount)]


def _room(person: Person, rng: np.random.Generator, seed: tuple[int, ...]) -> tuple[Light, Scene]:
    """Give lamp, clothes and camera of the person's one visit, somewhat moved from clip to clip."""
    visit = np.random.default_rng([person.seed, person.index, 14])
    light = Light(
        yaw=float(visit.normal(10, 22) + rng.normal(0, 3)),
        pitch=float(np.clip(visit.normal(35, 10), 5, 65)),
        key=float(visit.uniform(0.75, 1.15) * np.exp(rng.normal(0, 0.04))),
        ambient=float(visit.uniform(0.5, 0.85)),
        warmth=float(visit.normal(0, 0.5)),
    )
    aim = Pose(
        yaw=float(np.clip(rng.normal(0, 7), -20, 20)),
        pitch=float(np.clip(rng.normal(0, 4), -10, 10)),
        roll=float(np.clip(rng.normal(0, 3), -8, 8)),
    )
    scene = Scene(
        seed=seed,
        shift=(float(rng.normal(0, 0.012)), float(rng.normal(0, 0.01))),
        aim=aim,
        zoom=float(visit.uniform(0.96, 1.06) * np.exp(rng.normal(0, 0.015))),
        cloth=tint(visit, 0.02, 0.5),
        backdrop=tint(visit, 0.1, 0.5),
        clutter=0.3,
        blur=0.002,
        grain=float(visit.uniform(0.003, 0.01)),
        exposure=float(np.exp(visit.normal(0, 0.1))),
    )
    return light, scene
