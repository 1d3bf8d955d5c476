"""How settings of prediction suit a model, and what they make of its inputs."""

from dataclasses import replace

from evenface.config.predict import PredictSettings
from evenface.config.recipe import FaceCrop
from evenface.inference.input_spec import InputSpec
from evenface.preprocessing.detect import check_detector
from evenface.preprocessing.target import MESH_MARGIN, Target
from evenface.utils.errors import InputError

ESTIMATE = "estimate"
"""In place of a class prior: it is estimated from the inputs."""
DEFAULT_MARGIN = PredictSettings().margin


def check_settings(settings: PredictSettings, form: InputSpec) -> None:
    """Refuse what is of no effect on a model of this form."""
    if form.kind == "stills" and settings.window is not None:
        raise InputError("window is for models of clips and sequences; this one judges single pictures")
    if form.kind != "stills" and settings.frame_stride != 1:
        raise InputError(
            "frame_stride is for image models; this one samples frames as in training", "Use window instead."
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
    if form.sequences and form.sequences.origin != "files" and settings.faces == "none":
        raise InputError("points are found on faces: faces cannot be none")


def target_of(settings: PredictSettings, form: InputSpec, *, files: bool = False) -> Target:
    """Say what samples become: the run's own form, with the faces that are wanted."""
    if files:
        return form.target
    target = form.target
    if form.sequences:
        which = "largest" if settings.faces == "largest" else "all"  # "none" concerns feature files, not videos
        faces = form.faces.replace(crop="face", which=which, margin=MESH_MARGIN)
        origin = "clips" if form.sequences.origin == "files" else form.sequences.origin
        target = replace(target, faces=faces, sequences=form.sequences.replace(origin=origin))
    elif form.crop:
        target = replace(target, faces=form.crop.replace(which=settings.faces or "all"))
    elif settings.faces not in (None, "none"):
        target = replace(target, faces=FaceCrop(crop="face", margin=settings.margin, which=settings.faces))
    if target.crop:
        check_detector(target.crop)
    return target
