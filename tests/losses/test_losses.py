"""What holds for every loss that is registered, and how one is built."""

import copy
import inspect

import numpy as np
import pytest
import torch
from logits import CLASS_LOSSES, COUNTS, batch
from torch import nn

from evenface.losses import LOSSES, FocalLoss, LabelWeights, build_loss, register_loss
from evenface.losses.base import declared_factor
from evenface.utils.errors import InputError
from evenface.utils.registry import Registry

every_loss = pytest.mark.parametrize("name", CLASS_LOSSES)


def built(name: str, counts=COUNTS, **options) -> nn.Module:
    """Any registered loss, weighted where it takes weights, so that the common suite sees its weights too."""
    if "alpha" in inspect.signature(LOSSES[name]).parameters:
        options = {"alpha": "inverse"} | options
    loss = build_loss(name, counts, **options)
    if name == "gaussian-clouded":  # noise alike for all samples and classes, so that values can be compared
        loss.draw = lambda shape: torch.full(shape, 0.3)
    return loss


# One suite for every registered loss of classes; tests/losses/test_loss_tasks.py has those of targets too.
@every_loss
def test_one_finite_value_per_sample_not_below_zero(name):
    for rows in (1, 6):
        logits, targets = batch(rows)
        value = built(name)(logits, targets)
        assert value.shape == (rows,)
        assert (value >= 0).all()
        assert torch.isfinite(value).all()


@every_loss
def test_gradients_are_those_of_finite_differences(name):
    logits, targets = batch(dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: built(name)(z, targets), logits.requires_grad_())


@every_loss
@pytest.mark.parametrize("extreme", [1e4, -1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_logits_give_finite_values_and_gradients(name, extreme, dtype):
    logits = torch.zeros(4, 4, dtype=dtype)
    logits[:, 1] = extreme
    logits.requires_grad_()
    value = built(name)(logits, torch.arange(4))
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(logits.grad).all()
    if extreme > 0:
        assert value[1] == 0 or "smoothing" in name  # certain, and right: never sure enough to smoothed labels
        assert value[0] > 1000  # certain, and wrong: hard samples keep their loss


@every_loss
def test_adding_a_constant_to_all_logits_changes_nothing(name):
    logits, targets = batch(dtype=torch.float64)
    loss = built(name, gamma=0) if name == "vector-scaling" else built(name)  # scaled by class, a constant is none
    torch.testing.assert_close(loss(logits + 5.0, targets), loss(logits, targets))


@every_loss
def test_renaming_the_classes_changes_nothing(name):
    logits, targets = batch(dtype=torch.float64)
    order = torch.tensor([2, 0, 3, 1])  # new class k is old class order[k]
    renamed = built(name, [COUNTS[i] for i in order])
    torch.testing.assert_close(renamed(logits[:, order], order.argsort()[targets]), built(name)(logits, targets))


@every_loss
def test_samples_do_not_look_at_each_other(name):
    logits, targets = batch()
    whole = built(name)(logits, targets)
    alone = [built(name)(logits[i : i + 1], targets[i : i + 1])[0] for i in range(len(targets))]
    torch.testing.assert_close(whole, torch.stack(alone))


@every_loss
def test_mixed_precision_computes_in_32_bits(name):
    logits, targets = batch(dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = built(name)(logits, targets)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, built(name)(logits.float(), targets))


@every_loss
def test_wrong_shapes_and_types_are_refused(name):
    logits, targets = batch()
    loss = built(name)
    for bad_logits, bad_targets, says in [
        (logits[0], targets, "logits"),
        (logits.long(), targets, "logits"),
        (logits, targets[:-1], "targets"),
        (logits, targets.int(), "targets"),
        (logits, targets[:, None], "targets"),
        (logits[:, :3], targets, "one per class"),
    ]:
        with pytest.raises(ValueError, match=says):
            loss(bad_logits, bad_targets)


@every_loss
@pytest.mark.parametrize("gamma", [None, 0.7])
def test_the_declared_focal_form_is_the_loss(name, gamma):
    options = {"gamma": gamma} if gamma and "gamma" in inspect.signature(LOSSES[name]).parameters else {}
    loss, (logits, targets) = built(name, **options).double(), batch(dtype=torch.float64)
    form = loss.focal_form(len(COUNTS))
    if form is None:
        return
    for value, z, y in zip(loss(logits, targets), logits, targets, strict=True):
        shift = 0 if form.shift is None else form.shift if form.shift.ndim == 1 else form.shift[y]
        p = torch.exp(z + shift)[y] / torch.exp(z + shift).sum()
        weight = 1 if form.alpha is None else form.alpha[y]
        torch.testing.assert_close(value, -weight * (1 - p) ** form.gamma * torch.log(p), rtol=1e-6, atol=1e-9)


# The registry.
def test_alpha_is_a_rule_a_list_or_nothing():
    assert build_loss("focal", [30, 10]).alpha is None
    assert build_loss("focal", [30, 10], alpha="inverse").alpha.tolist() == pytest.approx([0.5, 1.5])
    assert build_loss("focal", [30, 10], alpha="inverse", normalise="sum-one").alpha.tolist() == [0.25, 0.75]
    assert build_loss("cefl", [30, 10], alpha="ratio", normalise="none").alpha.tolist() == pytest.approx([1 / 3, 3])
    assert build_loss("cross-entropy", [30, 10], alpha="effective", beta=0.0).alpha.tolist() == [1, 1]
    assert build_loss("focal", [30, 10], alpha=[0.25, 4]).alpha.tolist() == [0.25, 4]
    assert build_loss("focal", [30, 10], gamma=3).gamma == 3


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("fokal", {}, "Did you mean focal"),
        ("focal", {"gama": 2}, "Did you mean gamma"),
        ("focal", {"gamma": -1}, "gamma must be >= 0"),
        ("focal", {"gamma": float("nan")}, "invalid option gamma, got nan"),
        ("focal", {"gamma": "two"}, "loss 'focal'"),
        ("cross-entropy", {"alpha": "inverted"}, "inverse"),
        ("cross-entropy", {"alpha": [1, 2, 3]}, "4 finite numbers"),
        ("class-balanced", {"alpha": "inverse"}, "no option 'alpha'"),
        (
            "focal",
            {"alpha": "inverse", "beta": 0.9},
            "does nothing with alpha 'inverse'",
        ),
        ("focal", {"beta": 0.9}, "does nothing with alpha None"),
        ("focal", {"alpha": [1, 2, 3, 4], "normalise": "none"}, "normalise is of a rule for class weights"),
        ("class-balanced", {"beta": 1.5}, "beta must be"),
        ("ldam", {"max_margin": -0.1}, "max_margin must be >= 0"),
        ("ldam", {"scale": 0}, "scale must be above 0"),
        ("cosface", {"margin": float("nan")}, "invalid option margin, got nan"),
        ("cosface", {"scale": -1}, "scale must be above 0"),
        ("cosface", {"gamma": -1}, "gamma must be >= 0"),
        ("logit-adjustment", {"tau": -1}, "tau must be >= 0"),
        ("label-smoothing", {"epsilon": 1.0}, "epsilon must be from 0 to below 1"),
        ("balanced-softmax", {"tau": 1.0}, "It has none"),
        ("vector-scaling", {"gamma": -1}, "gamma must be >= 0"),
        ("vector-scaling", {"tau": -1}, "tau must be >= 0"),
        ("gaussian-clouded", {"noise": -1}, "noise must be >= 0"),
        ("gaussian-clouded", {"scale": 0}, "scale must be above 0"),
        ("label-aware-smoothing", {"tail": 0.4}, "tail <= head"),
        ("label-aware-smoothing", {"shape": "convax"}, "invalid option shape"),
    ],
)
def test_what_cannot_be_built_is_explained(name, options, says):
    with pytest.raises(InputError, match=says):
        build_loss(name, COUNTS, **options)


@pytest.mark.parametrize("loss", [*LOSSES.values(), LabelWeights], ids=lambda loss: loss.__name__)
def test_the_repr_shows_every_setting_also_of_a_copy(loss):
    parameters = inspect.signature(loss).parameters.values()
    settings = {one.name: one.default for one in parameters if isinstance(one.default, bool | int | float | str)}
    changed = {name: value * 0.75 for name, value in settings.items() if type(value) is float}
    data = {"counts": [4, 2, 1], "targets": [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]], "rule": "inverse"}
    given = {one.name: data[one.name] for one in parameters if one.name in data}
    for options in ({}, changed):
        built = loss(**given, **options)
        for name, value in {**settings, **options}.items():
            assert f"{name}={value!r}" in repr(built)
        assert repr(copy.deepcopy(built)) == repr(built)
    assert "[0.5, 2]" in repr(LOSSES["focal"](alpha=torch.tensor([0.5, 2.0])))


def test_a_class_without_samples_is_named():
    with pytest.raises(InputError, match="class fear"):
        build_loss("focal", [3, 0], alpha="inverse", names=["happy", "fear"])
    needing = ("ldam", "balanced-softmax", "logit-adjustment", "vector-scaling", "gaussian-clouded")
    for name in (*needing, "label-aware-smoothing"):
        with pytest.raises(InputError, match="the class 1 has no training sample"):
            build_loss(name, [3, 0])


def test_a_loss_of_ones_own_is_built_by_name(monkeypatch):
    monkeypatch.setattr("evenface.losses.LOSSES", Registry("loss", LOSSES))

    class Margin(nn.Module):
        def __init__(self, counts, margin=0.5):
            super().__init__()
            self.counts, self.margin = counts, margin

    register_loss("margin", Margin)
    register_loss("margin", Margin)  # importing a file twice is no fault
    built_loss = build_loss("margin", COUNTS, margin=0.1)
    assert (built_loss.counts, built_loss.margin) == (COUNTS, 0.1)
    with pytest.raises(ValueError, match="already"):
        register_loss("margin", FocalLoss)


def test_weights_move_with_the_loss_and_are_stored():
    loss = built("focal").to(torch.float64)
    assert loss.alpha.dtype == torch.float64
    assert list(loss.state_dict()) == ["alpha"]


# Class prior: a loss declares it, subclasses inherit it.
@every_loss
@pytest.mark.parametrize("gamma", [None, 0.7])
def test_the_declared_prior_is_that_of_the_minimum(name, gamma):
    """Where the posterior under the declared prior is uniform, even logits must be a minimum of the expected loss.

    With samples of each class in proportion to 1 over the declared factor, the gradient there vanishes.
    """
    options = {"gamma": gamma} if gamma and "gamma" in inspect.signature(LOSSES[name]).parameters else {}
    loss = built(name, **options)
    factor = torch.from_numpy(loss.prior_factor(COUNTS))
    assert factor.shape == (len(COUNTS),)
    assert (factor > 0).all()
    logits = torch.zeros(len(COUNTS), len(COUNTS), dtype=torch.float64, requires_grad=True)
    (loss(logits, torch.arange(len(COUNTS))) / factor).sum().backward()
    slope = logits.grad.sum(dim=0).abs().max() / logits.grad.abs().max()
    changed = ("cosface", "gaussian-clouded", "label-aware-smoothing", "ldam", "vector-scaling")
    assert loss.exact_prior == (name not in changed)
    if loss.exact_prior:
        assert slope < 1e-6
        assert (loss.prior_factor(COUNTS) != 1).any()  # weighted as they are here, all do something


@every_loss
def test_a_subclass_inherits_the_declared_prior_whatever_it_is_called(name, monkeypatch):
    monkeypatch.setitem(LOSSES, "mine", type("Mine", (LOSSES[name],), {}))
    own, other = built("mine"), built(name)
    assert own.exact_prior == other.exact_prior
    assert own.prior_reason == other.prior_reason
    np.testing.assert_array_equal(own.prior_factor(COUNTS), other.prior_factor(COUNTS))


def test_a_module_that_declares_nothing_counts_by_its_class_weights_and_is_not_exact():
    class Own(nn.Module):
        def __init__(self, alpha=None):
            super().__init__()
            self.register_buffer("alpha", alpha)

    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert declared_factor(Own(weights), COUNTS).tolist() == weights.tolist()
    assert declared_factor(Own(), COUNTS).tolist() == [1.0] * 4
    assert not hasattr(Own(), "exact_prior")
