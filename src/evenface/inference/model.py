"""Interface of a trained model, common to run folders and ONNX files, and the metadata of an exported model."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evenface.config.predict import RELIABLE, PredictSettings
from evenface.data.manifest import TARGET_TASKS, TaskKind
from evenface.evaluation.calibration import Calibration
from evenface.evaluation.label_shift import with_prior
from evenface.evaluation.probability_metrics import shares
from evenface.evaluation.target_calibration import TargetCalibration, calibration_from
from evenface.inference.input_spec import InputSpec
from evenface.utils.errors import InputError


class Model(ABC):
    """A trained model that computes class probabilities, or predicts targets: action units, pain scores, valence.

    Attributes
    ----------
    name : str
        Name for display.
    key : str
        Digest of the weights; models with different weights have different keys.
    task : {"classification", "ordinal", "regression", "multilabel"}
        What is predicted.
    classes : tuple of str
        Class names, in the order of the probabilities; of a regression or multi-label model, the names of the targets.
    auxiliary : tuple of str
        Names of the auxiliary targets, such as action units, whose values follow those of the classes; usually none.
    thresholds : tuple of float, or None
        Multi-label: probability from which each target is present, after calibration.
    ordered : bool
        Whether the classes are ordinal levels, in ascending order.
    input_spec : InputSpec
        How samples are prepared.
    one_vs_rest : bool
        Whether each class is scored by a binary classifier of its own.
    calibration : Calibration, TargetCalibration or None
        Calibration fitted on validation data; None if there is none.
    prior : ndarray of shape (C,)
        Class prior implied by training; see :func:`evenface.training.class_prior.implied_prior`. Empty without classes.
    card : dict
        Model card: data, protocol, results.
    """

    name: str
    key: str
    task: TaskKind = "classification"
    classes: tuple[str, ...]
    auxiliary: tuple[str, ...] = ()
    thresholds: tuple[float, ...] | None = None
    ordered: bool
    input_spec: InputSpec
    one_vs_rest: bool
    calibration: Calibration | TargetCalibration | None
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
        ndarray of shape (B, C + T), float64
            Probabilities; of a one-vs-rest model, scores from 0 to 1 that need not sum to 1. Of a multi-label model the
            probability of each target, of a regression its value in its own unit. The values of the T auxiliary
            targets follow.
        """

    def outputs(self, batch: np.ndarray, meshes: Sequence[np.ndarray | None] = ()) -> np.ndarray:  # noqa: ARG002
        """Compute the :meth:`scores` of prepared samples, followed by the values of auxiliary targets, (B, C + T).

        ``meshes`` are for models that take points of the face mesh beside the crop: those (468, 3) that are known.
        """
        batch = self.input_spec.select_frames(batch)
        outputs = self.forward(batch)
        return (outputs + self.forward(self.input_spec.mirrored(batch))) / 2 if self.input_spec.mirror else outputs

    def scores(self, batch: np.ndarray) -> np.ndarray:
        """Compute the scores of prepared samples, as for the test samples of the run.

        Parameters
        ----------
        batch : ndarray of shape (B, T', H, W, C), uint8, or (B, T', P, D), float32
            Samples as a store holds them. Of more frames than the network takes, evenly spaced ones are used.

        Returns
        -------
        ndarray of shape (B, C), float64
            As :meth:`forward` without auxiliary targets; averaged over both views where the run uses flip test-time
            augmentation.
        """
        return self.outputs(batch)[:, : len(self.classes)]

    def probabilities(self, batch: np.ndarray) -> np.ndarray:
        """Compute uncalibrated probabilities of prepared samples, (B, C), as ``predictions.parquet`` holds them.

        Of a regression its values.
        """
        scores = self.scores(batch)
        return scores if self.task in TARGET_TASKS else shares(scores)

    def calibrated(self, scores: np.ndarray, prior: np.ndarray | None = None) -> np.ndarray:
        """Convert the result of :meth:`scores` to calibrated probabilities, (B, C); values of a regression stay.

        Without a fitted calibration the probabilities are uncalibrated. Those of classes are corrected for the class
        prior ``(C,)`` if one is given.
        """
        if isinstance(self.calibration, TargetCalibration):
            return self.calibration.apply(scores)
        if self.task in TARGET_TASKS:
            return scores
        uncalibrated = shares(scores)
        if self.calibration:
            return self.calibration.apply(uncalibrated, scores, prior)
        return uncalibrated if prior is None else with_prior(uncalibrated, self.prior, prior)

    @property
    def temperature(self) -> float:
        """Calibration temperature; 1 without a fitted calibration of classes."""
        return self.calibration.temperature if isinstance(self.calibration, Calibration) else 1.0

    def shown(self, *, everything: bool = False) -> tuple[str, ...]:
        """Return the auxiliary targets that are shown: those that are known to be right on real faces often enough.

        A card with ``real_faces`` has the ROC-AUC of units there, which must be at least :data:`RELIABLE`; without it,
        or with ``everything``, all are shown.
        """
        measured = self.card.get("real_faces") if self.auxiliary and not everything else None
        if measured is None:
            return self.auxiliary
        return tuple(name for name in self.auxiliary if measured["units"].get(name, 0.0) >= RELIABLE)

    def label(self, values: np.ndarray, abstain: float | None = None) -> str:
        """Return the label of the calibrated outputs of one sample; see :func:`label_of`."""
        return label_of(values, self.classes, self.task, thresholds=self.thresholds, abstain=abstain)


def label_of(
    values: np.ndarray,
    names: Sequence[str],
    task: TaskKind = "classification",
    *,
    thresholds: Sequence[float] | None = None,
    abstain: float | None = None,
) -> str:
    """Return the label of the outputs of one sample.

    The most probable class, or none if its probability is below ``abstain``; the targets of a multi-label model that
    reach their thresholds, such as ``AU6+AU12``; nothing for a regression, whose values are the prediction.

    Examples
    --------
    >>> label_of(np.array([0.71, 0.2, 0.88]), ("AU6", "AU9", "AU12"), "multilabel", thresholds=(0.5, 0.5, 0.5))
    'AU6+AU12'
    """
    if task == "regression":
        return ""
    if task == "multilabel":
        return "+".join(name for name, p, t in zip(names, values, thresholds or (), strict=True) if p >= t)
    best = int(values.argmax())
    return "" if abstain is not None and values[best] < abstain else names[best]


def check_task(settings: PredictSettings, model: Model) -> None:
    """Raise InputError if a setting is for classes or auxiliary targets, and the model has none."""
    if settings.all_units and not model.auxiliary:
        raise InputError(f"{model.name} predicts no action units beside its classes", "Leave out --all-units.")
    if model.task not in TARGET_TASKS:
        return
    for name in ("prior", "abstain"):
        if getattr(settings, name) is not None:
            raise InputError(
                f"{name} is for models of classes; {model.name} predicts {', '.join(model.classes)} ({model.task})",
                f"Leave out --{name}.",
            )


FORMAT, UNITS_FORMAT, EARLIER_FORMAT, FIRST_FORMAT = 4, 3, 2, 1
"""Version of the metadata format; files of a higher one are refused. The first has neither targets nor baselines, the
second no targets beside classes, the third no mesh points."""
PREFIX = "evenface."


@dataclass(frozen=True)
class ModelMetadata:
    """Metadata of an exported model.

    Parameters
    ----------
    name, key, classes, ordered, one_vs_rest, input_spec, calibration, prior, card, task, thresholds, auxiliary
        As in :class:`~evenface.inference.model.Model`; ``key`` is the digest of the run's weights.
    recipe : dict
        The recipe, without directories of the machine it was trained on.
    version : str
        Version of evenface that exported it.
    precision : str
        ``float32`` or ``int8``.
    mesh : ndarray of shape (16, 3), or None
        Reference that mesh points are aligned to, of a model that takes them beside the crop; see
        :func:`~evenface.preprocessing.mesh_points.point_input`.
    """

    name: str
    key: str
    classes: tuple[str, ...]
    ordered: bool
    one_vs_rest: bool
    input_spec: InputSpec
    calibration: Calibration | TargetCalibration | None
    prior: np.ndarray
    card: dict[str, Any]
    recipe: dict[str, Any]
    version: str
    precision: str = "float32"
    task: TaskKind = "classification"
    thresholds: tuple[float, ...] | None = None
    auxiliary: tuple[str, ...] = ()
    mesh: np.ndarray | None = None

    @classmethod
    def of(cls, model: Model, recipe: dict[str, Any], version: str, precision: str = "float32") -> "ModelMetadata":
        """Collect the metadata of a model."""
        names = ("name", "key", "classes", "ordered", "one_vs_rest", "input_spec", "calibration", "prior", "card")
        fields = {name: getattr(model, name) for name in (*names, "task", "thresholds", "auxiliary")}
        return cls(**fields, recipe=recipe, version=version, precision=precision)

    def to_properties(self) -> dict[str, str]:
        """Return the metadata as ONNX properties: JSON by name."""
        of_targets = self.task in TARGET_TASKS
        left = ["input_spec", *(() if of_targets else ("task", "thresholds"))]
        left += [] if self.auxiliary else ["auxiliary"]
        left += ["mesh"] if self.mesh is None else []
        earlier = EARLIER_FORMAT if of_targets or self.input_spec.baseline is not None else FIRST_FORMAT
        fields = {
            **{name: value for name, value in vars(self).items() if name not in left},
            "format": FORMAT if self.mesh is not None else UNITS_FORMAT if self.auxiliary else earlier,
            "classes": list(self.classes),
            "form": self.input_spec.as_dict(),
            "calibration": self.calibration.as_dict() if self.calibration else None,
            "prior": [float(share) for share in self.prior],
        }
        if self.mesh is not None:
            fields["mesh"] = self.mesh.tolist()
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
            calibration, thresholds, mesh = fields["calibration"], fields.get("thresholds"), fields.get("mesh")
            metadata = cls(
                **{name: fields[name] for name in ("name", "key", "ordered", "one_vs_rest", "card", "recipe")},
                classes=tuple(fields["classes"]),
                input_spec=InputSpec.from_dict(fields["form"]),
                calibration=None if calibration is None else calibration_from(calibration),
                prior=np.array(fields["prior"], dtype=np.float64),
                version=fields["version"],
                precision=fields["precision"],
                task=fields.get("task", "ordinal" if fields["ordered"] else "classification"),
                thresholds=None if thresholds is None else tuple(map(float, thresholds)),
                auxiliary=tuple(fields.get("auxiliary", ())),
                mesh=None if mesh is None else np.array(mesh, np.float32),
            )
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path} has missing or invalid metadata ({error})", "Export the run again.") from error
        metadata._check(path)
        return metadata

    def _check(self, path: Path) -> None:
        """Raise InputError if the number of classes or targets differs within the metadata."""
        count, again = len(self.classes), "Export the run again."
        if self.task not in TARGET_TASKS and self.prior.shape != (count,):
            raise InputError(f"{path} has {count} classes and a class prior of shape {self.prior.shape}", again)
        if self.task == "multilabel" and len(self.thresholds or ()) != count:
            raise InputError(f"{path} has {count} targets and {len(self.thresholds or ())} thresholds", again)
        if isinstance(self.calibration, TargetCalibration) and self.calibration.names != self.classes:
            raise InputError(f"{path} is calibrated for other targets than it predicts", again)
