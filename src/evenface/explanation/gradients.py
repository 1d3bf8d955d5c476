"""Explanations by gradients: Grad-CAM and CAM of the last maps, integrated gradients of sequences."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from evenface.explanation.explanation import Array
from evenface.inference.run_model import TorchModel
from evenface.methods.base import Method
from evenface.models.backbone import as_maps
from evenface.preprocessing.augmentation import to_float
from evenface.preprocessing.landmarks import mirrored
from evenface.utils.errors import InputError

STEPS = 32
"""Steps on the way of integrated gradients."""


class HeadFromMaps(nn.Module):
    """What a method makes of its network's last maps, as a network of its own that takes the maps."""

    def __init__(self, method: Method, images: Tensor) -> None:
        super().__init__()
        self.method, self.images, self.maps = method, images, nn.Identity()
        network: Any = method.network
        frames = images if images.ndim == 4 else images[None]
        with torch.no_grad():
            self.raw: Tensor = network.backbone.forward_features((frames - network.mean) / network.std)
            self.found = as_maps(self.raw, network.backbone)[0].clone()

    def forward(self, maps: Tensor) -> Tensor:
        """Give the evidence for each class, ``(K, C)``, by the maps of K such samples, one behind the other."""
        copies = len(maps) // len(self.found)
        given, network = self.maps(maps), self.method.network
        raw = self.raw.repeat(copies, *[1] * (self.raw.ndim - 1))

        def forward_backbone(_images: Tensor) -> tuple[Tensor, Tensor]:
            seen, back = as_maps(raw, network.backbone, given)  # type: ignore[arg-type]
            return network.backbone.forward_head(back), seen  # type: ignore[union-attr,operator]

        with _instead(network, forward_backbone):
            return self.method.class_scores(self.images.expand(copies, *self.images.shape))


@contextmanager
def _instead(network: nn.Module, forward_backbone: Any) -> Iterator[None]:
    """Replace a network's ``forward_backbone`` for a while."""
    network.__dict__["forward_backbone"] = forward_backbone
    try:
        yield
    finally:
        del network.__dict__["forward_backbone"]


def class_maps(model: TorchModel, sample: np.ndarray, method: str) -> Array:
    r"""Give the map of every class, by the grad-cam library.

    .. math:: A_c = \sum_k \alpha_{ck} M_k, \qquad
        \alpha_{ck} = \frac{1}{hw} \sum_{ij} \frac{\partial z_c}{\partial M_{kij}}

    with the network's last maps M and what the method says for a class, :math:`z_c`: see
    :meth:`evenface.methods.Method.class_scores`.

    References
    ----------
    Selvaraju et al., *Grad-CAM: visual explanations from deep networks via gradient-based localization*, ICCV 2017;
    without its rectifier. Zhou et al., *Learning deep features for discriminative localization*, CVPR 2016.
    """
    found = _view(model, sample, method)
    if model.form.mirror:
        found = (found + _view(model, model.form.mirrored(sample[None])[0], method)[..., ::-1]) / 2
    return found


def _view(model: TorchModel, sample: np.ndarray, method: str) -> Array:
    images = to_float(torch.from_numpy(np.ascontiguousarray(sample)).to(model.device))
    behind, classes = HeadFromMaps(model.method, images[0] if model.form.frames == 1 else images), len(model.classes)
    cam = _library(behind, method)
    try:
        with torch.backends.cudnn.flags(enabled=False):  # its recurrent layers have no gradients in evaluation mode
            found = _found(cam, behind, classes)
            if method == "cam":
                _check_linear(cam, behind, classes)
    finally:
        cam.activations_and_grads.release()
        model.method.zero_grad(set_to_none=True)
    return np.asarray(found, dtype=np.float64).reshape(classes, -1, *found.shape[1:])


def _found(cam: Any, behind: HeadFromMaps, classes: int, share: float = 1.0) -> Any:
    """Ask the library for all classes at once: as many copies of the maps, and a class of each."""
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    maps = (share * behind.found).repeat(classes, 1, 1, 1).requires_grad_()
    with torch.enable_grad():
        return cam(maps, [ClassifierOutputTarget(label) for label in range(classes)])


def _library(behind: HeadFromMaps, method: str) -> Any:
    """Make the library's Grad-CAM, which gives maps as they come in place of maps of 0 to 1."""
    try:
        from pytorch_grad_cam import GradCAM
    except ImportError as error:
        raise InputError(
            "grad-cam, which explains pictures, is not installed", "pip install 'evenface[explain]'"
        ) from error

    class Plain(GradCAM):  # type: ignore[misc]
        def compute_cam_per_layer(self, input_tensor: Tensor, targets: list[Any], eigen_smooth: bool) -> Any:
            (maps,), gradients = self.activations_and_grads.activations, self.activations_and_grads.gradients
            if not gradients or not gradients[0].abs().sum() > 0:
                raise InputError(
                    "what this network says does not depend on its last maps, so there is nothing to draw",
                    "Take method occlusion.",
                )
            layer = self.target_layers[0]
            return self.get_cam_image(input_tensor, layer, targets, maps.numpy(), gradients[0].numpy(), eigen_smooth)

        def aggregate_multi_layers(self, cam_per_target_layer: Any) -> Any:
            return cam_per_target_layer

    class Sum(Plain):
        def get_cam_weights(self, *given: Any) -> Any:
            return given[-1].sum(axis=(2, 3))

    return (Sum if method == "cam" else Plain)(behind, [behind.maps])


def _check_linear(cam: Any, behind: HeadFromMaps, classes: int) -> None:
    """Refuse maps of classes where what follows the maps is not linear in their mean: its gradients would vary."""
    first = cam.activations_and_grads.gradients[0]
    _found(cam, behind, classes, share=0.5)
    second = cam.activations_and_grads.gradients[0]
    spread = max(float((first - first.mean((2, 3), keepdim=True)).abs().max()), float((first - second).abs().max()))
    if spread > 1e-3 * float(first.abs().max()):
        raise InputError(
            "class-activation maps need a linear classifier on the mean of the last maps, and here more stands between",
            "Take method gradcam.",
        )


def integrated(model: TorchModel, sample: np.ndarray, usual: np.ndarray, steps: int = STEPS) -> Array:
    r"""Give what each number of a sequence does for each class, by integrated gradients.

    .. math:: (x_i - b_i) \, \frac{1}{S} \sum_{s=1}^{S} \frac{\partial z_c}{\partial x_i}
        \left(b + \tfrac{s - 1/2}{S} (x - b)\right)

    References
    ----------
    Sundararajan, Taly and Yan, *Axiomatic attribution for deep networks*, ICML 2017.
    """
    end, begin = (torch.from_numpy(np.array(one, dtype=np.float32)).to(model.device) for one in (sample, usual))
    # own code: one forward serves all classes; captum, a second library beside grad-cam, repeats it per class
    shares = (torch.arange(steps, device=model.device) + 0.5) / steps
    way = (begin + shares.view(-1, 1, 1, 1) * (end - begin)).requires_grad_()
    with torch.backends.cudnn.flags(enabled=False), torch.enable_grad():
        said = _said(model, way).sum(dim=0)
        slopes = [torch.autograd.grad(one, way, retain_graph=True)[0].mean(dim=0) for one in said]
    found: Array = (torch.stack(slopes) * (end - begin)).double().cpu().numpy()
    return found


def _said(model: TorchModel, sequences: Tensor) -> Tensor:
    """Give the evidence for each class, averaged with the mirror's where the run does so."""
    found, form = model.method.class_scores(sequences), model.form
    if not form.mirror:
        return found
    return (found + model.method.class_scores(mirrored(sequences, form.points, form.mirror, form.middle))) / 2
