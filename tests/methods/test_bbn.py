"""BBN: two branches, two batches, and the shift between them."""

from dataclasses import replace

import pytest
import torch
from small import COUNTS, batch, built, step_context, task

from evenface.losses import build_loss
from evenface.methods import build_method
from evenface.methods.bbn import share
from evenface.models import build_network
from evenface.utils.errors import InputError


def test_the_share_falls_as_a_parabola_from_one():
    assert [share(epoch, 10) for epoch in range(10)] == pytest.approx(
        [1.0, 0.99, 0.96, 0.91, 0.84, 0.75, 0.64, 0.51, 0.36, 0.19]
    )


def branch(block, maps):
    """Apply a residual block layer by layer, then the mean over places."""
    x = maps
    for layer in block.body:
        x = layer(x)
    return torch.relu(maps + x).flatten(2).mean(2)


@pytest.mark.parametrize("epoch", [0, 4, 9])
def test_the_loss_is_its_definition_pair_by_pair(epoch):
    method = built("bbn")
    method.ctx = step_context(4, epoch=epoch)
    images, targets = batch()
    others, rare = method.ctx.second
    alpha = 1 - (epoch / 10) ** 2
    values = method(images, targets)
    common = branch(method.conventional, method.network(images).maps)
    reversed_ = branch(method.rebalancing, method.network(others).maps)
    w_c, w_r = 2 * method.classifier.weight.split(8, dim=1)[0], 2 * method.classifier.weight.split(8, dim=1)[1]
    for i in range(4):
        z = alpha * w_c @ common[i] + (1 - alpha) * w_r @ reversed_[i] + method.classifier.bias
        expected = alpha * method.loss(z[None], targets[i : i + 1])
        expected = expected + (1 - alpha) * method.loss(z[None], rare[i : i + 1])
        torch.testing.assert_close(values[i : i + 1], expected, rtol=1e-4, atol=1e-6)


def test_the_first_epoch_moves_the_conventional_branch_only():
    method = built("bbn")
    method(*batch()).mean().backward()
    assert all(p.grad is not None for p in method.parameters())
    assert not any(p.grad.any() for p in method.rebalancing.parameters())
    assert all(p.grad.any() for p in method.conventional.parameters())


def test_prediction_weighs_both_branches_alike_on_the_same_images():
    method = built("bbn").eval()
    images, _ = batch()
    maps = method.network(images).maps
    features = torch.cat([branch(method.conventional, maps), branch(method.rebalancing, maps)], dim=1)
    torch.testing.assert_close(method.predict(images), method.classifier(features).softmax(1))


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "resnet18"])
def test_branches_fit_maps_that_are_not_as_wide_as_features(name):
    network = build_network(name, 3, channels=1, size=48)
    method = build_method("bbn", network, build_loss("cross-entropy", COUNTS), task=task(), width=6)
    images, targets = torch.rand(2, 1, 48, 48), torch.tensor([0, 2])
    method.ctx = replace(step_context(2), second=(images, targets))
    method(images, targets).mean().backward()
    assert method.conventional.body[0].weight.shape[0] == 6
    assert method.eval().predict(images).shape == (2, 3)


def test_one_batch_is_not_enough():
    method = built("bbn")
    method.ctx = replace(method.ctx, second=None)
    with pytest.raises(ValueError, match="two batches"):
        method(*batch())
    with pytest.raises(InputError, match="'bbn': width must be"):
        built("bbn", width=0)
