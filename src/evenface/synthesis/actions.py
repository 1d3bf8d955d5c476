"""Facial action units, prototypical expressions composed of them, and the pain score PSPI."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
AUS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 16, 17, 18, 20, 23, 24, 25, 26, 43)

# EMFACS-like prototypes: variants of each expression with the intensity of their units at full strength. Each person
# has individual probabilities of the variants; similar expressions share most units on purpose.
PROTOTYPES: dict[str, tuple[dict[int, float], ...]] = {
    "happy": (
        {6: 0.7, 12: 0.85},
        {6: 0.9, 12: 1.0, 25: 0.9, 7: 0.2},
        {6: 1.0, 12: 1.0, 25: 1.0, 26: 0.45, 7: 0.3},
        {12: 0.8, 14: 0.3},
    ),
    "sad": (
        {1: 0.95, 4: 0.5, 15: 0.85},
        {1: 0.9, 4: 0.6, 15: 0.9, 17: 0.7},
        {1: 0.8, 15: 0.7, 17: 0.4, 43: 0.3, 7: 0.2},
        {4: 0.5, 1: 0.7, 15: 0.6, 24: 0.4},
    ),
    "surprise": (
        {1: 0.95, 2: 0.95, 5: 0.8, 25: 0.6, 26: 0.8},
        {1: 0.9, 2: 1.0, 5: 0.6, 26: 0.5, 25: 0.4},
        {1: 0.8, 2: 0.8, 5: 0.7, 18: 0.35, 26: 0.6, 25: 0.4},
        {1: 0.9, 2: 0.9, 5: 0.9},
    ),
    "fear": (
        {1: 0.9, 2: 0.5, 4: 0.6, 5: 0.9, 7: 0.25, 20: 0.8, 25: 0.7},
        {1: 0.9, 2: 0.6, 4: 0.5, 5: 0.9, 20: 0.8, 25: 0.6, 26: 0.45},
        {1: 1.0, 4: 0.5, 5: 0.8, 20: 0.5, 25: 0.3},
        {1: 0.8, 2: 0.7, 4: 0.3, 5: 1.0, 25: 0.5, 26: 0.5, 20: 0.35},
    ),
    "disgust": (
        {9: 0.95, 10: 0.6, 4: 0.4, 7: 0.4, 17: 0.3},
        {9: 0.6, 10: 0.95, 25: 0.5, 16: 0.4},
        {9: 0.9, 10: 0.5, 15: 0.5, 17: 0.6, 4: 0.5, 7: 0.5},
        {10: 0.85, 9: 0.5, 15: 0.35, 6: 0.3},
    ),
    "angry": (
        {4: 1.0, 5: 0.4, 7: 0.7, 23: 0.7, 24: 0.4},
        {4: 0.9, 7: 0.8, 23: 0.5, 17: 0.5},
        {4: 1.0, 5: 0.5, 7: 0.6, 10: 0.5, 16: 0.5, 25: 0.8, 26: 0.3, 9: 0.25},
        {4: 0.8, 7: 0.6, 24: 0.7, 15: 0.3},
    ),
    "neutral": ({},),
}


@dataclass(frozen=True)
class ActionUnits:
    """Intensity of each action unit on each side of the face, shape (len(AUS), 2), 0 to 1."""

    values: Array

    def intensity(self, unit: int) -> float:
        """Return the mean intensity of both sides for action unit ``unit``; 0 if it is not modelled."""
        return float(self.values[AUS.index(unit)].mean()) if unit in AUS else 0.0

    def pspi(self) -> float:
        """Return the pain score (PSPI) AU4 + max(AU6, AU7) + max(AU9, AU10) + AU43 on its usual scale, 0 to 16.

        References
        ----------
        Prkachin and Solomon, *The structure, reliability and validity of pain expression*, Pain 139, 2008. Units 4 to
        10 count 0 to 5 each, closed eyes 0 or 1; here closed eyes are continuous.
        """
        au = self.intensity
        return 5 * (au(4) + max(au(6), au(7)) + max(au(9), au(10))) + au(43)


def action_units(strengths: Mapping[int, float]) -> ActionUnits:
    """Create symmetric action units from ``{number: intensity}``; the others are 0.

    Raises
    ------
    ValueError
        If a number is not in :data:`AUS` or an intensity is outside 0 to 1.
    """
    values = np.zeros((len(AUS), 2))
    for unit, strength in strengths.items():
        if unit not in AUS:
            raise ValueError(f"action unit {unit} is not modelled; available: {', '.join(map(str, AUS))}")
        if not 0 <= strength <= 1:
            raise ValueError(f"action unit {unit}: the intensity must be between 0 and 1, got {strength}")
        values[AUS.index(unit)] = strength
    return ActionUnits(values)
