"""How fast a store is built, beside the time that Pillow alone takes to decode the same files.

Run ``python benchmarks/store.py --faces FOLDER`` with FOLDER holding ``split/class/file`` or ``class/file``;
without it the script makes pictures of its own. Each round measures both, one after the other, so that other work
on the machine touches both; the medians are printed. Wall time depends on who else is at work, CPU time hardly.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image

from evenface.data.manifest import Manifest, make_table
from evenface.faces.prepare import prepare
from evenface.files import write_json

Times = tuple[float, float]


def cpu_seconds() -> float:
    """CPU time of this process and of the children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in used)


def timed(task: Callable[[], Any]) -> Times:
    """Wall and CPU seconds of a task."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    task()
    return time.perf_counter() - wall, cpu_seconds() - cpu


def make_faces(folder: Path, count: int, side: int) -> None:
    """Write smooth pictures as JPEG, about as large on disk as photographs of faces are."""
    rng = np.random.default_rng(0)
    for i in range(count):
        small = Image.fromarray(rng.integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8))
        path = folder / f"class{i % 7}" / f"{i:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        small.resize((side, side), Image.Resampling.BICUBIC).save(path, quality=92)


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
    """Open, read and decode each file, and nothing else: what no preparation can save."""
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
    cores = len(os.sched_getaffinity(0))

    def middle(times: list[Times], which: int) -> float:
        return statistics.median(pair[which] for pair in times)

    return {
        "images": count,
        "build_images_per_s": count / middle(built, 0),
        "build_images_per_cpu_s": count / middle(built, 1),
        "decode_one_core_images_per_s": count / middle(decoded, 0),
        "decode_images_per_cpu_s": count / middle(decoded, 1),
        "decode_all_cores_images_per_s": cores * count / middle(decoded, 1),
        "build_over_decode_cpu": middle(decoded, 1) / middle(built, 1),
        "second_call_s": middle(again, 0),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def hardware() -> dict[str, Any]:
    model = ""
    cpu = Path("/proc/cpuinfo")
    if cpu.exists():
        lines = [line for line in cpu.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].split(":", 1)[1].strip() if lines else ""
    return {"cpu": model or platform.processor(), "cores": len(os.sched_getaffinity(0)), "system": platform.system()}


def commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, help="folder with pictures; made here if not given")
    parser.add_argument("--made", type=int, default=2000, help="how many pictures to make")
    parser.add_argument("--side", type=int, default=400, help="their side in pixels")
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--channels", type=int, default=1, choices=(1, 3))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--date", default="", help="date to note in the results")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.faces is None:
            make_faces(Path(folder), options.made, options.side)
        manifest = manifest_of(options.faces or Path(folder))
        found = measure(manifest, options.size, options.channels, options.rounds)
    for name, value in found.items():
        print(f"{name:32s} {value:12,.2f}")
    if options.out is not None:
        data = options.faces.name if options.faces else f"{options.made} made JPEG of {options.side} px"
        facts = {
            "benchmark": "store",
            "data": data,
            "size": options.size,
            "channels": options.channels,
            "rounds": options.rounds,
            "commit": commit(),
            "date": options.date,
            "pillow": PIL.__version__,
            **hardware(),
        }
        write_json(options.out, {**facts, "results": {name: round(value, 3) for name, value in found.items()}})
        print(json.dumps(facts))


if __name__ == "__main__":
    main()
