"""Training precision: chosen by what the hardware has, recorded, kept when a run is resumed."""

import itertools
import signal
from pathlib import Path

import pytest
import torch
import yaml
from processes import fitted, in_process, same_run, train_and_die

import evenface as ef
from evenface.config import load_recipe, shipped_recipes
from evenface.reporting import summaries
from evenface.training import fabric
from evenface.training.fabric import choose_precision, has_bf16_units, inference_precision

ROOT = Path(ef.__file__).parent
SHIPPED = sorted([*(ROOT / "recipes").glob("*.yaml"), *(ROOT / "studies" / "definitions").glob("*.yaml")])


@pytest.mark.parametrize(
    ("flags", "units"),
    [
        ({"avx512_f": True, "avx512_bf16": True}, True),
        ({"amx_bf16": True, "avx512_bf16": False}, True),
        ({"avx512_f": True, "avx512_vnni": True, "amx_int8": True}, False),
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, False),
        ({"architecture": "arm64", "bf16": True}, False),
        ({}, False),
    ],
)
def test_a_processor_has_units_by_its_instruction_sets(flags, units, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags, raising=False)
    assert has_bf16_units("cpu") == units
    assert choose_precision("auto", "cpu") == ("bf16-mixed" if units else "32-true")


@pytest.mark.parametrize("capabilities_of", ["torch", "linux"])
def test_this_processor_is_known_by_what_linux_lists(capabilities_of, monkeypatch):
    listed = Path("/proc/cpuinfo")
    if not listed.is_file() or not torch.backends.mkldnn.is_available():
        pytest.skip("not Linux")
    if capabilities_of == "linux":
        monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)  # older than torch 2.10
    words = listed.read_text().split()
    assert has_bf16_units("cpu") == ("avx512_bf16" in words or "amx_bf16" in words)


def test_a_gpu_counts_only_with_native_units(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert choose_precision("auto", "cuda") == "32-true"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert choose_precision("auto", "cuda") == "bf16-mixed"


def test_what_is_asked_for_is_not_changed():
    for asked, accelerator in itertools.product(("32-true", "16-mixed", "bf16-mixed"), ("cpu", "cuda")):
        assert choose_precision(asked, accelerator) == asked
    assert inference_precision("16-mixed", "cpu") == "32-true"
    assert inference_precision("16-mixed", "cuda") == "16-mixed"
    assert inference_precision("bf16-mixed", "cpu") == "bf16-mixed"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_no_shipped_recipe_or_study_fixes_the_precision(path):
    def keys(content):
        if isinstance(content, dict):
            for key, value in content.items():
                yield str(key)
                yield from keys(value)

    settings = yaml.safe_load(path.read_text())
    settings = [settings.get(key) for key in ("training", "factors", "datasets", "sizes", "set")]
    assert not [key for part in settings for key in keys(part) if key.endswith("precision")]


def test_the_default_of_every_recipe_is_auto():
    assert {load_recipe(name).training.precision for name in shipped_recipes()} == {"auto"}


def with_units(units, monkeypatch):
    monkeypatch.setattr(fabric, "has_bf16_units", lambda _accelerator: units)


@pytest.mark.parametrize(("units", "chosen"), [(True, "bf16-mixed"), (False, "32-true")])
def test_auto_trains_as_the_precision_that_it_chooses_and_says_which(
    units, chosen, small_recipe, tmp_path, monkeypatch
):
    with_units(units, monkeypatch)
    once = {"training.epochs": 1}
    run = fitted(small_recipe, out=tmp_path / "auto", **once, **{"training.precision": "auto"})
    fixed = fitted(small_recipe, out=tmp_path / "fixed", **once, **{"training.precision": chosen})
    same_run(run.folder, fixed.folder)
    assert run.recipe.training.precision == "auto"
    assert run.facts["precision"] == run.precision == chosen
    assert summaries.provenance([run])["precision"] == f"{chosen}, chosen by the hardware"
    assert chosen in (run.folder / "log.txt").read_text()
    if units:
        ef.evaluate(run.folder)
        assert f"Trained in {chosen}, chosen by the hardware." in (run.folder / "model-card.md").read_text()
        assert f"{chosen}, chosen by the hardware" in (run.folder / "report.html").read_text()


def test_a_run_goes_on_in_its_precision_on_other_hardware(small_recipe, tmp_path, monkeypatch):
    often = {"training.checkpoint_minutes": 1e-4, "training.epochs": 2, "training.precision": "auto"}
    with_units(True, monkeypatch)
    whole = fitted(small_recipe, out=tmp_path / "whole", **often)
    process = in_process(train_and_die, 5, small_recipe, out=tmp_path / "run", **often)
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    with_units(False, monkeypatch)
    resumed = fitted(small_recipe, out=tmp_path / "run", resume=True, **often)
    same_run(whole.folder, resumed.folder)
    assert resumed.facts["precision"] == "bf16-mixed"
    said = "resumed in bf16-mixed, as the run began; training.precision=auto is 32-true on this machine"
    assert said in (resumed.folder / "log.txt").read_text()
    other = fitted(small_recipe, out=tmp_path / "other", **often)
    assert other.facts["precision"] == "32-true"
    different = "the runs were trained in different precisions: bf16-mixed, 32-true"
    assert different in summaries.protocol_notes({"a": [resumed], "b": [other]})
    assert different not in summaries.protocol_notes({"a": [resumed, whole]})
