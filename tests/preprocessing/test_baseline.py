"""Person baselines: derived again by naive loops, and independent of other persons and of labels."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from evenface.config.recipe import Baseline
from evenface.data.manifest import Manifest, make_table
from evenface.data.targets import select_targets
from evenface.preprocessing.baseline import Moments, compute_baselines, describe_baseline
from evenface.utils.errors import InputError

PEOPLE = ("ann", "bob", "cy")
CLASSES = ("neutral", "happy")


def manifest_of(people=PEOPLE, each=4, classes=CLASSES, content="sequences", task="classification", **columns):
    rows = [
        {
            "sample": f"{name}-{take}",
            "path": f"{name}-{take}.csv",
            "label": take % 2,
            "subject": name,
            "clip": f"{name}-{take}",
            **{key: value(name, take) for key, value in columns.items()},
        }
        for name in people
        for take in range(each)
    ]
    return Manifest(make_table(rows), classes, "made-up", Path(), content=content, task=task)


def sequences(count=12, seed=0):
    return np.random.default_rng(seed).normal(2, 3, (count, 5, 3, 1)).astype(np.float32)


def inputs(samples, manifest, **settings):
    given = {key: settings.pop(key) for key in ("used", "tested", "seed") if key in settings}
    baselines = compute_baselines(samples, manifest, Baseline(**settings), **given)
    return baselines.relative(samples, np.arange(len(samples)))


def test_the_subject_mean_is_subtracted_from_every_frame():
    samples, manifest = sequences(), manifest_of()
    found = inputs(samples, manifest, kind="subject-mean")
    for row in range(12):
        own = range(row // 4 * 4, row // 4 * 4 + 4)
        for point in range(3):
            mean = sum(float(samples[i, t, point, 0]) for i in own for t in range(5)) / 20
            assert found[row, :, point, 0] == pytest.approx(samples[row, :, point, 0] - mean, abs=1e-5)


def test_scale_gives_z_scores_and_leaves_constant_values():
    samples = sequences()
    samples[:4, :, 1] = 7.0
    found = inputs(samples, manifest_of(), kind="subject-mean", scale=True).reshape(3, 20, 3)
    assert found.mean(axis=1) == pytest.approx(np.zeros((3, 3)), abs=1e-5)
    expected = np.ones((3, 3))
    expected[0, 1] = 0.0
    assert found.std(axis=1) == pytest.approx(expected, abs=1e-4)


@given(st.integers(0, 2), st.sampled_from(["subject-mean", "neutral", "first-frames"]), st.booleans())
def test_other_persons_do_not_change_the_inputs_of_a_person(changed, kind, scale):
    samples, manifest = sequences(), manifest_of()
    other = samples.copy()
    other[changed * 4 : changed * 4 + 4] = sequences(4, seed=9) * 50
    before, after = (inputs(x, manifest, kind=kind, scale=scale) for x in (samples, other))
    rest = np.arange(12) // 4 != changed
    np.testing.assert_array_equal(before[rest], after[rest])
    assert not np.allclose(before[~rest], after[~rest])


@pytest.mark.parametrize("kind", ["subject-mean", "first-frames"])
def test_unlabelled_baselines_do_not_depend_on_labels(kind):
    samples, manifest = sequences(), manifest_of()
    table = manifest.table.assign(label=1 - manifest.table["label"])
    swapped = Manifest(table, manifest.classes, "made-up", Path(), content="sequences")
    tested = np.arange(8, 12)
    settings = {"kind": kind, "tested": tested} | ({"clips": 2} if kind == "subject-mean" else {})
    np.testing.assert_array_equal(inputs(samples, manifest, **settings), inputs(samples, swapped, **settings))


def test_neutral_samples_are_the_baseline_and_reserved():
    samples, manifest = sequences(), manifest_of()
    baselines = compute_baselines(samples, manifest, Baseline(kind="neutral"))
    assert baselines.reserved.tolist() == [0, 2, 4, 6, 8, 10]
    assert baselines.mean[1] == pytest.approx(samples[[4, 6]].reshape(10, 3, 1).mean(axis=0), abs=1e-5)


def test_the_lowest_level_is_neutral_where_no_class_has_that_name():
    manifest = manifest_of(classes=("BL1", "PA4"), task="ordinal")
    assert compute_baselines(sequences(), manifest, Baseline(kind="neutral")).reserved.tolist() == [0, 2, 4, 6, 8, 10]
    with pytest.raises(InputError, match="no class of that name"):
        compute_baselines(sequences(), manifest_of(classes=("sad", "happy")), Baseline(kind="neutral"))


@pytest.mark.parametrize(
    ("task", "targets", "values"),
    [("regression", ("pspi",), lambda _, take: 3.0 - take), ("multilabel", ("AU1",), lambda _, take: 1.0 - take // 3)],
)
def test_the_lowest_value_or_no_unit_is_neutral(task, targets, values):
    manifest = manifest_of(**{targets[0]: values})
    chosen = select_targets(manifest, task, targets, 0.5)
    assert compute_baselines(sequences(), chosen, Baseline(kind="neutral")).reserved.tolist() == [3, 7, 11]


def test_samples_with_missing_units_are_not_neutral():
    """Of each person: all units missing, one missing and one absent, both absent, one present."""
    missing = float("nan")
    units = {
        "AU1": lambda _, take: (missing, 0.0, 0.0, 1.0)[take],
        "AU4": lambda _, take: (missing, missing, 0.0, 1.0)[take],
    }
    chosen = select_targets(manifest_of(**units), "multilabel", ("AU1", "AU4"))
    assert compute_baselines(sequences(), chosen, Baseline(kind="neutral")).reserved.tolist() == [2, 6, 10]


def test_the_lowest_value_of_a_signed_scale_is_not_neutral():
    chosen = select_targets(manifest_of(valence=lambda _, take: take - 1.5), "regression", ("valence",))
    with pytest.raises(InputError, match=r"takes the lowest valence for neutral, but it is -1.5, below 0") as refused:
        compute_baselines(sequences(), chosen, Baseline(kind="neutral"))
    assert refused.value.hint == "Set data.baseline=subject-mean."
    with pytest.raises(InputError, match=r"takes the lowest level for neutral, but it is -1, below 0"):
        compute_baselines(sequences(), manifest_of(classes=("-1", "1"), task="ordinal"), Baseline(kind="neutral"))


def test_a_person_without_a_neutral_sample_is_refused():
    manifest = manifest_of(label=lambda name, take: 1 if name == "bob" else take % 2)
    with pytest.raises(InputError, match="the subject bob has no sample of the class neutral"):
        compute_baselines(sequences(), manifest, Baseline(kind="neutral"))
    others = np.r_[0:4, 8:12]  # bob takes no part in the run
    compute_baselines(sequences(), manifest, Baseline(kind="neutral"), used=others)


@pytest.mark.parametrize("kind", ["subject-mean", "neutral"])
def test_unknown_subjects_are_refused(kind):
    manifest = manifest_of(subject=lambda name, take: None if take == 1 else name)
    with pytest.raises(InputError, match="unknown for 3 of 12"):
        compute_baselines(sequences(), manifest, Baseline(kind=kind))


def test_first_frames_of_each_recording_need_no_subjects():
    samples, manifest = sequences(), manifest_of(subject=lambda *_: None)
    found = inputs(samples, manifest, kind="first-frames", frames=2)
    assert found == pytest.approx(samples - samples[:, :2].mean(axis=1, keepdims=True), abs=1e-5)


def test_windows_of_a_recording_share_its_first_frames():
    """The second window comes first in the table: time decides, not the order of rows."""
    manifest = manifest_of(("ann",), 2, clip=lambda *_: "one", start=lambda _, take: 10 - 10 * take)
    samples = sequences(2)
    found = inputs(samples, manifest, kind="first-frames", frames=7)
    frames = np.concatenate([samples[1], samples[0]])[:7]
    assert found == pytest.approx(samples - frames.mean(axis=0), abs=1e-5)


def test_images_get_the_rounded_mean_image_of_the_first_images_of_a_person():
    images = np.random.default_rng(0).integers(0, 256, (12, 1, 4, 4, 1), dtype=np.uint8)
    manifest = manifest_of(content="stills", clip=lambda *_: None)
    found = inputs(images, manifest, kind="first-frames", frames=3)
    assert found.shape == (12, 2, 4, 4, 1)
    np.testing.assert_array_equal(found[:, 1], images[:, 0])
    expected = np.round(images[4:7, 0].astype(float).mean(axis=0)).astype(np.uint8)
    np.testing.assert_array_equal(found[5, 0], expected)


def test_only_samples_of_the_run_count():
    samples, manifest = sequences(), manifest_of()
    found = inputs(samples, manifest, kind="subject-mean", used=np.array([4, 5]))
    assert found[4:8] == pytest.approx(samples[4:8] - samples[4:6].mean(axis=(0, 1)), abs=1e-5)
    baselines = compute_baselines(samples, manifest, Baseline(kind="subject-mean", scale=True), used=np.array([5, 4]))
    assert not baselines.mean[[0, 2]].any()  # ann and cy take no part in the run
    assert baselines.deviation is not None
    assert (baselines.deviation[[0, 2]] == 1).all()


def test_clips_limit_the_baseline_of_test_persons_alone():
    samples, manifest = sequences(), manifest_of()
    tested = np.arange(4)
    whole, few = (
        compute_baselines(samples, manifest, Baseline(kind="subject-mean", clips=clips), tested=tested, seed=3)
        for clips in (None, 1)
    )
    np.testing.assert_array_equal(whole.mean[1:], few.mean[1:])
    each = samples[:4].mean(axis=1)
    assert min(np.abs(each - few.mean[0]).max(axis=(1, 2))) < 1e-5
    drawn = {
        compute_baselines(samples, manifest, Baseline(kind="subject-mean", clips=1), tested=tested, seed=s).key
        for s in range(12)
    }
    assert len(drawn) == 4  # another of the four samples by the seed


def test_running_moments_are_those_of_all_frames():
    frames = sequences(3).reshape(15, 3, 1)
    running = Moments(scale=True)
    for part in np.split(frames, [2, 9]):
        running.add(part)
    found = running.reference()
    assert found.mean == pytest.approx(frames.mean(axis=0), abs=1e-5)
    assert found.deviation == pytest.approx(frames.std(axis=0), abs=1e-4)
    limited = Moments(limit=4).add(frames[:3]).add(frames[3:]).reference()
    assert limited.mean == pytest.approx(frames[:4].mean(axis=0), abs=1e-5)


def test_notes_say_what_is_transductive():
    manifest = manifest_of()
    assert "transductive" in describe_baseline(Baseline(kind="subject-mean"), manifest)
    assert "neutral samples, which are not tested" in describe_baseline(Baseline(kind="neutral"), manifest)
    assert "computed from 3 of these" in describe_baseline(Baseline(kind="subject-mean", clips=3), manifest)
    assert "standard deviation" in describe_baseline(Baseline(kind="first-frames", scale=True), manifest)


@pytest.mark.parametrize(
    "settings",
    [{"clips": 3}, {"scale": True}, {"kind": "subject-mean", "frames": 4}, {"kind": "first-frames", "clips": 2}],
)
def test_settings_without_effect_are_refused(settings):
    with pytest.raises(ValidationError):
        Baseline(**settings)
