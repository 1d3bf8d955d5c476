"""The stages of a method, laid over the epochs of a run."""

from collections.abc import Sequence
from dataclasses import dataclass

from evenface.errors import InputError
from evenface.methods.base import Stage


@dataclass(frozen=True)
class Span:
    """The epochs of one stage.

    Parameters
    ----------
    index : int
        Number of the stage, from 0.
    first, end : int
        Its first epoch, and the one after its last.
    sampling : str or None
        What takes the place of the recipe's sampling.
    """

    index: int
    first: int
    end: int
    sampling: str | None


def spans(stages: Sequence[Stage], epochs: int) -> tuple[Span, ...]:
    """Divide epochs among stages by their shares, each at least one epoch.

    Raises
    ------
    InputError
        If there are fewer epochs than stages.

    Examples
    --------
    >>> [(span.first, span.end) for span in spans([Stage(0.9), Stage(0.1)], epochs=5)]
    [(0, 4), (4, 5)]
    """
    if epochs < len(stages):
        raise InputError(f"training.epochs is {epochs}, the method trains in {len(stages)} stages of whole epochs")
    found, first, share = [], 0, 0.0
    for index, stage in enumerate(stages):
        share += stage.share
        after = len(stages) - 1 - index
        end = min(max(round(share * epochs), first + 1), epochs - after) if after else epochs
        found.append(Span(index, first, end, stage.sampling))
        first = end
    return tuple(found)
