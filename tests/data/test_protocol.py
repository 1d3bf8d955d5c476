"""The protocol: sides that share nobody, imbalance that is reached, and the same split from the same seed."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenface.config.recipe import Imbalance, Protocol
from evenface.data.imbalance import exponential_counts
from evenface.data.manifest import Manifest, make_table
from evenface.data.splits import fold_count, split_manifest
from evenface.utils.errors import InputError

KINDS = ("holdout", "kfold", "leave-one-out")


def changed(protocol, **settings):
    return protocol.model_copy(update=settings)


def manifest_of(labels, subjects=None, splits=None, clips=None, classes=("a", "b", "c")):
    rows = []
    for i, label in enumerate(labels):
        row = {"sample": f"s{i:05d}", "path": f"{i}.png", "label": int(label)}
        if subjects is not None:
            row["subject"] = f"p{subjects[i]}"
        if clips is not None:
            row["clip"] = f"c{clips[i]}"
        if splits is not None:
            row["split"] = splits[i]
        rows.append(row)
    return Manifest(make_table(rows), tuple(classes), "test", Path())


def people(count=20, each=12, classes=3):
    labels = np.tile(np.arange(each) % classes, count)
    return manifest_of(labels, np.repeat(np.arange(count), each))


@st.composite
def manifests(draw, with_subjects=None):
    n = draw(st.integers(12, 40))
    labels = draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    known = draw(st.booleans()) if with_subjects is None else with_subjects
    subjects = [0, 1, 2, *draw(st.lists(st.integers(0, 5), min_size=n - 3, max_size=n - 3))] if known else None
    return manifest_of(labels, subjects)


def sides(got):
    return got.train, got.validation, got.test


@given(manifests(), st.sampled_from(KINDS), st.integers(0, 5), st.sampled_from([0.0, 0.3]))
def test_sides_share_no_sample_and_no_subject_and_cover_all(manifest, kind, seed, validation):
    if kind == "leave-one-out" and not manifest.has_subjects:
        with pytest.raises(InputError, match="leave-one-out needs the subject"):
            split_manifest(manifest, Protocol(kind=kind))
        return
    got = split_manifest(manifest, Protocol(kind=kind, folds=3, fold=1, seed=seed, validation=validation))
    assert sorted(np.concatenate(sides(got)).tolist()) == list(range(len(manifest)))
    assert [len(s) > 0 for s in sides(got)] == [True, validation > 0, True]
    if manifest.has_subjects:
        seen = [set(manifest.table["subject"].iloc[side]) for side in sides(got)]
        assert sum(map(len, seen)) == len(set.union(*seen))


@given(manifests(), st.integers(0, 3), st.randoms(use_true_random=False), st.sampled_from([None, "counts"]))
def test_row_order_does_not_matter_and_seeds_repeat(manifest, seed, random, uneven):
    counts = {"a": int(manifest.counts()[0] // 3)}
    protocol = Protocol(seed=seed, validation=0.3)
    if uneven:
        protocol = Protocol(seed=seed, validation=0, imbalance=Imbalance(counts=counts))
    moved = list(range(len(manifest)))
    random.shuffle(moved)
    shuffled = manifest.take(moved)
    names = manifest.table["sample"].to_numpy()
    other = shuffled.table["sample"].to_numpy()
    for first, again, second in zip(
        *(sides(split_manifest(m, protocol)) for m in (manifest, manifest, shuffled)), strict=True
    ):
        assert first.tolist() == again.tolist()
        assert names[first].tolist() == other[second].tolist()


def test_seeds_give_different_splits():
    drawn = {tuple(split_manifest(people(), Protocol(seed=seed)).test.tolist()) for seed in range(6)}
    assert len(drawn) == 6


@pytest.mark.parametrize("kind", ["kfold", "leave-one-out"])
def test_every_sample_is_tested_once_over_the_folds(kind):
    manifest = people(7)
    protocol = Protocol(kind=kind, folds=4, validation=0.2, seed=3)
    folds = fold_count(manifest, protocol)
    assert folds == (4 if kind == "kfold" else 7)
    tested = np.concatenate([split_manifest(manifest, changed(protocol, fold=f)).test for f in range(folds)])
    assert sorted(tested.tolist()) == list(range(len(manifest)))


def test_stratified_parts_differ_from_their_share_by_less_than_one_sample():
    rng = np.random.default_rng(0)
    labels = rng.choice(3, size=500, p=[0.7, 0.25, 0.05])
    manifest = manifest_of(labels)
    for fold in range(5):
        got = split_manifest(manifest, Protocol(kind="kfold", fold=fold, validation=0.1))
        assert np.all(np.abs(manifest.counts(got.test) - manifest.counts() / 5) < 1)
        pool = manifest.counts(got.train) + manifest.counts(got.validation)
        assert np.all(np.abs(manifest.counts(got.validation) - pool * 0.1) <= 1)
        assert abs(len(got.test) - 100) <= 1
        assert any("a subject may be in both training and test set" in note for note in got.notes)


def test_a_class_of_two_is_on_both_sides():
    got = split_manifest(manifest_of([0] * 30 + [1] * 30 + [2, 2]), Protocol(test=0.1, validation=0))
    assert 2 in np.r_[[0] * 30, [1] * 30, 2, 2][got.test]
    assert not any("has no sample" in note for note in got.notes)


def test_subject_parts_are_balanced_over_classes_of_uneven_people():
    rng = np.random.default_rng(1)
    size = rng.integers(5, 40, size=60)
    subjects = np.repeat(np.arange(60), size)
    rare = rng.random(60) < 0.3
    labels = np.where(rare[subjects] & (rng.random(len(subjects)) < 0.4), 2, rng.integers(0, 2, len(subjects)))
    manifest = manifest_of(labels, subjects)
    got = split_manifest(manifest, Protocol(test=0.2, validation=0.1))
    share = manifest.counts(got.test) / manifest.counts()
    assert np.all(np.abs(share - 0.2) < 0.04), share


def test_clips_stay_together_where_subjects_are_unknown():
    manifest = manifest_of(np.arange(90) % 3, clips=np.arange(90) // 9)
    got = split_manifest(manifest, Protocol())
    clips = [set(manifest.table["clip"].iloc[s]) for s in sides(got)]
    assert sum(map(len, clips)) == len(set.union(*clips)) == 10


def test_official_sides_are_kept_and_validation_is_cut_only_if_there_is_none():
    splits = ["train"] * 60 + ["validation"] * 15 + ["test"] * 15 + [None] * 3
    manifest = manifest_of(np.arange(93) % 3, splits=splits)
    got = split_manifest(manifest, Protocol(kind="official"))
    assert [len(s) for s in sides(got)] == [60, 15, 15]
    assert any("3 samples are in no official set" in note for note in got.notes)
    none = split_manifest(manifest, Protocol(kind="official", validation=0))
    assert [len(s) for s in sides(none)] == [60, 0, 15]
    two = split_manifest(manifest.take(np.r_[:75]), Protocol(kind="official", validation=0.2))
    assert [len(s) for s in sides(two)] == [48, 12, 15]
    assert any("official validation set is the test set" in note for note in two.notes)
    with pytest.raises(InputError, match="no official split"):
        split_manifest(manifest.take(np.r_[:60]), Protocol(kind="official"))


@given(st.lists(st.integers(1, 5000), min_size=2, max_size=9), st.floats(1, 300))
def test_exponential_counts_reach_the_factor_and_fall_as_the_formula_says(available, factor):
    n = sorted(available, reverse=True)
    if n[0] / n[-1] > factor * (1 + 0.5 / n[-1]) + 1e-9:
        with pytest.raises(InputError, match="imbalance factor is"):
            exponential_counts(available, factor)
        return
    if n[0] / factor < 0.5:
        with pytest.raises(InputError, match="would have no sample"):
            exponential_counts(available, factor)
        return
    got = exponential_counts(available, factor)
    assert np.all(got <= np.array(available))
    kept = sorted(got.tolist(), reverse=True)
    assert kept[0] == n[0]
    # Within rounding of one half: largest / factor is what the smallest class should have.
    assert abs(kept[-1] - n[0] / factor) <= max(0.5, n[-1] * 1e-9) + (n[-1] - n[0] / factor < 0) * 0.5
    ratios = [np.log(k / m) for k, m in zip(kept, n, strict=True)]
    for rank, (k, m) in enumerate(zip(kept, n, strict=True)):
        u = min((n[0] / (n[-1] * factor)) ** (1 / (len(n) - 1)), 1)
        assert abs(k - m * u**rank) <= 0.5 + 1e-6
    assert ratios[0] == 0


@given(manifests(with_subjects=True), st.integers(0, 3), st.booleans())
def test_counts_are_met_in_training_and_the_test_set_is_untouched(manifest, seed, by_subjects):
    plain = Protocol(seed=seed, validation=0)
    before = split_manifest(manifest, plain)
    pool = manifest.counts(before.train) + manifest.counts(before.validation)
    wanted = {"a": int(pool[0] // 2), "c": int(pool[2] // 3)}
    by = "subjects" if by_subjects else "samples"
    got = split_manifest(manifest, changed(plain, imbalance=Imbalance(counts=wanted, by=by)))
    assert got.test.tolist() == before.test.tolist()
    after = manifest.counts(got.train) + manifest.counts(got.validation)
    assert after.tolist() == [wanted["a"], int(pool[1]), wanted["c"]]


def test_smaller_counts_are_part_of_larger_ones():
    manifest = manifest_of(np.arange(300) % 3)
    kept = []
    for factor in (2, 10, 50):
        got = split_manifest(manifest, Protocol(validation=0, imbalance=Imbalance(factor=factor)))
        kept.append(set(got.train.tolist()))
    assert kept[2] < kept[1] < kept[0]


def test_whole_subjects_fill_the_counts_as_far_as_they_go():
    manifest = people(20, each=12)  # four samples a class and subject
    uneven = Imbalance(counts={"b": 26}, by="subjects")
    got = split_manifest(manifest, Protocol(validation=0, imbalance=uneven))
    kept = manifest.table.iloc[got.train]
    per_subject = kept[kept["label"] == 1].groupby("subject").size().tolist()
    assert sorted(per_subject) == [2, 4, 4, 4, 4, 4, 4]
    assert any("singly: 2" in note for note in got.notes)


def test_imbalance_on_all_makes_every_side_uneven_and_says_so():
    manifest = people(30)
    got = split_manifest(manifest, Protocol(imbalance=Imbalance(factor=4, on="all")))
    total = sum(manifest.counts(s) for s in sides(got))
    assert total.tolist() == [120, 60, 30]
    assert manifest.counts(got.test)[2] < manifest.counts(got.test)[0] / 2
    assert any("imbalanced too" in note for note in got.notes)


def test_impossible_imbalance_names_the_class_and_the_numbers():
    manifest = manifest_of([0] * 40 + [1] * 20 + [2] * 10)
    protocol = Protocol(validation=0)
    for uneven, words in [
        (Imbalance(counts={"b": 17}), "17 samples of class b requested, but 16 are available"),
        (Imbalance(counts={"bb": 1}), "unknown class 'bb'"),
        (Imbalance(factor=2), "factor is 4.00 already, above the requested 2"),
        (Imbalance(factor=2, by="subjects"), "factor is 4.00"),
        (Imbalance(factor=8, by="subjects"), "needs the subject"),
    ]:
        with pytest.raises(InputError, match=words):
            split_manifest(manifest, changed(protocol, imbalance=uneven))


@pytest.mark.parametrize(
    "settings",
    [{"kind": "k-fold"}, {"test": 0.0}, {"test": 1.0}, {"validation": 1.0}, {"folds": 1}, {"kind": "kfold", "fold": 5},
     {"fold": -1}, {"seed": -1}, {"duplicates": "drop"}],
)  # fmt: skip
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=next(reversed(settings))):
        Protocol(**settings)


@pytest.mark.parametrize(
    "settings",
    [{}, {"factor": 2, "counts": {"a": 1}}, {"factor": 0.5}, {"factor": float("nan")}, {"counts": {"a": -1}},
     {"counts": {"a": 1.5}}, {"factor": 2, "by": "x"}, {"factor": 2, "on": "x"}],
)  # fmt: skip
def test_imbalance_out_of_range_is_refused(settings):
    with pytest.raises(ValueError, match="Imbalance"):
        Imbalance(**settings)


def test_too_few_subjects_are_refused():
    with pytest.raises(InputError, match="needs at least 5 subjects, but there are 3"):
        split_manifest(people(3), Protocol(kind="kfold"))
    with pytest.raises(InputError, match="validation needs at least 2 subjects"):
        split_manifest(people(2), Protocol())
    with pytest.raises(InputError, match="fold must be 0 to 2"):
        split_manifest(people(3), Protocol(kind="leave-one-out", fold=3))


def test_copies_are_left_out_before_the_imbalance_is_applied():
    splits = ["train"] * 90 + ["test"] * 30
    manifest = manifest_of(np.arange(120) % 3, splits=splits)
    pairs = np.array([[0, 90], [93, 3], [1, 4], [90, 6]])  # two within a side or repeated
    base = Protocol(kind="official", validation=0)
    kept = split_manifest(manifest, base)
    assert [len(s) for s in sides(kept)] == [90, 0, 30]
    train = split_manifest(
        manifest, changed(base, duplicates="drop-train", imbalance=Imbalance(counts={"a": 27})), pairs
    )
    assert not {0, 3, 6} & set(train.train.tolist())
    assert manifest.counts(train.train).tolist() == [27, 30, 30]
    assert any("3 images removed from training" in note for note in train.notes)
    test = split_manifest(manifest, changed(base, duplicates="drop-test"), pairs)
    assert set(kept.test) - set(test.test) == {90, 93}
    assert any("2 images removed from test" in note for note in test.notes)
    with pytest.raises(InputError, match="needs the pairs"):
        split_manifest(manifest, changed(base, duplicates="drop-test"))


def test_copies_within_training_are_not_parted_by_validation():
    splits = ["train"] * 200 + ["test"] * 30
    manifest = manifest_of(np.arange(230) % 3, splits=splits)
    pairs = np.array([[i, i + 99] for i in range(99)])
    got = split_manifest(manifest, Protocol(kind="official", duplicates="drop-train", validation=0.25), pairs)
    held = set(got.validation.tolist())
    assert all((a in held) == (b in held) for a, b in pairs.tolist())
    assert 35 <= len(held) <= 65


def test_copies_with_official_validation_leave_validation_clean_too():
    splits = ["train"] * 30 + ["validation"] * 15 + ["test"] * 15
    manifest = manifest_of(np.arange(60) % 3, splits=splits)
    pairs = np.array([[0, 30], [1, 45], [31, 46]])
    train = split_manifest(manifest, Protocol(kind="official", duplicates="drop-train"), pairs)
    assert [len(s) for s in sides(train)] == [28, 14, 15]
    test = split_manifest(manifest, Protocol(kind="official", duplicates="drop-test"), pairs)
    assert [len(s) for s in sides(test)] == [30, 14, 13]


def test_a_class_missing_from_a_side_is_noted():
    manifest = manifest_of([0, 1] * 20 + [2] * 2, subjects=[*np.arange(40) // 4, 0, 0])
    got = split_manifest(manifest, Protocol(validation=0))
    lost = "test" if 2 not in manifest.labels[got.test] else "training"
    assert any(note == f"the {lost} set has no sample of c" for note in got.notes)


def test_notes_are_plain_sentences():
    got = split_manifest(people(), Protocol(imbalance=Imbalance(factor=2)))
    assert all(isinstance(note, str) and note == note.strip() for note in got.notes)
    assert pd.Series(got.notes).is_unique
