"""Outputs that cannot be written: one sentence in every command, before any work, and no incomplete files."""

import sys

import pytest
from typer.testing import CliRunner

from evenface.cli import app


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "t.csv"
    rows = [f"{fold},{net},{fold / 10 + len(net) / 7}" for fold in range(5) for net in ("a", "bb")]
    path.write_text("\n".join(["fold,net,accuracy", *rows]))
    return path


VERBS = {
    "train": ("train", "{recipe}", "--out", "{place}"),
    "train --data": ("train", "--data", "{people}", "--out", "{place}"),
    "pretrain": ("pretrain", "--data", "{people}", "--batch-size", "8", "--out", "{place}"),
    "train --data --method auto": ("train", "--data", "{people}", "--method", "auto", "--out", "{place}"),
    "compare": ("compare", "{runs}/plain", "{runs}/weighted", "--out", "{place}"),
    "fuse": ("fuse", "{runs}/plain", "{runs}/weighted", "--out", "{place}"),
    "study": ("study", "p2-table1", "--on", "synthetic", "--size", "quick", "--out", "{place}"),
    "predict": ("predict", "{people}", "--model", "{runs}/plain", "--csv", "{place}.csv"),
    "predict --annotate": ("predict", "{people}", "--model", "{runs}/plain", "--annotate", "{place}"),
    "predict --timeline": ("predict", "{people}", "--model", "{runs}/plain", "--timeline", "{place}.svg"),
    "explain": ("explain", "{people}", "--model", "{runs}/plain", "--out", "{place}"),
    "export": ("export", "{runs}/plain", "--out", "{place}.onnx"),
    "evaluate --on": ("evaluate", "{runs}/plain", "--on", "{recipe}", "--out", "{place}"),
    "data check": ("data", "check", "{recipe}", "--out", "{place}"),
    "audit dataset": ("audit", "dataset", "{people}", "--out", "{place}"),
    "weights convert": ("weights", "convert", "{table}", "--out", "{place}.safetensors"),
    "prepare --contact-sheets": ("prepare", "{recipe}", "--contact-sheets", "{place}"),
    "stats": ("stats", "{table}", "--value", "accuracy", "--factors", "net", "--unit", "fold", "--out", "{place}"),
    "demo": ("demo", "--out", "{place}"),
    "app --save-uploads": ("app", "{runs}", "--no-open", "--port", "0", "--save-uploads", "{place}"),
}


@pytest.fixture
def call(two_runs, small_recipe, people_folder, table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {"recipe": small_recipe, "people": people_folder, "runs": two_runs, "table": table}

    def called(verb, place):
        result = CliRunner().invoke(app, [word.format(**given, place=place) for word in VERBS[verb]])
        assert isinstance(result.exception, SystemExit), result.exception
        assert result.exit_code == 2, result.output
        return result

    return called


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a file system in which nothing can be made")
@pytest.mark.parametrize("verb", VERBS)
def test_an_output_that_cannot_be_created_is_refused(
    verb, two_runs, small_recipe, people_folder, table, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    given = {"recipe": small_recipe, "people": people_folder, "runs": two_runs, "table": table, "place": "/proc/nope/x"}
    result = CliRunner().invoke(app, [word.format(**given) for word in VERBS[verb]])
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 2, result.output
    assert result.output.startswith("evenface: cannot write /proc/nope/x"), result.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("verb", VERBS)
def test_a_file_where_a_folder_is_expected_is_refused(verb, call, tmp_path):
    (tmp_path / "file").write_text("mine")
    result = call(verb, "file/x")
    assert "file" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_every_command_with_an_output_is_tested():
    from typer.main import get_command

    commands = get_command(app).commands
    verbs = {
        name: [command] if not hasattr(command, "commands") else command.commands.values()
        for name, command in commands.items()
    }
    writing = {
        name
        for name, found in verbs.items()
        for command in found
        for option in command.params
        if set(option.opts) & {"--out", "--contact-sheets", "--save-uploads", "--annotate", "--timeline"}
    }
    assert writing == {words[0] for words in VERBS.values()}
