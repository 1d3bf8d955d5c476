"""Pain as change in a video: numbers are those of the units that are predicted, refusals come before any work."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from evenface import api
from evenface.cli import app
from evenface.inference.pain_change import pain_changes
from evenface.utils.errors import InputError

UNITS = ["AU4", "AU6", "AU9"]
DATA = {
    **{"source": "synthetic-clips", "people": 4, "total": 5, "frames": 12, "size": 48, "channels": 1},
    **{"unit": "frame", "every": 2, "task": "regression", "targets": UNITS},
    "clips": {"frames": 1, "sampling": "windows"},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    recipe = {
        "name": "units",
        "data": DATA,
        "protocol": {"kind": "holdout", "validation": 0.0, "test": 0.3},
        "network": {"name": "compact_vgg_16_half"},
        "training": {"epochs": 1, "batch_size": 8, "checkpoint": "last"},
    }
    return api.train(recipe, out=tmp_path_factory.mktemp("pain") / "run", sample_faces=False)


@pytest.fixture
def video(run):
    return run.store.manifest.root / run.store.manifest.table["path"].iloc[0]


def test_the_change_is_that_of_the_predicted_units(run, video, tmp_path):
    table, course = tmp_path / "faces.csv", tmp_path / "pain.csv"
    arguments = ["predict", str(video), "--model", str(run.folder), "--faces", "none", "--csv", str(table)]
    result = CliRunner().invoke(app, [*arguments, "--pain-change", str(course)])
    assert result.exit_code == 0, result.output
    assert "highest +" in result.output
    assert "not been validated on patients" in result.output.replace("\n", " ")
    rows, got = pd.read_csv(table), pd.read_csv(course)
    assert len(rows) == len(got) == 12
    units = {name: rows[f"v_{name}"].clip(0, 5) for name in UNITS}
    score = units["AU4"] + units["AU6"] + units["AU9"]
    np.testing.assert_allclose(got["score"], score, atol=1e-4)
    np.testing.assert_allclose(got["change"], score - np.quantile(score, 0.1), atol=1e-4)
    assert got["time"].is_monotonic_increasing


def test_a_baseline_of_the_person_is_taken_in_place_of_the_videos_own(run, video):
    faces = api.predict(video, run.folder, faces="none")
    own, given = pain_changes(faces)[0], pain_changes(faces, baseline=1.0)[0]
    np.testing.assert_allclose(given.change, given.score - 1)
    assert own.change.min() <= 0 <= own.change.max()


def test_what_cannot_be_is_refused_and_nothing_is_written(run, video, tmp_path):
    course = tmp_path / "pain.csv"
    with pytest.raises(InputError, match="needs a model of intensities of action units; evenface-synthetic predicts"):
        api.predict(video, pain_change=course)
    with pytest.raises(InputError, match=r"must end in \.csv"):
        api.predict(video, run.folder, pain_change=tmp_path / "pain.txt")
    short = tmp_path / "short"
    short.mkdir()
    for number in range(3):
        Image.new("L", (64, 64)).save(short / f"{number}.png")
    faces = api.predict(short, run.folder, faces="none", folder_type="clips", pain_change=course)
    assert any("no face has 8 predictions or more" in note for note in faces.notes)
    assert len(faces) == 3  # what was predicted is kept
    assert not course.exists()
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match="taken"):
        api.predict(video, run.folder, faces="none", pain_change=tmp_path / "taken" / "pain.csv")
