"""Pain as change in a video: the score of each face over time, against the person's own baseline."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evenface.data.manifest import TaskKind
from evenface.evaluation.pain_change import FEWEST, STATEMENT, pain_change, pspi_like
from evenface.inference.faces import FacePrediction, Faces
from evenface.inference.prediction_table import write_csv
from evenface.utils.errors import InputError
from evenface.utils.files import atomic_write

COLUMNS = ("file", "face", "frame", "time", "score", "change")


@dataclass(frozen=True)
class PainChange:
    """Score of one face in one video over time.

    Parameters
    ----------
    source : str
        The video.
    face : int
        Id of the face in it.
    frames : ndarray of shape (N,)
        First frame of each prediction.
    times : ndarray of shape (N,)
        Seconds, NaN where they are not known.
    score : ndarray of shape (N,)
        Sum of action units, 0 to 16; see :func:`~evenface.evaluation.pain_change.pspi_like`.
    change : ndarray of shape (N,)
        Score less the person's baseline.
    """

    source: str
    face: int
    frames: np.ndarray
    times: np.ndarray
    score: np.ndarray
    change: np.ndarray

    @property
    def line(self) -> str:
        """Line for the screen: the highest change and when, and the mean."""
        top = int(self.change.argmax())
        when = f" at {self.times[top]:.1f} s" if np.isfinite(self.times[top]) else ""
        return (
            f"pain change  {Path(self.source).name}  face {self.face}  highest {self.change[top]:+.1f}{when}, "
            f"mean {self.change.mean():+.1f}"
        )


def check_units(names: tuple[str, ...], task: TaskKind, model: str) -> None:
    """Refuse a model whose outputs are not the intensities that the score is the sum of."""
    if task != "regression":
        known = ", ".join(names)
        raise InputError(
            f"pain as change needs a model of intensities of action units; {model} predicts {known} ({task})",
            "Train one: evenface train synthetic-pain-units.",
        )
    pspi_like({name: np.zeros(1) for name in names})


def pain_changes(faces: Faces, baseline: float | None = None) -> list[PainChange]:
    """Compute the change of each face of each video.

    Parameters
    ----------
    faces : Faces
        Predictions of a model of action unit intensities, such as one of the recipe ``synthetic-pain-units``.
    baseline : float, optional
        Score of the person at rest; by default the 10 % quantile of the face's own scores in the video.

    Returns
    -------
    list of PainChange
        Of the faces with at least 8 predictions; all faces if ``baseline`` is given.

    Raises
    ------
    InputError
        If the model does not predict the units.
    """
    check_units(faces.classes, faces.task, faces.model)
    tracks: dict[tuple[str, int], list[FacePrediction]] = {}
    for face in faces:
        tracks.setdefault((face.source, face.face), []).append(face)
    results = []
    for (source, number), track in tracks.items():
        if baseline is None and len(track) < FEWEST:
            continue
        score = pspi_like({name: np.array([face.values[name] for face in track]) for name in faces.classes})
        frames, times = np.array([face.frame for face in track]), [face.time for face in track]
        seconds = np.array([np.nan if time is None else time for time in times], dtype=np.float64)
        results.append(PainChange(source, number, frames, seconds, score, pain_change(score, baseline)))
    return results


def notes_of(changes: list[PainChange]) -> list[str]:
    """Return a note for each face, and what the numbers are not."""
    if not changes:
        return [f"no change of pain: no face has {FEWEST} predictions or more, which its own baseline is taken from"]
    return [*(change.line for change in changes), STATEMENT]


def write_changes(changes: list[PainChange], path: Path) -> None:
    """Write a row for each prediction: ``file``, ``face``, ``frame``, ``time``, ``score``, ``change``."""
    rows = (
        dict(zip(COLUMNS, (own.source, own.face, int(frame), _missing(time), float(score), float(change)), strict=True))
        for own in changes
        for frame, time, score, change in zip(own.frames, own.times, own.score, own.change, strict=True)
    )
    with atomic_write(path) as temporary:
        write_csv(temporary, rows, COLUMNS)


def _missing(time: float) -> float | None:
    return None if np.isnan(time) else float(time)
