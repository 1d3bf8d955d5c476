"""Imbalance methods, one file each: what they change about training, and what stays at inference."""

from inspect import signature
from typing import Any, cast

import torch
from torch import nn

from evenface.losses.base import focal_form
from evenface.methods.adrw import ADRW
from evenface.methods.augmentation_curriculum import AugmentationCurriculum
from evenface.methods.balanced_contrastive import BalancedContrastive
from evenface.methods.base import AuxiliaryHead, Method, Stage, StepContext, Task
from evenface.methods.bbn import BBN
from evenface.methods.cc_sam import CCSAM
from evenface.methods.conr import ConR
from evenface.methods.corn import CORN
from evenface.methods.cutmix import CutMix
from evenface.methods.decoupled import CRT, LWS
from evenface.methods.dicc import DICC
from evenface.methods.disalign import DisAlign
from evenface.methods.drw import DRW
from evenface.methods.eac import EAC
from evenface.methods.erm import ERM
from evenface.methods.fds import FDS
from evenface.methods.frozen_then_tuned import FrozenThenTuned
from evenface.methods.group_dro import GroupDRO
from evenface.methods.group_weights import GroupWeights
from evenface.methods.identity_adversarial import IdentityAdversarial
from evenface.methods.label_distribution import LabelDistribution
from evenface.methods.lort import LORT
from evenface.methods.manifold_mixup import ManifoldMixup
from evenface.methods.mek import MEK
from evenface.methods.mislas import MiSLAS
from evenface.methods.mixup import Mixup
from evenface.methods.one_vs_all import OneVsAll
from evenface.methods.ordinal import Ordinal
from evenface.methods.paco import PaCo
from evenface.methods.ranksim import RankSim
from evenface.methods.rebalanced_attention import RebalancedAttention
from evenface.methods.regression import Regression
from evenface.methods.remix import Remix
from evenface.methods.rul import RUL
from evenface.methods.sade import SADE
from evenface.methods.sam import SAM, ImbSAM
from evenface.methods.scn import SCN
from evenface.methods.tau_norm import TauNorm
from evenface.methods.weight_balancing import WeightBalancing
from evenface.utils.errors import InputError
from evenface.utils.registry import Registry, construct

__all__ = [
    "ADRW",
    "BBN",
    "CCSAM",
    "CORN",
    "CRT",
    "DICC",
    "DRW",
    "EAC",
    "ERM",
    "FDS",
    "LORT",
    "LWS",
    "MEK",
    "METHODS",
    "RUL",
    "SADE",
    "SAM",
    "SCN",
    "AugmentationCurriculum",
    "BalancedContrastive",
    "ConR",
    "CutMix",
    "DisAlign",
    "FrozenThenTuned",
    "GroupDRO",
    "GroupWeights",
    "IdentityAdversarial",
    "ImbSAM",
    "LabelDistribution",
    "ManifoldMixup",
    "Method",
    "MiSLAS",
    "Mixup",
    "OneVsAll",
    "Ordinal",
    "PaCo",
    "RankSim",
    "RebalancedAttention",
    "Regression",
    "Remix",
    "Stage",
    "StepContext",
    "Task",
    "TauNorm",
    "WeightBalancing",
    "build_method",
    "register_method",
]

METHODS: Registry[type[Method]] = Registry(
    "method",
    {
        "augmentation-curriculum": AugmentationCurriculum,
        "adrw": ADRW,
        "balanced-contrastive": BalancedContrastive,
        "bbn": BBN,
        "cc-sam": CCSAM,
        "conr": ConR,
        "corn": CORN,
        "crt": CRT,
        "cutmix": CutMix,
        "dicc": DICC,
        "disalign": DisAlign,
        "drw": DRW,
        "eac": EAC,
        "erm": ERM,
        "fds": FDS,
        "frozen-then-tuned": FrozenThenTuned,
        "group-dro": GroupDRO,
        "group-weights": GroupWeights,
        "identity-adversarial": IdentityAdversarial,
        "imb-sam": ImbSAM,
        "label-distribution": LabelDistribution,
        "lort": LORT,
        "lws": LWS,
        "manifold-mixup": ManifoldMixup,
        "mek": MEK,
        "mislas": MiSLAS,
        "mixup": Mixup,
        "one-vs-all": OneVsAll,
        "ordinal": Ordinal,
        "paco": PaCo,
        "ranksim": RankSim,
        "rebalanced-attention": RebalancedAttention,
        "regression": Regression,
        "remix": Remix,
        "rul": RUL,
        "sade": SADE,
        "sam": SAM,
        "scn": SCN,
        "tau-norm": TauNorm,
        "weight-balancing": WeightBalancing,
    },
)


def register_method(name: str, method: type[Method]) -> None:
    """Register a method under a name.

    Parameters
    ----------
    name : str
        What recipes call it.
    method : type
        A subclass of :class:`Method`, built as ``method(network, loss, **options)``. If its constructor takes
        ``task`` it is given a :class:`Task`.

    Raises
    ------
    ValueError
        If the name is taken by another method. The same class of the same file may come again; the last one counts.
    """
    METHODS.register(name, method)


def build_method(
    name: str, network: nn.Module, loss: nn.Module, *, task: Task, seed: int = 0, **options: Any
) -> Method:
    """Build a method by its name.

    Parameters
    ----------
    name : str
        One of :data:`METHODS`.
    network, loss : nn.Module
        See :class:`Method`.
    task : Task
        What is known of the training data; given to methods whose constructor takes ``task``.
    seed : int
        Fixes the initial weights of a method's own heads; the global random state is neither read nor changed.
    **options
        The method's own parameters.

    Returns
    -------
    Method

    Raises
    ------
    InputError
        If the name or an option is unknown, or a value cannot be.
    """
    method = METHODS[name]
    _check_requirements(name, method, loss, task)
    given = {"network": network, "loss": loss, **({"task": task} if "task" in signature(method).parameters else {})}
    auxiliary = None
    with torch.random.fork_rng(devices=[]):
        if task.auxiliary is not None and task.auxiliary.shape[1]:
            torch.manual_seed(seed)
            classifier = cast(nn.Linear, network.classifier)
            auxiliary = AuxiliaryHead(classifier.in_features, task.auxiliary, task.auxiliary_weight)
        torch.manual_seed(seed)
        built = construct("method", name, method, options, given)
    built.link, built.auxiliary = task.link, auxiliary
    return built


def _check_requirements(name: str, method: type[Method], loss: nn.Module, task: Task) -> None:
    """Refuse a task, a loss or training data that the method declares it cannot have."""
    if task.kind not in method.tasks:
        usable = ", ".join(sorted(known for known, other in METHODS.items() if task.kind in other.tasks))
        raise InputError(f"method {name!r} is not for {task.kind} tasks", f"Use {usable}.")
    if method.one_vs_rest != getattr(loss, "one_vs_rest", False):
        raise InputError(
            f"method {name!r}: the loss must {'' if method.one_vs_rest else 'not '}be a sum over classes, one against "
            "the rest (OneVsRestLoss)"
        )
    if method.needs_votes and task.votes is None:
        raise InputError(
            f"method {name!r}: this data set has no votes of annotators",
            "Use a source that has them, such as ferplus, or a table with a column votes_<class> for every class.",
        )
    if method.needs_ordered_classes and not task.ordered:
        raise InputError(
            f"method {name!r}: the classes ({', '.join(task.names)}) are not known to be steps of one scale",
            "It is for sources of ordered levels, such as levels of pain. Use method.name=erm for other classes.",
        )
    form = focal_form(loss, len(task.counts)) if method.class_weights_only else None
    if method.class_weights_only and (form is None or form.gamma or form.shift is not None):
        raise InputError(
            f"method {name!r}: it has an error of its own and takes only class weights from the recipe's loss",
            "Set loss.name=cross-entropy; loss.alpha weighs the classes.",
        )
