"""Stacked networks equal torch's own, one by one."""

from itertools import product

import numpy as np
import pytest
import torch
from logits import CLASS_LOSSES

from evenface.config.recipe import Optimizer, Recurrent
from evenface.losses import LOSSES, build_loss
from evenface.models.sequence import initialised
from evenface.training.stacked import network as network_module
from evenface.training.stacked.losses import StackedLosses
from evenface.training.stacked.network import (
    Buffers,
    NetworkShape,
    StackedArrays,
    StackedNetwork,
    network_of,
    predict_networks,
    shape_of,
    stacked,
)
from evenface.training.stacked.optimizers import StackedOptimizer

WIDTHS = [(4, 7, 5), (6, 5, 9), (6, 7, 9)]
ALL = [f"{kind} {norm}" for kind, norm in product(("gru", "lstm"), ("shared", "step", "none"))]


def networks(kind="gru", norm="shared", outputs=3):
    return [
        initialised(Recurrent(kind=kind, dense=f, hidden=q, top=r, norm=norm, dropout=0), 12, 5, outputs, seed)
        for seed, (f, q, r) in enumerate(WIDTHS)
    ]


def through(made, index, sequences, mask=1.0):
    stack, batch = stacked(made), index.shape[1]
    gradients = StackedArrays(stack.shape, len(made))
    one = StackedNetwork(stack, gradients, Buffers(stack.shape, len(made), batch, torch.device("cpu")), len(made))
    one.gather(sequences, index)
    return stack, gradients, one, one.forward(torch.full((len(made), batch, stack.shape.hidden), mask))


@pytest.mark.parametrize("case", ALL)
def test_logits_gradients_and_running_statistics_are_those_of_autograd(case):
    made = networks(*case.split())
    sequences, index = torch.randn(20, 5, 12), torch.randint(0, 20, (3, 8))
    stack, gradients, one, logits = through(made, index, sequences)
    upstream = torch.randn_like(logits)
    one.backward(upstream)
    for place, network in enumerate(made):
        expected = network(sequences[index[place]]).logits
        torch.testing.assert_close(logits[place], expected, rtol=1e-4, atol=1e-5)
        (expected * upstream[place]).sum().backward()
        found = gradients.take(place, shape_of(network))
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(found[name], parameter.grad, rtol=1e-3, atol=3e-5, msg=name)
        found = stack.take(place, shape_of(network))
        for name, value in network.named_buffers():
            if value.ndim:
                torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_both_products_of_the_dense_layer_give_the_same(monkeypatch):
    made, sequences, index = networks(), torch.randn(20, 5, 12), torch.randint(0, 20, (3, 8))
    assert network_module._LINEAR is not None
    one = through(made, index, sequences)[-1].clone()
    monkeypatch.setattr(network_module, "_LINEAR", None)
    torch.testing.assert_close(through(made, index, sequences)[-1], one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", ALL)
def test_predictions_are_those_of_each_network_alone(case):
    made = [network.eval() for network in networks(*case.split())]
    sequences, rows = torch.randn(11, 5, 12), np.array([3, 10, 0, 3])
    found = predict_networks(made, sequences.view(11, 5, 6, 2).numpy(), rows, batch=3)
    for network, probabilities in zip(made, found, strict=True):
        expected = network(sequences[rows]).logits.softmax(dim=-1).detach().numpy()
        np.testing.assert_allclose(probabilities, expected, rtol=1e-4, atol=1e-6)


def test_one_logit_is_read_as_a_sigmoid():
    made = [network.eval() for network in networks(outputs=1)]
    sequences = torch.randn(4, 5, 12)
    found = predict_networks(made, sequences[..., None].numpy())
    np.testing.assert_allclose(found[1], made[1](sequences).logits.sigmoid().detach().numpy(), rtol=1e-4)


@pytest.mark.parametrize("case", ALL)
def test_what_comes_out_of_a_stack_is_what_went_in(case):
    made = networks(*case.split())
    stack = stacked(made)
    for place, network in enumerate(made):
        again = network_of(network.settings, 12, 5, 3, stack.take(place, shape_of(network)))
        for name, value in network.state_dict().items():
            assert torch.equal(again.state_dict()[name], value)


def test_networks_of_another_kind_cannot_be_stacked():
    with pytest.raises(ValueError, match="F, Q and R alone"):
        stacked([*networks("gru"), *networks("lstm")])


@pytest.mark.parametrize("case", ALL)
@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_padding_stays_exactly_zero_through_training(case, name):
    made = networks(*case.split())
    sequences = torch.randn(20, 5, 12)
    stack, gradients, one, logits = through(made, torch.randint(0, 20, (3, 8)), sequences)
    optimizer = StackedOptimizer(stack, gradients, Optimizer(name=name, weight_decay=0.1))
    for count in range(1, 6):
        one.backward(torch.randn_like(logits))
        optimizer.step([0.01] * 3, [count] * 3)
        logits = one.forward(torch.ones(3, 8, stack.shape.hidden))
    for place, network in enumerate(made):
        inside = stack.take(place, shape_of(network))
        for block, values in stack.blocks.items():
            own = inside.get(block, inside.get(f"{block}_l0"))
            assert values[place].count_nonzero() == own.count_nonzero(), block
            assert own.count_nonzero() > 0.5 * own.numel()


@pytest.mark.parametrize(("kind", "gates"), [("gru", 3), ("lstm", 4)])
def test_operations_are_counted_product_by_product(kind, gates):
    t, d, f, q, r, c, b = 10, 936, 32, 64, 64, 1, 32
    dense, wide = 2 * t * b * d * f, 2 * t * b * f * gates * q
    within = 2 * (t - 1) * b * q * gates * q  # nothing comes from before the first step
    ends = 2 * b * q * r + 2 * b * r * c
    assert NetworkShape(kind, "shared", d, t, c, f, q, r).step_flops(b) == 2 * dense + 3 * (wide + within + ends)


OPTIONS = {"focal": {"gamma": 1.5, "alpha": [0.2, 0.5, 2.0]}, "cosface": {"scale": 3.0, "gamma": 0.5}}


@pytest.mark.parametrize("one_output", [False, True])
def test_losses_of_all_members_and_their_gradients_are_those_of_autograd(one_output):
    classes = 2 if one_output else 3
    losses = []
    for name in (name for name in CLASS_LOSSES if not LOSSES[name].draws):
        options = {key: value[:classes] if key == "alpha" else value for key, value in OPTIONS.get(name, {}).items()}
        losses.append(build_loss(name, [30, 20, 7][:classes], **options))
    logits = 3 * torch.randn(len(losses), 8, 1 if one_output else classes)
    logits[:, 0] *= 20  # as sure as can be
    targets = torch.randint(0, classes, (len(losses), 8))
    means, gradients = StackedLosses(losses, classes, one_output=one_output)(logits, targets)
    for place, loss in enumerate(losses):
        leaf = logits[place].clone().requires_grad_()
        value = loss(torch.cat([torch.zeros_like(leaf), leaf], dim=1) if one_output else leaf, targets[place]).mean()
        value.backward()
        torch.testing.assert_close(means[place], value.detach(), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(gradients[place], leaf.grad, rtol=1e-3, atol=1e-6)


def test_a_loss_derived_from_a_known_one_is_not_taken_for_it():
    own = type("Own", (LOSSES["focal"],), {"forward": lambda self, logits, targets: logits[:, 0] * self.gamma})
    assert own().focal_form(2) is None
    assert type("Further", (own,), {})().focal_form(2) is None
    assert type("Renamed", (LOSSES["focal"],), {})().focal_form(2) == LOSSES["focal"]().focal_form(2)


def test_clipping_shortens_each_member_as_torch_does():
    made = networks()
    _, gradients, one, logits = through(made, torch.randint(0, 20, (3, 8)), torch.randn(20, 5, 12))
    one.backward(torch.randn_like(logits))
    before = [gradients.take(place, shape_of(network)) for place, network in enumerate(made)]
    stack = stacked(made)
    StackedOptimizer(stack, gradients, Optimizer(clip_norm=0.5)).step([0.1] * 3, [1] * 3)
    for place, network in enumerate(made):
        parameters = [torch.nn.Parameter(before[place][name]) for name, _ in network.named_parameters()]
        for parameter in parameters:
            parameter.grad = parameter.detach().clone()
        torch.nn.utils.clip_grad_norm_(parameters, 0.5)
        after = gradients.take(place, shape_of(network))
        for parameter, (name, _) in zip(parameters, network.named_parameters(), strict=True):
            torch.testing.assert_close(after[name], parameter.grad, msg=name)
