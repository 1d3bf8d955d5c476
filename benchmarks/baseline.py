"""Emotions of RAVDESS with and without a person baseline: shipped recipes beside logistic regression.

Each actor is tested in turn on models trained on the others. ``ravdess-au`` has no baseline; ``ravdess-baseline``
subtracts each actor's own unlabelled mean; ``chosen`` uses, for each test actor, the one of :data:`CHOICES` that was
best with two actors left out, the test actor and one validation actor, so that the test actor does not influence the
choice. Networks are trained with several seeds; ``mean of seeds`` is one prediction by the mean of their
probabilities. The regression is scikit-learn's, with balanced class weights and C = 1, on the mean of each clip, and on
the features of all segments of the recipe's network, concatenated. Intervals are over actors, by Student's t.
``python -m benchmarks.baseline DATA --out FILE``.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.common import Figure, Result, parser, report
from benchmarks.ravdess import judged, predicted, regression, tested
from evenface.config import load_recipe
from evenface.training.data import TrainingData, prepare_store

PLAIN, RECIPE = "ravdess-au", "ravdess-baseline"
CHOICES: dict[str, dict[str, Any]] = {
    "recipe": {},
    "lstm": {"network.recurrent.kind": "lstm"},
    "ten segments": {"data.sequences.frames": 10},
    "z-score": {"data.baseline.scale": True},
    "intensities": {"data.features": "intensities"},
    "intensities, z-score": {"data.features": "intensities", "data.baseline.scale": True},
}


def over_actors(right: np.ndarray, actors: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Return the mean of a proportion (N,) over actors, its t interval, and that of each actor."""
    each = np.array([right[actors == name].mean() for name in names])
    spread = stats.t.ppf(0.975, len(each) - 1) * each.std(ddof=1) / np.sqrt(len(each))
    return {
        "over actors": [round(float(each.mean() + sign * spread), 4) for sign in (-1, 1)],
        "each actor": [round(float(value), 3) for value in each],
    }


def inner_accuracy(found: np.ndarray, labels: np.ndarray, actors: np.ndarray, names: Sequence[str]) -> list[float]:
    """Return, for each test actor, the mean accuracy on the others of models that saw neither of the two."""
    pairs = list(itertools.combinations(names, 2))
    right = found.argmax(axis=-1) == labels
    return [
        float(
            np.mean(
                [
                    right[:, place, actors == judge].mean()
                    for place, pair in enumerate(pairs)
                    if name in pair
                    for judge in pair
                    if judge != name
                ]
            )
        )
        for name in names
    ]


def measure(root: str, seeds: int, choices: Mapping[str, Mapping[str, Any]] = CHOICES) -> dict[str, Any]:
    """Measure everything; see the module docstring."""
    own = {"data.root": root, "training.accelerator": "cpu"}
    contents = {name: load_recipe(name, own).model_dump(mode="json") for name in (PLAIN, RECIPE)}
    store = prepare_store(load_recipe(contents[RECIPE]))
    actors, labels = store.manifest.table["subject"].to_numpy().astype(str), store.manifest.labels
    names, classes = sorted(set(actors)), len(store.manifest.classes)
    alone, pairs = [(name,) for name in names], list(itertools.combinations(names, 2))
    results: dict[str, Any] = {}

    def add(title: str, said: np.ndarray) -> None:
        accuracy, f1 = judged(said, labels, classes)
        right = (np.atleast_2d(said) == labels).mean(axis=0)
        results[title] = {"accuracy": round(accuracy, 4), "macro F1": round(f1, 4), **over_actors(right, actors, names)}
        if said.ndim > 1:
            results[title]["each seed"] = [round(float((row == labels).mean()), 4) for row in said]

    for title, frames in (("mean of a clip", 1), ("six segments", 6)):
        for name, content in contents.items():
            recipe = load_recipe(content, {"data.sequences.frames": frames})
            data = TrainingData(recipe, prepare_store(recipe))
            baseline = "with" if name == RECIPE else "without"
            add(f"logistic regression, {title}, {baseline} baseline", regression(data.store, names, data.sequences))
    plain = load_recipe(contents[PLAIN])
    outer = {PLAIN: tested(predicted(plain, prepare_store(plain), alone, seeds), actors, names)}
    inner = {}
    for choice, settings in choices.items():
        recipe = load_recipe(contents[RECIPE], settings)
        store = prepare_store(recipe)
        found = predicted(recipe, store, [*alone, *pairs], seeds)
        outer[choice] = tested(found[:, : len(names)], actors, names)
        inner[choice] = inner_accuracy(found[:, len(names) :], labels, actors, names)
    best = [list(choices)[place] for place in np.array([inner[choice] for choice in choices]).argmax(axis=0)]
    chosen = np.empty_like(outer["recipe"])
    for name, choice in zip(names, best, strict=True):
        chosen[:, actors == name] = outer[choice][:, actors == name]
    for title, p in ((PLAIN, outer[PLAIN]), (RECIPE, outer["recipe"]), ("chosen", chosen)):
        add(title, p.argmax(axis=-1))
        add(f"{title}, mean of seeds", p.mean(axis=0).argmax(axis=-1))
    results["chosen for each actor"] = dict(zip(names, best, strict=True))
    results["accuracy of validation actors"] = {name: [round(v, 3) for v in row] for name, row in inner.items()}
    results["accuracy of tested actors"] = {
        choice: round(float((p.argmax(axis=-1) == labels).mean()), 4) for choice, p in outer.items()
    }
    return results


def main() -> None:
    """Measure, print, write."""
    made = parser(__doc__)
    made.add_argument("root", help="folder of RAVDESS's action units, Actor_01 and so on")
    made.add_argument("--seeds", type=int, default=3)
    options = made.parse_args()
    results = measure(options.root, options.seeds)
    figures = [
        Figure(f"accuracy, {title}", row["accuracy"], tuple(row["over actors"]), 0.62 if title == RECIPE else None)
        for title, row in results.items()
        if "over actors" in row
    ]
    settings = {"recipes": [PLAIN, RECIPE], "choices": CHOICES, "seeds": options.seeds}
    report(Result("baseline", "RAVDESS, action units by OpenFace", settings, results, figures), options)


if __name__ == "__main__":
    main()
