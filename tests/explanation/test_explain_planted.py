"""Explanations find a planted region, frame and point, and occlusion is the drop of the log-probability."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from function_models import SEQUENCE, FunctionModel, MethodModel, stills
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from evenface.config.recipe import Baseline
from evenface.explanation import explain_samples
from evenface.explanation.faithfulness import deletion_insertion
from evenface.explanation.gradients import integrated_gradients
from evenface.explanation.occlusion import baseline_sequence, replace_frames
from evenface.inference.input_spec import InputSpec
from evenface.losses import build_loss
from evenface.methods.base import Method
from evenface.methods.erm import ERM
from evenface.models.backbone import Network, Outputs
from evenface.utils.errors import InputError

FRAME, POINT = 4, 2


class Bright(nn.Module):
    """Feature maps with the brightness of 4 x 4 regions."""

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
    model = MethodModel(ERM(network, build_loss("cross-entropy", [1, 1])), stills(), ("light", "dark"))
    (found,) = explain_samples(model, given, method)
    heat = found.maps[0]
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert (row * 4 // heat.shape[0], column * 4 // heat.shape[1]) == (2, 1)
    if method == "gradcam":
        assert heat.sum() == pytest.approx(1)
        assert found.maps[1].max() == 0, "the other logit does not depend on the maps"


class OneValueNetwork(nn.Module):
    """Logits that depend on one coordinate of one point on one frame."""

    def forward(self, sequences):
        value = sequences[:, FRAME, POINT, 0]
        logits = torch.stack([2 * value + value**2 / 5, -value, 0 * value], dim=1)
        return Outputs(logits, logits, logits.new_empty(0))


class SequenceClassifier(Method):
    sequences = True

    def training_loss(self, images, targets):
        raise NotImplementedError


@pytest.mark.parametrize("method", ["occlusion", "gradients"])
def test_a_planted_frame_and_point_are_found(method):
    model = MethodModel(SequenceClassifier(OneValueNetwork(), nn.Identity()), SEQUENCE)
    given = np.random.default_rng(0).normal(0, 0.3, (1, 6, 5, 2)).astype(np.float32)
    given[0, FRAME, POINT, 0] = 3
    (found,) = explain_samples(model, given, method)
    assert (found.kind, found.maps) == ("points", None)
    assert (np.abs(found.frames[0]).argmax(), np.abs(found.points[0]).argmax()) == (FRAME, POINT)
    assert found.points[0, POINT] > 0 > found.points[1, POINT]
    others = np.delete(found.points, POINT, axis=1)
    np.testing.assert_allclose(others, 0, atol=1e-9)


@given(st.integers(0, 100))
def test_integrated_gradients_sum_to_the_difference_of_scores(seed):
    random = np.random.default_rng(seed)
    sample, baseline = random.normal(size=(2, 6, 5, 2)).astype(np.float32)
    model = MethodModel(SequenceClassifier(OneValueNetwork(), nn.Identity()), SEQUENCE)
    scores = model.method.class_scores(torch.from_numpy(np.stack([sample, baseline]))).numpy()
    np.testing.assert_allclose(
        integrated_gradients(model, sample, baseline).sum(axis=(1, 2, 3)), scores[0] - scores[1], atol=1e-3
    )


def test_occlusion_is_the_drop_of_the_log_probability():
    random = np.random.default_rng(1)
    weight = random.normal(size=(6 * 4, 3))

    def probabilities(batch):
        p = np.exp(batch.reshape(len(batch), -1) @ weight)
        return p / p.sum(axis=1, keepdims=True)

    model, sample = (
        FunctionModel(InputSpec("sequences", 1, 1, 6, points="features"), probabilities),
        random.normal(size=(6, 4, 1)),
    )
    (found,) = explain_samples(model, sample[None])
    for point in range(4):
        changed = sample.copy()
        changed[:, point] = sample[:, point].mean()
        expected = np.log(probabilities(sample[None])[0]) - np.log(probabilities(changed[None])[0])
        np.testing.assert_allclose(found.points[:, point], expected, atol=1e-9)
    for frame in range(6):
        changed = sample.copy()
        changed[frame] = sample[frame - 1 if frame else 1]
        expected = np.log(probabilities(sample[None])[0]) - np.log(probabilities(changed[None])[0])
        np.testing.assert_allclose(found.frames[:, frame], expected, atol=1e-9)


def test_frames_of_a_clip_are_counted_without_the_baseline_image_before_them():
    """The probability depends on how the second frame and the fourth differ from the baseline image."""
    first, seen = np.full((8, 8, 1), 90, np.uint8), []

    def probabilities(batch):
        seen.extend(batch[:, 0])
        light = (batch.mean(axis=(2, 3, 4)) - batch[:, :1].mean(axis=(2, 3, 4))) / 40
        p = 1 / (1 + np.exp(-light[:, 2] - light[:, 4] / 2))
        return np.stack([p, 1 - p], axis=1)

    def log_odds(frames):
        return (frames[1] - 90) / 40 + (frames[3] - 90) / 80

    spec = InputSpec("clips", 8, 1, 5, baseline=Baseline(kind="subject-mean"))
    model = FunctionModel(spec, probabilities, ("light", "dark"), one_vs_rest=True)
    levels = np.array([60, 160, 100, 120])
    clip = np.concatenate([first[None], np.broadcast_to(levels[:, None, None, None], (4, 8, 8, 1))]).astype(np.uint8)
    (found,) = explain_samples(model, clip[None])
    assert found.maps.shape == (2, 4, 8, 8)
    nearest = [levels[[1, 1, 2, 3]], levels[[0, 0, 2, 3]], levels[[0, 1, 1, 3]], levels[[0, 1, 2, 2]]]
    expected = [log_odds(levels) - log_odds(changed) for changed in nearest]
    np.testing.assert_allclose(found.frames, [expected, np.negative(expected)], atol=1e-6)
    places, frames = deletion_insertion(model, clip, found, 0, orders=2)
    whole = 1 / (1 + np.exp(-log_odds(levels)))
    left = [1 / (1 + np.exp(-log_odds(np.repeat(level, 4)))) for level in (60, 100)]  # frames without importance
    assert (places.deletion[0], frames.deletion[0]) == (pytest.approx(whole), pytest.approx(whole))
    assert min(abs(frames.deletion[-1] - left)) < 1e-6
    assert all((one == first).all() for one in seen)


@given(st.lists(st.booleans(), min_size=1, max_size=9).filter(any))
def test_deleted_frames_are_replaced_by_the_nearest(kept):
    remaining = [i for i, one in enumerate(kept) if one]
    expected = [min(remaining, key=lambda j: (abs(i - j), j)) for i in range(len(kept))]
    assert replace_frames(np.arange(len(kept)), np.array(kept)).tolist() == expected


def test_the_baseline_sequence_is_the_mean_of_the_run_or_else_of_the_sample():
    sample = np.random.default_rng(0).normal(size=(3, 2, 1)).astype(np.float32)
    spec = SimpleNamespace(baseline=None)
    model = SimpleNamespace(input_spec=spec)
    np.testing.assert_allclose(baseline_sequence(model, sample), np.repeat(sample.mean(axis=0)[None], 3, axis=0))

    class Gone:
        @property
        def store(self):
            raise InputError("the store is not there")

    with pytest.raises(InputError, match="deleted"):
        baseline_sequence(SimpleNamespace(run=Gone(), input_spec=spec), sample[:1])
