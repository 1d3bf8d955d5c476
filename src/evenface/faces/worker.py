"""Processes that read and decode: threads would wait for each other, since small pictures are mostly Python.

They are plain child processes on pipes, not a pool of :mod:`multiprocessing`: a caller's script needs no
``__main__`` guard, nothing is forked under the feet of other threads, a child whose parent was killed reads the
end of its pipe and leaves, and a picture that crashes the decoder costs one child instead of the work.
"""

import contextlib
import hashlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evenface.errors import InputError
from evenface.faces.clips import read_clip
from evenface.faces.detector import Crop
from evenface.faces.mesh import read_mesh
from evenface.faces.numbers import read_numbers
from evenface.faces.read import Target, open_regular, quiet_pillow, read_sample
from evenface.faces.sequences import Sequencing
from evenface.faces.taking import Taking
from evenface.faces.trouble import UnusableError

WORKERS = "EVENFACE_WORKERS"
"""Environment variable: how many processes read."""
DYING = 5.0
"""Seconds that a process may take to die."""
Sample = tuple[str, int | None, int | None]
"""Path, start and end."""
Found = str | int | list[list[int]]
Answer = tuple[list[Found], bytes | Path]
"""For each sample how many pictures came of it (of a clip or a sequence: the facts of each), or why none did; and their
pixels or numbers in one run, or the file that holds them."""


def hash_files(paths: Sequence[str]) -> list[str]:
    """Digest each file's bytes; a file that cannot be read gives a word instead, which is content as well."""
    found = []
    for path in paths:
        try:
            with open(path, "rb", opener=open_regular) as file:
                found.append(hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest())
        except (OSError, UnusableError):
            found.append("unreadable")
    return found


def read_samples(samples: Sequence[Sample], target: Target) -> Answer:
    """Read samples: for each how many pictures it gave, or the reason why none; and their pixels in one run."""
    found: list[Found] = []
    pixels: list[bytes] = []
    with quiet_pillow():
        for path, start, end in samples:
            try:
                if target.sequencing:
                    facts, values = read_numbers(path, start, end, target.sequencing)
                    pixels.append(values)
                    found.append(facts)
                else:
                    pixels.append(read_sample(path, start, target))
                    found.append(len(pixels[-1]) // target.nbytes)
            except UnusableError as error:
                found.append(str(error))
    return found, b"".join(pixels)


def read_one_clip(clip: Sample, target: Target, spill: Path | None) -> Answer:
    """Read one clip; see :func:`~evenface.faces.clips.read_clip` and :func:`~evenface.faces.mesh.read_mesh`."""
    try:
        facts, pixels = read_mesh(*clip, target) if target.sequencing else read_clip(*clip, target, spill)
    except UnusableError as error:
        return [str(error)], b""
    return [facts], pixels


def serve() -> None:
    """Answer requests on standard input until it ends: a line of JSON each way, and the pixels after it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a decoder that prints must not talk into the answers
    _say(answers, {"ready": True})
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if "hash" in request:
            _say(answers, {"found": hash_files(request["hash"])})
            continue
        try:
            target = _target(**request["target"])
            if target.one_by_one:
                found, pixels = read_one_clip(request["read"][0], target, Path(request["spill"]))
            else:
                found, pixels = read_samples(request["read"], target)
        except InputError as error:
            _say(answers, {"error": [error.message, error.hint]})
            continue
        if isinstance(pixels, Path):
            _say(answers, {"found": found, "spilled": str(pixels)})
        else:
            _say(answers, {"found": found, "bytes": len(pixels)}, pixels)


def _target(**said: Any) -> Target:
    parts = {"crop": Crop, "taking": Taking, "sequencing": Sequencing}
    return Target(**{name: parts[name](**value) if name in parts and value else value for name, value in said.items()})


def _say(answers: Any, head: dict[str, Any], pixels: bytes = b"") -> None:
    answers.write(json.dumps(head).encode() + b"\n" + pixels)
    answers.flush()


def _exchange(child: subprocess.Popen[bytes], request: dict[str, Any]) -> Answer:
    """Send a request and wait for the whole answer; a child that died gives JSONDecodeError or BrokenPipeError."""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(json.dumps(request).encode() + b"\n")
    child.stdin.flush()
    head = json.loads(child.stdout.readline())
    if "error" in head:
        raise InputError(*head["error"])
    if "spilled" in head:
        return head["found"], Path(head["spilled"])
    pixels = child.stdout.read(head.get("bytes", 0))
    if len(pixels) != head.get("bytes", 0):
        raise BrokenPipeError
    return head["found"], pixels


class Workers:
    """A few children that hash and read; with ``count`` zero the caller's own process does it.

    Parameters
    ----------
    count : int
        How many children, >= 0.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._closed = False
        self._idle: queue.SimpleQueue[subprocess.Popen[bytes] | None] = queue.SimpleQueue()
        self._all: set[subprocess.Popen[bytes]] = set()
        self._alone = threading.Lock()
        self._threads = ThreadPoolExecutor(max(1, count), thread_name_prefix="evenface-reader")
        for _ in range(count):
            self._idle.put(None)  # started when first needed

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        """Stop at once: what the children still do is worth nothing any more."""
        self._closed = True
        for child in list(self._all):
            child.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for child in list(self._all):
            self._bury(child)

    def hashes(self, chunks: Sequence[list[str]]) -> Iterator[list[str]]:
        """Digest the files of each chunk, in order."""
        if not self.count:
            yield from map(hash_files, chunks)
        else:
            yield from self._in_order(self._hash, chunks)

    def pictures(self, chunks: Sequence[list[Sample]], target: Target) -> Iterator[Answer]:
        """Read the samples of each chunk, in order; see :func:`read_samples`."""
        if not self.count:
            yield from (read_samples(chunk, target) for chunk in chunks)
        else:
            yield from self._in_order(lambda chunk: self._read(chunk, target), chunks)

    def clips(self, clips: Sequence[Sample], target: Target, spill: Path) -> Iterator[Answer]:
        """Read clip by clip, in order; what is large lies in files in the folder ``spill``."""
        if not self.count:
            yield from (read_one_clip(clip, target, spill) for clip in clips)
        else:
            yield from self._in_order(lambda clip: self._read([clip], target, spill), clips)

    def _in_order(self, task: Any, chunks: Sequence[Any]) -> Iterator[Any]:
        """Run with a few chunks under way, never more: that bounds the memory."""
        waiting: list[Future[Any]] = []
        for chunk in chunks:
            waiting.append(self._threads.submit(task, chunk))
            if len(waiting) > 2 * self.count:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()

    def _hash(self, paths: list[str]) -> list[str]:
        answer, _ = self._ask({"hash": paths})
        return hash_files(paths) if answer is None else [str(item) for item in answer[0]]

    def _read(self, chunk: list[Sample], target: Target, spill: Path = Path()) -> Answer:
        """Read a chunk; if its child dies, read the halves, down to the one sample that kills, alone once more."""
        request = {"read": chunk, "target": asdict(target), "spill": str(spill)}
        answer, _ = self._ask(request)
        if answer is not None:
            return answer
        if len(chunk) == 1:
            answer, code = self._ask_alone(request)
            if answer is not None:
                return answer
            if code == -9:
                raise InputError(
                    f"the process that read {chunk[0][0]} was killed (signal 9) twice, at last while nothing else was "
                    "read: most likely the memory was used up",
                    "Nothing was set aside. Free memory, leave that file out, or read fewer files at a time "
                    f"({WORKERS}=1); the same call then goes on.",
                )
            return ["corrupt: it crashes the decoder"], b""
        middle = len(chunk) // 2
        first, second = self._read(chunk[:middle], target), self._read(chunk[middle:], target)
        assert isinstance(first[1], bytes)
        assert isinstance(second[1], bytes)
        return first[0] + second[0], first[1] + second[1]

    def _ask(self, request: dict[str, Any]) -> tuple[Answer | None, int]:
        """Send a request to an idle child and wait; no answer if the child died over it, but its exit code."""
        child, code = self._idle.get(), 0
        try:
            child = child or self._start()
            return _exchange(child, request), code
        except (BrokenPipeError, json.JSONDecodeError):
            code, child = self._bury(child) if child is not None else 0, None
        finally:
            self._idle.put(child)
        if self._closed:
            raise RuntimeError("the readers were stopped")
        return None, code

    def _ask_alone(self, request: dict[str, Any]) -> tuple[Answer | None, int]:
        """Send a request to a fresh child while all others wait and hold no memory."""
        with self._alone:
            for _ in range(self.count):
                if (child := self._idle.get()) is not None:
                    self._bury(child)
            self._idle.put(None)
            try:
                return self._ask(request)
            finally:
                for _ in range(self.count - 1):
                    self._idle.put(None)

    def _start(self) -> subprocess.Popen[bytes]:
        paths = os.pathsep.join(path for path in sys.path if path)
        child = subprocess.Popen(
            [sys.executable, "-P", "-c", "from evenface.faces.worker import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # One thread each: there are as many children as cores.
            env={**os.environ, "PYTHONPATH": paths, "OPENCV_FOR_THREADS_NUM": "1"},
        )
        self._all.add(child)
        assert child.stdout is not None
        if not child.stdout.readline() and not self._closed:
            raise InputError("a process that reads files did not start", "Free memory, and call again.")
        return child

    def _bury(self, child: subprocess.Popen[bytes]) -> int:
        """Remove a child, and give the exit code of one that died by itself."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(0 if self._closed else DYING)
        child.kill()
        code = child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None and not pipe.closed:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
        self._all.discard(child)
        return code
