"""Learning rates are torch's, early stopping counts from the best, optimisers find the foot of a valley."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from processes import fitted
from torch import nn

from evenface.config import load_recipe
from evenface.config.recipe import Optimizer, Schedule
from evenface.training.batches import ImageBank, TrainingBatches
from evenface.training.class_prior import implied_prior
from evenface.training.optimizers import build_optimizer, early_stopping, orthogonalized, rate_factor
from evenface.training.trainer import Trainer


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
    assert our_rates(Schedule(name="step", step_size=20, gamma=0.1), 50) == pytest.approx(step)
    exponential = torch_rates(lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9), 50)
    assert our_rates(Schedule(name="exponential", gamma=0.9), 50) == pytest.approx(exponential)


@given(st.lists(st.floats(0.01, 10), min_size=12, max_size=40), st.integers(1, 4))
def test_plateau_falls_an_epoch_before_torch_s_as_keras_does(losses, patience):
    expected = torch_rates(
        lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(
            o, factor=0.5, patience=patience - 1, threshold_mode="abs", threshold=1e-4, eps=0
        ),
        len(losses),
        losses,
    )
    ours = our_rates(Schedule(name="plateau", gamma=0.5, patience=patience), len(losses), losses)
    assert ours == pytest.approx(expected)


def test_plateau_falls_after_ten_epochs_that_are_no_better():
    rates = our_rates(Schedule(name="plateau", gamma=0.5, patience=10), 23, [1.0] * 23)
    assert rates == [1.0] * 11 + [0.5] * 10 + [0.25] * 2  # the first loss is the best one


def test_cosine_rises_linearly_and_ends_at_its_share():
    settings = Schedule(name="cosine", warmup_epochs=2, min_lr_ratio=0.1)
    rates = [rate_factor(settings, step, 10, 10) for step in range(100)]
    assert rates[:20] == pytest.approx([(step + 1) / 21 for step in range(20)])
    assert rates[20] == 1
    assert rates[60] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 2)) / 2)
    assert rate_factor(settings, 100, 10, 10) == pytest.approx(0.1)
    assert all(one >= other for one, other in itertools.pairwise(rates[20:]))


def test_best_is_the_earliest_best_and_patience_counts_from_it():
    figures = [0.1, 0.5, math.nan, 0.5, 0.4]
    assert early_stopping(figures, larger_is_better=True, patience=4).best_epoch == 1
    assert not early_stopping(figures, larger_is_better=True, patience=4).stop
    assert early_stopping(figures, larger_is_better=True, patience=3).stop
    assert early_stopping(figures, larger_is_better=False, patience=None).best_epoch == 0
    assert early_stopping([math.nan], larger_is_better=True, patience=None).best_epoch == 0


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
    everything = build_optimizer([network], Optimizer(weight_decay=0.1, weight_decay_on="all"))
    assert [group["weight_decay"] for group in everything.param_groups] == [0.1]


RATE, DECAY = 0.01, 0.1
EPS = {"adamw": 1e-8, "adam": 1e-8, "sgd": 0.0, "lamb": 1e-6, "adabelief": 1e-16, "novograd": 1e-8, "muon": 1e-8}
BETAS = {"novograd": (0.95, 0.98)}


def naive_steps(name, weight, gradients, *, decay, adapts, momentum=0.9, nesterov=True):
    """Move a weight by the formulas of the optimiser's paper, one step after the other, in float64."""
    w, first, second = weight.copy(), np.zeros_like(weight), np.zeros_like(weight)
    (b1, b2), eps = BETAS.get(name, (0.9, 0.999)), EPS[name]
    for t, g in enumerate(gradients, 1):
        if name == "sgd":
            g = g + decay * w
            first = momentum * first + g
            w = w - RATE * (g + momentum * first if nesterov else first)
        elif name == "novograd":
            norm = np.sum(g**2)
            second = norm if t == 1 else b2 * second + (1 - b2) * norm
            first = b1 * first + g / (np.sqrt(second) + eps) + decay * w
            w = w - RATE * first
        elif name == "adabelief":
            w = w * (1 - RATE * decay)
            first = b1 * first + (1 - b1) * g
            second = b2 * second + (1 - b2) * (g - first) ** 2 + eps
            longest = 2 / (1 - b2) - 1  # the rectification of RAdam (Liu et al., ICLR 2020, algorithm 2)
            length = longest - 2 * t * b2**t / (1 - b2**t)
            step = first / (1 - b1**t)
            if length >= 5:
                r = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
                step = math.sqrt(r) * step / (np.sqrt(second / (1 - b2**t)) + eps)
            w = w - RATE * step
        else:
            if name == "adam":
                g = g + decay * w
            first, second = b1 * first + (1 - b1) * g, b2 * second + (1 - b2) * g**2
            step = first / (1 - b1**t) / (np.sqrt(second / (1 - b2**t)) + eps)
            if name in ("adamw", "muon"):
                w = w * (1 - RATE * decay)
            if name == "lamb":
                step = step + decay * w
                step = step * np.linalg.norm(w) / np.linalg.norm(step) if adapts else step
            w = w - RATE * step
    return w


MUON = (3.4445, -4.7750, 2.0315)


def naive_muon_steps(weight, gradients, *, decay, momentum=0.9, nesterov=True):
    """Move a matrix by Muon as published: momentum, five Newton-Schulz steps, a root mean square of about 0.2."""
    w, moment = weight.copy(), np.zeros_like(weight)
    for g in gradients:
        moment = momentum * moment + (1 - momentum) * g
        x = (1 - momentum) * g + momentum * moment if nesterov else moment
        x = x / np.linalg.norm(x)
        for _ in range(5):
            x = MUON[0] * x + MUON[1] * x @ x.T @ x + MUON[2] * x @ x.T @ x @ x.T @ x
        w = w - RATE * decay * w - RATE * 0.2 * math.sqrt(max(w.shape)) * x
    return w


@pytest.mark.parametrize("decay", ["weights", "all"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        *[(name, {}) for name in EPS],
        ("lamb", {"weight_decay": 0.0}),
        ("sgd", {"nesterov": False}),
        ("sgd", {"momentum": 0.0}),
        ("muon", {"nesterov": False}),
        ("muon", {"momentum": 0.0}),
        ("adamw", {"betas": (0.5, 0.9), "eps": 1e-3}),
    ],
)
def test_every_optimiser_takes_the_steps_of_its_formulas_and_clips_nothing(name, options, decay, monkeypatch):
    """The first gradient has norm 100: LAMB by timm's default would shorten it to 1, so later ones would weigh more."""
    torch.manual_seed(1)
    layer = nn.Linear(3, 4).double()
    settings = Optimizer(name=name, lr=RATE, weight_decay_on=decay, **{"weight_decay": DECAY, **options})
    optimizer = build_optimizer([layer], settings)
    gradients = [[scale * torch.randn_like(p) for p in layer.parameters()] for scale in (1, 1, 0.1, 2, 1, 1, 5)]
    norm = math.sqrt(sum(float((g**2).sum()) for g in gradients[0]))
    gradients[0] = [100 / norm * g for g in gradients[0]]
    before = [p.detach().numpy().copy() for p in layer.parameters()]
    for some in gradients:
        for p, g in zip(layer.parameters(), some, strict=True):
            p.grad = g.clone()
        optimizer.step()
    if "betas" in options:
        monkeypatch.setitem(BETAS, name, options["betas"])
        monkeypatch.setitem(EPS, name, options["eps"])
    kind = {key: options[key] for key in ("momentum", "nesterov") if key in options}
    for place, (p, start) in enumerate(zip(layer.parameters(), before, strict=True)):
        spared = decay == "weights" and p.ndim <= 1
        own = [some[place].numpy() for some in gradients]
        amount = 0.0 if spared else settings.weight_decay
        if name == "muon" and p.ndim > 1:
            expected = naive_muon_steps(start, own, decay=amount, **kind)
        else:
            expected = naive_steps(name, start, own, decay=amount, adapts=not spared, **kind)
        np.testing.assert_allclose(p.detach().numpy(), expected, rtol=1e-6, atol=1e-9)


@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 9), st.floats(1e-4, 1e4))
def test_newton_schulz_moves_singular_values_alone(rows, columns, seed, scale):
    matrix = scale * np.random.default_rng(seed).standard_normal((rows, columns))
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    values = values / np.linalg.norm(values)
    for _ in range(5):
        values = MUON[0] * values + MUON[1] * values**3 + MUON[2] * values**5
    np.testing.assert_allclose(orthogonalized(torch.from_numpy(matrix)).numpy(), left * values @ right, atol=1e-8)


@pytest.mark.parametrize("shape", [(16, 144), (144, 16), (64, 64)])
def test_newton_schulz_is_timm_s_in_float32(shape):
    timm = pytest.importorskip("timm.optim.muon")
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = timm.zeropower_via_newtonschulz(matrix, 5, [MUON], dtype=torch.float32)
    torch.testing.assert_close(orthogonalized(matrix), expected, rtol=0, atol=1e-5)
    assert orthogonalized(matrix.bfloat16()).dtype == torch.float32
    assert not orthogonalized(torch.zeros(shape)).any()


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has Muon from 2.9")
@pytest.mark.parametrize("nesterov", [True, False])
def test_muon_is_torch_s_but_for_its_bfloat16(nesterov):
    torch.manual_seed(3)
    ours, theirs = nn.Linear(24, 8, bias=False), nn.Linear(24, 8, bias=False)
    theirs.load_state_dict(ours.state_dict())
    start = ours.weight.detach().clone()
    settings = Optimizer(name="muon", lr=RATE, weight_decay=DECAY, momentum=0.95, nesterov=nesterov)
    optimizers = [
        build_optimizer([ours], settings),
        torch.optim.Muon(
            theirs.parameters(), RATE, DECAY, momentum=0.95, nesterov=nesterov, adjust_lr_fn="match_rms_adamw"
        ),
    ]
    for _ in range(5):
        gradient = torch.randn(8, 24)
        for layer, optimizer in zip((ours, theirs), optimizers, strict=True):
            layer.weight.grad = gradient.clone()
            optimizer.step()
    moved = (ours.weight - start).norm()
    assert (ours.weight - theirs.weight).norm() < 0.02 * moved
    assert moved > 0.02  # five steps whose elements are about 0.2 times the rate


def test_muon_moves_the_weights_between_images_and_classifier():
    network = nn.ModuleDict(
        {
            "first": nn.Conv2d(1, 8, 3),
            "second": nn.Conv2d(8, 8, 3),
            "depthwise": nn.Conv2d(8, 8, 3, groups=8),
            "norm": nn.BatchNorm2d(8),
            "dense": nn.Linear(8, 4),
            "classifier": nn.Linear(4, 7),
        }
    )
    optimizer = build_optimizer([network], Optimizer(name="muon", weight_decay=DECAY))
    muon, weights, spared = optimizer.param_groups
    assert {id(p) for p in muon["params"]} == {id(network["second"].weight), id(network["dense"].weight)}
    decayed = {id(network[name].weight) for name in ("first", "depthwise", "classifier")}
    assert {id(p) for p in weights["params"]} == decayed
    assert [group["weight_decay"] for group in (muon, weights, spared)] == [DECAY, DECAY, 0.0]
    for p in network.parameters():
        p.grad = torch.randn_like(p)
    optimizer.step()
    assert optimizer.param_groups == [muon, weights, spared]
    assert {len(state) for state in optimizer.state.values()} == {2, 3}
    convolution = copy.deepcopy(network["second"].weight.detach())
    network["second"].weight.grad = None
    optimizer.step()
    assert torch.equal(convolution, network["second"].weight)


@pytest.mark.parametrize("name", EPS)
def test_a_stage_begins_with_an_optimiser_and_an_average_as_new(name, small_recipe, tmp_path, monkeypatch):
    """Of the last of three epochs: no moment, no number of steps and no average is left of the two before."""
    begin, seen = Trainer._begin_stage, []

    def watched(self, span):
        old = self.optimizer.state_dict()
        begin(self, span)
        seen.append((self, old, copy.deepcopy(self.optimizer.state_dict()), copy.deepcopy(self.ema.state)))
        now = {key: value.clone() for key, value in self.method.state_dict().items()}
        seen.append(now)

    monkeypatch.setattr(Trainer, "_begin_stage", watched)
    settings = {"method.name": "crt", "method.share": 0.3, "training.epochs": 3, "training.ema_decay": 0.9}
    run = fitted(small_recipe, out=tmp_path / "run", **settings, **{"optimizer.name": name})
    (trainer, old, fresh, average), weights = seen
    assert old["state"]
    assert fresh["state"] == {}
    assert not [key for group in fresh["param_groups"] for key in group if key == "step"]
    assert average.keys() == weights.keys()
    assert all(torch.equal(average[key], value) for key, value in weights.items())
    steps = sum(run.facts["counts"]["train"]) // 16  # of the last stage
    ended = trainer.optimizer.state_dict()
    counted = [one["step"] for one in (*ended["state"].values(), *ended["param_groups"]) if "step" in one]
    assert {int(count) for count in counted} == ({steps} if counted else set())
    assert bool(counted) == (name != "sgd")


def test_effective_sampling_draws_by_its_beta():
    """Shares of two classes against the formula, at a beta for which they are far from those of the default."""
    labels = np.repeat([0, 1], [900, 100])
    batches = TrainingBatches(
        ImageBank(np.zeros((1000, 1, 2, 2, 1), np.uint8), torch.device("cpu")),
        np.arange(1000),
        labels,
        batch_size=10,
        seed=0,
        sampling="effective",
        sampling_beta=0.99,
    )
    drawn = np.concatenate([labels[batches.order(epoch)] for epoch in range(40)])
    effective = [(1 - 0.99**n) / (1 - 0.99) for n in (900, 100)]
    share = 100 / effective[1] / (900 / effective[0] + 100 / effective[1])
    assert (drawn == 1).mean() == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / len(drawn)))
    recipe = load_recipe(
        {"name": "x", "data": {"source": "synthetic"}},
        {"training.sampling": "effective", "training.sampling_beta": 0.99},
    )
    assert implied_prior(recipe, [900, 100]).prior[1] == pytest.approx(share)
