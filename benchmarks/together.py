"""Many recurrent networks trained as one, against eager ``nn.GRU`` or ``nn.LSTM`` networks trained one by one.

Both have the same allocator settings and cores. The network is F = 32, Q = 64, R = 64 on 10 steps of 936
numbers, batches of 32, dropout 0.2, one logit. The baseline is plain PyTorch: a module, autograd, ``Adam(fused=True)``;
it is timed with one thread and with as many as there are cores, and the faster counts. Ours is :class:`StackedTrainer`
as in runs, with its sample orders, dropout masks and bookkeeping, but without validation, like the baseline.
All are measured in turns, round by round. The rate of the machine is that of products of square matrices of 2,048. The
machine should be idle otherwise.
"""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import nn

from benchmarks.common import Figure, Result, cores, parser, report, summary
from evenface.config.recipe import Optimizer, Recurrent, Schedule, Training
from evenface.losses import CrossEntropyLoss
from evenface.training.stacked import MemberSpec, StackedTrainer
from evenface.training.stacked.network import NetworkShape
from evenface.training.trainer import keep_freed_memory

STEPS, INPUTS, BATCH, SAMPLES = 10, 936, 32, 640
SETTINGS = {"F": 32, "Q": 64, "R": 64, "batch": BATCH, "steps": STEPS, "inputs": INPUTS, "samples": SAMPLES}


class Plain(nn.Module):
    """The network as practitioners write it."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.dense, self.norm = nn.Linear(INPUTS, 32), nn.BatchNorm1d(32)
        self.recurrent = (nn.GRU if kind == "gru" else nn.LSTM)(32, 64, batch_first=True)
        self.rest = nn.Sequential(nn.Dropout(0.2), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, sequences: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        steps = self.dense(sequences)
        steps = self.norm(steps.flatten(0, 1)).view_as(steps)
        out: torch.Tensor = self.rest(self.recurrent(steps)[0][:, -1])
        return out


def plain_epoch(kind: str, sequences: torch.Tensor, targets: torch.Tensor, threads: int) -> Callable[[], None]:
    """Return a function that trains a plain network for one epoch."""
    network, wanted = Plain(kind), targets.float()[:, None]
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)

    def epoch() -> None:
        torch.set_num_threads(threads)
        order = torch.randperm(SAMPLES)
        for rows in torch.split(order, BATCH):
            loss = nn.functional.binary_cross_entropy_with_logits(network(sequences[rows]), wanted[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    return epoch


def our_epoch(kind: str, sequences: np.ndarray, targets: np.ndarray, count: int) -> Callable[[], None]:
    """Return a function that trains ``count`` stacked members for one epoch."""
    nobody, everybody = np.arange(0), np.arange(SAMPLES)
    members = [
        MemberSpec(
            seed,
            everybody,
            targets,
            nobody,
            nobody,
            CrossEntropyLoss(),
            network=Recurrent.model_validate({"kind": kind}),
            optimizer=Optimizer(name="adam", weight_decay=0),
            schedule=Schedule(name="plateau", gamma=0.5),
            training=Training(epochs=10**6, batch_size=BATCH),
        )
        for seed in range(count)
    ]
    together = StackedTrainer(members, sequences, threads=cores())

    def epoch() -> None:
        together.run(together.states[0].epoch + 1)

    return epoch


def product_rate() -> float:
    """Measure large matrix products on all cores, FLOP/s: the faster of torch's threads and one product per core."""
    side, threads = 2048, cores()
    left, right = torch.randn(2, side, side)

    def multiply(out: torch.Tensor) -> torch.Tensor:
        return torch.mm(left, right, out=out)

    torch.set_num_threads(threads)
    one = torch.empty(side, side)
    multiply(one)
    shared = _seconds(lambda: [multiply(one) for _ in range(4)]) / 4
    with ThreadPoolExecutor(threads, initializer=lambda: torch.set_num_threads(1)) as pool:
        outs = [torch.empty(side, side) for _ in range(threads)]
        list(pool.map(multiply, outs))
        apart = _seconds(lambda: list(pool.map(multiply, outs * 4))) / (4 * threads)
    torch.set_num_threads(threads)
    return 2 * side**3 / min(shared, apart)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(kind: str, many: int, rounds: int) -> tuple[list[Figure], dict[str, object]]:
    """Compare for one kind of network."""
    rng = np.random.default_rng(0)
    sequences = rng.normal(size=(SAMPLES, STEPS, INPUTS // 2, 2)).astype(np.float32)
    targets = rng.integers(0, 2, SAMPLES)
    flat, wanted = torch.from_numpy(sequences).flatten(2), torch.from_numpy(targets)
    work = {f"plain, threads {n}": plain_epoch(kind, flat, wanted, n) for n in sorted({1, cores()})}
    work |= {f"ours, {count}": our_epoch(kind, sequences, targets, count) for count in (6, many)}
    seconds: dict[str, list[float]] = {name: [] for name in work}
    rates = []
    for number in range(rounds + 1):
        for name, epoch in work.items():
            took = _seconds(epoch) / (SAMPLES // BATCH)
            if number:
                seconds[name].append(took)
        if number:
            rates.append(product_rate())
    return _figures(kind, many, seconds, rates)


def _figures(
    kind: str, many: int, seconds: dict[str, list[float]], rates: list[float]
) -> tuple[list[Figure], dict[str, object]]:
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    one = min((name for name in middle if name.startswith("plain")), key=lambda name: middle[name])
    flops = NetworkShape(kind, "shared", INPUTS, STEPS, 1, 32, 64, 64).step_flops(BATCH)
    six, all_of = "ours, 6", f"ours, {many}"
    ratios = [took / base for took, base in zip(seconds[six], seconds[one], strict=True)]
    gains = [many * base / took for took, base in zip(seconds[all_of], seconds[one], strict=True)]
    shares = [many * flops / took / rate for took, rate in zip(seconds[all_of], rates, strict=True)]
    figures = [
        Figure(f"{kind}: {name}, ms a step", 1e3 * value, (1e3 * min(seconds[name]), 1e3 * max(seconds[name])))
        for name, value in middle.items()
    ]
    figures += [
        Figure(f"{kind}: six of ours, in times of one plain", statistics.median(ratios), _ends(ratios), below=3),
        Figure(f"{kind}: {many} of ours, plain throughputs", statistics.median(gains), _ends(gains), at_least=2.5),
        Figure(f"{kind}: product rate, GFLOP/s", statistics.median(rates) / 1e9, _ends([r / 1e9 for r in rates])),
        Figure(f"{kind}: share of that rate", statistics.median(shares), _ends(shares), at_least=0.45),
    ]
    results: dict[str, object] = {f"{kind}: {name}, seconds": summary(values, 6) for name, values in seconds.items()}
    results |= {f"{kind}: {figure.name}": round(figure.value, 4) for figure in figures[len(middle) :]}
    return figures, results | {f"{kind}: FLOP of a member and step": flops}


def _ends(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--members", type=int, default=128, help="number of stacked members, besides six")
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--kinds", nargs="+", choices=("gru", "lstm"), default=("gru", "lstm"))
    given = options.parse_args()
    allocator = keep_freed_memory()
    figures: list[Figure] = []
    results: dict[str, object] = {}
    for kind in given.kinds:
        some, more = measure(kind, given.members, given.rounds)
        figures += some
        results |= more
    settings = {**SETTINGS, "members": given.members, "rounds": given.rounds, "allocator keeps memory": allocator}
    report(Result("together", "made-up sequences", settings, results, figures), given)


if __name__ == "__main__":
    main()
