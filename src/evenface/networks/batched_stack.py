"""Arrays of many networks of sequences, stacked on a first axis; narrower members are padded with zeros."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from evenface.networks.batched_cells import ORDERS
from evenface.recipes.schema import Recurrent

STATISTICS = ("norm.running_mean", "norm.running_var")
_TORCH = {"recurrent.weight_ih": 0, "recurrent.weight_hh": 1, "recurrent.bias_ih": 0, "recurrent.bias_hh": 1}


@dataclass(frozen=True)
class Shape:
    """All that fixes the arrays of a network.

    Parameters
    ----------
    kind, norm : str
        As in :class:`evenface.recipes.schema.Recurrent`.
    inputs, steps, outputs : int
        D', T and C.
    dense, hidden, top : int
        F, Q and R.
    """

    kind: str
    norm: str
    inputs: int
    steps: int
    outputs: int
    dense: int
    hidden: int
    top: int

    @classmethod
    def of(cls, settings: Recurrent, inputs: int, steps: int, outputs: int) -> "Shape":
        """Give the shape of the network of these settings."""
        return cls(settings.kind, settings.norm, inputs, steps, outputs, settings.dense, settings.hidden, settings.top)

    def around(self, others: Sequence["Shape"]) -> "Shape":
        """Give the narrowest shape that this one and others fit into, which must differ in F, Q and R alone."""
        all_of = (self, *others)
        wide = {name: max(getattr(shape, name) for shape in all_of) for name in ("dense", "hidden", "top")}
        found = replace(self, **wide)
        if any(replace(shape, **wide) != found for shape in all_of):
            raise ValueError("only networks that differ in F, Q and R alone can be stacked")
        return found

    def arrays(self) -> dict[str, tuple[int, ...]]:
        """Give each parameter's and statistic's shape, those of two dimensions first; gates have an axis of their own.

        Returns
        -------
        dict
            Names are those of :class:`SequenceNetwork`, less the layer's number behind torch's recurrent ones.
        """
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
        """Give (how often, multiplications) of each matrix product of a training step, per sample.

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


class Stack:
    """Arrays of M networks: parameters, gradients or an optimiser's moments, in one piece of memory.

    Parameters
    ----------
    shape : Shape
        Of the widest member.
    members : int
        M.
    device : torch.device or str
        Where the arrays are.

    Attributes
    ----------
    flat : Tensor of shape (n,)
        All parameters, those of two dimensions first.
    matrices : int
        How many numbers of ``flat`` those of two dimensions are.
    blocks : dict of str to Tensor
        Views of ``flat``, of shape (M, ...), by the names of :meth:`Shape.arrays`.
    statistics : dict of str to Tensor
        The norm's running mean and variance, (M, groups, F).
    """

    def __init__(self, shape: Shape, members: int, device: torch.device | str = "cpu") -> None:
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
        """Tell whether a lone network's parameter of that name has two dimensions."""
        return "weight" in name and not name.startswith("norm")

    def put(self, member: int, shape: Shape, state: Mapping[str, Tensor]) -> None:
        """Copy the arrays of one network, which has ``shape``, to a member's place; the rest of the place is zero."""
        for name, place, order in self._places(member, shape):
            lone = state[_lone(name)]
            place.copy_(lone.view(place.shape)[order] if order else lone.view(place.shape))

    def take(self, member: int, shape: Shape) -> dict[str, Tensor]:
        """Give copies of a member's arrays, named and shaped as those of its :class:`SequenceNetwork`."""
        found = {}
        for name, place, order in self._places(member, shape):
            lone = place[[order.index(gate) for gate in range(len(order))]] if order else place.clone()
            found[_lone(name)] = lone.flatten(0, 1) if order else lone.flatten() if name[0] == "n" else lone
        return found

    def _places(self, member: int, shape: Shape) -> list[tuple[str, Tensor, list[int]]]:
        """Give name, place and order of gates of each array of a member; no order where there are no gates."""
        found = []
        arrays = shape.arrays()
        for name, block in (self.blocks | self.statistics).items():
            place = block[member][tuple(slice(size) for size in arrays[name])]
            found.append((name, place, list(ORDERS[shape.kind][_TORCH[name]]) if name in _TORCH else []))
        return found


def _lone(name: str) -> str:
    return f"{name}_l0" if name in _TORCH else name
