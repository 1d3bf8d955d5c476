"""Folders of synthetic video clips of pain and emotions, drawn in parallel, and the truth of every frame."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evenface.synthesis.actions import AUS
from evenface.synthesis.dynamics import (
    Course,
    Manner,
    Stray,
    draw_course,
    draw_stray,
    emotion_manner,
    pain_manner,
    show,
)
from evenface.synthesis.figure import Light, Pose, State
from evenface.synthesis.head import load_head
from evenface.synthesis.images import check_settings, draw_all, shares, tint
from evenface.synthesis.people import Person, make_person
from evenface.synthesis.renderer import Renderer, Scene
from evenface.utils.errors import InputError
from evenface.utils.files import atomic_write, write_json
from evenface.utils.progress import progress

if TYPE_CHECKING:
    import pandas as pd


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
    """Share out clips among people."""
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
    """Draw all that one clip shows: course, distractor, blinks, slow movement of head and eyes, room."""
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


VERSION = 1


def make_clips(
    folder: Path,
    *,
    label: str,
    counts: Mapping[str, int],
    people: int,
    frames: int = 44,
    rate: float = 8.0,
    size: int = 112,
    seed: int = 0,
    identity: bool = False,
    workers: int = 1,
) -> "pd.DataFrame":
    """Fill a folder with synthetic clips, or finish one that was begun.

    Parameters
    ----------
    folder : Path
        Gets ``<class>/<person>-<number>.mp4`` (H.264), ``truth.parquet``, ``frames.parquet`` and ``settings.json``.
    label : {"level", "course", "trend", "expression"}
        What the classes are: ``0`` to ``4``; neutral, phasic and tonic; rising and falling; six emotions.
    counts : mapping of str to int
        Clips per class in total.
    people : int
        How many people.
    frames : int, default=44
        Frames of a clip, 2 to 4096.
    rate : float, default=8.0
        Frames in a second.
    size : int, default=112
        Height and width in pixels, even.
    seed : int, default=0
        The population and everything drawn from it.
    identity : bool, default=False
        The label is the person's, by chance, and nobody shows pain.
    workers : int, default=1
        Processes, see :func:`evenface.synthesis.images.make_faces`.

    Returns
    -------
    DataFrame
        The truth, a row per clip: ``sample``, ``path`` (relative to ``folder``), ``label`` (name), ``subject``,
        ``clip``, ``kind`` of its course with ``peak`` (0 to 1) and its times as shares of the clip (``onset``,
        ``rise``, ``hold``, ``fall``; a falling clip has those of the rising one), ``distractor``, ``pspi`` (the
        clip's greatest), ``expressiveness`` of the person, ``age``, ``sex``. In ``frames.parquet`` a row per clip
        and frame: ``sample``, ``frame``, ``time`` (seconds), ``intensity`` (0 to 1), ``pspi``, ``au_<number>``,
        ``pose_yaw``, ``pose_pitch``, ``pose_roll``.

    Raises
    ------
    InputError
        If the folder holds clips of other settings, a setting is out of range, anny is missing, or the disk is full.
    """
    import pandas as pd

    _check(frames, rate, size, seed)
    clips = spread_clips(label, counts, people, seed, identity=identity)
    folder = Path(folder)
    settings: dict[str, object] = {"version": VERSION, "label": label, "counts": dict(counts), "people": people}
    settings |= {"frames": frames, "rate": rate, "size": size, "seed": seed, "identity": identity}
    check_settings(folder, settings, ".mp4")
    missing = [clip for clip in clips if not (folder / f"{clip.name}.mp4").exists()]
    truth = folder / "truth.parquet"
    if not missing and truth.exists():
        return pd.read_parquet(truth)
    load_head()
    write_json(folder / "settings.json", settings)
    with progress("drawing clips", len(clips), len(clips) - len(missing)) as advance:
        for done in draw_all(partial(_draw, folder, seed, size, frames, rate), missing, workers):
            advance(done)
    table, moments = _truth(clips, seed, frames, rate)
    for path, rows in ((folder / "frames.parquet", moments), (truth, table)):
        with atomic_write(path) as temporary:
            rows.to_parquet(temporary, index=False)
    return table


def _check(frames: int, rate: float, size: int, seed: int) -> None:
    if not 2 <= frames <= 4096:
        raise InputError(f"synthetic clips: frames must be 2 to 4096, got {frames}")
    if not 0.1 <= rate <= 240:
        raise InputError(f"synthetic clips: rate must be 0.1 to 240 frames a second, got {rate:g}")
    if not 16 <= size <= 2048 or size % 2:
        raise InputError(f"synthetic clips: size must be an even number from 16 to 2048 pixels, got {size}")
    if seed < 0:
        raise InputError(f"synthetic clips: the seed must be >= 0, got {seed}")


def _draw(folder: Path, seed: int, size: int, frames: int, rate: float, clips: Sequence[Clip]) -> int:
    renderer = Renderer(size)
    for clip in clips:
        person = make_person(seed, clip.person)
        take = compose_clip(person, clip, frames, rate)
        pictures = renderer.render(person, take.states, take.scene)
        with atomic_write(folder / f"{clip.name}.mp4") as temporary:
            write_video(temporary, pictures[::-1] if clip.backwards else pictures, rate)
    return len(clips)


def write_video(path: Path, pictures: NDArray[np.uint8], rate: float) -> None:
    """Write pictures as H.264 in MP4 (yuv420p), each coded by itself at the same fineness.

    So a frame's pixels do not depend on its neighbours, and say nothing of its place in the clip.
    """
    import av

    with av.open(str(path), "w", format="mp4") as container:
        options = {"qp": "10", "g": "1", "threads": "1"}
        stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1000), options=options)
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")))
        container.mux(stream.encode())


def _truth(clips: Sequence[Clip], seed: int, frames: int, rate: float) -> tuple["pd.DataFrame", "pd.DataFrame"]:
    import pandas as pd

    rows: list[dict[str, Any]] = []
    moments: list[dict[str, Any]] = []
    for clip in clips:
        person = make_person(seed, clip.person)
        take = compose_clip(person, clip, frames, rate)
        own = [_moment(clip.name, state, float(now)) for state, now in zip(take.states, take.intensity, strict=True)]
        if clip.backwards:
            own.reverse()
        moments += [{"frame": i, "time": i / rate, **moment} for i, moment in enumerate(own)]
        course = take.course
        row: dict[str, Any] = {
            "sample": clip.name,
            "path": f"{clip.name}.mp4",
            "label": clip.label,
            "subject": person.name,
        }
        row |= {"clip": clip.name, "kind": take.kind, "peak": course.peak, "onset": course.start}
        row |= {"rise": course.rise, "hold": course.hold, "fall": course.fall, "distractor": take.stray.kind}
        row |= {"expressiveness": take.manner.reach, "pspi": max(moment["pspi"] for moment in own)}
        rows.append({**row, "age": person.age, "sex": person.sex})
    return pd.DataFrame(rows), pd.DataFrame(moments)


def _moment(name: str, state: State, intensity: float) -> dict[str, Any]:
    moment: dict[str, Any] = {"sample": name, "intensity": intensity, "pspi": state.units.pspi()}
    moment |= {f"au_{unit}": state.units.intensity(unit) for unit in AUS}
    return moment | {"pose_yaw": state.pose.yaw, "pose_pitch": state.pose.pitch, "pose_roll": state.pose.roll}
