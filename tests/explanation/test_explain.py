"""Explanations of every method and network, compared with a direct computation."""

import numpy as np
import pytest
import torch
from function_models import SEQUENCE, FunctionModel, MethodModel, inputs_of, pictures, stills
from small import CLASS_METHODS, loss_for, task
from torch import nn

from evenface.config.recipe import Temporal
from evenface.explanation import explain_samples, overlay
from evenface.explanation.explanation import scaled, select_method
from evenface.explanation.gradients import HeadFromMaps, class_maps
from evenface.explanation.occlusion import baseline_image
from evenface.inference.input_spec import InputSpec
from evenface.losses import build_loss
from evenface.methods import build_method
from evenface.methods.erm import ERM
from evenface.models import build_network
from evenface.utils.errors import InputError


def built(name="erm", network="test_resnet", size=32, **options):
    torch.manual_seed(0)
    made = build_network(network, 3, channels=1, size=size, **options)
    method = build_method(name, made, loss_for(name), task=task())
    for module in method.modules():  # statistics other than those of a new network
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
    return method


def by_hand(method, inputs):
    """Compute Grad-CAM without its rectifier from one full pass, class by class, ``(C, T, h, w)`` of one sample."""
    outputs, original = [], method.network.forward_backbone
    method.network.forward_backbone = lambda images: outputs.append(original(images)) or outputs[-1]
    scores = method.class_scores(inputs)
    del method.network.forward_backbone
    ((_, maps),) = outputs
    result = []
    for label in range(scores.shape[1]):
        (gradient,) = torch.autograd.grad(scores[0, label], maps, retain_graph=True)
        result.append((gradient.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1))
    return torch.stack(result).detach().double().numpy()


@pytest.mark.parametrize("name", CLASS_METHODS)
def test_grad_cam_of_every_method_explains_its_class_scores_at_inference(name):
    method = built(name).eval()
    model, sample = MethodModel(method, stills()), pictures(1)[0]
    inputs = inputs_of(model.input_spec, sample[None])
    class_scores, scores = method.class_scores(inputs), method.scores(inputs)
    if method.one_vs_rest:
        torch.testing.assert_close(class_scores.sigmoid(), scores)
    elif name == "regression":
        assert class_scores.argmax() == scores.argmax()
    else:
        torch.testing.assert_close(class_scores.softmax(dim=1), scores)
    got = class_maps(model, sample, "gradcam")
    np.testing.assert_allclose(got, by_hand(method, inputs), rtol=1e-3, atol=1e-6)
    (found,) = explain_samples(model, sample[None])
    np.testing.assert_allclose(found.maps, scaled(got[:, 0], (1, 2)))
    assert found.maps.min() >= 0
    assert all(heat.max() == pytest.approx(1) for heat, raw in zip(found.maps, got, strict=True) if raw.max() > 0)
    assert all(p.grad is None for p in method.parameters())


NETWORKS = (
    "compact_vgg_16",
    "mobilenetv3_small_050",
    "test_efficientnet",
    "test_convnext",
    "swin_tiny_patch4_window7_224",
)


@pytest.mark.parametrize("network", NETWORKS)
def test_grad_cam_of_every_kind_of_network(network):
    size = 64 if network.startswith("swin") else 32
    method = built(network=network, size=size).eval()
    sample = pictures(1, size=size)[0]
    model = MethodModel(method, stills(size))
    got = class_maps(model, sample, "gradcam")
    np.testing.assert_allclose(got, by_hand(method, inputs_of(model.input_spec, sample[None])), rtol=1e-3, atol=1e-6)


def test_a_network_that_does_not_use_its_feature_maps_is_refused():
    method = built(network="test_vit", size=160)
    backbone = method.network.backbone
    backbone.forward_head = lambda raw: raw[:, 0]  # the class token alone
    with pytest.raises(InputError, match="do not depend on its last feature maps"):
        class_maps(MethodModel(method, stills(160)), pictures(1, size=160)[0], "gradcam")


@pytest.mark.parametrize("network", ["test_resnet", "compact_vgg_16", "swin_tiny_patch4_window7_224"])
def test_cam_is_the_product_of_classifier_weights_and_maps_and_proportional_to_grad_cam(network):
    size = 64 if network.startswith("swin") else 32
    method = built(network=network, size=size).eval()
    model, sample = MethodModel(method, stills(size)), pictures(1, size=size)[0]
    with torch.no_grad():
        maps = method.network(inputs_of(model.input_spec, sample[None])).maps[0].double().numpy()
    closed = np.einsum("ck,kij->cij", method.network.classifier.weight.detach().double().numpy(), maps)[:, None]
    cam = class_maps(model, sample, "cam")
    np.testing.assert_allclose(cam, closed, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(class_maps(model, sample, "gradcam") * maps[0].size, cam, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["dicc", "scn", "bbn"])
def test_cam_is_refused_where_more_than_a_linear_classifier_follows(name):
    with pytest.raises(InputError, match="linear classifier on the mean"):
        explain_samples(MethodModel(built(name), stills()), pictures(1), "cam")


def test_maps_are_equivariant_to_the_order_of_classes():
    method, order = built(), [2, 0, 1]
    before = explain_samples(MethodModel(method, stills()), pictures())
    with torch.no_grad():
        for parameter in method.network.classifier.parameters():
            parameter.copy_(parameter[order])
    after = explain_samples(MethodModel(method, stills()), pictures())
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(other.maps, one.maps[order], atol=1e-5)
        np.testing.assert_allclose(other.probabilities, one.probabilities[order], atol=1e-6)


@pytest.mark.parametrize("method", ["gradcam", "cam", "occlusion"])
def test_with_flip_augmentation_maps_are_averaged_over_both_views(method):
    model, given = MethodModel(built(), stills(mirror="picture")), pictures(1)
    (found,) = explain_samples(model, given, method)
    (mirror,) = explain_samples(model, given[:, :, :, ::-1], method)
    np.testing.assert_allclose(mirror.maps, found.maps[:, :, ::-1], atol=1e-4)


@pytest.mark.parametrize("kind", ["mean", "bilstm"])
def test_clips_have_a_map_for_each_frame_on_one_scale(kind):
    torch.manual_seed(0)
    temporal = Temporal(kind=kind, hidden=8, layers=1)
    network = build_network("test_resnet", 3, channels=1, size=32, temporal=temporal, frames=4)
    model = MethodModel(ERM(network, build_loss("cross-entropy", [3, 2, 1])), InputSpec("clips", 32, 1, 4))
    clip = pictures(1, frames=4)
    (found,) = explain_samples(model, clip)
    assert (found.kind, found.maps.shape[:2], found.frames.shape) == ("frames", (3, 4), (3, 4))
    inputs = inputs_of(model.input_spec, clip)
    raw = by_hand(model.method, inputs)
    np.testing.assert_allclose(class_maps(model, clip[0], "gradcam"), raw, rtol=1e-3, atol=1e-7)
    assert found.maps.reshape(3, -1).max(axis=1) == pytest.approx((raw.reshape(3, -1).max(axis=1) > 0).astype(float))
    if kind == "bilstm":
        with pytest.raises(InputError, match="linear"):
            explain_samples(model, clip, "cam")


def test_the_backbone_runs_once_and_is_restored():
    method = built().eval()
    calls, original = [], method.network.backbone.forward_features
    method.network.backbone.forward_features = lambda images: calls.append(len(images)) or original(images)
    model = MethodModel(method, stills())
    class_maps(model, pictures(1)[0], "gradcam")
    assert calls == [1]
    images = inputs_of(model.input_spec, pictures(1))
    whole = HeadFromMaps(method, images[0])
    torch.testing.assert_close(whole(whole.sample_maps), method.class_scores(images))
    assert "forward_backbone" not in vars(method.network)


@pytest.mark.parametrize(
    ("spec", "gradients", "method", "message"),
    [
        (stills(), False, "gradcam", "exported file, which has no gradients"),
        (stills(), True, "gradients", "does not apply to image models"),
        (SEQUENCE, True, "gradcam", "does not apply to sequence models"),
        (stills(), True, "lime", "no attribution method 'lime'"),
    ],
)
def test_methods_that_do_not_apply_are_refused(spec, gradients, method, message):
    model = MethodModel(built(), spec) if gradients else FunctionModel(spec, None)
    with pytest.raises(InputError, match=message):
        select_method(model, method)


def test_the_default_method():
    assert select_method(MethodModel(built(), stills())) == "gradcam"
    assert select_method(FunctionModel(stills(), None)) == select_method(FunctionModel(SEQUENCE, None)) == "occlusion"


def test_saliency_0_leaves_the_image_and_saliency_1_reddens_it():
    grey = pictures(1)[0, 0]
    np.testing.assert_array_equal(overlay(grey, np.zeros((4, 4))), np.repeat(grey, 3, axis=2))
    full = overlay(np.full((8, 8, 3), 100, np.uint8), np.ones((2, 2)), strength=1.0)
    assert (full == full[0, 0]).all()
    assert full[0, 0, 0] > 150 > 60 > full[0, 0, 2]


def test_baseline_images_keep_their_brightness():
    given = pictures(1, frames=2)[0]
    for baseline, spread in (("blur", 60), ("mean", 0)):
        plain = baseline_image(given, baseline)
        assert plain.shape == given.shape
        assert abs(plain.mean() - given.mean()) < 2
        assert np.ptp(plain[0].astype(int)) <= spread
