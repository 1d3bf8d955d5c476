"""GRU and LSTM of many networks at once, with manual forward and backward passes on preallocated buffers.

The input products of all steps are one product, as are the weight gradients. The factors of a step's gradient do not
depend on that gradient, so they are computed for all steps at once; backpropagation through time is then two or three
operations a step. Layout: (members, steps, samples, gates * width), rows of all steps after one another.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]
_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input

ORDERS = {"gru": ((2, 0, 1), (0, 1, 2)), "lstm": ((3, 0, 1, 2), (3, 0, 1, 2))}
"""Order of torch's gates (GRU: r z n, LSTM: i f g o) here, of input and of recurrent weights."""


class GRUSteps:
    r"""Torch's GRU: :math:`n = \tanh(a_n + r h_n)`, :math:`h' = (1 - z) n + z h`.

    The order is n, r, z for input gates and r, z, n for recurrent ones, so that in a row of gradients n, r, z, r n each
    of them is one slice.
    """

    def __init__(self, weights: Tensors, gradients: Tensors, inputs: Tensor, into: Tensor) -> None:
        self.weights, self.gradients = weights, gradients
        members, steps, batch, _ = inputs.shape
        width = weights["weight_hh"].shape[2]
        new = inputs.new_empty
        self.inputs, self.into = inputs.flatten(1, 2), into.flatten(1, 2)
        gates, hidden = new(members, steps, batch, 3 * width), new(members, steps, batch, width)
        states = new(members, steps + 1, batch, width)
        states[:, 0] = 0
        back = new(members, steps, batch, 4 * width)
        self.gates, self.bias = gates.flatten(1, 2), new(members, 3 * width)
        self.minus_one, self.one = inputs.new_tensor(-1.0), inputs.new_tensor(1.0)
        self.recurrent = weights["weight_hh"].mT
        self.last = states[:, steps]
        product = new(members, batch, 3 * width)
        self.product, self.product_rz, self.product_n = product, product[..., : 2 * width], product[..., 2 * width :]
        self.hidden_bias = new(members, batch, width)
        self.first_hidden = hidden[:, 0]
        n, r, z = torch.split(gates, width, dim=-1)
        rz = gates[..., width:]
        self.forward_steps = [
            (rz[:, t], n[:, t], r[:, t], z[:, t], hidden[:, t], states[:, t], states[:, t + 1]) for t in range(steps)
        ]
        self.all = (n, r, z, hidden, states[:, :steps])
        self.back, self.back_parts = back.flatten(1, 2), torch.split(back, width, dim=-1)
        dh, other = new(members, batch, width), new(members, batch, width)
        self.dh = dh
        self.backward_steps = []
        for t in reversed(range(steps)):
            parts = back[:, t].view(members, batch, 4, width)
            self.backward_steps.append((parts, dh[:, :, None], dh, z[:, t], other, back[:, t, :, width:]))
            dh, other = other, dh
        rows = steps * batch
        self.rows_hh = (self.back[:, batch:, width:].mT, states.flatten(1, 2)[:, batch:rows])
        self.rows_ih = self.back[..., : 3 * width]
        self.sums = new(members, 4 * width)

    def forward(self) -> Tensor:
        """Compute the last state, (M, B, Q), from the input buffer."""
        weights, minus_one = self.weights, self.minus_one
        two = 2 * self.last.shape[2]
        self.bias.copy_(weights["bias_ih"])
        self.bias[:, two // 2 :] += weights["bias_hh"][:, :two]
        torch.baddbmm(self.bias[:, None].expand_as(self.gates), self.inputs, weights["weight_ih"].mT, out=self.gates)
        self.hidden_bias.copy_(weights["bias_hh"][:, None, two:].expand_as(self.hidden_bias))
        self.first_hidden.copy_(self.hidden_bias)
        for t, (rz, n, r, z, hidden, state, following) in enumerate(self.forward_steps):
            if t:
                torch.bmm(state, self.recurrent, out=self.product)
                rz.add_(self.product_rz)
                torch.add(self.product_n, self.hidden_bias, out=hidden)
            rz.sigmoid_()
            n.addcmul_(r, hidden)
            squash(n.add_(n), minus_one)
            torch.lerp(n, state, z, out=following)
        return self.last

    def backward(self, gradient: Tensor) -> None:
        """Compute all gradients from that of the last state, (M, B, Q)."""
        n, r, z, hidden, before = self.all
        back_n, back_r, back_z, back_hidden = self.back_parts
        _tanh_backward(torch.sub(self.one, z, out=back_n), n, grad_input=back_n)
        torch.mul(back_n, r, out=back_hidden)
        _sigmoid_backward(torch.mul(back_n, hidden, out=back_r), r, grad_input=back_r)
        _sigmoid_backward(torch.sub(before, n, out=back_z), z, grad_input=back_z)
        self.dh.copy_(gradient)
        recurrent, last = self.weights["weight_hh"], len(self.backward_steps) - 1
        for t, (parts, spread, dh, z_t, earlier, gates) in enumerate(self.backward_steps):
            parts.mul_(spread)
            if t < last:
                torch.mul(dh, z_t, out=earlier).baddbmm_(gates, recurrent)
        gradients = self.gradients
        torch.bmm(*self.rows_hh, out=gradients["weight_hh"])
        torch.bmm(self.rows_ih.mT, self.inputs, out=gradients["weight_ih"])
        torch.bmm(self.rows_ih, self.weights["weight_ih"], out=self.into)
        torch.sum(self.back, 1, out=self.sums)
        width = back_n.shape[-1]
        gradients["bias_ih"].copy_(self.sums[:, : 3 * width])
        gradients["bias_hh"].copy_(self.sums[:, width:])


class LSTMSteps:
    r"""Torch's LSTM: :math:`c' = f c + i g`, :math:`h' = o \tanh c'`; the order of gates is o, i, f, g."""

    def __init__(self, weights: Tensors, gradients: Tensors, inputs: Tensor, into: Tensor) -> None:
        self.weights, self.gradients = weights, gradients
        members, steps, batch, _ = inputs.shape
        width = weights["weight_hh"].shape[2]
        new = inputs.new_empty
        self.inputs, self.into = inputs.flatten(1, 2), into.flatten(1, 2)
        gates, squashed = new(members, steps, batch, 4 * width), new(members, steps, batch, width)
        states, cells = (new(members, steps + 1, batch, width) for _ in range(2))
        states[:, 0] = cells[:, 0] = 0
        back, through = torch.empty_like(gates), torch.empty_like(squashed)
        self.gates, self.bias = gates.flatten(1, 2), new(members, 4 * width)
        self.minus_one = inputs.new_tensor(-1.0)
        self.recurrent = weights["weight_hh"].mT
        self.last = states[:, steps]
        self.product = new(members, batch, 4 * width)
        o, i, f, g = torch.split(gates, width, dim=-1)
        parts = (o, i, f, g, squashed)
        self.forward_steps = [
            (gates[:, t], *(part[:, t] for part in parts), states[:, t], states[:, t + 1], cells[:, t], cells[:, t + 1])
            for t in range(steps)
        ]
        self.all = (*parts, cells[:, :steps])
        self.back, self.back_parts, self.through = back.flatten(1, 2), torch.split(back, width, dim=-1), through
        self.dh, self.dc = new(members, batch, width), new(members, batch, width)
        self.backward_steps = [
            (
                f[:, min(t + 1, steps - 1)],
                through[:, t],
                back[:, t, :, :width],
                back.view(members, steps, batch, 4, width)[:, t, :, 1:],
                back[:, t],
            )
            for t in reversed(range(steps))
        ]
        rows = steps * batch
        self.rows_hh = (self.back[:, batch:].mT, states.flatten(1, 2)[:, batch:rows])

    def forward(self) -> Tensor:
        """Compute the last state, (M, B, Q), from the input buffer."""
        weights, minus_one = self.weights, self.minus_one
        torch.add(weights["bias_ih"], weights["bias_hh"], out=self.bias)
        torch.baddbmm(self.bias[:, None].expand_as(self.gates), self.inputs, weights["weight_ih"].mT, out=self.gates)
        for t, (gates, o, i, f, g, squashed, state, following, cell, changed) in enumerate(self.forward_steps):
            if t:
                gates.add_(torch.bmm(state, self.recurrent, out=self.product))
            g.add_(g)
            gates.sigmoid_()
            torch.add(minus_one, g, alpha=2, out=g)
            torch.mul(f, cell, out=changed).addcmul_(i, g)
            squash(torch.add(changed, changed, out=squashed), minus_one)
            torch.mul(o, squashed, out=following)
        return self.last

    def backward(self, gradient: Tensor) -> None:
        """Compute all gradients from that of the last state, (M, B, Q)."""
        o, i, f, g, squashed, before = self.all
        back_o, back_i, back_f, back_g = self.back_parts
        _sigmoid_backward(squashed, o, grad_input=back_o)
        _sigmoid_backward(g, i, grad_input=back_i)
        _sigmoid_backward(before, f, grad_input=back_f)
        _tanh_backward(i, g, grad_input=back_g)
        _tanh_backward(o, squashed, grad_input=self.through)
        dh, dc = self.dh.copy_(gradient), self.dc.zero_()
        spread, recurrent, last = dc[:, :, None], self.weights["weight_hh"], len(self.backward_steps) - 1
        for t, (f_after, through, part_o, parts, gates) in enumerate(self.backward_steps):
            dc.mul_(f_after).addcmul_(dh, through)
            part_o.mul_(dh)
            parts.mul_(spread)
            if t < last:
                torch.bmm(gates, recurrent, out=dh)
        gradients = self.gradients
        torch.bmm(*self.rows_hh, out=gradients["weight_hh"])
        torch.bmm(self.back.mT, self.inputs, out=gradients["weight_ih"])
        torch.bmm(self.back, self.weights["weight_ih"], out=self.into)
        torch.sum(self.back, 1, out=gradients["bias_ih"])
        gradients["bias_hh"].copy_(gradients["bias_ih"])


def squash(doubled: Tensor, minus_one: Tensor) -> None:
    """Replace 2x by tanh(x) = 2 sigmoid(2x) - 1, in place; several times faster than torch's tanh on a CPU."""
    torch.add(minus_one, doubled.sigmoid_(), alpha=2, out=doubled)


CELLS: dict[str, Callable[[Tensors, Tensors, Tensor, Tensor], GRUSteps | LSTMSteps]] = {
    "gru": GRUSteps,
    "lstm": LSTMSteps,
}
