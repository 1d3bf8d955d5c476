"""Which samples meet in which step: a pure function of (seed, epoch, step), the same for any number of processes."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from evenface.augment import COLUMNS
from evenface.errors import InputError
from evenface.imbalance import draw, sampling_probabilities
from evenface.training.randomness import permutation, uniforms

GPU_SHARE = 0.25
"""Largest share of a GPU's free memory that stored faces may take."""


@dataclass(frozen=True)
class Batch:
    """Samples of one step on one device.

    Parameters
    ----------
    rows : ndarray of shape (B,)
        Rows of the store.
    images : Tensor of shape (B, H, W, C)
        uint8.
    targets : Tensor of shape (B,)
        Class indices, int64.
    numbers : Tensor of shape (B, COLUMNS)
        What augmentation draws from.
    places : Tensor of shape (B,)
        Place of each sample among those that train, int64.
    second : Batch, optional
        As many samples drawn by another rule, for methods that ask for them.
    """

    rows: np.ndarray
    images: Tensor
    targets: Tensor
    numbers: Tensor
    places: Tensor
    second: "Batch | None" = None


class Faces:
    """Stored faces where the network can reach them: on the GPU whole where they fit, else read as they are asked for.

    Parameters
    ----------
    images : ndarray of shape (N, 1, H, W, C)
        uint8, usually memory-mapped.
    device : torch.device
        Where the network runs.
    """

    def __init__(self, images: np.ndarray, device: torch.device) -> None:
        self.images, self.device = images, device
        self.resident: Tensor | None = None
        if device.type == "cuda" and images.nbytes < GPU_SHARE * torch.cuda.mem_get_info(device)[0]:
            self.resident = torch.from_numpy(np.ascontiguousarray(images[:, 0])).to(device)

    def take(self, rows: np.ndarray) -> Tensor:
        """Give the stills at ``rows``, (B, H, W, C) uint8 on the device."""
        if self.resident is not None:
            return self.resident[torch.from_numpy(rows).to(self.device)]
        return torch.from_numpy(np.take(self.images[:, 0], rows, axis=0)).to(self.device, non_blocking=True)


class TrainingBatches:
    """Batches of one run.

    Parameters
    ----------
    faces : Faces
        Where pictures come from.
    rows : ndarray of shape (N,)
        Rows of the store that train.
    labels : ndarray of shape (N,)
        Their classes.
    batch_size : int
        Samples of one step over all processes together.
    seed : int
        Seed of the run.
    sampling : str
        A rule of :func:`evenface.imbalance.sampling_probabilities`. ``none`` visits no sample twice in an epoch; the
        others draw as many samples with replacement, rare classes more often.
    rank, world : int
        This process and their number. Each takes an equal share of every batch.

    Notes
    -----
    The last, smaller batch of an epoch is left out (another one each epoch, as the order changes), unless it is
    the only one: a batch of few samples would spoil batch normalisation's averages.
    """

    def __init__(
        self,
        faces: Faces,
        rows: np.ndarray,
        labels: np.ndarray,
        *,
        batch_size: int,
        seed: int,
        sampling: str = "none",
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.faces, self.rows, self.labels = faces, rows, labels
        self.seed, self.sampling, self.rank, self.world = seed, sampling, rank, world
        self.batch_size = min(batch_size, len(rows)) // world * world
        if self.batch_size < 2 * world:
            raise InputError(f"{len(rows)} training samples are too few for {world} processes with two or more each")
        self.steps = len(rows) // self.batch_size

    def order(self, epoch: int, sampling: str | None = None, purpose: str = "sampling") -> np.ndarray:
        """Give the places (into ``rows``) of one epoch, in order, shape (N,).

        Parameters
        ----------
        epoch : int
            From 0.
        sampling : str, optional
            Takes the place of the batches' own rule.
        purpose : str
            Keeps the draws of the first and the second batches apart.
        """
        rule = sampling or self.sampling
        if rule == "none":
            return permutation(self.seed, epoch, len(self.rows))
        drawn = uniforms(self.seed, purpose, epoch, len(self.rows))[:, 0].astype(np.float64)
        return draw(sampling_probabilities(self.labels, rule), drawn)

    def epoch(
        self, epoch: int, start: int = 0, *, sampling: str | None = None, second: str | None = None
    ) -> Iterator[Batch]:
        """Walk through one epoch from step ``start`` on, with a second batch beside each if ``second`` names a rule."""
        batches = self._walk(epoch, start, self.order(epoch, sampling), "augment")
        if second is None:
            yield from batches
            return
        others = self._walk(epoch, start, self.order(epoch, second, "second sampling"), "augment second")
        for batch, other in zip(batches, others, strict=True):
            yield replace(batch, second=other)

    def _walk(self, epoch: int, start: int, order: np.ndarray, purpose: str) -> Iterator[Batch]:
        numbers = torch.from_numpy(uniforms(self.seed, purpose, epoch, len(self.rows), COLUMNS))
        share = self.batch_size // self.world
        device = self.faces.device
        for step in range(start, self.steps):
            first = step * self.batch_size + self.rank * share
            places = order[first : first + share]
            rows = self.rows[places]
            targets = torch.from_numpy(self.labels[places]).to(device, non_blocking=True)
            yield Batch(
                rows,
                self.faces.take(rows),
                targets,
                numbers[first : first + share],
                torch.from_numpy(places).to(device, non_blocking=True),
            )
