"""Subclasses within classes: centres, intervals and ranks against loops written down from the paper."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evenface.methods import Task
from evenface.methods.dicc import Clusters, intervals, rank_groups, subclass_counts
from evenface.utils.errors import InputError

SIZES = [5, 1, 3]
FIRST = [0, 5, 6]


def batches(steps=6, rows=9, width=4):
    """Give batches in which classes are sometimes missing, sometimes of one sample."""
    generator = torch.Generator().manual_seed(3)
    for step in range(steps):
        targets = torch.randint(3, (rows,), generator=generator)
        if step == 0:
            targets[targets == 2] = 0  # class 2 is seen late
        if step == 2:
            targets = torch.tensor([0] * (rows - 1) + [1])
        yield torch.randn(rows, width, generator=generator, dtype=torch.float64), targets


def by_hand(steps, weight, partition):
    """Walk through the paper's Algorithm 1 sample by sample, in Python's own numbers."""
    centres, answers = {}, []
    for features, targets in steps:
        labels = [None] * len(targets)
        for c, size in enumerate(SIZES):
            loc = [i for i, y in enumerate(targets.tolist()) if y == c]
            if not loc:
                continue
            mean = [sum(float(features[i, d]) for i in loc) / len(loc) for d in range(features.shape[1])]
            old = centres.get(c)
            centres[c] = (
                mean if old is None else [weight * y + (1 - weight) * m for y, m in zip(mean, old, strict=True)]
            )
            distance = {i: math.dist(features[i].tolist(), centres[c]) for i in loc}
            largest = max(distance.values())
            for rank, i in enumerate(sorted(loc, key=distance.get)):
                if partition == "distance":
                    width = largest / size
                    inside = [n for n in range(size) if n * width <= distance[i] < (n + 1) * width]
                    n = inside[0] if inside else size - 1  # the furthest ends the last interval
                elif len(loc) <= size:
                    n = rank
                else:
                    n = math.floor(rank * size / len(loc))
                labels[i] = FIRST[c] + n
        answers.append(labels)
    return centres, answers


@pytest.mark.parametrize("partition", ["distance", "rank"])
@pytest.mark.parametrize("weight", [0.01, 0.99])
def test_centres_and_labels_are_those_of_the_papers_algorithm(weight, partition):
    clusters = Clusters(SIZES, 4, weight, partition).double()
    got = [clusters(features, targets).tolist() for features, targets in batches()]
    centres, labels = by_hand(batches(), weight, partition)
    assert got == labels
    assert clusters.seen.all()
    for c, centre in centres.items():
        assert clusters.centres[c].tolist() == pytest.approx(centre, rel=1e-12)


def test_the_algorithms_ranks_where_no_class_has_more_samples_than_subclasses():
    # Algorithm 1 as printed: the place in the order of distances is the label, behind those of the classes before.
    distances, targets = torch.tensor([0.3, 0.1, 0.9, 0.2, 0.5]), torch.tensor([0, 0, 1, 0, 1])
    assert rank_groups(distances, targets, torch.tensor([4, 2])).tolist() == [2, 0, 1, 1, 0]


def test_a_class_that_a_batch_lacks_keeps_its_centre():
    clusters = Clusters(SIZES, 2)
    clusters(torch.randn(6, 2), torch.tensor([0, 0, 1, 1, 2, 2]))
    before = clusters.centres.clone()
    clusters(torch.randn(3, 2), torch.tensor([0, 2, 2]))
    assert torch.equal(clusters.centres[1], before[1])
    assert (clusters.centres[[0, 2]] != before[[0, 2]]).any(dim=1).all()


@pytest.mark.parametrize("partition", ["distance", "rank"])
def test_one_sample_of_a_class_and_equal_samples_are_in_its_first_subclass(partition):
    clusters = Clusters(SIZES, 3, partition=partition)
    one = clusters(torch.ones(1, 3), torch.tensor([2]))
    assert one.tolist() == [6]
    same = Clusters(SIZES, 3)(torch.ones(4, 3), torch.tensor([0, 0, 2, 0]))
    assert same.tolist() == [0, 0, 6, 0]


@pytest.mark.parametrize("partition", ["distance", "rank"])
def test_features_that_are_not_finite_still_give_labels_of_their_class(partition):
    clusters = Clusters(SIZES, 2, partition=partition)
    features = torch.tensor([[math.nan, 0.0], [math.inf, 1.0], [0.0, 1.0], [1.0, 1.0]])
    labels = clusters(features, torch.tensor([0, 0, 0, 2]))
    assert ((labels[:3] >= 0) & (labels[:3] < 5)).all()
    assert labels[3] == 6


@given(
    st.lists(st.tuples(st.floats(0, 1e6, width=32), st.integers(0, 2)), min_size=1, max_size=30),
    st.lists(st.integers(1, 7), min_size=3, max_size=3),
    st.sampled_from([intervals, rank_groups]),
)
def test_subclasses_are_in_range_and_grow_with_the_distance(samples, sizes, divide):
    distances, targets = torch.tensor([d for d, _ in samples]), torch.tensor([y for _, y in samples])
    subclass = divide(distances, targets, torch.tensor(sizes))
    for c, size in enumerate(sizes):
        own, far = subclass[targets == c].tolist(), distances[targets == c].tolist()
        assert all(0 <= n < size for n in own)
        in_order = [n for _, n in sorted(zip(far, own, strict=True))]
        assert in_order == sorted(in_order)
        if divide is rank_groups and len(own) >= size:
            groups = [own.count(n) for n in range(size)]
            assert max(groups) - min(groups) <= 1


def test_half_precision_under_autocast_gives_the_centres_of_full_precision():
    features, targets = torch.randn(8, 4).bfloat16(), torch.tensor([0, 0, 1, 1, 2, 2, 2, 0])
    one, two = Clusters(SIZES, 4), Clusters(SIZES, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        labels = one(features, targets)
    assert torch.equal(labels, two(features.float(), targets))
    assert torch.equal(one.centres, two.centres)


def _process(rank, port, folder):
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    clusters = {partition: Clusters(SIZES, 4, partition=partition) for partition in ("distance", "rank")}
    found = {}
    for partition, one in clusters.items():
        labels = [one(f.float().chunk(2)[rank], y.chunk(2)[rank]) for f, y in batches(rows=10)]
        found[partition] = (torch.stack(labels), one.centres)
    torch.save(found, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tmp_path, unused_port):
    torch.multiprocessing.spawn(_process, (unused_port, tmp_path), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for partition in ("distance", "rank"):
        alone = Clusters(SIZES, 4, partition=partition)
        labels = torch.stack([alone(f.float(), y) for f, y in batches(rows=10)])
        assert torch.equal(torch.cat([first[partition][0], second[partition][0]], dim=1), labels)
        assert torch.equal(first[partition][1], second[partition][1])
        assert torch.equal(first[partition][1], alone.centres)


@pytest.fixture
def unused_port():
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


FER = Task(
    np.array([1308, 430, 1744, 4300, 2612, 872, 3488]),
    ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"),
    batch_size=32,
)


def test_automatic_numbers_are_the_ratio_to_the_rarest_within_what_a_batch_holds():
    total = 14754
    expected = [max(1, min(round(n / 430), 20, math.floor(32 * n / total))) for n in FER.counts.tolist()]
    assert subclass_counts("auto", FER) == tuple(expected) == (2, 1, 3, 9, 5, 1, 7)
    large = Task(FER.counts, FER.names, batch_size=4096)
    assert subclass_counts("auto", large) == (3, 1, 4, 10, 6, 2, 8)
    steep = Task(np.array([9000, 90]), ("a", "b"), batch_size=4096)
    assert subclass_counts("auto", steep) == (20, 1)


def test_numbers_by_name_and_by_place_are_the_same():
    named = {"happy": 10, "neutral": 8, "angry": 4}
    assert subclass_counts(named, FER) == subclass_counts([4, 1, 1, 10, 1, 1, 8], FER) == (4, 1, 1, 10, 1, 1, 8)
    assert subclass_counts({0: 2}, Task(np.array([9, 3]), ("0", "1"), batch_size=4)) == (2, 1)


@pytest.mark.parametrize(
    ("subclasses", "says"),
    [
        (0, "must be 7 whole numbers of at least 1"),
        ("automatic", "no rule for subclasses 'automatic'"),
        ({"hapy": 3}, "no class 'hapy'"),
        ([1, 2], "7 whole numbers"),
        ([1, 2, 3, 4, 5, 6, 0], "at least 1"),
        ({"happy": 2.5}, "whole numbers"),
        ({"happy": True}, "whole numbers"),
    ],
)
def test_numbers_that_cannot_be_are_refused(subclasses, says):
    with pytest.raises(InputError, match=says):
        subclass_counts(subclasses, FER)
