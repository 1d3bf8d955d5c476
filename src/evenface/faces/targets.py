"""What prepare makes of the samples of a manifest: which of all settings are meant, and whether they go together."""

import importlib.util
from dataclasses import replace
from typing import Any

from evenface.data.manifest import Manifest
from evenface.errors import InputError
from evenface.faces.detector import EXTRA, Crop
from evenface.faces.mesh import MARGIN
from evenface.faces.read import Target
from evenface.faces.sequences import Sequencing
from evenface.faces.taking import Taking

LARGEST = 2048


def target_of(
    manifest: Manifest,
    *,
    size: int,
    channels: int = 1,
    crop: Crop | None = None,
    squeeze: bool = False,
    clips: Taking | None = None,
    sequences: Sequencing | None = None,
) -> Target:
    """Give what each sample becomes; parameters and errors are those of :func:`~evenface.faces.prepare.prepare`."""
    if sequences or manifest.content == "sequences":
        how = sequencing_of(manifest, sequences or Sequencing())
        if how.of != "files" and importlib.util.find_spec("mediapipe") is None:
            raise InputError("MediaPipe, which finds points, is not installed", f"Install it: {EXTRA}")
        # The square about a face is as wide as the mesh wants it, whatever the margin of pictures is.
        whose = None if how.of == "files" else replace(crop or Crop(), margin=MARGIN)
        target = Target(1, 1, whose, sequencing=how)
    else:
        target = Target(size, channels, crop, squeeze, (clips or Taking()) if manifest.content == "clips" else None)
    _check(manifest, target)
    return target


def sequencing_of(manifest: Manifest, how: Sequencing) -> Sequencing:
    """Say where the numbers of a manifest's samples come from.

    Parameters
    ----------
    manifest : Manifest
        Of clips or stills, whose points are looked for; or of files of numbers, whose columns ``points`` and, where it
        is not clear, ``numbers`` say what is read of them, the same in all rows: see
        :class:`~evenface.faces.sequences.Sequencing`.
    how : Sequencing
        What is made of them.

    Raises
    ------
    InputError
        If the manifest does not say what its numbers are, or they do not allow what is wanted.
    """
    if manifest.content != "sequences":
        if how.take == "mean":
            raise InputError(
                "data.sequences.sampling: mean needs the numbers of every frame, which only files of numbers have",
                "Set data.sequences.sampling: uniform.",
            )
        return replace(how, of=manifest.content, points="mesh-468", numbers="")
    said = {}
    for name in ("points", "numbers"):
        values = manifest.table[name].fillna("").unique().tolist() if name in manifest.table else [""]
        if len(values) > 1:
            raise InputError(f"{manifest.source}: {name} must be the same in all rows, found {', '.join(values)}")
        said[name] = str(values[0])
    if not said["points"]:
        raise InputError(f"{manifest.source}: the manifest does not say what the points of its sequences are")
    return replace(how, of="files", points=said["points"], numbers=said["numbers"])


def content_of(manifest: Manifest) -> dict[str, Any]:
    """Say what the samples were before they were prepared; of files of numbers, what was read of them."""
    if manifest.content != "sequences":
        return {"content": manifest.content}
    names = ("points", "numbers")
    first = {name: manifest.table[name].fillna("").iloc[0] if name in manifest.table else "" for name in names}
    return {"content": manifest.content, "files": {name: str(value) for name, value in first.items()}}


def _check(manifest: Manifest, target: Target) -> None:
    if not 1 <= target.size <= LARGEST:
        raise InputError(f"size must be 1 to {LARGEST} pixels, got {target.size}")
    if target.channels not in (1, 3):
        raise InputError(f"channels must be 1 (grey) or 3 (RGB), got {target.channels}")
    if target.crop and target.squeeze:
        raise InputError("pictures are cropped to faces or squeezed, not both")
    spans = ((manifest.table["end"] - manifest.table["start"]) > 1).fillna(value=False).to_numpy(dtype=bool)
    if spans.any() and manifest.content == "stills":
        name = manifest.table["sample"].iloc[int(spans.argmax())]
        raise InputError(
            f"{manifest.source}: the sample {name} spans several frames", "Sources of clips must say that they are."
        )
    several = (target.crop and target.crop.which == "all") or (target.taking and target.taking.take == "windows")
    if several and (taken := manifest.table["sample"].str.contains(r"#\d+$")).any():
        name = manifest.table["sample"][taken].iloc[0]
        raise InputError(
            f"{manifest.source}: the sample {name} is named as the further faces or windows are",
            "Keep only the largest face of each picture, or rename it.",
        )
