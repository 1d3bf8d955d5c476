"""Networks of sequences predict pain scores and action units: trained as one as if alone, stored, used, refused."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import evenface as ef
from evenface import api
from evenface.config.recipe import Optimizer, Recurrent, Schedule, Training
from evenface.evaluation.metrics import macro_f1
from evenface.losses import build_target_loss
from evenface.methods.base import TargetLink
from evenface.models.sequence import initialised
from evenface.runs import Run
from evenface.training.stacked import MemberSpec, StackedTrainer
from evenface.training.stacked.members import MemberTargets
from evenface.utils.errors import InputError

RANDOM = np.random.default_rng(0)
SEQUENCES = RANDOM.normal(size=(40, 5, 3, 1)).astype(np.float32)
TRUE = np.stack([SEQUENCES[:, -1, 0, 0] * 3 + 5, SEQUENCES[:, :, 1, 0].sum(axis=1)], axis=1).astype(np.float32)
TRUE[::7, 1] = np.nan
PAIN = "pspi"
TRAINING = Training(epochs=3, batch_size=7, monitor="loss", checkpoint="last")


def member(seed, kind="regression", loss="squared-error", **options):
    """Describe a network of two targets; ``measure`` is the mean error, by a formula of its own."""
    raw = TRUE if kind == "regression" else np.where(np.isnan(TRUE), np.nan, TRUE > 1).astype(np.float32)
    train, rest = np.arange(28), np.arange(28, 40)
    link = TargetLink(kind, 2, raw[train])
    targets = link.encode(torch.from_numpy(raw)).numpy()

    def measure(values):
        return {"loss": float(np.nanmean(np.abs(values - raw[rest])))}

    return MemberSpec(
        seed,
        train,
        targets[train],
        rest,
        targets[rest],
        build_target_loss(loss, kind, targets=targets[train], names=["a", "b"]),
        one_output=False,
        network=Recurrent(dense=4, hidden=5, top=3, dropout=0.0, norm="none"),
        optimizer=Optimizer(name="adam", lr=0.01, weight_decay=0),
        schedule=Schedule(name="constant"),
        training=TRAINING,
        predicts=MemberTargets(link, (raw[train, 0] > 5).astype(np.int64), measure),
        **options,
    )


def trained_plainly(one):
    """Train a member by torch's own parts, step by step."""
    network = initialised(one.network, 3, 5, 2, one.weights_seed())
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for epoch in range(3):
        places, _ = one.order(epoch)
        for some in places.reshape(-1, 7):
            optimizer.zero_grad()
            logits = network(torch.from_numpy(SEQUENCES[one.train[some]])).logits
            one.loss(logits, torch.from_numpy(one.targets[some])).mean().backward()
            optimizer.step()
    return network.eval()


def test_members_of_targets_end_where_plain_pytorch_ends():
    ones = [
        member(0),
        member(1, loss="ccc"),
        member(2, "multilabel", "binary-cross-entropy"),
        replace(
            member(3), training=Training(epochs=3, batch_size=7, monitor="loss", checkpoint="last", sampling="inverse")
        ),
    ]
    group = StackedTrainer(ones, SEQUENCES, threads=1, quiet=True, shown="loss")
    group.fit()
    rows = np.arange(28, 40)
    predicted = group.predict(rows)
    for one, history, values in zip(ones, group.histories, predicted, strict=True):
        network = trained_plainly(one)
        with torch.no_grad():
            expected = one.predicts.link(network(torch.from_numpy(SEQUENCES[rows])).logits).numpy()
        np.testing.assert_allclose(values, expected, rtol=2e-3, atol=2e-3)
        assert history[-1]["validation_loss"] == pytest.approx(one.predicts.measure(expected)["loss"], rel=1e-3)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Give OpenFace's tables of 14 people, whose course of AU4 is their pain, with a table of targets."""
    folder, random, rows = tmp_path_factory.mktemp("units"), np.random.default_rng(0), []
    for person in range(14):
        for take in range(8):
            pain, smile = float(random.choice([0, 0, 0, 1, 2, 3, 4])), int(random.integers(0, 2))
            course = np.linspace(0, 1, 12)[:, None] * np.array([[0.3, pain, 2.0 * smile]])
            values = np.abs(course + random.normal(0, 0.3, course.shape))
            name = f"p{person:02}-{take}.csv"
            pd.DataFrame(values, columns=["AU01_r", "AU04_r", "AU12_r"]).to_csv(folder / name, index=False)
            rows.append((name, f"p{person:02}", pain, smile, 1 - smile))
    pd.DataFrame(rows, columns=["path", "subject", PAIN, "AU12", "AU15"]).to_csv(folder / "targets.csv", index=False)
    return folder


def recipe(root, *targets, **more):
    return {
        "name": "sequences",
        "data": {
            "source": "openface",
            "root": str(root),
            "table": "targets.csv",
            "targets": targets,
            "sequences": {"frames": 6},
        },
        "protocol": {"test": 0.3, "validation": 0.2},
        "network": {"name": "recurrent", "recurrent": {"dense": 4, "hidden": 8, "top": 5}},
        "optimizer": {"name": "adam", "lr": 0.03, "weight_decay": 0},
        "augment": {"flip": 0},
        **more,
        "training": {"epochs": 10, "batch_size": 8, "accelerator": "cpu", **more.get("training", {})},
    }


@pytest.fixture(scope="module")
def pain(root, tmp_path_factory):
    return api.train(recipe(root, PAIN), out=tmp_path_factory.mktemp("pain") / "run", sample_faces=False)


def test_pain_is_learnt_and_the_stored_values_are_the_networks(pain, root, tmp_path):
    stored = pd.read_parquet(pain.folder / "predictions.parquet")
    error = np.abs(stored[f"v_{PAIN}"] - stored[f"y_{PAIN}"]).mean()
    assert error < 0.6 < np.abs(stored[f"y_{PAIN}"] - stored[f"y_{PAIN}"].mean()).mean()
    assert pain.metrics["overall"]["expected_mae"]["value"] == pytest.approx(error)
    assert pain.history["validation_ccc"].max() > 0.8
    model = ef.load(pain.folder)
    file = api.export(pain.folder, out=tmp_path / "pain.onnx").path
    for row in stored.iloc[:3].itertuples():
        for opened in (model, ef.load(file)):
            (found,) = opened(str(root / row.sample))
            assert found.values[PAIN] == pytest.approx(getattr(row, f"v_{PAIN}"), abs=1e-3)


def test_units_are_stored_with_thresholds_of_the_validation_data(root, tmp_path):
    settings = recipe(root, "AU12", "AU15", training={"epochs": 4, "thresholds": "validation"})
    run = api.train(settings, out=tmp_path / "run", sample_faces=False)
    assert run.metrics["task"] == "multilabel"
    assert Run.open(run.folder).results.thresholds == Run.open(run.folder).validation_results.thresholds
    stored = pd.read_parquet(run.folder / "predictions.parquet")
    for name in ("AU12", "AU15"):
        present = stored[f"v_{name}"] >= run.metrics["per_target"][name]["threshold"]
        confusion = pd.crosstab(stored[f"y_{name}"], present).to_numpy()
        assert macro_f1(confusion) > 0.9


def test_a_study_trains_losses_of_targets_as_one(root, tmp_path):
    definition = {
        "name": "losses",
        "about": "losses of pain",
        "recipe": recipe(root, PAIN, training={"epochs": 3}),
        "seeds": [0, 1],
        "factors": {"loss": {"plain": {"loss.name": "squared-error"}, "agreement": {"loss.name": "ccc"}}},
        "metrics": ["expected_mae", "ccc"],
        "baseline": {"loss": "plain"},
    }
    result = api.study(definition, out=tmp_path / "study", jobs=1)
    assert not result.failed
    folders = pd.read_csv(tmp_path / "study" / "runs.csv")["folder"]
    assert {Run(tmp_path / "study" / name).facts["together"] for name in folders} == {4}
    alone = api.train(recipe(root, PAIN, training={"epochs": 3}), out=tmp_path / "alone", sample_faces=False)
    together = next(Run(tmp_path / "study" / name) for name in folders if "plain" in name and "seed-0" in name)
    np.testing.assert_allclose(together.results.values, alone.results.values, rtol=1e-2, atol=1e-2)


def test_settings_are_searched_by_the_metric_of_the_task(root, tmp_path):
    search = {"trials": 3, "space": {"optimizer.lr": [1e-4, 1e-1]}}
    settings = recipe(root, PAIN, search=search, training={"epochs": 3})
    run = api.train(settings, out=tmp_path / "run", sample_faces=False)
    trials = pd.read_csv(run.folder / "search.csv")
    best = trials.loc[trials["validation_ccc"].idxmax()]
    assert run.facts["search"]["all"]["settings"]["optimizer.lr"] == pytest.approx(best["optimizer.lr"])


@pytest.mark.parametrize(
    ("loss", "targets", "message"),
    [
        ({"name": "balanced-mse", "learn_noise": True}, [PAIN], "learns weights of its own"),
        ({"name": "focal"}, [PAIN], "loss 'focal' is for classification"),
        ({"name": "gaussian-clouded"}, [], "loss 'gaussian-clouded' draws random numbers"),
    ],
)
def test_losses_that_networks_trained_as_one_cannot_have_are_refused(root, tmp_path, loss, targets, message):
    with pytest.raises(InputError, match=message):
        api.train(recipe(root, *targets, loss=loss), out=tmp_path / "run")
    assert not (tmp_path / "run" / "predictions.parquet").exists()
