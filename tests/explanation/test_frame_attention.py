"""Attention to the frames of a clip: as the network computes it, and in everything that an explanation writes."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from clip_runs import STORED, prepared_as, rising_and_falling, train
from films import make_video
from function_models import FunctionModel, MethodModel, inputs_of, pictures
from PIL import Image
from tiny import network

import evenface as ef
from evenface.app.catalogue import Entry
from evenface.app.predict_job import PredictRequest, predict_upload
from evenface.config.limits import Limits
from evenface.explanation import explain_samples
from evenface.explanation.results import ATTENTION_NOTE
from evenface.inference import open_model
from evenface.inference.input_spec import InputSpec
from evenface.losses import build_loss
from evenface.methods.erm import ERM
from evenface.reporting.saliency import LABEL_WIDTH, SaliencyFigure
from evenface.reporting.style import MUTED
from evenface.training import build


def clip_model(kind, mirror=None):
    method = ERM(network(kind), build_loss("cross-entropy", [3, 2, 1]))
    return MethodModel(method, InputSpec("clips", 32, 1, 4, mirror=mirror))


@pytest.mark.parametrize("kind", ["attention", "transformer"])
def test_the_attention_of_an_explanation_is_the_network_s(kind):
    model, given = clip_model(kind), pictures(2, frames=4)
    found = explain_samples(model, given)
    with torch.no_grad():
        expected = model.method.network.frame_weights(inputs_of(model.input_spec, given)).numpy()
    for one, weights in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.attention, weights, atol=1e-6)
        assert one.attention.sum() == pytest.approx(1, abs=1e-6)
    (mirror,) = explain_samples(clip_model(kind, "picture"), given[:1])
    (other,) = explain_samples(model, given[:1, :, :, ::-1])
    np.testing.assert_allclose(mirror.attention, (found[0].attention + other.attention) / 2, atol=1e-6)


def test_networks_without_attention_and_exported_files_have_none():
    given = pictures(1, frames=4)
    for kind in ("mean", "lstm"):
        assert explain_samples(clip_model(kind), given)[0].attention is None
    exported = FunctionModel(InputSpec("clips", 32, 1, 4), lambda batch: np.full((len(batch), 3), 1 / 3))
    assert explain_samples(exported, given)[0].attention is None


def test_the_bar_of_a_frame_is_as_high_as_its_share_of_the_largest_attention():
    maps, frames, count = np.zeros((2, 3, 2, 2), np.float32), np.zeros((2, 3)), []
    for attention in (None, np.array([0.5, 0.25, 0.25])):
        parts = (np.ones(2) / 2, None, (), maps, frames, None, attention)
        figure = SaliencyFigure("a", ("a", "b"), (0, 1), *parts).draw(np.full((3, 20, 20, 1), 255, np.uint8))
        grey = (np.asarray(figure) == tuple(bytes.fromhex(MUTED[1:]))).all(axis=2)
        count.append(grey.sum(axis=0)[LABEL_WIDTH + 20 :: 96][:3])  # a column of each bar, left of the number below
    high, *low = (count[1] - count[0]).tolist()
    assert high > 20
    assert low == [pytest.approx(high / 2, abs=1)] * 2


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attention")
    with pytest.MonkeyPatch.context() as patch:
        prepared_as(patch, rising_and_falling(folder / "store"))
        return train(folder / "run", **{**STORED, "network.temporal.kind": "attention", "training.epochs": 1})


def test_a_clip_s_attention_is_in_the_table_the_image_and_on_the_page(run, tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8)
    folder = tmp_path / "clips" / "one"
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number}.png")
    found = ef.explain(folder, run.folder, out=tmp_path / "out", folder_type="clips", random_orders=1)
    assert [check.what for check in found.checks] == ["places", "frames", "attention"]
    (record,) = (json.loads(path.read_text("utf-8")) for path in (tmp_path / "out" / "parts").iterdir())
    (sample,) = record["samples"]
    table = pd.read_csv(tmp_path / "out" / "importance.csv").query("what == 'attention'")
    with torch.no_grad():
        network = build.trained_method(run).eval().network
        expected = network.frame_weights(torch.from_numpy(frames[None, :, None] / np.float32(255)))[0].numpy()
    assert table["step"].tolist() == [0, 1, 2]
    assert table["class"].isna().all()
    np.testing.assert_allclose(table["value"], expected, atol=1e-4)
    np.testing.assert_allclose(sample["attention"], expected, atol=1e-4)
    areas = pd.read_csv(tmp_path / "out" / "explanations.csv").query("predicted")
    assert areas["attention_out"].between(0, 1).all()
    page = (tmp_path / "out" / "index.html").read_text("utf-8")
    for text in (ATTENTION_NOTE, "Grey bars: attention to each frame.", "order of their attention"):
        assert text in page
    again = ef.explain(folder, run.folder, out=tmp_path / "out", folder_type="clips", random_orders=1)
    assert again.cached == 1


def test_the_page_s_answer_has_the_attention_to_an_uploaded_video(run, tmp_path):
    video = make_video(tmp_path / "a.mp4", 6, size=(32, 32))
    request = PredictRequest(Entry("0" * 16, "run", run.folder, "a"), video, explain=True)
    (shown,) = predict_upload(request, open_model(run.folder), Limits(), lambda _: None)["explained"]
    assert len(shown["attention"]) == 3
    assert sum(shown["attention"]) == pytest.approx(1)
