"""Classes divided by the distance to their centre, and led together again: dynamic intra-class clustering."""

import itertools
from collections.abc import Sequence

from torch import Tensor, nn

from evenface.losses.base import true_log_probability, weighted
from evenface.methods.base import Method, Task
from evenface.methods.clustering import Clusters, Subclasses, subclass_counts
from evenface.methods.rest import at_rest
from evenface.registry import find


class DICC(Method):
    r"""Dynamic intra-class clustering.

    The network learns pseudo-classes (phase 1), a small network learns which class they belong to (phase 2):

    .. math:: L_1 = -\alpha_y \log p_{\tilde y}(z), \qquad L_2 = \ell(g(\mathrm{sg}[z]), y)

    where z are the logits of all pseudo-classes, :math:`\tilde y` is the pseudo-label, g the mapping network,
    :math:`\ell` the given loss and sg stops the gradient.

    Parameters
    ----------
    network, loss : nn.Module
        See :class:`Method`. The network gets a new classifier for the pseudo-classes.
    task : Task
        Classes, their training samples and the batch size.
    subclasses : "auto", mapping or sequence
        How many each class is divided into, see :func:`evenface.methods.clustering.subclass_counts`. Where no class
        is divided, training is that of the network and the loss alone.
    ema : {"smooth", "literal"}
        Whether a running centre gives ``decay`` to its past, or to the new batch as the source's formula does.
    decay : float, default=0.99
        From 0 to 1.
    partition : {"distance", "rank"}
        Equal intervals of distance (the source's text), or the order of distances (its Algorithm 1).
    alternate : {"batch", "epoch"}
        Both phases at every step, or the first in even epochs and the second in odd ones, counted from 0.
    hidden : sequence of 2 int
        Widths of the mapping network's two hidden layers.

    Raises
    ------
    InputError
        If ``subclasses`` does not suit the classes, or another option is not as above.

    Notes
    -----
    The value is L_1 + L_2 where both phases are taken at a step: they have no parameter in common, so each moves what
    it would move alone. Class weights of the loss (a buffer ``alpha``, of its own or of a part) are those of the true
    class in both phases. While the mapping network learns alone (``epoch``), the other one works as at prediction.

    References
    ----------
    Li et al., *Optimizing class imbalance in facial expression recognition using dynamic intra-class clustering*,
    Biomimetics 2025, section 3.
    """

    exact_prior = True

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        task: Task,
        subclasses: Subclasses = "auto",
        ema: str = "smooth",
        decay: float = 0.99,
        partition: str = "distance",
        alternate: str = "batch",
        hidden: Sequence[int] = (128, 128),
    ) -> None:
        super().__init__(network, loss)
        if not 0 <= decay <= 1:
            raise ValueError(f"decay must be from 0 to 1, got {decay}")
        if len(hidden) != 2 or min(hidden) < 1:
            raise ValueError(f"hidden must be two widths of at least 1, got {list(hidden)}")
        weight = find("average", ema, {"smooth": 1 - decay, "literal": decay})
        by_epoch = find("alternation", alternate, {"batch": False, "epoch": True})
        sizes = subclass_counts(subclasses, task)
        self.clusters: Clusters | None = None
        if max(sizes) == 1:
            return
        self.by_epoch = by_epoch
        self.moves_all = not by_epoch
        self.training_only = (*self.training_only, "clusters.")
        self.clusters = Clusters(sizes, network.classifier.in_features, weight, partition)  # type: ignore[union-attr,arg-type]
        network.reset_classifier(sum(sizes))  # type: ignore[operator]
        self.mapping = _mlp([sum(sizes), *hidden, len(sizes)])

    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Give the loss of the phases that are due, one value per sample."""
        if self.clusters is None:
            return self._loss(self.network(images).logits, targets)
        if self.by_epoch and self.now.epoch % 2:
            with at_rest(self.network):
                logits = self.network(images).logits
            return self._loss(self.mapping(logits), targets)
        outputs = self.network(images)
        pseudo = self.clusters(outputs.features, targets)
        first = weighted(-true_log_probability(outputs.logits, pseudo), targets, self._class_weights())
        return first if self.by_epoch else first + self._loss(self.mapping(outputs.logits.detach()), targets)

    def logits(self, images: Tensor) -> Tensor:
        """Give the logits of the true classes, ``(B, C)``."""
        logits: Tensor = self.network(images).logits
        return logits if self.clusters is None else self.mapping(logits)

    def _loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        loss: Tensor = self.loss(logits, targets)
        return loss

    def _class_weights(self) -> Tensor | None:
        found = (value for name, value in self.loss.named_buffers() if name.split(".")[-1] == "alpha")
        return next(found, None)


def _mlp(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inner, outer in itertools.pairwise(widths):
        layers += [nn.Linear(inner, outer), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
