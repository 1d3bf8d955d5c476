"""Platt scaling of targets: against scikit-learn, its order, its files, and the targets it leaves alone."""

import json

import numpy as np
import pytest
from sklearn.calibration import _sigmoid_calibration
from sklearn.metrics import log_loss

from evenface.evaluation.calibration import FILE
from evenface.evaluation.target_calibration import (
    FEWEST,
    TargetCalibration,
    calibration_changes,
    calibration_from,
    load_calibration,
    platt,
)
from evenface.evaluation.target_predictions import TargetPredictions
from evenface.utils.errors import InputError


def predictions(seed=0, n=300, missing=0.1):
    """Three targets whose logits are 3 times too large and shifted, one without a relation, one that is rare."""
    random = np.random.default_rng(seed)
    logits = random.normal(-1, 1.5, (n, 5))
    targets = (random.random((n, 5)) < 1 / (1 + np.exp(-logits))).astype(float)
    targets[:, 3] = random.permutation(np.arange(n) < n / 2)
    targets[:, 4] = np.arange(n) < FEWEST - 1
    logits[:, 3] = np.where(targets[:, 3] > 0, -1.0, 1.0) + random.normal(0, 0.1, n)
    targets[random.random((n, 5)) < missing] = np.nan
    targets[: FEWEST - 1, 4] = 1
    values = 1 / (1 + np.exp(-(3 * logits + 1)))
    names = ("AU1", "AU4", "AU12", "AU15", "AU9")
    people = np.array([f"p{i % 20}" for i in range(n)])
    sample = np.array([f"s{i}" for i in range(n)])
    return TargetPredictions(sample, people, targets, values, names, "multilabel", thresholds=(0.5, 0.4, 0.7, 0.5, 0.5))


@pytest.mark.parametrize("seed", range(5))
def test_slope_and_intercept_are_those_of_scikit_learn(seed):
    random = np.random.default_rng(seed)
    scores = random.normal(0, 2, 200)
    present = random.random(200) < 1 / (1 + np.exp(-(0.5 * scores - 1)))
    negative_slope, negative_intercept = _sigmoid_calibration(scores, present.astype(int))
    np.testing.assert_allclose(platt(scores, present), (-negative_slope, -negative_intercept), rtol=1e-3, atol=1e-4)


def test_separable_scores_keep_a_finite_slope():
    scores = np.concatenate([np.full(20, -3.0), np.full(20, 3.0)])
    slope, intercept = platt(scores, scores > 0)
    assert 0 < slope < 3
    assert intercept == pytest.approx(0, abs=1e-6)


def test_calibration_improves_other_samples_and_keeps_what_is_present():
    given, test = predictions(0, 2000), predictions(1, 2000)
    calibration = TargetCalibration.fit(given)
    assert calibration.calibrated.tolist() == [True, True, True, False, False]
    np.testing.assert_allclose(calibration.slopes[:3], 1 / 3, atol=0.06)
    after = calibration.predictions(test)
    np.testing.assert_array_equal(after.present, test.present)
    assert after.thresholds[3:] == test.thresholds[3:]
    for index in range(5):
        rows = test.known[:, index]
        one, other = (log_loss(test.targets[rows, index], each.values[rows, index]) for each in (test, after))
        assert other < one if index < 3 else other == one
        order = np.argsort(test.values[:, index], kind="stable")
        assert (np.diff(after.values[order, index]) >= 0).all()
    np.testing.assert_allclose(calibration.inverse(after.values), test.values, atol=1e-6)


def test_changes_on_test_data_are_those_of_each_target():
    given, test = predictions(0), predictions(1)
    calibration = TargetCalibration.fit(given)
    after = calibration.predictions(test)
    changes = calibration_changes(test, calibration, resamples=200)
    assert [change.name for change in changes] == ["AU1", "AU4", "AU12"]
    for index, change in enumerate(changes):
        rows = test.known[:, index]
        one, other = (log_loss(test.targets[rows, index], each.values[rows, index]) for each in (test, after))
        assert change.log_loss[0].value == pytest.approx(one)
        assert change.log_loss[1].value == pytest.approx(other)
        assert change.log_loss[2].value == pytest.approx(other - one)
        assert change.log_loss[2].high < 0


def test_targets_that_are_left_alone_are_named_with_their_samples():
    calibration = TargetCalibration.fit(predictions())
    (note,) = calibration.notes
    assert note.startswith("not calibrated: AU15 (")
    positives, samples = (calibration.fitted_on["AU9"][key] for key in ("positives", "samples"))
    assert f"AU9 ({positives} of {samples})" in note
    rare = predictions().take(np.arange(12))
    assert TargetCalibration.fit(rare) is None


def test_the_file_is_read_as_it_was_written_and_a_damaged_one_is_refused(tmp_path):
    calibration = TargetCalibration.fit(predictions())
    assert load_calibration(tmp_path) is None
    calibration.save(tmp_path)
    again = load_calibration(tmp_path)
    assert isinstance(again, TargetCalibration)
    assert (
        again.as_dict() == calibration.as_dict() == calibration_from(json.loads(json.dumps(again.as_dict()))).as_dict()
    )
    for change in ({"slope": -1.0}, {"slope": float("nan")}, {"intercept": "high"}):
        content = calibration.as_dict()
        content["targets"]["AU1"] |= change
        with pytest.raises(InputError, match="invalid calibration"):
            TargetCalibration.from_dict(content)
    (tmp_path / FILE).write_text((tmp_path / FILE).read_text().replace("AU12", "AU13"))
    with pytest.raises(InputError, match=r"calibration\.json"):
        load_calibration(tmp_path)
