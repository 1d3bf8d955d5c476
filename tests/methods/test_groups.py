"""Group DRO, group weights and identity-adversarial training against loops and closed forms."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small import COUNTS, built, task

from evenface import api
from evenface.losses import build_loss
from evenface.methods import StepContext, build_method
from evenface.utils.errors import InputError

ROWS = 12


def step(method, seed=0):
    """Images, targets and indices of a batch, the method set to its step."""
    generator = torch.Generator().manual_seed(seed)
    indices = torch.randperm(sum(COUNTS), generator=generator)[:ROWS]
    labels = torch.tensor([k for k, n in enumerate(COUNTS) for _ in range(n)])
    method.ctx = StepContext(0, seed, 10, 5, indices)
    return torch.rand(ROWS, 1, 16, 16, generator=generator), labels[indices], indices


def names(indices):
    people = task().people.attributes["sex"]
    labels = task().people.labels
    return [(people[i], labels[i]) for i in indices.tolist()]


def test_the_weights_of_groups_follow_the_algorithm_of_the_paper():
    method = built("group-dro", alpha=None, by="sex", step_size=0.5, adjustment=1.0).eval()
    every = [(sex, label) for sex, label in zip(task().people.attributes["sex"], task().people.labels, strict=True)]
    counts = {group: every.count(group) for group in set(every)}
    q = {group: 1 / len(counts) for group in counts}
    for seed in range(4):
        images, targets, indices = step(method, seed)
        plain = method.network_loss(images, targets).detach().numpy()
        own = names(indices)
        mean = {g: np.mean([v for v, o in zip(plain, own, strict=True) if o == g]) if g in own else 0 for g in q}
        q = {g: q[g] * np.exp(0.5 * (mean[g] + 1 / np.sqrt(counts[g]))) for g in q}
        q = {g: value / sum(q.values()) for g, value in q.items()}
        got = method.training_loss(images, targets)
        assert got.mean().item() == pytest.approx(sum(q[g] * mean[g] for g in q), rel=1e-5)
    assert float(method.q.sum()) == pytest.approx(1)
    worst = max(q, key=q.get)
    assert f"sex {worst[0]}" in method.training_notes(1)[0]


def test_a_group_that_is_always_worse_comes_to_weigh_all():
    method = built("group-dro", alpha=None, by="sex", step_size=1.0, classes=False).eval()
    method.network_loss = lambda _images, targets: torch.where(method.groups[method.ctx.indices] == 1, 2.0, 0.1)
    for seed in range(20):
        images, targets, _ = step(method, seed)
        method.training_loss(images, targets)
    assert float(method.q[1]) > 0.99


def test_what_the_groups_weigh_is_resumed():
    method = built("group-dro", alpha=None, by="sex", step_size=0.5)
    method.training_loss(*step(method)[:2])
    again = built("group-dro", alpha=None, by="sex", step_size=0.5)
    again.load_state_dict(method.state_dict())
    torch.testing.assert_close(again.q, method.q)
    assert "q" not in method.inference_state()


def test_every_group_has_the_same_weight():
    method = built("group-weights", alpha=None, by="sex")
    totals = torch.bincount(method.groups, method.weights[method.groups])
    torch.testing.assert_close(totals, torch.full_like(totals, 10.0), rtol=1e-5, atol=1e-5)  # 60 samples, 6 groups
    images, targets, indices = step(method)
    every = [(sex, label) for sex, label in zip(task().people.attributes["sex"], task().people.labels, strict=True)]
    method.eval()
    plain = method.network_loss(images, targets)
    for got, loss, own in zip(method.training_loss(images, targets), plain, names(indices), strict=True):
        assert float(got.detach()) == pytest.approx(float(loss) * 60 / (6 * every.count(own)), rel=1e-5)


def test_groups_of_people_alone_and_unknown_ones():
    given = task()
    attributes = {**given.people.attributes, "age": ["", *["30 to 44"] * 59]}
    from dataclasses import replace

    loss = build_loss("cross-entropy", COUNTS)
    from small import Small

    method = build_method(
        "group-weights",
        Small(),
        loss,
        task=replace(given, people=replace(given.people, attributes=attributes)),
        by="age",
        classes=False,
    )
    assert method.names == ("age 30 to 44", "age unknown")
    with pytest.raises(InputError, match="the data have no attribute 'skin' of people"):
        build_method("group-dro", Small(), loss, task=given, by="skin")
    alone = replace(given, people=replace(given.people, attributes={"sex": ["f"] * 60}))
    with pytest.raises(InputError, match="all training samples are of one group, sex f"):
        build_method("group-dro", Small(), loss, task=alone, by="sex", classes=False)


def test_the_network_learns_against_the_classifier_of_people():
    method = built("identity-adversarial", alpha=None, reversal=2.0, weight=0.5).eval()
    images, targets, indices = step(method)
    outputs = method.network(images)
    who = torch.tensor([int(task().people.attributes["subject"][i][1:]) for i in indices.tolist()])
    identity = F.cross_entropy(method.identity(outputs.features), who, reduction="none")
    plain = method.loss(outputs.logits, targets)
    torch.testing.assert_close(method.training_loss(images, targets), plain + 0.5 * identity)
    weights = [method.network.conv.weight, method.identity.weight]
    task_gradient, _ = torch.autograd.grad(plain.mean(), weights, allow_unused=True, retain_graph=True)
    identity_gradients = torch.autograd.grad(identity.mean(), weights, retain_graph=True)
    got = torch.autograd.grad(method.training_loss(images, targets).mean(), weights)
    torch.testing.assert_close(got[0], task_gradient - 2.0 * 0.5 * identity_gradients[0])
    torch.testing.assert_close(got[1], 0.5 * identity_gradients[1])
    assert not [name for name in method.inference_state() if name.startswith("identity")]


@pytest.mark.parametrize("options", [{"reversal": -1.0}, {"weight": -0.1}])
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(InputError, match="must be 0 or more"):
        built("identity-adversarial", **options)
    with pytest.raises(InputError, match="step_size must be above 0"):
        built("group-dro", step_size=0.0)


@pytest.mark.parametrize("targets", [(), ("AU1", "AU12")])
def test_a_run_by_groups_of_people(tmp_path, targets):
    recipe = {
        "name": "groups",
        "data": {"source": "synthetic", "people": 12, "total": 84, "size": 48, "channels": 1, "targets": targets},
        "protocol": {"kind": "holdout", "validation": 0.0, "test": 0.25},
        "network": {"name": "compact_vgg_16_half"},
        "method": {"name": "group-dro", "by": "sex", "classes": False},
        "training": {"epochs": 1, "batch_size": 16, "checkpoint": "last"},
    }
    run = api.train(recipe, out=tmp_path / "run", sample_faces=False)
    assert any("group DRO: of 2 groups sex " in note for note in run.facts["notes"])
    with pytest.raises(InputError, match="the data have no attribute 'accent' of people"):
        api.train(recipe, out=tmp_path / "other", **{"method.by": "accent"})
