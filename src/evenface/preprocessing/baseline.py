"""Person baseline: what the samples of each person are relative to (within-subject normalisation)."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evenface.config.recipe import Baseline
from evenface.data.labels import canonical_name, level_values
from evenface.data.manifest import Manifest
from evenface.utils.errors import InputError
from evenface.utils.files import digest

Rows = npt.NDArray[np.int64]
CHUNK = 256
"""Samples that are read at a time."""
CONSTANT = 1e-3
"""Standard deviation below which a value counts as constant; it is not divided."""
NEUTRAL, NO_UNIT = "neutral", "none"
NOTES = {
    "subject-mean": "each person's inputs are relative to the mean of that person's own samples, without their labels "
    "(transductive: test persons' own test samples are part of their mean)",
    NEUTRAL: "each person's inputs are relative to the mean of that person's labelled {name} samples, which are not "
    "tested",
    "first-frames": "each recording's inputs are relative to the mean of its first {frames} stored frames; of images, "
    "to each person's first {frames}",
}


@dataclass(frozen=True)
class Reference:
    """Baseline of one person.

    Parameters
    ----------
    mean : ndarray of shape (P, D), float32, or (H, W, C), uint8
        Mean frame of sequences, or mean image.
    deviation : ndarray of shape (P, D), float32, or None
        Standard deviation that values are divided by; 1 where a value is constant.
    """

    mean: np.ndarray
    deviation: np.ndarray | None = None

    def relative(self, sample: np.ndarray) -> np.ndarray:
        """Return a sample (T, P, D) relative to the baseline, or (1 + T, H, W, C) after the mean image."""
        if sample.dtype == np.uint8:
            return np.concatenate([self.mean[None], sample])
        difference: np.ndarray = sample - self.mean
        return difference if self.deviation is None else difference / self.deviation


class Moments:
    """Running mean and standard deviation of frames."""

    def __init__(self, *, scale: bool = False, limit: int | None = None) -> None:
        self.scale, self.limit, self.count = scale, limit, 0
        self._sum: Any = 0.0
        self._squares: Any = 0.0
        self._dtype: Any = None

    def add(self, frames: np.ndarray) -> "Moments":
        """Add frames (n, ...), of which no more than the limit count in all."""
        if self.limit is not None:
            frames = frames[: self.limit - self.count]
        values = frames.astype(np.float64)
        self.count, self._dtype = self.count + len(frames), frames.dtype
        self._sum = self._sum + values.sum(axis=0)
        if self.scale:
            self._squares = self._squares + (values**2).sum(axis=0)
        return self

    def reference(self) -> Reference:
        """Return the baseline of the frames so far."""
        mean = self._sum / self.count
        if self._dtype == np.uint8:
            return Reference(np.rint(mean).astype(np.uint8))
        if not self.scale:
            return Reference(mean.astype(np.float32))
        deviation = np.sqrt(np.maximum(self._squares / self.count - mean**2, 0.0))
        return Reference(mean.astype(np.float32), np.where(deviation < CONSTANT, 1.0, deviation).astype(np.float32))


@dataclass(frozen=True)
class Baselines:
    """Baselines of all persons, or recordings, of a data set.

    Parameters
    ----------
    index : int64 array of shape (N,)
        Position of each sample's baseline.
    mean, deviation : ndarray of shape (G, ...)
        As in :class:`Reference`; 0 and 1 of persons who are not in the run.
    reserved : int64 array
        Rows whose labels the baselines depend on: they must not be tested.
    """

    index: Rows
    mean: np.ndarray
    deviation: np.ndarray | None
    reserved: Rows

    @property
    def key(self) -> str:
        """Digest of the values."""
        parts = [self.index.tobytes(), self.mean.tobytes()]
        return digest(*parts, *([] if self.deviation is None else [self.deviation.tobytes()]))

    def relative(self, samples: np.ndarray, rows: Rows) -> np.ndarray:
        """Return the samples at ``rows``: sequences minus their baseline, or clips that start with their mean image."""
        batch, places = np.asarray(samples[rows]), self.index[rows]
        if batch.dtype == np.uint8:
            return np.concatenate([self.mean[places][:, None], batch], axis=1)
        difference: np.ndarray = batch - self.mean[places][:, None]
        return difference if self.deviation is None else difference / self.deviation[places][:, None]


def compute_baselines(
    samples: np.ndarray,
    manifest: Manifest,
    settings: Baseline,
    *,
    used: Rows | None = None,
    tested: Rows | None = None,
    seed: int = 0,
) -> Baselines:
    """Compute the baseline of every person from that person's samples alone.

    Parameters
    ----------
    samples : ndarray of shape (N, T, P, D), float32, or (N, T, H, W, C), uint8
        All samples, in the order of the manifest.
    manifest : Manifest
        Who they are of.
    settings : Baseline
        Kind of the baseline, not ``none``.
    used : int64 array, optional
        Rows that a run uses; by default all. No other samples count; persons without any have no baseline.
    tested : int64 array, optional
        Rows of test samples; ``settings.clips`` limits the samples of the persons they are of.
    seed : int
        Seed of the draw of these samples, which depends on the name of the person too.

    Raises
    ------
    InputError
        If subjects are unknown, or a person has no sample to compute the baseline from.
    """
    names, index = np.unique(_groups(manifest, settings), return_inverse=True)
    use: Rows = np.arange(len(manifest)) if used is None else np.unique(used)
    # The used rows of each group, one group after another.
    by_group = use[np.argsort(index[use], kind="stable")]
    places, starts = np.unique(index[by_group], return_index=True)
    choose = _chooser(manifest, settings)
    limited = set() if tested is None else set(index[tested].tolist())
    shape = samples.shape[2:]
    mean = np.zeros((len(names), *shape), samples.dtype)
    deviation = np.ones((len(names), *shape), np.float32) if settings.scale else None
    reserved: list[Rows] = []
    for place, own in zip(places.tolist(), np.split(by_group, starts[1:]), strict=True):
        name, rows = str(names[place]), choose(own)
        if not len(rows):
            raise _no_neutral(name, manifest)
        if place in limited and settings.clips is not None:
            rows = _drawn(rows, settings.clips, seed, name)
        moments = Moments(scale=settings.scale, limit=settings.frames if settings.kind == "first-frames" else None)
        for frames in _frames(samples, rows, moments):
            moments.add(frames)
        found = moments.reference()
        mean[place] = found.mean
        if deviation is not None and found.deviation is not None:
            deviation[place] = found.deviation
        reserved += [rows] if settings.kind == NEUTRAL else []
    return Baselines(index, mean, deviation, np.concatenate([np.empty(0, dtype=np.int64), *reserved]))


def describe_baseline(settings: Baseline, manifest: Manifest) -> str:
    """Return a note for readers of the results."""
    name = manifest.classes[neutral_class(manifest)] if settings.kind == NEUTRAL else ""
    text = f"person baseline {settings.kind}: {NOTES[settings.kind].format(name=name, frames=settings.frames)}"
    if settings.clips is not None:
        text += f"; the baseline of a test person is computed from {settings.clips} of these samples"
    return text + ("; values are divided by the person's standard deviation" if settings.scale else "")


def neutral_class(manifest: Manifest) -> int:
    """Return the label of neutral samples: the class of that name, no unit at all, or the lowest level or value.

    Raises
    ------
    InputError
        If there is no such class, or the lowest value is below 0: on a signed scale such as valence it is an extreme.
    """
    for label, name in enumerate(manifest.classes):
        if canonical_name(name) == NEUTRAL or (manifest.task == "multilabel" and name == NO_UNIT):
            return label
    if manifest.task == "regression":
        values = manifest.target_values(np.arange(len(manifest)))[:, 0]
        return _lowest(int(manifest.labels[np.nanargmin(values)]), float(np.nanmin(values)), manifest.targets[0])
    if manifest.ordered:
        return _lowest(0, float(level_values(manifest.classes)[0]), "level")
    raise InputError(
        f"data.baseline: neutral, but {manifest.source} has no class of that name and no levels, only "
        f"{', '.join(manifest.classes)}",
        "Set data.baseline: subject-mean.",
    )


def _lowest(label: int, value: float, name: str) -> int:
    if value < 0:
        raise InputError(
            f"data.baseline: neutral takes the lowest {name} for neutral, but it is {value:g}, below 0",
            "Set data.baseline=subject-mean.",
        )
    return label


def _is_neutral(manifest: Manifest) -> npt.NDArray[np.bool_]:
    """Return which samples are neutral; one of which a unit is missing may show that unit."""
    label = neutral_class(manifest)
    if manifest.task == "multilabel" and manifest.classes[label] == NO_UNIT:
        return np.asarray((manifest.target_values(np.arange(len(manifest))) == 0).all(axis=1))
    return np.asarray(manifest.labels == label)


def _groups(manifest: Manifest, settings: Baseline) -> npt.NDArray[Any]:
    """Return the name of what each sample's baseline is of: its recording for ``first-frames``, else its person."""
    table = manifest.table
    if settings.kind == "first-frames" and bool(table["clip"].notna().all()):
        return table["clip"].to_numpy(dtype=str)
    if settings.kind == "first-frames" and manifest.content != "stills":
        return table["path"].to_numpy(dtype=str)
    if not manifest.has_subjects:
        unknown = int(table["subject"].isna().sum())
        raise InputError(
            f"data.baseline: {settings.kind} needs the subject of every sample, but it is unknown for {unknown:,} of "
            f"{len(manifest):,}",
            "Set data.baseline: none, or an option of the source that finds subjects.",
        )
    return table["subject"].to_numpy(dtype=str)


def _chooser(manifest: Manifest, settings: Baseline) -> Callable[[Rows], Rows]:
    """Return what picks the rows of one person's baseline, in the order of time for ``first-frames``."""
    if settings.kind == NEUTRAL:
        neutral = _is_neutral(manifest)
        return lambda rows: rows[neutral[rows]]
    if settings.kind == "first-frames":
        starts = manifest.table["start"].fillna(0).to_numpy(dtype=np.int64)
        return lambda rows: rows[np.argsort(starts[rows], kind="stable")]
    return lambda rows: rows


def _drawn(rows: Rows, count: int, seed: int, name: str) -> Rows:
    """Draw at most ``count`` rows, by the seed and the name of the person."""
    generator = np.random.default_rng(int(digest(str(seed), "baseline", name)[:15], 16))
    return np.sort(generator.permutation(rows)[:count])


def _frames(samples: np.ndarray, rows: Rows, moments: Moments) -> Iterator[np.ndarray]:
    """Iterate over the frames of samples, until there are enough."""
    step = CHUNK if moments.limit is None else 1
    for start in range(0, len(rows), step):
        if moments.limit is not None and moments.count >= moments.limit:
            return
        batch = np.asarray(samples[rows[start : start + step]])
        yield batch.reshape(-1, *batch.shape[2:])


def _no_neutral(subject: str, manifest: Manifest) -> InputError:
    name = manifest.classes[neutral_class(manifest)]
    return InputError(
        f"data.baseline: neutral, but the subject {subject} has no sample of the class {name}",
        "Set data.baseline: subject-mean, or leave the subject out.",
    )


def without(rows: Rows, reserved: Iterable[int] | Rows) -> Rows:
    """Return the rows that are not reserved, in their order."""
    kept: Rows = rows[~np.isin(rows, np.asarray(reserved, dtype=np.int64))]
    return kept
