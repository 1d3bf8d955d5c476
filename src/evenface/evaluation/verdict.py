"""Verdict of a test: the one place that turns a corrected p-value and a number of units into words."""

ALPHA = 0.05
NOTHING = "no evidence of a difference"
""""No difference" is never said: a test that does not reject is no evidence of equality."""
FEWEST = 3
"""Units below which no verdict is given: two differences always lie on one line through their mean."""
TRAINING = ("seed", "run")
"""Units that repeat training on the same samples: their spread is training noise and says nothing of other people."""


def repeats_training(unit: str) -> bool:
    """Whether all that a unit repeats is training; the names of joint units are written as ``seed × run``."""
    return all(part in TRAINING for part in unit.split(" × "))


def rejects(p: float, units: int) -> bool:
    """Whether a test rejects at 0.05 over enough units for a verdict.

    Parameters
    ----------
    p : float
        Corrected for its family of comparisons; NaN, where there is no test, does not reject.
    units : int
        Units of replication.
    """
    return units >= FEWEST and p <= ALPHA


def verdict(p: float, units: int, unit: str, found: str, missing: str = "of a difference") -> str:
    """Word the verdict of a test.

    A test that does not reject is no evidence of equality, and none is claimed; a test over seeds is about training
    noise, not about people; two units are too few for any verdict.

    Parameters
    ----------
    p, units
        As in :func:`rejects`.
    unit : str
        Name of the unit of replication, such as ``"person"``, ``"fold"`` or ``"seed"``.
    found : str
        What there is evidence of: ``"that focal is higher"``, ``"of an effect"``.
    missing : str, default="of a difference"
        What there is no evidence of.

    Examples
    --------
    >>> verdict(0.01, 40, "person", "that focal is higher")
    'evidence that focal is higher'
    >>> verdict(0.01, 5, "seed", "that focal is higher")
    'larger than training noise: focal is higher'
    >>> verdict(0.2, 5, "seed", "that focal is higher"), verdict(0.2, 40, "person", "that focal is higher")
    ('not larger than training noise', 'no evidence of a difference')
    >>> verdict(0.01, 2, "fold", "that focal is higher")
    'no verdict, as 2 units are too few'
    """
    if units < FEWEST:
        return f"no verdict, as {units} unit{'s are' if units != 1 else ' is'} too few"
    if repeats_training(unit):
        named = found.partition(" ")[2]
        return f"larger than training noise: {named}" if rejects(p, units) else "not larger than training noise"
    return f"evidence {found}" if rejects(p, units) else f"no evidence {missing}"
