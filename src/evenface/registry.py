"""Finding things by the name a user wrote, with the nearest right name when it is wrong."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from evenface.errors import InputError

Thing = TypeVar("Thing")


def find(kind: str, name: str, known: Mapping[str, Thing]) -> Thing:
    """Look ``name`` up among the ``known`` things of a kind.

    Raises
    ------
    InputError
        If there is none of that name; the hint gives the nearest ones, or all.
    """
    if name not in known:
        raise InputError(f"there is no {kind} {name!r}", nearest(name, known))
    return known[name]


def check_options(kind: str, name: str, given: Iterable[str], allowed: Iterable[str]) -> None:
    """Refuse an option that the thing does not have.

    Raises
    ------
    InputError
        Naming the first unknown option and the nearest right ones.
    """
    allowed = list(allowed)
    for option in given:
        if option not in allowed:
            raise InputError(f"{kind} {name!r} has no option {option!r}", nearest(option, allowed))


def nearest(name: str, known: Iterable[str], show: int = 12) -> str:
    """Give a sentence with the known names closest to ``name``; all of them where none is close and they are few."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=4)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    if not known:
        return "It takes none."
    if len(known) <= show:
        return f"Known: {', '.join(known)}."
    return ""
