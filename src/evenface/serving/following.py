"""Faces and windows of a film that is longer than one look: numbers that stay, looks that are kept, spans of frames."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from evenface.faces.align import Face
from evenface.faces.clips import faces_in
from evenface.faces.detector import Crop
from evenface.faces.taking import Indices
from evenface.faces.track import choose_looks, join
from evenface.faces.video import Film

FORGET = 5.0
"""Seconds after which a face that was not seen gets a new number."""
Times = npt.NDArray[np.float64]


class Numbers:
    """Numbers of faces that stay the same while frames go by."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[float, Face]] = {}
        self._given = 0

    @property
    def latest(self) -> float:
        """When a face was last seen; minus infinity if none was."""
        return max((time for time, _ in self._last.values()), default=-np.inf)

    def of(self, faces: Sequence[Face], time: float, lasts: Sequence[Face] | None = None) -> list[int]:
        """Give the number of each face that is seen at a time.

        Parameters
        ----------
        faces : sequence of Face
            What is seen.
        time : float
            Seconds; of no further look are they smaller.
        lasts : sequence of Face, optional
            Where the faces are seen last, if they were followed on from there.
        """
        self._last = {number: seen for number, seen in self._last.items() if time - seen[0] <= FORGET}
        known = list(self._last)
        numbers = []
        for place in join([self._last[number][1] for number in known], faces):
            if place is None:
                self._given += 1
            numbers.append(self._given if place is None else known[place])
        for number, face in zip(numbers, lasts or faces, strict=True):
            self._last[number] = (time, face)
        return numbers


class Looks:
    """Faces that were looked for, kept for windows that show the same frames again."""

    def __init__(self) -> None:
        self._found: dict[int, list[Face]] = {}

    def __call__(
        self, film: Film, first: int, last: int, taken: Indices, crop: Crop
    ) -> tuple[Indices, list[list[Face]]]:
        """Look as :func:`~evenface.faces.clips.look` does, at what has not been looked at."""
        looks = choose_looks(film.times[first:last], taken, timed=film.timed)
        wanted = (first + looks).tolist()
        self._found = {number: faces for number, faces in self._found.items() if number >= first}
        for number, image in film.frames([number for number in wanted if number not in self._found]):
            self._found[number] = faces_in(image, crop)
        return looks, [self._found[number] for number in wanted]


def spans(times: Times, window: float | None, overlap: float) -> list[tuple[int, int]]:
    """Divide a film into windows.

    Parameters
    ----------
    times : ndarray of shape (N,)
        Seconds of its frames from the first on, rising.
    window : float or None
        Seconds of each; none means one of all frames.
    overlap : float
        Share of a window that the next one shows again, 0 to below 1.

    Returns
    -------
    list of tuple of int
        First frame, and the one after the last, of each. What is left at the end has a window of its own, of full
        length, which reaches back from the end.

    Examples
    --------
    >>> spans(np.arange(10) / 2, 2.0, 0.5)
    [(0, 4), (2, 6), (4, 8), (6, 10)]
    >>> spans(np.arange(10) / 2, 2.0, 0.0)
    [(0, 4), (4, 8), (6, 10)]
    """
    count = len(times)
    if window is None or times[-1] < window:
        return [(0, count)]
    found: list[tuple[int, int]] = []
    slack = 1e-6
    for number in range(int(times[-1] / (window * (1 - overlap))) + 1):
        begin = number * window * (1 - overlap)
        first, last = (int(np.searchsorted(times, time - slack)) for time in (begin, begin + window))
        if last >= count and found and found[-1][1] == count:
            break
        if last >= count:
            length = count - int(np.searchsorted(times, begin - slack))
            usual = found[-1][1] - found[-1][0] if found else length
            first, last = max(0, count - max(usual, 1)), count
        if last > first and (not found or (first, last) != found[-1]):
            found.append((first, last))
    return found
