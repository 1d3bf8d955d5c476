"""Training batches, and all random numbers of training: a pure function of (seed, purpose, epoch, step).

So resuming needs no saved state, and batches are the same for any number of processes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from evenface.config import Recipe
from evenface.data.imbalance import draw_samples, sampling_probabilities
from evenface.data.manifest import Manifest
from evenface.preprocessing.augmentation import COLUMNS
from evenface.utils.errors import InputError
from evenface.utils.files import digest
from evenface.utils.prefetch import prefetch

GPU_SHARE = 0.25
"""Largest share of a GPU's free memory that stored images may take."""
AHEAD = 4
"""Batches copied to a GPU ahead of the step that needs them."""


@dataclass(frozen=True)
class Batch:
    """Samples of one step on one device."""

    rows: np.ndarray
    images: Tensor
    targets: Tensor
    numbers: Tensor
    indices: Tensor
    second: "Batch | None" = None

    def used_on(self, stream: "torch.cuda.Stream") -> None:
        """Keep memory that another stream allocated until what ``stream`` does with it has ended."""
        for tensor in (self.images, self.targets, self.numbers, self.indices):
            tensor.record_stream(stream)
        if self.second is not None:
            self.second.used_on(stream)


class ImageBank:
    """Stored images on the network's device: all in GPU memory where they fit, else read from the store as needed.

    With ``baselines`` (G, ...), and the position of each sample's in ``index``, samples are clips that start with it.
    Rows from the number of images on are those of ``drawn``, further images of the same shape.
    """

    def __init__(
        self,
        images: np.ndarray,
        device: torch.device,
        frames: int = 1,
        baselines: np.ndarray | None = None,
        index: np.ndarray | None = None,
        drawn: np.ndarray | None = None,
    ) -> None:
        self.images, self.device, self.frames, self.drawn = images, device, frames, drawn
        self.stored = images.shape[1]
        self.baselines = None if baselines is None else torch.from_numpy(baselines).to(device)
        self.index = None if index is None else torch.from_numpy(index).to(device)
        self.resident: Tensor | None = None
        parts = [images] if drawn is None else [images, drawn]
        nbytes, free = sum(part.nbytes for part in parts), free_gpu_memory(device)
        if nbytes < GPU_SHARE * free:
            self.resident = torch.cat([torch.from_numpy(np.ascontiguousarray(part)).to(device) for part in parts])
        self.placement = placement(nbytes, free)

    def take(self, rows: np.ndarray, frames: np.ndarray | None = None) -> Tensor:
        """Return the samples at ``rows`` on the device, each with all of its frames, the middle or the given ones."""
        on_device = self.on_device(rows)
        if self.resident is not None:
            return self.resident_samples(on_device, None if frames is None else self.on_device(frames))
        if self.frames < self.stored:
            read = self.images[rows[:, None], chosen_frames(self.stored, self.frames) if frames is None else frames]
        else:
            read = self._whole(rows)
        return self._samples(self.on_device(np.asarray(read)), on_device)

    def resident_samples(self, rows: Tensor, frames: Tensor | None = None) -> Tensor:
        """Return the same from the device's memory alone, without a copy from the host."""
        images = cast(Tensor, self.resident)
        if self.frames == self.stored:
            return self._samples(images[rows], rows)
        if frames is None:
            frames = self.on_device(chosen_frames(self.stored, self.frames))
        return self._samples(images[rows[:, None], frames], rows)

    def on_device(self, array: np.ndarray) -> Tensor:
        """Copy an array to the device; to a GPU by pinned memory, so that neither host nor device waits."""
        tensor = torch.from_numpy(np.require(array, requirements="W"))
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor

    def _samples(self, images: Tensor, rows: Tensor) -> Tensor:
        if self.baselines is not None and self.index is not None:
            return torch.cat([self.baselines[self.index[rows]][:, None], images], dim=1)
        return images[:, 0] if self.frames == 1 else images

    def _whole(self, rows: np.ndarray) -> np.ndarray:
        """Read whole samples; np.take is faster for them than indexing."""
        if self.drawn is None or (own := rows < len(self.images)).all():
            return np.take(self.images, rows, axis=0)
        read = np.empty((len(rows), *self.images.shape[1:]), self.images.dtype)
        read[own] = np.take(self.images, rows[own], axis=0)
        read[~own] = self.drawn[rows[~own] - len(self.images)]
        return read


def free_gpu_memory(device: torch.device) -> int:
    """Return the free bytes of a GPU; 0 of a processor, which reads the store's memory map as it is."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else 0


def placement(size: int, free: int) -> str:
    """State where ``size`` bytes of images are during training; empty without a GPU.

    Examples
    --------
    >>> placement(66_000_000, 24_000_000_000)
    'all images are in GPU memory: 66 MB of 24,000 MB free'
    """
    if not free:
        return ""
    if size < GPU_SHARE * free:
        return f"all images are in GPU memory: {size / 1e6:,.0f} MB of {free / 1e6:,.0f} MB free"
    return (
        f"images are copied to the GPU {AHEAD} batches ahead: all are {size / 1e6:,.0f} MB, more than "
        f"{GPU_SHARE:.0%} of {free / 1e6:,.0f} MB free"
    )


def chosen_frames(stored: int, frames: int, numbers: np.ndarray | None = None) -> np.ndarray:
    """Choose one of the stored frames from each of equal segments.

    Examples
    --------
    >>> chosen_frames(12, 3).tolist()
    [2, 6, 10]
    """
    offset = np.float64(0.5) if numbers is None else numbers.astype(np.float64)
    return np.asarray(np.floor((np.arange(frames) + offset) * stored / frames), dtype=np.int64)


class TrainingBatches:
    """Batches of one run.

    Notes
    -----
    The last, smaller batch of an epoch is dropped (other samples each epoch, as the order changes), unless it is the
    only one: few samples give poor batch-norm statistics.
    """

    def __init__(
        self,
        bank: ImageBank,
        rows: np.ndarray,
        labels: np.ndarray,
        names: np.ndarray | None = None,
        *,
        targets: np.ndarray | None = None,
        batch_size: int,
        seed: int,
        sampling: str = "none",
        sampling_beta: float = 0.999,
        random_frames: bool = False,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.bank, self.rows, self.labels = bank, rows, labels
        self.names = rows if names is None else names
        self.targets = labels if targets is None else targets
        self.seed, self.sampling, self.rank, self.world = seed, sampling, rank, world
        self.sampling_beta = sampling_beta
        self.random_frames = random_frames and bank.frames < bank.stored
        self.batch_size = min(batch_size, len(rows)) // world * world
        if self.batch_size < 2 * world:
            raise InputError(f"{len(rows)} training samples are too few for {world} processes with two or more each")
        self.steps = len(rows) // self.batch_size
        self._rows, self._targets = bank.on_device(self.rows), bank.on_device(self.targets)

    @classmethod
    def of_recipe(
        cls, recipe: Recipe, bank: ImageBank, manifest: Manifest, rows: np.ndarray, rank: int = 0, world: int = 1
    ) -> "TrainingBatches":
        """Build the batches of a recipe from the training ``rows`` of a manifest."""
        training = recipe.training
        return cls(
            bank,
            rows,
            manifest.labels[rows],
            manifest.table["sample"].to_numpy()[rows],
            targets=manifest.target_values(rows) if manifest.targets else None,
            batch_size=training.batch_size,
            seed=recipe.seed,
            sampling=training.sampling,
            sampling_beta=training.sampling_beta,
            random_frames=recipe.augment.temporal_jitter,
            rank=rank,
            world=world,
        )

    def order(self, epoch: int, sampling: str | None = None, purpose: str = "sampling") -> np.ndarray:
        """Return the order of an epoch as indices into ``rows``, shape (N,)."""
        rule = sampling or self.sampling
        if rule == "none":
            return permutation(self.seed, epoch, len(self.rows))
        drawn = uniforms(self.seed, purpose, epoch, len(self.rows))[:, 0].astype(np.float64)
        return draw_samples(sampling_probabilities(self.labels, rule, beta=self.sampling_beta), drawn)

    def epoch(
        self, epoch: int, start: int = 0, *, sampling: str | None = None, second: str | None = None
    ) -> Iterator[Batch]:
        """Iterate over one epoch from step ``start`` on; ``second`` names the sampling of a second batch for each."""
        batches = self._batches(epoch, start, self.order(epoch, sampling), "augment")
        if second is not None:
            others = self._batches(epoch, start, self.order(epoch, second, "second sampling"), "augment second")
            batches = (replace(batch, second=other) for batch, other in zip(batches, others, strict=True))
        if self.bank.device.type == "cuda" and self.bank.resident is None:
            batches = copied_ahead(batches, torch.cuda.Stream(self.bank.device))  # type: ignore[no-untyped-call]
        yield from batches

    def names_of(self, epoch: int, step: int, sampling: str | None = None) -> list[str]:
        """Return the names of the samples of one step, of all processes together."""
        first = step * self.batch_size
        return [str(name) for name in self.names[self.order(epoch, sampling)[first : first + self.batch_size]]]

    def _batches(self, epoch: int, start: int, order: np.ndarray, purpose: str) -> Iterator[Batch]:
        # What an epoch needs beside images is on the device before its first step, so that no step copies it.
        bank, frames = self.bank, self._frames(epoch, purpose)
        indices = bank.on_device(order)
        targets, resident = self._targets[indices], self._rows[indices]
        numbers = bank.on_device(uniforms(self.seed, purpose, epoch, len(self.rows), COLUMNS))
        chosen = None if frames is None else bank.on_device(frames)
        share = self.batch_size // self.world
        for step in range(start, self.steps):
            first = step * self.batch_size + self.rank * share
            part = slice(first, first + share)
            rows = self.rows[order[part]]
            if bank.resident is None:
                images = bank.take(rows, None if frames is None else frames[part])
            else:
                images = bank.resident_samples(resident[part], None if chosen is None else chosen[part])
            yield Batch(rows, images, targets[part], numbers[part], indices[part])

    def _frames(self, epoch: int, purpose: str) -> np.ndarray | None:
        """Draw the frames of each sample of an epoch; None where all frames, or the middle ones, are used."""
        if not self.random_frames:
            return None
        numbers = uniforms(self.seed, f"{purpose} frames", epoch, len(self.rows), self.bank.frames)
        return chosen_frames(self.bank.stored, self.bank.frames, numbers)


def copied_ahead(batches: Iterator[Batch], stream: "torch.cuda.Stream") -> Iterator[Batch]:
    """Read batches and copy them to a GPU on a stream of their own, while the GPU computes the steps before."""

    def copied() -> Iterator[tuple[Batch, torch.cuda.Event]]:
        with torch.cuda.stream(stream):
            for batch in batches:
                yield batch, stream.record_event()

    current = torch.cuda.current_stream(stream.device)
    stream.wait_stream(current)
    for batch, event in prefetch(copied(), AHEAD):
        current.wait_event(event)
        batch.used_on(current)
        yield batch


def key(seed: int, *parts: object) -> int:
    """Derive a 63-bit seed from a run's seed and the purpose of the numbers."""
    return int(digest(str(seed), *(str(part) for part in parts))[:15], 16)


def uniforms(seed: int, purpose: str, epoch: int, rows: int, columns: int = 1) -> np.ndarray:
    """Draw the numbers of one epoch."""
    return np.random.default_rng(key(seed, purpose, epoch)).random((rows, columns), dtype=np.float32)


def permutation(seed: int, epoch: int, rows: int) -> np.ndarray:
    """Return the order of one epoch, int64, shape (rows,)."""
    return np.random.default_rng(key(seed, "order", epoch)).permutation(rows)


def seed_stage(seed: int, stage: int) -> None:
    """Seed torch for weights that a stage of a method initialises, the same in all processes."""
    _seed_generators(key(seed, "stage", stage))


def seed_step(seed: int, epoch: int, step: int, rank: int = 0) -> None:
    """Seed torch for one training step, for dropout and everything else that a network draws."""
    _seed_generators(key(seed, "step", epoch, step, rank))


def _seed_generators(seed: int) -> None:
    """Do what ``torch.manual_seed`` does, which also formats the stack for each kind of device that is not there."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)
    elif torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)
