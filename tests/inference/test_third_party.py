"""Models of other projects: their specification, stand-ins of each known form, evaluation, comparison, prediction."""

import json

import numpy as np
import onnx
import pandas as pd
import pytest
import yaml
from layouts import refused
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from typer.testing import CliRunner

import evenface as ef
from evenface.cli import app
from evenface.config.onnx_spec import CATALOGUE, catalogue, load_spec
from evenface.data.datasets import DATASETS
from evenface.inference import open_model
from evenface.inference.onnx_model import OnnxModel
from evenface.inference.third_party import ThirdPartyModel

SUBJECTS = "^(p[0-9]+)-"
SPEC = {
    "labels": ["happiness", "calm", "dread"],
    "classes": {"dread": "fear"},
    "size": 32,
    "colour": "grey",
    "crop": "none",
}


def stand_in(path, shape, outputs, *, softmax=False, inputs="input", named="output", kind=TensorProto.FLOAT, more=()):
    """Write a linear network of random weights; return them."""
    weights = np.random.default_rng(outputs).normal(size=(int(np.prod(shape[1:])), outputs)).astype(np.float32) / 100
    nodes = [
        helper.make_node("Cast", [inputs], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["cast"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["scores" if softmax else named]),
        *([helper.make_node("Softmax", ["scores"], [named], axis=1)] if softmax else []),
        *(helper.make_node("Identity", [named], [name]) for name in more),
    ]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [shape[0], outputs]) for name in (named, *more)]
    taken = [helper.make_tensor_value_info(inputs, kind, shape)]
    graph = helper.make_graph(nodes, "stand-in", taken, results, [numpy_helper.from_array(weights, "weights")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return weights


def softmax(rows):
    return np.array([[np.exp(v) / sum(np.exp(w) for w in row) for v in row] for row in rows.tolist()])


# name in the catalogue: shape of the project's file, outputs, names, and its own preprocessing of one RGB image
FORMS = {
    "opencv-mobilefacenet": ((1, 3, 112, 112), 7, "data", "label", lambda x: (x / 255 - 0.5) / 0.5),
    "ferplus": ((1, 1, 64, 64), 8, "Input3", "Plus692_Output_0", lambda x: x),
    "emotiefflib-enet-b0-8": (
        ("batch_size", 3, 224, 224),
        8,
        "input",
        "output",
        lambda x: (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
    ),
    "emotiefflib-enet-b0-8-va": (
        ("batch_size", 3, 224, 224),
        10,
        "input",
        "output",
        lambda x: (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
    ),
    "py-feat-resmasknet": ((1, 3, 224, 224), 7, "x", "y", lambda x: np.repeat(x, 3, axis=-1) / 255),
}


def test_every_specification_of_the_catalogue_has_a_stand_in():
    assert set(FORMS) == {name for name, entry in catalogue().items() if entry.spec}


@pytest.mark.parametrize("name", FORMS)
def test_a_stand_in_of_each_known_form_gives_the_probabilities_of_its_own_code(name, tmp_path):
    shape, outputs, inputs, named, preprocess = FORMS[name]
    weights = stand_in(tmp_path / "model.onnx", shape, outputs, inputs=inputs, named=named)
    model = open_model(tmp_path / "model.onnx", spec=name)
    spec = catalogue()[name].spec
    images = np.random.default_rng(0).integers(0, 256, (3, 1, *model.input_spec.shape[1:]), dtype=np.uint8)
    flat = np.stack([preprocess(image[0].astype(float)).transpose(2, 0, 1).ravel() for image in images])
    kept = [index for index, label in enumerate(spec.labels) if label is not None]
    np.testing.assert_allclose(model.probabilities(images), softmax((flat @ weights)[:, kept]), rtol=1e-3, atol=1e-6)
    assert model.classes == tuple(spec.labels[index] for index in kept)
    assert model.input_spec.faces.crop == "face"


def test_the_catalogue_states_digest_licence_and_data():
    assert next(iter(catalogue())) == "evenface-synthetic"
    for name, entry in catalogue().items():
        assert all((entry.licence, entry.training_data, entry.terms)), name
        assert set(entry.spec.trained_on if entry.spec else ()) <= set(DATASETS)
        if entry.download:
            assert entry.download.address.startswith("https://")
    zoo = catalogue()["opencv-mobilefacenet"].download
    assert zoo.size == 4_791_892
    assert zoo.sha256 == "4f61307602fc089ce20488a31d4e4614e3c9753a7d6c41578c854858b183e1a9"
    assert set(yaml.safe_load(CATALOGUE.read_text())) == set(catalogue())


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("colour", ["rgb", "bgr", "grey", "grey3"])
@pytest.mark.parametrize("output", ["logits", "probabilities", None])
def test_colour_layout_and_normalisation_are_those_of_a_naive_loop(tmp_path, colour, layout, output):
    channels = 1 if colour == "grey" else 3
    shape = ("N", channels, 32, 32) if layout == "NCHW" else ("N", 32, 32, channels)
    weights = stand_in(tmp_path / "m.onnx", shape, 2, softmax=output != "logits")
    mean, std = [0.1, 0.2, 0.3][:channels], [0.5, 0.6, 0.7][:channels]
    spec = {
        "labels": ["a", "b"],
        "size": 32,
        "colour": colour,
        "layout": layout,
        "mean": mean,
        "std": std,
        "crop": "none",
    }
    model = ThirdPartyModel(tmp_path / "m.onnx", load_spec({**spec, "output": output}))
    stored = np.random.default_rng(1).integers(0, 256, (2, 1, 32, 32, model.input_spec.channels), dtype=np.uint8)
    rows = []
    for image in stored[:, 0]:
        values = []
        for c in range(channels):
            source = {"bgr": 2 - c, "grey3": 0}.get(colour, c)
            values.append((image[:, :, source] / 255 - mean[c]) / std[c])
        array = np.stack(values) if layout == "NCHW" else np.stack(values, axis=-1)
        rows.append(array.ravel() @ weights)
    np.testing.assert_allclose(model.probabilities(stored), softmax(np.array(rows)), rtol=1e-4)


def test_labels_of_one_class_are_added_and_outputs_without_label_are_left_out(tmp_path):
    weights = stand_in(tmp_path / "m.onnx", ("N", 1, 32, 32), 4)
    spec = {"labels": ["glad", None, "joyful", "sad"], "classes": {"glad": "happy", "joyful": "happy"}}
    model = ThirdPartyModel(tmp_path / "m.onnx", load_spec({**spec, "size": 32, "colour": "grey"}))
    image = np.random.default_rng(0).integers(0, 256, (1, 1, 32, 32, 1), dtype=np.uint8)
    a, b, c = softmax((image.reshape(1, -1) / 255 @ weights)[:, [0, 2, 3]])[0]
    assert model.classes == ("happy", "sad")
    assert model.probabilities(image)[0] == pytest.approx([a + b, c], rel=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": ["a"]}, "labels"),
        ({"labels": ["a", "a"]}, "each label must be unique"),
        ({"classes": {"sad": "x"}}, "there is no label sad"),
        ({"classes": {"calm": "x", "dread": "x", "happiness": "x"}}, "at least two classes"),
        ({"mean": [0.1, 0.2, 0.3]}, "mean must have 1 or 1 values"),
        ({"std": [0.0]}, "std must be greater than 0"),
        ({"color": "grey"}, "Did you mean colour?"),
    ],
)
def test_wrong_specifications_are_refused(change, words):
    with refused(words):
        load_spec({**SPEC, **change})
    with refused("there is no specification 'ferpluss'\n  Did you mean ferplus?"):
        load_spec("ferpluss")
    with refused("there is no specification gone.yaml"):
        load_spec("gone.yaml")


def test_files_of_another_form_than_specified_are_refused(tmp_path):
    path = tmp_path / "m.onnx"
    stand_in(path, ("N", 3, 32, 32), 3)
    with refused("takes an input of shape (?, 3, 32, 32); the specification states NCHW with 1 channels and 32 pixels"):
        ThirdPartyModel(path, load_spec(SPEC))
    rgb = {**SPEC, "colour": "rgb"}
    with refused("has 3 outputs; the specification has 4 labels"):
        ThirdPartyModel(path, load_spec({**rgb, "labels": ["happiness", "calm", "dread", None]}))
    images = np.zeros((1, 1, 32, 32, 3), np.uint8) + np.arange(3, dtype=np.uint8)
    with refused("returns values that are no probabilities\n  Set output: logits."):
        ThirdPartyModel(path, load_spec({**rgb, "output": "probabilities"})).forward(images)
    stand_in(path, ("N", 3, 32, 32), 3, more=("valence",))
    with refused("has 2 outputs, output, valence; the specification names no output"):
        ThirdPartyModel(path, load_spec(rgb))
    assert ThirdPartyModel(path, load_spec({**rgb, "output_name": "output"})).forward(images).shape == (1, 3)
    with refused("was not written by evenface"):
        OnnxModel(path)
    path.write_bytes(b"no network")
    with refused("is no ONNX file"):
        OnnxModel(path)
    with refused("is no ONNX file"):
        ThirdPartyModel(path, load_spec(rgb))


def test_integer_pixels_are_passed_as_they_are(tmp_path):
    weights = stand_in(tmp_path / "m.onnx", ("N", 32, 32, 1), 3, kind=TensorProto.UINT8)
    model = ThirdPartyModel(tmp_path / "m.onnx", load_spec({**SPEC, "layout": "NHWC", "scale": 255}))
    image = np.random.default_rng(0).integers(0, 256, (2, 1, 32, 32, 1), dtype=np.uint8)
    expected = softmax(image.reshape(2, -1).astype(float) @ weights)
    np.testing.assert_allclose(model.probabilities(image), expected, rtol=1e-3)


# ---- evaluation


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A model of another project and its specification."""
    folder = tmp_path_factory.mktemp("other")
    stand_in(folder / "other.onnx", ("N", 1, 32, 32), 3)
    (folder / "spec.yaml").write_text(yaml.safe_dump(SPEC))
    return folder / "other.onnx", folder / "spec.yaml"


@pytest.fixture(scope="module")
def own(people_folder, tmp_path_factory):
    """A run that was trained on a folder."""
    settings = {"training.epochs": 1, "data.size": 32, "data.subjects": SUBJECTS, "network.name": "compact_vgg_16"}
    folder = tmp_path_factory.mktemp("own") / "own"
    return ef.train_folder(people_folder, method="erm", out=folder, sample_faces=False, **settings).run


def test_a_model_is_evaluated_on_own_data_and_compared_with_a_run(other, own, people_folder, tmp_path):
    model, spec = other
    subjects = {"data.subjects": SUBJECTS}
    got = ef.evaluate(model=model, spec=spec, data=people_folder, out=tmp_path / "other", **subjects)
    assert got.predictions.sample.tolist() == own.predictions.sample.tolist()  # the same test set, by people
    assert got.predictions.classes == own.predictions.classes == ("calm", "fear", "happy")
    assert got.facts["map"] == {"calm": "calm", "fear": "fear", "happy": "happiness"}
    assert got.metrics["unit"] == "people"
    opened = open_model(model, spec=spec)
    for sample, row in zip(got.predictions.sample, got.predictions.probabilities, strict=True):
        image = np.asarray(Image.open(people_folder / sample).convert("L").resize((32, 32), Image.Resampling.BICUBIC))
        happy, calm, fear = opened.probabilities(image.reshape(1, 1, 32, 32, 1))[0]
        assert row == pytest.approx([calm, fear, happy], abs=1e-4)
    notes = "\n".join(got.facts["notes"])
    assert "overlap with the training data of other was not checked" in notes
    card = (got.folder / "model-card.md").read_text()
    assert "Its training samples are unknown to evenface." in card
    assert "Licence unknown to evenface. Trained on: unknown to evenface." in card
    page = (got.folder / "report.html").read_text()
    assert "other on " in page
    pair = ef.evaluate(own.folder, data=people_folder, out=tmp_path / "own-again", sample_faces=False, **subjects)
    assert pair.predictions.sample.tolist() == got.predictions.sample.tolist()
    assert ef.evaluate(got.folder).metrics == got.metrics


def test_the_comparison_names_model_and_run(other, own, people_folder, tmp_path):
    model, spec = other
    subjects = {"data.subjects": SUBJECTS}
    got = ef.evaluate(model=model, spec=spec, data=people_folder, out=tmp_path / "other", **subjects)
    again = ef.evaluate(model=model, spec=spec, data=people_folder, out=tmp_path / "other", **subjects)
    assert again.folder == got.folder
    result = ef.compare([own.folder, got.folder], out=tmp_path / "c", sample_faces=False)
    assert "own" in result.lines[-2]
    assert "other" in result.lines[-2]
    facts = json.loads((got.folder / "run.json").read_text())
    assert facts["model"]["spec"]["labels"] == SPEC["labels"]
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump({**SPEC, "scale": 255}))
    with refused("holds another run or evaluation, with other weights"):
        ef.evaluate(model=model, spec=tmp_path / "spec.yaml", data=people_folder, out=tmp_path / "other", **subjects)


def test_a_test_on_data_that_the_model_was_trained_on_is_marked(other, people_folder, tmp_path):
    model, _ = other
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump({**SPEC, "trained_on": ["folder"]}))
    got = ef.evaluate(
        model=model,
        spec=tmp_path / "spec.yaml",
        data=people_folder,
        all_samples=True,
        out=tmp_path / "x",
        sample_faces=False,
    )
    assert any(note.startswith("WARNING: other was trained on folder") for note in got.facts["notes"])
    assert len(got.predictions) == len(list(people_folder.rglob("*.png")))


def test_faces_are_detected_only_where_images_are_no_crops(other, tmp_path):
    model, rng = other[0], np.random.default_rng(0)
    for side in ("train", "test"):
        for name in ("calm", "fear"):
            (tmp_path / "faces" / side / name).mkdir(parents=True)
            for number in range(2):
                pixels = rng.integers(0, 256, (40, 40), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "faces" / side / name / f"{side}{number}.png")
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump({**SPEC, "crop": "face", "margin": 0.1, "shift": 0.2}))
    options = {"model": model, "spec": tmp_path / "spec.yaml", "sample_faces": False}
    got = ef.evaluate(data=tmp_path / "faces", out=tmp_path / "x", **options)
    assert got.facts["on"]["data"]["faces"]["crop"] == "none"
    named = ef.evaluate(on="folder", out=tmp_path / "y", **options, **{"data.root": str(tmp_path / "faces")})
    assert named.predictions.sample.tolist() == got.predictions.sample.tolist()
    with refused("none of 4 samples is usable"):  # no face in noise
        ef.evaluate(
            on="folder",
            out=tmp_path / "z",
            **options,
            **{"data.root": str(tmp_path / "faces"), "data.faces.crop": "face"},
        )
    assert not (tmp_path / "z").exists()


def test_arguments_that_do_not_fit_are_refused(other, own, people_folder):
    model, spec = other
    with refused("name either a run or a model"):
        ef.evaluate()
    with refused("name either a run or a model"):
        ef.evaluate(own.folder, model=model)
    with refused("both a dataset and own data"):
        ef.evaluate(own.folder, on="folder", data=people_folder)
    with refused("a specification is for a model"):
        ef.evaluate(own.folder, spec=spec, data=people_folder)
    with refused("model needs the other dataset"):
        ef.evaluate(model=model, spec=spec)
    with refused("data.size cannot be 64: the model's network takes 32"):
        ef.evaluate(model=model, spec=spec, data=people_folder, **{"data.size": 64})
    with refused("the model ferplus is not on this machine\n  Download it: evenface models get ferplus"):
        ef.evaluate(model="ferplus", data=people_folder)


def test_an_exported_file_is_evaluated_as_its_run(own, people_folder, one_registry, tmp_path):
    file = ef.export(own.folder, out=tmp_path / "exported.onnx").path
    subjects = {"data.subjects": SUBJECTS}
    got = ef.evaluate(model=file, data=people_folder, out=tmp_path / "x", sample_faces=False, **subjects)
    np.testing.assert_allclose(got.predictions.probabilities, own.predictions.probabilities, atol=1e-4)


def test_the_command_line(other, people_folder, tmp_path):
    words = [
        "evaluate",
        f"data.subjects={SUBJECTS}",
        "--model",
        other[0],
        "--spec",
        other[1],
        "--data",
        people_folder,
    ]
    result = CliRunner().invoke(app, [*map(str, words), "--out", str(tmp_path / "x"), "--no-sample-faces"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("balanced accuracy")
    assert f"next    evenface predict photo.jpg --model {other[0]} --spec {other[1]}" in result.stdout
    listed = CliRunner().invoke(app, ["models"])
    assert listed.exit_code == 0
    for name, entry in catalogue().items():
        assert f"{name} " in listed.stdout
        if entry.download:
            assert entry.download.sha256 in listed.stdout


def test_a_model_of_another_project_predicts_images(other, people_folder, tmp_path):
    model, spec = other
    image = next(people_folder.rglob("*.png"))
    opened = open_model(model, spec=spec)
    words = ["predict", image, "--model", model, "--spec", spec, "--csv", tmp_path / "p.csv"]
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == 0, result.output
    row = pd.read_csv(tmp_path / "p.csv").iloc[0]
    pixels = np.asarray(Image.open(image).convert("L").resize((32, 32), Image.Resampling.BICUBIC))
    expected = opened.probabilities(pixels.reshape(1, 1, 32, 32, 1))[0]
    assert row["label"] == opened.classes[expected.argmax()]
