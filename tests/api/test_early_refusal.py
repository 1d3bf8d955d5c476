"""What is wrong with an option is found before any work is done."""

import pytest

import evenface as ef
from evenface import api
from evenface.runs import Run
from evenface.utils.errors import InputError

CUDA = {"training.accelerator": "cuda"}
FLOAT16 = {"training.accelerator": "cpu", "training.precision": "16-mixed"}


@pytest.fixture
def no_work(monkeypatch):
    """Every step that takes time fails: reading, preparing, training, predicting, resampling."""

    def work(*_, **__):
        raise AssertionError("work was done before the option was refused")

    for name in (
        "evenface.training.data.prepare_store",
        "evenface.training.fit.TrainingData",
        "evenface.training.stacked.runs.TrainingData",
        "evenface.data.dataset_guess.guess_dataset",
        "evenface.inference.predict.predict_sources",
        "evenface.training.calibrate.fit",
        "evenface.studies.run.open_plan",
    ):
        monkeypatch.setattr(name, work)


@pytest.fixture(scope="module")
def run(two_runs):
    return two_runs / "plain"


CASES = {
    "figures of a report": (lambda run, _: api.evaluate(run, figures=["gif"]), "'gif'"),
    "figures of another dataset": (lambda run, data: api.evaluate(run, data=data, figures=["pdf", "gif"]), "'gif'"),
    "figures of a comparison": (lambda run, _: api.compare([run, run], figures=["gif"]), "'gif'"),
    "folder of a comparison": (lambda run, _: api.compare([run, run], out=run), "is a run folder"),
    "method": (lambda _, data: api.train_folder(data, method="focl"), "Did you mean focal"),
    "graphics card": (lambda run, _: ef.train(run, out="new", **CUDA), "there is no GPU"),
    "precision": (lambda run, _: ef.train(run, out="new", **FLOAT16), "needs a GPU"),
    "class prior": (lambda run, data: ef.predict(str(data), run, prior="calm=1,furious=1"), "furious"),
    "error rate": (lambda run, _: api.calibrate(run, max_error_rate=7), "from 0 to 1"),
    "target prior": (lambda run, _: api.calibrate(run, prior="nonsense"), "nonsense"),
    "parallel runs": (lambda run, _: api.study("leaky-split", jobs=0), "1 or more"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_option_is_refused_before_any_work(case, run, people_folder, no_work, tmp_path, monkeypatch):
    call, words = CASES[case]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    with pytest.raises(InputError) as error:
        call(run, people_folder)
    assert words in f"{error.value}"
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("maps", [{"class_map": {"calm": "furious"}}, {"merge_classes": {"bad": ["furious"]}}])
def test_a_class_that_does_not_exist_is_found_before_images_are_prepared(
    maps, run, people_folder, tmp_path, monkeypatch
):
    def prepare(*_, **__):
        raise AssertionError("images were prepared")

    monkeypatch.setattr("evenface.inference.cross_dataset._prepare_test_set", prepare)
    with pytest.raises(InputError, match="furious"):
        api.evaluate(run, data=people_folder, out=tmp_path / "out", **maps)
    assert not (tmp_path / "out").exists()
    assert Run(run).finished
