"""Emotions of RAVDESS from action units: the recipe ``ravdess-au`` against logistic regression on the means of clips.

Each actor is tested in turn on models trained on the others. ``recipe`` is the shipped recipe; ``chosen`` uses,
for each test actor, the one of :data:`CHOICES` that was best with two actors left out, the test actor and one
validation actor, so that the test actor does not influence the choice. Networks are trained with several seeds;
``mean of seeds`` is one prediction by the mean of their probabilities. The regression is scikit-learn's, with balanced
class weights and C = 1; its second variant uses the features of all segments of the recipe's network, concatenated.
Intervals: over actors, of the paired difference, by Student's t; over clips, by resampling them within each actor.
``python -m benchmarks.ravdess DATA --out FILE``.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats
from sklearn.linear_model import LogisticRegression

from benchmarks.common import Figure, Result, parser, report
from evenface.config import Recipe, load_recipe
from evenface.data.splits import Split
from evenface.evaluation.metrics import confusion_matrix, macro_f1
from evenface.evaluation.probability_metrics import shares
from evenface.preprocessing.store import Store
from evenface.training import data as assembly
from evenface.training.data import TrainingData
from evenface.training.stacked import StackedTrainer
from evenface.training.stacked.runs import network_specs

RECIPE, RESAMPLES = "ravdess-au", 2000
CHOICES: dict[str, dict[str, Any]] = {
    "recipe": {},
    "lstm": {"network.recurrent.kind": "lstm"},
    "cross-entropy": {"loss": {"name": "cross-entropy"}},
    "ten stretches": {"data.sequences.frames": 10},
    "twenty frames": {"data.sequences.frames": 20, "data.sequences.sampling": "uniform"},
    "intensities alone": {"data.features": "intensities"},
    "one-vs-all, batch norm": {
        "method": {"name": "one-vs-all"},
        "loss": {"name": "cross-entropy"},
        "network.recurrent.norm": "shared",
        "optimizer.lr": 1e-3,
    },
}


def predicted(recipe: Recipe, store: Store, left_out: Sequence[Sequence[str]], seeds: int) -> np.ndarray:
    """Train on all actors but those left out, stacked into one group; predict all samples.

    Each actor's baseline, if the recipe has one, is of that actor's own samples, so it is the same in all groups.

    Returns
    -------
    ndarray of shape (seeds, len(left_out), N, C)
        Probabilities.
    """
    actors, members = store.manifest.table["subject"].to_numpy(), []
    sequences = TrainingData(recipe, store).sequences
    for seed, out in itertools.product(range(seeds), left_out):
        rows = np.flatnonzero(~np.isin(actors, out))
        own = recipe.model_copy(update={"seed": seed})
        data = TrainingData(own, store)
        data.whole_split = Split(rows, rows[:0], rows[:0], ())
        members += [network.member for network in network_specs(own, data)]
    together = StackedTrainer(members, sequences, quiet=True)
    together.fit()
    said = np.asarray(together.predict(np.arange(len(store)), "last"))
    said = said.reshape(seeds, len(left_out), -1, *said.shape[1:])
    # One-vs-rest networks: (..., C, N, 1); one network of all classes: (..., 1, N, C).
    whole = np.swapaxes(said[..., 0], -1, -2) if said.shape[-1] == 1 else said[:, :, 0]
    return shares(whole.reshape(-1, whole.shape[-1])).reshape(whole.shape)


def tested(folds: np.ndarray, actors: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Select from (seeds, actors, N, C) predictions of models not trained on the actor of the sample: (seeds, N, C)."""
    place = np.searchsorted(names, actors)
    found: np.ndarray = folds[:, place, np.arange(len(actors))]
    return found


def regression(store: Store, names: Sequence[str], sequences: np.ndarray | None = None) -> np.ndarray:
    """Predict each actor by logistic regression on the others' clips, features of all segments concatenated, (N,)."""
    actors, labels = store.manifest.table["subject"].to_numpy(), store.manifest.labels
    values = np.asarray(store.sequences if sequences is None else sequences)
    means, said = values.reshape(len(labels), -1), np.empty(len(labels), dtype=np.int64)
    for name in names:
        own = actors == name
        model = LogisticRegression(C=1.0, class_weight="balanced", max_iter=5000)
        said[own] = model.fit(means[~own], labels[~own]).predict(means[own])
    return said


def judged(said: np.ndarray, labels: np.ndarray, classes: int) -> tuple[float, float]:
    """Return accuracy and macro F1 of predicted classes (..., N), averaged over the leading axis."""
    rows = np.atleast_2d(said)
    accuracy = float((rows == labels).mean())
    return accuracy, float(np.mean([macro_f1(confusion_matrix(labels, row, classes)) for row in rows]))


def differences(right: np.ndarray, base: np.ndarray, actors: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Compare accuracies by actor and over clips; ``right`` and ``base`` are proportions correct, (N,)."""
    change = right - base
    each = np.array([change[actors == name].mean() for name in names])
    spread = stats.t.ppf(0.975, len(each) - 1) * each.std(ddof=1) / np.sqrt(len(each))
    random = np.random.default_rng(0)
    groups = [np.flatnonzero(actors == name) for name in names]
    drawn = [
        np.mean(np.concatenate([change[random.choice(rows, len(rows))] for rows in groups])) for _ in range(RESAMPLES)
    ]
    return {
        "difference": round(float(change.mean()), 4),
        "over actors": [round(float(each.mean() + sign * spread), 4) for sign in (-1, 1)],
        "over clips": [round(float(value), 4) for value in np.quantile(drawn, [0.025, 0.975])],
        "each actor": [round(float(value), 3) for value in each],
    }


def measure(root: str, seeds: int, choices: Mapping[str, Mapping[str, Any]] = CHOICES) -> dict[str, Any]:
    """Measure everything; see the module docstring."""
    base = load_recipe(RECIPE, {"data.root": root, "training.accelerator": "cpu"})
    content = base.model_dump(mode="json")
    means = assembly.prepare_store(load_recipe(content, {"data.sequences.frames": 1}))
    actors, labels = means.manifest.table["subject"].to_numpy().astype(str), means.manifest.labels
    names, classes = sorted(set(actors)), len(means.manifest.classes)
    pairs = list(itertools.combinations(names, 2))
    inner, outer = {}, {}
    for choice, settings in choices.items():
        recipe = load_recipe(content, settings)
        store = assembly.prepare_store(recipe)
        assert (store.manifest.table["sample"] == means.manifest.table["sample"]).all()
        found = predicted(recipe, store, [*((name,) for name in names), *pairs], seeds)
        outer[choice] = tested(found[:, : len(names)], actors, names)
        right = found[:, len(names) :].argmax(axis=-1) == labels
        inner[choice] = [
            np.mean(
                [
                    right[:, i, actors == judge].mean()
                    for i, two in enumerate(pairs)
                    if name in two
                    for judge in two
                    if judge != name
                ]
            )
            for name in names
        ]
    figures = np.array([inner[choice] for choice in choices])
    best = [list(choices)[place] for place in figures.argmax(axis=0)]
    picked = np.empty_like(outer["recipe"])
    for name, choice in zip(names, best, strict=True):
        picked[:, actors == name] = outer[choice][:, actors == name]
    line, further = regression(means, names), regression(assembly.prepare_store(base), names)
    methods = {"recipe": outer["recipe"], "chosen": picked}
    results: dict[str, Any] = {
        "regression": dict(zip(("accuracy", "macro F1"), judged(line, labels, classes), strict=True))
    }
    results["regression on stretches"] = dict(
        zip(("accuracy", "macro F1"), judged(further, labels, classes), strict=True)
    )
    for method, p in methods.items():
        for title, said in ((method, p.argmax(-1)), (f"{method}, mean of seeds", p.mean(0).argmax(-1))):
            accuracy, f1 = judged(said, labels, classes)
            compared = differences((np.atleast_2d(said) == labels).mean(0), line == labels, actors, names)
            results[title] = {"accuracy": accuracy, "macro F1": f1, **compared}
    results["chosen for each actor"] = dict(zip(names, best, strict=True))
    results["accuracy of judging actors"] = {c: [round(float(v), 3) for v in row] for c, row in inner.items()}
    results["accuracy of tested actors"] = {
        c: round(float((p.argmax(-1) == labels).mean()), 4) for c, p in outer.items()
    }
    return results


def main() -> None:
    """Measure, print, write."""
    made = parser(__doc__)
    made.add_argument("root", help="folder of RAVDESS's action units, Actor_01 and so on")
    made.add_argument("--seeds", type=int, default=5)
    options = made.parse_args()
    results = measure(options.root, options.seeds)
    figures = [
        Figure(f"{metric}, {method}", results[method][metric])
        for method in (
            "regression",
            "regression on stretches",
            "recipe",
            "recipe, mean of seeds",
            "chosen",
            "chosen, mean of seeds",
        )
        for metric in ("accuracy", "macro F1")
    ]
    figures += [
        Figure(
            f"accuracy over regression's, {method} (interval over {over})",
            results[method]["difference"],
            tuple(results[method][f"over {over}"]),
        )
        for method in ("recipe", "chosen")
        for over in ("actors", "clips")
    ]
    settings = {"recipe": RECIPE, "choices": CHOICES, "seeds": options.seeds}
    report(Result("ravdess", "RAVDESS, action units by OpenFace", settings, results, figures), options)


if __name__ == "__main__":
    main()
