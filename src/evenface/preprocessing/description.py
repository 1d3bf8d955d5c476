"""What stands beside a store's array: its manifest, what was set aside, and the facts."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evenface.data.manifest import Manifest
from evenface.preprocessing.clips import FACTS as CLIP_FACTS
from evenface.preprocessing.detect import crop_facts
from evenface.preprocessing.image import bits_in_use
from evenface.preprocessing.landmarks import COUNTS
from evenface.preprocessing.store import FACTS, MANIFEST, QUARANTINE, Store, count_reasons
from evenface.preprocessing.target import (
    IMAGES,
    PREPARATION,
    SEQUENCES,
    SequenceSpec,
    Target,
    clip_facts,
    decoder_version,
    mesh_version,
)
from evenface.preprocessing.video import parts_of
from evenface.utils.files import BLOCK, atomic_write, block_checksums, digest_file, write_json_with_digest
from evenface.utils.tables import escape_csv_table

PADDED = 0.1
"""Share of the sampled frames that are padding from which a note warns."""
LOOKED = 64
"""Pictures that are looked at for the bits they use."""
SHALLOW = 14
"""Bits in use of pictures of 16 bits up to which they are prepared too dark."""


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
        "crop": "squeeze" if target.squeeze else crop_facts(target.crop) if target.crop else None,
        "pillow": PIL.__version__,
    }
    if spec := target.sequences:
        facts |= {"points": spec.stored_points, "middle": _middle(part, spec), "sequences": spec.facts}
        facts |= {"mediapipe": mesh_version(), "av": decoder_version()} if target.crop else {}
    else:
        facts |= {"size": target.size, "channels": target.channels}
    if target.clips:
        facts |= {"clips": clip_facts(target.clips), "av": decoder_version()}
    if manifest.content != "sequences":
        facts |= {"bits": bits_in_use(_some(usable))}
    array = part / (SEQUENCES if target.sequences else IMAGES)
    facts["files"] = {name: digest_file(part / name) for name in (MANIFEST, QUARANTINE)}
    facts["array"] = {"bytes": array.stat().st_size, "block": BLOCK, "crc32": block_checksums(array)}
    write_json_with_digest(part / FACTS, facts)


def _middle(part: Path, spec: SequenceSpec) -> float | None:
    """Say where x is mirrored about; of points in files that were not normalised, by where they lie."""
    if spec.stored_points not in COUNTS:
        return None
    if spec.normalise != "none":
        return 0.0
    if spec.origin != "files":
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


def content_of(manifest: Manifest) -> dict[str, Any]:
    """Say what the samples were before they were prepared; of files of numbers, what was read of them."""
    if manifest.content != "sequences":
        return {"content": manifest.content}
    names = ("points", "numbers")
    first = {name: manifest.table[name].fillna("").iloc[0] if name in manifest.table else "" for name in names}
    return {"content": manifest.content, "files": {name: str(value) for name, value in first.items()}}
