"""Faithfulness of explanations: deletion and insertion against random orders, for every method applicable to a run.

``python -m benchmarks.explain NAME=RUN...`` selects samples evenly from the validation set of each run, or from its
test set if it has none, and explains the class predicted by the run. The prepared samples of the run must be available.
"""

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Figure, Result, parser, report
from evenface.evaluation.bootstrap import Estimate
from evenface.explanation import METHODS, explain_samples
from evenface.explanation.explanation import select_method
from evenface.explanation.faithfulness import STEPS, deletion_insertion, faithfulness
from evenface.inference.run_model import TorchModel
from evenface.preprocessing.store import Store
from evenface.runs import Run
from evenface.utils.errors import InputError
from evenface.utils.progress import progress


def samples_of(run: Run, count: int) -> tuple[np.ndarray, list[str], str]:
    """Return samples of a run, their groups (person, clip or sample), and the name of their split."""
    import pandas as pd

    sides = pd.read_parquet(run.folder / "split.parquet").set_index("sample")["side"]
    store = Store.open(run.facts["store"])
    side = "validation" if (sides == "validation").any() else "test"
    table = store.manifest.table
    rows = np.flatnonzero(table["sample"].map(sides).eq(side).to_numpy())
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64))]
    whose = table["subject"].fillna(table["clip"]).fillna(table["sample"]).astype(str).iloc[rows].tolist()
    return (store.images if store.sequences is None else store.sequences)[rows], whose, side


def spread(gain: Estimate) -> list[float | None]:
    """Format a gain as value, low, high for JSON, without undefined intervals."""
    return [None if np.isnan(value) else round(value, 4) for value in (gain.value, gain.low, gain.high)]


def measured(model: TorchModel, arrays: np.ndarray, whose: list[str], method: str, orders: int) -> dict[str, Any]:
    """Explain samples by one method and test the faithfulness."""
    areas: dict[Any, list[np.ndarray]] = {}
    with progress(method, len(arrays)) as bar:
        for number, array in enumerate(arrays):
            (found,) = explain_samples(model, array[None], method)
            sample = model.input_spec.select_frames(array[None])[0]
            for one in deletion_insertion(
                model, sample, found, int(found.probabilities.argmax()), orders=orders, seed=number
            ):
                areas.setdefault(one.what, []).append(one.areas)
            bar(1)
    summed = {what: faithfulness(what, np.stack(found), whose) for what, found in areas.items()}
    return {
        what: {
            "taken out": round(one.deletion, 4),
            "put in": round(one.insertion, 4),
            "random": round(one.random, 4),
            "out, lower by": spread(one.deletion_gain),
            "in, higher by": spread(one.insertion_gain),
            "samples": one.samples,
            "units": one.files,
            "verdict": one.verdict,
        }
        for what, one in summed.items()
    }


def main() -> None:
    options = parser(__doc__)
    options.add_argument("runs", nargs="+", metavar="NAME=RUN", help="name of a run, and its folder")
    options.add_argument("--samples", type=int, default=200)
    options.add_argument("--orders", type=int, default=5)
    given = options.parse_args()
    results: dict[str, Any] = {}
    figures = []
    for argument in given.runs:
        name, _, folder = argument.partition("=")
        model = TorchModel(Run.open(Path(folder)))
        arrays, whose, side = samples_of(model.run, given.samples)
        results[name] = {"side": side, "recipe": model.run.recipe.name, "methods": {}}
        for method in METHODS:
            try:
                found = measured(model, arrays, whose, select_method(model, method), given.orders)
            except InputError as error:
                print(f"{name}: {method}: {error.message}")
                continue
            results[name]["methods"][method] = found
            for what, one in found.items():
                for way in ("out, lower by", "in, higher by"):
                    value, low, high = one[way]
                    shown = None if low is None else (low, high)
                    figures.append(Figure(f"{name}, {method}: {what}, {way}", value, shown))
    settings = {"samples": given.samples, "orders": given.orders, "steps": STEPS, "baseline": "blur"}
    report(Result("explain", "prepared samples of the runs", settings, results, figures), given)


if __name__ == "__main__":
    main()
