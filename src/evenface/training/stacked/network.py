"""Many networks of sequences as one: parameters stacked on a first axis, narrower members padded with zeros.

Padding changes nothing: a unit whose weights in and out are zero gives zero, gets gradient zero and stays so. Forward
and backward are written by hand, on buffers that are made once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from evenface.config.recipe import Recurrent
from evenface.models.sequence import SequenceNetwork
from evenface.training.stacked.cells import CELLS, ORDERS

STATISTICS = ("norm.running_mean", "norm.running_var")
_TORCH = {"recurrent.weight_ih": 0, "recurrent.weight_hh": 1, "recurrent.bias_ih": 0, "recurrent.bias_hh": 1}
MOMENTUM, EPS = 0.1, 1e-5
"""Of torch's batch norm."""
_RECURRENT = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
# oneDNN's product of a tall and a narrow matrix takes a fifth less time than the one behind torch.bmm on a CPU.
_LINEAR = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
_relu_backward = torch.ops.aten.threshold_backward.grad_input


@dataclass(frozen=True)
class NetworkShape:
    """All that fixes the arrays of a network."""

    kind: str
    norm: str
    inputs: int
    steps: int
    outputs: int
    dense: int
    hidden: int
    top: int

    @classmethod
    def of(cls, settings: Recurrent, inputs: int, steps: int, outputs: int) -> "NetworkShape":
        """Return the shape of the network of these settings."""
        return cls(settings.kind, settings.norm, inputs, steps, outputs, settings.dense, settings.hidden, settings.top)

    def around(self, others: Sequence["NetworkShape"]) -> "NetworkShape":
        """Return the narrowest shape that this one and others fit into, which must differ in F, Q and R alone."""
        all_of = (self, *others)
        wide = {name: max(getattr(shape, name) for shape in all_of) for name in ("dense", "hidden", "top")}
        found = replace(self, **wide)
        if any(replace(shape, **wide) != found for shape in all_of):
            raise ValueError("only networks that differ in F, Q and R alone can be stacked")
        return found

    def arrays(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each parameter and statistic, matrices first; gates have an axis of their own."""
        gates = len(ORDERS[self.kind][0])
        found: dict[str, tuple[int, ...]] = {
            "dense.weight": (self.dense, self.inputs),
            "recurrent.weight_ih": (gates, self.hidden, self.dense),
            "recurrent.weight_hh": (gates, self.hidden, self.hidden),
            "top.weight": (self.top, self.hidden),
            "classifier.weight": (self.outputs, self.top),
            "recurrent.bias_ih": (gates, self.hidden),
            "recurrent.bias_hh": (gates, self.hidden),
            "top.bias": (self.top,),
            "classifier.bias": (self.outputs,),
        }
        if self.norm == "none":
            return found | {"dense.bias": (self.dense,)}
        groups = self.steps if self.norm == "step" else 1
        return found | dict.fromkeys(("norm.weight", "norm.bias", *STATISTICS), (groups, self.dense))

    @property
    def products(self) -> tuple[tuple[int, int], ...]:
        """Return (how often, multiplications) of each matrix product of a training step, per sample.

        How often: forward, for the weights' gradient and for the input's gradient. The first dense layer's input
        needs none; nothing flows from the zero state before the first step.
        """
        gates, steps = len(ORDERS[self.kind][0]), self.steps
        return (
            (2, steps * self.inputs * self.dense),
            (3, steps * self.dense * gates * self.hidden),
            (3, (steps - 1) * self.hidden * gates * self.hidden),
            (3, self.hidden * self.top),
            (3, self.top * self.outputs),
        )

    def step_flops(self, batch: int) -> int:
        """Count the floating-point operations in the matrix products of one training step of one network."""
        return 2 * batch * sum(times * size for times, size in self.products)


class StackedArrays:
    """Arrays of M networks: parameters, gradients or an optimiser's moments, in one piece of memory."""

    def __init__(self, shape: NetworkShape, members: int, device: torch.device | str = "cpu") -> None:
        self.shape, self.members = shape, members
        arrays = shape.arrays()
        self.statistics = {
            name: torch.zeros(members, *arrays.pop(name), device=device) for name in STATISTICS if name in arrays
        }
        sizes = {name: members * int(np.prod(array)) for name, array in arrays.items()}
        self.flat = torch.zeros(sum(sizes.values()), device=device)
        self.matrices = sum(size for name, size in sizes.items() if self.is_matrix(name))
        parts = torch.split(self.flat, list(sizes.values()))
        self.blocks = {name: part.view(members, *arrays[name]) for name, part in zip(sizes, parts, strict=True)}

    @staticmethod
    def is_matrix(name: str) -> bool:
        """Return whether a lone network's parameter of that name has two dimensions."""
        return "weight" in name and not name.startswith("norm")

    def put(self, member: int, shape: NetworkShape, state: Mapping[str, Tensor]) -> None:
        """Copy the arrays of one network, which has ``shape``, to a member's place; the rest of the place is zero."""
        for name, place, order in self._places(member, shape):
            lone = state[_lone(name)]
            place.copy_(lone.view(place.shape)[order] if order else lone.view(place.shape))

    def take(self, member: int, shape: NetworkShape) -> dict[str, Tensor]:
        """Return copies of a member's arrays, named and shaped as those of its :class:`SequenceNetwork`."""
        found = {}
        for name, place, order in self._places(member, shape):
            lone = place[[order.index(gate) for gate in range(len(order))]] if order else place.clone()
            found[_lone(name)] = lone.flatten(0, 1) if order else lone.flatten() if name[0] == "n" else lone
        return found

    def _places(self, member: int, shape: NetworkShape) -> list[tuple[str, Tensor, list[int]]]:
        """Return name, place and order of gates of each array of a member; no order where there are no gates."""
        found = []
        arrays = shape.arrays()
        for name, block in (self.blocks | self.statistics).items():
            place = block[member][tuple(slice(size) for size in arrays[name])]
            found.append((name, place, list(ORDERS[shape.kind][_TORCH[name]]) if name in _TORCH else []))
        return found


def _lone(name: str) -> str:
    return f"{name}_l0" if name in _TORCH else name


class Buffers:
    """Room for a batch of every member, as sequences and behind the dense layer: what is largest."""

    def __init__(self, shape: NetworkShape, members: int, batch: int, device: torch.device) -> None:
        self.sequences = torch.empty(members, batch, shape.steps, shape.inputs, device=device)


class StackedNetwork:
    """One batch through the first members of a stack."""

    def __init__(self, stack: StackedArrays, gradients: StackedArrays, buffers: Buffers, members: int) -> None:
        shape, self.members = stack.shape, members
        self.x, self.sequences = (buffers.sequences[:members].flatten(*both) for both in ((1, 2), (0, 1)))
        self.weights = {name: block[:members] for name, block in stack.blocks.items()}
        self.found = {name: block[:members] for name, block in gradients.blocks.items()}
        batch, new = buffers.sequences.shape[1], buffers.sequences.new_empty
        y, dy = (new(members, shape.steps, batch, shape.dense) for _ in range(2))
        self.y, self.dy = y.flatten(1, 2), dy.flatten(1, 2)
        # Whole sequences are faster to gather, and steps of all sequences after one another faster to go through.
        self.by_sequence = new(members, batch, shape.steps, shape.dense)
        self.y_turned, self.dy_turned = y.transpose(1, 2), dy.transpose(1, 2)
        self.dense = list(zip(self.x, self.weights["dense.weight"], self.y_turned, strict=True))
        self.norm = None if shape.norm == "none" else StackedBatchNorm(stack, self.weights, self.found, self.y, self.dy)
        # Gates have an axis of their own in the blocks, which products fold away.
        own, found = (
            {name: held[f"recurrent.{name}"].flatten(1, 2) for name in _RECURRENT}
            for held in (self.weights, self.found)
        )
        self.cell = CELLS[shape.kind](own, found, y, dy)
        self.dropped, self.features, self.dtop = (new(members, batch, n) for n in (shape.hidden, shape.top, shape.top))
        self.dlast, self.logits = new(members, batch, shape.hidden), new(members, batch, shape.outputs)
        self.mask: Tensor | None = None

    def gather(self, sequences: Tensor, rows: Tensor) -> None:
        """Take each member's batch, ``rows`` (M, B), of ``sequences`` (N, T, D')."""
        torch.index_select(sequences, 0, rows.flatten(), out=self.sequences)

    def forward(self, mask: Tensor | None) -> Tensor:
        """Return logits, (M, B, C), of what was gathered."""
        weights = self.weights
        if _LINEAR is not None and self.x.device.type == "cpu":
            for x, weight, y in self.dense:
                y.copy_(_LINEAR(x, weight, None, "none", [], "").view_as(y))
        else:
            torch.bmm(self.x, weights["dense.weight"].mT, out=self.by_sequence.flatten(1, 2))
            self.y_turned.copy_(self.by_sequence)
        if self.norm is None:
            self.y.add_(weights["dense.bias"][:, None])
        else:
            self.norm.forward(training=mask is not None)
        self.mask, dropped = mask, self.cell.forward()
        if mask is not None:
            dropped = torch.mul(dropped, mask, out=self.dropped)
        torch.bmm(dropped, weights["top.weight"].mT, out=self.features)
        self.features.add_(weights["top.bias"][:, None]).relu_()
        return torch.bmm(self.features, weights["classifier.weight"].mT, out=self.logits).add_(
            weights["classifier.bias"][:, None]
        )

    def backward(self, gradient: Tensor) -> None:
        """Find the gradients of all parameters from that of the logits, (M, B, C)."""
        weights, found = self.weights, self.found
        torch.bmm(gradient.mT, self.features, out=found["classifier.weight"])
        torch.sum(gradient, 1, out=found["classifier.bias"])
        torch.bmm(gradient, weights["classifier.weight"], out=self.dtop)
        _relu_backward(self.dtop, self.features, 0, grad_input=self.dtop)
        torch.bmm(self.dtop.mT, self.dropped, out=found["top.weight"])
        torch.sum(self.dtop, 1, out=found["top.bias"])
        torch.bmm(self.dtop, weights["top.weight"], out=self.dlast)
        self.cell.backward(self.dlast.mul_(self.mask) if self.mask is not None else self.dlast)
        if self.norm is None:
            torch.sum(self.dy, 1, out=found["dense.bias"])
        else:
            self.norm.backward()
        self.by_sequence.copy_(self.dy_turned)
        torch.bmm(self.by_sequence.flatten(1, 2).mT, self.x, out=found["dense.weight"])


class StackedBatchNorm:
    """Batch norm of every member, in place: one group of all steps, or one of each step."""

    def __init__(
        self, stack: StackedArrays, weights: dict[str, Tensor], found: dict[str, Tensor], y: Tensor, dy: Tensor
    ) -> None:
        members, (groups, width) = len(y), weights["norm.weight"].shape[1:]
        self.y, self.dy = (tensor.view(members * groups, -1, width) for tensor in (y, dy))
        self.count = self.y.shape[1]
        flat = {name: held.view(members * groups, 1, width) for name, held in weights.items() if name[:4] == "norm"}
        self.scale, self.shift = flat["norm.weight"], flat["norm.bias"]
        self.dscale, self.dshift = (found[f"norm.{name}"].view_as(self.scale) for name in ("weight", "bias"))
        self.running_mean, self.running_var = (held[:members].view_as(self.scale) for held in stack.statistics.values())
        self.normal, self.work = torch.empty_like(self.y), torch.empty_like(self.y)
        self.mean, self.var, self.small = (torch.empty_like(self.scale) for _ in range(3))

    def forward(self, *, training: bool) -> None:
        """Normalise; in training by the batch, and move the running statistics."""
        normal = self.normal
        if training:
            torch.sum(self.y, 1, keepdim=True, out=self.mean).div_(self.count)
            torch.sub(self.y, self.mean, out=normal)
            torch.sum(torch.mul(normal, normal, out=self.work), 1, keepdim=True, out=self.var).div_(self.count)
            self.running_mean.lerp_(self.mean, MOMENTUM)
            self.running_var.lerp_(torch.mul(self.var, self.count / (self.count - 1), out=self.small), MOMENTUM)
        else:
            torch.sub(self.y, self.running_mean, out=normal)
            self.var.copy_(self.running_var)
        normal.mul_(self.var.add_(EPS).rsqrt_())
        torch.addcmul(self.shift, normal, self.scale, out=self.y)

    def backward(self) -> None:
        """Find the gradients of scale and shift, and turn that of the output into that of the input."""
        dy = self.dy
        torch.sum(dy, 1, keepdim=True, out=self.dshift)
        torch.sum(torch.mul(dy, self.normal, out=self.work), 1, keepdim=True, out=self.dscale)
        dy.sub_(torch.div(self.dshift, self.count, out=self.small))
        dy.addcmul_(self.normal, torch.div(self.dscale, self.count, out=self.small), value=-1)
        dy.mul_(torch.mul(self.scale, self.var, out=self.small))


def stacked(networks: Sequence[SequenceNetwork], device: torch.device | str = "cpu") -> StackedArrays:
    """Stack networks, which may differ in F, Q and R."""
    shapes = [shape_of(network) for network in networks]
    stack = StackedArrays(shapes[0].around(shapes[1:]), len(networks), device)
    for place, (shape, network) in enumerate(zip(shapes, networks, strict=True)):
        stack.put(place, shape, network.state_dict())
    return stack


def shape_of(network: SequenceNetwork) -> NetworkShape:
    """Return the shape of a network."""
    return NetworkShape.of(network.settings, network.inputs, network.steps, network.outputs)


def network_of(
    settings: Recurrent, inputs: int, steps: int, outputs: int, state: Mapping[str, Tensor]
) -> SequenceNetwork:
    """Build the network that arrays taken from a stack belong to, in evaluation mode."""
    with torch.device("meta"):
        network = SequenceNetwork(settings, inputs, steps, outputs)
    network.load_state_dict({**state, **_counter(state)}, assign=True)
    return network.eval().requires_grad_(False)


def _counter(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Torch's batch norm counts its batches, which nothing depends on here."""
    return {"norm.num_batches_tracked": torch.zeros((), dtype=torch.int64)} if STATISTICS[0] in state else {}


def probabilities(logits: Tensor) -> Tensor:
    """Return probabilities of logits (..., C), float64: sigmoids where C is 1."""
    return logits.double().sigmoid() if logits.shape[-1] == 1 else logits.double().softmax(dim=-1)


def predictions_of(logits: Tensor, links: Sequence[torch.nn.Module] | None) -> Tensor:
    """Return what M networks predict by logits (M, B, C), float64: probabilities, or the values of their links."""
    if not links:
        return probabilities(logits)
    return torch.stack([link(own) for link, own in zip(links, logits, strict=False)]).double()


def predict_stack(
    stack: StackedArrays,
    sequences: Tensor,
    rows: np.ndarray,
    batch: int = 64,
    links: Sequence[torch.nn.Module] | None = None,
) -> np.ndarray:
    """Predict the same rows with all networks of a stack."""
    whole = StackedNetwork(stack, stack, Buffers(stack.shape, stack.members, batch, stack.flat.device), stack.members)
    found = np.empty((stack.members, len(rows), stack.shape.outputs))
    for start in range(0, len(rows), batch):
        some = rows[start : start + batch]
        filled = np.concatenate([some, np.repeat(some[:1], batch - len(some))])
        index = torch.from_numpy(filled).to(sequences.device).expand(stack.members, batch)
        whole.gather(sequences, index)
        predicted = predictions_of(whole.forward(None), links)
        found[:, start : start + len(some)] = predicted[:, : len(some)].cpu().numpy()
    return found


def predict_networks(
    networks: Sequence[SequenceNetwork],
    sequences: np.ndarray,
    rows: np.ndarray | None = None,
    batch: int = 64,
    links: Sequence[torch.nn.Module] | None = None,
) -> np.ndarray:
    """Predict sequences with several networks that differ in F, Q and R at most."""
    some = np.ascontiguousarray(sequences if rows is None else sequences[rows], dtype=np.float32)
    held = torch.from_numpy(some.reshape(*some.shape[:2], -1))
    return predict_stack(stacked(networks), held, np.arange(len(some)), batch, links)
