"""Weight balancing: the limit of norms, the decay and the class weights of its second stage."""

import pytest
import torch
import torch.nn.functional as F
from small import COUNTS, Small, batch, built, loss_for, step_context, task
from waves import LABELS, inputs, on_waves, wave

from evenface.methods import build_method
from evenface.models.backbone import CosineClassifier
from evenface.utils.errors import InputError


def second_stage(**options):
    method = on_waves("weight-balancing", task(), **options)
    with torch.no_grad():
        method.network.classifier.weight.copy_(wave(3, 5, size=0.7) * torch.tensor([[3.0], [1.0], [2.0]]))
    method.begin_stage(1)
    method.ctx = step_context(epoch=9)
    return method


def test_norms_are_limited_as_by_the_public_program():
    """ShadeAlsha/LTR-weight-balancing at commit e89f292, MaxNorm_via_PGD with threshold 0.1, on the same weights."""
    method = second_stage()
    assert method.limit.item() == pytest.approx(1.2546957159941976, rel=1e-6)
    method(inputs(), LABELS)
    weight = method.network.classifier.weight.detach()
    assert weight.norm(dim=1).tolist() == pytest.approx([1.2546957159942, 1.0384401272060, 1.2546957159942], rel=1e-6)
    expected = [0.2432538699, 0.7484771363, -0.4361281862, -0.6360917051, 0.6000420143]
    assert weight[0].tolist() == pytest.approx(expected, rel=1e-6)


def test_a_step_is_gradient_descent_with_decay_and_class_weights_and_then_the_limit():
    """Ten steps of SGD by hand: weight decay as SGD has it, projection after each step."""
    method = second_stage(decay=0.2, beta=0.99)
    raw = torch.tensor([(1 - 0.99) / (1 - 0.99**n) for n in COUNTS], dtype=torch.float64)
    u = raw * 3 / raw.sum()
    features = method.network(inputs()).features.detach()
    limit = method.limit.item()

    def limited(weight):
        return weight * (limit / weight.norm(dim=1, keepdim=True)).clamp(max=1)

    w, b = (value.detach().clone() for value in method.network.classifier.parameters())
    optimizer = torch.optim.SGD(method.parameters(), lr=0.3)
    for _ in range(10):
        optimizer.zero_grad()
        method(inputs(), LABELS).mean().backward()
        optimizer.step()
        w = limited(w)
        p = (features @ w.T + b).softmax(dim=1) - F.one_hot(LABELS, 3)
        error = u[LABELS][:, None] * p / len(LABELS)
        w, b = w - 0.3 * (error.T @ features + 0.2 * w), b - 0.3 * (error.sum(dim=0) + 0.2 * b)
    torch.testing.assert_close(method.network.classifier.bias.detach(), b, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(method.logits(inputs()).detach(), features @ limited(w).T + b, rtol=1e-6, atol=1e-6)
    assert all(value.grad is None for value in method.network.hidden.parameters())


def test_the_first_stage_is_training_by_the_loss_without_limit():
    method, plain, (images, targets) = built("weight-balancing"), built("erm"), batch()
    assert torch.equal(method(images, targets), plain(images, targets))
    assert torch.equal(method.eval().predict(images), plain.eval().predict(images))


def test_a_stored_limit_limits_predictions():
    method = second_stage()
    other = on_waves("weight-balancing", task())
    other.load_inference_state(method.inference_state())
    assert torch.equal(other.eval().predict(inputs()), method.eval().predict(inputs()))
    assert [(round(stage.share, 2), stage.sampling) for stage in method.stages] == [(0.97, None), (0.03, None)]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"decay": -0.1}, "decay must be a number >= 0"),
        ({"threshold": 2.0}, "threshold must be from 0 to 1"),
        ({"beta": 1.0}, "beta must be"),
        ({"share": 0.0}, "share must be above 0"),
    ],
)
def test_options_that_cannot_be_are_explained(options, says):
    with pytest.raises(InputError, match=says):
        build_method("weight-balancing", Small(), loss_for("erm"), task=task(), **options)


def test_a_classifier_without_norms_is_refused():
    network = Small()
    network.classifier = CosineClassifier(8, 3, 30.0)
    with pytest.raises(InputError, match="method 'weight-balancing': the network's classifier must be linear"):
        build_method("weight-balancing", network, loss_for("erm"), task=task())
