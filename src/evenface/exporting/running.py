"""A run as one file: written, asked beside its run, and kept only if it says the same."""

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import torch

from evenface import __version__, learner
from evenface.errors import InputError
from evenface.exporting.comparing import (
    BATCH,
    Answering,
    Cost,
    Parity,
    batches_of,
    cost,
    latencies,
    parity,
)
from evenface.exporting.graphs import Asked, onnx_bytes, onnx_graph
from evenface.exporting.quantising import SAMPLES, quantised
from evenface.exporting.samples import Samples
from evenface.files import atomic_write, check_place
from evenface.progress import Bar, progress
from evenface.recipes import Recipe
from evenface.runs import Run
from evenface.serving.described import Described
from evenface.serving.onnx_model import OnnxModel
from evenface.serving.torch_model import TorchModel

if TYPE_CHECKING:
    import numpy as np

    from evenface.serving.model import Model

TOLERANCE, LIMIT = 1e-4, 0.01


@dataclass
class Exported:
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
) -> Exported:
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
    check_place(path)
    samples = Samples.of(run)
    validation = len(samples.rows("validation"))
    if int8 and not validation:
        raise InputError(
            f"the run {run.folder} has no validation data, on which the cost of 8 bits is measured",
            "Train with protocol.validation above 0, or leave int8 out.",
        )
    model = TorchModel(run)
    asked = Asked(learner.trained_method(run).eval(), model.form)
    steps = 2 + batches_of(samples) + (1 + -(-validation // BATCH) if int8 else 0)
    with tempfile.TemporaryDirectory() as folder, progress("exporting", steps) as bar:
        work = _Work(run, model, asked, samples, Path(folder), bar)
        made = _written(work, tolerance)
        models: dict[str, Model] = {"run": model, "file": made.model}
        if int8:
            made = _smaller(work, made, limit)
            models = {"run": model, "32 bits": models["file"], "file": made.model}
        found = Exported(path, made.parity, made.sizes, {}, made.quantised, made.cost)
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
    asked: Asked
    samples: Samples
    folder: Path
    bar: Bar

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
    found = parity(work.run, Answering(work.model, _answers(work.asked)), model, work.samples, work.bar)
    if found.largest > tolerance:
        raise InputError(
            f"the exported file differs from the run by {found.largest:.1e} on {found.samples:,} samples, "
            f"more than {tolerance:g}; it is not kept",
            "If that may be, give a larger --tolerance.",
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
            "\n  ".join([*found.lines, "If that may be, give a larger --limit."]),
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
