"""Optional packages: imported when first used, and a missing one names its extra."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from evenface.utils.errors import InputError
from evenface.utils.extras import EXTRAS, LazyModule, require


def test_a_lazy_module_is_imported_when_a_name_of_it_is_used():
    code = (
        "import sys; from evenface.utils.extras import LazyModule; m = LazyModule('wave');"
        "assert 'wave' not in sys.modules and not hasattr(m, '__wrapped__') and 'wave' not in sys.modules;"
        "import wave; assert m.Wave_read is wave.Wave_read"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("module", "install"),
    [("missing_one.part", "missing_one"), ("torch", r"'evenface\[train\]'"), ("cv2", r"'evenface\[camera\]'")],
)
def test_a_missing_package_names_its_extra(monkeypatch, module, install):
    monkeypatch.setitem(sys.modules, module, None)
    message = rf"^{module.partition('.')[0]} is not installed\n  Install it: pip install {install}$"
    with pytest.raises(InputError, match=message):
        require(module)
    with pytest.raises(InputError, match=message):
        _ = LazyModule(module).anything


def test_the_package_that_a_module_lacks_is_named(tmp_path, monkeypatch):
    (tmp_path / "broken_inside.py").write_text("import not_there_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="not_there_at_all is not installed"):
        require("broken_inside")


def test_each_extra_of_a_module_is_one_of_the_package():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    assert set(EXTRAS.values()) <= set(project["optional-dependencies"])
    for module in ("torch", "pandas", "pyarrow", "matplotlib", "scipy", "timm", "statsmodels", "onnx", "optuna", "ray"):
        names = [re.split(r"[\[><=]", name)[0] for name in project["optional-dependencies"][EXTRAS[module]]]
        assert module in names
