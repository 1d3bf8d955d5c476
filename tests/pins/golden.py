"""Golden predictions: train seven tiny runs of different kinds and keep, or compare, their test probabilities.

``python -m tests.pins.golden OUT.npz`` trains and saves; ``python -m tests.pins.golden --compare A.npz B.npz`` says
whether two such files are identical bit for bit, or how far apart they are. Bits depend on the processor and on the
versions of PyTorch and NumPy: compare files from one machine.
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # before NumPy and PyTorch start their threads

import argparse
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SUBJECTS = "^(p[0-9]+)-"
HOLDOUT = {"kind": "holdout", "test": 0.3, "validation": 0.2}
TRAINING = {"epochs": 3, "batch_size": 8, "accelerator": "cpu", "precision": "32-true", "checkpoint": "last"}


def write_images(root: Path) -> None:
    """Write ``class/subject-number.png`` of eight subjects with 2, 1 and 3 images per class."""
    rng = np.random.default_rng(0)
    for label, (name, count) in enumerate({"calm": 2, "fear": 1, "happy": 3}.items()):
        (root / name).mkdir(parents=True)
        for subject in range(8):
            for number in range(count):
                pixels = rng.normal(60 + 60 * label, 25, (32, 32))
                pixels[:: label + 2] += 30
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / name / f"p{subject}-{number}.png")


def write_clips(root: Path) -> None:
    """Write ``class/subject-a/frame.png``: six frames that become brighter by 0, 12 or 24 a frame."""
    rng = np.random.default_rng(1)
    for level, name in enumerate(("none", "some", "much")):
        for subject in range(8):
            clip = root / name / f"p{subject}-a"
            clip.mkdir(parents=True)
            for frame in range(6):
                pixels = rng.normal(60 + 12 * level * frame, 20, (32, 32))
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(clip / f"{frame}.png")


def write_sequences(root: Path) -> None:
    """Write ``class/subject-number.csv`` of OpenFace's form: three action units over 12 frames, imbalanced classes."""
    rng = np.random.default_rng(2)
    for label, (name, count) in enumerate({"calm": 2, "fear": 1, "joy": 4}.items()):
        (root / name).mkdir(parents=True)
        for subject in range(8):
            for number in range(count):
                course = np.linspace(0, 1, 12)[:, None] * np.eye(3)[label] * 3
                values = np.abs(course + rng.normal(0, 0.4, course.shape))
                lines = ["AU01_r,AU04_r,AU12_r", *(",".join(f"{value:.6f}" for value in row) for row in values)]
                (root / name / f"p{subject}-{number}.csv").write_text("\n".join(lines))


def image_recipe(root: Path, **sections: Any) -> dict[str, Any]:
    """Return a recipe of a tiny CNN on the images."""
    return {
        "name": "golden",
        "data": {"source": "folder", "root": str(root / "images"), "size": 32, "channels": 1, "subjects": SUBJECTS},
        "protocol": HOLDOUT,
        "network": {"name": "test_resnet", "dropout": 0.2},
        "training": TRAINING,
        "augment": {"rotate": 10, "erase": 0.3},
        **sections,
    }


def clip_recipe(root: Path, temporal: dict[str, Any], **sections: Any) -> dict[str, Any]:
    """Return a recipe of a tiny CNN with a temporal head on the clips."""
    data = {"source": "clip-folder", "root": str(root / "clips"), "size": 32, "channels": 1, "subjects": SUBJECTS}
    order = {"classes": ["none", "some", "much"], "ordered": True}
    return {
        "name": "golden",
        "data": {**data, **order, "clips": {"frames": 3, "stored_frames": 6}},
        "protocol": HOLDOUT,
        "network": {"name": "test_resnet", "temporal": temporal},
        "training": TRAINING,
        "augment": {"temporal_jitter": True, "rotate": 5},
        **sections,
    }


def sequence_study(root: Path) -> dict[str, Any]:
    """Return a study of one-vs-rest recurrent networks on the sequences, all trained as one."""
    recipe = {
        "name": "golden",
        "data": {
            "source": "openface",
            "root": str(root / "sequences"),
            "subjects": SUBJECTS,
            "sequences": {"frames": 6},
        },
        "protocol": HOLDOUT,
        "network": {"name": "recurrent", "recurrent": {"dense": 4, "hidden": 6, "top": 5}},
        "method": {"name": "one-vs-all"},
        "loss": {"name": "adaptive", "severe": 7, "moderate": 1.9},
        "training": {"epochs": 4, "batch_size": 8, "accelerator": "cpu", "monitor": "loss"},
        "optimizer": {"name": "adam", "lr": 0.03, "weight_decay": 0},
        "augment": {"flip": 0},
    }
    factors = {"cell": {"gru": {}, "lstm": {"network.recurrent.kind": "lstm"}}}
    return {"name": "golden", "recipe": recipe, "factors": factors, "baseline": {"cell": "gru"}, "seeds": 2}


def recipes(root: Path) -> dict[str, dict[str, Any]]:
    """Return the recipe of each run that is trained by itself."""
    weighted = {"loss": {"name": "class-balanced"}}
    return {
        "images-erm": image_recipe(root),
        "images-eac": image_recipe(root, method={"name": "eac"}, training={**TRAINING, "ema_decay": 0.9}),
        "images-crt": image_recipe(root, method={"name": "crt"}, **weighted),
        "images-mixup": image_recipe(
            root, method={"name": "mixup"}, training={**TRAINING, "tta_flip": True, "sampling": "inverse"}, **weighted
        ),
        "clips-lstm": clip_recipe(root, {"kind": "lstm", "hidden": 8, "layers": 1}, optimizer={"lr": 0.01}),
        "clips-regression": clip_recipe(root, {"kind": "mean"}, method={"name": "regression"}),
    }


STEADIEST = ("images-eac", "clips-lstm")
"""Quick ones of which other processors predict the same to within 1e-5."""

RENAMED = {"training": {"checkpoint": "select", "ema_decay": "average", "tta_flip": "mirror"}}
"""New to old keys that the recipes above use, so that a commit before the renaming can be measured too."""


def as_known(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe with the keys that the installed version knows."""
    import evenface as ef

    adapted = {name: dict(value) if isinstance(value, Mapping) else value for name, value in recipe.items()}
    for section, keys in RENAMED.items():
        known = ef.Recipe.model_fields[section].annotation.model_fields
        for new, old in keys.items():
            if new not in known and new in adapted.get(section, {}):
                adapted[section][old] = adapted[section].pop(new)
    augment = adapted.get("augment", {})
    if "temporal_jitter" in augment and "frames" in ef.Recipe.model_fields["augment"].annotation.model_fields:
        augment["frames"] = "random" if augment.pop("temporal_jitter") else "middle"
    clips = adapted.get("data", {}).get("clips")
    if clips and "keep" in ef.Recipe.model_fields["data"].annotation.model_fields["clips"].annotation.model_fields:
        adapted["data"]["clips"] = {"frames": clips["frames"], "keep": clips["stored_frames"]}
    return adapted


def probabilities(folder: Path) -> np.ndarray:
    """Return the test probabilities of a run, ``(N, C)``, with samples in alphabetical order."""
    import evenface as ef

    predictions = ef.Run.open(folder).predictions
    return predictions.probabilities[np.argsort(predictions.sample)]


def trained(folder: Path, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """Train the named runs (by default all of them and the study) below ``folder``; return their probabilities."""
    import torch

    import evenface as ef

    torch.set_num_threads(1)
    for name, write in {"images": write_images, "clips": write_clips, "sequences": write_sequences}.items():
        write(folder / name)
    found = {}
    for name, recipe in recipes(folder).items():
        if names is None or name in names:
            run = ef.train(as_known(recipe), out=folder / "runs" / name, sample_faces=False)
            found[name] = probabilities(run.folder)
    if names is None:
        ef.study(sequence_study(folder), out=folder / "study", jobs=1)
        for run in sorted(path.parent for path in (folder / "study").rglob("predictions.parquet")):
            found[f"sequences-one-vs-rest/{run.parent.name}/{run.name}"] = probabilities(run)
    return found


def compare(one: Path, other: Path) -> int:
    """Print for each run whether both files hold the same bits; return 1 if anything differs."""
    with np.load(one) as first, np.load(other) as second:
        lines = {}
        for name in sorted({*first, *second}):
            if name not in first or name not in second:
                lines[name] = f"only in {one if name in first else other}"
            elif first[name].shape != second[name].shape:
                lines[name] = f"shapes {first[name].shape} and {second[name].shape}"
            elif first[name].tobytes() != second[name].tobytes():
                lines[name] = f"largest difference {np.abs(first[name] - second[name]).max():.3g}"
            else:
                lines[name] = "bit-identical"
    for name, line in lines.items():
        print(f"{name:40} {line}")
    return int(any(line != "bit-identical" for line in lines.values()))


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.pins.golden", description=__doc__.partition("\n")[0])
    parser.add_argument("out", nargs="?", type=Path, metavar="OUT.npz", help="file to write the probabilities to")
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("A.npz", "B.npz"), help="compare two such files")
    options = parser.parse_args()
    if options.compare:
        return compare(*options.compare)
    if options.out is None:
        parser.error("name the file to write, or --compare two files")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EVENFACE_CACHE"] = str(Path(folder) / "cache")
        np.savez(options.out, **trained(Path(folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
