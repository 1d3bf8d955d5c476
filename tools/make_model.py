"""Draw, train, calibrate, export and measure the bundled model again, from the seeds of its recipe.

Run: ``python tools/make_model.py FOLDER [--fer2013 FER2013]``, or ``make model``. An interrupted call is resumed. The
run is in FOLDER; the exported file and its weights are copied into the package. FER2013 is a folder with
``train/<class>/`` and ``validation/<class>/`` (PublicTest): faces of PublicTest that are not in ``train/`` give the
results on real faces of the model card. Without it the card has none, and all units are shown.
"""

import argparse
import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from evenface import api
from evenface.evaluation.metrics import confusion_matrix, recall
from evenface.evaluation.probability_metrics import roc_auc
from evenface.inference import open_model
from evenface.inference.registry import BUNDLED, FOLDER
from evenface.models import weights
from evenface.reporting.model_card import REAL_FACES
from evenface.runs import Run
from evenface.utils.files import write_json_with_digest

IMPLIED = {"AU6": "happy", "AU12": "happy", "AU1": "surprise", "AU2": "surprise", "AU5": "surprise"} | {
    "AU26": "surprise",
    "AU4": "angry",
    "AU9": "disgust",
    "AU15": "sad",
}
"""Class that implies a unit; its faces are compared with neutral ones."""
NEUTRAL = "neutral"


def digest(path: Path) -> str:
    """Return a digest of an image's pixels."""
    return hashlib.sha256(np.asarray(Image.open(path).convert("L")).tobytes()).hexdigest()


def real_results(run: Run, root: Path) -> dict[str, Any]:
    """Measure a run on PublicTest of FER2013 without the faces that are also in its training side."""
    data = {"source": "fer2013", "root": str(root), "size": 48, "channels": 1, "test": "public"}
    target = {"name": "fer2013", "data": data, "protocol": {"kind": "official"}}
    evaluated = api.evaluate(run.folder, on=target, sample_faces=False)
    store, rows = evaluated.store, evaluated.split["row"].to_numpy()
    seen = {digest(path) for path in (root / "train").rglob("*.png")}
    files = store.manifest.table["path"].iloc[rows]
    new = np.array([digest(store.manifest.root / name) not in seen for name in files])
    model = open_model(run.folder)
    labels = evaluated.split["label"].to_numpy()[new]
    outputs = np.concatenate([model.outputs(np.asarray(store.images[part])) for part in np.array_split(rows[new], 50)])
    return summary(outputs, labels, tuple(evaluated.facts["classes"]), model.auxiliary)


def summary(
    outputs: np.ndarray, labels: np.ndarray, classes: tuple[str, ...], units: tuple[str, ...]
) -> dict[str, Any]:
    """Summarise outputs (N, C + T) of faces with known classes: recall of each, ROC-AUC of the units they imply."""
    confusion = confusion_matrix(labels, outputs[:, : len(classes)].argmax(axis=1), len(classes))
    recalls = recall(confusion)
    values = dict(zip(units, outputs[:, len(classes) :].T, strict=True))
    measured = {}
    for unit in (unit for unit in units if unit in IMPLIED):
        implied, neutral = (labels == classes.index(name) for name in (IMPLIED[unit], NEUTRAL))
        both = implied | neutral
        measured[unit] = float(roc_auc(implied[both], values[unit][both]))
    return {
        "data": "PublicTest of FER2013",
        "samples": len(labels),
        "accuracy": float(np.trace(confusion) / len(labels)),
        "balanced_accuracy": float(recalls.mean()),
        "recall": dict(zip(classes, recalls.tolist(), strict=True)),
        "units": measured,
    }


def put_into_package(run: Run) -> Mapping[str, Any]:
    """Export the run, and copy the file and the weights; return the file's card."""
    name = f"{BUNDLED}.onnx"
    exported = api.export(run.folder, out=run.folder / name)
    shutil.copyfile(exported.path, FOLDER / name)
    shutil.copyfile(run.weights, weights.FOLDER / f"{BUNDLED}.safetensors")
    return open_model(FOLDER / name).card


def main() -> None:
    """Make the model."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("--fer2013", type=Path)
    given = options.parse_args()
    run = Run(given.folder)
    if not run.finished:
        run = api.train(BUNDLED, out=given.folder, resume=run.begun, sample_faces=False)
    if given.fer2013 is not None:
        write_json_with_digest(given.folder / REAL_FACES, real_results(run, given.fer2013))
        api.evaluate(given.folder, sample_faces=False)
    card = put_into_package(Run(given.folder))
    print(card["name"], card.get("real_faces"))


if __name__ == "__main__":
    main()
