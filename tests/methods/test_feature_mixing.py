"""CutMix and manifold mixup, against loops and the authors' public programs."""

import pytest
import torch
from small import Small, batch, built, loss_for, step_context, task

from evenface.losses import build_loss
from evenface.methods import build_method, cutmix, manifold_mixup
from evenface.models.activation_checkpointing import recompute_blocks
from evenface.models.build import build_network
from evenface.utils.errors import InputError

SAME = {"rtol": 1e-5, "atol": 1e-6}


def on(name, network, **options):
    method = build_method(name, network, build_loss("cross-entropy", [30, 20, 10]), task=task(), **options)
    method.ctx = step_context()
    return method


@pytest.mark.parametrize(
    ("shape", "share", "centre", "expected"),
    [
        ((48, 48), 0.3, (5, 40), (0, 25, 20, 48)),
        ((32, 48), 0.75, (20, 20), (12, 28, 8, 32)),
        ((48, 48), 0.999, (10, 10), (10, 10, 10, 10)),
        ((48, 48), 0.0, (24, 24), (0, 48, 0, 48)),
        ((48, 48), 0.0, (0, 47), (0, 24, 23, 48)),
    ],
)
def test_rectangles_are_those_of_the_public_program(monkeypatch, shape, share, centre, expected):
    """clovaai/CutMix-PyTorch, rand_bbox, with the same centres."""
    drawn = iter(centre)
    monkeypatch.setattr(torch, "randint", lambda high, size: torch.tensor(next(drawn)))
    rows, columns = cutmix.rectangle(share, *shape)
    assert (rows.start, rows.stop, columns.start, columns.stop) == expected


@pytest.mark.parametrize("frames", [None, 3])
def test_cutmix_pastes_one_rectangle_and_mixes_losses_by_its_area(monkeypatch, frames):
    monkeypatch.setattr(cutmix, "rectangle", lambda share, height, width: (slice(2, 6), slice(10, 16)))
    method, (images, targets) = built("cutmix").eval(), batch(6)
    seen = []
    if frames:
        images = images[:, None].repeat(1, frames, 1, 1, 1)
        forward = method.network.forward
        monkeypatch.setattr(method.network, "forward", lambda clips: forward(clips[:, 0]))
    method.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    kept = images.clone()
    torch.manual_seed(4)
    got = method(images, targets)
    assert torch.equal(images, kept)
    torch.manual_seed(4)
    torch.rand(())
    order = torch.randperm(6).tolist()
    assert order != list(range(6))
    for i, j in enumerate(order):
        for row in range(16):
            for column in range(16):
                source = j if 2 <= row < 6 and column >= 10 else i
                assert torch.equal(seen[0][i, ..., row, column], images[source, ..., row, column])
        logits = method.network(seen[0][[i]]).logits
        share = 1 - 4 * 6 / 256
        expected = share * method.loss(logits, targets[[i]]) + (1 - share) * method.loss(logits, targets[[j]])
        torch.testing.assert_close(got[[i]], expected, **SAME)


def test_cutmix_mixes_as_often_as_it_should():
    images, targets = batch()
    for probability, low, high in ((0.0, 0, 0), (0.3, 60, 120), (1.0, 250, 300)):
        method, plain = built("cutmix", probability=probability).eval(), built("erm").eval()
        expected = plain(images, targets)
        torch.manual_seed(0)
        mixed = sum(not torch.equal(method(images, targets), expected) for _ in range(300))
        assert low <= mixed <= high


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_a_stages_output_is_mixed(monkeypatch, place):
    """By hand: the network is run piece by piece, and the pieces' maps are mixed between two of them."""
    network = build_network("compact_vgg_16", 3, channels=1, size=48).eval()
    method = on("manifold-mixup", network, pooled=True)
    assert method.stages_mixed == ["backbone.layers.5", "backbone.layers.12"]
    monkeypatch.setattr(manifold_mixup, "draw_share", lambda alpha: 0.3)
    monkeypatch.setattr(torch, "randint", lambda high, size: torch.tensor(place) if high == 4 else None)
    images, targets = torch.rand(4, 1, 48, 48), torch.tensor([0, 1, 2, 0])
    torch.manual_seed(1)
    got = method(images, targets)
    torch.manual_seed(1)
    order = torch.randperm(4)
    layers, values = network.backbone.layers, images
    if place == 0:
        values = 0.3 * values + 0.7 * values[order]
    values = (values - network.mean) / network.std
    for number, layer in enumerate(layers):
        values = layer(values)
        if (place, number) in ((1, 5), (2, 12)):
            values = 0.3 * values + 0.7 * values[order]
    features = values.mean(dim=(2, 3))
    if place == 3:
        features = 0.3 * features + 0.7 * features[order]
    logits = network.classifier(features)
    expected = 0.3 * method.loss(logits, targets) + 0.7 * method.loss(logits, targets[order])
    torch.testing.assert_close(got, expected, **SAME)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_stages_are_the_groups_of_blocks_behind_the_first_layer():
    network = build_network("test_resnet", 3, channels=1, size=32)
    assert on("manifold-mixup", network, stages=3).stages_mixed == [f"backbone.layer{n}" for n in (1, 2, 3)]
    assert on("manifold-mixup", Small()).stages_mixed == []


def test_each_place_has_its_turn():
    method = on("manifold-mixup", build_network("test_resnet", 3, channels=1, size=32).eval())
    images, targets, places = torch.rand(2, 1, 32, 32), torch.tensor([0, 1]), []
    method._hook = lambda place, mixed: places.append(place) or torch.nn.Identity().register_forward_hook(print)
    torch.manual_seed(0)
    for _ in range(300):
        method(images, targets)
    assert {place: round(places.count(place) / 300, 1) for place in set(places)} == {0: 0.3, 1: 0.3}


def test_recomputed_activations_are_refused():
    network = build_network("test_resnet", 3, channels=1, size=32)
    recompute_blocks(network.backbone)
    with pytest.raises(InputError, match="method 'manifold-mixup': recomputed activations"):
        on("manifold-mixup", network)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("cutmix", {"alpha": 0.0}, "alpha must be"),
        ("cutmix", {"probability": 1.5}, "probability must be from 0 to 1"),
        ("manifold-mixup", {"alpha": 0.0}, "alpha must be"),
        ("manifold-mixup", {"stages": -1}, "stages must be a whole number of at least 0"),
    ],
)
def test_options_that_cannot_be_are_explained(name, options, says):
    with pytest.raises(InputError, match=says):
        build_method(name, Small(), loss_for(name), task=task(), **options)
