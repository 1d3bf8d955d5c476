"""Methods of attention consistency: maps, terms and labels by naive loops, identities, and where gradients flow."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from small import COUNTS, Small, batch, step_context, task
from torch import nn

from evenface.config import load_recipe
from evenface.losses import build_loss
from evenface.methods import build_method
from evenface.methods.attention_consistency import TRANSFORMS, class_maps, map_distance, scaling, two_views
from evenface.methods.mek import smoothed_labels
from evenface.models import build_network
from evenface.utils.errors import InputError

ours = pytest.mark.parametrize("name", ["eac", "mek", "rebalanced-attention"])
every_transform = pytest.mark.parametrize("transform", sorted(TRANSFORMS))


def made(name, counts=COUNTS, loss="cross-entropy", **options):
    """Build a method on the small network, always with the same weights."""
    torch.manual_seed(0)
    return build_method(name, Small(), build_loss(loss, counts), task=task(counts), **options)


def both_views(method, images, transform="horizontal-flip"):
    """Give logits and aligned class-activation maps of both views as lists, by loops alone."""
    torch.manual_seed(3)
    view = TRANSFORMS[transform](images)
    out = method.network(torch.cat([images, view.images]))
    weight = method.network.classifier.weight.tolist()
    rows, side = len(images), out.maps.shape[-1]
    cams = torch.zeros(2 * rows, len(weight), side, side)
    for i, maps in enumerate(out.maps.tolist()):
        for label, per_channel in enumerate(weight):
            for h in range(side):
                for w in range(side):
                    cams[i, label, h, w] = sum(per_channel[c] * maps[c][h][w] for c in range(len(maps)))
    return out.logits[:rows], out.logits[rows:], cams[:rows], view.align(cams[rows:])


def naive_distance(one, two, weights, square=True):
    """Give the sum over classes of the mean over places, of one sample."""
    classes, height, width = one.shape
    total = 0.0
    for label in range(classes):
        for h in range(height):
            for w in range(width):
                gap = weights[label] * (float(one[label, h, w]) - float(two[label, h, w]))
                total += gap**2 if square else abs(gap)
    return total / height / width


def softmax(row):
    exps = [math.exp(z - max(row)) for z in row]
    return [e / sum(exps) for e in exps]


def rebalance(beta=0.999, normalise="classes"):
    raw = [(1 - beta) / (1 - beta**n) for n in COUNTS]
    scale = {"classes": len(raw) / sum(raw), "sum-one": 1 / sum(raw), "none": 1.0}[normalise]
    return [value * scale for value in raw]


@every_transform
@pytest.mark.parametrize(
    "options",
    [{}, {"distance": "absolute", "rbf": "both", "normalise": "none"}, {"beta": 0.9, "gamma": 1.0, "lam": 2.0}],
)
def test_rebalanced_attention_is_equations_1_to_7(transform, options):
    method = made("rebalanced-attention", transform=transform, **options)
    images, targets = batch()
    with torch.no_grad():
        torch.manual_seed(3)
        got = method(images, targets).tolist()
        first, second, one, two = both_views(method, images, transform)
    b = rebalance(options.get("beta", 0.999), options.get("normalise", "classes"))
    for i, y in enumerate(targets.tolist()):
        p, q = softmax(first[i].tolist())[y], softmax(second[i].tolist())[y]
        square = options.get("distance") != "absolute"
        rbc = naive_distance(one[i], two[i], b, square) / len(b)
        gamma, views = options.get("gamma", 2.0), [p, q] if options.get("rbf") == "both" else [p]
        rbf = sum(-b[y] * (1 - x) ** gamma * math.log(x) for x in views)
        expected = -math.log(p) - math.log(q) + options.get("lam", 0.1) * rbc + 0.5 * rbf
        assert got[i] == pytest.approx(expected, rel=1e-5)


def test_eac_is_the_loss_of_one_view_and_a_mean_square():
    method = made("eac", lam=5.0)
    images, targets = batch()
    with torch.no_grad():
        got = method(images, targets).tolist()
        first, _, one, two = both_views(method, images)
    for i, y in enumerate(targets.tolist()):
        expected = -math.log(softmax(first[i].tolist())[y]) + 5 * naive_distance(one[i], two[i], [1] * 3) / 3
        assert got[i] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("random_start", "options", "weights"),
    [(False, {}, [5, 5, 5]), (True, {}, [0, 2, 4]), (True, {"ramp": 0}, [5, 5, 5]), (False, {"ramp": 0.5}, [0, 4, 5])],
)
def test_the_weight_of_eac_rises_over_a_share_of_training_by_default_from_random_weights_only(
    random_start, options, weights
):
    known = replace(task(COUNTS), random_start=random_start)
    method = build_method("eac", Small(), build_loss("cross-entropy", COUNTS), task=known, lam=5.0, **options)
    images, targets = batch()
    first, _, ours, theirs = both_views(method, images)
    for epoch, weight in zip((0, 4, 8), weights, strict=True):
        method.ctx = step_context(epoch=epoch)
        for i, row in enumerate(method(images, targets).tolist()):
            gap = naive_distance(ours[i], theirs[i], [1.0] * len(COUNTS)) / len(COUNTS)
            cross_entropy = -math.log(softmax(first[i].tolist())[int(targets[i])])
            assert row == pytest.approx(cross_entropy + weight * gap, rel=1e-4)


def test_mek_sums_weighted_classes_and_smooths_in_favour_of_the_rare():
    method = made("mek", smoothing=0.3, lam=0.1)
    images, targets = batch()
    with torch.no_grad():
        got = method(images, targets).tolist()
        first, _, one, two = both_views(method, images)
    w = [sum(COUNTS) / (10 * n) for n in COUNTS]
    for i, y in enumerate(targets.tolist()):
        log_p = [math.log(p) for p in softmax(first[i].tolist())]
        label = [0.7 if k == y else 0.3 * w[k] / (sum(w) - w[y]) for k in range(3)]
        smoothed = -sum(t * lp for t, lp in zip(label, log_p, strict=True))
        consistency = naive_distance(one[i], two[i], [math.sqrt(x) for x in w])
        assert got[i] == pytest.approx(smoothed + 0.1 * consistency, rel=1e-5)


def test_mek_with_cross_entropy_is_torch_s_own_against_soft_labels():
    method = made("mek", lam=0.0)
    images, targets = batch()
    logits = two_views(method.network, images)[0].logits
    torch.testing.assert_close(method(images, targets).mean(), F.cross_entropy(logits, method.labels[targets]))


def test_mek_without_smoothing_is_the_loss_itself():
    method = made("mek", loss="focal", lam=0.0, smoothing=0.0)
    images, targets = batch()
    logits = two_views(method.network, images)[0].logits
    torch.testing.assert_close(method(images, targets), method.loss(logits, targets))


@given(st.lists(st.integers(1, 9999), min_size=2, max_size=9), st.floats(0, 0.99))
def test_smoothed_labels_are_probabilities_that_favour_the_rare(counts, smoothing):
    labels = smoothed_labels(1 / torch.tensor(counts, dtype=torch.float64), smoothing)
    torch.testing.assert_close(labels.sum(dim=1), torch.ones(len(counts), dtype=labels.dtype))
    torch.testing.assert_close(labels.diagonal(), torch.full((len(counts),), 1 - smoothing, dtype=labels.dtype))
    for y, row in enumerate(labels.tolist()):
        others = sorted((n, -t) for k, (n, t) in enumerate(zip(counts, row, strict=True)) if k != y)
        assert [t for _, t in others] == sorted(t for _, t in others)


def test_equal_weights_make_rbc_the_consistency_of_eac():
    images, targets = batch()
    terms = []
    for name, options in (("eac", {}), ("rebalanced-attention", {"mu": 0.0})):
        with_term, without = (made(name, [20, 20, 20], lam=lam, **options) for lam in (1.0, 0.0))
        terms.append(with_term.double()(images.double(), targets) - without.double()(images.double(), targets))
    assert terms[0].min() > 1e-4
    torch.testing.assert_close(terms[0], terms[1], rtol=1e-6, atol=1e-12)


def test_the_two_ablations_leave_out_one_term_each():
    images, targets = batch()
    values = {
        (lam, mu): made("rebalanced-attention", lam=lam, mu=mu)(images, targets) for lam in (0, 0.1) for mu in (0, 0.5)
    }
    torch.testing.assert_close(values[0.1, 0.5] - values[0, 0.5], values[0.1, 0] - values[0, 0])
    assert (values[0.1, 0] > values[0, 0]).all()
    assert (values[0, 0.5] > values[0, 0]).all()
    first, second, _ = two_views(made("eac").network, images)
    both = F.cross_entropy(first.logits, targets, reduction="none")
    both = both + F.cross_entropy(second.logits, targets, reduction="none")
    torch.testing.assert_close(values[0, 0], both)


@ours
@pytest.mark.parametrize("detach", [True, False])
def test_consistency_moves_the_maps_and_the_classifier_only_if_told(name, detach):
    options = {"detach": detach, "mu": 0.0} if name == "rebalanced-attention" else {}
    images, targets = batch()
    gradients = []
    for lam in (1.0, 0.0):
        method = made(name, lam=lam, **options)
        method(images, targets).mean().backward()
        gradients.append({key: p.grad for key, p in method.named_parameters()})
    moved = {key for key, grad in gradients[0].items() if not torch.allclose(grad, gradients[1][key], atol=1e-9)}
    own = {"network.classifier.weight"} if name == "rebalanced-attention" and not detach else set()
    assert moved - {"network.conv.bias"} == {"network.conv.weight", "network.norm.weight", "network.norm.bias"} | own


@pytest.mark.parametrize(("transform", "sign"), [("horizontal-flip", (-1, 1)), ("vertical-flip", (1, -1))])
@settings(max_examples=20)
@given(height=st.integers(1, 9), width=st.integers(1, 9))
def test_flipping_maps_equals_resampling_them_on_a_flipped_grid(transform, sign, height, width):
    maps = torch.randn(2, 3, height, width, dtype=torch.float64)
    theta = torch.tensor([[[sign[0], 0, 0], [0, sign[1], 0]]] * 2, dtype=torch.float64)
    grid = F.affine_grid(theta, [2, 3, height, width], align_corners=False)
    expected = F.grid_sample(maps, grid, align_corners=False)
    view = TRANSFORMS[transform](maps)
    torch.testing.assert_close(view.align(maps), expected, rtol=0, atol=1e-6)
    assert torch.equal(view.align(view.images), maps)


def test_scaling_shrinks_and_alignment_enlarges_again():
    x = torch.linspace(-1, 1, 33)
    ramp = (x[None, :] + 2 * x[:, None])[None, None].repeat(4, 1, 1, 1)
    view = scaling(ramp)
    slopes = view.images[:, 0, 16, 18] - view.images[:, 0, 16, 16]
    assert (slopes > 1.01 * float(ramp[0, 0, 16, 18])).all()
    assert (slopes < 2.01 * float(ramp[0, 0, 16, 18])).all()
    assert slopes.unique().numel() == 4  # each image by its own number
    inside = (slice(None), slice(None), slice(2, -2), slice(2, -2))  # a straight line survives but at the edge
    torch.testing.assert_close(view.align(view.images)[inside], ramp[inside], rtol=0, atol=1e-5)


def test_downsampling_loses_detail_and_moves_nothing():
    random = torch.rand(2, 3, 16, 16)
    view = TRANSFORMS["downsampling"](random)
    means = random.reshape(2, 3, 8, 2, 8, 2).mean(dim=(3, 5))
    # Bilinear enlargement by two: a quarter of the way from one mean to its neighbours.
    expected = (9 * means[..., 3, 4] + 3 * means[..., 2, 4] + 3 * means[..., 3, 3] + means[..., 2, 3]) / 16
    torch.testing.assert_close(view.images[..., 6, 8], expected)
    smooth = torch.linspace(0, 1, 16).expand(1, 1, 16, 16)
    torch.testing.assert_close(TRANSFORMS["downsampling"](smooth).images[..., 1:-1], smooth[..., 1:-1])
    assert torch.equal(view.align(random), random)


def test_intensity_darkens_and_erasing_changes_a_part():
    images = torch.rand(8, 3, 32, 32) * 0.5 + 0.25
    dark = TRANSFORMS["intensity"](images).images
    ratio = (dark / images).flatten(1)
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))
    assert ((ratio >= 0.5) & (ratio <= 1)).all()
    share = (TRANSFORMS["erase"](images).images != images).any(dim=1).flatten(1).float().mean(dim=1)
    assert ((share > 0.01) & (share < 0.3)).all()


@every_transform
def test_views_are_repeatable_and_of_the_same_form(transform):
    images = torch.rand(3, 1, 16, 16)
    views = []
    for _ in range(2):
        torch.manual_seed(9)
        views.append(TRANSFORMS[transform](images))
    assert torch.equal(views[0].images, views[1].images)
    assert not torch.equal(views[0].images, images)
    assert views[0].images.shape == images.shape
    assert (views[0].images.min() >= 0) & (views[0].images.max() <= 1)
    maps = torch.rand(3, 7, 2, 2)
    assert views[0].align(maps).shape == maps.shape


def test_intensity_and_erasing_leave_maps_where_they_are():
    maps = torch.rand(2, 3, 4, 4)
    for name in ("intensity", "erase"):
        assert torch.equal(TRANSFORMS[name](torch.rand(2, 1, 16, 16)).align(maps), maps)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenetv1_100", "swin_tiny_patch4_window7_224"])
def test_maps_average_to_the_logits_of_the_networks_that_suit(name):
    network = build_network(name, 4, channels=1, size=64).eval()
    with torch.no_grad():
        out = network(torch.rand(2, 1, 64, 64))
        maps = class_maps(out.maps, network.classifier)
    assert maps.shape[:2] == (2, 4)
    torch.testing.assert_close(maps.mean(dim=(2, 3)) + network.classifier.bias, out.logits, rtol=1e-4, atol=1e-5)


@ours
def test_a_network_with_layers_before_the_classifier_is_refused(name):
    images = torch.rand(2, 1, 32, 32)
    network = build_network("mobilenetv3_small_050", 3, channels=1, size=32)
    method = build_method(name, network, build_loss("cross-entropy", COUNTS), task=task())
    with pytest.raises(InputError, match="resnet18"):
        method(images, torch.tensor([0, 1]))
    if name == "rebalanced-attention":
        method.lam = 0.0
        assert method(images, torch.tensor([0, 1])).isfinite().all()


def test_maps_are_compared_in_32_bits():
    classifier = nn.Linear(8, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = class_maps(torch.rand(1, 8, 2, 2).bfloat16(), classifier)
    assert maps.dtype == torch.float32
    assert map_distance(maps, maps).abs().max() == 0


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("rebalanced-attention", {"transform": "flip"}, "consistency transform"),
        ("rebalanced-attention", {"distance": "square"}, "squared"),
        ("rebalanced-attention", {"rbf": "second"}, "invalid option rbf"),
        ("rebalanced-attention", {"mu": -1}, "mu must be"),
        ("rebalanced-attention", {"normalise": "one"}, "sum-one"),
        ("rebalanced-attention", {"gamma": -1}, "gamma"),
        ("eac", {"lam": float("nan")}, "invalid option lam"),
        ("mek", {"smoothing": 1.0}, "smoothing"),
    ],
)
def test_options_that_cannot_be_are_explained(name, options, says):
    with pytest.raises(InputError, match=says):
        made(name, **options)


@pytest.mark.parametrize("name", ["mek", "rebalanced-attention"])
def test_a_class_without_samples_is_named(name):
    with pytest.raises(InputError, match="the class sad has no training sample"):
        build_method(name, Small(), nn.Identity(), task=task([3, 0, 1]))


@ours
def test_nothing_beside_the_network_is_stored(name):
    method = made(name)
    assert {key.split(".")[0] for key in method.state_dict()} == {"network"}


def test_the_shipped_recipe_has_the_settings_of_the_paper():
    recipe = load_recipe("p2-rafdb")
    assert (recipe.data.source, recipe.data.size, recipe.data.channels) == ("rafdb", 224, 3)
    assert (recipe.optimizer.name, recipe.optimizer.lr, recipe.optimizer.weight_decay) == ("adam", 1e-4, 1e-4)
    assert (recipe.schedule.name, recipe.schedule.gamma) == ("exponential", 0.9)
    assert (recipe.training.epochs, recipe.training.batch_size) == (60, 32)
    method = build_method(
        recipe.method.name, Small(), build_loss("focal", COUNTS), task=task(), **recipe.method.options
    )
    assert (method.lam, method.mu, method.focal.gamma) == (0.1, 0.5, 2.0)
    assert recipe.deviations
