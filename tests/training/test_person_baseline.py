"""Runs with a person baseline: what the network is given in training, at prediction, in other data and in exports."""

import json
import shutil
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import evenface as ef
from evenface import api
from evenface.config import load_recipe
from evenface.config.predict import PredictSettings
from evenface.explanation import explain_samples
from evenface.inference import export, open_model
from evenface.inference.export import latencies
from evenface.inference.model import EARLIER_FORMAT
from evenface.inference.pipeline import settings_facts
from evenface.models import ClipNetwork
from evenface.preprocessing.augmentation import to_float
from evenface.preprocessing.store import Store
from evenface.training.build import trained_method
from evenface.training.data import TrainingData
from evenface.utils.errors import InputError

CLASSES = ("fear", "joy", "neutral")
UNITS = ["AU01_r", "AU04_r", "AU12_r"]
SUBJECT = "^(p[0-9]+)-"
QUICK = {"epochs": 8, "batch_size": 8, "accelerator": "cpu", "checkpoint": "last"}


@pytest.fixture(autouse=True)
def short_latency_test(monkeypatch):
    monkeypatch.setattr(export, "latencies", partial(latencies, seconds=0.01))


def write_units(folder):
    """Write action units of 6 people, each with an offset that is larger than what emotions change."""
    random = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for person in range(6):
            offset = 5 * np.random.default_rng(person).random(3)
            for take in range(4):
                course = np.linspace(0, 1, 12)[:, None] * np.eye(3)[label] * 2
                values = offset + course + random.normal(0, 0.2, course.shape)
                pd.DataFrame(values, columns=UNITS).to_csv(folder / name / f"p{person}-{take}.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def units(tmp_path_factory):
    return write_units(tmp_path_factory.mktemp("units") / "people")


def recipe(root, **changes):
    content = {
        "name": "units",
        "data": {"source": "openface", "root": str(root), "subjects": SUBJECT, "sequences": {"frames": 6}},
        "protocol": {"kind": "leave-one-out", "validation": 0.0},
        "network": {"name": "recurrent", "recurrent": {"dense": 8, "hidden": 8, "top": 8, "norm": "none"}},
        "training": QUICK,
        "optimizer": {"name": "adam", "lr": 0.02, "weight_decay": 0},
        "augment": {"flip": 0},
    }
    return load_recipe(content, {"data.baseline": "subject-mean", **changes}).model_dump(mode="json")


def trained(settings, folder):
    return ef.train(settings, out=folder, sample_faces=False)


@pytest.fixture(scope="module")
def run(units, tmp_path_factory):
    return trained(recipe(units), tmp_path_factory.mktemp("runs") / "units")


def test_a_baseline_helps_where_people_differ_more_than_emotions(run, units, tmp_path):
    without = trained(recipe(units, **{"data.baseline": "none"}), tmp_path / "none")
    accuracy = [one.metrics["overall"]["accuracy"]["value"] for one in (run, without)]
    assert accuracy[0] > accuracy[1] + 0.1
    assert any("transductive" in note for note in run.facts["notes"])
    assert "transductive" in (run.folder / "report.html").read_text("utf-8")


def test_labels_of_the_test_person_change_no_prediction(run, units, tmp_path):
    """Leave-one-subject-out stays honest: the person's classes are exchanged, the inputs stay."""
    people = tmp_path / "people"
    shutil.copytree(units, people)
    tested = sorted(set(run.predictions.subject))
    assert len(tested) == 1
    for path in sorted((people / "fear").glob(f"{tested[0]}-*.csv")):
        spare = path.with_suffix(".old")
        path.rename(spare)
        (people / "joy" / path.name).rename(path)
        spare.rename(people / "joy" / path.name)
    other = trained(recipe(people), tmp_path / "run")
    expected = dict(zip(run.predictions.sample, run.predictions.probabilities, strict=True))
    swap = {"fear": "joy", "joy": "fear", "neutral": "neutral"}
    for sample, row in zip(other.predictions.sample, other.predictions.probabilities, strict=True):
        name, _, file = sample.partition("/")
        assert row == pytest.approx(expected[f"{swap[name]}/{file}"], abs=1e-6)


def test_one_persons_data_change_no_other_persons_inputs(units, tmp_path):
    people = tmp_path / "people"
    shutil.copytree(units, people)
    for path in people.glob("*/p3-*.csv"):
        (pd.read_csv(path) * 3 + 1).to_csv(path, index=False)
    one, two = (TrainingData(load_recipe(recipe(root))) for root in (units, people))
    assert one.manifest.table["sample"].tolist() == two.manifest.table["sample"].tolist()
    changed = (one.manifest.table["subject"] == "p3").to_numpy()
    np.testing.assert_array_equal(one.sequences[~changed], two.sequences[~changed])
    assert not np.allclose(one.sequences[changed], two.sequences[changed])


def test_runs_of_all_folds_are_trained_together_unless_their_baselines_differ(units, tmp_path):
    keys = [
        TrainingData(load_recipe(recipe(units, **{"protocol.fold": fold, **more}))).baselines.key
        for more in ({}, {"data.baseline.clips": 1})
        for fold in (0, 1)
    ]
    assert keys[0] == keys[1]
    assert keys[2] != keys[3]


def test_neutral_samples_of_the_test_person_are_not_tested(units, tmp_path):
    some = trained(recipe(units, **{"data.baseline": {"kind": "neutral", "clips": 1}}), tmp_path / "one")
    names = some.predictions.sample
    assert [sum(name.startswith(f"{each}/") for name in names) for each in CLASSES] == [4, 4, 3]
    assert any("which are not tested" in note for note in some.facts["notes"])


def test_prediction_with_the_persons_own_folder_gives_what_the_test_gave(run, units, one_registry, tmp_path):
    person = run.predictions.subject[0]
    own = tmp_path / "own"
    for path in units.glob(f"*/{person}-*.csv"):
        (own / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, own / path.parent.name / path.name)
    expected = dict(zip(run.predictions.sample, run.predictions.probabilities, strict=True))
    model = ef.load(run.folder)
    faces = model(str(own), person_baseline=str(own))
    assert len(faces) == 12
    assert any("relative to own" in note for note in faces.notes)
    file = api.export(run.folder, out=tmp_path / "m.onnx")
    assert file.parity.max_stored_difference < 1e-4
    model = ef.load(tmp_path / "m.onnx")
    assert json.loads(model.model.metadata.to_properties()["evenface.format"]) == EARLIER_FORMAT, "the first refuses it"
    assert model.model.input_spec.baseline.kind == "subject-mean"
    again = model(str(own), person_baseline=str(own))
    for one, two in zip(faces.load(), again.load(), strict=True):
        name = "/".join(one["file"].split("/")[-2:])
        assert [one[f"p_{c}"] for c in CLASSES] == pytest.approx(expected[name], abs=1e-5)
        assert [two[f"p_{c}"] for c in CLASSES] == pytest.approx(expected[name], abs=1e-4)


def test_auto_is_the_mean_of_the_files_own_frames(run, units):
    path = next(units.glob("joy/p0-*.csv"))
    model = ef.load(run.folder)
    faces = model(str(path))
    values = pd.read_csv(path).to_numpy()[[1, 3, 5, 7, 9, 11], :, None].astype(np.float32)
    expected = model.model.calibrated(model.model.scores((values - values.mean(axis=0))[None]))[0]
    (row,) = faces.load()
    assert [row[f"p_{name}"] for name in CLASSES] == pytest.approx(expected, abs=1e-5)
    assert any("itself" in note for note in faces.notes)


def test_other_data_are_relative_to_their_own_persons(run, units, tmp_path):
    """People whose offset differs by a constant are the same people."""
    people = tmp_path / "people"
    shutil.copytree(units, people)
    for path in people.glob("*/p*.csv"):
        (pd.read_csv(path) + 7).to_csv(path, index=False)
    on = {"name": "moved", "data": recipe(people)["data"], "protocol": recipe(people)["protocol"]}
    other = ef.evaluate(run.folder, on=on, out=tmp_path / "on", sample_faces=False)
    assert other.predictions.probabilities == pytest.approx(run.predictions.probabilities, abs=1e-4)
    assert any("moved: person baseline subject-mean" in note for note in other.facts["notes"])


def test_explanations_are_relative_to_the_baseline(run, units, tmp_path):
    path = next(units.glob("joy/p0-*.csv"))
    shown = ef.explain(str(path), run.folder, out=tmp_path / "out", person_baseline=str(path.parent))
    assert shown.samples == 1


def test_a_baseline_file_of_other_content_is_another_setting(run, units, tmp_path):
    path, own, table = next(units.glob("joy/p0-*.csv")), tmp_path / "own.csv", tmp_path / "t.csv"
    shutil.copy(next(units.glob("neutral/p0-*.csv")), own)
    predict = partial(ef.predict, str(path), run.folder, out=table, person_baseline=str(own))
    explain = partial(ef.explain, str(path), run.folder, out=tmp_path / "out", person_baseline=str(own))
    assert (predict().cached, explain().cached) == (0, 0)
    assert (predict().cached, explain().cached) == (1, 1)
    shutil.copy(next(units.glob("fear/p0-*.csv")), own)
    with pytest.raises(InputError, match="other settings"):
        predict()
    with pytest.raises(InputError, match="other settings"):
        explain()


def test_without_a_baseline_file_tables_depend_on_the_other_settings_alone(run):
    spec = open_model(run.folder).input_spec
    left = {"batch", "person_baseline"}
    for chosen in (PredictSettings(smooth=1.5), PredictSettings(smooth=1.5, person_baseline="auto")):
        facts = settings_facts(spec, chosen)
        assert facts == {name: getattr(chosen, name) for name in PredictSettings.model_fields if name not in left}


def test_a_baseline_is_refused_where_the_model_has_none(units, tmp_path):
    plain = trained(recipe(units, **{"data.baseline": "none", "training.epochs": 1}), tmp_path / "none")
    path = next(units.glob("joy/*.csv"))
    with pytest.raises(InputError, match=r"trained with data\.baseline"):
        ef.predict(str(path), plain.folder, person_baseline="auto")


def test_a_baseline_without_a_usable_sample_is_refused(run, units, tmp_path):
    path = next(units.glob("joy/*.csv"))
    with pytest.raises(InputError, match="has no usable sample"):
        ef.predict(str(path), run.folder, person_baseline=str(tmp_path / "missing.csv"))


# ---- images


def face(person, label, take):
    """A person's own texture, and a bright band in one of three places."""
    picture = np.random.default_rng(person).integers(0, 150, (32, 32)).astype(float)
    picture[8 * label : 8 * label + 6] += 40
    picture += np.random.default_rng(100 * person + 10 * label + take).normal(0, 4, picture.shape)
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    root = tmp_path_factory.mktemp("faces") / "faces"
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for person in range(5):
            for take in range(3):
                face(person, label, take).save(root / name / f"p{person}-{take}.png")
    return root


def image_recipe(root, **changes):
    content = {
        "name": "images",
        "data": {"source": "folder", "root": str(root), "subjects": SUBJECT, "size": 32, "channels": 1},
        "protocol": {"kind": "leave-one-out", "validation": 0.0},
        "network": {"name": "compact_vgg_16_half", "temporal": {"kind": "difference"}},
        "training": {**QUICK, "epochs": 2, "precision": "32-true"},
        "augment": {"flip": 0},
    }
    baseline = {"data.baseline": {"kind": "neutral", "clips": 2}}
    return load_recipe(content, {**baseline, **changes}).model_dump(mode="json")


@pytest.fixture(scope="module")
def image_run(pictures, tmp_path_factory):
    return trained(image_recipe(pictures), tmp_path_factory.mktemp("runs") / "images")


def mean_image(paths):
    images = [np.asarray(Image.open(path), dtype=float) for path in paths]
    return np.round(np.mean(images, axis=0)).astype(np.uint8)


def test_images_are_predicted_from_the_difference_of_features(image_run, pictures):
    person = image_run.predictions.subject[0]
    tested = {str(name) for name in image_run.predictions.sample}
    neutral = [
        path for path in sorted(pictures.glob(f"neutral/{person}-*.png")) if f"neutral/{path.name}" not in tested
    ]
    assert len(neutral) == 2
    method = trained_method(image_run).eval()
    network = method.network
    assert isinstance(network, ClipNetwork)
    reference = to_float(torch.from_numpy(mean_image(neutral)[None, ..., None]))
    for name, expected in zip(image_run.predictions.sample, image_run.predictions.probabilities, strict=True):
        image = to_float(torch.from_numpy(np.array(Image.open(pictures / name))[None, ..., None]))
        with torch.inference_mode():
            features = [network.forward_backbone(one)[0] for one in (image, reference)]
            found = network.classifier(features[0] - features[1]).softmax(dim=1)[0]
        assert found.double().numpy() == pytest.approx(expected, abs=1e-5)


def test_predict_takes_the_neutral_image_of_the_person(image_run, pictures, one_registry, tmp_path):
    person = image_run.predictions.subject[0]
    tested = [name for name in image_run.predictions.sample if name.startswith("joy/")]
    used = {str(name) for name in image_run.predictions.sample}
    own = tmp_path / "own"
    own.mkdir()
    for path in pictures.glob(f"neutral/{person}-*.png"):
        if f"neutral/{path.name}" not in used:
            shutil.copy(path, own)
    expected = dict(zip(image_run.predictions.sample, image_run.predictions.probabilities, strict=True))
    file = api.export(image_run.folder, out=tmp_path / "m.onnx").path
    for model in (ef.load(image_run.folder), ef.load(file)):
        assert model.model.input_spec.shape == (2, 32, 32, 1)
        for name in tested:
            (row,) = model(str(pictures / name), faces="none", person_baseline=str(own)).load()
            assert [row[f"p_{each}"] for each in CLASSES] == pytest.approx(expected[name], abs=1e-4)


def test_a_single_image_needs_a_baseline(image_run, pictures):
    with pytest.raises(InputError) as refused:
        ef.predict(str(next(pictures.glob("joy/*.png"))), image_run.folder, faces="none")
    assert "neutral.jpg" in refused.value.hint


def test_auto_is_the_running_mean_of_a_tracked_face(image_run, pictures):
    frames = [np.asarray(Image.open(path)) for path in sorted(pictures.glob("joy/p1-*.png"))]
    model = ef.load(image_run.folder)
    found = model(iter([(number / 25, Image.fromarray(frame)) for number, frame in enumerate(frames)]), faces="none")
    for number, row in enumerate(found.load()):
        mean = np.round(np.mean(frames[: number + 1], axis=0)).astype(np.uint8)
        pair = np.stack([mean, frames[number]])[None, ..., None]
        expected = model.model.calibrated(model.model.scores(pair))[0]
        assert [row[f"p_{each}"] for each in CLASSES] == pytest.approx(expected, abs=1e-5)


def test_stored_features_and_pixels_give_the_same_run(pictures, tmp_path):
    frozen = {"network.freeze": "backbone"}
    one = trained(image_recipe(pictures, **frozen), tmp_path / "pixels")
    two = trained(image_recipe(pictures, **frozen, **{"training.cache_features": True}), tmp_path / "stored")
    for name, value in load_file(one.folder / "weights.safetensors").items():
        torch.testing.assert_close(value, load_file(two.folder / "weights.safetensors")[name], atol=1e-4, rtol=1e-3)
    assert one.predictions.probabilities == pytest.approx(two.predictions.probabilities, abs=1e-4)


def test_maps_are_of_the_image_not_of_its_baseline(image_run):
    store = Store.open(image_run.facts["store"])
    pair = np.stack([store.images[0, 0], store.images[5, 0]])[None]
    model = open_model(image_run.folder)
    (shown,) = explain_samples(model, pair, "occlusion")
    assert shown.maps.shape == (3, 8, 8)
    same = np.repeat(store.images[:1], 2, axis=1)
    changed = same.copy()
    changed[0, 1, :8] = 0
    assert model.scores(changed)[0] != pytest.approx(model.scores(same)[0], abs=1e-6)


def test_evaluation_on_own_data_predicts_the_same(image_run, tmp_path):
    again = ef.evaluate(image_run.folder, on=image_run.folder, out=tmp_path / "again", sample_faces=False)
    assert sorted(again.predictions.sample) == sorted(image_run.predictions.sample)
    expected = dict(zip(image_run.predictions.sample, image_run.predictions.probabilities, strict=True))
    for name, row in zip(again.predictions.sample, again.predictions.probabilities, strict=True):
        assert row == pytest.approx(expected[name], abs=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network.temporal.kind": "mean"}, "without a head that compares"),
        ({"data.baseline": "none"}, "data.baseline is none"),
        ({"data.baseline": {"kind": "neutral", "scale": True}}, "scale is for sequences"),
        ({"network.temporal.over": "spatial"}, "difference is over frames"),
    ],
)
def test_settings_that_do_not_suit_images_are_refused(pictures, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        trained(image_recipe(pictures, **change), tmp_path / "run")


def test_the_page_takes_a_second_file(image_run, pictures, forked_workers):
    pytest.importorskip("fastapi")
    from pages import client_of, ended, models

    joy, neutral = (next(pictures.glob(f"{name}/p1-*.png")) for name in ("joy", "neutral"))
    (row,) = ef.load(image_run.folder)(str(joy), faces="none", person_baseline=str(neutral)).load()
    with client_of([image_run.folder.parent]) as client:
        (model,) = models(client).values()
        assert model["baseline"]
        data = {"model": model["id"], "faces": "none", "explain": "true"}
        files = {"file": joy.read_bytes(), "baseline": neutral.read_bytes()}
        sent = {key: (f"{key}.png", content) for key, content in files.items()}
        job = ended(client, client.post("/api/v1/predictions?wait=20", files=sent, data=data).json())
        assert job["state"] == "done", job
        (got,) = job["prediction"]["rows"]
        assert got["probabilities"] == pytest.approx([row[f"p_{each}"] for each in CLASSES], abs=1e-5)
        assert len(job["prediction"]["explained"][0]["crops"]) == 1
        del sent["baseline"]
        job = ended(client, client.post("/api/v1/predictions?wait=20", files=sent, data=data).json())
        assert "no baseline of its own" in job["error"]["what"]
