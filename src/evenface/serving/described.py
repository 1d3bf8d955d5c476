"""What an exported file says of itself beside its network: written at export, read without torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evenface.errors import InputError
from evenface.evaluation.fitted import Calibration
from evenface.serving.form import Form
from evenface.serving.model import Model

FORMAT = 1
"""Number of the way in which files say what they say; a later evenface may write another."""
PREFIX = "evenface."


@dataclass(frozen=True)
class Described:
    """What is known of an exported model.

    Parameters
    ----------
    name, key, classes, ordered, one_vs_rest, form, calibration, prior, card
        As of :class:`~evenface.serving.model.Model`; ``key`` is the digest of the run's weights.
    recipe : dict
        What was trained, without the folders of the machine that trained it.
    version : str
        Of the evenface that exported it.
    precision : str
        ``float32`` or ``int8``.
    """

    name: str
    key: str
    classes: tuple[str, ...]
    ordered: bool
    one_vs_rest: bool
    form: Form
    calibration: Calibration | None
    prior: np.ndarray
    card: dict[str, Any]
    recipe: dict[str, Any]
    version: str
    precision: str = "float32"

    @classmethod
    def of(cls, model: Model, recipe: dict[str, Any], version: str) -> "Described":
        """Describe a model."""
        known = ("name", "key", "classes", "ordered", "one_vs_rest", "form", "calibration", "prior", "card")
        return cls(**{name: getattr(model, name) for name in known}, recipe=recipe, version=version)

    def words(self) -> dict[str, str]:
        """Say all of it as texts by name; each text is JSON."""
        said = {
            **vars(self),
            "format": FORMAT,
            "classes": list(self.classes),
            "form": self.form.as_dict(),
            "calibration": self.calibration.as_dict() if self.calibration else None,
            "prior": [float(share) for share in self.prior],
        }
        return {PREFIX + name: json.dumps(value) for name, value in said.items()}

    @staticmethod
    def in_int8() -> dict[str, str]:
        """Give the text that differs where a model is in 8 bits."""
        return {f"{PREFIX}precision": json.dumps("int8")}

    @classmethod
    def read(cls, words: Mapping[str, str], path: Path) -> "Described":
        """Take what :meth:`words` said.

        Raises
        ------
        InputError
            If a newer evenface said it, anything is missing or cannot be, or the face detector is not installed.
        """
        from evenface import __version__

        try:
            said = {
                name.removeprefix(PREFIX): json.loads(text) for name, text in words.items() if name.startswith(PREFIX)
            }
            if said["format"] > FORMAT:
                raise InputError(
                    f"{path} was exported by evenface {said['version']}, this is {__version__} and too old to read it",
                    "Update evenface.",
                )
            calibration = said["calibration"]
            found = cls(
                **{name: said[name] for name in ("name", "key", "ordered", "one_vs_rest", "card", "recipe")},
                classes=tuple(said["classes"]),
                form=Form.from_dict(said["form"]),
                calibration=None if calibration is None else Calibration.from_dict(calibration),
                prior=np.array(said["prior"], dtype=np.float64),
                version=said["version"],
                precision=said["precision"],
            )
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{path} does not say what evenface needs to know ({error})", "Export it again."
            ) from error
        if found.prior.shape != (len(found.classes),):
            raise InputError(f"{path} has {len(found.classes)} classes and a balance of {found.prior.shape}")
        return found
