"""What every registered method declares is what it does."""

from dataclasses import replace

import pytest
import torch
from small import CLASS_METHODS, COUNTS, Small, batch, built, loss_for, step_context, task
from torch import nn

from evenface.config import load_recipe
from evenface.losses import build_loss
from evenface.methods import METHODS, Method, build_method
from evenface.models.backbone import Outputs
from evenface.training import build
from evenface.training.class_prior import implied_prior
from evenface.utils.errors import InputError

every_method = pytest.mark.parametrize("name", CLASS_METHODS)


class WithoutMaps(Small):
    """The network with empty maps, which takes its own features in place of images."""

    def forward(self, images):
        features = images if images.ndim == 2 else super().forward(images).features
        return Outputs(self.classifier(features), features, features.new_empty(len(features), 0, 0, 0))


def recipe_of(name, **settings):
    loss = {} if METHODS[name].class_weights_only else {"loss.name": "focal"}
    return load_recipe({"name": "r", "data": {"source": "folder"}, "method": {"name": name}}, {**loss, **settings})


def train_on(name, network, images, targets, **context):
    """Compute the first training loss of a method on a network, always with the same random numbers."""
    torch.manual_seed(0)
    method = build_method(name, network, loss_for(name), task=task())
    method.ctx = replace(step_context(), **context)
    if name == "augmentation-curriculum":
        method.levels.fill_(3)  # at level 0 images are as they are
    torch.manual_seed(1)
    return method, method(images, targets)


def seeded(kind, *, frozen=False):
    torch.manual_seed(0)
    network = kind()
    network.frozen_backbone = frozen
    return network.train()


@every_method
def test_stages_cover_the_run_and_change_what_learns(name):
    method, (images, targets) = built(name), batch()
    assert sum(stage.share for stage in method.stages) == pytest.approx(1)
    overrides = type(method).begin_stage is not Method.begin_stage
    assert overrides == (len(method.stages) > 1)

    def moved():
        method.zero_grad(set_to_none=True)
        method(images, targets).mean().backward()
        return {key for key, value in method.named_parameters() if value.grad is not None}

    for stage in range(1, len(method.stages)):
        before = moved()
        method.begin_stage(stage)
        assert moved() != before
        assert not method.uses_all_parameters


@every_method
def test_the_implied_prior_is_that_of_the_last_stage_s_sampling(name):
    last = built(name).stages[-1].sampling
    found = implied_prior(recipe_of(name), COUNTS)
    assert ("sampling" in found.reason) == (last not in (None, "none"))
    drawn = implied_prior(recipe_of(name, **{"training.sampling": "inverse"}), COUNTS)
    assert (drawn.prior == found.prior).all() == (last is not None)


@every_method
def test_votes_and_ordered_classes_are_needed_as_declared(name):
    method = METHODS[name]
    for needs, given in ((method.needs_votes, {"votes": None}), (method.needs_ordered_classes, {"ordered": False})):
        known = replace(task(), **given)
        if needs:
            with pytest.raises(InputError, match=f"method '{name}': th"):
                build_method(name, Small(), loss_for(name), task=known)
        else:
            build_method(name, Small(), loss_for(name), task=known)


@every_method
def test_the_form_of_the_loss_is_needed_as_declared(name):
    method = METHODS[name]
    for loss, refused in (
        (build_loss("focal", COUNTS), method.class_weights_only or method.one_vs_rest),
        (build_loss("cross-entropy", COUNTS, alpha="inverse"), method.one_vs_rest),
        (nn.CrossEntropyLoss(reduction="none"), method.class_weights_only or method.one_vs_rest),
        (loss_for("one-vs-all"), not method.one_vs_rest),
    ):
        if refused:
            with pytest.raises(InputError, match=f"method '{name}': .*loss"):
                build_method(name, Small(), loss, task=task())
        else:
            build_method(name, Small(), loss, task=task())


@every_method
def test_maps_are_needed_as_declared(name):
    images, targets = batch()
    _, value = train_on(name, seeded(Small), images, targets)
    if METHODS[name].needs_maps:
        assert METHODS[name].modalities == ("images",)
        with pytest.raises((InputError, RuntimeError)):
            train_on(name, seeded(WithoutMaps), images, targets)
    else:
        assert torch.equal(train_on(name, seeded(WithoutMaps), images, targets)[1], value)


@every_method
def test_cached_features_give_the_loss_of_the_images_as_declared(name):
    images, targets = batch()
    try:
        _, value = train_on(name, seeded(WithoutMaps, frozen=True), images, targets)
        features = seeded(Small, frozen=True)(images).features
        same = torch.allclose(train_on(name, seeded(WithoutMaps, frozen=True), features, targets)[1], value)
    except (InputError, RuntimeError, TypeError):  # it trains the backbone, or needs maps
        same = False
    assert same == METHODS[name].cached_features


@every_method
def test_sequences_are_learnt_by_the_loss_of_the_logits_alone(name):
    (images, targets), method = batch(), built(name)
    if "sequences" in method.modalities:
        assert torch.equal(method(images, targets), method.loss(method.network(images).logits, targets))
    recipe = recipe_of(name, **{"network.name": "recurrent"})
    if "sequences" in method.modalities:
        build.check_recipe(recipe)
    else:
        with pytest.raises(InputError, match=f"method '{name}' is for images, not for sequences"):
            build.check_recipe(recipe)


@every_method
def test_a_second_batch_is_used_as_declared(name):
    images, targets = batch()
    if METHODS[name].second_sampling:
        with pytest.raises(ValueError, match="two batches"):
            train_on(name, seeded(Small), images, targets, second=None)
    else:
        _, value = train_on(name, seeded(Small), images, targets)
        assert torch.equal(train_on(name, seeded(Small), images, targets, second=None)[1], value)


@every_method
def test_training_only_tensors_do_not_change_predictions(name):
    method, (images, targets) = built(name), batch()
    method(images, targets)
    with torch.no_grad():
        before = method.eval().predict(images)
        for key, value in method.state_dict().items():
            if key.startswith(method.training_only):
                value.copy_(torch.rand_like(value, dtype=torch.float32))
        assert torch.equal(method.predict(images), before)


@every_method
def test_absent_classes_are_allowed_as_declared(name):
    if not METHODS[name].allows_absent_classes:
        return
    counts = [30, 0, 10]
    loss = build_loss("cross-entropy", counts, alpha="inverse", absent=True)
    method = build_method(name, Small(), loss, task=task(counts))
    method.ctx = step_context()
    images, targets = batch()
    assert torch.isfinite(method(images, targets)).all()
    assert torch.isfinite(method.eval().predict(images)).all()


@every_method
def test_only_one_vs_rest_methods_have_scores_apart_from_probabilities(name):
    method, (images, _) = built(name).eval(), batch()
    with torch.no_grad():
        assert torch.equal(method.scores(images), method.predict(images)) != method.one_vs_rest
