"""Each loss is what its paper defines, sample by sample and in its limits."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from logits import COUNTS, batch

from evenface.losses import (
    BalancedSoftmaxLoss,
    CEFLLoss,
    ClassBalancedLoss,
    CosFaceLoss,
    CrossEntropyLoss,
    FocalLoss,
    LabelSmoothingLoss,
    LDAMLoss,
    LogitAdjustmentLoss,
    build_loss,
)


def softmax(row: list[float]) -> list[float]:
    exps = [math.exp(z - max(row)) for z in row]
    return [e / sum(exps) for e in exps]


@st.composite
def batches(draw):
    rows, classes = draw(st.integers(1, 6)), draw(st.integers(2, 7))
    logits = draw(arrays(np.float64, (rows, classes), elements=st.floats(-20, 20)))
    targets = draw(arrays(np.int64, (rows,), elements=st.integers(0, classes - 1)))
    return torch.from_numpy(logits), torch.from_numpy(targets)


# Each loss against its definition.
@given(batches())
def test_cross_entropy_is_that_of_torch(given_batch):
    logits, targets = given_batch
    weights = torch.linspace(0.5, 2.0, logits.shape[1], dtype=torch.float64)
    torch.testing.assert_close(CrossEntropyLoss()(logits, targets), F.cross_entropy(logits, targets, reduction="none"))
    torch.testing.assert_close(
        CrossEntropyLoss(weights)(logits, targets), F.cross_entropy(logits, targets, weights, reduction="none")
    )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_focal_and_cefl_equal_their_definitions_sample_by_sample(gamma):
    logits, targets = batch(rows=20)
    alpha = torch.tensor([0.3, 0.7, 1.0, 2.0])
    focal = FocalLoss(gamma, alpha)(logits, targets).tolist()
    cefl = CEFLLoss(gamma, alpha)(logits, targets).tolist()
    for i, (row, y) in enumerate(zip(logits.tolist(), targets.tolist(), strict=True)):
        p, a = softmax(row)[y], float(alpha[y])
        assert focal[i] == pytest.approx(-a * (1 - p) ** gamma * math.log(p), rel=1e-4)
        hard, easy = (1 - p) * math.log(p), p * (1 - p) ** gamma * math.log(p)
        assert cefl[i] == pytest.approx(-a * (hard + easy), rel=1e-4)


@given(batches())
def test_gamma_zero_is_cross_entropy(given_batch):
    logits, targets = given_batch
    expected = F.cross_entropy(logits, targets, reduction="none")
    torch.testing.assert_close(FocalLoss(gamma=0.0)(logits, targets), expected)
    torch.testing.assert_close(CEFLLoss(gamma=0.0)(logits, targets), expected)


@given(batches(), st.floats(0.0, 5.0))
def test_cefl_lies_between_focal_and_cross_entropy(given_batch, gamma):
    logits, targets = given_batch
    focal, cefl, ce = (loss(logits, targets) for loss in (FocalLoss(gamma), CEFLLoss(gamma), CrossEntropyLoss()))
    assert (focal <= cefl * (1 + 1e-9) + 1e-12).all()
    assert (cefl <= ce * (1 + 1e-9) + 1e-12).all()


def test_cefl_goes_to_cross_entropy_for_hard_and_to_focal_for_easy_samples():
    logits = torch.tensor([[0.0, 12.0], [12.0, 0.0]], dtype=torch.float64)
    cefl, focal, ce = (
        loss(logits, torch.zeros(2, dtype=torch.int64)) for loss in (CEFLLoss(), FocalLoss(), CrossEntropyLoss())
    )
    assert cefl[0] == pytest.approx(float(ce[0]), rel=1e-4)
    # 1 - p = e: CEFL = e * e + (1 - e) * e**2 * e, so about e**2; focal e**3, cross-entropy e.
    e = 1 / (1 + math.exp(12))
    assert cefl[1] == pytest.approx(e**2, rel=1e-4)
    assert focal[1] == pytest.approx(e**3, rel=1e-4)


def test_weights_never_enter_the_probability():
    logits, targets = batch()
    alpha = torch.tensor([0.3, 0.7, 1.0, 2.0])
    for loss in (FocalLoss, CEFLLoss):
        torch.testing.assert_close(loss(2.0, alpha)(logits, targets), alpha[targets] * loss(2.0)(logits, targets))


@pytest.mark.parametrize(("beta", "gamma"), [(0.999, 0.0), (0.9999, 2.0), (0.0, 0.5)])
def test_class_balanced_equals_its_definition(beta, gamma):
    logits, targets = batch(rows=12)
    got = ClassBalancedLoss(COUNTS, beta=beta, gamma=gamma)(logits, targets)
    weights = [(1 - beta) / (1 - beta**n) for n in COUNTS]
    for row, y, value in zip(logits.tolist(), targets.tolist(), got.tolist(), strict=True):
        p = softmax(row)[y]
        expected = weights[y] * len(COUNTS) / sum(weights) * (1 - p) ** gamma * -math.log(p)
        assert value == pytest.approx(expected, rel=1e-4)


def test_small_gamma_has_finite_gradient_at_certainty():
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    FocalLoss(gamma=0.1)(logits, torch.tensor([0])).sum().backward()
    assert torch.isfinite(logits.grad).all()


# Margins, priors and soft labels.
SAME = {"rtol": 1e-6, "atol": 1e-6}


def test_ldam_equals_its_definition():
    logits, targets = batch(rows=12, dtype=torch.float64)
    alpha = torch.tensor([0.3, 0.7, 1.0, 2.0], dtype=torch.float64)
    got = LDAMLoss(COUNTS, max_margin=0.4, scale=10.0, alpha=alpha)(logits, targets)
    share = 0.4 / max(n**-0.25 for n in COUNTS)
    for row, y, value in zip(logits.tolist(), targets.tolist(), got.tolist(), strict=True):
        row[y] -= 10 * share * COUNTS[y] ** -0.25
        assert value == pytest.approx(-float(alpha[y]) * math.log(softmax(row)[y]), rel=1e-6)


def test_cosface_equals_its_definition():
    logits, targets = batch(rows=12, dtype=torch.float64)
    alpha = torch.tensor([0.3, 0.7, 1.0, 2.0], dtype=torch.float64)
    got = CosFaceLoss(margin=0.2, scale=8.0, gamma=1.5, alpha=alpha)(logits, targets)
    for row, y, value in zip(logits.tolist(), targets.tolist(), got.tolist(), strict=True):
        row[y] -= 8 * 0.2
        p = softmax(row)[y]
        assert value == pytest.approx(-float(alpha[y]) * (1 - p) ** 1.5 * math.log(p), rel=1e-6)


@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0])
def test_the_losses_of_priors_equal_their_definitions(tau):
    logits, targets = batch(rows=12, dtype=torch.float64)
    adjusted = LogitAdjustmentLoss(COUNTS, tau=tau)(logits, targets)
    balanced = BalancedSoftmaxLoss(COUNTS)(logits, targets)
    for i, (row, y) in enumerate(zip(logits.tolist(), targets.tolist(), strict=True)):
        parts = [(n / sum(COUNTS)) ** tau * math.exp(z) for z, n in zip(row, COUNTS, strict=True)]
        assert float(adjusted[i]) == pytest.approx(-math.log(parts[y] / sum(parts)), rel=1e-6)
        parts = [n * math.exp(z) for z, n in zip(row, COUNTS, strict=True)]
        assert float(balanced[i]) == pytest.approx(-math.log(parts[y] / sum(parts)), rel=1e-6)


@given(batches(), st.floats(0, 0.99))
def test_label_smoothing_is_that_of_torch(given_batch, epsilon):
    logits, targets = given_batch
    expected = F.cross_entropy(logits, targets, reduction="none", label_smoothing=epsilon)
    torch.testing.assert_close(LabelSmoothingLoss(epsilon)(logits, targets), expected, **SAME)


def test_label_smoothing_weighs_the_sample_not_where_the_label_is_spread():
    logits, targets = batch(dtype=torch.float64)
    alpha = torch.tensor([0.3, 0.7, 1.0, 2.0], dtype=torch.float64)
    expected = alpha[targets] * F.cross_entropy(logits, targets, reduction="none", label_smoothing=0.2)
    torch.testing.assert_close(LabelSmoothingLoss(0.2, alpha)(logits, targets), expected)


@given(batches(), st.integers(1, 100_000))
def test_what_the_losses_are_in_their_limits(given_batch, count):
    logits, targets = given_batch
    equal = [count] * logits.shape[1]
    uneven = [count + 7 * i for i in range(logits.shape[1])]
    plain, margin = CrossEntropyLoss()(logits, targets), CosFaceLoss(0.3, 20.0)(logits, targets)
    for loss, same in [
        (LDAMLoss(equal, 0.3, 20.0), margin),
        (LDAMLoss(uneven, 0.0), plain),
        (CosFaceLoss(0.0), plain),
        (LogitAdjustmentLoss(uneven, tau=0.0), plain),
        (LogitAdjustmentLoss(equal, tau=1.5), plain),
        (BalancedSoftmaxLoss(equal), plain),
        (LabelSmoothingLoss(0.0), plain),
        (LogitAdjustmentLoss(uneven, tau=1.0), BalancedSoftmaxLoss(uneven)(logits, targets)),
    ]:
        torch.testing.assert_close(loss(logits, targets), same, **SAME)


@pytest.mark.parametrize("loss", [BalancedSoftmaxLoss, LogitAdjustmentLoss])
def test_the_losses_of_priors_are_least_where_logits_are_right_for_equal_classes(loss):
    truth = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)  # p(y | x) if all classes were equally frequent
    seen = truth * torch.tensor(COUNTS)  # how often each label comes with this x in uneven training
    logits = truth.log().expand(4, 4).clone().requires_grad_()
    (seen / seen.sum() * loss(COUNTS)(logits, torch.arange(4))).sum().backward()
    torch.testing.assert_close(logits.grad.sum(0), torch.zeros(4, dtype=torch.float64), **SAME)


@given(batches(), st.floats(0, 1))
def test_a_margin_never_lowers_the_loss(given_batch, margin):
    logits, targets = given_batch
    counts = [10 ** (i + 1) for i in range(logits.shape[1])]
    plain = CrossEntropyLoss()(logits, targets)
    for loss in (LDAMLoss(counts, margin), CosFaceLoss(margin)):
        assert (loss(logits, targets) >= plain - 1e-9).all()


def test_ldams_margins_fall_with_the_fourth_root_and_not_with_the_size_of_the_data():
    margins = LDAMLoss([16, 1, 256], max_margin=0.5, scale=30.0).margins
    assert margins.tolist() == pytest.approx([7.5, 15.0, 3.75])
    torch.testing.assert_close(LDAMLoss([1600, 100, 25600]).margins, margins)


def test_the_scale_of_a_cosine_head_is_the_losss_unless_it_has_its_own():
    assert float(build_loss("ldam", COUNTS).margins.max()) == pytest.approx(15)
    assert float(build_loss("ldam", COUNTS, head_scale=16.0).margins.max()) == pytest.approx(8)
    assert float(build_loss("ldam", COUNTS, head_scale=16.0, scale=4.0).margins.max()) == pytest.approx(2)
    assert build_loss("cosface", COUNTS, head_scale=10.0).margin == pytest.approx(3.5)
    build_loss("focal", COUNTS, head_scale=10.0)  # takes none
