"""Class imbalance: counts and ratios, weights and sampling that compensate for it, and subsampling that induces it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from evenface.config.recipe import Imbalance
from evenface.utils.errors import InputError
from evenface.utils.registry import find, nearest

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

NORMALISATIONS = ("classes", "sum-one", "none")
WEIGHTS_HINT = (
    "Give a rule (inverse, effective, ratio), a list with one weight per class in order, or weights by class name: "
    "{happy: 1, sad: 3}."
)
SAMPLING_RULES = ("none", "inverse", "effective", "reversed")


def class_counts(labels: npt.ArrayLike, classes: int) -> Integers:
    """Count the samples of each class.

    Examples
    --------
    >>> class_counts([0, 2, 2], classes=3)
    array([1, 0, 2])
    """
    values = np.asarray(labels)
    if values.size and not np.issubdtype(values.dtype, np.integer):
        raise InputError(f"labels must be integers, got {values.dtype}")
    if values.size and not (values.min() >= 0 and values.max() < classes):
        raise InputError(f"labels must be from 0 to {classes - 1}, got {values.min()} to {values.max()}")
    return np.bincount(values.astype(np.int64), minlength=classes)


def imbalance_ratios(counts: npt.ArrayLike, names: Sequence[str] | None = None) -> Floats:
    """Compute the imbalance ratio of each class against the rest: negatives over positives.

    Parameters
    ----------
    counts : array-like of shape (C,)
        Training samples per class, all above 0.
    names : sequence of str, optional
        Class names, for error messages.

    Returns
    -------
    float64 array of shape (C,)

    Raises
    ------
    InputError
        If a class has no sample.

    Examples
    --------
    >>> imbalance_ratios([90, 10]).round(2)
    array([0.11, 9.  ])
    """
    n = _positive(counts, names)
    return np.asarray((n.sum() - n) / n)


def imbalance_factor(counts: npt.ArrayLike, names: Sequence[str] | None = None) -> float:
    """Compute the imbalance factor: largest over smallest class count; parameters as in :func:`imbalance_ratios`."""
    n = _positive(counts, names)
    return float(n.max() / n.min())


def inverse_frequency_weights(
    counts: npt.ArrayLike, *, normalise: str = "sum-one", names: Sequence[str] | None = None
) -> Floats:
    r"""Compute class weights as the inverse of the class count.

    .. math:: \alpha_i = \frac{1/c_i}{\sum_j 1/c_j}

    Parameters
    ----------
    counts : array-like of shape (C,)
        Training samples per class, all above 0.
    normalise : {"classes", "sum-one", "none"}
        Sum of the weights: the number of classes, 1, or as computed.
    names : sequence of str, optional
        Class names, for error messages.

    Returns
    -------
    float64 array of shape (C,)

    Raises
    ------
    InputError
        If a class has no sample or the normalisation is unknown.

    References
    ----------
    Lu et al., *Handling class imbalance in video-based pain intensity estimation using ResNetBiLSTM*, IJEER 2025,
    eq. 17.

    Examples
    --------
    >>> inverse_frequency_weights([30, 10])
    array([0.25, 0.75])
    """
    return _normalised(1.0 / _positive(counts, names), normalise)


def effective_number_weights(
    counts: npt.ArrayLike, *, beta: float = 0.999, normalise: str = "classes", names: Sequence[str] | None = None
) -> Floats:
    r"""Compute class weights as the inverse of the effective number of samples.

    .. math:: B_l = \frac{1 - \beta}{1 - \beta^{n_l}}

    Parameters and errors are those of :func:`inverse_frequency_weights`; ``beta`` must be >= 0 and < 1, where 0 gives
    equal weights.

    References
    ----------
    Cui et al., *Class-balanced loss based on effective number of samples*, CVPR 2019. Zhu et al., *A facial
    expression recognition network using rebalance-based regulation of attention consistency and focus*, 2025, eq. 6.
    """
    n = _positive(counts, names)
    if not 0 <= beta < 1:
        raise InputError(f"beta must be >= 0 and < 1, got {beta}")
    # expm1 and log1p keep the digits that 1 - beta ** n loses when beta is close to 1.
    raw = np.ones_like(n) if beta == 0 else (1 - beta) / -np.expm1(n * np.log1p(beta - 1))
    return _normalised(raw, normalise)


def ratio_weights(counts: npt.ArrayLike, *, normalise: str = "none", names: Sequence[str] | None = None) -> Floats:
    """Compute class weights as :func:`imbalance_ratios`; parameters as in :func:`inverse_frequency_weights`."""
    return _normalised(imbalance_ratios(counts, names), normalise)


def class_weights(
    rule: str | Sequence[float] | Mapping[Any, float] | None,
    counts: npt.ArrayLike,
    *,
    normalise: str = "classes",
    beta: float = 0.999,
    names: Sequence[str] | None = None,
    absent: bool = False,
) -> Floats | None:
    """Compute class weights by a rule, or check weights that are given.

    Parameters
    ----------
    rule : {"inverse", "effective", "ratio"}, sequence or mapping of weights, or None
        Rule, or one weight per class, in order or by class name; None for no weights.
    counts : array-like of shape (C,)
        Training samples per class.
    normalise : {"classes", "sum-one", "none"}
        Sum of the weights of a rule: the number of classes, 1, or as computed.
    beta : float, default=0.999
        Of the rule ``effective``.
    names : sequence of str, optional
        Class names, for weights by name and for error messages.
    absent : bool, default=False
        Whether classes without a training sample are allowed; a rule gives them a weight of 0.

    Returns
    -------
    float64 array of shape (C,), or None

    Raises
    ------
    InputError
        If the rule is unknown, a class has no sample, or the given weights are invalid.
    """
    if rule is None:
        return None
    if isinstance(rule, str):
        options: dict[str, Any] = {"beta": beta} if rule == "effective" else {}
        present = np.asarray(counts) > 0
        if absent and present.any() and not present.all():
            weights = np.zeros(len(present))
            weights[present] = class_weights(rule, np.asarray(counts)[present], normalise=normalise, beta=beta)
            return weights
        return find("rule for class weights", rule, _RULES)(counts, normalise=normalise, names=names, **options)
    given = _by_name(rule, names) if isinstance(rule, Mapping) else rule
    expected = np.asarray(counts).shape
    try:
        weights = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        weights = np.full(1, np.nan)
    if isinstance(given, bool | int | float) or not weights.ndim:
        raise InputError(f"class weights must be one number per class, got the single value {given!r}", WEIGHTS_HINT)
    if weights.shape != expected or not np.isfinite(weights).all() or (weights < 0).any() or not weights.sum() > 0:
        raise InputError(
            f"class weights must be {expected[0]} finite numbers >= 0, one per class and not all 0, got {given!r}",
            WEIGHTS_HINT,
        )
    return weights


def positive_weights(
    rule: str | Mapping[Any, float] | None, targets: npt.ArrayLike, names: Sequence[str]
) -> Floats | None:
    """Compute the weight of each target's positives by a rule, or check weights that are given.

    Parameters
    ----------
    rule : {"none", "balanced"} or mapping
        ``balanced``: negatives over positives among the known training targets; 1 for a target of which one of them is
        missing. A mapping has a number >= 0 for each target's name.
    targets : array_like of shape (N, T)
        Training targets, NaN where missing; 0.5 and more is positive.
    names : sequence of str
        The targets.

    Returns
    -------
    ndarray of shape (T,), or None
        float64; None for ``none``.

    Raises
    ------
    InputError
        If the rule is unknown, or a name or number is invalid.

    Examples
    --------
    >>> positive_weights("balanced", [[1, 0], [0, 0], [0, 0], [0, np.nan]], ["AU1", "AU9"])
    array([3., 1.])
    """
    if rule is None or rule == "none":
        return None
    if isinstance(rule, Mapping):
        return _given_positive_weights({str(name): weight for name, weight in rule.items()}, names)
    if rule != "balanced":
        raise InputError(
            f"unknown rule {rule!r} for the weights of positives",
            "Set loss.positive_weights to none, balanced, or a number for each target: {AU1: 4, AU12: 1}.",
        )
    values = np.asarray(targets, dtype=np.float64)
    positives, negatives = (values >= 0.5).sum(axis=0), (values < 0.5).sum(axis=0)
    both = (positives > 0) & (negatives > 0)
    return np.where(both, negatives / np.maximum(positives, 1), 1.0)


def _given_positive_weights(given: Mapping[str, Any], names: Sequence[str]) -> Floats:
    unknown, missing = [name for name in given if name not in names], [name for name in names if name not in given]
    if unknown or missing:
        problem = f"unknown target {unknown[0]!r}" if unknown else f"the target {missing[0]!r} has no weight"
        raise InputError(f"weights of positives: {problem}", f"Give a weight for each of {', '.join(names)}.")
    for name, weight in given.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < np.inf:
            raise InputError(f"weights of positives: {name} must have a finite number >= 0, got {weight!r}")
    return np.array([given[name] for name in names], dtype=np.float64)


def sampling_probabilities(labels: npt.ArrayLike, rule: str = "none", *, beta: float = 0.999) -> Floats:
    """Compute the probability of drawing each sample; a float64 array of shape (N,) that sums to 1."""
    find("sampling rule", rule, dict.fromkeys(SAMPLING_RULES))
    _, inverse, present = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    if not len(inverse):
        raise InputError("sampling needs at least one sample")
    if rule == "inverse":
        weights = 1.0 / present
    elif rule == "effective":
        weights = effective_number_weights(present, beta=beta)
    elif rule == "reversed":
        weights = 1.0 / present.astype(np.float64) ** 2
    else:
        weights = np.ones(len(present))
    probabilities = weights[inverse]
    return np.asarray(probabilities / probabilities.sum(), dtype=np.float64)


def draw_samples(probabilities: Floats, uniforms: Floats) -> Integers:
    """Draw samples with replacement from uniform random numbers in [0, 1); return their indices.

    Examples
    --------
    >>> draw_samples(np.array([0.5, 0.0, 0.5]), np.array([0.1, 0.5, 0.9]))
    array([0, 2, 2])
    """
    cumulative = np.cumsum(probabilities)
    return np.searchsorted(cumulative / cumulative[-1], uniforms, side="right").astype(np.int64)


_RULES = {"inverse": inverse_frequency_weights, "effective": effective_number_weights, "ratio": ratio_weights}


def _by_name(rule: Mapping[Any, Any], names: Sequence[str] | None) -> list[Any]:
    """Return weights that are given by class name in the order of the classes."""
    given = {str(name): weight for name, weight in rule.items()}
    known = list(names or ())
    unknown, missing = [name for name in given if name not in known], [name for name in known if name not in given]
    if unknown or missing:
        problem = f"unknown class {unknown[0]!r}" if unknown else f"the class {missing[0]!r} has no weight"
        raise InputError(
            f"class weights by name: {problem}", f"Give a weight for each of {', '.join(known) or 'no class'}."
        )
    return [given[name] for name in known]


def _positive(counts: npt.ArrayLike, names: Sequence[str] | None) -> Floats:
    n = np.asarray(counts, dtype=np.float64)
    if n.ndim != 1 or not n.size:
        raise InputError(f"counts must be one number per class, got an array of shape {n.shape}")
    empty = np.flatnonzero(~(n > 0))
    if len(empty):
        which = ", ".join(str(i) if names is None else names[i] for i in empty.tolist())
        raise InputError(
            f"the class {which} has no training sample: its weight would be infinite",
            "Remove the class from the data, or choose a split in which it has training samples.",
        )
    return n


def _normalised(weights: Floats, normalise: str) -> Floats:
    find("normalisation of class weights", normalise, dict.fromkeys(NORMALISATIONS))
    if normalise == "none":
        return weights
    return np.asarray(weights / weights.sum() * (len(weights) if normalise == "classes" else 1))


Rows = NDArray[np.int64]


def exponential_counts(available: Sequence[int] | Rows, factor: float) -> Rows:
    r"""Compute counts that fall exponentially from the largest to the smallest class.

    .. math:: n'_i = n_i u^i, \quad u = \left(\frac{n_0}{n_{C-1} \, f}\right)^{1/(C-1)}

    with the classes in order of decreasing count (equal counts: in order of the classes) and ``f`` the
    factor, so that :math:`n'_0 / n'_{C-1} = f` before rounding to whole samples.

    Examples
    --------
    >>> exponential_counts([1000, 1000, 1000], 100).tolist()
    [1000, 100, 10]
    """
    counts = np.asarray(available, dtype=np.int64)
    if not (counts > 0).any():
        raise InputError("imbalance: there are no samples to subsample")
    n = counts[counts > 0]
    order = np.argsort(-n, kind="stable")
    largest, smallest = int(n[order[0]]), int(n[order[-1]])
    # Tolerance for rounding: a set with an induced factor must accept the same factor again.
    if largest / smallest > factor * (1 + 0.5 / smallest) + 1e-9:
        raise InputError(
            f"imbalance: the imbalance factor is {largest / smallest:.2f} already, above the requested {factor:g}",
            "Set a larger factor, or counts.",
        )
    steps = max(len(n) - 1, 1)
    u = min((largest / (smallest * factor)) ** (1 / steps), 1.0)
    keep = np.empty_like(n)
    keep[order] = np.floor(n[order] * u ** np.arange(len(n)) + 0.5).astype(np.int64)
    if keep.min() < 1:
        raise InputError(
            f"imbalance: with a factor of {factor:g} the smallest class would have no sample",
            f"The largest class has {largest} samples: set a factor of at most {largest}.",
        )
    wanted = np.zeros_like(counts)
    wanted[counts > 0] = keep
    return wanted


def wanted_counts(imbalance: Imbalance, available: Rows, classes: Sequence[str]) -> Rows:
    """Return the number of samples to keep per class, int64 array of shape (C,)."""
    if imbalance.factor is not None:
        return exponential_counts(available, imbalance.factor)
    wanted = available.copy()
    for name, count in (imbalance.counts or {}).items():
        if name not in classes:
            raise InputError(f"imbalance: unknown class {name!r} in counts", nearest(name, classes))
        wanted[classes.index(name)] = int(count)
    for name, count, limit in zip(classes, wanted.tolist(), available.tolist(), strict=True):
        if count > limit:
            raise InputError(
                f"imbalance: {count} samples of class {name} requested, but {limit} are available",
                "Set a smaller count, or a smaller test set.",
            )
    return wanted


def subsample(
    rows: Rows,
    labels: Rows,
    wanted: Rows,
    *,
    subjects: NDArray[np.object_] | None = None,
    clips: NDArray[np.object_] | None = None,
    seed: Sequence[int] = (0,),
) -> tuple[Rows, str]:
    """Keep ``wanted`` random samples of each class; return their rows and, by subjects, a note.

    With the same seed, the samples kept at a smaller count are a subset of those kept at a larger one, so that studies
    over several factors compare nested sets. By subjects, all classes use one random order of subjects: each subject is
    kept whole as long as it fits, then whole clips of subjects that did not fit, then single samples.
    """
    chosen = np.zeros(len(rows), dtype=bool)
    if subjects is None:
        for label, count in enumerate(wanted.tolist()):
            members = np.flatnonzero(labels == label)
            chosen[np.random.default_rng([*seed, label]).permutation(members)[:count]] = True
        return rows[chosen], ""
    steps = [_ranks(subjects, np.random.default_rng(list(seed)))]
    if clips is not None:
        # Clips of the first subject that did not fit come first, so that few subjects are kept in part.
        steps.append(steps[0] * len(rows) + _ranks(clips, np.random.default_rng([*seed, 0])))
    by_step = np.zeros(3, dtype=np.int64)
    for label, count in enumerate(wanted.tolist()):
        remaining, candidates = count, np.flatnonzero(labels == label)
        for step, ranks in enumerate(steps):
            before = remaining
            ordered = candidates[np.argsort(ranks[candidates], kind="stable")]
            remaining, candidates = _keep_whole(chosen, remaining, ordered, ranks)
            by_step[step] += before - remaining
        chosen[candidates[:remaining]] = True
        by_step[2] += remaining
    whole_subjects, whole_clips, single = by_step.tolist()
    note = f"samples kept with all of their subject in the class: {whole_subjects}"
    if clips is not None:
        note += f", with their whole clip: {whole_clips}"
    return rows[chosen], f"{note}, singly: {single}"


def _ranks(names: NDArray[np.object_], rng: np.random.Generator) -> Rows:
    """Return for each sample the rank of its subject or clip in a random order."""
    unique, index = np.unique(names.astype(str), return_inverse=True)
    return np.asarray(rng.permutation(len(unique))[index], dtype=np.int64)


def _keep_whole(chosen: NDArray[np.bool_], remaining: int, members: Rows, ranks: Rows) -> tuple[int, Rows]:
    """Choose groups of equal rank that fit, in order; return the number still to choose, and the other members."""
    others = []
    for group in np.split(members, np.flatnonzero(np.diff(ranks[members])) + 1):
        if len(group) <= remaining:
            chosen[group] = True
            remaining -= len(group)
        else:
            others.append(group)
    return remaining, np.concatenate(others) if others else members[:0]
