import contextlib
import errno
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from evenface.data.manifest import Manifest, make_table
from evenface.errors import InputError
from evenface.faces import building, read, worker
from evenface.faces.prepare import prepare
from evenface.faces.read import Target, fit, read_sample
from evenface.faces.store import IMAGES, Store
from evenface.faces.trouble import UnusableError


def save(path: Path, image: Image.Image, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def picture(seed: int, side: int = 12) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8))


def manifest_of(root: Path, names: list[str], labels: list[int] | None = None, **columns) -> Manifest:
    labels = labels or [i % 2 for i in range(len(names))]
    rows = [
        {"sample": f"s{i}", "path": name, "label": label}
        for i, (name, label) in enumerate(zip(names, labels, strict=True))
    ]
    for name, values in columns.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    return Manifest(make_table(rows), ("calm", "pain"), "test", root)


def folder_of(root: Path, count: int) -> Manifest:
    names = [f"{i:04d}.png" for i in range(count)]
    for i, name in enumerate(names):
        save(root / name, picture(i))
    return manifest_of(root, names)


def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_):
        raise AssertionError("a sample was decoded again")

    monkeypatch.setattr(worker, "read_sample", fail)


def pixels(path: Path, channels: int, side: int) -> np.ndarray:
    return np.frombuffer(read_sample(str(path), None, Target(side, channels)), np.uint8).reshape(side, side, channels)


# --- what a picture becomes ---------------------------------------------------------------------------------------


def test_the_store_holds_the_files_pixels_in_the_manifests_order(tmp_path):
    manifest = folder_of(tmp_path / "faces", 5)
    store = prepare(manifest, tmp_path / "stores", size=12)
    assert store.images.shape == (5, 1, 12, 12, 1)
    for i in range(5):
        np.testing.assert_array_equal(store.images[i, 0, :, :, 0], np.asarray(picture(i)))
    assert store.summary() == "5 faces"
    assert not store.images.flags.writeable


def test_every_mode_gives_the_colours_that_were_painted(tmp_path):
    red, grey = (200, 40, 10), (90, 90, 90)
    luma = round((200 * 299 + 40 * 587 + 10 * 114) / 1000)
    colour = Image.new("RGB", (6, 6), red)
    clear = Image.new("RGBA", (6, 6), (*red, 0))
    half = Image.new("RGBA", (6, 6), (*red, 128))
    keyed = Image.new("RGB", (6, 6), red)
    cases = {
        "rgb.png": (colour, {}, red, luma),
        "palette.png": (colour.convert("P", palette=Image.Palette.ADAPTIVE), {}, red, luma),
        "grey.png": (Image.new("L", (6, 6), 90), {}, grey, 90),
        "bit.png": (Image.new("1", (6, 6), 1), {}, (255, 255, 255), 255),
        "clear.png": (clear, {}, (128, 128, 128), 128),
        "half.png": (half, {}, (164, 84, 69), None),
        "keyed.png": (keyed, {"transparency": red}, (128, 128, 128), 128),
        "clear.gif": (Image.new("P", (6, 6), 0), {"transparency": 0}, (128, 128, 128), 128),
        "cmyk.tif": (Image.new("CMYK", (6, 6), (0, 0, 0, 165)), {}, grey, 90),
        "sixteen.png": (Image.fromarray(np.full((6, 6), 90 * 257, np.uint16)), {}, grey, 90),
        "sixteen.tif": (Image.fromarray(np.full((6, 6), 65535, np.uint16)), {}, (255, 255, 255), 255),
        "integer.tif": (Image.fromarray(np.full((6, 6), 90 * 257, np.int32)), {}, grey, 90),
    }
    for name, (image, options, rgb, light) in cases.items():
        path = save(tmp_path / name, image, **options)
        found = pixels(path, 3, 4).reshape(-1, 3).astype(int)
        assert np.abs(found - np.array(rgb)).max() <= 1, name
        if light is not None:
            assert np.abs(pixels(path, 1, 4).astype(int) - light).max() <= 1, name


@pytest.mark.parametrize("kind", ["jpg", "png", "tif"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_the_cameras_orientation_is_undone(tmp_path, kind, turn):
    upright = np.zeros((32, 32), np.uint8)
    upright[:8, :] = 120  # a bar on top, its left end bright
    upright[:8, :8] = 250
    # how the sensor stored it, from the EXIF table: 0th row and 0th column of the file are ...
    stored = {1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.T,
              6: np.rot90(upright), 7: upright[::-1, ::-1].T, 8: np.rot90(upright, -1)}[turn]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = turn
    options = {"quality": 95} if kind == "jpg" else {}
    path = save(tmp_path / f"a.{kind}", Image.fromarray(np.ascontiguousarray(stored)), exif=exif, **options)
    found = pixels(path, 1, 32)[:, :, 0].astype(int)
    assert np.abs(found - upright).max() < 30


def test_broken_exif_does_not_cost_the_picture(tmp_path):
    path = save(tmp_path / "a.jpg", picture(1), exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xffgarbage")
    with read.quiet_pillow():
        assert pixels(path, 1, 12).std() > 10


def test_shrinking_averages_and_does_not_pick_single_pixels(tmp_path):
    checks = np.indices((256, 256)).sum(0) % 2 * 255
    path = save(tmp_path / "a.png", Image.fromarray(checks.astype(np.uint8)))
    assert np.abs(pixels(path, 1, 16).astype(int) - 127).max() <= 3


def test_the_middle_square_is_kept_and_nothing_is_squashed(tmp_path):
    wide = np.zeros((10, 30), np.uint8)
    wide[:, 10:20] = 255
    for image in (wide, wide.T):
        path = save(tmp_path / "a.png", Image.fromarray(np.ascontiguousarray(image)))
        assert pixels(path, 1, 10).min() == 255


@given(st.integers(1, 1000), st.integers(1, 40), st.booleans(), st.sampled_from([1, 3]), st.integers(1, 33))
def test_any_shape_of_one_colour_stays_that_colour(long, short, upright, channels, size):
    image = Image.new("RGB", (short, long) if upright else (long, short), (77, 77, 77))
    made = np.asarray(fit(image, Target(size, channels)))
    assert made.shape[:2] == (size, size)
    assert (made == 77).all()


# --- what cannot be used ------------------------------------------------------------------------------------------


def encoded(kind: str, side: int = 64) -> bytes:
    buffer = io.BytesIO()
    picture(3, side).save(buffer, kind)
    return buffer.getvalue()


def bomb() -> bytes:
    """A valid PNG header of 20,000 by 20,000 pixels, and little else."""
    import struct
    import zlib

    body = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    header = struct.pack(">I", 13) + b"IHDR" + body + struct.pack(">I", zlib.crc32(b"IHDR" + body))
    data = zlib.compress(bytes(1000))
    content = struct.pack(">I", len(data)) + b"IDAT" + data + struct.pack(">I", zlib.crc32(b"IDAT" + data))
    return b"\x89PNG\r\n\x1a\n" + header + content


PNG, JPEG, TIFF = encoded("PNG"), encoded("JPEG"), encoded("TIFF")
BAD = {
    "empty.png": (b"", "empty"),
    "cut.png": (PNG[: len(PNG) // 2], "truncated"),
    "cut.jpg": (JPEG[: len(JPEG) // 2], "truncated"),
    "cut.tif": (TIFF[: len(TIFF) // 2], ("truncated", "corrupt")),
    "head.png": (PNG[:20], "truncated"),
    "magic.png": (PNG[:8] + bytes(90), "corrupt"),
    "flipped.png": (PNG[:60] + bytes(200) + PNG[260:], "corrupt"),
    "paper.jpg": (b"%PDF-1.7\n" + bytes(500), "not an image: a PDF document"),
    "words.jpg": (b"Dear reader,\nthis is no face. \xc3\xa4", "not an image: text"),
    "page.jpg": (b"<!DOCTYPE html><html>404</html>", "not an image: a web page"),
    "drawing.png": (b"<?xml version='1.0'?><svg/>", "not an image: an SVG drawing"),
    "pointer.png": (b"version https://git-lfs.github.com/spec/v1\n", "not an image: a Git LFS pointer"),
    "zeros.png": (bytes(300), "not an image: only zero bytes"),
    "noise.png": (b"\xfe\xed\xfa\xce" * 50, "not an image: unknown bytes"),
    "film.jpg": (b"\0\0\0\x18ftypmp42" + bytes(50), "not an image: an MP4 video"),
    "phone.jpg": (b"\0\0\0\x18ftypheic" + bytes(50), "not an image: a HEIC picture"),
    "script.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image: a PostScript document"),
    "bomb.png": (bomb(), "huge"),
    "sub": (None, "not a file"),
    "gone.png": (None, "missing"),
    "nothing.csv": (b"emotion,Usage\n0,Training\n", "no row"),
}


@pytest.mark.parametrize("workers", [0, 2])
def test_every_kind_of_bad_file_is_set_aside_with_its_reason(tmp_path, workers):
    root = tmp_path / "faces"
    (root / "sub").mkdir(parents=True)
    for name, (content, _) in BAD.items():
        if content is not None:
            (root / name).write_bytes(content)
    os.mkfifo(root / "pipe.png")
    for i in range(3):
        save(root / f"good{i}.png", picture(i))
    names = ["good0.png", *BAD, "good1.png", "pipe.png", "good2.png"]
    store = prepare(manifest_of(root, names), tmp_path / "stores", size=12, workers=workers)
    assert list(store.manifest.table["path"]) == ["good0.png", "good1.png", "good2.png"]
    for i in range(3):
        np.testing.assert_array_equal(store.images[i, 0, :, :, 0], np.asarray(picture(i)))
    reasons = dict(zip(store.quarantine["path"], store.quarantine["reason"], strict=True))
    assert set(reasons) == {*BAD, "pipe.png"}
    for name, (_, expected) in BAD.items():
        assert reasons[name].startswith(expected), (name, reasons[name])
    assert reasons["pipe.png"] == "not a file"
    assert store.summary().startswith(f"3 faces, {len(BAD) + 1} set aside (quarantine.csv: ")
    assert "were set aside" in store.manifest.notes[-1]


def test_a_wrong_suffix_on_a_real_picture_is_no_harm(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encoded("PNG", 12))
    np.testing.assert_array_equal(pixels(tmp_path / "a.jpg", 1, 12)[:, :, 0], np.asarray(picture(3)))


@given(st.data())
def test_damaged_bytes_never_raise_anything_but_a_reason(data):
    content = bytearray(data.draw(st.sampled_from([PNG, JPEG, TIFF, encoded("GIF"), encoded("WEBP"), encoded("BMP")])))
    for _ in range(data.draw(st.integers(1, 20))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with worker.quiet_pillow(), contextlib.suppress(UnusableError):
        assert len(fit(read._decode(bytes(content), None, Target(8, 3)), Target(8, 3)).tobytes()) == 192


def test_a_class_without_any_usable_sample_is_named(tmp_path):
    save(tmp_path / "a.png", picture(0))
    (tmp_path / "b.png").write_bytes(b"")
    store = prepare(manifest_of(tmp_path, ["a.png", "b.png"], [0, 1]), tmp_path / "stores", size=8)
    assert store.lost == ("pain",)
    assert store.summary() == "1 face, 1 set aside (quarantine.csv: 1 empty); no usable sample is left of pain"
    assert Store.open(store.path).lost == ("pain",)


def test_nothing_usable_is_an_error_with_the_first_reasons(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"none of 2 samples is usable \(a.png: empty.*b.png: missing"):
        prepare(manifest_of(tmp_path, ["a.png", "b.png"]), tmp_path / "stores", size=8)
    assert not list((tmp_path / "stores").glob("*.partial"))


def test_a_picture_that_kills_its_process_is_set_aside_alone(tmp_path, monkeypatch):
    names = folder_of(tmp_path / "faces", 9).table["path"].tolist()
    (tmp_path / "deadly").mkdir()
    (tmp_path / "deadly" / "sitecustomize.py").write_text(
        "import os\nfrom evenface.faces import read\nold = read.read_sample\n"
        "def read_sample(path, *rest):\n"
        "    if path.endswith('0004.png'):\n        os.abort()\n"
        "    return old(path, *rest)\nread.read_sample = read_sample\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "deadly")
    store = prepare(manifest_of(tmp_path / "faces", names), tmp_path / "stores", size=12, workers=1)
    assert list(store.quarantine["sample"]) == ["s4"]
    assert store.quarantine["reason"][0] == "corrupt: it crashes the decoder"
    assert len(store) == 8


@pytest.mark.parametrize(
    ("options", "words"),
    [({"size": 0}, "size must be"), ({"size": 8, "channels": 2}, "channels"), ({"size": 8, "workers": -1}, "workers")],
)
def test_settings_out_of_range_are_refused(tmp_path, options, words):
    with pytest.raises(InputError, match=words):
        prepare(folder_of(tmp_path, 1), tmp_path / "stores", **options)


def test_clips_and_a_file_in_place_of_the_folder_are_refused(tmp_path):
    manifest = folder_of(tmp_path, 2)
    with pytest.raises(InputError, match="is a file"):
        prepare(manifest, tmp_path / "0000.png", size=8)
    clip = manifest_of(tmp_path, ["0000.png"], start=[0], end=[5])
    with pytest.raises(InputError, match="spans several frames"):
        prepare(clip, tmp_path / "stores", size=8)


# --- rows of a table ----------------------------------------------------------------------------------------------


def test_rows_of_the_official_table_are_read_by_number(tmp_path):
    faces = [np.random.default_rng(i).integers(0, 256, (4, 4)) for i in range(4)]
    lines = ["emotion,pixels,Usage", *(f'0,"{" ".join(map(str, face.ravel()))}",Training' for face in faces)]
    lines.insert(2, "")  # a blank line is no row
    lines += ["0,1 2 3,Training", "0,1 2 3 x,Training", "0,1 2 3 256,Training", "0,,"]
    (tmp_path / "fer2013.csv").write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    order = [3, 0, 2, 1, 4, 5, 6, 7, 8]
    manifest = manifest_of(tmp_path, ["fer2013.csv"] * 9, start=order, end=[row + 1 for row in order])
    store = prepare(manifest, tmp_path / "stores", size=4)
    assert len(store) == 4
    for image, row in zip(store.images, order, strict=False):
        np.testing.assert_array_equal(image[0, :, :, 0], faces[row])
    assert [reason.split(":")[0] for reason in store.quarantine["reason"]] == ["corrupt"] * 4 + ["no row"]
    assert "3 pixels make no square" in store.quarantine["reason"][0]


# --- made once ----------------------------------------------------------------------------------------------------


def test_a_second_call_decodes_nothing_whether_files_were_touched_or_moved(tmp_path, monkeypatch):
    manifest = folder_of(tmp_path / "faces", 6)
    first = prepare(manifest, tmp_path / "stores", size=8)
    no_decoding(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(worker, "hash_files", None)  # not even the bytes are looked at
        assert prepare(manifest, tmp_path / "stores", size=8).key == first.key
    for file in (tmp_path / "faces").iterdir():
        os.utime(file, (1, 1))
    assert prepare(manifest, tmp_path / "stores", size=8).key == first.key
    (tmp_path / "faces").rename(tmp_path / "moved")
    moved = prepare(manifest_of(tmp_path / "moved", list(manifest.table["path"])), tmp_path / "stores", size=8)
    assert moved.key == first.key
    assert moved.manifest.root == tmp_path / "moved"


def test_other_bytes_labels_or_settings_make_another_store(tmp_path):
    manifest = folder_of(tmp_path / "faces", 4)
    names = list(manifest.table["path"])
    keys = [prepare(manifest, tmp_path / "stores", size=8).key]
    keys.append(prepare(manifest, tmp_path / "stores", size=9).key)
    keys.append(prepare(manifest, tmp_path / "stores", size=8, channels=3).key)
    keys.append(prepare(manifest_of(tmp_path / "faces", names, [1, 1, 0, 0]), tmp_path / "stores", size=8).key)
    file = tmp_path / "faces" / names[0]
    before = file.stat()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1  # same size, and the old time put back, as unpacking an archive does
    time.sleep(0.02)
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    keys.append(prepare(manifest, tmp_path / "stores", size=8).key)
    assert len(set(keys)) == 5


def test_processes_and_chunks_do_not_change_a_byte(tmp_path, monkeypatch):
    manifest = folder_of(tmp_path / "faces", 40)
    monkeypatch.setattr("evenface.faces.prepare.CHUNK_BYTES", 7 * 64)
    found = [prepare(manifest, tmp_path / str(n), size=8, workers=n).path for n in (0, 1, 2)]
    assert len({(path / IMAGES).read_bytes() for path in found}) == 1


def test_files_that_change_meanwhile_are_noticed(tmp_path, monkeypatch):
    manifest = folder_of(tmp_path / "faces", 3)
    old = worker.read_samples

    def meddle(*rest):
        save(tmp_path / "faces" / "0001.png", picture(99, 20))
        return old(*rest)

    monkeypatch.setattr(worker, "read_samples", meddle)
    with pytest.raises(InputError, match="changed while they were read"):
        prepare(manifest, tmp_path / "stores", size=8)
    assert not list((tmp_path / "stores").glob("*/store.json"))


@pytest.mark.parametrize("harm", ["delete", "cut", "facts", "lone"])
def test_a_damaged_store_is_told_and_not_used(tmp_path, harm):
    store = prepare(folder_of(tmp_path / "faces", 3), tmp_path / "stores", size=8)
    if harm == "delete":
        (store.path / "manifest.parquet").unlink()
    elif harm == "cut":
        os.truncate(store.path / IMAGES, 150)
    elif harm == "facts":
        (store.path / "store.json").write_text("{")
    else:
        np.save(store.path / IMAGES, np.zeros((2, 1, 8, 8, 1), np.uint8))
    with pytest.raises(InputError):
        Store.open(store.path)


# --- killed, stopped, crowded, full -------------------------------------------------------------------------------

SLOWLY = """
import sys, time
from pathlib import Path
from evenface.faces import building, prepare, worker
from evenface.data.manifest import Manifest
building.SYNC_SECONDS = 0
prepare.CHUNK_BYTES = 10 * 64
old = building.Building.add
def add(self, *rest):
    old(self, *rest)
    print(self.done, flush=True)
    time.sleep(0.05)
building.Building.add = add
store = prepare.prepare(Manifest.load(Path(sys.argv[1])), sys.argv[2], size=8, workers=1)
print("whole", store.key, flush=True)
"""


def start_slowly(tmp_path: Path, stores: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SLOWLY, str(tmp_path / "manifest.parquet"), str(stores)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def children_of(process: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            if parent == process:
                found.append(int(entry.name))
    return found


def await_death(processes: list[int]) -> None:
    until = time.monotonic() + 10
    while any(Path(f"/proc/{process}").exists() for process in processes):
        assert time.monotonic() < until, "a reader outlived its parent"
        time.sleep(0.02)


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
    under_way = building.Building(tmp_path / "store.partial", 1, Target(8, 1))
    under_way._journal.close()
    under_way._journal = Path("/dev/full").open("ab")  # noqa: SIM115 - closed by what is tested
    with pytest.raises(InputError, match=r"the disk is full: cannot write .*store\.partial"), under_way:
        pass


def test_a_disk_that_fills_up_on_the_way_leaves_work_to_resume(tmp_path, monkeypatch):
    manifest = folder_of(tmp_path / "faces", 10)
    monkeypatch.setattr("evenface.faces.prepare.CHUNK_BYTES", 4 * 64)
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


def test_real_faces_keep_their_pixels(real_data, tmp_path):
    import tarfile

    with tarfile.open(real_data / "fer2013" / "images.tar.xz") as archive:
        taken = []
        for member in archive:
            if member.isfile():
                taken.append(member.name)
                archive.extract(member, tmp_path / "faces", filter="data")
            if len(taken) == 20:
                break
    store = prepare(manifest_of(tmp_path / "faces", taken), tmp_path / "stores", size=48)
    for image, name in zip(store.images, taken, strict=True):
        with Image.open(tmp_path / "faces" / name) as original:
            np.testing.assert_array_equal(image[0, :, :, 0], np.asarray(original))
