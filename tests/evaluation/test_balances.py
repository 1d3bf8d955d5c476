"""Other balances of classes: corrected for, found, and implied by how a network was trained."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from promises import DEPLOYED, TRAINED, gaussians, matrices, posterior, predictions, sample

from evenface.config import load_recipe
from evenface.evaluation.calibration import Calibration, tempered
from evenface.evaluation.label_shift import accuracy_at, correction, estimate_prior, parse_prior, with_prior
from evenface.training.class_prior import implied_prior
from evenface.utils.errors import InputError

CLASSES = ("angry", "fear", "happy")


@given(matrices)
@settings(max_examples=25, deadline=None)
def test_the_same_balance_changes_nothing_and_there_and_back_is_where_one_was(batch):
    p, _ = batch
    c = p.shape[1]
    one, other = (np.random.default_rng(c + i).dirichlet(np.full(c, 3.0)) for i in (0, 1))
    np.testing.assert_allclose(with_prior(p, one, one), p, atol=1e-12)
    np.testing.assert_allclose(with_prior(with_prior(p, one, other), other, one), p, atol=1e-9)
    np.testing.assert_allclose(with_prior(p, one, other).sum(axis=1), 1)


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
        with pytest.raises(InputError, match="class prior must have"):
            with_prior(p, np.array(bad), np.array([0.5, 0.5]))
    with pytest.raises(InputError, match="has no training samples"):
        with_prior(p, np.array([1.0, 0.0]), np.array([0.5, 0.5]))
    with pytest.raises(InputError, match="no sample"):
        estimate_prior(np.empty((0, 2)), np.array([0.5, 0.5]))


def test_priors_are_read_by_name():
    assert parse_prior("happy=0.2, angry=0.5,fear=0.3", CLASSES).tolist() == [0.5, 0.3, 0.2]
    assert parse_prior("uniform", CLASSES).tolist() == [1 / 3] * 3
    assert parse_prior("a=b=0.5,c=0.5", ("a=b", "c")).tolist() == [0.5, 0.5]
    for text, said in {
        "happi=1": "is not a class",
        "happy=0.5": "no value for angry, fear",
        "happy=x,angry=0,fear=0": "is not a number",
        "happy=0.5,happy=0.5": "duplicate class happy",
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


def test_beta_counts_in_the_weights_of_detectors():
    """Each detector's weights by the effective numbers of its own two classes, at a beta far from the default."""
    found = implied(**{"method.name": "one-vs-all", "loss": {"name": "focal", "alpha": "effective", "beta": 0.99}})

    def effective(n):
        return (1 - 0.99**n) / (1 - 0.99)

    factors = [effective(1000 - n) / effective(n) for n in COUNTS]
    np.testing.assert_allclose(found.prior, COUNTS * factors / np.sum(COUNTS * factors), rtol=1e-6)


def test_stages_and_weights_that_a_subclass_fixes_itself_count(monkeypatch):
    from evenface.losses import LOSSES, FocalLoss
    from evenface.methods import CRT, DRW, METHODS, Stage

    class Reversed(CRT):
        def __init__(self, network, loss):
            super().__init__(network, loss)
            self.stages = (Stage(0.5), Stage(0.5, sampling="reversed"))

    class Weaker(DRW):
        def __init__(self, network, loss, task):
            super().__init__(network, loss, task, beta=0.9)

    class Fixed(FocalLoss):
        def __init__(self):
            import torch

            super().__init__(alpha=torch.tensor([1.0, 2.0, 6.0]))

    monkeypatch.setitem(METHODS, "reversed", Reversed)
    monkeypatch.setitem(METHODS, "weaker", Weaker)
    monkeypatch.setitem(LOSSES, "fixed", Fixed)
    np.testing.assert_allclose(implied(**{"method.name": "reversed"}).prior, [1 / 9, 2 / 9, 6 / 9])
    weaker = COUNTS / (1 - 0.9**COUNTS)
    np.testing.assert_allclose(implied(**{"method.name": "weaker"}).prior, weaker / weaker.sum(), rtol=1e-6)
    found = implied(**{"loss.name": "fixed"})
    np.testing.assert_allclose(found.prior, [1 / 3] * 3)
    assert found.exact
    assert not implied(**{"loss.name": "fixed", "method.name": "weaker"}).exact


def test_a_run_records_its_prior_and_is_read_without_its_plugin(small_recipe, tmp_path, monkeypatch):
    from processes import fitted

    from evenface.methods import DRW, METHODS
    from evenface.runs import Run
    from evenface.training.class_prior import prior_of

    with monkeypatch.context() as registered:
        registered.setitem(METHODS, "mine", type("Mine", (DRW,), {}))
        settings_ = {"method.name": "mine", "method.beta": 0.9, "training.epochs": 1}
        run = fitted(small_recipe, out=tmp_path / "run", **settings_)
    found, counts = prior_of(Run(run.folder)), np.array(run.facts["counts"]["train"])
    expected = counts / (1 - 0.9**counts)
    np.testing.assert_allclose(found.prior, expected / expected.sum(), rtol=1e-6)
    assert found.reason == "training counts and deferred weights"
    assert not found.exact


def test_a_plugin_that_is_not_loaded_is_not_guessed_at():
    found = implied(**{"method.name": "somebodys", "training.sampling": "inverse"})
    np.testing.assert_allclose(found.prior, [1 / 3] * 3)
    assert not found.exact
    assert "not loaded" in found.reason
    assert not implied(**{"loss.name": "somebodys"}).exact


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


def test_a_method_of_unknown_balance_is_corrected_by_the_one_that_was_fitted():
    x, y = gaussians(TRAINED, 4000, 8)
    secret = np.array([0.2, 0.2, 0.6])
    given_ = predictions(posterior(x, secret), y)
    made = Calibration.fit(given_, TRAINED, "training counts", exact=False)
    assert "fit on validation data" in made.prior_said
    told = made.predictions(given_, TRAINED)
    np.testing.assert_allclose(told.probabilities, posterior(x, TRAINED), atol=0.05)
    np.testing.assert_array_equal(made.apply(given_.probabilities).argmax(axis=1), given_.predicted)


def test_prediction_corrects_from_the_models_own_certainty():
    from types import SimpleNamespace

    from evenface.config.predict import PredictSettings
    from evenface.inference.model import Model
    from evenface.inference.pipeline import final_probabilities

    p, y = sample(500, seed=30)
    even = np.full(3, 1 / 3)
    made = Calibration.fit(predictions(tempered(p, 0.5), y), even, "training counts", exact=True)
    for calibration in (made, None):
        model = SimpleNamespace(calibration=calibration, prior=TRAINED, classes=CLASSES, task="classification")
        model.calibrated = lambda *given, model=model: Model.calibrated(model, *given)
        plain, there = (
            final_probabilities(model, p, PredictSettings()),
            final_probabilities(model, p, PredictSettings(prior="angry=0.2,fear=0.3,happy=0.5")),
        )
        temperature, own = (made.shifted_temperature, even) if calibration else (1.0, TRAINED)
        np.testing.assert_allclose(there, with_prior(tempered(p, temperature), own, np.array([0.2, 0.3, 0.5])))
        np.testing.assert_allclose(plain, tempered(p, made.temperature if calibration else 1.0))
