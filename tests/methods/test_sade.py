"""SADE: losses of the three experts, the mean of their logits, and the class prior that it implies."""

import numpy as np
import pytest
import torch
from small import Small, batch, built, loss_for, task
from waves import LABELS, wave

from evenface.config.recipe import Training
from evenface.losses import build_loss
from evenface.methods import build_method
from evenface.models.backbone import CosineClassifier
from evenface.training.class_prior import prior_of_method
from evenface.utils.errors import InputError

COUNTS = [30, 10, 20]


def on_logits(logits, **options):
    """The method with given logits of its experts, (B, 3, C)."""
    method = build_method("sade", Small(), build_loss("cross-entropy", COUNTS), task=task(COUNTS), **options)
    method.experts = lambda images: logits
    return method


def test_losses_are_those_of_the_public_program():
    """Vanint/SADE-AgnosticLT at commit cba11b8, DiverseExpertLoss with tau 2, on the same logits in 32 bits."""
    logits = (3 * wave(6, 3, 3)).float().requires_grad_()
    loss = on_logits(logits)(None, LABELS).mean()
    loss.backward()
    assert loss.item() == pytest.approx(8.017126083, rel=1e-6)
    assert logits.grad.norm().item() == pytest.approx(0.7577457428, rel=1e-5)
    expected = [0.162525624, 0.0018138529, -0.1643394828, 0.1535021365, 0.0127308723, -0.166233018]
    assert logits.grad[3, :2].flatten().tolist() == pytest.approx(expected, rel=1e-4)
    assert logits.grad[3, 2].tolist() == pytest.approx([0.0710249767, 0.0823508427, -0.1533758195], rel=1e-4)


def test_losses_sample_by_sample():
    prior, reversed_prior, tau = np.array([0.5, 1 / 6, 1 / 3]), np.array([1 / 6, 0.5, 1 / 3]), 1.5
    logits = wave(6, 3, 3)
    got = on_logits(logits.float(), tau=tau)(None, LABELS).tolist()
    for z, y, value in zip(logits.numpy(), LABELS.tolist(), got, strict=True):
        odds = np.exp(z) * np.stack([np.ones(3), prior, prior / reversed_prior**tau])
        assert value == pytest.approx(-np.log(odds[:, y] / odds.sum(axis=1)).sum(), rel=1e-5)


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.0, 0.0, 5.0), (0.2, 0.5, 0.3)])
def test_experts_at_their_minimum_imply_the_declared_prior(weights):
    """Where each expert is the posterior that its loss asks for, the mean is that under the declared prior."""
    likelihood = np.exp(wave(6, 3).numpy())  # p(x | y) of six inputs, up to a factor of each
    prior, reversed_prior, tau = np.array([0.5, 1 / 6, 1 / 3]), np.array([1 / 6, 0.5, 1 / 3]), 2.0
    experts = np.log(np.stack([likelihood * own for own in (prior, np.ones(3), reversed_prior**tau)], axis=1))
    method = on_logits(torch.from_numpy(experts), weights=weights)
    posterior = likelihood * prior_of_method(method, Training(), COUNTS).prior
    expected = posterior / posterior.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(method.predict(None).numpy(), expected, rtol=1e-5)
    # And each expert's loss is at its minimum there: over all inputs and classes its gradient is 0.
    joint = torch.from_numpy(likelihood * prior).flatten()
    logits = torch.from_numpy(np.repeat(experts, 3, axis=0)).requires_grad_()
    losses = on_logits(logits)(None, torch.arange(3).repeat(6))
    (losses * joint).sum().backward()
    assert logits.grad.view(6, 3, 3, 3).sum(dim=1).abs().max() < 1e-6


def test_each_expert_learns_by_itself():
    method, (images, targets) = built("sade"), batch()
    method(images, targets).mean().backward()
    heads = [*method.branches.parameters(), *method.classifiers.parameters()]
    assert all(parameter.grad is not None for parameter in heads)
    starts = [classifier.weight for classifier in method.classifiers]
    assert not any(torch.equal(starts[0], other) for other in starts[1:])


def test_experts_have_the_networks_kind_of_classifier():
    network = Small()
    network.classifier = CosineClassifier(8, 3, 30.0)
    method = build_method("sade", network, loss_for("sade"), task=task())
    assert [(type(head), head.scale) for head in method.classifiers] == [(CosineClassifier, 30.0)] * 3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"tau": -1.0}, "tau must be a number >= 0"),
        ({"weights": [0, 0, 0]}, "weights must be three numbers >= 0, not all 0"),
        ({"weights": [1, 2]}, "invalid option weights"),
    ],
)
def test_options_that_cannot_be_are_explained(options, says):
    with pytest.raises(InputError, match=says):
        build_method("sade", Small(), loss_for("sade"), task=task(), **options)


def test_a_class_without_samples_is_refused():
    with pytest.raises(InputError, match="class sad has no training sample"):
        build_method("sade", Small(), loss_for("sade"), task=task([30, 0, 10]))
