"""Imbalance methods, one file each."""

import inspect
from typing import Any

import numpy.typing as npt
import torch
from torch import nn

from evenface.errors import InputError
from evenface.methods.base import Method
from evenface.methods.plain import Plain
from evenface.registry import check_options, find

__all__ = ["METHODS", "Method", "Plain", "build_method"]

METHODS: dict[str, type[Method]] = {"plain": Plain}


def build_method(
    name: str, network: nn.Module, loss: nn.Module, *, counts: npt.ArrayLike, seed: int = 0, **options: Any
) -> Method:
    """Build a method by its name.

    Parameters
    ----------
    name : str
        One of :data:`METHODS`.
    network, loss : nn.Module
        See :class:`Method`.
    counts : array_like of shape (C,)
        Training samples of each class; given to methods whose constructor takes ``counts``.
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
    method = find("method", name, METHODS)
    parameters = set(inspect.signature(method).parameters) - {"network", "loss"}
    check_options("method", name, options, parameters - {"counts"})
    if "counts" in parameters:
        options["counts"] = counts
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return method(network, loss, **options)
        except InputError:
            raise
        except (TypeError, ValueError) as error:
            raise InputError(f"method {name!r}: {error}") from error
