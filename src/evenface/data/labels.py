"""Class names: synonyms of expressions, mapping of classes between datasets, merged classes, values of levels."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from evenface.utils.errors import InputError
from evenface.utils.files import number_of

EXPRESSIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt")
"""Class names of the built-in dataset readers, in the order of FER2013, contempt last."""

SYNONYMS = {
    "angry": ("anger",),
    "disgust": ("disgusted",),
    "fear": ("fearful", "afraid"),
    "happy": ("happiness",),
    "sad": ("sadness",),
    "surprise": ("surprised",),
    "neutral": ("neutrality",),
    "contempt": ("contemptuous",),
}
"""Other forms of the same word; related words (joy, calm) are left to the user."""

_CANONICAL = {form: name for name, forms in SYNONYMS.items() for form in (name, *forms)}


def canonical_name(name: str) -> str:
    """Return the canonical class name: ``happy`` for ``Happiness``; unknown names in lower case."""
    lower = name.strip().lower()
    return _CANONICAL.get(lower, lower)


@dataclass(frozen=True)
class ClassMap:
    """Mapping of the classes of a dataset to those of a model that was trained on another dataset.

    Parameters
    ----------
    model, target : tuple of str
        Class names of the model, and of the dataset.
    indices : tuple of int or None
        For each class of the dataset the index of the model's class, or None.
    """

    model: tuple[str, ...]
    target: tuple[str, ...]
    indices: tuple[int | None, ...]

    @property
    def used(self) -> tuple[int, ...]:
        """Indices in ``model`` of the S shared classes, increasing."""
        return tuple(sorted({index for index in self.indices if index is not None}))

    @property
    def shared(self) -> tuple[str, ...]:
        """Names of the shared classes in the model."""
        return tuple(self.model[index] for index in self.used)

    @property
    def only_model(self) -> tuple[str, ...]:
        """Classes of the model that the dataset does not have."""
        return tuple(name for index, name in enumerate(self.model) if index not in self.used)

    @property
    def only_target(self) -> tuple[str, ...]:
        """Classes of the dataset that the model does not have."""
        return tuple(name for name, index in zip(self.target, self.indices, strict=True) if index is None)

    @property
    def named(self) -> dict[str, str | None]:
        """Class of the dataset to class of the model, or None."""
        pairs = zip(self.target, self.indices, strict=True)
        return {name: None if index is None else self.model[index] for name, index in pairs}

    def labels(self, labels: np.ndarray) -> np.ndarray:
        """Convert labels of the dataset to indices in ``model``, -1 for classes without a match; int64, same shape."""
        table = np.array([-1 if index is None else index for index in self.indices], dtype=np.int64)
        return np.asarray(table[labels])

    def restrict(self, probabilities: np.ndarray) -> np.ndarray:
        """Restrict probabilities (N, C) to the shared classes and renormalise; shape (N, S).

        The result is the probability of each shared class, given that the sample has one of them.
        """
        kept = np.asarray(probabilities, dtype=np.float64)[:, list(self.used)]
        total = kept.sum(axis=1, keepdims=True)
        result = np.full_like(kept, 1 / kept.shape[1])
        np.divide(kept, total, out=result, where=total > 0)
        return result


@dataclass(frozen=True)
class ClassMerge:
    """Classes of a model merged into fewer.

    Parameters
    ----------
    model, classes : tuple of str
        Class names before and after merging.
    indices : tuple of int
        For each class of the model its index in ``classes``.
    """

    model: tuple[str, ...]
    classes: tuple[str, ...]
    indices: tuple[int, ...]

    @property
    def groups(self) -> dict[str, list[str]]:
        """Each merged class to the model's classes in it; empty if no class is merged."""
        if self.classes == self.model:
            return {}
        members: dict[str, list[str]] = {name: [] for name in self.classes}
        for name, index in zip(self.model, self.indices, strict=True):
            members[self.classes[index]].append(name)
        return {name: names for name, names in members.items() if names != [name]}

    @property
    def in_order(self) -> bool:
        """Whether the merged classes keep the model's order, so that an ordinal scale stays one."""
        return list(self.indices) == sorted(self.indices)

    def sum(self, values: npt.ArrayLike) -> np.ndarray:
        """Sum probabilities or counts of the model's classes per merged class, ``(..., C) -> (..., M)``."""
        array = np.asarray(values)
        result = np.zeros((*array.shape[:-1], len(self.classes)), dtype=array.dtype)
        for index, column in zip(self.indices, np.moveaxis(array, -1, 0), strict=True):
            result[..., index] += column
        return result


def merge_classes(model: Sequence[str], classes: Mapping[str, str | Sequence[str]] | None = None) -> ClassMerge:
    """Merge classes of a model, such as four levels of pain into ``pain``.

    Examples
    --------
    >>> merge_classes(["BL1", "PA1", "PA2"], {"pain": ["PA1", "PA2"]}).sum([[0.5, 0.2, 0.3]])
    array([[0.5, 0.5]])
    """
    if not isinstance(classes, Mapping | None) or not all(
        isinstance(members, str | list | tuple) and members for members in (classes or {}).values()
    ):
        raise InputError(
            f"merge must map each new class to classes of the run, got {classes!r}",
            "For example: {pain: [PA1, PA2, PA3, PA4]}.",
        )
    given = {str(name): [m] if isinstance(m, str) else [*map(str, m)] for name, m in (classes or {}).items()}
    name_of = {name: name for name in model}
    used: set[str] = set()
    for name, members in given.items():
        if name in model and name not in members:
            raise InputError(
                f"merge: the new class {name} has the name of a class of the model that is not part of it",
                "Use another name, or add the class to its list.",
            )
        for member in members:
            _check_class(member, model, "model", "merge")
            if member in used:
                raise InputError(f"merge: the class {member} is listed twice", "List each class once.")
            used.add(member)
            name_of[member] = name
    merged = tuple(dict.fromkeys(name_of[name] for name in model))
    if len(merged) < 2:
        raise InputError(
            f"merge: expected at least two classes after merging, found only {merged[0]}", "Merge fewer classes."
        )
    return ClassMerge(tuple(model), merged, tuple(merged.index(name_of[name]) for name in model))


def match_classes(
    model: Sequence[str], target: Sequence[str], classes: Mapping[str, str | None] | None = None
) -> ClassMap:
    """Match each class of a dataset to a class of the model: by ``classes`` if given, else by name or synonym."""
    if not isinstance(classes, Mapping | None):
        raise InputError(
            f"classes must map classes of the dataset to classes of the model, got {classes!r}",
            "For example: {joy: happy, calm: null}.",
        )
    given = {str(name): None if partner is None else str(partner) for name, partner in (classes or {}).items()}
    for name, partner in given.items():
        _check_class(name, target, "dataset")
        if partner is not None:
            _check_class(partner, model, "model")
    partners = [given[name] if name in given else _match_by_name(name, model) for name in target]
    indices = tuple(None if partner is None else list(model).index(partner) for partner in partners)
    class_map = ClassMap(tuple(model), tuple(target), indices)
    if len(class_map.used) < 2:
        shared = f"only the class {class_map.shared[0]}" if class_map.shared else "no class"
        raise InputError(
            f"the model ({', '.join(model)}) and the dataset ({', '.join(target)}) share {shared}; "
            "expected at least two",
            "Map classes of the dataset to classes of the model: classes {joy: happy}.",
        )
    return class_map


def _check_class(name: str, names: Iterable[str], owner: str, key: str = "classes") -> None:
    if name not in names:
        raise InputError(f"{key}: the {owner} has no class {name!r}", f"It has {', '.join(names)}.")


def _match_by_name(name: str, model: Sequence[str]) -> str | None:
    if name in model:
        return name
    alike = [other for other in model if canonical_name(other) == canonical_name(name)]
    if len(alike) > 1:
        raise InputError(
            f"the class {name} of the dataset matches {' and '.join(alike)} of the model",
            f"Choose one with the option classes: {{{name}: {alike[0]}}}; or null for none.",
        )
    return alike[0] if alike else None


def has_numeric_names(names: Sequence[str]) -> bool:
    """Return whether the names are finite numbers in increasing order."""
    values = [number_of(name) for name in names]
    return all(a is not None and b is not None and a < b for a, b in pairwise(values))


def level_values(names: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return the value of each level: the number in its name if all names are numbers, else its index.

    Examples
    --------
    >>> level_values(["0", "1", "2", "4", "8"]), level_values(["mild", "severe"])
    (array([0., 1., 2., 4., 8.]), array([0., 1.]))
    """
    if has_numeric_names(names):
        return np.array([float(name) for name in names])
    return np.arange(len(names), dtype=np.float64)


def describe_levels(names: Sequence[str]) -> str:
    """Return a sentence on the values of the levels."""
    values = ", ".join(f"{name} {value:g}" for name, value in zip(names, level_values(names), strict=True))
    if has_numeric_names(names):
        return f"values of the levels are their names: {', '.join(names)}"
    return f"the names of the levels are not increasing numbers: their values are their indices ({values})"
