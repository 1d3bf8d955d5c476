"""Draw, train, calibrate, export and measure the bundled model again, from seeds.

Run: ``python -m tools.make_model FOLDER [--fer2013 FER2013]``, or ``make model``; an interrupted call is resumed.
FOLDER is the run of the image network; in it, ``mesh/`` has the faces that the network of mesh points was trained on,
and ``both/`` the run with the predictions of both. The exported file of both and the weights of the image network are
copied into the package. FER2013 is a folder with ``train/<class>/`` and ``validation/<class>/`` (PublicTest): faces of
PublicTest that are not in ``train/`` give the results on real faces of the model card. Without it the card has none,
and all units are shown.
"""

import argparse
import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image

from evenface import api
from evenface.config import Recipe, load_recipe
from evenface.config.predict import PredictSettings
from evenface.evaluation.metrics import confusion_matrix, recall
from evenface.evaluation.probability_metrics import roc_auc, shares
from evenface.evaluation.target_predictions import AnyPredictions
from evenface.inference.export import StoredSamples, shared_recipe
from evenface.inference.face_crops import crop_input
from evenface.inference.input_spec import target_for
from evenface.inference.model import Model, ModelMetadata
from evenface.inference.onnx_graph import INPUT, MAX_SAMPLES, onnx_bytes, onnx_graph, quantise
from evenface.inference.onnx_model import POINTS, OnnxModel
from evenface.inference.registry import BUNDLED, FOLDER
from evenface.inference.run_model import TorchModel
from evenface.models import weights
from evenface.preprocessing.mesh_points import align_points
from evenface.reporting.model_card import REAL_FACES
from evenface.runs import AUXILIARY, PREDICTIONS, VALIDATION, Run
from evenface.training import build, calibrate, data
from evenface.utils import __version__
from evenface.utils.files import atomic_write, write_json_with_digest
from evenface.utils.progress import progress
from tools.point_branch import CHUNK, CHUNKS, TrainedBranch, TwoInputs, draw_pool, train_branch

Array = NDArray[Any]
IMPLIED = {"AU6": "happy", "AU12": "happy", "AU1": "surprise", "AU2": "surprise", "AU5": "surprise"} | {
    "AU26": "surprise",
    "AU4": "angry",
    "AU9": "disgust",
    "AU15": "sad",
}
"""Class that implies a unit; its faces are compared with neutral ones."""
NEUTRAL = "neutral"
RESAMPLES = 1000
STORED = "real-faces.parquet"
"""Outputs on real faces, from which the results of the card are computed; kept in benchmarks/results/bundled-model/."""


def digest(path: Path) -> str:
    """Return a digest of an image's pixels."""
    return hashlib.sha256(np.asarray(Image.open(path).convert("L")).tobytes()).hexdigest()


def new_faces(root: Path, classes: tuple[str, ...]) -> tuple[list[Path], Array]:
    """List the images of PublicTest without those that are also in the training side, and the row of their classes."""
    seen = {digest(path) for path in (root / "train").rglob("*.png")}
    paths, labels = [], []
    for row, name in enumerate(classes):
        own = [path for path in sorted((root / "validation" / name).glob("*.png")) if digest(path) not in seen]
        paths += own
        labels += [row] * len(own)
    return paths, np.array(labels)


def predicted(model: Model, paths: list[Path]) -> Array:
    """Return the outputs (N, C + T) of images, cropped as for prediction."""
    settings = PredictSettings()
    target = target_for(settings.replace(faces="largest"), model.input_spec)
    outputs = []
    with progress("predicting on real faces", len(paths)) as bar:
        for path in paths:
            with Image.open(path) as image:
                ((_, crop), *_) = crop_input(image.convert("RGB"), target, model.input_spec, settings)
            outputs.append(model.outputs(crop[np.newaxis])[0])
            bar(1)
    return np.stack(outputs)


def real_table(model: Model, root: Path) -> pd.DataFrame:
    """Return a row of outputs for each real face: sample, label, ``p_`` of classes, ``v_`` of units."""
    paths, labels = new_faces(root, model.classes)
    names = [f"p_{name}" for name in model.classes] + [f"v_{name}" for name in model.auxiliary]
    table = pd.DataFrame(predicted(model, paths).astype(np.float32), columns=names)
    table.insert(0, "label", [model.classes[row] for row in labels])
    table.insert(0, "sample", [path.stem for path in paths])
    return table


def summary(table: pd.DataFrame) -> dict[str, Any]:
    """Summarise the outputs of faces with known classes, with 95 % intervals by bootstrap over the faces of a class."""
    classes = tuple(str(name)[2:] for name in table.columns if str(name).startswith("p_"))
    labels = table["label"].map(classes.index).to_numpy()
    best = table[[f"p_{name}" for name in classes]].to_numpy().argmax(axis=1)
    units = {name: table[f"v_{name}"].to_numpy() for name in IMPLIED if f"v_{name}" in table.columns}
    value = measured(labels, best, units, classes)
    rng, draws = np.random.default_rng(0), []
    of_class = [np.flatnonzero(labels == row) for row in range(len(classes))]
    for _ in range(RESAMPLES):
        rows = np.concatenate([rng.choice(own, len(own)) for own in of_class])
        draws.append(measured(labels[rows], best[rows], {name: v[rows] for name, v in units.items()}, classes))
    low, high = np.percentile([_flat(draw) for draw in draws], [2.5, 97.5], axis=0)
    names = [*("accuracy", "balanced_accuracy"), *classes, *units]
    intervals = {name: [float(a), float(b)] for name, a, b in zip(names, low, high, strict=True)}
    return {"data": "PublicTest of FER2013", "samples": len(labels), **value, "intervals": intervals}


def measured(labels: Array, best: Array, units: Mapping[str, Array], classes: tuple[str, ...]) -> dict[str, Any]:
    """Return accuracy, recall of each class, and ROC-AUC of each unit for the class that implies it."""
    confusion = confusion_matrix(labels, best, len(classes))
    recalls = recall(confusion)
    areas = {}
    for unit, values in units.items():
        implied, neutral = (labels == classes.index(name) for name in (IMPLIED[unit], NEUTRAL))
        both = implied | neutral
        areas[unit] = float(roc_auc(implied[both], values[both]))
    return {
        "accuracy": float(np.trace(confusion) / len(labels)),
        "balanced_accuracy": float(recalls.mean()),
        "recall": dict(zip(classes, recalls.tolist(), strict=True)),
        "units": areas,
    }


def _flat(value: Mapping[str, Any]) -> list[float]:
    return [value["accuracy"], value["balanced_accuracy"], *value["recall"].values(), *value["units"].values()]


@dataclass(frozen=True)
class Networks:
    """Both networks in int8, the digest of their weights, and the reference that points are aligned to."""

    graph: Any
    state: bytes
    reference: Array


def both_networks(run: Run, branch: TrainedBranch, pool: Mapping[str, Array]) -> Networks:
    """Trace both networks as one and quantise them, calibrated on drawn faces alone."""
    model = TorchModel(run)
    module = TwoInputs(build.trained_method(run).eval(), model.input_spec, branch.network, model.auxiliary)
    rows = np.linspace(0, len(pool["crops"]) - 1, MAX_SAMPLES).round().astype(int)
    crops = pool["crops"][rows].reshape(MAX_SAMPLES, *model.input_spec.shape)
    graph, _ = quantise(
        onnx_graph(module), {INPUT: crops, POINTS: align_points(pool["points"][rows], branch.reference)}
    )
    state = b"".join(value.numpy().tobytes() for value in branch.network.state_dict().values())
    return Networks(graph, state, branch.reference)


def write_model(path: Path, run: Run, card: Mapping[str, Any] | None, networks: Networks) -> OnnxModel:
    """Write the file of both networks, with calibration and prior of a run."""
    model = TorchModel(run)
    metadata = replace(
        ModelMetadata.of(model, shared_recipe(with_words(run.recipe)), __version__, "int8"),
        name=BUNDLED,
        key=hashlib.blake2b(model.key.encode() + networks.state, digest_size=16).hexdigest(),
        card=dict(card or {}),
        mesh=networks.reference,
    )
    content = onnx_bytes(networks.graph, metadata.to_properties(), description=f"{BUNDLED}: expressions and units")
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
    return OnnxModel(path)


def with_words(recipe: Recipe) -> Recipe:
    """Return a recipe with the deviations of the shipped one, which state results measured after training."""
    return recipe.model_copy(update={"deviations": load_recipe(BUNDLED).deviations})


def run_of_both(run: Run, model: Model) -> Run:
    """Write a run with the predictions of both networks on the samples of the image network's run."""
    folder = run.folder / "both"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(
        run.folder, folder, ignore=lambda _, names: [name for name in names if (run.folder / name).is_dir()]
    )
    samples, results = StoredSamples.of(run), dict[str, AnyPredictions]()
    given = data.TrainingData(run.recipe, run.store)
    for name, side in ((VALIDATION, "validation"), (PREDICTIONS, "test")):
        rows = samples.rows(side)
        outputs = np.concatenate([model.outputs(samples.arrays_of(part)) for part in np.array_split(rows, 20)])
        scores, values = np.split(outputs, [len(model.classes)], axis=1)
        results[name] = data.predictions(given.manifest, rows, shares(scores))
        if name == PREDICTIONS:
            results[AUXILIARY] = data.auxiliary_predictions(given, rows, values)
    both = Run(folder)
    both.end(both.facts, results)
    calibrate.fit(Run(folder))
    return Run(folder)


def card_of_both(run: Run) -> dict[str, Any]:
    """Return the card of the run of both, with what the points are and what was trained on them."""
    card = dict(TorchModel(run).card)
    network = dict(card["network"])
    network["description"] += (
        f", and three layers on points of MediaPipe's face mesh, trained on {CHUNK * CHUNKS:,} drawn faces with mixed "
        "action units; weights and activations have 8 bits"
    )
    network["licence"] += (
        " The face mesh (Apache License 2.0) was trained by its authors on photographs of people; it has learnt no "
        "expression from them."
    )
    deviations = [deviation.text for deviation in with_words(run.recipe).deviations]
    return card | {"name": BUNDLED, "network": network, "deviations": deviations}


def make(run: Run, networks: Networks, fer2013: Path | None) -> dict[str, Any]:
    """Write the file of both networks into the package, and return its card."""
    path = run.folder / f"{BUNDLED}.onnx"
    file = write_model(path, run, None, networks)
    both = run_of_both(run, file)
    if fer2013 is not None:
        table = real_table(file, fer2013)
        table.to_parquet(both.folder / STORED, index=False)
        write_json_with_digest(both.folder / REAL_FACES, summary(table))
    api.evaluate(both.folder, sample_faces=False)
    card = card_of_both(Run(both.folder))
    write_model(path, Run(both.folder), card, networks)
    shutil.copyfile(path, FOLDER / path.name)
    shutil.copyfile(run.weights, weights.FOLDER / f"{BUNDLED}.safetensors")
    return card


def main() -> None:
    """Make the model."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("--fer2013", type=Path)
    given = options.parse_args()
    run = Run(given.folder)
    if not run.finished:
        run = api.train(BUNDLED, out=given.folder, resume=run.begun, sample_faces=False)
    torch.set_num_threads(1)
    pool = draw_pool(given.folder / "mesh", run.recipe.data.faces, run.recipe.data.size)
    networks = both_networks(Run(given.folder), train_branch(pool), pool)
    card = make(Run(given.folder), networks, given.fer2013)
    print(card["name"], card.get("real_faces"))


if __name__ == "__main__":
    main()
