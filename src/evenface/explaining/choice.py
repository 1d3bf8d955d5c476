"""How files are explained, as the user chooses."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from evenface.errors import InputError
from evenface.explaining.checking import ORDERS


@dataclass(frozen=True)
class Choice:
    """How files are explained.

    Parameters
    ----------
    method : str, optional
        One of :data:`evenface.explaining.METHODS`; see :func:`evenface.explaining.explain_samples`.
    classes : tuple of str, optional
        Which are drawn; by default all.
    samples : int, default=8
        Of a video or file of numbers: how many frames or windows are explained, those where each class is most
        probable first. Of pictures all faces are.
    check : bool, default=True
        Whether explanations are checked against random orders.
    orders : int, default=5
        Random orders of each sample.
    baseline : {"blur", "mean"}
        What places that are taken out of pictures become when it is checked.
    seed : int, default=0
        Of the random orders.

    Raises
    ------
    InputError
        If a number is below 1, or the baseline is another.
    """

    method: str | None = None
    classes: tuple[str, ...] | None = None
    samples: int = 8
    check: bool = True
    orders: int = ORDERS
    baseline: Literal["blur", "mean"] = "blur"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 1 or self.orders < 1:
            raise InputError(f"samples and orders must be >= 1, got {self.samples} and {self.orders}")
        if self.baseline not in ("blur", "mean"):
            raise InputError(f"baseline must be blur or mean, got {self.baseline!r}")

    def shown(self, classes: Sequence[str]) -> tuple[int, ...]:
        """Give the places of the classes that are drawn; an InputError names one that is not there."""
        wanted = self.classes or tuple(classes)
        for name in wanted:
            if name not in classes:
                raise InputError(f"there is no class {name!r}", f"The model tells {', '.join(classes)}.")
        return tuple(classes.index(name) for name in wanted)
