"""What was trained, put to use."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from evenface.errors import InputError
from evenface.files import output_path
from evenface.places import user_path

if TYPE_CHECKING:
    from evenface.explaining.using import Explained
    from evenface.exporting.running import Exported
    from evenface.serving.using import Predicted


def predict(
    run: str | Path,
    inputs: Sequence[str | Path] = (),
    *,
    out: str | Path = "predictions.csv",
    annotate: str | Path | None = None,
    timeline: str | Path | None = None,
    folders: Literal["pictures", "clips"] | None = None,
    camera: int | None = None,
    seconds: float | None = None,
    trust_plugins: bool = False,
    **settings: Any,
) -> "Predicted":
    """Find faces in pictures, videos or a camera, and say what a run says of them.

    Parameters
    ----------
    run : str or Path
        Run folder, or an ``.onnx`` file that was exported, which needs no torch.
    inputs : sequence of str or Path
        Files, folders and patterns.
    out : str or Path
        The table, ``.csv`` or ``.parquet``. Files that are in it are not predicted again.
    annotate : str or Path, optional
        Folder for copies of pictures and videos with boxes, numbers of faces, labels and probabilities.
    timeline : str or Path, optional
        Figure of probabilities over time: ``.svg``, ``.pdf`` or ``.png``.
    folders : {"pictures", "clips"}, optional
        What a folder of pictures is; by default what the run learnt from.
    camera : int, optional
        Number of a camera, from 0, in place of inputs.
    seconds : float, optional
        How long to look at it; by default until Ctrl-C.
    trust_plugins : bool, default=False
        Whether code that the run names under ``plugins`` is run; see :meth:`evenface.runs.Run.open`.
    **settings
        See :class:`evenface.recipes.predict.PredictSettings`.

    Raises
    ------
    InputError
        If anything given cannot be used, or nothing could be predicted.
    KeyboardInterrupt
        After Ctrl-C, with the files that were done in the table; the same call goes on with the others.
    """
    from evenface.recipes.predict import PredictSettings
    from evenface.serving.inputs import camera_source
    from evenface.serving.opening import open_model
    from evenface.serving.using import check_outputs, draw, predict_inputs

    if camera is None and not inputs:
        raise InputError("say what to predict", "Name pictures, videos or folders; or a camera.")
    if camera is not None and inputs:
        raise InputError("a camera stands in place of inputs, and both were named", "Leave one of them out.")
    if camera is None and seconds is not None:
        raise InputError("seconds says how long to look at a camera, and none was named", "Leave it out.")
    if camera is not None and annotate is not None:
        raise InputError("a camera's pictures are not kept, so they cannot be drawn into", "Leave annotate out.")
    source = None if camera is None else camera_source(camera, seconds)
    folder, figure = (None if place is None else user_path(place) for place in (annotate, timeline))
    table = user_path(out)
    from evenface.recipes.reading import checked

    chosen = checked(PredictSettings, settings, "predict")
    check_outputs(table, folder, figure)
    model = open_model(run, trust_plugins=trust_plugins)
    found = predict_inputs(model, inputs, chosen, table, folders=folders, skip=folder, camera=source)
    draw(found, model.classes, folder, figure)
    return found


def explain(
    run: str | Path,
    inputs: Sequence[str | Path],
    *,
    out: str | Path = "explanations",
    folders: Literal["pictures", "clips"] | None = None,
    trust_plugins: bool = False,
    **settings: Any,
) -> "Explained":
    """Draw what a run's answers to pictures, videos or files of numbers rest on, and check that it matters.

    Parameters
    ----------
    run : str or Path
        Run folder, or exported file, which is explained by occlusion.
    inputs : sequence of str or Path
        Files, folders and patterns.
    out : str or Path
        Folder for a picture of each file, tables, curves and a page of all. Files that were explained in it before are
        not explained again.
    folders : {"pictures", "clips"}, optional
        What a folder of pictures is; by default what the run learnt from.
    trust_plugins : bool, default=False
        Whether code that the run names under ``plugins`` is run; see :meth:`evenface.runs.Run.open`.
    **settings
        Those of :class:`evenface.recipes.explain.ExplainSettings`; and ``faces``, ``margin``, ``every``, ``window``,
        ``overlap`` and ``batch`` of :class:`evenface.recipes.predict.PredictSettings`.

    Raises
    ------
    InputError
        If anything given cannot be used, or nothing could be explained.
    KeyboardInterrupt
        After Ctrl-C, with the files that were done in the folder; the same call goes on with the others.
    """
    from evenface.explaining.using import explain_inputs
    from evenface.recipes.explain import ExplainSettings
    from evenface.recipes.predict import PredictSettings
    from evenface.recipes.reading import checked
    from evenface.serving.opening import open_model

    own = {name: settings.pop(name) for name in ExplainSettings.model_fields if name in settings}
    chosen = checked(ExplainSettings, own, "explain")
    prediction = checked(PredictSettings, settings, "explain")
    place = output_path(out, folder=True)
    model = open_model(run, trust_plugins=trust_plugins)
    return explain_inputs(model, inputs, prediction, chosen, place, folders=folders)


def export(
    run: str | Path,
    *,
    out: str | Path | None = None,
    int8: bool = False,
    tolerance: float = 1e-4,
    limit: float = 0.01,
    trust_plugins: bool = False,
) -> "Exported":
    """Write a run as one ONNX file that other programs run, and compare it with the run on the run's own samples.

    Parameters
    ----------
    run : str or Path
        Run folder.
    out : str or Path, optional
        The file; by default ``model.onnx`` or ``model-int8.onnx`` in the run folder.
    int8 : bool
        Write it in 8 bits.
    tolerance : float
        Largest difference from the run's scores that is borne, of the file in 32 bits.
    limit : float
        Largest loss of balanced accuracy on validation data that is borne for 8 bits.
    trust_plugins : bool, default=False
        Whether code that the run names under ``plugins`` is run; see :meth:`evenface.runs.Run.open`.

    Raises
    ------
    InputError
        If anything given cannot be used, the file says something else than the run, or 8 bits cost too much; nothing
        is written then.
    """
    from evenface.exporting.running import export_run
    from evenface.runs import Run

    place = None if out is None else output_path(out)
    opened = Run.open(run, trust_plugins=trust_plugins)
    return export_run(opened, out=place, int8=int8, tolerance=tolerance, limit=limit)
