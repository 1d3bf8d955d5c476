import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenface.data import imbalance
from evenface.utils.errors import InputError

some_counts = st.lists(st.integers(1, 30_000), min_size=2, max_size=9)


@given(st.lists(st.integers(0, 5), max_size=40))
def test_counts_are_what_a_loop_counts(labels):
    assert imbalance.class_counts(labels, 6).tolist() == [sum(y == c for y in labels) for c in range(6)]


@pytest.mark.parametrize("labels", [[0, 7], [-1, 0], [0.5, 1.0]])
def test_labels_out_of_range_or_not_whole_are_refused(labels):
    with pytest.raises(InputError, match="labels must be"):
        imbalance.class_counts(labels, 7)


def test_ratio_and_factor_of_known_counts():
    assert imbalance.imbalance_ratios([10, 30, 60]).tolist() == pytest.approx([9.0, 70 / 30, 40 / 60])
    assert imbalance.imbalance_factor([4300, 430, 1308]) == 10.0


@given(some_counts)
def test_inverse_frequency_is_the_formula_and_its_scales(n):
    total = sum(1 / c for c in n)
    formula = [(1 / c) / total for c in n]
    assert imbalance.inverse_frequency_weights(n).tolist() == pytest.approx(formula)
    scaled = imbalance.inverse_frequency_weights(n, normalise="classes")
    assert scaled.tolist() == pytest.approx([len(n) * w for w in formula])
    assert imbalance.inverse_frequency_weights(n, normalise="none").tolist() == pytest.approx([1 / c for c in n])


@given(some_counts, st.sampled_from([0.0, 0.5, 0.9, 0.99, 0.999]))
def test_effective_number_is_the_inverse_of_a_geometric_sum(n, beta):
    # (1 - beta^n) / (1 - beta) = 1 + beta + ... + beta^(n - 1); summed term by term, with the rest where it is nil.
    effective = [float(np.sum(beta ** np.arange(c, dtype=np.float64))) for c in n]
    raw = imbalance.effective_number_weights(n, beta=beta, normalise="none")
    assert raw.tolist() == pytest.approx([1 / e for e in effective], rel=1e-6)
    scaled = imbalance.effective_number_weights(n, beta=beta)
    assert scaled.sum() == pytest.approx(len(n))
    assert scaled / scaled[0] == pytest.approx(raw / raw[0])


def test_effective_number_runs_from_equal_to_inverse_frequency():
    n = [5000, 300, 20]
    assert imbalance.effective_number_weights(n, beta=0.0).tolist() == [1.0, 1.0, 1.0]
    near = imbalance.effective_number_weights(n, beta=1 - 1e-12, normalise="sum-one")
    assert near == pytest.approx(imbalance.inverse_frequency_weights(n), rel=1e-6)


@given(some_counts)
def test_rarer_classes_never_weigh_less(n):
    for rule in ("inverse", "effective", "ratio"):
        weights = imbalance.class_weights(rule, n)
        order = np.argsort(n, kind="stable")
        assert (np.diff(weights[order]) <= 1e-12).all()
        assert weights.mean() == pytest.approx(1.0)


def test_a_class_without_samples_is_named():
    for weigh in (imbalance.imbalance_ratios, imbalance.inverse_frequency_weights, imbalance.effective_number_weights):
        with pytest.raises(InputError, match="the class fear has no training sample"):
            weigh([5, 0, 3], names=["happy", "fear", "sad"])
    with pytest.raises(InputError, match="class 1"):
        imbalance.imbalance_factor([5, 0, 3])


@pytest.mark.parametrize(
    ("rule", "options", "says"),
    [
        ("invers", {}, "Did you mean inverse"),
        ("inverse", {"normalise": "sum"}, "sum-one"),
        ("effective", {"beta": 1.0}, "beta must be"),
        ([1.0, 2.0], {}, "must be 3 finite numbers"),
        ([1.0, -2.0, 1.0], {}, "must be 3 finite numbers"),
        ([1.0, float("nan"), 1.0], {}, "must be 3 finite numbers"),
    ],
)
def test_weights_that_cannot_be_are_refused(rule, options, says):
    with pytest.raises(InputError, match=says):
        imbalance.class_weights(rule, [3, 2, 1], **options)


def test_given_weights_are_taken_as_they_are():
    assert imbalance.class_weights([0.5, 3.0], [9, 1]).tolist() == [0.5, 3.0]
    assert imbalance.class_weights(None, [9, 1]) is None


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60))
def test_inverse_sampling_gives_each_class_the_same_share(labels):
    p = imbalance.sampling_probabilities(labels, "inverse")
    present = sorted(set(labels))
    shares = [sum(q for q, y in zip(p, labels, strict=True) if y == c) for c in present]
    assert shares == pytest.approx([1 / len(present)] * len(present))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60))
def test_reversed_sampling_gives_each_class_a_share_by_one_over_its_samples(labels):
    p = imbalance.sampling_probabilities(labels, "reversed")
    n = [labels.count(c) for c in sorted(set(labels))]
    shares = [sum(q for q, y in zip(p, labels, strict=True) if y == c) for c in sorted(set(labels))]
    assert shares == pytest.approx([(1 / c) / sum(1 / d for d in n) for c in n])


def test_sampling_rules_against_their_definition():
    labels = [0] * 90 + [2] * 10
    assert imbalance.sampling_probabilities(labels, "none") == pytest.approx(np.full(100, 0.01))
    p = imbalance.sampling_probabilities(labels, "effective", beta=0.99)
    weights = imbalance.effective_number_weights([90, 10], beta=0.99)
    assert p[-1] / p[0] == pytest.approx(weights[1] / weights[0])
    assert p.sum() == pytest.approx(1.0)
    with pytest.raises(InputError, match="inverse"):
        imbalance.sampling_probabilities(labels, "invers")
    with pytest.raises(InputError, match="at least one sample"):
        imbalance.sampling_probabilities([], "none")


@given(
    st.lists(st.sampled_from([0.0, 0.1, 1.0, 5.0]), min_size=1, max_size=12).filter(any),
    st.lists(st.floats(0, 1, exclude_max=True, width=32), max_size=20),
)
def test_a_draw_walks_along_the_cumulative_sum(weights, numbers):
    rows = imbalance.draw_samples(np.array(weights), np.array(numbers))
    total = np.cumsum(weights)[-1]
    for u, row in zip(numbers, rows, strict=True):
        walked, place = 0.0, 0
        while True:
            walked += weights[place]
            if u < walked / total:
                break
            place += 1
        assert row == place
        assert weights[row] > 0


def test_draws_follow_the_probabilities():
    labels = np.array([0] * 950 + [1] * 50)
    p = imbalance.sampling_probabilities(labels, "inverse")
    rows = imbalance.draw_samples(p, np.random.default_rng(1).random(20_000))
    share = (labels[rows] == 1).mean()
    assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(20_000)
