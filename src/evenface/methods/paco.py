"""Parametric contrastive learning (PaCo): class centres in a contrastive loss over a momentum queue."""

import copy
import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evenface.data.imbalance import imbalance_ratios
from evenface.losses.base import at_least_float32, focal_form, weighted
from evenface.methods.attention_consistency import TRANSFORMS, check_share, check_weight
from evenface.methods.balanced_contrastive import check_temperature, projection_head
from evenface.methods.base import Method, Task, all_gather_cat
from evenface.utils.registry import find


class PaCo(Method):
    r"""Parametric contrastive learning.

    .. math::
        L = -\frac{1}{1 + \alpha |P|} \left[\log p(c_y) + \alpha \sum_{k \in P} \log p(k)\right], \quad
        p(c_j) \propto \pi_j e^{z_j}, \quad p(k) \propto e^{u u_k / \tau}

    where p is one softmax over the classes and all projections that the sample is compared with: those of the others
    of the batch, of second views by a momentum encoder (the keys), and of a queue of earlier keys. P are those of its
    class; projections u have length 1, and :math:`\pi` are the training shares.

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`~evenface.methods.base.Method`. Of the loss, which must be (weighted) cross-entropy, only the class
        weights are used.
    task : Task
        Its counts give the class shares.
    alpha : float, default=0.01
        :math:`\alpha`, >= 0: weight of a positive, where that of the class is 1.
    temperature : float, default=0.2
        :math:`\tau`, above 0.
    queue : int, default=1024
        Number of earlier keys that are kept.
    momentum : float, default=0.999
        What the momentum encoder keeps of its weights at each step, from 0 to 1.
    width : int, default=128
        Length of a projection.
    transform : str, default="horizontal-flip"
        How the second view is made, see :data:`.TRANSFORMS`.

    Raises
    ------
    InputError
        If a class has no sample or ``transform`` is unknown.
    ValueError
        If a number is out of range.

    Notes
    -----
    The authors' queue begins with random keys of random classes; here it begins empty. Their two views are augmented
    separately, and their projection has a batch norm; here the second view is the transform of the augmented image,
    and the projection has none, so that a batch of one sample trains. Several devices share one queue; each compares
    its own part of the batch.

    References
    ----------
    Cui et al., *Parametric contrastive learning*, ICCV 2021, sec. 3. Weight and queue are those of the authors' program
    for CIFAR-100-LT, of smaller data; temperature and width those for ImageNet-LT.
    """

    modalities = ("images",)
    cached_features = False
    class_weights_only = True
    uses_all_parameters = False  # the momentum encoder has no gradient
    prior_reason = "balanced softmax"
    training_only = (
        *Method.training_only,
        *("projection.", "key_network.", "key_projection.", "keys", "key_labels", "place"),
    )
    log_shares: Tensor
    keys: Tensor
    key_labels: Tensor
    place: Tensor

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        task: Task,
        alpha: float = 0.01,
        temperature: float = 0.2,
        queue: int = 1024,
        momentum: float = 0.999,
        width: int = 128,
        transform: str = "horizontal-flip",
    ) -> None:
        super().__init__(network, loss)
        find("view", transform, TRANSFORMS)
        if queue < 1:
            raise ValueError(f"queue must be at least 1, got {queue}")
        self.alpha, self.temperature = check_weight("alpha", alpha), check_temperature(temperature)
        self.momentum, self.transform = check_share("momentum", momentum), transform
        self.projection = projection_head(network.classifier.in_features, width, normalise=False)  # type: ignore[union-attr,arg-type]
        self.key_network = copy.deepcopy(network).requires_grad_(requires_grad=False)
        self.key_projection = copy.deepcopy(self.projection).requires_grad_(requires_grad=False)
        self.register_buffer("keys", torch.zeros(queue, width))
        self.register_buffer("key_labels", torch.full((queue,), -1))  # -1 where there is no key yet
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))
        # From the data set on every start, so not part of what is stored.
        log_shares = -np.log1p(imbalance_ratios(task.counts, task.names))
        self.register_buffer("log_shares", torch.tensor(log_shares, dtype=torch.float32), persistent=False)

    def prior_factor(self, counts: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return 1 over the counts, as the logits are adjusted by the shares."""
        return 1.0 / np.maximum(np.asarray(counts, dtype=np.float64), 1)

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the contrast of each sample, and update the momentum encoder and the queue."""
        outputs = self.network(images)
        keys = self.encode_keys(TRANSFORMS[self.transform](images).images)
        value = parametric_contrast(
            at_least_float32(outputs.logits) + self.log_shares,
            self.projection(outputs.features),
            torch.cat([keys, self.keys.to(keys)]),
            torch.cat([targets, self.key_labels]),
            targets,
            alpha=self.alpha,
            temperature=self.temperature,
        )
        self.enqueue(keys, targets)
        form = focal_form(self.loss, len(self.log_shares))
        return weighted(value, targets, None if form is None else form.alpha)

    @torch.no_grad()
    def encode_keys(self, images: Tensor) -> Tensor:
        """Move the momentum encoder towards the network, and return the keys of images, ``(B, D)``."""
        pairs = ((self.key_network, self.network), (self.key_projection, self.projection))
        for slow, fast in pairs:
            for old, new in zip(slow.parameters(), fast.parameters(), strict=True):
                old.lerp_(new, 1 - self.momentum)
        return F.normalize(at_least_float32(self.key_projection(self.key_network(images).features)), dim=1)

    @torch.no_grad()
    def enqueue(self, keys: Tensor, targets: Tensor) -> None:
        """Replace the oldest keys of the queue by those of all processes."""
        size = len(self.keys)
        new, labels = all_gather_cat(keys)[-size:], all_gather_cat(targets)[-size:]
        places = (self.place + torch.arange(len(new), device=new.device)) % size
        self.keys[places], self.key_labels[places] = new.to(self.keys), labels
        self.place.copy_((self.place + len(new)) % size)


def parametric_contrast(
    logits: Tensor,
    queries: Tensor,
    keys: Tensor,
    key_labels: Tensor,
    targets: Tensor,
    *,
    alpha: float,
    temperature: float,
) -> Tensor:
    """Compute the contrast of each query with the classes, the other queries and the keys.

    Parameters
    ----------
    logits : Tensor of shape (B, C)
        Adjusted by the class shares.
    queries, keys : Tensor of shape (B, D), (K, D)
        Projections of any length.
    key_labels : Tensor of shape (K,)
        Classes of the keys, -1 for places without a key.
    targets : Tensor of shape (B,)
        True classes.
    alpha, temperature : float
        See :class:`PaCo`.

    Returns
    -------
    Tensor of shape (B,)
    """
    labels = torch.cat([targets, key_labels])
    own = torch.eye(len(targets), len(labels), dtype=torch.bool, device=targets.device)
    left_out = own | (labels < 0)
    with torch.autocast(queries.device.type, enabled=False):  # a product of matrices would be rounded to 16 bits
        unit = F.normalize(at_least_float32(queries), dim=1)
        similar = unit @ torch.cat([unit, F.normalize(keys.to(unit), dim=1)]).T / temperature
        log_p = torch.cat([logits, similar.masked_fill(left_out, -math.inf)], dim=1).log_softmax(dim=1)
    true = F.one_hot(targets, logits.shape[1])
    weight = torch.cat([true, alpha * ((targets[:, None] == labels) & ~own)], dim=1)
    return -(weight * log_p.masked_fill(weight == 0, 0)).sum(dim=1) / weight.sum(dim=1)
