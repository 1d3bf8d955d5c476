"""The study of how much of a person a baseline needs: its runs differ in the baseline only."""

from evenface.config import load_recipe
from evenface.studies import load_study
from evenface.studies.plan import StudyOptions, make_plan
from evenface.training.build import check_recipe


def test_nothing_differs_but_the_baseline():
    options = StudyOptions("ravdess")
    recipes = [run.recipe for run in make_plan(load_study("baseline-need"), options, lambda _recipe: 3).runs]
    assert len(recipes) == 7 * 3 * 3
    baselines = {recipe.data.baseline for recipe in recipes}
    assert sorted(each.clips for each in baselines if each.clips) == [1, 3, 10, 30]
    assert {each.kind for each in baselines} == {"none", "first-frames", "subject-mean"}
    alike = {
        load_recipe(
            recipe.model_dump(mode="json"),
            {"name": "x", "seed": 0, "protocol.fold": 0, "data.baseline": "none", "deviations": []},
        ).model_dump_json()
        for recipe in recipes
    }
    assert len(alike) == 1
    for recipe in recipes:
        check_recipe(recipe)


def test_the_recipe_says_that_it_is_transductive():
    recipe = load_recipe("ravdess-baseline")
    assert recipe.data.baseline.kind == "subject-mean"
    assert any("Transductive" in deviation.text for deviation in recipe.deviations)
    assert load_study("baseline-need").baseline == {"clips": "none"}
