"""CPU time of the face detectors and the face mesh, beside MediaPipe itself, and of the way from photo to label.

Run ``python -m benchmarks.face_detection --picture FILE --reference PYTHON --before FOLDER --previous FOLDER``. PYTHON
is one with ``tools/mediapipe-reference.txt``. The folders are the ``src`` of earlier versions: ``--before`` of one that
ran MediaPipe (commit 30346fe9 was the last), with MediaPipe and its requirements in the environment of
``--before-python``, and ``--before-model`` a bundled model that it can read (that of commit 3732e13: the same layers);
``--previous`` of the one that a change is compared with, with its own bundled model. Each round runs every program
once, in turns, in processes of their own; figures are CPU times of the process, all its threads together. The crowd is
ten times the picture, in one of 12 megapixels that is decoded beforehand. Where the bundled model takes mesh points,
they are found within the times of ``network`` and ``sessions``.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.common import Figure, Result, parser, report, summary
from evenface.inference.registry import resolve_model

REPEATS = """
import functools, json, statistics, sys, time
import numpy as np
from PIL import Image

picture = Image.open(sys.argv[1]).convert("RGB")

@functools.cache
def crowd():
    tiles = np.concatenate([np.concatenate([np.asarray(picture.resize((572, 572)))] * 5, 1)] * 2)
    return Image.fromarray(tiles).resize((4900, 2450))

def cpu(task):
    task(), task()
    spent = []
    for _ in range(15):
        start = time.process_time()
        task()
        spent.append(1000 * (time.process_time() - start))
    return statistics.median(spent)
"""
MEDIAPIPE = """
from mediapipe.python.solutions.face_detection import FaceDetection
from mediapipe.python.solutions.face_mesh import FaceMesh

pixels = np.asarray(picture)
near, far = (FaceDetection(model_selection=number) for number in (0, 1))
mesh = FaceMesh(static_image_mode=True)
models = {"short_range": near, "full_range": far, "detection_and_mesh": mesh}
tasks = {name: functools.partial(model.process, pixels) for name, model in models.items()}
"""
OWN = """
from evenface.preprocessing.blazeface import FULL_RANGE, SHORT_RANGE
from evenface.preprocessing.detect_align import cut, find_faces, square_of
from evenface.preprocessing.face_mesh import find_points

(face, *_) = find_faces(picture, "mediapipe")
square = square_of(face, 0.5)
tasks = {
    "short_range": lambda: SHORT_RANGE(picture),
    "full_range": lambda: FULL_RANGE(picture),
    "detection_and_mesh": lambda: find_points(picture, square),
}
"""
WHOLE = """
from evenface.config.predict import PredictSettings
from evenface.inference.onnx_model import OnnxModel
from evenface.inference.pipeline import predict_sources
from evenface.inference.sources import find_sources
from evenface.preprocessing.detect_align import cut, find_faces, square_of

(face, *_) = find_faces(picture, "mediapipe")
model = OnnxModel(sys.argv[2], threads=1)
sources, _ = find_sources([sys.argv[1]])
batch = np.zeros((1, *model.input_spec.shape), np.uint8)
tasks = {
    "find_faces": lambda: find_faces(picture, "mediapipe"),
    "find_faces_crowd": lambda: find_faces(crowd(), "mediapipe"),
    "crop_112": lambda: cut(picture, square_of(face, 0.25), 112),
    "decode": lambda: Image.open(sys.argv[1]).convert("RGB"),
    "network": lambda: model.scores(batch),
    "photo_to_label": lambda: list(predict_sources(model, sources, PredictSettings())),
}
"""
PRINT = "print(json.dumps({name: cpu(task) for name, task in tasks.items()}))"
BY_CALL = """
import evenface as ef
from evenface.preprocessing.blazeface import session

loaded = ef.load(sys.argv[2])
detectors = [(session(f"{name}_range_detector"), np.zeros((1, size, size, 3), np.uint8))
             for name, size in (("full", 192), ("short", 128))]
tasks |= {
    "sessions": lambda: [one.run(None, {"image": view}) for one, view in detectors] + [model.scores(batch)],
    "loaded_photo_to_label": lambda: loaded(sys.argv[1]),
    "crowd_to_labels": lambda: loaded(crowd()),
}
"""


TARGETS = {"now_by_before_photo_to_label": 0.25, "now_beyond_parts": 0.15, "now_crowd_to_labels_ms": 60}


def measure(python: str, program: str, picture: Path, source: Path | None, model: Path) -> dict[str, float]:
    """Return milliseconds of CPU time of each task of a program."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | ({"PYTHONPATH": str(source)} if source else {})
    command = [python, "-W", "ignore", "-c", REPEATS + program + PRINT, str(picture), str(model)]
    answer = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return found


def ratios(rounds: dict[str, list[float]], one: str, other: str) -> list[float]:
    """Return one figure divided by another, round by round."""
    return [value / base for value, base in zip(rounds[one], rounds[other], strict=True)]


def flags() -> list[str]:
    """Return the vector units of the processor."""
    words = set(Path("/proc/cpuinfo").read_text("utf-8").split()) if Path("/proc/cpuinfo").exists() else set()
    return sorted(words & {"avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16"})


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--picture", type=Path, required=True, help="image with a face")
    options.add_argument("--reference", required=True, help="Python with MediaPipe")
    options.add_argument("--before", type=Path, required=True, help="src of an earlier evenface")
    options.add_argument("--before-python", default=sys.executable, help="Python for it")
    options.add_argument("--before-model", type=Path, default=resolve_model(), help="model for it")
    options.add_argument("--previous", type=Path, help="src of the version that a change is compared with")
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    own = Path(__file__).parents[1] / "src"
    programs = {
        "mediapipe": (given.reference, MEDIAPIPE, None),
        "onnx": (sys.executable, OWN, own),
        "before": (given.before_python, WHOLE, given.before),
        "now": (sys.executable, WHOLE + BY_CALL, own),
    }
    if given.previous:
        programs["previous"] = (sys.executable, WHOLE + BY_CALL, given.previous)
    models = {"before": given.before_model}
    if given.previous:
        models["previous"] = given.previous / resolve_model().relative_to(own)
    rounds: dict[str, list[float]] = {}
    for _ in range(given.rounds):
        for name, (python, program, source) in programs.items():
            model = models.get(name, resolve_model())
            for task, value in measure(python, program, given.picture, source, model).items():
                rounds.setdefault(f"{name}_{task}_ms", []).append(value)
    for task in ("find_faces", "photo_to_label"):
        rounds[f"now_by_before_{task}"] = ratios(rounds, f"now_{task}_ms", f"before_{task}_ms")
    parts = zip(*(rounds[f"now_{task}_ms"] for task in ("find_faces", "decode", "network")), strict=True)
    whole = rounds["now_photo_to_label_ms"]
    rounds["now_beyond_parts"] = [number / sum(part) - 1 for number, part in zip(whole, parts, strict=True)]
    rounds["now_beyond_sessions"] = [value - 1 for value in ratios(rounds, "now_photo_to_label_ms", "now_sessions_ms")]
    figures = [
        Figure(name.replace("_", " "), statistics.median(values), (min(values), max(values)), below=TARGETS.get(name))
        for name, values in rounds.items()
    ]
    stated = {"rounds": given.rounds, "repeats": 15, "threads": 1, "vector_units": flags()}
    results = {name: summary(values) for name, values in rounds.items()}
    report(Result("face_detection", "one image with one face", stated, results, figures), given)


if __name__ == "__main__":
    main()
