"""Losses of long-tailed recognition: their definitions, limits, and values of the authors' public programs."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from logits import COUNTS, batch

from evenface.losses import (
    CrossEntropyLoss,
    GaussianCloudedLoss,
    LabelAwareSmoothingLoss,
    LabelSmoothingLoss,
    LogitAdjustmentLoss,
    VectorScalingLoss,
    build_loss,
)
from evenface.losses.label_aware_smoothing import smoothing_of_classes

CLOSE = {"rtol": 1e-4, "atol": 2e-6}


def value_and_gradient(loss, logits, targets):
    logits = logits.clone().requires_grad_()
    value = loss(logits, targets)
    return value.detach(), torch.autograd.grad(value.sum(), logits)[0]


def check(loss, values, gradients):
    """Compare with the value and the gradient of each sample of ``batch(6)`` alone by another program."""
    value, gradient = value_and_gradient(loss, *batch(6))
    torch.testing.assert_close(value, torch.tensor(values), **CLOSE)
    torch.testing.assert_close(gradient, torch.tensor(gradients), **CLOSE)


# Vector scaling.
def test_vector_scaling_equals_its_definition():
    logits, targets = batch(rows=12, dtype=torch.float64)
    alpha = torch.tensor([0.3, 0.7, 1.0, 2.0], dtype=torch.float64)
    value, gradient = value_and_gradient(VectorScalingLoss(COUNTS, 0.2, 1.5, alpha).double(), logits, targets)
    for i, (row, y) in enumerate(zip(logits.numpy(), targets.tolist(), strict=True)):
        scale = [(n / max(COUNTS)) ** 0.2 for n in COUNTS]
        parts = [
            math.exp(d * z) * (n / sum(COUNTS)) ** 1.5 for d, z, n in zip(scale, row.tolist(), COUNTS, strict=True)
        ]
        p = np.array(parts) / sum(parts)
        assert float(value[i]) == pytest.approx(-float(alpha[y]) * math.log(p[y]), rel=1e-6)
        slope = float(alpha[y]) * np.array(scale) * (p - np.eye(4)[y])
        np.testing.assert_allclose(gradient[i].numpy(), slope, rtol=1e-5, atol=1e-7)


def test_vector_scaling_has_the_values_of_the_authors_program():
    # orparask/VS-Loss, class_imbalance/losses.py, VSLoss(gamma=0.3, tau=1).
    check(
        VectorScalingLoss(COUNTS),
        [2.981443, 2.184073, 1.502559, 3.124589, 0.437869, 1.228296],
        [
            [0.001264, 0.344303, -0.817421, 0.291392],
            [0.292054, 0.086762, 0.433113, -0.444763],
            [-0.77744, 0.654347, 0.00187, 0.039353],
            [0.004667, -0.897864, 0.810913, 0.00484],
            [0.315536, -0.333011, 0.032467, 0.000676],
            [0.069871, 0.594718, 0.003516, -0.354444],
        ],
    )
    # gamma=0.15, tau=0: class-dependent temperatures.
    check(
        VectorScalingLoss(COUNTS, gamma=0.15, tau=0),
        [5.121697, 0.996714, 2.573338, 3.583566, 0.367351, 0.143443],
        [
            [0.000112, 0.037438, -0.922416, 0.676294],
            [0.163882, 0.055227, 0.380497, -0.44665],
            [-0.923719, 0.304736, 0.000872, 0.430661],
            [0.00255, -0.942177, 0.872692, 0.020689],
            [0.249995, -0.297932, 0.04707, 0.004753],
            [0.01084, 0.118283, 0.000682, -0.094602],
        ],
    )


def test_vector_scaling_without_its_multiplicative_part_has_the_values_of_the_authors_of_adrw():
    # wang22ti/DDC, losses.py, VSLoss(gamma=0.05, tau=0.75) with use_multiplicative=False.
    loss = VectorScalingLoss(COUNTS, gamma=0.05, tau=0.75)
    loss.multiplicative = False
    check(
        loss,
        [4.910867, 2.75807, 2.226304, 3.52046, 0.364311, 0.264937],
        [
            [0.000252, 0.071988, -0.992634, 0.920394],
            [0.33828, 0.08933, 0.508976, -0.936586],
            [-0.892073, 0.407043, 0.000688, 0.484343],
            [0.003396, -0.970414, 0.964016, 0.003002],
            [0.266237, -0.305325, 0.038429, 0.000659],
            [0.021683, 0.210369, 0.000693, -0.232746],
        ],
    )


@given(st.floats(0, 2), st.floats(0, 1))
def test_vector_scaling_is_logit_adjustment_or_temperatures_in_its_limits(tau, gamma):
    logits, targets = batch(rows=8, dtype=torch.float64)
    adjusted = LogitAdjustmentLoss(COUNTS, tau)(logits, targets)
    torch.testing.assert_close(VectorScalingLoss(COUNTS, 0, tau)(logits, targets), adjusted)
    temperatures = torch.tensor([(n / max(COUNTS)) ** gamma for n in COUNTS])
    scaled = CrossEntropyLoss()(logits * temperatures, targets)
    torch.testing.assert_close(VectorScalingLoss(COUNTS, gamma, 0)(logits, targets), scaled, rtol=1e-6, atol=1e-6)
    plain = CrossEntropyLoss()(logits, targets)
    torch.testing.assert_close(VectorScalingLoss([7] * 4, gamma, tau)(logits, targets), plain)


def test_vector_scaling_declares_an_exact_prior_only_where_it_is_logit_adjustment():
    adjusted, scaled = VectorScalingLoss(COUNTS, gamma=0), VectorScalingLoss(COUNTS)
    assert adjusted.exact_prior
    assert adjusted.focal_form(4).shift is adjusted.adjustment
    assert not scaled.exact_prior
    assert scaled.focal_form(4) is None
    np.testing.assert_allclose(scaled.prior_factor(COUNTS), LogitAdjustmentLoss(COUNTS).prior_factor(COUNTS))


# Gaussian clouded logits.
def test_gaussian_clouded_has_the_values_of_the_authors_program():
    # Keke921/GCLLoss, losses.py, GCLLoss(m=0, s=30, noise_mul=0.5) with this noise, of logits divided by s.
    loss = GaussianCloudedLoss(COUNTS)
    noise = torch.linspace(-1.2, 1.2, 24).view(6, 4)
    loss.draw = lambda shape: noise.clamp(-1, 1).abs()
    check(
        loss,
        [3.94998, 7.370946, 2.749557, 3.117976, 0.54984, 11.077958],
        [
            [0.011338, 0.969019, -0.980745, 0.000388],
            [0.683712, 0.083784, 0.231874, -0.999371],
            [-0.936044, 0.197742, 0.000356, 0.737945],
            [0.005373, -0.955753, 0.950269, 0.000112],
            [0.413374, -0.422958, 0.009584, 0.0],
            [0.253811, 0.745715, 0.000458, -0.999985],
        ],
    )


def test_gaussian_clouded_equals_its_definition_for_the_noise_that_it_drew():
    logits, targets = batch(rows=12, dtype=torch.float64)
    loss = GaussianCloudedLoss(COUNTS, noise=0.2, scale=8.0, alpha=torch.tensor([0.3, 0.7, 1.0, 2.0])).double()
    torch.manual_seed(3)
    value, gradient = value_and_gradient(loss, logits, targets)
    torch.manual_seed(3)
    noise = np.minimum(np.abs(torch.randn(12, 4).double().numpy() / 3), 1)
    most, least = math.log(max(COUNTS)), math.log(min(COUNTS))
    cloud = np.array([8 * 0.2 * (most - math.log(n)) / (most - least) for n in COUNTS])
    for i, (row, y) in enumerate(zip(logits.numpy(), targets.tolist(), strict=True)):
        parts = np.exp(row - cloud * noise[i])
        p = parts / parts.sum()
        weight = [0.3, 0.7, 1.0, 2.0][y]
        assert float(value[i]) == pytest.approx(-weight * math.log(p[y]), rel=1e-6)
        np.testing.assert_allclose(gradient[i].numpy(), weight * (p - np.eye(4)[y]), rtol=1e-5, atol=1e-7)


def test_the_noise_is_half_a_normal_distribution_cut_at_one():
    torch.manual_seed(0)
    drawn = GaussianCloudedLoss(COUNTS).draw(torch.Size((100_000, 4)))
    assert 0 <= float(drawn.min()) < float(drawn.max()) == 1
    assert float(drawn.mean()) == pytest.approx(math.sqrt(2 / math.pi) / 3, abs=2e-3)
    assert float((drawn == 1).double().mean()) == pytest.approx(math.erfc(3 / math.sqrt(2)), abs=1e-3)


def test_without_noise_in_evaluation_or_of_equal_classes_gaussian_clouded_is_cross_entropy():
    logits, targets = batch(rows=8, dtype=torch.float64)
    plain = CrossEntropyLoss()(logits, targets)
    for loss in (GaussianCloudedLoss(COUNTS, 0), GaussianCloudedLoss([5] * 4), GaussianCloudedLoss(COUNTS).eval()):
        torch.testing.assert_close(loss(logits, targets), plain)
    assert not torch.equal(GaussianCloudedLoss(COUNTS)(logits, targets), plain)


def test_gaussian_clouded_takes_the_scale_of_a_cosine_head():
    assert float(build_loss("gaussian-clouded", COUNTS, head_scale=16.0).amplitudes.max()) == pytest.approx(8)


# Label-aware smoothing.
@pytest.mark.parametrize(
    ("shape", "smoothing", "values", "gradients"),
    [
        (
            "concave",
            [0.4, 0.3838532, 0.3322985, 0.1],
            [5.825789, 1.476101, 3.419801, 3.675719, 1.218414, 0.473424],
            [
                [-0.083027, -0.067096, -0.748745, 0.898868],
                [0.194788, 0.042904, 0.455614, -0.693307],
                [-0.667382, 0.043925, -0.099698, 0.723155],
                [-0.093631, -0.688336, 0.866334, -0.084367],
                [0.137879, 0.001737, -0.046908, -0.092708],
                [-0.020269, 0.028699, -0.02478, 0.016351],
            ],
        ),
        (
            "linear",
            [0.4, 0.3370543, 0.2691473, 0.1],
            [5.896753, 1.476101, 3.419801, 3.683453, 1.110964, 0.473424],
            [
                [-0.067239, -0.051308, -0.796109, 0.914656],
                [0.194788, 0.042904, 0.455614, -0.693307],
                [-0.667382, 0.043925, -0.099698, 0.723155],
                [-0.081931, -0.723435, 0.878034, -0.072667],
                [0.149578, -0.033363, -0.035208, -0.081008],
                [-0.020269, 0.028699, -0.02478, 0.016351],
            ],
        ),
        (
            "convex",
            [0.4, 0.3029054, 0.2101648, 0.1],
            [5.963033, 1.476101, 3.419801, 3.689096, 1.032558, 0.473424],
            [
                [-0.052493, -0.036563, -0.840345, 0.929401],
                [0.194788, 0.042904, 0.455614, -0.693307],
                [-0.667382, 0.043925, -0.099698, 0.723155],
                [-0.073394, -0.749047, 0.886571, -0.06413],
                [0.158115, -0.058974, -0.026671, -0.072471],
                [-0.020269, 0.028699, -0.02478, 0.016351],
            ],
        ),
    ],
)
def test_label_aware_smoothing_has_the_values_of_the_authors_program(shape, smoothing, values, gradients):
    # dvlab-research/MiSLAS, methods.py, LabelAwareSmoothing(smooth_head=0.4, smooth_tail=0.1).
    loss = LabelAwareSmoothingLoss(COUNTS, head=0.4, tail=0.1, shape=shape)
    torch.testing.assert_close(loss.smoothing, torch.tensor(smoothing), **CLOSE)
    check(loss, values, gradients)


def test_label_aware_smoothing_is_cross_entropy_against_soft_labels():
    logits, targets = batch(rows=12, dtype=torch.float64)
    alpha = torch.tensor([0.3, 0.7, 1.0, 2.0], dtype=torch.float64)
    loss = LabelAwareSmoothingLoss(COUNTS, 0.5, 0.2, alpha=alpha).double()
    value, gradient = value_and_gradient(loss, logits, targets)
    for i, (row, y) in enumerate(zip(logits.numpy(), targets.tolist(), strict=True)):
        place = (COUNTS[y] - min(COUNTS)) / (max(COUNTS) - min(COUNTS))
        epsilon = 0.2 + 0.3 * math.sin(math.pi / 2 * place)
        p, soft = np.exp(row) / np.exp(row).sum(), (1 - epsilon) * np.eye(4)[y] + epsilon / 4
        assert float(value[i]) == pytest.approx(-float(alpha[y]) * float(soft @ np.log(p)), rel=1e-6)
        np.testing.assert_allclose(gradient[i].numpy(), float(alpha[y]) * (p - soft), rtol=1e-5, atol=1e-7)


@given(st.floats(0, 0.99))
def test_label_aware_smoothing_of_one_strength_is_label_smoothing(epsilon):
    logits, targets = batch(rows=8)
    smoothed = LabelSmoothingLoss(epsilon)(logits, targets)
    for loss in (LabelAwareSmoothingLoss(COUNTS, epsilon, epsilon), LabelAwareSmoothingLoss([9] * 4, epsilon)):
        torch.testing.assert_close(loss(logits, targets), smoothed)


@pytest.mark.parametrize("shape", ["concave", "linear", "convex"])
def test_smoothing_rises_with_the_count_from_tail_to_head(shape):
    smoothing = smoothing_of_classes(COUNTS, 0.4, 0.1, shape)
    assert smoothing.max() == pytest.approx(0.4)
    assert smoothing.min() == pytest.approx(0.1)
    assert (np.argsort(smoothing) == np.argsort(COUNTS)).all()


def test_even_logits_are_the_minimum_of_label_aware_smoothing_under_its_declared_prior():
    loss = LabelAwareSmoothingLoss(COUNTS, 0.4, 0.1, alpha=torch.tensor([0.3, 0.7, 1.0, 2.0]))
    logits = torch.zeros(4, 4, dtype=torch.float64, requires_grad=True)
    (loss(logits, torch.arange(4)) / torch.from_numpy(loss.prior_factor(COUNTS))).sum().backward()
    assert float(logits.grad.sum(dim=0).abs().max()) < 1e-6
    assert not loss.exact_prior
