"""A model that is called with images, videos or frames."""

from pathlib import Path
from typing import Any, Literal

from evenface.config.predict import PredictSettings
from evenface.config.yaml import checked
from evenface.inference import open_model
from evenface.inference.faces import Faces
from evenface.inference.model import Model
from evenface.inference.predict import predict_inputs
from evenface.utils.tables import html_table


class Predictor:
    """A trained model that predicts on whatever it is called with.

    Parameters
    ----------
    model : Model
        The model; :func:`evenface.load` opens one.

    Attributes
    ----------
    model : Model
        The model itself, for prepared samples.

    Examples
    --------
    >>> import evenface as ef
    >>> model = ef.load()  # doctest: +SKIP
    >>> model("photo.jpg")  # doctest: +SKIP
    <1 face: happy 1>
    """

    def __init__(self, model: Model) -> None:
        self.model = model

    @property
    def name(self) -> str:
        """Name for display."""
        return self.model.name

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the probabilities."""
        return self.model.classes

    @property
    def card(self) -> dict[str, Any]:
        """Model card: data, protocol, results, limits."""
        return self.model.card

    def __call__(self, inputs: Any, *, folder_type: Literal["images", "clips"] | None = None, **settings: Any) -> Faces:
        """Predict on images, videos, or frames of a video.

        Parameters
        ----------
        inputs : object
            A path, folder or glob pattern; an image in memory: a Pillow image, a uint8 array (H, W, 3) in the order
            red, green, blue, or (H, W), or the bytes of an image file; a list of any of these; or an iterator of
            images, which are the frames of one video, 25 per second, or of pairs of seconds and image.
        folder_type : {"images", "clips"}, optional
            Whether a folder of images is separate images or one clip; by default as in training.
        **settings
            See :class:`evenface.config.predict.PredictSettings`.

        Returns
        -------
        Faces
            A sequence of :class:`~evenface.inference.faces.FacePrediction`. Nothing is written.

        Raises
        ------
        InputError
            If a setting is invalid, or nothing could be predicted on.
        """
        chosen = checked(PredictSettings, settings, "predict")
        return predict_inputs(self.model, inputs, chosen, folder_type=folder_type)

    def __repr__(self) -> str:
        return f"<model {self.name}: {', '.join(self.classes)}>"

    def _repr_html_(self) -> str:
        """Return a small table for a notebook."""
        spec = self.model.input_spec
        size = f"{spec.size} × {spec.size} pixels, {'grey' if spec.channels == 1 else 'RGB'}"
        facts = {
            "model": self.name,
            "classes": ", ".join(self.classes),
            "input": spec.points or "features" if spec.kind == "sequences" else size,
            "calibrated": "yes" if self.model.calibration else "no",
        }
        return html_table(list(facts), [list(facts.values())])


def load(model: str | Path | None = None, *, spec: str | Path | None = None, trust_plugins: bool = False) -> Predictor:
    """Open a trained model, which then is called with images, videos or frames.

    Parameters
    ----------
    model : str or Path, optional
        A run folder, which needs PyTorch; an ``.onnx`` file; or the name of a model. By default the bundled model.
    spec : str or Path, optional
        Specification of a model of another project; see :func:`evenface.inference.open_model`.
    trust_plugins : bool, default=False
        Whether to execute plugin code named by a run; see :meth:`evenface.runs.Run.open`.

    Returns
    -------
    Predictor

    Raises
    ------
    InputError
        If there is no such model, or it cannot be used.
    """
    return Predictor(open_model(model, spec=spec, trust_plugins=trust_plugins))
