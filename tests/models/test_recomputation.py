"""Computing blocks again for their gradients changes memory and nothing else."""

import pytest
import torch
from tiny import clips
from torch import nn

from evenface.models import build_network
from evenface.models.activation_checkpointing import recompute_blocks
from evenface.utils.errors import InputError


@pytest.mark.parametrize("name", ["test_resnet", "mobilenetv3_small_050", "convnext_atto"])
def test_what_is_computed_again_gives_the_same_gradients_and_statistics(name):
    plain, again = (
        build_network(name, 3, channels=1, size=32, frames=2, gradient_checkpointing=flag) for flag in (False, True)
    )
    kept = []
    for net in (plain, again):
        bytes_kept = 0

        def pack(value):
            nonlocal bytes_kept
            bytes_kept += value.numel() * value.element_size()
            return value

        torch.manual_seed(0)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            loss = net(clips(4, 2)).logits.square().sum()
        kept.append(bytes_kept)
        loss.backward()
    assert list(plain.state_dict()) == list(again.state_dict())
    for one, two in zip(plain.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-5, atol=1e-7)
    for (label, one), (_, two) in zip(plain.named_buffers(), again.named_buffers(), strict=True):
        assert torch.equal(one, two), label
    assert kept[1] < 0.7 * kept[0]


def test_drawn_numbers_are_drawn_alike_the_second_time():
    """A dropped path is dropped again, or the gradient would be another network's."""
    block = nn.Sequential(nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6)), Noisy(), Noisy())
    assert recompute_blocks(block) == 2
    x = torch.rand(5, 6)
    torch.manual_seed(3)
    block(x).sum().backward()
    got = [p.grad.clone() for p in block.parameters()]
    for part in (block[1], block[2]):
        del part.forward
    block.zero_grad()
    torch.manual_seed(3)
    block(x).sum().backward()
    for one, parameter in zip(got, block.parameters(), strict=True):
        torch.testing.assert_close(one, parameter.grad)


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x):
        return self.two(torch.nn.functional.dropout(self.one(x), 0.5))


def test_a_network_without_blocks_says_so():
    with pytest.raises(InputError, match="no blocks"):
        build_network("compact_vgg_24", 3, channels=1, size=32, gradient_checkpointing=True)
