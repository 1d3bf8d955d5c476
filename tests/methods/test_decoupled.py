"""Decoupled training: what the second stage moves, and that all else keeps its bits."""

import pytest
import torch
import torch.nn.functional as F
from small import COUNTS, Small, batch, built, task
from test_dicc import trained
from torch import nn

from evenface.losses import build_loss
from evenface.methods import build_method
from evenface.utils.errors import InputError

LEARNT = {"crt": {"network.classifier.weight", "network.classifier.bias"}, "lws": {"scales"}}

both = pytest.mark.parametrize("name", ["crt", "lws"])


def copied(method):
    return {name: value.clone() for name, value in method.state_dict().items()}


@both
def test_the_first_stage_is_training_by_the_loss(name):
    method, plain = trained(built(name), 3), trained(built("erm"), 3)
    assert all(torch.equal(value, method.state_dict()[key]) for key, value in plain.state_dict().items())
    images = batch(8)[0]
    torch.testing.assert_close(method.eval().predict(images), plain.eval().predict(images), rtol=0, atol=0)


@both
def test_the_second_stage_moves_nothing_but_what_it_learns(name):
    method = trained(built(name), 3)
    method.begin_stage(1)
    before = copied(method)
    trained(method, 4)
    after = method.state_dict()
    assert {key for key, value in after.items() if not torch.equal(value, before[key])} == LEARNT[name]
    assert not method.uses_all_parameters
    assert [(stage.share, stage.sampling) for stage in method.stages] == [(0.9, None), (0.1, "inverse")]


@both
def test_a_run_that_goes_on_within_the_second_stage_knows_it(name):
    whole = trained(built(name), 2)
    whole.begin_stage(1)
    trained(whole, 2)
    other = built(name)
    other.load_state_dict(copied(whole))
    trained(whole, 3)
    trained(other, 3)
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in whole.state_dict().items())


def test_a_retrained_classifier_begins_anew_in_place_and_learns_from_features_as_at_prediction():
    method = trained(built("crt"), 3)
    parameter, before = method.network.classifier.weight, method.network.classifier.weight.clone()
    method.begin_stage(1)
    assert method.network.classifier.weight is parameter
    assert not torch.equal(parameter, before)
    images, targets = batch(8)
    features = method.network.eval()(images).features.detach()
    method.train()
    weight, bias = (p.detach().clone().requires_grad_() for p in method.network.classifier.parameters())
    expected = method.loss(F.linear(features, weight, bias), targets)
    value = method(images, targets)
    torch.testing.assert_close(value, expected)
    method.zero_grad(set_to_none=True)
    value.mean().backward()
    expected.mean().backward()
    torch.testing.assert_close(method.network.classifier.weight.grad, weight.grad)
    assert method.network.conv.weight.grad is None


def test_scales_multiply_the_logits_they_learn_from():
    method = trained(built("lws"), 3)
    method.begin_stage(1)
    assert method.scales.tolist() == [1.0, 1.0, 1.0]
    trained(method, 5)
    images, targets = batch(8)
    logits = method.network.eval()(images).logits.detach()
    scales = method.scales.detach().clone().requires_grad_()
    scaled = torch.stack([logits[:, c] * scales[c] for c in range(3)], dim=1)
    torch.testing.assert_close(method.eval().predict(images), scaled.softmax(dim=1).detach())
    method.zero_grad(set_to_none=True)
    method(images, targets).mean().backward()
    torch.testing.assert_close(method.scales.grad, torch.autograd.grad(method.loss(scaled, targets).mean(), scales)[0])


@both
def test_the_second_stage_learns_in_mixed_precision(name):
    method = built(name)
    method.begin_stage(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = method(*batch(8))
    value.mean().backward()
    learnt = {key for key, parameter in method.named_parameters() if parameter.grad is not None}
    assert learnt == LEARNT[name]


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("bias", ["drop", "keep"])
def test_a_normalised_classifier_divides_each_row_by_its_norm(tau, bias):
    method = trained(built("tau-norm", tau=tau, bias=bias), 3).eval()
    images = batch(8)[0]
    features = method.network(images).features.tolist()
    rows, biases = (p.tolist() for p in method.network.classifier.parameters())
    norms = [sum(w * w for w in row) ** 0.5 for row in rows]
    logits = [
        [
            sum(w * f for w, f in zip(row, sample, strict=True)) / norm**tau + (b if bias == "keep" else 0.0)
            for row, norm, b in zip(rows, norms, biases, strict=True)
        ]
        for sample in features
    ]
    torch.testing.assert_close(method.predict(images), torch.tensor(logits).softmax(dim=1))


def test_without_tau_and_with_biases_nothing_is_changed():
    method, plain = (
        trained(built(name, **options), 3).eval()
        for name, options in (("tau-norm", {"tau": 0, "bias": "keep"}), ("erm", {}))
    )
    images = batch(8)[0]
    torch.testing.assert_close(method.predict(images), plain.predict(images))


def test_at_tau_one_the_length_of_a_classs_weights_does_not_matter():
    method = trained(built("tau-norm"), 3).eval()
    images = batch(8)[0]
    before = method.predict(images)
    with torch.no_grad():
        method.network.classifier.weight *= torch.tensor([[7.0], [0.3], [1.0]])
    torch.testing.assert_close(method.predict(images), before)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("crt", {"share": 1.0}, "share must be"),
        ("lws", {"share": 0}, "share must be"),
        ("tau-norm", {"tau": -1}, "tau must be"),
        ("tau-norm", {"bias": "half"}, "drop or keep"),
    ],
)
def test_options_that_cannot_be_are_refused(name, options, says):
    with pytest.raises(InputError, match=says):
        built(name, **options)


def test_a_classifier_by_angles_has_no_norms_to_divide_by():
    class Angles(nn.Linear):
        pass

    network = Small()
    network.classifier = Angles(8, 3, bias=False)
    with pytest.raises(InputError, match="must be linear"):
        build_method("tau-norm", network, build_loss("cross-entropy", COUNTS), task=task())
