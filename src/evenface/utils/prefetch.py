"""Prefetch an iterator in a background thread."""

import contextlib
import queue
import threading
from collections.abc import Generator, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class _Prefetcher(Generic[T]):
    """A thread that fills a queue from an iterator, and passes on its exceptions."""

    def __init__(self, items: Iterator[T], count: int) -> None:
        self.items = items
        self.ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(count)
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._fill, name="evenface-prefetch", daemon=True)

    def _put(self, item: T | None, end: BaseException | None = None) -> None:
        while not self.stopped.is_set():
            with contextlib.suppress(queue.Full):
                self.ready.put((item, end), timeout=0.1)
                return

    def _fill(self) -> None:
        end: BaseException = StopIteration()
        try:
            for item in self.items:
                self._put(item)
                if self.stopped.is_set():
                    break
            if isinstance(self.items, Generator):
                self.items.close()  # in the thread that ran it: it may hold a file or a camera
        except BaseException as error:  # raised again where the items are consumed
            end = error
        self._put(None, end)


def prefetch(items: Iterator[T], count: int) -> Iterator[T]:
    """Prefetch up to ``count`` items of an iterator in a background thread."""
    prefetcher = _Prefetcher(items, count)
    prefetcher.thread.start()
    try:
        while True:
            item, end = prefetcher.ready.get()
            if isinstance(end, StopIteration):
                return
            if end is not None:
                raise end
            yield item  # type: ignore[misc]
    finally:
        prefetcher.stopped.set()
        prefetcher.thread.join()
