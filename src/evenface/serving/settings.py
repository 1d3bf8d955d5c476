"""How settings of prediction suit a model, and what they make of its inputs."""

from dataclasses import replace

from evenface.errors import InputError
from evenface.faces.detector import Crop
from evenface.faces.mesh import MARGIN
from evenface.faces.read import Target
from evenface.recipes.predict import PredictSettings
from evenface.serving.form import Form

ESTIMATE = "estimate"
"""In place of a class prior: it is estimated from the inputs."""
DEFAULT_MARGIN = PredictSettings().margin


def check_settings(settings: PredictSettings, form: Form) -> None:
    """Refuse what is of no effect on a model of this form.

    Raises
    ------
    InputError
        Naming the setting.
    """
    if form.kind == "stills" and settings.window is not None:
        raise InputError("window is for models of clips and sequences; this one judges single pictures")
    if form.kind != "stills" and settings.every != 1:
        raise InputError(
            "every is for models of single pictures; this one takes frames as in training", "Say window instead."
        )
    if settings.margin != DEFAULT_MARGIN and (
        form.kind == "sequences" or form.crop or settings.faces in (None, "none")
    ):
        raise InputError(
            "margin is for runs that learnt from pictures as they are, where faces are looked for nevertheless",
            "Leave it out, or say faces all or largest.",
        )
    if form.crop and form.kind != "sequences" and settings.faces == "none":
        raise InputError("the model learnt from faces that were cropped: faces cannot be none")
    if form.sequencing and form.sequencing.of != "files" and settings.faces == "none":
        raise InputError("points are found on faces: faces cannot be none")


def target_of(settings: PredictSettings, form: Form, *, files: bool = False) -> Target:
    """Say what samples become: the run's own form, with the faces that are wanted.

    Parameters
    ----------
    form : Form
        Of the model.
    files : bool
        Whether the samples are read from files of numbers.
    """
    if files:
        return form.target
    if form.sequencing:
        crop = replace(form.crop or Crop(), which=settings.faces or "all", margin=MARGIN)
        of = "clips" if form.sequencing.of == "files" else form.sequencing.of
        return replace(form.target, crop=crop, sequencing=replace(form.sequencing, of=of))
    if form.crop:
        return replace(form.target, crop=replace(form.crop, which=settings.faces or "all"))
    if settings.faces in (None, "none"):
        return form.target
    return replace(form.target, crop=Crop(margin=settings.margin, which=str(settings.faces)), squeeze=False)
