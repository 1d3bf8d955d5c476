"""Graphs of exported files answer as the networks, methods and sequences that they are of do in torch."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from small import built

from evenface.config import load_recipe
from evenface.config.recipe import Recurrent
from evenface.inference.input_spec import InputSpec
from evenface.inference.onnx_graph import GraphMethod, onnx_graph, quantised
from evenface.methods import METHODS
from evenface.models.compact import register_model  # timm's; by way of ours, which may have to mend torchvision
from evenface.models.sequence import initialised
from evenface.training import build
from evenface.utils.errors import InputError


class Together(GraphMethod):
    """Several methods of one form in one graph, which takes little longer to write than one of them."""

    def __init__(self, methods, form):
        super().__init__(methods[0], form)
        self.all = torch.nn.ModuleList([GraphMethod(method, form) for method in methods]).eval()

    def forward(self, stored):
        return torch.stack([one(stored) for one in self.all], dim=1)


def samples(form, rows=5):
    random = np.random.default_rng(rows)
    if form.kind == "sequences":
        return random.normal(size=(rows, *form.shape)).astype(np.float32)
    return random.integers(0, 256, (rows, *form.shape), dtype=np.uint8)


def written(graph):
    """Give what a graph answers, run by ONNX Runtime."""
    onnx.checker.check_model(graph, full_check=True)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, {"stored": batch})[0]


def agrees(asked, graph=None):
    """Hold a graph to the method itself, on batches of one and of five."""
    answer = written(graph or onnx_graph(asked))
    for rows in (1, 5):
        batch = samples(asked.form, rows)
        with torch.no_grad():
            expected = asked(torch.from_numpy(batch)).numpy()
        np.testing.assert_allclose(answer(batch), expected, atol=2e-6)
    assert len(np.unique(expected.round(4), axis=0)) == 5, "all samples look alike, so nothing was compared"


STILLS = InputSpec("stills", 16, 1)


def own_ways():
    """Name a method for each way of predicting that there is among them."""
    ways = {}
    for name, method in sorted(METHODS.items()):
        ways.setdefault(tuple(getattr(method, part) for part in ("predict", "scores", "logits")), name)
    return list(ways.values())


def test_every_way_of_predicting_answers_as_it_does_in_torch():
    assert len(own_ways()) >= 8
    agrees(Together([built(name).eval() for name in own_ways()], STILLS))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(METHODS))
def test_each_method_answers_as_it_does_in_torch(name):
    agrees(GraphMethod(built(name).eval(), STILLS))


@register_model
def micro_swin(pretrained=False, in_chans=3, num_classes=0, **_):
    from timm.models.swin_transformer import SwinTransformer

    return SwinTransformer(
        32, 2, in_chans, num_classes=num_classes, embed_dim=16, depths=(2, 2), num_heads=(1, 2), window_size=4
    )


RECIPE = {"name": "x", "data": {"source": "folder", "size": 32}, "training": {"accelerator": "cpu"}}

NETWORKS = {
    "grey CNN": (1, 1, {"name": "test_resnet", "norm": "group", "head": "cosine"}),
    "colour Swin": (3, 1, {"name": "micro_swin"}),
    "CNN and BiLSTM": (3, 3, {"name": "test_resnet", "temporal": {"kind": "bilstm", "hidden": 4, "layers": 1}}),
}


@pytest.mark.parametrize("name", [pytest.param("grey CNN", marks=pytest.mark.slow), "colour Swin", "CNN and BiLSTM"])
def test_networks_answer_as_they_do_in_torch(name):
    channels, frames, network = NETWORKS[name]
    recipe = load_recipe({**RECIPE, "network": network}, {"data.channels": channels})
    method = build.build_method(recipe, np.array([5, 4, 3]), frames=frames).eval()
    with torch.no_grad():
        method.network.classifier.weight.mul_(20)  # untrained features differ little between samples
    agrees(GraphMethod(method, InputSpec("clips" if frames > 1 else "stills", 32, channels, frames)))


def sequence_method(method, classes, **settings):
    recipe = load_recipe({**RECIPE, "network": {"name": "recurrent"}, "method": {"name": method}})
    counts = np.array([5, 4, 3])[:classes]
    lone = method == "one-vs-all"
    networks = [
        initialised(Recurrent(dense=5 + i, hidden=4, top=3 + i, **settings), 6, 4, 1 if lone else classes, i)
        for i in range(classes if lone else 1)
    ]
    with torch.no_grad():
        for network in networks:
            network.classifier.weight.mul_(20)
    network = build.sequence_network(networks, one_vs_rest=lone)
    return build.build_method(recipe, counts, tuple("abc"[:classes]), network=network).eval()


class OfNumbers(InputSpec):
    """A form of sequences of four steps, three points and two numbers."""

    shape = (4, 3, 2)


NUMBERS = OfNumbers("sequences", 1, 1, 4)


@pytest.fixture(scope="module")
def of_numbers():
    methods = [sequence_method("one-vs-all", 2, kind="gru"), sequence_method("erm", 2, kind="lstm")]
    asked = Together(methods, NUMBERS)
    return asked, onnx_graph(asked)


def test_sequences_of_one_against_the_rest_and_of_all_classes_answer_as_in_torch(of_numbers):
    agrees(*of_numbers)
    assert of_numbers[0].output == "scores"


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["step", "none"])
@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_every_kind_of_sequence_network_answers_as_in_torch(kind, norm):
    agrees(GraphMethod(sequence_method("erm", 3, kind=kind, norm=norm), NUMBERS))


def test_eight_bits_of_an_lstm_round_its_weights_and_little_else(of_numbers):
    _, graph = of_numbers
    small, how = quantised(graph, samples(NUMBERS, 8))
    assert how == "dynamic"
    assert "DynamicQuantizeLSTM" in {node.op_type for node in small.graph.node}
    session = onnxruntime.InferenceSession(small.SerializeToString(), providers=["CPUExecutionProvider"])
    batch = samples(NUMBERS)
    np.testing.assert_allclose(session.run(None, {"stored": batch})[0], written(graph)(batch), atol=0.1)


def test_a_network_that_cannot_be_traced_is_refused():
    method = built().eval()
    method.scores = lambda images: torch.from_numpy(np.linalg.svd(images.flatten(1).numpy())[0])
    with pytest.raises(InputError, match="cannot be written as ONNX") as raised:
        onnx_graph(GraphMethod(method, STILLS))
    assert "\n" not in raised.value.message
