"""Balanced accuracy with few labelled faces, from weights pretrained on unlabelled ones and from random weights.

``python -m benchmarks.pretraining --data FER2013 --folder FOLDER`` pretrains ``compact_vgg_16`` on the Training images
of FER2013 without their labels, then trains from these weights and from random ones on 5, 20 and 100 labelled images of
each class, with the same settings and steps, for several seeds, which also draw the labelled images. It is tested on
PublicTest without the images that are also in Training. FER2013 is a folder that the source ``fer2013`` reads. An
interrupted call is resumed by the same one.
"""

from pathlib import Path
from typing import Any

import evenface as ef
from benchmarks.common import Figure, Result, parser, report
from evenface.evaluation.bootstrap import Estimate
from evenface.evaluation.comparison import compare
from evenface.evaluation.target_predictions import AnyPredictions
from evenface.runs import Run
from evenface.training.fit import fit

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
EPOCHS = {5: 150, 20: 60, 100: 40}
"""Labelled images of each class, and epochs of training on them."""
METRICS = ("balanced_accuracy", "accuracy")


def labelled_recipe(root: Path, size: int, shots: int, seed: int, weights: str) -> ef.Recipe:
    """Return the recipe of a training on so many images of each class."""
    return ef.load_recipe(
        {
            "name": "few-labels",
            "seed": seed,
            "data": {"source": "fer2013", "root": str(root), "test": "public", "size": size, "channels": 1},
            "protocol": {
                "kind": "official",
                "validation": 0,
                "seed": seed,
                "duplicates": "drop-test",
                "imbalance": {"counts": dict.fromkeys(CLASSES, shots)},
            },
            "network": {"name": "compact_vgg_16", "weights": weights, "dropout": 0.3},
            "optimizer": {"lr": 2e-3, "weight_decay": 0.05},
            "training": {"epochs": EPOCHS[shots], "batch_size": 32, "checkpoint": "last", "ema_decay": 0.99},
            "augment": {"rotate": 10, "shift": 0.08, "zoom": 0.1, "brightness": 0.2, "contrast": 0.3},
        }
    )


def predictions(recipe: ef.Recipe, folder: Path) -> AnyPredictions:
    """Train unless that is done already, and return the predictions on the test set."""
    with Run.claim(folder, recipe, resume=True) as run:
        if not run.finished:
            fit(run, recipe)
    return Run(folder).results


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--data", type=Path, required=True, help="folder of FER2013")
    options.add_argument("--folder", type=Path, required=True, help="folder of the pretraining and the runs")
    options.add_argument("--epochs", type=int, default=20, help="epochs of the pretraining")
    options.add_argument("--size", type=int, default=32, help="side of the images in pixels")
    options.add_argument("--batch-size", type=int, default=128, help="images of a step of the pretraining")
    options.add_argument("--seeds", type=int, default=3)
    given = options.parse_args()
    settings: dict[str, Any] = {"data.source": "fer2013", "data.test": "public", "data.channels": 1}
    pretraining: dict[str, Any] = {"epochs": given.epochs, "size": given.size, "batch_size": given.batch_size}
    start = ef.pretrain(given.data, given.folder / "pretrained", resume=True, **pretraining, **settings)
    results: dict[str, Any] = {"pretraining": {key: start.facts[key] for key in ("images", "epochs", "loss")}}
    results["pretraining"] |= {key: start.facts[key] for key in ("output_std", "full_std", "training_seconds")}
    figures = []
    for shots in EPOCHS:
        runs = {
            name: [
                predictions(
                    labelled_recipe(given.data, given.size, shots, seed, weights),
                    given.folder / f"{name}-{shots}-{seed}",
                )
                for seed in range(given.seeds)
            ]
            for name, weights in {"random": "random", "pretrained": str(start.folder)}.items()
        }
        comparison = compare(runs, metrics=METRICS)
        own = results[f"{shots} labelled images of each class"] = {}
        for method in comparison.methods:
            own[method.name] = {name: _stated(method.overall[name]) for name in METRICS}
            own[method.name]["seeds"] = [round(value, 4) for value in method.per_run["balanced_accuracy"]]
            value = method.overall["balanced_accuracy"]
            figures.append(Figure(f"{shots} a class, {method.name}", value.value, (value.low, value.high)))
        difference = comparison.pairs[0].overall["balanced_accuracy"]
        own["difference of balanced accuracy"] = {**_stated(difference), "p": round(difference.p, 4)}
        figures.append(Figure(f"{shots} a class, difference", difference.value, (difference.low, difference.high)))
    stated = {**pretraining, "network": "compact_vgg_16", "seeds": given.seeds, "epochs of training": EPOCHS}
    report(Result("pretraining", "FER2013, PublicTest without copies", stated, results, figures), given)


def _stated(estimate: Estimate | Any) -> dict[str, float]:
    return {part: round(getattr(estimate, part), 4) for part in ("value", "low", "high")}


if __name__ == "__main__":
    main()
