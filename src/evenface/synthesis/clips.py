"""Generate folders of synthetic video clips of pain and emotions in parallel, with ground truth for every frame."""

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
    Distractors,
    ExpressionStyle,
    IntensityProfile,
    action_unit_sequence,
    draw_distractors,
    draw_profile,
    emotion_style,
    pain_style,
)
from evenface.synthesis.geometry import Light, Pose, State
from evenface.synthesis.images import check_settings, counts_per_person, draw_all
from evenface.synthesis.people import Person, draw_colour, make_person
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
# Intensity profile of each class, and the row of its random numbers. A falling clip is a rising one played backwards.
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
    """One clip to generate: the ``number``-th of ``person`` with ``label``.

    ``shown`` is the displayed class. It equals the label, except if labels belong to people: then nobody shows pain.
    """

    person: int
    label: str
    number: int
    shown: str

    @property
    def name(self) -> str:
        """Return the name of the clip: its path without ``.mp4``."""
        return f"{self.label}/p{self.person:04d}-{self.number:03d}"

    @property
    def backwards(self) -> bool:
        """Return whether the frames are written in reverse order."""
        return self.shown == "falling"


@dataclass(frozen=True)
class ClipAnimation:
    """Random content of one clip: a state and an intensity per frame, in order before any reversal."""

    kind: str
    profile: IntensityProfile
    style: ExpressionStyle
    distractors: Distractors
    intensity: Array
    states: list[State]
    scene: Scene


def plan_clips(label: str, counts: Mapping[str, int], people: int, seed: int, *, identity: bool = False) -> list[Clip]:
    """Distribute clips over people."""
    if label not in CLASSES:
        raise InputError(f"synthetic clips: unknown label {label!r}", f"Available: {', '.join(CLASSES)}.")
    if people < 1:
        raise InputError(f"synthetic clips: there must be at least 1 person, got {people}")
    names = CLASSES[label]
    each = counts_per_person(counts, names, people, seed)
    if label == "trend":
        # Class by class, so that the same people get one more of either.
        alone = {name: counts_per_person({name: counts.get(name, 0)}, (name,), people, seed) for name in names}
        each = [{name: alone[name][person][name] for name in names} for person in range(people)]
    if label == "expression":
        each = _balance_across_people(each, names, seed)
    if identity:
        each = _assign_labels(counts, [name for name in names if counts.get(name, 0)], people, seed)
    clips = [
        Clip(person, name, number, "neutral" if identity else name)
        for person, own in enumerate(each)
        for name in names
        for number in range(own.get(name, 0))
    ]
    if not clips:
        raise InputError("synthetic clips: all counts are 0", "Set at least one count above 0.")
    return clips


def _balance_across_people(each: Sequence[Mapping[str, int]], names: Sequence[str], seed: int) -> list[dict[str, int]]:
    """Distribute class after class over people in turn, so that totals are even and everybody has several classes."""
    order = np.random.default_rng([seed, 15]).permutation(len(each)).tolist()
    balanced: list[dict[str, int]] = [dict.fromkeys(names, 0) for _ in each]
    slots = [name for name in names for _ in range(sum(own.get(name, 0) for own in each))]
    for index, name in enumerate(slots):
        balanced[order[index % len(order)]][name] += 1
    return balanced


def _assign_labels(counts: Mapping[str, int], names: Sequence[str], people: int, seed: int) -> list[dict[str, int]]:
    if people < len(names):
        raise InputError(
            f"synthetic clips: {len(names)} labels need at least as many people, got {people}", "Increase people."
        )
    order = np.random.default_rng([seed, 13]).permutation(people).tolist()
    each: list[dict[str, int]] = [{} for _ in range(people)]
    for row, name in enumerate(names):
        own = order[row :: len(names)]
        for index, person in enumerate(own):
            each[person][name] = counts[name] // len(own) + (index < counts[name] % len(own))
    return each


def compose_clip(person: Person, clip: Clip, frames: int, rate: float) -> ClipAnimation:
    """Draw the content of one clip: intensity profile, distractors, blinks, head and eye movement, light and scene."""
    kind, row = _SHOWN[clip.shown]
    rng = np.random.default_rng([person.seed, person.index, row, clip.number, 12])
    planned = int(clip.shown) / 4 if clip.shown in CLASSES["level"] else float(rng.uniform(0.75, 1.0))
    peak = float(np.clip(planned + rng.normal(0, 0.05), 0.05, 1.0))
    posed = clip.shown in CLASSES["expression"]
    style = emotion_style(person, clip.shown, rng) if posed else pain_style(person)
    profile = draw_profile(kind, peak, rng)
    seconds = frames / rate
    distractors = draw_distractors(person, seconds, rng)
    times = (np.arange(frames) + 0.5) / frames
    intensity = profile.intensity(times)
    units = action_unit_sequence(person, style, intensity, distractors, seconds)
    light, scene = _light_and_scene(person, rng, (person.seed, person.index, row, clip.number, 12))
    yaw, pitch, roll = (_drift(times, amount, rng) for amount in (2.0, 1.4, 1.0))
    gaze_yaw, gaze_pitch = (_drift(times, 2.0, rng) for _ in range(2))
    states = [
        State(
            units=units[i],
            pose=Pose(scene.aim.yaw + yaw[i], scene.aim.pitch + pitch[i], scene.aim.roll + roll[i]),
            gaze=(-0.4 * (scene.aim.yaw + yaw[i]) + gaze_yaw[i], -0.3 * (scene.aim.pitch + pitch[i]) + gaze_pitch[i]),
            light=light,
        )
        for i in range(frames)
    ]
    return ClipAnimation(kind, profile, style, distractors, intensity, states, scene)


def _drift(times: Array, amount: float, rng: np.random.Generator) -> list[float]:
    """Draw slow movement about zero: two sine waves of up to two periods per clip, ``amount`` strong on average."""
    waves = sum(
        rng.gamma(2.0, amount / 2) * np.sin(2 * np.pi * (rng.uniform(0.3, fastest) * times + rng.uniform()))
        for fastest in (0.9, 2.0)
    )
    return [float(wave) for wave in np.clip(waves, -4 * amount, 4 * amount)]


def _light_and_scene(person: Person, rng: np.random.Generator, seed: tuple[int, ...]) -> tuple[Light, Scene]:
    """Draw light, clothes and camera of a person's recording session, varied slightly between clips."""
    session = np.random.default_rng([person.seed, person.index, 14])
    light = Light(
        yaw=float(session.normal(10, 22) + rng.normal(0, 3)),
        pitch=float(np.clip(session.normal(35, 10), 5, 65)),
        key=float(session.uniform(0.75, 1.15) * np.exp(rng.normal(0, 0.04))),
        ambient=float(session.uniform(0.5, 0.85)),
        warmth=float(session.normal(0, 0.5)),
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
        zoom=float(session.uniform(0.96, 1.06) * np.exp(rng.normal(0, 0.015))),
        cloth=draw_colour(session, 0.02, 0.5),
        backdrop=draw_colour(session, 0.1, 0.5),
        clutter=0.3,
        blur=0.002,
        grain=float(session.uniform(0.003, 0.01)),
        exposure=float(np.exp(session.normal(0, 0.1))),
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
    """Generate a folder of synthetic clips, or resume an interrupted one.

    Parameters
    ----------
    folder : Path
        Receives ``<class>/<person>-<number>.mp4`` (H.264), ``truth.parquet``, ``frames.parquet`` and ``settings.json``.
    label : {"level", "course", "trend", "expression"}
        Set of classes: ``0`` to ``4``; neutral, phasic and tonic; rising and falling; six emotions.
    counts : mapping of str to int
        Clips per class in total.
    people : int
        Number of people.
    frames : int, default=44
        Frames per clip, 2 to 4096.
    rate : float, default=8.0
        Frames per second.
    size : int, default=112
        Height and width in pixels, even.
    seed : int, default=0
        Seed of the population and of everything drawn from it.
    identity : bool, default=False
        Whether labels are assigned to people at random and nobody shows pain.
    workers : int, default=1
        Number of processes, see :func:`evenface.synthesis.images.make_faces`.

    Returns
    -------
    DataFrame
        Ground truth, a row per clip: ``sample``, ``path`` (relative to ``folder``), ``label`` (name), ``subject``,
        ``clip``, ``kind`` of intensity profile with ``peak`` (0 to 1) and times as fractions of the clip (``onset``,
        ``rise``, ``hold``, ``fall``; for falling clips before reversal), ``distractor``, ``pspi`` (maximum of the
        clip), ``expressiveness`` of the person, ``age``, ``sex``. In ``frames.parquet`` a row per clip
        and frame: ``sample``, ``frame``, ``time`` (seconds), ``intensity`` (0 to 1), ``pspi``, ``au_<number>``,
        ``pose_yaw``, ``pose_pitch``, ``pose_roll``.

    Raises
    ------
    InputError
        If the folder contains clips with other settings, a setting is out of range or the disk is full.
    """
    import pandas as pd

    _check(frames, rate, size, seed)
    clips = plan_clips(label, counts, people, seed, identity=identity)
    folder = Path(folder)
    settings: dict[str, object] = {"version": VERSION, "label": label, "counts": dict(counts), "people": people}
    settings |= {"frames": frames, "rate": rate, "size": size, "seed": seed, "identity": identity}
    check_settings(folder, settings, ".mp4")
    missing = [clip for clip in clips if not (folder / f"{clip.name}.mp4").exists()]
    truth = folder / "truth.parquet"
    if not missing and truth.exists():
        return pd.read_parquet(truth)
    write_json(folder / "settings.json", settings)
    with progress("generating clips", len(clips), len(clips) - len(missing)) as advance:
        for done in draw_all(partial(_draw, folder, seed, size, frames, rate), missing, workers):
            advance(done)
    table, frame_rows = _truth(clips, seed, frames, rate)
    for path, rows in ((folder / "frames.parquet", frame_rows), (truth, table)):
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
        animation = compose_clip(person, clip, frames, rate)
        images = renderer.render(person, animation.states, animation.scene)
        with atomic_write(folder / f"{clip.name}.mp4") as temporary:
            write_video(temporary, images[::-1] if clip.backwards else images, rate)
    return len(clips)


def write_video(path: Path, images: NDArray[np.uint8], rate: float) -> None:
    """Write frames as H.264 in MP4 (yuv420p), all intra-coded with the same quantiser.

    Thus pixels of a frame depend neither on its neighbours nor on its position in the clip.
    """
    import av

    with av.open(str(path), "w", format="mp4") as container:
        options = {"qp": "10", "g": "1", "threads": "1"}
        stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1000), options=options)
        stream.height, stream.width = images.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")))
        container.mux(stream.encode())


def _truth(clips: Sequence[Clip], seed: int, frames: int, rate: float) -> tuple["pd.DataFrame", "pd.DataFrame"]:
    import pandas as pd

    rows: list[dict[str, Any]] = []
    frame_rows: list[dict[str, Any]] = []
    for clip in clips:
        person = make_person(seed, clip.person)
        animation = compose_clip(person, clip, frames, rate)
        own = [
            _frame_truth(clip.name, state, float(now))
            for state, now in zip(animation.states, animation.intensity, strict=True)
        ]
        if clip.backwards:
            own.reverse()
        frame_rows += [{"frame": i, "time": i / rate, **frame_truth} for i, frame_truth in enumerate(own)]
        profile = animation.profile
        row: dict[str, Any] = {
            "sample": clip.name,
            "path": f"{clip.name}.mp4",
            "label": clip.label,
            "subject": person.name,
        }
        row |= {"clip": clip.name, "kind": animation.kind, "peak": profile.peak, "onset": profile.start}
        row |= {
            "rise": profile.rise,
            "hold": profile.hold,
            "fall": profile.fall,
            "distractor": animation.distractors.kind,
        }
        row |= {"expressiveness": animation.style.amplitude, "pspi": max(frame_truth["pspi"] for frame_truth in own)}
        rows.append({**row, "age": person.age, "sex": person.sex})
    return pd.DataFrame(rows), pd.DataFrame(frame_rows)


def _frame_truth(name: str, state: State, intensity: float) -> dict[str, Any]:
    frame_truth: dict[str, Any] = {"sample": name, "intensity": intensity, "pspi": state.units.pspi()}
    frame_truth |= {f"au_{unit}": state.units.intensity(unit) for unit in AUS}
    return frame_truth | {"pose_yaw": state.pose.yaw, "pose_pitch": state.pose.pitch, "pose_roll": state.pose.roll}
