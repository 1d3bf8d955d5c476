"""Render a folder of pictures or clips in worker processes; refuse a folder of other settings."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Protocol, TypeVar

from evenface.errors import InputError
from evenface.workers import WorkerDiedError, WorkerPool

_CHUNK = 24


class OfPerson(Protocol):
    """Anything to draw of one person."""

    @property
    def person(self) -> int:
        """The person's number."""


Wanted = TypeVar("Wanted", bound=OfPerson)


def check_settings(folder: Path, settings: dict[str, object], suffix: str) -> None:
    """Refuse a folder that holds files of other settings, or files of that suffix and no settings.

    Raises
    ------
    InputError
        Naming the settings that differ.
    """
    path = folder / "settings.json"
    if not path.exists():
        if folder.is_dir() and any(folder.glob(f"*/*{suffix}")):
            raise InputError(f"{folder} holds files that were not made here", "Choose another folder.")
        return
    try:
        old = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} cannot be read", "Delete the folder, or choose another.") from error
    if old != settings:
        other = [name for name in settings if not isinstance(old, dict) or old.get(name) != settings[name]]
        raise InputError(
            f"{folder} holds what was made with other settings ({', '.join(other)})",
            "Choose another folder, or delete it.",
        )


def draw_all(draw: Callable[[Sequence[Wanted]], int], wanted: Sequence[Wanted], workers: int) -> Iterator[int]:
    """Draw all that is wanted, in this process or in several, and say how many are done as they are.

    Parameters
    ----------
    draw : callable
        Draws pieces of one person and returns their number; must be picklable with more than one worker.
    wanted : sequence
        In order of people. A person's head and skin are made once per piece.
    workers : int
        Processes.

    Raises
    ------
    InputError
        If a process is killed.
    """
    people = (list(own) for _, own in groupby(wanted, key=lambda one: one.person))
    pieces = [own[at : at + _CHUNK] for own in people for at in range(0, len(own), _CHUNK)]
    if workers <= 1 or len(pieces) < 2:
        for one in wanted:
            yield draw([one])
        return
    with WorkerPool(min(workers, len(pieces)), name="evenface-synthesis") as pool:
        try:
            for _, done in pool.map_unordered(partial(pool.call, draw), pieces):
                yield done
        except WorkerDiedError as error:
            raise InputError(
                f"faces are not all drawn: {error}", "Ask for fewer workers. Call again: what is finished is kept."
            ) from error
