"""What all tests share: where real data lies, quiet threads, reproducible hypothesis runs."""

import gc
import io
import os
import signal
import subprocess
import sys
from functools import cache, wraps
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, settings

# Two workers on two cores: one thread each, or they only wait for each other.
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

from evenface.reporting import style  # after the above, as it imports NumPy


class Drawing:
    """Whether figures are drawn: two thirds of the time of a tiny run, where a test does not ask for them."""

    on = False


def emptied(draw):
    """Decorate a drawing function as ``styled`` does, so that it draws only where figures are drawn."""
    from matplotlib.figure import Figure

    class Empty(Figure):
        def savefig(self, target, **options):
            if isinstance(target, io.StringIO):
                target.write('<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1" viewBox="0 0 1 1"></svg>')
            else:
                super().savefig(target, **options)

    styled = style_function(draw)
    return wraps(draw)(lambda *args, **options: styled(*args, **options) if Drawing.on else Empty())


style_function, style.styled = style.styled, emptied

settings.register_profile(
    "evenface", deadline=None, max_examples=40, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("evenface")

# A shell ignores Ctrl-C for what it runs in the background, and children inherit that: tests that press it undo it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give each worker whole halves, and let it steal when it has ended: fixtures of a module are set up once."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


sys.dont_write_bytecode = False  # or each process that a test starts compiles the package again
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
gc.disable()  # collecting tests creates millions of objects, few of them garbage


def pytest_collection_finish(session):
    """Leave what was imported and collected out of all later garbage collections."""
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)  # the default of 700 takes a twentieth of the suite's time
    gc.enable()


@pytest.fixture
def real_figures(monkeypatch):
    """Draw the figures of pages, until ``on`` of what is returned is set to false."""
    monkeypatch.setattr(Drawing, "on", True)
    return Drawing


@pytest.fixture(scope="module")
def forked_workers():
    """Fork the processes of worker pools, whose imports take five times as long as what they do in tests."""
    from processes import ForkedWorker

    from evenface.utils import workers

    if sys.version_info >= (3, 14):  # a process of many threads that is forked may hang there
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "Pipe", ForkedWorker.pipe)
        patch.setattr(workers, "subprocess", SimpleNamespace(**vars(subprocess) | {"Popen": ForkedWorker.start}))
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with real data sets; tests that need it skip where it is absent."""
    folder = os.environ.get("EVENFACE_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("set EVENFACE_DATA to a folder with fer2013/, ferplus/, clips/ to run on real data")
    return Path(folder)


@pytest.fixture(scope="session")
def people_folder(tmp_path_factory) -> Path:
    """``class/subject-number.png`` of 12 made-up people: classes differ by brightness and stripes, and are uneven."""
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("people")
    random = np.random.default_rng(0)
    for label, (name, count) in enumerate({"calm": 6, "fear": 3, "happy": 9}.items()):
        (folder / name).mkdir()
        for person in range(12):
            for number in range(count):
                picture = random.normal(60 + 60 * label, 25, (32, 32))
                picture[:: label + 2] += 30
                image = Image.fromarray(picture.clip(0, 255).astype(np.uint8))
                image.save(folder / name / f"p{person:02}-{number}.png")
    return folder


@pytest.fixture(scope="session")
def small_recipe(people_folder, tmp_path_factory) -> Path:
    """A recipe that trains a tiny network on ``people_folder`` in a second or two."""
    import yaml

    recipe = {
        "name": "small",
        "about": "a tiny network on made-up pictures",
        "data": {"source": "folder", "root": str(people_folder), "size": 32, "channels": 1, "subjects": "^(p[0-9]+)-"},
        "protocol": {"kind": "holdout", "test": 0.3, "validation": 0.2},
        "network": {"name": "compact_vgg_16_half", "dropout": 0.2},
        "training": {"epochs": 3, "batch_size": 16, "accelerator": "cpu", "precision": "32-true"},
        "augment": {"rotate": 10, "erase": 0.3},
    }
    path = tmp_path_factory.mktemp("recipes") / "small.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


@pytest.fixture(scope="session")
def two_runs(small_recipe, tmp_path_factory) -> Path:
    """A folder of two runs on ``people_folder`` that differ in the loss: ``plain`` and ``weighted``."""
    import evenface as ef

    folder = tmp_path_factory.mktemp("two-runs")
    settings = {"network.name": "test_resnet", "training.epochs": 1}  # which finds more than one class so soon
    for name, loss in {"plain": "cross-entropy", "weighted": "class-balanced"}.items():
        ef.train(small_recipe, out=folder / name, sample_faces=False, **{**settings, "loss.name": loss})
    return folder


@pytest.fixture(scope="session")
def one_registry():
    """Read torch's table of ONNX operators once: a fifth of the time of an export."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(cache(ONNXRegistry.from_torchlib)))
        yield


@pytest.fixture(scope="session")
def plain_file(two_runs, one_registry, tmp_path_factory) -> Path:
    """The exported file of ``plain`` of :func:`two_runs`, alone in its folder."""
    import evenface as ef

    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    ef.export(two_runs / "plain", out=path)
    return path


@pytest.fixture(autouse=True, scope="session")
def built_once():
    """Keep what each CliRunner builds, the command line, and what each Fabric reads, the names of all packages."""
    import typer.testing
    from lightning_fabric.utilities import registry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.testing, "_get_command", cache(typer.testing._get_command))
        patch.setattr(registry, "entry_points", cache(registry.entry_points))
        yield


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """Keep stores and synthetic people of tests out of the user's cache."""
    os.environ["EVENFACE_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Where the page of :func:`client` keeps uploads."""
    return tmp_path_factory.mktemp("kept") / "here"


@pytest.fixture(scope="module")
def client(two_runs, kept, forked_workers):
    """Asks a page of two runs; nothing of it is left in the end."""
    from pages import client_of

    with client_of([two_runs], save_uploads=kept) as client:
        folder = client.app.state.jobs.folder
        yield client
        assert list(folder.iterdir()) == []
    assert not folder.exists()
