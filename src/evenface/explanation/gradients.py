"""Gradient-based explanations: Grad-CAM and CAM of the last feature maps, integrated gradients of sequences."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from evenface.inference.run_model import TorchModel
from evenface.methods.base import Method
from evenface.models.backbone import as_maps
from evenface.preprocessing.augmentation import to_float
from evenface.preprocessing.landmarks import mirrored
from evenface.utils.errors import InputError

Array = npt.NDArray[np.float64]
STEPS = 32
"""Number of steps of the path integral."""


class HeadFromMaps(nn.Module):
    """The part of a method after its network's last feature maps, as a module of the maps."""

    def __init__(self, method: Method, images: Tensor) -> None:
        super().__init__()
        self.method, self.images, self.maps = method, images, nn.Identity()
        network: Any = method.network
        frames = images if images.ndim == 4 else images[None]
        with torch.no_grad():
            self.features: Tensor = network.backbone.forward_features((frames - network.mean) / network.std)
            self.sample_maps = as_maps(self.features, network.backbone)[0].clone()

    def forward(self, maps: Tensor) -> Tensor:
        """Compute the class scores, ``(K, C)``, from the maps of K copies of the sample, concatenated."""
        copies = len(maps) // len(self.sample_maps)
        maps, network = self.maps(maps), self.method.network
        features = self.features.repeat(copies, *[1] * (self.features.ndim - 1))

        def forward_backbone(_images: Tensor) -> tuple[Tensor, Tensor]:
            new_maps, new_features = as_maps(features, network.backbone, maps)  # type: ignore[arg-type]
            return network.backbone.forward_head(new_features), new_maps  # type: ignore[union-attr,operator]

        with _replaced(network, forward_backbone):
            return self.method.class_scores(self.images.expand(copies, *self.images.shape))


@contextmanager
def _replaced(network: nn.Module, forward_backbone: Any) -> Iterator[None]:
    """Replace a network's ``forward_backbone`` within the context."""
    network.__dict__["forward_backbone"] = forward_backbone
    try:
        yield
    finally:
        del network.__dict__["forward_backbone"]


def class_maps(model: TorchModel, sample: np.ndarray, method: str) -> Array:
    r"""Compute the map of every class with the grad-cam library, (C, T, h, w).

    .. math:: A_c = \sum_k \alpha_{ck} M_k, \qquad
        \alpha_{ck} = \frac{1}{hw} \sum_{ij} \frac{\partial z_c}{\partial M_{kij}}

    with the network's last feature maps M and the class scores :math:`z_c` of
    :meth:`evenface.methods.Method.class_scores`.

    References
    ----------
    Selvaraju et al., *Grad-CAM: visual explanations from deep networks via gradient-based localization*, ICCV 2017;
    without its rectifier. Zhou et al., *Learning deep features for discriminative localization*, CVPR 2016.
    """
    maps = _maps_of_view(model, sample, method)
    if model.input_spec.mirror:
        flipped = model.input_spec.mirrored(sample[None])[0]
        maps = (maps + _maps_of_view(model, flipped, method)[..., ::-1]) / 2
    return maps


def _maps_of_view(model: TorchModel, sample: np.ndarray, method: str) -> Array:
    images = to_float(torch.from_numpy(np.ascontiguousarray(sample)).to(model.device))
    head = HeadFromMaps(model.method, images[0] if model.input_spec.frames == 1 else images)
    classes, cam = len(model.classes), _grad_cam(head, method)
    try:
        with torch.backends.cudnn.flags(enabled=False):  # its recurrent layers have no gradients in evaluation mode
            maps = _maps_of_classes(cam, head, classes)
            if method == "cam":
                _check_linear(cam, head, classes)
    finally:
        cam.activations_and_grads.release()
        model.method.zero_grad(set_to_none=True)
    return np.asarray(maps, dtype=np.float64).reshape(classes, -1, *maps.shape[1:])


def _maps_of_classes(cam: Any, head: HeadFromMaps, classes: int, scale: float = 1.0) -> Any:
    """Run the library for all classes at once: a copy of the maps for each class."""
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    maps = (scale * head.sample_maps).repeat(classes, 1, 1, 1).requires_grad_()
    with torch.enable_grad():
        return cam(maps, [ClassifierOutputTarget(label) for label in range(classes)])


def _grad_cam(head: HeadFromMaps, method: str) -> Any:
    """Create the library's Grad-CAM, returning maps before they are scaled to 0 to 1."""
    try:
        from pytorch_grad_cam import GradCAM
    except ImportError as error:
        raise InputError(
            "grad-cam, which explains image models, is not installed", "Install it: pip install 'evenface[explain]'"
        ) from error

    class UnscaledGradCam(GradCAM):  # type: ignore[misc]
        def compute_cam_per_layer(self, input_tensor: Tensor, targets: list[Any], eigen_smooth: bool) -> Any:
            (maps,), gradients = self.activations_and_grads.activations, self.activations_and_grads.gradients
            if not gradients or not gradients[0].abs().sum() > 0:
                raise InputError(
                    "the predictions of this network do not depend on its last feature maps",
                    "Use --method occlusion.",
                )
            layer = self.target_layers[0]
            return self.get_cam_image(input_tensor, layer, targets, maps.numpy(), gradients[0].numpy(), eigen_smooth)

        def aggregate_multi_layers(self, cam_per_target_layer: Any) -> Any:
            return cam_per_target_layer

    class Cam(UnscaledGradCam):
        def get_cam_weights(self, *arguments: Any) -> Any:
            return arguments[-1].sum(axis=(2, 3))

    return (Cam if method == "cam" else UnscaledGradCam)(head, [head.maps])


def _check_linear(cam: Any, head: HeadFromMaps, classes: int) -> None:
    """Raise InputError unless the scores are linear in the mean of the maps: otherwise gradients vary."""
    first = cam.activations_and_grads.gradients[0]
    _maps_of_classes(cam, head, classes, scale=0.5)
    second = cam.activations_and_grads.gradients[0]
    spread = max(float((first - first.mean((2, 3), keepdim=True)).abs().max()), float((first - second).abs().max()))
    if spread > 1e-3 * float(first.abs().max()):
        raise InputError(
            "cam requires a linear classifier on the mean of the last feature maps; this network has more layers",
            "Use --method gradcam.",
        )


def integrated_gradients(model: TorchModel, sample: np.ndarray, baseline: np.ndarray, steps: int = STEPS) -> Array:
    r"""Attribute each class score to the values of a sequence, (C, T, P, D), by integrated gradients.

    .. math:: (x_i - b_i) \, \frac{1}{S} \sum_{s=1}^{S} \frac{\partial z_c}{\partial x_i}
        \left(b + \tfrac{s - 1/2}{S} (x - b)\right)

    References
    ----------
    Sundararajan, Taly and Yan, *Axiomatic attribution for deep networks*, ICML 2017.
    """
    end, start = (torch.from_numpy(np.array(x, dtype=np.float32)).to(model.device) for x in (sample, baseline))
    # own code: one forward serves all classes; captum, a second library beside grad-cam, repeats it per class
    fractions = (torch.arange(steps, device=model.device) + 0.5) / steps
    path = (start + fractions.view(-1, 1, 1, 1) * (end - start)).requires_grad_()
    with torch.backends.cudnn.flags(enabled=False), torch.enable_grad():
        scores = _class_scores(model, path).sum(dim=0)
        gradients = [torch.autograd.grad(score, path, retain_graph=True)[0].mean(dim=0) for score in scores]
    attribution: Array = (torch.stack(gradients) * (end - start)).double().cpu().numpy()
    return attribution


def _class_scores(model: TorchModel, sequences: Tensor) -> Tensor:
    """Compute class scores, averaged over flipped sequences where the run does so."""
    scores, spec = model.method.class_scores(sequences), model.input_spec
    if not spec.mirror:
        return scores
    return (scores + model.method.class_scores(mirrored(sequences, spec.points, spec.mirror, spec.middle))) / 2
