"""What tests of statistics share: pairs, and Student's sleep data."""

import numpy as np
from hypothesis import strategies as st

from evenface import statistics as ef

# Student's sleep data (1908): hours gained by ten people with each of two drugs.
FIRST = np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
SECOND = np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])
SLEEP = ef.Pairs(FIRST, SECOND, "hours", "first", "second", "drug", "person")


def random_pairs(seed, n=12, shift=0.3):
    random = np.random.default_rng(seed)
    base = random.normal(size=n)
    return ef.Pairs(base + shift + random.normal(scale=0.7, size=n), base)


seeds = st.integers(0, 2**32 - 1)
