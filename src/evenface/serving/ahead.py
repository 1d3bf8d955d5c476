"""Walking ahead: one thread prepares what another one takes."""

import contextlib
import queue
import threading
from collections.abc import Generator, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class _Walk(Generic[T]):
    """A thread that walks through an iterator and hands on what it gives, or raises."""

    def __init__(self, items: Iterator[T], count: int) -> None:
        self.items = items
        self.ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(count)
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._walk, name="evenface-prepare", daemon=True)

    def _put(self, item: T | None, ending: BaseException | None = None) -> None:
        while not self.stopped.is_set():
            with contextlib.suppress(queue.Full):
                self.ready.put((item, ending), timeout=0.1)
                return

    def _walk(self) -> None:
        ending: BaseException = StopIteration()
        try:
            for item in self.items:
                self._put(item)
                if self.stopped.is_set():
                    break
            if isinstance(self.items, Generator):
                self.items.close()  # here, where it was walked through: it may hold a file or a camera
        except BaseException as error:  # for whoever takes the items to deal with
            ending = error
        self._put(None, ending)


def ahead(items: Iterator[T], count: int) -> Iterator[T]:
    """Walk through an iterator in another thread.

    Parameters
    ----------
    items : iterator
        What it raises is raised here, in its place. Who stops taking stops it, after the item it is at.
    count : int
        Items that may wait, >= 1.
    """
    walk = _Walk(items, count)
    walk.thread.start()
    try:
        while True:
            item, ending = walk.ready.get()
            if isinstance(ending, StopIteration):
                return
            if ending is not None:
                raise ending
            yield item  # type: ignore[misc]
    finally:
        walk.stopped.set()
        walk.thread.join()
