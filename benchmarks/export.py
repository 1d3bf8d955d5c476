"""Exported files compared with their runs: differences of predictions, size, start-up time and latency.

Run ``python -m benchmarks.export CNN=RUN SWIN=RUN ...`` with any names for run folders. For each run, a 32-bit ONNX
file and, if the run has validation data, an 8-bit one are written. Parity is computed on up to 500 test and validation
samples of the run. Latencies are medians in one process, with run and files in turns on equally many threads. Start-up
time is that of a separate process each time, from its start to its first prediction, also in turns.
"""

import importlib.metadata
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import Figure, Result, cores, parser, report
from evenface.inference import open_model
from evenface.inference.export import TOLERANCE, ExportResult, StoredSamples, export_run, latencies
from evenface.inference.onnx_model import OnnxModel
from evenface.runs import Run
from evenface.utils.errors import InputError

STARTED = """
import sys
import numpy as np
from evenface.inference import open_model
model = open_model(sys.argv[1])
kind = "float32" if model.input_spec.kind == "sequences" else "uint8"
model.forward(np.zeros((1, *model.input_spec.shape), dtype=kind))
"""


def started(places: dict[str, Path], rounds: int) -> dict[str, float]:
    """Return median seconds of processes that open each model and predict once."""
    spent: dict[str, list[float]] = {name: [] for name in places}
    for number in range(rounds + 1):
        for name, place in places.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", STARTED, str(place)], check=True, capture_output=True)
            if number:
                spent[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in spent.items()}


def measured(run: Run, folder: Path, rounds: int, seconds: float) -> dict[str, Any]:
    """Export a run with 32 and 8 bits, and measure."""
    whole = export_run(run, out=folder / "whole.onnx")
    places = {"run": run.folder, "32 bits": whole.path}
    small: ExportResult | None = None
    why = ""
    try:
        small = export_run(run, out=folder / "small.onnx", int8=True, limit=1.0)
        places["8 bits"] = small.path
    except InputError as error:
        why = error.message
    threads = torch.get_num_threads()
    models = {
        name: open_model(place) if name == "run" else OnnxModel(place, threads=threads)
        for name, place in places.items()
    }
    samples = StoredSamples.of(run)
    rows = samples.rows("test", "validation", limit=32)
    batch = models["run"].input_spec.select_frames(samples.arrays_of(rows))
    sizes = {"run": run.weights.stat().st_size, **{n: p.stat().st_size for n, p in places.items() if n != "run"}}
    facts: dict[str, Any] = {
        "data": run.recipe.data.source,
        "network": run.recipe.network.name,
        "method": run.recipe.method.name,
        "input": list(models["run"].input_spec.shape),
        "parity": {
            "samples": whole.parity.samples,
            "largest": whole.parity.max_difference,
            "stored": whole.parity.max_stored_difference,
            "agreeing": whole.parity.same_class,
            "precision": whole.parity.precision,
        },
        "megabytes": {name: round(size / 1e6, 3) for name, size in sizes.items()},
        "milliseconds": {str(len(part)): latencies(models, part, seconds=seconds) for part in (batch[:1], batch)},
        "seconds_to_first_answer": started(places, rounds),
    }
    if small is None or small.cost is None:
        return facts | {"int8": why}
    overall = small.cost.pair.overall
    change = {name: vars(overall[name]) for name in ("balanced_accuracy", "accuracy")}
    return facts | {"int8": {"how": small.quantised, "samples": small.cost.comparison.samples, **change}}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("runs", nargs="+", metavar="NAME=RUN", help="name of a run, and its folder")
    options.add_argument("--rounds", type=int, default=3, help="number of starts of each")
    options.add_argument("--seconds", type=float, default=3.0, help="duration of prediction for each batch size")
    given = options.parse_args()
    details, figures = {}, []
    for named in given.runs:
        name, _, place = named.partition("=")
        with tempfile.TemporaryDirectory() as folder:
            results = details[name] = measured(Run.open(place), Path(folder), given.rounds, given.seconds)
        figures.append(Figure(f"{name}: largest difference", results["parity"]["largest"], below=TOLERANCE))
        for what, times in results["milliseconds"].items():
            figures += [Figure(f"{name}: ms of {what}, {model}", value) for model, value in times.items()]
        figures += [
            Figure(f"{name}: s to start, {m}", value) for m, value in results["seconds_to_first_answer"].items()
        ]
        figures += [Figure(f"{name}: MB, {model}", value) for model, value in results["megabytes"].items()]
    data = ", ".join(dict.fromkeys(results["data"] for results in details.values()))
    settings = {
        "rounds": given.rounds,
        "seconds": given.seconds,
        "threads": torch.get_num_threads(),
        "cores": cores(),
        "onnxruntime": importlib.metadata.version("onnxruntime"),
    }
    report(Result("export", data, settings, details, figures), given)


if __name__ == "__main__":
    main()
