"""Shared by all benchmarks: synthetic faces, metadata of results, result files and tables."""

import argparse
import datetime
import importlib.metadata
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from evenface.utils.files import write_json

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("evenface", "torch", "torchvision", "timm", "lightning-fabric", "numpy", "pandas", "pillow", "typer")
FER2013 = {
    "train": {
        "angry": 3995,
        "disgust": 436,
        "fear": 4097,
        "happy": 7215,
        "sad": 4830,
        "surprise": 3171,
        "neutral": 4965,
    },
    "validation": {"angry": 467, "disgust": 56, "fear": 496, "happy": 895, "sad": 653, "surprise": 415, "neutral": 607},
}
"""Images of each class in FER2013's Training and PublicTest."""


@dataclass(frozen=True)
class Figure:
    """One line of a table.

    Parameters
    ----------
    name : str
        What was measured.
    value : float
        The figure.
    spread : tuple of two float, optional
        Smallest and largest of the rounds.
    at_least, below : float, optional
        What it should be.
    """

    name: str
    value: float
    spread: tuple[float, float] | None = None
    at_least: float | None = None
    below: float | None = None

    @property
    def verdict(self) -> str:
        """Return the target and whether it is met; empty without a target."""
        if self.at_least is not None:
            return f"at least {self.at_least:g}: {'met' if self.value >= self.at_least else 'MISSED'}"
        if self.below is not None:
            return f"below {self.below:g}: {'met' if self.value < self.below else 'MISSED'}"
        return ""


@dataclass(frozen=True)
class Result:
    """Result of one benchmark.

    Parameters
    ----------
    benchmark : str
        Its name.
    data : str
        What it was measured on.
    settings : mapping
        All that the figures depend on.
    results : mapping
        The figures, with those of single rounds where there are such.
    figures : sequence of Figure
        What is printed.
    """

    benchmark: str
    data: str
    settings: Mapping[str, Any]
    results: Mapping[str, Any]
    figures: Sequence[Figure] = field(default=())

    def save(self, path: Path, date: str) -> None:
        """Write everything as JSON, with commit, date, hardware and versions."""
        facts = {"benchmark": self.benchmark, "data": self.data, "settings": dict(self.settings)}
        facts |= {"commit": commit(), "date": date, "hardware": hardware(), "versions": versions()}
        write_json(path, {**facts, "results": dict(self.results)})


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of every benchmark: ``--date`` and ``--out``."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--date", default=datetime.date.today().isoformat(), help="date to note in the results")
    made.add_argument("--out", type=Path, help="JSON file to write")
    return made


def report(result: Result, options: argparse.Namespace) -> None:
    """Print a result, and write it to ``--out`` if given."""
    print(f"{result.benchmark}, on {result.data}")
    print_figures(result.figures)
    if options.out is not None:
        result.save(options.out, options.date)


def print_figures(figures: Sequence[Figure]) -> None:
    """Print a table: figure, value, smallest to largest, target."""
    width = max(len(figure.name) for figure in figures)
    for figure in figures:
        spread = "{:,.3g} to {:,.3g}".format(*figure.spread) if figure.spread else ""
        number = f"{figure.value:,.0f}" if figure.value >= 1000 else f"{figure.value:.3g}"
        print(f"{figure.name:{width}s} {number:>9s}  {spread:18s} {figure.verdict}".rstrip())


def summary(values: Sequence[float], digits: int = 4) -> dict[str, float]:
    """Return median, minimum and maximum."""
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: round(value, digits) for name, value in found.items()}


FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")
"""Instruction sets of processors that the speed of networks depends on, as Linux names them."""


def hardware() -> dict[str, Any]:
    """Return processor, its features and cores, and the GPU if there is one."""
    import torch

    cpu, model, flags = Path("/proc/cpuinfo"), "", set[str]()
    for line in cpu.read_text().splitlines() if cpu.exists() else ():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            model = model or value.strip()
        elif name.strip() in ("flags", "Features"):
            flags |= set(value.split())
    found = {
        "cpu": model or platform.processor(),
        "features": [name for name in FEATURES if name in flags],
        "cores": cores(),
        "system": platform.system(),
    }
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory
        found |= {
            "gpu": torch.cuda.get_device_name(0),
            "gpu_memory_gb": round(memory / 1e9),
            "cuda": torch.version.cuda,
        }
    return found


def cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES}


def commit() -> str:
    """Return the measured commit, with ``-dirty`` if files differ from it."""
    folder = str(Path(__file__).parent)
    command = ["git", "-C", folder, "describe", "--always", "--dirty", "--exclude", "*"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def make_fer2013(folder: Path) -> None:
    """Write synthetic images in the layout, number and size of FER2013, without duplicates between splits."""
    for seed, (side, counts) in enumerate(FER2013.items()):
        make_faces(folder / side, counts, 48, seed=seed)


def make_faces(
    folder: Path, counts: Mapping[str, int], side: int, suffix: str = ".png", *, grey: bool = True, seed: int = 0
) -> None:
    """Write smooth images into one folder per class, with about the file size of photographs of faces."""
    rng = np.random.default_rng(seed)
    small = (side // 8, side // 8) if grey else (side // 8, side // 8, 3)
    options: dict[str, Any] = {"quality": 92} if suffix == ".jpg" else {}
    number = 0
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for _ in range(count):
            picture = Image.fromarray(rng.integers(0, 256, small, dtype=np.uint8))
            large = picture.resize((side, side), Image.Resampling.BICUBIC)
            large.save(folder / name / f"{number:06d}{suffix}", **options)
            number += 1
