"""What is shown on a terminal: progress with the time left, and texts that cannot command it."""

import contextlib
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

# Control characters (C0 but tab and line feed, C1) start escape sequences; the others reorder what is written.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    r"""Return a text that moves no cursor and sets no colour or title, whatever names of files and classes are in it.

    Examples
    --------
    >>> printable("a\x1b[31mb.png")
    'a\\x1b[31mb.png'
    """
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


@dataclass(frozen=True)
class ProgressBar:
    """A progress bar under way: call it with the number of units done since the last call."""

    advance: Callable[[int], None]
    say: Callable[[str], None]

    def __call__(self, done: int) -> None:
        """Move the bar by ``done`` units."""
        self.advance(done)


@contextlib.contextmanager
def progress(title: str, total: int, done: int = 0) -> Iterator[ProgressBar]:
    """Show a bar with the time left while the block runs."""
    if not sys.stderr.isatty():
        yield ProgressBar(lambda _done: None, lambda text: print(printable(text), file=sys.stderr, flush=True))
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total, completed=done)
        yield ProgressBar(
            lambda step: bar.update(task, advance=step),
            lambda text: bar.console.print(printable(text), markup=False, highlight=False),
        )
