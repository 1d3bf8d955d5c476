"""Late fusion: runs on the same samples, such as of video and of biosignals, predict together."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from evenface.evaluation.predictions import Predictions
from evenface.methods import METHODS
from evenface.methods.base import Task
from evenface.preprocessing.augmentation import to_float
from evenface.reporting.summaries import provenance, warning_notes
from evenface.runs import FACTS, PREDICTIONS, RECIPE, VALIDATION, Run, environment
from evenface.training.batches import ImageBank
from evenface.training.build import build_loss, trained_method
from evenface.training.data import TrainingData
from evenface.utils.errors import InputError
from evenface.utils.files import (
    is_vacant,
    listed,
    lock_folder,
    output_path,
)
from evenface.utils.progress import progress

Fusion = Literal["logits", "features"]
RIDGES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
"""Strengths of the penalty on the weights of a joint head, of which the validation set chooses one."""
RIDGE = 1e-2
"""Strength where there is no validation set."""
BATCH = 64
COPIED = ("recipe", "seed", "device", "manifest", "store", "prepared", "content", "task", "loss", "frames", "classes")
COPIED_OF_SEQUENCES = ("sequences", "networks", "files")
Floats = NDArray[np.float64]


def fuse_runs(runs: Sequence[Run], out: str | Path, by: Fusion = "logits") -> Run:
    r"""Fuse the predictions of runs, and write them as a run of their own.

    Parameters
    ----------
    runs : sequence of Run
        Two or more finished runs of the same classes on the same samples, divided alike into training, validation and
        test set. Their inputs and networks may differ.
    out : str or Path
        Folder of the fused run. If it holds this fusion already, it is returned as it is.
    by : {"logits", "features"}
        ``logits`` averages the logits of the M runs: :math:`p_c \propto \prod_m p_{m,c}^{1/M}`. ``features`` trains a
        joint head, a linear classifier of the features of all networks on the training set, by the loss of the first
        run (cross-entropy where that is one-vs-rest); its ridge penalty is the one of least loss on the validation set.

    Returns
    -------
    Run
        With predictions, without weights.

    Raises
    ------
    InputError
        If the runs are fewer than two, of targets, of other classes, or divided in other ways; or ``out`` holds
        something else.
    """
    _check_runs(runs)
    folder = output_path(out, folder=True)
    fused = {"by": by, "runs": [str(run.folder) for run in runs], "weights": [run.weights_digest for run in runs]}
    with lock_folder(folder):
        made = Run(folder)
        before = made.facts.get("fused", {}) if (folder / FACTS).is_file() else {}
        same = all(before.get(key) == value for key, value in fused.items() if key != "runs")
        if same and made.finished:
            return made
        if not same and not is_vacant(folder):
            raise InputError(f"{folder} exists and holds something else", "Give another folder: --out.")
        sides = _shared_samples(runs)
        predicted = _averaged(runs, sides) if by == "logits" else _by_joint_head(runs, sides)
        fused["networks"] = [provenance([run])["network"] for run in runs]
        _write(folder, runs, sides, fused, predicted)
    return Run(folder)


def _check_runs(runs: Sequence[Run]) -> None:
    if len(runs) < 2 or len({run.folder.resolve() for run in runs}) < len(runs):
        raise InputError("fusion needs two or more different runs", "Name each run folder once.")
    first = runs[0]
    for run in runs:
        if other := next((key for key in ("on", "model", "fused") if key in run.facts), None):
            kind = {"on": "an evaluation on other data", "model": "the evaluation of a model"}.get(other, "a fusion")
            raise InputError(f"{run.folder} is {kind}, not a run that was trained", "Name runs that were trained.")
        if tuple(run.predictions.classes) != tuple(first.predictions.classes):
            raise InputError(
                f"{run.folder} has the classes {listed(run.predictions.classes)}, {first.folder} has "
                f"{listed(first.predictions.classes)}",
                "Train the runs on the same classes, in the same order.",
            )


def _shared_samples(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Return the samples of each side that all runs have; refuse runs with other sides or labels."""
    tables = [run.split.set_index("sample")[["side", "label"]] for run in runs]
    first, shared = tables[0], set(tables[0].index)
    for run, table in zip(runs[1:], tables[1:], strict=True):
        shared &= set(table.index)
        both = first.index.intersection(table.index)
        for column, what in (("side", "set"), ("label", "class")):
            differs = both[(first.loc[both, column] != table.loc[both, column]).to_numpy()]
            if len(differs):
                name = differs[0]
                raise InputError(
                    f"{name} is of the {what} {first.loc[name, column]} in {runs[0].folder}, and of the {what} "
                    f"{table.loc[name, column]} in {run.folder}",
                    "Train the runs on the same data with the same protocol and seed.",
                )
    sides = {
        side: [str(name) for name in first.index[(first["side"] == side).to_numpy()] if name in shared]
        for side in ("train", "validation", "test")
    }
    if empty := next((side for side in ("train", "test") if not sides[side]), None):
        raise InputError(f"the runs share no sample of the {empty} set", "Train the runs on the same samples.")
    return sides


def _of_samples(predictions: Predictions, names: Sequence[str]) -> Predictions:
    places = {str(name): place for place, name in enumerate(predictions.sample)}
    return predictions.take(np.array([places[name] for name in names], dtype=np.int64))


def _with(predictions: Predictions, logits: Floats) -> Predictions:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return replace(predictions, probabilities=shifted / shifted.sum(axis=1, keepdims=True), scores=None, output=None)


def _averaged(runs: Sequence[Run], sides: dict[str, list[str]]) -> dict[str, Predictions]:
    predicted = {}
    for file, side in ((VALIDATION, "validation"), (PREDICTIONS, "test")):
        stored = [run.validation if side == "validation" else run.predictions for run in runs]
        own = [_of_samples(each, sides[side]) for each in stored if each is not None]
        if len(own) == len(runs) and sides[side]:
            logits = np.mean([np.log(np.maximum(each.probabilities, 1e-12)) for each in own], axis=0)
            predicted[file] = _with(own[0], logits)
    return predicted


def _by_joint_head(runs: Sequence[Run], sides: dict[str, list[str]]) -> dict[str, Predictions]:
    names = [name for side in sides.values() for name in side]
    parts = []
    with progress("computing features", len(runs)) as advance:
        for run in runs:
            parts.append(_features(run, names))
            advance(1)
    ends = np.cumsum([len(side) for side in sides.values()])
    columns = np.concatenate(parts, axis=1)
    mean, spread = columns[: ends[0]].mean(axis=0), columns[: ends[0]].std(axis=0)
    columns = (columns - mean) / np.where(spread > 0, spread, 1)
    labels = np.array(runs[0].split.set_index("sample")["label"][names], dtype=np.int64)
    inputs, targets = torch.from_numpy(columns), torch.from_numpy(labels)
    train, validation, test = (slice(end - len(side), end) for end, side in zip(ends, sides.values(), strict=True))
    classes = len(runs[0].predictions.classes)
    loss = _loss(runs[0], np.bincount(labels[train], minlength=classes)).eval()
    heads = {}
    for ridge in RIDGES if sides["validation"] else (RIDGE,):
        weights = joint_head(inputs[train], targets[train], classes, loss, ridge)
        judged = validation if sides["validation"] else train
        heads[ridge] = (float(loss(_logits(weights, inputs[judged]), targets[judged]).mean()), weights)
    weights = min(heads.values(), key=lambda head: head[0])[1]
    files = ((VALIDATION, validation, "validation"), (PREDICTIONS, test, "test"))
    predicted = {}
    for file, rows, side in files:
        stored = runs[0].validation if side == "validation" else runs[0].predictions
        if stored is not None and sides[side]:
            predicted[file] = _with(_of_samples(stored, sides[side]), _logits(weights, inputs[rows]).numpy())
    return predicted


def _loss(run: Run, counts: NDArray[np.int64]) -> torch.nn.Module:
    recipe = run.recipe
    if METHODS[recipe.method.name].one_vs_rest:
        recipe = recipe.model_copy(update={"loss": type(recipe.loss)(), "method": type(recipe.method)()})
    return build_loss(recipe, Task(counts, run.predictions.classes, recipe.training.batch_size))


def joint_head(
    inputs: torch.Tensor, targets: torch.Tensor, classes: int, loss: torch.nn.Module, ridge: float
) -> torch.Tensor:
    """Fit a linear classifier, ``(D + 1, C)`` with the biases last, to inputs (N, D) with a ridge penalty."""
    weights = torch.zeros(inputs.shape[1] + 1, classes, dtype=inputs.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value: torch.Tensor = loss(_logits(weights, inputs), targets).mean() + ridge / 2 * weights[:-1].square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weights.detach()


def _logits(weights: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    return inputs @ weights[:-1] + weights[-1]


@torch.inference_mode()
def _features(run: Run, names: Sequence[str]) -> Floats:
    """Compute the features (n, D) of a run's network of samples, without augmentation."""
    data, method = TrainingData(run.recipe, run.store), trained_method(run).eval()
    rows = run.split.set_index("sample")["row"][list(names)].to_numpy(dtype=np.int64)
    baselines = data.baselines
    if data.store.sequences is None:
        first, index = (None, None) if baselines is None else (baselines.mean, baselines.index)
        bank = ImageBank(np.asarray(data.store.images), torch.device("cpu"), data.frames, first, index)
    parts = []
    for start in range(0, len(rows), BATCH):
        some = rows[start : start + BATCH]
        if data.store.sequences is None:
            batch = to_float(bank.take(some))
        else:
            batch = torch.from_numpy(np.array(data.sequences[some], dtype=np.float32))
        parts.append(method.network(batch).features.double().numpy())
    return np.concatenate(parts)


def _write(
    folder: Path,
    runs: Sequence[Run],
    sides: dict[str, list[str]],
    fused: dict[str, Any],
    predicted: dict[str, Predictions],
) -> None:
    """Write the folder; the predictions last, as they mark it as finished."""
    first = runs[0]
    kept = {key: first.facts[key] for key in (*COPIED, *COPIED_OF_SEQUENCES) if key in first.facts}
    split = first.split.set_index("sample", drop=False)
    split = split.loc[[name for side in sides.values() for name in side]].reset_index(drop=True)
    classes = len(first.predictions.classes)
    members = {side: split[split["side"] == side] for side in sides}
    people = {side: None if own["subject"].isna().any() else own["subject"].nunique() for side, own in members.items()}
    names = ", ".join(run.folder.name for run in runs)
    kind = "averaged logits" if fused["by"] == "logits" else "a joint head on the features"
    lost = max(len(run.split) for run in runs) - len(split)
    implied = [run.facts["implied_prior"] for run in runs]
    alike = all(np.allclose(prior["shares"], implied[0]["shares"]) for prior in implied)
    facts = {
        **kept,
        "environment": environment(),
        "precision": first.precision,
        "fused": fused,
        "implied_prior": {**implied[0], "exact": alike and all(prior["exact"] for prior in implied)},
        "counts": {side: np.bincount(own["label"], minlength=classes).tolist() for side, own in members.items()},
        "people": people,
        "epochs": max(run.facts["epochs"] for run in runs),
        "training_seconds": sum(run.facts["training_seconds"] for run in runs),
        "notes": [
            f"late fusion of {names} by {kind}",
            *([f"{lost} samples are left out, as not every run has them"] if lost else []),
            *dict.fromkeys(note for run in runs for note in warning_notes(run)),
        ],
    }
    Run(folder).record(facts, split, predicted, recipe=first.file(RECIPE).read_bytes())
