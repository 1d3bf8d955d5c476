"""Predictions drawn into images and videos, and as probabilities over time."""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from evenface.preprocessing.image import quiet_pillow, read_picture
from evenface.preprocessing.video import RATE, Film, open_film
from evenface.reporting.style import GRID, SERIES, colour, panels, save, styled
from evenface.utils.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


TIME_BASE = 90_000
"""Ticks per second of the frame times in written videos."""
MAX_OVERLAPPING = 64
"""Number of preceding windows that are searched for those that contain a frame."""
MAX_PANELS = 12
"""Maximum number of faces in the timeline: those with most rows."""
Box = tuple[float, float, float, float]
Mark = tuple[int, Box | None, str]
"""Id of a face, its bounding box, and its text."""


def annotate(source: str, rows: pd.DataFrame, path: Path, *, video: bool) -> None:
    """Write a copy of an image or video with the boxes and labels of its rows of a prediction table."""
    if video:
        film = open_film(source)
        with atomic_write(path) as temporary:
            _write_video(temporary, film, VideoMarks(rows, film.times))
        return
    with quiet_pillow():
        image = read_picture(source)
    marks = [_mark(row) for row in rows.to_dict("records") if not pd.isna(row["face"])]
    with atomic_write(path) as temporary:
        annotated(image, marks).save(temporary, quality=92)


def _mark(row: Mapping[Any, Any]) -> Mark:
    sides = [row[name] for name in ("left", "top", "right", "bottom")]
    box = None if pd.isna(sides[0]) else (float(sides[0]), float(sides[1]), float(sides[2]), float(sides[3]))
    probability = max(float(value) for name, value in row.items() if str(name).startswith("p_"))
    label = "unsure" if pd.isna(row["label"]) or not row["label"] else row["label"]  # below the abstention threshold
    return int(row["face"]), box, f"{int(row['face'])}  {label} {probability:.2f}"


class VideoMarks:
    """Boxes and labels of each frame of a video.

    Notes
    -----
    A frame shows the row that contains it; of several windows the one whose centre is nearest. Between the centres of
    two windows of a face its box is interpolated. Frames that ``every`` left out show the preceding row.
    """

    def __init__(self, rows: pd.DataFrame, times: np.ndarray) -> None:
        self.times = times
        predicted = rows.dropna(subset="face")
        predicted = predicted[predicted.filter(like="p_").notna().all(axis=1)]
        self.faces = [part.reset_index(drop=True) for _, part in predicted.groupby("face")]
        frames = np.unique(rows["frame"].to_numpy(dtype=np.int64))
        self.every = int(np.diff(frames).min()) if len(frames) > 1 else 1
        if (rows["end"] - rows["frame"] > 1).any():
            self.every = 1

    def at(self, frame: int) -> list[Mark]:
        """Return the marks of a frame."""
        return [mark for rows in self.faces if (mark := self._of(rows, frame)) is not None]

    def _of(self, rows: pd.DataFrame, frame: int) -> Mark | None:
        starts, ends = rows["frame"].to_numpy(dtype=np.int64), rows["end"].to_numpy(dtype=np.int64)
        count = int(np.searchsorted(starts, frame, side="right"))
        inside = [i for i in range(max(0, count - MAX_OVERLAPPING), count) if frame < ends[i] + self.every - 1]
        if not inside:
            return None
        centres = ((rows["time"] + rows["until"]) / 2).to_numpy()
        now = float(self.times[frame])
        best = min(inside, key=lambda i: abs(centres[i] - now))
        face, box, text = _mark(rows.iloc[best].to_dict())
        if box is None or ends[best] - starts[best] == 1:
            return face, box, text
        left, top, right, bottom = (
            float(np.interp(now, centres, rows[name])) for name in ("left", "top", "right", "bottom")
        )
        return face, (left, top, right, bottom), text


def annotated(image: Image.Image, marks: Sequence[Mark]) -> Image.Image:
    """Draw boxes and labels into a copy of an image."""
    image = image.copy()
    draw, height = ImageDraw.Draw(image), max(11, round(min(image.size) / 34))
    occupied = [box for _, box, _ in marks if box is not None]
    for face, box, _ in marks:
        if box is not None:
            draw.rectangle(box, outline=colour(face - 1), width=max(2, height // 7))
    for face, box, text in marks:
        size = draw.textlength(text, font(height)) + height * 0.7, height * 1.45
        area = _label_area(image.size, (0.0, 0.0, 0.0, 0.0) if box is None else box, size, occupied)
        occupied.append(area)
        draw.rectangle(area, fill=colour(face - 1))
        draw.text((area[0] + height * 0.35, area[1] + height * 0.1), text, "white", font(height))
    return image


def _label_area(image: tuple[int, int], box: Box, size: tuple[float, float], occupied: Sequence[Box]) -> Box:
    """Return the area beside a box, inside the image, that overlaps least with others; preferably above the box."""
    width, height = size
    areas = []
    for top in (box[1] - height, box[3], box[1]):
        for left in (box[0], box[2] - width, (box[0] + box[2] - width) / 2):
            x, y = max(0.0, min(left, image[0] - width)), max(0.0, min(top, image[1] - height))
            areas.append((x, y, x + width, y + height))
    return min(areas, key=lambda area: sum(_intersection(area, other) for other in occupied))


def _intersection(first: Box, second: Box) -> float:
    width, height = (min(first[i + 2], second[i + 2]) - max(first[i], second[i]) for i in (0, 1))
    return max(0.0, width) * max(0.0, height)


@lru_cache(maxsize=4)
def font(height: int) -> ImageFont.FreeTypeFont:
    """Load the font of the figures, ``height`` pixels high."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), height)


def _write_video(path: Path, film: Film, marks: VideoMarks) -> None:
    """Write a video with marks, each frame at its own time."""
    import av

    rate = (
        Fraction(round((len(film.times) - 1) / film.times[-1] * 1000), 1000) if film.times[-1] > 0 else Fraction(RATE)
    )
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with av.open(str(path), "w", format="mp4") as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, TIME_BASE)
        stream.codec_context.time_base = Fraction(1, TIME_BASE)
        if codec == "libx264":
            stream.options = {"crf": "20", "preset": "veryfast"}
        sized = False
        for index, image in film.frames(range(len(film.times))):
            picture = annotated(image, marks.at(index))
            if not sized:  # yuv420p stores colour for blocks of two by two pixels
                stream.width, stream.height = picture.width // 2 * 2, picture.height // 2 * 2
                sized = True
            pixels = np.asarray(picture)[: stream.height, : stream.width]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = round(float(film.times[index]) * TIME_BASE), Fraction(1, TIME_BASE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@styled
def draw_timeline(
    tables: Iterable[tuple[str, pd.DataFrame]], files: Sequence[str], classes: Sequence[str], path: Path
) -> bool:
    """Draw probabilities over time, a panel for each face of each video; False if there is none."""
    wanted = set(files)
    faces = []
    for name, rows in tables:
        if name in wanted:
            length = float(rows["until"].max())
            timed = rows.dropna(subset=["time", f"p_{classes[0]}"])
            faces += [(name, length, part) for _, part in timed.groupby("face")]
    if not faces:
        return False
    largest = sorted(range(len(faces)), key=lambda i: -len(faces[i][2]))[:MAX_PANELS]
    chosen = [faces[i] for i in sorted(largest)]
    means = pd.concat([rows for *_, rows in chosen])[[f"p_{name}" for name in classes]].mean()
    order = np.argsort(-means.to_numpy(), kind="stable")
    shown = sorted(order[: len(SERIES) - 1 if len(classes) > len(SERIES) else len(SERIES)].tolist())
    figure, axes = panels(len(chosen), 1, 0.9 + 1.15 * len(chosen))
    for axis, (name, length, rows) in zip(axes, chosen, strict=True):
        _panel(axis, rows, classes, shown, length)
        axis.set_title(f"{Path(name).name}, face {int(rows['face'].iloc[0])}", loc="left")
    axes[-1].set_xlabel("seconds")
    _legend(figure, axes[0])
    save(figure, path)
    return True


def _legend(figure: "Figure", axis: "Axes") -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4)


def _panel(axis: "Axes", rows: pd.DataFrame, classes: Sequence[str], shown: Sequence[int], length: float) -> None:
    """Stack the probabilities of a face in a video of ``length`` seconds; empty where it was not detected."""
    values = rows[[f"p_{name}" for name in classes]].to_numpy()
    start, end = rows["time"].to_numpy(), rows["until"].to_numpy()
    step = float(np.median(np.diff(start))) if len(rows) > 1 else 0.04
    # A row extends from its first frame to the next row's; the last row before a gap, to its own end.
    ends = np.append(np.where(np.diff(start) > 1.5 * step, np.maximum(end, start + step)[:-1], start[1:]), 0.0)
    ends[-1] = max(end[-1], start[-1] + step)
    base = np.zeros(len(rows))
    others = [c for c in range(len(classes)) if c not in shown]
    layers = [(classes[c], values[:, c], SERIES[i]) for i, c in enumerate(shown)]
    layers += [(f"{len(others)} others", values[:, others].sum(axis=1), GRID)] if others else []
    edges = np.stack([start, ends], axis=1).ravel()
    gaps = np.repeat(np.append(np.diff(start) > 1.5 * step, False), 2)
    gaps[::2] = False
    for label, part, shade in layers:
        low, high = np.repeat(base, 2), np.repeat(base + part, 2)
        x, low, high = (np.insert(values, np.flatnonzero(gaps) + 1, np.nan) for values in (edges, low, high))
        axis.fill_between(x, low, high, color=shade, linewidth=0, label=label)
        base = base + part
    axis.set_ylim(0, 1)
    axis.set_yticks([0, 0.5, 1])
    axis.set_xlim(0, max(length, float(ends[-1])))
