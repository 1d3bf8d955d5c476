"""What tests of sequences share: manifests of files of numbers, their stores."""

from pathlib import Path

import numpy as np
import stores

from evenface.config.recipe import FrameSampler, MissingFaces, Sequences
from evenface.data.manifest import Manifest
from evenface.preprocessing.prepare import prepare
from evenface.preprocessing.store import Store


def manifest_of(
    root: Path, names: list[str], points: str = "features", content: str = "sequences", **columns
) -> Manifest:
    return stores.manifest_of(root, names, content=content, points=[points] * len(names), **columns)


def stored(tmp_path: Path, manifest: Manifest, workers: int = 0, **how) -> Store:
    missing = {name: how.pop(name) for name in MissingFaces.model_fields if name in how}
    how.setdefault("source", "none" if manifest.content == "sequences" else "mesh")
    return prepare(
        manifest,
        tmp_path / "stores",
        size=8,
        workers=workers,
        sequences=Sequences(**how),
        clips=FrameSampler(**missing),
    )


def numbers_of(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)
