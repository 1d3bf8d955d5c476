"""Training throughput: of evenface, of the same computation without data loading, and of a plain script.

Run ``python -m benchmarks.throughput --size 48``. Three configurations train the same network in turns, round by round:

- *pipeline*: evenface's own training, from a memory-mapped store through batches and augmentation to the step;
- *ceiling*: the same network, optimiser, precision and memory format on the same batch again and again;
- *plain*: ``benchmarks/plain.py``, PyTorch as practitioners write it, with two loader workers.

Pipeline and ceiling share a process and its allocator settings; the plain script has a separate process with
PyTorch's defaults. Each turn starts with uncounted steps, which also consume the batches prefetched by the plain
script's loader. Only steps count: no validation, no checkpoint, no start of an epoch's workers. All use the CPU.
"""

import multiprocessing
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common import Figure, Result, make_faces, parser, report, summary

if TYPE_CHECKING:
    from evenface.config import Recipe
    from evenface.preprocessing.store import Store

TO_CEILING, TO_PLAIN = 0.93, 1.25
PLAIN_TARGET_SIZE = 48
UNTIMED = 4
MADE = {f"class{i}": 1200 for i in range(7)}
USUAL = {"flip": 0.5, "rotate": 10, "shift": 0.08, "zoom": 0.1, "brightness": 0.2, "contrast": 0.2, "erase": 0.25}


@dataclass(frozen=True)
class Settings:
    """Settings that are the same for all configurations."""

    size: int = 48
    network: str = "resnet18"
    batch_size: int = 64
    precision: str = "32-true"
    rounds: int = 7
    steps: int = 12


def recipe_of(faces: Path, settings: Settings) -> "Recipe":
    """Return the recipe of the pipeline."""
    from evenface.config import load_recipe

    return load_recipe(
        {
            "name": "throughput",
            "data": {"source": "folder", "root": str(faces), "size": settings.size, "channels": 1},
            "network": {"name": settings.network},
            "optimizer": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.05},
            "training": {
                "epochs": 1000,
                "batch_size": settings.batch_size,
                "precision": settings.precision,
                "accelerator": "cpu",
            },
            "augment": USUAL,
        }
    )


def pipeline_steps(recipe: "Recipe", store: "Store", folder: Path) -> Iterator[None]:
    """Train endlessly like :func:`evenface.train`, one step per iteration."""
    import numpy as np

    from evenface.training import build
    from evenface.training.batches import ImageBank, TrainingBatches
    from evenface.training.trainer import Trainer, TrainerState

    manifest, fabric = store.manifest, _fabric(recipe)
    trainer = Trainer(
        fabric,
        build.build_method(recipe, manifest.counts(), manifest.classes),
        TrainingBatches.of_recipe(recipe, ImageBank(store.images, fabric.device), manifest, np.arange(len(manifest))),
        recipe,
        folder,
    )
    trainer.model.train()
    while True:
        for batch in trainer.batches.epoch(trainer.state.epoch, second=trainer.method.second_sampling):
            trainer.step(batch)
            yield
        trainer.state = TrainerState(epoch=trainer.state.epoch + 1)


def ceiling_steps(recipe: "Recipe", store: "Store") -> Iterator[None]:
    """Train endlessly on one constant batch: nothing is read, augmented or logged."""
    import torch

    from evenface.training import build
    from evenface.training.optimizers import build_optimizer

    manifest, fabric = store.manifest, _fabric(recipe)
    method = build.build_method(recipe, manifest.counts(), manifest.classes)
    method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model, optimizer = fabric.setup(method, build_optimizer([method], recipe.optimizer))
    count, size = recipe.training.batch_size, recipe.data.size
    images = torch.rand(count, recipe.data.channels, size, size).contiguous(memory_format=torch.channels_last)
    targets = torch.arange(count) % len(manifest.classes)
    model.train()
    while True:
        loss = model(images, targets).mean()
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(loss)
        optimizer.step()
        yield


def _fabric(recipe: "Recipe") -> Any:
    from lightning_fabric import Fabric

    from evenface.training.fabric import choose_precision

    precision = choose_precision(recipe.training.precision, "cpu")
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    fabric.launch()
    return fabric


def ours(faces: Path, folder: Path, settings: Settings) -> dict[str, Iterator[None]]:
    """Set up pipeline and ceiling, with the settings of evenface's training."""
    from evenface.preprocessing.prepare import prepare
    from evenface.training.data import read_manifest
    from evenface.training.trainer import keep_freed_memory

    keep_freed_memory()
    recipe = recipe_of(faces, settings)
    store = prepare(read_manifest(recipe), folder / "stores", size=settings.size, channels=1)
    return {"pipeline": pipeline_steps(recipe, store, folder), "ceiling": ceiling_steps(recipe, store)}


def plain(faces: Path, _folder: Path, settings: Settings) -> dict[str, Iterator[None]]:
    """Set up the plain script."""
    from benchmarks.plain import plain_steps

    root = faces / "train" if (faces / "train").is_dir() else faces
    return {"plain": plain_steps(root, settings.size, settings.network, settings.batch_size, settings.precision)}


def serve(
    commands: "Connection[Any, Any]",
    set_up: Callable[[Path, Path, Settings], dict[str, Iterator[None]]],
    faces: Path,
    folder: Path,
    settings: Settings,
) -> None:
    """Run turns on request in a separate process; send images per second, or the error."""
    import torch

    # A spawned process would also spawn its loader's workers; in a script they start by the platform's default.
    multiprocessing.set_start_method(None, force=True)
    try:
        sides = set_up(faces, folder, settings)
        commands.send(torch.get_num_threads())
        while (name := commands.recv()) is not None:
            for _ in range(UNTIMED):
                next(sides[name])
            began = time.perf_counter()
            for _ in range(settings.steps):
                next(sides[name])
            commands.send(settings.steps * settings.batch_size / (time.perf_counter() - began))
    except Exception:
        commands.send(traceback.format_exc())


def answer(channel: "Connection[Any, Any]") -> float:
    """Wait for a number from a process; end with its message if it failed."""
    reply = channel.recv()
    if isinstance(reply, str):
        sys.exit(reply)
    return float(reply)


def turns(faces: Path, folder: Path, settings: Settings) -> tuple[dict[str, list[float]], int]:
    """Train the configurations in turns; return images per second by round, and numbers of threads."""
    context = multiprocessing.get_context("spawn")
    channels: dict[str, Connection[Any, Any]] = {}
    processes, threads = [], 0
    try:
        for names, set_up in ((("pipeline", "ceiling"), ours), (("plain",), plain)):
            here, there = context.Pipe()
            process = context.Process(target=serve, args=(there, set_up, faces, folder, settings))
            process.start()
            there.close()
            processes.append(process)
            threads = int(answer(here))
            channels |= dict.fromkeys(names, here)
        speeds: dict[str, list[float]] = {name: [] for name in channels}
        for number in range(settings.rounds + 1):
            # Reverse the order in every other round.
            for name in list(channels) if number % 2 else list(channels)[::-1]:
                channels[name].send(name)
                speed = answer(channels[name])
                if number:  # the first round is a warm-up
                    speeds[name].append(speed)
        for channel in set(channels.values()):
            channel.send(None)
        for process in processes:
            process.join(10)
    finally:
        for process in processes:
            process.terminate()
    return speeds, threads


def measure(settings: Settings, faces: Path | None = None) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "faces"
        if faces is None:
            make_faces(made, MADE, settings.size)
        speeds, threads = turns(faces or made, Path(folder), settings)
    data = faces.name if faces else f"{sum(MADE.values()):,} made-up PNG of {settings.size} px"
    by_round = [a / b for a, b in zip(speeds["pipeline"], speeds["ceiling"], strict=True)]
    images = {name: summary(values, 1) for name, values in speeds.items()}
    to_ceiling = summary(by_round)
    to_plain = round(images["pipeline"]["median"] / images["plain"]["median"], 4)
    results = {
        "pipeline_over_ceiling": to_ceiling,
        "pipeline_over_plain": to_plain,
        "images_per_s": images,
        "images_per_s_by_round": {name: [round(value, 1) for value in values] for name, values in speeds.items()},
    }
    figures = [
        Figure(
            f"{settings.network} at {settings.size} px: pipeline / ceiling",
            to_ceiling["median"],
            (to_ceiling["min"], to_ceiling["max"]),
            at_least=TO_CEILING,
        ),
        Figure(
            f"{settings.network} at {settings.size} px: pipeline / plain script",
            to_plain,
            at_least=TO_PLAIN if settings.size == PLAIN_TARGET_SIZE else None,
        ),
        *(
            Figure(f"  {name}, images/s", values["median"], (values["min"], values["max"]))
            for name, values in images.items()
        ),
    ]
    stated = {**asdict(settings), "untimed_steps": UNTIMED, "threads": threads, "augment": USUAL}
    return Result(f"throughput at {settings.size} px", data, stated, results, figures)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--size", type=int, default=48, help="height and width of the faces in pixels")
    options.add_argument("--network", default="resnet18", help="any timm model")
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--steps", type=int, default=12, help="timed steps of each turn")
    options.add_argument("--batch-size", type=int, default=64)
    options.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="32-true")
    options.add_argument("--faces", type=Path, help="folder of class/file or split/class/file; generated if not given")
    given = options.parse_args()
    settings = Settings(
        given.size, given.network, given.batch_size, given.precision, rounds=given.rounds, steps=given.steps
    )
    report(measure(settings, given.faces), given)


if __name__ == "__main__":
    main()
