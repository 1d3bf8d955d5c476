"""Overhead of prediction relative to its unavoidable parts: the detector alone and the network alone.

Run ``python -m benchmarks.predict --run RUN --clips FOLDER`` with RUN a run on still images and FOLDER with videos and
images. All three are wall times in one process, in turns, after one warm-up round. The detector alone processes
the same frames, decoded beforehand; the network alone processes the same faces, cropped beforehand, in batches of
the same size. Prediction starts from the files: it decodes, detects, tracks, crops, predicts, and writes the
table. Sums are over all files; times per face are divided by the number of detected faces.
"""

import functools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.common import Figure, Result, cores, parser, report, summary
from evenface.config.predict import PredictSettings
from evenface.inference import open_model
from evenface.inference.model import Model
from evenface.inference.pipeline import prepare_samples
from evenface.inference.predict import predict_inputs
from evenface.inference.sources import Source, find_sources
from evenface.preprocessing.detect_align import find_faces
from evenface.preprocessing.image import read_picture
from evenface.preprocessing.video import open_film


def seconds(task: Callable[[], object]) -> float:
    """Return wall seconds of a task."""
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def detect(sources: list[Source], every: int) -> tuple[float, int]:
    """Return seconds of the detector alone, without decoding, and the number of frames."""
    spent, frames = 0.0, 0
    for source in sources:
        if source.kind == "picture":
            images = [read_picture(source.path)]
        else:
            film = open_film(source.path)
            images = [image for _, image in film.frames(range(0, len(film.times), every))]
        start = time.perf_counter()
        for image in images:
            find_faces(image, "mediapipe")
        spent += time.perf_counter() - start
        frames += len(images)
    return spent, frames


def judge(model: Model, arrays: list[np.ndarray], batch: int) -> float:
    """Return seconds of the network alone."""
    batches = [np.stack(arrays[i : i + batch]) for i in range(0, len(arrays), batch)]
    return seconds(lambda: [model.scores(one) for one in batches])


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--run", type=Path, required=True, help="folder of a run on still images")
    options.add_argument("--clips", type=Path, required=True, help="folder with videos and images")
    options.add_argument("--frame-stride", type=int, default=1, help="use every N-th frame")
    options.add_argument("--batch", type=int, default=32)
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    model = open_model(given.run)
    settings = PredictSettings(faces="all", frame_stride=given.frame_stride, batch=given.batch)
    sources, _ = find_sources([given.clips])
    samples = [sample for source in sources for sample in prepare_samples(source, model.input_spec, settings)]
    arrays = [sample.array for sample in samples if sample.array is not None]
    rounds: dict[str, list[float]] = {"detector": [], "network": [], "whole": [], "overhead": []}
    frames = 0
    for number in range(given.rounds + 1):
        detector, frames = detect(sources, given.every)
        network = judge(model, arrays, given.batch)
        with tempfile.TemporaryDirectory() as folder:
            whole = seconds(
                functools.partial(predict_inputs, model, [given.clips], settings, [Path(folder) / "t.parquet"])
            )
        if number:
            for name, value in {"detector": detector, "network": network, "whole": whole}.items():
                rounds[name].append(value)
            rounds["overhead"].append(whole / (detector + network) - 1)
    found = {
        "detector_ms_per_frame": [1000 * value / frames for value in rounds["detector"]],
        "network_ms_per_face": [1000 * value / len(arrays) for value in rounds["network"]],
        "whole_ms_per_frame": [1000 * value / frames for value in rounds["whole"]],
        "whole_ms_per_face": [1000 * value / len(arrays) for value in rounds["whole"]],
        "overhead": rounds["overhead"],
    }
    figures = [
        Figure(name.replace("_", " "), statistics.median(values), (min(values), max(values)))
        for name, values in found.items()
        if name != "overhead"
    ]
    overhead = found["overhead"]
    figures.append(Figure("time beyond both", statistics.median(overhead), (min(overhead), max(overhead)), below=0.25))
    stated = {
        "frame_stride": given.frame_stride,
        "batch": given.batch,
        "rounds": given.rounds,
        "shape": list(model.input_spec.shape),
    }
    results = {name: summary(values) for name, values in found.items()} | {"frames": frames, "faces": len(arrays)}
    data = f"{len(sources)} files, {frames} frames, {len(arrays)} faces, {cores()} cores"
    report(Result("predict", data, stated | {"model": model.name}, results, figures), given)


if __name__ == "__main__":
    main()
