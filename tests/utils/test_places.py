"""``~`` is the home directory wherever a user may write a path, and no home is no reason to fail without a word."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from layouts import refused

import evenface as ef
from evenface.config import load_recipe
from evenface.runs import Run
from evenface.utils.errors import InputError
from evenface.utils.extras import examine
from evenface.utils.files import cache_folder, user_path


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home directory of one's own, seen from another."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    yield tmp_path / "home"
    assert not list((tmp_path / "here").iterdir())


def test_home_is_meant_by_its_sign(home, monkeypatch):
    assert user_path("~/a") == home / "a"
    assert user_path(Path("~")) == home
    assert user_path("a/~") == Path("a/~")
    monkeypatch.setenv("EVENFACE_CACHE", "~/cache")
    assert cache_folder() == home / "cache"
    monkeypatch.delenv("EVENFACE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "~/xdg")
    assert cache_folder() == home / "xdg" / "evenface"
    with refused("~nobody-of-this-name/x: the home directory is unknown"):
        user_path("~nobody-of-this-name/x")


def test_recipes_runs_and_tables_are_found_at_home(home):
    (home / "r.yaml").write_text("name: q\ndata: {source: folder}\n")
    assert load_recipe("~/r.yaml").name == "q"
    with refused(f"{home}/run is no run folder"):
        Run.open("~/run")
    with refused(f"the folder {home}/data"):
        ef.prepare("~/r.yaml", **{"data.root": "~/data"})


def test_verbs_write_at_home(home):
    (home / "f").write_text("a file")
    recipe = {"name": "q", "data": {"source": "folder", "root": "none"}}
    with refused(f"{home}/f"):
        ef.train(recipe, out="~/f")
    with refused(f"{home}/f must end in .csv"):
        ef.predict("~/a.png", "~/run", out="~/f")
    with refused(f"{home}/t.svg is a directory; expected a file"):
        (home / "t.svg").mkdir()
        ef.predict("~/a.png", "~/run", timeline="~/t.svg", out="~/p.csv")


def test_tables_of_findings_are_written_at_home(home, tmp_path):
    from own import pictures

    pictures(tmp_path / "d", {"a": 4, "b": 4})
    data = {"source": "folder", "root": str(tmp_path / "d"), "size": 32, "channels": 1}
    ef.check_data({"name": "q", "data": data, "protocol": {"validation": 0}}, out="~/found")
    assert list((home / "found").glob("*.csv"))


@pytest.mark.skipif(os.name == "nt", reason="Windows asks elsewhere")
def test_without_a_home_one_is_told_what_to_set(monkeypatch):
    for name in ("HOME", "EVENFACE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def nobody(_number):
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", nobody)
    with pytest.raises(InputError, match="there is no home directory") as told:
        cache_folder()
    assert "EVENFACE_CACHE" in told.value.hint
    assert ("cache", "EVENFACE_CACHE") in [(one.name, one.remedy.split()[1]) for one in examine() if one.remedy]


@pytest.mark.parametrize("root", [None, "nowhere/at/all"])
def test_data_that_are_not_there_are_told_before_anything_heavy_is_imported(tmp_path, root):
    recipe = {"name": "q", "data": {"source": "folder", "root": root}, "network": {"name": "test_resnet"}}
    code = (
        f"import sys, evenface as ef\ntry: ef.train({recipe!r}, out={str(tmp_path / 'r')!r})\n"
        "except ef.InputError as e: print(e.message, 'torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith(
        "recipe q: data.root is missing" if root is None else f"folder: the folder {root} does not exist"
    )
    assert said.strip().endswith("False")
    assert not (tmp_path / "r").exists()
