"""Ordered classes: one score and thresholds, or the level as a number."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import CLASSES, COUNTS, Small, batch, built
from test_dicc import trained
from torch import nn

from evenface.losses import build_loss
from evenface.methods import Task, build_method
from evenface.models.backbone import Outputs
from evenface.utils.errors import InputError

ALPHA = [0.5, 1.0, 1.5]


class Given(nn.Module):
    """A network whose features are its images: the classifier's output is what a test says."""

    def __init__(self, classes):
        super().__init__()
        self.classifier = nn.Linear(1, classes)

    def forward(self, images):
        features = images.flatten(1)
        return Outputs(self.classifier(features), features, images)


def of_scores(name, counts, alpha=None, names=None, **options):
    """Build a method whose one output is the image itself, and give its images for some scores."""
    task = Task(counts, names or tuple("abcdefgh"[: len(counts)]), batch_size=4, ordered=True)
    loss = build_loss("cross-entropy", counts, alpha=alpha)
    method = build_method(name, Given(len(counts)), loss, task=task, **options)
    with torch.no_grad():
        method.network.classifier.weight.fill_(1)
        if method.network.classifier.bias is not None:
            method.network.classifier.bias.fill_(0)
    return method


def sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def softplus(x):
    return math.log1p(math.exp(x))


@pytest.mark.parametrize("importance", ["none", "counts"])
def test_ordinal_is_the_sum_of_weighted_binary_cross_entropies(importance):
    counts = [40, 30, 20, 10]
    method = of_scores("ordinal", counts, alpha=[0.4, 0.8, 1.2, 1.6], importance=importance)
    with torch.no_grad():
        method.first.fill_(0.7)
        method.gaps.copy_(torch.tensor([-0.5, 1.3]))
    biases = [0.7, 0.7 - softplus(-0.5), 0.7 - softplus(-0.5) - softplus(1.3)]
    # Above level 0, 1, 2 are 60, 30 and 10 of 100; of each question the larger side counts: 60, 70, 90.
    share = [1.0, 1.0, 1.0] if importance == "none" else [math.sqrt(n / 90) for n in (60, 70, 90)]
    scores, targets = [-2.0, -0.3, 0.4, 3.0], [0, 3, 1, 2]
    got = method(torch.tensor(scores)[:, None], torch.tensor(targets))
    for score, y, value in zip(scores, targets, got.tolist(), strict=True):
        expected = 0.0
        for k in range(3):
            above = sigmoid(score + biases[k])
            expected -= share[k] * (math.log(above) if y > k else math.log(1 - above))
        assert value == pytest.approx([0.4, 0.8, 1.2, 1.6][y] * expected, rel=1e-5)


@given(
    st.floats(-60, 60),
    st.floats(-5, 5),
    st.lists(st.floats(-8, 8), min_size=0, max_size=5),
)
def test_ordinal_probabilities_are_differences_of_falling_cumulative_ones(score, first, gaps):
    method = of_scores("ordinal", [5] * (len(gaps) + 2))
    with torch.no_grad():
        method.first.fill_(first)
        method.gaps.copy_(torch.tensor(gaps))
        got = method.predict(torch.tensor([[score]]))[0].double()
    biases = method.biases().double()
    assert (biases.diff() <= 0).all()
    above = torch.cat([torch.ones(1), torch.sigmoid(score + biases), torch.zeros(1)]).double()
    torch.testing.assert_close(got, above[:-1] - above[1:], rtol=1e-4, atol=1e-6)
    assert (got >= 0).all()
    assert got.sum().item() == pytest.approx(1, abs=1e-5)


def test_far_from_its_threshold_a_probability_keeps_its_digits():
    method = of_scores("ordinal", [5, 5, 5])
    p = method.predict(torch.tensor([[40.0], [-40.0]])).double()
    b0, b1 = method.biases().tolist()
    assert p[0, 0].item() == pytest.approx(sigmoid(-40 - b0), rel=1e-4)
    assert p[0, 1].item() == pytest.approx(sigmoid(-40 - b1) - sigmoid(-40 - b0), rel=1e-4)
    assert p[1, 2].item() == pytest.approx(sigmoid(-40 + b1), rel=1e-4)


@pytest.mark.parametrize("classes", [3, 5, 8])
def test_ordinal_begins_with_steps_in_which_every_level_can_win(classes):
    method = of_scores("ordinal", [7] * classes)
    middles = torch.arange(-(classes - 3), classes - 2, 2) * math.log(3)  # of the steps between two thresholds
    p = method.predict(middles[:, None])
    torch.testing.assert_close(p[:, 1:-1].diagonal(), torch.full((classes - 2,), 0.5))
    assert p.argmax(dim=1).tolist() == list(range(1, classes - 1))
    torch.testing.assert_close(p.flip(0, 1), p)


def test_of_two_classes_ordinal_is_logistic_regression():
    method = of_scores("ordinal", [5, 5])
    scores, targets = torch.tensor([[-1.0], [0.5], [2.0]]), torch.tensor([0, 1, 0])
    expected = nn.functional.binary_cross_entropy_with_logits(scores[:, 0], targets.float(), reduction="none")
    torch.testing.assert_close(method(scores, targets), expected)
    torch.testing.assert_close(method.predict(scores)[:, 1], scores[:, 0].sigmoid())


def test_biases_stay_ordered_however_training_pulls_them():
    method = built("ordinal")
    images, targets = batch(8)
    optimizer = torch.optim.SGD(method.parameters(), lr=5.0)
    for _ in range(20):
        optimizer.zero_grad()
        # Nobody of the middle class: the thresholds would meet.
        method(images, torch.where(targets == 1, 2, targets)).mean().backward()
        optimizer.step()
    assert (method.biases().diff() <= 0).all()
    assert (method.eval().predict(images) >= 0).all()


ERRORS = {
    "squared": lambda d: d * d,
    "absolute": abs,
    "smooth": lambda d: d * d / 2 if abs(d) < 1 else abs(d) - 0.5,
}


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("alpha", [None, ALPHA])
def test_regression_is_the_weighted_error_of_the_level(error, alpha):
    method = of_scores("regression", COUNTS, alpha=alpha, error=error)
    levels, targets = [-0.7, 0.4, 1.1, 3.5], [0, 2, 1, 2]
    got = method(torch.tensor(levels)[:, None], torch.tensor(targets)).tolist()
    expected = [(alpha or [1, 1, 1])[y] * ERRORS[error](z - y) for z, y in zip(levels, targets, strict=True)]
    assert got == pytest.approx(expected, rel=1e-5)


@given(st.integers(2, 8), st.floats(-3, 10))
def test_a_level_is_spread_over_its_neighbours_and_is_what_is_expected(classes, level):
    method = of_scores("regression", [5] * classes)
    p = method.predict(torch.tensor([[level]]))[0].double()
    clipped = min(max(level, 0.0), classes - 1.0)
    assert (p @ torch.arange(classes).double()).item() == pytest.approx(clipped, abs=1e-5)
    assert p.sum().item() == pytest.approx(1, abs=1e-6)
    places = p.nonzero()[:, 0].tolist()
    assert len(places) <= 2
    assert max(places) - min(places) <= 1
    assert abs(int(p.argmax()) - clipped) <= 0.5 + 1e-6


@st.composite
def scales(draw):
    values = sorted(draw(st.sets(st.integers(-20, 100), min_size=2, max_size=7)))
    return [float(value) for value in values]


@pytest.mark.parametrize("error", ERRORS)
@given(values=scales(), place=st.floats(-3, 9))
def test_regression_learns_the_values_of_levels(error, values, place):
    names = tuple(f"{value:g}" for value in values)
    method = of_scores("regression", [5] * len(values), names=names, error=error)
    step = (values[-1] - values[0]) / (len(values) - 1)
    output = values[0] + step * place  # a place counts mean steps from the lowest level
    images = torch.tensor([[place]])
    for y, value in enumerate(values):
        expected = ERRORS[error]((output - value) / step)
        assert method(images, torch.tensor([y])).item() == pytest.approx(expected, rel=1e-3, abs=1e-4)
    p, level = method.outputs(images)
    assert level.item() == pytest.approx(output, rel=1e-4, abs=1e-3)
    torch.testing.assert_close(p, method.predict(images))
    clipped = min(max(output, values[0]), values[-1])
    weights = p[0].double()
    assert (weights @ torch.tensor(values).double()).item() == pytest.approx(clipped, rel=1e-4, abs=1e-3)
    assert weights.sum().item() == pytest.approx(1, abs=1e-5)
    assert int((weights > 0).sum()) <= 2
    nearest = min(abs(value - clipped) for value in values)
    assert abs(values[int(p.argmax())] - clipped) <= nearest + 1e-3
    gaps = [b - a for a, b in itertools.pairwise(values)]
    assert method.class_scores(images)[0].argmax() == p.argmax() or nearest > 0.49 * min(gaps)


@pytest.mark.parametrize("name", ["ordinal", "regression"])
def test_the_output_of_named_levels_is_in_indices(name):
    method = of_scores(name, [5] * 3)
    p, level = method.outputs(torch.tensor([[0.6]]))
    assert method.values.tolist() == [0, 1, 2]
    assert level.item() == pytest.approx((p @ torch.arange(3.0)).item(), abs=1e-6)
    assert method.scores(torch.tensor([[0.6]])).tolist() == p.tolist()


@pytest.mark.parametrize("name", ["ordinal", "regression"])
def test_mixed_precision_keeps_the_output_in_32_bits(name):
    method = of_scores(name, [5] * 16, names=tuple(map(str, range(16))))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        p, level = method.outputs(torch.tensor([[0.5], [3.0]]))
    assert level.dtype == torch.float32
    torch.testing.assert_close((p.double() * torch.arange(16)).sum(dim=1).float(), level, rtol=1e-5, atol=1e-5)


def test_regression_begins_near_the_middle_of_the_scale():
    task = Task([5] * 5, tuple("abcde"), batch_size=4, ordered=True)
    method = build_method("regression", Small(), build_loss("cross-entropy", [5] * 5), task=task)
    assert method.network.classifier.bias.tolist() == [2.0]


@pytest.mark.parametrize("name", ["corn", "ordinal", "regression"])
def test_levels_of_growing_brightness_are_learnt_in_their_order(name):
    images = torch.linspace(0, 1, 30)[:, None, None, None] + 0.05 * torch.rand(30, 1, 16, 16)
    targets = torch.arange(30) // 10
    method = trained_on(built(name, alpha=None), images, targets)
    p = method.eval().predict(images)
    expected = p @ torch.arange(3.0)
    assert (p.argmax(1) == targets).float().mean() > 0.85
    assert expected[:5].mean() < expected[12:18].mean() < expected[-5:].mean()


def trained_on(method, images, targets):
    optimizer = torch.optim.Adam(method.parameters(), lr=0.05)
    for _ in range(80):
        optimizer.zero_grad()
        method(images, targets).mean().backward()
        optimizer.step()
    return method


@pytest.mark.parametrize("name", ["corn", "ordinal", "regression"])
def test_mixed_precision_gives_losses_of_32_bits(name):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert built(name)(*batch()).dtype == torch.float32


@pytest.mark.parametrize("name", ["ordinal", "regression"])
def test_what_they_cannot_learn_from_is_refused(name):
    ordered = Task(COUNTS, CLASSES, batch_size=8, ordered=True)
    unordered = Task(COUNTS, CLASSES, batch_size=8)
    plain = build_loss("cross-entropy", COUNTS)
    with pytest.raises(InputError, match=r"happy, sad, fear\) are not known to be steps of one scale"):
        build_method(name, Small(), plain, task=unordered)
    with pytest.raises(InputError, match="only class weights from the recipe's loss") as refused:
        build_method(name, Small(), build_loss("focal", COUNTS), task=ordered)
    assert "loss.name=cross-entropy" in str(refused.value)
    angles = Small()
    angles.classifier = type("Angles", (nn.Linear,), {})(8, 3, bias=False)
    with pytest.raises(InputError, match="classifier must be linear"):
        build_method(name, angles, plain, task=ordered)
    option = {"ordinal": "importance", "regression": "error"}[name]
    with pytest.raises(InputError, match=f"invalid option {option}"):
        build_method(name, Small(), plain, task=ordered, **{option: "none at all"})


@pytest.mark.parametrize("name", ["ordinal", "regression"])
def test_the_head_is_of_one_output_and_drawn_by_the_seed(name):
    one, two = built(name), built(name)
    assert one.network.classifier.weight.shape == (1, 8)
    assert torch.equal(one.network.classifier.weight, two.network.classifier.weight)
    assert {key for key in one.inference_state() if not key.startswith("network.")} == (
        {"first", "gaps"} if name == "ordinal" else set()
    )
    assert trained(one, 1).uses_all_parameters
