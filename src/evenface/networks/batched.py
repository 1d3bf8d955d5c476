"""Many networks of sequences as one: parameters stacked on a first axis, narrower members padded with zeros.

Padding changes nothing: a unit whose weights in and out are zero gives zero, gets gradient zero and stays so.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from evenface.networks.batched_pass import Buffers, Pass
from evenface.networks.batched_stack import STATISTICS, Shape, Stack
from evenface.networks.recurrent import SequenceNetwork
from evenface.recipes.schema import Recurrent

__all__ = [
    "Buffers",
    "Pass",
    "Shape",
    "Stack",
    "network_of",
    "predict_networks",
    "predict_stack",
    "probabilities",
    "shape_of",
    "stacked",
]


def stacked(networks: Sequence[SequenceNetwork], device: torch.device | str = "cpu") -> Stack:
    """Stack networks, which may differ in F, Q and R.

    Raises
    ------
    ValueError
        If they differ in anything else.
    """
    shapes = [shape_of(network) for network in networks]
    stack = Stack(shapes[0].around(shapes[1:]), len(networks), device)
    for place, (shape, network) in enumerate(zip(shapes, networks, strict=True)):
        stack.put(place, shape, network.state_dict())
    return stack


def shape_of(network: SequenceNetwork) -> Shape:
    """Give the shape of a network."""
    return Shape.of(network.settings, network.inputs, network.steps, network.outputs)


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
    """Give probabilities of logits (..., C), float64: sigmoids where C is 1."""
    return logits.double().sigmoid() if logits.shape[-1] == 1 else logits.double().softmax(dim=-1)


def predict_stack(stack: Stack, sequences: Tensor, rows: np.ndarray, batch: int = 64) -> np.ndarray:
    """Predict the same rows with all networks of a stack.

    Parameters
    ----------
    stack : Stack
        M networks.
    sequences : Tensor of shape (N, T, D')
        float32.
    rows : ndarray of shape (n,)
        Which ones.
    batch : int
        Sequences at a time.

    Returns
    -------
    ndarray of shape (M, n, C)
        float64; sigmoids where there is one logit, else probabilities that sum to 1.
    """
    whole = Pass(stack, stack, Buffers(stack.shape, stack.members, batch, stack.flat.device), stack.members)
    found = np.empty((stack.members, len(rows), stack.shape.outputs))
    for start in range(0, len(rows), batch):
        some = rows[start : start + batch]
        filled = np.concatenate([some, np.repeat(some[:1], batch - len(some))])
        index = torch.from_numpy(filled).to(sequences.device).expand(stack.members, batch)
        whole.gather(sequences, index)
        found[:, start : start + len(some)] = probabilities(whole.forward(None))[:, : len(some)].cpu().numpy()
    return found


def predict_networks(
    networks: Sequence[SequenceNetwork], sequences: np.ndarray, rows: np.ndarray | None = None, batch: int = 64
) -> np.ndarray:
    """Predict sequences with several networks that differ in F, Q and R at most.

    Parameters
    ----------
    networks : sequence of SequenceNetwork
        M of them.
    sequences : ndarray of shape (N, T, P, D)
        float32.
    rows : ndarray of shape (n,), optional
        Which ones; all if not given.
    batch : int
        Sequences at a time.

    Returns
    -------
    ndarray of shape (M, n, C)
        As of :func:`predict_stack`.
    """
    some = np.ascontiguousarray(sequences if rows is None else sequences[rows], dtype=np.float32)
    held = torch.from_numpy(some.reshape(*some.shape[:2], -1))
    return predict_stack(stacked(networks), held, np.arange(len(some)), batch)
