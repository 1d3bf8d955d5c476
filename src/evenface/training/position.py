"""How far a run has come."""

from dataclasses import dataclass, field


@dataclass
class Position:
    """How far a run has come.

    Parameters
    ----------
    epoch, step : int
        Epoch under way, and steps of it that are done.
    loss_sum : float
        Sum of the step losses of this epoch so far.
    history : list of dict
        One row per epoch that has ended.
    seconds : float
        Time spent on all that.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
