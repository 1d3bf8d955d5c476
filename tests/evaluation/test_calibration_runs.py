"""A calibration is fitted, stored, reported and used with its run."""

import numpy as np
import pytest
from promises import predictions, sample

import evenface as ef
from evenface import api
from evenface.evaluation.calibration import Calibration, calibration_error, fit_temperature, tempered
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.probability_metrics import shares
from evenface.evaluation.target_calibration import load_calibration
from evenface.reporting.report import run_report
from evenface.training.calibrate import calibrate, fit
from evenface.utils.errors import InputError


def test_a_calibration_survives_its_file_and_a_damaged_one_is_named(tmp_path):
    p, y = sample(500, seed=20)
    made = Calibration.fit(predictions(tempered(p, 0.5), y), np.full(3, 1 / 3), "training counts", exact=False)
    assert made.temperature == pytest.approx(2, rel=0.2)
    assert made.fitted_on["log_loss_after"] < made.fitted_on["log_loss_before"]
    assert load_calibration(tmp_path) is None
    made.save(tmp_path)
    read = load_calibration(tmp_path)
    np.testing.assert_array_equal(read.apply(p), made.apply(p))
    np.testing.assert_array_equal(read.apply(p), tempered(p, made.temperature))
    assert read.as_dict() == made.as_dict()
    for damaged in ("{", "{}", (tmp_path / "calibration.json").read_text().replace('"of": "prob', '"of": "prab')):
        (tmp_path / "calibration.json").write_text(damaged)
        with pytest.raises(InputError, match="calibration"):
            load_calibration(tmp_path)


def test_detectors_are_calibrated_by_their_scores():
    p, y = sample(500, seed=21)
    s = np.clip(p * 1.5, 0.001, 0.999)
    given_ = predictions(shares(s), y, scores=s)
    made = Calibration.fit(given_, np.full(3, 1 / 3), "training counts", exact=False)
    assert made.of == "scores"
    after = made.predictions(given_)
    np.testing.assert_allclose(after.probabilities, shares(after.scores))
    np.testing.assert_array_equal(after.scores >= 0.5, s >= 0.5)
    with pytest.raises(InputError, match="scores"):
        made.apply(p)


def test_the_report_shows_what_calibration_does(tmp_path, real_figures):
    p, y = sample(400, seed=22)
    made = Calibration.fit(predictions(tempered(p, 0.4), y), np.full(3, 1 / 3), "training counts", exact=True)
    test = predictions(tempered(p, 0.4), y, 20)
    text = run_report(tmp_path / "report.html", test, title="run", calibration=made).read_text("utf-8")
    assert "Calibration and abstention" in text
    assert "risk: error rate" in text
    table = (tmp_path / "tables" / "calibration.csv").read_text("utf-8").splitlines()
    first = [float(cell) for cell in table[1].split(",")[2:]]  # the name holds a comma
    assert first[0] == pytest.approx(calibration_error(test.probabilities, y))
    assert first[3] == pytest.approx(calibration_error(made.apply(test.probabilities), y))
    assert (tmp_path / "tables" / "abstention.csv").is_file()


@pytest.fixture(scope="module")
def run(small_recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibrated") / "run"
    return api.train(small_recipe, out=folder, sample_faces=False, **{"loss.name": "balanced-softmax"})


def test_a_run_is_calibrated_on_validation_data_alone(run):
    made = load_calibration(run.folder)
    validation = Predictions.load(run.folder / "validation.parquet")
    counts = np.array(run.facts["counts"]["train"])
    np.testing.assert_allclose(made.prior, 1 / 3)
    share = np.bincount(validation.labels, minlength=3) / len(validation)
    assert made.temperature == fit_temperature(validation.probabilities, validation.labels)
    assert made.shifted_temperature == fit_temperature(validation.probabilities, validation.labels, shift=share * 3)
    assert made.fitted_on["samples"] == len(validation)
    assert counts.max() > counts.min()
    before = (run.folder / "calibration.json").read_bytes()
    test = (run.folder / "predictions.parquet").read_bytes()
    run.predictions.take(np.arange(10)).save(run.folder / "predictions.parquet")
    fit(ef.Run.open(run.folder))
    assert (run.folder / "calibration.json").read_bytes() == before
    (run.folder / "predictions.parquet").write_bytes(test)


def test_the_command_says_error_threshold_and_balance(run):
    from typer.testing import CliRunner

    from evenface.cli import app

    words = ["calibrate", str(run.folder), "--max-error-rate", "0.9", "--prior", "estimate"]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0, said.output
    for word in (
        "temperature",
        "calibration error",
        "people",
        "threshold",
        "EM",
        "error of the same estimate",
        "balanced accuracy",
        "corrected",
    ):
        assert word in said.stdout
    found = calibrate(run, risk=0.9, prior="uniform", resamples=50)
    test = found.calibration.predictions(run.predictions)
    assert found.error[1].value == pytest.approx(calibration_error(test.probabilities, test.labels))
    corrected = found.calibration.predictions(run.predictions, np.full(3, 1 / 3))
    same = run.predictions.probabilities  # balanced softmax is of that balance
    np.testing.assert_allclose(corrected.probabilities, tempered(same, found.calibration.shifted_temperature))
    assert test.probabilities.shape == corrected.probabilities.shape
    assert found.corrected.accuracy[2].value == 0
    with pytest.raises(InputError, match="is not a class"):
        calibrate(run, prior="x=1", resamples=5)


def test_a_run_without_validation_says_so(small_recipe, tmp_path):
    other = ef.train(
        small_recipe, out=tmp_path / "run", sample_faces=False, **{"protocol.validation": 0.0, "training.epochs": 1}
    )
    with pytest.raises(InputError, match="0 validation samples"):
        api.calibrate(other.folder)
    assert not (other.folder / "calibration.json").exists()


def test_printed_figures_are_those_of_the_stored_predictions():
    """The page's table and the kept results say what predictions beside them say."""
    import json
    from pathlib import Path

    root = Path(__file__).parents[2]
    results = root / "benchmarks/results"
    page = (root / "docs/calibration.md").read_text("utf-8")
    for name, kept in json.loads((results / "calibration.json").read_text("utf-8"))["results"]["temperatures"].items():
        validation, test = (
            Predictions.load(results / name / f"{part}.parquet") for part in ("validation", "predictions")
        )
        temperature = fit_temperature(validation.probabilities, validation.labels)
        assert kept["temperature"] == pytest.approx(temperature, abs=1e-3)
        for side, t in (("before", 1.0), ("after", temperature)):
            error = calibration_error(tempered(test.probabilities, t), test.labels)
            assert kept["ece"][side][0] == pytest.approx(error, abs=1e-4)
        assert f"| {len(validation):,} | {temperature:.2f} |" in page
