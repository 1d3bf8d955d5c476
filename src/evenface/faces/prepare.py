"""Prepare: from a manifest's files to a store, once, whatever happens on the way."""

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from evenface.data.manifest import Manifest
from evenface.errors import InputError
from evenface.faces.building import JOURNAL, Building
from evenface.faces.detector import Crop
from evenface.faces.read import Target
from evenface.faces.store import FACTS, MANIFEST, QUARANTINE, Store, count_reasons
from evenface.faces.worker import Sample, Workers
from evenface.files import atomic_write, digest, disk_error, write_json
from evenface.progress import progress

PREPARATION = 1
"""Version of what reading does to pixels; a change makes new stores."""

HASH_CHUNK = 512
CHUNK_BYTES = 2 << 20
CROP_CHUNK = 16
DETECTOR_START = 64
"""Pictures that take about as long as to start a detector."""
LARGEST = 2048


def prepare(
    manifest: Manifest,
    folder: Path | str,
    *,
    size: int,
    channels: int = 1,
    crop: Crop | None = None,
    workers: int | None = None,
) -> Store:
    """Read, crop, convert and resize every sample into one array, or find it already made.

    The store stands in ``folder`` under a name that is the digest of the files' bytes, the manifest and the
    settings. A second call looks only at sizes and times of the files; if those changed, at the bytes; and
    decodes again only what has no store yet. A call that was killed is taken up where it stopped. Samples that
    cannot be used are listed with the reason in ``quarantine.csv``.

    Parameters
    ----------
    manifest : Manifest
        Samples to read: pictures, or rows of a ``.csv`` with a column ``pixels`` (``start`` is the row).
    folder : Path or str
        Where stores are kept; made if missing.
    size : int
        Height and width in pixels, 1 to 2048.
    channels : {1, 3}, default=1
        Grey or RGB.
    crop : Crop, optional
        How to find faces and crop to them, eyes level; a picture without a face is set aside. None crops pictures
        to their central square.
    workers : int, optional
        Processes that read; none means one per core that this process may use, and zero reads in this process,
        as is done for small sets anyway where no faces are looked for.

    Returns
    -------
    Store
        Usable samples only, in the manifest's order. Where all faces of a picture are kept, the second is a sample
        of its own called ``name#2`` and so on, with the label and the subject of the picture.

    Raises
    ------
    InputError
        If a setting is out of range, a sample spans several frames, no sample is usable, files change
        meanwhile, the disk is full, the folder cannot be written to, or the face detector is not installed.
    """
    _check(manifest, size, channels, crop, workers)
    target = Target(size, channels, crop)
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise InputError(f"{folder} is a file", "Give a folder for the stores.") from error
    except OSError as error:
        raise disk_error(error, folder) from error
    settings = json.dumps([PREPARATION, size, channels, manifest.hash, *([crop.facts] if crop else [])])
    samples = _samples(manifest)
    paths = list(dict.fromkeys(path for path, _ in samples))
    stamp = _stamp(paths, settings)
    note = folder / "index" / stamp
    key = note.read_text(encoding="utf-8").strip() if note.is_file() else ""
    if key and (folder / key / FACTS).is_file():
        return _opened(folder / key, manifest)
    with Workers(_count(workers, len(samples), crop)) as readers:
        key = digest(settings, *_hashes(readers, paths))
        if not (folder / key / FACTS).is_file():
            with _lock(folder / f".{key}.lock"):
                if not (folder / key / FACTS).is_file():
                    _build(manifest, samples, folder / key, target, readers)
                    _unchanged(stamp, paths, settings, folder / key, manifest)
    with atomic_write(note) as temporary:
        temporary.write_text(key, encoding="utf-8")
    return _opened(folder / key, manifest)


def _check(manifest: Manifest, size: int, channels: int, crop: Crop | None, workers: int | None) -> None:
    if not 1 <= size <= LARGEST:
        raise InputError(f"size must be 1 to {LARGEST} pixels, got {size}")
    if channels not in (1, 3):
        raise InputError(f"channels must be 1 (grey) or 3 (RGB), got {channels}")
    if workers is not None and workers < 0:
        raise InputError(f"workers must be >= 0, got {workers}")
    spans = ((manifest.table["end"] - manifest.table["start"]) > 1).fillna(value=False).to_numpy(dtype=bool)
    if spans.any():
        name = manifest.table["sample"].iloc[int(spans.argmax())]
        raise InputError(f"{manifest.source}: the sample {name} spans several frames", "Only stills can be prepared.")
    if crop and crop.which == "all" and (taken := manifest.table["sample"].str.contains(r"#\d+$")).any():
        name = manifest.table["sample"][taken].iloc[0]
        raise InputError(
            f"{manifest.source}: the sample {name} is named as the further faces of a picture are",
            "Keep only the largest face of each picture, or rename it.",
        )


def _samples(manifest: Manifest) -> list[Sample]:
    root = os.path.abspath(manifest.root)  # noqa: PTH100 - must not follow links, as Path.resolve would
    paths = manifest.table["path"].fillna("").tolist()
    starts = manifest.table["start"].tolist()
    return [
        (os.path.join(root, path), None if pd.isna(start) else int(start))  # noqa: PTH118 - Path is ten times slower
        for path, start in zip(paths, starts, strict=True)
    ]


def _stamp(paths: Sequence[str], settings: str) -> str:
    """Digest where the files lie and what the file system says of them, without reading any.

    The time of the last change of the entry (ctime) is in it beside that of the content, because an archive
    unpacked over an older one may restore the old time and size with other bytes.
    """
    facts = []
    for path in paths:
        try:
            found = os.stat(path)  # noqa: PTH116 - Path is several times slower
            facts.append(f"{path}\0{found.st_size}\0{found.st_mtime_ns}\0{found.st_ctime_ns}")
        except OSError:
            facts.append(f"{path}\0missing")
    return digest(settings, "\n".join(facts))


def _count(workers: int | None, samples: int, crop: Crop | None) -> int:
    """How many processes: none for what takes less time than to start them.

    A detector always gets its own: it takes memory, prints to the screen and may crash.
    """
    if workers is not None:
        return workers
    if samples <= HASH_CHUNK and crop is None:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if crop is None else min(cores, 1 + samples // DETECTOR_START)


def _hashes(readers: Workers, paths: list[str]) -> Iterator[str]:
    chunks = [paths[i : i + HASH_CHUNK] for i in range(0, len(paths), HASH_CHUNK)]
    with progress("looking at the files", len(paths)) as advance:
        for found in readers.hashes(chunks):
            yield from found
            advance(len(found))


def _build(manifest: Manifest, samples: list[Sample], path: Path, target: Target, readers: Workers) -> None:
    """Decode into ``PATH.partial``, finish it and give it its name; keep what is done if this is stopped."""
    part = path.with_name(path.name + ".partial")
    length = max(1, min(CROP_CHUNK if target.crop else 512, CHUNK_BYTES // target.nbytes))
    with Building(part, len(samples), target) as building:
        first = building.done
        chunks = [samples[i : i + length] for i in range(first, len(samples), length)]
        with progress("preparing faces", len(samples)) as advance:
            advance(first)
            for found, pixels in readers.pictures(chunks, target):
                building.add(found, pixels)
                advance(len(found))
        reasons, several = building.reasons, building.several
        if len(reasons) < len(samples):
            building.finish()
    table = manifest.table[["sample", "path"]].iloc[list(reasons)].assign(reason=list(reasons.values()))
    if len(reasons) == len(samples):
        shutil.rmtree(part)
        first_ones = "; ".join(f"{row.path}: {row.reason}" for row in table.head(3).itertuples())
        raise InputError(
            f"{manifest.source}: none of {len(samples):,} samples is usable ({first_ones})", _advice(manifest)
        )
    each = np.ones(len(samples), np.int64)
    each[list(several)] = list(several.values())
    each[list(reasons)] = 0
    _describe(manifest, table, each, part, target)


def _advice(manifest: Manifest) -> str:
    return f"Check that {manifest.root} is the data set's folder and holds pictures."


def _describe(manifest: Manifest, table: pd.DataFrame, each: np.ndarray, part: Path, target: Target) -> None:
    """Write everything that stands beside the array; ``each`` is how many pictures every sample gave."""
    import PIL

    usable = _repeated(manifest, each)
    lost = (manifest.counts() > 0) & (usable.counts() == 0)
    with atomic_write(part / QUARANTINE) as temporary:
        table.to_csv(temporary, index=False)
    replace(usable, notes=_notes(manifest, table, len(usable))).save(part / MANIFEST)
    write_json(
        part / FACTS,
        {
            "key": part.name.removesuffix(".partial"),
            "preparation": PREPARATION,
            "size": target.size,
            "channels": target.channels,
            "crop": target.crop.facts if target.crop else None,
            "samples": len(usable),
            "set_aside": len(table),
            "lost": [name for name, gone in zip(manifest.classes, lost, strict=True) if gone],
            "pillow": PIL.__version__,
        },
    )


def _repeated(manifest: Manifest, each: np.ndarray) -> Manifest:
    """Give every sample as many rows as it gave pictures, and each its own name."""
    table = manifest.table.iloc[np.repeat(np.arange(len(manifest)), each)].reset_index(drop=True)
    number = table.groupby("sample").cumcount() + 1
    if number.max() > 1:
        # Faces of one picture have much in common; what divides by clips must not tear them apart.
        table["clip"] = table["clip"].fillna(table["sample"])
        table["sample"] = table["sample"].where(number == 1, table["sample"] + "#" + number.astype("string"))
    return replace(manifest, table=table)


def _notes(manifest: Manifest, quarantine: pd.DataFrame, pictures: int) -> tuple[str, ...]:
    """Say what a reader of results must know of the preparation, after what the manifest says."""
    notes = list(manifest.notes)
    if len(quarantine):
        count = f"{len(quarantine):,} samples were" if len(quarantine) > 1 else "1 sample was"
        notes.append(f"{count} set aside while preparing: {count_reasons(quarantine)}")
    further = pictures + len(quarantine) - len(manifest)
    if further:
        notes.append(f"further faces of a picture, given its label and subject: {further:,}")
    return tuple(notes)


def _unchanged(stamp: str, paths: Sequence[str], settings: str, path: Path, manifest: Manifest) -> None:
    """Give the finished folder its name, unless a file changed after its bytes were digested."""
    part = path.with_name(path.name + ".partial")
    if _stamp(paths, settings) != stamp:
        shutil.rmtree(part)
        raise InputError(f"{manifest.source}: files in {manifest.root} changed while they were read", "Prepare again.")
    if path.exists():  # a store whose facts were deleted by hand
        shutil.rmtree(path)
    part.replace(path)
    (path / JOURNAL).unlink(missing_ok=True)


def _opened(path: Path, manifest: Manifest) -> Store:
    """Open the store, with root and notes as the caller's manifest has them today."""
    store = Store.open(path)
    return replace(
        store,
        manifest=replace(store.manifest, root=manifest.root, notes=_notes(manifest, store.quarantine, len(store))),
    )


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Let one process build a store; the system takes the lock back when its holder ends, however it ends."""
    try:
        import fcntl
    except ImportError:  # no such locks on Windows
        yield
        return
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another process is preparing the same faces; waiting for it", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
