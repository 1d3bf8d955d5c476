"""Pictures and videos with what was said of the faces in them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from evenface.inference.sources import Source
from evenface.preprocessing.image import quiet_pillow, read_picture
from evenface.preprocessing.video import RATE, Film, open_film
from evenface.reporting.style import GRID, SERIES, colour, panels, save, styled
from evenface.utils.errors import InputError, SampleError
from evenface.utils.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


BASE = 90_000
"""Parts of a second in which times of frames are written."""
Box = tuple[float, float, float, float]
Mark = tuple[int, Box | None, str]
"""Number of a face, where it is, and what is written beside it."""


def draw(source: Source, rows: pd.DataFrame, path: Path) -> None:
    """Draw what a table says of a source into a copy of it."""
    if source.kind == "picture":
        with quiet_pillow():
            image = read_picture(source.path)
        marks = [_mark(row) for row in rows.to_dict("records") if not pd.isna(row["face"])]
        with atomic_write(path) as temporary:
            marked(image, marks).save(temporary, quality=92)
        return
    film = open_film(source.path)
    with atomic_write(path) as temporary:
        _write_video(temporary, film, Marks(rows, film.times))


def _mark(row: Mapping[Any, Any]) -> Mark:
    """Say what is drawn of a row."""
    sides = [row[name] for name in ("left", "top", "right", "bottom")]
    box = None if pd.isna(sides[0]) else (float(sides[0]), float(sides[1]), float(sides[2]), float(sides[3]))
    shares = [float(value) for name, value in row.items() if str(name).startswith("p_")]
    label = "unsure" if pd.isna(row["label"]) or not row["label"] else row["label"]  # the model abstained
    said = f"{label} {max(shares):.2f}"
    return int(row["face"]), box, f"{int(row['face'])}  {said}"


class Marks:
    """What is drawn on each frame of a clip.

    Notes
    -----
    A frame shows the rows that it lies in; of several windows the one whose middle is nearest. Between the middles of
    two windows of a face its box moves evenly. Frames that were left out, by ``every``, show the row before them.
    """

    def __init__(self, rows: pd.DataFrame, times: np.ndarray) -> None:
        self.times = times
        known = rows.dropna(subset="face")
        known = known[known.filter(like="p_").notna().all(axis=1)]
        self.faces = [part.reset_index(drop=True) for _, part in known.groupby("face")]
        looked = np.unique(rows["frame"].to_numpy(dtype=np.int64))
        self.every = int(np.diff(looked).min()) if len(looked) > 1 else 1
        if (rows["end"] - rows["frame"] > 1).any():
            self.every = 1

    def at(self, frame: int) -> list[Mark]:
        """Give the marks of a frame."""
        return [mark for rows in self.faces if (mark := self._of(rows, frame)) is not None]

    def _of(self, rows: pd.DataFrame, frame: int) -> Mark | None:
        begins, ends = rows["frame"].to_numpy(dtype=np.int64), rows["end"].to_numpy(dtype=np.int64)
        low = int(np.searchsorted(begins, frame, side="right"))
        inside = [i for i in range(max(0, low - 64), low) if frame < ends[i] + self.every - 1]
        if not inside:
            return None
        middles = ((rows["time"] + rows["until"]) / 2).to_numpy()
        now = float(self.times[frame])
        best = min(inside, key=lambda i: abs(middles[i] - now))
        number, box, text = _mark(rows.iloc[best].to_dict())
        if box is None or ends[best] - begins[best] == 1:
            return number, box, text
        sides = [float(np.interp(now, middles, rows[name])) for name in ("left", "top", "right", "bottom")]
        return number, (sides[0], sides[1], sides[2], sides[3]), text


def marked(image: Image.Image, marks: Sequence[Mark]) -> Image.Image:
    """Draw boxes and words into a copy of a picture."""
    image = image.copy()
    pen, high = ImageDraw.Draw(image), max(11, round(min(image.size) / 34))
    boxes = [box for _, box, _ in marks if box is not None]
    for number, box, _ in marks:
        if box is not None:
            pen.rectangle(box, outline=colour(number - 1), width=max(2, high // 7))
    for number, box, text in marks:
        size = pen.textlength(text, font(high)) + high * 0.7, high * 1.45
        area = _free(image.size, (0.0, 0.0, 0.0, 0.0) if box is None else box, size, boxes)
        boxes.append(area)
        pen.rectangle(area, fill=colour(number - 1))
        pen.text((area[0] + high * 0.35, area[1] + high * 0.1), text, "white", font(high))
    return image


def _free(picture: tuple[int, int], box: Box, size: tuple[float, float], others: Iterable[Box]) -> Box:
    """Find a place for words beside a box and inside the picture that hides least of the others, above it if it can."""
    width, height = size
    known = list(others)
    places = [
        (left, top)
        for top in (box[1] - height, box[3], box[1])
        for left in (box[0], box[2] - width, (box[0] + box[2] - width) / 2)
    ]
    areas = []
    for left, top in places:
        x, y = max(0.0, min(left, picture[0] - width)), max(0.0, min(top, picture[1] - height))
        areas.append((x, y, x + width, y + height))
    return min(areas, key=lambda area: sum(_shared(area, other) for other in known))


def _shared(one: Box, other: Box) -> float:
    """Area that two boxes share."""
    width, height = (min(one[i + 2], other[i + 2]) - max(one[i], other[i]) for i in (0, 1))
    return max(0.0, width) * max(0.0, height)


@lru_cache(maxsize=4)
def font(high: int) -> ImageFont.FreeTypeFont:
    """Load the letters that figures have too, ``high`` pixels high."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), high)


def _write_video(path: Path, film: Film, marks: Marks) -> None:
    """Write a clip with marks, each frame at its own time."""
    import av

    rate = (
        Fraction(round((len(film.times) - 1) / film.times[-1] * 1000), 1000) if film.times[-1] > 0 else Fraction(RATE)
    )
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with av.open(str(path), "w", format="mp4") as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, BASE)
        stream.codec_context.time_base = Fraction(1, BASE)
        if codec == "libx264":
            stream.options = {"crf": "20", "preset": "veryfast"}
        sized = False
        for number, image in film.frames(range(len(film.times))):
            picture = marked(image, marks.at(number))
            if not sized:  # colour is stored for blocks of two by two pixels
                stream.width, stream.height = picture.width // 2 * 2, picture.height // 2 * 2
                sized = True
            pixels = np.asarray(picture)[: stream.height, : stream.width]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = round(float(film.times[number]) * BASE), Fraction(1, BASE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def draw_all(
    sources: Sequence[Source], new: Sequence[Source], tables: Iterable[pd.DataFrame], folder: Path
) -> Iterator[Path | str]:
    """Draw every source that is new or not drawn yet."""
    names = names_of(sources, folder)
    fresh = {source.path for source in new}
    for name, rows in by_file(tables):
        source, path = names.get(name, (None, Path()))
        if source is None or (path.is_file() and name not in fresh):
            continue
        try:
            draw(source, rows, path)
            yield path
        except (SampleError, InputError) as error:
            yield f"{name}: cannot be drawn: {error}"


def names_of(sources: Sequence[Source], folder: Path) -> dict[str, tuple[Source, Path]]:
    """Say where each picture and clip is drawn; further ones of the same name are numbered."""
    found: dict[str, tuple[Source, Path]] = {}
    taken: set[str] = set()
    for source in sources:
        if source.kind not in ("picture", "clip"):
            continue
        stem, number = Path(source.path).stem, 1
        suffix = ".jpg" if source.kind == "picture" else ".mp4"
        while (name := f"{stem}{suffix}" if number == 1 else f"{stem}-{number}{suffix}").lower() in taken:
            number += 1
        taken.add(name.lower())
        found[source.path] = source, folder / name
    return found


def by_file(tables: Iterable[pd.DataFrame]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Give the rows of each file together, however the table is cut into pieces."""
    held: list[pd.DataFrame] = []
    for table in tables:
        for name, rows in table.groupby("file", sort=False):
            if held and held[0]["file"].iloc[0] != name:
                yield str(held[0]["file"].iloc[0]), pd.concat(held, ignore_index=True)
                held = []
            held.append(rows)
    if held:
        yield str(held[0]["file"].iloc[0]), pd.concat(held, ignore_index=True)


MOST = 12
"""Faces that are drawn, those with most rows."""


@styled
def timeline(tables: Iterable[pd.DataFrame], files: Sequence[str], classes: Sequence[str], path: Path) -> bool:
    """Draw probabilities over time, a panel for each face of each clip."""
    wanted = set(files)
    parts = []
    for name, rows in by_file(tables):
        if name in wanted:
            length = float(rows["until"].max())
            known = rows.dropna(subset=["time", f"p_{classes[0]}"])
            parts += [(name, length, part) for _, part in known.groupby("face")]
    if not parts:
        return False
    most = sorted(parts, key=lambda part: -len(part[2]))[:MOST]
    chosen = [part for part in parts if any(part is one for one in most)]
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
    """Stack the probabilities of a face in a clip of ``length`` seconds; where it was not seen there is nothing."""
    values = rows[[f"p_{name}" for name in classes]].to_numpy()
    begin, end = rows["time"].to_numpy(), rows["until"].to_numpy()
    step = float(np.median(np.diff(begin))) if len(rows) > 1 else 0.04
    # A row holds from its first frame to the next row's, or, of the last before a gap, to its own end.
    ends = np.append(np.where(np.diff(begin) > 1.5 * step, np.maximum(end, begin + step)[:-1], begin[1:]), 0.0)
    ends[-1] = max(end[-1], begin[-1] + step)
    base = np.zeros(len(rows))
    others = [c for c in range(len(classes)) if c not in shown]
    layers = [(classes[c], values[:, c], SERIES[i]) for i, c in enumerate(shown)]
    layers += [(f"{len(others)} others", values[:, others].sum(axis=1), GRID)] if others else []
    edges = np.stack([begin, ends], axis=1).ravel()
    breaks = np.repeat(np.append(np.diff(begin) > 1.5 * step, False), 2)
    breaks[::2] = False
    for label, part, shade in layers:
        low, high = np.repeat(base, 2), np.repeat(base + part, 2)
        x, low, high = (np.insert(one, np.flatnonzero(breaks) + 1, np.nan) for one in (edges, low, high))
        axis.fill_between(x, low, high, color=shade, linewidth=0, label=label)
        base = base + part
    axis.set_ylim(0, 1)
    axis.set_yticks([0, 0.5, 1])
    axis.set_xlim(0, max(length, float(ends[-1])))
