"""Balanced and parametric contrastive learning: definitions, values of the authors' programs, the momentum queue."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small import COUNTS, Small, batch, built, step_context, task

from evenface.losses import build_loss
from evenface.methods import build_method
from evenface.methods.balanced_contrastive import balanced_contrast
from evenface.methods.paco import parametric_contrast
from evenface.utils.errors import InputError

TARGETS = torch.tensor([0, 2, 0, 1])
CLOSE = {"rtol": 1e-4, "atol": 2e-6}


def fixed(rows, width, seed):
    values = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values.float().requires_grad_()


def compare(gradient, numbers):
    torch.testing.assert_close(gradient.flatten(), torch.tensor(numbers), **CLOSE)


def build(name, loss="cross-entropy", network=None, **options):
    torch.manual_seed(0)
    method = build_method(name, network or Small(), build_loss(loss, COUNTS), task=task(), **options)
    method.ctx = step_context()
    return method


# Balanced contrastive learning.
def test_the_balanced_contrast_has_the_values_of_the_authors_program():
    # FlamieZhu/Balanced-Contrastive-Learning, BalSCL(temperature=0.1) of normalised views and prototypes.
    views, prototypes = fixed(8, 4, 1), fixed(3, 4, 2)
    value = balanced_contrast(views, prototypes, TARGETS.repeat(2), 0.1).mean()
    value.backward()
    assert value.item() == pytest.approx(7.7626524, rel=1e-5)
    numbers = [1.28675, -0.46061, 0.279543, -0.922215, -0.050839, 0.893028, -0.031918, 0.291692]
    numbers += [0.238755, 0.40358, 1.176012, 0.165449, -0.100136, 0.206507, -0.168232, -0.086207]
    numbers += [0.098498, -0.168763, 0.139382, -0.061171, -0.1612, 0.251145, -0.381196, -0.206049]
    numbers += [0.053212, 0.29635, -0.088283, 0.038575, -0.134374, -0.092963, 0.01842, -0.17469]
    compare(views.grad, numbers)
    numbers = [0.0867, -0.013357, 0.006888, 0.028877, 0.37022, -0.048543]
    compare(prototypes.grad, [*numbers, -0.406374, -0.341113, -0.061285, 0.33191, 0.120806, 0.217701])


def test_the_balanced_contrast_equals_its_definition():
    views, prototypes, labels = fixed(6, 5, 3), fixed(3, 5, 4), [0, 1, 1, 0, 2, 1]
    unit = F.normalize(torch.cat([views, prototypes]), dim=1).detach().double().numpy()
    classes = [*labels, 0, 1, 2]
    for i, value in enumerate(balanced_contrast(views, prototypes, torch.tensor(labels), 0.2).tolist()):
        others = [k for k in range(9) if k != i]
        by_class = [[math.exp(unit[i] @ unit[k] / 0.2) for k in others if classes[k] == c] for c in range(3)]
        total = sum(sum(part) / len(part) for part in by_class)
        logs = [unit[i] @ unit[k] / 0.2 - math.log(total) for k in others if classes[k] == labels[i]]
        assert value == pytest.approx(-sum(logs) / len(logs), rel=1e-5)


def test_a_frequent_class_pushes_no_more_than_a_rare_one():
    """Repeating a negative adds nothing, as its class is averaged."""
    views, prototypes = fixed(3, 4, 5).detach(), fixed(2, 4, 6).detach()
    once = balanced_contrast(views, torch.stack([prototypes[0], views[2]]), torch.tensor([0, 0, 1]), 0.1)
    more = torch.cat([views, views[2:].repeat(5, 1)])
    often = balanced_contrast(more, torch.stack([prototypes[0], views[2]]), torch.tensor([0, 0, *[1] * 6]), 0.1)
    torch.testing.assert_close(often[:2], once[:2])


def test_balanced_contrastive_adds_the_contrast_of_both_views_and_learns_prototypes_from_the_classifier():
    images, targets = batch(6)
    method, plain = build("balanced-contrastive", weight=0.5, temperature=0.3), build("erm")
    value = method(images, targets)
    outputs = plain.network(torch.cat([images, images.flip(-1)]))
    again = build("balanced-contrastive")
    views, classes = again.projection(outputs.features), again.prototypes(plain.network.classifier.weight)
    contrast = balanced_contrast(views, classes, targets.repeat(2), 0.3).view(2, 6).mean(dim=0)
    expected = F.cross_entropy(outputs.logits[:6], targets, reduction="none") + 0.5 * contrast
    torch.testing.assert_close(value, expected)
    method.zero_grad()
    contrast.sum().backward()
    assert plain.network.classifier.weight.grad.abs().sum() > 0
    assert plain.network.classifier.bias.grad is None


def test_without_weight_only_the_second_view_s_statistics_differ_from_training_by_the_loss():
    images, targets = batch(6)
    method, plain = build("balanced-contrastive", weight=0.0).eval(), build("erm").eval()
    torch.testing.assert_close(method(images, targets), plain(images, targets))


# Parametric contrastive learning.
def test_the_parametric_contrast_has_the_values_of_the_authors_program():
    # dvlab-research/Parametric-Contrastive-Learning, PaCoLoss(alpha=0.05, temperature=0.2, K=6) for counts 30, 20, 10.
    queries, logits, keys, queue = fixed(4, 4, 3), fixed(4, 3, 6), fixed(4, 4, 4), fixed(6, 4, 5)
    queue_labels = torch.tensor([0, 1, 2, 1, 0, 2])
    shares = torch.tensor([n / sum(COUNTS) for n in COUNTS])
    value = parametric_contrast(
        logits + shares.log(),
        queries,
        torch.cat([keys, queue]).detach(),
        torch.cat([TARGETS, queue_labels]),
        TARGETS,
        alpha=0.05,
        temperature=0.2,
    ).mean()
    value.backward()
    assert value.item() == pytest.approx(5.4677196, rel=1e-5)
    numbers = [0.346399, -0.117735, 0.128257, -0.013387, 0.172163, -0.175991, 0.173094, 0.031044]
    compare(
        queries.grad,
        [*numbers, -0.080692, 0.019817, -6.9e-05, -0.081051, 0.439075, -0.295566, -0.044407, 0.16714],
    )
    numbers = [-0.19988, 0.000193, 0.000534, 0.000765, 0.000235, -0.216779]
    compare(logits.grad, [*numbers, -0.197137, 0.000845, 0.001542, 0.001058, -0.215522, 0.001632])


def test_the_parametric_contrast_equals_its_definition_and_ignores_empty_places():
    logits, queries, keys = fixed(3, 3, 1), fixed(3, 4, 2), fixed(5, 4, 3)
    labels, key_labels = [1, 0, 1], [1, 2, -1, 1, 0]
    unit = F.normalize(torch.cat([queries, keys]), dim=1).detach().double().numpy()
    z, classes = logits.detach().double().numpy(), [*labels, *key_labels]
    options = {"alpha": 0.3, "temperature": 0.5}
    got = parametric_contrast(logits, queries, keys, torch.tensor(key_labels), torch.tensor(labels), **options)
    for i, value in enumerate(got.tolist()):
        shown = [k for k in range(8) if k != i and classes[k] >= 0]
        scores = {k: unit[i] @ unit[k] / 0.5 for k in shown}
        total = np.exp(z[i]).sum() + sum(math.exp(s) for s in scores.values())
        same = [scores[k] - math.log(total) for k in shown if classes[k] == labels[i]]
        expected = -(z[i, labels[i]] - math.log(total) + 0.3 * sum(same)) / (1 + 0.3 * len(same))
        assert value == pytest.approx(expected, rel=1e-5)


def test_without_anything_to_compare_with_paco_is_balanced_softmax():
    images, targets = batch(1)
    method = build("paco", momentum=0.0)
    logits = build("erm").network(images).logits.detach()
    empty = torch.full((2,), -1)
    args = (logits + method.log_shares, torch.ones(1, 4), torch.zeros(2, 4), empty, targets)
    balanced = build_loss("balanced-softmax", COUNTS)(logits, targets)
    torch.testing.assert_close(parametric_contrast(*args, alpha=0.05, temperature=0.2), balanced)


def test_the_queue_holds_the_latest_keys_and_goes_round():
    method = build("paco", queue=10)
    images, targets = batch(4)
    shown = []
    for step in range(4):
        moved = (images + 0.1 * step).clamp(max=1)
        shown.append((targets + step) % 3)
        method(moved, shown[-1])
    assert int(method.place) == 16 % 10
    expected = torch.cat(shown)
    order = (torch.arange(10) + int(method.place)) % 10  # oldest first
    assert method.key_labels[order].tolist() == expected[-10:].tolist()
    torch.testing.assert_close(method.keys.norm(dim=1), torch.ones(10))


def test_a_batch_larger_than_the_queue_leaves_its_last_keys():
    method = build("paco", queue=3)
    images, targets = batch(4)
    method(images, targets)
    assert sorted(method.key_labels.tolist()) == sorted(targets[-3:].tolist())
    assert int(method.place) == 0


def test_keys_are_those_of_the_second_view_by_a_slow_copy_of_the_network_without_gradient():
    method = build("paco", momentum=0.75)
    start = method.key_network.conv.weight.clone()
    images, targets = batch(4)
    with torch.no_grad():
        for parameter in method.network.parameters():
            parameter += 1
    method(images, targets).mean().backward()
    torch.testing.assert_close(method.key_network.conv.weight, start + 0.25)
    assert all(parameter.grad is None for parameter in method.key_network.parameters())
    again = build("paco", network=method.key_network)
    keys = method.key_projection(again.network.train()(images.flip(-1)).features)
    torch.testing.assert_close(method.keys[:4], F.normalize(keys, dim=1).detach())


def test_paco_weighs_samples_by_the_class_weights_of_the_loss():
    images, targets = batch(4)
    torch.manual_seed(0)
    heavy = build_method("paco", Small(), build_loss("cross-entropy", COUNTS, alpha=[2, 3, 5]), task=task())
    value = build("paco")(images, targets)
    torch.testing.assert_close(heavy(images, targets), value * torch.tensor([2.0, 3.0, 5.0])[targets])


@pytest.mark.parametrize("name", ["balanced-contrastive", "paco"])
def test_prediction_needs_the_network_alone(name):
    method = built(name)
    assert all(key.startswith("network.") for key in method.inference_state())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("balanced-contrastive", {"weight": -1}, "weight must be a number >= 0"),
        ("balanced-contrastive", {"temperature": 0}, "temperature must be a number above 0"),
        ("balanced-contrastive", {"width": 0}, "width must be at least 1"),
        ("balanced-contrastive", {"transform": "horizontal"}, "Did you mean horizontal-flip"),
        ("paco", {"alpha": -1}, "alpha must be a number >= 0"),
        ("paco", {"queue": 0}, "queue must be at least 1"),
        ("paco", {"momentum": 1.1}, "momentum must be from 0 to 1"),
        ("paco", {"transform": "mirror"}, "there is no view 'mirror'"),
        ("paco", {"loss": "focal"}, "takes only class weights"),
        ("paco", {"loss": "logit-adjustment"}, "takes only class weights"),
    ],
)
def test_options_that_cannot_be_are_refused(name, options, message):
    with pytest.raises(InputError, match=message):
        build(name, **options)
