"""Cohorts share nobody, are even in their classes, and a run sees only its own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_protocol import manifest_of, people

from evenface.config.recipe import Protocol
from evenface.data.splits import cohort_rows, fold_count, split_manifest
from evenface.utils.errors import InputError


def everybody(manifest, got):
    rows = np.concatenate([got.train, got.validation, got.test])
    return rows, set(manifest.table["subject"].iloc[rows])


@given(st.integers(2, 5), st.integers(0, 99), st.sampled_from(["holdout", "kfold", "leave-one-out"]))
def test_cohorts_share_nobody_and_together_are_all(cohorts, seed, kind):
    manifest = people(count=24, each=6)
    seen, met = [], []
    for cohort in range(cohorts):
        protocol = Protocol(kind=kind, seed=seed, cohorts=cohorts, cohort=cohort, folds=2, validation=0.2)
        rows, who = everybody(manifest, split_manifest(manifest, protocol))
        seen.append(rows)
        met.append(who)
    assert sum(len(who) for who in met) == len(set().union(*met)) == 24
    assert sorted(np.concatenate(seen)) == list(range(len(manifest)))


def test_classes_are_spread_evenly():
    rng = np.random.default_rng(0)
    labels, subjects = rng.choice(3, 600, p=[0.6, 0.3, 0.1]), [f"s{place // 5:03}" for place in range(600)]
    manifest = manifest_of(labels, subjects)
    counts = np.array([manifest.counts(cohort_rows(manifest, Protocol(cohorts=6, cohort=place))) for place in range(6)])
    assert (np.ptp(counts, axis=0) <= 4).all()


def test_the_order_of_rows_and_the_fold_do_not_matter():
    manifest = people(count=12, each=6)
    order = np.random.default_rng(1).permutation(len(manifest))
    protocol = Protocol(kind="kfold", folds=3, cohorts=2, cohort=1)
    found = [
        {
            sample
            for row in everybody(one, split_manifest(one, protocol.model_copy(update={"fold": fold})))[0]
            for sample in [one.table["sample"].iloc[row]]
        }
        for one in (manifest, manifest.take(order))
        for fold in (0, 2)
    ]
    assert found[0] == found[1] == found[2] == found[3]


def test_folds_of_leaving_one_out_are_the_people_of_the_cohort():
    manifest = people(count=9, each=6)
    counts = [fold_count(manifest, Protocol(kind="leave-one-out", cohorts=2, cohort=place)) for place in range(2)]
    assert sum(counts) == 9


def test_copies_in_other_cohorts_do_not_count():
    manifest = people(count=8, each=6)
    subjects = manifest.table["subject"].to_numpy()
    first, second = (cohort_rows(manifest, Protocol(cohorts=2, cohort=place)) for place in range(2))
    across = np.array([[first[0], second[0]]])
    protocol = Protocol(cohorts=2, duplicates="drop-train", validation=0)
    assert len(everybody(manifest, split_manifest(manifest, protocol, across))[0]) == len(first)
    plain = split_manifest(manifest, Protocol(cohorts=2, validation=0))
    inside = np.array([[plain.train[0], plain.test[0]]])
    assert subjects[plain.train[0]] != subjects[plain.test[0]]
    assert set(plain.train) - set(split_manifest(manifest, protocol, inside).train) == {plain.train[0]}


def test_the_notes_say_which():
    assert "cohort 2 of 2: 4 subjects" in " ".join(split_manifest(people(8), Protocol(cohorts=2, cohort=1)).notes)


def test_cohorts_without_people_enough_or_known_are_refused():
    with pytest.raises(InputError, match="7 cohorts need at least as many subjects, but there are 5"):
        split_manifest(people(5), Protocol(cohorts=7))
    with pytest.raises(InputError, match="need the subject"):
        split_manifest(manifest_of([0, 1, 2] * 9), Protocol(cohorts=2))
