"""The balance of classes where a model is used, estimated from what it says of all inputs, without labels."""

from collections.abc import Sequence

import numpy as np

from evenface.errors import InputError
from evenface.evaluation.priors import estimate_prior
from evenface.progress import progress
from evenface.recipes.predict import PredictSettings
from evenface.serving.inputs import Source
from evenface.serving.model import Model
from evenface.serving.pipeline import Row, predicted
from evenface.serving.settings import ESTIMATE

DIGITS = 4


def with_balance(model: Model, sources: Sequence[Source], settings: PredictSettings) -> PredictSettings:
    """Put an estimated balance in the place of the wish for one.

    Parameters
    ----------
    model : Model
        Who is asked, once of every sample.
    sources : sequence of Source
        Where the balance holds. All faces and windows count alike.
    settings : PredictSettings
        As given back, less the balance where ``estimate`` stands for it.

    Raises
    ------
    InputError
        If it shall be estimated from a camera, which shows everything once, or no face is found.
    """
    if settings.prior != ESTIMATE:
        return settings
    if any(source.kind == "camera" for source in sources):
        raise InputError("a camera's balance cannot be estimated before it is looked at", "Give the shares.")
    # Corrected for the balance that it has anyway, a model gives what an estimate begins with.
    own = settings.model_copy(update={"prior": said(model.classes, model.prior), "smooth": 0.0})
    found = []
    with progress("estimating the balance", len(sources)) as bar:
        for item in predicted(model, sources, own):
            if not isinstance(item, Row):
                bar(1)
            elif item.probabilities is not None:
                found.append(item.probabilities)
    if not found:
        raise InputError("no face was found, so no balance can be estimated")
    estimated = estimate_prior(np.stack(found), model.prior)
    return settings.model_copy(update={"prior": said(model.classes, np.round(estimated.prior, DIGITS))})


def said(classes: Sequence[str], shares: np.ndarray) -> str:
    """Write a balance as :func:`evenface.evaluation.priors.parse_prior` reads it."""
    return ",".join(f"{name}={float(share)!r}" for name, share in zip(classes, shares, strict=True))
