"""Learning rates are torch's, early stopping counts from the best, optimisers find the foot of a valley."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from evenface.recipes.schema import Optimizer, Schedule
from evenface.training.optimizers import build_optimizer
from evenface.training.schedules import rate_factor, standing


def torch_rates(make, epochs, losses=None):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for epoch in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(*([losses[epoch]] if losses else []))
    return rates


def our_rates(settings, epochs, losses=()):
    return [rate_factor(settings, epoch * 5, 5, epochs, losses[:epoch]) for epoch in range(epochs)]


def test_step_and_exponential_are_torch_s():
    step = torch_rates(lambda o: torch.optim.lr_scheduler.StepLR(o, 20, 0.1), 50)
    assert our_rates(Schedule(name="step", every=20, gamma=0.1), 50) == pytest.approx(step)
    exponential = torch_rates(lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9), 50)
    assert our_rates(Schedule(name="exponential", gamma=0.9), 50) == pytest.approx(exponential)


@given(st.lists(st.floats(0.01, 10), min_size=12, max_size=40), st.integers(0, 4))
def test_plateau_is_torch_s(losses, patience):
    expected = torch_rates(
        lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=patience, eps=0),
        len(losses),
        losses,
    )
    ours = our_rates(Schedule(name="plateau", gamma=0.5, patience=patience), len(losses), losses)
    assert ours == pytest.approx(expected)


def test_cosine_rises_linearly_and_ends_at_its_share():
    settings = Schedule(name="cosine", warmup_epochs=2, final=0.1)
    rates = [rate_factor(settings, step, 10, 10) for step in range(100)]
    assert rates[:20] == pytest.approx([(step + 1) / 21 for step in range(20)])
    assert rates[20] == 1
    assert rates[60] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 2)) / 2)
    assert rate_factor(settings, 100, 10, 10) == pytest.approx(0.1)
    assert all(one >= other for one, other in itertools.pairwise(rates[20:]))


def test_best_is_the_earliest_best_and_patience_counts_from_it():
    figures = [0.1, 0.5, math.nan, 0.5, 0.4]
    assert standing(figures, larger_is_better=True, patience=4).best == 1
    assert not standing(figures, larger_is_better=True, patience=4).stop
    assert standing(figures, larger_is_better=True, patience=3).stop
    assert standing(figures, larger_is_better=False, patience=None).best == 0
    assert standing([math.nan], larger_is_better=True, patience=None).best == 0


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "lamb", "adabelief", "novograd"])
def test_every_optimiser_finds_the_foot_of_a_valley(name):
    torch.manual_seed(0)
    layer = nn.Linear(4, 1)
    optimizer = build_optimizer([layer], Optimizer(name=name, lr=0.05, weight_decay=0.0))
    x = torch.randn(64, 4)
    y = x @ torch.tensor([1.0, -2.0, 0.5, 3.0])[:, None] + 1
    first = float((layer(x) - y).square().mean().detach())
    for _ in range(400):
        optimizer.zero_grad()
        loss = (layer(x) - y).square().mean()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.05 * first


def test_biases_and_scales_are_spared_from_decay():
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    spared = build_optimizer([network], Optimizer(weight_decay=0.1))
    decay = {group["weight_decay"]: sum(p.numel() for p in group["params"]) for group in spared.param_groups}
    assert decay == {0.1: 6, 0.0: 6}
    everything = build_optimizer([network], Optimizer(weight_decay=0.1, decay="all"))
    assert [group["weight_decay"] for group in everything.param_groups] == [0.1]
