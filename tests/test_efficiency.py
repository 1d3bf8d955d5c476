"""What the benchmark of efficiency counts."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from evenface.models.sequence import SequenceNetwork

DESIGNS = [(kind, way) for kind in ("gru", "lstm") for way in ("one-vs-all", "multi-class")]


@pytest.fixture
def efficiency(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    return importlib.import_module("benchmarks.efficiency")


@pytest.mark.parametrize(("kind", "way"), DESIGNS)
def test_counts_are_those_of_the_layers_written_out(efficiency, kind, way):
    gates, networks, outputs = {"gru": 3, "lstm": 4}[kind], *{"one-vs-all": (6, 1), "multi-class": (1, 6)}[way]
    dense, recurrent = 936 * 32 + 2 * 32, gates * 64 * (32 + 64 + 2)  # no bias before the norm; torch has two each gate
    parameters = networks * (dense + recurrent + 64 * 64 + 64 + 64 * outputs + outputs)
    found = efficiency.Design(kind, way).counts()
    assert found["parameters"] == parameters
    statistics = networks * (2 * 32 * 4 + 8)  # running mean and variance, and torch's counter of batches
    assert 0 < found["bytes of weights"] - 4 * parameters - statistics < 1500 * networks


@pytest.mark.parametrize(("kind", "way"), DESIGNS)
def test_operations_of_a_prediction_are_those_that_torch_counts(efficiency, kind, way):
    design = efficiency.Design(kind, way)
    network = design.build()
    # The counter knows nothing of oneDNN's own LSTM.
    with torch.no_grad(), torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
        network(torch.zeros(3, 10, 936))
    assert counter.get_total_flops() == 3 * design.counts()["FLOP of a prediction"]


def test_operations_of_training_are_those_that_torch_counts_in_cells_written_out(efficiency):
    design = efficiency.Design("gru", "multi-class")
    network = design.build()
    assert isinstance(network, SequenceNetwork)
    cell = torch.nn.GRUCell(32, 64)
    with FlopCounterMode(display=False) as counter:
        steps = network.dense(torch.zeros(2, 10, 936))
        state = torch.zeros(2, 64)
        for step in steps.unbind(1):
            state = cell(step, state)
        network.classifier(network.top(state).relu()).sum().backward()
    # The product of the zero state, and that of its weights' gradient, are left out in training.
    assert counter.get_total_flops() - 2 * 2 * 2 * 3 * 64 * 64 == 2 * design.counts()["FLOP of training on a sequence"]


def test_multiplications_of_a_step_beside_the_papers_formula(efficiency):
    gru, lstm = efficiency.complexity("gru"), efficiency.complexity("lstm")
    assert (gru["formula"], lstm["formula"]) == (192_000, 256_000)
    assert gru["recurrent layer"] / lstm["recurrent layer"] == 0.75
    assert (gru["both layers"], lstm["both layers"]) == (18_432 + 29_952, 24_576 + 29_952)


def test_energy_is_that_of_whole_processors_and_counters_start_anew(efficiency, tmp_path):
    assert efficiency.energy(tmp_path) == {}
    for number, (name, value) in enumerate([("package-0", 900), ("core", 5)]):
        folder = tmp_path / f"intel-rapl:{number}"
        folder.mkdir()
        for file, text in (("name", name), ("energy_uj", value), ("max_energy_range_uj", 1000)):
            (folder / file).write_text(f"{text}\n")
    before = efficiency.energy(tmp_path)
    assert list(before.values()) == [900]
    (tmp_path / "intel-rapl:0/energy_uj").write_text("200\n")
    assert efficiency.joules(before, efficiency.energy(tmp_path)) == pytest.approx(300e-6)
    (tmp_path / "intel-rapl:0/energy_uj").write_text("950\n")
    assert efficiency.joules(before, efficiency.energy(tmp_path)) == pytest.approx(50e-6)
