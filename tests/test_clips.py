import errno
import importlib.util
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_prepare import await_death, children_of
from test_video import make_sound, make_video, number_of, painted, shade

from evenface.data.manifest import Manifest, make_table
from evenface.errors import InputError
from evenface.faces import building, clips, worker
from evenface.faces.align import Face
from evenface.faces.describe import settings_of
from evenface.faces.detector import Crop, find_faces
from evenface.faces.prepare import prepare, target_of
from evenface.faces.sheets import write_sheets
from evenface.faces.store import IMAGES, Store
from evenface.faces.taking import Taking
from evenface.faces.track import FASTEST, Track, choose_looks, follow, kept, smooth
from evenface.faces.video import open_film


def manifest_of(root: Path, names: list[str], **columns) -> Manifest:
    rows = [{"sample": f"s{i}", "path": name, "label": i % 2} for i, name in enumerate(names)]
    for name, values in columns.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    return Manifest(make_table(rows), ("calm", "pain"), "test", root, content="clips")


def about(x: float, y: float, side: float = 40, angle: float = 0.0) -> Face:
    eyes = [(x + way * math.cos(angle) * side / 4, y + way * math.sin(angle) * side / 4) for way in (-1, 1)]
    return Face((x - side / 2, y - side / 2, x + side / 2, y + side / 2), 1.0, (eyes[0], eyes[1]))


# --- following faces ----------------------------------------------------------------------------------------------


def test_two_faces_that_move_are_followed_and_the_main_one_is_seen_most():
    looks = [[about(100 + 5 * i, 100), about(300 - 5 * i, 100, 60)] if i < 8 else [about(100 + 5 * i, 100)]
             for i in range(12)]  # fmt: skip
    first, second = follow(looks)
    assert [face.centre[0] for face in first.faces.values()] == [100 + 5 * i for i in range(12)]
    assert [face.centre[0] for face in second.faces.values()] == [300 - 5 * i for i in range(8)]
    assert kept([first, second], "largest") == [first]
    assert kept([first, second], "all") == [first, second]
    assert kept(follow([looks[0], *looks[8:]]), "all") == follow([looks[0], *looks[8:]])[:1]


def test_of_faces_seen_equally_often_the_larger_is_the_main_one():
    first, _ = follow([[about(100, 100), about(300, 100, 50)]] * 3)
    assert first.last.side == 50


def test_a_face_that_leaves_and_comes_back_is_one_track():
    away: list[list[Face]] = [[], [], []]
    for back in (about(110, 105, 44), about(600, 300, 50)):  # in its place, or elsewhere
        (track,) = follow([[about(100, 100)]] * 3 + away + [[back]] * 2)
        assert list(track.faces) == [0, 1, 2, 6, 7]
    looks = [[about(100, 100)], [], [about(600, 100)], []]
    assert len(follow(looks)) == 2  # once and elsewhere: more likely no face
    assert len(follow([[about(100, 100)]] * 3 + away + [[about(600, 300, 9)]] * 2)) == 2  # of another size
    assert len(follow([[about(100, 100)]] * 3 + [[about(100, 100), about(600, 300)]] * 2)) == 2  # both at once


@given(st.permutations(range(3)), st.integers(0, 2**16))
def test_the_order_in_which_a_detector_names_faces_does_not_matter(order, seed):
    random = np.random.default_rng(seed)
    ways = random.uniform(-6, 6, (3, 2))
    looks = [[about(100 + 200 * k + i * ways[k, 0], 100 + i * ways[k, 1]) for k in range(3)] for i in range(6)]
    mixed = [[look[k] for k in order] for look in looks]

    def tracks(looks):
        return {tuple(face.box for face in track.faces.values()) for track in follow(looks)}

    assert tracks(looks) == tracks(mixed) == {tuple(look[k].box for look in looks) for k in range(3)}


@given(st.floats(2, 60), st.integers(1, 200), st.lists(st.integers(0, 199), min_size=1, max_size=60), st.booleans())
def test_looks_are_enough_and_not_too_many(rate, count, taken, timed):
    times, wanted = np.arange(count) / rate, np.unique(np.array(taken) % count)
    looks = choose_looks(times, wanted, timed=timed)
    assert (np.diff(looks) > 0).all()
    if not timed:
        assert set(wanted) <= set(looks)
        return
    assert max(np.bincount((times[looks] * FASTEST + 1e-6).astype(int))) <= 2  # one taken, one of the quarter seconds
    assert len(looks) <= (FASTEST + 4) * (times[-1] + 0.25)
    if rate <= FASTEST:
        assert set(wanted) <= set(looks)
    gaps = np.diff(np.concatenate([[0.0], times[looks], [times[-1]]]))
    assert gaps.max() <= 0.5 + 1 / rate + 1e-6


# --- the square over time -----------------------------------------------------------------------------------------


@given(
    st.lists(st.floats(0.02, 0.4), min_size=2, max_size=20),
    st.floats(-100, 100),
    st.floats(-1, 1),
    st.floats(-3, 3),
)
def test_a_steady_motion_is_kept_as_it_is(steps, speed, growth, turn):
    times = np.cumsum(steps)
    track = Track({i: about(300 + speed * t, 200 - speed * t, 100 + growth * t, 0.1 * turn * t)
                   for i, t in enumerate(times)})  # fmt: skip
    motion = smooth(track, times, 0.25)
    for t in (*times, *(times[:-1] + times[1:]) / 2):
        square = motion.at(float(t))
        assert square.centre == pytest.approx((300 + speed * t, 200 - speed * t), abs=1e-6)
        assert square.side == pytest.approx(1.5 * (100 + growth * t), rel=1e-6)
        assert square.angle == pytest.approx(0.1 * turn * t, abs=1e-6)


def test_jitter_becomes_less_and_nothing_lags():
    random = np.random.default_rng(0)
    times = np.arange(200) / 10
    x = 300 + 40 * np.sin(times)
    motion = smooth(Track({i: about(x[i] + random.normal(0, 3), 200) for i in range(200)}), times, 0)
    error = motion.squares[:, 0] - x
    assert error.std() < 0.6 * 3
    assert abs(error.mean()) < 0.5


def test_a_head_that_hangs_down_does_not_spin():
    times = np.arange(10) / 10
    angles = [math.pi - 0.05 if i % 2 else -math.pi + 0.05 for i in range(10)]
    motion = smooth(Track({i: about(100, 100, angle=angle) for i, angle in enumerate(angles)}), times, 0)
    assert all(math.cos(motion.at(t).angle) < -0.99 for t in np.arange(0, 0.9, 0.03))


def test_where_no_face_is_the_square_stays():
    times = np.arange(8.0)
    motion = smooth(Track({2: about(100, 0), 3: about(110, 0), 6: about(200, 0)}), times, 0)
    assert [motion.at(t).centre[0] for t in (0, 1.9, 2, 2.5, 3, 3.4, 4, 5, 5.4, 5.6, 6, 7)] == [
        100, 100, 100, 105, 110, 110, 110, 110, 110, 200, 200, 200,
    ]  # fmt: skip
    assert motion.sees(np.array([0, 1.4, 1.6, 3.5, 3.6, 5.4, 5.6, 6.5, 6.6])).tolist() == [
        False, False, True, True, False, False, True, True, False,
    ]  # fmt: skip


# --- from a clip to the store -------------------------------------------------------------------------------------


def test_a_store_of_clips_holds_their_frames(tmp_path):
    make_video(tmp_path / "a.mp4", 30)
    make_video(tmp_path / "b.avi", 4)
    (tmp_path / "c").mkdir()
    for i in range(9):
        Image.fromarray(painted(i)).save(tmp_path / "c" / f"f{i}.png")
    manifest = manifest_of(tmp_path, ["a.mp4", "b.avi", "c", "a.mp4"], start=[None, None, None, 10], end=[None] * 4,
                           clip=[None, "second", None, None])  # fmt: skip
    store = prepare(manifest, tmp_path / "stores", size=24, channels=3, clips=Taking(5), workers=0)
    assert store.images.shape == (4, 5, 24, 24, 3)
    numbers = [[number_of(Image.fromarray(frame)) for frame in sample] for sample in store.images]
    expected = [[3, 9, 15, 21, 27], [0, 1, 2, 2, 3], [0, 2, 4, 6, 8], [12, 16, 20, 24, 28]]
    assert np.abs(np.array(numbers) - expected).max() <= 1
    table = store.manifest.table
    assert table["clip"].tolist() == ["s0", "second", "s2", "s3"]
    assert table["frames"].tolist() == [30, 4, 9, 20]
    assert table["start"].tolist() == [0, 0, 0, 10]
    assert table["end"].tolist() == [30, 4, 9, 30]
    assert table["repeated"].tolist() == [0, 1, 0, 0]
    assert store.summary() == "4 samples of 5 frames"
    assert any("fewer frames than are taken" in note for note in store.manifest.notes)
    assert Store.open(store.path).manifest.content == "clips"


def test_windows_are_samples_of_their_own_that_share_the_clip(tmp_path):
    make_video(tmp_path / "a.mkv", 23)
    manifest = manifest_of(tmp_path, ["a.mkv", "a.mkv"], start=[2, 0], end=[22, 3], subject=["x", "y"])
    store = prepare(manifest, tmp_path / "stores", size=16, clips=Taking(4, "windows", 2), workers=0)
    table = store.manifest.table
    assert table["sample"].tolist() == ["s0", "s0#2", "s1"]
    assert table["clip"].tolist() == ["s0", "s0", "s1"]
    assert table["subject"].tolist() == ["x", "x", "y"]
    assert table[["start", "end"]].to_numpy().tolist() == [[2, 9], [10, 17], [0, 3]]
    assert np.abs(store.images[1, :, 13, 8, 0] - [shade(i) for i in (10, 12, 14, 16)]).max() <= 3
    assert "3 samples were taken from 2 clips" in store.manifest.notes
    frames = prepare(manifest, tmp_path / "stores", size=16, clips=Taking(1, "windows"), workers=0)
    assert frames.images.shape == (23, 1, 16, 16, 1)
    taken = manifest_of(tmp_path, ["a.mkv"], sample=["s#2"])
    with pytest.raises(InputError, match="s#2 is named as the further"):
        prepare(taken, tmp_path / "stores", size=16, clips=Taking(1, "windows"), workers=0)


def test_squeezing_keeps_the_whole_frame(tmp_path):
    make_video(tmp_path / "a.mkv", 3, size=(96, 48))
    manifest = manifest_of(tmp_path, ["a.mkv"])
    whole, middle = (
        prepare(manifest, tmp_path / "stores", size=48, channels=3, squeeze=squeeze, clips=Taking(3), workers=0).images[
            0, 0
        ]
        for squeeze in (True, False)
    )
    image = next(open_film(str(tmp_path / "a.mkv")).frames([0]))[1]
    np.testing.assert_array_equal(whole, np.asarray(image.resize((48, 48), Image.Resampling.BILINEAR)))
    np.testing.assert_array_equal(middle, np.asarray(image)[:, 24:72])
    with pytest.raises(InputError, match="not both"):
        prepare(manifest, tmp_path / "stores", size=48, squeeze=True, crop=Crop())


def test_stills_keep_their_stores(tmp_path):
    still = Manifest(make_table([{"sample": "a", "path": "a.png", "label": 0}]), ("x",), "test", tmp_path)
    assert settings_of(target_of(still, size=8), still) == [1, 8, 1, still.hash]
    facts = settings_of(target_of(still, size=8, crop=Crop(), clips=Taking(3)), still)[-1]
    assert set(facts) == {"detector", "margin", "which", "alignment", "versions"}


def test_other_takings_and_other_bytes_make_another_store(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.fromarray(painted(i)).save(tmp_path / name / f"{name}{i}.png")
    manifest = manifest_of(tmp_path, ["a", "b"])

    def key(**options) -> str:
        return prepare(manifest, tmp_path / "stores", size=8, workers=0, **options).key

    keys = [key(), key(clips=Taking(4)), key(clips=Taking(4, lost="skip")), key(squeeze=True)]
    assert key(clips=Taking(4)) == keys[1]
    Image.fromarray(painted(9)).save(tmp_path / "b" / "b1.png")
    keys.append(key())
    (tmp_path / "b" / "b0.png").rename(tmp_path / "a" / "b0.png")  # the same bytes in the same order
    keys.append(key())
    assert len(set(keys)) == len(keys)


def test_processes_and_files_for_large_clips_do_not_change_a_byte(tmp_path, monkeypatch):
    names = [make_video(tmp_path / f"{i}.mp4", 20 + i).name for i in range(5)]
    manifest, taking = manifest_of(tmp_path, names), Taking(3, "windows")
    found = [prepare(manifest, tmp_path / str(n), size=8, clips=taking, workers=n).path for n in (0, 2)]
    monkeypatch.setattr(clips, "INLINE", 0)
    spilled = []
    old = clips._spilled
    monkeypatch.setattr(clips, "_spilled", lambda *rest: spilled.append(rest) or old(*rest))
    found.append(prepare(manifest, tmp_path / "spilled", size=8, clips=taking, workers=0).path)
    assert len(spilled) == 5
    assert len({(path / IMAGES).read_bytes() for path in found}) == 1
    assert not list((tmp_path / "spilled").glob("*.spill"))


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_clips_are_set_aside_and_the_rest_goes_on(tmp_path, workers):
    make_video(tmp_path / "good.mp4", 12)
    make_video(tmp_path / "one.mkv", 1)
    cut = make_video(tmp_path / "cut.mp4", 12)
    os.truncate(cut, cut.stat().st_size // 2)
    make_sound(tmp_path / "sound.mp4")
    make_video(tmp_path / "dot.avi", [np.zeros((1, 1, 3), np.uint8)] * 3, codec="ffv1")
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "words.mp4").write_text("Dear reader, this is no video.")
    (tmp_path / "folder").mkdir()
    bad = ["cut.mp4", "sound.mp4", "dot.avi", "empty.mp4", "words.mp4", "folder", "gone.mp4", "good.mp4"]
    names = ["good.mp4", *bad, "one.mkv"]
    manifest = manifest_of(tmp_path, names, start=[*[None] * 8, 12, None], end=[None] * 10)
    store = prepare(manifest, tmp_path / "stores", size=8, clips=Taking(4), workers=workers)
    assert store.manifest.table["path"].tolist() == ["good.mp4", "one.mkv"]
    assert store.manifest.table["repeated"].tolist() == [0, 3]
    assert store.quarantine["path"].tolist() == bad
    kinds = [reason.split(":")[0] for reason in store.quarantine["reason"]]
    assert kinds == [
        "truncated",
        "not a video",
        "too small",
        "empty",
        "not a video",
        "no frames",
        "missing",
        "no frame",
    ]


# --- frames without a face ----------------------------------------------------------------------------------------


def spot(image: Image.Image, *_) -> list[Face]:
    """Stand in for a detector: the face is what is bright."""
    rows, columns = np.nonzero(np.asarray(image)[:, :, 1] > 170)
    return [] if not len(rows) else [about(columns.mean() + 0.5, rows.mean() + 0.5, np.ptp(columns) + 1.0)]


def spotted(path: Path, places: list[int | None]) -> Path:
    """Write a clip with a bright square at these columns, or none."""
    frames = []
    for i, place in enumerate(places):
        pixels = np.full((64, 128, 3), 20 + i, np.uint8)
        if place is not None:
            pixels[20:40, place : place + 20] = 230
        frames.append(pixels)
    return make_video(path, frames, codec="ffv1")


@pytest.fixture
def fake_detector(monkeypatch):
    monkeypatch.setattr(clips, "find_faces", spot)


def crop_prepared(tmp_path, taking: Taking) -> Store:
    return prepare(
        manifest_of(tmp_path, ["a.mkv", "b.mkv"]), tmp_path / "stores", size=20, crop=Crop(margin=0), clips=taking,
        workers=0,
    )  # fmt: skip


def test_the_crop_follows_the_face_and_holds_where_it_is_lost(tmp_path, fake_detector):
    places = [*range(10, 50, 4), *[None] * 4, *range(50, 74, 4)]
    spotted(tmp_path / "a.mkv", places)
    spotted(tmp_path / "b.mkv", [30] * 20)
    store = crop_prepared(tmp_path, Taking(20, lost="hold"))
    light = store.images[0].mean(axis=(1, 2, 3))
    assert light[[i for i in range(20) if places[i] is not None]].min() > 220  # the face fills the square
    assert light[10:14].max() < 60  # what lies where it was
    assert store.manifest.table["lost"].tolist() == [4, 0]
    assert store.summary() == "2 samples of 20 frames, no face on 4 frames"
    assert "frames of clips without a face: 4, in 1 samples" in store.manifest.notes


def test_frames_without_a_face_are_left_out_or_cost_the_clip(tmp_path, fake_detector):
    spotted(tmp_path / "a.mkv", [10] * 6 + [None] * 4 + [10] * 2)
    spotted(tmp_path / "b.mkv", [30] * 12)
    store = crop_prepared(tmp_path, Taking(4, lost="skip"))
    assert store.images.min() > 220
    assert store.manifest.table["lost"].tolist() == [4, 0]
    for taking in (Taking(6, lost="quarantine"), Taking(12, lost_share=0.3), Taking(12, lost="skip", lost_share=0.3)):
        store = crop_prepared(tmp_path, taking)
        assert store.manifest.table["path"].tolist() == ["b.mkv"]
        assert store.quarantine["reason"][0].startswith(("face lost: on 4 of 12", "face lost: on 2 of 6"))
    store = crop_prepared(tmp_path, Taking(2, "windows"))
    assert store.manifest.table["start"].tolist() == [0, 2, 4, 10, 0, 2, 4, 6, 8, 10]  # those of the gap are left out


def test_no_face_in_any_frame_is_told(tmp_path, fake_detector):
    spotted(tmp_path / "a.mkv", [None] * 8)
    spotted(tmp_path / "b.mkv", [30] * 8)
    assert crop_prepared(tmp_path, Taking(4)).quarantine["reason"].tolist() == ["no face found"]


def test_further_faces_become_samples(tmp_path, monkeypatch):
    make_video(tmp_path / "a.mkv", 10)
    make_video(tmp_path / "b.mkv", 10)
    monkeypatch.setattr(clips, "find_faces", lambda *_: [about(20, 20, 30), about(50, 30, 20)])
    store = prepare(
        manifest_of(tmp_path, ["a.mkv", "b.mkv"]), tmp_path / "stores", size=8, crop=Crop(which="all"),
        clips=Taking(2), workers=0,
    )  # fmt: skip
    assert store.manifest.table["sample"].tolist() == ["s0", "s0#2", "s1", "s1#2"]
    assert store.manifest.table["face"].tolist() == [1, 2, 1, 2]
    assert any("further faces of a clip" in note for note in store.manifest.notes)


# --- killed, full, long -------------------------------------------------------------------------------------------

SLOWLY = """
import sys, time
from pathlib import Path
from evenface.faces import building, prepare
from evenface.faces.taking import Taking
from evenface.data.manifest import Manifest
building.SYNC_SECONDS = 0
old = building.Building.add
def add(self, *rest):
    old(self, *rest)
    print(self.done, flush=True)
    time.sleep(0.2)
building.Building.add = add
prepare.prepare(Manifest.load(Path(sys.argv[1])), sys.argv[2], size=8, workers=1, clips=Taking(2, "windows"))
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
    taking = Taking(2, "windows")
    resumed = prepare(manifest, tmp_path / "stores", size=8, clips=taking, workers=0)
    assert 0 < len(read) <= 4
    whole = prepare(manifest, tmp_path / "elsewhere", size=8, clips=taking, workers=0)
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
        prepare(manifest, tmp_path / "stores", size=8, clips=Taking(4), workers=0)
    assert not list((tmp_path / "stores").glob("*.spill"))
    store = prepare(manifest, tmp_path / "stores", size=8, clips=Taking(4), workers=0)
    whole = prepare(manifest, tmp_path / "elsewhere", size=8, clips=Taking(4), workers=0)
    assert (store.path / IMAGES).read_bytes() == (whole.path / IMAGES).read_bytes()


PEAK = """
import resource, sys
from pathlib import Path
from evenface.faces.prepare import prepare
from evenface.faces.taking import Taking
from evenface.data.manifest import Manifest
prepare(Manifest.load(Path(sys.argv[1])), sys.argv[2], size=224, channels=3, workers=0, clips=Taking(1, "windows"))
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


# --- contact sheets -----------------------------------------------------------------------------------------------


def test_contact_sheets_show_what_was_taken(tmp_path, fake_detector):
    spotted(tmp_path / "a.mkv", [*[10] * 10, *[None] * 2])
    (tmp_path / "b.mkv").write_bytes(b"")
    spotted(tmp_path / "c.mkv", [None] * 6)
    manifest = manifest_of(tmp_path, ["a.mkv", "b.mkv", "c.mkv"])
    target = target_of(manifest, size=20, channels=1, crop=Crop(margin=0), clips=Taking(12))
    first, broken, without = write_sheets(manifest, target, tmp_path / "sheets")
    assert first.name == "00000-s0.png"
    pixels = np.asarray(Image.open(first).convert("RGB"), int)

    def drawn(pixels, colour) -> int:
        return int((np.abs(pixels - colour).sum(axis=2) < 12).sum())

    green, red = (26, 143, 60), (208, 48, 32)
    assert drawn(pixels, green) > drawn(pixels, red) > 200
    assert Image.open(broken).size[1] < Image.open(without).size[1] < pixels.shape[0]
    still = Manifest(manifest.table, manifest.classes, "test", tmp_path)
    with pytest.raises(InputError, match="these are stills"):
        write_sheets(still, target_of(still, size=20), tmp_path / "sheets")


# --- real clips ---------------------------------------------------------------------------------------------------


def test_real_clips_come_out_right(real_data, tmp_path):
    pytest.importorskip("mediapipe")
    names = ["single_face.mp4", "WolfgangLanger_Pexels.mp4", "face_noface.mov", "no_face.mp4"]
    manifest = manifest_of(real_data / "clips", names)
    taking = Taking(8, lost_share=0.7)
    store = prepare(manifest, tmp_path, size=64, channels=3, crop=Crop(), clips=taking, workers=1)
    assert store.manifest.table["path"].tolist() == names[:3]
    assert store.manifest.table["lost"].tolist() == [0, 0, 5]
    assert store.quarantine["reason"].tolist() == ["no face found"]
    for sample in store.images[:2]:  # each crop shows a face again, in its middle
        for frame in sample[::3]:
            (face, *_) = find_faces(Image.fromarray(frame).resize((256, 256)), "mediapipe")
            assert math.dist(face.centre, (128, 128)) < 40


def test_a_real_face_that_comes_back_is_the_same_face(real_data, tmp_path):
    pytest.importorskip("mediapipe")
    face = [
        np.asarray(image) for _, image in open_film(str(real_data / "clips/single_face.mp4")).frames(range(0, 72, 4))
    ]
    away = [np.full_like(face[0], 90)] * 10
    make_video(tmp_path / "a.mkv", [*face[:9], *away, *(np.roll(image, 180, 1) for image in face[9:])], codec="ffv1")
    target = target_of(manifest_of(tmp_path, ["a.mkv"]), size=64, channels=3, crop=Crop(), clips=Taking(14))
    plan = clips.plan_clip(str(tmp_path / "a.mkv"), None, None, target)
    (row,) = plan.rows
    assert len(plan.tracks) == 1
    assert row.seen.tolist() == [not 9 <= frame < 19 for frame in row.frames]
    assert row.squares[-1].centre[0] - row.squares[0].centre[0] == pytest.approx(180, abs=30)


def test_dlib_and_the_detector_see_the_same_eyes(real_data):
    pytest.importorskip("dlib")
    pytest.importorskip("mediapipe")
    image = Image.open(real_data / "clips" / "single_face.jpg").convert("RGB")
    (by_detector, *_), (by_dlib, *_) = (find_faces(image, "mediapipe", who) for who in ("detector", "dlib"))
    assert by_dlib.box == by_detector.box
    for one, other in zip(by_dlib.eyes, by_detector.eyes, strict=True):
        assert 0 < math.dist(one, other) < 0.06 * by_detector.side


def test_without_dlib_it_is_said_how_to_install_it(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "dlib" else found(name))
    with pytest.raises(InputError, match=r"pip install 'evenface\[dlib\]'.*non-commercial"):
        Crop(landmarks="dlib")
