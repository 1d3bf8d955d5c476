"""The study of leaky splits: its runs differ in the split only."""

import pytest

from evenface.studies import load_study
from evenface.studies.plan import StudyOptions, make_plan
from evenface.training.build import check_recipe


@pytest.mark.parametrize("on", ["synthetic", "pemf"])
@pytest.mark.parametrize("size", ["full", "quick"])
def test_nothing_differs_but_what_stays_together(on, size):
    plan = make_plan(load_study("leaky-split"), StudyOptions(on, size))
    recipes = [run.recipe for run in plan.runs]
    assert len(recipes) == 45
    assert {recipe.protocol.by for recipe in recipes} == {"subject", "clip", "frame"}
    same = {"by": "auto", "fold": 0}
    alike = {
        recipe.model_copy(
            update={"seed": 0, "name": "", "protocol": recipe.protocol.model_copy(update=same)}
        ).model_dump_json()
        for recipe in recipes
    }
    assert len(alike) == 1
    check_recipe(recipes[0])
    data = recipes[0].data
    assert (data.clips.sampling, data.clips.frames) == ("windows", 1)
    assert on == "pemf" or data.options["identity"] is True


def test_accuracy_comes_first_and_people_are_what_others_are_compared_with():
    study = load_study("leaky-split")
    assert study.metrics[0] == "accuracy"
    assert study.baseline == {"split": "by subject"}
    assert (len(study.seeds), len(study.folds)) == (3, 5)
