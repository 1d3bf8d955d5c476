"""Predictions as text, drawn into images and videos, and over time."""

import importlib.util
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from evenface.data.manifest import TaskKind
from evenface.data.targets import is_unit
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
UNSURE, NONE = "unsure", "none present"
"""Text of a face whose classes are below the abstention threshold, or whose targets are all below theirs."""
PROBABILITY, VALUE = "p_", "v_"
"""Begin the columns of the probability of a class or target, and of the value of a target."""
PRESENT = 1.0
"""Intensity from which an action unit is shown beside a class: grade A of FACS."""
MOST_TARGETS = 3
"""Targets that are written beside a box, the most probable ones."""
MAX_PANELS = 12
"""Maximum number of faces in the timeline: those with most rows."""
Box = tuple[float, float, float, float]
Mark = tuple[int, Box | None, str]
"""Id of a face, its bounding box, and its text."""
Row = Mapping[str, Any]
"""Row of a prediction table: values by the name of the column, None where a cell is empty."""


def annotate(source: str, rows: Sequence[Row], path: Path, *, video: bool) -> None:
    """Write a copy of an image or video with the boxes and labels of its rows of a prediction table."""
    if video:
        film = open_film(source)
        with atomic_write(path) as temporary:
            _write_video(temporary, film, VideoMarks(rows, film.times))
        return
    with quiet_pillow():
        image = read_picture(source)
    with atomic_write(path) as temporary:
        annotated(image, marks_of(rows)).save(temporary, quality=92)


def marks_of(rows: Iterable[Row]) -> list[Mark]:
    """Return the marks of the rows of an image, one for each face."""
    return [_mark(row) for row in rows if row["face"] is not None]


def _mark(row: Row) -> Mark:
    box = None if row["left"] is None else (row["left"], row["top"], row["right"], row["bottom"])
    return row["face"], box, f"{row['face']}  {outputs_text(row, MOST_TARGETS)}"


def task_of(columns: Collection[str]) -> TaskKind:
    """Return what a table predicts by its columns: classes have a temperature, regressions values and none."""
    if "temperature" in columns:
        return "classification"
    return "regression" if any(name.startswith(VALUE) for name in columns) else "multilabel"


def output_names(columns: Collection[str]) -> list[str]:
    """Return the classes of a table, or the targets where it has none, from the names of its columns."""
    start = VALUE if task_of(columns) == "regression" else PROBABILITY
    return [name[2:] for name in columns if name.startswith(start)]


def outputs_text(row: Row, most: int | None = None) -> str:
    """Return what a row predicts: a class with its probability, the targets that are present, or values.

    After a class follow the action units beside it that have an intensity of 1 or more, at most ``most`` of them.

    Examples
    --------
    >>> outputs_text({"label": "AU6+AU12", "p_AU1": 0.1, "p_AU6": 0.71, "p_AU12": 0.88})
    'AU6 0.71  AU12 0.88'
    >>> outputs_text({"label": "", "v_pspi": 3.21})
    'pspi 3.2'
    """
    task = task_of(row)
    if task == "regression":
        return "  ".join(f"{name} {value_text(row[VALUE + name])}" for name in output_names(row))
    p = {name: float(row[PROBABILITY + name]) for name in output_names(row)}
    if task == "classification":
        return "  ".join([f"{row['label'] or UNSURE} {max(p.values()):.2f}", *auxiliary_texts(row, most)])
    present = [name for name in p if name in row["label"].split("+")]
    shown = sorted(sorted(present, key=lambda name: -p[name])[:most], key=present.index)
    text = "  ".join(f"{name} {p[name]:.2f}" for name in shown) or NONE
    return f"{text}  +{len(present) - len(shown)}" if len(shown) < len(present) else text


def auxiliary_texts(row: Row, most: int | None = None) -> list[str]:
    """Return the values beside the classes of a row: of action units those of :data:`PRESENT` or more.

    Examples
    --------
    >>> auxiliary_texts({"temperature": 1.0, "v_AU4": 0.3, "v_AU6": 2.14, "v_AU12": 3.9, "v_valence": 0.52}, most=2)
    ['AU12 3.9', 'valence 0.52']
    """
    values = {name[2:]: float(row[name]) for name in row if name.startswith(VALUE)}
    present = [name for name, value in values.items() if not is_unit(name) or value >= PRESENT]
    largest = sorted(present, key=lambda name: (is_unit(name), -values[name]))[:most]
    return [f"{name} {value_text(values[name])}" for name in present if name in largest]


def value_text(value: float) -> str:
    """Return a value of a regression with two significant digits, or one digit after the point.

    Examples
    --------
    >>> value_text(3.21), value_text(-0.042), value_text(12.34)
    ('3.2', '-0.042', '12.3')
    """
    return f"{value:.2g}" if abs(value) < 1 else f"{value:.1f}"


class VideoMarks:
    """Boxes and labels of each frame of a video.

    Notes
    -----
    A frame shows the row that contains it; of several windows the one whose centre is nearest. Between the centres of
    two windows of a face its box is interpolated. Frames that ``every`` left out show the preceding row.
    """

    def __init__(self, rows: Sequence[Row], times: np.ndarray) -> None:
        self.times = times
        self.faces = list(_by_face(row for row in rows if row["face"] is not None).values())
        frames = sorted({int(row["frame"]) for row in rows})
        single = all(row["end"] - row["frame"] == 1 for row in rows)
        self.every = min(np.diff(frames).tolist(), default=1) if single else 1

    def at(self, frame: int) -> list[Mark]:
        """Return the marks of a frame."""
        return [mark for rows in self.faces if (mark := self._of(rows, frame)) is not None]

    def _of(self, rows: Sequence[Row], frame: int) -> Mark | None:
        count = bisect_right(rows, frame, key=lambda row: row["frame"])
        inside = [row for row in rows[max(0, count - MAX_OVERLAPPING) : count] if frame < row["end"] + self.every - 1]
        if not inside:
            return None
        now = float(self.times[frame])
        best = min(inside, key=lambda row: abs(_centre(row) - now))
        face, box, text = _mark(best)
        if box is None or best["end"] - best["frame"] == 1:
            return face, box, text
        centres = [_centre(row) for row in rows]
        left, top, right, bottom = (
            float(np.interp(now, centres, [row[name] for row in rows])) for name in ("left", "top", "right", "bottom")
        )
        return face, (left, top, right, bottom), text


def _centre(row: Row) -> float:
    return float(row["time"] + row["until"]) / 2


def _by_face(rows: Iterable[Row]) -> dict[int, list[Row]]:
    """Group rows by face, faces in order of their ids."""
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["face"], []).append(row)
    return dict(sorted(groups.items()))


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
def font(height: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Load the font of the figures, ``height`` pixels high; without Matplotlib that of Pillow, which is Latin only."""
    package = importlib.util.find_spec("matplotlib")
    if package is None or package.origin is None:
        return ImageFont.load_default(height)
    return ImageFont.truetype(Path(package.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf", height)


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
    tables: Iterable[tuple[str, Sequence[Row]]], files: Sequence[str], columns: Sequence[str], path: Path
) -> bool:
    """Draw predictions over time, a panel for each face of each video; False if there is none.

    Probabilities of classes are stacked; targets have a line each.
    """
    wanted = set(files)
    faces: list[tuple[str, float, list[Row]]] = []
    for name, rows in tables:
        timed = [row for row in rows if row["time"] is not None]
        if name in wanted and timed:
            length = max(row["until"] for row in timed)
            faces += [
                (name, length, part) for part in _by_face(row for row in timed if row["face"] is not None).values()
            ]
    if not faces:
        return False
    largest = sorted(range(len(faces)), key=lambda i: -len(faces[i][2]))[:MAX_PANELS]
    chosen = [faces[i] for i in sorted(largest)]
    task, classes = task_of(columns), output_names(columns)
    values = [_outputs(rows, classes, task) for *_, rows in chosen]
    order = np.argsort(-np.concatenate(values).mean(axis=0), kind="stable")
    shown = sorted(order[: len(SERIES) - 1 if len(classes) > len(SERIES) else len(SERIES)].tolist())
    limits = (min(0.0, *(v.min() for v in values)), max(0.0, *(v.max() for v in values)) * 1.05 or 1.0)
    figure, axes = panels(len(chosen), 1, 0.9 + 1.15 * len(chosen))
    for axis, (name, length, rows), own in zip(axes, chosen, values, strict=True):
        if task == "classification":
            _panel(axis, rows, own, classes, shown, length)
        else:
            _lines(axis, rows, own, classes, shown, length)
            axis.set_ylim(*((0, 1) if task == "multilabel" else limits))
        axis.set_title(f"{Path(name).name}, face {rows[0]['face']}", loc="left")
    axes[-1].set_xlabel("seconds")
    _legend(figure, axes[0])
    save(figure, path)
    return True


def _outputs(rows: Sequence[Row], names: Sequence[str], task: TaskKind) -> np.ndarray:
    start = VALUE if task == "regression" else PROBABILITY
    return np.array([[row[f"{start}{name}"] for name in names] for row in rows])


def _legend(figure: "Figure", axis: "Axes") -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4)


def _lines(
    axis: "Axes",
    rows: Sequence[Row],
    values: np.ndarray,
    names: Sequence[str],
    shown: Sequence[int],
    length: float,
) -> None:
    """Draw a line for each target of a face; interrupted where it was not detected."""
    times = np.array([_centre(row) for row in rows])
    steps = np.diff(times)
    gaps = np.flatnonzero(steps > 1.5 * np.median(steps)) + 1 if len(steps) else np.empty(0, dtype=int)
    x, mark = np.insert(times, gaps, np.nan), "." if len(rows) == 1 else ""
    for place, index in enumerate(shown):
        y = np.insert(values[:, index], gaps, np.nan)
        axis.plot(x, y, color=SERIES[place], linewidth=1.3, marker=mark, label=names[index])
    axis.set_xlim(0, max(length, float(times[-1])) or 1)


def _panel(
    axis: "Axes",
    rows: Sequence[Row],
    values: np.ndarray,
    classes: Sequence[str],
    shown: Sequence[int],
    length: float,
) -> None:
    """Stack the probabilities of a face in a video of ``length`` seconds; empty where it was not detected."""
    start, end = (np.array([row[name] for row in rows]) for name in ("time", "until"))
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
