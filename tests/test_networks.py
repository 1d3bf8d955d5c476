import importlib
import os

import huggingface_hub
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from evenface.errors import InputError
from evenface.methods import Task, build_method
from evenface.methods.attention import classifier_of
from evenface.networks import Network, build_network, torchvision_cpu
from evenface.networks.heads import CosineClassifier, fresh_head

SWIN = "swin_tiny_patch4_window7_224"
QUICK = ["resnet18", "compact_vgg_24", "mobilenetv1_100", "mobilenetv3_small_100", SWIN]
SLOW = ["resnet50", "mobilenetv3_large_100", "vgg19_bn"]
names = pytest.mark.parametrize("name", QUICK + [pytest.param(name, marks=pytest.mark.slow) for name in SLOW])


@pytest.fixture(scope="module")
def resnet() -> Network:
    """A small one, for reading only."""
    return build_network("resnet18", 7, channels=1, size=48, seed=3).eval()


# torchvision without its compiled operators.


def naive_nms(boxes, scores, limit):
    left, kept = sorted(range(len(boxes)), key=lambda i: -scores[i]), []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [i for i in left if overlap(boxes[best], boxes[i]) <= limit]
    return kept


def overlap(a, b):
    shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    both = sum((x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)) - shared
    return shared / both


boxes = st.builds(
    lambda x, y, w, h: [x, y, x + w, y + h],
    *(st.integers(0, 20), st.integers(0, 20), st.integers(1, 20), st.integers(1, 20)),
)


@given(st.lists(boxes, max_size=12), st.sampled_from([0.0, 0.3, 0.7, 1.0]), st.randoms(use_true_random=False))
def test_nms_keeps_what_a_naive_loop_keeps(some, limit, random):
    scores = random.sample(range(100), len(some))
    got = torchvision_cpu.nms(
        torch.tensor(some, dtype=torch.float64).reshape(-1, 4), torch.tensor(scores, dtype=torch.float64), limit
    )
    assert got.tolist() == naive_nms(some, scores, limit)
    assert got.dtype == torch.int64


def test_torchvision_works_after_the_import():
    from torchvision.ops import batched_nms
    from torchvision.transforms import v2

    two = torch.tensor([[0, 0, 10, 10], [1, 1, 10, 10.0]])
    assert batched_nms(two, torch.tensor([0.5, 0.9]), torch.tensor([0, 0]), 0.5).tolist() == [1]
    assert batched_nms(two, torch.tensor([0.5, 0.9]), torch.tensor([0, 1]), 0.5).tolist() == [1, 0]
    assert v2.functional.horizontal_flip(two).tolist() == two.flip(-1).tolist()


def test_nothing_is_done_where_torchvision_imports(monkeypatch):
    monkeypatch.setattr(torchvision_cpu, "_library", None)
    assert torchvision_cpu.ensure_torchvision() is False
    assert torchvision_cpu._library is None


def test_other_failures_of_the_import_are_not_hidden(monkeypatch):
    def fails(name):
        raise RuntimeError("something else")

    monkeypatch.setattr(torchvision_cpu, "_library", None)
    monkeypatch.setattr(importlib, "import_module", fails)
    with pytest.raises(RuntimeError, match="something else"):
        torchvision_cpu.ensure_torchvision()


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
        ("resnet18", {"classes": 1}, "at least 2 classes"),
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


# Weights.


def timm_file(path, *, channels=3, classes=10, name="resnet18"):
    import timm

    torch.manual_seed(5)
    model = timm.create_model(name, num_classes=classes, in_chans=channels)
    save_file(model.state_dict(), path)
    return model


def test_a_file_of_timm_is_taken_over_but_for_its_classifier(tmp_path):
    model = timm_file(tmp_path / "w.safetensors")
    network = build_network("resnet18", 7, size=48, weights=str(tmp_path / "w.safetensors")).eval()
    assert set(network.loaded.missing) == {"classifier.weight", "classifier.bias"}
    assert set(network.loaded.unused) == {"fc.weight", "fc.bias"}
    assert "2 left as initialised" in str(network.loaded)
    images = torch.rand(2, 3, 48, 48)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = model.eval().forward_features((images - mean[:, None, None]) / std[:, None, None])
        torch.testing.assert_close(network(images).maps, expected)


def test_a_classifier_of_the_same_shape_is_taken_over(tmp_path):
    model = timm_file(tmp_path / "w.safetensors", classes=7)
    network = build_network("resnet18", 7, size=48, weights=str(tmp_path / "w.safetensors"))
    assert (network.loaded.missing, network.loaded.unused) == ((), ())
    assert torch.equal(network.classifier.weight, model.fc.weight)


@pytest.mark.parametrize(("stored", "wanted"), [(3, 1), (1, 3)])
def test_the_first_convolution_is_adapted_to_the_channels(tmp_path, stored, wanted):
    model = timm_file(tmp_path / "w.safetensors", channels=stored)
    network = build_network("resnet18", 7, channels=wanted, size=48, weights=str(tmp_path / "w.safetensors"))
    grey = torch.rand(1, 1, 48, 48)
    with torch.no_grad():  # a grey picture gives the same answer in either form
        expected = model.conv1(grey.expand(-1, stored, -1, -1))
        torch.testing.assert_close(network.backbone.conv1(grey.expand(-1, wanted, -1, -1)), expected)
    assert "backbone.conv1.weight" not in network.loaded.missing


def test_weights_of_a_run_give_the_same_network_again(tmp_path, resnet):
    state = {f"network.{name}": value for name, value in resnet.state_dict().items()}
    save_file(state, tmp_path / "weights.safetensors")
    again = build_network("resnet18", 7, channels=1, size=48, weights=str(tmp_path / "weights.safetensors"), seed=9)
    images = torch.rand(2, 1, 48, 48)
    with torch.no_grad():
        assert torch.equal(again.eval()(images).logits, resnet(images).logits)
    assert again.loaded.missing == ()


@pytest.mark.parametrize(("content", "says"), [(None, "no file of weights"), (b"PK pickled", "never loaded")])
def test_weights_that_cannot_be_read_are_explained(tmp_path, content, says):
    path = tmp_path / "weights.pt"
    if content:
        path.write_bytes(content)
    with pytest.raises(InputError, match=says):
        build_network("resnet18", 7, size=48, weights=str(path))


def test_weights_of_which_nothing_fits_are_refused(tmp_path):
    save_file({"encoder.weight": torch.zeros(3)}, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"nothing in it fits this network \(it holds encoder.weight"):
        build_network("resnet18", 7, size=48, weights=str(tmp_path / "w.safetensors"))


def test_the_hub_is_asked_for_safetensors_only_when_told_to(tmp_path, monkeypatch):
    model, asked = timm_file(tmp_path / "w.safetensors", classes=1000), []

    def give(repository, filename, **options):
        asked.append((repository, filename))
        return str(tmp_path / "w.safetensors")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", give)
    build_network("resnet18", 7, size=48)
    assert asked == []
    network = build_network("resnet18", 7, channels=1, size=48, weights="hub")
    assert asked == [("timm/resnet18.a1_in1k", "model.safetensors")]
    assert torch.equal(network.backbone.layer1[0].conv1.weight, model.layer1[0].conv1.weight)
    torch.testing.assert_close(network.backbone.conv1.weight, model.conv1.weight.sum(1, keepdim=True))
    assert float(network.mean) == pytest.approx((0.485 + 0.456 + 0.406) / 3)


def test_without_a_network_the_hub_is_an_error_that_says_what_to_do(monkeypatch):
    def fails(repository, filename, local_files_only=False):
        if local_files_only:
            raise huggingface_hub.errors.LocalEntryNotFoundError("not here")
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fails)
    with pytest.raises(InputError, match="could not be had from the Hugging Face hub") as caught:
        build_network("resnet18", 7, size=48, weights="hub")
    assert "local .safetensors" in caught.value.hint


def test_the_hub_is_told_nothing():
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"
