"""Interface of a trained model, common to run folders and ONNX files, and the metadata of an exported model."""

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
    """A trained model that computes class probabilities.

    Attributes
    ----------
    name : str
        Name for display.
    key : str
        Digest of the weights; models with different weights have different keys.
    classes : tuple of str
        Class names, in the order of the probabilities.
    ordered : bool
        Whether the classes are ordinal levels, in ascending order.
    input_spec : InputSpec
        How samples are prepared.
    one_vs_rest : bool
        Whether each class is scored by a binary classifier of its own.
    calibration : Calibration or None
        Calibration fitted on validation data; None if there is none.
    prior : ndarray of shape (C,)
        Class prior implied by training; see :func:`evenface.training.class_prior.implied_prior`.
    card : dict
        Model card: data, protocol, results.
    """

    name: str
    key: str
    classes: tuple[str, ...]
    ordered: bool
    input_spec: InputSpec
    one_vs_rest: bool
    calibration: Calibration | None
    prior: np.ndarray
    card: dict[str, Any]

    @abstractmethod
    def forward(self, batch: np.ndarray) -> np.ndarray:
        """Compute the scores of one view of each sample.

        Parameters
        ----------
        batch : ndarray of shape (B,) + ``input_spec.shape``
            uint8 pixels, or float32 landmarks or features.

        Returns
        -------
        ndarray of shape (B, C), float64
            Probabilities; of a one-vs-rest model, scores from 0 to 1 that need not sum to 1.
        """

    def scores(self, batch: np.ndarray) -> np.ndarray:
        """Compute the scores of prepared samples, as for the test samples of the run.

        Parameters
        ----------
        batch : ndarray of shape (B, T', H, W, C), uint8, or (B, T', P, D), float32
            Samples as a store holds them. Of more frames than the network takes, evenly spaced ones are used.

        Returns
        -------
        ndarray of shape (B, C), float64
            As :meth:`forward`; averaged over both views where the run uses flip test-time augmentation.
        """
        batch = self.input_spec.select_frames(batch)
        scores = self.forward(batch)
        return (scores + self.forward(self.input_spec.mirrored(batch))) / 2 if self.input_spec.mirror else scores

    def probabilities(self, batch: np.ndarray) -> np.ndarray:
        """Compute uncalibrated probabilities of prepared samples, (B, C), as ``predictions.parquet`` holds them."""
        return shares(self.scores(batch))

    def calibrated(self, scores: np.ndarray, prior: np.ndarray | None = None) -> np.ndarray:
        """Convert the result of :meth:`scores` to calibrated probabilities, (B, C).

        Without a fitted calibration the probabilities are uncalibrated. They are corrected for the class prior
        ``(C,)`` if one is given.
        """
        uncalibrated = shares(scores)
        if self.calibration:
            return self.calibration.apply(uncalibrated, scores, prior)
        return uncalibrated if prior is None else with_prior(uncalibrated, self.prior, prior)

    @property
    def temperature(self) -> float:
        """Calibration temperature; 1 without a fitted calibration."""
        return self.calibration.temperature if self.calibration else 1.0


FORMAT = 1
"""Version of the metadata format; files of a higher one are refused."""
PREFIX = "evenface."


@dataclass(frozen=True)
class ModelMetadata:
    """Metadata of an exported model.

    Parameters
    ----------
    name, key, classes, ordered, one_vs_rest, input_spec, calibration, prior, card
        As in :class:`~evenface.inference.model.Model`; ``key`` is the digest of the run's weights.
    recipe : dict
        The recipe, without directories of the machine it was trained on.
    version : str
        Version of evenface that exported it.
    precision : str
        ``float32`` or ``int8``.
    """

    name: str
    key: str
    classes: tuple[str, ...]
    ordered: bool
    one_vs_rest: bool
    input_spec: InputSpec
    calibration: Calibration | None
    prior: np.ndarray
    card: dict[str, Any]
    recipe: dict[str, Any]
    version: str
    precision: str = "float32"

    @classmethod
    def of(cls, model: Model, recipe: dict[str, Any], version: str, precision: str = "float32") -> "ModelMetadata":
        """Collect the metadata of a model."""
        names = ("name", "key", "classes", "ordered", "one_vs_rest", "input_spec", "calibration", "prior", "card")
        fields = {name: getattr(model, name) for name in names}
        return cls(**fields, recipe=recipe, version=version, precision=precision)

    def to_properties(self) -> dict[str, str]:
        """Return the metadata as ONNX properties: JSON by name."""
        fields = {
            **{name: value for name, value in vars(self).items() if name != "input_spec"},
            "format": FORMAT,
            "classes": list(self.classes),
            "form": self.input_spec.as_dict(),
            "calibration": self.calibration.as_dict() if self.calibration else None,
            "prior": [float(share) for share in self.prior],
        }
        return {PREFIX + name: json.dumps(value) for name, value in fields.items()}

    @classmethod
    def from_properties(cls, properties: Mapping[str, str], path: Path) -> "ModelMetadata":
        """Restore from the result of :meth:`to_properties`.

        Raises
        ------
        InputError
            If the file is of a newer evenface, a field is missing or invalid, or the face detector is not installed.
        """
        from evenface.utils import __version__

        try:
            fields = {
                name.removeprefix(PREFIX): json.loads(value)
                for name, value in properties.items()
                if name.startswith(PREFIX)
            }
            if fields["format"] > FORMAT:
                raise InputError(
                    f"{path} was exported by evenface {fields['version']}; this is {__version__}, which is too old to "
                    "read it",
                    "Update evenface.",
                )
            calibration = fields["calibration"]
            metadata = cls(
                **{name: fields[name] for name in ("name", "key", "ordered", "one_vs_rest", "card", "recipe")},
                classes=tuple(fields["classes"]),
                input_spec=InputSpec.from_dict(fields["form"]),
                calibration=None if calibration is None else Calibration.from_dict(calibration),
                prior=np.array(fields["prior"], dtype=np.float64),
                version=fields["version"],
                precision=fields["precision"],
            )
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path} has missing or invalid metadata ({error})", "Export the run again.") from error
        if metadata.prior.shape != (len(metadata.classes),):
            raise InputError(
                f"{path} has {len(metadata.classes)} classes and a class prior of shape {metadata.prior.shape}",
                "Export the run again.",
            )
        return metadata
