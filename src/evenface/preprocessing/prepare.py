"""Prepare the samples of a manifest into a store: cached, resumable, in several processes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from evenface.config.recipe import FaceCrop, FrameSampler, Sequences
from evenface.data.manifest import Manifest
from evenface.preprocessing.sequence_files import TEXT, common_shape
from evenface.preprocessing.store import FACTS, JOURNAL, Store, StoreWriter, describe, open_store, skipped_samples
from evenface.preprocessing.target import Target, store_settings, target_of
from evenface.preprocessing.video import parts_of
from evenface.preprocessing.worker import WORKERS, Answer, ReaderPool, Sample
from evenface.utils.errors import InputError
from evenface.utils.extras import LazyModule
from evenface.utils.files import IMAGE_SUFFIXES, atomic_write, digest, disk_error, exclusive_lock
from evenface.utils.progress import progress
from evenface.utils.workers import available_cores

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LazyModule("pandas")

HASH_CHUNK = 512
CHUNK_BYTES = 2 << 20
CROP_CHUNK = 16
DETECTOR_START = 64
"""Number of images that take about as long as the start of a detector."""


def prepare(
    manifest: Manifest,
    folder: Path | str,
    *,
    size: int,
    channels: int = 1,
    faces: FaceCrop | None = None,
    clips: FrameSampler | None = None,
    sequences: Sequences | None = None,
    workers: int | None = None,
) -> Store:
    """Read, crop, convert and resize every sample into one array, or open the cached result.

    The store is a subfolder of ``folder``, named by the digest of the files' bytes, the manifest and the settings. A
    later call compares only sizes and times of the files, and their bytes if these changed. A call that was stopped is
    resumed. Samples that cannot be used are skipped and listed with the reason in ``quarantine.csv``.

    Parameters
    ----------
    manifest : Manifest
        Samples to read: images, or rows of a ``.csv`` with a column ``pixels`` (``start`` is the row); clips: videos or
        folders of images; or files of sequences.
    folder : Path or str
        Folder of the stores; created if missing.
    size : int
        Height and width in pixels, 1 to 2048.
    channels : {1, 3}, default=1
        Grey or RGB.
    faces : FaceCrop, optional
        How images are cropped: to their central square (the default), to detected faces with level eyes, or not, but
        resized to a square. With ``crop="face"``, an image without a face is skipped.
    clips : FrameSampler, optional
        Frame sampling of clips, by default 16 frames, one of each of 16 equal segments. Its ``missing_face`` and
        ``max_missing`` hold for sequences too. No effect on images.
    sequences : Sequences, optional
        Sampling and normalisation of sequences. With ``source="mesh"``, the face landmarks of images and clips are
        stored in place of pixels; ``size`` and ``channels`` then have no effect, and of ``faces`` only the detector and
        which faces are used.
    workers : int, optional
        Number of reading processes; default ``EVENFACE_WORKERS``, else one per available core. 0 reads in this process,
        which is also the default for small sets of images without face detection.

    Returns
    -------
    Store
        Usable samples only, in the manifest's order. If all faces of an image are used, the second is a sample named
        ``name#2`` and so on, with the label and the subject of the image; likewise further windows of a clip. Of clips
        and sequences, the columns ``start`` and ``end`` are the range of the file's frames, ``frames`` the number of
        frames of the clip, ``lost`` the number of frames without a face (of those sampled, or those dropped), and
        ``repeated`` the number of frames that are repeated or interpolated because the clip is short.

    Raises
    ------
    InputError
        If a setting is out of range, an image spans several frames, no sample is usable, files change meanwhile, the
        disk is full, the folder is not writable, or the face detector is not installed.
    """
    target = target_of(manifest, size=size, channels=channels, faces=faces, clips=clips, sequences=sequences)
    if workers is not None and workers < 0:
        raise InputError(f"workers must be >= 0, got {workers}")
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise InputError(f"{folder} is a file", "Choose a folder for the stores.") from error
    except OSError as error:
        raise disk_error(error, folder) from error
    samples = _samples(manifest)
    paths = list(dict.fromkeys(path for path, _, _ in samples))
    settings = json.dumps(store_settings(target, manifest))
    if manifest.content != "stills":
        parts = [parts_of(path, IMAGE_SUFFIXES if manifest.content == "clips" else (TEXT,)) for path in paths]
        paths = [file for files in parts for file in files]
        settings += json.dumps([len(files) for files in parts])
    stamp = _stamp(paths, settings)
    note = folder / "index" / stamp
    key = note.read_text(encoding="utf-8").strip() if note.is_file() else ""
    if key and (folder / key / FACTS).is_file():
        return open_store(folder / key, manifest)
    with ReaderPool(_count(workers, len(samples), target)) as readers:
        key = digest(settings, *_hashes(readers, paths))
        if not (folder / key / FACTS).is_file():
            with exclusive_lock(folder / f".{key}.lock", "another process is preparing the same faces"):
                if not (folder / key / FACTS).is_file():
                    _build(manifest, samples, folder / key, target, readers)
                    _unchanged(stamp, paths, settings, folder / key, manifest)
    with atomic_write(note) as temporary:
        temporary.write_text(key, encoding="utf-8")
    return open_store(folder / key, manifest)


def _samples(manifest: Manifest) -> list[Sample]:
    root = os.path.abspath(manifest.root)  # noqa: PTH100 - must not follow links, as Path.resolve would
    paths = manifest.table["path"].fillna("").tolist()
    starts, ends = (
        [None if pd.isna(value) else int(value) for value in manifest.table[name].tolist()] for name in ("start", "end")
    )
    paths = [os.path.join(root, path) for path in paths]  # noqa: PTH118 - Path is ten times slower
    return list(zip(paths, starts, ends, strict=True))


def _stamp(paths: Sequence[str], settings: str) -> str:
    """Return a digest of paths, sizes and times of files, without reading them.

    It includes the time of the last change of the entry (ctime), because an archive that is extracted over an older one
    may restore time and size with different content.
    """
    facts = []
    for path in paths:
        try:
            status = os.stat(path)  # noqa: PTH116 - Path is several times slower
            facts.append(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}")
        except OSError:
            facts.append(f"{path}\0missing")
    return digest(settings, "\n".join(facts))


def _count(workers: int | None, samples: int, target: Target) -> int:
    """Return the number of processes: 0 for what takes less time than starting them.

    Detectors and videos always run in processes of their own: they use memory, print and may crash.
    """
    if workers is not None:
        return workers
    if given := os.environ.get(WORKERS):
        if not given.isdigit():
            raise InputError(f"{WORKERS} must be a number of processes, got {given!r}")
        return int(given)
    crop = target.crop
    if samples <= HASH_CHUNK and crop is None and not target.one_by_one:
        return 0
    cores = available_cores()
    if target.one_by_one:
        return min(cores, samples)
    return cores if crop is None else min(cores, 1 + samples // DETECTOR_START)


def _hashes(readers: ReaderPool, paths: list[str]) -> Iterator[str]:
    chunks = [paths[i : i + HASH_CHUNK] for i in range(0, len(paths), HASH_CHUNK)]
    with progress("hashing files", len(paths)) as advance:
        for hashes in readers.hashes(chunks):
            yield from hashes
            advance(len(hashes))


def _build(manifest: Manifest, samples: list[Sample], path: Path, target: Target, readers: ReaderPool) -> None:
    """Prepare into ``PATH.partial``, which is kept if this is stopped."""
    part = path.with_name(path.name + ".partial")
    what = "faces"
    if spec := target.sequences:
        what = "sequences"
        target = replace(target, sequences=spec.replace(shape=common_shape(samples, spec)))
    with StoreWriter(part, len(samples), target) as writer, progress(f"preparing {what}", len(samples)) as advance:
        advance(writer.done)
        with _answers(samples[writer.done :], part, target, readers) as answers:
            for results, pixels in answers:
                writer.add(results, pixels)
                advance(len(results))
        if len(writer.reasons) < len(samples):
            writer.finish()
    if len(writer.reasons) == len(samples):
        shutil.rmtree(part)
        table = skipped_samples(manifest, writer.reasons)
        examples = "; ".join(f"{row.path}: {row.reason}" for row in table.head(3).itertuples())
        raise InputError(
            f"{manifest.source}: none of {len(samples):,} samples is usable ({examples})", _advice(manifest)
        )
    describe(manifest, writer.reasons, writer.several, writer.clips, part, target)


@contextlib.contextmanager
def _answers(samples: list[Sample], part: Path, target: Target, readers: ReaderPool) -> Iterator[Iterator[Answer]]:
    """Read samples in order; large clips through files in a temporary folder."""
    if not target.one_by_one:
        most = CROP_CHUNK if target.crop or target.sequences else 512
        length = max(1, min(most, CHUNK_BYTES // target.nbytes))
        yield readers.images([samples[i : i + length] for i in range(0, len(samples), length)], target)
        return
    spill = part.with_name(part.name + ".spill")
    shutil.rmtree(spill, ignore_errors=True)  # left by a call that was killed
    try:
        spill.mkdir()
        yield readers.clips(samples, target, spill)
    except OSError as error:
        raise disk_error(error, spill) from error
    finally:
        shutil.rmtree(spill, ignore_errors=True)


def _advice(manifest: Manifest) -> str:
    what = {"clips": "clips", "stills": "images", "sequences": "files of sequences"}[manifest.content]
    return f"Check that {manifest.root} is the folder of the dataset and contains {what}."


def _unchanged(stamp: str, paths: Sequence[str], settings: str, path: Path, manifest: Manifest) -> None:
    """Rename the finished folder, unless a file changed after its bytes were hashed."""
    part = path.with_name(path.name + ".partial")
    if _stamp(paths, settings) != stamp:
        shutil.rmtree(part)
        raise InputError(f"{manifest.source}: files in {manifest.root} changed while they were read", "Prepare again.")
    if path.exists():  # a store without its description file
        shutil.rmtree(path)
    part.replace(path)
    (path / JOURNAL).unlink(missing_ok=True)
