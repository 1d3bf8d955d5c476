"""Models that are functions or methods, in the place of a run, for the tests of explanations."""

import numpy as np
import torch

from evenface.inference.input_spec import InputSpec
from evenface.inference.model import Model
from evenface.preprocessing.augmentation import to_float

CLASSES = ("happy", "sad", "fear")


class Asked(Model):
    """A model that is a function of what it is given."""

    def __init__(self, form, says, classes=CLASSES, one_vs_rest=False):
        self.name, self.key, self.classes, self.form = "asked", "0", classes, form
        self.ordered, self.one_vs_rest, self.calibration, self.card = False, one_vs_rest, None, {}
        self.prior, self.says = np.full(len(classes), 1 / len(classes)), says

    def ask(self, batch):
        return np.asarray(self.says(batch), dtype=np.float64)


class Held(Asked):
    """A method in the place of a run's."""

    def __init__(self, method, form, classes=CLASSES):
        super().__init__(form, self.scored, classes, method.one_vs_rest)
        self.method, self.device = method.eval(), torch.device("cpu")

    @torch.no_grad()
    def scored(self, batch):
        return self.method.scores(inputs_of(self.form, batch)).double().numpy()


def inputs_of(form, batch):
    values = torch.from_numpy(np.ascontiguousarray(batch))
    return values if form.kind == "sequences" else to_float(values[:, 0] if form.frames == 1 else values)


def stills(size=32, **options):
    return InputSpec("stills", size, 1, **options)


def pictures(count=2, frames=1, size=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, frames, size, size, 1), dtype=np.uint8)


SEQUENCE = InputSpec("sequences", 1, 1, 6, points="features")
