"""The store: prepared faces, or sequences of numbers, in one memory-mapped array, beside their manifest."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evenface.data.manifest import Manifest
from evenface.errors import InputError
from evenface.files import from_csv_text
from evenface.integrity import BLOCK, damaged_block, digest_file, read_json

IMAGES, SEQUENCES = "images.npy", "sequences.npy"
REMEDY = "Delete that folder and prepare again."
MANIFEST, QUARANTINE, FACTS = "manifest.parquet", "quarantine.csv", "store.json"


@dataclass(frozen=True)
class Store:
    """Prepared faces, read from disk as they are needed.

    Parameters
    ----------
    path : Path
        Folder of the store.
    manifest : Manifest
        Usable samples only; row ``i`` describes ``images[i]`` or ``sequences[i]``.
    images : memmap of shape (N, T, H, W, C), uint8, or None
        The faces, values 0 to 255, read-only; T is 1 for stills, the frames taken for clips, C is 1 (grey) or 3 (RGB).
        None where numbers were stored in place of pixels.
    quarantine : DataFrame
        Samples set aside: ``sample``, ``path``, ``reason``.
    key : str
        Digest of what the store was made from and how; the same key means the same bytes.
    lost : tuple of str
        Names of the classes that the quarantine left without any sample.
    sequences : memmap of shape (N, T, P, D), float32, or None
        D numbers of each of P points on T frames, read-only. None where there are pictures.
    points : str
        What the points are: one of :data:`evenface.faces.points.KINDS`, or blendshapes, whose names are
        :data:`evenface.faces.blendshapes.NAMES`; empty for pictures.
    middle : float or None
        Where x, the first of the D, is mirrored about: 0.5 where x is a share of the frame's width, 0 where points are
        about the origin. None where there is no x, or it is in pixels.
    """

    path: Path
    manifest: Manifest
    images: Any
    quarantine: pd.DataFrame
    key: str
    lost: tuple[str, ...] = ()
    sequences: Any = None
    points: str = ""
    middle: float | None = None

    def __len__(self) -> int:
        return len(self.manifest)

    @classmethod
    def open(cls, path: Path | str) -> "Store":
        """Open the store in the folder ``path``; nothing is read but the tables, and up to eight blocks of the array.

        Raises
        ------
        InputError
            If the folder is no store, or parts of it are missing, damaged or do not fit each other.
        """
        path = Path(path)
        try:
            facts = read_json(path / FACTS, REMEDY)
            _check_tables(path, facts)
            points = str(facts.get("points", ""))
            array = np.load(path / (SEQUENCES if points else IMAGES), mmap_mode="r")
            quarantine = pd.read_csv(path / QUARANTINE, dtype="string", keep_default_na=False).map(from_csv_text)
            key, lost = str(facts["key"]), tuple(facts["lost"])
        except FileNotFoundError as error:
            name = Path(error.filename).name if error.filename else "a file"
            raise InputError(
                f"{path} is no whole store: {name} is missing", "Give the folder that prepare made."
            ) from error
        except (OSError, EOFError, ValueError, KeyError) as error:
            raise InputError(f"the store {path} is damaged ({error})", REMEDY) from error
        manifest = Manifest.load(path / MANIFEST)
        _check_array(path, facts, whole=False)
        kind = (np.float32, 4) if points else (np.uint8, 5)
        if (array.dtype, array.ndim, len(array)) != (*kind, len(manifest)):
            raise InputError(
                f"the store {path} is damaged: {len(manifest)} samples for an array of {array.shape} {array.dtype}",
                REMEDY,
            )
        if points:
            return cls(path, manifest, None, quarantine, key, lost, array, points, facts["middle"])
        return cls(path, manifest, array, quarantine, key, lost)

    def verify(self) -> None:
        """Check the whole array against the checksums that were made with it; a store of an older version has none.

        Raises
        ------
        InputError
            If it is damaged.
        """
        _check_array(self.path, read_json(self.path / FACTS, REMEDY), whole=True)

    def summary(self) -> str:
        """One line for the screen: how many faces, how many set aside and why, which classes lost all."""
        many = "" if len(self) == 1 else "s"
        line = f"{len(self):,} face{many}"
        if self.sequences is not None:
            frames, count, each = self.sequences.shape[1:]
            length = "1 frame" if frames == 1 else f"{frames} frames"
            line = f"{len(self):,} sequence{many} of {length}, {self.points} ({count} × {each})"
        elif self.manifest.content == "clips":
            line = f"{len(self):,} sample{many} of {self.images.shape[1]} frames"
        if "lost" in self.manifest.table and (lost := int(self.manifest.table["lost"].sum())):
            line += f", no face on {lost:,} frames"
        if len(self.quarantine):
            line += f", {len(self.quarantine):,} set aside ({QUARANTINE}: {count_reasons(self.quarantine)})"
        if self.lost:
            line += f"; no usable sample is left of {', '.join(self.lost)}"
        return line


def _check_tables(path: Path, facts: Mapping[str, Any]) -> None:
    for name, known in facts.get("files", {}).items():
        if digest_file(path / name) != known:
            raise InputError(f"the store {path} is damaged: {name} is not as it was written", REMEDY)


def _check_array(path: Path, facts: Mapping[str, Any], *, whole: bool) -> None:
    if "array" not in facts:
        return
    name = SEQUENCES if facts.get("points") else IMAGES
    block = damaged_block(path / name, facts["array"]["crc32"], whole=whole)
    if block is not None:
        place = f"near byte {block * BLOCK:,}"
        raise InputError(f"the store {path} is damaged: {name} is not as it was written, {place}", REMEDY)


def count_reasons(quarantine: pd.DataFrame) -> str:
    """Say how many samples were set aside for each kind of reason: ``2 truncated, 1 missing``."""
    kinds = Counter(reason.split(":")[0] for reason in quarantine["reason"])
    return ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
