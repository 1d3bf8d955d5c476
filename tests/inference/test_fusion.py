"""Late fusion of runs: averaged logits, a joint head, what is refused, and what the fused run shows."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import average_precision_score, log_loss
from typer.testing import CliRunner

import evenface as ef
from evenface import api
from evenface.cli import app
from evenface.evaluation.target_summary import best_thresholds
from evenface.inference.fusion import _features, joint_head
from evenface.losses import build_loss
from evenface.runs import Run
from evenface.utils.errors import InputError
from evenface.utils.files import write_json_with_digest

CLASSES = ("calm", "pain")


def _names():
    return [f"p{person:02}-{take}" for person in range(15) for take in range(6)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Give the same samples as pictures and as tables of signals: each shows half of what there is to see."""
    folder, random = tmp_path_factory.mktemp("both"), np.random.default_rng(3)
    rows = []
    for part in ("video", "signals"):
        (folder / part).mkdir()
    for number, name in enumerate(_names()):
        label = number % 2
        picture = random.normal(100 + 25 * label, 40) + random.normal(0, 20, (32, 32))
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / "video" / f"{name}.png")
        level = 2 + label + random.normal(0, 1.3)
        values = (level + random.normal(0, 0.1, (8, 2))).clip(0, 5)
        pd.DataFrame(values, columns=["AU01_r", "AU04_r"]).to_csv(folder / "signals" / f"{name}.csv", index=False)
        rows.append((name, name[:3], CLASSES[label]))
    for part, suffix in (("video", "png"), ("signals", "csv")):
        table = pd.DataFrame(rows, columns=["sample", "subject", "label"])
        table.insert(0, "path", table["sample"] + f".{suffix}")
        table.to_csv(folder / part / "labels.csv", index=False)
    return folder


def recipe(root, **more):
    part = root.name
    sequences = part == "signals"
    return {
        "name": part,
        "data": {
            "source": "openface" if sequences else "csv",
            "root": str(root),
            "table": "labels.csv",
            **({"sequences": {"frames": 4}} if sequences else {"size": 32, "channels": 1}),
        },
        "protocol": {"test": 0.3, "validation": 0.2},
        "network": {"name": "recurrent", "recurrent": {"dense": 4, "hidden": 6, "top": 5}}
        if sequences
        else {"name": "compact_vgg_16_half", "dropout": 0},
        "training": {"epochs": 4, "batch_size": 16, "accelerator": "cpu"},
        "augment": {"flip": 0},
        **more,
    }


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [api.train(recipe(data / part), out=folder / part, sample_faces=False) for part in ("video", "signals")]


def test_averaged_logits_are_the_normalised_geometric_mean(runs, tmp_path):
    fused = ef.fuse([run.folder for run in runs], out=tmp_path / "fused", sample_faces=False)
    for name in ("predictions.parquet", "validation.parquet"):
        first, second, both = (pd.read_parquet(run.folder / name).set_index("sample") for run in (*runs, fused))
        columns = [f"p_{label}" for label in CLASSES]
        product = np.sqrt(first[columns] * second.loc[first.index, columns])
        expected = product.div(product.sum(axis=1), axis=0)
        pd.testing.assert_frame_equal(both.loc[first.index, columns], expected, rtol=1e-6)
    assert fused.metrics["overall"]["accuracy"]["value"] == pytest.approx(
        (fused.predictions.probabilities.argmax(axis=1) == fused.predictions.labels).mean()
    )


def test_a_joint_head_is_the_penalised_logistic_regression():
    random = np.random.default_rng(1)
    inputs, targets = random.normal(size=(60, 3)), random.integers(0, 3, 60)
    found = joint_head(
        torch.from_numpy(inputs), torch.from_numpy(targets), 3, build_loss("cross-entropy", [20, 20, 20]), 0.1
    ).numpy()

    def objective(flat):
        weights = flat.reshape(4, 3)
        p = log_softmax(inputs @ weights[:3] + weights[3], axis=1)
        return -p[np.arange(60), targets].mean() + 0.05 * (weights[:3] ** 2).sum()

    best = minimize(objective, np.zeros(12), tol=1e-10)
    ours = softmax(inputs @ found[:3] + found[3], axis=1)
    theirs = softmax(inputs @ best.x.reshape(4, 3)[:3] + best.x.reshape(4, 3)[3], axis=1)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_a_fused_run_is_shown_compared_and_made_once(runs, tmp_path):
    folders = [run.folder for run in runs]
    fused = ef.fuse(folders, out=tmp_path / "fused", by="features", sample_faces=False)
    assert np.isfinite(fused.predictions.probabilities).all()
    before = (fused.folder / "predictions.parquet").stat().st_mtime_ns
    again = ef.fuse(folders, out=tmp_path / "fused", by="features", sample_faces=False)
    assert (again.folder / "predictions.parquet").stat().st_mtime_ns == before
    with pytest.raises(InputError, match="holds something else"):
        ef.fuse(folders, out=tmp_path / "fused", by="logits")
    card, page = ((fused.folder / name).read_text() for name in ("model-card.md", "report.html"))
    assert "Late fusion of 2 runs by their features" in card
    assert "compact_vgg_16_half (random) and gru, widths 4-6-5" in page
    assert "late fusion of video, signals by a joint head" in " ".join(fused.facts["notes"])
    result = ef.compare([*folders, fused.folder], out=tmp_path / "compared", sample_faces=False)
    assert [method.name for method in result.comparison.methods][-1] == "fused"
    with pytest.raises(InputError, match="is a fusion of runs without weights"):
        ef.load(fused.folder)
    with pytest.raises(InputError, match="is a fusion of runs without weights"):
        ef.export(fused.folder)
    with pytest.raises(InputError, match="is a fusion of runs without weights"):
        ef.evaluate(fused.folder, on="fer2013")
    with pytest.raises(InputError, match="is a fusion, not a run that was trained"):
        ef.fuse([folders[0], fused.folder], out=tmp_path / "twice")


def test_an_interrupted_fusion_is_made_again_and_lost_samples_are_left_out(runs, data, tmp_path):
    root = tmp_path / "signals"
    shutil.copytree(data / "signals", root)
    table = pd.read_csv(root / "labels.csv")
    lost = runs[0].split.query("side == 'test'")["sample"].iloc[0]
    split = runs[0].split.set_index("sample")["side"]
    table = table.assign(split=split[table["sample"]].to_numpy())[table["sample"] != lost]
    table.to_csv(root / "labels.csv", index=False)
    short = api.train(recipe(root, protocol={"kind": "official"}), out=tmp_path / "short", sample_faces=False)
    fused = ef.fuse([runs[0].folder, short.folder], out=tmp_path / "fused", sample_faces=False)
    assert lost not in set(fused.predictions.sample)
    assert "1 samples are left out" in " ".join(fused.facts["notes"])
    before = fused.predictions.probabilities
    (tmp_path / "fused" / "predictions.parquet").unlink()
    again = ef.fuse([runs[0].folder, short.folder], out=tmp_path / "fused", sample_faces=False)
    np.testing.assert_array_equal(again.predictions.probabilities, before)


def test_runs_that_do_not_fit_are_refused(runs, data, tmp_path):
    with pytest.raises(InputError, match="two or more different runs"):
        ef.fuse([runs[0].folder], out=tmp_path / "one")
    other = api.train(
        recipe(data / "signals", protocol={"test": 0.3, "validation": 0.2, "seed": 5}),
        out=tmp_path / "other",
        sample_faces=False,
    )
    with pytest.raises(InputError, match=r"is of the set \w+ in .*, and of the set"):
        ef.fuse([runs[0].folder, other.folder], out=tmp_path / "split")
    assert not (tmp_path / "split" / "predictions.parquet").exists()
    assert Run(tmp_path / "other").finished


TRUE = {"multilabel": ("AU4", "AU12"), "regression": ("pain", "arousal")}


@pytest.fixture(scope="module", params=list(TRUE))
def target_runs(request, data, tmp_path_factory):
    """Train a run of images and one of signals on two targets, one of which is not known of every sample."""
    task, folder, random = request.param, tmp_path_factory.mktemp(request.param), np.random.default_rng(8)
    first, second = np.arange(len(_names())) % 2, random.integers(0, 2, len(_names()))
    true = np.stack([first, second], axis=1).astype(float)
    if task == "regression":
        true = true * 4 + random.normal(0, 0.5, true.shape)
    true[::7, 1] = np.nan
    made = []
    for part in ("video", "signals"):
        shutil.copytree(data / part, folder / part)
        table = pd.read_csv(folder / part / "labels.csv").drop(columns="label")
        table = table.assign(**dict(zip(TRUE[task], true.T, strict=True)))
        table.to_csv(folder / part / "labels.csv", index=False)
        given = recipe(folder / part)
        given["data"] |= {"task": task, "targets": list(TRUE[task])}
        given["training"] |= {"epochs": 2, **({"thresholds": "validation"} if task == "multilabel" else {})}
        made.append(api.train(given, out=folder / f"run-{part}", sample_faces=False))
    return task, made


def test_targets_are_averaged_as_values_or_logits(target_runs, tmp_path):
    task, runs = target_runs
    folders = [str(run.folder) for run in runs]
    assert CliRunner().invoke(app, ["fuse", *folders, "--out", str(tmp_path / "fused")]).exit_code == 0
    fused = Run.open(tmp_path / "fused")
    for name in ("predictions.parquet", "validation.parquet"):
        first, second, both = (pd.read_parquet(run.folder / name).set_index("sample") for run in (*runs, fused))
        for target in TRUE[task]:
            a, b = (table.loc[both.index, f"v_{target}"] for table in (first, second))
            mean = (a + b) / 2
            if task == "multilabel":
                odds = np.sqrt(a / (1 - a) * b / (1 - b))
                mean = odds / (1 + odds)
            np.testing.assert_allclose(both[f"v_{target}"], mean, rtol=1e-6)
    overall = fused.metrics["overall"]
    truth, values = fused.results.targets, fused.results.values
    known = ~np.isnan(truth)
    assert not known.all()
    if task == "regression":
        each = [np.abs(truth[k, i] - values[k, i]).mean() for i, k in enumerate(known.T)]
        assert overall["expected_mae"]["value"] == pytest.approx(np.mean(each))
    else:
        each = [average_precision_score(truth[k, i], values[k, i]) for i, k in enumerate(known.T)]
        assert [entry["target_average_precision"]["value"] for entry in fused.metrics["per_target"].values()] == (
            pytest.approx(each)
        )
        found = fused.validation_results
        assert fused.results.thresholds == best_thresholds(found)
    result = ef.compare([*folders, fused.folder], out=tmp_path / "compared", sample_faces=False)
    assert [method.name for method in result.comparison.methods][-1] == "fused"
    assert "compact_vgg_16_half (random) and gru, widths 4-6-5" in (fused.folder / "report.html").read_text()
    what = "logits" if task == "multilabel" else "values"
    assert f"Late fusion of 2 runs by their {what}" in (fused.folder / "model-card.md").read_text()
    assert f"late fusion of run-video, run-signals by averaged {what}" in fused.facts["notes"]


def test_a_joint_head_of_targets_is_a_regression_on_known_samples(target_runs, tmp_path):
    task, runs = target_runs
    fused = ef.fuse([run.folder for run in runs], out=tmp_path / "fused", by="features", sample_faces=False)
    split = runs[0].split
    names = {side: split["sample"][split["side"] == side].tolist() for side in ("train", "validation", "test")}
    x = {side: np.hstack([_features(run, own) for run in runs]) for side, own in names.items()}
    middle, spread = x["train"].mean(axis=0), x["train"].std(axis=0)
    x = {side: (values - middle) / np.where(spread > 0, spread, 1) for side, values in x.items()}
    table = runs[0].store.manifest.table.set_index("sample")
    for index, target in enumerate(TRUE[task]):
        y = {side: table.loc[own, target].to_numpy(dtype=float) for side, own in names.items()}
        keep = {side: ~np.isnan(values) for side, values in y.items()}
        n, tried = keep["train"].sum(), []
        for ridge in (1.0, 1e-1, 1e-2, 1e-3, 1e-4):
            if task == "regression":  # mean squared error in standard deviations + ridge / 2 |w|^2
                model = Ridge(alpha=n * ridge / 2)
                values = {s: model.fit(x["train"][keep["train"]], y["train"][keep["train"]]).predict(x[s]) for s in x}
                loss = np.mean((values["validation"] - y["validation"])[keep["validation"]] ** 2)
            else:
                model = LogisticRegression(C=1 / (n * ridge), tol=1e-8, max_iter=5000)
                model.fit(x["train"][keep["train"]], y["train"][keep["train"]])
                values = {s: model.predict_proba(x[s])[:, 1] for s in x}
                loss = log_loss(y["validation"][keep["validation"]], values["validation"][keep["validation"]])
            tried.append((loss, values["test"]))
        expected = pd.Series(min(tried, key=lambda pair: pair[0])[1], index=names["test"])
        np.testing.assert_allclose(fused.results.values[:, index], expected[fused.results.sample], atol=2e-3)


def test_targets_that_differ_are_refused(target_runs, runs, data, tmp_path):
    task, made = target_runs
    done = CliRunner().invoke(app, ["fuse", str(made[0].folder), str(runs[0].folder), "--out", str(tmp_path / "f")])
    assert done.exit_code == 2
    assert "has the classes calm, pain" in " ".join(done.stderr.split())
    copy = tmp_path / "copy"
    shutil.copytree(made[1].folder, copy)
    other = Run.open(copy)
    changed = other.results.targets.copy()
    changed[0, 0] = 1 - changed[0, 0]
    replace(other.results, targets=changed).save(copy / "predictions.parquet")
    facts = json.loads((copy / "run.json").read_text())
    facts["digests"].pop("predictions.parquet")
    write_json_with_digest(copy / "run.json", facts)
    with pytest.raises(InputError, match=f"{TRUE[task][0]} of .* is .* in .*run-video, and .* in .*copy"):
        ef.fuse([made[0].folder, copy], out=tmp_path / "g")
    assert not (tmp_path / "g" / "predictions.parquet").exists()
