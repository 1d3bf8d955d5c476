"""Pain as change: a sum of action units like PSPI, against the person's own baseline in the same clip."""

from collections.abc import Mapping

import numpy as np

from evenface.utils.errors import InputError

STATEMENT = (
    "A change in apparent muscle movements like those of PSPI. It has not been validated on patients and is no measure "
    "of felt pain."
)
BASELINE = 0.1
"""Quantile of a clip's own values that is the person's baseline, where none is given."""
FEWEST = 8
"""Frames below which a clip has no baseline of its own."""


def pspi_like(units: Mapping[str, np.ndarray]) -> np.ndarray:
    """Compute AU4 + max(AU6, AU7) + max(AU9, AU10) + AU43 of intensities, shape (N,).

    Parameters
    ----------
    units : mapping of str to ndarray of shape (N,)
        Intensities from 0 to 5 of ``AU4``, ``AU6`` or ``AU7``, ``AU9`` or ``AU10``; and ``AU43`` (eyes closed) from 0
        to 1, as UNBC-McMaster codes it. A missing AU43 counts as 0; values beyond these ranges are cut.

    Returns
    -------
    ndarray of shape (N,)
        0 to 16.

    Raises
    ------
    InputError
        If a unit is missing that the sum cannot do without.

    References
    ----------
    Prkachin and Solomon, *The structure, reliability and validity of pain expression*, Pain 2008.

    Examples
    --------
    >>> pspi_like({"AU4": np.array([2.0]), "AU6": np.array([1.0]), "AU9": np.array([0.0]), "AU43": np.array([1.0])})
    array([4.])
    """
    groups = (("AU4",), ("AU6", "AU7"), ("AU9", "AU10"))
    for group in groups:
        if not set(group) & set(units):
            known = ", ".join(units) or "none"
            raise InputError(
                f"pain as change needs the intensity of {' or '.join(group)}; the model has {known}",
                "Train one: evenface train synthetic-pain-units.",
            )
    parts = [np.max([np.clip(units[name], 0, 5) for name in group if name in units], axis=0) for group in groups]
    return np.asarray(sum(parts) + np.clip(units.get("AU43", 0.0), 0, 1))


def pain_change(score: np.ndarray, baseline: float | None = None) -> np.ndarray:
    """Subtract the person's baseline from the scores of a clip, shape (N,).

    Parameters
    ----------
    score : ndarray of shape (N,)
        Result of :func:`pspi_like` for the frames of one person, NaN where no face was found.
    baseline : float, optional
        Score of the person at rest; by default the 10 % quantile of the clip's own scores.

    Returns
    -------
    ndarray of shape (N,)
        NaN where the score is, and everywhere if there are fewer than 8 frames to find a baseline in.
    """
    score = np.asarray(score, dtype=np.float64)
    if baseline is None:
        known = score[~np.isnan(score)]
        baseline = float(np.quantile(known, BASELINE)) if len(known) >= FEWEST else float("nan")
    return score - baseline
