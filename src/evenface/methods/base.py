"""Base of methods: a network, a loss, the training loss made of them, and what a method declares."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, distributed, nn

from evenface.data.manifest import TARGET_TASKS, TaskKind
from evenface.losses.base import at_least_float32
from evenface.losses.squared_error import SquaredErrorLoss
from evenface.utils.errors import InputError

Modality = Literal["images", "clips", "sequences"]


@dataclass(frozen=True)
class TrainingPeople:
    """Whom the N training samples are of, and what they show.

    Parameters
    ----------
    attributes : mapping of str to sequence of N str
        ``subject``, and attributes of people such as ``sex``; empty where a value is missing.
    labels : sequence of N int
        Class, or stratum of targets, of each sample.
    strata : tuple of str
        Names of these classes or strata.
    """

    attributes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    labels: Sequence[int] = ()
    strata: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """What a method may know of its training before it begins.

    Parameters
    ----------
    counts : ndarray of shape (C,)
        Training samples of each class.
    names : tuple of str
        The classes.
    batch_size : int
        Samples of one step over all devices together.
    votes : Tensor of shape (N, C), optional
        Votes of the annotators for each training sample, where the data set has them.
    ordered : bool
        Whether the classes are steps of one scale, in the order of the labels.
    random_start : bool
        Whether the network starts from random weights, not from some that were trained.
    kind : {"classification", "ordinal", "regression", "multilabel"}
        What is predicted.
    targets : ndarray of shape (N, T), optional
        Regression and multi-label: the training targets, NaN where missing; ``names`` are then theirs, and ``counts``
        those of the strata.
    people : TrainingPeople
        Whom the training samples are of.
    auxiliary : ndarray of shape (N, A), optional
        Training values of targets that are predicted beside classes, NaN where missing.
    auxiliary_weight : float
        Factor of their loss.
    """

    counts: np.ndarray
    names: tuple[str, ...]
    batch_size: int
    votes: Tensor | None = None
    ordered: bool = False
    random_start: bool = False
    kind: TaskKind = "classification"
    targets: np.ndarray | None = None
    people: TrainingPeople = TrainingPeople()
    auxiliary: np.ndarray | None = None
    auxiliary_weight: float = 1.0

    @property
    def samples(self) -> int:
        """Number N of training samples."""
        return int(np.sum(self.counts))

    @cached_property
    def link(self) -> "TargetLink | None":
        """Of regression and multi-label: what links the targets with the network's outputs."""
        return TargetLink(self.kind, len(self.names), self.targets) if self.kind in TARGET_TASKS else None


@dataclass(frozen=True)
class Stage:
    """A stage of training, of whole epochs, with its own learning-rate schedule and optimiser state.

    Parameters
    ----------
    share : float
        Of all epochs; the shares of a method's stages sum to 1.
    sampling : str, optional
        Takes the place of the recipe's ``training.sampling``.
    """

    share: float
    sampling: str | None = None


@dataclass(frozen=True)
class StepContext:
    """Position of a training step, and its inputs beside images and targets.

    Parameters
    ----------
    epoch, step : int
        From 0.
    epochs, steps : int
        Epochs of the run and steps of each.
    indices : Tensor of shape (B,)
        int64, index of each image among the N training samples, the same in every epoch.
    second : tuple of Tensor, optional
        Images and targets of another B samples, drawn by the method's ``second_sampling``.
    """

    epoch: int
    step: int
    epochs: int
    steps: int
    indices: Tensor
    second: tuple[Tensor, Tensor] | None = None

    @property
    def progress(self) -> float:
        """Share of the run that is done, from 0 to below 1."""
        return (self.epoch + self.step / self.steps) / self.epochs


class TargetLink(nn.Module):
    """Link between targets and the network's outputs: standardised values of a regression, or logits of presence.

    Parameters
    ----------
    kind : {"regression", "multilabel"}
        The task.
    outputs : int
        Number T of targets.
    targets : ndarray of shape (N, T), optional
        Training targets, NaN where missing, whose mean and standard deviation standardise those of a regression.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, kind: TaskKind, outputs: int, targets: np.ndarray | None = None) -> None:
        super().__init__()
        self.kind = kind
        mean, scale = np.zeros(outputs), np.ones(outputs)
        if targets is not None and kind == "regression":
            mean, scale = np.nanmean(targets, axis=0), np.nanstd(targets, axis=0)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(np.where(scale > 0, scale, 1), dtype=torch.float32))

    def encode(self, targets: Tensor) -> Tensor:
        """Return targets in the scale of the network's outputs, ``(B, T)``."""
        return targets if self.kind == "multilabel" else (targets - self.mean) / self.scale

    def forward(self, logits: Tensor) -> Tensor:
        """Return probabilities, or values in the unit of the targets, of the network's outputs, ``(B, T)``."""
        logits = at_least_float32(logits)
        return logits.sigmoid() if self.kind == "multilabel" else logits * self.scale + self.mean


class AuxiliaryHead(nn.Module):
    """Linear head that predicts the values of further targets from a network's features, beside the classes.

    Parameters
    ----------
    width : int
        Length D of the features.
    targets : ndarray of shape (N, T)
        Targets of the training samples, NaN where missing; their mean and standard deviation standardise them.
    weight : float
        Factor of its loss.
    """

    targets: Tensor

    def __init__(self, width: int, targets: np.ndarray, weight: float = 1.0) -> None:
        super().__init__()
        self.link = TargetLink("regression", targets.shape[1], targets)
        self.linear = nn.Linear(width, targets.shape[1])
        self.error, self.weight = SquaredErrorLoss(), weight
        encoded = self.link.encode(torch.as_tensor(targets, dtype=torch.float32))
        self.register_buffer("targets", encoded, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return the values of the targets in their own unit, ``(B, D) -> (B, T)``."""
        return cast(Tensor, self.link(self.linear(features)))

    def loss(self, features: Tensor, indices: Tensor) -> Tensor:
        """Compute the squared error of standardised targets, for training samples at ``indices``, ``(B,)``."""
        return self.weight * cast(Tensor, self.error(self.linear(features), self.targets[indices]))


def host_flag(method: nn.Module, buffer: str, name: str) -> None:
    """Keep the value of a boolean buffer also as an attribute: reading the buffer would make the host wait each step.

    Loading a checkpoint sets it; whoever changes the buffer changes it too.
    """

    def read(module: nn.Module, _keys: object = None) -> None:
        setattr(module, name, bool(getattr(module, buffer)))

    read(method)
    method.register_load_state_dict_post_hook(read)  # type: ignore[no-untyped-call]


class Method(nn.Module, ABC):
    """A network and the way it is trained. Subclasses give :meth:`training_loss`.

    Parameters
    ----------
    network : nn.Module
        ``images (B, channels, H, W) -> Outputs(logits, features, maps)``; or clips ``(B, T, channels, H, W)``, or
        stored features ``(B, D)`` of stills and ``(B, T, D)`` of clips.
    loss : nn.Module
        ``(logits (B, C), targets (B,)) -> (B,)``.

    A subclass with heads of its own gives :meth:`logits` too; one whose probabilities are no softmax, :meth:`predict`.

    Attributes
    ----------
    training_only : tuple of str
        How the names of tensors begin that prediction does not need. A method with heads of its own adds them here,
        unless it predicts by them.
    stages : tuple of Stage
        One after the other; :meth:`begin_stage` is called before each but the first. Weights are selected in the last.
    second_sampling : str or None
        How a second batch is drawn for each step, by a name of :func:`evenface.data.imbalance.sampling_probabilities`.
        Where both batches are drawn by ``none``, they have the same samples, each with an augmentation of its own.
    measures : tuple of str
        What it measures while it trains: names of the values of :meth:`end_epoch`.
    uses_all_parameters : bool
        Whether every step gives every parameter a gradient. Several devices have to know.
    tasks : tuple of {"classification", "ordinal", "regression", "multilabel"}
        What it can predict.
    link : TargetLink or None
        Of regression and multi-label: from targets to the scale of the network's outputs, and from outputs to
        predictions.
    auxiliary : AuxiliaryHead or None
        Predicts further targets beside the classes.
    takes_auxiliary : bool
        Whether it can have an auxiliary head: its training loss is then :meth:`network_loss`, and it predicts by the
        softmax of the network's logits.
    modalities : tuple of {"images", "clips", "sequences"}
        What it can learn from. ``sequences`` needs a training loss that is the loss of the network's logits and no
        options, as many networks of sequences are trained as one.
    cached_features : bool
        Whether it can learn from features that a frozen backbone computed once; not if it changes images itself.
    compiles : bool
        Whether its network may be compiled for training; not if a step changes what the network computes, by hooks, or
        gives it another number of images.
    needs_maps : bool
        Whether it needs the network's last maps of single images.
    needs_votes : bool
        Whether it needs the annotators' votes for each training sample.
    needs_ordered_classes : bool
        Whether the classes must be steps of one scale; :meth:`outputs` has a value on that scale then.
    class_weights_only : bool
        Whether it takes nothing but class weights from the loss, which must be (weighted) cross-entropy then.
    allows_absent_classes : bool
        Whether some class may have no training sample.
    one_vs_rest : bool
        Whether each class is a binary problem against the rest: the loss is a sum over classes, and :meth:`scores`
        are kept beside the probabilities.
    exact_prior : bool
        Whether the method leaves the minimum of its loss what it is, but for :meth:`prior_factor`: then probabilities
        hold, up to a temperature, for a class prior that follows from counts, sampling, loss and that factor. A
        subclass inherits it, and declares its own where it changes the minimum.
    prior_reason : str
        What :meth:`prior_factor` comes from, in words.
    ctx : StepContext
        Set before each step.

    Notes
    -----
    The training loop keeps four promises, on which methods rest:

    - It calls the method itself (:meth:`forward`), takes the mean over samples and steps all parameters. Those that
      a step gives no gradient are left alone, so a method with phases detaches what a phase shall not move.
    - It seeds torch before every step, so a method draws by torch's own generator and stays resumable.
    - It stores and restores ``state_dict()``: whatever a method remembers (centres, counters) is a buffer.
    - Images are as augmentation left them; a method makes further views itself.
    """

    training_only: tuple[str, ...] = ("loss.",)
    stages: tuple[Stage, ...] = (Stage(1.0),)
    second_sampling: str | None = None
    measures: tuple[str, ...] = ()
    uses_all_parameters: bool = True
    tasks: tuple[TaskKind, ...] = ("classification", "ordinal")
    takes_auxiliary: bool = False
    modalities: tuple[Modality, ...] = ("images", "clips")
    cached_features: bool = True
    compiles: bool = True
    needs_maps: bool = False
    needs_votes: bool = False
    needs_ordered_classes: bool = False
    class_weights_only: bool = False
    allows_absent_classes: bool = False
    one_vs_rest: bool = False
    exact_prior: bool = False
    prior_reason: str = ""
    ctx: StepContext

    def __init__(self, network: nn.Module, loss: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.link: TargetLink | None = None
        self.auxiliary: AuxiliaryHead | None = None

    @abstractmethod
    def training_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the training loss of each sample.

        Parameters
        ----------
        images : Tensor of shape (B, channels, H, W), or another that the network takes
            Floating point, from 0 to 1.
        targets : Tensor of shape (B,)
            True classes, int64. Of regression and multi-label float32 of shape (B, T), NaN where missing.

        Returns
        -------
        Tensor of shape (B,)
        """

    def network_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of the network's own logits and of the auxiliary head, one value per sample, ``(B,)``."""
        outputs = self.network(images)
        loss: Tensor = self.loss(outputs.logits, self.encode(targets))
        return loss if self.auxiliary is None else loss + self.auxiliary.loss(outputs.features, self.ctx.indices)

    def encode(self, targets: Tensor) -> Tensor:
        """Return targets in the scale of the network's outputs; classes as they are."""
        return targets if self.link is None else self.link.encode(targets)

    def begin_stage(self, stage: int) -> None:
        """Prepare stage number ``stage`` >= 1, for example by resetting weights."""

    def end_epoch(self) -> dict[str, float]:
        """Return the ``measures`` of the epoch that ends, by name; what they are computed from is a buffer."""
        return {}

    def prior_factor(self, counts: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the factor by which the method, beyond its loss and its last stage's sampling, changes the prior.

        Parameters
        ----------
        counts : array_like of shape (C,)
            Training samples of each class.

        Returns
        -------
        ndarray of shape (C,), float64
            Up to a common factor; here 1.
        """
        return np.ones(len(np.asarray(counts)))

    def training_notes(self, epochs: int) -> list[str]:  # noqa: ARG002  for subclasses
        """Return what a reader must know of how this training went; it goes into the run's notes and its log.

        Parameters
        ----------
        epochs : int
            Epochs that were trained.
        """
        return []

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        """Compute :meth:`training_loss`; wrappers for several devices work on this call."""
        return self.training_loss(images, targets)

    def predict(self, images: Tensor) -> Tensor:
        """Compute the probability of each class.

        The caller chooses evaluation mode and switches gradients off (or keeps them, to explain).

        Parameters
        ----------
        images : Tensor of shape (B, channels, H, W), or another that the network takes
            Floating point, from 0 to 1.

        Returns
        -------
        Tensor of shape (B, C)
            At least float32; each row sums to 1. Of multi-label the probability of each target, of regression its
            value, ``(B, T)``.
        """
        if self.link is not None:
            return cast(Tensor, self.link(self.logits(images)))
        if self.one_vs_rest:
            return shares(self.scores(images))
        return probabilities(self.logits(images))

    def logits(self, images: Tensor) -> Tensor:
        """Compute the logits that :meth:`predict` takes the softmax of, ``(B, C)``; unused where it is overridden."""
        logits: Tensor = self.network(images).logits
        return logits

    def class_scores(self, images: Tensor) -> Tensor:
        """Compute the score of each class to be explained, increasing in what is predicted for the class.

        Parameters
        ----------
        images : Tensor of shape (B, channels, H, W), or another that the network takes
            Floating point, from 0 to 1.

        Returns
        -------
        Tensor of shape (B, C)
            Logits before the softmax; log-odds of the scores where each class is detected by itself; logarithms of
            the probabilities where a method makes those in a way of its own.
        """
        if self.one_vs_rest:
            return self.scores(images).logit(1e-7)
        if self.link is not None:
            return self.logits(images)
        if type(self).predict is Method.predict:
            return self.logits(images)
        return self.predict(images).clamp_min(1e-12).log()

    def scores(self, images: Tensor) -> Tensor:
        """Compute the scores, ``(B, C)``: probabilities, or each binary classifier's own if ``one_vs_rest``."""
        return self.predict(images)

    def with_auxiliary(self, images: Tensor) -> Tensor:
        """Compute the :meth:`scores`, followed by the values of auxiliary targets if there are any, ``(B, C + T)``."""
        if self.auxiliary is None:
            return self.scores(images)
        outputs = self.network(images)
        values = self.auxiliary(outputs.features)
        return torch.cat([probabilities(outputs.logits).to(values.dtype), values], dim=1)

    def outputs(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the :meth:`scores`, ``(B, C)``, and the place on the scale of the classes, ``(B,)``.

        The second is what regression and ordinal methods predict, in the values of the levels
        (:func:`evenface.data.labels.level_values`); other methods have None.
        """
        return self.scores(images), None

    def inference_state(self) -> dict[str, Tensor]:
        """Return the tensors that prediction needs, by name."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith(self.training_only)}

    def load_inference_state(self, state: Mapping[str, Tensor]) -> None:
        """Load the tensors of :meth:`inference_state`; training-only ones keep their values.

        Raises
        ------
        InputError
            If names or shapes are not those of this method and network. Nothing is changed then.
        """
        own = self.inference_state()
        wrong = sorted(own.keys() ^ state.keys())
        wrong += [name for name in own if name in state and own[name].shape != state[name].shape]
        if wrong:
            raise InputError(
                f"the weights are not those of this network: {len(wrong)} tensors differ, first {wrong[0]}",
                "Use the recipe that they were trained with.",
            )
        self.load_state_dict(dict(state), strict=False)


def probabilities(logits: Tensor) -> Tensor:
    """Compute softmax probabilities in at least 32 bits, ``(B, C) -> (B, C)``."""
    return at_least_float32(logits).softmax(dim=-1)


def shares(scores: Tensor) -> Tensor:
    """Divide the scores of each sample by their sum, ``(B, C) -> (B, C)``; where all are 0, every class alike."""
    total = scores.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, scores / total, 1 / scores.shape[-1])


def loss_of_each_class(loss: nn.Module, logits: Tensor) -> Tensor:
    """Compute the loss as if each class in turn were the true one, ``(B, C) -> (B, C)``."""
    rows, classes = logits.shape
    each = torch.arange(classes, device=logits.device).repeat(rows)
    values: Tensor = loss(logits.repeat_interleave(classes, dim=0), each)
    return values.view(rows, classes)


@contextmanager
def frozen_eval(network: nn.Module) -> Iterator[None]:
    """Run a network in eval mode and without gradients; afterwards it is back in its mode."""
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(training)
        # Torch before 2.10 keeps weights that were cast under no_grad, and later uses of them would get no gradient.
        torch.clear_autocast_cache()


def all_gather_cat(values: Tensor) -> Tensor:
    """Concatenate the tensors of all processes in the order of their ranks; of a single process, return ``values``."""
    if not _several_processes():
        return values
    parts = [torch.empty_like(values) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, values.contiguous())
    return torch.cat(parts)


def rank_slice(rows: int) -> slice:
    """Return the slice of this process's rows in :func:`all_gather_cat`, all processes having equally many."""
    start = distributed.get_rank() * rows if _several_processes() else 0
    return slice(start, start + rows)


def _several_processes() -> bool:
    return distributed.is_available() and distributed.is_initialized()
