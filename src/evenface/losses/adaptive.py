"""Adaptive loss selection: the loss of a binary classifier chosen by class imbalance."""

from dataclasses import dataclass
from typing import Any, Literal

from evenface.utils.errors import InputError

EXTREME = 12.0
"""Ratio above which equation 9 changes the weight of focal loss."""


@dataclass(frozen=True)
class AdaptiveLossSelection:
    r"""Choose focal loss, weighted or plain cross-entropy for one class against the rest.

    By the ratio r of negatives over positives in training: focal loss above ``severe``, cross-entropy with weight r on
    positives above ``moderate``, and plain cross-entropy up to it.

    Parameters
    ----------
    severe : float, default=11.5
        Above it focal loss is taken. Infinity never takes it.
    moderate : float, default=3.5
        Above it positives are weighted; a ratio that equals it is plain cross-entropy's. At most ``severe``.
    boundary : {"exclusive", "inclusive"}
        Whether a ratio that equals ``severe`` is severe. The paper prints both, and gives its class of ratio 11.5
        focal loss.
    gamma : float, default=2.0
        Of focal loss, >= 0.
    alpha : float, default=0.75
        Weight of positives in focal loss, 0 to 1; negatives have 1 - alpha.
    alpha_rule : {"none", "adaptive"}
        ``adaptive``: above a ratio of 12, alpha is min(0.8, 0.25 + 0.1 (r - 5)), which is 0.8 for all such ratios.

    Raises
    ------
    InputError
        If a value cannot be.

    References
    ----------
    Winarno et al., *Efficient GRU-based facial expression recognition with adaptive loss selection*, 2025, eq. 5 to 9.

    Examples
    --------
    >>> [AdaptiveLossSelection().choose(ratio)[0] for ratio in (2.1, 5.9, 11.6)]
    ['cross-entropy', 'cross-entropy', 'focal']
    >>> AdaptiveLossSelection().choose(5.9)
    ('cross-entropy', {'alpha': [1.0, 5.9]})
    """

    severe: float = 11.5
    moderate: float = 3.5
    boundary: Literal["exclusive", "inclusive"] = "exclusive"
    gamma: float = 2.0
    alpha: float = 0.75
    alpha_rule: Literal["none", "adaptive"] = "none"

    def __post_init__(self) -> None:
        wrong = next((text for text, holds in self._rules().items() if not holds), None)
        if wrong:
            raise InputError(f"loss 'adaptive': {wrong}")

    def _rules(self) -> dict[str, bool]:
        numbers = all(isinstance(v, int | float) for v in (self.severe, self.moderate, self.gamma, self.alpha))
        return {
            "severe, moderate, gamma and alpha must be numbers": numbers,
            f"0 <= moderate <= severe must hold, got {self.moderate} and {self.severe}": numbers
            and 0 <= self.moderate <= self.severe,
            f"boundary must be exclusive or inclusive, got {self.boundary!r}": self.boundary
            in ("exclusive", "inclusive"),
            f"gamma must be >= 0, got {self.gamma}": numbers and self.gamma >= 0,
            f"alpha must be 0 to 1, got {self.alpha}": numbers and 0 <= self.alpha <= 1,
            f"alpha_rule must be none or adaptive, got {self.alpha_rule!r}": self.alpha_rule in ("none", "adaptive"),
        }

    def choose(self, ratio: float) -> tuple[str, dict[str, Any]]:
        """Return name and options of the loss for an unrounded ratio of negatives to positives."""
        if ratio > self.severe or (self.boundary == "inclusive" and ratio == self.severe):
            alpha = self.alpha
            if self.alpha_rule == "adaptive" and ratio > EXTREME:
                alpha = min(0.8, 0.25 + (ratio - 5) * 0.1)
            return "focal", {"gamma": self.gamma, "alpha": [1 - alpha, alpha]}
        if ratio > self.moderate:
            return "cross-entropy", {"alpha": [1.0, ratio]}
        return "cross-entropy", {}
