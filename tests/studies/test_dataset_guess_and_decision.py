"""Guessed data settings of a folder; only differences larger than noise are recommended."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from own import pictures
from scipy import stats
from statsmodels.stats.multitest import multipletests

from evenface.data.dataset_guess import guess_dataset
from evenface.studies.method_selection import CANDIDATES, decide, method_settings, own_recipe
from evenface.utils.errors import InputError


def scores(random, folds=5, gains=(0.0, 0.0, 0.0, 0.0), noise=0.02):
    """Balanced accuracies of ERM and of candidates with gains, with good and bad folds."""
    base = 0.5 + random.normal(0, 0.05, folds)
    columns = {"erm": base} | {f"c{i}": base + gain for i, gain in enumerate(gains)}
    return pd.DataFrame({name: values + random.normal(0, noise, folds) for name, values in columns.items()})


def test_the_decision_uses_the_residuals_of_a_two_way_table():
    table = scores(np.random.default_rng(0), gains=(0.05, 0.0, 0.1))
    found = decide(table)
    long = table.melt(var_name="method", value_name="y", ignore_index=False).reset_index(names="fold")
    fit = smf.ols("y ~ C(method, Treatment('erm')) + C(fold)", long).fit()
    assert fit.df_resid == 4 * 3
    error = np.sqrt(2 * fit.mse_resid * (1 / 5 + 1 / 4))
    alone = {}
    for one in found.candidates:
        assert one.difference == pytest.approx(fit.params[f"C(method, Treatment('erm'))[T.{one.name}]"])
        alone[one.name] = 2 * stats.t.sf(abs(one.difference) / error, fit.df_resid)
        independent = 2 * stats.t.sf(abs(one.difference) / np.sqrt(2 * fit.mse_resid / 5), fit.df_resid)
        assert one.p_independent == pytest.approx(independent)
        reach = stats.t.ppf(1 - 0.05 / 6, fit.df_resid) * error
        assert (one.low, one.high) == pytest.approx((one.difference - reach, one.difference + reach))
    corrected = multipletests(list(alone.values()), method="holm")[1]
    assert [one.p for one in found.candidates] == pytest.approx(corrected)
    assert [one.difference for one in found.candidates] == sorted(
        (o.difference for o in found.candidates), reverse=True
    )


def test_a_difference_that_is_not_there_is_seldom_recommended_and_a_large_one_mostly():
    random = np.random.default_rng(1)
    noise = [decide(scores(random)).recommended for _ in range(200)]
    assert np.mean([one is not None for one in noise]) <= 0.05
    large = [decide(scores(random, gains=(0.0, 0.1, 0.0, 0.0))).recommended for _ in range(50)]
    assert np.mean([one is not None and one.name == "c1" for one in large]) >= 0.9


def test_a_candidate_that_is_worse_is_not_recommended_however_sure_that_is():
    assert decide(scores(np.random.default_rng(2), gains=(-0.3, -0.2))).recommended is None


def test_without_any_spread_the_noise_is_not_known_and_nothing_is_recommended():
    table = pd.DataFrame({"erm": [0.5, 0.6, 0.7], "c": [0.7, 0.8, 0.9]})
    assert decide(table).recommended is None


def test_size_and_colour_of_images_are_guessed_from_a_folder(tmp_path):
    grey = guess_dataset(pictures(tmp_path / "grey", {"a": 3, "b": 2}, side=48))
    assert (grey.data["source"], grey.data["size"], grey.data["channels"]) == ("folder", 48, 1)
    assert "subjects" not in grey.data
    assert any("Subjects are unknown" in message for message in grey.messages)
    colour = guess_dataset(pictures(tmp_path / "colour", {"a": 3, "b": 2}, side=100, colour=True))
    assert (colour.data["size"], colour.data["channels"]) == (96, 3)
    assert "faces" not in colour.data
    large = guess_dataset(pictures(tmp_path / "large", {"a": 1, "b": 1}, side=400))
    assert large.data["faces"] == {"crop": "face"}


@pytest.mark.parametrize("below", ["", "train/"])
def test_folders_below_the_classes_are_people(tmp_path, below):
    for person in ("ann", "bob"):
        pictures(tmp_path, {f"{below}a": 2, f"{below}b": 1}, names=f"{person}/{{}}.png", seed=ord(person[0]))
    found = guess_dataset(tmp_path)
    assert set(found.manifest.table["subject"]) == {"ann", "bob"}
    assert any("interpreted as 2 subjects" in message for message in found.messages)


def test_a_table_is_read_for_what_its_paths_are(tmp_path):
    pictures(tmp_path, {"a": 2, "b": 2})
    rows = [{"path": f"{c}/{n}.png", "label": c, "subject": f"p{n}"} for c in "ab" for n in range(2)]
    pd.DataFrame(rows).to_csv(tmp_path / "faces.csv", index=False)
    for root in (tmp_path, tmp_path / "faces.csv"):
        found = guess_dataset(root)
        assert found.data["source"] == "csv"
        assert found.manifest.has_subjects
        own_recipe(found)


def test_tables_of_action_units_are_sequences(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(3):
            units = pd.DataFrame(np.random.default_rng(number).random((8, 2)), columns=["AU01_r", "AU04_r"])
            units.to_csv(tmp_path / name / f"{number}.csv", index=False)
    found = guess_dataset(tmp_path)
    assert found.data["source"] == "openface"
    assert own_recipe(found).network.name == "recurrent"


def test_official_splits_are_kept_and_user_settings_take_precedence(tmp_path):
    for side in ("train", "test"):
        pictures(tmp_path / side, {"a": 2, "b": 2})
    found = guess_dataset(tmp_path)
    assert own_recipe(found).protocol.kind == "official"
    assert own_recipe(found, {"training.epochs": 3, "data.size": 64}).training.epochs == 3


def test_fewer_images_are_trained_for_more_epochs_within_limits(tmp_path):
    few, more = pictures(tmp_path / "few", {"a": 5, "b": 5}), pictures(tmp_path / "more", {"a": 500, "b": 500})
    epochs = [own_recipe(guess_dataset(folder)).training.epochs for folder in (few, more)]
    assert epochs == [40, 24]


def test_names_of_methods_and_losses_are_known():
    assert method_settings("focal") == CANDIDATES["focal"]
    assert method_settings("ldam") == {"loss": {"name": "ldam"}}
    assert method_settings("mixup") == {"method": {"name": "mixup"}}
    with pytest.raises(InputError, match="Did you mean focal"):
        method_settings("focl")


def test_user_settings_define_how_a_table_is_read(tmp_path):
    pictures(tmp_path, {"a": 3, "b": 3})
    rows = [f"{name}/{i}.png{{}}{name}" for name in "ab" for i in range(3)]
    for delimiter in ";\t,|":
        (tmp_path / "t.csv").write_text("\n".join(line.format(delimiter) for line in ["path{}label", *rows]))
        given = {"data.delimiter": delimiter} if delimiter == "|" else {}
        assert guess_dataset(tmp_path / "t.csv", given).manifest.classes == ("a", "b")
    (tmp_path / "t.csv").write_text("\n".join(line.format(",") for line in ["image{}emotion", *rows]))
    assert (
        guess_dataset(tmp_path / "t.csv", {"data.columns": {"path": "image", "label": "emotion"}}).data["source"]
        == "csv"
    )
    with pytest.raises(InputError, match="expected the columns image and label") as told:
        guess_dataset(tmp_path / "t.csv")
    assert "data.columns" in told.value.hint
    assert "data.delimiter" in told.value.hint


def test_a_table_that_lists_no_files_leaves_the_folders_to_be_read(tmp_path):
    pictures(tmp_path, {"a": 3, "b": 3})
    (tmp_path / "labels.csv").write_text(",pth,label\n0,a/0.png,a\n")
    seen = guess_dataset(tmp_path)
    assert seen.data["source"] == "folder"
    assert any("labels.csv has no labels of files and is ignored" in message for message in seen.messages)
    with pytest.raises(InputError, match="expected the columns image and label"):
        guess_dataset(tmp_path, {"data.columns": {"path": "image"}})
