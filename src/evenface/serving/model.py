"""A trained model as those who use it see it, wherever it comes from: a run folder, or an exported file."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from evenface.evaluation.fitted import Calibration
from evenface.evaluation.priors import with_prior
from evenface.evaluation.scores import shares
from evenface.serving.form import Form


class Model(ABC):
    """What can be asked for probabilities.

    Attributes
    ----------
    name : str
        What to call it.
    key : str
        Digest of its weights: another model has another.
    classes : tuple of str
        What it tells apart.
    ordered : bool
        Whether the classes are steps of one scale, in their order.
    form : Form
        How samples are prepared for it.
    one_vs_rest : bool
        Whether it judges each class by itself.
    calibration : Calibration or None
        What was fitted on validation data; none where nothing was.
    prior : ndarray of shape (C,)
        The balance of classes that its probabilities imply; see :func:`evenface.balance.implied_prior`.
    card : dict
        What is known of it: data, protocol, results.
    """

    name: str
    key: str
    classes: tuple[str, ...]
    ordered: bool
    form: Form
    one_vs_rest: bool
    calibration: Calibration | None
    prior: np.ndarray
    card: dict[str, Any]

    @abstractmethod
    def ask(self, batch: np.ndarray) -> np.ndarray:
        """Give the raw answer.

        Parameters
        ----------
        batch : ndarray of shape (B,) + ``form.shape``
            uint8 pixels, or float32 numbers.

        Returns
        -------
        ndarray of shape (B, C), float64
            Probabilities; or, of a model that judges each class by itself, scores from 0 to 1.
        """

    def scores(self, batch: np.ndarray) -> np.ndarray:
        """Give what is said of prepared samples, as it was said of the test samples of the run.

        Parameters
        ----------
        batch : ndarray of shape (B, T', H, W, C), uint8, or (B, T', P, D), float32
            As a store holds them; of clips of which more frames are stored than are seen, the middles are chosen.

        Returns
        -------
        ndarray of shape (B, C), float64
            As :meth:`ask`; averaged with the mirror images where the run did so.
        """
        batch = self.form.seen(batch)
        found = self.ask(batch)
        return (found + self.ask(self.form.mirrored(batch))) / 2 if self.form.mirror else found

    def probabilities(self, batch: np.ndarray) -> np.ndarray:
        """Give probabilities of prepared samples, (B, C), as ``predictions.parquet`` holds them: not calibrated."""
        return shares(self.scores(batch))

    def calibrated(self, scores: np.ndarray, prior: np.ndarray | None = None) -> np.ndarray:
        """Give calibrated probabilities by what :meth:`scores` gave; where nothing was fitted, plain ones.

        They are corrected for a balance of classes, ``(C,)``, where one is given.
        """
        plain = shares(scores)
        if self.calibration:
            return self.calibration.apply(plain, scores, prior)
        return plain if prior is None else with_prior(plain, self.prior, prior)

    @property
    def temperature(self) -> float:
        """The temperature that was fitted on validation data, else 1."""
        return self.calibration.temperature if self.calibration else 1.0
