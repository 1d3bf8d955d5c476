"""Networks on clips: what a sequence of frames becomes, and what a frozen backbone is."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TINY, clips, network
from torch import nn

from evenface.config.recipe import Temporal
from evenface.models import ClipNetwork, build_network
from evenface.models.temporal import draw_recurrent
from evenface.utils.errors import InputError

KINDS = ("lstm", "bilstm", "gru", "bigru")


def by_cells(recurrent, steps):
    """Last states by torch's own cells, step after step, layer after layer: forward's last, backward's first."""
    cell = {nn.LSTM: nn.LSTMCell, nn.GRU: nn.GRUCell}[type(recurrent)]
    for layer in range(recurrent.num_layers):
        outs = []
        for suffix in ("", "_reverse")[: 1 + recurrent.bidirectional]:
            one = cell(steps.shape[2], recurrent.hidden_size)
            own = {name: getattr(recurrent, f"{name}_l{layer}{suffix}") for name in dict(one.named_parameters())}
            state, states = None, []
            for step in steps.unbind(1)[:: -1 if suffix else 1]:
                state = torch.func.functional_call(one, own, (step, state))
                states.append(state[0] if cell is nn.LSTMCell else state)
            outs.append(torch.stack(states[:: -1 if suffix else 1], dim=1))
        steps = torch.cat(outs, dim=2)
    half = recurrent.hidden_size
    return torch.cat([steps[:, -1, :half], steps[:, 0, half:]], dim=1)


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_the_last_states_of_torch_s_own_cells(kind):
    net = network(kind).eval()
    images = clips()
    with torch.no_grad():
        logits, features, maps = net(images)
        frames = torch.stack([net.forward_backbone(clip)[0] for clip in images])
        expected = by_cells(net.temporal, frames)
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(logits, expected @ net.classifier.weight.T + net.classifier.bias, atol=1e-5, rtol=1e-4)
    assert features.shape == (3, 5 * (1 + kind.startswith("bi")))
    assert maps.shape[:2] == (3, 4)


@pytest.mark.parametrize("kind", ["mean", "bilstm"])
def test_frames_of_a_batch_together_are_frames_one_by_one(kind):
    net = network(kind).eval()
    images = clips()
    with torch.no_grad():
        together = net(images)
        alone = [net(clip[None]) for clip in images]
        frames = torch.stack([torch.cat([net.forward_backbone(frame[None])[1] for frame in clip]) for clip in images])
    torch.testing.assert_close(together.logits, torch.cat([one.logits for one in alone]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together.maps, frames, atol=1e-5, rtol=1e-4)


@settings(max_examples=8)
@given(st.permutations(range(4)).filter(lambda order: order != list(range(4))))
def test_the_order_of_frames_counts_for_lstm_and_not_for_the_mean(order):
    images = clips()
    with torch.no_grad():
        for kind in ("mean", *KINDS):
            net = MODELS[kind]
            same = torch.allclose(net(images).features, net(images[:, order]).features, atol=1e-6)
            assert same == (kind == "mean"), kind


MODELS = {kind: network(kind).eval() for kind in ("mean", *KINDS)}


def test_one_frame_and_the_mean_are_the_still_network():
    still, clip = build_network(**TINY, seed=4), network(frames=2, seed=4)
    assert not isinstance(still, ClipNetwork)
    assert list(still.state_dict()) == list(clip.state_dict())
    assert all(
        torch.equal(one, two) for one, two in zip(still.state_dict().values(), clip.state_dict().values(), strict=True)
    )
    images = clips(frames=1)
    with torch.no_grad():
        assert torch.equal(still.eval()(images[:, 0]).logits, clip.eval()(images).logits)


@pytest.mark.parametrize("kind", ["lstm", "bigru"])
def test_spatial_reading_walks_through_the_places_row_by_row(kind):
    net = network(kind, frames=1, over="spatial", size=96).eval()
    images = torch.rand(2, 1, 96, 96)
    with torch.no_grad():
        logits, features, maps = net(images)
        height, width = maps.shape[-2:]
        assert height * width > 1
        steps = torch.stack([maps[:, :, y, x] for y, x in itertools.product(range(height), range(width))], dim=1)
        expected = by_cells(net.temporal, steps)
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(logits, net.classifier(expected), atol=1e-5, rtol=1e-4)


def test_spatial_reading_takes_maps_that_are_not_as_wide_as_the_features():
    net = build_network(
        "mobilenetv3_small_050", 3, channels=1, size=64, temporal=Temporal(kind="lstm", over="spatial", hidden=4)
    )
    assert net(torch.rand(2, 1, 64, 64)).logits.shape == (2, 3)
    assert net.temporal.input_size != net.width


@pytest.mark.parametrize("kind", ["mean", "bilstm"])
def test_stored_features_stand_for_pictures(kind):
    net = network(kind).eval()
    images = clips()
    with torch.no_grad():
        stored = torch.stack([net.forward_backbone(clip)[0] for clip in images])
        torch.testing.assert_close(net(stored).logits, net(images).logits, atol=1e-5, rtol=1e-4)
        still = build_network(**TINY).eval()
        torch.testing.assert_close(still(still.forward_backbone(images[0])[0]).logits, still(images[0]).logits)


@pytest.mark.parametrize(
    ("kind", "over", "frames", "said"),
    [("lstm", "frames", 1, "reads clips"), ("bigru", "spatial", 4, "reads single images")],
)
def test_a_recurrent_network_needs_something_to_run_over(kind, over, frames, said):
    with pytest.raises(InputError, match=said):
        network(kind, frames=frames, over=over)


@pytest.mark.parametrize("shape", [(2, 1, 32, 32), (2, 4, 3, 32, 32), (2, 4, 7)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="expected"):
        network()(torch.rand(shape))


# First weights.
def test_recurrent_weights_are_drawn_by_fan_in_and_forget_gates_open():
    for cell in (nn.LSTM, nn.GRU):
        torch.manual_seed(0)
        recurrent = cell(200, 100, 2, bidirectional=True)
        draw_recurrent(recurrent)
        for name, value in recurrent.named_parameters():
            if name.startswith("weight"):
                assert value.detach().std() == pytest.approx(value.shape[1] ** -0.5, rel=0.03), name
            elif cell is nn.LSTM and name.startswith("bias_ih"):
                assert value.tolist() == [0.0] * 100 + [1.0] * 100 + [0.0] * 200
            else:
                assert not value.any()


def test_first_weights_are_a_function_of_the_seed_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one, two, other = (network("bilstm", seed=seed) for seed in (3, 3, 4))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.temporal.weight_hh_l1, other.temporal.weight_hh_l1)


def test_a_clip_network_starts_from_a_still_one_s_weights(tmp_path):
    from safetensors.torch import save_file

    still = build_network(**TINY, seed=7)
    save_file({f"network.{name}": value for name, value in still.state_dict().items()}, tmp_path / "w.safetensors")
    net = network("lstm", weights=str(tmp_path / "w.safetensors"))
    ours, theirs = net.backbone.state_dict(), still.backbone.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    assert net.load_report.matched > 10
    save_file(dict(net.state_dict()), tmp_path / "c.safetensors")
    again = network("lstm", weights=str(tmp_path / "c.safetensors"), seed=9)
    assert torch.equal(again.temporal.weight_ih_l0, net.temporal.weight_ih_l0)
    assert not again.load_report.unused


def test_half_makes_minus_one_to_one_of_bytes_whatever_the_weights(tmp_path):
    from safetensors.torch import save_file

    still = build_network(**TINY)
    weights = {**still.state_dict(), "mean": torch.full((1, 1, 1, 1), 0.3), "std": torch.full((1, 1, 1, 1), 0.2)}
    save_file(weights, tmp_path / "w.safetensors")
    path = str(tmp_path / "w.safetensors")
    own, half = (build_network(**TINY, weights=path, normalise=choice) for choice in ("weights", "half"))
    assert own.mean.item() == pytest.approx(0.3)
    pixels = torch.tensor([0.0, 127.5, 255.0])
    torch.testing.assert_close(((pixels / 255 - half.mean) / half.std).flatten(), pixels / 127.5 - 1)


def test_both_droppings_before_the_classifier_count():
    assert network("lstm", drop=0.5, dropout=0.2).dropout.p == pytest.approx(0.6)
    assert network("mean", drop=0.5, dropout=0.2).dropout.p == pytest.approx(0.2)


# A backbone that rests.
@pytest.mark.parametrize("frames", [1, 4])
def test_a_resting_backbone_neither_learns_nor_counts_and_the_rest_does(frames):
    net = network("mean" if frames == 1 else "gru", frames=frames, freeze="backbone")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    images = clips(frames=frames) if frames > 1 else clips()[:, 0]
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        outputs = net.train()(images)
        assert not outputs.maps.requires_grad
        optimizer.zero_grad()
        outputs.logits.square().sum().backward()
        optimizer.step()
    moved = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.split(".")[0] for name in moved} == {"classifier"} | ({"temporal"} if frames > 1 else set())
    assert all(p.grad is None for p in net.backbone.parameters())
    assert not any(part.training for part in net.backbone.modules())


def test_a_resting_backbone_gives_what_it_gives_at_prediction():
    net = network("mean", freeze="backbone")
    images = clips()
    assert torch.equal(net.train()(images).features, net.eval()(images).features)
