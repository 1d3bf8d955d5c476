"""Cost of a training step for each method and loss, and for Muon, relative to plain cross-entropy with AdamW.

All train the same network on the same faces through the whole training loop (reading, augmentation, optimiser), in one
process, in turns of a few steps each. Directly before or after each turn cross-entropy has one, so that other load on
the machine affects both; the median of their ratio over rounds is reported.
Methods with stages are measured in their first. ``python -m benchmarks.methods --out FILE``, ``--only`` some of them.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.common import Figure, Result, make_faces, parser, report, summary
from benchmarks.throughput import MADE, Settings, pipeline_steps, recipe_of

BASE, SIZE = "cross-entropy", 48
COSINE = ("ldam", "cosface", "gaussian-clouded")
"""Losses whose sources use a cosine classifier."""
LOSSES = (
    BASE,
    "class-balanced",
    "focal",
    "cefl",
    "balanced-softmax",
    "logit-adjustment",
    "vector-scaling",
    "label-smoothing",
    "label-aware-smoothing",
    *COSINE,
)
TARGETS = {"dicc": 1.10} | dict.fromkeys(LOSSES, 1.05) | dict.fromkeys(("eac", "mek", "rebalanced-attention"), 2.1)


def variants(network: str) -> dict[str, dict[str, Any]]:
    """Return the measured settings: every loss with plain training, Muon and every method with cross-entropy."""
    from evenface.methods import METHODS

    results: dict[str, dict[str, Any]] = {"muon": {"optimizer": {"name": "muon"}}}
    for name in LOSSES:
        head = "cosine" if name in COSINE else "linear"
        results[name] = {"loss": {"name": name}, "network": {"name": network, "head": head}}
    measured = (
        name
        for name, method in METHODS.items()
        if "classification" in method.tasks
        and not (name == "erm" or method.needs_votes or method.needs_ordered_classes)
    )
    return results | {name: {"method": {"name": name}} for name in measured}


def steps_of(made: Path, folder: Path, settings: Settings, only: Sequence[str]) -> dict[str, Iterator[None]]:
    """Set up one training loop for each variant."""
    from evenface.config import Recipe
    from evenface.preprocessing.prepare import prepare
    from evenface.training.data import read_manifest

    base = recipe_of(made, settings)
    store = prepare(read_manifest(base), folder / "stores", size=settings.size, channels=1)
    loops = {}
    for name, change in variants(settings.network).items():
        if only and name not in (BASE, *only):
            continue
        recipe = Recipe.model_validate({**base.model_dump(), **change})
        loops[name] = pipeline_steps(recipe, store, folder)
    return loops


def turn(loop: Iterator[None], steps: int) -> float:
    """Return the seconds per step over some steps, after a warm-up step."""
    next(loop)
    began = time.perf_counter()
    for _ in range(steps):
        next(loop)
    return (time.perf_counter() - began) / steps


def measure(settings: Settings, faces: Path | None, only: Sequence[str] = ()) -> Result:
    """Time the variants in turns."""
    from evenface.training.trainer import keep_freed_memory

    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "faces"
        if faces is None:
            make_faces(made, MADE, settings.size)
        loops = steps_of(faces or made, Path(folder), settings, only)
        base = loops.pop(BASE)
        seconds: dict[str, list[float]] = {name: [] for name in loops}
        by_round: dict[str, list[float]] = {name: [] for name in loops}
        for number in range(settings.rounds + 1):
            for name, loop in loops.items():
                first, second = (base, loop) if number % 2 else (loop, base)
                pair = {id(one): turn(one, settings.steps) for one in (first, second)}
                if number:  # the first round is a warm-up
                    seconds[name].append(pair[id(loop)])
                    by_round[name].append(pair[id(loop)] / pair[id(base)])
    ratios = {name: summary(values) for name, values in by_round.items()}
    figures = [
        Figure(
            f"{name} / {BASE}",
            ratio["median"],
            (ratio["min"], ratio["max"]),
            below=TARGETS.get(name),
        )
        for name, ratio in ratios.items()
    ]
    data = faces.name if faces else f"{sum(MADE.values()):,} made-up PNG of {settings.size} px"
    results = {
        "step_over_cross_entropy": ratios,
        "milliseconds": {name: summary([1000 * value for value in values], 2) for name, values in seconds.items()},
    }
    return Result("cost of a training step", data, asdict(settings), results, figures)


def main() -> None:
    """Measure and report."""
    made = parser(__doc__)
    made.add_argument("--faces", type=Path, help="folder of class folders; synthetic images if not given")
    made.add_argument("--network", default="resnet18")
    made.add_argument("--only", nargs="+", default=(), help="losses and methods; all if not given")
    made.add_argument("--rounds", type=int, default=11)
    made.add_argument("--steps", type=int, default=4)
    options: argparse.Namespace = made.parse_args()
    settings = Settings(network=options.network, size=SIZE, rounds=options.rounds, steps=options.steps)
    report(measure(settings, options.faces, options.only), options)


if __name__ == "__main__":
    main()
