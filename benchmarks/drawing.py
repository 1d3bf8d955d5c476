"""Speed of rendering synthetic faces, beside another version of the code in the same run.

Run ``python -m benchmarks.drawing --before SRC``, where SRC is the ``src`` directory of the other version, for instance
of a ``git worktree``. Both are started in turns, one process each; a core is the processor time of that process.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.common import Figure, Result, parser, report, summary

SIZES = (48, 112)
PER_PERSON = 5
PROGRAM = """
import json, sys, time
from evenface.synthesis.actions import LABELS
from evenface.synthesis.head import load_head
from evenface.synthesis.images import FacePlan, compose_face
from evenface.synthesis.people import make_person
from evenface.synthesis.renderer import Renderer

began = time.perf_counter()
load_head()
result = {"load_s": time.perf_counter() - began}
per_person = int(sys.argv[1])
for size in map(int, sys.argv[3:]):
    renderer = Renderer(size)
    for first, count in ((-per_person, per_person), (0, int(sys.argv[2]))):
        began = time.process_time()
        for number in range(first, first + count):
            person = make_person(0, number // per_person % 1000)
            state, scene = compose_face(person, FacePlan(person.index, LABELS[number % 7], number % 1000))
            renderer.render(person, [state], scene)
        result[f"faces_{size}_per_s"] = count / (time.process_time() - began)
print(json.dumps(result))
"""


def draw(source: Path, faces: int) -> dict[str, float]:
    """Return the time to load the head and the faces per second of one process that imports from ``source``."""
    command = [sys.executable, "-c", PROGRAM, str(PER_PERSON), str(faces), *map(str, SIZES)]
    environment = os.environ | {"PYTHONPATH": f"{source}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    environment |= {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def measure(before: Path | None, rounds: int, faces: int) -> Result:
    sources = {"now": Path(__file__).parents[1] / "src"} | ({"before": before} if before else {})
    values: dict[str, dict[str, list[float]]] = {name: {} for name in sources}
    for _ in range(rounds):
        for name, source in sources.items():
            for key, value in draw(source, faces).items():
                values[name].setdefault(key, []).append(value)
    results: dict[str, Any] = {name: {key: summary(rows) for key, rows in own.items()} for name, own in values.items()}
    figures = [
        Figure(f"{key}, {name}", row["median"], (row["min"], row["max"]))
        for key in results["now"]
        for name, row in ((name, results[name][key]) for name in sources)
    ]
    settings = {"rounds": rounds, "faces": faces, "faces per person": PER_PERSON, "sizes": list(SIZES)}
    return Result("drawing", "synthetic people", settings, results, figures)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--before", type=Path, help="src directory of the version to compare with")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--faces", type=int, default=40, help="faces of each size in a round")
    given = options.parse_args()
    report(measure(given.before, given.rounds, given.faces), given)


if __name__ == "__main__":
    main()
