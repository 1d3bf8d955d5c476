"""torchvision is imported where its compiled part does not fit, and keeps the boxes that it should."""

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evenface.utils import torchvision_cpu


# torchvision without its compiled operators.
def naive_nms(boxes, scores, limit):
    left, kept = sorted(range(len(boxes)), key=lambda i: -scores[i]), []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [i for i in left if overlap(boxes[best], boxes[i]) <= limit]
    return kept


def overlap(a, b):
    shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    both = sum((x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)) - shared
    return shared / both


boxes = st.builds(
    lambda x, y, w, h: [x, y, x + w, y + h],
    *(st.integers(0, 20), st.integers(0, 20), st.integers(1, 20), st.integers(1, 20)),
)


@given(st.lists(boxes, max_size=12), st.sampled_from([0.0, 0.3, 0.7, 1.0]), st.randoms(use_true_random=False))
def test_nms_keeps_what_a_naive_loop_keeps(some, limit, random):
    scores = random.sample(range(100), len(some))
    got = torchvision_cpu.nms(
        torch.tensor(some, dtype=torch.float64).reshape(-1, 4), torch.tensor(scores, dtype=torch.float64), limit
    )
    assert got.tolist() == naive_nms(some, scores, limit)
    assert got.dtype == torch.int64


def test_torchvision_works_after_the_import():
    from torchvision.ops import batched_nms
    from torchvision.transforms import v2

    two = torch.tensor([[0, 0, 10, 10], [1, 1, 10, 10.0]])
    assert batched_nms(two, torch.tensor([0.5, 0.9]), torch.tensor([0, 0]), 0.5).tolist() == [1]
    assert batched_nms(two, torch.tensor([0.5, 0.9]), torch.tensor([0, 1]), 0.5).tolist() == [1, 0]
    assert v2.functional.horizontal_flip(two).tolist() == two.flip(-1).tolist()


def test_the_hook_is_installed_once():
    before = list(sys.meta_path)
    torchvision_cpu.install()
    assert sys.meta_path == before


def test_a_plugin_may_import_timm_first(tmp_path):
    """In a new process, where nothing of evenface has imported it before."""
    plugin = tmp_path / "mine.py"
    plugin.write_text("import timm, torchvision\nassert torchvision.__spec__.loader.get_source('torchvision')\n")
    code = f"from evenface.utils.registry import load_plugins; load_plugins([{str(plugin)!r}])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def fake_torchvision(folder, first_time):
    """A package of that name whose first import fails as told, and its later ones do not."""
    (folder / "torchvision").mkdir()
    (folder / "torchvision/ops").mkdir()
    (folder / "torchvision/ops/__init__.py").write_text("")
    (folder / "torchvision/ops/boxes.py").write_text("")
    (folder / "torchvision/__init__.py").write_text(
        "import sys\ntries = sys.__dict__.setdefault('tries', [])\ntries.append(0)\n"
        f"if len(tries) == 1:\n    raise RuntimeError({first_time!r})\n"
    )


@pytest.mark.parametrize(
    ("first_time", "ends"),
    [(torchvision_cpu.MESSAGE, "2 1"), ("something else", "something else")],
)
def test_only_the_missing_operators_are_made_up_for(first_time, ends, tmp_path):
    fake_torchvision(tmp_path, first_time)
    code = "import sys, evenface, torchvision; print(len(sys.tries), len(evenface.utils.torchvision_cpu._libraries))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (done.stdout + done.stderr).strip().endswith(ends)
