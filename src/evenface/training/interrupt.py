"""Ctrl-C that waits for the end of a step, so that what is saved is whole."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Interrupt:
    """Whether somebody pressed Ctrl-C."""

    pressed = False


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Interrupt]:
    """Note the first Ctrl-C instead of raising; the second raises at once.

    Elsewhere than in the main thread, where Python allows no signal handlers, Ctrl-C stays as it was.

    Yields
    ------
    Interrupt
        Ask its ``pressed`` between two steps.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return

    def note(_number: int, _frame: FrameType | None) -> None:
        if interrupt.pressed:
            raise KeyboardInterrupt
        interrupt.pressed = True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
