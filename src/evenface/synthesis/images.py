"""Generate folders of synthetic face images in parallel, with their ground truth."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from evenface.synthesis.actions import AUS, LABELS
from evenface.synthesis.geometry import Light, Pose, State
from evenface.synthesis.people import Person, draw_colour, draw_expression, make_person
from evenface.synthesis.renderer import Renderer, Scene
from evenface.synthesis.variety import compose_varied_face, tighten, vary_person
from evenface.utils.errors import InputError
from evenface.utils.files import atomic_write, write_json
from evenface.utils.progress import progress
from evenface.utils.workers import WorkerDiedError, WorkerPool

if TYPE_CHECKING:
    import pandas as pd


Look = Literal["plain", "varied", "tight"]
Counts = Mapping[str, int] | Sequence[Mapping[str, int]]


@dataclass(frozen=True)
class FacePlan:
    """One image to generate: the ``number``-th of ``person`` with the expression ``label``."""

    person: int
    label: str
    number: int

    @property
    def name(self) -> str:
        """Return the name of the sample: its path without ``.png``."""
        return f"{self.label}/p{self.person:04d}-{self.number:03d}"


def plan_faces(counts: Counts, people: int, seed: int) -> list[FacePlan]:
    """Distribute images over people."""
    if people < 1:
        raise InputError(f"synthetic: there must be at least 1 person, got {people}")
    each = (
        [dict(own) for own in counts]
        if isinstance(counts, Sequence)
        else counts_per_person(counts, LABELS, people, seed)
    )
    if len(each) != people:
        raise InputError(f"synthetic: got counts for {len(each)} people, but people is {people}")
    for own in each:
        _check_counts(own, LABELS)
    samples = [
        FacePlan(p, label, n) for p, own in enumerate(each) for label in LABELS for n in range(own.get(label, 0))
    ]
    if not samples:
        raise InputError("synthetic: all counts are 0", "Set at least one count above 0.")
    return samples


def counts_per_person(counts: Mapping[str, int], labels: Sequence[str], people: int, seed: int) -> list[dict[str, int]]:
    """Distribute total counts per class in ``labels`` evenly over people."""
    _check_counts(counts, labels)
    each: list[dict[str, int]] = [{} for _ in range(people)]
    for row, label in enumerate(labels):
        order = np.random.default_rng([seed, row, 9]).permutation(people)
        total = counts.get(label, 0)
        for index, person in enumerate(order):
            each[person][label] = total // people + (index < total % people)
    return each


def _check_counts(counts: Mapping[str, int], labels: Sequence[str]) -> None:
    unknown = [name for name in counts if name not in labels]
    if unknown:
        raise InputError(f"synthetic: unknown class {unknown[0]!r}", f"Available: {', '.join(labels)}.")
    negative = [name for name, count in counts.items() if count < 0]
    if negative:
        raise InputError(f"synthetic: the count of {negative[0]} is negative")


def compose_face(person: Person, sample: FacePlan) -> tuple[State, Scene]:
    """Draw what varies between images of a person: expression, pose, gaze, light, framing and camera."""
    row = LABELS.index(sample.label)
    rng = np.random.default_rng([person.seed, person.index, row, sample.number, 7])
    units = draw_expression(person, sample.label, rng)
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
        cloth=draw_colour(rng, 0.02, 0.5),
        backdrop=draw_colour(rng, 0.03, 0.7),
        clutter=float(rng.uniform(0, 1)),
        blur=float(rng.gamma(2.0, 0.0013)),
        grain=float(rng.gamma(2.0, 0.0045)),
        exposure=float(np.exp(rng.normal(0, 0.16))),
    )
    return State(units, pose, gaze, light), scene


_CHUNK = 24


class PersonSample(Protocol):
    """A sample of one person."""

    @property
    def person(self) -> int:
        """Index of the person."""


SampleType = TypeVar("SampleType", bound=PersonSample)


def check_settings(folder: Path, settings: dict[str, object], suffix: str) -> None:
    """Raise InputError if a folder contains files with other settings, or files with this suffix and no settings."""
    path = folder / "settings.json"
    if not path.exists():
        if folder.is_dir() and any(folder.glob(f"*/*{suffix}")):
            raise InputError(f"{folder} contains files that evenface did not generate", "Choose another folder.")
        return
    try:
        old = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"cannot read {path}", "Delete the folder, or choose another.") from error
    if old != settings:
        before = old if isinstance(old, dict) else {}
        other = [name for name in settings | before if before.get(name) != settings.get(name)]
        raise InputError(
            f"{folder} was generated with other settings ({', '.join(other)})",
            "Choose another folder, or delete it.",
        )


def draw_all(draw: Callable[[Sequence[SampleType]], int], samples: Sequence[SampleType], workers: int) -> Iterator[int]:
    """Generate all samples in this process or in several; yield the number of finished ones as they finish."""
    people = (list(own) for _, own in groupby(samples, key=lambda sample: sample.person))
    chunks = [own[start : start + _CHUNK] for own in people for start in range(0, len(own), _CHUNK)]
    if workers <= 1 or len(chunks) < 2:
        for sample in samples:
            yield draw([sample])
        return
    with WorkerPool(min(workers, len(chunks)), name="evenface-synthesis") as pool:
        try:
            for _, done in pool.map_unordered(partial(pool.call, draw), chunks):
                yield done
        except WorkerDiedError as error:
            raise InputError(
                f"not all images were generated: {error}", "Use fewer workers and run again: finished images are kept."
            ) from error


VERSION = 4


def make_faces(
    folder: Path,
    *,
    counts: Counts,
    people: int,
    size: int = 112,
    seed: int = 0,
    workers: int = 1,
    look: Look = "plain",
) -> "pd.DataFrame":
    """Generate a folder of synthetic faces, or resume an interrupted one.

    Parameters
    ----------
    folder : Path
        Receives ``<class>/<person>-<number>.png``, ``truth.parquet`` and ``settings.json``.
    counts : mapping of str to int, or sequence of such mappings
        Images per class in total, or per person; see :func:`plan_faces`.
    people : int
        Number of people.
    size : int, default=112
        Height and width in pixels.
    seed : int, default=0
        Seed of the population and of everything drawn from it.
    workers : int, default=1
        Number of processes, which does not change the images. With more than 1, a script needs
        ``if __name__ == "__main__"``, as required by Python's ``spawn``.
    look : {"plain", "varied", "tight"}, default="plain"
        Looks of a laboratory; or closer to photographs from the web, see :mod:`evenface.synthesis.variety`; or the same
        with the tight framing of images that were cropped to faces.

    Returns
    -------
    DataFrame
        Ground truth, a row per image: ``sample``, ``path`` (relative to ``folder``), ``label`` (name), ``subject``,
        ``au_<number>`` (0 to 1, mean of both sides), ``pose_yaw``, ``pose_pitch``, ``pose_roll`` (degrees, see
        :class:`~evenface.synthesis.geometry.Pose`), ``gaze_yaw``, ``gaze_pitch``, ``age`` (years), ``sex``, ``pspi``.

    Raises
    ------
    InputError
        If the folder contains faces with other settings, the counts are invalid, or the disk is full.
    """
    import pandas as pd

    _check(size, seed, look)
    samples = plan_faces(counts, people, seed)
    folder = Path(folder)
    settings: dict[str, object] = {
        "version": VERSION,
        "seed": seed,
        "size": size,
        "people": people,
        "counts": dict(counts) if isinstance(counts, Mapping) else [dict(own) for own in counts],
    }
    if look != "plain":
        settings["look"] = look
    check_settings(folder, settings, ".png")
    missing = [sample for sample in samples if not (folder / f"{sample.name}.png").exists()]
    truth = folder / "truth.parquet"
    if not missing and truth.exists():
        return pd.read_parquet(truth)
    write_json(folder / "settings.json", settings)
    with progress("generating faces", len(samples)) as advance:
        advance(len(samples) - len(missing))
        for done in draw_all(partial(_write, folder, seed, size, look), missing, workers):
            advance(done)
    table = _truth(samples, seed, look)
    with atomic_write(truth) as temporary:
        table.to_parquet(temporary, index=False)
    return table


@dataclass(frozen=True)
class FaceArrays:
    """Rendered faces with their ground truth, one row each.

    Attributes
    ----------
    images : ndarray of shape (N, size, size, 3)
        sRGB, uint8.
    labels : ndarray of shape (N,)
        Index of the expression in :data:`~evenface.synthesis.actions.LABELS`.
    people : ndarray of shape (N,)
        Index of the person.
    units : ndarray of shape (N, len(AUS))
        Intensity of each unit of :data:`~evenface.synthesis.actions.AUS`, 0 to 1, mean of both sides.
    poses : ndarray of shape (N, 3)
        Yaw, pitch and roll in degrees, see :class:`~evenface.synthesis.geometry.Pose`.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    people: NDArray[np.int64]
    units: NDArray[np.float64]
    poses: NDArray[np.float64]


def draw_faces(
    counts: int | Counts, *, people: int = 40, size: int = 112, seed: int = 0, look: Look = "plain"
) -> FaceArrays:
    """Render synthetic faces in memory; :func:`make_faces` writes the same images to files.

    Parameters
    ----------
    counts : int, mapping of str to int, or sequence of such mappings
        Number of images, as evenly distributed over the expressions as possible; or images per class as in
        :func:`make_faces`.
    people : int, default=40
        Number of people.
    size : int, default=112
        Height and width in pixels.
    seed : int, default=0
        Seed of the population and of everything drawn from it.
    look : {"plain", "varied", "tight"}, default="plain"
        Looks of a laboratory; or closer to photographs from the web, see :mod:`evenface.synthesis.variety`; or the same
        with the tight framing of images that were cropped to faces.

    Returns
    -------
    FaceArrays
        Person by person.

    Raises
    ------
    InputError
        If a setting is out of range.
    """
    _check(size, seed, look)
    if isinstance(counts, int):
        counts = {label: (counts + row) // len(LABELS) for row, label in enumerate(LABELS)}
    samples, renderer = plan_faces(counts, people, seed), Renderer(size)
    images = np.empty((len(samples), size, size, 3), np.uint8)
    units, poses = np.empty((len(samples), len(AUS))), np.empty((len(samples), 3))
    for row, sample in enumerate(samples):
        person, state, scene = compose(seed, sample, look)
        images[row] = renderer.render(person, [state], scene)[0]
        units[row] = state.units.values.mean(1)
        poses[row] = state.pose.yaw, state.pose.pitch, state.pose.roll
    labels = np.array([LABELS.index(sample.label) for sample in samples])
    return FaceArrays(images, labels, np.array([sample.person for sample in samples]), units, poses)


def _check(size: int, seed: int, look: str) -> None:
    if not 16 <= size <= 2048:
        raise InputError(f"synthetic: size must be 16 to 2048 pixels, got {size}")
    if seed < 0:
        raise InputError(f"synthetic: the seed must be >= 0, got {seed}")
    if look not in get_args(Look):
        raise InputError(f"synthetic: look must be {' or '.join(get_args(Look))}, got {look!r}")


def compose(seed: int, sample: FacePlan, look: Look = "plain") -> tuple[Person, State, Scene]:
    """Draw person, state and scene of one image."""
    person = make_person(seed, sample.person)
    if look == "plain":
        return person, *compose_face(person, sample)
    person = vary_person(person)
    state, scene = compose_varied_face(person, sample.label, sample.number)
    return person, state, tighten(scene) if look == "tight" else scene


def _write(folder: Path, seed: int, size: int, look: Look, samples: Sequence[FacePlan]) -> int:
    from PIL import Image

    renderer = Renderer(size)
    for sample in samples:
        person, state, scene = compose(seed, sample, look)
        image = renderer.render(person, [state], scene)[0]
        with atomic_write(folder / f"{sample.name}.png") as temporary:
            Image.fromarray(image).save(temporary, compress_level=3)
    return len(samples)


def _truth(samples: Sequence[FacePlan], seed: int, look: Look) -> "pd.DataFrame":
    import pandas as pd

    rows = []
    for sample in samples:
        person, state, _ = compose(seed, sample, look)
        row: dict[str, object] = {"sample": sample.name, "path": f"{sample.name}.png", "label": sample.label}
        row |= {"subject": person.name, "age": person.age, "sex": person.sex}
        row |= {f"au_{unit}": state.units.intensity(unit) for unit in AUS}
        row |= {"pose_yaw": state.pose.yaw, "pose_pitch": state.pose.pitch, "pose_roll": state.pose.roll}
        row |= {"gaze_yaw": state.gaze[0], "gaze_pitch": state.gaze[1], "pspi": state.units.pspi()}
        rows.append(row)
    return pd.DataFrame(rows)
