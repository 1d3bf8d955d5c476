"""The methods that are tried against plain training, and those that may be named in place of a recipe."""

from typing import Any

from evenface.registry import find

BASELINE = "erm"
CANDIDATES: dict[str, dict[str, Any]] = {
    "logit-adjustment": {"loss": {"name": "logit-adjustment"}},
    "class-balanced": {"loss": {"name": "class-balanced"}},
    "resampling": {"training.sampling": "inverse"},
    "focal": {"loss": {"name": "focal"}},
}
"""What is tried: its settings by dotted key. Each changes one thing, and costs no more than plain training."""
WHY = {
    "logit-adjustment": "takes the balance of training out of the loss (Menon et al., ICLR 2021)",
    "class-balanced": "weighs classes by their effective number (Cui et al., CVPR 2019)",
    "resampling": "draws all classes equally often",
    "focal": "attends to hard samples (Lin et al., ICCV 2017)",
}


def named_settings(name: str) -> dict[str, Any]:
    """Give the settings of a method that is named on the command line: a candidate, a method or a loss.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    from evenface.losses import LOSSES
    from evenface.methods import METHODS

    if name in CANDIDATES:
        return CANDIDATES[name]
    if name in METHODS:
        return {"method": {"name": name}}
    find("method", name, {**dict.fromkeys(METHODS), **dict.fromkeys(LOSSES), **dict.fromkeys(CANDIDATES)})
    return {"loss": {"name": name}}
