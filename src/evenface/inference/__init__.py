"""Use of a trained model: open, find faces, predict, export, cross-dataset evaluation."""

from pathlib import Path

from evenface.inference.model import Model
from evenface.inference.registry import resolve_model
from evenface.utils.errors import InputError
from evenface.utils.extras import require

__all__ = ["Model", "open_model", "resolve_model"]


def open_model(
    model: str | Path | None = None, *, spec: str | Path | None = None, trust_plugins: bool = False
) -> Model:
    """Open a trained model.

    Parameters
    ----------
    model : str or Path, optional
        A run folder, which requires PyTorch; an exported ``.onnx`` file, one of another project, or the name of a
        model, which do not. By default the bundled model.
    spec : str or Path, optional
        Specification of a file of another project: a YAML file, or the name of a model in the catalogue; see
        :class:`evenface.config.onnx_spec.OnnxSpec`. Files that were downloaded from the catalogue need none.
    trust_plugins : bool, default=False
        Whether to run the code that a run folder names under ``plugins``; see :meth:`evenface.runs.Run.open`. An
        ``.onnx`` file names none.

    Raises
    ------
    InputError
        If there is no such model, the run has not ended or names plugins that are not trusted, its weights are missing
        or damaged, or the file is damaged, of a newer evenface, or not as specified.
    """
    path = resolve_model(model)
    if path.suffix == ".onnx":
        from evenface.inference.onnx_model import OnnxModel, is_exported

        if spec is None and is_exported(path):
            return OnnxModel(path)
        from evenface.inference.third_party import open_third_party

        return open_third_party(path, spec) or OnnxModel(path)
    if spec is not None:
        raise InputError(f"{path} is no .onnx file, so it has no specification", "Leave out the specification.")
    if path.is_file():
        raise InputError(f"{path} is not a trained model", "Specify a run folder or an .onnx file.")
    for package in ("torch", "pandas"):
        require(package)
    from evenface.inference.run_model import TorchModel
    from evenface.runs import Run

    return TorchModel(Run.open(path, trust_plugins=trust_plugins))
