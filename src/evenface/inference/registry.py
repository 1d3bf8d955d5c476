"""Models by name: the bundled one."""

from collections.abc import Mapping
from pathlib import Path

from evenface.utils.errors import InputError
from evenface.utils.files import user_path
from evenface.utils.registry import nearest

BUNDLED = "evenface-synthetic"
"""Name of the bundled model, which is used where none is named."""
FOLDER = Path(__file__).parent / "bundled"


def model_names() -> Mapping[str, Path]:
    """Return the file of each model that has a name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.onnx"))}


def resolve_model(model: str | Path | None = None) -> Path:
    """Return the run folder or file of a model.

    Parameters
    ----------
    model : str or Path, optional
        A run folder, an ``.onnx`` file, or the name of a model; by default the bundled model. A file or folder comes
        before a model of the same name.

    Raises
    ------
    InputError
        If there is no such file, folder or name; similar names are suggested.
    """
    name = BUNDLED if model is None else str(model)
    path, names = user_path(name), model_names()
    if model is not None and path.exists():
        return path
    if name in names:
        return names[name]
    if name == BUNDLED:
        raise InputError("the bundled model is missing from this installation", "Install evenface again.")
    if isinstance(model, Path) or "/" in name or "\\" in name or path.suffix == ".onnx":
        raise InputError(f"the model {name} does not exist", "Specify a run folder, an .onnx file, or a name.")
    raise InputError(
        f"there is no model {name!r}, and no file or folder of this name",
        f"{nearest(name, {*names, BUNDLED})} A run folder or an .onnx file is a model, too.".strip(),
    )
