from dataclasses import replace

import numpy as np
import pytest
import torch
from small import CLASS_METHODS, COUNTS, Small, batch, built, loss_for, step_context, task
from torch import nn

from evenface.config import load_recipe
from evenface.losses import build_loss
from evenface.methods import METHODS, Method, build_method
from evenface.models import build_network
from evenface.training.class_prior import implied_prior
from evenface.utils.errors import InputError

every_method = pytest.mark.parametrize("name", CLASS_METHODS)


@every_method
@pytest.mark.parametrize("rows", [1, 4])
def test_training_gives_one_value_per_sample_and_finite_gradients(name, rows):
    method = built(name)
    method.ctx = step_context(rows)
    images, targets = batch(rows)
    value = method(images, targets)
    assert value.shape == (rows,)
    value.mean().backward()
    gradients = [p.grad for p in method.network.parameters() if p.grad is not None]
    assert all(torch.isfinite(g).all() for g in gradients)
    assert any(g.abs().sum() > 0 for g in gradients)


@every_method
@pytest.mark.parametrize("label", [0, 2])
def test_a_batch_of_one_class_trains_too(name, label):
    method = built(name)
    targets = torch.full((4,), label)
    method.ctx = replace(step_context(4), second=(method.ctx.second[0], targets))
    for _ in range(2):  # what was remembered of the first batch is used in the second
        value = method(batch(4)[0], targets)
        assert torch.isfinite(value).all()
        value.mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in method.parameters() if p.grad is not None)


@every_method
def test_it_says_truly_whether_a_step_moves_everything(name):
    method = built(name)
    method(*batch()).mean().backward()
    left_out = [key for key, parameter in method.named_parameters() if parameter.grad is None]
    assert not (method.uses_all_parameters and left_out)


@every_method
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_what_the_cpu_gives(name):
    values = []
    for device in ("cpu", "cuda"):
        method = built(name).to(device)
        second = tuple(part.to(device) for part in method.ctx.second)
        method.ctx = replace(step_context(4), indices=torch.arange(4).to(device), second=second)
        torch.manual_seed(0)
        images, targets = (part.to(device) for part in batch())
        assert torch.isfinite(method(images, targets)).all()
        with torch.no_grad():
            values.append(built(name).to(device).eval().predict(images).cpu())
    torch.testing.assert_close(*values, rtol=1e-3, atol=1e-4)


@every_method
def test_predictions_are_probabilities_in_any_precision(name):
    method = built(name).eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        p = method.predict(batch()[0])
    assert (p.shape, p.dtype) == ((4, 3), torch.float32)
    torch.testing.assert_close(p.sum(dim=1), torch.ones(4))


@every_method
def test_a_few_steps_learn_a_batch(name):
    images, targets = batch(8)
    images = images * 0.2 + targets[:, None, None, None] * 0.3  # brightness tells the class
    votes = torch.zeros(sum(COUNTS), 3)
    votes[:8] = 10 * nn.functional.one_hot(targets, 3)
    method = built(name, votes=votes)
    method.ctx = step_context(8)

    def surprise():
        """How far predictions are from the truth; the loss of mixed images or soft labels never gets small."""
        with torch.no_grad():
            p = method.eval().predict(images)
        method.train()
        return nn.functional.nll_loss(p.clamp_min(1e-6).log(), targets).item()

    optimizer = torch.optim.Adam(method.parameters(), lr=0.05)
    first = surprise()
    for _ in range(30):
        optimizer.zero_grad()
        method(images, targets).mean().backward()
        optimizer.step()
    assert surprise() < 0.65 * first  # focal loss on soft labels is content with half-sure predictions


@every_method
def test_stored_weights_predict_the_same_without_what_training_needed(name):
    method = built(name)
    method(*batch())  # moves the statistics of the batch norm
    state = method.inference_state()
    assert not any(key.startswith(method.training_only) for key in state)
    assert "loss." in method.training_only
    torch.manual_seed(7)
    other = build_method(name, Small(), loss_for(name), task=task())
    other.load_inference_state(state)
    images, _ = batch()
    assert torch.equal(other.eval().predict(images), method.eval().predict(images))


def test_erm_is_the_loss_of_the_logits():
    method = built(alpha=None).eval()
    images, targets = batch()
    p = method.predict(images).gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(method(images, targets), -((1 - p) ** 2) * p.log())


@pytest.mark.parametrize("change", ["missing", "more", "shape"])
def test_weights_of_something_else_are_refused_and_change_nothing(change):
    method, before = built(), {k: v.clone() for k, v in built().state_dict().items()}
    state = {name: torch.full_like(value, 3) for name, value in method.inference_state().items()}
    if change == "missing":
        del state["network.conv.bias"]
    elif change == "more":
        state["network.extra"] = torch.zeros(1)
    else:
        state["network.conv.bias"] = torch.zeros(9)
    with pytest.raises(InputError, match="1 tensors differ, first network"):
        method.load_inference_state(state)
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


@pytest.mark.parametrize(("name", "options", "says"), [("emr", {}, "erm"), ("erm", {"depth": 2}, "no option")])
def test_what_cannot_be_built_is_explained(name, options, says):
    with pytest.raises(InputError, match=says):
        build_method(name, Small(), nn.Identity(), task=task(), **options)


class Phased(Method):
    """What later methods need of the base: counts, an own head, phases, memory, parts for training alone."""

    training_only = ("loss.", "teacher.", "step")

    def __init__(self, network, loss, task, width=4):
        super().__init__(network, loss)
        self.mapping = nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, len(task.counts)))
        self.teacher = nn.Linear(8, 3)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def training_loss(self, images, targets):
        self.step += 1
        logits = self.network(images).logits
        return self.loss(logits if self.step % 2 else self.mapping(logits.detach()), targets)

    def predict(self, images):
        return self.mapping(self.network(images).logits).softmax(1)


def test_a_method_with_phases_and_heads_needs_no_change_of_the_base(monkeypatch):
    monkeypatch.setitem(METHODS, "phased", Phased)
    before = torch.random.get_rng_state()
    network, loss = Small(), build_loss("focal", COUNTS, alpha="inverse")
    torch.random.set_rng_state(before)
    one, two = (build_method("phased", network, loss, task=task(), seed=4, width=5) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(one.mapping[0].weight, two.mapping[0].weight)
    for learns, rests in ((one.network, one.mapping), (one.mapping, one.network)):
        one.zero_grad(set_to_none=True)
        one(*batch()).mean().backward()
        assert all(p.grad is not None for p in learns.parameters())
        assert all(p.grad is None for p in rests.parameters())
    kept = {name.split(".")[0] for name in one.inference_state()}
    assert kept == {"network", "mapping"}
    assert int(one.state_dict()["step"]) == 2


def test_a_real_network_trains_and_predicts():
    network = build_network("resnet18", 3, channels=1, size=48)
    method = build_method("erm", network, build_loss("class-balanced", COUNTS), task=task())
    images, targets = torch.rand(2, 1, 48, 48), torch.tensor([0, 2])
    method(images, targets).mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in method.parameters())
    assert method.eval().predict(images).shape == (2, 3)


@every_method
def test_the_declared_prior_is_that_of_the_minimum(name):
    """At even probabilities, on samples as often as 1 over the declared factors, nothing moves the classifier's bias.

    All samples show the same, and the classifier knows nothing yet, so only the frequency of the classes can move it.
    """
    method = built(name, alpha="inverse")
    factor = method.prior_factor(COUNTS)
    assert factor.shape == (3,)
    assert (factor > 0).all()
    if not method.exact_prior and name != "drw":  # drw: exact in its last part, which is not all of training
        return
    often = 60 / (method.loss.prior_factor(COUNTS) * factor)  # in proportion to counts, if the weights are inverse
    often = (often / often.min()).round().astype(int)
    targets = torch.arange(3).repeat_interleave(torch.tensor(often))
    images = torch.full((len(targets), 1, 16, 16), 0.5)
    method.ctx = replace(step_context(len(targets), epoch=9), second=None)
    last = method.mapping[-1] if name == "dicc" else method.network.classifier
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    (method(images, targets).mean()).backward()
    each = built("erm", alpha="inverse")
    nn.init.zeros_(each.network.classifier.weight)
    nn.init.zeros_(each.network.classifier.bias)
    each(images[:1], targets[:1]).mean().backward()  # what a single sample would move
    assert last.bias.grad.abs().max() < 0.02 * each.network.classifier.bias.grad.abs().max()


@every_method
def test_a_subclass_implies_what_its_parent_does_whatever_it_is_called(name, monkeypatch):
    """Class prior of a recipe: sampling of the last stage, loss and method together."""
    monkeypatch.setitem(METHODS, "mine", type("Mine", (METHODS[name],), {}))
    options = {} if METHODS[name].class_weights_only else {"loss.name": "focal", "loss.alpha": "effective"}
    recipe = {"name": "r", "data": {"source": "folder", "root": "x"}}
    own, other = (
        implied_prior(load_recipe(recipe, {"method.name": which, **options}), [30, 20, 10]) for which in ("mine", name)
    )
    np.testing.assert_array_equal(own.prior, other.prior)
    assert own.exact == other.exact
    assert own.reason == other.reason
