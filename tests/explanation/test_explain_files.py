"""Explanations of files: faithfulness against random orders, resumed folders, tables and drawings."""

import json
import subprocess
import sys
from functools import partial

import numpy as np
import pandas as pd
import pytest
from function_models import FunctionModel, pictures, stills
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

import evenface as ef
from evenface import api
from evenface.cli import app
from evenface.config.predict import PredictSettings
from evenface.explanation import Explanation, explain_samples, results
from evenface.explanation.explain import class_peaks
from evenface.explanation.faithfulness import (
    FRACTIONS,
    Curves,
    FramePerturbation,
    PointPerturbation,
    RegionPerturbation,
    area,
    deletion_insertion,
    faithfulness,
)
from evenface.inference import open_model
from evenface.inference.input_spec import InputSpec
from evenface.inference.pipeline import prepare_samples
from evenface.inference.sources import Source
from evenface.reporting.saliency import SaliencyFigure
from evenface.utils.errors import InputError


def test_parts_are_deleted_in_order_and_by_fraction():
    sample = pictures(1, size=16)[0]
    values = np.random.default_rng(0).random((1, 16, 16))
    ranks = (-values).ravel().argsort().argsort().reshape(16, 16)
    for share, one in zip(FRACTIONS, RegionPerturbation(sample, np.zeros_like(sample)).deleted(values), strict=True):
        np.testing.assert_array_equal(one[0, :, :, 0], np.where(ranks < round(share * 256), 0, sample[0, :, :, 0]))
    frames = np.arange(5.0)[:, None]
    (first, *_, last) = FramePerturbation(frames).deleted(np.array([0.0, 3.0, 1.0, 4.0, 2.0]))
    assert (first.ravel().tolist(), last.ravel().tolist()) == ([0, 1, 2, 3, 4], [0] * 5)
    points = np.ones((2, 10, 1))
    gone = [int((one == 0).sum()) // 2 for one in PointPerturbation(points, 0 * points).deleted(np.arange(10.0))]
    assert gone == list(range(11))


@given(st.lists(st.floats(0, 1), min_size=11, max_size=11))
def test_areas_are_those_of_the_trapezoidal_rule(values):
    assert area(np.array(values)) == pytest.approx(np.trapezoid(values, FRACTIONS))
    curves = Curves("places", np.array(values), np.ones(11), np.array([values, values]))
    np.testing.assert_allclose(curves.areas, [area(np.array(values)), 1, area(np.array(values))])


def square_model():
    """Return a model of the brightness of the upper left quarter."""

    def probabilities(batch):
        p = 0.05 + 0.9 * batch[:, 0, :8, :8, 0].mean(axis=(1, 2)) / 255
        return np.stack([p, 1 - p], axis=1)

    return FunctionModel(stills(16), probabilities, ("light", "dark"))


def faithfulness_of(heat, count=12):
    """Compute the faithfulness of the maps ``heat(seed)`` on images with a bright quarter."""
    areas = []
    for seed in range(count):
        sample = np.zeros((1, 16, 16, 1), np.uint8)
        sample[0, :8, :8] = np.random.default_rng(seed).integers(150, 256, (8, 8, 1))
        maps = np.stack([heat(seed), heat(seed)]).astype(np.float32)
        one = Explanation("map", "gradcam", np.array([0.9, 0.1]), maps)
        (found,) = deletion_insertion(square_model(), sample, one, 0, seed=seed, baseline="mean")
        assert found.deletion[0] == found.insertion[-1] == pytest.approx(found.random[0, 0])
        assert found.deletion[-1] == found.insertion[0]
        areas.append(found.areas)
    return faithfulness("places", np.stack(areas), [str(i) for i in range(count)])


def test_the_true_map_is_better_than_random_a_random_one_is_not_and_the_opposite_is_worse():
    true = np.zeros((4, 4))
    true[:2, :2] = 1
    oracle = faithfulness_of(lambda _: true)
    assert min(oracle.deletion_gain.low, oracle.insertion_gain.low) > 0.05
    assert "more than random ones" in oracle.line()
    chance = faithfulness_of(lambda seed: np.random.default_rng(1000 + seed).random((4, 4)))
    assert chance.deletion_gain.low < 0 < chance.deletion_gain.high
    assert "do not rely" in chance.verdict
    opposite = faithfulness_of(lambda _: 1 - true)
    assert opposite.deletion_gain.high < 0
    assert "LESS" in opposite.verdict


def test_explanations_of_planted_frames_and_points_are_faithful():
    def probabilities(batch):
        p = 1 / (1 + np.exp(-4 * batch[:, 3, 1, 0]))
        return np.stack([p, 1 - p], axis=1)

    model = FunctionModel(InputSpec("sequences", 1, 1, 6, points="features"), probabilities, ("a", "b"))
    areas = {"frames": [], "points": []}
    for seed in range(10):
        sample = np.random.default_rng(seed).normal(0, 0.1, (6, 4, 1)).astype(np.float32)
        sample[3, 1] = 1
        (found,) = explain_samples(model, sample[None])
        for one in deletion_insertion(model, sample, found, 0, seed=seed):
            areas[one.what].append(one.areas)
    for what, values in areas.items():
        found = faithfulness(what, np.stack(values), list(map(str, range(10))))
        assert found.deletion_gain.low > 0
        assert found.insertion_gain.low > 0


def test_the_same_seed_gives_the_same_random_orders():
    sample = pictures(1, size=16)[0]
    one = Explanation("map", "gradcam", np.ones(2) / 2, np.random.default_rng(0).random((2, 4, 4)).astype(np.float32))
    first, again, other = (
        deletion_insertion(square_model(), sample, one, 0, seed=seed)[0].random for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_samples_of_one_file_are_not_independent():
    areas = np.tile([0.2, 0.6, 0.4], (20, 1)) + np.random.default_rng(0).normal(0, 0.05, (20, 3))
    assert np.isnan(faithfulness("places", areas, ["a"] * 20).deletion_gain.low)
    assert "one file is too few" in faithfulness("places", areas, ["a"] * 20).verdict
    assert faithfulness("places", areas, list(map(str, range(20)))).deletion_gain.low > 0
    five, six = (faithfulness("places", areas[:count], list("abcdef"[:count])).verdict for count in (5, 6))
    assert five == "image regions: 5 files are too few for a conclusion"
    assert six == "salient image regions affect the prediction more than random ones"


@given(st.integers(1, 12), st.integers(1, 30), st.integers(2, 5), st.integers(0, 50))
def test_samples_are_selected_where_each_class_is_most_probable(most, count, classes, seed):
    shares = np.random.default_rng(seed).dirichlet(np.ones(classes), count)
    chosen = class_peaks(shares, most)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(most, count)
    if most >= classes:
        assert set(shares.argmax(axis=0)) <= set(chosen)
    else:
        assert int(shares.max(axis=1).argmax()) in chosen


@pytest.mark.parametrize(
    ("kind", "shape", "names"),
    [
        ("map", (1, 20, 20, 1), ()),
        ("map", (1, 20, 20, 3), ()),
        ("frames", (5, 20, 20, 3), ()),
        ("points", (4, 68, 2), ()),
        ("points", (1, 468, 3), ()),
        ("points", (3, 80, 1), ("AU01_r", "AU02_r")),
    ],
)
def test_everything_can_be_drawn(kind, shape, names):
    random, clip = np.random.default_rng(0), kind == "frames"
    maps = None if kind == "points" else random.random((2, shape[0], 3, 3) if clip else (2, 3, 3)).astype(np.float32)
    frames = random.normal(size=(2, shape[0])) if kind != "map" else None
    points = random.normal(size=(2, shape[1])) if kind == "points" else None
    sample = random.random(shape) if kind == "points" else random.integers(0, 256, shape, dtype=np.uint8)
    classes = ("a very long name of a class indeed", "b")
    figure = SaliencyFigure("one", classes, (0, 1), np.array([0.3, 0.7]), 0, names, maps, frames, points)
    image = figure.draw(sample)
    assert image.mode == "RGB"
    assert np.ptp(np.asarray(image)) > 100
    assert figure.title(0).endswith("0.30 · true")
    assert figure.title(1) == "b 0.70 · predicted"


@pytest.fixture(scope="module")
def run(small_recipe, tmp_path_factory):
    return ef.train(small_recipe, out=tmp_path_factory.mktemp("explained") / "run", sample_faces=False)


@pytest.mark.usefixtures("real_figures")
def test_files_are_explained_into_a_folder_and_not_twice(run, people_folder, tmp_path):
    given = sorted((people_folder / "fear").iterdir())[:3] + sorted((people_folder / "calm").iterdir())[:2]
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    out = tmp_path / "out"
    found = api.explain([*given[:3], bad], run.folder, out=out, random_orders=2)
    assert (found.files, found.cached, found.samples, len(found.skipped)) == (3, 0, 3, 1)
    assert [line for line in found.lines() if line.startswith("skipped")] == [f"skipped  {found.skipped[0]}"]
    kept = {path.name: path.stat().st_mtime_ns for path in (out / "pictures").iterdir()}
    again = api.explain(given, run.folder, out=out, random_orders=2)
    assert (again.files, again.cached) == (5, 3)
    assert all((out / "pictures" / name).stat().st_mtime_ns == moment for name, moment in kept.items())
    assert not list(out.rglob(".*")), "temporary files are left"
    table = pd.read_csv(out / "explanations.csv")
    model = open_model(run.folder)
    assert len(table) == 5 * len(model.classes)
    arrays = np.stack(
        [next(prepare_samples(Source(str(p), "picture"), model.input_spec, PredictSettings())).array for p in given]
    )
    shares = model.calibrated(model.scores(arrays))
    np.testing.assert_allclose(table["probability"].to_numpy().reshape(5, -1), shares, atol=1e-6)
    assert table.loc[table["predicted"], "class"].tolist() == [model.classes[i] for i in shares.argmax(axis=1)]
    assert table.loc[table["true"], "class"].tolist() == ["fear"] * 3 + ["calm"] * 2
    values = pd.read_csv(out / "importance.csv")
    maps = np.stack([one.maps for one in explain_samples(model, arrays)])
    np.testing.assert_allclose(values["value"].to_numpy().reshape(maps.shape), maps, atol=1e-5)
    text = (out / "index.html").read_text("utf-8")
    assert "http" not in text.replace("http://www.w3.org", "")
    assert all(str(path) in text for path in given)
    with pytest.raises(InputError, match="other settings"):
        api.explain(given, run.folder, out=out, random_orders=3)
    assert not any("earlier calls" in note for note in again.notes)
    fewer = api.explain(given[:2], run.folder, out=out, random_orders=2)
    assert any("3 other files from earlier calls" in note for note in fewer.notes)
    assert "3 other files from earlier calls" in (out / "index.html").read_text("utf-8")
    assert pd.read_csv(out / "explanations.csv")["file"].nunique() == 2
    assert len(list((out / "pictures").iterdir())) == 5


def test_damaged_records_and_missing_images_are_written_again(run, people_folder, tmp_path):
    given, out = sorted((people_folder / "happy").iterdir())[:2], tmp_path / "out"
    api.explain(given, run.folder, out=out, check=False)
    first, second = sorted((out / "parts").iterdir())
    whole = first.read_text("utf-8")
    first.write_text(whole[:100])
    (out / json.loads(second.read_text("utf-8"))["picture"]).unlink()
    found = api.explain(given, run.folder, out=out, check=False)
    assert (found.cached, found.checks) == (0, [])
    assert first.read_text("utf-8") == whole


def test_records_of_another_format_are_not_read(run, people_folder, tmp_path, monkeypatch):
    explain = partial(api.explain, next(people_folder.glob("happy/*")), run.folder, out=tmp_path / "out", check=False)
    explain()
    monkeypatch.setattr(results, "RECORD_FORMAT", 1)
    with pytest.raises(InputError, match="of another model or version"):
        explain()


def test_a_file_replaced_under_its_name_is_explained_again(run, people_folder, tmp_path):
    file, out = tmp_path / "face.png", tmp_path / "out"
    shares = {}
    for label in ("happy", "happy", "fear"):
        file.write_bytes((people_folder / label / "p00-0.png").read_bytes())
        found = api.explain(file, run.folder, out=out, check=False)
        known = label in shares
        assert found.cached == known
        shares[label] = pd.read_csv(out / "explanations.csv")["probability"].to_numpy()
    assert not np.allclose(shares["happy"], shares["fear"])


def test_the_command_prints_a_summary_and_errors(run, people_folder, tmp_path):
    picture = str(next((people_folder / "calm").iterdir()))
    options = ["explain", picture, "--model", str(run.folder), "--out", str(tmp_path / "o"), "--method", "occlusion"]
    result = CliRunner().invoke(app, [*options, "--class", "calm", "--no-check"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("1 sample explained by occlusion, from 1 file")
    with pytest.raises(InputError, match="no class 'joy'"):
        api.explain([picture], run.folder, out=tmp_path / "p", classes=["joy"])
    with pytest.raises(InputError, match="no input could be explained"):
        api.explain([tmp_path / "none.png"], run.folder, out=tmp_path / "q")
    assert not (tmp_path / "p").exists()
    with pytest.raises(InputError, match="explain: random_orders: input should be greater than or equal to 1"):
        api.explain([picture], run.folder, out=tmp_path / "p", random_orders=0)


@pytest.mark.parametrize("idle", [{"smooth": 1.0}, {"prior": "uniform"}, {"abstain": 0.5}])
def test_settings_that_do_not_apply_to_explanations_are_refused(run, people_folder, tmp_path, idle):
    with pytest.raises(InputError, match="do not apply to explanations"):
        api.explain(people_folder, run.folder, out=tmp_path / "out", **idle)


def test_the_package_does_not_import_torch():
    code = (
        "import sys, evenface.explanation.explain; print([name for name in ('torch', 'timm') if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output == "[]\n"


def test_an_image_with_two_faces_has_rows_for_each_and_one_without_is_skipped(run, tmp_path, monkeypatch):
    from evenface.explanation import explain
    from evenface.inference.pipeline import PreparedSample

    arrays = pictures(2)
    faces = {
        "two.png": [PreparedSample(0, 1, None, None, i + 1, arrays[i]) for i in range(2)],
        "none.png": [PreparedSample(0, 1, None, None)],
    }
    for name in faces:
        Image.new("L", (32, 32)).save(tmp_path / name)
    monkeypatch.setattr(explain, "prepare_samples", lambda source, *_: iter(faces[source.path.rpartition("/")[2]]))
    found = api.explain([tmp_path / name for name in faces], run.folder, out=tmp_path / "out", check=False)
    assert (found.samples, found.skipped) == (2, [f"{tmp_path / 'none.png'}: no face"])
    assert pd.read_csv(tmp_path / "out" / "explanations.csv")["face"].tolist() == [1] * 3 + [2] * 3
