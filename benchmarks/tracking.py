"""CPU time, recall and ids of prediction on video: faces tracked, detected in each frame, and by other packages.

Run ``python -m benchmarks.tracking --clips FOLDER --way NAME[=PYTHON[:PYTHONPATH]]...``: each way of
``benchmarks/track_worker.py`` runs in a process of its own on the same files, in turns. These are ``single_face.mp4``
of the folder resized to 640 x 480, drawn crowds of 1 to 8 tilted faces of 24 to 400 pixels that move, of which some
come later, and the videos of the folder, their first 110 frames. Only the first is run in every round. CPU seconds are
those of the whole way from the file, decoding, faces and expressions (FaceMesh: landmarks alone), and for the first
video also of the way without expressions.

In crowds, a face is found where a box has its centre within a third of the face and 0.6 to 1.7 times its size; an id
switches where a face gets another one than before. In the videos, whose faces are not known, the boxes are compared
with those of the first way: how many of them another way finds too, and the boxes beside them.

Expected before measuring, on a core with other load, in ms per frame: decoding 2, crop 0.7, the network's two views
5.3; faces 38 by MediaPipe's package before, 12 detected in each frame, 4 to 5 tracked (the mesh 2.2, its view 0.2, a
search of 6 each fifth frame, the ids). So tracking makes 3.6 times as many frames as before and 1.5 times as many as
detection, and 5 and 2 times without the network: less than 5 times with it, as the network alone takes half the time.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.common import Figure, Result, parser, report, summary
from benchmarks.video import SUFFIXES, make_long
from evenface.inference.registry import resolve_model
from evenface.preprocessing.video import open_film
from evenface.synthesis.actions import LABELS
from evenface.synthesis.clips import write_video
from evenface.synthesis.images import FacePlan, compose_face
from evenface.synthesis.people import make_person
from evenface.synthesis.renderer import Renderer

WIDTH, HEIGHT, RATE, FRAMES, SIDE, SEED = 640, 480, 25.0, 25, 128, 91
CROWDS = (1, 2, 3, 4, 5, 6, 7, 8)
LONGEST = 110
"""Number of frames to which the videos of the folder are shortened."""
SMALLEST, LARGEST = 24, 400
SHARE = 0.52
"""Share of the side of a drawn person that the box of the detector takes."""
WITHOUT_IDS = {"face_mesh"}
SPEED_ALONE = {"fer"}
"""Ways that are run on the first video only."""
Truth = list[list[tuple[int, float, float, float]]]
Boxes = list[list[list[float]]]


def draw_people(count: int) -> list[Image.Image]:
    """Draw one face per person, opaque inside a circle."""
    renderer, people = Renderer(SIDE), []
    circle = Image.new("L", (SIDE, SIDE), 0)
    ImageDraw.Draw(circle).ellipse((4, 3, SIDE - 4, SIDE - 3), fill=255)
    for index in range(count):
        person = make_person(SEED, index)
        state, scene = compose_face(person, FacePlan(index, LABELS[index % len(LABELS)], 0))
        picture = Image.fromarray(renderer.render(person, [state], scene)[0])
        picture.putalpha(circle)
        people.append(picture)
    return people


def place_faces(rng: np.random.Generator, count: int) -> list[dict[str, Any]]:
    """Choose size, place, tilt and motion of faces that do not cover each other; as many as there is room for."""
    placed: list[dict[str, Any]] = []
    for number in range(count):
        for _ in range(300):
            size = float(np.exp(rng.uniform(np.log(SMALLEST), np.log(LARGEST))))
            x, y = (rng.uniform(0.55 * size, length - 0.55 * size) for length in (WIDTH, HEIGHT))
            if all(math.dist((x, y), one["at"]) > 1.05 * (size + one["size"]) for one in placed):
                start = int(rng.integers(1, FRAMES // 2)) if number and rng.random() < 0.25 else 0
                speed = rng.uniform(-0.25, 0.25, 2) * size
                side = round(size / SHARE)
                placed.append(
                    {
                        "side": side,
                        "at": (x, y),
                        "size": size,
                        "tilt": rng.normal(0, 20),
                        "speed": speed,
                        "start": start,
                    }
                )
                break
    return placed


def draw_crowd(people: list[Image.Image], number: int, count: int, path: Path) -> Truth:
    """Write a video of a crowd; return number, centre and size of the faces of each frame."""
    rng = np.random.default_rng([SEED, number])
    placed, first = place_faces(rng, count), int(rng.integers(len(people)))
    for face_number, one in enumerate(placed):
        person = people[(first + face_number) % len(people)]
        one["person"] = person.resize((one["side"], one["side"]), Image.Resampling.LANCZOS)
    wall = np.kron(rng.uniform(70, 170, (12, 16, 3)), np.ones((40, 40, 1)))
    frames, truth = [], []
    for frame in range(FRAMES):
        picture = Image.fromarray((wall + rng.normal(0, 5, wall.shape)).clip(0, 255).astype(np.uint8))
        shown = []
        for face_number, one in enumerate(placed):
            if frame >= one["start"]:
                x, y = np.array(one["at"]) + one["speed"] * math.sin(frame / RATE * 3)
                side = one["side"]
                face = one["person"].rotate(one["tilt"] + 8 * math.sin(frame / 8), Image.Resampling.BICUBIC)
                picture.paste(face, (round(x - side / 2), round(y - side / 2)), face)
                shown.append((face_number, float(x), float(y), one["size"]))
        frames.append(np.asarray(picture))
        truth.append(shown)
    write_video(path, np.stack(frames), RATE)
    return truth


def shorten(path: Path, folder: Path) -> str:
    """Return a video, or if it is long the path of its beginning, written anew."""
    film = open_film(str(path))
    if len(film.times) <= LONGEST:
        return str(path)
    images = np.stack([np.asarray(image) for _, image in film.frames(range(LONGEST))])
    write_video(folder / f"{path.stem}.mp4", images, 1 / float(np.median(np.diff(film.times))))
    return str(folder / f"{path.stem}.mp4")


def judge(rows: Boxes, truth: Truth) -> np.ndarray:
    """Return faces found, faces shown, boxes of no face, and switches of ids."""
    found = shown = extra = switches = 0
    last: dict[int, float] = {}
    for boxes, faces in zip(rows, truth, strict=True):
        rest = list(boxes)
        for number, x, y, size in faces:
            shown += 1
            for box in rest:
                left, top, right, bottom, face_id = box
                near = math.dist(((left + right) / 2, (top + bottom) / 2), (x, y)) < size / 3
                if near and 0.6 < max(right - left, bottom - top) / size < 1.7:
                    found += 1
                    switches += last.get(number, face_id) != face_id
                    last[number] = face_id
                    rest.remove(box)
                    break
        extra += len(rest)
    return np.array([found, shown, extra, switches])


def overlap(box: list[float], other: list[float]) -> float:
    """Return the intersection over union."""
    sides = [min(box[i + 2], other[i + 2]) - max(box[i], other[i]) for i in (0, 1)]
    shared = max(sides[0], 0) * max(sides[1], 0)
    areas = [(one[2] - one[0]) * (one[3] - one[1]) for one in (box, other)]
    return shared / (sum(areas) - shared)


def beside(rows: Boxes, others: Boxes) -> dict[str, Any]:
    """Compare the boxes of a video with those of another way."""
    same = extra = 0
    for boxes, known in zip(rows, others, strict=True):
        same += sum(any(overlap(box, one) > 0.4 for box in boxes) for one in known)
        extra += sum(all(overlap(box, one) <= 0.4 for one in known) for box in boxes)
    total, ids = sum(map(len, others)), {box[4] for boxes in rows for box in boxes}
    return {"found": same, "of": total, "beside": extra, "ids": len(ids)}


def run_way(way: str, files: list[str]) -> dict[str, Any]:
    """Run one way in its own process."""
    name, _, rest = way.partition("=")
    python, _, path = rest.partition(":")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **({"PYTHONPATH": path} if python else {})}
    worker = str(Path(__file__).with_name("track_worker.py"))
    command = [python or sys.executable, worker, name, str(resolve_model()), *files]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def describe(name: str, found: dict[str, Any], first: dict[str, Any], crowds: dict[str, Truth]) -> dict[str, Any]:
    """Return recall and ids of one way on crowds and videos; ``first`` holds the boxes of the way to compare with."""
    sums = sum((judge(found[path]["faces"], truth) for path, truth in crowds.items()), np.zeros(4, int))
    entry: dict[str, Any] = dict(zip(("found", "shown", "extra", "switches"), map(int, sums), strict=True))
    frames = [found[path] for path in crowds]
    entry["recall"] = round(entry["found"] / entry["shown"], 4)
    entry["whole_ms"] = round(1000 * sum(one["whole_s"] for one in frames) / sum(one["frames"] for one in frames), 2)
    videos = {Path(path).name: beside(found[path]["faces"], first[path]["faces"]) for path in found.keys() - crowds}
    if name in WITHOUT_IDS:
        for item in (entry, *videos.values()):
            item.pop("ids", None)
            item.pop("switches", None)
    return {"crowds": entry, "videos": dict(sorted(videos.items()))}


def speeds(times: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Return the speed of the tracked way relative to each other one, round by round."""
    ratios = {}
    for name, kinds in times.items():
        for kind, values in kinds.items():
            pairs = zip(values, times["tracked"][kind], strict=True)
            ratios[f"tracked_by_{name}_{kind}"] = summary([other / own for other, own in pairs], 2)
    return ratios


def tabulate(results: dict[str, Any], times: dict[str, dict[str, list[float]]]) -> tuple[dict[str, Any], list[Figure]]:
    """Return all results, and the lines that are printed."""
    figures = []
    found = {name: {**entry} for name, entry in results.items()}
    for name, kinds in times.items():
        for kind, values in kinds.items():
            figures.append(Figure(f"{name}: {kind} per frame", float(np.median(values)), (min(values), max(values))))
            found[name][kind] = summary(values, 2)
        if "crowds" in found[name]:
            figures.append(Figure(f"{name}: recall on crowds", found[name]["crowds"]["recall"]))
    ratios = speeds(times)
    target = {"tracked_by_before_faces_ms": 5, "tracked_by_before_whole_ms": 5}
    for name, ratio in ratios.items():
        spread = (ratio["min"], ratio["max"])
        figures.append(Figure(name.replace("_", " "), ratio["median"], spread, target.get(name)))
    return found | ratios, figures


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--clips", type=Path, required=True, help="folder with videos, among them single_face.mp4")
    options.add_argument("--way", action="append", required=True, help="NAME, NAME=PYTHON or NAME=PYTHON:PYTHONPATH")
    options.add_argument("--seconds", type=float, default=1.6, help="length of the video with one face")
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    names = [way.partition("=")[0] for way in given.way]
    results: dict[str, Any] = {name: {} for name in names}
    times: dict[str, dict[str, list[float]]] = {name: {"faces_ms": [], "whole_ms": []} for name in names}
    paths = [path for path in sorted(given.clips.absolute().iterdir()) if path.suffix.lower() in SUFFIXES]
    with tempfile.TemporaryDirectory() as folder:
        one = str(Path(folder) / "one.mp4")
        make_long(given.clips / "single_face.mp4", Path(one), given.seconds / 60)
        people, crowds = draw_people(max(CROWDS)), {}
        for number, count in enumerate(CROWDS):
            path = Path(folder) / f"crowd-{number}.mp4"
            crowds[str(path)] = draw_crowd(people, number, count, path)
        videos = [shorten(path, Path(folder)) for path in paths]
        first: dict[str, Any] = {}
        for number in range(given.rounds):
            for name, way in zip(names, given.way, strict=True):
                found = run_way(way, [one, *([] if number or name in SPEED_ALONE else [*crowds, *videos])])
                for kind in ("faces", "whole"):
                    times[name][f"{kind}_ms"].append(1000 * found[one][f"{kind}_s"] / found[one]["frames"])
                first = first or found
                if len(found) > 1:
                    results[name] = describe(name, found, first, crowds)
                print(number, name, {kind: round(values[-1], 1) for kind, values in times[name].items()}, flush=True)
            settings = {
                "ways": names,
                "seconds": given.seconds,
                "rounds": number + 1,
                "crowds": CROWDS,
                "frames": FRAMES,
            }
            data = "one real face at 640 x 480, drawn crowds of 1 to 8 faces of 24 to 400 pixels, real videos"
            # after each round, so that a long measurement can be stopped
            report(Result("tracking", data, settings, *tabulate(results, times)), given)


if __name__ == "__main__":
    main()
