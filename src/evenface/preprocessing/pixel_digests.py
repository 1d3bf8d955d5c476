"""Digests of images by content, which identify an image under any name and in any lossless format."""

import hashlib
from pathlib import Path

import pandas as pd

from evenface.data.manifest import Manifest
from evenface.preprocessing.image import open_regular, quiet_pillow, read_picture
from evenface.utils.errors import SampleError
from evenface.utils.packed_images import SUFFIXES
from evenface.utils.progress import progress

TABLES = (".csv", *SUFFIXES)
"""Files that hold several images, so that their own digest identifies none."""


def sample_digests(manifest: Manifest) -> list[tuple[str, ...]]:
    """Compute SHA-256 digests of the images of a manifest.

    Parameters
    ----------
    manifest : Manifest
        Of stills; samples of other content have no digest.

    Returns
    -------
    list of tuple of str
        For each sample the digest of its decoded pixels (size and 8-bit RGB values, row by row), then, where the file
        holds this image alone, of the file's bytes; empty if it cannot be read.
    """
    if manifest.content != "stills":
        return [()] * len(manifest)
    results: list[tuple[str, ...]] = []
    starts = [None if pd.isna(value) else int(value) for value in manifest.table["start"].tolist()]
    paths = manifest.table["path"].fillna("").tolist()
    with progress("computing digests", len(manifest)) as advance, quiet_pillow():
        for path, start in zip(paths, starts, strict=True):
            results.append(_digests(str(manifest.root / path), start))
            advance(1)
    return results


def _digests(path: str, start: int | None) -> tuple[str, ...]:
    try:
        image = read_picture(path, start)
        pixels = hashlib.sha256(f"{image.width}x{image.height}".encode() + image.tobytes()).hexdigest()
        if Path(path).suffix.lower() in TABLES:
            return (pixels,)
        with open(path, "rb", opener=open_regular) as file:
            return pixels, hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, SampleError):
        return ()
