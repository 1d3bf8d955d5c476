"""Opening what was trained, wherever it lies; only what is opened is imported."""

from pathlib import Path

from evenface.errors import InputError
from evenface.serving.model import Model


def open_model(path: str | Path) -> Model:
    """Open what was trained.

    Parameters
    ----------
    path : str or Path
        A run folder; it needs torch.

    Raises
    ------
    InputError
        If it is none, the run has not ended, or its weights are missing or damaged.
    """
    path = Path(path)
    if path.is_file():
        raise InputError(f"{path} is no trained model", "Give a run folder.")
    from evenface.runs import Run
    from evenface.serving.torch_model import TorchModel

    return TorchModel(Run.open(path))
