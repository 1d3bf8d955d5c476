"""Plans of studies: full crossing, precedence of settings, rejected definitions."""

import itertools

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from evenface.runs import PLACE
from evenface.studies import load_study
from evenface.studies.plan import StudyOptions, make_plan
from evenface.utils.errors import InputError
from evenface.utils.files import digest

RECIPE = {"name": "r", "data": {"source": "folder", "root": "/nowhere"}}

names = st.text("abcXYZ019.+-_ /ä", min_size=1, max_size=8)


@given(
    st.dictionaries(names, st.lists(names, min_size=1, max_size=3, unique=True), min_size=1, max_size=3),
    st.integers(1, 3),
    st.none() | st.integers(1, 3),
    st.data(),
)
def test_plans_cross_everything_once(factors, seeds, folds, data):
    levels = {
        name: {level: {"optimizer.lr": 0.1 / (1 + place), f"data.{f}": level} for place, level in enumerate(own)}
        for f, (name, own) in enumerate(factors.items())
    }
    left_out = data.draw(
        st.lists(
            st.fixed_dictionaries({}, optional={name: st.sampled_from(own) for name, own in factors.items()}),
            max_size=2,
        )
    )
    study = load_study(
        {
            "name": "s",
            "recipe": RECIPE,
            "factors": levels,
            "seeds": seeds,
            "exclude": left_out,
            **({} if folds is None else {"folds": folds, "set": {"protocol.kind": "kfold"}}),
        }
    )
    cells = [dict(zip(factors, cell, strict=True)) for cell in itertools.product(*factors.values())]
    kept = [cell for cell in cells if not any(match.items() <= cell.items() for match in left_out)]
    if not kept:
        with pytest.raises(InputError, match="excludes every cell"):
            make_plan(study)
        return
    plan = make_plan(study)
    assert plan.cells == [tuple(cell.values()) for cell in kept]
    assert len(plan.runs) == len(kept) * seeds * (folds or 1)
    assert len({(run.cell, run.repeat) for run in plan.runs}) == len(plan.runs)
    folders = [run.folder for run in plan.trainings]
    assert len({folder.lower() for folder in folders}) >= len({run.folder.lower() for run in plan.runs})
    assert len(set(folders)) == len(folders) == len(plan.runs)
    assert all(run.recipe.seed == run.seed and run.recipe.protocol.fold == (run.fold or 0) for run in plan.runs)


def test_later_settings_win_over_earlier_ones():
    study = load_study(
        {
            "name": "s",
            "recipe": RECIPE,
            "set": {"optimizer.lr": 1, "network.dropout": 0.1, "loss.name": "focal", "loss.gamma": 3},
            "factors": {
                "a": {"1": {"loss": {"name": "cross-entropy"}}, "2": {"loss.gamma": 4}},
                "b": {"x": {"training.epochs": 7}, "y": {}},
            },
            "when": [{"if": {"a": [1, 2], "b": "x"}, "set": {"training.epochs": 8}}],
            "datasets": {
                "d": {"set": {"optimizer.lr": 2}, "sizes": {"quick": {"seeds": 4, "set": {"network.dropout": 0.3}}}},
                "e": {"factors": {"b": {"z": {}}}},
            },
            "sizes": {"quick": {"seeds": [7], "set": {"network.dropout": 0.2, "optimizer.lr": 3}}},
            "paper_protocol": {"training.epochs": 9},
        }
    )
    runs = {run.cell: run.recipe for run in make_plan(study).runs}
    assert runs["1", "x"].loss.model_dump() == {"name": "cross-entropy"}
    assert runs["2", "x"].loss.options == {"gamma": 4}
    assert (runs["1", "x"].training.epochs, runs["1", "y"].training.epochs, runs["1", "y"].optimizer.lr) == (8, 20, 2)
    quick = make_plan(study, StudyOptions(size="quick", protocol="paper", overrides={"optimizer.lr": 5}))
    assert {run.seed for run in quick.runs} == {0, 1, 2, 3}
    assert {(r.recipe.optimizer.lr, r.recipe.network.dropout, r.recipe.training.epochs) for r in quick.runs} == {
        (5, 0.3, 9)
    }
    assert make_plan(study, StudyOptions(on="e")).cells == [("1", "z"), ("2", "z")]


def test_a_study_extends_another(tmp_path):
    under = {
        "name": "under",
        "about": "a",
        "recipe": RECIPE,
        "factors": {"f": {"1": {}, "2": {}}},
        "seeds": 3,
        "datasets": {"d": {"set": {"x": 1, "y": 1}}, "e": {}},
    }
    (tmp_path / "under.yaml").write_text(yaml.safe_dump(under, sort_keys=False))
    over = {"name": "over", "extends": "under.yaml", "seeds": 1, "datasets": {"g": {}, "d": {"set": {"y": 2}}}}
    (tmp_path / "over.yaml").write_text(yaml.safe_dump(over, sort_keys=False))
    study = load_study(tmp_path / "over.yaml")
    assert (study.name, study.about, study.seeds, list(study.factors["f"])) == ("over", "", (0,), ["1", "2"])
    assert list(study.datasets) == ["g", "d", "e"]
    assert study.datasets["d"].set == {"x": 1, "y": 2}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 3}, "unknown key seed\n  Did you mean seeds"),
        ({"exclude": [{"rul": "none"}]}, "exclude: unknown name 'rul'.*Did you mean rule"),
        ({"when": [{"if": {}, "sett": {}}]}, "unknown key when.0.sett|when.0.set is missing"),
        ({"metrics": ["acuracy"]}, "Did you mean accuracy"),
        ({"printed": [{"cell": {}, "accuracy": 61}]}, "accuracy must be 0 to 1"),
        ({"printed": [{"cell": {"rule": "nne"}, "accuracy": 0.6}]}, "printed: rule: unknown name 'nne'"),
        ({"baseline": {"rule": "nne"}}, "Did you mean none"),
        ({"seeds": 0}, "expected a number of at least 1"),
        ({"factors": {"f": {}}}, "at least 1"),
    ],
)
def test_an_invalid_definition_gives_an_error_message(change, said):
    factors = {"loss": {"plain": {}}, "rule": {"none": {}, "inverse": {"training.sampling": "inverse"}}}
    with pytest.raises(InputError, match=f"(?s){said}"):
        load_study({"name": "s", "recipe": RECIPE, "factors": factors} | change)


def test_all_folds_are_those_of_the_protocol_on_the_data_of_each_cell():
    people = {"full": {"data.people": "67"}, "small": {"data.people": "3"}}
    content = {"name": "s", "recipe": RECIPE, "factors": {"data": people}, "folds": "all", "seeds": 2}
    study = load_study({**content, "set": {"protocol.kind": "leave-one-out"}})
    plan = make_plan(study, count=lambda recipe: int(recipe.data.options["people"]))
    folds = {cell: [run.recipe.protocol.fold for run in plan.runs if run.cell == cell] for cell in plan.cells}
    assert folds == {("full",): [*sorted([*range(67)] * 2)], ("small",): [0, 0, 1, 1, 2, 2]}
    assert yaml.safe_load(yaml.safe_dump(study.model_dump(mode="json")))["folds"] == "all"
    unknown = make_plan(study)
    assert {run.fold for run in unknown.runs} == {0}
    assert unknown.notes == ("folds: all: one for each person of the data; counted when the data is available",)
    for settings, count in (({"kind": "kfold", "folds": 4}, 4), ({"kind": "kfold", "cohorts": 3}, 3)):
        plan = make_plan(load_study({**content, "set": {"protocol": settings}}))
        assert sorted({run.fold for run in plan.runs}) == list(range(count))
    with pytest.raises(InputError, match=r"folds: all needs a protocol that has folds, protocol\.kind is holdout"):
        make_plan(load_study(content))
    with pytest.raises(InputError, match="folds"):
        load_study({**content, "folds": "every"})


def test_the_digest_of_a_run_is_that_of_its_settings_as_one_yaml_file():
    for run in make_plan(load_study("p5-focal"), StudyOptions("ckplus", "quick")).trainings[:5]:
        content = run.recipe.model_dump(mode="json")
        for key in ("name", "about", "paper", "deviations"):
            del content[key]
        for key in PLACE:
            section, _, last = key.partition(".")
            del content[section][last]
        assert run.digest == digest(yaml.safe_dump(content, sort_keys=True))


def test_every_general_method_is_in_one_study_and_can_be_built():
    from evenface.methods import METHODS
    from evenface.training.build import check_recipe

    plan = make_plan(load_study("imbalance-methods"), StudyOptions(on="synthetic", size="quick"))
    recipes = [run.recipe for run in plan.runs if run.recipe.seed == 0]
    assert len(recipes) == len(plan.runs) / 3
    for recipe in recipes:
        check_recipe(recipe)
    of_expressions = {"dicc", "eac", "mek", "rebalanced-attention", "rul", "scn", "label-distribution"}
    of_people_or_levels = {"group-dro", "group-weights", "identity-adversarial", "ordinal", "corn", "regression"}
    others = {"frozen-then-tuned", "one-vs-all"} | of_expressions | of_people_or_levels
    of_classes = {name for name, method in METHODS.items() if "classification" in method.tasks}
    assert of_classes - others == {recipe.method.name for recipe in recipes}


def test_chosen_levels_are_those_and_the_baselines_in_the_folders_of_the_whole_study():
    study = load_study(
        {
            "name": "s",
            "recipe": RECIPE,
            "factors": {
                "a": {"1": {}, "2": {"optimizer.lr": 1}, "3": {"optimizer.lr": 2}},
                "b": {"x": {}, "y": {"seed": 9}},
            },
            "baseline": {"a": "1"},
            "deviations": [
                "Always.",
                {"text": "Fast.", "while": {"optimizer.lr": 1}},
                {"text": "Faster.", "while": {"optimizer.lr": 2}},
            ],
            "exclude": [{"a": "2", "b": "y"}],
            "seeds": 2,
        }
    )
    whole = make_plan(study)
    assert whole.chosen().runs == whole.runs
    some = make_plan(study, StudyOptions(only={"a": ["3"], "b": ["y"]})).chosen()
    assert some.cells == [("1", "y"), ("3", "y")]
    assert [run for run in whole.runs if run.cell in some.cells] == list(some.runs)
    assert (whole.deviations, some.deviations) == (("Always.", "Fast.", "Faster."), ("Always.", "Faster."))
    assert some.notes == ("only 2 of 3 levels of a: 1, 3", "only 1 of 2 levels of b: y")
    with pytest.raises(InputError, match="there is no level of a in the study s: '4'"):
        make_plan(study, StudyOptions(only={"a": ["4"]})).chosen()
    with pytest.raises(InputError, match="there is no factor in the study s: 'c'"):
        make_plan(study, StudyOptions(only={"c": ["4"]})).chosen()
    alone = make_plan(study.model_copy(update={"baseline": {}}), StudyOptions(only={"a": ["2"], "b": ["y"]}))
    with pytest.raises(InputError, match="no run of these levels"):
        alone.chosen()
