"""Deferred weights, mixup and Remix."""

from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, kstest
from small import COUNTS, Small, batch, step_context, task
from torch import nn

from evenface.config import load_recipe
from evenface.losses import build_loss
from evenface.methods import Remix, Task, build_method, mixup
from evenface.models.backbone import CosineClassifier
from evenface.training.build import build_method as assemble
from evenface.utils.errors import InputError

SAME = {"rtol": 1e-6, "atol": 1e-6}


def build(name, loss="cross-entropy", counts=COUNTS, **options):
    """Build a method in 64 bits on the small network, without dependence on the rest of a batch."""
    torch.manual_seed(0)
    method = build_method(name, Small(), build_loss(loss, counts), task=task(counts), **options).double().eval()
    method.ctx = step_context()
    return method


def wide(rows: int = 4):
    images, targets = batch(rows)
    return images.double(), targets


def plain(method, images, targets):
    return method.loss(method.network(images).logits, targets)


# Deferred re-weighting.


@pytest.mark.parametrize(
    ("start", "epoch", "step", "weighted"),
    [(0.8, 7, 4, False), (0.8, 8, 0, True), (0.8, 9, 4, True), (0.0, 0, 0, True), (1.0, 9, 4, False)],
)
@pytest.mark.parametrize("loss", ["cross-entropy", "ldam"])
def test_weights_come_in_at_the_start_and_stay(loss, start, epoch, step, weighted):
    method = build("drw", loss, start=start)
    method.ctx = step_context(epoch=epoch, step=step)
    images, targets = wide(12)
    raw = [(1 - 0.9999) / (1 - 0.9999**n) for n in COUNTS]
    expected = [
        value * (raw[y] * 3 / sum(raw) if weighted else 1)
        for value, y in zip(plain(method, images, targets).tolist(), targets.tolist(), strict=True)
    ]
    assert method(images, targets).tolist() == pytest.approx(expected, rel=1e-6)


def test_beta_zero_never_weighs_and_a_batch_of_one_class_is_weighted_too():
    images, _ = wide()
    targets = torch.full((4,), 2)
    even, uneven = build("drw", start=0.0, beta=0.0), build("drw", start=0.0)
    torch.testing.assert_close(even(images, targets), plain(even, images, targets))
    assert (uneven(images, targets) > 1.5 * plain(uneven, images, targets)).all()


def test_ldam_drw_as_published_sample_by_sample():
    """Cosines, scale 30, margins of n^-1/4 up to 0.5 and late weights, from the formulas alone."""
    method = build("drw", "ldam")
    method.network.classifier = CosineClassifier(8, 3, 30.0).double()
    method.ctx = step_context(epoch=8)
    images, targets = wide(12)
    features = method.network(images).features.detach().numpy()
    classes = method.network.classifier.weight.detach().numpy()
    weights = np.array([1 / (1 - 0.9999**n) for n in COUNTS])
    margins = 0.5 * (np.array(COUNTS) / min(COUNTS)) ** -0.25
    for f, y, value in zip(features, targets.tolist(), method(images, targets).tolist(), strict=True):
        cosines = np.array([f @ w / np.sqrt((f @ f) * (w @ w)) for w in classes])
        cosines[y] -= margins[y]
        expected = -np.log(np.exp(30 * cosines[y]) / np.exp(30 * cosines).sum()) * 3 * weights[y] / weights.sum()
        assert value == pytest.approx(expected, rel=1e-5)


def test_a_recipe_puts_ldam_drw_and_the_cosine_head_together():
    recipe = load_recipe(
        "demo",
        {
            "method.name": "drw",
            "loss": {"name": "ldam"},
            "network": {"name": "compact_vgg_16_half", "head": "cosine", "head_scale": 20.0},
        },
    )
    method = assemble(recipe, np.array([160, 10]))
    assert isinstance(method.network.classifier, CosineClassifier)
    assert method.network.classifier.scale == 20.0
    assert method.loss.margins.tolist() == pytest.approx([5.0, 10.0])


# Mixup.


def test_mixup_is_the_mixed_loss_of_mixed_images(monkeypatch):
    monkeypatch.setattr(mixup, "draw_share", lambda alpha: 0.3)
    method, (images, targets) = build("mixup"), wide(6)
    torch.manual_seed(4)
    got = method(images, targets)
    torch.manual_seed(4)
    order = torch.randperm(6).tolist()
    assert order != list(range(6))
    for i, j in enumerate(order):
        logits = method.network(0.3 * images[[i]] + 0.7 * images[[j]]).logits
        label = 0.3 * F.one_hot(targets[i], 3) + 0.7 * F.one_hot(targets[j], 3)
        expected = F.cross_entropy(logits, label[None].double())  # soft labels: the same, as the loss is linear in them
        torch.testing.assert_close(got[i], expected, **SAME)


@pytest.mark.parametrize("name", ["mixup", "remix"])
def test_a_share_of_one_is_plain_training(name, monkeypatch):
    monkeypatch.setattr(mixup, "draw_share", lambda alpha: 1.0)
    method, (images, targets) = build(name, counts=[20, 20, 20]), wide(6)
    torch.testing.assert_close(method(images, targets), plain(method, images, targets), **SAME)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_shares_follow_their_distribution(alpha):
    torch.manual_seed(0)
    assert kstest([mixup.draw_share(alpha) for _ in range(2000)], beta(alpha, alpha).cdf).pvalue > 0.01


def test_the_smallest_alpha_hardly_mixes():
    torch.manual_seed(0)
    between = np.mean([0.1 < mixup.draw_share(0.01) < 0.9 for _ in range(4000)])
    assert between == pytest.approx(beta(0.01, 0.01).cdf(0.9) - beta(0.01, 0.01).cdf(0.1), abs=0.01)


def test_mixing_is_a_function_of_torchs_seed():
    method, (images, targets) = build("remix"), wide()
    values = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        values.append(method(images, targets))
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])


# Remix.


def remix(counts, kappa=3.0, tau=0.5):
    names = tuple(map(str, range(len(counts))))
    return Remix(nn.Identity(), nn.Identity(), Task(np.array(counts), names, 8), kappa=kappa, tau=tau)


@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=5),
    st.floats(0, 1, width=32),
    st.sampled_from([1.0, 1.5, 3.0, 10.0]),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)
def test_labels_lean_to_the_rarer_class_by_the_papers_rule(counts, share, kappa, tau):
    pairs = [(i, j) for i in range(len(counts)) for j in range(len(counts))]
    targets, others = (torch.tensor(side) for side in zip(*pairs, strict=True))
    got = remix(counts, kappa, tau).label_share(share, targets, others).tolist()
    for (i, j), value in zip(pairs, got, strict=True):
        ratio = Fraction(counts[i], counts[j])
        if ratio >= Fraction(kappa) and share < tau:
            expected = 0.0
        elif ratio <= 1 / Fraction(kappa) and 1 - share < tau:
            expected = 1.0
        else:
            expected = share
        assert value == expected


@given(st.floats(0, 1, width=32))
def test_exchanging_the_two_images_exchanges_their_labels(share):
    frequent, rare = torch.tensor([0]), torch.tensor([1])
    one = remix([90, 30]).label_share(share, frequent, rare)
    two = remix([90, 30]).label_share(1 - share, rare, frequent)
    torch.testing.assert_close(one, 1 - two)
    assert one <= share  # the frequent class never gains


def test_remix_of_near_counts_is_mixup():
    images, targets = wide(6)
    values = []
    for name in ("mixup", "remix"):
        torch.manual_seed(2)
        values.append(build(name, counts=[30, 20, 11], alpha=1.0).training_loss(images, targets))
    assert torch.equal(*values)


def test_only_labels_lean_not_images(monkeypatch):
    monkeypatch.setattr(mixup, "draw_share", lambda alpha: 0.3)
    method, (images, targets) = build("remix", counts=[300, 60, 10]), wide(6)
    torch.manual_seed(4)
    got = method(images, targets)
    torch.manual_seed(4)
    for i, j in enumerate(torch.randperm(6).tolist()):
        logits = method.network(0.3 * images[[i]] + 0.7 * images[[j]]).logits
        share = 0.0 if targets[i] < targets[j] else 0.3
        first, second = (F.cross_entropy(logits, targets[[k]]) for k in (i, j))
        torch.testing.assert_close(got[i], share * first + (1 - share) * second, **SAME)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("drw", {"start": 1.5}, "start must be from 0 to 1"),
        ("drw", {"beta": 1.0}, "beta must be"),
        ("mixup", {"alpha": 0.001}, "alpha must be"),
        ("mixup", {"alpha": float("inf")}, "invalid option alpha"),
        ("remix", {"kappa": 0.5}, "kappa must be >= 1"),
        ("remix", {"tau": float("nan")}, "invalid option tau"),
        ("remix", {"capa": 3}, "kappa"),
    ],
)
def test_options_that_cannot_be_are_explained(name, options, says):
    with pytest.raises(InputError, match=says):
        build(name, **options)
