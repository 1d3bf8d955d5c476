"""First weights of a network: from files, from runs, from the hub only when it is told to."""

import os

import huggingface_hub
import pytest
import torch
from safetensors.torch import save_file

from evenface.models import build_network
from evenface.utils.errors import InputError


def timm_file(path, *, channels=3, classes=10, name="resnet18"):
    import timm

    torch.manual_seed(5)
    model = timm.create_model(name, num_classes=classes, in_chans=channels)
    save_file(model.state_dict(), path)
    return model


def test_a_file_of_timm_is_taken_over_but_for_its_classifier(tmp_path):
    model = timm_file(tmp_path / "w.safetensors")
    network = build_network("resnet18", 7, size=48, weights=str(tmp_path / "w.safetensors")).eval()
    assert set(network.load_report.missing) == {"classifier.weight", "classifier.bias"}
    assert set(network.load_report.unused) == {"fc.weight", "fc.bias"}
    assert "2 left as initialised" in str(network.load_report)
    images = torch.rand(2, 3, 48, 48)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = model.eval().forward_features((images - mean[:, None, None]) / std[:, None, None])
        torch.testing.assert_close(network(images).maps, expected)


def test_a_classifier_of_the_same_shape_is_taken_over(tmp_path):
    model = timm_file(tmp_path / "w.safetensors", classes=7)
    network = build_network("resnet18", 7, size=48, weights=str(tmp_path / "w.safetensors"))
    assert (network.load_report.missing, network.load_report.unused) == ((), ())
    assert torch.equal(network.classifier.weight, model.fc.weight)


@pytest.mark.parametrize(("stored", "wanted"), [(3, 1), (1, 3)])
def test_the_first_convolution_is_adapted_to_the_channels(tmp_path, stored, wanted):
    model = timm_file(tmp_path / "w.safetensors", channels=stored)
    network = build_network("resnet18", 7, channels=wanted, size=48, weights=str(tmp_path / "w.safetensors"))
    grey = torch.rand(1, 1, 48, 48)
    with torch.no_grad():  # a grey picture gives the same answer in either form
        expected = model.conv1(grey.expand(-1, stored, -1, -1))
        torch.testing.assert_close(network.backbone.conv1(grey.expand(-1, wanted, -1, -1)), expected)
    assert "backbone.conv1.weight" not in network.load_report.missing


@pytest.mark.parametrize(("content", "says"), [(None, "no file of weights"), (b"PK pickled", "never loaded")])
def test_weights_that_cannot_be_read_are_explained(tmp_path, content, says):
    path = tmp_path / "weights.pt"
    if content:
        path.write_bytes(content)
    with pytest.raises(InputError, match=says):
        build_network("resnet18", 7, size=48, weights=str(path))


def test_weights_of_which_nothing_fits_are_refused(tmp_path):
    save_file({"encoder.weight": torch.zeros(3)}, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"nothing in it fits this network \(it holds encoder.weight"):
        build_network("resnet18", 7, size=48, weights=str(tmp_path / "w.safetensors"))


def test_the_hub_is_asked_for_safetensors_only_when_told_to(tmp_path, monkeypatch):
    model, asked = timm_file(tmp_path / "w.safetensors", classes=1000), []

    def give(repository, filename, **options):
        asked.append((repository, filename))
        return str(tmp_path / "w.safetensors")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", give)
    build_network("resnet18", 7, size=48)
    assert asked == []
    network = build_network("resnet18", 7, channels=1, size=48, weights="hub")
    assert asked == [("timm/resnet18.a1_in1k", "model.safetensors")]
    assert torch.equal(network.backbone.layer1[0].conv1.weight, model.layer1[0].conv1.weight)
    torch.testing.assert_close(network.backbone.conv1.weight, model.conv1.weight.sum(1, keepdim=True))
    assert float(network.mean) == pytest.approx((0.485 + 0.456 + 0.406) / 3)


def test_without_a_network_the_hub_is_an_error_that_says_what_to_do(monkeypatch):
    def fails(repository, filename, local_files_only=False):
        if local_files_only:
            raise huggingface_hub.errors.LocalEntryNotFoundError("not here")
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fails)
    with pytest.raises(InputError, match="could not be had from the Hugging Face hub") as caught:
        build_network("resnet18", 7, size=48, weights="hub")
    assert "local .safetensors" in caught.value.hint


def test_the_hub_is_told_nothing():
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"
