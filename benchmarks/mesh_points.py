"""Measure what mesh points bring to the bundled image network on real faces: crop, points and both, three seeds.

``python -m benchmarks.mesh_points --data FER2013 --run FOLDER`` takes the image network of ``make model`` (in FOLDER),
trains the network of points on its drawn faces with each seed, and measures both, alone and together, on a fixed sample
of FER2013's Training side, with the linear bound: classifiers of the same outputs that are fitted to the labels of real
faces in five folds. ``--public`` measures on PublicTest without the images that are also in Training, without a bound.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.common import Figure, Result, parser, report
from benchmarks.synthetic_people import Array, measure, read_real
from evenface.inference import open_model
from evenface.preprocessing.mesh_points import align_points, crop_points
from evenface.synthesis.actions import AUS, LABELS
from evenface.utils.progress import progress
from tools.point_branch import MOST, UNIT_WEIGHT, cropped, draw_pool, train_branch

FOLDS, STRENGTH = 5, 0.1


def as_units(values: Array, names: tuple[str, ...]) -> Array:
    """Place the values of some units among all, (N, len(AUS)); zeros for the others."""
    placed = np.zeros((len(values), len(AUS)))
    placed[:, [AUS.index(int(name.removeprefix("AU"))) for name in names]] = values
    return placed


def bound(outputs: Array, labels: Array) -> float:
    """Return the balanced accuracy of linear classifiers of outputs, fitted to labels in folds."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=1000))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=1)
    return float(balanced_accuracy_score(labels, cross_val_predict(classifier, outputs, labels, cv=folds)))


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--data", type=Path, required=True, help="folder of FER2013 with train/ and validation/")
    options.add_argument("--run", type=Path, required=True, help="folder of make model")
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--public", action="store_true", help="measure on PublicTest instead of Training")
    given = options.parse_args()
    torch.set_num_threads(1)
    model = open_model(given.run)
    crop, size = model.input_spec.faces, model.input_spec.size
    pool = draw_pool(given.run / "mesh", crop, size)
    images, labels = read_real(given.data, given.public, 500)
    with progress("cropping real faces", len(images)) as bar:
        crops = []
        for image in images:
            crops.append(cropped(Image.fromarray(image), crop, size))
            bar(1)
    found = crop_points(crops)
    seen = ~np.isnan(found[:, 0, 0])
    outputs = np.concatenate([model.outputs(part) for part in np.array_split(np.stack(crops)[:, None, :, :, None], 50)])
    alone, values = np.log(outputs[:, : len(LABELS)] + 1e-9), outputs[:, len(LABELS) :]
    results: dict[str, dict[str, Any]] = {}
    for seed in given.seeds:
        branch = train_branch(pool, seed)
        logits = np.zeros((len(labels), len(LABELS) + len(AUS)))
        with torch.no_grad():
            aligned = torch.from_numpy(align_points(found[seen], branch.reference))
            logits[seen] = branch.network(aligned).numpy()
        of_points, intensities = np.split(logits, [len(LABELS)], axis=1)
        intensities = np.where(seen[:, None], MOST / (1 + np.exp(-intensities)), 0)
        share = UNIT_WEIGHT * seen[:, None]
        placed = as_units(values, model.auxiliary)
        both = np.concatenate([alone + of_points, (1 - share) * placed + share * intensities], 1)
        results[str(seed)] = {
            "crop": measure(np.concatenate([alone, placed], 1), labels),
            "points": measure(np.concatenate([of_points, intensities], 1), labels),
            "both": measure(both, labels),
        }
        if not given.public:
            real = {"crop": outputs, "points": logits, "both": np.concatenate([alone, values, logits], 1)}
            results[str(seed)]["bound"] = {name: round(bound(fitted, labels), 4) for name, fitted in real.items()}
    side = "PublicTest without copies" if given.public else "a sample of Training"
    settings = {
        "faces": len(pool["units"]),
        "seeds": given.seeds,
        "public": given.public,
        "mesh found": float(seen.mean()),
    }
    report(Result("mesh-points", f"FER2013, {side}, {len(labels)} faces", settings, results, tabulate(results)), given)


def tabulate(results: dict[str, dict[str, Any]]) -> list[Figure]:
    """Return a line per kind of input and metric: mean and range over seeds."""
    figures = []
    for inputs in ("crop", "points", "both"):
        for key in ("balanced_accuracy", "mean_auc"):
            values = [measured[inputs][key] for measured in results.values()]
            figures.append(
                Figure(f"{inputs}: {key.replace('_', ' ')}", float(np.mean(values)), (min(values), max(values)))
            )
    return figures


if __name__ == "__main__":
    main()
