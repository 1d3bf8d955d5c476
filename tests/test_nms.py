"""torchvision is imported where its compiled part does not fit, and keeps the boxes that it should."""

import importlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evenface.networks import torchvision_cpu


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


def test_nothing_is_done_where_torchvision_imports(monkeypatch):
    monkeypatch.setattr(torchvision_cpu, "_library", None)
    assert torchvision_cpu.ensure_torchvision() is False
    assert torchvision_cpu._library is None


def test_other_failures_of_the_import_are_not_hidden(monkeypatch):
    def fails(name):
        raise RuntimeError("something else")

    monkeypatch.setattr(torchvision_cpu, "_library", None)
    monkeypatch.setattr(importlib, "import_module", fails)
    with pytest.raises(RuntimeError, match="something else"):
        torchvision_cpu.ensure_torchvision()
