"""Opening what was trained, wherever it lies; only what is opened is imported."""

from pathlib import Path

from evenface.errors import InputError
from evenface.serving.model import Model


def open_model(path: str | Path) -> Model:
    """Open what was trained.

    Parameters
    ----------
    path : str or Path
        A run folder, which needs torch; or an exported ``.onnx`` file, which needs only onnxruntime.

    Raises
    ------
    InputError
        If it is neither, the run has not ended, or its weights are missing or damaged.
    """
    path = Path(path)
    if path.suffix.lower() == ".onnx":
        from evenface.serving.onnx_model import OnnxModel

        return OnnxModel(path)
    if path.is_file():
        raise InputError(f"{path} is no trained model", "Give a run folder, or an exported .onnx file.")
    from evenface.runs import Run
    from evenface.serving.torch_model import TorchModel

    return TorchModel(Run.open(path))
