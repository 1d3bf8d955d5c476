"""Use of a trained model: open, find faces, predict, export, cross-dataset evaluation."""

from pathlib import Path

from evenface.inference.model import Model
from evenface.utils.errors import InputError
from evenface.utils.files import user_path


def open_model(path: str | Path, *, trust_plugins: bool = False) -> Model:
    """Open what was trained.

    Parameters
    ----------
    path : str or Path
        A run folder, which needs torch; or an ``.onnx`` file that was exported, which does not.
    trust_plugins : bool, default=False
        Whether code that a run names is run; see :meth:`evenface.runs.Run.open`. An ``.onnx`` file names none.

    Raises
    ------
    InputError
        If it is neither, the run has not ended or names code that is not trusted, its weights are missing or damaged,
        or the file is damaged or of a newer evenface.
    """
    path = user_path(path)
    if path.suffix == ".onnx":
        from evenface.inference.onnx_model import OnnxModel

        return OnnxModel(path)
    if path.is_file():
        raise InputError(f"{path} is no trained model", "Give a run folder, or an .onnx file.")
    from evenface.inference.run_model import TorchModel
    from evenface.runs import Run

    return TorchModel(Run.open(path, trust_plugins=trust_plugins))
