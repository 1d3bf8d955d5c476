"""Peak memory of preprocessing FER2013, training on it for an epoch, testing and reporting.

Run ``python -m benchmarks.memory --faces FOLDER`` with FOLDER in the layout of the source fer2013; without it, equally
many synthetic images of the same size are used. Further arguments are recipe settings (``training.batch_size=128``).

The resident sizes of the command and of all processes that it starts are summed many times a second. Shared pages
count more than once, and so do the pages of the memory-mapped store, so the sum is an upper bound.
The kernel's peak of the largest single process is reported beside it. Linux only.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common import FER2013, Figure, Result, make_fer2013, parser, report

TARGET_GB = 2.5
INTERVAL = 0.02
RECIPE = "fer2013-factor10"


def children() -> dict[int, list[int]]:
    """Return the child processes of each process."""
    results: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
            except OSError:  # it has ended in the meantime
                continue
            # The name, in brackets, may contain spaces and brackets.
            parent = int(stat.rpartition(")")[2].split()[1])
            results.setdefault(parent, []).append(int(folder.name))
    return results


def resident(process: int) -> int:
    """Resident size of a process, in bytes; zero if it has ended."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def tree(process: int) -> list[int]:
    """Return a process and all its descendants."""
    below, results, new = children(), [process], [process]
    while new:
        new = [child for parent in new for child in below.get(parent, [])]
        results += new
    return results


def peak(command: list[str], environment: dict[str, str], log: Path) -> tuple[int, int, int]:
    """Run a command.

    Returns
    -------
    tuple of int
        Peak memory of all its processes and of the largest one, in bytes, and how many processes it had at most.
    """
    largest, most = 0, 0
    with log.open("w") as output:
        running = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        while not (ended := os.wait4(running.pid, os.WNOHANG))[0]:
            processes = tree(running.pid)
            largest, most = max(largest, sum(map(resident, processes))), max(most, len(processes))
            time.sleep(INTERVAL)
    except BaseException:
        running.terminate()
        raise
    _, status, usage = ended
    running.returncode = os.waitstatus_to_exitcode(status)  # already waited for
    if running.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{log.read_text()}")
    return largest, usage.ru_maxrss * 1024, most


def measure(faces: Path | None = None, settings: tuple[str, ...] = ()) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        root = faces or Path(folder) / "faces"
        if faces is None:
            make_fer2013(root)
        command = [str(Path(sys.executable).with_name("evenface")), "train", RECIPE, f"data.root={root.resolve()}"]
        command += ["training.epochs=1", *settings, "--out", f"{folder}/run"]
        began = time.perf_counter()
        largest, single, most = peak(command, {**os.environ, "EVENFACE_CACHE": f"{folder}/cache"}, Path(folder) / "log")
        took = time.perf_counter() - began
    results = {
        "peak_all_processes_gb": round(largest / 1e9, 3),
        "peak_largest_process_gb": round(single / 1e9, 3),
        "processes": most,
        "wall_s": round(took, 1),
    }
    figures = [
        Figure("peak memory of training on FER2013, GB", results["peak_all_processes_gb"], below=TARGET_GB),
        Figure("largest process of it, GB", results["peak_largest_process_gb"]),
    ]
    data = faces.name if faces else f"{sum(sum(c.values()) for c in FER2013.values()):,} made-up PNG of 48 px"
    stated = {"recipe": RECIPE, "settings": ["training.epochs=1", *settings], "interval_s": INTERVAL}
    return Result("memory", data, stated, results, figures)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("settings", nargs="*", metavar="key=value", help="settings that override the recipe")
    options.add_argument("--faces", type=Path, help="folder of FER2013; synthetic images if not given")
    given = options.parse_args()
    report(measure(given.faces, tuple(given.settings)), given)


if __name__ == "__main__":
    main()
