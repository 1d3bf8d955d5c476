"""Prediction: samples are prepared exactly as in training, and the table holds the model's probabilities."""

import json
import os

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

import evenface as ef
from evenface.cli import app
from evenface.config.predict import PredictSettings
from evenface.config.recipe import FaceCrop, FrameSampler, MissingFaces, Sequences
from evenface.inference import open_model
from evenface.inference.input_spec import InputSpec
from evenface.inference.pipeline import SourceEnd, predict_sources, prepare_samples, resolve_prior, split_windows
from evenface.inference.predict import predict_inputs
from evenface.inference.prediction_table import read_rows
from evenface.inference.sources import Source, camera_source
from evenface.preprocessing.clips import read_clip
from evenface.preprocessing.face_mesh import read_mesh
from evenface.preprocessing.image import read_sample
from evenface.preprocessing.store import Store
from evenface.preprocessing.target import MESH_MARGIN, SequenceSpec
from evenface.preprocessing.video import open_film
from evenface.utils.errors import InputError, SampleError

pytestmark = pytest.mark.usefixtures("forked_workers")


@pytest.fixture(scope="module")
def stills(small_recipe, tmp_path_factory):
    return ef.train(small_recipe, out=tmp_path_factory.mktemp("stills") / "run", sample_faces=False)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A run on folders of images, each a clip of 5 to 7 frames, three of which are stored and two used."""
    folder = tmp_path_factory.mktemp("clips")
    random = np.random.default_rng(0)
    for label, name in enumerate(("calm", "joy")):
        for person in range(8):
            clip = folder / name / f"p{person}-a"
            clip.mkdir(parents=True)
            for frame in range(5 + person % 3):
                pixels = random.normal(80 + 80 * label, 30, (40, 36, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(clip / f"{frame}.png")
    data = {"source": "clip-folder", "root": str(folder), "size": 32, "channels": 1, "subjects": "^(p[0-9]+)-"}
    recipe = {
        "name": "clips",
        "data": {**data, "clips": {"frames": 2, "stored_frames": 3}},
        "protocol": {"test": 0.3, "validation": 0.0},
        "network": {"name": "compact_vgg_16_half"},
        "training": {
            "epochs": 1,
            "batch_size": 8,
            "accelerator": "cpu",
            "precision": "32-true",
            "checkpoint": "last",
            "tta_flip": True,
        },
    }
    return ef.train(recipe, out=tmp_path_factory.mktemp("run") / "clips", sample_faces=False)


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    """A run on files of action units."""
    folder = tmp_path_factory.mktemp("units")
    random = np.random.default_rng(0)
    for label, name in enumerate(("calm", "joy")):
        (folder / name).mkdir()
        for actor in range(8):
            values = random.random((9 + actor, 3)) + label
            pd.DataFrame(values, columns=["AU01_r", "AU04_r", "AU12_r"]).to_csv(
                folder / name / f"p{actor}-1.csv", index=False
            )
    recipe = {
        "name": "units",
        "data": {"source": "openface", "root": str(folder), "subjects": "^(p[0-9]+)-", "sequences": {"frames": 6}},
        "protocol": {"test": 0.3, "validation": 0.0},
        "network": {"name": "recurrent", "recurrent": {"dense": 4, "hidden": 4, "top": 4}},
        "training": {"epochs": 2, "batch_size": 8, "accelerator": "cpu", "precision": "32-true", "checkpoint": "last"},
        "augment": {"flip": 0},
    }
    return ef.train(recipe, out=tmp_path_factory.mktemp("run") / "units", sample_faces=False)


@pytest.mark.parametrize("kind", ["stills", "clips", "numbers"])
def test_samples_and_probabilities_are_those_of_the_run(kind, request):
    run = request.getfixturevalue(kind)
    model, store = open_model(run.folder), Store.open(run.facts["store"])
    arrays = store.images if store.sequences is None else store.sequences
    assert model.input_spec == InputSpec.from_dict(json.loads(json.dumps(model.input_spec.as_dict())))
    row_of = {name: i for i, name in enumerate(store.manifest.table["sample"])}
    source = {"stills": "picture", "clips": "clip", "numbers": "numbers"}[kind]
    prepared, predictions = [], run.predictions
    for name in predictions.sample:
        path = store.manifest.root / store.manifest.table["path"].iloc[row_of[name]]
        (sample,) = prepare_samples(Source(str(path), source), model.input_spec, PredictSettings())
        assert sample.array.dtype == arrays.dtype
        np.testing.assert_array_equal(sample.array, arrays[row_of[name]])
        prepared.append(sample.array)
    np.testing.assert_allclose(model.probabilities(np.stack(prepared)), predictions.probabilities, atol=1e-6)


def test_files_of_the_wrong_kind_are_refused(stills, clips, numbers, tmp_path):
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    pd.DataFrame({"AU01_r": [1.0]}).to_csv(tmp_path / "a.csv")
    wrong = [(clips, "a.png", "picture"), (stills, "a.csv", "numbers"), (numbers, "a.png", "picture")]
    for run, name, kind in wrong:
        with pytest.raises(SampleError):
            list(
                prepare_samples(
                    Source(str(tmp_path / name), kind), open_model(run.folder).input_spec, PredictSettings()
                )
            )


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".json"])
def test_the_table_holds_probabilities_and_its_files_are_not_predicted_again(stills, people_folder, tmp_path, suffix):
    model, out = open_model(stills.folder), tmp_path / f"found{suffix}"
    first = sorted((people_folder / "fear").iterdir())[:3]
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    found = predict_inputs(model, [*first, bad], PredictSettings(batch=2), [out])
    assert (found.files, len(found.rows), len(found), found.cached) == (3, 3, 3, 0)
    assert found.skipped == [f"{bad}: not an image: text"]
    more = sorted((people_folder / "calm").iterdir())[:2]
    assert predict_inputs(model, [*first, *more], PredictSettings(), [out]).cached == 3
    table = pd.DataFrame(read_rows(out))
    assert table["file"].tolist() == [str(path) for path in (*first, *more)]
    arrays = [
        next(prepare_samples(Source(name, "picture"), model.input_spec, PredictSettings())).array
        for name in table["file"]
    ]
    p = model.calibrated(model.scores(np.stack(arrays)))
    np.testing.assert_allclose(table[[f"p_{name}" for name in model.classes]], p, atol=1e-6)
    assert table["label"].tolist() == [model.classes[i] for i in p.argmax(axis=1)]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["bad.png", out.name])
    with pytest.raises(InputError, match="other settings"):
        predict_inputs(model, first, PredictSettings(smooth=1.0), [out])


def test_a_class_prior_is_estimated_from_the_inputs_and_is_a_fixed_point(stills, people_folder, tmp_path):
    model, files = open_model(stills.folder), sorted((people_folder / "fear").iterdir())[:6]
    found = predict_inputs(model, files, PredictSettings(prior="estimate"), [tmp_path / "estimated.csv"])
    [prior] = [note.rpartition(" ")[2] for note in found.notes if "estimated" in note]
    predict_inputs(model, files, PredictSettings(prior=prior), [tmp_path / "given.csv"])
    estimated, given_so = (
        pd.read_csv(tmp_path / name).drop(columns="model") for name in ("estimated.csv", "given.csv")
    )
    pd.testing.assert_frame_equal(estimated, given_so)
    # Under the maximum-likelihood prior the mean of the probabilities is that prior.
    shares = np.array([float(part.partition("=")[2]) for part in prior.split(",")])
    np.testing.assert_allclose(estimated[[f"p_{name}" for name in model.classes]].mean(), shares, atol=2e-3)
    assert np.abs(shares - model.prior).max() > 0.02
    with pytest.raises(InputError, match="camera"):
        resolve_prior(model, [camera_source(0, 1, opener=lambda _: None)], PredictSettings(prior="estimate"))


class FakeCamera:
    """A camera of five frames."""

    def __init__(self, _number):
        self.left, self.closed = 5, False

    def read(self):
        self.left -= 1
        return Image.new("RGB", (40, 40), (self.left * 40,) * 3) if self.left >= 0 else None

    def close(self):
        self.closed = True


def test_a_camera_is_predicted_until_its_time_is_over(stills, clips):
    ticks = iter(np.arange(0, 10, 0.5))
    source = camera_source(0, 1.6, FakeCamera, lambda: float(next(ticks)))
    rows = list(predict_sources(open_model(stills.folder), [source], PredictSettings()))
    assert [row.sample.start_time for row in rows[:-1]] == [0.0, 0.5, 1.0, 1.5]
    assert isinstance(rows[-1], SourceEnd)
    source = camera_source(0, None, FakeCamera, iter(np.arange(0, 10, 0.5)).__next__)
    rows = list(predict_sources(open_model(clips.folder), [source], PredictSettings(window=1.0)))
    assert [(row.sample.first_frame, row.sample.end_frame) for row in rows[:-1]] == [(0, 2), (2, 4)]


@pytest.mark.usefixtures("real_figures")
def test_the_command_writes_a_table_annotates_and_refuses_invalid_settings(clips, tmp_path):
    store = Store.open(clips.facts["store"])
    clip = store.manifest.root / store.manifest.table["path"].iloc[0]
    words = ["predict", str(clip), "--model", str(clips.folder), "--csv", str(tmp_path / "t.csv")]
    more = ["--annotate", str(tmp_path / "drawn"), "--timeline", str(tmp_path / "t.svg"), "--window", "0.12"]
    result = CliRunner().invoke(app, [*words, *more])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "drawn" / f"{clip.name}.mp4").is_file()
    assert "seconds" in (tmp_path / "t.svg").read_text()
    refused = CliRunner().invoke(app, ["predict", str(tmp_path / "none.png"), "--model", str(clips.folder)])
    assert refused.exit_code == 2
    assert CliRunner().invoke(app, [*words, "--frame-stride", "2"]).exit_code == 2


def input_specs():
    crop = FaceCrop(crop="face", which="largest")
    mesh = SequenceSpec.build(Sequences(frames=3, normalise="scale"), MissingFaces(), origin="clips")
    return {
        "stills": InputSpec("stills", 48, 3, faces=crop),
        "clips": InputSpec("clips", 48, 1, 4, faces=crop, clips=FrameSampler(frames=4)),
        "windows": InputSpec("clips", 32, 1, 8, faces=crop, clips=FrameSampler(frames=8, sampling="windows", stride=2)),
        "mesh": InputSpec(
            "sequences", 1, 1, 3, crop.replace(margin=MESH_MARGIN), sequences=mesh, points="mesh-468", middle=0.0
        ),
    }


@pytest.mark.parametrize(("kind", "window"), [("stills", None), ("clips", 1.0), ("windows", None), ("mesh", None)])
def test_real_faces_are_prepared_as_for_training(real_data, kind, window):
    spec, file = (
        input_specs()[kind],
        real_data / "clips" / ("single_face.jpg" if kind == "stills" else "single_face.mp4"),
    )
    if kind == "stills":
        (sample,) = prepare_samples(Source(str(file), "picture"), spec, PredictSettings(faces="largest"))
        assert sample.array.tobytes() == read_sample(str(file), None, spec.target)
        return
    settings = PredictSettings(faces="largest", window=window, overlap=0.5 if window else 0)
    found = list(prepare_samples(Source(str(file), "clip"), spec, settings))
    read = read_mesh if kind == "mesh" else read_clip
    for first, last in split_windows(open_film(str(file)).times, window, settings.overlap):
        facts, values = read(str(file), first, last, spec.target)
        window_samples, found = found[: len(facts)], found[len(facts) :]
        assert [[one.first_frame, one.end_frame] for one in window_samples] == [row[:2] for row in facts]
        assert b"".join(one.array.tobytes() for one in window_samples) == values
        assert {one.face_id for one in window_samples} == {1}
    assert not found


def test_faces_are_found_in_real_images_and_videos(stills, real_data, tmp_path):
    model = open_model(stills.folder)
    found = predict_inputs(
        model,
        [
            real_data / "clips" / name
            for name in ("multi_face.jpg", "single_face.jpg", "single_face.mp4", "no_face.mp4")
        ],
        PredictSettings(faces="all", frame_stride=20),
        [tmp_path / "t.parquet"],
    )
    table = found.to_pandas()
    counts = table.dropna(subset=["face"]).groupby(table["file"].map(os.path.basename))["face"].nunique()
    assert counts["multi_face.jpg"] >= 3
    assert counts["single_face.jpg"] == counts["single_face.mp4"] == 1
    assert "no_face.mp4" not in counts
    assert found.without_face > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--csv", "folder.csv"], "folder.csv is a directory"),
        (["--csv", "file.txt/t.csv"], "file.txt is a file"),
        (["--csv", "t.xlsx"], "must end in .csv"),
        (["--json", "t.csv"], "must end in .json"),
        (["--out", "t.csv"], "--out was renamed to --csv"),
        (["--csv", f"{'x' * 300}.csv"], "name too long"),
        (["--annotate", "file.txt"], "file.txt is a file"),
        (["--timeline", "t.txt"], "cannot save a figure as t.txt"),
        (["--timeline", "folder.csv/no/t.svg", "--annotate", "file.txt/a"], "file.txt is a file"),
        (["--seconds", "3"], "seconds requires a camera"),
        (["--camera", "-1"], "0 or greater"),
        (["--camera", "0"], "inputs and a camera were given"),
        (["--margin", "0.4", "--faces", "none"], "trained on uncropped images"),
    ],
)
def test_invalid_options_are_refused_before_anything_is_written(stills, people_folder, tmp_path, options, message):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file.txt").write_text("here first")
    before = sorted(tmp_path.rglob("*"))
    options = [
        option if option[0] == "-" or option in ("0", "3", "0.4", "none") else str(tmp_path / option)
        for option in options
    ]
    inputs = [] if "-1" in options else [str(people_folder)]
    out = [] if "--csv" in options else ["--csv", str(tmp_path / "t.csv")]
    result = CliRunner().invoke(app, ["predict", *inputs, "--model", str(stills.folder), *out, *options])
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert "Traceback" not in result.output
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.usefixtures("real_figures")
def test_images_alone_give_no_timeline_and_a_note(stills, people_folder, tmp_path):
    out = [f"--csv={tmp_path / 't.csv'}", f"--timeline={tmp_path / 't.svg'}"]
    result = CliRunner().invoke(app, ["predict", str(people_folder), f"--model={stills.folder}", *out])
    assert result.exit_code == 0, result.output
    assert "no timeline" in result.output
    assert not (tmp_path / "t.svg").exists()
