"""Settings are found, kept and shared; test data take no part."""

import contextlib
import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from optuna.samplers import GPSampler
from searching import OVER, recipe

from evenface.config.recipe_checks import with_settings
from evenface.training import build
from evenface.training.tuning import SearchRequest, run_searches, trial_table
from evenface.utils.errors import InputError


def loss(member):
    """A bowl, lowest at 50, 40 and 0.01."""
    dense, hidden, rate = member.network.dense, member.network.hidden, member.optimizer.lr
    away = ((dense - 50) / 48, (hidden - 40) / 96, math.log10(rate / 1e-2) / 3)
    return sum(one**2 for one in away)


STOPPED = {"search.prune": True, "search.trials": 8, "search.startup_trials": 4, "search.parallel_trials": 2}


class Toy:
    """StackedTraining nothing: the figure falls from 1 above the bowl to the bowl; counts what it is asked."""

    asked: list = []  # noqa: RUF012  one list for all, cleared by the fixture
    epochs = 0
    dies_after = math.inf

    def __init__(self, members):
        self.members = members
        self.histories = [[] for _ in members]
        self.over = [member.training.epochs for member in members]
        Toy.asked.append([(member.network.dense, member.network.hidden, member.optimizer.lr) for member in members])
        if len(Toy.asked) > Toy.dies_after:
            raise KeyboardInterrupt

    def run(self, until):
        for place, member in enumerate(self.members):
            history = self.histories[place]
            while len(history) < min(until, self.over[place]):
                epoch = len(history) + 1
                value = loss(member) + 1 - epoch / member.training.epochs
                history.append({"epoch": epoch, "validation_loss": value, "validation_accuracy": 1 - value})
                Toy.epochs += 1

    def end(self, place):
        self.over[place] = len(self.histories[place])


@pytest.fixture(autouse=True)
def _fresh():
    Toy.asked, Toy.epochs, Toy.dies_after = [], 0, math.inf


def member_of(name, one):
    rows = np.arange(6) + 10 * len(name)
    return SimpleNamespace(
        train=rows,
        targets=rows % 2,
        validation=rows + 6,
        validation_targets=rows % 2,
        classes=2,
        one_output=True,
        network=one.network.recurrent,
        optimizer=one.optimizer,
        training=one.training,
        seed=one.seed,
    )


def basis(name, one):
    return f"data, {'focal' if one.loss.name == 'adaptive' else one.loss.name}"


def wanted(one, folder, names=("all",), file="search.sqlite"):
    return SearchRequest(one, names, basis, member_of, folder / file)


def settings_of(found):
    return trial_table(found).drop(columns=["network"]).to_dict("list")


def test_the_lowest_point_of_a_bowl_is_found_closer_than_by_chance(tmp_path):
    one = recipe(**{"search.startup_trials": 8, "search.trials": 16, "search.parallel_trials": 2})
    [found] = run_searches([wanted(one, tmp_path)], Toy)
    random = np.random.default_rng(0)
    dense, hidden = random.integers(16, 65, (4000, 16)), random.integers(32, 129, (4000, 16))
    rate = random.uniform(-4, -1, (4000, 16))
    blind = (((dense - 50) / 48) ** 2 + ((hidden - 40) / 96) ** 2 + ((rate + 2) / 3) ** 2).min(axis=1)
    assert found["all"].figure < np.quantile(blind, 0.05)


def test_what_is_found_is_the_best_trial_with_the_runs_own_seed(tmp_path):
    one = recipe(**{"seed": 7, "search.trials": 9})
    [found] = run_searches([wanted(one, tmp_path)], Toy)
    result = found["all"]
    rows = result.table
    assert len(rows) == 9
    best = rows.loc[rows["validation_loss"].idxmin()]
    assert result.figure == best["validation_loss"]
    assert result.trial == best["trial"]
    assert result.recipe == with_settings(one, {key: best[key] for key in OVER})
    assert result.recipe.seed == 7
    assert not result.recipe.search.trials
    assert list(rows["proposed"]) == ["by chance"] * 8 + ["guided"]


@contextlib.contextmanager
def few_starts():
    """Guide trials from two starting points, where they need not be good, only the same: most time goes into ten."""
    with pytest.MonkeyPatch.context() as patch:
        made = GPSampler.__init__

        def shortened(self, *arguments, **options):
            made(self, *arguments, **options)
            self._n_local_search = 2

        patch.setattr(GPSampler, "__init__", shortened)
        yield


@pytest.fixture
def short_proposals():
    with few_starts():
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Two rounds of trials by chance and two of guided ones, which nothing disturbed."""
    with few_starts():
        [found] = run_searches([wanted(recipe(**STOPPED), tmp_path_factory.mktemp("whole"))], Toy)
    return found


@pytest.mark.usefixtures("short_proposals")
@pytest.mark.parametrize("dies_after", [1, 3])
def test_a_search_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path, whole, dies_after):
    one = recipe(**STOPPED)
    Toy.dies_after = dies_after
    with pytest.raises(KeyboardInterrupt):
        run_searches([wanted(one, tmp_path)], Toy)
    lost, Toy.dies_after = len(Toy.asked[-1]), math.inf
    [again] = run_searches([wanted(one, tmp_path)], Toy)
    assert settings_of(again) == settings_of(whole)
    assert sum(len(trials) for trials in Toy.asked) == 8 + lost
    asked = len(Toy.asked)
    run_searches([wanted(one, tmp_path)], Toy)
    assert len(Toy.asked) == asked


@pytest.mark.usefixtures("short_proposals")
def test_a_round_of_which_half_is_kept_is_made_whole_and_more_trials_go_on_from_fewer(tmp_path, whole):
    few = recipe(**{**STOPPED, "search.trials": 7})
    run_searches([wanted(few, tmp_path)], Toy)
    Toy.asked = []
    [again] = run_searches([wanted(recipe(**STOPPED), tmp_path)], Toy)
    assert settings_of(again) == settings_of(whole)
    assert [len(trials) for trials in Toy.asked] == [1]
    [back] = run_searches([wanted(few, tmp_path)], Toy)
    assert len(back["all"].table) == 7


@pytest.mark.usefixtures("short_proposals")
def test_searches_side_by_side_find_what_each_finds_alone_and_train_as_one(tmp_path):
    one, other = recipe(**{"search.trials": 9}), recipe(**{"search.trials": 8, "training.epochs": 30})
    pair = [wanted(one, tmp_path, ("a", "bb")), wanted(other, tmp_path, ("a",))]
    together = run_searches(pair, Toy)
    assert len(Toy.asked[0]) == 9
    [alone] = run_searches([wanted(one, tmp_path, ("bb",), "alone.sqlite")], Toy)
    assert settings_of({"bb": together[0]["bb"]}) == settings_of(alone)
    assert settings_of({"a": together[0]["a"]}) != settings_of(alone)
    assert [len(part["a"].table) for part in together] == [9, 8]


def test_runs_that_differ_in_seed_or_protocols_words_alone_share_a_search(tmp_path):
    runs = [recipe(**{"search.trials": 4, "seed": seed, "name": f"run{seed}"}) for seed in range(3)]
    found = run_searches([wanted(one, tmp_path) for one in runs], Toy)
    assert sum(len(trials) for trials in Toy.asked) == 4
    assert len({one["all"].facts["search"] for one in found}) == 1
    assert [one["all"].recipe.seed for one in found] == [0, 1, 2]
    others = [{"loss.name": "focal"}, {"network.recurrent.kind": "lstm"}, {"training.epochs": 13}, {"search.seed": 1}]
    keys = {
        run_searches([wanted(recipe(**{"search.trials": 1, **one}), tmp_path)], Toy)[0]["all"].facts["search"]
        for one in [{}, *others, {"network.recurrent.dense": 20}, {"loss.name": "adaptive"}]
    }
    # What is searched over has no value of its own, and adaptive comes to focal here.
    assert len(keys) == 1 + len(others)


def test_ending_hopeless_trials_saves_epochs_and_keeps_the_best(tmp_path):
    one = recipe(**{"search.prune": True, "search.startup_trials": 20, "training.epochs": 40})
    [found] = run_searches([wanted(one, tmp_path)], Toy)
    rows = found["all"].table
    bowl = [loss(SimpleNamespace(**sections(dict(zip(OVER, row, strict=True))))) for row in rows[list(OVER)].to_numpy()]
    assert set(rows["state"]) == {"complete", "pruned"}
    assert found["all"].trial == np.argmin(bowl)
    assert rows["epochs"].sum() == Toy.epochs < 0.8 * 20 * 40
    assert (rows.loc[rows["state"] == "pruned", "epochs"] >= 4).all()


def sections(settings):
    whole = with_settings(recipe(), settings)
    return {"network": whole.network.recurrent, "optimizer": whole.optimizer}


def test_optunas_own_tools_can_read_the_trials(tmp_path):
    import optuna

    one = recipe(**{"search.trials": 6})
    [found] = run_searches([wanted(one, tmp_path)], Toy)
    study = optuna.load_study(
        study_name=found["all"].facts["search"], storage=f"sqlite:///{tmp_path / 'search.sqlite'}"
    )
    assert study.best_params == found["all"].settings
    assert study.best_value == found["all"].figure
    assert study.user_attrs == {"of": "toy: all"}
    curve = study.best_trial.intermediate_values
    assert list(curve) == list(range(1, one.training.epochs + 1))
    assert min(curve.values()) == study.best_value


WRONG = {
    "unknown": ({"network.recurrent.hiden": [1, 2]}, "network.recurrent.hiden .*\n.*network.recurrent.hidden"),
    "short": ({"hidden": [1, 2]}, "Did you mean .*network.recurrent.hidden"),
    "of data": ({"data.size": [32, 64]}, "data.size"),
    "a word": ({"network.name": [1, 2]}, "network.name"),
    "a place": ({"training.nodes": [1, 2]}, "training.nodes"),
    "beyond": ({"network.recurrent.hidden": [1, 4096]}, "network.recurrent.hidden: .*1024"),
    "empty": ({"network.recurrent.hidden": [64, 64]}, "lower bound must be below"),
    "parts": ({"network.recurrent.hidden": [1.5, 64]}, "must be integers"),
    "log of nothing": ({"augment.flip": [0, 1, "log"]}, "above 0"),
    "of pictures": ({"network.dropout": [0.1, 0.5]}, "no effect on sequences"),
    "no option": ({"loss.gama": [0, 5]}, "gama"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_searched_is_refused_by_name(name):
    over, said = WRONG[name]
    with pytest.raises(InputError, match=said.replace("\n", "(?s:.)")):
        build.check_recipe(recipe(**{"search.space": over, "loss.name": "focal"}))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"search.space": {}}, "search.space is empty"),
        ({"training.checkpoint": "test"}, "test data"),
        ({"network.name": "resnet18"}, "search"),
    ],
)
def test_a_search_that_cannot_be_is_refused(overrides, said):
    with pytest.raises(InputError, match=said):
        build.check_recipe(recipe(**overrides))


def test_without_optuna_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"evenface\[search\]"):
        build.check_recipe(recipe())


def test_without_validation_data_nothing_is_searched(tmp_path):
    def blind(name, one):
        member = member_of(name, one)
        member.validation = member.validation[:0]
        return member

    with pytest.raises(InputError, match=r"protocol\.validation"):
        run_searches([SearchRequest(recipe(), ("all",), basis, blind, tmp_path / "search.sqlite")], Toy)
