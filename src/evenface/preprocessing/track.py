"""Face tracking: link detections to tracks and smooth the crop of each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from evenface.preprocessing.detect_align import Face, Square, square_of
from evenface.preprocessing.frame_sampling import Indices

OVERLAP = 0.2
"""Least intersection over union of the boxes of one face in consecutive detection frames."""
NEAR, ALIKE = 1.0, 2.0
"""A face that reappears is at most this many of its sides away, and at most so many times larger or smaller."""
SLOWEST, FASTEST = 4.0, 10.0
"""Detection frames per second, at least and at most."""
REACH = 0.5
"""Half width of the smoothing window, in seconds."""
MAIN_SHARE = 0.5
"""A further track is kept if it has at least this share of the detections of the main one."""

Times = npt.NDArray[np.float64]


@dataclass
class Track:
    """Detections of one face, by index of the detection frame."""

    faces: dict[int, Face] = field(default_factory=dict)

    @property
    def last(self) -> Face:
        """Last detection."""
        return self.faces[self.last_index]

    @property
    def last_index(self) -> int:
        """Index of the last detection frame with this face."""
        return next(reversed(self.faces))

    @property
    def rank(self) -> tuple[int, float]:
        """Number of detections, then mean size; the main track has the largest rank."""
        return len(self.faces), sum(face.side for face in self.faces.values()) / len(self.faces)


def choose_detection_frames(times: Times, taken: Indices, *, timed: bool) -> Indices:
    """Choose the frames in which faces are detected.

    Notes
    -----
    Ten detections per second are enough to track a head: between two of them it moves by a small part of its size. So
    even a long clip of which every frame is sampled costs at most ten detections per second.
    """
    wanted = np.unique(taken)
    if timed and len(wanted):
        # Of the frames within each tenth of a second, faces are detected in the first.
        tenth = np.floor(times[wanted] * FASTEST + 1e-6).astype(np.int64)
        wanted = wanted[np.unique(tenth, return_index=True)[1]]
    quarter = np.floor(times * SLOWEST + 1e-6).astype(np.int64)
    grid = np.unique(quarter, return_index=True)[1]
    free = ~np.isin(quarter[grid], quarter[wanted])
    return np.unique(np.concatenate([wanted, grid[free]])).astype(np.int64)


def link_faces(detections: Sequence[list[Face]]) -> list[Track]:
    """Link detections to tracks.

    Notes
    -----
    In each detection frame, tracks and faces are matched greedily by the overlap of their boxes. A face that overlaps
    no track is matched to one whose last detection is near and of its size. Any other face starts a track. At the end,
    a track of at least two detections, in frames without another face, is merged into the main one if its faces are of
    the same size: appearance is not compared. A single detection is not merged, because false detections are often
    single.
    """
    tracks: list[Track] = []
    for number, faces in enumerate(detections):
        joined = match_faces([track.last for track in tracks], faces)
        for face, t in zip(faces, joined, strict=True):
            if t is not None:
                tracks[t].faces[number] = face
        tracks += [Track({number: face}) for face, t in zip(faces, joined, strict=True) if t is None]
    tracks.sort(key=lambda track: track.rank, reverse=True)
    for other in tracks[1:]:
        alone = all(len(detections[number]) == 1 for number in other.faces)
        if alone and len(other.faces) > 1 and _alike(other.rank[1], tracks[0].rank[1]):
            tracks[0].faces = dict(sorted({**tracks[0].faces, **other.faces}.items()))
            tracks.remove(other)
    return tracks


def match_faces(lasts: Sequence[Face], faces: Sequence[Face]) -> list[int | None]:
    """Return the index of the matching track for each face, or None."""
    matches: list[int | None] = [None] * len(faces)
    free_tracks, free_faces = list(range(len(lasts))), list(range(len(faces)))
    for measure in (_overlap, _nearness):
        pairs = [(measure(lasts[t], faces[f]), t, f) for t in free_tracks for f in free_faces]
        for value, t, f in sorted(pairs, key=lambda pair: (-pair[0], pair[1:])):
            if value > 0 and t in free_tracks and f in free_faces:
                matches[f] = t
                free_tracks.remove(t)
                free_faces.remove(f)
    return matches


def select_tracks(tracks: list[Track], which: str) -> list[Track]:
    """Return the main track, or with ``which`` "all" also those with at least half as many detections."""
    if which == "all":
        return [track for track in tracks if len(track.faces) >= MAIN_SHARE * len(tracks[0].faces)]
    return tracks[:1]


def _overlap(last: Face, face: Face) -> float:
    shared = last.overlap(face)
    return shared if shared >= OVERLAP else 0.0


def _nearness(last: Face, face: Face) -> float:
    """Return 1 for a face in the same position, 0 for one too far away or of another size."""
    if not _alike(last.side, face.side):
        return 0.0
    return 1 - math.dist(last.centre, face.centre) / (NEAR * max(last.side, face.side))


def _alike(side: float, other: float) -> bool:
    return max(side, other) <= ALIKE * min(side, other)


@dataclass(frozen=True)
class Motion:
    """Position of the crop of one face at any time of a clip."""

    times: Times
    seen: npt.NDArray[np.bool_]
    squares: npt.NDArray[np.float64]

    def seen_at(self, times: Times) -> npt.NDArray[np.bool_]:
        """Return for each time whether the face was detected in the nearest detection frame, the earlier of two."""
        after = np.searchsorted(self.times, times).clip(1, max(1, len(self.times) - 1))
        if len(self.times) == 1:
            return np.full(len(times), self.seen[0])
        before = after - 1
        nearest = np.where(self.times[after] - times < times - self.times[before], after, before)
        seen: npt.NDArray[np.bool_] = self.seen[nearest]
        return seen

    def at(self, time: float) -> Square:
        """Return the square at a time.

        It is interpolated between two consecutive detections. Otherwise it is that of the nearest detection frame, if
        the face was detected there, else that of the last detection before, else that of the first detection.
        """
        after = int(np.searchsorted(self.times, time))
        before = after - 1 if after == len(self.times) or self.times[after] > time else after
        known = np.flatnonzero(self.seen)
        if before >= 0 and after < len(self.times) and self.seen[before] and self.seen[after]:
            width = self.times[after] - self.times[before]
            share = (time - self.times[before]) / width if width else 0.0
            return _square(self.squares[before] * (1 - share) + self.squares[after] * share)
        if after < len(self.times) and self.seen[after] and bool(self.seen_at(np.array([time]))[0]):
            return _square(self.squares[after])
        past = known[known <= before]
        return _square(self.squares[past[-1] if len(past) else known[0]])


def smooth_track(track: Track, times: Times, margin: float, shift: float = 0.0) -> Motion:
    """Smooth the squares of a track by local linear regression, so that the crop does not jitter.

    Notes
    -----
    Centre, side and angle are those of a line fitted through the detections up to half a second before and after,
    without gaps, by least squares with weights that fall linearly to zero. A line, unlike a mean, does not lag at the
    ends and leaves a steady motion unchanged.
    """
    numbers = np.array(list(track.faces), np.int64)
    raw = np.array([_values(square_of(face, margin, shift)) for face in track.faces.values()])
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
    # A line through few detections may overshoot; a side stays between the smallest and the largest detected.
    result[:, 2] = result[:, 2].clip(values[:, 2].min(), values[:, 2].max())
    return result


def _values(square: Square) -> tuple[float, float, float, float]:
    return (*square.centre, square.side, square.angle)


def _square(values: npt.NDArray[np.float64]) -> Square:
    x, y, side, angle = values.tolist()
    return Square((x, y), side, angle)
