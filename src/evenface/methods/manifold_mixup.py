"""Manifold mixup: mixup of what a random early layer of the network has computed."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from evenface.methods.mixup import Mixup, draw_share
from evenface.utils.errors import InputError


class ManifoldMixup(Mixup):
    r"""Manifold mixup: images, or what an early stage made of them, are mixed, and so are losses.

    .. math:: L = \lambda \, \ell(f_k(\tilde h), y_i) + (1 - \lambda) \, \ell(f_k(\tilde h), y_j), \quad
        \tilde h = \lambda g_k(x_i) + (1 - \lambda) g_k(x_j), \quad \lambda \sim Beta(\alpha, \alpha)

    where :math:`g_k` is the network up to a stage k and :math:`f_k` the rest of it. k is drawn for each batch from the
    image itself, the first ``stages`` of the backbone, and, with ``pooled``, its pooled features.

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`~evenface.methods.base.Method`. Stages are those that timm lists for a backbone, behind its stem.
    alpha : float, default=2.0
        Of Beta(alpha, alpha), at least 0.01.
    stages : int, default=2
        Stages of the backbone that may be mixed, >= 0; a backbone without a list of stages has none.
    pooled : bool, default=False
        Whether pooled features may be mixed as well.

    Raises
    ------
    InputError
        If the network recomputes its activations, which would not be mixed then.
    ValueError
        If an option is out of range.

    Notes
    -----
    There is one :math:`\lambda` per batch, and partners are drawn by shuffling the batch.

    References
    ----------
    Verma et al., *Manifold mixup: better representations by interpolating hidden states*, ICML 2019, sec. 2: layers
    0, 1 and 2 of a residual network with alpha 2.
    """

    modalities = ("images",)
    compiles = False

    def __init__(
        self, network: nn.Module, loss: nn.Module, alpha: float = 2.0, stages: int = 2, *, pooled: bool = False
    ) -> None:
        super().__init__(network, loss, alpha)
        if stages < 0:
            raise ValueError(f"stages must be a whole number of at least 0, got {stages}")
        if any("forward" in vars(module) for module in network.modules()):
            raise InputError("recomputed activations would not be mixed", "Set network.gradient_checkpointing: false.")
        self.stages_mixed, self.pooled = stage_names(network)[:stages], pooled

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Mix what a random early stage gives for each image with that for another, and give the mixed losses."""
        share, order = draw_share(self.alpha), torch.randperm(len(images)).to(images.device, non_blocking=True)

        def mixed(values: Tensor) -> Tensor:
            return torch.lerp(values[order], values, share)

        place = int(torch.randint(1 + len(self.stages_mixed) + self.pooled, ()))
        if place == 0:
            logits = self.network(mixed(images)).logits
        else:
            hook = self._hook(place - 1, mixed)
            try:
                logits = self.network(images).logits
            finally:
                hook.remove()
        first, second = self.loss(logits, targets), self.loss(logits, targets[order])
        return torch.lerp(second, first, share)

    def _hook(self, place: int, mixed: Callable[[Tensor], Tensor]) -> RemovableHandle:
        """Mix the output of a stage of the backbone, or what the classifier is given."""
        if place == len(self.stages_mixed):
            classifier: nn.Module = self.network.classifier  # type: ignore[assignment]
            return classifier.register_forward_pre_hook(lambda _module, inputs: (mixed(inputs[0]),))
        stage = self.network.get_submodule(self.stages_mixed[place])
        return stage.register_forward_hook(lambda _module, _inputs, output: mixed(output))


def stage_names(network: nn.Module) -> list[str]:
    """Return the names of the backbone's stages, first to last, without a first layer before them."""
    backbone = getattr(network, "backbone", None)
    if not isinstance(backbone, nn.Module):
        return []
    listed = [str(stage["module"]) for stage in getattr(backbone, "feature_info", [])]
    return [f"backbone.{name}" for name in listed if "." in name or list(backbone.get_submodule(name).children())]
