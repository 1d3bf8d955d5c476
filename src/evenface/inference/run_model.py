"""A run folder as a model: the method with its trained weights, in PyTorch."""

import logging
from functools import cached_property
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from evenface.data.manifest import TaskKind
from evenface.evaluation.calibration import Calibration
from evenface.evaluation.target_calibration import TargetCalibration, load_calibration
from evenface.evaluation.target_predictions import TargetPredictions
from evenface.inference.input_spec import InputSpec, input_spec_of
from evenface.inference.model import Model
from evenface.preprocessing.augmentation import to_float
from evenface.reporting.model_card import card_of
from evenface.runs import Run
from evenface.training import build
from evenface.training.class_prior import prior_of
from evenface.training.fabric import inference_precision


class TorchModel(Model):
    """Model of a run folder."""

    task: TaskKind

    def __init__(self, run: Run) -> None:
        self.run, self.name = run, run.folder.resolve().name
        self.input_spec = input_spec_of(run)
        self._fabric = inference_fabric(run)
        self.device = self._fabric.device
        self.method = build.trained_method(run).eval().to(self.device)
        if self.input_spec.kind != "sequences":
            self.method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.one_vs_rest, self.key = self.method.one_vs_rest, run.weights_digest
        self.calibration = load_calibration(run.folder)
        results = run.results
        if isinstance(results, TargetPredictions):
            self.task, self.classes, self.ordered, self.prior = results.task, results.names, False, np.empty(0)
            if isinstance(self.calibration, TargetCalibration):
                results = self.calibration.predictions(results)
            self.thresholds = results.thresholds
            return
        self.classes, self.ordered = tuple(run.facts["classes"]), results.ordered
        self.task = "ordinal" if self.ordered else "classification"
        self.auxiliary = run.recipe.data.auxiliary
        self.prior = self.calibration.prior if isinstance(self.calibration, Calibration) else prior_of(run).prior

    @cached_property
    def card(self) -> dict[str, Any]:  # type: ignore[override]
        """Model card of the run; see :func:`evenface.reporting.model_card.card_of`."""
        return card_of(self.run)

    @torch.inference_mode()
    def forward(self, batch: np.ndarray) -> np.ndarray:
        """Compute the scores of one view of each sample; see :meth:`Model.forward`."""
        stored = torch.from_numpy(np.ascontiguousarray(batch)).to(self.device)
        with self._fabric.autocast():
            scores = self.method.with_auxiliary(as_input(stored, self.input_spec)).double()
        return np.asarray(scores.cpu().numpy())


def inference_fabric(run: Run) -> Fabric:
    """Return device and precision for predicting with a run: the GPU if there is one and the run may use it."""
    cuda = run.recipe.training.accelerator != "cpu" and torch.cuda.is_available()
    accelerator = "cuda" if cuda else "cpu"
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it would print its precision
    return Fabric(accelerator=accelerator, devices=1, precision=inference_precision(run.precision, accelerator))


def as_input(stored: torch.Tensor, spec: InputSpec) -> torch.Tensor:
    """Convert stored samples, (B,) + ``spec.shape``, to the input of a method."""
    if spec.kind == "sequences":
        return stored
    return to_float(stored[:, 0] if spec.frames == 1 else stored)
