"""Exported graphs compute the same scores as networks and methods in torch."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from small import CLASS_METHODS, built

from evenface.config import load_recipe
from evenface.config.recipe import Recurrent
from evenface.inference.input_spec import InputSpec
from evenface.inference.onnx_graph import ExportModule, onnx_graph, quantise
from evenface.methods import METHODS
from evenface.models.compact import CompactVGG, register_model  # timm's, by way of ours, which may mend torchvision
from evenface.models.sequence import initialised
from evenface.training import build
from evenface.utils.errors import InputError

pytestmark = pytest.mark.usefixtures("one_registry")


class StackedExport(ExportModule):
    """Several methods with one input specification in one graph, exported in little more time than one."""

    def __init__(self, methods, form):
        super().__init__(methods[0], form)
        self.all = torch.nn.ModuleList([ExportModule(method, form) for method in methods]).eval()

    def forward(self, stored):
        return (torch.stack([one(stored)[0] for one in self.all], dim=1),)


def samples(form, rows=5):
    random = np.random.default_rng(rows)
    if form.kind == "sequences":
        return random.normal(size=(rows, *form.shape)).astype(np.float32)
    brightness = np.linspace(1, 0.1, rows).reshape(-1, *(1 for _ in form.shape))  # noise alone looks all the same
    return (random.integers(0, 256, (rows, *form.shape)) * brightness).astype(np.uint8)


def runtime(graph):
    """Return the function that a graph computes in ONNX Runtime."""
    onnx.checker.check_model(graph, full_check=True)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, {"stored": batch})[0]


def assert_same(module, graph=None):
    """Compare a graph with the module, on batches of one and of five."""
    answer = runtime(graph or onnx_graph(module))
    for rows in (1, 5):
        batch = samples(module.input_spec, rows)
        with torch.no_grad():
            expected = module(torch.from_numpy(batch))[0].numpy()
        np.testing.assert_allclose(answer(batch), expected, atol=2e-6)
    assert len(np.unique(expected.round(4), axis=0)) == 5, "all samples have the same scores, so nothing was compared"


STILLS = InputSpec("stills", 16, 1)


def distinct_inference():
    """Return one method for each implementation of inference."""
    implementations = {}
    for name in CLASS_METHODS:
        implementations.setdefault(
            tuple(getattr(METHODS[name], part) for part in ("predict", "scores", "logits")), name
        )
    return list(implementations.values())


def test_every_implementation_of_inference_is_as_in_torch():
    assert len(distinct_inference()) >= 8
    assert_same(StackedExport([built(name).eval() for name in distinct_inference()], STILLS))


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASS_METHODS)
def test_each_method_is_as_in_torch(name):
    assert_same(ExportModule(built(name).eval(), STILLS))


class MicroCNN(CompactVGG):
    """A network of one convolution: what is exported above it is what takes time."""

    def __init__(self, in_chans, num_classes):
        super().__init__(4, in_chans, num_classes)
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(in_chans, 32, 3, stride=4), torch.nn.ReLU())


@register_model
def micro_cnn(pretrained=False, in_chans=3, num_classes=0, **_):
    return MicroCNN(in_chans, num_classes)


@register_model
def micro_swin(pretrained=False, in_chans=3, num_classes=0, **_):
    from timm.models.swin_transformer import SwinTransformer

    return SwinTransformer(
        32, 2, in_chans, num_classes=num_classes, embed_dim=16, depths=(2, 1), num_heads=(1, 2), window_size=4
    )


RECIPE = {"name": "x", "data": {"source": "folder", "size": 32}, "training": {"accelerator": "cpu"}}

NETWORKS = {
    "grey CNN": (1, 1, {"name": "test_resnet", "norm": "group", "head": "cosine"}),
    "colour Swin": (3, 1, {"name": "micro_swin"}),
    "CNN and BiLSTM": (3, 3, {"name": "micro_cnn", "temporal": {"kind": "bilstm", "hidden": 4, "layers": 1}}),
    "CNN and attention": (3, 3, {"name": "micro_cnn", "temporal": {"kind": "attention", "hidden": 4}}),
    "CNN and transformer": (3, 3, {"name": "micro_cnn", "temporal": {"kind": "transformer", "hidden": 8}}),
}


@pytest.mark.parametrize("name", [pytest.param("grey CNN", marks=pytest.mark.slow), *list(NETWORKS)[1:]])
def test_networks_are_as_in_torch(name):
    channels, frames, network = NETWORKS[name]
    recipe = load_recipe({**RECIPE, "network": network}, {"data.channels": channels})
    method = build.build_method(recipe, np.array([5, 4, 3]), frames=frames).eval()
    with torch.no_grad():
        method.network.classifier.weight.mul_(20)  # untrained features differ little between samples
    assert_same(ExportModule(method, InputSpec("clips" if frames > 1 else "stills", 32, channels, frames)))


def sequence_method(method, classes, **settings):
    recipe = load_recipe({**RECIPE, "network": {"name": "recurrent"}, "method": {"name": method}})
    counts = np.array([5, 4, 3])[:classes]
    one_vs_rest = method == "one-vs-all"
    networks = [
        initialised(Recurrent(dense=5 + i, hidden=4, top=3 + i, **settings), 6, 4, 1 if one_vs_rest else classes, i)
        for i in range(classes if one_vs_rest else 1)
    ]
    with torch.no_grad():
        for network in networks:
            network.classifier.weight.mul_(20)
    network = build.sequence_network(networks, one_vs_rest=one_vs_rest)
    return build.build_method(recipe, counts, tuple("abc"[:classes]), network=network).eval()


class SequenceSpec(InputSpec):
    """Sequences of four frames, three points and two coordinates."""

    shape = (4, 3, 2)


NUMBERS = SequenceSpec("sequences", 1, 1, 4)


@pytest.fixture(scope="module")
def sequence_export():
    methods = [sequence_method("one-vs-all", 2, kind="gru"), sequence_method("erm", 2, kind="lstm")]
    module = StackedExport(methods, NUMBERS)
    return module, onnx_graph(module)


def test_one_vs_rest_and_multiclass_sequence_methods_are_as_in_torch(sequence_export):
    assert_same(*sequence_export)
    assert sequence_export[0].outputs == ["scores"]


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["step", "none"])
@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_every_kind_of_sequence_network_is_as_in_torch(kind, norm):
    assert_same(ExportModule(sequence_method("erm", 3, kind=kind, norm=norm), NUMBERS))


def test_int8_quantises_the_weights_of_an_lstm(sequence_export):
    _, graph = sequence_export
    int8, ranges = quantise(graph, {"stored": samples(NUMBERS, 8)})
    assert ranges == "dynamic"
    assert "DynamicQuantizeLSTM" in {node.op_type for node in int8.graph.node}
    session = onnxruntime.InferenceSession(int8.SerializeToString(), providers=["CPUExecutionProvider"])
    batch = samples(NUMBERS)
    np.testing.assert_allclose(session.run(None, {"stored": batch})[0], runtime(graph)(batch), atol=0.1)


def test_a_network_that_cannot_be_traced_is_refused():
    method = built().eval()
    method.scores = lambda images: torch.from_numpy(np.linalg.svd(images.flatten(1).numpy())[0])
    with pytest.raises(InputError, match="cannot be exported to ONNX") as raised:
        onnx_graph(ExportModule(method, STILLS))
    assert "\n" not in raised.value.message
