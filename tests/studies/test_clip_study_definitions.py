"""Shipped studies on clips load, plan and build, and their printed values are those of the papers."""

import functools
import inspect

import numpy as np
import pytest

from evenface.config import load_recipe
from evenface.data.datasets import dataset_reader
from evenface.preprocessing.frame_sampling import sample_frames, stride
from evenface.studies import load_study, shipped_studies
from evenface.studies.plan import StudyOptions, make_plan
from evenface.training.build import check_recipe

RUNS = {
    "p1-table3": 25,  # three losses, and two rows that part loss and weights
    "p1-table4": 80,
    "p1-table5": 10,
    "p1-table6": 15,
    "p1-figure8": 5,
    "p1-folds": 5,
    "p1-people": 87,
    "p3-tables": 20,
    "p1-heads": 15,
    "p3-readings": 20,
    "p3-stages": 10,
    "p3-temporal": 20,
}
"""Study to the runs at full size on the paper's own data."""
CLASSES = {
    "biovid": {"BL1", "PA1", "PA2", "PA3", "PA4"},
    "pemf": {"neutral", "phasic", "tonic"},
    "synthetic-clips": {"0", "1", "2", "3", "4"},
}
OWN_KEYS = {"source", "root", "size", "channels", "faces", "clips"}
names = pytest.mark.parametrize("name", RUNS)
PAPER1 = {  # accuracy, precision, recall, F score, Bal; typed from the paper a second time
    ("p1-table3", "CE"): (78.1, 78.53, 77.32, 78.11, 79.52),
    ("p1-table3", "focal"): (83.3, 83.76, 82.47, 83.40, 85.88),
    ("p1-table3", "CEFL"): (80.0, 80.44, 79.20, 80.09, 81.48),
    ("p1-table6", "ResNet"): (62.05, 61.55, 63.20, 62.10),
    ("p1-table6", "ResNet-LSTM"): (81.53, 81.30, 81.05, 81.78),
    ("p1-table6", "ResNet-BiLSTM"): (84.89, 84.76, 83.47, 84.40),
    ("p1-folds", "ResNet-BiLSTM"): (85.30, 84.70, 84.90, 85.36, 87.40),
}
COLUMNS = ("accuracy", "macro_precision", "balanced_accuracy", "macro_f1", "macro_pd_pf_balance")
TABLE4 = """
AdamW 0.2068 0.2068 0.8331 0.8429
LAMB 0.2068 0.4046 0.8489 0.7038
AdaBelief 0.2167 0.5974 0.838 0.833
NovoGrad 0.1988 0.2086 0.8459 0.6431
"""
MATRICES = {  # true phasic, tonic, neutral by predicted phasic, tonic, neutral: Tables 1, 2, 6 and 7
    ("large", "validation"): [[3, 18, 17], [0, 82, 0], [0, 0, 120]],
    ("small", "validation"): [[8, 8, 22], [1, 78, 3], [19, 2, 99]],
    ("large", None): [[20, 2, 2], [1, 23, 0], [0, 0, 24]],
    ("small", None): [[22, 2, 0], [12, 12, 0], [5, 0, 19]],
}
ORDER = ("phasic", "tonic", "neutral")
SLIPS = {("large", None, "precision", "neutral"), ("large", None, "f1", "neutral")}


@functools.cache
def planned(name, on, size, protocol="honest"):
    """Plan one seed of each cell; that the others differ in the seed alone is the plan's own test."""
    study = load_study(name)
    quick = study.sizes["quick"].model_copy(update={"seeds": None})
    study = study.model_copy(update={"seeds": (0,), "sizes": {"quick": quick}})
    return make_plan(study, StudyOptions(on, size, protocol=protocol), people)


def people(recipe):
    """Count the people of BioVid's part A, and those whom a recipe makes up."""
    return {"biovid": 87}.get(recipe.data.source) or recipe.data.options["people"]


def everywhere(name, protocol="honest"):
    for on in load_study(name).datasets:
        for size in ("full", "quick"):
            yield on, size, planned(name, on, size, protocol)


@names
def test_a_study_has_a_description_and_its_deviations(name):
    study = load_study(name)
    assert name in shipped_studies()
    assert study.name == name
    assert study.about
    assert study.paper
    assert list(study.datasets) == [{"p1": "biovid", "p3": "pemf"}[name[:2]], "synthetic"]
    assert study.sizes["quick"].deviations
    for on in study.datasets.values():
        for part in (study, on, *study.sizes.values(), *on.sizes.values()):
            assert all(one.text.strip().endswith(".") for one in part.deviations)


@names
def test_the_full_size_has_the_runs_of_the_printed_table(name):
    study = load_study(name)
    assert len(make_plan(study, count=people).trainings) == RUNS[name]
    assert len(study.sizes["quick"].seeds or study.seeds) == (1 if study.folds else 3)


@names
@pytest.mark.parametrize("protocol", ["honest", "paper"])
def test_every_run_names_a_recipe_and_a_source_that_can_be(name, protocol):
    for on, size, plan in everywhere(name, protocol):
        for run in plan.runs:
            data, uneven = run.recipe.data, run.recipe.protocol.imbalance
            assert data.source == {"synthetic": "synthetic-clips"}.get(on, on)
            known = inspect.signature(dataset_reader(data.source)).parameters
            assert set(data.options) - OWN_KEYS <= set(known)
            if uneven is not None:
                assert set(uneven.counts) == CLASSES[data.source]
                assert sum(uneven.counts.values()) < (500 if size == "quick" else 4000)


@names
def test_people_are_divided_and_nothing_is_selected_on_the_test_but_by_the_papers_protocol(name):
    for protocol in ("honest", "paper"):
        for _, _, plan in everywhere(name, protocol):
            for run in plan.runs:
                training, split = run.recipe.training, run.recipe.protocol
                leaky = protocol == "paper" and name.startswith("p3")
                assert (split.by == "frame") == leaky
                assert (training.checkpoint == "test") == (protocol == "paper" and name.startswith("p1"))
                assert (split.validation > 0) == (name.startswith("p3") or name == "p1-figure8")


def test_training_has_the_papers_clips():
    counts = planned("p1-table3", "biovid", "full").runs[0].recipe.protocol.imbalance.counts
    assert (sum(counts.values()), planned("p1-table3", "biovid", "full").runs[0].recipe.protocol.imbalance.on) == (
        2992,
        "train",
    )
    paper = planned("p1-table3", "biovid", "full", "paper").runs[0].recipe.protocol.imbalance
    assert (list(paper.counts.values()), paper.on) == ([1340, 1050, 700, 400, 250], "all")
    assert all(counts[level] == 0.8 * count for level, count in paper.counts.items())


def test_the_label_lies_in_time_only_on_synthetic_clips():
    assert len(planned("p1-table6", "biovid", "full").cells) == 3
    for size in ("full", "quick"):
        runs = planned("p1-table6", "synthetic", size).runs
        assert {(run.cell[0], run.recipe.data.options["label"]) for run in runs} == {
            ("level", "level"),
            ("trend", "trend"),
        }
        assert all((run.recipe.protocol.imbalance is None) == (run.cell[0] == "trend") for run in runs)
        assert {run.recipe.network.temporal.kind for run in runs} == {"mean", "lstm", "bilstm"}
        data = next(run.recipe.data for run in runs if run.cell[0] == "trend")
        taken = stride(data.options["frames"], data.clips.frames, data.clips.stride)
        assert set(taken) == {data.options["frames"] - 1 - frame for frame in taken}  # the same frames backwards
        assert (data.clips.sampling, data.clips.stored_frames) == ("stride", None)


def test_the_readings_differ_in_what_lstm_runs_over():
    for _, _, plan in everywhere("p3-readings"):
        for run in plan.runs:
            temporal, clips = run.recipe.network.temporal, run.recipe.data.clips
            assert (temporal.kind, temporal.over) == ("lstm", run.cell[1])
            assert (clips.frames == 1) == (temporal.over == "spatial")
            assert clips.sampling == "windows"


def test_the_heads_of_p3_temporal_differ_in_the_head_alone():
    for _, _, plan in everywhere("p3-temporal"):
        heads = {run.recipe.network.temporal.kind: run.recipe.model_dump() for run in plan.runs}
        assert set(heads) == {"mean", "lstm", "attention", "transformer"}
        for recipe in heads.values():
            del recipe["network"]["temporal"]["kind"], recipe["deviations"]
        assert len({str(recipe) for recipe in heads.values()}) == 1


@pytest.mark.slow
def test_every_network_can_be_built():
    found = {}
    for name in RUNS:
        for _, _, plan in everywhere(name):
            for run in plan.runs:
                network = run.recipe.network
                found.setdefault((network.name, network.head, network.temporal.kind, network.temporal.over), run.recipe)
    for recipe in found.values():
        check_recipe(load_recipe(recipe.model_dump(), {"network.weights": "random"}))


def printed_rows(name):
    return {(tuple(row.cell.values()), row.test_set): row.values for row in load_study(name).printed}


def test_printed_values_of_paper_1_are_those_of_the_paper():
    for (name, level), figures in PAPER1.items():
        rows = {cell[-1]: values for (cell, _), values in printed_rows(name).items()}
        assert [rows[level][column] for column in COLUMNS[: len(figures)]] == pytest.approx(
            [figure / 100 for figure in figures], abs=1e-9
        )
    four = {cell: values["accuracy"] for (cell, _), values in printed_rows("p1-table4").items()}
    rates = ("0.01", "0.001", "0.0001", "0.00001")
    lines = [line.split() for line in TABLE4.split("\n") if line]
    assert four == {(line[0], lr): float(value) for line in lines for lr, value in zip(rates, line[1:], strict=True)}
    five = load_study("p1-table5")
    assert [row.values["accuracy"] for row in (*five.printed, *five.quoted)] == [0.6188, 0.82, 0.3742, 0.6329]
    assert all(row.source for row in (*five.printed, *five.quoted))
    six = printed_rows("p1-table6")[("level", "ResNet-BiLSTM"), None]["confusion"]
    assert (six["PA3"]["PA3"], six["PA4"]["PA4"], six["BL1"]["PA1"]) == (67, 48, 25)


def test_the_figures_of_paper_3_are_those_of_its_own_confusion_matrices_but_for_known_slips():
    rows = printed_rows("p3-tables")
    for (network, side), matrix in MATRICES.items():
        values = rows[(network, "with"), side]
        counts = np.array(matrix)
        assert [[values["confusion"][t][p] for p in ORDER] for t in ORDER] == matrix
        digits = 2 if side else 3
        assert values["accuracy"] == round(np.trace(counts) / counts.sum(), digits)
        right = np.diag(counts)
        derived = {
            "precision": right / counts.sum(axis=0),
            "recall": right / counts.sum(axis=1),
            "f1": 2 * right / (counts.sum(axis=0) + counts.sum(axis=1)),
        }
        for metric, each in derived.items():
            for label, value in zip(ORDER, each, strict=True):
                slip = abs(values[metric][label] - value) > 0.51 * 10**-digits
                assert slip == ((network, side, metric, label) in SLIPS), (network, side, metric, label)
    five = {cell: (v["accuracy"], v["macro_f1"]) for (cell, side), v in rows.items() if side == "validation"}
    assert five == {
        ("large", "with"): (0.85, 0.66),
        ("large", "without"): (0.68, 0.59),
        ("small", "with"): (0.77, 0.66),
        ("small", "without"): (0.75, 0.56),
    }


@names
def test_printed_figures_are_of_cells_that_are_run(name):
    study = load_study(name)
    plan = planned(name, next(iter(study.datasets)), "full")
    for row in study.printed:
        assert tuple(row.cell[factor] for factor in plan.factors) in plan.cells


@names
def test_clips_of_pemf_fill_their_windows(name):
    for on, _, plan in everywhere(name):
        for run in plan.runs:
            clips = run.recipe.data.clips
            if on == "pemf":  # its clips have 20 frames
                taken = sample_frames(clips, 20)
                assert all(len(set(one.tolist())) == clips.frames for one in taken)


def test_the_protocols_of_the_papers_select_and_divide_as_they_do():
    for name in ("p1-table3", "p1-table4", "p1-folds"):
        for run in planned(name, "biovid", "full", "paper").runs:
            assert (run.recipe.training.checkpoint, run.recipe.training.monitor) == ("test", "accuracy")
    for run in planned("p3-tables", "pemf", "full", "paper").runs:
        protocol = run.recipe.protocol
        assert (protocol.by, protocol.test_clips, protocol.validation) == ("frame", 12, 0.1)
