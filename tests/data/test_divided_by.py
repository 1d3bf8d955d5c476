"""What stays together on one side, what a frame-wise split tears apart, and unevenness by whole people."""

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_protocol import changed, manifest_of, sides

from evenface.config.recipe import Imbalance, Protocol
from evenface.data.imbalance import subsample
from evenface.data.splits import fold_count, split_manifest
from evenface.utils.errors import InputError

LEVELS = ("BL", "PA1", "PA2", "PA3", "PA4")
TABLE_1 = {"BL": 1340, "PA1": 1050, "PA2": 700, "PA3": 400, "PA4": 250}


def frames(people=10, clips=6, each=5, **known):
    """Frames of clips of people; every clip has one class."""
    clip = np.repeat(np.arange(people * clips), each)
    columns = {"subjects": clip // clips, "clips": clip} | known
    return manifest_of(clip % clips % 3, columns["subjects"], clips=columns["clips"])


def on_both_sides(manifest, got, column):
    names = manifest.table[column]
    return len({*names.iloc[got.train], *names.iloc[got.validation]} & set(names.iloc[got.test]))


@pytest.mark.parametrize("kind", ["holdout", "kfold"])
def test_by_frame_every_class_is_dealt_alone_and_the_note_counts_what_is_torn(kind):
    manifest = frames()
    got = split_manifest(manifest, Protocol(kind=kind, by="frame", validation=0.2))
    counts = manifest.counts()
    assert np.all(np.abs(manifest.counts(got.test) - counts * 0.2) < 1)
    assert np.all(np.abs(manifest.counts(got.validation) - counts * 0.16) <= 1)
    assert sorted(np.concatenate(sides(got)).tolist()) == list(range(300))
    clips, people = (on_both_sides(manifest, got, column) for column in ("clip", "subject"))
    assert got.notes[0] == (
        f"LEAKY: split by frame as requested: frames of {clips} clips and of {people} subjects are in both training "
        "and test set"
    )
    assert (clips > 30, people) == (True, 10)


def test_the_note_of_a_frame_wise_split_is_true_where_nothing_is_known_or_torn():
    nothing = split_manifest(manifest_of(np.arange(60) % 3), Protocol(by="frame")).notes[0]
    assert "frames of an unknown number of clips and of an unknown number of subjects are" in nothing
    alone = manifest_of(np.arange(60) % 3, np.arange(60), clips=[0, 0, *range(2, 60)])
    found = {split_manifest(alone, Protocol(by="frame", seed=seed)).notes[0] for seed in range(20)}
    assert {re.search(r"frames of (.*) are in", note)[1] for note in found} == {
        "no clip and of no subject",
        "1 clip and of no subject",
    }


def test_by_clip_keeps_clips_whole_and_says_how_many_people_it_tears():
    manifest = frames()
    got = split_manifest(manifest, Protocol(by="clip", validation=0.2))
    assert on_both_sides(manifest, got, "clip") == 0
    torn = on_both_sides(manifest, got, "subject")
    assert torn > 1
    assert (
        got.notes[0] == f"LEAKY: split by clip as requested: clips of {torn} subjects are in both training and test set"
    )
    one_each = manifest_of(np.arange(90) // 9 % 3, np.arange(90) // 9, clips=np.arange(90) // 9)
    assert "no subject is in both training and test set" in split_manifest(one_each, Protocol(by="clip")).notes[0]
    unknown = manifest_of(np.arange(90) // 9 % 3, clips=np.arange(90) // 9)
    assert split_manifest(unknown, Protocol(by="clip")).notes == split_manifest(unknown, Protocol()).notes


def test_by_subject_is_what_auto_does_where_people_are_known():
    manifest = frames()
    auto, asked = (split_manifest(manifest, Protocol(by=by)) for by in ("auto", "subject"))
    assert [s.tolist() for s in sides(auto)] == [s.tolist() for s in sides(asked)]
    assert auto.notes == asked.notes == ("subject-independent split",)


@pytest.mark.parametrize("unit", ["subject", "clip"])
def test_units_that_are_not_known_for_every_sample_cannot_be_asked_for(unit):
    manifest = frames()
    manifest.table.loc[:6, unit] = None
    with pytest.raises(
        InputError, match=f"by: {unit} needs the {unit} of every sample, but it is unknown for 7 of 300"
    ):
        split_manifest(manifest, Protocol(by=unit))


@pytest.mark.parametrize(("kind", "who"), [("official", "dataset's own"), ("leave-one-out", "whole subjects")])
@pytest.mark.parametrize("by", ["subject", "clip", "frame"])
def test_where_it_is_of_no_effect_it_is_refused(kind, by, who):
    with pytest.raises(ValueError, match=rf"by: {by} is for holdout and kfold; with {kind} .*{who}"):
        Protocol(kind=kind, by=by)


def biovid():
    """As many people, levels and clips as BioVid's part A."""
    rows = np.arange(87 * 5 * 20)
    return manifest_of(rows // 20 % 5, rows // 100, clips=rows, classes=LEVELS)


def kept_per_person(manifest, rows, label):
    table = manifest.table.iloc[rows]
    return table[table["label"] == label].groupby("subject").size()


def test_uneven_levels_are_made_of_whole_people_but_for_one_each():
    manifest = biovid()
    uneven = Imbalance(counts=TABLE_1, by="subjects", on="all")
    got = split_manifest(manifest, Protocol(validation=0, imbalance=uneven))
    rows = np.concatenate(sides(got))
    assert manifest.counts(rows).tolist() == list(TABLE_1.values())
    people = []
    for label, count in enumerate(TABLE_1.values()):
        sizes = kept_per_person(manifest, rows, label)
        assert sorted(sizes)[-(count // 20) :] == [20] * (count // 20)
        assert sorted(sizes)[: -(count // 20)] == ([count % 20] if count % 20 else [])
        people.append(set(sizes.index))
    assert all(rarer <= more for more, rarer in pairwise(people))
    assert "samples kept with all of their subject in the class: 3720, with their whole clip: 20, singly: 0" in (
        got.notes
    )
    assert abs(len(got.test) / 3740 - 0.2) < 0.02


def test_of_training_too_counts_are_met_and_the_test_stays_even():
    manifest = biovid()
    got = split_manifest(manifest, Protocol(imbalance=Imbalance(counts=TABLE_1, by="subjects")))
    pool = np.concatenate([got.train, got.validation])
    assert manifest.counts(pool).tolist() == list(TABLE_1.values())
    assert len(set(manifest.counts(got.test))) == 1
    assert on_both_sides(manifest, got, "subject") == 0


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=40),
    st.integers(0, 40),
    st.integers(0, 3),
)
def test_whole_people_come_first_then_whole_clips_then_samples(people, wanted, seed):
    subjects = np.array([f"p{s}" for s, _ in people], dtype=object)
    clips = np.array([f"p{s}c{c}" for s, c in people], dtype=object)
    rows, labels, wanted = np.arange(len(people)), np.zeros(len(people), np.int64), min(wanted, len(people))
    kept, how = subsample(rows, labels, np.array([wanted]), subjects=subjects, clips=clips, seed=(seed,))
    assert len(kept) == wanted
    whole, clipwise, singly = (int(n) for n in re.findall(r"\d+", how))
    assert whole + clipwise + singly == wanted
    inside = np.isin(rows, kept)
    part = {s for s in set(subjects) if 0 < inside[subjects == s].sum() < (subjects == s).sum()}
    full = [s for s in set(subjects) if inside[subjects == s].all()]
    assert sum((subjects == s).sum() for s in full) == whole
    # Whoever is left out would not have fitted beside the whole people.
    assert all((subjects == s).sum() > wanted - whole for s in set(subjects) - set(full))
    broken = [c for c in set(clips) if 0 < inside[clips == c].sum() < (clips == c).sum()]
    assert len(broken) == (singly > 0)
    assert bool(part) == (clipwise + singly > 0)


def test_smaller_counts_by_people_are_part_of_larger_ones():
    manifest = biovid()
    kept = []
    for count in (50, 250, 730):
        uneven = Imbalance(counts={"PA4": count}, by="subjects")
        kept.append(set(split_manifest(manifest, Protocol(validation=0, imbalance=uneven)).train.tolist()))
    assert kept[0] < kept[1] < kept[2]


def test_copies_and_unevenness_go_with_a_frame_wise_split():
    manifest = frames()
    base = Protocol(by="frame", validation=0.2, duplicates="drop-train")
    pairs = np.array([[i, i + 1] for i in range(0, 300, 10)])
    got = split_manifest(manifest, base, pairs)
    side = np.full(300, -1)
    for number, rows in enumerate(sides(got)):
        side[rows] = number
    both = side[pairs]
    assert not ((both == 2).any(axis=1) & ((both == 0) | (both == 1)).any(axis=1)).any()
    uneven = split_manifest(manifest, changed(base, imbalance=Imbalance(counts={"a": 20})), pairs)
    assert uneven.notes[0].startswith("LEAKY: ")


@given(st.integers(2, 20), st.integers(0, 5))
def test_whole_clips_test_and_the_frames_of_the_others_are_divided(count, seed):
    manifest = frames()  # 20 clips of each class
    got = split_manifest(manifest, Protocol(by="frame", test_clips=count, validation=0.1, seed=seed))
    tested = set(manifest.table["clip"].iloc[got.test])
    assert len(tested) == count
    assert len(got.test) == 5 * count
    assert on_both_sides(manifest, got, "clip") == 0
    per_class = manifest.counts(got.test) / 5
    assert per_class.max() - per_class.min() <= 1
    rest = 300 - 5 * count
    assert abs(len(got.validation) - rest / 10) <= 3
    assert sorted(np.concatenate(sides(got)).tolist()) == list(range(300))
    torn = on_both_sides(manifest, got, "subject")
    subjects = "subject" if torn == 1 else "subjects"
    assert got.notes[0].startswith(
        f"LEAKY: the test set is {count} whole clips as requested: clips of {torn} {subjects} are"
    )


def test_test_clips_are_refused_where_they_cannot_be():
    with pytest.raises(ValueError, match="test_clips is for kind: holdout with by: frame"):
        Protocol(test_clips=12)
    with pytest.raises(InputError, match=r"20 test clips of class . leave none of its 20 clips"):
        split_manifest(frames(), Protocol(by="frame", test_clips=60))
    unknown = frames()
    unknown.table.loc[0, "clip"] = None
    with pytest.raises(InputError, match="test_clips needs the clip of every sample"):
        split_manifest(unknown, Protocol(by="frame", test_clips=3))
    mixed = manifest_of([0, 1, 2] * 4, clips=[0, 0, 0, *range(1, 10)])
    with pytest.raises(InputError, match="test_clips needs clips with one class"):
        split_manifest(mixed, Protocol(by="frame", test_clips=3))


def test_imbalance_by_subjects_names_how_it_confounds_identity_with_class():
    manifest = biovid()
    for on in ("train", "all"):
        got = split_manifest(
            manifest, Protocol(validation=0, imbalance=Imbalance(counts=TABLE_1, by="subjects", on=on))
        )
        rows = got.train if on == "train" else np.concatenate(sides(got))
        note = next(note for note in got.notes if "confounds identity with class" in note)
        for name, left, there in re.findall(r"(\w+) (\d+) of (\d+)", note):
            shown = manifest.table.iloc[rows]
            shown = shown[shown["label"] == LEVELS.index(name)]["subject"].nunique()
            tested = 0 if on == "all" else manifest.table["subject"].iloc[got.test].nunique()
            assert (int(left), int(there)) == (shown, 87 - tested)
    plain = split_manifest(manifest, Protocol(validation=0, imbalance=Imbalance(counts=TABLE_1)))
    assert not any("confounds" in note for note in plain.notes)
    kept = manifest.table.iloc[plain.train]
    assert kept[kept["label"] == 4]["subject"].nunique() > 50  # of 200 clips of 69 people


def test_leave_one_out_takes_each_person_whom_an_imbalance_of_the_whole_set_leaves():
    manifest = biovid()
    uneven = Imbalance(counts={"BL": 400, "PA1": 40, "PA2": 40, "PA3": 40, "PA4": 40}, by="subjects", on="all")
    protocol = Protocol(kind="leave-one-out", validation=0, imbalance=uneven)
    assert fold_count(manifest, protocol) == 20  # 400 clips of 20 each
    got = split_manifest(manifest, changed(protocol, fold=19))
    assert len(set(manifest.table["subject"].iloc[got.test])) == 1
    with pytest.raises(InputError, match="fold must be 0 to 19, got 20"):
        split_manifest(manifest, changed(protocol, fold=20))


@st.composite
def clustered(draw):
    """Samples without people, and the cluster of each."""
    n = draw(st.integers(20, 60))
    labels = draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    clusters = draw(st.lists(st.integers(0, 11), min_size=n, max_size=n).filter(lambda drawn: len(set(drawn)) > 4))
    return manifest_of(labels), np.array(clusters)


@given(clustered(), st.sampled_from(["holdout", "kfold"]), st.integers(0, 5), st.sampled_from([0.0, 0.3]))
def test_by_pseudo_subject_keeps_clusters_whole_whatever_the_order(data, kind, seed, validation):
    manifest, clusters = data
    protocol = Protocol(kind=kind, by="pseudo-subject", folds=3, seed=seed, validation=validation)
    got = split_manifest(manifest, protocol, pseudo_subjects=clusters)
    sets = [set(clusters[rows].tolist()) for rows in sides(got)]
    assert sum(map(len, sets)) == len(set(clusters.tolist()))
    assert sorted(np.concatenate(sides(got)).tolist()) == list(range(len(manifest)))
    assert got.notes[0] == (
        "WARNING: people are clusters of similar faces, not known subjects: the split keeps "
        f"{len(set(clusters.tolist()))} pseudo-subjects of {len(manifest)} samples together; a person may still be in "
        "both training and test set"
    )
    order = np.random.default_rng(seed).permutation(len(manifest))
    _, renumbered = np.unique(clusters[order][::-1], return_inverse=True)
    again = split_manifest(manifest.take(order), protocol, pseudo_subjects=renumbered[::-1] + 7)
    for rows, shuffled in zip(sides(got), sides(again), strict=True):
        assert set(rows.tolist()) == set(order[shuffled].tolist())


def test_by_pseudo_subject_is_refused_where_people_are_known_or_clusters_are_not():
    with pytest.raises(InputError, match="is for unknown subjects, but all are known"):
        split_manifest(frames(), Protocol(by="pseudo-subject"), pseudo_subjects=np.zeros(300, dtype=np.int64))
    with pytest.raises(InputError, match="needs the clusters of similar faces"):
        split_manifest(manifest_of(np.arange(60) % 3), Protocol(by="pseudo-subject"))
    with pytest.raises(InputError, match="pseudo-subjects, but there"):
        split_manifest(
            manifest_of(np.arange(60) % 3), Protocol(by="pseudo-subject"), pseudo_subjects=np.zeros(60, np.int64)
        )
