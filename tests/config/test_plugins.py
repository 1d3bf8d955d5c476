"""Losses from outside the package: named by a recipe, run in a study, explained when they fail."""

import math
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

import evenface as ef
from evenface.cli import app
from evenface.losses import LOSSES, build_loss
from evenface.utils.errors import InputError
from evenface.utils.registry import load_plugins

pytestmark = pytest.mark.usefixtures("forked_workers")

EXAMPLE = Path(__file__).parents[2] / "examples/custom_loss.py"


@pytest.fixture(autouse=True)
def forgotten(monkeypatch, tmp_path):
    """Work in a folder of its own, and leave no loss behind."""
    monkeypatch.chdir(tmp_path)
    known = dict(LOSSES)
    yield
    LOSSES.clear()
    LOSSES.update(known)
    for name in [name for name in sys.modules if name.startswith("evenface_plugin_")]:
        del sys.modules[name]


def test_the_example_is_ten_lines_and_its_formula():
    lines = [line for line in EXAMPLE.read_text().splitlines() if line.strip() and not line.startswith('"""')]
    assert len(lines) <= 10
    load_plugins([str(EXAMPLE)])
    logits, targets = torch.tensor([[0.3, -1.0, 2.0]]), torch.tensor([1])
    p = math.exp(-1) / (math.exp(0.3) + math.exp(-1) + math.exp(2))
    got = build_loss("poly-1", [5, 4, 3], epsilon=2.0)(logits, targets)
    assert got.item() == pytest.approx(-math.log(p) + 2 * (1 - p), rel=1e-6)


def test_a_file_is_imported_once_and_may_come_again(tmp_path):
    (tmp_path / "mine.py").write_text(EXAMPLE.read_text() + "\nopen('seen', 'a').write('x')\n")
    load_plugins(["mine.py"])
    first = LOSSES["poly-1"]
    load_plugins(["mine.py", str(tmp_path / "mine.py")])
    assert (tmp_path / "seen").read_text() == "x"
    assert LOSSES["poly-1"] is first


def test_a_file_that_was_edited_is_imported_anew_and_takes_its_own_place(tmp_path):
    for default in ("1.0", "2.5"):
        (tmp_path / "mine.py").write_text(EXAMPLE.read_text().replace("epsilon=1.0", f"epsilon={default}"))
        load_plugins(["mine.py"])
        assert build_loss("poly-1", [5, 4, 3]).epsilon == float(default)


def test_two_files_cannot_have_the_same_name_of_a_loss(tmp_path):
    for name in ("one.py", "two.py"):
        shutil.copy(EXAMPLE, tmp_path / name)
    load_plugins(["one.py"])
    with pytest.raises(InputError, match=r"two.py, line \d+: ValueError: there already is a loss 'poly-1': .*one.py"):
        load_plugins(["two.py"])


def test_a_recipe_trains_by_it(small_recipe, tmp_path):
    shutil.copy(EXAMPLE, tmp_path)
    own = {"plugins": "custom_loss.py", "loss.name": "poly-1", "training.epochs": 1}
    plain = ef.train(small_recipe, out=tmp_path / "plain", sample_faces=False, **own, **{"loss.epsilon": 0.0})
    pushed = ef.train(small_recipe, out=tmp_path / "pushed", sample_faces=False, **own, **{"loss.epsilon": 3.0})
    usual = ef.train(small_recipe, out=tmp_path / "usual", sample_faces=False, **{"training.epochs": 1})
    assert plain.history["train_loss"][0] == pytest.approx(usual.history["train_loss"][0], rel=1e-6)
    assert pushed.history["train_loss"][0] > plain.history["train_loss"][0] + 0.5


def test_a_study_compares_with_it(small_recipe, tmp_path):
    shutil.copy(EXAMPLE, tmp_path)
    study = {
        "name": "custom-loss",
        "recipe": str(small_recipe),
        "set": {"plugins": ["custom_loss.py"], "training.epochs": 1},
        "factors": {"loss": {"cross-entropy": {}, "poly-1": {"loss": {"name": "poly-1", "epsilon": 2.0}}}},
        "baseline": {"loss": "cross-entropy"},
        "seeds": 1,
    }
    Path("own.yaml").write_text(yaml.safe_dump(study))
    done = CliRunner().invoke(app, ["study", "own.yaml", "--jobs", "1", "--out", "done"])
    assert done.exit_code == 0, done.output
    assert "poly-1" in done.output
    assert len(list(Path("done").rglob("predictions.parquet"))) == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "the plugin .*mine.py does not exist"),
        ("import torch\n1 / 0\n", "mine.py, line 2: ZeroDivisionError"),
        ("class (:\n", "mine.py, line 1: SyntaxError"),
        (
            "from evenface.losses import register_loss\nclass Mine: pass\nregister_loss('focal', Mine)\n",
            "line 3: ValueError: there already is a loss 'focal'",
        ),
    ],
)
def test_what_goes_wrong_is_said_with_file_and_line(tmp_path, text, says):
    if text is not None:
        (tmp_path / "mine.py").write_text(text)
    with pytest.raises(InputError, match=says):
        load_plugins(["mine.py"])
    assert "mine" not in LOSSES


def test_modules_go_by_their_dotted_names(tmp_path, monkeypatch):
    (tmp_path / "field").mkdir()
    (tmp_path / "field/extra_losses.py").write_text(EXAMPLE.read_text())
    monkeypatch.syspath_prepend(tmp_path)
    load_plugins(["field.extra_losses"])
    assert "poly-1" in LOSSES
    with pytest.raises(InputError, match=r"'field\.fewer_losses' is not installed as a module"):
        load_plugins(["field.fewer_losses"])


def test_the_command_line_says_it_in_a_sentence(small_recipe):
    done = CliRunner().invoke(app, ["train", str(small_recipe), "plugins=[none.py]", "--out", "run"])
    assert done.exit_code == 2
    assert isinstance(done.exception, SystemExit)
    assert not Path("run").exists()
