"""Videos and folders of pictures: every frame, in order, at its time, and which of them are taken."""

import contextlib
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from films import CODECS, av, make_sound, make_video, number_of, painted
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from evenface.config.recipe import FrameSampler
from evenface.preprocessing.frame_sampling import sample_frames, stride, uniform, windows
from evenface.preprocessing.video import FAR, check_whole, open_film, parts_of
from evenface.utils.errors import SampleError
from evenface.utils.files import natural_key


def noise(frames: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(frames)]


def reason_of(path: Path, wanted=(0,)) -> str:
    with pytest.raises(SampleError) as caught:
        list(open_film(str(path)).frames(wanted))
    return str(caught.value)


# --- what is read -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CODECS)
def test_every_container_gives_its_frames_in_order_and_in_colour(tmp_path, kind):
    film = open_film(str(make_video(tmp_path / f"a.{kind}")))
    np.testing.assert_allclose(film.times, np.arange(30) / 10, atol=1e-3)
    found = list(film.frames(range(30)))
    assert [number for number, _ in found] == list(range(30))
    assert max(abs(number_of(image) - number) for number, image in found) <= 1
    image = found[7][1]
    assert image.mode == "RGB"
    assert image.size == (64, 48)
    assert image.getpixel((4, 4))[0] > 150 > image.getpixel((4, 4))[2]
    assert image.getpixel((60, 4))[2] > 150 > image.getpixel((60, 4))[0]


def test_the_suffix_does_not_matter(tmp_path):
    path = make_video(tmp_path / "a.mkv", 5).rename(tmp_path / "a.txt")
    assert len(open_film(str(path)).times) == 5


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_display_matrix_is_honoured(tmp_path, degrees, mirrored):
    path = make_video(tmp_path / "a.mp4", 2, turn=(degrees, mirrored))
    (_, image), *_ = open_film(str(path)).frames([1])
    # counter-clockwise turn, then mirror: as FFmpeg defines it, by NumPy's own turning
    expected = np.rot90(painted(1), degrees // 90)
    expected = expected[:, ::-1] if mirrored else expected
    assert image.size == expected.shape[1::-1]
    assert np.abs(np.asarray(image, int) - expected).mean() < 6


@pytest.mark.parametrize("kind", ["mkv", "mp4"])
def test_a_variable_rate_gives_each_frame_its_time(tmp_path, kind):
    times = [0, 100, 150, 400, 1000, 1100, 1900]
    film = open_film(str(make_video(tmp_path / f"a.{kind}", 7, times=times)))
    np.testing.assert_allclose(film.times, np.array(times) / 1000, atol=1e-3)
    assert film.timed
    assert [number_of(image) for _, image in film.frames([0, 3, 6])] == pytest.approx([0, 3, 6], abs=1)


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_seeking_gives_the_same_pixels_as_decoding_from_the_start(tmp_path, codec):
    film = open_film(str(make_video(tmp_path / "a.mp4", 100, codec=codec)))
    whole = dict(film.frames(range(100)))
    for first in (FAR - 1, FAR, 77, 99):
        for number, image in film.frames([first, 99] if first < 99 else [99]):
            assert image.tobytes() == whole[number].tobytes()


def test_pixels_that_are_not_square_are_made_so(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)
        for i in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(painted(i), format="rgb24")))
        container.mux(stream.encode())
    assert next(open_film(str(path)).frames([0]))[1].size == (128, 48)


@pytest.mark.parametrize("width", [16, 62, 66])
def test_frames_of_any_width_are_those_of_the_decoder(tmp_path, width):
    path = tmp_path / "a.mkv"
    make_video(path, 3, size=(width, 48))
    with av.open(str(path)) as container:
        known = [np.asarray(frame.to_image()) for frame in container.decode(video=0)]
    found = [np.asarray(image) for _, image in open_film(str(path)).frames(range(3))]
    np.testing.assert_array_equal(found, known)


def test_a_folder_gives_its_pictures_in_natural_order(tmp_path):
    for number in range(12):
        Image.fromarray(painted(number)).save(tmp_path / f"Frame{number}.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / ".hidden.png").write_bytes(b"")
    film = open_film(str(tmp_path))
    assert not film.timed
    assert [number_of(image) for _, image in film.frames(range(12))] == list(range(12))
    assert [Path(part).name for part in parts_of(str(tmp_path))] == [f"Frame{i}.png" for i in range(12)]
    (tmp_path / "Frame7.png").write_bytes(b"")
    assert reason_of(tmp_path, range(12)) == "empty: the file has no bytes (in Frame7.png)"


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "A"]), st.integers(0, 10**6)), max_size=8))
def test_natural_order_is_by_word_and_then_by_value(pairs):
    names = [f"{word}{number}.png" for word, number in pairs]
    expected = [f"{word}{number}.png" for word, number in sorted(pairs, key=lambda pair: (pair[0].lower(), pair[1]))]
    assert sorted(names, key=natural_key) == expected


# --- what cannot be used ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CODECS)
@pytest.mark.parametrize("share", [0.5, 0.85])
def test_a_video_cut_short_is_told(tmp_path, kind, share):
    path = make_video(tmp_path / f"a.{kind}", noise(30))
    os.truncate(path, int(share * path.stat().st_size))
    assert reason_of(path, range(30)).startswith("truncated: ")


def test_an_index_that_promises_more_than_there_is_is_told(tmp_path):
    """Index first, pixels cut off, as when a download breaks off."""
    whole = make_video(tmp_path / "a.mp4", noise(60))
    path = tmp_path / "b.mp4"
    with av.open(str(whole)) as source, av.open(str(path), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    assert len(list(open_film(str(path)).frames(range(60)))) == 60
    os.truncate(path, path.stat().st_size // 2)
    assert reason_of(path, range(60)).startswith("truncated: ")


def test_every_kind_of_bad_clip_has_its_reason(tmp_path):
    make_sound(tmp_path / "sound.mp4")
    make_sound(tmp_path / "sound.wav")
    make_video(tmp_path / "dot.avi", [np.zeros((1, 1, 3), np.uint8)] * 3, codec="ffv1")
    Image.fromarray(painted(1)).save(tmp_path / "picture.mp4", "PNG")
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile 'sound.mp4'\n")
    (tmp_path / "stream.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://localhost/a.ts\n#EXT-X-ENDLIST\n")
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "paper.mp4").write_bytes(b"%PDF-1.7\n" + bytes(500))
    (tmp_path / "head.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(500))
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    expected = {
        "sound.mp4": "not a video: it has only sound",
        "sound.wav": "not a video: it has only sound",
        "dot.avi": "too small: 1 × 1 pixels",
        "picture.mp4": "not a video: a single image",
        "list.mp4": "not a video: text",
        "stream.mp4": "not a video: text",
        "empty.mp4": "empty: the file has no bytes",
        "paper.mp4": "not a video: a PDF document",
        "head.mp4": "truncated: the file ends before its index, or its header is damaged",
        "noise.mp4": "not a video: unknown bytes",
        "folder": "no frames: the folder has no image",
        "pipe.mp4": "not a file",
        "gone.mp4": "missing",
    }
    assert {name: reason_of(tmp_path / name) for name in expected} == expected


@pytest.mark.parametrize("kind", ["mkv", "avi", "mp4"])
def test_a_video_without_frames_is_told(tmp_path, kind):
    assert reason_of(make_video(tmp_path / f"a.{kind}", 0)).startswith(("empty: ", "truncated: "))


def test_a_length_without_frames_is_compared_with_what_is_there():
    class Stream:
        frames, metadata, time_base = 0, {"DURATION": "00:01:40.000000000"}, Fraction(1, 10)

    check_whole(None, Stream, 990, 990)
    with pytest.raises(SampleError, match=r"truncated: 95\.0 of 100\.0 seconds"):
        check_whole(None, Stream, 950, 950)


@given(st.data())
def test_damaged_bytes_never_raise_anything_but_a_reason(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    kind = data.draw(st.sampled_from(["mp4", "mkv", "avi"]))
    whole = folder / f"whole.{kind}"
    content = bytearray((whole if whole.exists() else make_video(whole, 12)).read_bytes())
    for _ in range(data.draw(st.integers(1, 30))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = folder / f"a.{kind}"
    path.write_bytes(content)
    with contextlib.suppress(SampleError):
        film = open_film(str(path))
        assert len(list(film.frames(range(len(film.times))))) == len(film.times)


def test_nothing_of_ffmpeg_reaches_the_screen(tmp_path):
    path = make_video(tmp_path / "a.avi", 30, codec="mpeg4")
    content = bytearray(path.read_bytes())
    content[3000:3200] = bytes(200)
    path.write_bytes(content)
    code = (
        "import sys\nfrom evenface.preprocessing.video import open_film\n"
        "from evenface.utils.errors import SampleError\n"
        "try:\n    list(open_film(sys.argv[1]).frames(range(30)))\nexcept SampleError: pass\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


# --- which frames are taken ---------------------------------------------------------------------------------------


COUNTS, FRAMES, EVERY = st.integers(1, 300), st.integers(1, 40), st.integers(1, 9)


@given(COUNTS, FRAMES)
def test_uniform_takes_the_middle_of_each_stretch(count, frames):
    taken = uniform(count, frames)
    assert taken.tolist() == [int((i + 0.5) * Fraction(count, frames)) for i in range(frames)]
    # one from each stretch, and the same from either end, up to rounding
    assert all(i * count // frames <= frame <= (i + 1) * count / frames for i, frame in enumerate(taken))
    assert np.abs(taken + taken[::-1] - (count - 1)).max() <= 1
    if count % frames == 0 and (count // frames) % 2:
        assert (taken + taken[::-1] == count - 1).all()


@given(COUNTS, FRAMES, EVERY)
def test_stride_takes_every_so_many_about_the_middle(count, frames, every):
    taken = stride(count, frames, every)
    assert len(taken) == frames
    assert taken.min() >= 0
    assert taken.max() < count
    assert abs((count - 1) - (taken[0] + taken[-1])) <= 1
    if (frames - 1) * every < count:
        assert (np.diff(taken) == every).all()
    else:
        inner = taken[(taken > 0) & (taken < count - 1)]
        assert (np.diff(inner) == every).all()


@given(COUNTS, FRAMES, EVERY)
def test_windows_take_every_frame_once_and_leave_out_only_the_rest(count, frames, every):
    taken = windows(count, frames, every)
    assert all(len(window) == frames for window in taken)
    grid = list(range(0, count, every))
    flat = np.concatenate(taken).tolist()
    if len(grid) < frames:
        assert len(taken) == 1
        assert flat == grid + [grid[-1]] * (frames - len(grid))
    else:
        assert flat == grid[: len(grid) // frames * frames]
        assert len(grid) - len(flat) < frames


@given(FRAMES, EVERY, st.sampled_from(["uniform", "stride", "windows"]))
def test_a_single_frame_is_held(frames, every, sampling):
    (taken,) = sample_frames(FrameSampler(frames=frames, sampling=sampling, stride=every), 1)
    assert taken.tolist() == [0] * frames


@pytest.mark.parametrize(
    "wrong", [{"frames": 0}, {"stride": 0}, {"sampling": "some"}, {"missing_face": "keep"}, {"max_missing": 1}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FrameSampler(**wrong)
