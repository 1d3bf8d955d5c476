"""The store: prepared faces, or sequences of numbers, in one memory-mapped array, beside their manifest."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evenface.data.manifest import Manifest
from evenface.preprocessing.blazeface import FACE_MODELS
from evenface.preprocessing.clips import FACTS as CLIP_FACTS
from evenface.preprocessing.detect_align import crop_facts
from evenface.preprocessing.image import bits_in_use
from evenface.preprocessing.landmarks import COUNTS
from evenface.preprocessing.target import (
    IMAGES,
    PREPARATION,
    SEQUENCES,
    SequenceSpec,
    Target,
    clip_facts,
    decoder_version,
)
from evenface.preprocessing.video import parts_of
from evenface.preprocessing.worker import ReadResult
from evenface.utils.errors import InputError
from evenface.utils.extras import LazyModule
from evenface.utils.files import (
    BLOCK,
    atomic_write,
    block_checksums,
    digest_file,
    disk_error,
    find_damaged_block,
    npy_header,
    read_json,
    write_json_with_digest,
)
from evenface.utils.tables import escape_csv_table, unescape_csv_cell

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LazyModule("pandas")

REMEDY = "Delete that folder and prepare again."
MANIFEST, QUARANTINE, FACTS = "manifest.parquet", "quarantine.csv", "store.json"


@dataclass(frozen=True)
class Store:
    """Prepared samples, read from disk when they are accessed.

    Parameters
    ----------
    path : Path
        Folder of the store.
    manifest : Manifest
        Usable samples only; row ``i`` describes ``images[i]`` or ``sequences[i]``.
    images : memmap of shape (N, T, H, W, C), uint8, or None
        Images with values 0 to 255, read-only; T is 1 for images, the number of sampled frames for clips; C is 1 (grey)
        or 3 (RGB). None for sequences.
    quarantine : DataFrame
        Skipped samples: ``sample``, ``path``, ``reason``.
    key : str
        Digest of the files and settings; stores with the same key have the same bytes.
    lost : tuple of str
        Names of the classes without a usable sample.
    sequences : memmap of shape (N, T, P, D), float32, or None
        D values of each of P points in T frames, read-only. None for images.
    points : str
        What the points are: one of :data:`evenface.preprocessing.landmarks.KINDS`, or blendshapes, whose names are
        :data:`evenface.preprocessing.landmarks.NAMES`; empty for images.
    middle : float or None
        Value of x, the first of the D, on the mirror axis: 0.5 where x is relative to the width of the frame, 0 where
        points are centred on the origin. None without x, or where it is in pixels.
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

    def image_digests(self, rows: np.ndarray) -> np.ndarray:
        """Compute a digest of each prepared image at ``rows``, uint64, (N, T): equal only for equal pixels."""
        images = (self.images[row] for row in rows)
        each = [hashlib.sha256(frame.tobytes()).digest()[:8] for sample in images for frame in sample]
        return np.frombuffer(b"".join(each), dtype="<u8").reshape(len(rows), -1 if len(rows) else 1)

    @classmethod
    def open(cls, path: Path | str) -> Store:
        """Open the store in the folder ``path``; only the tables and up to eight blocks of the array are read.

        Raises
        ------
        InputError
            If the folder is not a store, or parts of it are missing, damaged or inconsistent.
        """
        path = Path(path)
        try:
            facts = read_json(path / FACTS, REMEDY)
            _check_tables(path, facts)
            points = str(facts.get("points", ""))
            array = np.load(path / (SEQUENCES if points else IMAGES), mmap_mode="r")
            quarantine = pd.read_csv(path / QUARANTINE, dtype="string", keep_default_na=False).map(unescape_csv_cell)
            key, lost = str(facts["key"]), tuple(facts["lost"])
        except FileNotFoundError as error:
            name = Path(error.filename).name if error.filename else "a file"
            raise InputError(
                f"{path} is not a complete store: {name} is missing", "Choose a folder that prepare created."
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
        """Verify the checksums of the whole array; a store of an older version has none.

        Raises
        ------
        InputError
            If it is damaged.
        """
        _check_array(self.path, read_json(self.path / FACTS, REMEDY), whole=True)

    def summary(self) -> str:
        """Return one line: number of samples, of skipped samples by reason, and classes without a usable sample."""
        plural = "" if len(self) == 1 else "s"
        line = f"{len(self):,} face{plural}"
        if self.sequences is not None:
            frames, count, each = self.sequences.shape[1:]
            length = "1 frame" if frames == 1 else f"{frames} frames"
            line = f"{len(self):,} sequence{plural} of {length}, {self.points} ({count} × {each})"
        elif self.manifest.content == "clips":
            line = f"{len(self):,} sample{plural} of {self.images.shape[1]} frames"
        if "lost" in self.manifest.table and (lost := int(self.manifest.table["lost"].sum())):
            line += f", no face on {lost:,} frames"
        if len(self.quarantine):
            line += f", {len(self.quarantine):,} skipped ({QUARANTINE}: {count_reasons(self.quarantine)})"
        if self.lost:
            line += f"; no usable sample is left of {', '.join(self.lost)}"
        return line


def _check_tables(path: Path, facts: Mapping[str, Any]) -> None:
    for name, known in facts.get("files", {}).items():
        if digest_file(path / name) != known:
            raise InputError(f"the store {path} is damaged: {name} has changed since it was written", REMEDY)


def _check_array(path: Path, facts: Mapping[str, Any], *, whole: bool) -> None:
    if "array" not in facts:
        return
    name = SEQUENCES if facts.get("points") else IMAGES
    block = find_damaged_block(path / name, facts["array"]["crc32"], whole=whole)
    if block is not None:
        position = f"near byte {block * BLOCK:,}"
        raise InputError(f"the store {path} is damaged: {name} has changed since it was written, {position}", REMEDY)


def count_reasons(quarantine: pd.DataFrame) -> str:
    """Return the number of skipped samples by kind of reason: ``2 truncated, 1 missing``."""
    kinds = Counter(reason.split(":")[0] for reason in quarantine["reason"])
    return ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())


SYNC_SECONDS = 2.0
JOURNAL = "journal.jsonl"
PIECE = 4 << 20
"""Bytes copied at a time from a file of pixels."""


class StoreWriter:
    """Append samples in order, and resume after being killed at any moment.

    Only usable samples are written, consecutively, so that nothing has to be moved at the end. Every
    :data:`SYNC_SECONDS` the array is flushed to the disk, and then a journal line is written: what a line lists is on
    disk. What is after the last complete line is written again.
    """

    def __init__(self, path: Path, samples: int, target: Target) -> None:
        self.path, self.target = path, target
        self.file = path / (SEQUENCES if target.sequences else IMAGES)
        self.done, self.written = 0, 0
        self.reasons: dict[int, str] = {}
        self.several: dict[int, int] = {}
        self.clips: dict[int, list[list[int]]] = {}
        self._unsynced: dict[int, ReadResult] = {}
        self._synced = time.monotonic()
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._replay()
            self._array = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise disk_error(error, path) from error
        try:
            _reserve(self._array, len(_header(samples, target)) + samples * target.nbytes)
            self._journal = (path / JOURNAL).open("ab")
        except OSError as error:
            os.close(self._array)
            if not self.done:
                shutil.rmtree(path, ignore_errors=True)  # frees the reserved space
            raise disk_error(error, path) from error

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, *_: object) -> None:
        """Flush what is done, also after an interruption."""
        try:
            self._sync()
        finally:
            os.close(self._array)
            with contextlib.suppress(OSError):  # the full disk was reported already
                self._journal.close()

    def add(self, results: Sequence[ReadResult], pixels: bytes | Path) -> None:
        """Append the next samples: for each its number of images or the reason why it is skipped, and their pixels.

        A file of pixels is deleted once it is copied.
        """
        news = {self.done + i: result for i, result in enumerate(results) if result != 1}
        usable = sum(_count(result) for result in results)
        length = pixels.stat().st_size if isinstance(pixels, Path) else len(pixels)
        if length != usable * self.target.nbytes:
            raise InputError(f"{length} bytes were read for {usable} samples of {self.target.nbytes} bytes")
        try:
            position = len(_header(0, self.target)) + self.written * self.target.nbytes
            for piece in _pieces(pixels):
                _write_all(self._array, piece, position)
                position += len(piece)
        except OSError as error:
            raise disk_error(error, self.path) from error
        self.done += len(results)
        self.written += usable
        self._record(news)
        self._unsynced.update(news)
        if time.monotonic() - self._synced >= SYNC_SECONDS:
            self._sync()
        if isinstance(pixels, Path):
            pixels.unlink()

    def finish(self) -> None:
        """Truncate the array to the samples written and write its header."""
        header = _header(self.written, self.target)
        try:
            _write_all(self._array, header, 0)
            os.ftruncate(self._array, len(header) + self.written * self.target.nbytes)
            self._sync()
        except OSError as error:
            raise disk_error(error, self.path) from error

    def _record(self, news: dict[int, ReadResult]) -> None:
        for i, result in news.items():
            if isinstance(result, str):
                self.reasons[i] = result
            elif isinstance(result, list):
                self.clips[i] = result
            else:
                self.several[i] = result

    def _sync(self) -> None:
        several = [(i, result) for i, result in self._unsynced.items() if isinstance(result, int)]
        skipped = [(i, result) for i, result in self._unsynced.items() if isinstance(result, str)]
        line: dict[str, Any] = {"done": self.done, "written": self.written, "set_aside": skipped, "several": several}
        if clips := [(i, result) for i, result in self._unsynced.items() if isinstance(result, list)]:
            line["clips"] = clips
        try:
            os.fsync(self._array)
            self._journal.write(json.dumps(line).encode() + b"\n")
            self._journal.flush()
            os.fsync(self._journal.fileno())
        except OSError as error:
            raise disk_error(error, self.path) from error
        self._unsynced, self._synced = {}, time.monotonic()

    def _replay(self) -> None:
        """Restore the state from the journal up to its last complete line, and truncate the rest."""
        journal = self.path / JOURNAL
        if not journal.exists() or not self.file.exists():
            journal.unlink(missing_ok=True)
            return
        content = journal.read_bytes()
        complete = 0
        for line in content.splitlines(keepends=True):
            try:
                entry: dict[str, Any] = json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n"):
                break
            complete += len(line)
            self.done, self.written = entry["done"], entry["written"]
            self._record({int(i): result for i, result in _recorded(entry)})
        if complete < len(content):
            os.truncate(journal, complete)


def _count(result: ReadResult) -> int:
    """Return the number of images, or of samples of a clip."""
    if isinstance(result, str):
        return 0
    return len(result) if isinstance(result, list) else result


def _recorded(entry: dict[str, Any]) -> Iterator[tuple[int, ReadResult]]:
    for name in ("set_aside", "several", "clips"):
        yield from entry.get(name, [])


def _pieces(pixels: bytes | Path) -> Iterator[bytes]:
    if isinstance(pixels, bytes):
        yield pixels
        return
    with pixels.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def _header(samples: int, target: Target) -> bytes:
    """Return the header of an array of so many samples."""
    return npy_header(target.dtype, (samples, *target.shape))


def _reserve(file: int, length: int) -> None:
    """Reserve the whole space now, so that too small a disk fails at once and not after hours of decoding."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, length)
    else:
        os.ftruncate(file, length)


def _write_all(file: int, data: bytes, position: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, position)
        view, position = view[written:], position + written


PADDED = 0.1
"""Share of the sampled frames that are padding from which a note warns."""
BIT_DEPTH_SAMPLES = 64
"""Images whose bit depth is examined."""
SHALLOW = 14
"""Used bits of 16-bit images up to which they are prepared too dark."""


def describe(
    manifest: Manifest,
    reasons: Mapping[int, str],
    pictures: Mapping[int, int],
    clips: Mapping[int, list[list[int]]],
    part: Path,
    target: Target,
) -> None:
    """Write the files beside the array: manifest, skipped samples and description."""
    import PIL

    each = np.ones(len(manifest), np.int64)
    each[list(pictures)] = list(pictures.values())
    each[list(clips)] = [len(rows) for rows in clips.values()]
    each[list(reasons)] = 0
    usable = _expand_rows(manifest, each)
    if clips:
        usable = _add_clip_columns(usable, [row for i in sorted(clips) for row in clips[i]])
    lost = (manifest.counts() > 0) & (usable.counts() == 0)
    skipped = skipped_samples(manifest, reasons)
    with atomic_write(part / QUARANTINE) as temporary:
        escape_csv_table(skipped).to_csv(temporary, index=False)
    replace(usable, notes=notes_of(manifest, usable, skipped, target.frames)).save(part / MANIFEST)
    facts: dict[str, Any] = {
        "key": part.name.removesuffix(".partial"),
        "preparation": PREPARATION,
        "samples": len(usable),
        "set_aside": len(skipped),
        "lost": [name for name, gone in zip(manifest.classes, lost, strict=True) if gone],
        "crop": "squeeze" if target.squeeze else crop_facts(target.crop) if target.crop else None,
        "pillow": PIL.__version__,
    }
    if spec := target.sequences:
        facts |= {"points": spec.stored_points, "middle": _mirror_axis(part, spec), "sequences": spec.facts}
        facts |= {"mediapipe": FACE_MODELS, "av": decoder_version()} if target.crop else {}
    else:
        facts |= {"size": target.size, "channels": target.channels}
    if target.clips:
        facts |= {"clips": clip_facts(target.clips), "av": decoder_version()}
    if manifest.content != "sequences":
        facts |= {"bits": bits_in_use(_spread_paths(usable))}
    array = part / (SEQUENCES if target.sequences else IMAGES)
    facts["files"] = {name: digest_file(part / name) for name in (MANIFEST, QUARANTINE)}
    facts["array"] = {"bytes": array.stat().st_size, "block": BLOCK, "crc32": block_checksums(array)}
    write_json_with_digest(part / FACTS, facts)


def _mirror_axis(part: Path, spec: SequenceSpec) -> float | None:
    """Return x of the mirror axis, estimated for landmarks of files that are not normalised; None if unknown."""
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


def skipped_samples(manifest: Manifest, reasons: Mapping[int, str]) -> pd.DataFrame:
    """Return the table of skipped samples."""
    return manifest.table[["sample", "path"]].iloc[list(reasons)].assign(reason=list(reasons.values()))


def _expand_rows(manifest: Manifest, each: np.ndarray) -> Manifest:
    """Repeat the row of each sample by its number of images, each with a unique name."""
    table = manifest.table.iloc[np.repeat(np.arange(len(manifest)), each)].reset_index(drop=True)
    number = table.groupby("sample").cumcount() + 1
    if number.max() > 1 or manifest.content != "stills":
        # Faces of one image are alike, so a split by clips must keep them together.
        table["clip"] = table["clip"].fillna(table["sample"])
    if number.max() > 1:
        table["sample"] = table["sample"].where(number == 1, table["sample"] + "#" + number.astype("string"))
    return replace(manifest, table=table)


def _add_clip_columns(usable: Manifest, facts: list[list[int]]) -> Manifest:
    table = usable.table.copy()
    for name, values in zip(CLIP_FACTS, np.array(facts).T, strict=True):
        table[name] = pd.array(values, dtype="Int64") if name in ("start", "end") else values
    if (table["face"] == 1).all():
        table = table.drop(columns="face")
    return replace(usable, table=table)


def notes_of(manifest: Manifest, usable: Manifest, skipped: pd.DataFrame, frames: int) -> tuple[str, ...]:
    """Return the notes of the manifest and of its preparation into samples of so many frames."""
    notes = list(manifest.notes)
    if len(skipped):
        count = f"{len(skipped):,} samples were" if len(skipped) > 1 else "1 sample was"
        notes.append(f"{count} skipped in preprocessing: {count_reasons(skipped)}")
    further = len(usable) + len(skipped) - len(manifest)
    if manifest.content == "clips" or "lost" in usable.table:
        notes += _clip_notes(usable.table, len(manifest) - len(skipped), manifest.content, frames)
    elif further:
        notes.append(f"further faces of an image, with its label and subject: {further:,}")
    return tuple(notes)


def _clip_notes(table: pd.DataFrame, clips: int, content: str, frames: int) -> list[str]:
    notes = []
    if "face" in table and (further := int((table["face"] > 1).sum())):
        what = "an image" if content == "stills" else "a clip"
        notes.append(f"samples of further faces of {what}, with its label and subject: {further:,}")
    if len(table) > clips and content == "clips":
        notes.append(f"{len(table):,} samples are from {clips:,} clips")
    if lost := int(table["lost"].sum()):
        notes.append(f"frames of clips without a face: {lost:,}, in {int((table['lost'] > 0).sum()):,} samples")
    if short := int((table["repeated"] > 0).sum()):
        notes.append(
            f"samples of clips with fewer frames than are sampled, padded by repeating or interpolating: {short:,}"
        )
        if (share := table["repeated"].sum() / (len(table) * frames)) >= PADDED:
            notes.append(
                f"WARNING: padding: {share:.0%} of the sampled frames are repeated or interpolated, as clips have "
                "fewer frames than are sampled; reduce data.clips.frames, data.clips.stride or data.sequences.frames"
            )
    return notes


def _spread_paths(usable: Manifest) -> list[str]:
    """Return paths of some images, evenly spaced in the table."""
    rows = np.unique(np.linspace(0, len(usable) - 1, BIT_DEPTH_SAMPLES).round().astype(int))
    return [parts_of(str(usable.root / path))[0] for path in usable.table["path"].iloc[rows].unique()]


def open_store(path: Path, manifest: Manifest) -> Store:
    """Open a store, with root and notes of the caller's manifest."""
    store = Store.open(path)
    stored = store.images if store.sequences is None else store.sequences
    frames = 1 if stored is None else int(stored.shape[1])
    notes = notes_of(manifest, store.manifest, store.quarantine, frames)
    bits = int(json.loads((path / FACTS).read_text(encoding="utf-8")).get("bits", 0))
    if 0 < bits <= SHALLOW:
        notes += (
            f"16-bit images that use only {bits} bits: they are prepared {2 ** (16 - bits)} times too dark; multiply "
            f"their values by {2 ** (16 - bits)}, or convert them to 8 bits",
        )
    return replace(store, manifest=replace(store.manifest, root=manifest.root, notes=notes))


def content_of(manifest: Manifest) -> dict[str, Any]:
    """Return what the samples were before preparation: of clips, whether each is a single frame of a video.

    For files of sequences, also what was read of them.
    """
    if manifest.content == "clips":
        frames = manifest.table["end"] - manifest.table["start"]
        return {"content": manifest.content, "single_frames": bool(frames.eq(1).fillna(value=False).all())}
    if manifest.content != "sequences":
        return {"content": manifest.content}
    names = ("points", "numbers")
    first = {name: manifest.table[name].fillna("").iloc[0] if name in manifest.table else "" for name in names}
    return {"content": manifest.content, "files": {name: str(value) for name, value in first.items()}}
