"""Start-up time of ``evenface --help``, and of a Python process that does nothing.

Run ``python -m benchmarks.startup``. Both are started in turns; the medians of their wall times are reported.
"""

import subprocess
import sys
import time
from pathlib import Path

from benchmarks.common import Figure, Result, parser, report, summary

TARGET = 0.3
COMMANDS = {
    "help": [str(Path(sys.executable).with_name("evenface")), "--help"],
    "python": [sys.executable, "-c", "pass"],
}


def seconds(command: list[str]) -> float:
    """Return the wall time of a command."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def measure(rounds: int = 15) -> Result:
    for command in COMMANDS.values():
        seconds(command)  # warm-up: reads from the disk and may compile
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    results = {f"{name}_s": summary(values) for name, values in times.items()}
    figures = []
    for name, label, target in (("help", "evenface --help, s", TARGET), ("python", "python -c pass, s", None)):
        values = results[f"{name}_s"]
        figures.append(Figure(label, values["median"], (values["min"], values["max"]), below=target))
    return Result("startup", "no data", {"rounds": rounds}, results, figures)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=15)
    given = options.parse_args()
    report(measure(given.rounds), given)


if __name__ == "__main__":
    main()
