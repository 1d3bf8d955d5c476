"""Preparing clips is killed, fills the disk, and meets clips longer than memory."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from films import make_video, manifest_of
from stores import await_death, children_of

from evenface.config.recipe import FrameSampler
from evenface.preprocessing import clips, worker
from evenface.preprocessing import store as building
from evenface.preprocessing.prepare import prepare
from evenface.preprocessing.store import IMAGES
from evenface.utils.errors import InputError

SLOWLY = """
import sys, time
from pathlib import Path
from evenface.preprocessing import prepare, store
from evenface.config.recipe import FrameSampler
from evenface.data.manifest import Manifest
store.SYNC_SECONDS = 0
old = store.StoreWriter.add
def add(self, *rest):
    old(self, *rest)
    print(self.done, flush=True)
    time.sleep(0.2)
store.StoreWriter.add = add
clips = FrameSampler(frames=2, sampling="windows")
prepare.prepare(Manifest.load(Path(sys.argv[1])), sys.argv[2], size=8, workers=1, clips=clips)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for child processes in /proc")
def test_a_killed_prepare_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    names = [make_video(tmp_path / f"{i}.mp4", 10 + i).name for i in range(8)]
    (tmp_path / names[1]).write_bytes(b"")
    manifest = manifest_of(tmp_path, names)
    manifest.save(tmp_path / "manifest.parquet")
    command = [sys.executable, "-c", SLOWLY, str(tmp_path / "manifest.parquet"), str(tmp_path / "stores")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert any(int(line) >= 4 for line in process.stdout)
    children = children_of(process.pid)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    await_death(children)
    read, old = [], worker.read_one_clip
    monkeypatch.setattr(worker, "read_one_clip", lambda clip, *rest: read.append(clip) or old(clip, *rest))
    sampler = FrameSampler(frames=2, sampling="windows")
    resumed = prepare(manifest, tmp_path / "stores", size=8, clips=sampler, workers=0)
    assert 0 < len(read) <= 4
    whole = prepare(manifest, tmp_path / "elsewhere", size=8, clips=sampler, workers=0)
    files = sorted(file.name for file in whole.path.iterdir())
    assert files == sorted(file.name for file in resumed.path.iterdir())
    assert all((resumed.path / name).read_bytes() == (whole.path / name).read_bytes() for name in files)
    assert not list((tmp_path / "stores").glob("*.spill"))


@pytest.mark.parametrize("where", ["reserve", "write", "spill"])
def test_a_full_disk_is_said_and_the_work_resumes(tmp_path, monkeypatch, where):
    names = [make_video(tmp_path / f"{i}.mp4", 10).name for i in range(3)]
    manifest, calls = manifest_of(tmp_path, names), []
    module, name = {"reserve": (building, "_reserve"), "write": (building, "_write_all"), "spill": (os, "pwrite")}[
        where
    ]
    monkeypatch.setattr(clips, "INLINE", 0)
    old = getattr(module, name)

    def fills(*rest):
        calls.append(rest)
        if len(calls) == (1 if where == "reserve" else 2):
            raise OSError(errno.ENOSPC, "No space left on device")
        return old(*rest)

    monkeypatch.setattr(module, name, fills)
    with pytest.raises(InputError, match="the disk is full"):
        prepare(manifest, tmp_path / "stores", size=8, clips=FrameSampler(frames=4), workers=0)
    assert not list((tmp_path / "stores").glob("*.spill"))
    store = prepare(manifest, tmp_path / "stores", size=8, clips=FrameSampler(frames=4), workers=0)
    whole = prepare(manifest, tmp_path / "elsewhere", size=8, clips=FrameSampler(frames=4), workers=0)
    assert (store.path / IMAGES).read_bytes() == (whole.path / IMAGES).read_bytes()


PEAK = """
import resource, sys
from pathlib import Path
from evenface.preprocessing.prepare import prepare
from evenface.config.recipe import FrameSampler
from evenface.data.manifest import Manifest
clips = FrameSampler(frames=1, sampling="windows")
prepare(Manifest.load(Path(sys.argv[1])), sys.argv[2], size=224, channels=3, workers=0, clips=clips)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads peak memory as Linux counts it")
def test_memory_does_not_grow_with_the_length_of_a_clip(tmp_path):
    peaks = []
    for count in (100, 500):
        make_video(tmp_path / f"{count}.mp4", count, group=100)
        path = tmp_path / f"{count}.parquet"
        manifest_of(tmp_path, [f"{count}.mp4"]).save(path)
        command = [sys.executable, "-c", PEAK, str(path), str(tmp_path / "stores")]
        peaks.append(int(subprocess.run(command, capture_output=True, check=True).stdout) / 1024)
    assert 500 * 224 * 224 * 3 / 2**20 > 70  # megabytes of pixels
    assert peaks[1] - peaks[0] < 20
