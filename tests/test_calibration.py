"""Temperatures, calibration errors, abstention and balances, each against another derivation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score
from sklearn.metrics import log_loss as their_log_loss

import evenface as ef
from evenface import workflows
from evenface.balance import implied_prior
from evenface.calibrating import calibrate, fit
from evenface.errors import InputError
from evenface.evaluation.abstention import answered, risk_coverage
from evenface.evaluation.calibration import calibrated, fit_balance, fit_temperature, tempered
from evenface.evaluation.calibration_errors import (
    calibration_error,
    error_estimates,
    loss_estimates,
    reliability_by_mass,
)
from evenface.evaluation.fitted import Calibration
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.priors import accuracy_at, correction, estimate_prior, parse_prior, with_prior
from evenface.evaluation.report import run_report
from evenface.evaluation.scores import brier, shares
from evenface.recipes import load_recipe

CLASSES = ("angry", "fear", "happy")


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def drawn_from(p, seed=0):
    """Labels that are exactly as probable as is said."""
    return (p.cumsum(axis=1) > np.random.default_rng(seed).random((len(p), 1))).argmax(axis=1)


def sample(n=400, c=3, seed=0, spread=1.5):
    """Probabilities that hold, and labels drawn from them."""
    p = softmax(np.random.default_rng(seed).normal(0, spread, (n, c)))
    return p, drawn_from(p, seed + 1)


def predictions(p, y, people=None, scores=None):
    who = None if people is None else np.array([f"p{i % people}" for i in range(len(y))], dtype=object)
    classes = tuple("abcdefghij"[: p.shape[1]])
    return Predictions(np.array([f"s{i}" for i in range(len(y))], dtype=object), who, y, p, classes, scores=scores)


matrices = st.integers(0, 10_000).map(
    lambda seed: sample(n=30 + seed % 50, c=2 + seed % 4, seed=seed, spread=1 + seed % 3)
)


def test_tempering_divides_logits_row_by_row():
    z = np.random.default_rng(0).normal(size=(20, 4))
    np.testing.assert_allclose(tempered(softmax(z), 1.7), softmax(z / 1.7), atol=1e-12)
    s = 1 / (1 + np.exp(-z))
    np.testing.assert_allclose(tempered(s, 1.7, "scores"), 1 / (1 + np.exp(-z / 1.7)), atol=1e-12)
    np.testing.assert_allclose(calibrated(s, 1.0, "scores"), shares(s), atol=1e-9)


@given(matrices, st.floats(0.05, 20))
@settings(max_examples=30, deadline=None)
def test_a_temperature_never_changes_the_class(batch, temperature):
    p, _ = batch
    after = tempered(p, temperature)
    np.testing.assert_allclose(after.sum(axis=1), 1)
    assert (np.take_along_axis(after, p.argmax(axis=1)[:, None], 1)[:, 0] >= after.max(axis=1) - 1e-12).all()


def test_certainty_of_exactly_zero_and_one_stays_finite():
    for of in ("probabilities", "scores"):
        assert np.isfinite(tempered(np.array([[1.0, 0.0]]), 3.0, of)).all()
    with pytest.raises(InputError, match="above 0"):
        tempered(np.ones((1, 2)), 0.0)


@pytest.mark.parametrize("of", ["probabilities", "scores"])
def test_the_temperature_is_the_optimum_that_others_find(of):
    p, y = sample(800, seed=3)
    said = (
        tempered(p, 0.5)
        if of == "probabilities"
        else 1 / (1 + np.exp(-3 * np.random.default_rng(1).normal(size=p.shape)))
    )

    def loss(t):
        after = softmax(np.log(said) / t) if of == "probabilities" else shares(1 / (1 + (1 / said - 1) ** (1 / t)))
        return their_log_loss(y, after, labels=[0, 1, 2])

    by_grid = min(np.exp(np.linspace(np.log(0.05), np.log(20), 501)), key=loss)
    found = fit_temperature(said, y, of=of)
    assert found == pytest.approx(by_grid, rel=0.013)  # the grid's step
    if of == "probabilities":
        assert found == pytest.approx(minimize_scalar(loss, bounds=(0.5, 5), method="bounded").x, rel=1e-3)


def test_probabilities_that_hold_keep_a_temperature_of_one_and_surer_ones_get_theirs_back():
    p, y = sample(40_000, seed=5)
    assert fit_temperature(p, y) == pytest.approx(1, abs=0.02)
    assert fit_temperature(tempered(p, 1 / 2.5), y) == pytest.approx(2.5, rel=0.02)


def test_a_shifted_balance_is_no_lack_of_certainty():
    middle = np.array([0.05, 0.9, 0.05])
    x, y = gaussians(middle, 40_000, 6)
    p = posterior(x, np.full(3, 1 / 3))
    assert fit_temperature(p, y, shift=middle * 3) == pytest.approx(1, abs=0.03)
    assert abs(fit_temperature(p, y) - 1) > 0.1


def test_a_balance_nobody_knows_is_found_with_its_temperature():
    x, y = gaussians(TRAINED, 40_000, 7)
    secret = np.array([0.2, 0.2, 0.6])
    temperature, prior = fit_balance(tempered(posterior(x, secret), 0.5), y)
    assert temperature == pytest.approx(2, rel=0.05)
    np.testing.assert_allclose(prior, secret, atol=0.02)
    absent = fit_balance(posterior(x, secret), np.minimum(y, 1))[1]
    assert absent[2] == 0
    assert np.isfinite(absent).all()


def test_all_right_ends_at_the_lowest_temperature_and_none_is_refused():
    p = np.array([[0.6, 0.4], [0.3, 0.7]])
    assert fit_temperature(p, np.array([0, 1])) == pytest.approx(0.05, rel=0.01)
    with pytest.raises(InputError):
        fit_temperature(np.empty((0, 2)), np.empty(0, dtype=int))


def naive_error(promised, kept, bins):
    total = 0.0
    for low in range(bins):
        rows = [i for i, p in enumerate(promised) if low / bins < p <= (low + 1) / bins or (low == 0 and p == 0)]
        if rows:
            gap = sum(promised[i] for i in rows) / len(rows) - sum(bool(kept[i]) for i in rows) / len(rows)
            total += len(rows) * abs(gap)
    return total / len(promised)


@given(matrices)
@settings(max_examples=25, deadline=None)
def test_calibration_error_is_that_of_a_loop_and_from_0_to_1(batch):
    p, y = batch
    top = naive_error(p.max(axis=1).tolist(), (p.argmax(axis=1) == y).tolist(), 15)
    assert calibration_error(p, y) == pytest.approx(top, abs=1e-9)
    each = [naive_error(p[:, k].tolist(), (y == k).tolist(), 15) for k in range(p.shape[1])]
    assert calibration_error(p, y, of="classes") == pytest.approx(np.mean(each), abs=1e-9)
    for binning in ("width", "mass"):
        assert 0 <= calibration_error(p, y, binning=binning) <= 1


def test_bins_of_equal_mass_are_those_of_sklearn():
    p, y = sample(997, c=2, seed=8)
    kept, promised = calibration_curve(y, p[:, 1], n_bins=10, strategy="quantile")
    own = reliability_by_mass(p[:, 1], y == 1, 10)
    np.testing.assert_allclose(own.count, 99.7, atol=1)
    np.testing.assert_allclose(own.accuracy, kept, atol=0.02)  # theirs interpolates between two samples
    np.testing.assert_allclose(own.confidence, promised, atol=0.01)
    ranked = np.argsort(p[:, 1])
    ends = np.ceil(np.arange(11) / 10 * 997).astype(int)
    gaps = [abs((p[ranked[a:b], 1] - y[ranked[a:b]]).sum()) for a, b in itertools.pairwise(ends)]
    assert sum(gaps) / 997 == pytest.approx(
        calibration_error(np.c_[1 - p[:, 1], p[:, 1]], y, bins=10, binning="mass", of="classes"), abs=2e-3
    )


def test_equal_confidences_share_a_bin():
    assert reliability_by_mass(np.full(30, 0.5), np.arange(30) < 15).count.tolist() == [30]


def test_what_holds_has_nearly_no_error_and_what_is_too_sure_has_its_gap():
    p, y = sample(60_000, seed=9)
    assert calibration_error(p, y) < 0.01
    sure = np.where(np.eye(2)[np.arange(1000) % 2] == 1, 0.9, 0.1)
    labels = np.where(np.arange(1000) % 10 < 6, np.arange(1000) % 2, 1 - np.arange(1000) % 2)
    assert calibration_error(sure, labels) == pytest.approx(0.3)


def test_estimates_agree_with_the_errors_and_cover_the_truth():
    hits = []
    for seed in range(30):
        p, y = sample(600, seed=100 + seed)
        before, after = predictions(tempered(p, 0.5), y), predictions(p, y)
        first, second, change = error_estimates(before, after, resamples=200, seed=seed)
        assert first.value == pytest.approx(calibration_error(before.probabilities, y))
        assert second.value == pytest.approx(calibration_error(p, y))
        assert change.value == pytest.approx(second.value - first.value)
        assert change.high < 0
        hits.append(second.low == 0)  # what holds has a true error of 0
    assert np.mean(hits) > 0.8


def test_people_make_intervals_wider_and_losses_are_means():
    p, y = sample(600, seed=2)
    y = np.where(np.arange(600) % 6 < 3, y, (y + 1) % 3)  # half of six people are misread
    alone, together = (error_estimates(*[predictions(p, y, n)] * 2, resamples=300)[0] for n in (None, 6))
    assert together.high - together.low > 2 * (alone.high - alone.low)
    first, second, change = loss_estimates(predictions(tempered(p, 0.5), y), predictions(p, y), brier, resamples=50)
    assert second.value == pytest.approx(
        np.mean([sum((p[i, k] - (y[i] == k)) ** 2 for k in range(3)) for i in range(600)])
    )
    assert change.value == pytest.approx(second.value - first.value)
    assert second.low < second.value < second.high


@given(matrices, st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_risk_and_coverage_are_those_of_counting(batch, digits):
    p, y = batch
    confidence = np.round(p.max(axis=1), 1 + digits)
    correct = p.argmax(axis=1) == y
    curve = risk_coverage(confidence, correct)
    assert (np.diff(curve.coverage) > 0).all()
    assert curve.coverage[-1] == 1
    assert curve.threshold[-1] == 0
    for threshold, risk, coverage in zip(curve.threshold, curve.risk, curve.coverage, strict=True):
        told = confidence >= threshold
        assert coverage == pytest.approx(told.mean())
        assert risk == pytest.approx((~correct)[told].mean())
    assert 0 <= curve.area <= 1
    twice = risk_coverage(np.repeat(confidence, 2), np.repeat(correct, 2))
    assert twice.area == pytest.approx(curve.area)
    assert risk_coverage(confidence, correct, np.full(len(y), 3.0)).area == pytest.approx(curve.area)


def test_area_is_the_mean_risk_of_the_surest_and_weights_are_copies():
    p, y = sample(200, seed=4)
    confidence, correct = p.max(axis=1), p.argmax(axis=1) == y
    ranked = ~correct[np.argsort(-confidence)]
    assert risk_coverage(confidence, correct).area == pytest.approx(
        np.mean([ranked[: i + 1].mean() for i in range(200)])
    )
    copies = 1 + y
    weighted = risk_coverage(confidence, correct, copies)
    copied = risk_coverage(np.repeat(confidence, copies), np.repeat(correct, copies))
    np.testing.assert_allclose(weighted.risk, copied.risk)
    np.testing.assert_allclose(weighted.coverage, copied.coverage)


def test_thresholds_keep_the_risk_and_answer_as_much_as_they_can():
    curve = risk_coverage(np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([True, True, False, True, False]))
    assert (curve.at_risk(0.25).threshold, curve.at_risk(0.25).coverage) == (0.6, 0.8)
    assert curve.at_risk(0.0).threshold == 0.8
    assert curve.at_risk(1.0).threshold == 0.0
    assert risk_coverage(np.array([0.9]), np.array([False])).at_risk(0.5) is None
    assert curve.at_threshold(0.65).coverage == 0.6
    assert curve.at_threshold(0.95) is None
    assert curve.thinned(2).threshold.tolist() == [0.9, 0.0]
    with pytest.raises(InputError, match="from 0 to 1"):
        curve.at_risk(1.5)


def test_what_is_answered_is_counted_by_class():
    p, y = sample(300, seed=12)
    found = answered(predictions(p, y, 20), 0.6, resamples=100)
    told, right = p.max(axis=1) >= 0.6, p.argmax(axis=1) == y
    assert found.coverage.value == pytest.approx(told.mean())
    assert found.risk.value == pytest.approx(1 - accuracy_score(y[told], p[told].argmax(axis=1)))
    for k in range(3):
        assert found.class_coverage[k] == pytest.approx(told[y == k].mean())
        assert found.class_recall[k] == pytest.approx(right[told & (y == k)].mean())
    assert found.risk.low < found.risk.value < found.risk.high
    twice = answered(predictions(p, y, 20), 0.6, weights=1.0 + (y == 2), resamples=100)
    counted = np.where(y == 2, 2.0, 1.0)
    assert twice.risk.value == pytest.approx(np.average(~right[told], weights=counted[told]))
    assert twice.coverage.value == pytest.approx(np.average(told, weights=counted))
    nobody = answered(predictions(p, y), 1.01, resamples=10)
    assert math.isnan(nobody.risk.value)
    assert nobody.coverage.value == 0


@given(matrices)
@settings(max_examples=25, deadline=None)
def test_the_same_balance_changes_nothing_and_there_and_back_is_where_one_was(batch):
    p, _ = batch
    c = p.shape[1]
    one, other = (np.random.default_rng(c + i).dirichlet(np.full(c, 3.0)) for i in (0, 1))
    np.testing.assert_allclose(with_prior(p, one, one), p, atol=1e-12)
    np.testing.assert_allclose(with_prior(with_prior(p, one, other), other, one), p, atol=1e-9)
    np.testing.assert_allclose(with_prior(p, one, other).sum(axis=1), 1)


def gaussians(prior, n, seed):
    """Faces of one number each, three classes of known shape: the posterior is known for any balance."""
    random = np.random.default_rng(seed)
    y = random.choice(3, n, p=prior)
    x = random.normal(y * 1.5, 1.0)
    return x, y


def posterior(x, prior):
    density = np.exp(-0.5 * (x[:, None] - 1.5 * np.arange(3)) ** 2) * prior
    return density / density.sum(axis=1, keepdims=True)


TRAINED, DEPLOYED = np.array([0.6, 0.3, 0.1]), np.array([0.1, 0.3, 0.6])


def test_correction_gives_the_posterior_of_the_other_balance():
    x, y = gaussians(DEPLOYED, 5000, 0)
    np.testing.assert_allclose(with_prior(posterior(x, TRAINED), TRAINED, DEPLOYED), posterior(x, DEPLOYED), atol=1e-12)
    before, after = (predictions(p, y) for p in (posterior(x, TRAINED), posterior(x, DEPLOYED)))
    found = correction(before, after, DEPLOYED, resamples=200)
    assert found.accuracy[2].low > 0
    # The wrong way round makes it worse.
    worse = predictions(with_prior(before.probabilities, DEPLOYED, TRAINED), y)
    assert correction(before, worse, DEPLOYED, resamples=200).accuracy[2].high < 0


def test_accuracy_at_a_balance_is_that_of_samples_of_it():
    matrix = np.array([[8, 2], [3, 3]])
    assert accuracy_at(matrix, np.array([0.5, 0.5])) == pytest.approx((0.8 + 0.5) / 2)
    assert accuracy_at(matrix, matrix.sum(axis=1) / 16) == pytest.approx(11 / 16)
    assert math.isnan(accuracy_at(np.array([[8, 2], [0, 0]]), np.array([0.5, 0.5])))
    assert accuracy_at(np.array([[8, 2], [0, 0]]), np.array([1.0, 0.0])) == pytest.approx(0.8)


def test_em_finds_the_balance_of_a_simulation_and_its_likelihood_never_falls():
    x, y = gaussians(DEPLOYED, 20_000, 1)
    found = estimate_prior(posterior(x, TRAINED), TRAINED)
    assert found.converged
    np.testing.assert_allclose(found.prior, np.bincount(y) / len(y), atol=0.02)
    assert (np.diff(found.log_likelihood) >= -1e-12).all()
    assert found.log_likelihood[0] == 0
    assert found.steps == len(found.log_likelihood) - 1
    # The maximum of the likelihood by a grid over the simplex.
    ratio = posterior(x, TRAINED)[:2000] / TRAINED
    small = estimate_prior(posterior(x, TRAINED)[:2000], TRAINED).prior
    grid = [np.array([a, b, 1 - a - b]) for a in np.arange(0, 1, 0.02) for b in np.arange(0, 1 - a, 0.02)]
    best = max(grid, key=lambda q: np.log(ratio @ q).sum())
    np.testing.assert_allclose(small, best, atol=0.021)


def test_em_stays_where_nothing_changed_and_says_when_it_stopped_early():
    x, _ = gaussians(TRAINED, 20_000, 2)
    np.testing.assert_allclose(estimate_prior(posterior(x, TRAINED), TRAINED).prior, TRAINED, atol=0.02)
    early = estimate_prior(posterior(x, TRAINED), DEPLOYED, steps=2)
    assert not early.converged
    assert early.steps == 2
    absent = estimate_prior(np.array([[0.5, 0.5, 0.0]] * 3), np.array([0.5, 0.5, 0.0]))
    assert absent.prior[2] == 0


def test_balances_that_cannot_be_are_refused():
    p = np.array([[0.5, 0.5]])
    for bad in ([1.0], [-1.0, 2.0], [0.0, 0.0], [np.nan, 1.0]):
        with pytest.raises(InputError, match="balance"):
            with_prior(p, np.array(bad), np.array([0.5, 0.5]))
    with pytest.raises(InputError, match="not trained"):
        with_prior(p, np.array([1.0, 0.0]), np.array([0.5, 0.5]))
    with pytest.raises(InputError, match="no sample"):
        estimate_prior(np.empty((0, 2)), np.array([0.5, 0.5]))


def test_priors_are_read_by_name():
    assert parse_prior("happy=0.2, angry=0.5,fear=0.3", CLASSES).tolist() == [0.5, 0.3, 0.2]
    assert parse_prior("uniform", CLASSES).tolist() == [1 / 3] * 3
    assert parse_prior("a=b=0.5,c=0.5", ("a=b", "c")).tolist() == [0.5, 0.5]
    for text, said in {
        "happi=1": "no class",
        "happy=0.5": "no share of angry, fear",
        "happy=x,angry=0,fear=0": "no number",
        "happy=0.5,happy=0.5": "twice",
        "happy=0.9,angry=0.9,fear=0.1": "sum to 1",
        "happy=nan,angry=0.9,fear=0.1": "sum to 1",
    }.items():
        with pytest.raises(InputError, match=said):
            parse_prior(text, CLASSES)


COUNTS = np.array([600, 300, 100])


def implied(**overrides):
    return implied_prior(load_recipe({"name": "r", "data": {"source": "folder", "root": "x"}}, overrides), COUNTS)


@pytest.mark.parametrize(
    ("settings_", "shares_", "exact"),
    [
        ({}, [0.6, 0.3, 0.1], True),
        ({"loss.name": "focal"}, [0.6, 0.3, 0.1], True),
        ({"loss.name": "balanced-softmax"}, [1 / 3] * 3, True),
        ({"loss.name": "logit-adjustment"}, [1 / 3] * 3, True),
        ({"loss.name": "logit-adjustment", "loss.tau": 0.0}, [0.6, 0.3, 0.1], True),
        ({"loss.name": "cross-entropy", "loss.alpha": "inverse"}, [1 / 3] * 3, True),
        ({"loss.name": "cross-entropy", "loss.alpha": [1, 2, 6]}, [1 / 3] * 3, True),
        ({"training.sampling": "inverse"}, [1 / 3] * 3, True),
        ({"training.sampling": "reversed"}, [1 / 9, 2 / 9, 6 / 9], True),
        ({"training.sampling": "inverse", "loss.name": "balanced-softmax"}, [1 / 9, 2 / 9, 6 / 9], True),
        ({"method.name": "crt"}, [1 / 3] * 3, True),
        ({"method.name": "tau-norm"}, [0.6, 0.3, 0.1], False),
        ({"loss.name": "ldam"}, [0.6, 0.3, 0.1], False),
        ({"method.name": "one-vs-all"}, [0.6, 0.3, 0.1], False),
    ],
)
def test_the_implied_balance_follows_from_loss_weights_and_sampling(settings_, shares_, exact):
    found = implied(**settings_)
    np.testing.assert_allclose(found.prior, shares_)
    assert found.exact == exact


def test_effective_numbers_and_detectors_weights_count():
    effective = [600 * 1 / (1 - 0.999**600), 300 / (1 - 0.999**300), 100 / (1 - 0.999**100)]
    np.testing.assert_allclose(implied(**{"loss.name": "class-balanced"}).prior, np.array(effective) / sum(effective))
    np.testing.assert_allclose(
        implied(**{"training.sampling": "effective"}).prior, np.array(effective) / sum(effective)
    )
    rare = np.array([600, 300, 100 * 9.0])  # of the adaptive losses only the third has a weight, of its ratio
    np.testing.assert_allclose(
        implied(**{"method.name": "one-vs-all", "loss.name": "adaptive"}).prior, rare / rare.sum()
    )
    nobody = implied_prior(load_recipe({"name": "r", "data": {"source": "folder", "root": "x"}}, {}), [3, 0, 1])
    assert nobody.prior.tolist() == [0.75, 0, 0.25]


@pytest.mark.parametrize("name", ["cross-entropy", "weighted", "balanced-softmax", "logit-adjustment"])
def test_a_network_of_known_data_learns_the_balance_that_is_implied(name):
    """Logistic regression on the numbers above, by the loss itself, comes to the posterior of the implied balance."""
    import torch

    from evenface.losses import build_loss

    x, y = gaussians(TRAINED, 20_000, 3)
    counts = np.bincount(y)
    options = {"weighted": {"loss.alpha": "inverse"}, "logit-adjustment": {"loss.tau": 0.5}}.get(name, {})
    loss_name = "cross-entropy" if name == "weighted" else name
    recipe = {"name": "r", "data": {"source": "folder", "root": "x"}}
    found = implied_prior(load_recipe(recipe, {"loss.name": loss_name, **options}), counts)
    loss = build_loss(loss_name, counts, **{key.removeprefix("loss."): value for key, value in options.items()})
    weight, bias = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    inputs, targets = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=100)

    def closure():
        optimizer.zero_grad()
        value = loss(inputs[:, None] * weight + bias, targets).mean()
        value.backward()
        return value

    optimizer.step(closure)
    p = (inputs[:, None] * weight + bias).softmax(dim=1).detach().numpy()
    np.testing.assert_allclose(p, posterior(x, found.prior), atol=0.05)


def test_a_calibration_survives_its_file_and_a_damaged_one_is_named(tmp_path):
    p, y = sample(500, seed=20)
    made = Calibration.fit(predictions(tempered(p, 0.5), y), np.full(3, 1 / 3), "training counts", exact=False)
    assert made.temperature == pytest.approx(2, rel=0.2)
    assert made.fitted_on["log_loss_after"] < made.fitted_on["log_loss_before"]
    assert Calibration.load(tmp_path) is None
    made.save(tmp_path)
    read = Calibration.load(tmp_path)
    np.testing.assert_array_equal(read.apply(p), made.apply(p))
    np.testing.assert_array_equal(read.apply(p), tempered(p, made.temperature))
    assert read.as_dict() == made.as_dict()
    for damaged in ("{", "{}", (tmp_path / "calibration.json").read_text().replace('"of": "prob', '"of": "prab')):
        (tmp_path / "calibration.json").write_text(damaged)
        with pytest.raises(InputError, match="calibration"):
            Calibration.load(tmp_path)


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


def test_the_report_shows_what_calibration_does(tmp_path):
    p, y = sample(400, seed=22)
    made = Calibration.fit(predictions(tempered(p, 0.4), y), np.full(3, 1 / 3), "training counts", exact=True)
    test = predictions(tempered(p, 0.4), y, 20)
    text = run_report(tmp_path / "report.html", test, title="run", calibration=made).read_text("utf-8")
    assert "Calibration and abstention" in text
    assert "wrong among answers" in text
    table = (tmp_path / "tables" / "calibration.csv").read_text("utf-8").splitlines()
    first = [float(cell) for cell in table[1].split(",")[2:]]  # the name holds a comma
    assert first[0] == pytest.approx(calibration_error(test.probabilities, y))
    assert first[3] == pytest.approx(calibration_error(made.apply(test.probabilities), y))
    assert (tmp_path / "tables" / "abstention.csv").is_file()


def test_a_method_of_unknown_balance_is_corrected_by_the_one_that_was_fitted():
    x, y = gaussians(TRAINED, 4000, 8)
    secret = np.array([0.2, 0.2, 0.6])
    given_ = predictions(posterior(x, secret), y)
    made = Calibration.fit(given_, TRAINED, "training counts", exact=False)
    assert "fit on validation data" in made.prior_said
    told = made.predictions(given_, TRAINED)
    np.testing.assert_allclose(told.probabilities, posterior(x, TRAINED), atol=0.05)
    np.testing.assert_array_equal(made.apply(given_.probabilities).argmax(axis=1), given_.predicted)


@pytest.fixture(scope="module")
def run(small_recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibrated") / "run"
    return workflows.train(small_recipe, out=folder, faces=False, **{"loss.name": "balanced-softmax"})


def test_a_run_is_calibrated_on_validation_data_alone(run):
    made = Calibration.load(run.folder)
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

    words = ["calibrate", str(run.folder), "--risk", "0.9", "--prior", "estimate"]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0, said.output
    for word in (
        "temperature",
        "calibration error",
        "people",
        "answer from",
        "EM",
        "misses",
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
    with pytest.raises(InputError, match="no class"):
        calibrate(run, prior="x=1", resamples=5)


def test_a_run_without_validation_says_so(run, tmp_path):
    import shutil

    other = tmp_path / "run"
    shutil.copytree(run.folder, other)
    (other / "validation.parquet").unlink()
    with pytest.raises(InputError, match="0 validation samples"):
        workflows.calibrate(other)
    assert not (other / "calibration.json").exists()


def test_printed_figures_are_those_of_the_stored_predictions():
    """The page's table and the kept results say what predictions beside them say."""
    import json
    from pathlib import Path

    root = Path(__file__).parents[1]
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


def test_prediction_corrects_from_the_models_own_certainty():
    from types import SimpleNamespace

    from evenface.serving.model import Model
    from evenface.serving.pipeline import decided
    from evenface.serving.settings import Settings

    p, y = sample(500, seed=30)
    even = np.full(3, 1 / 3)
    made = Calibration.fit(predictions(tempered(p, 0.5), y), even, "training counts", exact=True)
    for calibration in (made, None):
        model = SimpleNamespace(calibration=calibration, prior=TRAINED, classes=CLASSES)
        model.calibrated = lambda *given, model=model: Model.calibrated(model, *given)
        plain, there = decided(model, p, Settings()), decided(model, p, Settings(prior="angry=0.2,fear=0.3,happy=0.5"))
        temperature, own = (made.shifted_temperature, even) if calibration else (1.0, TRAINED)
        np.testing.assert_allclose(there, with_prior(tempered(p, temperature), own, np.array([0.2, 0.3, 0.5])))
        np.testing.assert_allclose(plain, tempered(p, made.temperature if calibration else 1.0))
