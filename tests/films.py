"""What tests of videos share: frames that tell their number, videos and sounds of them, faces, manifests."""

import math
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import stores
from PIL import Image

from evenface.preprocessing.detect_align import Face

av = pytest.importorskip("av")

manifest_of = partial(stores.manifest_of, content="clips")
CODECS = {"mp4": "mpeg4", "mov": "mpeg4", "avi": "mpeg4", "mkv": "mpeg4", "webm": "libvpx"}


def shade(number: int) -> int:
    return 20 + 2 * (number % 110)


def painted(number: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """A grey frame that tells its number, with a red upper left and a blue upper right corner."""
    pixels = np.full((size[1], size[0], 3), shade(number), np.uint8)
    pixels[: size[1] // 4, : size[0] // 4] = (220, 20, 20)
    pixels[: size[1] // 4, -size[0] // 4 :] = (20, 20, 220)
    return pixels


def make_video(path: Path, frames=30, *, codec="", size=(64, 48), turn=None, times=None, group=12) -> Path:
    """Write frames (a number of painted ones, or pictures); ``times`` in milliseconds."""
    pictures = [painted(i, size) for i in range(frames)] if isinstance(frames, int) else frames
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec or CODECS[path.suffix[1:]], rate=10)
        stream.height, stream.width = pictures[0].shape[:2] if pictures else size[::-1]
        stream.pix_fmt, stream.bit_rate, stream.codec_context.gop_size = "yuv420p", 2_000_000, group
        if times is not None:
            stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        if turn is not None:
            stream.set_display_rotation(*turn)
        for i, pixels in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.start_encoding()
        if pictures:
            container.mux(stream.encode())
    return path


def make_sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac" if path.suffix != ".wav" else "pcm_s16le", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), format="s16", layout="mono")
        frame.sample_rate = 16000
        for _ in range(20):
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def number_of(image: Image.Image) -> int:
    """Read a painted frame's number from its lower middle."""
    return round((float(np.asarray(image)[image.height // 2 + 4 :, :, 1].mean()) - 20) / 2)


def about(x: float, y: float, side: float = 40, angle: float = 0.0) -> Face:
    eyes = [(x + way * math.cos(angle) * side / 4, y + way * math.sin(angle) * side / 4) for way in (-1, 1)]
    return Face((x - side / 2, y - side / 2, x + side / 2, y + side / 2), 1.0, (eyes[0], eyes[1]))
