"""Each loss of targets is what its paper defines, target by target, and what its authors' public program computes.

Values of public programs were computed by running these on the inputs of :func:`target_batches.wave`, in float64 on the
CPU: ASL (Alibaba-MIIL/ASL, 8c9e0bd), distribution-balanced loss (wutong16/DistributionBalancedLoss, 14460d0), balanced
MSE (jiawei-ren/BalancedMSE, c6f2f33), weights of labels (YyzHarry/imbalanced-regression, a6fdc45).
"""

import math

import numpy as np
import pytest
import torch
from target_batches import LEVELS, NAMES, NAN, PRESENT, target_batch, wave

from evenface.data.imbalance import positive_weights
from evenface.losses import (
    AbsoluteErrorLoss,
    AsymmetricLoss,
    BalancedMSELoss,
    BinaryCrossEntropyLoss,
    CCCLoss,
    DistributionBalancedLoss,
    LabelWeights,
    MultilabelFocalLoss,
    SmoothL1Loss,
    SquaredErrorLoss,
    build_target_loss,
)

OUTPUTS = wave(4, 3)
UNITS = (wave(4, 3, speed=2.3) > 0).double()
CLOSE = {"rtol": 1e-6, "atol": 1e-8}


def close(found: torch.Tensor, expected: list[float], **tolerance: float) -> None:
    torch.testing.assert_close(
        found.detach().double().flatten(), torch.tensor(expected).double(), **{**CLOSE, **tolerance}
    )


def value_and_gradient(loss, outputs, targets, total=1.0):
    """Return the sum over all targets, as programs that sum have it, and its gradient."""
    outputs = outputs.clone().requires_grad_()
    value = loss.double()(outputs, targets).sum() * total
    (gradient,) = torch.autograd.grad(value, outputs)
    return value.detach(), gradient


def pairs(outputs, targets):
    """Each row and place with a known target."""
    for i, (row, truth) in enumerate(zip(outputs.tolist(), targets.tolist(), strict=True)):
        for t, (z, y) in enumerate(zip(row, truth, strict=True)):
            if not math.isnan(y):
                yield i, t, z, y


def mean_of_known(outputs, targets, value) -> list[float]:
    """Compute the loss by a loop: the mean of ``value(t, z, y)`` over the known targets of each sample."""
    rows = [[] for _ in outputs]
    for i, t, z, y in pairs(outputs, targets):
        rows[i].append(value(t, z, y))
    return [sum(row) / len(row) if row else 0.0 for row in rows]


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


# Multi-label.
def test_binary_cross_entropy_equals_its_definition():
    outputs, targets = target_batch("multilabel", dtype=torch.float64)
    weights = [19.0, 3.5, 1.0]
    expected = mean_of_known(
        outputs, targets, lambda t, z, y: -weights[t] * y * math.log(sigmoid(z)) - (1 - y) * math.log(1 - sigmoid(z))
    )
    close(BinaryCrossEntropyLoss(torch.tensor(weights)).double()(outputs, targets), expected)


def test_balanced_weights_are_negatives_over_positives_of_what_is_known():
    assert positive_weights("balanced", PRESENT, NAMES).tolist() == [94 / 5, 79 / 21, 74 / 25]
    assert positive_weights("balanced", [[0, 1], [0, 1]], ["AU1", "AU2"]).tolist() == [1, 1]  # nothing to balance
    assert positive_weights({"AU12": 3, "AU1": 1, "AU4": 2}, PRESENT, NAMES).tolist() == [1, 2, 3]
    assert positive_weights("none", PRESENT, NAMES) is None
    loss = build_target_loss("binary-cross-entropy", "multilabel", targets=PRESENT, names=NAMES)
    assert loss.positive_weights is None


def test_with_balanced_weights_both_values_pull_alike_at_even_odds():
    """The training set itself, of one unit, has its minimum at probability one half."""
    targets = torch.tensor([[1.0]] * 4 + [[0.0]] * 12)
    loss = build_target_loss(
        "binary-cross-entropy", "multilabel", targets=targets.numpy(), names=["AU1"], positive_weights="balanced"
    )
    outputs = torch.zeros(16, 1, requires_grad=True)
    loss(outputs, targets).sum().backward()
    assert outputs.grad.sum().abs() < 1e-6


@pytest.mark.parametrize(
    ("plus", "minus", "margin"), [(0.0, 4.0, 0.05), (1.0, 3.0, 0.1), (2.0, 2.0, 0.0), (0, 0.5, 0.2)]
)
def test_asymmetric_equals_its_definition(plus, minus, margin):
    outputs, targets = target_batch("multilabel", dtype=torch.float64)

    def value(t, z, y):
        p = sigmoid(z)
        moved = max(p - margin, 0)
        return -math.log(p) * (1 - p) ** plus if y else -math.log(1 - moved) * moved**minus

    close(AsymmetricLoss(plus, minus, margin)(outputs, targets), mean_of_known(outputs, targets, value))


def test_asymmetric_gives_what_its_authors_program_gives():
    value, gradient = value_and_gradient(AsymmetricLoss(), OUTPUTS, UNITS, total=3)  # theirs is a sum over units
    close(value, [8.96462107])
    close(
        gradient,
        [
            -0.04856841,
            0.0066457,
            -0.9414447,
            -0.18507423,
            0.72420013,
            -0.89086663,
            3.277e-05,
            0.70296156,
            -0.23321928,
            0.0,
            -0.60992503,
            -0.04745395,
        ],
    )
    value, gradient = value_and_gradient(AsymmetricLoss(1, 3, 0.1), OUTPUTS, UNITS, total=3)
    close(value, [7.25807823])
    close(
        gradient,
        [
            -0.00465955,
            0.01034285,
            -1.04275542,
            -0.06511939,
            0.48656148,
            -1.00901086,
            2.116e-05,
            0.45891319,
            -0.10187981,
            0.0,
            -0.595987,
            -0.00444946,
        ],
    )


def test_asymmetric_ignores_negatives_below_the_margin():
    outputs = torch.tensor([[-3.0], [-2.0]], requires_grad=True)  # probabilities 0.047 and 0.119
    value = AsymmetricLoss(margin=0.05)(outputs, torch.zeros(2, 1))
    value.sum().backward()
    assert value[0] == outputs.grad[0] == 0
    assert value[1] > 0
    assert outputs.grad[1] > 0


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("alpha", [None, 0.25, 1.0])
def test_multilabel_focal_equals_its_definition(gamma, alpha):
    outputs, targets = target_batch("multilabel", dtype=torch.float64)

    def value(t, z, y):
        p = sigmoid(z) if y else 1 - sigmoid(z)
        return -(1 if alpha is None else alpha if y else 1 - alpha) * (1 - p) ** gamma * math.log(p)

    close(MultilabelFocalLoss(gamma, alpha)(outputs, targets), mean_of_known(outputs, targets, value))


def test_asymmetric_without_margin_is_focal_and_without_focusing_binary_cross_entropy():
    outputs, targets = target_batch("multilabel")
    focal, plain = MultilabelFocalLoss(2.0)(outputs, targets), BinaryCrossEntropyLoss()(outputs, targets)
    torch.testing.assert_close(AsymmetricLoss(2, 2, 0)(outputs, targets), focal)
    torch.testing.assert_close(AsymmetricLoss(0, 0, 0)(outputs, targets), plain)
    torch.testing.assert_close(MultilabelFocalLoss(0.0)(outputs, targets), plain)


def units(*counts: int, samples: int) -> np.ndarray:
    return np.stack([np.arange(samples) < count for count in counts], axis=1).astype(float)


def test_distribution_balanced_gives_what_its_authors_program_gives():
    training = units(10, 40, 5, samples=100)
    value, gradient = value_and_gradient(DistributionBalancedLoss(training), OUTPUTS, UNITS, total=3)
    close(
        value,
        [
            0.00017079
            + 7.3e-07
            + 5.47949086
            + 0.01011673
            + 0.96986623
            + 3.84928125
            + 1.27665826
            + 0.03408003
            + 0.1629995
            + 0.00026151
        ],
        rtol=1e-6,
    )
    close(
        gradient,
        [
            -0.00049116,
            1.082e-05,
            -2.42745149,
            -0.0255518,
            0.40562245,
            -2.3531394,
            0.0,
            0.49612351,
            -0.08173329,
            0.0,
            -0.23234348,
            -0.00075256,
        ],
        atol=2e-7,
    )
    plain = DistributionBalancedLoss(training, gamma=0, balance=1)
    value, gradient = value_and_gradient(plain, OUTPUTS, UNITS, total=3)
    close(
        value,
        [
            0.03471953
            + 0.00085112
            + 3.0806588
            + 0.14249426
            + 0.48493933
            + 2.40973616
            + 1.652e-05
            + 0.63833243
            + 0.29950101
            + 9e-08
            + 0.21838927
            + 0.05489902
        ],
        rtol=1e-6,
    )
    close(
        gradient,
        [
            -0.0338513,
            0.00421128,
            -1.01384672,
            -0.12860379,
            0.20278272,
            -0.96079132,
            8.261e-05,
            0.24804656,
            -0.26216137,
            4.4e-07,
            -0.14134219,
            -0.05354824,
        ],
        atol=2e-7,
    )


@pytest.mark.parametrize(
    "options", [{}, {"alpha": 0.5, "beta": 3.0, "mu": 0.1, "scale": 2.0, "kappa": 0.2, "gamma": 1.0}]
)
def test_distribution_balanced_equals_its_definition_with_missing_targets(options):
    o = {"alpha": 0.1, "beta": 10.0, "mu": 0.3, "scale": 5.0, "kappa": 0.05, "gamma": 2.0, "balance": 2.0} | options
    outputs, targets = target_batch("multilabel", dtype=torch.float64)
    positives, known = [5, 21, 25], [99, 100, 99]
    expected = []
    for row, truth in zip(outputs.tolist(), targets.tolist(), strict=True):
        repeated = sum(1 / n for n, y in zip(positives, truth, strict=True) if y == 1)
        values = []
        for z, y, n, total in zip(row, truth, positives, known, strict=True):
            weight = o["alpha"] + (sigmoid(o["beta"] * (1 / n / repeated - o["mu"])) if repeated else 1)
            moved = z - o["kappa"] / o["scale"] * math.log(total / n - 1)
            if y == 1:
                values.append(weight * (1 - sigmoid(moved)) ** o["gamma"] * -math.log(sigmoid(moved)))
            elif y == 0:
                q = sigmoid(o["scale"] * moved)
                values.append(weight * q ** o["gamma"] * -math.log(sigmoid(-o["scale"] * moved)) / o["scale"])
        expected.append(o["balance"] * sum(values) / len(values) if values else 0)
    close(DistributionBalancedLoss(PRESENT, **options).double()(outputs, targets), expected)


def test_a_unit_that_never_or_always_occurs_has_finite_weights():
    loss = DistributionBalancedLoss([[0.0, 1.0, NAN]] * 5)
    value = loss(torch.zeros(1, 3), torch.tensor([[1.0, 1.0, 0.0]]))
    assert value.isfinite().all()


def test_the_rarer_of_two_units_that_occur_together_weighs_more():
    rare, common = DistributionBalancedLoss(units(5, 50, samples=100)).weights(torch.ones(1, 2))[0].tolist()
    assert rare > 2 * common


# Regression.
DENSITY = {"none": None, "inverse": {}, "sqrt-inverse": {"smoothing": "gaussian"}}


@pytest.mark.parametrize("rule", sorted(DENSITY))
@pytest.mark.parametrize(
    ("loss", "error"),
    [
        (SquaredErrorLoss, lambda d: d**2),
        (AbsoluteErrorLoss, abs),
        (SmoothL1Loss, lambda d: d**2 / 2 if abs(d) < 1 else abs(d) - 0.5),
    ],
)
def test_errors_equal_their_definitions(loss, error, rule):
    outputs, targets = target_batch("regression", dtype=torch.float64)
    weights = None if rule == "none" else LabelWeights(LEVELS, rule, **DENSITY[rule]).double()
    factors = torch.ones_like(targets) if weights is None else weights(targets.nan_to_num())
    places = iter(pairs(factors, targets))
    expected = mean_of_known(outputs, targets, lambda t, z, y: next(places)[2] * error(z - y))
    close(loss(weights=weights)(outputs, targets), expected)


def test_smooth_l1_with_a_bend():
    outputs, targets = target_batch("regression", dtype=torch.float64)
    expected = mean_of_known(
        outputs,
        targets,
        lambda t, z, y: (z - y) ** 2 / 0.8 if abs(z - y) < 0.4 else abs(z - y) - 0.2,
    )
    close(SmoothL1Loss(beta=0.4)(outputs, targets), expected)


def concordance(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> float:
    mean_x, mean_y = np.average(x, weights=w), np.average(y, weights=w)
    covariance = np.average((x - mean_x) * (y - mean_y), weights=w)
    spread = np.average((x - mean_x) ** 2, weights=w) + np.average((y - mean_y) ** 2, weights=w)
    return 2 * covariance / (spread + (mean_x - mean_y) ** 2)


@pytest.mark.parametrize("rule", ["none", "inverse"])
def test_ccc_equals_its_definition(rule):
    outputs, targets = target_batch("regression", rows=9, dtype=torch.float64)
    weights = None if rule == "none" else LabelWeights(LEVELS, rule).double()
    factors = torch.ones_like(targets) if weights is None else weights(targets.nan_to_num())
    single = []
    for t in range(3):
        known = ~targets[:, t].isnan().numpy()
        columns = (part[:, t].numpy()[known] for part in (outputs, targets, factors))
        single.append(1 - concordance(*columns))
    expected = mean_of_known(outputs, targets, lambda t, z, y: single[t])
    close(CCCLoss(weights)(outputs, targets), expected)


def test_ccc_is_zero_for_equal_and_two_for_opposite_outputs():
    targets = wave(8, 2)
    assert CCCLoss()(targets, targets).abs().max() < 1e-6
    centred = targets - targets.mean(dim=0)
    torch.testing.assert_close(CCCLoss()(-centred, centred), torch.full((8,), 2.0, dtype=torch.float64))


@pytest.mark.parametrize(
    ("noise", "value", "gradient", "slope"),
    [
        (1.0, 6.26125763, [0.38086396, 0.37976872, -1.43890024, 1.41618595, -0.53974717], -8.37971232),
        (0.6, 5.15564344, [0.35129724, 0.36307148, -1.42253944, 1.32745703, -0.63344191], -15.66197149),
    ],
)
def test_balanced_mse_gives_what_its_authors_program_gives(noise, value, gradient, slope):
    loss = BalancedMSELoss(noise, learn_noise=True).double()
    outputs = wave(5, 1, scale=1.5).requires_grad_()
    found = loss(outputs, wave(5, 1, speed=2.9)).mean()
    found.backward()
    close(found, [value])
    close(outputs.grad, gradient)
    close(loss.log_noise.grad, [slope * noise])  # by the logarithm


def test_balanced_mse_equals_its_definition_for_each_target():
    outputs, targets = target_batch("regression", dtype=torch.float64)
    loss, noise = BalancedMSELoss(0.8), 0.8
    assert list(loss.parameters()) == []

    def value(t, z, y):
        labels = [other for _, place, _, other in pairs(outputs, targets) if place == t]
        near = sum(math.exp(-((z - other) ** 2) / (2 * noise**2)) for other in labels)
        return -2 * noise**2 * math.log(math.exp(-((z - y) ** 2) / (2 * noise**2)) / near)

    close(loss.double()(outputs, targets), mean_of_known(outputs, targets, value), rtol=1e-5)


def test_balanced_mse_takes_the_training_distribution_out_of_the_squared_error():
    """Noise on labels of which high ones are rare: squared error predicts too low, and balanced MSE less so."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.cat([torch.zeros(450), torch.ones(50)])[:, None]
    features = labels + torch.randn(500, 1, generator=generator)

    def predicted_for_one(loss):
        line = torch.zeros(2, requires_grad=True)
        optimizer = torch.optim.LBFGS([line], max_iter=50)

        def closure():
            optimizer.zero_grad()
            value = loss(line[0] + line[1] * features, labels).mean()
            value.backward()
            return value

        optimizer.step(closure)
        return float(line.detach().sum())

    plain, balanced = predicted_for_one(SquaredErrorLoss()), predicted_for_one(BalancedMSELoss(0.3))
    assert plain < 0.25 < 0.5 < balanced


# Weights of labels.
AGES = np.array([[0.0]] * 30 + [[1.0]] * 9 + [[2.0]] * 2 + [[4.0]] * 7 + [[5.0]] + [[8.0]] * 3)


@pytest.mark.parametrize(
    ("rule", "smoothing", "expected"),
    [
        ("inverse", "none", [0.41269845, 1.37566149, 2.47619057, 1.76870763, 2.47619057, 2.47619057]),
        ("inverse", "gaussian", [0.48667365, 1.10593593, 2.19973493, 1.8181566, 2.29258132, 2.67574072]),
        ("sqrt-inverse", "none", [0.62176347, 1.13517964, 2.40807962, 1.28717268, 3.4055388, 1.96618867]),
        ("sqrt-inverse", "gaussian", [0.65614903, 0.98167479, 2.11777592, 1.38792133, 2.84271526, 2.2289114]),
    ],
)
def test_label_weights_are_those_of_the_authors_program(rule, smoothing, expected):
    """With a kernel so narrow that its folded tails do not matter, and its counts as floating point.

    The program rounds smoothed counts down where these are whole numbers, that is, for ``inverse``.
    """
    weights = LabelWeights(AGES, rule, smoothing, kernel_size=5, sigma=0.5)
    assert weights.bins[0].count == 9
    close(weights(torch.tensor([[0.0], [1], [2], [4], [5], [8]])), expected, rtol=1e-5)
