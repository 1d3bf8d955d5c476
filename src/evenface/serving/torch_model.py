"""A run folder as a model: the method with the weights that were tested."""

import hashlib

import numpy as np
import torch
from lightning_fabric import Fabric

from evenface import learner
from evenface.augment import to_float
from evenface.balance import implied_prior
from evenface.evaluation.fitted import Calibration
from evenface.runs import Run
from evenface.serving.form import form_of
from evenface.serving.model import Model


class TorchModel(Model):
    """A run, ready to be asked.

    Parameters
    ----------
    run : Run
        One that has ended.

    Attributes
    ----------
    run : Run
        As given.
    method : Method
        Of evaluation mode, on ``device``.
    device : torch.device
        A GPU where there is one and the recipe allows it, else the CPU.

    Raises
    ------
    InputError
        If its weights are missing or damaged, or what prepares its faces is not installed.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.name = run, run.folder.resolve().name
        self.form = form_of(run)
        options = run.recipe.training
        cuda = options.accelerator != "cpu" and torch.cuda.is_available()
        precision = options.precision if cuda or options.precision != "16-mixed" else "32-true"
        self._fabric = Fabric(accelerator="cuda" if cuda else "cpu", devices=1, precision=precision)
        self.device = self._fabric.device
        self.method = learner.trained_method(run).eval().to(self.device)
        if self.form.kind != "sequences":
            self.method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.detects, self.classes = self.method.detects, tuple(run.facts["classes"])
        self.ordered = run.predictions.ordered
        self.calibration = Calibration.load(run.folder)
        counts = run.facts["counts"]["train"]
        self.prior = self.calibration.prior if self.calibration else implied_prior(run.recipe, counts).prior
        with run.weights.open("rb") as file:
            self.key = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        self.card = {
            "name": self.name,
            "about": run.recipe.about,
            "paper": run.recipe.paper,
            "data": run.recipe.data.source,
            "protocol": run.recipe.protocol.kind,
            "samples": run.facts["counts"],
            "notes": run.facts["notes"],
        }

    @torch.inference_mode()
    def ask(self, batch: np.ndarray) -> np.ndarray:
        """Give the raw answer; see :meth:`Model.ask`."""
        inputs = torch.from_numpy(np.ascontiguousarray(batch)).to(self.device)
        if self.form.kind != "sequences":
            inputs = to_float(inputs[:, 0] if self.form.frames == 1 else inputs)
        with self._fabric.autocast():
            found = self.method.scores(inputs).double()
        return np.asarray(found.cpu().numpy())
