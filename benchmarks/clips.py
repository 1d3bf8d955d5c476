"""Training time with cached features: an epoch of the head alone, and of the whole network on the same clips.

Run ``python -m benchmarks.clips``. Three configurations train on the same synthetic clips in turns, round by round,
each by evenface's own training loop with its checkpoint at the end of the epoch:

- *whole*: backbone and BiLSTM are trained;
- *frozen*: the BiLSTM is trained, the backbone is computed at every step;
- *stored*: the BiLSTM is trained on features computed once, which is timed separately.

Clips are noise, since their content does not affect the time. No image augmentation, no validation. All configurations
use the CPU. The difference between the weights of *frozen* and *stored* after the first epoch is reported too.
"""

import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common import Figure, Result, parser, report, summary

if TYPE_CHECKING:
    import numpy as np

    from evenface.config import Recipe
    from evenface.preprocessing.store import Store

TARGET = 20
CLASSES = 5


@dataclass(frozen=True)
class Settings:
    """Settings that are the same for all configurations."""

    network: str = "resnet50"
    size: int = 112
    clips: int = 48
    frames: int = 16
    batch_size: int = 8
    hidden: int = 256
    layers: int = 2
    precision: str = "32-true"
    rounds: int = 3
    epochs: int = 5
    """Epochs of *stored* in a round; the others train for one."""


SIDES: dict[str, dict[str, Any]] = {
    "whole": {"network.freeze": "none"},
    "frozen": {"network.freeze": "backbone"},
    "stored": {"network.freeze": "backbone", "training.cache_features": True},
}


def recipe_of(settings: Settings, side: str, epochs: int) -> "Recipe":
    """Return the recipe of one configuration: p1-biovid with the changes in the settings."""
    from evenface.config import load_recipe

    temporal = {"kind": "bilstm", "hidden": settings.hidden, "layers": settings.layers}
    content = {
        "name": side,
        "data": {"source": "clip-folder", "size": settings.size, "clips": {"frames": settings.frames}},
        "network": {"name": settings.network, "temporal": temporal},
        "optimizer": {"name": "adamw", "lr": 1e-4, "clip_norm": 5.0},
        "schedule": {"name": "constant"},
        "training": {"batch_size": settings.batch_size, "precision": settings.precision, "accelerator": "cpu"},
        "augment": {"flip": 0.0},
    }
    return load_recipe(content, {**SIDES[side], "training.epochs": epochs})


def make_store(folder: Path, settings: Settings) -> "Store":
    """Write a store of noise clips."""
    import numpy as np
    import pandas as pd

    from evenface.data.manifest import Manifest, make_table
    from evenface.preprocessing.store import Store

    names = [f"clip{number}" for number in range(settings.clips)]
    rows = [{"sample": name, "path": name, "clip": name, "label": i % CLASSES} for i, name in enumerate(names)]
    classes = tuple(str(level) for level in range(CLASSES))
    manifest = Manifest(make_table(rows), classes, "made-up", folder, content="clips")
    shape = (settings.clips, settings.frames, settings.size, settings.size, 3)
    images = np.lib.format.open_memmap(folder / "images.npy", mode="w+", dtype=np.uint8, shape=shape)
    random = np.random.default_rng(0)
    for clip in images:
        clip[:] = random.integers(0, 256, clip.shape, dtype=np.uint8)
    return Store(folder, manifest, images, pd.DataFrame(), "made-up")


def epoch(settings: Settings, store: "Store", side: str, epochs: int) -> tuple[float, float, dict[str, "np.ndarray"]]:
    """Train from scratch; return seconds per epoch, seconds of feature computation, and weights after the backbone."""
    import numpy as np
    from lightning_fabric import Fabric

    from evenface.training import build
    from evenface.training.batches import ImageBank, TrainingBatches
    from evenface.training.prediction import cached_features
    from evenface.training.trainer import Trainer

    recipe = recipe_of(settings, side, epochs)
    fabric = Fabric(accelerator="cpu", devices=1, precision=settings.precision)  # type: ignore[arg-type]
    fabric.launch()
    manifest = store.manifest
    method = build.build_method(recipe, manifest.counts(), manifest.classes, frames=settings.frames)
    began = time.perf_counter()
    pictures = store.images
    if side == "stored":
        pictures = cached_features(fabric, method.network, settings.network, store)  # type: ignore[arg-type]
    computing = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            fabric,
            method,
            TrainingBatches.of_recipe(
                recipe,
                ImageBank(pictures, fabric.device, settings.frames),
                manifest,
                np.arange(len(manifest)),
            ),
            recipe,
            Path(folder),
        )
        trainer.fit()
    head = {name: value.numpy() for name, value in method.state_dict().items() if ".backbone." not in name}
    return trainer.state.seconds / epochs, computing, head


def measure(settings: Settings) -> Result:
    """Train the configurations in turns."""
    import numpy as np
    import torch

    from evenface.training.trainer import keep_freed_memory

    keep_freed_memory()
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder), settings)
        computing = epoch(settings, store, "stored", 1)[1]
        frozen, stored = (epoch(settings, store, side, 1)[2] for side in ("frozen", "stored"))
        for number in range(settings.rounds):
            # Reverse the order in every other round.
            for side in list(SIDES) if number % 2 else list(SIDES)[::-1]:
                seconds[side].append(epoch(settings, store, side, settings.epochs if side == "stored" else 1)[0])
    apart = max(float(np.abs(value - stored[name]).max()) for name, value in frozen.items())
    times = {
        side: [whole / own for whole, own in zip(seconds["whole"], values, strict=True)]
        for side, values in seconds.items()
        if side != "whole"
    }
    faster = {side: summary(values, 1) for side, values in times.items()}
    each = {side: summary(values, 3) for side, values in seconds.items()}
    results = {
        "whole_over": faster,
        "seconds_per_epoch": each,
        "seconds_to_compute_features_once": round(computing, 2),
        "largest_difference_of_weights_frozen_to_stored": apart,
        "rounds_in_seconds": {side: [round(value, 4) for value in values] for side, values in seconds.items()},
    }

    def spread(values: dict[str, float]) -> tuple[float, float]:
        return values["min"], values["max"]

    figures = [
        *(Figure(f"seconds of an epoch, {side}", each[side]["median"], spread(each[side])) for side in SIDES),
        Figure("seconds to compute features, once", computing),
        Figure("whole / stored", faster["stored"]["median"], spread(faster["stored"]), at_least=TARGET),
        Figure("whole / frozen", faster["frozen"]["median"], spread(faster["frozen"])),
        Figure("frozen and stored: largest difference of weights", apart),
    ]
    data = f"{settings.clips} made-up clips of {settings.frames} frames of {settings.size} px"
    return Result("clips", data, asdict(settings) | {"threads": torch.get_num_threads()}, results, figures)


def main() -> None:
    options = parser(__doc__)
    for name, value in asdict(Settings()).items():
        options.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    given = options.parse_args()
    settings = Settings(**{name: getattr(given, name) for name in asdict(Settings())})
    report(measure(settings), given)


if __name__ == "__main__":
    main()
