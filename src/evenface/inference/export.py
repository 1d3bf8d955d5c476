"""A run as one file: written, asked beside its run, and kept only if it says the same."""

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from evenface.config import Recipe
from evenface.data.manifest import Manifest
from evenface.evaluation.comparison import Comparison, MethodPair, compare
from evenface.evaluation.formatting import signed, with_interval
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.probability_metrics import shares
from evenface.inference.model import Described, Model
from evenface.inference.onnx_graph import SAMPLES, GraphMethod, onnx_bytes, onnx_graph, quantised
from evenface.inference.onnx_model import OnnxModel
from evenface.inference.run_model import TorchModel
from evenface.runs import PREDICTIONS, VALIDATION, Run
from evenface.training import build, data
from evenface.utils.errors import InputError
from evenface.utils.files import atomic_write, check_writable
from evenface.utils.progress import ProgressBar, progress
from evenface.utils.version import __version__

if TYPE_CHECKING:
    import numpy as np

    from evenface.inference.model import Model


@dataclass(frozen=True)
class StoredSamples:
    """What a run learnt from and was tested on."""

    arrays: Any
    manifest: Manifest
    sides: pd.DataFrame

    @classmethod
    def of(cls, run: Run) -> "StoredSamples":
        """Open the store of a run, or prepare it again where it is gone."""
        try:
            store = run.store
        except InputError:
            store = data.prepare_store(run.recipe)
        if store.manifest.hash != run.facts["manifest"]:
            raise InputError(
                f"the data of the run {run.folder} have changed since it was trained",
                "Bring back the data as they were: an exported file is compared with the run on them.",
            )
        return cls(data.stored_samples(store), store.manifest, run.split)

    def rows(self, *sides: str, most: int | None = None) -> np.ndarray:
        """Give the rows of sides, (N,), in rising order; of more than ``most``, evenly spread ones."""
        rows = np.sort(self.sides.loc[self.sides["side"].isin(sides), "row"].to_numpy(dtype=np.int64))
        if most is None or len(rows) <= most:
            return rows
        spread: np.ndarray = rows[np.linspace(0, len(rows) - 1, most).round().astype(int)]
        return spread

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Give samples as they are stored."""
        return np.asarray(self.arrays[rows])


BATCH = 32
MOST = 500
"""Test and validation samples that a file is compared with its run on."""


class Backend(Model):
    """A model in everything but its answer, which is a function's."""

    def __init__(self, like: Model, answer: Callable[[np.ndarray], np.ndarray]) -> None:
        for name in ("name", "key", "classes", "ordered", "form", "one_vs_rest", "calibration", "prior"):
            setattr(self, name, getattr(like, name))
        self._answer = answer

    def ask(self, batch: np.ndarray) -> np.ndarray:
        """Give the raw answer; see :meth:`Model.ask`."""
        return np.asarray(self._answer(batch), dtype=np.float64)


@dataclass(frozen=True)
class Parity:
    """How far a file's answers are from its run's."""

    samples: int
    largest: float
    stored: float
    agreeing: int
    precision: str

    @property
    def lines(self) -> list[str]:
        """Two lines for the screen."""
        each = "differ" if self.samples != 1 else "differs"
        return [
            f"parity  on {self.samples:,} of the run's test and validation samples, scores {each} by at most "
            f"{self.largest:.1e} from its network's in 32 bits",
            f"        from what the run stored ({self.precision}), probabilities by at most {self.stored:.1e}; "
            f"the same class for {self.agreeing:,} of {self.samples:,}",
        ]


def parity(run: Run, reference: Model, file: Model, samples: StoredSamples, bar: ProgressBar) -> Parity:
    """Ask a run's network and a file of the same samples."""
    rows = samples.rows("test", "validation", most=MOST)
    known = stored_probabilities(run, samples, rows)
    largest = stored = 0.0
    agreeing = 0
    for start in range(0, len(rows), BATCH):
        batch, said = samples.take(rows[start : start + BATCH]), known[start : start + BATCH]
        seen = file.form.seen(batch)
        largest = max(largest, _distance(reference.ask(seen), file.ask(seen)))
        found = file.probabilities(batch)
        stored = max(stored, _distance(found, said))
        agreeing += int((found.argmax(axis=1) == said.argmax(axis=1)).sum())
        bar(1)
    return Parity(len(rows), largest, stored, agreeing, run.precision)


def batches_of(samples: StoredSamples) -> int:
    """Count the batches that :func:`parity` asks of."""
    return -(-len(samples.rows("test", "validation", most=MOST)) // BATCH)


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    """Largest difference; endless where something is no number."""
    largest = float(np.abs(one - other).max())
    return largest if np.isfinite(largest) else float("inf")


def stored_probabilities(run: Run, samples: StoredSamples, rows: np.ndarray) -> np.ndarray:
    """Give what the run stored of samples at ``rows``, (N, C)."""
    known: dict[str, np.ndarray] = {}
    for name in (PREDICTIONS, VALIDATION):
        if (run.folder / name).is_file():
            said = Predictions.load(run.folder / name)
            known |= dict(zip(said.sample, said.probabilities, strict=True))
    names = samples.manifest.table["sample"].iloc[rows]
    missing = [name for name in names if name not in known]
    if missing:
        raise InputError(f"the run {run.folder} has no prediction of its sample {missing[0]}", "Train it again.")
    return np.stack([known[name] for name in names])


@dataclass(frozen=True)
class Cost:
    """What fewer bits cost on validation data."""

    comparison: Comparison

    @property
    def pair(self) -> MethodPair:
        """The 8 bits minus the 32."""
        return self.comparison.pairs[0]

    @property
    def balanced_accuracy(self) -> float:
        """How much balanced accuracy is lost; below 0 where it rose."""
        return -self.pair.overall["balanced_accuracy"].value

    @property
    def lines(self) -> list[str]:
        """A line for each figure."""
        first, second = self.comparison.methods
        lines = []
        for name in ("balanced_accuracy", "accuracy"):
            change = self.pair.overall[name]
            lines.append(
                f"int8    validation {name.replace('_', ' ')} {with_interval(first.overall[name])}, in 8 bits "
                f"{with_interval(second.overall[name])}, difference {signed(change.value)} "
                f"[{signed(change.low)}, {signed(change.high)}] over {self.comparison.units:,} {self.comparison.unit}"
            )
        return lines


def cost(models: Sequence[Model], samples: StoredSamples, bar: ProgressBar) -> Cost:
    """Judge a file in 32 bits and one in 8 on all validation samples."""
    rows = samples.rows("validation")
    scores: list[list[np.ndarray]] = [[], []]
    for start in range(0, len(rows), BATCH):
        batch = samples.take(rows[start : start + BATCH])
        for model, found in zip(models, scores, strict=True):
            found.append(model.scores(batch))
        bar(1)
    whole = [np.concatenate(found) for found in scores]
    named = {
        name: data.predictions(samples.manifest, rows, shares(said), scores=said if models[0].one_vs_rest else None)
        for name, said in zip(("32 bits", "8 bits"), whole, strict=True)
    }
    return Cost(compare(named))


def latencies(models: Mapping[str, Model], batch: np.ndarray, *, seconds: float = 1.0) -> dict[str, float]:
    """Measure how long models take for a batch, in turns."""
    spent: dict[str, list[float]] = {name: [] for name in models}
    begin = time.perf_counter()
    for number in range(101):
        for name, model in models.items():
            start = time.perf_counter()
            model.ask(batch)
            if number:
                spent[name].append(1000 * (time.perf_counter() - start))
        if number == 0:
            begin = time.perf_counter()
        elif number >= 3 and time.perf_counter() - begin > seconds:
            break
    return {name: statistics.median(times) for name, times in spent.items()}


TOLERANCE, LIMIT = 1e-4, 0.01


@dataclass
class ExportResult:
    """What became of a call.

    Parameters
    ----------
    path : Path
        The file.
    parity : Parity
        How far its answers, in 32 bits, are from the run's.
    sizes : dict of str to int
        Bytes of the run's weights and of the file; with 8 bits, of that in 32 too.
    milliseconds : dict of int to dict of str to float
        Number of samples in a batch to the median time of each of them.
    quantised : str
        ``static`` or ``dynamic``, where the file is in 8 bits; else empty.
    cost : Cost or None
        What 8 bits cost.
    """

    path: Path
    parity: Parity
    sizes: dict[str, int]
    milliseconds: dict[int, dict[str, float]] = field(default_factory=dict)
    quantised: str = ""
    cost: Cost | None = None

    @property
    def lines(self) -> list[str]:
        """The last screen."""
        sizes = ", ".join(f"{name} {size / 1e6:,.2f} MB" for name, size in self.sizes.items())
        lines = [*self.parity.lines]
        if self.cost is not None:
            lines += [*self.cost.lines, f"        activations are rounded by {_ROUNDED[self.quantised]}"]
        lines.append(f"size    {sizes}")
        for rows, times in self.milliseconds.items():
            each = ", ".join(f"{name} {time:,.2f} ms" for name, time in times.items())
            lines.append(f"time    {rows} sample{'s' * (rows != 1)}: {each}")
        return [*lines, f"file    {self.path}"]


_ROUNDED = {
    "static": f"ranges that at most {SAMPLES} training samples gave",
    "dynamic": "ranges found at each call",
}


def export_run(
    run: Run,
    *,
    out: Path | None = None,
    int8: bool = False,
    tolerance: float = TOLERANCE,
    limit: float = LIMIT,
) -> ExportResult:
    """Write a run as one ONNX file.

    Parameters
    ----------
    run : Run
        One that has ended.
    out : Path, optional
        The file; by default ``model.onnx`` in the run folder, in 8 bits ``model-int8.onnx``.
    int8 : bool
        Write it in 8 bits.
    tolerance : float
        Largest difference from the run's scores that is borne, of the file in 32 bits.
    limit : float
        Largest loss of balanced accuracy on validation data that is borne for 8 bits.

    Returns
    -------
    Exported

    Raises
    ------
    InputError
        If anything given cannot be used, the file says something else than the run, or 8 bits cost too much; nothing
        is written then.
    """
    _check(run, tolerance, limit)
    path = out or run.folder / ("model-int8.onnx" if int8 else "model.onnx")
    if path.is_dir() or path.suffix != ".onnx":
        raise InputError(f"{path} is no name for such a file", "Give one that ends with .onnx.")
    check_writable(path)
    samples = StoredSamples.of(run)
    validation = len(samples.rows("validation"))
    if int8 and not validation:
        raise InputError(
            f"the run {run.folder} has no validation data, on which the cost of 8 bits is measured",
            "Train with protocol.validation above 0, or leave int8 out.",
        )
    model = TorchModel(run)
    asked = GraphMethod(build.trained_method(run).eval(), model.form)
    steps = 2 + batches_of(samples) + (1 + -(-validation // BATCH) if int8 else 0)
    with tempfile.TemporaryDirectory() as folder, progress("exporting", steps) as bar:
        work = _Work(run, model, asked, samples, Path(folder), bar)
        made = _written(work, tolerance)
        models: dict[str, Model] = {"run": model, "file": made.model}
        if int8:
            made = _smaller(work, made, limit)
            models = {"run": model, "32 bits": models["file"], "file": made.model}
        found = ExportResult(path, made.parity, made.sizes, {}, made.quantised, made.cost)
        for rows in (1, BATCH):
            found.milliseconds[rows] = latencies(models, work.batch(rows))
        bar(1)
        with atomic_write(path) as temporary:
            shutil.copyfile(made.file, temporary)
    return found


def _check(run: Run, tolerance: float, limit: float) -> None:
    if not (0 < tolerance < float("inf") and 0 <= limit < float("inf")):
        raise InputError(
            f"tolerance must be above 0 and limit at least 0, both finite, got {tolerance:g} and {limit:g}"
        )
    _ = run.weights  # missing ones are told before anything else is done


@dataclass(frozen=True)
class _Work:
    """What an export needs throughout."""

    run: Run
    model: TorchModel
    asked: GraphMethod
    samples: StoredSamples
    folder: Path
    bar: ProgressBar

    def describe(self) -> Described:
        return Described.of(self.model, shared_recipe(self.run.recipe), __version__)

    @property
    def about(self) -> str:
        """One line for programs that show models."""
        return f"{self.model.name}: {', '.join(self.model.classes)}"

    def batch(self, rows: int) -> "np.ndarray":
        """Give so many samples as the network sees them, some of them more than once where there are few."""
        known = self.samples.rows("test", "validation", most=rows)
        return self.model.form.seen(self.samples.take(known[[i % len(known) for i in range(rows)]]))


@dataclass(frozen=True)
class _Made:
    """A file that passed."""

    file: Path
    model: "Model"
    parity: Parity
    sizes: dict[str, int]
    graph: Any = None
    quantised: str = ""
    cost: Cost | None = None


def _written(work: _Work, tolerance: float) -> _Made:
    """Write in 32 bits, and refuse what differs."""
    file, graph = work.folder / "model.onnx", onnx_graph(work.asked)
    file.write_bytes(onnx_bytes(graph, work.describe().words(), about=work.about))
    model = OnnxModel(file, threads=torch.get_num_threads())
    work.bar(1)
    found = parity(work.run, Backend(work.model, _answers(work.asked)), model, work.samples, work.bar)
    if found.largest > tolerance:
        raise InputError(
            f"the exported file differs from the run by {found.largest:.1e} on {found.samples:,} samples, "
            f"more than {tolerance:g}; it is not kept",
            "To accept this difference, raise --tolerance.",
        )
    return _Made(file, model, found, {"run": work.run.weights.stat().st_size, "file": file.stat().st_size}, graph)


def _smaller(work: _Work, whole: _Made, limit: float) -> _Made:
    """Write in 8 bits, and refuse what costs too much."""
    training = work.model.form.seen(work.samples.take(work.samples.rows("train", most=SAMPLES)))
    graph, how = quantised(whole.graph, training)
    work.bar(1)
    words = {**work.describe().words(), **Described.in_int8()}
    file = work.folder / "int8.onnx"
    file.write_bytes(onnx_bytes(graph, words, about=work.about))
    model = OnnxModel(file, threads=torch.get_num_threads())
    found = cost((whole.model, model), work.samples, work.bar)
    if not found.balanced_accuracy <= limit:
        raise InputError(
            f"8 bits cost {found.balanced_accuracy:.3f} of balanced accuracy on validation data, more than {limit:g}; "
            "nothing was written",
            "\n  ".join([*found.lines, "To accept this loss, raise --max-accuracy-loss."]),
        )
    sizes = {"run": whole.sizes["run"], "32 bits": whole.sizes["file"], "file": file.stat().st_size}
    return _Made(file, model, whole.parity, sizes, graph, how, found)


def _answers(module: torch.nn.Module) -> Any:
    @torch.inference_mode()
    def answer(batch: "np.ndarray") -> "np.ndarray":
        found: np.ndarray = module(torch.from_numpy(batch)).numpy()
        return found

    return answer


def shared_recipe(recipe: Recipe) -> dict[str, Any]:
    """Give what others may know of a recipe: all of it but where files lie on this machine."""
    said: dict[str, Any] = _shared(recipe.model_dump(mode="json"))
    said["data"]["root"] = None
    return said


def _shared(value: Any) -> Any:
    """Leave of every path that begins at a root, or at home, its last part: sources have options of their own."""
    if isinstance(value, dict):
        return {key: _shared(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_shared(one) for one in value]
    rooted = isinstance(value, str) and (value.startswith("~") or PurePath(value).is_absolute())
    return PurePath(value).name if rooted else value
