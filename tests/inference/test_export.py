"""Export to ONNX: same predictions as the run, without torch; errors for files and settings that are invalid."""

import copy
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from typer.testing import CliRunner

import evenface as ef
from evenface import api
from evenface.cli import app
from evenface.config import load_recipe
from evenface.inference import export, open_model
from evenface.inference.export import latencies
from evenface.inference.onnx_model import DIGEST_LENGTH, HEADER, OnnxModel, with_digest
from evenface.preprocessing.store import Store
from evenface.runs import Run
from evenface.utils.errors import InputError

BLOCKED = ("torch", "torchvision", "timm", "lightning_fabric", "safetensors", "sklearn", "statsmodels", "onnx")


@pytest.fixture(scope="module")
def run(small_recipe, tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "small"
    return ef.train(small_recipe, out=folder, sample_faces=False, **{"training.tta_flip": True, "training.epochs": 5})


@pytest.fixture(autouse=True)
def short_latency_test(monkeypatch):
    monkeypatch.setattr(export, "latencies", partial(latencies, seconds=0.01))


@pytest.fixture(scope="module")
def exported(run, one_registry, tmp_path_factory):
    return api.export(run.folder, out=tmp_path_factory.mktemp("exported") / "small.onnx")


@pytest.fixture(scope="module")
def traced(exported):
    """The run's graph."""
    return onnx.load(exported.path)


def stored(run, side="test"):
    store, table = Store.open(run.facts["store"]), pd.read_parquet(run.folder / "split.parquet")
    table = table[table["side"] == side]
    return table, store.images[table["row"].to_numpy()]


def test_the_file_predicts_as_the_run_and_holds_its_metadata(run, exported):
    file, model = open_model(exported.path), open_model(run.folder)
    table, images = stored(run)
    stored_p = dict(zip(run.predictions.sample, run.predictions.probabilities, strict=True))
    np.testing.assert_allclose(file.probabilities(images), [stored_p[name] for name in table["sample"]], atol=1e-5)
    for name in ("name", "key", "classes", "ordered", "one_vs_rest", "input_spec", "card"):
        assert getattr(file, name) == getattr(model, name), name
    np.testing.assert_array_equal(file.prior, model.prior)
    assert file.calibration.as_dict() == model.calibration.as_dict()
    assert file.metadata.recipe["network"]["name"] == "compact_vgg_16_half"
    assert file.metadata.precision == "float32"
    parity = exported.parity
    assert parity.samples == len(run.predictions) + len(stored(run, "validation")[0])
    assert parity.same_class == parity.samples
    assert max(parity.max_difference, parity.max_stored_difference) < 1e-5
    assert exported.sizes["file"] == exported.path.stat().st_size
    assert f"file    {exported.path}" in exported.lines


def test_the_file_contains_no_path_of_this_machine(run, exported, people_folder):
    content = exported.path.read_bytes()
    for word in (str(people_folder), str(Path(ef.__file__).parent), "site-packages", run.facts["store"]):
        assert word.encode() not in content, word


def test_the_shared_recipe_contains_no_path_of_this_machine(tmp_path):
    table, plugin = tmp_path / "table.csv", tmp_path / "mine.py"
    recipe = load_recipe(
        {
            "name": "x",
            "data": {"source": "csv", "root": str(tmp_path), "table": str(table), "columns": {"path": "sub/file"}},
            "plugins": [str(plugin)],
            "network": {"weights": "~/weights.safetensors"},
        }
    )
    shared = export.shared_recipe(recipe)
    assert str(tmp_path) not in json.dumps(shared)
    assert (shared["data"]["root"], shared["data"]["table"], shared["plugins"]) == (None, "table.csv", ["mine.py"])
    assert shared["network"]["weights"] == "weights.safetensors"
    assert shared["data"]["columns"] == {"path": "sub/file"}


WITHOUT = """
import sys


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ImportError(f"{{name}} is blocked")
sys.meta_path.insert(0, Blocker())
from evenface.cli import main
main()
"""


def without_torch(*words):
    code = WITHOUT.format(blocked=set(BLOCKED))
    return subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, timeout=60)


def test_prediction_needs_no_torch(run, exported, people_folder, tmp_path):
    pictures = sorted(people_folder.rglob("p0[0-3]-0.png"))
    found = without_torch("predict", *pictures, "--model", exported.path, "--csv", tmp_path / "without.csv")
    assert found.returncode == 0, found.stderr
    api.predict(pictures, run.folder, out=tmp_path / "with.csv")
    one, other = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("without", "with"))
    pd.testing.assert_frame_equal(one.drop(columns="model"), other.drop(columns="model"), atol=1e-5)
    refused = without_torch("predict", pictures[0], "--model", run.folder)
    assert refused.returncode != 0, "torch was not blocked"


def test_a_file_that_differs_is_not_written(run, traced, tmp_path, monkeypatch):
    another = copy.deepcopy(traced)
    (weight,) = (one for one in another.graph.initializer if "classifier.weight" in one.name)
    weight.CopyFrom(onnx.numpy_helper.from_array(1.02 * onnx.numpy_helper.to_array(weight), weight.name))
    monkeypatch.setattr(export, "onnx_graph", lambda _: another)
    out = tmp_path / "small.onnx"
    with pytest.raises(InputError, match=r"differs from the run by .* it was not written"):
        api.export(run.folder, out=out)
    assert not list(tmp_path.iterdir())
    assert api.export(run.folder, out=out, tolerance=0.5).parity.max_difference > 1e-4


def test_int8_costs_what_is_reported_and_at_most_the_limit(run, exported, traced, tmp_path, monkeypatch):
    from sklearn.metrics import accuracy_score, balanced_accuracy_score

    monkeypatch.setattr(export, "onnx_graph", lambda _: copy.deepcopy(traced))
    out = tmp_path / "small.onnx"
    made = api.export(run.folder, out=out, int8=True, max_accuracy_loss=1)
    table, images = stored(run, "validation")
    small, whole = (OnnxModel(path) for path in (out, exported.path))
    assert small.metadata.precision == "int8"
    assert small.key != whole.key == small.metadata.key
    assert made.quantised == "static"
    assert "QuantizeLinear" in {node.op_type for node in onnx.load(out).graph.node}
    stored_8 = [one for one in onnx.load(out).graph.initializer if one.data_type == onnx.TensorProto.INT8]
    weights = [onnx.numpy_helper.to_array(one) for one in stored_8 if len(one.dims) == 4]
    assert weights
    assert max(np.abs(one.astype(int)).max() for one in weights) <= 64, "two products with 255 would exceed 16 bits"
    first, second = (model.probabilities(images).argmax(axis=1) for model in (whole, small))
    for name, score in (("balanced_accuracy", balanced_accuracy_score), ("accuracy", accuracy_score)):
        expected = score(table["label"], second) - score(table["label"], first)
        assert made.cost.pair.overall[name].value == pytest.approx(expected)
    assert np.abs(small.probabilities(images) - whole.probabilities(images)).max() < 0.2
    assert len(np.unique(small.probabilities(images))) > 100, "the probabilities themselves were quantised"

    broken = copy.deepcopy(traced)
    for one in broken.graph.initializer:
        if "classifier" in one.name:
            one.raw_data = bytes(len(one.raw_data))
    monkeypatch.setattr(export, "quantise", lambda *_: (broken, "static"))
    before = out.read_bytes()
    result = CliRunner().invoke(app, ["export", str(run.folder), "--int8", "--out", str(out)])
    assert result.exit_code == 2
    assert "of balanced accuracy on validation data, more than 0.01" in result.output
    assert out.read_bytes() == before


def test_ctrl_c_leaves_nothing(run, traced, tmp_path, monkeypatch):
    def pressed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "onnx_graph", lambda _: copy.deepcopy(traced))
    monkeypatch.setattr(export, "latencies", pressed)
    monkeypatch.setattr(export.tempfile, "tempdir", str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        api.export(run.folder, out=tmp_path / "small.onnx")
    assert not list(tmp_path.iterdir())


def changed(content, **words):
    model = onnx.load_from_string(content[len(HEADER) + DIGEST_LENGTH :])
    props = {one.key: one.value for one in model.metadata_props}
    props |= {f"evenface.{name}": value for name, value in words.items() if value is not None}
    props = {name: value for name, value in props.items() if words.get(name.removeprefix("evenface."), "") is not None}
    onnx.helper.set_model_props(model, props)
    return with_digest(model.SerializeToString())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-7], "damaged or truncated"),
        (lambda content: content[:20], "is no ONNX file"),
        (lambda content: content[:5000] + b"\x00\xff" + content[5002:], "damaged or truncated"),
        (
            lambda content: content[len(HEADER) + DIGEST_LENGTH :],
            "not written by evenface, or was changed",
        ),
        (lambda _: b"", "is no ONNX file"),
        (lambda _: with_digest(b"no protocol buffer"), "is no ONNX file"),
        (lambda content: changed(content, format="99", version='"9.9"'), "exported by evenface 9.9; .* too old"),
        (lambda content: changed(content, form=None), "missing or invalid metadata"),
        (lambda content: changed(content, form='{"kind": "stills"}'), "missing or invalid metadata"),
        (lambda content: changed(content, classes="nothing"), "missing or invalid metadata"),
        (lambda content: changed(content, prior="[1.0]"), "3 classes and a class prior of shape"),
    ],
)
def test_an_invalid_file_is_refused_with_its_reason(exported, tmp_path, damage, message):
    path = tmp_path / "damaged.onnx"
    path.write_bytes(damage(exported.path.read_bytes()))
    with pytest.raises(InputError, match=message) as raised:
        open_model(path)
    assert "\n" not in raised.value.message


def test_invalid_settings_are_refused_before_anything_is_done(run, tmp_path):
    for settings, message in (
        ({"tolerance": 0}, "tolerance must be above 0"),
        ({"out": tmp_path / "a.txt"}, "must end in .onnx"),
        ({"out": tmp_path / "a.pt2"}, "must end in .onnx"),
        ({"out": tmp_path}, "is a directory; expected a file"),
    ):
        with pytest.raises(InputError, match=message):
            api.export(run.folder, **settings)
    with pytest.raises(InputError, match="cannot be read"):
        OnnxModel(tmp_path / "missing.onnx")
