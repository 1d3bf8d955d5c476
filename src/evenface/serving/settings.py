"""What the user may choose when a model is used, and what follows from it for preparing."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from evenface.errors import InputError
from evenface.faces.detector import Crop
from evenface.faces.mesh import MARGIN
from evenface.faces.read import Target
from evenface.serving.form import Form

ESTIMATE = "estimate"
"""In place of a balance: it is estimated from the inputs."""


@dataclass(frozen=True)
class Settings:
    """How a model is used.

    Parameters
    ----------
    faces : {"all", "largest", "none"}, optional
        Whose faces are looked for; none takes pictures as they are. By default all, where the model learnt from cropped
        faces, and else none, as it learnt.
    margin : float, default=0.25
        What is added around a face, as a share of its longer side, 0 to 2; of effect only where faces are looked for
        though the model learnt from pictures as they were. Else it is the run's own.
    every : int, default=1
        Of videos, look at every so many frames; models of single pictures only.
    window : float, optional
        Seconds of a window; models of clips and sequences only. By default a whole video is one clip, as in training.
    overlap : float, default=0.0
        Share of a window that the next one shows again, 0 to below 1.
    smooth : float, default=0.0
        Seconds over which probabilities of one face are averaged, half of them before and half after; 0 for none.
    prior : str, optional
        Balance of the classes where the model is used, as ``"uniform"`` or ``"happy=0.5,sad=0.5"``; see
        :func:`evenface.evaluation.priors.parse_prior`. Probabilities are corrected for it. Where ``"estimate"`` is said
        the inputs are gone through twice; see :func:`evenface.serving.balance.with_balance`.
    abstain : float, optional
        Give no label where the highest probability is below this, 0 to 1.
    batch : int, default=32
        Samples that the model is asked of at a time.

    Raises
    ------
    InputError
        If a setting is out of range.
    """

    faces: Literal["all", "largest", "none"] | None = None
    margin: float = 0.25
    every: int = 1
    window: float | None = None
    overlap: float = 0.0
    smooth: float = 0.0
    prior: str | None = None
    abstain: float | None = None
    batch: int = 32

    def __post_init__(self) -> None:
        if self.faces not in (None, "all", "largest", "none"):
            raise InputError(f"faces must be all, largest or none, got {self.faces!r}")
        if self.every < 1 or self.batch < 1:
            raise InputError(f"every and batch must be >= 1, got {self.every} and {self.batch}")
        if self.window is not None and not 0 < self.window < float("inf"):
            raise InputError(f"window must be above 0 seconds, got {self.window:g}")
        if not 0 <= self.overlap < 1:
            raise InputError(f"overlap must be 0 to below 1, got {self.overlap:g}")
        if not 0 <= self.smooth < float("inf"):
            raise InputError(f"smooth must be 0 seconds or more, got {self.smooth:g}")
        if self.abstain is not None and not 0 <= self.abstain <= 1:
            raise InputError(f"abstain must be 0 to 1, got {self.abstain:g}")
        if self.overlap and self.window is None:
            raise InputError("overlap is of windows, and no window is said", "Say window, in seconds, as well.")

    @property
    def facts(self) -> dict[str, Any]:
        """All that decides what a table holds."""
        return {name: value for name, value in asdict(self).items() if name != "batch"}

    def check(self, form: Form) -> None:
        """Refuse what is of no effect on a model of this form.

        Raises
        ------
        InputError
            Naming the setting.
        """
        if form.kind == "stills" and self.window is not None:
            raise InputError("window is for models of clips and sequences; this one judges single pictures")
        if form.kind != "stills" and self.every != 1:
            raise InputError(
                "every is for models of single pictures; this one takes frames as in training", "Say window instead."
            )
        if self.margin != Settings.margin and (form.kind == "sequences" or form.crop or self.faces in (None, "none")):
            raise InputError(
                "margin is for runs that learnt from pictures as they are, where faces are looked for nevertheless",
                "Leave it out, or say faces all or largest.",
            )
        if form.crop and form.kind != "sequences" and self.faces == "none":
            raise InputError("the model learnt from faces that were cropped: faces cannot be none")
        if form.sequencing and form.sequencing.of != "files" and self.faces == "none":
            raise InputError("points are found on faces: faces cannot be none")

    def target(self, form: Form, *, files: bool = False) -> Target:
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
            crop = replace(form.crop or Crop(), which=self.faces or "all", margin=MARGIN)
            of = "clips" if form.sequencing.of == "files" else form.sequencing.of
            return replace(form.target, crop=crop, sequencing=replace(form.sequencing, of=of))
        if form.crop:
            return replace(form.target, crop=replace(form.crop, which=self.faces or "all"))
        if self.faces in (None, "none"):
            return form.target
        return replace(form.target, crop=Crop(margin=self.margin, which=str(self.faces)), squeeze=False)
