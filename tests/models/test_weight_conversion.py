"""Pickled weights of other projects become safetensors with the names of a network here; code is never run."""

import os
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn
from typer.testing import CliRunner

from evenface.cli import app
from evenface.models import build_network
from evenface.models.weight_conversion import convert_weights, plain_names, state_tensors
from evenface.utils.errors import InputError


@pytest.fixture(scope="module")
def resnet():
    from torchvision.models import resnet18

    torch.manual_seed(3)
    return resnet18()


def sequential(model, classes=7):
    """The layout of files whose network is ``features`` (all children but pooling and classifier) and ``fc``."""
    holder = nn.Module()
    holder.features = nn.Sequential(*list(model.children())[:-2])
    holder.fc = nn.Linear(512, classes)
    return holder


LAYOUTS = {
    "bare": lambda model: model.state_dict(),
    "parallel": lambda model: {"state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}, "epoch": 3},
    "nested": lambda model: {
        "model_state_dict": {f"module.backbone.{k}": v for k, v in model.state_dict().items() if k[:3] != "fc."}
        | {"module.classifier.weight": torch.zeros(7, 512)},
        "optimizer": {"lr": 0.1},
    },
    "sequential": lambda model: {"model_state_dict": sequential(model).state_dict()},
    "sequential in parallel": lambda model: {f"module.{k}": v for k, v in sequential(model).state_dict().items()},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_converted_file_gives_the_features_of_the_original(resnet, layout, tmp_path):
    torch.save(LAYOUTS[layout](resnet), tmp_path / "w.pth")
    converted = convert_weights(tmp_path / "w.pth", tmp_path / "w.safetensors")
    assert converted.network == "resnet18"
    assert set(converted.load_report.missing) == {"classifier.weight", "classifier.bias"}
    kept = {k: v for k, v in resnet.state_dict().items() if not k.startswith("fc.")}
    stored = load_file(tmp_path / "w.safetensors")
    assert stored.keys() == kept.keys()
    assert all(torch.equal(stored[k], kept[k]) for k in kept)
    assert not {"epoch", "optimizer"} & set(converted.renamed)
    images = torch.rand(1, 3, 64, 64)
    network = build_network("resnet18", 7, size=64, weights=str(tmp_path / "w.safetensors")).eval()
    body = nn.Sequential(*list(resnet.children())[:-2]).eval()
    with torch.no_grad():
        normal = (images - network.mean.reshape(1, 3, 1, 1)) / network.std.reshape(1, 3, 1, 1)
        torch.testing.assert_close(network(images).maps, body(normal))


def test_the_command_reports_what_is_dropped_and_missing(resnet, tmp_path):
    torch.save(LAYOUTS["parallel"](resnet), tmp_path / "w.pth")
    words = ["weights", "convert", str(tmp_path / "w.pth"), "--out", str(tmp_path / "w.safetensors")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == "network resnet18: 120 tensors match"
    assert "missing 2: classifier.weight, classifier.bias" in lines
    assert "dropped 3: module.fc.weight, module.fc.bias, epoch" in lines


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("how", ["torch", "pickle", "noise"])
def test_a_file_that_needs_code_is_refused_and_runs_none(how, tmp_path):
    made, path = tmp_path / "made", tmp_path / "w.pth"
    if how == "torch":
        torch.save({"state_dict": {}, "extra": Malicious(str(made))}, path)
    else:
        path.write_bytes(pickle.dumps(Malicious(str(made))) if how == "pickle" else b"not weights")
    with pytest.raises(InputError, match="cannot be loaded as weights only"):
        convert_weights(path, tmp_path / "w.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["w.pth"]


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        ({}, {}, "holds no tensors"),
        ([1, 2], {}, "holds no tensors"),
        ({"a.weight": torch.zeros(2, 2)}, {}, "not those of a ResNet"),
        ({"a.weight": torch.zeros(2, 2)}, {"network": "resnet18"}, "nothing in it fits resnet18"),
        ({"a.weight": torch.zeros(2, 2)}, {"network": "resnet1"}, "resnet1"),
    ],
)
def test_files_that_do_not_fit_are_refused_without_output(content, options, says, tmp_path):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(InputError, match=says):
        convert_weights(tmp_path / "w.pth", tmp_path / "w.safetensors", **options)
    assert [p.name for p in tmp_path.iterdir()] == ["w.pth"]


def test_outputs_of_another_type_and_missing_files_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"must end in \.safetensors"):
        convert_weights(tmp_path / "w.pth", tmp_path / "w.bin")
    with pytest.raises(InputError, match="no file of weights"):
        convert_weights(tmp_path / "w.pth", tmp_path / "w.safetensors")


NAMES = ["conv1.weight", "bn1.bias", "layer1.0.conv1.weight", "layer4.1.bn2.running_mean"]


@given(
    st.lists(st.sampled_from(["module.", "_orig_mod.", "model.", "backbone.", "encoder.", "net."]), max_size=4),
    st.lists(st.sampled_from(["state_dict", "model_state_dict", "model"]), max_size=3),
)
def test_any_nesting_of_prefixes_and_containers_is_removed(prefixes, containers):
    tensor, prefix = torch.zeros(1), "".join(prefixes)
    content = {prefix + name: tensor for name in NAMES}
    for container in containers:
        content = {"epoch": 1, container: content}
    tensors, dropped = state_tensors(content, "it")
    assert sorted(plain_names(tensors).values()) == sorted(NAMES)
    assert dropped == ("epoch",) * len(containers)
