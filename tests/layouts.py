"""What tests of sources share: layouts planted on disk, what is refused, what stands in a manifest."""

import re
from pathlib import Path

import pytest

from evenface.config import Recipe
from evenface.training.data import prepare_store
from evenface.utils.errors import InputError


def plant(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"not looked at")
    return root


def refused(words: str):
    return pytest.raises(InputError, match=re.escape(words))


def named(manifest):
    return {s: manifest.classes[y] for s, y in zip(manifest.table["sample"], manifest.labels, strict=True)}


def columns_of(manifest, *names):
    return list(manifest.table[list(names)].itertuples(index=False, name=None))


USAGES = ["Training"] * 6 + ["PublicTest"] * 3 + ["PrivateTest"] * 2
EMOTIONS = [0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3]


def write_fer(root: Path, rows: int = 11, header: str = "emotion,pixels,Usage") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    lines = [f"{e},{' '.join(['7'] * 9)},{u}" for e, u in zip(EMOTIONS[:rows], USAGES, strict=False)]
    (root / "fer2013.csv").write_text("\n".join([header, *lines]) + "\n")
    return root


NAMES = "neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
VOTES = [
    (9, 0, 0, 1, 0, 0, 0, 0, 0, 0),  # neutral; the single vote does not count
    (5, 5, 0, 0, 0, 0, 0, 0, 0, 0),  # half is no majority
    (5, 4, 1, 0, 0, 0, 0, 0, 0, 0),  # nine count: five are more than half
    (0, 0, 0, 0, 0, 0, 0, 10, 0, 0),  # contempt
    (0, 0, 0, 0, 2, 0, 0, 0, 8, 0),  # unknown
    (0, 0, 0, 0, 0, 0, 0, 0, 0, 10),  # not a face
    (1, 1, 1, 1, 1, 1, 1, 1, 1, 1),  # nothing counts
    (0, 0, 0, 0, 0, 4, 1, 1, 2, 2),  # half of eight
    (0, 0, 0, 0, 0, 5, 1, 1, 2, 1),  # disgust
    (0, 6, 0, 0, 0, 0, 0, 0, 4, 0),  # happiness
    (0, 0, 6, 0, 0, 0, 0, 0, 0, 4),  # surprise
]


def write_votes(path: Path, votes=VOTES, usages=USAGES) -> Path:
    lines = [f"{u},x.png,{','.join(map(str, v))}" for u, v in zip(usages, votes, strict=False)]
    path.write_text("\n".join([f"Usage,Image name,{NAMES}", *lines]) + "\n")
    return path


AUS = [f"AU{unit:02}_{kind}" for kind in "rc" for unit in (1, 2, 4)]


def table_of(path, names=AUS, rows=3, separator=", "):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [separator.join(names), *(separator.join(f"{i}.0" for _ in names) for i in range(rows))]
    path.write_text("\n".join(lines) + "\n")
    return path


def prepared(source, root, frames, **options):
    data = {"source": source, "root": str(root), "sequences": {"frames": frames}, **options}
    return prepare_store(Recipe.model_validate({"name": "small", "data": data}))
