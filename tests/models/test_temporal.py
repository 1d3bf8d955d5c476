"""Networks on clips: what a sequence of frames becomes, and what a frozen backbone is."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TINY, clips, network
from torch import nn

from evenface.config.recipe import Temporal
from evenface.models import ClipNetwork, build_network
from evenface.models.temporal import draw_recurrent, sinusoidal_positions
from evenface.utils.errors import InputError

KINDS = ("lstm", "bilstm", "gru", "bigru")
ATTENTION = ("attention", "transformer")


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


def array(value):
    return value.detach().double().numpy()


def pooled(state, steps):
    """Weights and weighted mean of one sample's steps, frame by frame."""
    scores = [state["score.2.weight"][0] @ np.tanh(state["score.0.weight"] @ step) for step in steps]
    total = sum(math.exp(score) for score in scores)
    weights = np.array([math.exp(score) / total for score in scores])
    return weights, sum(weight * step for weight, step in zip(weights, steps, strict=True))


def normalised(row, state, name):
    deviation = math.sqrt(((row - row.mean()) ** 2).mean() + 1e-5)
    return (row - row.mean()) / deviation * state[f"{name}.weight"] + state[f"{name}.bias"]


def encoded(state, steps, heads, layers):
    """Rollout and class token of one sample, token by token and head by head."""
    width = state["token"].shape[2]
    tokens = [state["token"][0, 0]]
    for t, step in enumerate(steps):
        angles = [t / 10000 ** (2 * (i // 2) / width) for i in range(width)]
        position = np.array([(math.cos if i % 2 else math.sin)(angle) for i, angle in enumerate(angles)])
        tokens.append(state["project.weight"] @ step + state["project.bias"] + position)
    rollout, size = np.eye(len(tokens)), width // heads
    for layer in range(layers):
        own = {name.removeprefix(f"layers.{layer}."): value for name, value in state.items()}
        normed = [normalised(token, own, "norm1") for token in tokens]
        parts = [own["self_attn.in_proj_weight"] @ row + own["self_attn.in_proj_bias"] for row in normed]
        query, key, value = (np.stack([part[k * width : (k + 1) * width] for part in parts]) for k in range(3))
        mixed, attention = np.zeros((len(tokens), width)), np.zeros((len(tokens), len(tokens)))
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            for i in range(len(tokens)):
                scores = np.exp([query[i, part] @ key[j, part] / math.sqrt(size) for j in range(len(tokens))])
                share = scores / scores.sum()
                attention[i] += share / heads
                mixed[i, part] = share @ value[:, part]
        rollout = (attention + np.eye(len(tokens))) / 2 @ rollout
        for i, row in enumerate(mixed):
            token = tokens[i] + own["self_attn.out_proj.weight"] @ row + own["self_attn.out_proj.bias"]
            inner = own["linear1.weight"] @ normalised(token, own, "norm2") + own["linear1.bias"]
            inner = np.array([x / 2 * (1 + math.erf(x / math.sqrt(2))) for x in inner])
            tokens[i] = token + own["linear2.weight"] @ inner + own["linear2.bias"]
    row = rollout[0, 1:]
    return row / row.sum(), normalised(tokens[0], state, "norm")


@pytest.mark.parametrize("kind", ATTENTION)
def test_attention_and_transformer_are_loops_over_the_frames(kind):
    net = network(kind).eval()
    with torch.no_grad():
        for value in net.temporal.parameters():  # away from zero biases and even attention
            value.add_(0.5 * torch.randn(value.shape, generator=torch.Generator().manual_seed(1)))
        images = clips(frames=5)
        logits, features, _ = net(images)
        weights = net.frame_weights(images)
        frames = torch.stack([net.forward_backbone(clip)[0] for clip in images])
    state = {name: array(value) for name, value in net.temporal.state_dict().items()}
    for n, steps in enumerate(array(frames)):
        expected, result = pooled(state, steps) if kind == "attention" else encoded(state, steps, 2, 2)
        np.testing.assert_allclose(array(weights[n]), expected, atol=1e-5)
        np.testing.assert_allclose(array(features[n]), result, atol=1e-4, rtol=1e-4)
        assert weights[n].sum().item() == pytest.approx(1, abs=1e-6)
        assert np.ptp(expected) > 0.001
    torch.testing.assert_close(logits, net.classifier(features))
    assert network("mean").frame_weights(images) is None
    assert network("bilstm").frame_weights(images) is None


def test_layers_of_a_transformer_start_from_different_weights():
    first, second = network("transformer").temporal.layers
    assert not torch.equal(first.linear1.weight, second.linear1.weight)
    assert not torch.equal(first.self_attn.in_proj_weight, second.self_attn.in_proj_weight)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(InputError, match=r"hidden 10 is not divisible by network\.temporal\.heads 4"):
        build_network(**TINY, temporal=Temporal(kind="transformer", hidden=10), frames=4)


@pytest.mark.parametrize("kind", ATTENTION)
def test_gradient_checkpointing_leaves_the_gradients_as_they_are(kind):
    images, gradients = clips(), []
    for again in (False, True):
        net = network(kind, norm="frozen", gradient_checkpointing=again)
        net(images).logits.square().sum().backward()
        gradients.append({name: value.grad for name, value in net.named_parameters()})
    assert all(value.abs().sum() > 0 for name, value in gradients[0].items() if name.startswith("temporal."))
    for name, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], value)


@pytest.mark.parametrize("kind", ["mean", "bilstm", *ATTENTION])
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
def test_the_order_of_frames_counts_but_for_the_mean_and_attention(order):
    images = clips()
    with torch.no_grad():
        for kind, net in MODELS.items():
            same = torch.allclose(net(images).features, net(images[:, order]).features, atol=1e-6)
            assert same == (kind in ("mean", "attention")), kind
        weights = MODELS["attention"].frame_weights(images)[:, order]
        torch.testing.assert_close(MODELS["attention"].frame_weights(images[:, order]), weights)


MODELS = {kind: network(kind).eval() for kind in ("mean", *KINDS, *ATTENTION)}


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


@pytest.mark.parametrize("kind", ATTENTION)
def test_attention_over_places_is_attention_over_as_many_frames(kind):
    net = network(kind, frames=1, over="spatial", size=96).eval()
    images = torch.rand(2, 1, 96, 96)
    with torch.no_grad():
        _, features, maps = net(images)
        steps = maps.flatten(2).transpose(1, 2)
        torch.testing.assert_close(features, net.temporal(steps))
        assert net.frame_weights(images).shape == (2, maps.shape[2] * maps.shape[3])


@pytest.mark.parametrize("kind", ["mean", "bilstm", *ATTENTION])
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
    [
        ("lstm", "frames", 1, "reads clips"),
        ("attention", "frames", 1, "reads clips"),
        ("bigru", "spatial", 4, "reads single images"),
        ("transformer", "spatial", 4, "reads single images"),
    ],
)
def test_a_temporal_head_needs_something_to_run_over(kind, over, frames, said):
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
@pytest.mark.parametrize(("kind", "frames"), [("mean", 1), ("gru", 4), ("attention", 4), ("transformer", 4)])
def test_a_resting_backbone_neither_learns_nor_counts_and_the_rest_does(kind, frames):
    net = network(kind, frames=frames, freeze="backbone")
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


def test_positions_are_computed_on_the_device_of_the_steps():
    assert sinusoidal_positions(3, 8, torch.device("meta")).is_meta
    angle = 2 / 10000 ** (4 / 8)
    found = sinusoidal_positions(3, 8)[2, 4:6].tolist()
    assert found == pytest.approx([math.sin(angle), math.cos(angle)], abs=1e-6)
