"""What stands beside a store's array: its manifest, what was set aside, and the facts."""

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evenface.data.manifest import Manifest
from evenface.preprocessing.clips import FACTS as CLIP_FACTS
from evenface.preprocessing.detect import EXTRA, Crop, versions
from evenface.preprocessing.face_mesh import MARGIN
from evenface.preprocessing.frame_sampling import Taking
from evenface.preprocessing.image import Target, bits_in_use
from evenface.preprocessing.landmarks import COUNTS
from evenface.preprocessing.sequences import Sequencing
from evenface.preprocessing.store import FACTS, IMAGES, MANIFEST, QUARANTINE, SEQUENCES, Store, count_reasons
from evenface.preprocessing.video import parts_of
from evenface.utils.errors import InputError
from evenface.utils.files import BLOCK, atomic_write, block_checksums, digest_file, write_json_with_digest
from evenface.utils.tables import escape_csv_table

PREPARATION = 1
"""Version of what reading does to pixels; a change makes new stores."""
PADDED = 0.1
"""Share of the sampled frames that are padding from which a note warns."""
LOOKED = 64
"""Pictures that are looked at for the bits they use."""
SHALLOW = 14
"""Bits in use of pictures of 16 bits up to which they are prepared too dark."""


def settings_of(target: Target, manifest: Manifest) -> list[Any]:
    """Give all that decides what a store holds, beside the bytes of the files."""
    if target.sequencing:
        how = [target.sequencing.facts, mesh_version(), decoder_version()] if target.crop else [target.sequencing.facts]
        return [PREPARATION, manifest.hash, SEQUENCES, *how, target.crop.facts if target.crop else None]
    # In the order, and with no more words, than stores of stills always had: they are found again by it.
    further: list[Any] = [target.crop.facts] if target.crop else []
    further += ["squeeze"] if target.squeeze else []
    further += [{"clips": target.taking.facts, "decoder": decoder_version()}] if target.taking else []
    return [PREPARATION, target.size, target.channels, manifest.hash, *further]


def decoder_version() -> str:
    """Give the version of PyAV, which decodes videos; an empty string where it is not installed."""
    return versions(("av",)).get("av", "")


def mesh_version() -> str:
    """Give the version of MediaPipe, which finds points; an empty string where it is not installed."""
    return versions(("mediapipe",)).get("mediapipe", "")


def describe(
    manifest: Manifest,
    reasons: Mapping[int, str],
    pictures: Mapping[int, int],
    clips: Mapping[int, list[list[int]]],
    part: Path,
    target: Target,
) -> None:
    """Write everything that stands beside the array."""
    import PIL

    each = np.ones(len(manifest), np.int64)
    each[list(pictures)] = list(pictures.values())
    each[list(clips)] = [len(rows) for rows in clips.values()]
    each[list(reasons)] = 0
    usable = _repeated(manifest, each)
    if clips:
        usable = _with_facts(usable, [row for i in sorted(clips) for row in clips[i]])
    lost = (manifest.counts() > 0) & (usable.counts() == 0)
    aside = set_aside(manifest, reasons)
    with atomic_write(part / QUARANTINE) as temporary:
        escape_csv_table(aside).to_csv(temporary, index=False)
    replace(usable, notes=notes_of(manifest, usable, aside, target.frames)).save(part / MANIFEST)
    facts: dict[str, Any] = {
        "key": part.name.removesuffix(".partial"),
        "preparation": PREPARATION,
        "samples": len(usable),
        "set_aside": len(aside),
        "lost": [name for name, gone in zip(manifest.classes, lost, strict=True) if gone],
        "crop": "squeeze" if target.squeeze else target.crop.facts if target.crop else None,
        "pillow": PIL.__version__,
    }
    if how := target.sequencing:
        facts |= {"points": how.stored, "middle": _middle(part, target), "sequences": how.facts}
        facts |= {"mediapipe": mesh_version(), "av": decoder_version()} if target.crop else {}
    else:
        facts |= {"size": target.size, "channels": target.channels}
    if target.taking:
        facts |= {"clips": target.taking.facts, "av": decoder_version()}
    if manifest.content != "sequences":
        facts |= {"bits": bits_in_use(_some(usable))}
    array = part / (SEQUENCES if target.sequencing else IMAGES)
    facts["files"] = {name: digest_file(part / name) for name in (MANIFEST, QUARANTINE)}
    facts["array"] = {"bytes": array.stat().st_size, "block": BLOCK, "crc32": block_checksums(array)}
    write_json_with_digest(part / FACTS, facts)


def _middle(part: Path, target: Target) -> float | None:
    """Say where x is mirrored about; of points in files that were not normalised, by where they lie."""
    how = target.sequencing
    assert how is not None
    if how.stored not in COUNTS:
        return None
    if how.normalise != "none":
        return 0.0
    if how.of != "files":
        return 0.5
    array = np.load(part / SEQUENCES, mmap_mode="r")
    x = array[:: -(-len(array) // 1000), :, :, 0]
    low, middle, high = np.percentile(x, (2, 50, 98))
    if abs(middle) < 0.25 * (high - low):
        return 0.0
    return 0.5 if low > -0.25 and high < 1.25 else None


def set_aside(manifest: Manifest, reasons: Mapping[int, str]) -> pd.DataFrame:
    """Give the table of what cannot be used."""
    return manifest.table[["sample", "path"]].iloc[list(reasons)].assign(reason=list(reasons.values()))


def _repeated(manifest: Manifest, each: np.ndarray) -> Manifest:
    """Give every sample as many rows as it gave pictures, and each its own name."""
    table = manifest.table.iloc[np.repeat(np.arange(len(manifest)), each)].reset_index(drop=True)
    number = table.groupby("sample").cumcount() + 1
    if number.max() > 1 or manifest.content != "stills":
        # Faces of one picture have much in common; what divides by clips must not tear them apart.
        table["clip"] = table["clip"].fillna(table["sample"])
    if number.max() > 1:
        table["sample"] = table["sample"].where(number == 1, table["sample"] + "#" + number.astype("string"))
    return replace(manifest, table=table)


def _with_facts(usable: Manifest, facts: list[list[int]]) -> Manifest:
    table = usable.table.copy()
    for name, values in zip(CLIP_FACTS, np.array(facts).T, strict=True):
        table[name] = pd.array(values, dtype="Int64") if name in ("start", "end") else values
    if (table["face"] == 1).all():
        table = table.drop(columns="face")
    return replace(usable, table=table)


def notes_of(manifest: Manifest, usable: Manifest, aside: pd.DataFrame, frames: int) -> tuple[str, ...]:
    """Say what a reader of results must know of the preparation, of samples of so many frames, after the manifest's."""
    notes = list(manifest.notes)
    if len(aside):
        count = f"{len(aside):,} samples were" if len(aside) > 1 else "1 sample was"
        notes.append(f"{count} set aside while preparing: {count_reasons(aside)}")
    further = len(usable) + len(aside) - len(manifest)
    if manifest.content == "clips" or "lost" in usable.table:
        notes += _clip_notes(usable.table, len(manifest) - len(aside), manifest.content, frames)
    elif further:
        notes.append(f"further faces of a picture, given its label and subject: {further:,}")
    return tuple(notes)


def _clip_notes(table: pd.DataFrame, clips: int, content: str, frames: int) -> list[str]:
    notes = []
    if "face" in table and (further := int((table["face"] > 1).sum())):
        what = "picture" if content == "stills" else "clip"
        notes.append(f"samples of further faces of a {what}, given its label and subject: {further:,}")
    if len(table) > clips and content == "clips":
        notes.append(f"{len(table):,} samples were taken from {clips:,} clips")
    if lost := int(table["lost"].sum()):
        notes.append(f"frames of clips without a face: {lost:,}, in {int((table['lost'] > 0).sum()):,} samples")
    if short := int((table["repeated"] > 0).sum()):
        notes.append(
            f"samples of clips with fewer frames than are taken, filled up by repeating or interpolating: {short:,}"
        )
        if (share := table["repeated"].sum() / (len(table) * frames)) >= PADDED:
            notes.append(
                f"WARNING: padding: {share:.0%} of the sampled frames are repeated or interpolated, as clips are "
                "shorter than what is taken of them; take fewer frames, or closer ones (frames, every of data.clips; "
                "frames of data.sequences)"
            )
    return notes


def _some(usable: Manifest) -> list[str]:
    """Name some of the pictures, from all over the table."""
    places = np.unique(np.linspace(0, len(usable) - 1, LOOKED).round().astype(int))
    return [parts_of(str(usable.root / path))[0] for path in usable.table["path"].iloc[places].unique()]


def opened(path: Path, manifest: Manifest) -> Store:
    """Open the store, with root and notes as the caller's manifest has them today."""
    store = Store.open(path)
    stored = store.images if store.sequences is None else store.sequences
    frames = 1 if stored is None else int(stored.shape[1])
    notes = notes_of(manifest, store.manifest, store.quarantine, frames)
    bits = int(json.loads((path / FACTS).read_text(encoding="utf-8")).get("bits", 0))
    if 0 < bits <= SHALLOW:
        notes += (
            f"pictures of 16 bits in which no value has more than {bits}: they are prepared {2 ** (16 - bits)} times "
            f"darker than they are meant to be; multiply them by {2 ** (16 - bits)}, or convert them to 8 bits",
        )
    return replace(store, manifest=replace(store.manifest, root=manifest.root, notes=notes))


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
    """Return what each sample is prepared to; parameters and errors are those of ``prepare``."""
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
    """Say where the numbers of a manifest's samples come from."""
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
