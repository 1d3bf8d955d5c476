"""Folders of synthetic faces, drawn in parallel, with the truth beside the pictures."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from evenface.errors import InputError
from evenface.files import atomic_write, write_json
from evenface.progress import progress
from evenface.synthesis.actions import AUS
from evenface.synthesis.batch import check_settings, draw_all
from evenface.synthesis.mesh import load_head
from evenface.synthesis.people import make_person
from evenface.synthesis.plan import Counts, Sample, compose, spread
from evenface.synthesis.render import Renderer

if TYPE_CHECKING:
    import pandas as pd

VERSION = 4


def make_faces(
    folder: Path, *, counts: Counts, people: int, size: int = 112, seed: int = 0, workers: int = 1
) -> "pd.DataFrame":
    """Fill a folder with synthetic faces, or finish one that was begun.

    Parameters
    ----------
    folder : Path
        Gets ``<class>/<person>-<number>.png``, ``truth.parquet`` and ``settings.json``.
    counts : mapping of str to int, or sequence of such mappings
        Pictures per class in total, or per person; see :func:`spread`.
    people : int
        How many people.
    size : int, default=112
        Height and width in pixels.
    seed : int, default=0
        The population and everything drawn from it.
    workers : int, default=1
        Processes. The pictures do not depend on it. With more than 1, a script must start its own work under
        ``if __name__ == "__main__"``, as Python's ``spawn`` asks.

    Returns
    -------
    DataFrame
        The truth, a row per picture: ``sample``, ``path`` (relative to ``folder``), ``label`` (name), ``subject``,
        ``au_<number>`` (0 to 1, mean of both sides), ``pose_yaw``, ``pose_pitch``, ``pose_roll`` (degrees, see
        :class:`~evenface.synthesis.figure.Pose`), ``gaze_yaw``, ``gaze_pitch``, ``age`` (years), ``sex``, ``pspi``.

    Raises
    ------
    InputError
        If the folder holds faces of other settings, the counts make no sense, anny is missing, or the disk is full.
    """
    import pandas as pd

    if not 16 <= size <= 2048:
        raise InputError(f"synthetic: size must be 16 to 2048 pixels, got {size}")
    if seed < 0:
        raise InputError(f"synthetic: the seed must be >= 0, got {seed}")
    samples = spread(counts, people, seed)
    folder = Path(folder)
    settings: dict[str, object] = {
        "version": VERSION,
        "seed": seed,
        "size": size,
        "people": people,
        "counts": dict(counts) if isinstance(counts, Mapping) else [dict(own) for own in counts],
    }
    check_settings(folder, settings, ".png")
    missing = [sample for sample in samples if not (folder / f"{sample.name}.png").exists()]
    truth = folder / "truth.parquet"
    if not missing and truth.exists():
        return pd.read_parquet(truth)
    load_head()
    write_json(folder / "settings.json", settings)
    with progress("drawing faces", len(samples)) as advance:
        advance(len(samples) - len(missing))
        for done in draw_all(partial(_draw, folder, seed, size), missing, workers):
            advance(done)
    table = _truth(samples, seed)
    with atomic_write(truth) as temporary:
        table.to_parquet(temporary, index=False)
    return table


def _draw(folder: Path, seed: int, size: int, samples: Sequence[Sample]) -> int:
    from PIL import Image

    renderer = Renderer(size)
    for sample in samples:
        person = make_person(seed, sample.person)
        state, scene = compose(person, sample)
        picture = renderer.render(person, [state], scene)[0]
        with atomic_write(folder / f"{sample.name}.png") as temporary:
            Image.fromarray(picture).save(temporary, compress_level=3)
    return len(samples)


def _truth(samples: Sequence[Sample], seed: int) -> "pd.DataFrame":
    import pandas as pd

    rows = []
    for sample in samples:
        person = make_person(seed, sample.person)
        state, _ = compose(person, sample)
        row: dict[str, object] = {"sample": sample.name, "path": f"{sample.name}.png", "label": sample.label}
        row |= {"subject": person.name, "age": person.age, "sex": person.sex}
        row |= {f"au_{unit}": state.units.intensity(unit) for unit in AUS}
        row |= {"pose_yaw": state.pose.yaw, "pose_pitch": state.pose.pitch, "pose_roll": state.pose.roll}
        row |= {"gaze_yaw": state.gaze[0], "gaze_pitch": state.gaze[1], "pspi": state.units.pspi()}
        rows.append(row)
    return pd.DataFrame(rows)
