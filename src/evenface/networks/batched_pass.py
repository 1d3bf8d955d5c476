"""Forward and backward through a stack of networks, by hand, on buffers that are made once."""

import torch
from torch import Tensor

from evenface.networks.batched_cells import CELLS
from evenface.networks.batched_stack import Shape, Stack

MOMENTUM, EPS = 0.1, 1e-5
"""Of torch's batch norm."""


class Buffers:
    """Room for a batch of every member, as sequences and behind the dense layer: what is largest.

    Parameters
    ----------
    shape : Shape
        Of the widest member.
    members, batch : int
        M and B.
    device : torch.device
        Where.
    """

    def __init__(self, shape: Shape, members: int, batch: int, device: torch.device) -> None:
        self.sequences = torch.empty(members, batch, shape.steps, shape.inputs, device=device)


class Pass:
    """One batch through the first members of a stack.

    Parameters
    ----------
    stack : Stack
        Parameters and running statistics, which training moves.
    gradients : Stack
        Where gradients go; the stack itself where there is no going back.
    buffers : Buffers
        Room for at least as many members.
    members : int
        How many of the stack's members, from the first.
    """

    def __init__(self, stack: Stack, gradients: Stack, buffers: Buffers, members: int) -> None:
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
        self.norm = None if shape.norm == "none" else Norm(stack, self.weights, self.found, self.y, self.dy)
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
        """Give logits, (M, B, C), of what was gathered.

        Parameters
        ----------
        mask : Tensor of shape (M, B, Q) or None
            What the last state is multiplied by, in training; None: evaluation, by running statistics.
        """
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


class Norm:
    """Batch norm of every member, in place: one group of all steps, or one of each step.

    Parameters
    ----------
    stack : Stack
        Whose running statistics move.
    weights, found : dict of str to Tensor
        Its first members' parameters, and where their gradients go.
    y, dy : Tensor of shape (M, T * B, F)
        What is normalised, and its gradient.
    """

    def __init__(
        self, stack: Stack, weights: dict[str, Tensor], found: dict[str, Tensor], y: Tensor, dy: Tensor
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


_RECURRENT = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
# oneDNN's product of a tall and a narrow matrix takes a fifth less time than the one behind torch.bmm on a CPU.
_LINEAR = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
_relu_backward = torch.ops.aten.threshold_backward.grad_input
