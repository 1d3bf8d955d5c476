"""Training on votes: the four schemes against their definitions."""

import math

import pytest
import torch
from small import CLASSES, COUNTS, Small, batch, task
from torch.nn.functional import cross_entropy

from evenface.losses import build_loss
from evenface.methods import StepContext, Task, build_method
from evenface.utils.errors import InputError

ALL = ("majority", "multi-label", "label-drawing", "distribution")


def voted(votes, loss="cross-entropy", **options):
    """Build the method on samples with these votes, and images and labels of all of them."""
    votes = torch.tensor(votes)
    counts = [len(votes), 0, 0]
    torch.manual_seed(0)
    known = Task(counts, CLASSES, batch_size=8, votes=votes)
    method = build_method("label-distribution", Small(), build_loss(loss, COUNTS), task=known, **options).eval()
    method.ctx = StepContext(0, 0, 10, 5, torch.arange(len(votes)))
    return method, *batch(len(votes))


@pytest.mark.parametrize("scheme", ALL)
@pytest.mark.parametrize("loss", ["cross-entropy", "focal"])
def test_votes_of_one_mind_are_plain_training(scheme, loss):
    targets = batch(6)[1]
    method, images, _ = voted((10 * torch.eye(3)[targets]).tolist(), loss, scheme=scheme)
    expected = method.loss(method.network(images).logits, targets)
    elsewhere = (targets + 1) % 3  # votes, not labels, are learned
    torch.testing.assert_close(method(images, elsewhere), expected)


def test_distribution_is_cross_entropy_with_soft_targets():
    votes = torch.tensor([[5, 3, 2], [0, 8, 2], [4, 2, 4]])
    method, images, targets = voted(votes.tolist())
    expected = cross_entropy(method.network(images).logits, votes / 10, reduction="none")
    torch.testing.assert_close(method(images, targets), expected)


def test_single_votes_do_not_count_unless_told():
    votes = [[6, 1, 3], [1, 1, 1]]
    method, images, targets = voted(votes)
    logits = method.network(images).logits
    soft = torch.tensor([[6 / 9, 0, 3 / 9], torch.eye(3)[targets[1]].tolist()])  # no vote counts: the label does
    torch.testing.assert_close(method(images, targets), cross_entropy(logits, soft, reduction="none"))
    method, images, targets = voted(votes, min_votes=1)
    soft = torch.tensor([[0.6, 0.1, 0.3], [1 / 3] * 3])
    torch.testing.assert_close(method(images, targets), cross_entropy(logits, soft, reduction="none"))


def test_majority_is_more_than_half_or_the_label():
    method, images, _ = voted([[6, 0, 4], [5, 5, 0], [4, 3, 3], [0, 2, 7]], scheme="majority")
    expected = method.loss(method.network(images).logits, torch.tensor([0, 2, 1, 2]))
    torch.testing.assert_close(method(images, torch.tensor([1, 2, 1, 0])), expected)


def test_multi_is_the_most_probable_of_the_accepted():
    votes = [[3, 7, 0], [4, 3, 3], [2, 8, 0], [10, 0, 0]]
    method, images, targets = voted(votes, scheme="multi-label")
    accepted = [[0, 1], [0, 1, 2], [1], [0]]
    p = method.predict(images).tolist()
    expected = [-math.log(max(row[k] for k in allowed)) for row, allowed in zip(p, accepted, strict=True)]
    assert method(images, targets).tolist() == pytest.approx(expected, rel=1e-5)
    method, images, targets = voted(votes, scheme="multi-label", threshold=0.9)  # none reaches it but in the last
    label = targets.clone()
    label[3] = 0
    torch.testing.assert_close(method(images, targets), method.loss(method.network(images).logits, label))


def test_drawn_labels_follow_the_votes_and_the_seed():
    method, images, targets = voted([[7, 0, 3]] * 8, scheme="label-drawing")
    each = [method.loss(method.network(images).logits, torch.full((8,), k)) for k in range(3)]
    torch.manual_seed(1)
    drawn = torch.stack([method(images, targets) for _ in range(250)])
    assert not torch.isclose(drawn, each[1], rtol=1e-6).any()
    share = torch.isclose(drawn, each[0], rtol=1e-6).float().mean().item()
    assert abs(share - 0.7) < 4 * math.sqrt(0.7 * 0.3 / 2000)
    torch.manual_seed(1)
    torch.testing.assert_close(method(images, targets), drawn[0], rtol=0, atol=0)


def test_votes_are_found_by_place():
    method, images, targets = voted([[9, 0, 0], [0, 9, 0], [0, 0, 9], [0, 9, 0]])
    method.ctx = StepContext(0, 0, 10, 5, torch.tensor([2, 3, 0, 0]))
    expected = method.loss(method.network(images).logits, torch.tensor([2, 1, 0, 0]))
    torch.testing.assert_close(method(images, targets), expected)
    assert not any("shares" in name for name in method.state_dict())  # they come from the data set


def test_a_data_set_without_votes_is_told_what_it_lacks():
    known = Task(COUNTS, CLASSES, batch_size=8)
    with pytest.raises(InputError, match="no votes of annotators") as error:
        build_method("label-distribution", Small(), build_loss("focal", COUNTS), task=known)
    assert "votes_<class>" in error.value.hint


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"scheme": "all"}, "'majority', 'multi-label', 'label-drawing' or 'distribution'"),
        ({"min_votes": -1}, "min_votes must"),
        ({"threshold": 0}, "threshold must"),
    ],
)
def test_options_out_of_range_are_refused(options, says):
    with pytest.raises(InputError, match=says):
        build_method("label-distribution", Small(), build_loss("focal", COUNTS), task=task(), **options)


@pytest.mark.parametrize("votes", [torch.ones(59, 3), torch.ones(60, 2), -torch.ones(60, 3), torch.ones(60, 3) / 0])
def test_votes_that_cannot_be_are_refused(votes):
    with pytest.raises(InputError, match=r"votes must be finite numbers >= 0 of shape \(60, 3\)"):
        build_method("label-distribution", Small(), build_loss("focal", COUNTS), task=task(votes=votes))
