"""What a file is: by suffix where that is clear, else by content; and nothing in a folder is passed over unsaid."""

import os
from pathlib import Path

import av
import numpy as np
import pytest
from layouts import plant, refused
from PIL import Image

from evenface.data.dataset_guess import guess_dataset
from evenface.data.datasets import read_dataset
from evenface.inference.sources import find_sources
from evenface.preprocessing.image import read_sample
from evenface.preprocessing.target import Target
from evenface.preprocessing.video import open_film, parts_of
from evenface.utils.errors import SampleError
from evenface.utils.files import file_kind

VIDEOS = {
    "00001.MTS": ("mpegts", "mpeg2video"),
    "take.ts": ("mpegts", "mpeg2video"),
    "obs.flv": ("flv", "flv"),
    "phone.3gp": ("3gp", "mpeg4"),
    "film": ("mov", "mpeg4"),
    "wiki.bin": ("matroska", "mpeg4"),
    "old.dat": ("mpeg", "mpeg1video"),
    "disk.x": ("avi", "mpeg4"),
}


def film(path, container, codec):
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for i in range(20):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 12 * i, np.uint8), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def moving(path, delays, size=16, **settings):
    """Write an animated picture whose frame i is grey of 40 i."""
    frames = [Image.new("RGB", (size, size), (40 * i,) * 3) for i in range(len(delays))]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=delays, **settings)
    return path


@pytest.mark.parametrize("name", VIDEOS)
def test_every_video_that_can_be_read_is_known_as_one(tmp_path, name):
    path = film(tmp_path / name, *VIDEOS[name])
    assert len(open_film(str(path)).times) >= 3
    assert file_kind(str(path)) == "video"
    for inputs in ([tmp_path], [path]):
        found, troubles = find_sources(inputs)
        assert ([source.kind for source in found], troubles) == (["clip"], [])


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "JPEG2000"])
def test_every_picture_is_known_by_its_content(tmp_path, form):
    Image.new("RGB", (16, 16)).save(tmp_path / "x", form)
    assert file_kind(str(tmp_path / "x")) == "image"
    found, _ = find_sources([tmp_path])
    assert [source.kind for source in found] == ["picture"]


def test_what_is_passed_over_in_a_folder_is_named(tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    plant(tmp_path, "b/notes.txt", "table.csv")
    found, troubles = find_sources([tmp_path])
    assert [Path(source.path).name for source in found] == ["a.png"]
    assert troubles == [f"{tmp_path}: 2 files of other types are left out, such as {tmp_path}/table.csv"]
    (tmp_path / "c.npy").write_bytes(b"")
    assert f"1 files of other types are left out, such as {tmp_path}/a.png" in find_sources([tmp_path], "numbers")[1][0]


def test_a_link_back_to_a_folder_above_ends(tmp_path):
    for name in ("happy/a.png", "sad/b.png"):
        (tmp_path / name).parent.mkdir()
        Image.new("L", (16, 16)).save(tmp_path / name)
    (tmp_path / "happy" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "happy" / "self").symlink_to(tmp_path / "happy", target_is_directory=True)
    assert list(read_dataset("folder", tmp_path).table["path"]) == ["happy/a.png", "sad/b.png"]
    assert len(find_sources([tmp_path])[0]) == 2


@pytest.mark.skipif(os.name == "nt", reason="needs names that are no text")
def test_names_that_are_no_utf8_are_refused_wherever_they_stand(tmp_path):
    plant(tmp_path, "sad/a.png")
    (tmp_path / os.fsdecode(b"h\xff")).mkdir()
    with refused("the name of the folder 'h\\udcff'"):
        read_dataset("folder", tmp_path)
    with refused("is not valid UTF-8"):
        guess_dataset(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="needs a user who may not read all")
def test_a_folder_that_may_not_be_read_is_refused(tmp_path):
    plant(tmp_path, "happy/a.png", "sad/b.png")
    (tmp_path / "sad").chmod(0)
    with refused("cannot read the folder"):
        read_dataset("folder", tmp_path)


@pytest.mark.parametrize("name", ["x.gif", "x.webp", "x.apng", "x"])
def test_frames_of_an_animated_picture_are_read_with_their_times(tmp_path, name):
    form = {"x.apng": "PNG", "x": "GIF"}.get(name)
    path = moving(tmp_path / name, [100, 200, 300], **({"format": form} if form else {}), lossless=True)
    found = open_film(str(path))
    assert np.allclose(found.times, [0, 0.1, 0.3])
    seen = [(number, round(np.asarray(image).mean())) for number, image in found.frames([0, 2])]
    assert seen == [(0, 0), (2, 80)]
    assert find_sources([path])[0][0].kind == "clip"


def test_delays_too_short_to_show_are_lengthened_as_browsers_do(tmp_path):
    assert np.allclose(open_film(str(moving(tmp_path / "x.gif", [0, 10, 20, 0]))).times, [0, 0.1, 0.2, 0.22])


def test_a_damaged_animation_is_told(tmp_path):
    path = moving(tmp_path / "x.gif", [100] * 4, size=64)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(SampleError, match=r"truncated|corrupt"):
        open_film(str(path))


def test_animated_pictures_in_class_folders_are_clips_and_stills_say_so(tmp_path):
    for name in ("happy", "sad"):
        (tmp_path / name).mkdir()
        moving(tmp_path / name / "a.gif", [100, 100])
        Image.new("RGB", (16, 16)).save(tmp_path / name / "still.webp")
    found = read_dataset("clip-folder", tmp_path)
    assert list(found.table["path"]) == ["happy/a.gif", "sad/a.gif"]
    assert "images directly in class folders are ignored, as they are no clips: 2" in found.notes[0]
    notes = read_dataset("folder", tmp_path).notes
    assert "animated images, of which only the first frame is read: 2, such as happy/a.gif" in notes[0]


def test_pictures_without_a_suffix_make_a_clip(tmp_path):
    for i in range(3):
        Image.new("RGB", (16, 16), (i,) * 3).save(tmp_path / f"{i}", "PNG")
    (tmp_path / "notes").write_text("no picture")
    assert [Path(part).name for part in parts_of(str(tmp_path))] == ["0", "1", "2"]
    assert len(open_film(str(tmp_path)).times) == 3


def test_a_stream_that_is_no_picture_is_named_for_what_it_is(tmp_path):
    path = film(tmp_path / "x.jpg", "mpegts", "mpeg2video")
    with pytest.raises(SampleError, match="not an image: an MPEG transport stream"):
        read_sample(str(path), None, Target(32, 1))


def test_folders_of_people_are_noted(tmp_path):
    plant(tmp_path, *(f"S{i:03}/x.png" for i in range(4)))
    notes = read_dataset("folder", tmp_path).notes
    assert notes == ("folders named like subjects are read as classes: S000, S001, S002, S003",)


def test_links_that_lead_in_a_circle_or_nowhere_end_nothing(tmp_path):
    for name in ("a/1.png", "b/1.png"):
        (tmp_path / name).parent.mkdir()
        Image.new("L", (16, 16)).save(tmp_path / name)
    (tmp_path / "a" / "loop.png").symlink_to(tmp_path / "a" / "loop.png")
    (tmp_path / "a" / "gone.png").symlink_to(tmp_path / "nothing.png")
    assert list(read_dataset("folder", tmp_path).table["path"]) == ["a/1.png", "a/gone.png", "a/loop.png", "b/1.png"]
    assert len(find_sources([tmp_path])[0]) == 2
    assert len(open_film(str(tmp_path / "a")).times) == 1
    for name, why in (("loop.png", "unreadable"), ("gone.png", "missing")):
        with pytest.raises(SampleError, match=why):
            read_sample(str(tmp_path / "a" / name), None, Target(32, 1))
