"""Start-up time of ``evenface --help``, of a first prediction in Python and of a bare Python; memory of the service.

Run ``python -m benchmarks.startup --python PYTHON``, PYTHON being that of an environment with evenface and nothing else
(``pip install .``); by default this one. The commands are started in turns; medians of wall time, CPU time
and peak memory are reported. The service is ``evenface app``, asked for predictions on one image after another; its
memory is the sum of the resident sizes of its processes, in which shared pages count more than once. Linux only.
"""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from benchmarks.common import Figure, Result, parser, report, summary
from benchmarks.memory import resident, tree

HELP_SECONDS, ANSWER_SECONDS, SERVICE_MB = 0.3, 1.5, 300
PREDICTIONS = 50
ANSWER = "import sys, evenface as ef; print([face.label for face in ef.load()(sys.argv[1])])"
VERSIONS = (
    "import json, sys; from importlib.metadata import version; print(json.dumps(list(map(version, sys.argv[1:]))))"
)
LEAN = ("evenface", "numpy", "onnxruntime", "pillow", "av")
PICTURE = str(resources.files("evenface") / "synthesis/pictures/happy.jpg")


def usage(command: list[str]) -> tuple[float, float, float]:
    """Return wall seconds, CPU seconds and peak memory in MB of a command."""
    began = time.perf_counter()
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(running.pid, 0)
    seconds = time.perf_counter() - began
    running.returncode = os.waitstatus_to_exitcode(status)  # already waited for
    if running.returncode:
        raise subprocess.CalledProcessError(running.returncode, command)
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6


@contextmanager
def service(python: str) -> Iterator[tuple[int, str]]:
    """Run the service; yield its process and its address."""
    command = [python, "-m", "evenface", "app", "--no-open", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            found = re.search(r"http://\S+(?=/)", running.stdout.readline())
            if found is None:
                raise RuntimeError("the service did not start")
            yield running.pid, found[0]
        finally:
            running.terminate()


def ask(address: str, data: bytes | None = None, boundary: str = "") -> Any:
    """Send a request, and return its answer."""
    headers = {"content-type": f"multipart/form-data; boundary={boundary}"} if data else {}
    with urllib.request.urlopen(urllib.request.Request(address, data, headers), timeout=60) as answer:
        return json.load(answer)


def predict(address: str, model: str, picture: bytes) -> str:
    """Return the label of the first face in a picture, from the service."""
    field = "--part\r\ncontent-disposition: form-data; name="
    head = f'{field}"model"\r\n\r\n{model}\r\n{field}"file"; filename="a.jpg"\r\n\r\n'
    data = head.encode() + picture + b"\r\n--part--\r\n"
    job = ask(f"{address}/api/v1/predictions?wait=20", data, "part")
    while job["state"] in ("waiting", "running"):
        job = ask(f"{address}/api/v1/jobs/{job['id']}?wait=20")
    return str(job["prediction"]["rows"][0]["label"])


def measure_service(python: str, count: int) -> dict[str, float]:
    """Return the memory of the service when it starts and after predictions, in MB, and seconds per prediction."""
    picture = Path(PICTURE).read_bytes()
    with service(python) as (process, address):
        model = next(one["id"] for one in ask(f"{address}/api/v1/models")["models"] if one["kind"] == "file")
        memory, seconds = [_megabytes(process)], []
        for _ in range(count):
            began = time.perf_counter()
            predict(address, model, picture)
            seconds.append(time.perf_counter() - began)
        memory.append(_megabytes(process))
    rounded = {"ready_mb": memory[0], "after_mb": memory[1], "first_s": seconds[0]}
    return {name: round(value, 3) for name, value in rounded.items()} | {
        f"prediction_s_{name}": value for name, value in summary(seconds).items()
    }


def _megabytes(process: int) -> float:
    return sum(map(resident, tree(process))) / 1e6


def measure(python: str = sys.executable, rounds: int = 15, predictions: int = PREDICTIONS) -> Result:
    commands = {
        "help": [python, "-m", "evenface", "--help"],
        "answer": [python, "-c", ANSWER, PICTURE],
        "python": [python, "-c", "pass"],
    }
    for command in commands.values():
        usage(command)  # warm-up: reads from the disk and may compile
    rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            rows[name].append(usage(command))
    results: dict[str, Any] = {
        f"{name}_{unit}": summary(values)
        for name, found in rows.items()
        for unit, values in zip(("s", "cpu_s", "mb"), zip(*found, strict=True), strict=True)
    }
    results["service"] = measure_service(python, predictions)
    versions = json.loads(subprocess.check_output([python, "-c", VERSIONS, *LEAN]))
    settings = {"rounds": rounds, "predictions": predictions, "environment": dict(zip(LEAN, versions, strict=True))}
    return Result("startup", "the bundled picture happy.jpg, 1 face", settings, results, _figures(results))


def _figures(results: dict[str, Any]) -> list[Figure]:
    rows = (
        ("help_s", "evenface --help, s", HELP_SECONDS),
        ("answer_s", "import, load and predict in a new process, s", ANSWER_SECONDS),
        ("answer_cpu_s", "its CPU time, s", None),
        ("answer_mb", "its peak memory, MB", None),
        ("python_s", "python -c pass, s", None),
    )
    found = [
        Figure(label, results[key]["median"], (results[key]["min"], results[key]["max"]), below=target)
        for key, label, target in rows
    ]
    served = results["service"]
    return [
        *found,
        Figure("service when it starts, MB", served["ready_mb"]),
        Figure("service after the predictions, MB", served["after_mb"], below=SERVICE_MB),
        Figure("its seconds per prediction", served["prediction_s_median"]),
    ]


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--python", default=sys.executable, help="interpreter of the environment to measure")
    options.add_argument("--rounds", type=int, default=15)
    given = options.parse_args()
    report(measure(given.python, given.rounds), given)


if __name__ == "__main__":
    main()
