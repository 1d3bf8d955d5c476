"""Progress bars on a terminal, and strings without control characters."""

import contextlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

# Control characters (C0 except tab and line feed, C1) start escape sequences; the others change the text direction.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    r"""Return a string with control characters escaped, so that names of files cannot change the terminal.

    Examples
    --------
    >>> printable("a\x1b[31mb.png")
    'a\\x1b[31mb.png'
    """
    return _UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], text)


@dataclass
class Screen:
    """How much is shown beside results: nothing if quiet; the lines of a run's log and tracebacks too if verbose."""

    quiet: bool = False
    verbose: bool = False


SCREEN = Screen()
"""Set by the command line for each command."""


def say(text: str) -> None:
    """Print a line that is no result to standard error, unless the screen is quiet."""
    if not SCREEN.quiet:
        print(printable(text), file=sys.stderr, flush=True)


def skipped_lines(messages: Sequence[str], show: int = 10) -> list[str]:
    """Return the lines of a summary that name the inputs that were skipped, and count those beyond ``show``.

    Examples
    --------
    >>> skipped_lines(["a.png: not found", "b.png: no face", "c.txt: not an image"], show=2)
    ['skipped  a.png: not found', 'skipped  b.png: no face', 'skipped  1 more']
    """
    lines = [f"skipped  {message}" for message in messages[:show]]
    return [*lines, f"skipped  {len(messages) - show:,} more"] if len(messages) > show else lines


@dataclass(frozen=True)
class ProgressBar:
    """A running progress bar: call it with the number of units done since the last call."""

    advance: Callable[[int], None]
    say: Callable[[str], None]

    def __call__(self, done: int) -> None:
        """Advance the bar by ``done`` units."""
        self.advance(done)


@contextlib.contextmanager
def progress(title: str, total: int, done: int = 0) -> Iterator[ProgressBar]:
    """Show a progress bar with the remaining time while the block runs."""
    if SCREEN.quiet or not sys.stderr.isatty():
        yield ProgressBar(lambda _done: None, say)
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
