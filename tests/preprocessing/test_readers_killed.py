"""A process that reads files dies: a readable file is never skipped because of it."""

import signal

import numpy as np
import pytest
from PIL import Image

from evenface.data.datasets import read_dataset
from evenface.preprocessing.prepare import prepare
from evenface.utils.errors import InputError

DEADLY = """
import os, pathlib
from evenface.preprocessing import worker

whole = worker.read_samples


def deadly(samples, target):
    for path, *_ in samples:
        told = pathlib.Path({marks!r})
        if "bomb" in path and len(list(told.iterdir())) < {times}:
            (told / str(len(list(told.iterdir())))).touch()
            os.kill(os.getpid(), {signal})
    return whole(samples, target)


worker.read_samples = deadly
"""


@pytest.fixture
def deadly(tmp_path, monkeypatch):
    """Let children that read the picture ``bomb`` die by a signal, so many times; see what is prepared then."""
    pictures = tmp_path / "data"
    for label, name in enumerate(("a", "b")):
        (pictures / name).mkdir(parents=True)
        for number in range(2):
            value = np.full((16, 16), 40 * number + label, np.uint8)
            Image.fromarray(value).save(pictures / name / f"{'bomb' if (label, number) == (1, 1) else number}.png")
    (tmp_path / "site").mkdir()
    (tmp_path / "marks").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "site")

    def prepared(times, by):
        text = DEADLY.format(marks=str(tmp_path / "marks"), times=times, signal=int(by))
        (tmp_path / "site/sitecustomize.py").write_text(text)
        return prepare(read_dataset("folder", pictures), tmp_path / "stores", size=16, workers=2)

    return prepared


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGSEGV])
@pytest.mark.parametrize("times", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_reader_that_dies_for_another_reason_drops_nothing(deadly, by, times, tmp_path):
    store = deadly(times, by)
    assert len(store) == 4
    assert len(store.quarantine) == 0
    assert len(list((tmp_path / "marks").iterdir())) == times


def test_memory_that_is_used_up_stops_with_the_file_and_drops_nothing(deadly, tmp_path):
    with pytest.raises(InputError) as told:
        deadly(99, signal.SIGKILL)
    assert "b/bomb.png was killed (signal 9) twice" in told.value.message
    assert "memory" in told.value.message
    assert "EVENFACE_WORKERS=1" in told.value.hint
    assert not list(tmp_path.glob("stores/*/quarantine.csv"))
    store = deadly(0, signal.SIGKILL)
    assert (len(store), len(store.quarantine)) == (4, 0)


def test_a_file_that_crashes_the_decoder_again_is_skipped(deadly, tmp_path):
    store = deadly(99, signal.SIGSEGV)
    assert store.quarantine[["sample", "reason"]].to_numpy().tolist() == [
        ["b/bomb.png", "corrupt: it crashes the decoder"]
    ]
    assert len(store) == 3


@pytest.mark.parametrize(("given", "says"), [("2", None), ("many", "EVENFACE_WORKERS must be a number")])
def test_the_number_of_processes_can_be_set(deadly, monkeypatch, tmp_path, given, says):
    from evenface.preprocessing.prepare import _count
    from evenface.preprocessing.target import Target

    monkeypatch.setenv("EVENFACE_WORKERS", given)
    if says:
        with pytest.raises(InputError, match=says):
            _count(None, 10, Target(16, 1))
    else:
        assert _count(None, 10, Target(16, 1)) == 2
        assert _count(1, 10, Target(16, 1)) == 1
