"""What tests of stores share: pictures, manifests of them, processes to stop."""

import io
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evenface.data.manifest import Manifest, make_table
from evenface.preprocessing import worker
from evenface.preprocessing.image import read_sample
from evenface.preprocessing.target import Target


def save(path: Path, image: Image.Image, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def picture(seed: int, side: int = 12) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8))


def manifest_of(
    root: Path, names: list[str], labels: list[int] | None = None, content: str = "stills", **columns
) -> Manifest:
    labels = labels or [i % 2 for i in range(len(names))]
    rows = [
        {"sample": f"s{i}", "path": name, "label": label}
        for i, (name, label) in enumerate(zip(names, labels, strict=True))
    ]
    for name, values in columns.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    return Manifest(make_table(rows), ("calm", "pain"), "test", root, content=content)


def folder_of(root: Path, count: int) -> Manifest:
    names = [f"{i:04d}.png" for i in range(count)]
    for i, name in enumerate(names):
        save(root / name, picture(i))
    return manifest_of(root, names)


def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_):
        raise AssertionError("a sample was decoded again")

    monkeypatch.setattr(worker, "read_sample", fail)


def pixels(path: Path, channels: int, side: int) -> np.ndarray:
    return np.frombuffer(read_sample(str(path), None, Target(side, channels)), np.uint8).reshape(side, side, channels)


def encoded(kind: str, side: int = 64) -> bytes:
    buffer = io.BytesIO()
    picture(3, side).save(buffer, kind)
    return buffer.getvalue()


PNG, JPEG, TIFF = encoded("PNG"), encoded("JPEG"), encoded("TIFF")


def children_of(process: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            if parent == process:
                found.append(int(entry.name))
    return found


def await_death(processes: list[int]) -> None:
    until = time.monotonic() + 10
    while any(Path(f"/proc/{process}").exists() for process in processes):
        assert time.monotonic() < until, "a reader outlived its parent"
        time.sleep(0.02)
