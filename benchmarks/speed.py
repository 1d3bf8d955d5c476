"""Run every benchmark of speed, write each to ``benchmarks/results/``, and print one table.

Run ``python -m benchmarks.speed --faces FOLDER`` with FOLDER containing FER2013 (``train/<class>/*.png`` and
``validation/<class>/*.png``); without it, synthetic faces of the same sizes are used, which is stated in the results.
Takes about half an hour, during which the machine should be idle otherwise.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import memory, startup, store, throughput
from benchmarks.common import RESULTS, Figure, Result, make_fer2013, parser, print_figures

SIZES = (48, 112)


def tasks(faces: Path, precision: str) -> dict[str, Callable[[], Result]]:
    """Return the benchmarks by name of their file."""
    results: dict[str, Callable[[], Result]] = {
        "startup": startup.measure,
        "store": lambda: store.result(faces, made=0, side=0, size=48, channels=1, rounds=5),
        "memory": lambda: memory.measure(faces),
    }
    for size in SIZES:
        settings = throughput.Settings(size, precision=precision)
        results[f"throughput-{size}"] = lambda settings=settings: throughput.measure(settings, faces)  # type: ignore[misc]
    return results


def main() -> None:
    options = parser(__doc__)
    options.set_defaults(out=RESULTS)
    options.add_argument("--faces", type=Path, help="folder of FER2013; synthetic faces if not given")
    options.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="32-true")
    given = options.parse_args()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        faces = given.faces or Path(folder) / "made-up faces"
        if given.faces is None:
            print("No --faces given: measured on synthetic faces with the number and size of those of FER2013.")
            make_fer2013(faces)
        ending = f"-{given.faces.name}" if given.faces else "-made"
        for name, task in tasks(faces, given.precision).items():
            print(f"measuring {name} ...", flush=True)
            results = task()
            results.save(given.out / f"{name}{'' if name == 'startup' else ending}.json", given.date)
            figures += results.figures
    print()
    print_figures(figures)
    print(f"results  {given.out}")


if __name__ == "__main__":
    main()
