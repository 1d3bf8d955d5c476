"""What holds for every registered loss and every task: built for those that it declares, refused for all others."""

import re
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from logits import COUNTS, batch
from target_batches import LEVELS, NAMES, NAN, built_target_loss, target_batch
from torch import nn

from evenface.data.manifest import TaskKind
from evenface.losses import LOSSES, build_loss, build_target_loss, register_loss
from evenface.losses.base import declared_factor
from evenface.utils.errors import InputError
from evenface.utils.registry import Registry

OPTIONS = {
    "binary-cross-entropy": {"positive_weights": "balanced"},
    "squared-error": {"weights": "inverse"},
    "absolute-error": {"weights": "sqrt-inverse", "smoothing": "gaussian"},
    "ccc": {"weights": "sqrt-inverse"},
    "balanced-mse": {"learn_noise": True},
}
"""Options that bring in what else a loss can do."""
TASKS = get_args(TaskKind)
CLASSES = ("classification", "ordinal")
PAIRS = [(name, kind) for name in sorted(LOSSES) for kind in TASKS if kind in LOSSES[name].tasks]
OTHERS = [(name, kind) for name in sorted(LOSSES) for kind in TASKS if kind not in LOSSES[name].tasks]
TARGET_PAIRS = [(name, kind) for name, kind in PAIRS if kind not in CLASSES]

every_pair = pytest.mark.parametrize(("name", "kind"), PAIRS)
every_target_loss = pytest.mark.parametrize(("name", "kind"), TARGET_PAIRS)


def built(name: str, kind: str) -> nn.Module:
    if kind in CLASSES:
        return build_loss(name, COUNTS)
    return built_target_loss(name, kind, **OPTIONS.get(name, {}))


def batch_of(kind: str, rows: int = 6, dtype: torch.dtype = torch.float32):
    return batch(rows, dtype=dtype) if kind in CLASSES else target_batch(kind, rows, dtype)


@every_pair
@pytest.mark.parametrize("rows", [1, 6])
def test_one_finite_value_per_sample_with_a_gradient(name, kind, rows):
    outputs, targets = batch_of(kind, rows)
    outputs.requires_grad_()
    value = built(name, kind)(outputs, targets)
    assert value.shape == (rows,)
    assert value.isfinite().all()
    assert (value >= -1e-6).all()
    value.mean().backward()
    assert outputs.grad.isfinite().all()
    # Of one sample, a coefficient and a softmax over the batch know nothing.
    assert outputs.grad.any() or (rows == 1 and name in ("ccc", "balanced-mse"))


@every_target_loss
def test_gradients_are_those_of_finite_differences(name, kind):
    outputs, targets = batch_of(kind, dtype=torch.float64)
    loss = built(name, kind).double()
    assert not list(loss.parameters()) or name == "balanced-mse"
    factor = 2 * loss.log_noise.detach().exp() ** 2 if name == "balanced-mse" else 1
    assert torch.autograd.gradcheck(lambda z: loss(z, targets) / factor, outputs.requires_grad_())


@pytest.mark.parametrize(("name", "kind"), OTHERS)
def test_a_loss_is_refused_for_other_tasks_with_those_that_fit(name, kind):
    usable = next(known for known, task in PAIRS if task == kind)
    asked = "classification" if kind in CLASSES else kind
    with pytest.raises(InputError, match=f"loss '{name}' is for .*, not for {asked}") as error:
        built(name, kind)
    assert usable in error.value.hint
    assert name not in re.findall(r"[\w-]+", error.value.hint)


@every_target_loss
def test_missing_targets_have_no_gradient_and_no_influence(name, kind):
    outputs, targets = batch_of(kind)
    moved = torch.where(targets.isnan(), outputs + 50, outputs).requires_grad_()
    outputs.requires_grad_()
    loss = built(name, kind)
    value, other = loss(outputs, targets), loss(moved, targets)
    torch.testing.assert_close(value, other)
    assert value[-1] == 0  # nothing of it is known
    value.sum().backward()
    assert (outputs.grad[targets.isnan()] == 0).all()


@every_target_loss
def test_a_sample_without_missing_targets_has_the_mean_of_its_targets(name, kind):
    outputs, targets = batch_of(kind, dtype=torch.float64)
    targets = targets.nan_to_num()
    loss = built(name, kind).double()
    single = []
    for place in range(3):
        alone = torch.full_like(targets, NAN)
        alone[:, place] = targets[:, place]
        single.append(loss(outputs, alone))
    if name != "distribution-balanced":  # its weights look at all units of a sample
        torch.testing.assert_close(loss(outputs, targets), torch.stack(single).mean(dim=0))


@every_target_loss
def test_a_batch_without_any_known_target_is_zero_and_finite(name, kind):
    outputs, targets = batch_of(kind)
    outputs.requires_grad_()
    value = built(name, kind)(outputs, torch.full_like(targets, NAN))
    value.sum().backward()
    assert (value == 0).all()
    assert (outputs.grad == 0).all()


@every_target_loss
@given(order=st.permutations(range(6)))
def test_the_order_of_samples_changes_nothing(name, kind, order):
    outputs, targets = batch_of(kind, dtype=torch.float64)
    loss = built(name, kind).double()
    torch.testing.assert_close(loss(outputs[list(order)], targets[list(order)]), loss(outputs, targets)[list(order)])


@every_target_loss
@pytest.mark.parametrize("extreme", [1e4, -1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_extreme_outputs_have_finite_values_and_gradients(name, kind, extreme, dtype):
    outputs, targets = batch_of(kind, dtype=dtype)
    outputs[:, 1] = extreme
    outputs[0] = extreme
    outputs.requires_grad_()
    value = built(name, kind)(outputs, targets)
    value.sum().backward()
    assert value.isfinite().all()
    assert outputs.grad.isfinite().all()


@every_target_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_32_bits(name, kind, dtype):
    outputs, targets = batch_of(kind, dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = built(name, kind)(outputs, targets.float())
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, built(name, kind)(outputs.float(), targets.float()))


@every_target_loss
def test_wrong_shapes_and_types_are_refused(name, kind):
    outputs, targets = batch_of(kind)
    for bad_outputs, bad_targets, message in [
        (outputs[:, 0], targets[:, 0], "outputs"),
        (outputs.long(), targets, "outputs"),
        (outputs, targets[:-1], "targets"),
        (outputs, targets.nan_to_num().long(), "targets"),
    ]:
        with pytest.raises(ValueError, match=message):
            built(name, kind)(bad_outputs, bad_targets)
    loss = built(name, kind)
    if list(loss.buffers()) and name != "balanced-mse":
        with pytest.raises(ValueError, match=r"must hold 2 numbers, one per target, got 3"):
            loss(outputs[:, :2], targets[:, :2])


@every_target_loss
def test_a_loss_of_targets_implies_the_strata_as_they_are(name, kind):
    assert declared_factor(built(name, kind), [5, 3, 1]).tolist() == [1, 1, 1]


@every_target_loss
def test_what_a_loss_holds_moves_with_it(name, kind):
    assert all(value.dtype == torch.float64 for value in built(name, kind).double().state_dict().values())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("squared-eror", {}, "Did you mean squared-error"),
        ("squared-error", {"weight": "inverse"}, "Did you mean weights"),
        ("squared-error", {"weights": "inverted"}, "rule"),
        ("squared-error", {"smoothing": "gaussian"}, "smoothing is of the weights of labels and does nothing without"),
        ("squared-error", {"weights": "inverse", "sigma": 1}, "sigma is of smoothing: gaussian"),
        ("squared-error", {"weights": "inverse", "bins": 1}, "bins must be at least 2"),
        ("ccc", {"weights": "inverse", "smoothing": "gaussian", "kernel_size": 4}, "kernel_size must be an odd number"),
        ("ccc", {"weights": "inverse", "smoothing": "gaussian", "sigma": 0}, "sigma must be above 0"),
        ("smooth-l1", {"beta": 0}, "beta must be above 0"),
        ("balanced-mse", {"noise": -1}, "noise must be above 0"),
        ("balanced-mse", {"weights": "inverse"}, "no option 'weights'"),
    ],
)
def test_a_loss_of_continuous_targets_that_cannot_be_built_is_explained(name, options, message):
    with pytest.raises(InputError, match=message):
        built_target_loss(name, "regression", **options)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("binary-cross-entropy", {"positive_weights": "inverse"}, "unknown rule 'inverse'"),
        ("binary-cross-entropy", {"positive_weights": {"AU1": 2}}, "the target 'AU4' has no weight"),
        (
            "binary-cross-entropy",
            {"positive_weights": {"AU1": 2, "AU4": 1, "AU12": 1, "AU9": 1}},
            "unknown target 'AU9'",
        ),
        (
            "binary-cross-entropy",
            {"positive_weights": {"AU1": -2, "AU4": 1, "AU12": 1}},
            "AU1 must have a finite number",
        ),
        ("asymmetric", {"gamma_negative": -1}, "gamma_negative must be >= 0"),
        ("asymmetric", {"margin": 1}, "margin must be from 0 to below 1"),
        ("multilabel-focal", {"alpha": 2}, "alpha must be from 0 to 1"),
        ("multilabel-focal", {"gamma": -1}, "gamma must be >= 0"),
        ("distribution-balanced", {"scale": 0}, "scale must be above 0"),
        ("distribution-balanced", {"beta": 0}, "beta must be above 0"),
        ("distribution-balanced", {"alpha": -1}, "alpha must be >= 0"),
    ],
)
def test_a_loss_of_units_that_cannot_be_built_is_explained(name, options, message):
    with pytest.raises(InputError, match=message):
        built_target_loss(name, "multilabel", **options)


def test_a_loss_of_ones_own_is_built_with_the_training_targets(monkeypatch):
    monkeypatch.setattr("evenface.losses.LOSSES", Registry("loss", LOSSES))

    class Own(nn.Module):
        tasks = ("regression",)

        def __init__(self, targets, power=2.0):
            super().__init__()
            self.targets, self.power = targets, power

    register_loss("own", Own)
    loss = build_target_loss("own", "regression", targets=LEVELS, names=NAMES, power=3)
    assert loss.targets is LEVELS
    assert loss.power == 3
    with pytest.raises(InputError, match="loss 'own' is for regression, not for classification"):
        build_loss("own", COUNTS)
