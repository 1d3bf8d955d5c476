"""The curriculum of augmentation: levels of classes, and what is tested and augmented."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import COUNTS, Small, batch, built, loss_for, step_context, task
from torchvision import transforms

from evenface.methods import augmentation_curriculum as module
from evenface.methods import build_method
from evenface.methods.augmentation_curriculum import LEVELS, augmented
from evenface.utils.errors import InputError


def method(counts=COUNTS, **options):
    built_method = build_method("augmentation-curriculum", Small(), loss_for("erm"), task=task(counts), **options)
    built_method.ctx = step_context()
    return built_method


@given(st.integers(0, 10), st.lists(st.integers(0, 20), min_size=11, max_size=11), st.sampled_from([0.3, 0.6]))
def test_levels_move_by_the_rule_of_the_public_program(level, right, threshold):
    """sumyeongahn/CUDA_LTR at commit f4c8d35, update_score_base: all ratios up to the level above the threshold."""
    curriculum = method(threshold=threshold)
    tests = np.array([20 if one <= level else 0 for one in range(11)])
    right = np.minimum(right, tests)
    curriculum.levels.fill_(level)
    curriculum.results.copy_(torch.from_numpy(np.stack([np.stack([right] * 3), np.stack([tests] * 3)])))
    curriculum._move_levels()
    with np.errstate(invalid="ignore"):
        ratio = right / tests
    condition = np.sum(ratio[: level + 1] > threshold) == level + 1
    assert curriculum.levels.tolist() == [min(max(level + (1 if condition else -1), 0), 10)] * 3
    assert not curriculum.results.any()


def test_a_class_without_tests_keeps_its_level():
    curriculum = method()
    curriculum.levels.copy_(torch.tensor([2, 0, 10]))
    curriculum._move_levels()
    assert curriculum.levels.tolist() == [2, 0, 10]


def test_images_are_tested_at_each_level_and_no_more_than_needed():
    curriculum = method(trials=2)
    curriculum.levels.copy_(torch.tensor([0, 2, 1]))
    curriculum.ctx = step_context(step=4)
    targets = torch.tensor([1, 0, 1, 1, 2])
    rows, levels = curriculum._due(targets.tolist())
    assert Counter(zip(rows, levels, strict=True)) == {
        **{(row, level): level + 1 for row in (0, 2) for level in (0, 1, 2)},
        (1, 0): 1,
        **{(4, level): level + 1 for level in (0, 1)},
    }
    curriculum._test(batch(5)[0], targets)
    assert curriculum.results[1, :, :4].tolist() == [[1, 0, 0, 0], [2, 4, 6, 0], [1, 2, 0, 0]]
    curriculum._test(batch(5)[0], targets)
    assert curriculum.results[1, :, :4].tolist() == [[2, 0, 0, 0], [2, 4, 6, 0], [2, 4, 0, 0]]


def test_classes_are_tested_at_the_end_of_an_epoch():
    curriculum, first = method(counts=[100, 40, 10], trials=10), {}
    for step in range(5):
        curriculum.ctx = step_context(step=step)
        for label in range(3):
            if curriculum._due([label])[0]:
                first.setdefault(label, step)
    assert first == {2: 0, 1: 2, 0: 4}  # the last 100 %, 50 % and 20 % of five steps, in whole ones


def epochs(curriculum, known, count):
    """Train for some epochs on an image of each class, with a network that is right about the known classes alone."""
    images, targets = batch(3)[0], torch.arange(3)
    tested, test, forward = [], curriculum._due, curriculum.network.forward

    def due(labels):
        rows, levels = test(labels)
        tested[:] = [labels[row] for row in rows]
        return rows, levels

    def answers(seen):
        outputs = forward(seen)
        if curriculum.network.training:
            return outputs
        labels, tested[:] = tested[: len(seen)], tested[len(seen) :]
        right = torch.tensor([label if label in known else (label + 1) % 3 for label in labels])
        return outputs._replace(logits=torch.nn.functional.one_hot(right, 3).float())

    curriculum._due, curriculum.network.forward = due, answers
    for epoch in range(count):
        for step in range(5):
            curriculum.ctx = replace(step_context(3), epoch=epoch, step=step, epochs=count)
            curriculum(images, targets)
    return curriculum.levels.tolist()


@pytest.mark.parametrize(("count", "expected"), [(4, 3), (15, LEVELS)])
def test_a_class_that_is_always_right_rises_by_one_in_each_epoch(count, expected):
    assert epochs(method(counts=[10, 10, 10], trials=2), known=(0, 1), count=count) == [expected, expected, 0]


def test_level_l_is_l_operations_of_that_strength(monkeypatch):
    made = []

    class Recording(transforms.RandAugment):
        def __init__(self, operations, magnitude):
            made.append((operations, magnitude))
            super().__init__(operations, magnitude)

    monkeypatch.setattr(transforms, "RandAugment", Recording)
    images = batch(4)[0]
    changed = augmented(images, [0, 10, 3, 0])
    assert made == [(10, 10), (3, 3)]
    assert torch.equal(changed[[0, 3]], images[[0, 3]])
    assert changed.dtype == torch.float32
    clip = images[:, None].repeat(1, 2, 1, 1, 1)
    torch.manual_seed(0)
    frames = augmented(clip, [5] * 4)
    assert torch.equal(frames[:, 0], frames[:, 1])


@pytest.mark.parametrize(("probability", "low", "high"), [(0.0, 0, 0), (0.5, 70, 130), (1.0, 200, 200)])
def test_images_are_augmented_as_often_as_they_should_and_by_their_class(monkeypatch, probability, low, high):
    curriculum, seen = built("augmentation-curriculum", probability=probability), []
    curriculum.levels.copy_(torch.tensor([4, 7, 9]))
    monkeypatch.setattr(module, "augmented", lambda images, levels: seen.append(levels) or images)
    monkeypatch.setattr(curriculum, "_due", lambda targets: ([], []))
    targets = torch.arange(3).repeat(67)[:200]
    torch.manual_seed(0)
    curriculum(torch.rand(200, 1, 16, 16), targets)
    (levels,) = seen
    assert low <= sum(level > 0 for level in levels) <= high
    expected = curriculum.levels[targets].tolist()
    assert all(level in (0, own) for level, own in zip(levels, expected, strict=True))


def test_the_levels_are_among_the_notes():
    curriculum = method()
    curriculum.levels.copy_(torch.tensor([3, 0, 10]))
    assert curriculum.training_notes(5) == ["levels of augmentation in the last epoch, of 10: happy 3, sad 0, fear 10"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"threshold": 1.0}, "threshold must be from 0 to below 1"),
        ({"trials": 0}, "trials must be a whole number of at least 1"),
        ({"probability": -0.5}, "probability must be from 0 to 1"),
    ],
)
def test_options_that_cannot_be_are_explained(options, says):
    with pytest.raises(InputError, match=says):
        method(**options)
