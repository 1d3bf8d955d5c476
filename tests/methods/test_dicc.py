"""Dynamic intra-class clustering: what learns from what, and that nothing is left of it where no class is divided."""

import pytest
import torch
import torch.nn.functional as F
from small import COUNTS, Small, batch, built, step_context, task

from evenface.losses import build_loss
from evenface.methods import build_method
from evenface.models import build_network
from evenface.utils.errors import InputError


def trained(method, steps, lr=0.1):
    """Take steps of SGD on the batch of tests."""
    method.train()
    optimizer = torch.optim.SGD(method.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        method(*batch(8)).mean().backward()
        optimizer.step()
    return method


def test_undivided_classes_are_trained_as_if_there_were_no_method():
    plain, dicc = built("erm"), built("dicc", subclasses=[1, 1, 1])
    assert dicc.uses_all_parameters
    assert plain.state_dict().keys() == dicc.state_dict().keys()
    for _ in range(5):
        trained(plain, 1)
        trained(dicc, 1)
        assert all(torch.equal(value, dicc.state_dict()[name]) for name, value in plain.state_dict().items())
    images = batch(8)[0]
    assert torch.equal(plain.eval().predict(images), dicc.eval().predict(images))


@pytest.mark.parametrize("loss", ["focal", "class-balanced"])
def test_each_phase_moves_its_own_part_by_its_own_loss(loss):
    images, targets = batch(8)
    torch.manual_seed(0)
    method = build_method("dicc", Small(), build_loss(loss, COUNTS), task=task(), subclasses={"happy": 3, "fear": 2})
    assert method.network.classifier.out_features == 6
    alpha = dict(method.loss.named_buffers()).get("focal.alpha", torch.ones(3))
    twin = Small()
    twin.reset_classifier(6)
    twin.load_state_dict(method.network.state_dict())
    value = method(images, targets)
    value.mean().backward()

    outputs = twin(images)
    labels = []
    for c, size, first in ((0, 3, 0), (1, 1, 3), (2, 2, 4)):
        own = outputs.features[targets == c]
        distance = (own - own.mean(dim=0)).norm(dim=1)
        labels.append((first + (distance / distance.max() * size).floor().clamp(max=size - 1)).long())
    pseudo = torch.empty_like(targets)
    for c in range(3):
        pseudo[targets == c] = labels[c]
    phase_1 = F.cross_entropy(outputs.logits, pseudo, reduction="none") * alpha[targets]
    phase_1.mean().backward()
    mapped = method.mapping(outputs.logits.detach())
    phase_2 = method.loss(mapped, targets)
    gradients = torch.autograd.grad(phase_2.mean(), list(method.mapping.parameters()))

    torch.testing.assert_close(value, phase_1 + phase_2)
    assert len(set(pseudo.tolist())) > 3
    for ours, theirs in zip(method.network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    for ours, gradient in zip(method.mapping.parameters(), gradients, strict=True):
        torch.testing.assert_close(ours.grad, gradient)


def test_phases_by_epoch_leave_the_other_part_alone():
    method = built("dicc", subclasses=[3, 2, 1], alternate="epoch")
    assert not method.uses_all_parameters
    before = {name: value.clone() for name, value in method.state_dict().items()}

    def moved():
        now = method.state_dict()
        names = {name.split(".")[0] for name, value in now.items() if not torch.equal(value, before[name])}
        before.update({name: value.clone() for name, value in now.items()})
        return names

    method.ctx = step_context(8, epoch=0)
    trained(method, 1)
    assert moved() == {"network", "clusters"}
    method.ctx = step_context(8, epoch=1)
    trained(method, 2)
    assert moved() == {"mapping"}
    assert method.network.training


def test_a_run_that_goes_on_from_its_state_is_the_run_that_never_stopped():
    options = {"subclasses": [4, 2, 1], "partition": "rank", "ema": "literal"}
    whole = trained(trained(built("dicc", **options), 3), 3)
    other = built("dicc", **options)
    torch.nn.init.zeros_(other.mapping[0].weight)
    other.load_state_dict(trained(built("dicc", **options), 3).state_dict())
    trained(other, 3)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in whole.state_dict().items())


def test_clustering_is_gone_at_prediction():
    method = trained(built("dicc", subclasses=[4, 2, 1]), 2).eval()
    assert {name.split(".")[0] for name in method.inference_state()} == {"network", "mapping"}
    images = batch(8)[0]
    before = method.predict(images)
    method.clusters.centres.fill_(float("nan"))
    assert torch.equal(method.predict(images), before)
    torch.testing.assert_close(before, method.mapping(method.network(images).logits).softmax(dim=1))


def test_the_average_by_the_letter_gives_the_new_batch_the_weight_that_the_smooth_one_gives_the_past():
    smooth, literal = (built("dicc", subclasses=[2, 2, 2], ema=ema, decay=0.9) for ema in ("smooth", "literal"))
    assert (smooth.clusters.weight, literal.clusters.weight) == pytest.approx((0.1, 0.9))


def test_a_real_network_learns_its_pseudo_classes_in_mixed_precision():
    network = build_network("resnet18", 3, channels=1, size=48)
    method = build_method("dicc", network, build_loss("cross-entropy", COUNTS), task=task(), hidden=[16, 8])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = method(torch.rand(6, 1, 48, 48), torch.tensor([0, 0, 1, 0, 2, 1]))
    value.mean().backward()
    assert value.dtype == torch.float32
    assert [layer.out_features for layer in method.mapping if hasattr(layer, "out_features")] == [16, 8, 3]
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in method.parameters())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"ema": "smoth"}, "Did you mean smooth"),
        ({"partition": "ranks"}, "Did you mean rank"),
        ({"alternate": "step"}, "no alternation 'step'"),
        ({"decay": 1.5}, "decay must be"),
        ({"hidden": [8]}, "hidden must be two"),
        ({"subclasses": {"angry": 2}}, "no class 'angry'"),
    ],
)
def test_options_that_cannot_be_are_explained(options, says):
    with pytest.raises(InputError, match=says):
        built("dicc", **options)
