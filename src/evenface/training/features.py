"""What a frozen backbone says of every stored frame, computed once and kept beside the store."""

import os
import time
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from lightning_fabric import Fabric

from evenface.models import Network
from evenface.preprocessing.augmentation import to_float
from evenface.preprocessing.store import Store
from evenface.utils.errors import InputError
from evenface.utils.files import digest, disk_error, exclusive_lock, npy_header, write_json
from evenface.utils.progress import progress

FRAMES = 64
"""Pictures that go through the backbone together."""
SYNC_SECONDS = 5.0


def stored_features(fabric: Fabric, network: Network, kind: str, store: Store) -> np.ndarray:
    """Compute the backbone's features of every stored frame, or find them computed.

    They stand in the store's folder, under a name that is the digest of the store, the backbone with its weights, the
    precision and the kind of device. A call that was killed is taken up where it stopped.
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
    found = np.load(path, mmap_mode="r")
    if found.shape != shape or found.dtype != np.float32:
        raise InputError(f"{path} is damaged", "Delete it: it is computed again.")
    return np.asarray(found)


def _tensors(network: Network) -> list[bytes | str]:
    parts: list[bytes | str] = []
    for name, value in {**network.backbone.state_dict(), "mean": network.mean, "std": network.std}.items():
        parts += [name, value.detach().cpu().contiguous().numpy().tobytes()]
    return parts


def _compute(fabric: Fabric, network: Network, store: Store, path: Path, shape: tuple[int, ...]) -> None:
    """Write the features frame by frame behind the header, and note now and then how many are safe on disk."""
    frames = store.images.reshape(-1, *store.images.shape[2:])
    part, note = path.with_name(f".{path.stem}.part"), path.with_name(f".{path.stem}.done")
    header = npy_header("<f4", shape)
    done = int(note.read_text("utf-8")) if note.is_file() and part.is_file() else 0
    network = network.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    training = network.training
    with part.open("r+b" if done else "w+b") as file, progress("computing features", len(frames), done) as bar:
        file.write(header)
        file.seek(len(header) + done * 4 * shape[2])
        synced = time.monotonic()
        for start in range(done, len(frames), FRAMES):
            some = torch.from_numpy(np.array(frames[start : start + FRAMES])).to(fabric.device)
            with torch.inference_mode(), fabric.autocast():
                found = network.eval().forward_backbone(to_float(some))[0]
            file.write(found.float().cpu().numpy().tobytes())
            bar(len(some))
            if time.monotonic() - synced >= SYNC_SECONDS:
                _sync(file)
                write_json(note, start + len(some))
                synced = time.monotonic()
        _sync(file)
    network.train(training)
    part.replace(path)
    note.unlink(missing_ok=True)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
