"""Natural order: numbers by their value, in names of files and of classes."""

import math
import re
from collections.abc import Iterable

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_NUMBERED = re.compile(r"([+-]?[0-9]+(?:\.[0-9]+)?)(\.[A-Za-z][A-Za-z0-9]*)?", re.ASCII)

Key = tuple[list[tuple[int, float | str]], str]


def number_of(name: str) -> float | None:
    """Return the value of a name that is a finite decimal number and nothing else, else None.

    Examples
    --------
    >>> number_of("-2.50"), number_of("1e1"), number_of("nan"), number_of("1_0")
    (-2.5, 10.0, None, None)
    """
    if not _NUMBER.fullmatch(name):
        return None
    value = float(name)
    return value if math.isfinite(value) else None


def natural_key(name: str) -> Key:
    """Return a sort key for natural order.

    A name that is one number, perhaps with a file's suffix, is placed by its value, with sign and decimals; whole
    numbers within other names are placed by theirs. Case does not matter. Two names never have the same key.

    Examples
    --------
    >>> sorted(["f10.png", "f9.png", "F1.png"], key=natural_key)
    ['F1.png', 'f9.png', 'f10.png']
    >>> sorted(["10.04.png", "9.96.png", "10.2.png"], key=natural_key)
    ['9.96.png', '10.04.png', '10.2.png']
    """
    if whole := _NUMBERED.fullmatch(name):
        return [(0, float(whole[1])), (1, (whole[2] or "").lower())], name
    pieces = [piece for piece in re.split(r"([0-9]+)", name.lower()) if piece]
    return [(0, float(piece)) if piece.isdigit() and piece.isascii() else (1, piece) for piece in pieces], name


def natural_order(names: Iterable[str]) -> list[str]:
    """Sort different names: by value where all are numbers, else in natural order with numbers before words.

    Examples
    --------
    >>> natural_order(["10.0", "2.0", "-1"]), natural_order(["PA10", "PA2", "BL1"])
    (['-1', '2.0', '10.0'], ['BL1', 'PA2', 'PA10'])
    """
    every = set(names)
    values = {name: number_of(name) for name in every}
    if all(value is not None for value in values.values()):
        return sorted(every, key=lambda name: (values[name], name))
    return sorted(every, key=natural_key)
