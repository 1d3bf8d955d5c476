"""Compile the network of a method for its training steps, and check beforehand whether that is possible here."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from evenface.config import Recipe
from evenface.methods import METHODS
from evenface.utils.errors import InputError

WITHOUT = "Set training.compile: none."
SHAPES = 64
"""Shapes and modes that one network is compiled for before torch would go on without compiling."""
OLDEST_CAPABILITY = (7, 0)
"""CUDA compute capability that Triton, which torch.compile writes its GPU code in, needs."""


class CompiledForward:
    """A network's forward pass, compiled where ``setting`` asks for it, for the time of a training step.

    Parameters
    ----------
    network : nn.Module
        Its parameters, buffers and the names of both stay as they are: a checkpoint does not depend on compilation.
    setting : {"none", "default", "reduce-overhead"}
        ``training.compile``.

    Notes
    -----
    Validation and prediction outside :meth:`applied` use the network as it is, like a model that is loaded from a run.
    Each size of images is compiled by itself: what is computed does not depend on the sizes seen before, which a
    resumed run has not seen.
    """

    def __init__(self, network: nn.Module, setting: str) -> None:
        self.network = network
        self._forward = None
        if setting != "none":
            self._forward = torch.compile(network.forward, mode=setting, dynamic=False)
            torch._dynamo.config.recompile_limit = SHAPES
        self._graphs = setting == "reduce-overhead"

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Compute the network's outputs by compiled code inside the context."""
        if self._forward is None:
            yield
            return
        if self._graphs:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        self.network.forward = self._forward
        try:
            yield
        except Exception as error:
            if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            first = str(error).strip().partition("\n")[0]
            raise InputError(f"torch.compile cannot compile this network here: {first}", WITHOUT) from error
        finally:
            del self.network.forward


def check_compilable(recipe: Recipe) -> None:
    """Refuse ``training.compile`` with what compiled code cannot follow, and on several devices."""
    if recipe.training.compile == "none":
        return
    if not METHODS[recipe.method.name].compiles:
        raise InputError(
            f"training.compile: method {recipe.method.name!r} changes the network, or the number of images, from step "
            "to step, which compiled code cannot follow",
            WITHOUT,
        )
    if recipe.training.devices * recipe.training.nodes > 1:
        raise InputError(
            "training.compile is for one device", f"Set training.devices: 1 and training.nodes: 1. {WITHOUT}"
        )
    if recipe.network.gradient_checkpointing:
        raise InputError(
            "training.compile and network.gradient_checkpointing cannot be combined",
            "Set network.gradient_checkpointing: false, or training.compile: none.",
        )


def check_compiler(setting: str, accelerator: str) -> None:
    """Refuse ``training.compile`` where the compilers that it needs are missing; with ``none`` do nothing."""
    if setting == "none":
        return
    what = f"training.compile: {setting}"
    if sys.platform == "win32":
        raise InputError(f"{what} is not supported on Windows", WITHOUT)
    if setting == "reduce-overhead" and accelerator != "cuda":
        raise InputError(f"{what} replays CUDA graphs, which need a GPU", "Set training.compile: default, or none.")
    if accelerator == "cuda":
        _check_gpu(what)
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        raise InputError(
            f"{what} needs a C++ compiler, and there is no {compiler}",
            "Install one, set CXX to its path, or set training.compile: none.",
        )


def _check_gpu(what: str) -> None:
    if importlib.util.find_spec("triton") is None:
        raise InputError(f"{what} needs triton on a GPU, which is not installed", f"Run: pip install triton. {WITHOUT}")
    if (capability := torch.cuda.get_device_capability()) < OLDEST_CAPABILITY:
        major, minor = capability
        raise InputError(
            f"{what} needs a GPU of compute capability 7.0 or newer, this one has {major}.{minor}", WITHOUT
        )
