"""Finding things by the name a user wrote, with the nearest right name when it is wrong."""

import difflib
import sys
from collections.abc import Iterable, Mapping, MutableMapping
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


def register(kind: str, name: str, thing: Thing, known: MutableMapping[str, Thing]) -> None:
    """Make a class known by a name.

    Raises
    ------
    ValueError
        If the name is taken by another. A class of the same name from the same file takes its own earlier place, so
        that a file may be imported again.
    """
    old = known.get(name, thing)
    if old is not thing and _origin(old) != _origin(thing):
        file, own_name = _origin(old)
        raise ValueError(f"there already is a {kind} {name!r}: {own_name} of {file}")
    known[name] = thing


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


def _origin(thing: object) -> tuple[str, str]:
    """Say in which file, or else module, a class was written, and its name there."""
    module = str(getattr(thing, "__module__", ""))
    return getattr(sys.modules.get(module), "__file__", None) or module, getattr(thing, "__qualname__", "")
