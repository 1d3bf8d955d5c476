"""Cost of GRU and LSTM: six one-vs-rest networks, or one network for all six classes.

The network is F = 32, Q = 64, R = 64 on 10 steps of 936 numbers. Prediction is a call of the module in evaluation mode,
the six one after the other, as in inference on runs. Training is :class:`StackedTrainer` as in runs, without
validation. All measurements of a round, each batch size with each network, follow one another, with those to be
compared next to each other.

Memory is the kernel's peak resident size (VmHWM) of a separate process, which predicts or trains with one network and
one batch size, minus the resident size after its imports; Linux only. Floating-point operations are those of the matrix
products, counting a multiplication and an addition each. Energy is that of the processors' RAPL counters, including
everything else on the machine, if they are readable.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.common import Figure, Result, cores, parser, report, summary
from evenface.config.recipe import Optimizer, Recurrent, Schedule, Training
from evenface.losses import CrossEntropyLoss
from evenface.models.sequence import OneVsRestNetwork, initialised
from evenface.training.checkpoint import save_weights
from evenface.training.stacked import MemberSpec, StackedTrainer
from evenface.training.stacked.network import NetworkShape
from evenface.training.trainer import keep_freed_memory

STEPS, INPUTS, CLASSES = 10, 936, 6
DENSE, HIDDEN, TOP = 32, 64, 64
KINDS, GATES = ("gru", "lstm"), {"gru": 3, "lstm": 4}
WAYS = ("one-vs-all", "multi-class")
EACH = {"predict": "a sequence's prediction", "train": "a training step"}
BATCHES = (1, 8, 32, 128)
CASES = [(work, batch) for work in EACH for batch in BATCHES if (work, batch) != ("train", 1)]
"""Measured work; training needs batches of two or more."""
EPOCH = 16
POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Design:
    """A measured design: kind of layer, and six networks or one."""

    kind: str
    way: str

    @property
    def name(self) -> str:
        """Return the name in tables."""
        return f"{self.kind}, {self.way}"

    @property
    def networks(self) -> int:
        """Return the number of networks."""
        return CLASSES if self.way == "one-vs-all" else 1

    @property
    def shape(self) -> NetworkShape:
        """Return the shape of each network."""
        return NetworkShape.of(self.settings, INPUTS, STEPS, CLASSES // self.networks)

    @property
    def settings(self) -> Recurrent:
        """Return the section of a recipe."""
        sizes = {"dense": DENSE, "hidden": HIDDEN, "top": TOP}
        return Recurrent.model_validate({"kind": self.kind, **sizes})

    def build(self) -> nn.Module:
        """Build the networks in evaluation mode."""
        outputs = self.shape.outputs
        made = [initialised(self.settings, INPUTS, STEPS, outputs, seed) for seed in range(self.networks)]
        return (OneVsRestNetwork(made) if self.networks > 1 else made[0]).eval()

    def counts(self) -> dict[str, int]:
        """Count parameters and operations, which do not depend on the machine."""
        network = self.build()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.safetensors"
            save_weights(path, network.state_dict(), {})
            size = path.stat().st_size
        return {
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "FLOP of a prediction": self.networks * forward_flops(self.shape),
            "FLOP of training on a sequence": self.networks * self.shape.step_flops(1),
            "bytes of weights": size,
        }


def forward_flops(shape: NetworkShape) -> int:
    """Count operations in the matrix products of the prediction of a sequence by one network.

    Torch's layers multiply the zero state before the first step too, which training here leaves out.
    """
    zero_state = GATES[shape.kind] * shape.hidden**2
    return 2 * (sum(size for _, size in shape.products) + zero_state)


def complexity(kind: str) -> dict[str, int]:
    """Count multiplications of a step: by the paper's formula, and the actual number.

    The formula, gates x Q x (936 + Q), has the 936 inputs enter the recurrent layer. A dense layer stands before it,
    so that F numbers do.
    """
    recurrent, dense = GATES[kind] * HIDDEN * (DENSE + HIDDEN), INPUTS * DENSE
    formula = GATES[kind] * HIDDEN * (INPUTS + HIDDEN)
    return {"formula": formula, "recurrent layer": recurrent, "dense layer": dense, "both layers": recurrent + dense}


def energy(folder: Path = POWERCAP) -> dict[Path, int]:
    """Read the energy counters of the processors in microjoules; empty if none are readable."""
    found = {}
    for counter in folder.glob("intel-rapl:*/energy_uj"):
        try:
            if (counter.parent / "name").read_text().startswith("package"):
                found[counter] = int(counter.read_text())
        except OSError:
            continue
    return found


def joules(before: Mapping[Path, int], after: Mapping[Path, int]) -> float:
    """Return the energy between two readings; a counter wraps around at its range."""
    spent = 0
    for counter, start in before.items():
        used = after[counter] - start
        spent += used if used >= 0 else used + int((counter.parent / "max_energy_range_uj").read_text())
    return spent / 1e6


def predicting(design: Design, batch: int) -> Callable[[], None]:
    """Return a function that predicts a batch."""
    network = design.build()
    sequences = torch.randn(batch, STEPS, INPUTS, generator=torch.Generator().manual_seed(0))

    def predict() -> None:
        with torch.inference_mode():
            network(sequences)

    return predict


def training(design: Design, batch: int, steps: int) -> Callable[[], None]:
    """Return a function that trains for an epoch of that many steps."""
    rng = np.random.default_rng(0)
    sequences = rng.normal(size=(steps * batch, STEPS, INPUTS // 2, 2)).astype(np.float32)
    labels, nobody = rng.integers(0, CLASSES, len(sequences)), np.arange(0)
    alone = design.networks > 1
    members = [
        MemberSpec(
            seed,
            np.arange(len(sequences)),
            (labels == seed).astype(np.int64) if alone else labels,
            nobody,
            nobody,
            CrossEntropyLoss(),
            2 if alone else CLASSES,
            alone,
            design.settings,
            Optimizer(name="adam", weight_decay=0),
            Schedule(name="plateau", gamma=0.5),
            Training(epochs=10**6, batch_size=batch),
        )
        for seed in range(design.networks)
    ]
    together = StackedTrainer(members, sequences, threads=1, quiet=True)
    return lambda: together.run(together.states[0].epoch + 1)


def memory(design: Design, batch: int, work: str) -> dict[str, float]:
    """Measure the peak resident size of a process that does the work twice, MB."""
    command = [sys.executable, "-m", "benchmarks.efficiency", "--one", design.kind, design.way, str(batch), work]
    folder = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def use_memory(design: Design, batch: int, work: str) -> dict[str, float]:
    """Do the work twice; return the peak of the process, and the part after imports, MB."""
    imported = resident("VmRSS")
    run = predicting(design, batch) if work == "predict" else training(design, batch, 2)
    run()
    run()
    peak = resident("VmHWM")
    return {"process": round(peak, 1), "after imports": round(peak - imported, 1)}


def resident(field: str) -> float:
    """Read a resident size of this process, MB: VmRSS, current, or VmHWM, peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024 / 1e6


def measure(designs: list[Design], rounds: int, seconds: float) -> dict[tuple[Design, str, int], list[list[float]]]:
    """Time prediction and training in turns.

    Returns
    -------
    dict
        Of each design, work and batch size: milliseconds, and joules where there is a counter, of each round; for a
        sequence in prediction, for a step in training.
    """
    found: dict[tuple[Design, str, int], list[list[float]]] = {}
    for work, batch in CASES:
        turns: dict[Design, tuple[Callable[[], None], int]] = {}
        for design in designs:
            run = predicting(design, batch) if work == "predict" else training(design, batch, EPOCH)
            run()
            began = time.perf_counter()
            run()
            turns[design] = run, max(1, round(seconds / (time.perf_counter() - began)))
        for number in range(rounds):
            # Reverse the order in every other round, so that no measurement always follows the same one.
            for design, (run, times) in list(turns.items())[:: 1 if number % 2 else -1]:
                each = times * (batch if work == "predict" else EPOCH)
                before, began = energy(), time.perf_counter()
                for _ in range(times):
                    run()
                took, after = time.perf_counter() - began, energy()
                row = [1e3 * took / each] + ([joules(before, after) / each] if before else [])
                found.setdefault((design, work, batch), []).append(row)
    return found


def compared(rows: Mapping[Design, list[float]], digits: int = 4) -> dict[str, Any]:
    """Return values of each design, and ratios of GRU to LSTM and of six networks to one, by round."""

    def summarised(values: list[float], places: int = 4) -> Any:
        return summary(values, places) if len(values) > 1 else round(values[0], places)

    pairs = {f"gru / lstm, {way}": [Design(kind, way) for kind in KINDS] for way in WAYS}
    pairs |= {f"one-vs-all / multi-class, {kind}": [Design(kind, way) for way in WAYS] for kind in KINDS}
    ratios = {
        name: [value / base for value, base in zip(rows[one], rows[other], strict=True)]
        for name, (one, other) in pairs.items()
    }
    found = {design.name: summarised(values, digits) for design, values in rows.items()}
    return found | {name: summarised(values) for name, values in ratios.items()}


def find(designs: list[Design], rounds: int, seconds: float) -> dict[str, Any]:
    """Count and measure everything."""
    cells = [(design, batch, work) for design in designs for work, batch in CASES]
    with ThreadPoolExecutor(cores()) as pool:
        peaks = dict(zip(cells, pool.map(lambda cell: memory(*cell), cells), strict=True))
    times = measure(designs, rounds, seconds)
    counts = {design: design.counts() for design in designs}
    found: dict[str, Any] = {
        name: compared({design: [count[name]] for design, count in counts.items()}) for name in counts[designs[0]]
    }
    units = ("ms", "joules") if energy() else ("ms",)
    for work, batch in CASES:
        what = f"{EACH[work]}, batch {batch}"
        for place, unit in enumerate(units):
            rows = {design: [row[place] for row in times[design, work, batch]] for design in designs}
            found[f"{unit} of {what}"] = compared(rows, 7)
        for part in ("process", "after imports"):
            found[f"peak MB, {part}: {work}, batch {batch}"] = compared(
                {design: [peaks[design, batch, work][part]] for design in designs}
            )
    return found


def figures(results: Mapping[str, Mapping[str, Any]]) -> list[Figure]:
    """Return all ratios."""
    found = []
    for what, row in results.items():
        for name, value in row.items():
            if "/" in name:
                many = value if isinstance(value, dict) else {"median": value}
                spread = (many["min"], many["max"]) if "min" in many else None
                found.append(Figure(f"{what}: {name}", many["median"], spread))
    return found


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--seconds", type=float, default=0.05, help="minimum duration of a measurement")
    options.add_argument(
        "--one", nargs=4, metavar=("KIND", "WAY", "BATCH", "WORK"), help="measure only the memory of this design"
    )
    given = options.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    if given.one:
        kind, way, batch, work = given.one
        print(json.dumps(use_memory(Design(kind, way), int(batch), work)))
        return
    results = find([Design(*both) for both in product(KINDS, WAYS)], given.rounds, given.seconds)
    sizes = {"F": DENSE, "Q": HIDDEN, "R": TOP, "steps": STEPS, "inputs": INPUTS, "classes": CLASSES}
    settings = {**sizes, "batches": list(BATCHES), "rounds": given.rounds, "steps of an epoch": EPOCH, "threads": 1}
    shown = figures(results)
    results["multiplications of a step"] = {kind: complexity(kind) for kind in KINDS}
    results["energy"] = "RAPL" if energy() else "no counter"
    report(Result("efficiency", "made-up sequences", settings, results, shown), given)


if __name__ == "__main__":
    main()
