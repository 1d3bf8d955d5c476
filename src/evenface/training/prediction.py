"""Predict stored samples: scores of a method, validation metrics, features of a frozen backbone."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from evenface.data.manifest import TaskKind
from evenface.evaluation.metrics import accuracy, balanced_accuracy, confusion_matrix, macro_f1
from evenface.evaluation.probability_metrics import log_loss
from evenface.evaluation.target_predictions import TargetPredictions
from evenface.evaluation.target_summary import measured_targets
from evenface.methods.base import Method
from evenface.models import Network
from evenface.preprocessing.augmentation import to_float
from evenface.preprocessing.store import Store
from evenface.training.batches import ImageBank
from evenface.utils.errors import InputError
from evenface.utils.files import digest, disk_error, exclusive_lock, write_json
from evenface.utils.progress import progress

BATCH = 256
"""Sequences predicted at a time."""
FEATURE_BATCH = 64
"""Frames that go through a frozen backbone at a time."""
SYNC_SECONDS = 5.0


@dataclass(frozen=True)
class ImageScorer:
    """A method that scores the images of a bank, ``batch_size`` at a time; ``mirror`` averages over both views."""

    fabric: Fabric
    method: Method
    bank: ImageBank
    batch_size: int
    mirror: bool = False

    @torch.inference_mode()
    def score(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Compute the method's scores of the images at ``rows``, without augmentation, and its output, if it has one.

        Values of auxiliary targets follow the scores.
        """
        world, rank = self.fabric.world_size, self.fabric.global_rank
        # Every process needs the same number of rows to gather: the list is filled up with its own first row.
        filled = np.concatenate([rows, np.repeat(rows[:1], -len(rows) % world)])
        local_rows = filled[rank::world]
        was_training = self.method.training
        self.method.eval()
        parts = []
        has_output = False
        for start in range(0, len(local_rows), self.batch_size):
            images = to_float(self.bank.take(local_rows[start : start + self.batch_size]))
            with self.fabric.autocast():
                scores, has_output = self._concatenated(images)
                parts.append((scores + self._concatenated(images.flip(-1))[0]) / 2 if self.mirror else scores)
        self.method.train(was_training)
        gathered = [torch.cat(parts)]
        if world > 1:
            gathered = [torch.empty_like(gathered[0]) for _ in range(world)]
            torch.distributed.all_gather(gathered, torch.cat(parts))
        values = torch.stack(gathered, dim=1).reshape(len(filled), -1)[: len(rows)].cpu().numpy()
        return (values[:, :-1], values[:, -1]) if has_output else (values, None)

    def _concatenated(self, images: Tensor) -> tuple[Tensor, bool]:
        """Concatenate scores and output, so that processes gather once; return whether there is an output."""
        if self.method.auxiliary is not None:
            return self.method.with_auxiliary(images).double(), False
        scores, output = self.method.outputs(images)
        if output is None:
            return scores.double(), False
        return torch.cat([scores.double(), output.double()[:, None]], dim=1), True


@torch.inference_mode()
def score_sequences(
    method: Method,
    sequences: np.ndarray,
    rows: np.ndarray,
    *,
    device: torch.device | str = "cpu",
    mirror: Callable[[Tensor], Tensor] | None = None,
    batch_size: int = BATCH,
) -> np.ndarray:
    """Compute a method's scores of the sequences at ``rows``."""
    was_training = method.training
    method.eval()
    parts = []
    for start in range(0, len(rows), batch_size):
        batch = torch.from_numpy(np.array(sequences[rows[start : start + batch_size]])).to(device)
        scores = method.scores(batch).double()
        parts.append((scores + method.scores(mirror(batch)).double()) / 2 if mirror else scores)
    method.train(was_training)
    return np.asarray(torch.cat(parts).cpu().numpy())


def validation_metrics(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Compute the validation metrics that checkpoints and early stopping can monitor."""
    confusion = confusion_matrix(labels, probabilities.argmax(axis=1), probabilities.shape[1])
    return {
        "loss": float(np.mean(log_loss(probabilities, labels))),
        "accuracy": float(accuracy(confusion)),
        "balanced_accuracy": float(balanced_accuracy(confusion)),
        "macro_f1": float(macro_f1(confusion)),
    }


MONITORS = {
    "multilabel": ("macro_average_precision", "macro_f1", "loss"),
    "regression": ("ccc", "mae", "loss"),
}
"""Validation metrics that weights of a task are selected by, the default first."""


def shown_metric(task: TaskKind) -> str:
    """Return the validation metric that the table of epochs shows beside the loss."""
    return MONITORS[task][0] if task in MONITORS else "balanced_accuracy"


def larger_is_better(monitor: str) -> bool:
    """Return whether larger values of a validation metric are better."""
    return monitor not in ("loss", "mae")


def monitor_of(monitor: str, task: TaskKind) -> str:
    """Return the validation metric of a task that weights are selected by."""
    if task not in MONITORS:
        if monitor in ("macro_average_precision", "ccc", "mae"):
            raise InputError(f"training.monitor: {monitor} is not for classes", "Use balanced_accuracy, or loss.")
        return monitor
    if monitor == "balanced_accuracy":
        return shown_metric(task)
    if monitor not in MONITORS[task]:
        raise InputError(f"training.monitor: {monitor} is not for {task}", f"Use {', '.join(MONITORS[task])}.")
    return monitor


def target_validation_metrics(predictions: TargetPredictions) -> dict[str, float]:
    """Compute the same of targets: the loss is binary cross-entropy, or squared error in variances of the target."""
    if predictions.task == "regression":
        spread = np.nanvar(predictions.targets, axis=0)
        losses = (predictions.values - predictions.targets) ** 2 / np.where(spread > 0, spread, 1)
        names = {"mae": "expected_mae", "ccc": "ccc"}
    else:
        p = np.clip(predictions.values, 1e-12, 1 - 1e-12)
        losses = -(predictions.targets * np.log(p) + (1 - predictions.targets) * np.log(1 - p))
        names = {"macro_f1": "macro_target_f1", "macro_average_precision": "macro_target_average_precision"}
    measured = {key: measured_targets(name, predictions) for key, name in names.items()}
    return {"loss": float(np.nanmean(losses)), **{key: float(np.nan_to_num(value)) for key, value in measured.items()}}


def cached_features(fabric: Fabric, network: Network, kind: str, store: Store) -> np.ndarray:
    """Compute a frozen backbone's features of every stored frame once, and load them from the store's folder.

    Their file name has the digest of the store, the backbone with its weights, the precision and the device type. A
    computation that was killed is resumed where it stopped.
    """
    precision = fabric.strategy.precision.precision
    key = digest(store.key, kind, str(precision), fabric.device.type, *_tensors(network))
    path = store.path / f"features-{key}.npy"
    shape = (*store.images.shape[:2], network.width)
    if not path.is_file():
        try:
            with exclusive_lock(store.path / f".features-{key}.lock", "another process is computing the same features"):
                if not path.is_file():
                    _compute(fabric, network, store, path, shape)
        except OSError as error:
            raise disk_error(error, path) from error
    features = np.load(path, mmap_mode="r")
    if features.shape != shape or features.dtype != np.float32:
        raise InputError(f"{path} is damaged", "Delete it: it is computed again.")
    return np.asarray(features)


def _tensors(network: Network) -> list[bytes | str]:
    parts: list[bytes | str] = []
    for name, value in {**network.backbone.state_dict(), "mean": network.mean, "std": network.std}.items():
        parts += [name, value.detach().cpu().contiguous().numpy().tobytes()]
    return parts


def _compute(fabric: Fabric, network: Network, store: Store, path: Path, shape: tuple[int, ...]) -> None:
    """Write the features frame by frame after the header, and record regularly how many are safely on disk."""
    frames = store.images.reshape(-1, *store.images.shape[2:])
    part, note = path.with_name(f".{path.stem}.part"), path.with_name(f".{path.stem}.done")
    done = int(note.read_text("utf-8")) if note.is_file() and part.is_file() else 0
    with part.open("r+b" if done else "w+b") as file, progress("computing features", len(frames), done) as bar:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        file.seek(done * 4 * shape[2], os.SEEK_CUR)
        synced = time.monotonic()
        for start in range(done, len(frames), FEATURE_BATCH):
            batch = frames[start : start + FEATURE_BATCH]
            file.write(frame_features(fabric, network, batch).tobytes())
            bar(len(batch))
            if time.monotonic() - synced >= SYNC_SECONDS:
                _sync(file)
                write_json(note, start + len(batch))
                synced = time.monotonic()
        _sync(file)
    part.replace(path)
    note.unlink(missing_ok=True)


def frame_features(fabric: Fabric, network: Network, frames: np.ndarray) -> np.ndarray:
    """Compute a backbone's features (N, D), float32, of images (N, H, W, C); the network keeps its mode."""
    network = network.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    training, parts = network.training, []
    for start in range(0, len(frames), FEATURE_BATCH):
        images = torch.from_numpy(np.array(frames[start : start + FEATURE_BATCH])).to(fabric.device)
        with torch.inference_mode(), fabric.autocast():
            features = network.eval().forward_backbone(to_float(images))[0]
        parts.append(features.float().cpu().numpy())
    network.train(training)
    return np.concatenate(parts)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
