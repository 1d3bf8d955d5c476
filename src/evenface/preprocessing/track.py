"""From faces found in some frames to the way of one face through a clip."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from evenface.preprocessing.detect import Face, Square, square_of
from evenface.preprocessing.frame_sampling import Indices

OVERLAP = 0.2
"""Share of their common area that boxes of one face share from one look to the next, at least."""
NEAR, ALIKE = 1.0, 2.0
"""A face that comes back is no further from where it was than this many of its sides, and no more times its size."""
SLOWEST, FASTEST = 4.0, 10.0
"""Looks per second, at least and at most."""
REACH = 0.5
"""Seconds to either side that smoothing takes in."""
MAIN_SHARE = 0.5
"""A further face is kept if it was seen at least this often, as a share of the main one."""

Times = npt.NDArray[np.float64]


@dataclass
class Track:
    """A face, look by look."""

    faces: dict[int, Face] = field(default_factory=dict)

    @property
    def last(self) -> Face:
        """What was seen last."""
        return self.faces[self.last_look]

    @property
    def last_look(self) -> int:
        """When it was seen last."""
        return next(reversed(self.faces))

    @property
    def rank(self) -> tuple[int, float]:
        """What the main face has most of: looks, then mean size."""
        return len(self.faces), sum(face.side for face in self.faces.values()) / len(self.faces)


def choose_looks(times: Times, taken: Indices, *, timed: bool) -> Indices:
    """Choose the frames in which faces are looked for.

    Notes
    -----
    Ten looks a second follow any head: between two of them it moves by a small part of its size. So even a long clip
    of which every frame is taken costs no more than ten looks for each second.
    """
    wanted = np.unique(taken)
    if timed and len(wanted):
        # A frame counts for the tenth of a second it lies in; the first of each is looked at.
        tenth = np.floor(times[wanted] * FASTEST + 1e-6).astype(np.int64)
        wanted = wanted[np.unique(tenth, return_index=True)[1]]
    quarter = np.floor(times * SLOWEST + 1e-6).astype(np.int64)
    grid = np.unique(quarter, return_index=True)[1]
    free = ~np.isin(quarter[grid], quarter[wanted])
    return np.unique(np.concatenate([wanted, grid[free]])).astype(np.int64)


def follow(looks: Sequence[list[Face]]) -> list[Track]:
    """Join faces to tracks.

    Notes
    -----
    At each look, pairs of a track and a face are joined by falling overlap with the box where the track was last seen.
    A face that overlaps none joins the track that was last seen near it and was of its size. Any other face starts a
    track. At the end, a track of two looks or more at which nobody else was seen is taken for the main one come back
    elsewhere, if its faces are of the same size: nobody is told from anybody by looks. A single look does not count so,
    because what is no face is often found once.
    """
    tracks: list[Track] = []
    for number, faces in enumerate(looks):
        joined = join([track.last for track in tracks], faces)
        for face, t in zip(faces, joined, strict=True):
            if t is not None:
                tracks[t].faces[number] = face
        tracks += [Track({number: face}) for face, t in zip(faces, joined, strict=True) if t is None]
    tracks.sort(key=lambda track: track.rank, reverse=True)
    for other in tracks[1:]:
        alone = all(len(looks[number]) == 1 for number in other.faces)
        if alone and len(other.faces) > 1 and _alike(other.rank[1], tracks[0].rank[1]):
            tracks[0].faces = dict(sorted({**tracks[0].faces, **other.faces}.items()))
            tracks.remove(other)
    return tracks


def join(lasts: Sequence[Face], faces: Sequence[Face]) -> list[int | None]:
    """Say which faces go on with which tracks."""
    found: list[int | None] = [None] * len(faces)
    free_tracks, free_faces = list(range(len(lasts))), list(range(len(faces)))
    for measure in (_overlap, _nearness):
        pairs = [(measure(lasts[t], faces[f]), t, f) for t in free_tracks for f in free_faces]
        for value, t, f in sorted(pairs, key=lambda pair: (-pair[0], pair[1:])):
            if value > 0 and t in free_tracks and f in free_faces:
                found[f] = t
                free_tracks.remove(t)
                free_faces.remove(f)
    return found


def kept(tracks: list[Track], which: str) -> list[Track]:
    """Keep the main track, or with ``which`` "all" those too that were seen at least half as often."""
    if which == "all":
        return [track for track in tracks if len(track.faces) >= MAIN_SHARE * len(tracks[0].faces)]
    return tracks[:1]


def _overlap(last: Face, face: Face) -> float:
    shared = last.overlap(face)
    return shared if shared >= OVERLAP else 0.0


def _nearness(last: Face, face: Face) -> float:
    """Give 1 for a face in the same place, 0 for one too far away or of another size."""
    if not _alike(last.side, face.side):
        return 0.0
    return 1 - math.dist(last.centre, face.centre) / (NEAR * max(last.side, face.side))


def _alike(side: float, other: float) -> bool:
    return max(side, other) <= ALIKE * min(side, other)


@dataclass(frozen=True)
class Motion:
    """Where the square of one face is at any time of a clip."""

    times: Times
    seen: npt.NDArray[np.bool_]
    squares: npt.NDArray[np.float64]

    def sees(self, times: Times) -> npt.NDArray[np.bool_]:
        """Say for each time whether the face was seen at the look nearest to it, the earlier of two."""
        after = np.searchsorted(self.times, times).clip(1, max(1, len(self.times) - 1))
        if len(self.times) == 1:
            return np.full(len(times), self.seen[0])
        before = after - 1
        nearest = np.where(self.times[after] - times < times - self.times[before], after, before)
        found: npt.NDArray[np.bool_] = self.seen[nearest]
        return found

    def at(self, time: float) -> Square:
        """Give the square at a time.

        Between two looks at which the face was seen it is interpolated. Else it stays where the face was at the nearest
        look, if it was seen there; else where it was last seen; before it was ever seen, where it was first.
        """
        after = int(np.searchsorted(self.times, time))
        before = after - 1 if after == len(self.times) or self.times[after] > time else after
        known = np.flatnonzero(self.seen)
        if before >= 0 and after < len(self.times) and self.seen[before] and self.seen[after]:
            width = self.times[after] - self.times[before]
            share = (time - self.times[before]) / width if width else 0.0
            return _square(self.squares[before] * (1 - share) + self.squares[after] * share)
        if after < len(self.times) and self.seen[after] and bool(self.sees(np.array([time]))[0]):
            return _square(self.squares[after])
        past = known[known <= before]
        return _square(self.squares[past[-1] if len(past) else known[0]])


def smooth(track: Track, times: Times, margin: float) -> Motion:
    """Smooth the squares of a track, so that the crop does not jitter.

    Notes
    -----
    Centre, side and angle of a look are those of a straight line through the looks up to half a second before and
    after it, as far as the face was seen without a gap: least squares, with weights that fall linearly to zero. A line,
    unlike a mean, does not lag at the ends, and keeps a steady motion as it is.
    """
    numbers = np.array(list(track.faces), np.int64)
    raw = np.array([_values(square_of(face, margin)) for face in track.faces.values()])
    gaps = np.diff(numbers) > 1
    seen, squares = np.zeros(len(times), bool), np.zeros((len(times), 4))
    seen[numbers] = True
    for piece in np.split(np.arange(len(numbers)), np.flatnonzero(gaps) + 1):
        squares[numbers[piece]] = _smoothed(raw[piece], times[numbers[piece]])
    return Motion(times, seen, squares)


def _smoothed(values: npt.NDArray[np.float64], times: Times) -> npt.NDArray[np.float64]:
    values = values.copy()
    values[:, 3] = np.unwrap(values[:, 3])
    result = np.empty_like(values)
    for i, time in enumerate(times):
        low, high = np.searchsorted(times, [time - REACH, time + REACH], side="left")
        near, offset = values[low : high + 1], times[low : high + 1] - time
        weights = (1 - np.abs(offset) / REACH).clip(0)
        mean_offset = np.average(offset, weights=weights)
        mean = np.average(near, axis=0, weights=weights)
        spread = np.average((offset - mean_offset) ** 2, weights=weights)
        slope = np.average((offset - mean_offset)[:, None] * near, axis=0, weights=weights) / (spread or 1.0)
        result[i] = mean - slope * mean_offset
    # A line through few looks may overshoot; a side stays between the smallest and the largest that was seen.
    result[:, 2] = result[:, 2].clip(values[:, 2].min(), values[:, 2].max())
    return result


def _values(square: Square) -> tuple[float, float, float, float]:
    return (*square.centre, square.side, square.angle)


def _square(values: npt.NDArray[np.float64]) -> Square:
    x, y, side, angle = values.tolist()
    return Square((x, y), side, angle)
