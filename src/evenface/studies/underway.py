"""How far groups of runs are that train as one: a worker writes it to a file, whoever waits reads it."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from evenface.progress import Bar


def tell_share(file: Path, share: float) -> None:
    """Write the share that is done, 0 to 1; where that is not possible nothing is lost."""
    with contextlib.suppress(OSError):
        beside = file.with_suffix(".new")
        beside.write_text(f"{share:.4f}", encoding="utf-8")
        beside.replace(file)


class UnderWay:
    """Moves a bar of runs by what groups say of themselves.

    Parameters
    ----------
    folder : Path
        Where the groups write.
    sizes : sequence of int
        Runs of each group.
    bar : Bar
        Counts runs.
    """

    def __init__(self, folder: Path, sizes: Sequence[int], bar: Bar) -> None:
        self.folder, self.bar = folder, bar
        self.left = dict(enumerate(sizes))
        self.shown = dict.fromkeys(self.left, 0)

    def file(self, place: int) -> Path:
        """Name the file that a group writes to."""
        return self.folder / f"{place}.txt"

    def look(self) -> None:
        """Count of each group as many runs as its share comes to."""
        for place, size in self.left.items():
            with contextlib.suppress(OSError, ValueError):
                done = int(size * min(1.0, float(self.file(place).read_text(encoding="utf-8"))))
                self.bar(max(0, done - self.shown[place]))
                self.shown[place] = max(done, self.shown[place])

    def ended(self, place: int) -> None:
        """Count all runs of a group."""
        self.bar(self.left.pop(place) - self.shown[place])


@contextlib.contextmanager
def under_way(folder: Path, sizes: Sequence[int], bar: Bar) -> Iterator[UnderWay]:
    """Make the folder that groups write to, and leave nothing of it behind."""
    shutil.rmtree(folder, ignore_errors=True)  # what a kill left
    folder.mkdir()
    try:
        yield UnderWay(folder, sizes, bar)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
