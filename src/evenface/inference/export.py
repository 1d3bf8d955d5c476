"""Export of a run to one ONNX file: write it, compare its predictions with the run's, measure size and latency."""

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pandas as pd
import torch

from evenface.config import Recipe
from evenface.data.manifest import TARGET_TASKS, Manifest, TaskKind
from evenface.evaluation.comparison import Comparison, MethodPair, compare
from evenface.evaluation.formatting import count_units, signed, with_interval
from evenface.evaluation.metric_registry import headline_of, lower_is_better
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.probability_metrics import shares
from evenface.evaluation.target_predictions import AnyPredictions, load_predictions
from evenface.inference.model import Model, ModelMetadata
from evenface.inference.onnx_graph import INPUT, MAX_SAMPLES, ExportModule, onnx_bytes, onnx_graph, quantise
from evenface.inference.onnx_model import OnnxModel
from evenface.inference.run_model import TorchModel
from evenface.reporting.summaries import target_label
from evenface.runs import PREDICTIONS, VALIDATION, Run
from evenface.training import build, data
from evenface.utils import __version__
from evenface.utils.errors import InputError
from evenface.utils.files import atomic_write, check_writable
from evenface.utils.progress import ProgressBar, progress

BATCH = 32
MAX_PARITY_SAMPLES = 500
"""Number of test and validation samples on which a file is compared with its run."""
TOLERANCE, LIMIT = 1e-4, 0.01
RANGES = {
    "static": f"fixed ranges, calibrated on at most {MAX_SAMPLES} training samples",
    "dynamic": "ranges computed at each call",
}


@dataclass
class ExportResult:
    """Result of :func:`evenface.export`.

    Parameters
    ----------
    path : Path
        The file.
    parity : Parity
        Difference of the float32 file's predictions from the run's.
    sizes : dict of str to int
        Bytes of the run's weights and of the file; for int8, of the float32 file too.
    milliseconds : dict of int to dict of str to float
        Batch size to the median latency of each of them.
    quantised : str
        ``static`` or ``dynamic`` for an int8 file; else empty.
    cost : QuantisationCost or None
        Cost of int8 in accuracy.
    """

    path: Path
    parity: "Parity"
    sizes: dict[str, int]
    milliseconds: dict[int, dict[str, float]] = field(default_factory=dict)
    quantised: str = ""
    cost: "QuantisationCost | None" = None

    @property
    def lines(self) -> list[str]:
        """Summary for the screen."""
        sizes = ", ".join(f"{name} {size / 1e6:,.2f} MB" for name, size in self.sizes.items())
        lines = [*self.parity.lines]
        if self.cost is not None:
            lines += [*self.cost.lines, f"        activations are quantised with {RANGES[self.quantised]}"]
        lines.append(f"size    {sizes}")
        for count, latency in self.milliseconds.items():
            each = ", ".join(f"{name} {milliseconds:,.2f} ms" for name, milliseconds in latency.items())
            lines.append(f"time    batch of {count}: {each}")
        return [*lines, f"file    {self.path}"]


def export_run(
    run: Run,
    *,
    out: Path | None = None,
    int8: bool = False,
    tolerance: float = TOLERANCE,
    limit: float = LIMIT,
) -> ExportResult:
    """Export a run to one ONNX file.

    Parameters
    ----------
    run : Run
        A run that has ended.
    out : Path, optional
        The file; by default ``model.onnx`` in the run folder, or ``model-int8.onnx`` for int8.
    int8 : bool
        Quantise the model to 8-bit integers.
    tolerance : float
        Maximum difference from the run's scores that you accept, for the float32 file.
    limit : float
        Maximum loss of balanced accuracy on validation data that you accept, for int8; of targets, of the main metric.

    Returns
    -------
    ExportResult

    Raises
    ------
    InputError
        If an argument is invalid, the network cannot be exported, or the file exceeds ``tolerance`` or ``limit``;
        nothing is written then.
    """
    if not (0 < tolerance < float("inf") and 0 <= limit < float("inf")):
        raise InputError(
            f"tolerance must be above 0 and limit at least 0, both finite, got {tolerance:g} and {limit:g}"
        )
    _ = run.weights  # raises if they are missing, before anything else is done
    path = out or run.folder / ("model-int8.onnx" if int8 else "model.onnx")
    if path.is_dir() or path.suffix != ".onnx":
        raise InputError(f"the exported file must end in .onnx, got {path}")
    check_writable(path)
    samples = StoredSamples.of(run)
    if int8 and not len(samples.rows("validation")):
        raise InputError(
            f"the run {run.folder} has no validation data, which are needed to measure the cost of int8",
            "Train with protocol.validation above 0, or leave int8 out.",
        )
    model = TorchModel(run)
    module = ExportModule(build.trained_method(run).eval(), model.input_spec)
    steps = 2 + _batches(samples, MAX_PARITY_SAMPLES, "test", "validation")
    if int8:
        steps += 1 + _batches(samples, None, "validation")
    with tempfile.TemporaryDirectory() as folder, progress("exporting", steps) as bar:
        task = _ExportTask(run, model, module, samples, Path(folder), bar)
        exported = float32 = task.write_float32(tolerance)
        models: dict[str, Model] = {"run": model, "file": float32.model}
        if int8:
            exported = task.write_int8(float32, limit)
            models = {"run": model, "32 bits": float32.model, "file": exported.model}
        result = ExportResult(path, float32.parity, exported.sizes, {}, exported.quantised, exported.cost)
        for count in (1, BATCH):
            result.milliseconds[count] = latencies(models, task.batch(count))
        bar(1)
        with atomic_write(path) as temporary:
            shutil.copyfile(exported.file, temporary)
    return result


@dataclass(frozen=True)
class _Exported:
    """A file that passed its checks."""

    file: Path
    model: Model
    parity: "Parity"
    sizes: dict[str, int]
    graph: Any = None
    quantised: str = ""
    cost: "QuantisationCost | None" = None


@dataclass(frozen=True)
class _ExportTask:
    """Writes and checks the files of one export in a temporary folder."""

    run: Run
    model: TorchModel
    module: ExportModule
    samples: "StoredSamples"
    folder: Path
    bar: ProgressBar

    def write_float32(self, tolerance: float) -> _Exported:
        """Write the float32 file; raise InputError if it differs from the run."""
        graph = onnx_graph(self.module)
        file, model = self._write("model.onnx", graph, self._properties())
        self.bar(1)
        reference = FunctionModel(self.model, _as_function(self.module))
        difference = parity(self.run, reference, model, self.samples, self.bar)
        if difference.max_difference > tolerance:
            raise InputError(
                f"the exported file differs from the run by {difference.max_difference:.1e} on "
                f"{difference.samples:,} samples, more than the tolerance {tolerance:g}; it was not written",
                "To accept the difference, raise --tolerance.",
            )
        sizes = {"run": self.run.weights.stat().st_size, "file": file.stat().st_size}
        return _Exported(file, model, difference, sizes, graph)

    def write_int8(self, float32: _Exported, limit: float) -> _Exported:
        """Write the int8 file; raise InputError if it loses too much accuracy."""
        spec, samples = self.model.input_spec, self.samples
        training = spec.select_frames(samples.arrays_of(samples.rows("train", limit=MAX_SAMPLES)))
        graph, quantised = quantise(float32.graph, {INPUT: training})
        self.bar(1)
        file, model = self._write("int8.onnx", graph, self._properties(precision="int8"))
        cost = quantisation_cost((float32.model, model), samples, self.bar)
        if not cost.loss <= limit:
            raise InputError(
                f"int8 loses {cost.loss:.3f} of {target_label(cost.comparison.main)} on validation data, more than "
                f"{limit:g}; nothing was written",
                "\n  ".join([*cost.lines, "To accept the loss, raise --max-accuracy-loss."]),
            )
        sizes = {"run": float32.sizes["run"], "32 bits": float32.sizes["file"], "file": file.stat().st_size}
        return _Exported(file, model, float32.parity, sizes, graph, quantised, cost)

    def _properties(self, precision: str = "float32") -> dict[str, str]:
        recipe = shared_recipe(self.run.recipe)
        return ModelMetadata.of(self.model, recipe, __version__, precision).to_properties()

    def _write(self, name: str, graph: Any, properties: Mapping[str, str]) -> tuple[Path, OnnxModel]:
        file = self.folder / name
        description = f"{self.model.name}: {', '.join(self.model.classes)}"
        file.write_bytes(onnx_bytes(graph, properties, description=description))
        return file, OnnxModel(file, threads=torch.get_num_threads())

    def batch(self, count: int) -> np.ndarray:
        """Return a batch of the run's samples, repeated if there are fewer."""
        rows = self.samples.rows("test", "validation", limit=count)
        repeated = rows[[i % len(rows) for i in range(count)]]
        return self.model.input_spec.select_frames(self.samples.arrays_of(repeated))


@dataclass(frozen=True)
class StoredSamples:
    """Samples that a run was trained and tested on."""

    inputs: Callable[[np.ndarray], np.ndarray]
    manifest: Manifest
    split: pd.DataFrame

    @classmethod
    def of(cls, run: Run) -> "StoredSamples":
        """Open the store of a run; prepare the data again if it was deleted."""
        try:
            store = run.store
        except InputError:
            store = data.prepare_store(run.recipe)
        if store.manifest.hash != run.facts["manifest"]:
            raise InputError(
                f"the data of the run {run.folder} have changed since training",
                "Restore the original data: the exported file is compared with the run on them.",
            )
        given = data.TrainingData(run.recipe, store)
        return cls(given.inputs, given.manifest, run.split)

    def rows(self, *parts: str, limit: int | None = None) -> np.ndarray:
        """Return the row indices (N,) of parts of the split, ascending; evenly spaced if more than ``limit``."""
        rows = np.sort(self.split.loc[self.split["side"].isin(parts), "row"].to_numpy(dtype=np.int64))
        if limit is None or len(rows) <= limit:
            return rows
        spaced: np.ndarray = rows[np.linspace(0, len(rows) - 1, limit).round().astype(int)]
        return spaced

    def arrays_of(self, rows: np.ndarray) -> np.ndarray:
        """Return samples as the model takes them: relative to the baselines of persons, if it was trained so."""
        return self.inputs(rows)


def _batches(samples: StoredSamples, limit: int | None, *parts: str) -> int:
    return -(-len(samples.rows(*parts, limit=limit)) // BATCH)


class FunctionModel(Model):
    """A copy of a model whose scores a function computes."""

    def __init__(self, like: Model, function: Callable[[np.ndarray], np.ndarray]) -> None:
        names = ("name", "key", "classes", "ordered", "input_spec", "one_vs_rest", "calibration", "prior")
        for name in (*names, "auxiliary", "task", "thresholds"):
            setattr(self, name, getattr(like, name))
        self._function = function

    def forward(self, batch: np.ndarray) -> np.ndarray:
        """Compute the scores of one view of each sample; see :meth:`Model.forward`."""
        return np.asarray(self._function(batch), dtype=np.float64)


def _as_function(module: torch.nn.Module) -> Callable[[np.ndarray], np.ndarray]:
    @torch.inference_mode()
    def forward(batch: np.ndarray) -> np.ndarray:
        return np.concatenate([output.numpy() for output in module(torch.from_numpy(batch))], axis=1)

    return forward


@dataclass(frozen=True)
class Parity:
    """Maximum differences of a file's predictions from its run's.

    Parameters
    ----------
    samples : int
        Number of test and validation samples.
    max_difference : float
        Of scores, from the run's network in float32.
    max_stored_difference : float
        Of probabilities, or values of a regression, from those stored in the run folder, which were computed in
        ``precision``.
    same_class : int or None
        Number of samples with the same predicted class as stored; None for targets.
    precision : str
        Precision of the run.
    """

    samples: int
    max_difference: float
    max_stored_difference: float
    same_class: int | None
    precision: str

    @property
    def lines(self) -> list[str]:
        """Two lines for the screen."""
        what, same = "predictions", ""
        if self.same_class is not None:
            what, same = "probabilities", f"; same class for {self.same_class:,} of {self.samples:,}"
        return [
            f"parity  maximum difference of scores from the network in float32: {self.max_difference:.1e}, over "
            f"{self.samples:,} test and validation samples",
            f"        maximum difference of {what} from the stored ones ({self.precision}): "
            f"{self.max_stored_difference:.1e}{same}",
        ]


def parity(run: Run, reference: Model, file: Model, samples: StoredSamples, bar: ProgressBar) -> Parity:
    """Compare the predictions of a run's network and of a file on the same samples."""
    rows = samples.rows("test", "validation", limit=MAX_PARITY_SAMPLES)
    stored = stored_probabilities(run, samples, rows)
    max_difference = max_stored = 0.0
    same_class = None if file.task in TARGET_TASKS else 0
    for start in range(0, len(rows), BATCH):
        batch, expected = samples.arrays_of(rows[start : start + BATCH]), stored[start : start + BATCH]
        selected = file.input_spec.select_frames(batch)
        max_difference = max(max_difference, _max_difference(reference.forward(selected), file.forward(selected)))
        probabilities = file.probabilities(batch)
        max_stored = max(max_stored, _max_difference(probabilities, expected))
        if same_class is not None:
            same_class += int((probabilities.argmax(axis=1) == expected.argmax(axis=1)).sum())
        bar(1)
    return Parity(len(rows), max_difference, max_stored, same_class, run.precision)


def _max_difference(first: np.ndarray, second: np.ndarray) -> float:
    """Return the maximum absolute difference; infinity for NaN."""
    largest = float(np.abs(first - second).max())
    return largest if np.isfinite(largest) else float("inf")


def stored_probabilities(run: Run, samples: StoredSamples, rows: np.ndarray) -> np.ndarray:
    """Return the probabilities, or values of targets, (N, C) that the run stored for the samples at ``rows``."""
    stored: dict[str, np.ndarray] = {}
    for name in (PREDICTIONS, VALIDATION):
        if (run.folder / name).is_file():
            predictions = load_predictions(run.folder / name)
            values = predictions.probabilities if isinstance(predictions, Predictions) else predictions.values
            stored |= dict(zip(predictions.sample, values, strict=True))
    names = samples.manifest.table["sample"].iloc[rows]
    missing = [name for name in names if name not in stored]
    if missing:
        raise InputError(f"the run {run.folder} has no prediction of its sample {missing[0]}", "Train it again.")
    return np.stack([stored[name] for name in names])


@dataclass(frozen=True)
class QuantisationCost:
    """Difference in accuracy between the int8 and the float32 file, on validation data."""

    comparison: Comparison
    task: TaskKind

    @property
    def pair(self) -> MethodPair:
        """Int8 minus float32."""
        return self.comparison.pairs[0]

    @property
    def loss(self) -> float:
        """Loss of the main metric, such as balanced accuracy; below 0 for a gain."""
        gain = self.pair.overall[self.comparison.main].value
        return gain if lower_is_better(self.comparison.main) else -gain

    @property
    def lines(self) -> list[str]:
        """A line for each metric."""
        float32, int8 = self.comparison.methods
        lines = []
        for name in headline_of(self.task)[:2]:
            difference = self.pair.overall[name]
            lines.append(
                f"int8    validation {target_label(name)} {with_interval(float32.overall[name])}, in int8 "
                f"{with_interval(int8.overall[name])}, difference {signed(difference.value)} "
                f"[{signed(difference.low)}, {signed(difference.high)}] over "
                f"{count_units(self.comparison.units, self.comparison.unit)}"
            )
        return lines


def quantisation_cost(models: Sequence[Model], samples: StoredSamples, bar: ProgressBar) -> QuantisationCost:
    """Compare the float32 and the int8 model on all validation samples."""
    rows = samples.rows("validation")
    batches: list[list[np.ndarray]] = [[], []]
    for start in range(0, len(rows), BATCH):
        batch = samples.arrays_of(rows[start : start + BATCH])
        for model, parts in zip(models, batches, strict=True):
            parts.append(model.scores(batch))
        bar(1)
    model, predictions = models[0], dict[str, AnyPredictions]()
    for name, parts in zip(("32 bits", "8 bits"), batches, strict=True):
        scores = np.concatenate(parts)
        if model.task in TARGET_TASKS:
            of_targets = data.target_predictions(samples.manifest, rows, model.calibrated(scores))
            predictions[name] = replace(of_targets, thresholds=model.thresholds)
            continue
        own = scores if model.one_vs_rest else None
        predictions[name] = data.predictions(samples.manifest, rows, shares(scores), scores=own)
    return QuantisationCost(compare(predictions), model.task)


def latencies(models: Mapping[str, Model], batch: np.ndarray, *, seconds: float = 1.0) -> dict[str, float]:
    """Measure the median latency of models on a batch in milliseconds, in turns; the first round is a warm-up."""
    times: dict[str, list[float]] = {name: [] for name in models}
    begin = time.perf_counter()
    for number in range(101):
        for name, model in models.items():
            start = time.perf_counter()
            model.forward(batch)
            if number:
                times[name].append(1000 * (time.perf_counter() - start))
        if number == 0:
            begin = time.perf_counter()
        elif number >= 3 and time.perf_counter() - begin > seconds:
            break
    return {name: statistics.median(values) for name, values in times.items()}


def shared_recipe(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe without the directories of this machine."""
    content: dict[str, Any] = _without_directories(recipe.model_dump(mode="json"))
    content["data"]["root"] = None
    return content


def _without_directories(value: Any) -> Any:
    """Replace absolute paths, and those that start with ``~``, by their last part, in nested values."""
    if isinstance(value, dict):
        return {key: _without_directories(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_directories(item) for item in value]
    absolute = isinstance(value, str) and (value.startswith("~") or PurePath(value).is_absolute())
    return PurePath(value).name if absolute else value
