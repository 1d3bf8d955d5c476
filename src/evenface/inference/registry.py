"""Models by name: the bundled one, and those of other projects in the catalogue."""

from collections.abc import Mapping
from pathlib import Path

from evenface.utils.errors import InputError
from evenface.utils.files import cache_folder, user_path
from evenface.utils.registry import nearest

BUNDLED = "evenface-synthetic"
"""Name of the bundled model, which is used where none is named."""
FOLDER = Path(__file__).parent / "bundled"


def model_names() -> Mapping[str, Path]:
    """Return the file of each bundled model, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.onnx"))}


def available_models() -> dict[str, Path]:
    """Return the file of each bundled model, and of each of the catalogue that was downloaded, by name."""
    from evenface.config.onnx_spec import catalogue

    downloaded = {name: model_file(name) for name, entry in catalogue().items() if entry.download}
    return {**model_names(), **{name: path for name, path in downloaded.items() if path.is_file()}}


def model_file(name: str) -> Path:
    """Return where the file of a model in the catalogue is, or would be, on this machine."""
    return (FOLDER if name == BUNDLED else cache_folder() / "models") / f"{name}.onnx"


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
        If there is no such file, folder or name; similar names are suggested. If the model was not downloaded.
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
    from evenface.config.onnx_spec import catalogue

    if name in catalogue():
        if (file := model_file(name)).is_file():
            return file
        entry = catalogue()[name]
        get = f"Download it: evenface models get {name}" if entry.download else f"Get its file from {entry.page}"
        raise InputError(f"the model {name} is not on this machine", get)
    raise InputError(
        f"there is no model {name!r}, and no file or folder of this name",
        f"{nearest(name, {*names, *catalogue()})} A run folder or an .onnx file is a model, too.".strip(),
    )
