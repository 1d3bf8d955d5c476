"""Every number of a recipe is finite, in range and no truth; sections and lists may be said by one word."""

import math
from types import NoneType, UnionType
from typing import Annotated, Union, get_args, get_origin

import pytest
from layouts import refused
from pydantic import BaseModel

from evenface.config import Recipe, load_recipe
from evenface.losses import LOSSES, build_loss, build_target_loss
from evenface.utils.errors import InputError
from evenface.utils.registry import checked_options

SMALL = {"name": "q", "data": {"source": "folder"}}


def kinds(annotation):
    """Types within an annotation, those of tuples and unions one by one."""
    if get_origin(annotation) in (Annotated, Union, UnionType, tuple, dict):
        return [kind for one in get_args(annotation) for kind in kinds(one)]
    return [annotation]


def numbers(model, prefix=""):
    """Dotted keys of all numbers of a recipe."""
    for name, field in model.model_fields.items():
        found = [kind for kind in kinds(field.annotation) if kind is not NoneType]
        inner = [kind for kind in found if isinstance(kind, type) and issubclass(kind, BaseModel)]
        for kind in inner:
            yield from numbers(kind, f"{prefix}{name}.")
        origin = get_origin(field.annotation)
        if set(found) <= {int, float} and found and origin not in (tuple, dict):
            yield f"{prefix}{name}"


NUMBERS = sorted(set(numbers(Recipe)))


def test_the_numbers_of_a_recipe_are_found():
    assert len(NUMBERS) > 50
    assert {"optimizer.lr", "seed", "protocol.fold", "data.faces.margin", "protocol.imbalance.factor"} <= set(NUMBERS)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, False, -1, 10**19, "many", [1]])
@pytest.mark.parametrize("key", NUMBERS)
def test_no_number_can_be_what_it_cannot(key, value):
    if value == 10**19 and key in ("optimizer.clip_norm", "protocol.imbalance.factor"):
        return  # larger than any norm or imbalance: of no effect, as documented
    if value == -1 and key == "data.faces.shift":
        return  # towards the chin
    with pytest.raises(InputError):
        load_recipe(SMALL, {key: value})


@pytest.mark.parametrize("value", [[math.nan, 0.9], [0.9, math.inf], [0.5], [0.5, 0.6, 0.7]])
def test_pairs_of_numbers_are_finite(value):
    for key in ("optimizer.betas", "augment.erase_area"):
        with pytest.raises(InputError):
            load_recipe(SMALL, {key: value})


@pytest.mark.parametrize("value", [[math.nan, 1], [0, math.inf]])
def test_ranges_of_a_search_are_finite(value):
    with pytest.raises(InputError):
        load_recipe(SMALL, {"search.space": {"optimizer.lr": value}})


def test_counts_by_class_are_whole_numbers():
    for count in (-1, 1.5, math.nan, math.inf, "x"):
        with pytest.raises(InputError):
            load_recipe(SMALL, {"protocol.imbalance": {"counts": {"a": count}}})


def test_one_word_stands_for_a_list_or_for_the_name_of_a_section():
    recipe = load_recipe(
        SMALL,
        {"training.loggers": "tensorboard", "loss": "focal", "loss.gamma": 1, "optimizer": "sgd", "deviations": "none"},
    )
    assert recipe.training.loggers == ("tensorboard",)
    assert (recipe.loss.name, recipe.loss.options) == ("focal", {"gamma": 1})
    assert recipe.optimizer.name == "sgd"
    assert [one.text for one in recipe.deviations] == ["none"]


def test_a_section_that_is_none_says_how_it_is_written():
    with refused("optimizer is a section with keys, got None\n  Write its keys: optimizer.name, optimizer.lr"):
        load_recipe(SMALL, {"optimizer": None})
    with refused("training is a section with keys, got 3\n  Write its keys: training.epochs"):
        load_recipe(SMALL, {"training": 3})


@pytest.mark.parametrize("value", [math.nan, math.inf, "x", [1.0]])
@pytest.mark.parametrize("name", [name for name in LOSSES if name != "adaptive"])
def test_no_option_of_a_loss_can_be_what_it_cannot(name, value):
    import inspect

    options = set(inspect.signature(LOSSES[name]).parameters) - {"counts", "targets"}
    kind = LOSSES[name].tasks[0]
    for option in options - ({"alpha"} if kind == "classification" else set()):
        chosen = {option: value}
        with pytest.raises(InputError, match=f"loss '{name}': |weights of positives|there is no normalisation"):
            build_loss(name, [3, 1], **chosen) if kind == "classification" else build_target_loss(
                name, kind, targets=[[0.0], [1.0]], names=["AU1"], **chosen
            )


def test_options_without_hints_or_of_unknown_types_are_left_to_their_author():
    def plain(a, b: "Missing" = None):  # noqa: F821
        return a, b

    assert checked_options("thing", "plain", plain, {"a": object, "b": 1}) == {"a": object, "b": 1}

    class Own:
        def __init__(self, width: int, other: object) -> None:
            return

    assert checked_options("thing", "own", Own, {"width": "3", "other": "x"}) == {"width": 3, "other": "x"}
    with refused("thing 'own': invalid option width, got 2.5"):
        checked_options("thing", "own", Own, {"width": 2.5})


@pytest.mark.parametrize(
    ("alpha", "words"),
    [
        (0.25, "got the single value 0.25"),
        (True, "got the single value True"),
        ({"a": 1}, "the class 'b' has no weight"),
        ({"a": 1, "b": 2, "c": 3}, "unknown class 'c'"),
        ({"a": 1, "b": "x"}, "2 finite numbers"),
        ([0, 0], "not all 0"),
        ([1, math.nan], "2 finite numbers"),
        ([1, -1], "2 finite numbers"),
        ([1, 2, 3], "2 finite numbers"),
        ("often", "no rule for class weights"),
    ],
)
def test_class_weights_that_cannot_be_are_told(alpha, words):
    with refused(words):
        build_loss("focal", counts=[3, 1], names=("a", "b"), alpha=alpha)


def test_class_weights_by_name_are_in_the_order_of_the_classes():
    weights = build_loss("focal", counts=[3, 1], names=("7", "b"), alpha={"b": 3, 7: 1}).alpha
    assert weights.tolist() == [1, 3]


def test_a_former_name_of_a_method_gives_the_new_one(tmp_path):
    recipe = {"name": "x", "data": {"source": "folder"}, "method": {"name": "plain"}}
    with pytest.raises(InputError, match=r"recipe: the method 'plain' was renamed to 'erm'\s+Use method\.name: erm"):
        load_recipe(recipe)
