"""Explanations: what they are for every method and network, and that what is planted is found."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from small import loss_for, task
from torch import nn

from evenface.augment import to_float
from evenface.errors import InputError
from evenface.explaining import explain_samples, overlay
from evenface.explaining.asking import method_for
from evenface.explaining.base import scaled
from evenface.explaining.gradients import Behind, class_maps, integrated
from evenface.explaining.removing import blurred, frames_held, usual_sequence
from evenface.losses import build_loss
from evenface.methods import METHODS, build_method
from evenface.methods.base import Method
from evenface.methods.plain import Plain
from evenface.networks import build_network
from evenface.networks.backbone import Network, Outputs
from evenface.recipes.schema import Temporal
from evenface.serving.form import Form
from evenface.serving.model import Model

CLASSES = ("happy", "sad", "fear")


class Asked(Model):
    """A model that is a function of what it is given."""

    def __init__(self, form, says, classes=CLASSES, detects=False):
        self.name, self.key, self.classes, self.form = "asked", "0", classes, form
        self.ordered, self.detects, self.calibration, self.card = False, detects, None, {}
        self.prior, self.says = np.full(len(classes), 1 / len(classes)), says

    def ask(self, batch):
        return np.asarray(self.says(batch), dtype=np.float64)


class Held(Asked):
    """A method in the place of a run's."""

    def __init__(self, method, form, classes=CLASSES):
        super().__init__(form, self.scored, classes, method.detects)
        self.method, self.device = method.eval(), torch.device("cpu")

    @torch.no_grad()
    def scored(self, batch):
        return self.method.scores(inputs_of(self.form, batch)).double().numpy()


def inputs_of(form, batch):
    values = torch.from_numpy(np.ascontiguousarray(batch))
    return values if form.kind == "sequences" else to_float(values[:, 0] if form.frames == 1 else values)


def stills(size=32, **options):
    return Form("stills", size, 1, **options)


def pictures(count=2, frames=1, size=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, frames, size, size, 1), dtype=np.uint8)


def built(name="plain", network="test_resnet", size=32, **options):
    torch.manual_seed(0)
    made = build_network(network, 3, channels=1, size=size, **options)
    method = build_method(name, made, loss_for(name), task=task())
    for module in method.modules():  # statistics that are not those of a new network
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
    return method


def by_hand(method, inputs):
    """Grad-CAM without its rectifier, from one whole pass, class by class, ``(C, T, h, w)`` of one sample."""
    kept, look = [], method.network.look
    method.network.look = lambda images: kept.append(look(images)) or kept[-1]
    said = method.evidence(inputs)
    del method.network.look
    ((_, maps),) = kept
    found = []
    for label in range(said.shape[1]):
        (slope,) = torch.autograd.grad(said[0, label], maps, retain_graph=True)
        found.append((slope.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1))
    return torch.stack(found).detach().double().numpy()


@pytest.mark.parametrize("name", sorted(METHODS))
def test_grad_cam_of_every_method_is_of_what_it_says_at_inference(name):
    method = built(name).eval()
    model, sample = Held(method, stills()), pictures(1)[0]
    inputs = inputs_of(model.form, sample[None])
    evidence, scores = method.evidence(inputs), method.scores(inputs)
    if method.detects:
        torch.testing.assert_close(evidence.sigmoid(), scores)
    elif name == "regression":
        assert evidence.argmax() == scores.argmax()
    else:
        torch.testing.assert_close(evidence.softmax(dim=1), scores)
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
    model = Held(method, stills(size))
    got = class_maps(model, sample, "gradcam")
    np.testing.assert_allclose(got, by_hand(method, inputs_of(model.form, sample[None])), rtol=1e-3, atol=1e-6)


def test_a_network_that_does_not_look_at_its_maps_is_refused():
    method = built(network="test_vit", size=160)
    backbone = method.network.backbone
    backbone.forward_head = lambda raw: raw[:, 0]  # the class token alone
    with pytest.raises(InputError, match="does not depend on its last maps"):
        class_maps(Held(method, stills(160)), pictures(1, size=160)[0], "gradcam")


@pytest.mark.parametrize("network", ["test_resnet", "compact_vgg_16", "swin_tiny_patch4_window7_224"])
def test_cam_is_the_classifiers_weights_times_the_maps_and_grad_cam_a_share_of_it(network):
    size = 64 if network.startswith("swin") else 32
    method = built(network=network, size=size).eval()
    model, sample = Held(method, stills(size)), pictures(1, size=size)[0]
    with torch.no_grad():
        maps = method.network(inputs_of(model.form, sample[None])).maps[0].double().numpy()
    closed = np.einsum("ck,kij->cij", method.network.classifier.weight.detach().double().numpy(), maps)[:, None]
    cam = class_maps(model, sample, "cam")
    np.testing.assert_allclose(cam, closed, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(class_maps(model, sample, "gradcam") * maps[0].size, cam, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["dicc", "scn", "bbn"])
def test_cam_is_refused_where_more_than_a_linear_classifier_follows(name):
    with pytest.raises(InputError, match="linear classifier on the mean"):
        explain_samples(Held(built(name), stills()), pictures(1), "cam")


def test_classes_in_another_order_give_the_same_maps_in_that_order():
    method, order = built(), [2, 0, 1]
    before = explain_samples(Held(method, stills()), pictures())
    with torch.no_grad():
        for parameter in method.network.classifier.parameters():
            parameter.copy_(parameter[order])
    after = explain_samples(Held(method, stills()), pictures())
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(other.maps, one.maps[order], atol=1e-5)
        np.testing.assert_allclose(other.probabilities, one.probabilities[order], atol=1e-6)


@pytest.mark.parametrize("method", ["gradcam", "cam", "occlusion"])
def test_where_answers_are_averaged_with_the_mirror_so_are_maps(method):
    model, given = Held(built(), stills(mirror="picture")), pictures(1)
    (found,) = explain_samples(model, given, method)
    (mirror,) = explain_samples(model, given[:, :, :, ::-1], method)
    np.testing.assert_allclose(mirror.maps, found.maps[:, :, ::-1], atol=1e-4)


@pytest.mark.parametrize("kind", ["mean", "bilstm"])
def test_clips_have_a_map_for_each_frame_on_one_scale(kind):
    torch.manual_seed(0)
    temporal = Temporal(kind=kind, hidden=8, layers=1)
    network = build_network("test_resnet", 3, channels=1, size=32, temporal=temporal, frames=4)
    model = Held(Plain(network, build_loss("cross-entropy", [3, 2, 1])), Form("clips", 32, 1, 4))
    clip = pictures(1, frames=4)
    (found,) = explain_samples(model, clip)
    assert (found.kind, found.maps.shape[:2], found.frames.shape) == ("frames", (3, 4), (3, 4))
    inputs = inputs_of(model.form, clip)
    raw = by_hand(model.method, inputs)
    np.testing.assert_allclose(class_maps(model, clip[0], "gradcam"), raw, rtol=1e-3, atol=1e-7)
    assert found.maps.reshape(3, -1).max(axis=1) == pytest.approx((raw.reshape(3, -1).max(axis=1) > 0).astype(float))
    if kind == "bilstm":
        with pytest.raises(InputError, match="linear"):
            explain_samples(model, clip, "cam")


def test_the_backbone_is_looked_at_once_and_is_itself_again_afterwards():
    method = built().eval()
    calls, look = [], method.network.backbone.forward_features
    method.network.backbone.forward_features = lambda images: calls.append(len(images)) or look(images)
    model = Held(method, stills())
    class_maps(model, pictures(1)[0], "gradcam")
    assert calls == [1]
    images = inputs_of(model.form, pictures(1))
    whole = Behind(method, images[0])
    torch.testing.assert_close(whole(whole.found), method.evidence(images))
    assert "look" not in vars(method.network)


class Bright(nn.Module):
    """Maps of how bright each of 4 x 4 places is."""

    def forward_features(self, images):
        return F.avg_pool2d(images, 8)

    def forward_head(self, maps):
        return maps.mean(dim=(2, 3))


@pytest.mark.parametrize("method", ["gradcam", "cam", "occlusion"])
def test_a_planted_square_is_found(method):
    network = Network(Bright(), 1, 2, mean=(0.0,), std=(1.0,))
    with torch.no_grad():
        network.classifier.weight.copy_(torch.tensor([[40.0], [0.0]]))
    given = np.zeros((1, 1, 32, 32, 1), np.uint8)
    given[0, 0, 16:24, 8:16] = 255
    model = Held(Plain(network, build_loss("cross-entropy", [1, 1])), stills(), ("light", "dark"))
    (found,) = explain_samples(model, given, method)
    heat = found.maps[0]
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert (row * 4 // heat.shape[0], column * 4 // heat.shape[1]) == (2, 1)
    if method == "gradcam":
        assert heat.sum() == pytest.approx(1)
        assert found.maps[1].max() == 0, "nothing of the maps moves the other logit"


SEQUENCE = Form("sequences", 1, 1, 6, points="features")
FRAME, POINT = 4, 2


class Watching(nn.Module):
    """Says only what one number of one point on one frame is."""

    def forward(self, sequences):
        value = sequences[:, FRAME, POINT, 0]
        logits = torch.stack([2 * value + value**2 / 5, -value, 0 * value], dim=1)
        return Outputs(logits, logits, logits.new_empty(0))


class Watched(Method):
    sequences = True

    def training_loss(self, images, targets):
        raise NotImplementedError


@pytest.mark.parametrize("method", ["occlusion", "gradients"])
def test_a_planted_frame_and_point_are_found(method):
    model = Held(Watched(Watching(), nn.Identity()), SEQUENCE)
    given = np.random.default_rng(0).normal(0, 0.3, (1, 6, 5, 2)).astype(np.float32)
    given[0, FRAME, POINT, 0] = 3
    (found,) = explain_samples(model, given, method)
    assert (found.kind, found.maps) == ("points", None)
    assert (np.abs(found.frames[0]).argmax(), np.abs(found.points[0]).argmax()) == (FRAME, POINT)
    assert found.points[0, POINT] > 0 > found.points[1, POINT]
    others = np.delete(found.points, POINT, axis=1)
    np.testing.assert_allclose(others, 0, atol=1e-9)


@given(st.integers(0, 100))
def test_integrated_gradients_sum_to_what_they_explain(seed):
    random = np.random.default_rng(seed)
    sample, usual = random.normal(size=(2, 6, 5, 2)).astype(np.float32)
    model = Held(Watched(Watching(), nn.Identity()), SEQUENCE)
    said = model.method.evidence(torch.from_numpy(np.stack([sample, usual]))).numpy()
    np.testing.assert_allclose(integrated(model, sample, usual).sum(axis=(1, 2, 3)), said[0] - said[1], atol=1e-3)


def test_leaving_out_is_the_loss_of_log_probability():
    random = np.random.default_rng(1)
    weight = random.normal(size=(6 * 4, 3))

    def says(batch):
        p = np.exp(batch.reshape(len(batch), -1) @ weight)
        return p / p.sum(axis=1, keepdims=True)

    model, sample = Asked(Form("sequences", 1, 1, 6, points="features"), says), random.normal(size=(6, 4, 1))
    (found,) = explain_samples(model, sample[None])
    for point in range(4):
        changed = sample.copy()
        changed[:, point] = sample[:, point].mean()
        expected = np.log(says(sample[None])[0]) - np.log(says(changed[None])[0])
        np.testing.assert_allclose(found.points[:, point], expected, atol=1e-9)
    for frame in range(6):
        changed = sample.copy()
        changed[frame] = sample[frame - 1 if frame else 1]
        expected = np.log(says(sample[None])[0]) - np.log(says(changed[None])[0])
        np.testing.assert_allclose(found.frames[:, frame], expected, atol=1e-9)


@given(st.lists(st.booleans(), min_size=1, max_size=9).filter(any))
def test_frames_that_are_gone_give_way_to_the_nearest(kept):
    there = [i for i, one in enumerate(kept) if one]
    expected = [min(there, key=lambda j: (abs(i - j), j)) for i in range(len(kept))]
    assert frames_held(np.arange(len(kept)), np.array(kept)).tolist() == expected


def test_what_is_usual_is_the_mean_of_the_runs_sequences_else_the_samples_own():
    sample = np.random.default_rng(0).normal(size=(3, 2, 1)).astype(np.float32)
    model = SimpleNamespace()
    np.testing.assert_allclose(usual_sequence(model, sample), np.repeat(sample.mean(axis=0)[None], 3, axis=0))
    with pytest.raises(InputError, match="gone"):
        usual_sequence(SimpleNamespace(run=SimpleNamespace(facts={"store": "nowhere"})), sample[:1])


@pytest.mark.parametrize(
    ("form", "gradients", "method", "says"),
    [
        (stills(), False, "gradcam", "exported file, which gives no gradients"),
        (stills(), True, "gradients", "does not explain a model of pictures"),
        (SEQUENCE, True, "gradcam", "does not explain a model of numbers"),
        (stills(), True, "lime", "no method 'lime'"),
    ],
)
def test_what_cannot_be_explained_is_refused_in_a_sentence(form, gradients, method, says):
    model = Held(built(), form) if gradients else Asked(form, None)
    with pytest.raises(InputError, match=says):
        method_for(model, method)


def test_the_method_that_is_taken_by_default():
    assert method_for(Held(built(), stills())) == "gradcam"
    assert method_for(Asked(stills(), None)) == method_for(Asked(SEQUENCE, None)) == "occlusion"


def test_a_map_of_nothing_leaves_the_picture_and_one_of_all_reddens_it():
    grey = pictures(1)[0, 0]
    np.testing.assert_array_equal(overlay(grey, np.zeros((4, 4))), np.repeat(grey, 3, axis=2))
    full = overlay(np.full((8, 8, 3), 100, np.uint8), np.ones((2, 2)), strength=1.0)
    assert (full == full[0, 0]).all()
    assert full[0, 0, 0] > 150 > 60 > full[0, 0, 2]


def test_pictures_without_detail_keep_their_brightness():
    given = pictures(1, frames=2)[0]
    for how, most in (("blur", 60), ("mean", 0)):
        plain = blurred(given, how)
        assert plain.shape == given.shape
        assert abs(plain.mean() - given.mean()) < 2
        assert np.ptp(plain[0].astype(int)) <= most
