"""Frames and windows joined into clips: by loops over clips, and what files of before still say."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from evenface.evaluation.predictions import Predictions
from evenface.utils.errors import InputError

CLASSES = ("neutral", "phasic", "tonic")


def frames(lengths=(4, 1, 7, 3, 5, 2), seed=0, people=3, ordered=True, skill=0.5):
    """Predictions of frames of clips, in no order of clips."""
    random = np.random.default_rng(seed)
    clip = np.repeat([f"clip{i}" for i in range(len(lengths))], lengths)
    number = np.repeat(np.arange(len(lengths)), lengths)
    order = random.permutation(len(clip))
    clip, number = clip[order].astype(object), number[order]
    labels = number % 3
    logits = random.normal(size=(len(clip), 3)) + skill * np.eye(3)[labels]
    p = _softmax(logits)
    subject = None if people is None else np.array([f"p{i % people}" for i in number], dtype=object)
    names = np.array([f"{c}#{i}" for i, c in enumerate(clip)], dtype=object)
    return Predictions(names, subject, labels, p, CLASSES, clip, ordered)


def _softmax(logits):
    exps = np.exp(logits)
    return exps / exps.sum(axis=1, keepdims=True)


@given(hnp.arrays(np.int64, st.integers(1, 8), elements=st.integers(1, 9)), st.integers(0, 999))
def test_clips_are_the_mean_or_the_vote_of_their_frames(lengths, seed):
    given_ = frames(tuple(lengths), seed)
    mean, vote = given_.by_clip(), given_.by_clip("vote")
    assert list(mean.sample) == list(vote.sample) == list(dict.fromkeys(given_.clip))
    for row, clip in enumerate(mean.sample):
        mine = [i for i in range(len(given_)) if given_.clip[i] == clip]
        average = [sum(given_.probabilities[i, k] for i in mine) / len(mine) for k in range(3)]
        assert mean.probabilities[row] == pytest.approx(average)
        votes = [sum(1 for i in mine if given_.predicted[i] == k) for k in range(3)]
        winner = max(range(3), key=lambda k: (votes[k], average[k]))
        assert vote.predicted[row] == winner
        assert vote.probabilities[row] == pytest.approx([n / len(mine) for n in votes], abs=1e-3)
        assert {mean.labels[row]} == {given_.labels[i] for i in mine}
        assert {mean.subject[row]} == {given_.subject[i] for i in mine}


@given(st.integers(0, 999), st.sampled_from(["mean", "vote"]))
def test_what_is_joined_once_stays(seed, how):
    once = frames(seed=seed).by_clip(how)
    twice = once.by_clip(how)
    np.testing.assert_array_equal(once.predicted, twice.predicted)
    assert not once.in_parts
    assert (once.clips, once.ordered, once.people) == (6, True, 3)


def test_a_tie_of_votes_goes_to_the_higher_mean_even_in_long_clips():
    p = np.array([[0.9, 0.1, 0.0], [0.4, 0.6, 0.0]] * 5000 + [[0.45, 0.55, 0.0], [0.55, 0.45, 0.0]])
    n = len(p)
    tied = Predictions(np.arange(n).astype(str), None, np.zeros(n, int), p, CLASSES, np.full(n, "a"))
    assert tied.by_clip("vote").predicted.tolist() == [0]
    one_more = np.vstack([p, [0.49, 0.51, 0.0]])  # one vote is more than any mean
    lost = Predictions(np.arange(n + 1).astype(str), None, np.zeros(n + 1, int), one_more, CLASSES, np.full(n + 1, "a"))
    assert lost.by_clip("vote").predicted.tolist() == [1]
    assert lost.by_clip("mean").predicted.tolist() == [0]


def test_clips_that_mean_nothing_whole_are_refused_by_name():
    given_ = frames()
    with pytest.raises(InputError, match="clip of each sample is not known"):
        replace(given_, clip=None).by_clip()
    row = int(np.flatnonzero(given_.clip == "clip2")[0])
    labels, subject = given_.labels.copy(), given_.subject.copy()
    labels[row], subject[row] = (labels[row] + 1) % 3, "somebody else"
    for change in ({"labels": labels}, {"subject": subject}):
        other = replace(given_, **change)
        assert other.mixed == "clip2"
        with pytest.raises(InputError, match="'clip2' differ in label or subject"):
            other.by_clip()
    unknown = given_.clip.copy()
    unknown[3] = None
    assert replace(given_, clip=unknown).clip is None


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("clips", [True, False])
def test_clip_and_order_come_back_as_they_were_saved(tmp_path, ordered, clips):
    before = frames(ordered=ordered)
    before = before if clips else replace(before, clip=None)
    before.save(tmp_path / "p.parquet")
    after = Predictions.load(tmp_path / "p.parquet")
    assert after.ordered is ordered
    assert (after.clip is None) is not clips
    assert not clips or list(after.clip) == list(before.clip)
    assert ("clip" in pd.read_parquet(tmp_path / "p.parquet").columns) is clips
    kept = after.take([4, 2])
    assert kept.ordered is ordered
    assert not clips or list(kept.clip) == [before.clip[4], before.clip[2]]


def test_files_of_before_have_neither_clips_nor_order(tmp_path):
    given_ = frames()
    table = {"sample": given_.sample, "subject": given_.subject, "label": given_.labels}
    table |= {f"p_{name}": given_.probabilities[:, i] for i, name in enumerate(CLASSES)}
    pd.DataFrame(table).to_parquet(tmp_path / "old.parquet", index=False)
    old = Predictions.load(tmp_path / "old.parquet")
    assert old.clip is None
    assert old.ordered is False
    assert not old.in_parts
