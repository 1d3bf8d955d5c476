"""Folders of synthetic video clips of pain and emotions, drawn in parallel, and the truth of every frame."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evenface.errors import InputError
from evenface.files import atomic_write, write_json
from evenface.progress import progress
from evenface.synthesis.actions import AUS
from evenface.synthesis.batch import check_settings, draw_all
from evenface.synthesis.figure import State
from evenface.synthesis.mesh import load_head
from evenface.synthesis.people import make_person
from evenface.synthesis.render import Renderer
from evenface.synthesis.takes import Clip, compose_clip, spread_clips

if TYPE_CHECKING:
    import pandas as pd

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
        Processes, see :func:`evenface.synthesis.cohort.make_faces`.

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

    Parameters
    ----------
    path : Path
        The file; its folder must exist.
    pictures : ndarray of shape (T, H, W, 3)
        sRGB, uint8; H and W even.
    rate : float
        Frames in a second.
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
