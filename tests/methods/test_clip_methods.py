"""Methods on clips: which learn from them, which say that they cannot, and the recipes that ship."""

import numpy as np
import pytest
import torch
from small import CLASS_METHODS, loss_for
from tiny import clips, network

from evenface.config import load_recipe
from evenface.config.recipe import Temporal
from evenface.methods import METHODS, StepContext, Task, build_method
from evenface.methods.base import TrainingPeople
from evenface.training import build
from evenface.utils.errors import InputError

# Methods.
COUNTS = np.array([6, 4, 2])


def task():
    names, people = ("a", "b", "c"), {"subject": [f"p{i % 4}" for i in range(12)]}
    votes, labels = torch.ones(12, 3), [0] * 12
    return Task(COUNTS, names, 4, votes, ordered=True, people=TrainingPeople(people, labels, names))


@pytest.mark.parametrize("name", [name for name in CLASS_METHODS if "clips" in METHODS[name].modalities])
@pytest.mark.parametrize("kind", ["mean", "bilstm", "attention", "transformer"])
def test_methods_with_a_classifier_learn_from_clips(name, kind):
    method = build_method(name, network(kind), loss_for(name), task=task())
    targets = torch.tensor([0, 1, 2, 0])
    for stage in range(len(method.stages)):
        if stage:
            method.begin_stage(stage)
        method.ctx = StepContext(0, 0, 2, 2, torch.arange(4))
        value = method.train()(clips(4), targets)
        assert value.shape == (4,)
        value.mean().backward()
    with torch.no_grad():
        found = method.eval().predict(clips(4))
    torch.testing.assert_close(found.sum(dim=1), torch.ones(4))


@pytest.mark.parametrize("name", sorted(name for name, method in METHODS.items() if method.needs_maps))
def test_methods_on_maps_say_that_they_cannot_take_clips(name):
    recipe = load_recipe({"name": "x", "data": {"source": "folder", "size": 32}, "method": {"name": name}})
    with pytest.raises(InputError, match=f"method '{name}' uses feature maps of single images"):
        build.build_method(recipe, COUNTS, frames=4)
    with pytest.raises(InputError, match="would ignore"):
        build.check_recipe(
            load_recipe(recipe.model_dump(), {"network.temporal.kind": "lstm", "network.temporal.over": "spatial"})
        )


# The two papers' recipes.
def test_the_shipped_recipes_have_the_settings_of_their_papers():
    p1, p3 = load_recipe("p1-biovid"), load_recipe("p3-pemf")
    assert (p1.network.name, p1.network.temporal) == (
        "resnet50",
        Temporal(kind="bilstm", over="frames", hidden=256, layers=2, dropout=0.3),
    )
    assert (p1.optimizer.name, p1.optimizer.lr, p1.optimizer.betas) == ("adamw", 1e-4, None)
    assert (p1.optimizer.clip_norm, p1.schedule.name, p1.schedule.gamma, p1.schedule.step_size) == (5, "step", 0.1, 20)
    assert (p1.training.epochs, p1.training.batch_size, p1.data.size, p1.data.channels) == (100, 8, 224, 3)
    counts = p1.protocol.imbalance.counts
    assert sum(counts.values()) == 2992  # Table 2
    assert list(counts.values()) == [int(0.8 * count) for count in (1340, 1050, 700, 400, 250)]
    assert (p3.network.name, p3.network.normalise, p3.method.name) == (
        "mobilenetv3_large_100",
        "half",
        "frozen-then-tuned",
    )
    assert (p3.augment.rotate, p3.augment.shift, p3.augment.zoom, p3.augment.shear) == (20, 0.15, 0.2, 0.05)
    assert (p3.loss.name, p3.loss.options, p3.optimizer.name) == ("focal", {"gamma": 2.0, "alpha": "inverse"}, "adam")
