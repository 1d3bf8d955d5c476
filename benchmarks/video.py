"""Frames per second of preprocessing clips and of decoding alone, and peak memory for a video of ten minutes.

Run ``python -m benchmarks.video --clips FOLDER`` with FOLDER containing videos that show faces. Each clip is in the
manifest several times, so that starting the detector has as little weight as for a dataset. One process reads;
seconds are CPU time of all processes together, since wall time depends on other load. Decoding alone is
PyAV's with one thread, every frame once, without conversion. Rounds measure both in turns.

The long video is the first clip resized to 640 x 480, encoded as H.264 and repeated for ten minutes (``--minutes``) of
25 frames a second. Peak memory is that of the largest process.
"""

import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from benchmarks.common import Figure, Result, parser, report, summary
from benchmarks.store import cpu_seconds
from evenface.config.recipe import FaceCrop, FrameSampler
from evenface.data.manifest import Manifest, make_table
from evenface.preprocessing.prepare import prepare
from evenface.preprocessing.video import open_film

SUFFIXES = {".mp4", ".mov", ".avi", ".mkv", ".webm"}
RATE, SIDES = 25, (640, 480)
SAMPLERS = {name: FrameSampler(frames=16, sampling=name) for name in ("uniform", "windows")}


def used(task: Callable[[], object]) -> float:
    """Return CPU seconds of a task and of the processes that it started and ended."""
    before = cpu_seconds()
    task()
    return cpu_seconds() - before


def manifest_of(paths: list[Path], repeats: int) -> Manifest:
    rows = [{"sample": f"{i}-{path.name}", "path": str(path), "label": 0} for i in range(repeats) for path in paths]
    return Manifest(make_table(rows), ("any",), "benchmark", Path("/"), content="clips")


def decode(paths: list[Path], repeats: int) -> None:
    for path in paths * repeats:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            for _ in container.decode(stream):
                pass


def speed(paths: list[Path], repeats: int, rounds: int, size: int) -> dict[str, Any]:
    """Return frames per CPU second of each kind of preprocessing, and of decoding."""
    manifest = manifest_of(paths, repeats)
    frames = repeats * sum(len(open_film(str(path)).times) for path in paths)
    ways: dict[str, dict[str, Any]] = {
        f"face_{name}": {"faces": FaceCrop(crop="face"), "clips": how} for name, how in SAMPLERS.items()
    }
    ways["middle_uniform"] = {"clips": SAMPLERS["uniform"]}
    seconds: dict[str, list[float]] = {name: [] for name in (*ways, "decoding")}
    for _ in range(rounds):
        for name, options in ways.items():
            with tempfile.TemporaryDirectory() as folder:

                def build(folder: str = folder, options: dict[str, Any] = options) -> None:
                    prepare(manifest, folder, size=size, channels=3, workers=1, **options)

                seconds[name].append(used(build))
        seconds["decoding"].append(used(lambda: decode(paths, repeats)))
    results: dict[str, Any] = {"frames": frames}
    for name, times in seconds.items():
        results[f"{name}_frames_per_cpu_s"] = summary([frames / value for value in times], 1)
    for name in ways:
        ratios = [alone / both for alone, both in zip(seconds["decoding"], seconds[name], strict=True)]
        results[f"{name}_over_decoding"] = summary(ratios)
    return results


def make_long(source: Path, path: Path, minutes: float) -> int:
    """Write the long video: encode the clip once, and repeat its packets. Return its number of frames."""
    once = path.with_name("once.mp4")
    images = [image.resize(SIDES) for _, image in open_film(str(source)).frames(range(72))]
    with av.open(str(once), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"bf": "0", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = *SIDES, "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")))
        container.mux(stream.encode())
    count, written = round(RATE * 60 * minutes), 0
    with av.open(str(path), "w") as target:
        while written < count:
            with av.open(str(once)) as container:
                video = container.streams.video[0]
                base: Any = video.time_base
                if not written:
                    copy = target.add_stream_from_template(video)
                for packet in container.demux(video):
                    if packet.size and written < count:
                        packet.pts = packet.dts = int(Fraction(written, RATE) / base)
                        packet.stream = copy
                        target.mux(packet)
                        written += 1
    return written


def long(source: Path, size: int, minutes: float) -> dict[str, Any]:
    """Return wall seconds and peak memory of the long video, with frames sampled uniformly and with every frame."""
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.mp4"
        results["long_frames"] = make_long(source, path, minutes)
        for name, how in SAMPLERS.items():
            start = time.perf_counter()
            prepare(
                manifest_of([path], 1), folder, size=size, channels=3, faces=FaceCrop(crop="face"), clips=how, workers=1
            )
            results[f"long_{name}_s"] = round(time.perf_counter() - start, 1)
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {**results, "long_peak_mb": round(max(peaks) / 1024, 1)}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--clips", type=Path, required=True, help="folder with videos")
    options.add_argument("--size", type=int, default=112)
    options.add_argument("--repeats", type=int, default=5, help="number of times each clip is read per round")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--minutes", type=float, default=10, help="length of the long video")
    given = options.parse_args()
    paths = sorted(path for path in given.clips.absolute().iterdir() if path.suffix.lower() in SUFFIXES)
    results = {**long(paths[-1], given.size, given.minutes), **speed(paths, given.repeats, given.rounds, given.size)}
    settings = {name: getattr(given, name) for name in ("size", "repeats", "rounds", "minutes")}
    figures = [
        Figure(name.replace("_", " "), value["median"], (value["min"], value["max"]))
        for name, value in results.items()
        if isinstance(value, dict)
    ]
    figures += [
        Figure("long video, 16 frames taken, s", results["long_uniform_s"]),
        Figure("long video, every frame taken, s", results["long_windows_s"]),
        Figure("long video, peak memory, MB", results["long_peak_mb"], below=1000),
    ]
    seen = statistics.fmean(len(open_film(str(path)).times) for path in paths)
    report(Result("video", f"{len(paths)} clips of {seen:.0f} frames on average", settings, results, figures), given)


if __name__ == "__main__":
    main()
