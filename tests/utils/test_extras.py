"""Optional packages: imported when first used, and a missing one names its extra."""

import subprocess
import sys

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
    ("module", "extra"), [("missing_one", "train"), ("missing_one.part", "train"), ("cv2", "camera")]
)
def test_a_missing_package_names_its_extra(monkeypatch, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    message = rf"^{module.partition('.')[0]} is not installed\n  .*'evenface\[{extra}\]'$"
    with pytest.raises(InputError, match=message):
        require(module)
    with pytest.raises(InputError, match=message):
        _ = LazyModule(module).anything


def test_the_package_that_a_module_lacks_is_named(tmp_path, monkeypatch):
    (tmp_path / "broken_inside.py").write_text("import not_there_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="not_there_at_all is not installed"):
        require("broken_inside")
    assert set(EXTRAS.values()) <= {"camera", "explain", "export"}
