"""Sharpness-aware minimisation and its forms for class imbalance, against loops and the authors' public programs."""

import copy

import pytest
import torch
import torch.nn.functional as F
from small import COUNTS, Small, batch, built, loss_for, step_context, task
from waves import LABELS, WaveNetwork, inputs, on_waves

from evenface.methods import build_method
from evenface.models.activation_checkpointing import recompute_blocks
from evenface.models.build import build_network
from evenface.utils.errors import InputError

SAME = {"rtol": 1e-6, "atol": 1e-7}


def gradients(method):
    method.zero_grad(set_to_none=True)
    value = method(inputs(), LABELS)
    value.mean().backward()
    return value, [parameter.grad for parameter in method.network.parameters()]


def norms(found):
    return [float(gradient.norm()) for gradient in found]


def moved_by_hand(network, loss, rho):
    """A copy of the network, each weight moved by its share of the normed gradient."""
    other = copy.deepcopy(network)
    other.zero_grad()
    loss(other).backward()
    length = sum(float(p.grad.square().sum()) for p in other.parameters()) ** 0.5
    with torch.no_grad():
        for parameter in other.parameters():
            parameter += rho * parameter.grad / length
    other.zero_grad()
    return other


# SAM.


def test_sam_has_the_loss_and_gradient_of_the_public_program():
    """davda54/sam at commit 3c3afdb, rho 0.05, on the same tensors."""
    value, found = gradients(on_waves("sam", task()))
    assert value.mean().item() == pytest.approx(1.6623967366199677, rel=1e-7)
    assert norms(found) == pytest.approx([0.369894693, 0.099320702, 0.652576036, 0.0264858949], rel=1e-6)
    assert found[3].tolist() == pytest.approx([-0.021615235697, 0.011388568859, 0.010226666838], rel=1e-6)


@pytest.mark.parametrize("rho", [0.01, 0.5])
def test_sam_is_the_gradient_at_weights_moved_by_hand(rho):
    method = on_waves("sam", task(), rho=rho)
    other = moved_by_hand(method.network, lambda network: F.cross_entropy(network(inputs()).logits, LABELS), rho)
    value, found = gradients(method)
    expected = F.cross_entropy(other(inputs()).logits, LABELS, reduction="none")
    expected.mean().backward()
    torch.testing.assert_close(value, expected, **SAME)
    torch.testing.assert_close(found, [parameter.grad for parameter in other.parameters()], **SAME)


def test_weights_are_those_before_and_statistics_count_a_batch_once():
    method, plain = built("sam", rho=0.5), built("erm")
    before = {name: value.clone() for name, value in method.network.named_parameters()}
    method(*batch()).mean().backward()
    plain(*batch())
    assert all(torch.equal(value, before[name]) for name, value in method.network.named_parameters())
    for name, value in plain.network.named_buffers():
        torch.testing.assert_close(dict(method.network.named_buffers())[name], value, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["sam", "imb-sam", "cc-sam"])
def test_mixed_precision_gives_about_the_same_gradient(name):
    found = []
    for mixed in (False, True):
        method = built(name)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
            value = method(*batch())
        value.mean().backward()
        found.append(torch.cat([parameter.grad.flatten() for parameter in method.network.parameters()]))
        assert found[-1].dtype == torch.float32
    assert F.cosine_similarity(*found, dim=0) > 0.98


def test_a_gradient_of_nothing_moves_nothing():
    """All logits 0 and probabilities even, in a batch of which no weight can tell anything: no division by 0."""
    network = WaveNetwork()
    for parameter in network.parameters():
        parameter.data.zero_()
    method = build_method("sam", network, torch.nn.CrossEntropyLoss(reduction="none"), task=task())
    images, targets = torch.zeros(3, 4, dtype=torch.float64), torch.arange(3)
    torch.testing.assert_close(method(images, targets), torch.full((3,), 3.0).double().log())


@pytest.mark.parametrize("name", ["sam", "imb-sam"])
def test_recomputed_activations_are_refused(name):
    network = build_network("test_resnet", 3, channels=1, size=32)
    assert recompute_blocks(network.backbone)
    with pytest.raises(InputError, match=f"method '{name}': .*recomputed"):
        build_method(name, network, loss_for(name), task=task())


# ImbSAM.


def test_imbsam_has_the_loss_and_gradient_of_the_public_program():
    """cool-xuan/Imbalanced_SAM at commit c65f41e, rho 0.05, classes 1 and 2 rare, whose losses it counts twice."""
    value, found = gradients(on_waves("imb-sam", task(), eta=25, alpha=[1.0, 2.0, 2.0]))
    assert norms(found) == pytest.approx([0.511326846, 0.0994621946, 1.136737528, 0.3401135993], rel=1e-6)
    assert found[3].tolist() == pytest.approx([0.264126628126, -0.206336279902, -0.057790348224], rel=1e-6)
    assert value.mean().item() == pytest.approx(2.650273158989828, rel=1e-7)


def test_only_losses_of_rare_classes_are_at_moved_weights():
    method = on_waves("imb-sam", task(), rho=0.3)  # below the mean of 30, 20 and 10: the last class
    assert method.rare.tolist() == [False, False, True]
    rare = LABELS == 2
    other = moved_by_hand(
        method.network, lambda network: F.cross_entropy(network(inputs()).logits[rare], LABELS[rare]), 0.3
    )
    value, found = gradients(method)
    method.zero_grad()
    here, there = (F.cross_entropy(n(inputs()).logits, LABELS, reduction="none") for n in (method.network, other))
    torch.testing.assert_close(value, torch.where(rare, there, here), **SAME)
    (here[~rare].sum() / 6).backward()
    (there[rare].sum() / 6).backward()
    pairs = zip(method.network.parameters(), other.parameters(), strict=True)
    torch.testing.assert_close(found, [one.grad + two.grad for one, two in pairs], **SAME)


def test_without_a_rare_class_imbsam_is_training_by_the_loss():
    plain = on_waves("erm", task())
    for method, labels in (
        (on_waves("imb-sam", task()), LABELS.clamp(max=1)),
        (on_waves("imb-sam", task([20] * 3)), LABELS),
    ):
        assert torch.equal(method(inputs(), labels), plain(inputs(), labels))


# CC-SAM.


def test_ccsams_first_stage_has_the_loss_and_gradient_of_the_public_program():
    """zzpustc/CC-SAM at commit 651d3df, without its mixup, noise ratio 0.1; its losses are listed class by class."""
    value, found = gradients(on_waves("cc-sam", task(), rho=0.1, flat=0.5))
    assert value.mean().item() == pytest.approx(1.7182142714293724, rel=1e-7)
    assert norms(found)[2:] == pytest.approx([0.646671060959, 0.026296149114], rel=1e-6)
    assert found[3].tolist() == pytest.approx([-0.021464881905, 0.010299009634, 0.011165872272], rel=1e-6)
    flat = on_waves("cc-sam", task(), rho=0.1, flat=1.0)(inputs(), LABELS)
    listed = [0.45184081, 0.766952214, 3.202959503, 0.438518214, 4.270743466, 1.737677083]
    assert flat[LABELS.argsort(stable=True)].tolist() == pytest.approx(listed, rel=1e-6)


def test_ccsams_second_stage_has_the_loss_and_gradient_of_the_public_program():
    """The same program, share 0.3 of the adversarial loss."""
    method = on_waves("cc-sam", task())
    method.begin_stage(1)
    method.ctx = step_context(epoch=9, step=3)  # 96 % of training are done, and 0.13 are of this stage
    method.zero_grad()
    value = method(inputs(), LABELS)
    value.mean().backward()
    assert value.mean().item() == pytest.approx(1.2305278840929916, rel=1e-6)
    weight, bias = (parameter.grad for parameter in method.network.classifier.parameters())
    assert norms([weight, bias]) == pytest.approx([0.493656370768, 0.0134853482972], rel=1e-6)
    assert bias.tolist() == pytest.approx([0.010848358723, -0.003792571533, -0.007055787190], rel=1e-5)
    assert all(parameter.grad is None for parameter in method.network.hidden.parameters())


def test_the_adversarial_share_rises_to_its_limit():
    method = on_waves("cc-sam", task(), share=0.5, limit=1.0)
    method.begin_stage(1)
    shares = []
    for epoch in (4, 5, 7, 9):
        method.ctx = step_context(epoch=epoch)
        plain = F.cross_entropy(method.network(inputs()).logits, LABELS, reduction="none")
        value = method(inputs(), LABELS)
        method.ctx = step_context(epoch=10)
        whole = method(inputs(), LABELS)
        shares.append(((value - plain) / (whole - plain)).mean().item())
    assert shares == pytest.approx([0, 0, 0.4, 0.8], abs=1e-6)


def test_radii_fall_with_the_fourth_root_of_the_samples():
    method = build_method("cc-sam", Small(), loss_for("cc-sam"), task=task([1 + 16 * 81, 1 + 16, 1]), rho=2.0)
    first, second, third = method.radii.tolist()
    assert second / first == pytest.approx(3)
    assert third / second == pytest.approx(2)
    assert third == pytest.approx(2 * 27**0.25 / 2**0.5)  # 8 x 3 weights and 3 biases


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("sam", {"rho": 0.0}, "rho must be a number above 0"),
        ("imb-sam", {"rho": -1.0}, "rho must be a number above 0"),
        ("imb-sam", {"eta": 10}, "no class has fewer than eta = 10 training samples, the smallest has 10"),
        ("cc-sam", {"rho": 0.0}, "rho must be a number above 0"),
        ("cc-sam", {"flat": 1.5}, "flat must be from 0 to 1"),
        ("cc-sam", {"limit": -0.1}, "limit must be from 0 to 1"),
        ("cc-sam", {"share": 1.0}, "share must be above 0"),
    ],
)
def test_options_that_cannot_be_are_explained(name, options, says):
    with pytest.raises(InputError, match=says):
        build_method(name, Small(), loss_for(name), task=task(COUNTS), **options)
