"""Training throughput on the device that there is: of evenface and of a plain PyTorch loop, with and without compiling.

Run ``python -m benchmarks.accelerator``. It uses the GPU where there is one, else the CPU. For each network four
configurations train in turns, round by round, in one process (on a GPU a fifth, with CUDA graphs):

- *plain loop*: :func:`plain_steps`, PyTorch as practitioners write it: each batch is copied to the device when it is
  needed, and the loss is read in every step;
- *evenface*: its own training loop: images on the GPU, or copied ahead; losses are read every 50 steps;
- both again with ``torch.compile``.

All have the same random images in memory, batch size, precision, AdamW and random flips, so the difference is the loop.
Each turn starts with uncounted steps, the first of which compile. There is no validation and no checkpoint. On a GPU
seconds are those of a clock; on a CPU those of the processor, of all threads, which other load changes little.
"""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common import Figure, Result, parser, report, summary

if TYPE_CHECKING:
    import numpy as np

NETWORKS = ("compact_vgg_32", "resnet18")
UNTIMED = 2
CLASSES = 7


@dataclass(frozen=True)
class Settings:
    """Settings that are the same for all configurations."""

    accelerator: str
    precision: str
    size: int = 48
    batch_size: int = 64
    images: int = 6400
    rounds: int = 3
    steps: int = 6


def plain_steps(
    network: str, images: "np.ndarray", labels: "np.ndarray", settings: Settings, mode: str
) -> Iterator[None]:
    """Train endlessly by a plain loop, one step per iteration."""
    import timm
    import torch
    from torch import nn

    from evenface.models import compact  # noqa: F401, makes its networks known to timm

    device = torch.device(settings.accelerator)
    model: Any = timm.create_model(network, in_chans=1, num_classes=CLASSES).to(device).train()
    forward = model if mode == "none" else torch.compile(model, mode=mode)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    low = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(settings.precision)
    scaler = torch.amp.GradScaler(settings.accelerator, enabled=low is torch.float16)
    criterion, total = nn.CrossEntropyLoss(), 0.0
    pixels, classes = torch.from_numpy(images[:, 0]).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels)
    while True:
        for rows in torch.split(torch.randperm(len(pixels)), settings.batch_size):
            batch, targets = pixels[rows].to(device).float() / 255, classes[rows].to(device)
            flips = torch.rand(len(batch), 1, 1, 1, device=device) < 0.5
            batch = (torch.where(flips, batch.flip(-1), batch) - 0.5) / 0.5
            with torch.autocast(settings.accelerator, low, enabled=low is not None):
                loss = criterion(forward(batch), targets)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            total += loss.item()
            yield


def own_steps(
    network: str, images: "np.ndarray", labels: "np.ndarray", settings: Settings, mode: str
) -> Iterator[None]:
    """Train endlessly like :func:`evenface.train`, one step per iteration."""
    import numpy as np
    from lightning_fabric import Fabric

    from evenface.config import load_recipe
    from evenface.training import build
    from evenface.training.batches import ImageBank, TrainingBatches
    from evenface.training.trainer import Trainer, TrainerState

    recipe = load_recipe(
        {
            "name": "accelerator",
            "data": {"source": "synthetic", "size": settings.size, "channels": 1},
            "network": {"name": network},
            "optimizer": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.05},
            "training": {
                "epochs": 1000,
                "batch_size": settings.batch_size,
                "precision": settings.precision,
                "accelerator": settings.accelerator,
                "compile": mode,
            },
        }
    )
    precision: Any = settings.precision
    fabric = Fabric(accelerator=settings.accelerator, devices=1, precision=precision)
    fabric.launch()
    counts, names = np.bincount(labels), tuple(map(str, range(CLASSES)))
    batches = TrainingBatches(
        ImageBank(images, fabric.device), np.arange(len(images)), labels, batch_size=settings.batch_size, seed=0
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(fabric, build.build_method(recipe, counts, names), batches, recipe, Path(folder))
        trainer.model.train()
        while True:
            for batch in batches.epoch(trainer.state.epoch):
                trainer.step(batch)
                yield
            trainer.state = TrainerState(epoch=trainer.state.epoch + 1)


def images_per_second(steps: Iterator[None], settings: Settings) -> float:
    """Time one turn: by the clock to the end of a GPU's work, or in processor time."""
    for _ in range(UNTIMED):
        next(steps)
    began = _seconds(settings.accelerator)
    for _ in range(settings.steps):
        next(steps)
    return settings.steps * settings.batch_size / (_seconds(settings.accelerator) - began)


def _seconds(accelerator: str) -> float:
    import torch

    if accelerator == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def turns(network: str, settings: Settings, compiled: tuple[str, ...]) -> dict[str, list[float]]:
    """Train the configurations of a network in turns; return images per second by round."""
    import numpy as np
    import torch

    random = np.random.default_rng(0)
    images = random.integers(0, 256, (settings.images, 1, settings.size, settings.size, 1), dtype=np.uint8)
    labels = np.arange(settings.images) % CLASSES
    torch.compiler.reset()
    sides: dict[str, Iterator[None]] = {}
    for mode in ("none", *compiled):
        note = "" if mode == "none" else f", compiled ({mode})"
        if mode != "reduce-overhead":
            sides[f"plain loop{note}"] = plain_steps(network, images, labels, settings, mode)
        sides[f"evenface{note}"] = own_steps(network, images, labels, settings, mode)
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(settings.rounds + 1):
        # Reverse the order in every other round.
        for name in list(sides) if number % 2 else list(sides)[::-1]:
            speed = images_per_second(sides[name], settings)
            print(f"{network}: {name}, round {number} of {settings.rounds}: {speed:,.0f} images/s", flush=True)
            if number:  # the first round is a warm-up
                speeds[name].append(speed)
    return speeds


def measure(settings: Settings, networks: tuple[str, ...], compiled: tuple[str, ...]) -> Result:
    """Measure all networks; ``compiled`` are the values of ``training.compile`` beside ``none``."""
    import torch

    from evenface.training.trainer import keep_freed_memory

    keep_freed_memory()
    results: dict[str, Any] = {}
    figures = []
    for network in networks:
        speeds = turns(network, settings, compiled)
        ratios = [a / b for a, b in zip(speeds["evenface"], speeds["plain loop"], strict=True)]
        images, over = {name: summary(values, 1) for name, values in speeds.items()}, summary(ratios)
        results[network] = {
            "evenface_over_plain_loop": over,
            "images_per_s": images,
            "images_per_s_by_round": {name: [round(value, 1) for value in values] for name, values in speeds.items()},
        }
        figures.append(Figure(f"{network}: evenface / plain loop", over["median"], (over["min"], over["max"])))
        figures += [
            Figure(f"  {name}, images/s", values["median"], (values["min"], values["max"]))
            for name, values in images.items()
        ]
    stated = {
        **asdict(settings),
        "seconds": "processor time of all threads" if settings.accelerator == "cpu" else "clock",
        "networks": networks,
        "untimed_steps": UNTIMED,
        "threads": torch.get_num_threads(),
    }
    data = f"{settings.images:,} random images of {settings.size} px in memory"
    return Result(f"training on {settings.accelerator} in {settings.precision}", data, stated, results, figures)


def main() -> None:
    from evenface.config.recipe import Training
    from evenface.training.compilation import check_compiler
    from evenface.training.fabric import choose_accelerator, choose_precision
    from evenface.utils.errors import InputError

    options = parser(__doc__)
    options.add_argument("--accelerator", choices=("auto", "cpu", "cuda"), default="auto")
    options.add_argument("--precision", choices=("auto", "32-true", "bf16-mixed", "16-mixed"), default="auto")
    options.add_argument("--network", action="append", help=f"any timm model; repeatable; {' and '.join(NETWORKS)}")
    options.add_argument("--size", type=int, default=48, help="height and width of the images in pixels")
    options.add_argument("--batch-size", type=int, default=64)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--steps", type=int, help="timed steps of each turn; 6 on a CPU, 200 on a GPU")
    options.add_argument("--no-compile", action="store_true", help="without torch.compile")
    given = options.parse_args()
    accelerator = choose_accelerator(Training(accelerator=given.accelerator))
    settings = Settings(
        accelerator,
        choose_precision(given.precision, accelerator),
        given.size,
        given.batch_size,
        rounds=given.rounds,
        steps=given.steps or (200 if accelerator == "cuda" else 6),
    )
    compiled: tuple[str, ...] = () if given.no_compile else ("default",)
    compiled += ("reduce-overhead",) if compiled and accelerator == "cuda" else ()
    try:
        for mode in compiled:
            check_compiler(mode, accelerator)
    except InputError as error:
        print(f"without compiling: {error}")
        compiled = ()
    report(measure(settings, tuple(given.network or NETWORKS), compiled), given)


if __name__ == "__main__":
    main()
