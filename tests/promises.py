"""What tests of calibration share: probabilities that hold, and labels drawn from them."""

import numpy as np
from hypothesis import strategies as st

from evenface.evaluation.predictions import Predictions


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def drawn_from(p, seed=0):
    """Labels that are exactly as probable as is said."""
    return (p.cumsum(axis=1) > np.random.default_rng(seed).random((len(p), 1))).argmax(axis=1)


def sample(n=400, c=3, seed=0, spread=1.5):
    """Probabilities that hold, and labels drawn from them."""
    p = softmax(np.random.default_rng(seed).normal(0, spread, (n, c)))
    return p, drawn_from(p, seed + 1)


def predictions(p, y, people=None, scores=None):
    who = None if people is None else np.array([f"p{i % people}" for i in range(len(y))], dtype=object)
    classes = tuple("abcdefghij"[: p.shape[1]])
    return Predictions(np.array([f"s{i}" for i in range(len(y))], dtype=object), who, y, p, classes, scores=scores)


matrices = st.integers(0, 10_000).map(
    lambda seed: sample(n=30 + seed % 50, c=2 + seed % 4, seed=seed, spread=1 + seed % 3)
)


def gaussians(prior, n, seed):
    """Faces of one number each, three classes of known shape: the posterior is known for any balance."""
    random = np.random.default_rng(seed)
    y = random.choice(3, n, p=prior)
    x = random.normal(y * 1.5, 1.0)
    return x, y


def posterior(x, prior):
    density = np.exp(-0.5 * (x[:, None] - 1.5 * np.arange(3)) ** 2) * prior
    return density / density.sum(axis=1, keepdims=True)


TRAINED, DEPLOYED = np.array([0.6, 0.3, 0.1]), np.array([0.1, 0.3, 0.6])
