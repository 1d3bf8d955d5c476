"""Transfer in two stages: what the first leaves untouched to the bit, and that the second moves all."""

import numpy as np
import pytest
import torch
from small import Small, batch, built
from test_dicc import trained

from evenface.config.recipe import Temporal
from evenface.losses import build_loss
from evenface.methods import Task, build_method
from evenface.models import build_network
from evenface.utils.errors import InputError

BACKBONE = ("network.conv.", "network.norm.")

THREE = Task(np.array([2, 2, 2]), ("a", "b", "c"), 2)


def copied(method):
    return {name: value.clone() for name, value in method.state_dict().items()}


def moved(method, before):
    return {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}


def test_the_first_stage_leaves_the_backbone_to_the_bit():
    method = built("frozen-then-tuned")
    before = copied(method)
    trained(method, 4)
    assert moved(method, before) == {"network.classifier.weight", "network.classifier.bias"}
    assert all(p.grad is None for p in (*method.network.conv.parameters(), *method.network.norm.parameters()))


def test_the_first_stage_learns_from_features_as_at_prediction():
    method = built("frozen-then-tuned")
    images, targets = batch(8)
    value = method.train()(images, targets)
    with torch.no_grad():
        expected = method.loss(method.network.eval()(images).logits, targets)
    torch.testing.assert_close(value, expected)


def test_the_second_stage_moves_all_as_training_by_the_loss_does():
    method = trained(built("frozen-then-tuned"), 2)
    plain = built("erm")
    plain.network.load_state_dict(method.network.state_dict())
    method.begin_stage(1)
    before = copied(method)
    for each in (method, plain):
        trained(each, 3)
    learnt = {name for name in moved(method, before) if name.startswith("network.")}
    assert learnt == {name for name in before if name.startswith("network.")}
    for name, value in plain.network.state_dict().items():
        assert torch.equal(value, method.network.state_dict()[name])


@pytest.mark.parametrize("stage", [0, 1])
def test_a_run_that_goes_on_knows_its_stage(stage):
    whole = trained(built("frozen-then-tuned"), 2)
    if stage:
        whole.begin_stage(1)
        trained(whole, 1)
    other = built("frozen-then-tuned")
    other.load_state_dict(copied(whole))
    trained(whole, 3)
    trained(other, 3)
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in whole.state_dict().items())
    assert "tuned" not in whole.inference_state()


def test_the_stages_share_the_epochs():
    method = built("frozen-then-tuned", frozen=0.25)
    assert [(stage.share, stage.sampling) for stage in method.stages] == [(0.25, None), (0.75, None)]
    assert not method.uses_all_parameters


@pytest.mark.parametrize("frozen", [0, 1, -0.5])
def test_a_share_that_cannot_be_is_refused(frozen):
    with pytest.raises(InputError, match="frozen must be above 0 and below 1"):
        built("frozen-then-tuned", frozen=frozen)


def test_a_backbone_that_is_frozen_for_good_is_refused():
    network = Small()
    network.frozen_backbone = True
    with pytest.raises(InputError, match=r"network.freeze: backbone leaves nothing to tune"):
        build_method(
            "frozen-then-tuned",
            network,
            build_loss("cross-entropy", [2, 2, 2]),
            task=THREE,
        )


@pytest.mark.parametrize("kind", [None, "bilstm"])
@pytest.mark.parametrize("norm", ["batch", "frozen"])
def test_real_networks_of_stills_and_of_clips_rest_and_move(kind, norm):
    temporal, frames = (None, 1) if kind is None else (Temporal(kind=kind, hidden=4, layers=1), 3)
    network = build_network("test_resnet", 3, channels=1, size=32, norm=norm, temporal=temporal, frames=frames)
    task = Task([2, 2, 2], ("a", "b", "c"), batch_size=2)
    method = build_method("frozen-then-tuned", network, build_loss("cross-entropy", [2, 2, 2]), task=task)
    shape = (2, 1, 32, 32) if kind is None else (2, frames, 1, 32, 32)
    for stage in (0, 1):
        before = copied(method)
        method.train()
        for step in range(2):
            method.zero_grad(set_to_none=True)
            images = torch.rand(shape, generator=torch.Generator().manual_seed(step))
            method(images, torch.tensor([0, 2])).mean().backward()
            with torch.no_grad():
                for parameter in method.parameters():
                    if parameter.grad is not None:
                        parameter -= 0.1 * parameter.grad
        changed = {name for name in moved(method, before) if name.startswith("network.")}
        behind = {name for name in changed if not name.startswith("network.backbone.")}
        assert behind >= {"network.classifier.weight"}
        assert any("temporal" in name for name in behind) == (kind is not None)
        assert (changed > behind) == bool(stage)
        statistics = {name for name in changed if "running_" in name}
        assert bool(statistics) == (stage == 1 and norm == "batch")
        method.begin_stage(1)
