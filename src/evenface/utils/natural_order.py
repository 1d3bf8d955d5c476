"""Natural sort order of file and class names: numbers are compared by value."""

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

    A name that is one number, with or without a file suffix, is sorted by its value, with sign and decimals; integers
    within other names are sorted by theirs. Case is ignored. Different names have different keys.

    Examples
    --------
    >>> sorted(["f10.png", "f9.png", "F1.png"], key=natural_key)
    ['F1.png', 'f9.png', 'f10.png']
    >>> sorted(["10.04.png", "9.96.png", "10.2.png"], key=natural_key)
    ['9.96.png', '10.04.png', '10.2.png']
    """
    if match := _NUMBERED.fullmatch(name):
        return [(0, float(match[1])), (1, (match[2] or "").lower())], name
    pieces = [piece for piece in re.split(r"([0-9]+)", name.lower()) if piece]
    return [(0, float(piece)) if piece.isdigit() and piece.isascii() else (1, piece) for piece in pieces], name


def natural_order(names: Iterable[str]) -> list[str]:
    """Sort unique names: by value if all are numbers, else in natural order with numbers before words.

    Examples
    --------
    >>> natural_order(["10.0", "2.0", "-1"]), natural_order(["PA10", "PA2", "BL1"])
    (['-1', '2.0', '10.0'], ['BL1', 'PA2', 'PA10'])
    """
    unique = set(names)
    values = {name: number_of(name) for name in unique}
    if all(value is not None for value in values.values()):
        return sorted(unique, key=lambda name: (values[name], name))
    return sorted(unique, key=natural_key)
