"""Time to build a store, and time of Pillow alone to decode the same files.

Run ``python -m benchmarks.store --faces FOLDER`` with FOLDER containing ``split/class/file`` or ``class/file``;
without it the script generates images. Each round measures both, one after the other, so that other load
on the machine affects both; the medians are printed. Wall time depends on other load, CPU time hardly.
"""

import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.common import Figure, Result, cores, make_faces, parser, report
from evenface.data.manifest import Manifest, make_table
from evenface.preprocessing.prepare import prepare

Times = tuple[float, float]


def cpu_seconds() -> float:
    """Return the CPU time of this process and its ended children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in used)


def timed(task: Callable[[], Any]) -> Times:
    """Return wall and CPU seconds of a task."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    task()
    return time.perf_counter() - wall, cpu_seconds() - cpu


def manifest_of(folder: Path) -> Manifest:
    suffixes = {".png", ".jpg", ".jpeg"}
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes)
    names = sorted({path.parent.name for path in files})
    rows = [
        {
            "sample": str(path.relative_to(folder)),
            "path": str(path.relative_to(folder)),
            "label": names.index(path.parent.name),
        }
        for path in files
    ]
    return Manifest(make_table(rows), tuple(names), "benchmark", folder)


def decode_all(paths: list[Path]) -> None:
    """Open, read and decode each file: the lower bound of preprocessing."""
    for path in paths:
        with Image.open(path) as image:
            image.load()


def measure(manifest: Manifest, size: int, channels: int, rounds: int) -> dict[str, float]:
    paths = [manifest.root / path for path in manifest.table["path"]]
    decode_all(paths)  # the first pass fills the file system's cache
    built, again, decoded = [], [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:

            def build(folder: str = folder) -> None:
                prepare(manifest, folder, size=size, channels=channels)

            built.append(timed(build))
            again.append(timed(build))
        decoded.append(timed(lambda: decode_all(paths)))
    count = len(paths)

    def middle(times: list[Times], which: int) -> float:
        return statistics.median(pair[which] for pair in times)

    return {
        "images": count,
        "build_images_per_s": count / middle(built, 0),
        "build_images_per_cpu_s": count / middle(built, 1),
        "decode_one_core_images_per_s": count / middle(decoded, 0),
        "decode_images_per_cpu_s": count / middle(decoded, 1),
        "decode_all_cores_images_per_s": cores() * count / middle(decoded, 1),
        "build_over_decode_cpu": middle(decoded, 1) / middle(built, 1),
        "second_call_s": middle(again, 0),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def result(faces: Path | None, *, made: int, side: int, size: int, channels: int, rounds: int) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        if faces is None:
            counts = {f"class{i}": len(range(i, made, 7)) for i in range(7)}
            make_faces(Path(folder), counts, side, ".jpg", grey=False)
        results = measure(manifest_of(faces or Path(folder)), size, channels, rounds)
    data = faces.name if faces else f"{made:,} made-up JPEG of {side} px"
    shown = {
        "build_images_per_s": "store building, images/s",
        "decode_images_per_cpu_s": "Pillow's decoding alone, images per CPU s",
        "second_call_s": "finding the store again, s",
    }
    figures = [Figure(label, results[name]) for name, label in shown.items()]
    rounded = {name: round(value, 3) for name, value in results.items()}
    return Result("store", data, {"size": size, "channels": channels, "rounds": rounds}, rounded, figures)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--faces", type=Path, help="folder with images; generated if not given")
    options.add_argument("--made", type=int, default=2000, help="number of images to generate")
    options.add_argument("--side", type=int, default=400, help="their height and width in pixels")
    options.add_argument("--size", type=int, default=48)
    options.add_argument("--channels", type=int, default=1, choices=(1, 3))
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    settings = {name: getattr(given, name) for name in ("made", "side", "size", "channels", "rounds")}
    report(result(given.faces, **settings), given)


if __name__ == "__main__":
    main()
