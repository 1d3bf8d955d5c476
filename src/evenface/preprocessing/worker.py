"""Pool of processes that read and decode: threads would wait for each other, as small images are mostly Python work."""

import hashlib
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from evenface.preprocessing.clips import read_clip
from evenface.preprocessing.face_mesh import read_mesh
from evenface.preprocessing.image import open_regular, quiet_pillow, read_sample
from evenface.preprocessing.sequence_files import read_numbers
from evenface.preprocessing.target import Target
from evenface.utils.errors import InputError, SampleError
from evenface.utils.workers import MEMORY, WorkerDiedError, WorkerPool

WORKERS = "EVENFACE_WORKERS"
"""Environment variable: number of reading processes."""
Sample = tuple[str, int | None, int | None]
"""Path, start and end."""
ReadResult = str | int | list[list[int]]
Answer = tuple[list[ReadResult], bytes | Path]
"""For each sample the number of its images (of a clip or sequence: the columns of each of its samples), or the reason
why there is none; and their values in one block, or the file that contains them."""


def hash_files(paths: Sequence[str]) -> list[str]:
    """Return the digest of each file's bytes; ``unreadable`` for a file that cannot be read."""
    results = []
    for path in paths:
        try:
            with open(path, "rb", opener=open_regular) as file:
                results.append(hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest())
        except (OSError, SampleError):
            results.append("unreadable")
    return results


def read_samples(samples: Sequence[Sample], target: Target) -> Answer:
    """Read samples; see :data:`Answer`."""
    results: list[ReadResult] = []
    pixels: list[bytes] = []
    with quiet_pillow():
        for path, start, end in samples:
            try:
                if target.sequences:
                    facts, values = read_numbers(path, start, end, target.sequences)
                    pixels.append(values)
                    results.append(facts)
                else:
                    pixels.append(read_sample(path, start, target))
                    results.append(len(pixels[-1]) // target.nbytes)
            except SampleError as error:
                results.append(str(error))
    return results, b"".join(pixels)


def read_one_clip(clip: Sample, target: Target, spill: Path | None) -> Answer:
    """Read one clip, as frames or as landmarks; see :data:`Answer`."""
    try:
        facts, pixels = read_mesh(*clip, target) if target.sequences else read_clip(*clip, target, spill)
    except SampleError as error:
        return [str(error)], b""
    return [facts], pixels


class ReaderPool:
    """Pool of processes that hash and read files; with ``count`` 0, this process does it."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool = WorkerPool(max(1, count), name="evenface-prepare", log=subprocess.DEVNULL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Stop at once: unfinished work is not needed."""
        self._pool.close()

    def hashes(self, chunks: Sequence[list[str]]) -> Iterator[list[str]]:
        """Digest the files of each chunk, in order."""
        return self._pool.map(self._hash, chunks) if self.count else map(hash_files, chunks)

    def images(self, chunks: Sequence[list[Sample]], target: Target) -> Iterator[Answer]:
        """Read the samples of each chunk, in order; see :func:`read_samples`."""
        if not self.count:
            return (read_samples(chunk, target) for chunk in chunks)
        return self._pool.map(lambda chunk: self._read(chunk, target), chunks)

    def clips(self, clips: Sequence[Sample], target: Target, spill: Path) -> Iterator[Answer]:
        """Read clip by clip, in order; large clips are written to files in the folder ``spill``."""
        if not self.count:
            return (read_one_clip(clip, target, spill) for clip in clips)
        return self._pool.map(lambda clip: self._read_clip(clip, target, spill), clips)

    def _hash(self, paths: list[str]) -> list[str]:
        try:
            return self._pool.call(hash_files, paths)
        except WorkerDiedError:
            return hash_files(paths)

    def _read(self, chunk: list[Sample], target: Target) -> Answer:
        """Read a chunk; if its process dies, read its halves, down to the sample that crashes it, which is retried."""
        try:
            return self._pool.call(read_samples, chunk, target)
        except WorkerDiedError:
            if len(chunk) == 1:
                return self._read_alone(chunk[0][0], read_samples, chunk, target)
        middle = len(chunk) // 2
        first, second = self._read(chunk[:middle], target), self._read(chunk[middle:], target)
        assert isinstance(first[1], bytes)
        assert isinstance(second[1], bytes)
        return first[0] + second[0], first[1] + second[1]

    def _read_clip(self, clip: Sample, target: Target, spill: Path) -> Answer:
        try:
            return self._pool.call(read_one_clip, clip, target, spill)
        except WorkerDiedError:
            return self._read_alone(clip[0], read_one_clip, clip, target, spill)

    def _read_alone(self, path: str, read: Callable[..., Answer], *arguments: Any) -> Answer:
        try:
            return self._pool.call_alone(read, *arguments)
        except WorkerDiedError as error:
            if not error.killed:
                return ["corrupt: it crashes the decoder"], b""
            raise InputError(
                f"the process that read {path} was killed (signal 9) twice, the second time while nothing else was "
                f"read: {MEMORY}",
                "No sample was skipped. Free memory, remove that file, or read fewer files at a time "
                f"({WORKERS}=1), and repeat the call to resume.",
            ) from error
