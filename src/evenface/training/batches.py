"""Training batches, and all random numbers of training: a pure function of (seed, purpose, epoch, step).

So resuming needs no saved state, and batches are the same for any number of processes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from evenface.config import Recipe
from evenface.data.imbalance import draw_samples, sampling_probabilities
from evenface.data.manifest import Manifest
from evenface.preprocessing.augmentation import COLUMNS
from evenface.utils.errors import InputError
from evenface.utils.files import digest

GPU_SHARE = 0.25
"""Largest share of a GPU's free memory that stored images may take."""


@dataclass(frozen=True)
class Batch:
    """Samples of one step on one device."""

    rows: np.ndarray
    images: Tensor
    targets: Tensor
    numbers: Tensor
    indices: Tensor
    second: "Batch | None" = None


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
        self.index = index
        self.resident: Tensor | None = None
        parts = [images] if drawn is None else [images, drawn]
        nbytes = sum(part.nbytes for part in parts)
        if device.type == "cuda" and nbytes < GPU_SHARE * torch.cuda.mem_get_info(device)[0]:
            self.resident = torch.cat([torch.from_numpy(np.ascontiguousarray(part)).to(device) for part in parts])

    def take(self, rows: np.ndarray, frames: np.ndarray | None = None) -> Tensor:
        """Return the samples at ``rows`` on the device."""
        index: tuple[np.ndarray, ...] = (rows,)
        if self.frames < self.stored:
            index = (rows[:, None], chosen_frames(self.stored, self.frames) if frames is None else frames)
        if self.resident is not None:
            images = self.resident[tuple(torch.from_numpy(axis).to(self.device) for axis in index)]
        else:
            read = self._whole(rows) if len(index) == 1 else self.images[index]
            images = torch.from_numpy(np.asarray(read)).to(self.device, non_blocking=True)
        if self.baselines is not None and self.index is not None:
            first = self.baselines[torch.from_numpy(self.index[rows]).to(self.device)]
            return torch.cat([first[:, None], images], dim=1)
        return images[:, 0] if self.frames == 1 else images

    def _whole(self, rows: np.ndarray) -> np.ndarray:
        """Read whole samples; np.take is faster for them than indexing."""
        if self.drawn is None or (own := rows < len(self.images)).all():
            return np.take(self.images, rows, axis=0)
        read = np.empty((len(rows), *self.images.shape[1:]), self.images.dtype)
        read[own] = np.take(self.images, rows[own], axis=0)
        read[~own] = self.drawn[rows[~own] - len(self.images)]
        return read


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
        if second is None:
            yield from batches
            return
        others = self._batches(epoch, start, self.order(epoch, second, "second sampling"), "augment second")
        for batch, other in zip(batches, others, strict=True):
            yield replace(batch, second=other)

    def names_of(self, epoch: int, step: int, sampling: str | None = None) -> list[str]:
        """Return the names of the samples of one step, of all processes together."""
        first = step * self.batch_size
        return [str(name) for name in self.names[self.order(epoch, sampling)[first : first + self.batch_size]]]

    def _batches(self, epoch: int, start: int, order: np.ndarray, purpose: str) -> Iterator[Batch]:
        numbers = torch.from_numpy(uniforms(self.seed, purpose, epoch, len(self.rows), COLUMNS))
        frames = self._frames(epoch, purpose)
        share = self.batch_size // self.world
        device = self.bank.device
        for step in range(start, self.steps):
            first = step * self.batch_size + self.rank * share
            indices = order[first : first + share]
            rows = self.rows[indices]
            targets = torch.from_numpy(self.targets[indices]).to(device, non_blocking=True)
            yield Batch(
                rows,
                self.bank.take(rows, None if frames is None else frames[first : first + share]),
                targets,
                numbers[first : first + share],
                torch.from_numpy(indices).to(device, non_blocking=True),
            )

    def _frames(self, epoch: int, purpose: str) -> np.ndarray | None:
        """Draw the frames of each sample of an epoch; None where all frames, or the middle ones, are used."""
        if not self.random_frames:
            return None
        numbers = uniforms(self.seed, f"{purpose} frames", epoch, len(self.rows), self.bank.frames)
        return chosen_frames(self.bank.stored, self.bank.frames, numbers)


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
    torch.manual_seed(key(seed, "stage", stage))


def seed_step(seed: int, epoch: int, step: int, rank: int = 0) -> None:
    """Seed torch for one training step, for dropout and everything else that a network draws."""
    torch.manual_seed(key(seed, "step", epoch, step, rank))
