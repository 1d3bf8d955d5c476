"""Use of a trained model: open, find faces, predict, export, cross-dataset evaluation."""

from pathlib import Path

from evenface.inference.model import Model
from evenface.utils.errors import InputError
from evenface.utils.files import user_path


def open_model(path: str | Path, *, trust_plugins: bool = False) -> Model:
    """Open a trained model.

    Parameters
    ----------
    path : str or Path
        A run folder, which requires PyTorch; or an exported ``.onnx`` file, which does not.
    trust_plugins : bool, default=False
        Whether to run the code that a run folder names under ``plugins``; see :meth:`evenface.runs.Run.open`. An
        ``.onnx`` file names none.

    Raises
    ------
    InputError
        If the path is neither, the run has not ended or names plugins that are not trusted, its weights are missing or
        damaged, or the file is damaged or of a newer evenface.
    """
    path = user_path(path)
    if path.suffix == ".onnx":
        from evenface.inference.onnx_model import OnnxModel

        return OnnxModel(path)
    if path.is_file():
        raise InputError(f"{path} is not a trained model", "Specify a run folder or an .onnx file.")
    from evenface.inference.run_model import TorchModel
    from evenface.runs import Run

    return TorchModel(Run.open(path, trust_plugins=trust_plugins))
