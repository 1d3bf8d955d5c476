"""The loss of SimSiam, its stopped gradient, and the measure of collapse, each derived another way."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from evenface.methods.base import StepContext
from evenface.models import build_network
from evenface.training.batches import ImageBank, TrainingBatches
from evenface.training.simsiam import SimSiam, distance, full_std, output_std


def images(seed, rows=6):
    return torch.rand(rows, 1, 32, 32, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def method():
    built = SimSiam(build_network("test_resnet", 1, channels=1, size=32), seed=3)
    built.ctx = StepContext(0, 0, 2, 1, torch.arange(6), (images(1), torch.zeros(6)))
    return built


def negative_cosine(p, z):
    return -sum(a * b for a, b in zip(p, z, strict=True)) / (
        sum(a * a for a in p) ** 0.5 * sum(b * b for b in z) ** 0.5
    )


def test_the_loss_is_that_of_a_loop_over_the_images(method):
    views = [method.project(view).detach() for view in (images(0), images(1))]
    predicted = [method.predictor(view).detach() for view in views]
    (z1, z2), (p1, p2) = ([one.double().numpy() for one in part] for part in (views, predicted))
    expected = [(negative_cosine(p1[i], z2[i]) + negative_cosine(p2[i], z1[i])) / 2 for i in range(6)]
    loss = method(images(0), torch.zeros(6))
    assert loss.shape == (6,)
    np.testing.assert_allclose(loss.detach().numpy(), expected, atol=1e-5)
    assert (loss >= -1 - 1e-6).all()


def test_no_gradient_passes_what_is_predicted():
    p, z = (torch.randn(5, 8, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda first: distance(first, z), p)
    (gradient,) = torch.autograd.grad(distance(p, z).sum(), z, allow_unused=True)
    assert gradient is None or not gradient.any()


def test_the_gradient_of_the_backbone_is_that_of_fixed_targets(method):
    """Equation 2 in place of equation 1: targets that are computed beforehand give the same gradient."""
    weights = [*method.network.backbone.parameters(), *method.projector.parameters()]
    whole = torch.autograd.grad(method(images(0), torch.zeros(6)).mean(), weights)
    with torch.no_grad():
        targets = [method.project(view) for view in (images(0), images(1))]
    loss = 0.0
    for view, target in zip((images(0), images(1)), reversed(targets), strict=True):
        predicted = method.predictor(method.project(view))
        loss = loss - (F.normalize(predicted) * F.normalize(target)).sum(1).mean() / 2
    fixed = torch.autograd.grad(loss, weights)
    for one, other in zip(whole, fixed, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    assert any(gradient.abs().max() > 1e-4 for gradient in whole)


def test_constant_outputs_have_collapsed_and_gaussian_ones_have_not():
    assert output_std(torch.randn(1, 64).expand(200, 64)) == pytest.approx(0, abs=1e-7)
    gaussian = torch.randn(4000, 64, generator=torch.Generator().manual_seed(0))
    assert float(output_std(gaussian)) == pytest.approx(full_std(64), rel=0.01)
    assert full_std(64) == 0.125
    line = torch.randn(500, 1, generator=torch.Generator().manual_seed(0)) * torch.ones(64)  # one direction, both ways
    assert float(output_std(line)) == pytest.approx(full_std(64), rel=0.01)


@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(2, 30), st.floats(0, 20))
def test_the_standard_deviation_of_outputs_is_bounded(seed, rows, width, shift):
    outputs = np.random.default_rng(seed).normal(shift, 1, (rows, width))
    unit = outputs / np.linalg.norm(outputs, axis=1, keepdims=True)
    expected = np.mean([np.sqrt(np.mean((column - column.mean()) ** 2)) for column in unit.T])
    value = float(output_std(torch.from_numpy(outputs)))
    assert value == pytest.approx(expected, abs=1e-6)
    assert 0 <= value <= full_std(width) + 1e-6


def test_an_epoch_measures_the_mean_over_its_steps(method):
    method.ctx = StepContext(0, 0, 2, 3, torch.arange(6), (images(1), torch.zeros(6)))
    expected = []
    for step in range(3):
        expected += [float(output_std(method.project(view))) for view in (images(step), images(1))]
        method(images(step), torch.zeros(6))
    assert method.end_epoch() == {"output_std": pytest.approx(np.mean(expected), rel=1e-4)}
    assert not method.std_sum


def test_the_two_batches_of_a_step_are_the_same_images_augmented_differently():
    stored = np.random.default_rng(0).integers(0, 256, (20, 1, 4, 4, 1), dtype=np.uint8)
    bank = ImageBank(stored, torch.device("cpu"))
    batches = TrainingBatches(bank, np.arange(20), np.zeros(20, dtype=np.int64), batch_size=8, seed=1)
    for batch in batches.epoch(0, second=SimSiam.second_sampling):
        assert batch.rows.tolist() == batch.second.rows.tolist()
        assert (batch.numbers != batch.second.numbers).all()


@pytest.mark.parametrize(("name", "width"), [("compact_vgg_16", 512), ("resnet18", 2048)])
def test_projections_are_as_wide_as_in_the_source_from_512_features_on(name, width):
    method = SimSiam(build_network(name, 1, channels=1, size=32))
    assert method.width == width
    assert [layer.out_features for layer in method.projector if hasattr(layer, "out_features")] == [width] * 3
    assert [layer.out_features for layer in method.predictor if hasattr(layer, "out_features")] == [width // 4, width]


def test_only_the_backbone_and_its_normalisation_are_kept(method):
    names = method.inference_state()
    assert {name.split(".")[1] for name in names} == {"backbone", "mean", "std"}
    assert not any(weight.requires_grad for weight in method.network.classifier.parameters())
