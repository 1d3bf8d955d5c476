"""What tests of sequences share: manifests of files of numbers, their stores."""

from pathlib import Path

import numpy as np
import stores

from evenface.data.manifest import Manifest
from evenface.preprocessing.prepare import prepare
from evenface.preprocessing.sequences import Sequencing
from evenface.preprocessing.store import Store


def manifest_of(
    root: Path, names: list[str], points: str = "features", content: str = "sequences", **columns
) -> Manifest:
    return stores.manifest_of(root, names, content=content, points=[points] * len(names), **columns)


def stored(tmp_path: Path, manifest: Manifest, workers: int = 0, **how) -> Store:
    return prepare(manifest, tmp_path / "stores", size=8, workers=workers, sequences=Sequencing(**how))


def numbers_of(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)
