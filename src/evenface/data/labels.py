"""Names of classes: one word for each expression, and how the classes of one data set answer to those of another."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from evenface.utils.errors import InputError
from evenface.utils.natural_order import number_of

EXPRESSIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt")
"""The words that evenface's own sources use, in the order of FER2013, contempt last."""

FORMS = {
    "angry": ("anger",),
    "disgust": ("disgusted",),
    "fear": ("fearful", "afraid"),
    "happy": ("happiness",),
    "sad": ("sadness",),
    "surprise": ("surprised",),
    "neutral": ("neutrality",),
    "contempt": ("contemptuous",),
}
"""Other forms of the same word; words that only resemble (joy, calm) are left to the user."""

_WORDS = {form: word for word, forms in FORMS.items() for form in (word, *forms)}


def canonical_name(name: str) -> str:
    """Bring a class name to the word that stands for it: ``Happiness`` to ``happy``; unknown ones in small letters."""
    plain = name.strip().lower()
    return _WORDS.get(plain, plain)


@dataclass(frozen=True)
class ClassMap:
    """How the classes of a data set answer to those of a model that was trained on another."""

    model: tuple[str, ...]
    target: tuple[str, ...]
    partners: tuple[int | None, ...]

    @property
    def used(self) -> tuple[int, ...]:
        """Places in ``model`` of the S classes that both share, rising."""
        return tuple(sorted({place for place in self.partners if place is not None}))

    @property
    def shared(self) -> tuple[str, ...]:
        """Names of the shared classes, as the model has them."""
        return tuple(self.model[place] for place in self.used)

    @property
    def only_model(self) -> tuple[str, ...]:
        """Classes of the model that the data set lacks."""
        return tuple(name for place, name in enumerate(self.model) if place not in self.used)

    @property
    def only_target(self) -> tuple[str, ...]:
        """Classes of the data set that are left out."""
        return tuple(name for name, place in zip(self.target, self.partners, strict=True) if place is None)

    @property
    def named(self) -> dict[str, str | None]:
        """The map by names: target class to the model's, or None."""
        pairs = zip(self.target, self.partners, strict=True)
        return {name: None if place is None else self.model[place] for name, place in pairs}

    def labels(self, labels: np.ndarray) -> np.ndarray:
        """Turn target labels into places in ``model``, -1 for those that are left out; int64, the same shape."""
        table = np.array([-1 if place is None else place for place in self.partners], dtype=np.int64)
        return np.asarray(table[labels])

    def restrict(self, probabilities: np.ndarray) -> np.ndarray:
        """Keep the shared classes and let each row sum to 1 again.

        What the model says is then the answer to: which of the shared classes is it, given that it is one of them?
        """
        kept = np.asarray(probabilities, dtype=np.float64)[:, list(self.used)]
        total = kept.sum(axis=1, keepdims=True)
        result = np.full_like(kept, 1 / kept.shape[1])
        np.divide(kept, total, out=result, where=total > 0)
        return result


@dataclass(frozen=True)
class ClassMerge:
    """Classes of a model that are joined to fewer."""

    model: tuple[str, ...]
    classes: tuple[str, ...]
    places: tuple[int, ...]

    @property
    def joined(self) -> dict[str, list[str]]:
        """Name of each joined class to the model's classes that it is made of; empty where nothing is joined."""
        if self.classes == self.model:
            return {}
        own: dict[str, list[str]] = {name: [] for name in self.classes}
        for name, place in zip(self.model, self.places, strict=True):
            own[self.classes[place]].append(name)
        return {name: members for name, members in own.items() if members != [name]}

    @property
    def in_order(self) -> bool:
        """Whether the joined classes are in the order of the model's, so that a scale stays one."""
        return list(self.places) == sorted(self.places)

    def sum(self, values: npt.ArrayLike) -> np.ndarray:
        """Add up what belongs to the model's classes, ``(..., C) -> (..., M)``: probabilities, or counts."""
        given = np.asarray(values)
        result = np.zeros((*given.shape[:-1], len(self.classes)), dtype=given.dtype)
        for place, one in zip(self.places, np.moveaxis(given, -1, 0), strict=True):
            result[..., place] += one
        return result


def merge_classes(model: Sequence[str], classes: Mapping[str, str | Sequence[str]] | None = None) -> ClassMerge:
    """Join classes of a model, such as four strengths of pain to ``pain``.

    Examples
    --------
    >>> merge_classes(["BL1", "PA1", "PA2"], {"pain": ["PA1", "PA2"]}).sum([[0.5, 0.2, 0.3]])
    array([[0.5, 0.5]])
    """
    if not isinstance(classes, Mapping | None) or not all(
        isinstance(members, str | list | tuple) and members for members in (classes or {}).values()
    ):
        raise InputError(
            f"merge cannot be {classes!r}", "Give the joined class first, with the run's: {pain: [PA1, PA2, PA3, PA4]}."
        )
    given = {str(name): [m] if isinstance(m, str) else [*map(str, m)] for name, m in (classes or {}).items()}
    name_of = {name: name for name in model}
    taken: set[str] = set()
    for name, members in given.items():
        if name in model and name not in members:
            raise InputError(f"merge: {name} is a class of the model already", "List it among those it is made of.")
        for member in members:
            _known(member, model, "model", "merge")
            if member in taken:
                raise InputError(f"merge: the class {member} is named twice", "Name each class once.")
            taken.add(member)
            name_of[member] = name
    merged = tuple(dict.fromkeys(name_of[name] for name in model))
    if len(merged) < 2:
        raise InputError(f"merge leaves only the class {merged[0]}, two are needed", "Merge fewer classes.")
    return ClassMerge(tuple(model), merged, tuple(merged.index(name_of[name]) for name in model))


def match_classes(
    model: Sequence[str], target: Sequence[str], classes: Mapping[str, str | None] | None = None
) -> ClassMap:
    """Find for each class of a data set its class of the model."""
    if not isinstance(classes, Mapping | None):
        raise InputError(
            f"classes cannot be {classes!r}", "Give a map, other data's class first: {joy: happy, calm: null}."
        )
    given = {str(name): None if partner is None else str(partner) for name, partner in (classes or {}).items()}
    for name, partner in given.items():
        _known(name, target, "data set")
        if partner is not None:
            _known(partner, model, "model")
    partners = [given[name] if name in given else _same(name, model) for name in target]
    places = tuple(None if partner is None else list(model).index(partner) for partner in partners)
    found = ClassMap(tuple(model), tuple(target), places)
    if len(found.used) < 2:
        said = f"only {found.shared[0]}" if found.shared else "no class"
        raise InputError(
            f"the model ({', '.join(model)}) and the data set ({', '.join(target)}) share {said}, two are needed",
            "Say which answer to each other, the data set's class first: classes {joy: happy}.",
        )
    return found


def _known(name: str, names: Iterable[str], whose: str, key: str = "classes") -> None:
    if name not in names:
        raise InputError(f"{key}: the {whose} has no class {name!r}", f"It has {', '.join(names)}.")


def _same(name: str, model: Sequence[str]) -> str | None:
    if name in model:
        return name
    alike = [other for other in model if canonical_name(other) == canonical_name(name)]
    if len(alike) > 1:
        raise InputError(
            f"the class {name} may be {' or '.join(alike)} of the model", "Say which in classes, or null for none."
        )
    return alike[0] if alike else None


def has_numeric_names(names: Sequence[str]) -> bool:
    """Whether the names are finite numbers in rising order."""
    values = [number_of(name) for name in names]
    return all(a is not None and b is not None and a < b for a, b in pairwise(values))


def level_values(names: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return the value of each level: the number that its name is, or its index.

    Examples
    --------
    >>> level_values(["0", "1", "2", "4", "8"]), level_values(["mild", "severe"])
    (array([0., 1., 2., 4., 8.]), array([0., 1.]))
    """
    if has_numeric_names(names):
        return np.array([float(name) for name in names])
    return np.arange(len(names), dtype=np.float64)


def describe_levels(names: Sequence[str]) -> str:
    """Describe in one sentence what value each level has."""
    values = ", ".join(f"{name} {value:g}" for name, value in zip(names, level_values(names), strict=True))
    if has_numeric_names(names):
        return f"levels have the values of their names: {', '.join(names)}"
    return f"the names of the levels are not numbers in rising order: their indices are their values ({values})"
