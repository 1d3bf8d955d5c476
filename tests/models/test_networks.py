"""Networks of every kind: shapes, maps, what is normalised inside, heads, what cannot be built."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from evenface.methods import Task, build_method
from evenface.methods.attention_consistency import classifier_of
from evenface.models import Network, build_network
from evenface.models.backbone import CosineClassifier, fresh_head
from evenface.utils.errors import InputError

SWIN = "swin_tiny_patch4_window7_224"

QUICK = ["resnet18", "compact_vgg_24", "compact_vgg_16_half", "mobilenetv1_100", "mobilenetv3_small_100", SWIN]

SLOW = ["resnet50", "mobilenetv3_large_100", "vgg19_bn"]

names = pytest.mark.parametrize("name", QUICK + [pytest.param(name, marks=pytest.mark.slow) for name in SLOW])


@pytest.fixture(scope="module")
def resnet() -> Network:
    """A small one, for reading only."""
    return build_network("resnet18", 7, channels=1, size=48, seed=3).eval()


# One suite for every network.
@names
@pytest.mark.parametrize("size", [48, pytest.param(112, marks=pytest.mark.slow)])
@pytest.mark.parametrize("channels", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_outputs_have_their_shapes_and_every_parameter_learns(name, size, channels):
    network = build_network(name, 5, channels=channels, size=size)
    logits, features, maps = network(torch.rand(2, channels, size, size))
    assert logits.shape == (2, 5)
    assert features.shape == (2, network.classifier.in_features)
    assert maps.shape[0] == 2
    assert maps.ndim == 4
    assert maps.shape[1] >= maps.shape[2] == maps.shape[3]
    torch.testing.assert_close(logits, features @ network.classifier.weight.T + network.classifier.bias)
    (slope,) = torch.autograd.grad(logits.sum(), maps, retain_graph=True)
    assert slope.abs().sum() > 0
    logits.square().sum().backward()
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()


@pytest.mark.parametrize("name", ["resnet18", SWIN])
def test_one_image_alone_and_mixed_precision(name):
    network = build_network(name, 3, channels=1, size=48).eval()
    images = torch.rand(2, 1, 48, 48)
    with torch.no_grad():
        together = network(images).logits
        torch.testing.assert_close(network(images[:1]).logits, together[:1], atol=1e-5, rtol=1e-4)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            torch.testing.assert_close(network(images).logits.float(), together, atol=0.1, rtol=0.1)


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv1_100", SWIN])
def test_maps_are_what_is_pooled_so_class_activation_maps_add_up(name):
    network = build_network(name, 3, channels=1, size=48).eval()
    with torch.no_grad():
        logits, features, maps = network(torch.rand(2, 1, 48, 48))
    torch.testing.assert_close(maps.mean(dim=(2, 3)), features)
    cam = torch.einsum("kd,bdhw->bkhw", network.classifier.weight, maps)
    torch.testing.assert_close(cam.mean(dim=(2, 3)) + network.classifier.bias, logits)


def test_swin_maps_keep_up_and_left():
    network = build_network(SWIN, 3, channels=1, size=112).eval()
    images = torch.rand(1, 1, 112, 112)
    with torch.no_grad():
        maps = network(images).maps
        tokens = network.backbone.forward_features((images - 0.5) / 0.5)  # rows, columns, channels
    for row, column in ((0, 3), (3, 0), (1, 2)):
        assert torch.equal(maps[0, :, row, column], tokens[0, row, column])


def test_tokens_of_a_transformer_become_a_grid_without_the_class_token():
    network = build_network("vit_tiny_patch16_224", 3, channels=1, size=48).eval()
    images = torch.rand(1, 1, 48, 48)
    with torch.no_grad():
        maps = network(images).maps
        tokens = network.backbone.forward_features((images - 0.5) / 0.5)
    assert maps.shape == (1, 192, 3, 3)
    assert torch.equal(maps[0, :, 0, 2], tokens[0, 1 + 2])
    assert torch.equal(maps[0, :, 2, 0], tokens[0, 1 + 6])


# What goes in.
def test_images_are_normalised_inside(resnet):
    images = torch.rand(2, 1, 48, 48)
    with torch.no_grad():
        by_hand = resnet.backbone(2 * images - 1)  # mean 0.5, deviation 0.5
        torch.testing.assert_close(resnet(images).features, by_hand)


@pytest.mark.parametrize(
    "images", [torch.zeros(2, 3, 48, 48), torch.zeros(2, 1, 48, 48, dtype=torch.uint8), torch.zeros(1, 48, 48)]
)
def test_images_of_another_kind_are_refused(resnet, images):
    with pytest.raises(ValueError, match="expected floating-point images"):
        resnet(images)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("resnet19", {}, "Did you mean resnet18"),
        ("hf-hub:someone/something", {}, "there is no network"),
        ("resnet18.nonsense", {}, "no weights of that tag"),
        ("resnet18", {"channels": 2}, "channels must be 1 or 3"),
        ("resnet18", {"classes": 0}, "at least 1 output"),
        ("resnet18", {"size": 8}, "size must be"),
        ("resnet18", {"dropout": 1.0}, "dropout must be"),
        ("resnet18", {"norm": "layer"}, "norm cannot be 'layer'"),
        ("resnet18", {"stem": "tiny"}, "stem cannot be 'tiny'"),
        ("resnet18", {"head": "angular"}, "head cannot be 'angular'"),
        ("resnet18", {"head": "cosine", "head_scale": 0}, "head_scale must be above 0"),
        (SWIN, {"stem": "small", "size": 48}, "for ResNets only"),
        ("efficientformer_l1", {"size": 48}, "cannot be built for images of 48 pixels"),
    ],
)
def test_what_cannot_be_built_is_explained(name, options, says):
    with pytest.raises(InputError, match=says):
        build_network(name, **({"classes": 7} | options))


def test_dropout_falls_on_features_before_the_classifier_only():
    network = build_network("resnet18", 3, channels=1, size=48, dropout=0.5)
    with torch.no_grad():
        logits, features, _ = network(torch.rand(4, 1, 48, 48))
        assert (features > 0).float().mean() > 0.9  # a ReLU's mean is hardly ever zero, dropped features would be
        assert not torch.allclose(logits, network.classifier(features))
        logits, features, _ = network.eval()(torch.rand(4, 1, 48, 48))
        torch.testing.assert_close(logits, network.classifier(features))


# Seeds, normalisation, stem.
def test_weights_are_a_function_of_the_seed_alone(resnet):
    before = torch.random.get_rng_state()
    again = build_network("resnet18", 7, channels=1, size=48, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(
        torch.equal(a, b) for a, b in zip(resnet.state_dict().values(), again.state_dict().values(), strict=True)
    )
    other = build_network("resnet18", 7, channels=1, size=48, seed=4)
    assert not torch.equal(other.backbone.conv1.weight, resnet.backbone.conv1.weight)
    assert not torch.equal(other.classifier.weight, resnet.classifier.weight)


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_100"])
@pytest.mark.parametrize(("norm", "alone"), [("batch", False), ("group", True), ("frozen", True)])
def test_whether_an_image_depends_on_the_rest_of_its_batch(name, norm, alone):
    network = build_network(name, 3, channels=1, size=64, norm=norm)  # in training mode
    images = torch.rand(3, 1, 64, 64)
    with torch.no_grad():
        together, by_itself = network(images).maps[:2], network(images[:2]).maps
    assert torch.allclose(together, by_itself, atol=1e-5, rtol=1e-4) is alone


def test_frozen_statistics_stay_while_scale_and_shift_learn():
    network = build_network("resnet18", 3, channels=1, size=48, norm="frozen")
    network.eval().train()
    bn = network.backbone.bn1
    network(torch.rand(2, 1, 48, 48)).logits.square().sum().backward()
    assert bn.running_mean.abs().sum() == 0
    assert bn.num_batches_tracked == 0
    assert bn.weight.grad.abs().sum() > 0


def test_group_norm_leaves_no_batch_norm_and_keeps_names():
    plain = build_network("mobilenetv3_small_100", 3, channels=1, size=48)
    grouped = build_network("mobilenetv3_small_100", 3, channels=1, size=48, norm="group")
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in grouped.modules())
    assert [n for n, _ in grouped.named_parameters()] == [n for n, _ in plain.named_parameters()]
    activations = [type(m) for m in plain.modules() if isinstance(m, nn.Hardswish | nn.ReLU)]
    assert [type(m) for m in grouped.modules() if isinstance(m, nn.Hardswish | nn.ReLU)] == activations


def test_a_small_stem_keeps_the_size():
    network = build_network("resnet18", 3, channels=1, size=48, stem="small")
    assert network(torch.rand(2, 1, 48, 48)).maps.shape == (2, 512, 6, 6)


# The cosine head.
def test_a_cosine_heads_logits_are_scaled_cosines():
    head = CosineClassifier(6, 4, scale=12.0).double()
    features = torch.randn(5, 6, dtype=torch.float64)
    expected = 12 * F.cosine_similarity(features[:, None], head.weight[None], dim=2)
    torch.testing.assert_close(head(features), expected)
    torch.testing.assert_close(head(100 * features), expected)  # lengths say nothing
    assert torch.autograd.gradcheck(head, features.requires_grad_())
    assert torch.equal(head(torch.zeros(1, 6, dtype=torch.float64)), torch.zeros(1, 4, dtype=torch.float64))


def test_a_network_with_a_cosine_head_learns_and_keeps_its_kind():
    network = build_network("compact_vgg_24", 5, channels=1, size=48, head="cosine", head_scale=16.0)
    logits, features, _ = network(torch.rand(2, 1, 48, 48))
    expected = 16 * F.cosine_similarity(features[:, None], network.classifier.weight[None], dim=2)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    logits.square().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())
    old = network.classifier
    network.reset_classifier(9)
    new = network.classifier
    assert (type(new), new.scale, new.in_features, new.out_features) == (CosineClassifier, 16.0, old.in_features, 9)
    network.reset_classifier()
    assert network.classifier.out_features == 9
    assert not torch.equal(network.classifier.weight, new.weight)


def test_resetting_a_linear_classifier_keeps_its_kind_and_type():
    new = fresh_head(nn.Linear(6, 3).double(), 4)
    assert (type(new), new.out_features, new.weight.dtype) == (nn.Linear, 4, torch.float64)
    assert new.bias is not None


def test_class_activation_maps_are_refused_where_they_would_not_add_up():
    network = build_network("resnet18", 3, channels=1, size=48, head="cosine")
    with pytest.raises(InputError, match="need a linear classifier"):
        classifier_of(network)
    for name in ("eac", "mek", "rebalanced-attention"):  # before anything is trained or written
        with pytest.raises(InputError, match="need a linear classifier"):
            build_method(name, network, nn.Identity(), task=Task(np.array([3, 2, 1]), ("a", "b", "c"), batch_size=2))


def test_weights_of_a_run_give_the_same_network_again(tmp_path, resnet):
    state = {f"network.{name}": value for name, value in resnet.state_dict().items()}
    save_file(state, tmp_path / "weights.safetensors")
    again = build_network("resnet18", 7, channels=1, size=48, weights=str(tmp_path / "weights.safetensors"), seed=9)
    images = torch.rand(2, 1, 48, 48)
    with torch.no_grad():
        assert torch.equal(again.eval()(images).logits, resnet(images).logits)
    assert again.load_report.missing == ()
