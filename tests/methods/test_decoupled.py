"""Decoupled training: what the second stage moves, and that all else keeps its bits."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small import COUNTS, Small, batch, built, task
from test_dicc import trained
from torch import nn

from evenface.losses import build_loss
from evenface.methods import build_method, mixup
from evenface.utils.errors import InputError

CLASSIFIER = {"network.classifier.weight", "network.classifier.bias"}
LEARNT = {
    "crt": CLASSIFIER,
    "disalign": {"scale", "margin", "confidence.weight", "confidence.bias"},
    "lort": CLASSIFIER,
    "lws": {"scales"},
    "mislas": {"scales", *CLASSIFIER},
}
SHIFTED = {"network.norm.running_mean", "network.norm.running_var", "network.norm.num_batches_tracked"}
SAMPLING = {"crt": "inverse", "disalign": None, "lort": None, "lws": "inverse", "mislas": "inverse"}

GRW = [0.8523366269078131, 0.9625837575759719, 1.185079615516215]

every = pytest.mark.parametrize("name", LEARNT)


def copied(method):
    return {name: value.clone() for name, value in method.state_dict().items()}


@pytest.mark.parametrize("name", [name for name in LEARNT if name != "mislas"])
def test_the_first_stage_is_training_by_the_loss(name):
    method, plain = trained(built(name), 3), trained(built("erm"), 3)
    assert all(torch.equal(value, method.state_dict()[key]) for key, value in plain.state_dict().items())
    images = batch(8)[0]
    torch.testing.assert_close(method.eval().predict(images), plain.eval().predict(images), rtol=0, atol=0)


@every
def test_the_second_stage_moves_nothing_but_what_it_learns(name):
    method = trained(built(name), 3)
    method.begin_stage(1)
    before = copied(method)
    trained(method, 4)
    after = method.state_dict()
    moved = LEARNT[name] | (SHIFTED if name == "mislas" else set())
    assert {key for key, value in after.items() if not torch.equal(value, before[key])} == moved
    assert not method.uses_all_parameters
    assert [(stage.share, stage.sampling) for stage in method.stages] == [(0.9, None), (0.1, SAMPLING[name])]


@every
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


@every
def test_the_second_stage_learns_in_mixed_precision(name):
    method = built(name)
    method.begin_stage(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = method(*batch(8))
    value.mean().backward()
    learnt = {key for key, parameter in method.named_parameters() if parameter.grad is not None}
    assert learnt == LEARNT[name]


# Distribution alignment.
def test_alignment_interpolates_between_logits_and_calibrated_ones_by_confidence():
    method = trained(built("disalign", alpha=None, rho=1.2), 2)
    method.begin_stage(1)
    trained(method, 5)
    method.eval()
    images, targets = batch(8)
    outputs = method.network(images)
    z, f = outputs.logits.double().detach().numpy(), outputs.features.double().detach().numpy()
    scale, margin = (p.double().detach().numpy() for p in (method.scale, method.margin))
    v, b = (p.double().detach().numpy() for p in method.confidence.parameters())
    weights = [(n / sum(COUNTS)) ** -1.2 for n in COUNTS]
    probabilities = method.predict(images).tolist()
    for i, (y, value) in enumerate(zip(targets.tolist(), method(images, targets).tolist(), strict=True)):
        sigma = 1 / (1 + np.exp(-(v[0] @ f[i] + b[0])))
        aligned = np.array([sigma * (scale[c] * z[i, c] + margin[c]) + (1 - sigma) * z[i, c] for c in range(3)])
        p = np.exp(aligned) / np.exp(aligned).sum()
        assert probabilities[i] == pytest.approx(p.tolist(), rel=1e-4)
        focal = -((1 - p[y]) ** 2) * np.log(p[y])  # the loss of these tests
        assert value == pytest.approx(3 * weights[y] / sum(weights) * focal, rel=1e-4)


def test_alignment_begins_with_the_logits_and_has_the_weights_of_the_authors_program():
    method = trained(built("disalign", rho=0.3), 2).eval()
    images = batch(8)[0]
    torch.testing.assert_close(method.logits(images), method.network(images).logits)
    # Megvii-BaseDetection/DisAlign, get_class_grw_weight of shares 1/2, 1/3 and 1/6 with exp_scale=0.3.
    torch.testing.assert_close(method.weights, torch.tensor(GRW))
    assert method.prior_factor(COUNTS).tolist() == pytest.approx(GRW)


# Logits retargeting.
@pytest.mark.parametrize("delta", [0.0, 0.5, 0.98])
def test_retargeting_is_strong_label_smoothing_of_the_classifier_of_the_first_stage(delta):
    torch.manual_seed(0)
    method = trained(build_method("lort", Small(), build_loss("cross-entropy", COUNTS), task=task(), delta=delta), 3)
    before = method.network.classifier.weight.clone()
    method.begin_stage(1)
    assert torch.equal(method.network.classifier.weight, before)
    images, targets = batch(8)
    logits = method.network.eval()(images).logits
    expected = F.cross_entropy(logits, targets, reduction="none", label_smoothing=delta)
    method.train()
    torch.testing.assert_close(method(images, targets), expected)
    method.zero_grad(set_to_none=True)
    gradient = torch.autograd.grad(expected.mean(), method.network.classifier.weight)[0]
    method(images, targets).mean().backward()
    torch.testing.assert_close(method.network.classifier.weight.grad, gradient)


# MiSLAS.
def test_mislas_mixes_in_its_first_stage(monkeypatch):
    monkeypatch.setattr(mixup, "draw_share", lambda alpha: 0.3 + 0 * alpha)
    one, two = built("mislas"), built("mixup")
    images, targets = batch(8)
    torch.manual_seed(4)
    mixed = one(images, targets)
    torch.manual_seed(4)
    torch.testing.assert_close(mixed, two(images, targets))
    assert not torch.allclose(mixed, built("erm")(images, targets))


def test_mislas_shifts_statistics_and_scales_logits_against_smoothed_labels():
    torch.manual_seed(0)
    loss = build_loss("cross-entropy", COUNTS)
    method = trained(build_method("mislas", Small(), loss, task=task(), head=0.4, tail=0.1), 3)
    method.begin_stage(1)
    trained(method, 2)
    with torch.no_grad():
        method.scales += torch.tensor([0.5, -0.2, 0.1])
    images, targets = batch(8)
    network = method.network
    mean = network.conv(images).mean(dim=(0, 2, 3)).detach()
    expected_mean = 0.9 * network.norm.running_mean + 0.1 * mean
    features = network.train()(images).features.detach()  # of the batch's own statistics
    network.norm.running_mean.copy_((network.norm.running_mean - 0.1 * mean) / 0.9)  # undo that step
    logits = method.scales.detach() * network.classifier(features).detach()
    smoothed = build_loss("label-aware-smoothing", COUNTS, head=0.4, tail=0.1)(logits, targets)
    torch.testing.assert_close(method(images, targets), smoothed)
    torch.testing.assert_close(network.norm.running_mean, expected_mean)
    method.eval()
    shown = method.scales * network.classifier(network(images).features)
    torch.testing.assert_close(method.predict(images), shown.softmax(dim=1))


def test_mislas_refuses_shares_that_cannot_be_drawn():
    with pytest.raises(InputError, match=r"alpha must be a number of at least 0\.01, got 0"):
        build_method("mislas", Small(), build_loss("cross-entropy", COUNTS), task=task(), alpha=0)


def test_mislas_without_shift_keeps_the_statistics():
    method = trained(built("mislas", shift=False), 2)
    method.begin_stage(1)
    before = copied(method)
    trained(method, 2)
    assert all(torch.equal(method.state_dict()[key], before[key]) for key in SHIFTED)


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
        ("disalign", {"rho": -1}, "rho must be a number >= 0"),
        ("disalign", {"share": 0}, "share must be"),
        ("lort", {"delta": 1}, "delta must be from 0 to below 1"),
        ("mislas", {"tail": 0.5}, "tail <= head"),
        ("mislas", {"shape": "round"}, "invalid option shape"),
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
