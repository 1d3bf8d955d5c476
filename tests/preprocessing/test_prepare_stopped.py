"""Preparing is killed, stopped, crowded, and fills the disk: what is done is kept, and what is made is whole."""

import errno
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from stores import (
    PNG,
    await_death,
    children_of,
    folder_of,
    no_decoding,
)

from evenface.data.manifest import Manifest
from evenface.preprocessing import store as building
from evenface.preprocessing import worker
from evenface.preprocessing.prepare import prepare
from evenface.preprocessing.store import IMAGES
from evenface.preprocessing.target import Target
from evenface.utils.errors import InputError

SLOWLY = """
import sys, time
from pathlib import Path
from evenface.preprocessing import prepare, store as building
from evenface.data.manifest import Manifest
building.SYNC_SECONDS = 0
prepare.CHUNK_BYTES = 10 * 64
old = building.StoreWriter.add
def add(self, *rest):
    old(self, *rest)
    print(self.done, flush=True)
    time.sleep(0.05)
building.StoreWriter.add = add
store = prepare.prepare(Manifest.load(Path(sys.argv[1])), sys.argv[2], size=8, workers=1)
print("whole", store.key, flush=True)
"""


def start_slowly(tmp_path: Path, stores: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SLOWLY, str(tmp_path / "manifest.parquet"), str(stores)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def slow_set(tmp_path) -> Manifest:
    manifest = folder_of(tmp_path / "faces", 120)
    (tmp_path / "faces" / "0005.png").write_bytes(b"")
    (tmp_path / "faces" / "0095.png").write_bytes(PNG[:300])
    manifest.save(tmp_path / "manifest.parquet")
    return manifest


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for child processes in /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_prepare_is_resumed_to_the_same_bytes(tmp_path, slow_set, how, monkeypatch):
    process = start_slowly(tmp_path, tmp_path / "stores")
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 40:
            break
    children = children_of(process.pid)
    assert children
    process.send_signal(how)
    _, errors = process.communicate(timeout=20)
    assert process.returncode != 0
    if how == signal.SIGINT:
        assert "KeyboardInterrupt" in errors.splitlines()[-1]
    await_death(children)
    assert not list((tmp_path / "stores").glob("*/store.json"))
    (part,) = (tmp_path / "stores").glob("*.partial")
    with (part / building.JOURNAL).open("ab") as journal:
        journal.write(b'{"done": 119, "wri')  # a line that the kill tore

    read_again = []
    old = worker.read_samples
    monkeypatch.setattr(
        worker, "read_samples", lambda chunk, target: read_again.append(len(chunk)) or old(chunk, target)
    )
    resumed = prepare(slow_set, tmp_path / "stores", size=8, workers=0)
    assert 0 < sum(read_again) <= 80
    whole = prepare(slow_set, tmp_path / "elsewhere", size=8, workers=0)
    assert resumed.key == whole.key
    for name in sorted(file.name for file in whole.path.iterdir()):
        assert (resumed.path / name).read_bytes() == (whole.path / name).read_bytes(), name
    assert sorted(file.name for file in resumed.path.iterdir()) == sorted(file.name for file in whole.path.iterdir())
    assert list(resumed.quarantine["sample"]) == ["s5", "s95"]


def test_two_at_once_make_one_store(tmp_path, slow_set):
    both = [start_slowly(tmp_path, tmp_path / "stores") for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in both]
    keys = {out.splitlines()[-1] for out, _ in outputs}
    assert len(keys) == 1
    assert keys.pop().startswith("whole")
    assert sorted(len(out.splitlines()) for out, _ in outputs) == [1, 13]  # one built, one only opened
    whole = prepare(slow_set, tmp_path / "elsewhere", size=8, workers=0)
    assert (tmp_path / "stores" / whole.key / IMAGES).read_bytes() == (whole.path / IMAGES).read_bytes()


def test_a_full_disk_is_said_before_anything_is_decoded(tmp_path, monkeypatch):
    manifest = folder_of(tmp_path / "faces", 3)
    no_decoding(monkeypatch)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(building, "_reserve", full)
    with pytest.raises(InputError, match="the disk is full"):
        prepare(manifest, tmp_path / "stores", size=8)
    assert not list((tmp_path / "stores").glob("*.partial"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_journal_that_does_not_fit_is_said_by_its_place(tmp_path):
    under_way = building.StoreWriter(tmp_path / "store.partial", 1, Target(8, 1))
    under_way._journal.close()
    under_way._journal = Path("/dev/full").open("ab")  # noqa: SIM115 - closed by what is tested
    with pytest.raises(InputError, match=r"the disk is full: cannot write .*store\.partial"), under_way:
        pass


def test_a_disk_that_fills_up_on_the_way_leaves_work_to_resume(tmp_path, monkeypatch):
    manifest = folder_of(tmp_path / "faces", 10)
    monkeypatch.setattr("evenface.preprocessing.prepare.CHUNK_BYTES", 4 * 64)
    old, calls = building._write_all, []

    def fills(*rest):
        calls.append(rest)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        old(*rest)

    monkeypatch.setattr(building, "_write_all", fills)
    with pytest.raises(InputError, match="the disk is full"):
        prepare(manifest, tmp_path / "stores", size=8, workers=0)
    store = prepare(manifest, tmp_path / "stores", size=8, workers=0)
    assert len(calls) == 5  # one chunk kept, one refused, two more, the header
    whole = prepare(manifest, tmp_path / "elsewhere", size=8, workers=0)
    assert (store.path / IMAGES).read_bytes() == (whole.path / IMAGES).read_bytes()


@pytest.fixture
def tiny_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip("needs the right to mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_truly_full_disk_ends_with_a_sentence(tmp_path, tiny_disk):
    manifest = folder_of(tmp_path / "faces", 10)
    with pytest.raises(InputError, match="the disk is full"):
        prepare(manifest, tiny_disk, size=112, channels=3)
    assert len(prepare(manifest, tiny_disk, size=8)) == 10  # what was reserved in vain was given back
