"""Models that wrap a function or a method, for the tests of explanations."""

import numpy as np
import torch

from evenface.inference.input_spec import InputSpec
from evenface.inference.model import Model
from evenface.preprocessing.augmentation import to_float

CLASSES = ("happy", "sad", "fear")


class FunctionModel(Model):
    """A model whose scores a function computes."""

    def __init__(self, spec, function, classes=CLASSES, one_vs_rest=False):
        self.name, self.key, self.classes, self.input_spec = "function", "0", classes, spec
        self.ordered, self.one_vs_rest, self.calibration, self.card = False, one_vs_rest, None, {}
        self.prior, self.function = np.full(len(classes), 1 / len(classes)), function

    def forward(self, batch):
        return np.asarray(self.function(batch), dtype=np.float64)


class MethodModel(FunctionModel):
    """A model with a method, as that of a run."""

    def __init__(self, method, spec, classes=CLASSES):
        super().__init__(spec, self.compute, classes, method.one_vs_rest)
        self.method, self.device = method.eval(), torch.device("cpu")

    @torch.no_grad()
    def compute(self, batch):
        return self.method.scores(inputs_of(self.input_spec, batch)).double().numpy()


def inputs_of(spec, batch):
    values = torch.from_numpy(np.ascontiguousarray(batch))
    return values if spec.kind == "sequences" else to_float(values[:, 0] if spec.frames == 1 else values)


def stills(size=32, **options):
    return InputSpec("stills", size, 1, **options)


def pictures(count=2, frames=1, size=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, frames, size, size, 1), dtype=np.uint8)


SEQUENCE = InputSpec("sequences", 1, 1, 6, points="features")
