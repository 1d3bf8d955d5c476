"""Late fusion: runs on the same samples, such as of video and of biosignals, predict together."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit, logit, softmax

from evenface.evaluation.predictions import Predictions
from evenface.evaluation.target_predictions import AnyPredictions, TargetPredictions
from evenface.methods import METHODS
from evenface.methods.base import Task
from evenface.preprocessing.augmentation import to_float
from evenface.reporting.summaries import provenance, warning_notes
from evenface.runs import FACTS, PREDICTIONS, RECIPE, VALIDATION, Run, environment
from evenface.training.batches import ImageBank
from evenface.training.build import build_loss, trained_method
from evenface.training.data import TrainingData, with_thresholds
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
LEAST = 1e-12
"""Probabilities are kept this far from 0 (those of targets also from 1), where logits are not finite."""
COPIED = (
    *("recipe", "seed", "device", "manifest", "store", "prepared"),
    *("content", "task", "loss", "frames", "classes", "targets"),
)
COPIED_OF_SEQUENCES = ("sequences", "networks", "files")
Floats = NDArray[np.float64]


def fuse_runs(runs: Sequence[Run], out: str | Path, by: Fusion = "logits") -> Run:
    r"""Fuse the predictions of runs, and write them as a run of their own.

    Parameters
    ----------
    runs : sequence of Run
        Two or more finished runs of the same classes or targets on the same samples, divided alike into training,
        validation and test set. Their inputs and networks may differ.
    out : str or Path
        Folder of the fused run. If it holds this fusion already, it is returned as it is.
    by : {"logits", "features"}
        ``logits`` averages the logits of the M runs: :math:`p_c \propto \prod_m p_{m,c}^{1/M}`. ``features`` trains a
        joint head, a linear classifier of the features of all networks on the training set, by the loss of the first
        run (cross-entropy where that is one-vs-rest); its ridge penalty is the one of least loss on the validation set.
        Of targets, ``logits`` averages the logit of each unit (multi-label) or the values (regression), and
        ``features`` is a logistic or a ridge regression for each target, on the samples where it is known.

    Returns
    -------
    Run
        With predictions, without weights.

    Raises
    ------
    InputError
        If the runs are fewer than two, of other classes, targets or true values, or divided in other ways; or ``out``
        holds something else.
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
        stored = _stored(runs, sides)
        predicted = _averaged(stored) if by == "logits" else _by_joint_head(runs, sides, stored)
        if runs[0].recipe.training.thresholds == "validation":
            predicted = with_thresholds(predicted)
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
        if _outputs(run) != _outputs(first):
            own, others = (f"the {kind} {listed(names)}" for kind, names in (_outputs(run), _outputs(first)))
            raise InputError(
                f"{run.folder} has {own}, {first.folder} has {others}",
                "Train the runs on the same classes or targets, in the same order.",
            )


def _outputs(run: Run) -> tuple[str, tuple[str, ...]]:
    """Return what a run predicts: the kind, and the names."""
    results = run.results
    if isinstance(results, TargetPredictions):
        return f"targets ({results.task})", results.names
    return "classes", tuple(results.classes)


def _shared_samples(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Return the samples of each side that all runs have; refuse runs with other sides or labels."""
    tables = [run.split.set_index("sample")[["side", "label"]] for run in runs]
    compared = {"side": "set"}
    if isinstance(runs[0].results, Predictions):  # labels of targets are strata of each run's own samples
        compared["label"] = "class"
    first, shared = tables[0], set(tables[0].index)
    for run, table in zip(runs[1:], tables[1:], strict=True):
        shared &= set(table.index)
        both = first.index.intersection(table.index)
        for column, what in compared.items():
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


def _stored(runs: Sequence[Run], sides: dict[str, list[str]]) -> dict[str, list[AnyPredictions]]:
    """Return the runs' predictions of the shared samples, in one order; refuse targets with other true values."""
    stored = {}
    for file, side in ((VALIDATION, "validation"), (PREDICTIONS, "test")):
        results = [run.validation_results if side == "validation" else run.results for run in runs]
        own = [_of_samples(each, sides[side]) for each in results if each is not None]
        if len(own) < len(runs) or not sides[side]:
            continue
        for run, each in zip(runs[1:], own[1:], strict=True):
            _check_true_values(runs[0], own[0], run, each)
        stored[file] = own
    return stored


def _of_samples(predictions: AnyPredictions, names: Sequence[str]) -> AnyPredictions:
    places = {str(name): place for place, name in enumerate(predictions.sample)}
    return predictions.take(np.array([places[name] for name in names], dtype=np.int64))


def _check_true_values(first: Run, of_first: AnyPredictions, run: Run, own: AnyPredictions) -> None:
    if not (isinstance(of_first, TargetPredictions) and isinstance(own, TargetPredictions)):
        return
    same = np.isclose(of_first.targets, own.targets, equal_nan=True)
    if not same.all():
        row, column = np.argwhere(~same)[0]
        raise InputError(
            f"{own.names[column]} of {own.sample[row]} is {of_first.targets[row, column]:g} in {first.folder}, and "
            f"{own.targets[row, column]:g} in {run.folder}",
            "Train the runs on the same values of the targets.",
        )


def _with(predictions: AnyPredictions, logits: Floats) -> AnyPredictions:
    """Return the predictions with others of these logits; of a regression, with these values."""
    if isinstance(predictions, TargetPredictions):
        values = logits if predictions.task == "regression" else expit(logits)
        return replace(predictions, values=values, thresholds=None)
    return replace(predictions, probabilities=softmax(logits, axis=1), scores=None, output=None)


def _logits_of(predictions: AnyPredictions) -> Floats:
    if isinstance(predictions, Predictions):
        return np.asarray(np.log(np.maximum(predictions.probabilities, LEAST)))
    if predictions.task == "regression":
        return predictions.values
    return np.asarray(logit(np.clip(predictions.values, LEAST, 1 - LEAST)))


def _averaged(stored: dict[str, list[AnyPredictions]]) -> dict[str, AnyPredictions]:
    return {file: _with(own[0], np.mean([_logits_of(each) for each in own], axis=0)) for file, own in stored.items()}


def _by_joint_head(
    runs: Sequence[Run], sides: dict[str, list[str]], stored: dict[str, list[AnyPredictions]]
) -> dict[str, AnyPredictions]:
    names = [name for side in sides.values() for name in side]
    parts = []
    with progress("computing features", len(runs)) as advance:
        for run in runs:
            parts.append(_features(run, names))
            advance(1)
    ends = np.cumsum([len(side) for side in sides.values()])
    columns = np.concatenate(parts, axis=1)
    mean, spread = columns[: ends[0]].mean(axis=0), columns[: ends[0]].std(axis=0)
    inputs = torch.from_numpy((columns - mean) / np.where(spread > 0, spread, 1))
    train, validation, test = (slice(end - len(side), end) for end, side in zip(ends, sides.values(), strict=True))
    table = runs[0].split.set_index("sample").loc[names]
    if isinstance(runs[0].results, TargetPredictions):
        true = runs[0].store.manifest.target_values(table["row"].to_numpy(dtype=np.int64)).astype(np.float64)
        logits = _target_logits(inputs, true, runs[0].results, train, validation)
    else:
        labels = np.array(table["label"], dtype=np.int64)
        classes = len(runs[0].results.classes)
        loss = _loss(runs[0], np.bincount(labels[train], minlength=classes)).eval()
        logits = _chosen_logits(inputs, torch.from_numpy(labels), classes, loss, (train, validation))
    rows = {VALIDATION: validation, PREDICTIONS: test}
    return {file: _with(own[0], logits[rows[file]]) for file, own in stored.items()}


def _target_logits(
    inputs: torch.Tensor, true: Floats, results: TargetPredictions, train: slice, validation: slice
) -> Floats:
    """Fit a head for each target on the samples where it is known; a regression in standard deviations."""
    columns = []
    for name, target in zip(results.names, true.T, strict=True):
        known = ~np.isnan(target)
        fitted, judged = (np.flatnonzero(known[side]) + side.start for side in (train, validation))
        if not len(fitted):
            raise InputError(
                f"{name} is known of no training sample that all runs have",
                "Train the runs on the same samples, or average the runs: --by logits.",
            )
        middle, scale = 0.0, 1.0
        loss: torch.nn.Module = torch.nn.BCEWithLogitsLoss(reduction="none")
        if results.task == "regression":
            middle, scale = target[fitted].mean(), target[fitted].std() or 1.0
            loss = torch.nn.MSELoss(reduction="none")
        targets = torch.from_numpy((target - middle) / scale)[:, None]
        columns.append(_chosen_logits(inputs, targets, 1, loss, (fitted, judged)) * scale + middle)
    return np.concatenate(columns, axis=1)


def _chosen_logits(
    inputs: torch.Tensor, targets: torch.Tensor, outputs: int, loss: torch.nn.Module, rows: tuple[Any, Any]
) -> Floats:
    """Return the logits of the joint head whose ridge penalty has the least loss on the second rows, if any."""
    train, validation = rows
    validated = len(targets[validation]) > 0
    judged = validation if validated else train
    heads = []
    for ridge in RIDGES if validated else (RIDGE,):
        weights = joint_head(inputs[train], targets[train], outputs, loss, ridge)
        heads.append((float(loss(_logits(weights, inputs[judged]), targets[judged]).mean()), weights))
    weights = min(heads, key=lambda head: head[0])[1]
    return np.asarray(_logits(weights, inputs).numpy())


def _loss(run: Run, counts: NDArray[np.int64]) -> torch.nn.Module:
    recipe = run.recipe
    if METHODS[recipe.method.name].one_vs_rest:
        recipe = recipe.model_copy(update={"loss": type(recipe.loss)(), "method": type(recipe.method)()})
    return build_loss(recipe, Task(counts, tuple(run.facts["classes"]), recipe.training.batch_size))


def joint_head(
    inputs: torch.Tensor, targets: torch.Tensor, classes: int, loss: torch.nn.Module, ridge: float
) -> torch.Tensor:
    """Fit a linear head, ``(D + 1, C)`` with the biases last, to inputs (N, D) with a ridge penalty."""
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
    predicted: dict[str, AnyPredictions],
) -> None:
    """Write the folder; the predictions last, as they mark it as finished."""
    first = runs[0]
    kept = {key: first.facts[key] for key in (*COPIED, *COPIED_OF_SEQUENCES) if key in first.facts}
    split = first.split.set_index("sample", drop=False)
    split = split.loc[[name for side in sides.values() for name in side]].reset_index(drop=True)
    classes = len(first.facts["classes"])
    members = {side: split[split["side"] == side] for side in sides}
    people = {side: None if own["subject"].isna().any() else own["subject"].nunique() for side, own in members.items()}
    names = ", ".join(run.folder.name for run in runs)
    averaged = "averaged values" if first.facts["task"] == "regression" else "averaged logits"
    kind = averaged if fused["by"] == "logits" else "a joint head on the features"
    lost = max(len(run.split) for run in runs) - len(split)
    implied = [run.facts["implied_prior"] for run in runs]
    shares = [np.asarray(prior["shares"]) for prior in implied]
    alike = all(each.shape == shares[0].shape and np.allclose(each, shares[0]) for each in shares)
    facts = {
        **kept,
        "environment": environment(),
        "precision": first.precision,
        "fused": fused,
        "implied_prior": {**implied[0], "exact": alike and all(prior["exact"] for prior in implied)},
        "counts": {side: np.bincount(own["label"], minlength=classes).tolist() for side, own in members.items()},
        **_target_counts(first, members),
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


def _target_counts(run: Run, members: dict[str, Any]) -> dict[str, Any]:
    """Count the samples in which each target of a multi-label task is present; nothing for other tasks."""
    if "target_counts" not in run.facts:
        return {}
    if sum(map(len, members.values())) == len(run.split):
        return {"target_counts": run.facts["target_counts"]}
    values = {side: run.store.manifest.target_values(own["row"].to_numpy()) for side, own in members.items()}
    return {"target_counts": {side: (own > 0).sum(axis=0).tolist() for side, own in values.items()}}
