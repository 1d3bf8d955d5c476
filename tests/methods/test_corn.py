"""Conditional ordinal regression (CORN).

Values of the public program were computed by Raschka-research-group/coral-pytorch, 313482f, on the same tensors.
"""

import math

import pytest
import torch
from small import Small
from target_batches import wave
from torch import nn

from evenface.losses import build_loss
from evenface.methods import Task, build_method
from evenface.models.backbone import Outputs

COUNTS = [5, 9, 4, 2]


class Given(nn.Module):
    """A network whose images are its logits."""

    def __init__(self):
        super().__init__()
        self.classifier = nn.Linear(2, 4)

    def forward(self, images):
        return Outputs(images, images, images)


def corn(alpha=None, counts=COUNTS):
    task = Task(counts, tuple("abcd"), batch_size=4, ordered=True)
    return build_method("corn", Given(), build_loss("cross-entropy", counts, alpha=alpha, absent=True), task=task)


TARGETS = torch.tensor([0, 1, 2, 3, 3, 1])


def test_the_mean_is_what_the_authors_program_gives():
    logits = wave(6, 3).requires_grad_()
    value = corn()(logits, TARGETS).mean()
    value.backward()
    assert value.item() == pytest.approx(1.25203023, rel=1e-7)
    expected = [0.0679594, 0.0, 0.0, -0.01321959, 0.0654629, 0.0, -0.0617603, -0.00504297, 0.05477005, -0.0676471]
    expected += [-0.04356607, -0.00338957, -0.04148313, -0.0677573, -0.01814578, -0.00476741, 0.01051268, 0.0]
    torch.testing.assert_close(logits.grad.flatten(), torch.tensor(expected).double(), rtol=1e-5, atol=1e-7)


def test_each_value_is_the_sum_over_the_questions_asked_of_the_sample():
    logits = wave(6, 3)
    weights = [1.0, 2.0, 0.5, 4.0]
    found = corn(alpha=weights)(logits, TARGETS)
    asked = sum(min(y, 2) + 1 for y in TARGETS.tolist())
    for row, y, value in zip(logits.tolist(), TARGETS.tolist(), found.tolist(), strict=True):
        total = 0.0
        for k in range(min(y, 2) + 1):
            p = 1 / (1 + math.exp(-row[k]))
            total -= math.log(p if y > k else 1 - p)
        assert value == pytest.approx(weights[y] * total * 6 / asked, rel=1e-6)


def test_probabilities_are_products_of_the_answers():
    logits = wave(5, 3)
    for row, p in zip(logits.tolist(), corn().predict(logits).tolist(), strict=True):
        above = [1.0]
        for z in row:
            above.append(above[-1] / (1 + math.exp(-z)))
        expected = [above[k] - (above[k + 1] if k < 3 else 0) for k in range(4)]
        assert p == pytest.approx(expected, abs=1e-12)
        assert sum(p) == pytest.approx(1)


def test_extreme_answers_have_probabilities_that_sum_to_one():
    logits = torch.tensor([[1e4, 1e4, 1e4], [-1e4, 1e4, 1e4], [1e4, -1e4, -1e4]])
    assert corn().predict(logits).tolist() == [[0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 0, 0]]


def test_levels_without_training_samples_are_allowed():
    method = corn(alpha="inverse", counts=[5, 0, 4, 2])
    assert method(wave(3, 3), torch.tensor([0, 2, 3])).isfinite().all()


def test_the_head_has_an_output_for_each_step():
    task = Task([3, 2, 1], ("0", "1", "4"), batch_size=4, ordered=True)
    method = build_method("corn", Small(), build_loss("cross-entropy", [3, 2, 1]), task=task)
    assert method.network.classifier.weight.shape == (2, 8)
    assert {key for key in method.inference_state() if not key.startswith("network.")} == set()
    p, level = method.eval().outputs(torch.rand(2, 1, 16, 16))
    torch.testing.assert_close(level, p @ torch.tensor([0.0, 1.0, 4.0]))
