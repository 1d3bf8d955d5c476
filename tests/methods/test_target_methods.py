"""Methods and tasks: every method on every task, and the methods of continuous targets against their definitions.

Values of public programs were computed by running these on the inputs of :func:`target_batches.wave`: FDS
(YyzHarry/imbalanced-regression, a6fdc45), RankSim (BorealisAI/ranksim-imbalanced-regression, 9e1c862) and ConR
(BorealisAI/ConR, ad6a8c9).
"""

import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from small import CLASSES, Small, batch, loss_for, step_context, task
from target_batches import NAN, wave

from evenface.data.manifest import TaskKind
from evenface.losses import LabelWeights, build_target_loss
from evenface.losses.label_density import gaussian_kernel
from evenface.methods import METHODS, Task, build_method
from evenface.methods.conr import contrastive
from evenface.methods.fds import FeatureStatistics, _smoothing_matrix
from evenface.methods.ranksim import rank_difference
from evenface.training.build import DEFAULT_LOSS
from evenface.utils.errors import InputError

NAMES = ("valence", "arousal")
TRAINING = {
    "regression": np.stack([np.arange(60) % 6, (np.arange(60) * 7 % 5) / 2], axis=1).astype(float),
    "multilabel": np.stack([np.arange(60) % 6 == 0, np.arange(60) % 2 == 0], axis=1).astype(float),
}
PAIRS = [(name, kind) for name in sorted(METHODS) for kind in get_args(TaskKind)]


def target_task(kind: str, names: tuple[str, ...] = NAMES) -> Task:
    return replace(task(), names=names, kind=kind, targets=TRAINING[kind][:, : len(names)], ordered=False)


def target_method(name: str, kind: str, names: tuple[str, ...] = NAMES, **options):
    torch.manual_seed(0)
    network = Small()
    network.reset_classifier(len(names))
    known = target_task(kind, names)
    loss = build_target_loss(DEFAULT_LOSS[kind], kind, targets=known.targets, names=names)
    if name == "fds" and len(names) > 1:
        options = {"target": names[1]} | options
    method = build_method(name, network, loss, task=known, **options)
    method.ctx = replace(step_context(), second=None)
    return method


def built_for(name: str, kind: str):
    if kind in TRAINING:
        return target_method(name, kind)
    torch.manual_seed(0)
    method = build_method(name, Small(), loss_for(name), task=replace(task(), kind=kind))
    method.ctx = step_context()
    return method


def batch_of(kind: str):
    images, classes = batch()
    return images, torch.tensor(TRAINING[kind][:4], dtype=torch.float32) if kind in TRAINING else classes


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_every_method_learns_the_tasks_it_declares_and_refuses_the_others(name, kind):
    if kind not in METHODS[name].tasks:
        with pytest.raises(InputError, match=f"method '{name}' is not for {kind} tasks") as refused:
            built_for(name, kind)
        assert "erm" in refused.value.hint
        return
    method, (images, targets) = built_for(name, kind), batch_of(kind)
    if kind in TRAINING:
        targets[1, 0] = NAN
    optimizer = torch.optim.SGD(method.parameters(), lr=0.01)
    for epoch in range(2):
        method.ctx = replace(method.ctx, epoch=epoch)
        optimizer.zero_grad()
        value = method(images, targets)
        assert value.shape == (4,)
        assert value.isfinite().all()
        value.mean().backward()
        optimizer.step()
    assert all(p.isfinite().all() for p in method.parameters())
    found = method.eval().predict(images)
    assert found.shape == (4, len(NAMES if kind in TRAINING else CLASSES))
    assert found.dtype == torch.float32


OF_TARGETS = [(name, kind) for name, kind in PAIRS if kind in TRAINING and kind in METHODS[name].tasks]


@pytest.mark.parametrize(("name", "kind"), OF_TARGETS)
@pytest.mark.parametrize("missing", ["all", "one target", "all but one sample"])
def test_missing_targets_train_too(name, kind, missing):
    method, (images, targets) = target_method(name, kind), batch_of(kind)
    targets = {"all": targets * NAN, "one target": targets * torch.tensor([1, NAN])}.get(missing, targets)
    if missing == "all but one sample":
        targets[1:] = NAN
    for epoch in range(2):
        method.ctx = replace(method.ctx, epoch=epoch)
        value = method(images, targets)
        value.mean().backward()
        assert value.isfinite().all()
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.grad is not None)


@pytest.mark.parametrize(("name", "kind"), OF_TARGETS)
def test_mixed_precision_gives_losses_of_32_bits(name, kind):
    method, (images, targets) = target_method(name, kind), batch_of(kind)
    for epoch in range(2):
        method.ctx = replace(method.ctx, epoch=epoch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = method(images, targets)
        assert value.dtype == torch.float32


@pytest.mark.parametrize(("name", "kind"), OF_TARGETS)
def test_stored_state_continues_as_if_it_had_not_been_stored(name, kind):
    method, (images, targets) = target_method(name, kind), batch_of(kind)
    method(images, targets)
    other = target_method(name, kind)
    other.load_state_dict(method.state_dict())
    for epoch in (1, 2):
        for one in (method, other):
            one.ctx = replace(one.ctx, epoch=epoch)
        torch.manual_seed(epoch)
        expected = method(images, targets)
        torch.manual_seed(epoch)
        assert torch.equal(other(images, targets), expected)
    assert not any(key.startswith(method.training_only) for key in method.inference_state())


@pytest.mark.parametrize(("name", "kind"), OF_TARGETS)
def test_weights_are_opened_without_the_training_targets(name, kind):
    """As a stored run is: its targets' statistics are among the weights, and what training held is not needed."""
    options = {"weights": "inverse"} if name == "conr" else {}
    method, (images, targets) = target_method(name, kind, **options), batch_of(kind)
    method(images, targets)
    state = method.inference_state()
    assert {key.split(".")[0] for key in state} == {"network", "link"}
    placeholder = replace(target_task(kind), targets=np.array([[0.0, 0.0], [1.0, 1.0]]))
    network = Small()
    network.reset_classifier(2)
    options |= {"target": NAMES[1]} if name == "fds" else {}
    loss = build_target_loss(DEFAULT_LOSS[kind], kind, targets=placeholder.targets, names=NAMES)
    opened = build_method(name, network, loss, task=placeholder, **options)
    opened.load_inference_state(state)
    assert torch.equal(opened.eval().predict(images), method.eval().predict(images))


# FDS.
LABELS = torch.tensor([0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5])


def filled(*epochs: torch.Tensor, momentum: float = 0.9, parts: int = 1) -> FeatureStatistics:
    found = FeatureStatistics(_smoothing_matrix(6, gaussian_kernel(3, 0.4)), 3, momentum)
    for features in epochs:
        for rows in torch.arange(14).chunk(parts):
            found.collect(features[rows], LABELS[rows], torch.ones(len(rows), dtype=torch.bool))
        found.finish_epoch()
    return found


@pytest.mark.parametrize("parts", [1, 3])
def test_statistics_and_smoothed_features_are_those_of_the_authors_program(parts):
    """All bins have samples here; its empty bins count with mean 0 and variance 1.

    The kernel is so narrow that the tails which its filter folds back are below 1e-5 of it.
    """
    one, two = wave(14, 3).float(), wave(14, 3, speed=2.1).float()
    found = filled(one, two, parts=parts)
    mean = [2.2634716, 0.47028634, -2.18711519, -1.26838088, -0.50400299, 1.60019314, 2.47487211, -0.35027701]
    mean += [-2.17861485, -1.50467479, 1.34425783, 1.36724508, 0.48980528, -2.52246189, 0.37191561, 0.33094841]
    variance = [1.00264096, 4.49948025, 0.2068751, 1.49131274, 6.81188393, 1.04735768, 0.04550191, 5.03255415]
    smooth = [1.97816122, 0.39158124, -1.8811686, -0.97453183, -0.45844129, 1.29458988, 2.16294026, -0.28804213]
    torch.testing.assert_close(found.running[0].flatten()[:16], torch.tensor(mean), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.running[1].flatten()[:8], torch.tensor(variance), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.smooth[0].flatten()[:8], torch.tensor(smooth), rtol=0, atol=5e-5)
    out = found.smoothed(wave(6, 3, speed=0.7).float(), torch.arange(6), torch.ones(6, dtype=torch.bool))
    expected = [1.64089298, 2.928725, 3.62390637, 1.23845768, -1.00009513, -2.77523184, -8.69749165, -1.82626367]
    expected += [1.44628251, 2.24841857, 2.74309349, 2.36935663, 0.86834997, 2.28665948, -2.62857866, -2.88737631]
    torch.testing.assert_close(out.flatten()[:16], torch.tensor(expected), rtol=0, atol=5e-4)


def test_running_statistics_are_averages_over_epochs():
    epochs = [wave(14, 3, speed=speed).float() for speed in (1.7, 2.1, 0.3)]
    found = filled(*epochs, momentum=0.75)
    for bin_ in range(6):
        means = [epoch[bin_ == LABELS].mean(dim=0) for epoch in epochs]
        variances = [epoch[bin_ == LABELS].var(dim=0) for epoch in epochs]
        for place, (first, second, third) in enumerate((means, variances)):
            expected = 0.75 * (0.75 * first + 0.25 * second) + 0.25 * third
            torch.testing.assert_close(found.running[place, bin_], expected, rtol=1e-5, atol=1e-6)


def test_bins_without_samples_have_no_part_in_the_sums():
    found = FeatureStatistics(_smoothing_matrix(3, gaussian_kernel(3, 1.0)), 1, 0.9)
    features = torch.tensor([[1.0], [3.0], [10.0], [14.0]])
    found.collect(features, torch.tensor([0, 0, 2, 2]), torch.ones(4, dtype=torch.bool))
    found.finish_epoch()
    # The middle bin has both neighbours; the mirrored scale gives the first bin nothing but itself.
    assert found.smooth[0].flatten().tolist() == pytest.approx([2, 7, 12])
    out = found.smoothed(torch.tensor([[5.0]] * 3), torch.tensor([1, 0, 0]), torch.tensor([True, False, True]))
    assert out.flatten().tolist() == [5, 5, 5]  # unseen bin, missing target, statistics that smoothing left alone


@pytest.mark.parametrize("bins", [1, 2, 3, 7])
def test_the_scale_is_mirrored_at_its_ends(bins):
    matrix = _smoothing_matrix(bins, gaussian_kernel(5, 2.0))
    values = np.random.default_rng(0).normal(size=bins)
    padded = np.pad(values, 2, mode="reflect")
    kernel = gaussian_kernel(5, 2.0) / gaussian_kernel(5, 2.0).sum()
    expected = [sum(kernel[d] * padded[b + d] for d in range(5)) for b in range(bins)]
    np.testing.assert_allclose(matrix @ values, expected)


def test_fds_smooths_from_its_first_epoch_on_and_never_at_inference():
    method, (images, targets) = target_method("fds", "regression", start=2), batch_of("regression")
    plain = target_method("erm", "regression")
    same = []
    for epoch in range(4):
        for one in (method, plain):
            one.ctx = replace(one.ctx, epoch=epoch)
        same.append(torch.equal(method(images, targets), plain(images, targets)))
    assert same[:2] == [True, True]
    # Of one sample in each bin there is no variance, by which features could be scaled.
    assert same[2:] == [True, True]
    targets[:] = targets[0]
    method, plain = target_method("fds", "regression", bins=2), target_method("erm", "regression")
    targets[2:] = torch.tensor([5.0, 2.0])
    for epoch in range(2):
        method.ctx = replace(method.ctx, epoch=epoch)
        value = method(images, targets)
    assert not torch.equal(value, plain(images, targets))
    plain.load_inference_state(method.inference_state())
    assert torch.equal(method.eval().predict(images), plain.eval().predict(images))


def test_fds_needs_the_target_of_its_bins():
    with pytest.raises(InputError, match=r"method 'fds': .* one target, and there are 2: valence, arousal"):
        target_method("fds", "regression", target=None)
    with pytest.raises(InputError, match="method 'fds': there is no target 'pain'"):
        target_method("fds", "regression", target="pain")
    assert target_method("fds", "regression", names=NAMES[:1]).column == 0
    assert target_method("fds", "regression").column == 1


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fds", {"momentum": 1.0}, "momentum must be from 0 to below 1"),
        ("fds", {"start": 0}, "start must be a whole number from 1"),
        ("fds", {"kernel_size": 2}, "kernel_size must be an odd number"),
        ("ranksim", {"weight": -1}, "weight must be a number >= 0"),
        ("ranksim", {"interpolation": 0}, "interpolation must be a number above 0"),
        ("conr", {"window": 0}, "window must be a number above 0"),
        ("conr", {"temperature": 0}, "temperature must be a number above 0"),
        ("conr", {"push": -1}, "push must be a number >= 0"),
        ("conr", {"weights": "inverted"}, "invalid option weights"),
    ],
)
def test_options_that_cannot_be_are_explained(name, options, message):
    with pytest.raises(InputError, match=message):
        target_method(name, "regression", **options)


# RankSim.
AGES = torch.tensor([0.0, 1.5, 2.2, 4.9, 7.3, 12.1], dtype=torch.float64)[:, None]


def ranked(values) -> list[float]:
    """Rank by counting: how many values are larger, plus one, divided by their number."""
    return [(1 + sum(other > value for other in values)) / len(values) for value in values]


@pytest.mark.parametrize(
    ("interpolation", "gradient"),
    [
        (2.0, [-0.00137736, -0.00588876, 0.00289483, 0.0051428, 0.01117756, 0.01363604, -0.01469142, -0.00985022]),
        (0.5, [-0.00550942, -0.02355505, 0.0115793, 0.0205712, 0.02975262, 0.03629663, -0.03910586, -0.02621948]),
    ],
)
def test_ranksim_is_what_the_authors_program_gives(interpolation, gradient):
    features = wave(6, 4).requires_grad_()
    value = rank_difference(features, AGES, interpolation)
    value.backward()
    assert value.item() == pytest.approx(0.04629629, abs=1e-7)
    torch.testing.assert_close(features.grad.flatten()[:8], torch.tensor(gradient).double(), rtol=1e-5, atol=2e-8)


def test_ranksim_has_the_same_gradient_when_losses_are_scaled():
    """Mixed precision multiplies the loss, and divides the gradient again."""
    plain, scaled = wave(6, 4).requires_grad_(), wave(6, 4).requires_grad_()
    rank_difference(plain, AGES, 2.0).backward()
    (65536 * rank_difference(scaled, AGES, 2.0)).backward()
    torch.testing.assert_close(scaled.grad / 65536, plain.grad)


def test_the_gradient_of_ranksim_is_that_of_the_weighted_term():
    """Derived by ranks that are counted, of similarities moved by the gradient of the weighted sum."""
    features, weight, interpolation = wave(6, 4).requires_grad_(), 6.3, 2.0
    rank_difference(features, AGES, interpolation, weight).backward()
    unit = torch.nn.functional.normalize(features, dim=1)
    similar = unit @ unit.T
    total = 0.0
    for i, row in enumerate(similar):
        own = ranked(row.tolist())
        true = ranked([-abs(float(AGES[i] - AGES[j])) for j in range(6)])
        step = [interpolation * weight * 2 * (a - b) / 6 for a, b in zip(own, true, strict=True)]
        moved = ranked([value + change for value, change in zip(row.tolist(), step, strict=True)])
        total = total + sum((m - o) / interpolation * s for m, o, s in zip(moved, own, row, strict=True))
    (expected,) = torch.autograd.grad(total, features)
    torch.testing.assert_close(features.grad, expected)


@pytest.mark.parametrize("width", [1, 2])
def test_ranksim_equals_its_definition(width):
    features, targets = wave(7, 4), wave(7, width, speed=0.77)
    targets[2] = NAN
    rows = [0, 1, 3, 4, 5, 6]
    total = 0.0
    for i in rows:
        near = [-math.dist(targets[i].tolist(), targets[j].tolist()) for j in rows]
        similar = [float(torch.cosine_similarity(features[i], features[j], dim=0)) for j in rows]
        total += sum((a - b) ** 2 for a, b in zip(ranked(near), ranked(similar), strict=True)) / len(rows)
    assert rank_difference(features, targets, 2.0).item() == pytest.approx(total, abs=1e-12)


def test_ranksim_takes_one_sample_of_each_target():
    targets = torch.tensor([[0.0], [1.0], [1.0], [NAN], [4.0]])
    features = wave(5, 3).float()
    possible = {round(float(rank_difference(features[[0, k, 4]], targets[[0, k, 4]], 2.0)), 6) for k in (1, 2)}
    found = set()
    for seed in range(20):
        torch.manual_seed(seed)
        found.add(round(float(rank_difference(features, targets, 2.0)), 6))
    assert found == possible


def test_ranksim_adds_its_weighted_term_to_every_sample():
    method, (images, targets) = target_method("ranksim", "regression", weight=3.0), batch_of("regression")
    out = method.network(images)
    term = rank_difference(out.features, method.encode(targets), 2.0)
    torch.testing.assert_close(method(images, targets), target_method("erm", "regression")(images, targets) + 3 * term)


# ConR.
NEAR = torch.tensor([0.0, 0.4, 1.2, 1.5, 3.1, 3.2], dtype=torch.float64)[:, None]
PREDICTED = wave(6, 1, speed=0.9, scale=1.0)
ETA = torch.tensor([1.0, 0.5, 2.0, 1.0, 1.0, 3.0], dtype=torch.float64)


def contrast(features, targets, outputs, weights, *, window, temperature, push, plus_one=False) -> float:
    """Compute the definition by loops; ``plus_one`` as the authors' program, with 1 for each sample not positive."""
    unit = features / features.norm(dim=1, keepdim=True)
    known = [i for i in range(len(targets)) if not targets[i].isnan().any()]
    total = 0.0
    for j in known:
        apart = {i: float((targets[j] - targets[i]).abs().mean()) for i in known}
        alike = {i: float((outputs[j] - outputs[i]).abs().mean()) <= window for i in known}
        score = {i: math.exp(float(unit[j] @ unit[i]) / temperature) for i in known}
        positive = [i for i in known if i != j and apart[i] <= window]
        negative = [i for i in known if apart[i] > window and alike[i]]
        if not positive or not negative:
            continue
        among = sum(score[i] for i in positive)
        among += sum(float(weights[j]) * math.exp(push * apart[i]) * score[i] for i in negative)
        among += plus_one * (len(known) - len(positive))
        total += float(weights[j]) * sum(-math.log(score[i] / among) for i in positive) / len(positive)
    return total / len(known)


@pytest.mark.parametrize(("weights", "expected"), [(torch.ones(6), 0.00826226), (ETA, 0.02528268)])
def test_conr_but_for_the_ones_in_the_denominator_is_what_the_authors_program_gives(weights, expected):
    options = {"window": 0.5, "temperature": 0.07, "push": 0.2}
    features = wave(6, 4)
    assert contrast(features, NEAR, PREDICTED, weights, **options, plus_one=True) == pytest.approx(expected, abs=1e-8)
    ours = contrastive(features, NEAR, PREDICTED, weights.double(), **options)
    assert ours.item() == pytest.approx(contrast(features, NEAR, PREDICTED, weights, **options), rel=1e-9)
    assert ours.item() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("width", [1, 2])
def test_conr_equals_its_definition_with_missing_targets(width):
    features, targets, outputs = wave(9, 4), wave(9, width, speed=0.77), wave(9, width, speed=1.3, scale=1.0)
    targets[4, 0] = NAN
    options = {"window": 1.2, "temperature": 0.3, "push": 0.4}
    weights = wave(9, scale=0.5) + 1
    expected = contrast(features, targets, outputs, weights, **options)
    assert expected > 0.1
    features.requires_grad_()
    found = contrastive(features, targets, outputs, weights, **options)
    assert found.item() == pytest.approx(expected, rel=1e-9)
    assert torch.autograd.gradcheck(lambda z: contrastive(z, targets, outputs, weights, **options), features)
    (gradient,) = torch.autograd.grad(found, features)
    assert (gradient[4] == 0).all()


def test_conr_of_samples_that_need_no_contrast_is_zero():
    options = {"window": 0.5, "temperature": 0.07, "push": 0.2}
    features = wave(6, 4).requires_grad_()
    found = contrastive(features, NEAR, NEAR, torch.ones(6).double(), **options)  # predictions are right: no negatives
    found.backward()
    assert found == 0
    assert (features.grad == 0).all()


def test_conr_contrasts_the_images_and_their_mirror_images():
    method = target_method("conr", "regression", weights="sqrt-inverse", window=0.5, weight=2.0).eval()
    images, targets = batch_of("regression")
    one, two = method.network(images), method.network(images.flip(-1))
    encoded = method.encode(targets)
    weights = LabelWeights(TRAINING["regression"], "sqrt-inverse")(targets).mean(dim=1)
    expected = contrast(
        torch.cat([one.features, two.features]).detach(),
        encoded.repeat(2, 1),
        torch.cat([one.logits, two.logits]).detach(),
        weights.repeat(2),
        window=0.5,
        temperature=0.07,
        push=0.16,
    )
    assert expected > 0
    plain = ((one.logits - encoded) ** 2).mean(dim=1)
    torch.testing.assert_close(method(images, targets), plain + 2 * expected, rtol=1e-4, atol=1e-5)
