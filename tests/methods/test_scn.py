"""SCN: attention weights, ranks, and which labels change."""

import math

import pytest
import torch
from small import COUNTS, batch, built, task
from torch import nn
from torch.nn.functional import cross_entropy

import evenface as ef
from evenface.losses import build_loss
from evenface.methods import StepContext, base, build_method
from evenface.models.backbone import Outputs
from evenface.reporting import summaries
from evenface.utils.errors import InputError


class Given(nn.Module):
    """Says the logits that it is told, with one feature per sample."""

    def __init__(self):
        super().__init__()
        self.classifier = nn.Linear(1, 3)

    def forward(self, images):
        return Outputs(images[:, 0, 0, 1:4], images[:, 0, 0, :1], images)


def told(logits, attention, places, epoch=9, **options):
    """Build SCN whose attention weights are the sigmoid of the given numbers, and the images that say all this."""
    method = build_method("scn", Given(), build_loss("cross-entropy", COUNTS), task=task(), **options)
    nn.init.ones_(method.attention.weight)
    nn.init.zeros_(method.attention.bias)
    method.ctx = StepContext(epoch, 0, 70, 5, torch.tensor(places))
    images = torch.cat([torch.tensor(attention)[:, None], torch.tensor(logits)], dim=1)[:, None, None]
    return method, images.float()


def changed(method):
    """Which labels are no longer those given."""
    return {place: label for place, label in enumerate(method.relabelled.tolist()) if label >= 0}


def test_equal_weights_scale_the_logits_and_leave_the_whole_margin():
    method = built("scn", margin=0.15)
    nn.init.zeros_(method.attention.weight)
    nn.init.zeros_(method.attention.bias)
    images, targets = batch()
    expected = method.loss(0.5 * method.network(images).logits, targets) + 0.15
    torch.testing.assert_close(method(images, targets), expected)


@pytest.mark.parametrize(("gamma", "beta"), [(0.5, 0.7), (0.2, 0.5), (0.0, 0.7), (1.0, 0.3)])
def test_the_loss_is_its_definition_sample_by_sample(gamma, beta):
    torch.manual_seed(3)
    attention, logits = torch.randn(7).tolist(), torch.randn(7, 3).tolist()
    targets = [0, 1, 2, 2, 1, 0, 0]
    method, images = told(logits, attention, range(7), epoch=0, gamma=gamma, beta=beta, margin=0.9)
    weights = sorted((1 / (1 + math.exp(-a)) for a in attention), reverse=True)
    high = math.floor(beta * 7)
    gap = sum(weights[:high]) / high - sum(weights[high:]) / (7 - high)
    values = method(images, torch.tensor(targets)).tolist()
    for a, row, y, value in zip(attention, logits, targets, values, strict=True):
        exps = [math.exp(z / (1 + math.exp(-a))) for z in row]
        expected = 2 * (1 - gamma) * -math.log(exps[y] / sum(exps)) + 2 * gamma * max(0, 0.9 - gap)
        assert value == pytest.approx(expected, rel=1e-5)


def test_ranks_that_are_far_enough_apart_cost_nothing():
    method, images = told([[0.0, 0.0, 0.0]] * 4, [5.0, 5.0, -5.0, -5.0], range(4), epoch=0, beta=0.5)
    assert method(images, torch.zeros(4, dtype=torch.int64)).tolist() == pytest.approx([math.log(3)] * 4)


# Attention 0 halves the logits. The probability of class 1 exceeds that of class 0 by 0.84, 0.84, 0.06 and -0.84.
LOGITS = [[0.0, 8.0, 2.0], [0.0, 8.0, 2.0], [0.0, 0.3, 0.0], [8.0, 0.0, 2.0]]


@pytest.mark.parametrize(
    ("epoch", "options", "expected"),
    [
        (9, {"relabel": "all"}, {40: 1, 41: 1}),
        (9, {"relabel": "low"}, {41: 1}),  # 40 is in the high group
        (8, {"relabel": "all"}, {}),  # the ninth epoch, one before the default
        (1, {"relabel": "all", "relabel_epoch": 2}, {40: 1, 41: 1}),
        (9, {"relabel": "all", "relabel_epoch": 11}, {}),
        (9, {"relabel": "none"}, {}),
        (9, {"relabel": "all", "relabel_margin": 0.05}, {40: 1, 41: 1, 42: 1}),
        (9, {"relabel": "all", "relabel_margin": 1.0}, {}),
    ],
)
def test_exactly_the_improbable_labels_change(epoch, options, expected):
    method, images = told(LOGITS, [0.1, 0.0, 0.0, 0.0], [40, 41, 42, 43], epoch, beta=0.25, **options)
    method(images, torch.zeros(4, dtype=torch.int64))
    assert changed(method) == expected


def test_a_new_label_is_learned_from_the_next_step_on_and_may_change_again():
    method, images = told([[0.0, 8.0, 0.0]], [0.0], [7], relabel="all")
    target = torch.tensor([0])
    seen = torch.tensor([[0.0, 4.0, 0.0]])
    torch.testing.assert_close(method(images, target), cross_entropy(seen, target, reduction="none"))
    torch.testing.assert_close(method(images, target), cross_entropy(seen, torch.tensor([1]), reduction="none"))
    # Class 2 exceeds the first label by far, but the new one by 0.05 only: it takes no place.
    for logits, expected in ([2 * math.log(p) for p in (0.05, 0.45, 0.5)], 1), ([0.0, 0.0, 8.0], 2):
        method(told([logits], [0.0], [7])[1], target)
        assert changed(method) == {7: expected}


def test_a_sample_shown_twice_gets_one_label_in_any_order():
    for order in ([0, 1], [1, 0]):
        logits = [[[0.0, 8.0, 0.0], [0.0, 0.0, 8.0]][i] for i in order]
        method, images = told(logits, [0.0, 0.0], [5, 5], relabel="all")
        method(images, torch.zeros(2, dtype=torch.int64))
        assert changed(method) == {5: 2}


def test_what_another_process_relabels_is_known_here_too(monkeypatch):
    """Another rank relabels place 50 as 2, and leaves 51 as it is."""
    others = iter([torch.tensor([[50, 2, 0], [51, -1, 0]])])

    def all_gather(parts, own):
        parts[0].copy_(own)
        parts[1].copy_(next(others))

    monkeypatch.setattr(base.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(base.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(base.distributed, "all_gather", all_gather)
    method, images = told(LOGITS[1:3], [0.0, 0.0], [10, 11], relabel="all")
    method(images, torch.zeros(2, dtype=torch.int64))
    assert changed(method) == {10: 1, 50: 2}


def test_labels_survive_in_the_state_but_prediction_does_without():
    method, images = told(LOGITS, [0.0] * 4, [1, 2, 3, 4], relabel="all")
    method(images, torch.zeros(4, dtype=torch.int64))
    again, _ = told(LOGITS, [0.0] * 4, [1, 2, 3, 4], relabel="all")
    again.load_state_dict(method.state_dict())
    assert changed(again) == changed(method) == {1: 1, 2: 1}
    kept = method.inference_state()
    assert not {"relabelled", "given"} & set(kept)
    assert "attention.weight" in kept


def test_attention_changes_how_sure_a_prediction_is_but_not_which():
    method = built("scn").eval()
    images, _ = batch(8)
    out = method.network(images)
    weights = torch.sigmoid(out.features @ method.attention.weight[0] + method.attention.bias)
    p = method.predict(images)
    torch.testing.assert_close(p, torch.softmax(weights[:, None] * out.logits, dim=1))
    assert torch.equal(p.argmax(1), out.logits.argmax(1))


@pytest.mark.parametrize(
    "options",
    [
        {"beta": 1.0},
        {"margin": -0.1},
        {"gamma": 2},
        {"relabel_margin": 1.5},
        {"relabel_epoch": 0},
        {"relabel_epoch": 9 / 70},
        {"relabel": "high"},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match=f"'scn': (invalid option )?{next(iter(options))}"):
        built("scn", **options)


def test_relabelling_is_that_of_a_plain_loop_over_epochs_and_batches():
    """Labels, loss and epoch of a naive derivation with one dictionary, in two lengths of training."""
    generator = torch.Generator().manual_seed(4)
    for epochs in (7, 13):
        names = torch.randint(3, (12,), generator=generator)
        method, _ = told(LOGITS, [0.0] * 4, range(4), beta=0.5, margin=0.4)
        labels = dict(enumerate(names.tolist()))
        for epoch in range(epochs):
            for step, places in enumerate(torch.randperm(12, generator=generator).split(4)):
                logits, attention = 4 * torch.randn(4, 3, generator=generator), torch.randn(4, generator=generator)
                method.ctx = StepContext(epoch, step, epochs, 3, places)
                images = torch.cat([attention[:, None], logits], dim=1)[:, None, None]
                values = method(images, names[places]).tolist()
                weights = [1 / (1 + math.exp(-a)) for a in attention.tolist()]
                ranked = sorted(range(4), key=lambda i, w=weights: -w[i])
                gap = (sum(weights[i] for i in ranked[:2]) - sum(weights[i] for i in ranked[2:])) / 2
                shares = []
                for place, w, row, value in zip(places.tolist(), weights, logits.tolist(), values, strict=True):
                    exps = [math.exp(w * z) for z in row]
                    shares.append([e / sum(exps) for e in exps])
                    assert value == pytest.approx(max(0, 0.4 - gap) - math.log(shares[-1][labels[place]]), rel=1e-4)
                for i in ranked[2:]:
                    place, best = places[i].item(), max(range(3), key=lambda c, p=shares[i]: p[c])
                    if epoch + 1 >= 10 and shares[i][best] - shares[i][labels[place]] > 0.2:
                        labels[place] = best
        seen = [method.relabelled[i].item() if method.relabelled[i] >= 0 else names[i].item() for i in range(12)]
        assert seen == list(labels.values())
        changed = sum(labels[i] != names[i].item() for i in range(12))
        assert bool(changed) == (epochs >= 10)
        notes = method.training_notes(epochs)
        if epochs < 10:
            assert notes == [
                "SCN relabels from epoch 10 on (method.relabel_epoch), and training ended after 7: no label was changed"
            ]
        else:
            assert f"{changed / 60:.1%} of" in notes[0]  # of the 60 samples of the task, 12 are shown here


def test_a_warning_names_the_classes_whose_labels_were_overwritten():
    method, _ = told(LOGITS, [0.0] * 4, range(4))
    method.given[:10], method.relabelled[:10] = 2, 0  # all ten of fear became happy
    method.given[10:20], method.relabelled[10:20] = 0, 0  # changed, and changed back
    (note,) = method.training_notes(20)
    assert note.startswith("WARNING: SCN overwrote many training labels: 16.7% of all (100% of fear, 0% of happy")
    method.relabelled[3:] = -1
    assert method.training_notes(20) == ["SCN changed 5.0% of the training labels"]


def test_a_run_carries_the_warning_into_its_facts_report_and_model_card(small_recipe, tmp_path):
    options = {"method": {"name": "scn", "relabel": "all", "relabel_epoch": 1, "relabel_margin": 0.0}}
    run = ef.train(small_recipe, out=tmp_path / "run", **options, **{"training.epochs": 1})
    (note,) = [note for note in run.facts["notes"] if "SCN" in note]
    assert note.startswith("WARNING: SCN overwrote many training labels")
    assert note in summaries.run_warnings(run)
    assert note not in summaries.protocol_notes({"": [run]})
    for file in ("log.txt", "model-card.md", "report.html"):
        assert "SCN overwrote many training labels" in (run.folder / file).read_text()
