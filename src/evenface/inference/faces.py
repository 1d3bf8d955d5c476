"""Result of a prediction: a sequence of faces, with a table, an image and a short summary."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, overload

from PIL import Image

from evenface.data.manifest import TaskKind
from evenface.inference.sources import Source
from evenface.preprocessing.image import picture_in_memory, quiet_pillow, read_picture
from evenface.preprocessing.video import open_film
from evenface.reporting.annotation import (
    NONE,
    PROBABILITY,
    UNSURE,
    VALUE,
    Row,
    annotated,
    auxiliary_texts,
    marks_of,
    output_names,
    outputs_text,
    task_of,
    value_text,
)
from evenface.utils.errors import InputError
from evenface.utils.extras import require
from evenface.utils.progress import skipped_lines
from evenface.utils.tables import html_table

if TYPE_CHECKING:
    import pandas as pd

FEW = 20
"""Number of faces up to which each is listed on the screen and in a notebook."""
TILES, TILE = 12, 480
"""Images that are drawn together at most, and pixels of the longer side of each."""
INTEGERS, STRINGS = ("frame", "end", "face"), ("file", "label", "model", "digest")
"""Columns of whole numbers and of text; all others hold numbers with decimals."""


@dataclass(frozen=True, slots=True)
class FacePrediction:
    """What a model predicts for one face in an image, a frame or a window of frames.

    Parameters
    ----------
    label : str
        The most probable class; empty if it does not reach the probability asked for with ``abstain``. Of a multi-label
        model the targets that are present, such as ``AU6+AU12``; of a regression empty.
    probabilities : dict of str to float
        Probability of each class or target; empty for a regression.
    box : tuple of float, or None
        Left, top, right and bottom in pixels of the upright image; None where no face was searched for.
    face : int
        Id of the face: in an image, 1 is the largest; in a video, the same face keeps its id.
    source : str
        Path of the file, or name of what was in memory.
    frame, end : int
        Frames that were used: the first one, and one after the last.
    time, until : float or None
        Time of the first and of the last frame in seconds; None for images.
    score : float or None
        Confidence of the face detector.
    yaw, pitch, roll : float or None
        Head pose in degrees, if it was asked for with ``pose``; see
        :func:`~evenface.preprocessing.head_pose.head_pose`.
    values : dict of str to float
        Value of each target of a regression, or of each action unit beside classes, in its own unit; else empty.
    text : str
        The prediction as it is printed.
    """

    label: str
    probabilities: dict[str, float]
    box: tuple[float, float, float, float] | None
    face: int
    source: str
    frame: int = 0
    end: int = 1
    time: float | None = None
    until: float | None = None
    score: float | None = None
    yaw: float | None = None
    pitch: float | None = None
    roll: float | None = None
    values: dict[str, float] = field(default_factory=dict)
    text: str = ""

    @classmethod
    def of(cls, row: Row) -> "FacePrediction":
        """Return the prediction in a row of a table."""
        probabilities, values = (
            {name[2:]: value for name, value in row.items() if name.startswith(start)} for start in (PROBABILITY, VALUE)
        )
        box = None if row["left"] is None else (row["left"], row["top"], row["right"], row["bottom"])
        names = ("frame", "end", "time", "until", "score", "yaw", "pitch", "roll")
        return cls(
            row["label"] or "",
            probabilities,
            box,
            row["face"],
            row["file"],
            **{name: row[name] for name in names},
            values=values,
            text=outputs_text(row),
        )

    @property
    def probability(self) -> float:
        """Probability of the most probable class or target; NaN for a regression."""
        return max(self.probabilities.values(), default=float("nan"))

    @property
    def present(self) -> tuple[str, ...]:
        """The class; of a multi-label model, the targets that reach their thresholds."""
        if self.label in self.probabilities:
            return (self.label,)
        parts = self.label.split("+")
        return tuple(name for name in self.probabilities if name in parts)

    def __repr__(self) -> str:
        time = "" if self.time is None else f", {self.time:.2f} s"
        return f"<face {self.face} in {self.source}{time}: {self.text}>"


@dataclass(eq=False, repr=False)
class Faces(Sequence[FacePrediction]):
    """The predictions for all faces, in order of their files and times.

    Parameters
    ----------
    load : callable
        Returns an iterator over the rows of all images, frames and windows; see :attr:`rows`.
    columns : tuple of str
        Names of the columns.
    model : str
        Name of the model, and digest of its weights and of the settings.
    sources : list of Source
        What was predicted on.
    tables : list of Path
        Files that the rows were written to.
    files, cached : int
        Number of sources that could be used; of those that were in the tables before.
    new : set of str
        Paths of the sources that this call predicted.
    skipped : list of str
        A message for each input that could not be used.
    notes : list of str
        Notes on how to read the predictions.
    drawn : list of Path
        Annotated images and videos, and the timeline.
    seconds : float
        Time that the prediction took, without loading the model.

    Examples
    --------
    >>> import evenface as ef
    >>> faces = ef.predict("photo.jpg")  # doctest: +SKIP
    >>> [(face.label, face.probability, face.box) for face in faces]  # doctest: +SKIP
    """

    load: Callable[[], Iterable[Row]]
    columns: tuple[str, ...]
    model: str
    sources: list[Source]
    tables: list[Path] = field(default_factory=list)
    files: int = 0
    cached: int = 0
    new: set[str] = field(default_factory=set)
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    drawn: list[Path] = field(default_factory=list)
    seconds: float = 0.0

    @cached_property
    def rows(self) -> list[Row]:
        """All rows: one for each face, and one without face and label for each image, frame or window without one."""
        return list(self.load())

    @cached_property
    def _faces(self) -> list[FacePrediction]:
        return [FacePrediction.of(row) for row in self.rows if row["face"] is not None]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, or of the targets."""
        return tuple(output_names(self.columns))

    @property
    def task(self) -> TaskKind:
        """What is predicted; ``classification`` for ordered classes too."""
        return task_of(self.columns)

    @property
    def without_face(self) -> int:
        """Number of images, frames and windows in which no face was found."""
        return sum(row["face"] is None for row in self.rows)

    def __len__(self) -> int:
        return len(self._faces)

    @overload
    def __getitem__(self, index: int) -> FacePrediction: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[FacePrediction]: ...
    def __getitem__(self, index: int | slice) -> FacePrediction | Sequence[FacePrediction]:
        return self._faces[index]

    def to_pandas(self) -> "pd.DataFrame":
        """Return the table that would be written to a file: see :attr:`rows`; needs pandas.

        Returns
        -------
        DataFrame
            The types of its columns do not depend on the rows.
        """
        pandas = require("pandas")
        table = pandas.DataFrame(self.rows, columns=list(self.columns))
        types = {**dict.fromkeys(INTEGERS, "Int64"), **dict.fromkeys(STRINGS, "string")}
        frame: pd.DataFrame = table.astype({name: types.get(name, "float64") for name in self.columns})
        return frame

    def to_json(self) -> str:
        """Return the rows as a JSON list of objects."""
        return json_text(self.rows)

    # ---- images

    def plot(self, source: int | None = None) -> Image.Image:
        """Draw boxes and labels into the images.

        Parameters
        ----------
        source : int, optional
            Which of the sources to draw; by default all, beside each other, at most twelve. Of a video, the first frame
            with a face is drawn.

        Returns
        -------
        Image
        """
        chosen = self.sources[:TILES] if source is None else [self.sources[source]]
        shown = {item.path: item for item in chosen if item.kind in ("picture", "clip")}
        rows: dict[str, list[Row]] = {path: [] for path in shown}
        for row in self.rows:
            if row["file"] in rows:
                rows[row["file"]].append(row)
        images = [drawn(shown[path], parts) for path, parts in rows.items() if parts]
        if not images:
            raise InputError("there is no image to draw", "Frames of an iterator or a camera are not kept.")
        return images[0] if len(images) == 1 else _tiled(images)

    def _repr_png_(self) -> bytes | None:
        """Return the image that a notebook shows; None without one."""
        try:
            image = self.plot()
        except InputError:
            return None
        buffer = BytesIO()
        image.thumbnail((TILE * 2, TILE * 2))
        image.save(buffer, "PNG")
        return buffer.getvalue()

    # ---- text

    def __repr__(self) -> str:
        labels = [f"{label} {count}" for label, count in self._labels().most_common(4)]
        what = ", ".join(self.classes if self.task == "regression" else labels)
        return f"<{self._count()}: {what}>" if len(self) else f"<{self._count()}>"

    def _repr_html_(self) -> str:
        """Return the image and a small table for a notebook."""
        import base64

        picture = self._repr_png_()
        image = "" if picture is None else f'<img src="data:image/png;base64,{base64.b64encode(picture).decode()}">'
        rows = (
            (
                Path(face.source).name,
                "" if face.time is None else f"{face.time:.2f}",
                face.face,
                *self._cells(face),
            )
            for face in self[:FEW]
        )
        more = f"<p>{len(self) - FEW:,} more</p>" if len(self) > FEW else ""
        outputs = ("label", "probability") if self.task == "classification" else self.classes
        return image + html_table(("file", "time", "face", *outputs), rows) + more

    def _cells(self, face: FacePrediction) -> list[str]:
        """Return the cells of a face in a notebook: label and probability, or the number of each target."""
        if self.task == "classification":
            units = "".join(f"  {text}" for text in auxiliary_texts({VALUE + k: v for k, v in face.values.items()}))
            return [face.label or UNSURE, f"{face.probability:.2f}{units}{_pose_text(face)}"]
        if self.task == "regression":
            return [value_text(value) for value in face.values.values()]
        return [f"{p:.2f}" for p in face.probabilities.values()]

    def _labels(self) -> Counter[str]:
        """Count the faces of each class, or those in which each target is present."""
        if self.task == "multilabel":
            return Counter(name for face in self for name in face.present or (NONE,))
        return Counter(face.label or UNSURE for face in self)

    def _count(self) -> str:
        what = "face" if all(face.time is None for face in self) else "prediction"
        files = f" in {self.files:,} files" if self.files > 1 else ""
        return f"{len(self):,} {what}{'s' * (len(self) != 1)}{files}"

    def lines(self) -> list[str]:
        """Return the summary for the screen: each face if they are few, else how many have which label."""
        cached = f", {self.cached:,} of them predicted before" if self.cached else ""
        count = f"{self._count()}{cached} in {_duration(self.seconds)}"
        lines = list(self._each(count)) if len(self.rows) <= FEW else [count, *self._by_label()]
        if self.without_face and len(self.rows) > FEW:
            lines.append(f"no face  in {self.without_face:,} images, frames or windows")
        lines += skipped_lines(self.skipped)
        lines += [f"note  {note}" for note in self.notes]
        lines += [f"table  {path}" for path in self.tables]
        return [*lines, *(f"drawn  {path}" for path in self.drawn[:10])]

    def _each(self, count: str) -> Iterator[str]:
        """Yield a line for each face; each file is named at its first one."""
        names = [str(row["file"]) for row in self.rows]
        width = max(map(len, names), default=0)
        texts = [_text(row) for row in self.rows]
        wide = max(map(len, texts), default=0)
        for i, (name, text) in enumerate(zip(names, texts, strict=True)):
            shown = "" if i and names[i - 1] == name else name
            yield f"{shown:{width}}  {text:{wide}}{f'   {count}' if self.files == 1 and not i else ''}".rstrip()
        if self.files != 1:
            yield count

    def _by_label(self) -> Iterator[str]:
        width = max(map(len, (*self.classes, NONE if self.task == "multilabel" else UNSURE)))
        if self.task == "regression":
            for name in self.classes if len(self) else ():
                values = [face.values[name] for face in self]
                low, mean, high = map(value_text, (min(values), sum(values) / len(values), max(values)))
                yield f"  {name:{width}}  mean {mean}, from {low} to {high}"
            return
        for label, count in self._labels().most_common():
            yield f"  {label:{width}}  {count:8,}  {count / len(self):6.1%}"


def _text(row: Row) -> str:
    time = "" if row["time"] is None else f"{row['time']:7.2f} s  "
    if row["face"] is None:
        return f"{time}no face"
    face = FacePrediction.of(row)
    return f"{time}face {face.face}  {face.text}{_pose_text(face)}"


def _pose_text(face: FacePrediction) -> str:
    """Return the head pose in whole degrees, if it was estimated."""
    angles = {"yaw": face.yaw, "pitch": face.pitch, "roll": face.roll}
    return "".join(f"  {name} {angle:3.0f}°" for name, angle in angles.items() if angle is not None)


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def drawn(source: Source, rows: Sequence[Row]) -> Image.Image:
    """Return a copy of an image with its rows drawn into it, or of the first frame of a video that has a face."""
    if source.kind == "clip":
        first = next((row for row in rows if row["face"] is not None), rows[0])
        ((_, image),) = islice(open_film(source.path).frames([first["frame"]]), 1)
        return annotated(image, marks_of(row for row in rows if row["frame"] == first["frame"]))
    with quiet_pillow():
        image = read_picture(source.path) if source.image is None else picture_in_memory(source.image)
    return annotated(image, marks_of(rows))


def _tiled(images: Sequence[Image.Image]) -> Image.Image:
    """Place images beside each other, four in a row, each reduced to the size of a tile."""
    for image in images:
        image.thumbnail((TILE, TILE))
    columns = min(4, len(images))
    lines = [images[i : i + columns] for i in range(0, len(images), columns)]
    width = columns * max(image.width for image in images)
    heights = [max(image.height for image in line) for line in lines]
    page, top = Image.new("RGB", (width, sum(heights)), "white"), 0
    for line, height in zip(lines, heights, strict=True):
        for number, image in enumerate(line):
            page.paste(image, (number * width // columns, top))
        top += height
    return page


def json_text(rows: Iterable[Row]) -> str:
    """Return rows as a JSON list, an object per line."""
    return "[\n" + ",\n".join(json.dumps(dict(row), ensure_ascii=False) for row in rows) + "\n]\n"
