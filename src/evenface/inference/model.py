"""A trained model as those who use it see it, wherever it comes from: a run folder, or an exported file."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evenface.evaluation.calibration import Calibration
from evenface.evaluation.label_shift import with_prior
from evenface.evaluation.probability_metrics import shares
from evenface.inference.input_spec import InputSpec
from evenface.utils.errors import InputError


class Model(ABC):
    """What can be asked for probabilities.

    Attributes
    ----------
    name : str
        What to call it.
    key : str
        Digest of its weights: another model has another.
    classes : tuple of str
        What it tells apart.
    ordered : bool
        Whether the classes are steps of one scale, in their order.
    form : Form
        How samples are prepared for it.
    one_vs_rest : bool
        Whether it judges each class by itself.
    calibration : Calibration or None
        What was fitted on validation data; none where nothing was.
    prior : ndarray of shape (C,)
        The balance of classes that its probabilities imply; see :func:`evenface.training.class_prior.implied_prior`.
    card : dict
        What is known of it: data, protocol, results.
    """

    name: str
    key: str
    classes: tuple[str, ...]
    ordered: bool
    form: InputSpec
    one_vs_rest: bool
    calibration: Calibration | None
    prior: np.ndarray
    card: dict[str, Any]

    @abstractmethod
    def ask(self, batch: np.ndarray) -> np.ndarray:
        """Give the raw answer.

        Parameters
        ----------
        batch : ndarray of shape (B,) + ``form.shape``
            uint8 pixels, or float32 numbers.

        Returns
        -------
        ndarray of shape (B, C), float64
            Probabilities; or, of a model that judges each class by itself, scores from 0 to 1.
        """

    def scores(self, batch: np.ndarray) -> np.ndarray:
        """Give what is said of prepared samples, as it was said of the test samples of the run.

        Parameters
        ----------
        batch : ndarray of shape (B, T', H, W, C), uint8, or (B, T', P, D), float32
            As a store holds them; of clips of which more frames are stored than are seen, the middles are chosen.

        Returns
        -------
        ndarray of shape (B, C), float64
            As :meth:`ask`; averaged with the mirror images where the run did so.
        """
        batch = self.form.seen(batch)
        found = self.ask(batch)
        return (found + self.ask(self.form.mirrored(batch))) / 2 if self.form.mirror else found

    def probabilities(self, batch: np.ndarray) -> np.ndarray:
        """Give probabilities of prepared samples, (B, C), as ``predictions.parquet`` holds them: not calibrated."""
        return shares(self.scores(batch))

    def calibrated(self, scores: np.ndarray, prior: np.ndarray | None = None) -> np.ndarray:
        """Give calibrated probabilities by what :meth:`scores` gave; where nothing was fitted, plain ones.

        They are corrected for a balance of classes, ``(C,)``, where one is given.
        """
        plain = shares(scores)
        if self.calibration:
            return self.calibration.apply(plain, scores, prior)
        return plain if prior is None else with_prior(plain, self.prior, prior)

    @property
    def temperature(self) -> float:
        """The temperature that was fitted on validation data, else 1."""
        return self.calibration.temperature if self.calibration else 1.0


FORMAT = 1
"""Number of the way in which files say what they say; a later evenface may write another."""
PREFIX = "evenface."


@dataclass(frozen=True)
class Described:
    """What is known of an exported model.

    Parameters
    ----------
    name, key, classes, ordered, one_vs_rest, form, calibration, prior, card
        As of :class:`~evenface.inference.model.Model`; ``key`` is the digest of the run's weights.
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
    form: InputSpec
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
        from evenface.utils.version import __version__

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
                form=InputSpec.from_dict(said["form"]),
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
