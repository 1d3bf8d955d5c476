"""Members that train together end where each would end alone, and where plain PyTorch ends."""

import contextlib

import numpy as np
import pytest
import torch
from logits import CLASS_LOSSES

from evenface.config.recipe import Optimizer, Recurrent, Schedule, Training
from evenface.losses import LOSSES, build_loss
from evenface.models.sequence import initialised
from evenface.training.optimizers import rate_factor
from evenface.training.prediction import validation_metrics
from evenface.training.stacked import MemberSpec, StackedTrainer
from evenface.training.stacked import trainer as module
from evenface.training.stacked.members import DRAWN_STEPS
from evenface.utils.errors import InputError

RNG = np.random.default_rng(0)
SEQUENCES = RNG.normal(size=(60, 4, 3, 2)).astype(np.float32)
LABELS = RNG.integers(0, 3, 60)
SEQUENCES[LABELS == 1, 2:] += 0.8
MIRRORED = SEQUENCES * np.float32([-1, 1])


def member(seed, rows=40, *, loss="cross-entropy", classes=2, settings=(), training=(), network=(), **options):
    order = np.random.default_rng(seed).permutation(60)
    labels = LABELS if classes == 3 else (LABELS == 1).astype(np.int64)
    train, rest = order[:rows], order[rows:]
    return MemberSpec(
        seed,
        train,
        labels[train],
        rest,
        labels[rest],
        build_loss(loss, np.bincount(labels[train], minlength=classes)),
        classes=classes,
        one_output=classes == 2,
        network=Recurrent(**{"dense": 5, "hidden": 6, "top": 4, **dict(network)}),
        optimizer=Optimizer(**{"name": "adam", "lr": 0.01, "weight_decay": 0, **dict(settings)}),
        schedule=options.pop("schedule", Schedule(name="plateau", gamma=0.5, patience=1)),
        training=Training(**{"epochs": 4, "batch_size": 8, "monitor": "loss", **dict(training)}),
        **options,
    )


def fitted(*members, **options):
    found = StackedTrainer(members, SEQUENCES, mirrored=MIRRORED, **{"threads": 1, **options})
    found.fit()
    return found


def assert_as_alone(group, place, one):
    alone = fitted(one)
    assert len(group.histories[place]) == len(alone.histories[0])
    for row, expected in zip(group.histories[place], alone.histories[0], strict=True):
        assert row == pytest.approx(expected, rel=1e-4, abs=1e-5)
    for which in ("selected", "last"):
        found = group.network(place, which).state_dict()
        for name, value in alone.network(0, which).state_dict().items():
            torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4, msg=f"{one.name} {which} {name}")


def trained_plainly(one, epochs):
    """Train by autograd and torch.optim, one step after the other, as one would by hand."""
    network = initialised(one.network, 6, 4, one.outputs, one.weights_seed())
    heavy = [p for p in network.parameters() if p.ndim > 1]
    light = [p for p in network.parameters() if p.ndim == 1]
    settings = one.optimizer
    groups = [{"params": heavy, "weight_decay": settings.weight_decay}, {"params": light, "weight_decay": 0.0}]
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    extra = {"betas": settings.betas or (0.9, 0.999)}
    if settings.name == "sgd":
        extra = {"momentum": settings.momentum, "nesterov": settings.nesterov}
    optimizer = kinds[settings.name](groups, lr=settings.lr, **extra)
    for epoch in range(epochs):
        places, mirrored = one.order(epoch)
        for step in range(one.steps):
            some = slice(step * one.batch, (step + 1) * one.batch)
            rows = one.train[places[some]]
            batch = np.where(mirrored[some, None, None, None], MIRRORED[rows], SEQUENCES[rows])
            kept = torch.from_numpy(one.dropout_mask(epoch, step // DRAWN_STEPS)[step % DRAWN_STEPS])
            network.dropout.forward = lambda last, kept=kept: last * kept
            logits = network(torch.from_numpy(batch)).logits
            pair = torch.cat([torch.zeros_like(logits), logits], dim=1) if one.one_output else logits
            loss = one.loss(pair, torch.from_numpy(one.targets[places[some]])).mean()
            optimizer.zero_grad()
            loss.backward()
            if settings.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(network.parameters(), settings.clip_norm)
            optimizer.step()
    return network


@pytest.mark.parametrize("kind", ["gru", "lstm"])
@pytest.mark.parametrize(
    "settings",
    [
        {"betas": (0.8, 0.95)},
        {"name": "adamw", "weight_decay": 0.1, "clip_norm": 0.1},
        {"name": "sgd"},
        {"name": "sgd", "nesterov": False},
    ],
)
def test_a_member_ends_where_plain_pytorch_ends(kind, settings):
    ones = [
        member(
            seed,
            rows,
            classes=classes,
            settings=settings,
            network={"kind": kind, "hidden": 4 + seed},
            schedule=Schedule(name="constant"),
            training={"epochs": 2, "checkpoint": "last"},
            flip=0.5 * seed,
        )
        for seed, (rows, classes) in enumerate([(40, 2), (26, 2), (33, 3)])
    ]
    group = fitted(*ones)
    for place, one in enumerate(ones):
        expected = trained_plainly(one, 2).state_dict()
        for name, value in group.network(place).state_dict().items():
            if value.ndim:
                torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=2e-4, msg=f"{place} {name}")


def test_members_of_all_settings_end_as_each_alone():
    ones = [
        member(0, name="plain"),
        member(1, 25, network={"hidden": 9, "dense": 3}, name="other widths, fewer samples"),
        member(2, network={"kind": "lstm"}, name="lstm"),
        member(3, 33, network={"kind": "lstm", "top": 7}, flip=0.5, name="lstm, mirrored by chance"),
        member(4, added=True, training={"tta_flip": True}, name="mirrors added"),
        member(5, network={"norm": "step", "dropout": 0.0}, name="norm of each step"),
        member(6, network={"norm": "none"}, training={"patience": 1}, name="no norm, little patience"),
        member(7, training={"batch_size": 12, "epochs": 2}, name="other batch"),
        member(8, classes=3, training={"sampling": "inverse", "monitor": "macro_f1"}, name="three classes, evened"),
        member(9, 5, settings={"lr": 0.05}, schedule=Schedule(name="cosine"), name="one batch an epoch"),
    ]
    group = fitted(*ones, threads=2)
    for place, one in enumerate(ones):
        assert_as_alone(group, place, one)
    assert len({len(rows) for rows in group.histories}) > 1


@pytest.mark.parametrize("kind", ["gru", "lstm"])
@pytest.mark.parametrize("classes", [2, 3])
def test_every_loss_trains_in_a_group_as_alone(kind, classes):
    ones = [
        member(seed, loss=loss, classes=classes, network={"kind": kind}, training={"epochs": 2}, name=loss)
        for seed, loss in enumerate(CLASS_LOSSES)
        if not LOSSES[loss].draws
    ]
    group = fitted(*ones)
    for place, one in enumerate(ones):
        assert_as_alone(group, place, one)


def test_figures_of_an_epoch_are_those_of_its_predictions():
    one = member(0, classes=3, training={"checkpoint": "last"})
    group = fitted(one)
    expected = validation_metrics(one.validation_targets, group.predict(one.validation)[0])
    assert group.histories[0][-1] == pytest.approx(
        group.histories[0][-1] | {f"validation_{name}": value for name, value in expected.items()}, rel=1e-5
    )


def test_the_selected_weights_are_those_of_the_best_epoch():
    one = member(3, settings={"lr": 0.1}, training={"epochs": 6})
    group = fitted(one)
    losses = [row["validation_loss"] for row in group.histories[0]]
    best = group.early_stopping(0).best_epoch
    assert losses[best] == min(losses)
    assert best < 5
    p = group.predict(one.validation)[0, :, 0]
    truth = np.where(one.validation_targets == 1, p, 1 - p)
    assert -np.log(truth).mean() == pytest.approx(losses[best], rel=1e-4)
    assert not np.allclose(group.predict(one.validation, "last")[0, :, 0], p)


def test_learning_rates_follow_the_schedule_of_each():
    ones = [
        member(0, schedule=Schedule(name="cosine"), flip=0.2),
        member(1, schedule=Schedule(name="step", step_size=2)),
    ]
    group = fitted(*ones)
    for one, rows in zip(ones, group.histories, strict=True):
        last_steps = [(epoch + 1) * one.steps - 1 for epoch in range(4)]
        expected = [0.01 * rate_factor(one.schedule, step, one.steps, 4) for step in last_steps]
        assert [row["lr"] for row in rows] == pytest.approx(expected)


def test_plateau_halves_the_rate_of_who_does_not_improve():
    group = fitted(member(0, settings={"lr": 0.2}, training={"epochs": 8}), member(1, settings={"lr": 1e-5}))
    losses, rates = zip(*((row["validation_loss"], row["lr"]) for row in group.histories[0]), strict=True)
    schedule = Schedule(name="plateau", gamma=0.5, patience=1)
    assert rates == pytest.approx([0.2 * rate_factor(schedule, 0, 1, 8, losses[:epoch]) for epoch in range(8)])
    assert rates[-1] < 0.2


def stopping(monkeypatch, after):
    """Press Ctrl-C at some look at the key."""

    class Pressed:
        looks = 0

        @property
        def pressed(self):
            self.looks += 1
            return self.looks > after

    monkeypatch.setattr(module, "deferred_interrupt", lambda: contextlib.nullcontext(Pressed()))


@pytest.mark.parametrize("after", [0, 3, 7, 11, 26])
def test_going_on_after_ctrl_c_is_exact(after, tmp_path, monkeypatch):
    ones = [member(0), member(1, 25), member(2, network={"kind": "lstm"}), member(3, settings={"name": "sgd"})]
    whole = fitted(*ones)
    with monkeypatch.context() as patch:
        stopping(patch, after)
        with pytest.raises(KeyboardInterrupt):
            fitted(*ones, folder=tmp_path)
    again = fitted(*ones, folder=tmp_path)
    assert again.histories == whole.histories
    for place in range(4):
        found = again.network(place).state_dict()
        assert all(torch.equal(found[name], value) for name, value in whole.network(place).state_dict().items())


def test_checkpoints_on_the_way_change_nothing(tmp_path):
    ones = [member(0, training={"epochs": 2}), member(1, 25, training={"epochs": 2})]
    assert fitted(*ones, folder=tmp_path, minutes=0).histories == fitted(*ones).histories
    assert fitted(*ones, folder=tmp_path).histories == fitted(*ones).histories  # nothing is left to do


def test_an_ended_member_stays_as_it_was():
    ones = [member(0), member(1)]
    group = StackedTrainer(ones, SEQUENCES, threads=1)
    group.run(2)
    before = group.network(0, "last").state_dict()
    group.end(0)
    group.fit()
    assert [len(rows) for rows in group.histories] == [2, 4]
    after = group.network(0, "last").state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert_as_alone(group, 1, ones[1])


def test_some_members_state_moves_to_another_group():
    ones = [member(0), member(1), member(2)]
    group = StackedTrainer(ones, SEQUENCES, threads=1)
    group.run(2)
    other = StackedTrainer([ones[2], ones[1]], SEQUENCES, threads=1)
    other.restore(group.state([2, 1]))
    other.fit()
    assert_as_alone(other, 0, ones[2])


def test_predictions_have_a_place_for_each_member_and_logit():
    rows = np.array([5, 0, 7])
    group = StackedTrainer([member(0), member(1, network={"hidden": 9})], SEQUENCES)
    assert group.predict(rows).shape == (2, 3, 1)
    mixed = StackedTrainer([member(0), member(1, classes=3)], SEQUENCES).predict(rows)
    assert [found.shape for found in mixed] == [(3, 1), (3, 3)]


def test_predictions_are_averaged_with_the_mirrors_where_asked_for():
    plain, mirror = member(0), member(0, training={"tta_flip": True})
    rows = np.arange(9)
    one = StackedTrainer([plain], SEQUENCES).predict(rows)
    other = StackedTrainer([plain], MIRRORED).predict(rows)
    both = StackedTrainer([mirror], SEQUENCES, mirrored=MIRRORED).predict(rows)
    np.testing.assert_allclose(both, (one + other) / 2, rtol=1e-6)


def test_added_mirrors_are_met_once_each_and_flips_as_often_as_asked():
    places, mirrored = member(0, 40, added=True, training={"batch_size": 80}).order(3)
    assert sorted(zip(places, mirrored, strict=True)) == [(place, side) for place in range(40) for side in (0, 1)]
    shares = [member(0, 40, flip=0.25).order(epoch)[1].mean() for epoch in range(200)]
    assert np.mean(shares) == pytest.approx(0.25, abs=0.03)


def test_dropout_keeps_its_share_and_the_mean():
    kept = member(0, network={"dropout": 0.2, "hidden": 64}).dropout_mask(1, 0)
    assert set(np.unique(kept)) == {np.float32(0), np.float32(1.25)}
    assert kept.mean() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (lambda: member(0, settings={"name": "lamb"}), "do not train by lamb"),
        (lambda: member(0, training={"ema_decay": 0.9}), "training.ema_decay"),
        (lambda: member(0, 1), "1 training samples"),
        (lambda: member(0, flip=0.5), "mirrored"),
    ],
)
def test_what_cannot_be_trained_is_refused(one, words):
    with pytest.raises(InputError, match=words):
        StackedTrainer([one()], SEQUENCES)


def test_a_loss_that_is_not_finite_is_told_with_the_members_name():
    with np.errstate(all="ignore"), pytest.raises(InputError, match="the bad one: the loss became nan in epoch 1"):
        StackedTrainer([member(0), member(1, name="the bad one")], np.where(BAD, np.nan, SEQUENCES)).fit()


def test_a_member_that_diverges_can_end_by_itself(capsys):
    ones = [member(0), member(1)]
    group = StackedTrainer(ones, np.where(BAD, np.nan, SEQUENCES), threads=1, quiet=True, diverged="end")
    with np.errstate(all="ignore"):
        group.fit()
    assert [len(rows) for rows in group.histories] == [4, 1]
    assert np.isnan(group.histories[1][0]["validation_loss"])
    assert np.isnan(group.histories[1][0]["validation_accuracy"])
    assert np.isfinite(group.histories[0][-1]["train_loss"])
    assert capsys.readouterr().err == ""


BAD = np.zeros_like(SEQUENCES, dtype=bool)
BAD[np.setdiff1d(np.random.default_rng(1).permutation(60)[:40], np.random.default_rng(0).permutation(60)[:40])] = True


def test_the_checkpoint_of_other_networks_is_refused(tmp_path):
    fitted(member(0, training={"epochs": 1}), folder=tmp_path)
    with pytest.raises(InputError, match="other networks"):
        fitted(member(0, network={"hidden": 9}), folder=tmp_path)
