"""Aligned deferred re-weighting: its weights, when they come in, and what is truncated there."""

import numpy as np
import pytest
import torch
from small import COUNTS, Small, batch, step_context, task

from evenface.losses import build_loss
from evenface.methods import build_method
from evenface.utils.errors import InputError


def build(loss="logit-adjustment", options=None, **settings):
    torch.manual_seed(0)
    method = build_method("adrw", Small(), build_loss(loss, COUNTS, **(options or {})), task=task(), **settings)
    return method.eval()


@pytest.mark.parametrize(("nu", "epoch"), [(0.25, 7), (0.25, 8), (1.0, 9), (0.0, 9)])
def test_late_weights_are_a_power_of_the_shares_with_mean_one(nu, epoch):
    method = build(nu=nu, options={"tau": 0.75})
    method.ctx = step_context(12, epoch=epoch)
    images, targets = batch(12)
    logits = method.network(images).logits.double().detach().numpy()
    powers = [(n / sum(COUNTS)) ** -nu for n in COUNTS]
    for row, y, value in zip(logits, targets.tolist(), method(images, targets).tolist(), strict=True):
        parts = np.exp(row) * (np.array(COUNTS) / sum(COUNTS)) ** 0.75
        weight = powers[y] * 3 / sum(powers) if epoch >= 8 else 1
        assert value == pytest.approx(-weight * np.log(parts[y] / parts.sum()), rel=1e-5)


def test_scaling_ends_where_the_weights_come_in_and_the_rest_stays():
    images, targets = batch(12)
    method = build("vector-scaling", {"gamma": 0.5, "tau": 0.75}, truncate=True)
    adjusted, scaled = build(options={"tau": 0.75}), build("vector-scaling", {"gamma": 0.5, "tau": 0.75})
    for epoch, same in ((7, scaled), (8, adjusted), (7, scaled)):  # by the step alone, also after a resumption
        method.ctx = same.ctx = step_context(12, epoch=epoch)
        torch.testing.assert_close(method(images, targets), same(images, targets))
    scaled.ctx = step_context(12, epoch=8)
    assert not torch.allclose(scaled(images, targets), adjusted(images, targets))


def test_adjustment_and_weights_together_can_imply_a_uniform_prior():
    method = build(options={"tau": 0.75}, nu=0.25)
    factor = method.loss.prior_factor(COUNTS) * method.prior_factor(COUNTS)
    np.testing.assert_allclose(factor * COUNTS / (factor * COUNTS)[0], 1, rtol=1e-6)
    assert (build(start=1.0).prior_factor(COUNTS) == 1).all()


@pytest.mark.parametrize(
    ("loss", "options", "settings", "message"),
    [
        ("logit-adjustment", {}, {"nu": -1}, "nu must be a number >= 0"),
        ("logit-adjustment", {}, {"start": 2}, "start must be from 0 to 1"),
        ("logit-adjustment", {}, {"truncate": True}, "truncate needs loss.name: vector-scaling"),
        ("vector-scaling", {"gamma": 0}, {"truncate": True}, "truncate needs loss.name: vector-scaling"),
        ("logit-adjustment", {}, {"beta": 0.9}, "has no option 'beta'"),
    ],
)
def test_options_that_cannot_be_are_refused(loss, options, settings, message):
    with pytest.raises(InputError, match=message):
        build(loss, options, **settings)
