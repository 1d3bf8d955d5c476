"""Devices, processes and precision of training; ``auto`` is mixed bfloat16 where the hardware has it, else float32."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch

from evenface.config.recipe import Training
from evenface.utils.errors import InputError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Precision = Literal["32-true", "16-mixed", "bf16-mixed"]

_X86_UNITS = ("amx_bf16", "avx512_bf16")


def choose_precision(setting: str, accelerator: str) -> Precision:
    """Return the precision to train in."""
    if setting != "auto":
        return cast(Precision, setting)
    return "bf16-mixed" if has_bf16_units(accelerator) else "32-true"


def has_bf16_units(accelerator: str) -> bool:
    """Return whether the hardware computes products of bfloat16 numbers itself, so that they are faster than float32.

    Notes
    -----
    Of processors only AMX-BF16 and AVX-512 BF16 count (x86): with them torch's convolutions work in bfloat16 forwards
    and backwards. Without, torch emulates bfloat16, which can be ten times slower than float32.
    """
    if accelerator == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    compiled: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return compiled and any(_cpu_capabilities().get(name) for name in _X86_UNITS)


def inference_precision(trained: str, accelerator: str) -> Precision:
    """Return the precision to predict in: that of training, float32 where the device cannot (float16 on a CPU)."""
    if trained == "16-mixed" and accelerator == "cpu":
        return "32-true"
    return choose_precision(trained, accelerator)


def _cpu_capabilities() -> Mapping[str, Any]:
    """Return the processor's instruction sets by name: torch's finding, else that of Linux."""
    if hasattr(torch.cpu, "get_capabilities"):
        return torch.cpu.get_capabilities()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    return {flag: True for line in lines if line.startswith("flags") for flag in line.partition(":")[2].split()}


def choose_accelerator(training: Training, precision: str | None = None) -> Literal["cpu", "cuda"]:
    """Return the kind of device to train on; an InputError where that, or the precision, cannot be had here.

    ``precision`` is that of a run that is resumed.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    accelerator: Literal["cpu", "cuda"] = "cuda" if gpus else "cpu"
    if training.accelerator != "auto":
        accelerator = training.accelerator
    if accelerator == "cpu" and (precision or training.precision) == "16-mixed":
        raise InputError("training.precision 16-mixed needs a GPU", "Set training.precision to auto or 32-true.")
    if accelerator == "cuda" and not gpus:
        raise InputError("training.accelerator is cuda, there is no GPU", "Use auto or cpu.")
    if accelerator == "cuda" and gpus < training.devices:
        raise InputError(f"training.devices is {training.devices}, there are {gpus} GPUs")
    return accelerator


def launch_fabric(
    training: Training, accelerator: Literal["cpu", "cuda"], precision: str | None, *, uses_all_parameters: bool
) -> "Fabric":
    """Choose processes and precision, and start them; ``precision`` is that of a run that is resumed."""
    from lightning_fabric import Fabric

    chosen = cast(Precision, precision or choose_precision(training.precision, accelerator))
    # Several processes wait for the gradient of every parameter, unless some may be unused in a step.
    several = training.devices * training.nodes > 1
    fabric = Fabric(
        strategy="ddp_find_unused_parameters_true" if several and not uses_all_parameters else "auto",
        accelerator=accelerator,
        devices=training.devices,
        num_nodes=training.nodes,
        precision=chosen,
    )
    fabric.launch()
    return fabric
