"""What tests of runs on clips share: a recipe of clips whose label lies in time alone."""

import itertools
import json
from pathlib import Path

import numpy as np

import evenface as ef
from evenface.data.manifest import Manifest, make_table
from evenface.preprocessing.store import Store
from evenface.training import data


def rising_and_falling(folder: Path) -> Store:
    """Clips of 12 people that become brighter or darker: a class's frames are the other's in reverse."""
    random = np.random.default_rng(0)
    rows, images = [], []
    for person, number in itertools.product(range(12), range(2)):
        frames = (
            random.normal(40, 15, (1, 32, 32)) + 25 * np.arange(6)[:, None, None] + random.normal(0, 5, (6, 32, 32))
        )
        for label, clip in enumerate((frames, frames[::-1])):
            name = f"p{person:02}-{number}-{label}"
            who = f"p{person:02}"
            rows.append({"sample": name, "path": name, "label": label, "subject": who, "clip": name, "lost": 0})
            images.append(clip.clip(0, 255).astype(np.uint8)[..., None])
    manifest = Manifest(make_table(rows), ("rising", "falling"), "made-up", folder, content="clips", task="ordinal")
    manifest.save(folder / "manifest.parquet")
    np.save(folder / "images.npy", np.stack(images))
    (folder / "quarantine.csv").write_text("sample,path,reason\n")
    (folder / "store.json").write_text(json.dumps({"key": "k", "lost": []}))
    return Store.open(folder)


RECIPE = {
    "name": "clips",
    "data": {
        "source": "clip-folder",
        "root": str(Path(__file__).parent),
        "size": 32,
        "channels": 1,
        "clips": {"frames": 3, "stored_frames": 6},
    },
    "protocol": {"kind": "holdout", "test": 0.3, "validation": 0.2},
    "network": {"name": "compact_vgg_16_half", "temporal": {"kind": "bilstm", "hidden": 8, "layers": 1}},
    "training": {"epochs": 3, "batch_size": 8, "accelerator": "cpu", "precision": "32-true"},
    "optimizer": {"lr": 0.01},
    "augment": {"rotate": 5, "temporal_jitter": True},
}
RESTING = {"network.freeze": "backbone", "augment.flip": 0, "augment.rotate": 0}
STORED = {**RESTING, "training.cache_features": True}


def prepared_as(patch, store: Store) -> None:
    """Let every recipe be of these samples."""
    patch.setattr(data, "read_manifest", lambda _recipe: store.manifest)
    patch.setattr(data, "prepare_store", lambda _recipe, _manifest=None: store)


def train(folder, **overrides):
    return ef.train(RECIPE, out=folder, sample_faces=False, **overrides)
