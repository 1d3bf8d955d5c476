"""A run folder as a model: the method with the weights that were tested."""

import logging
from functools import cached_property
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from evenface.evaluation.calibration import Calibration
from evenface.inference.input_spec import InputSpec, input_spec_of
from evenface.inference.model import Model
from evenface.preprocessing.augmentation import to_float
from evenface.reporting.model_card import card_of
from evenface.runs import Run
from evenface.training import build
from evenface.training.class_prior import prior_of
from evenface.training.fabric import inference_precision


class TorchModel(Model):
    """A run, ready to be asked."""

    def __init__(self, run: Run) -> None:
        self.run, self.name = run, run.folder.resolve().name
        self.form = input_spec_of(run)
        options = run.recipe.training
        cuda = options.accelerator != "cpu" and torch.cuda.is_available()
        precision = inference_precision(run.precision, "cuda" if cuda else "cpu")
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it would tell its precision on the screen
        self._fabric = Fabric(accelerator="cuda" if cuda else "cpu", devices=1, precision=precision)
        self.device = self._fabric.device
        self.method = build.trained_method(run).eval().to(self.device)
        if self.form.kind != "sequences":
            self.method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.one_vs_rest, self.classes = self.method.one_vs_rest, tuple(run.facts["classes"])
        self.ordered = run.predictions.ordered
        self.calibration = Calibration.load(run.folder)
        self.prior = self.calibration.prior if self.calibration else prior_of(run).prior
        self.key = run.weights_digest

    @cached_property
    def card(self) -> dict[str, Any]:  # type: ignore[override]
        """What is known of the run; see :func:`evenface.reporting.model_card.card_of`."""
        return card_of(self.run)

    @torch.inference_mode()
    def ask(self, batch: np.ndarray) -> np.ndarray:
        """Give the raw answer; see :meth:`Model.ask`."""
        stored = torch.from_numpy(np.ascontiguousarray(batch)).to(self.device)
        with self._fabric.autocast():
            found = self.method.scores(as_input(stored, self.form)).double()
        return np.asarray(found.cpu().numpy())


def as_input(stored: torch.Tensor, form: InputSpec) -> torch.Tensor:
    """Turn samples as they are stored, (B,) + ``form.shape``, into what a method takes."""
    if form.kind == "sequences":
        return stored
    return to_float(stored[:, 0] if form.frames == 1 else stored)
