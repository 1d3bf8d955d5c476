"""RUL: what is mixed, by how much, and against which labels."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import batch, built
from torch import nn
from torch.nn.functional import cross_entropy

from evenface.methods.rul import mix
from evenface.utils.errors import InputError


def test_a_mixture_by_hand():
    features = torch.tensor([[1.0, 0.0], [0.0, 2.0], [5.0, 5.0]])
    mixed = mix(features, torch.tensor([1.0, 3.0, 9.0]), torch.tensor([1, 0, 2]))
    torch.testing.assert_close(mixed, torch.tensor([[0.25, 1.5], [0.25, 1.5], [5.0, 5.0]]))


@given(st.lists(st.floats(0.01, 100), min_size=2, max_size=6), st.floats(0.01, 100), st.randoms())
def test_only_the_relation_of_uncertainties_counts(uncertainty, scale, random):
    partner = torch.tensor(random.sample(range(len(uncertainty)), len(uncertainty)))
    features, u = torch.arange(2.0 * len(uncertainty)).view(-1, 2), torch.tensor(uncertainty)
    torch.testing.assert_close(mix(features, u, partner), mix(features, scale * u, partner), rtol=1e-4, atol=1e-4)


def test_the_loss_is_its_definition_pair_by_pair():
    method = built("rul", alpha=None, dropout=0.0)
    images, targets = batch(6)
    torch.manual_seed(11)
    values = method(images, targets)
    torch.manual_seed(11)
    partner = torch.randperm(6).tolist()
    features = method.network(images).features  # in training mode: statistics are the batch's, the same as before
    mu, s = method.mu(features), method.uncertainty(features)
    u = [row.exp().mean() for row in s]
    for i, j in enumerate(partner):
        mixed = (u[i] * mu[i] + u[j] * mu[j]) / (u[i] + u[j])
        logits = (method.classifier.weight @ mixed + method.classifier.bias)[None]
        expected = sum(0.5 * method.loss(logits, targets[k : k + 1]) for k in (i, j))
        torch.testing.assert_close(values[i : i + 1], expected, rtol=1e-4, atol=1e-6)


def test_the_harder_face_of_a_pair_gets_more_uncertain():
    mu = torch.tensor([[6.0, 0.0], [0.0, 1.0]])  # surely class 0; hardly class 1
    u = torch.ones(2, requires_grad=True)
    partner, targets = torch.tensor([1, 0]), torch.tensor([0, 1])
    mixed = mix(mu, u, partner)
    (cross_entropy(mixed, targets) + cross_entropy(mixed, targets[partner])).backward()
    assert u.grad[1] < 0 < u.grad[0]


def test_a_face_alone_is_plain_training_on_mu():
    method = built("rul", dropout=0.0)
    images, targets = batch(1)
    value = method(images, targets)
    method.mu.eval()
    torch.testing.assert_close(
        value, method.loss(method.classifier(method.mu(method.network(images).features)), targets)
    )


def test_prediction_is_of_mu_and_needs_no_uncertainty():
    method = built("rul").eval()
    images, _ = batch()
    expected = method.classifier(method.mu(method.network(images).features)).softmax(1)
    nn.init.constant_(method.uncertainty[2].weight, torch.nan)
    torch.testing.assert_close(method.predict(images), expected)
    assert not any(name.startswith("uncertainty") for name in method.inference_state())


def test_every_parameter_gets_a_gradient_and_width_is_that_asked_for():
    method = built("rul", width=5)
    method(*batch()).mean().backward()
    assert all(p.grad is not None for p in method.parameters())
    assert method.classifier.weight.shape == (3, 5)


@pytest.mark.parametrize("options", [{"width": 0}, {"dropout": 1.0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match=f"'rul': {next(iter(options))} must be"):
        built("rul", **options)
