"""Find faces in videos in one way and print frames, CPU seconds and boxes as JSON; runs in Pythons without evenface.

``python benchmarks/track_worker.py WAY MODEL VIDEO...`` with WAY one of :data:`WAYS` and MODEL the ONNX file of the
bundled model. CPU seconds are those of all threads, from the file to the last answer, after one warm-up on the first
video: of the whole way, and for the first video of the way without expressions.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

Rows = list[list[tuple[float, float, float, float, int]]]
"""For each frame its faces: left, top, right, bottom, id (0 where there are none)."""
Way = Callable[[str, bool], Rows]
"""Find the faces of a video, and with the second argument their expressions."""


def current(*, tracking: bool) -> Way:
    """Predict with the bundled model; without expressions, stop at the crops that it takes."""
    import evenface as package
    from evenface.config.predict import PredictSettings
    from evenface.inference.pipeline import prepare_samples
    from evenface.inference.sources import find_sources

    model = package.load()

    def run(path: str, expressions: bool) -> Rows:
        rows: dict[int, list[Any]] = {}
        if not expressions:
            (source,), _ = find_sources([path])
            settings = PredictSettings(tracking=tracking)
            for sample in prepare_samples(source, model.model.input_spec, settings):
                found = rows.setdefault(sample.first_frame, [])
                if sample.box:
                    found.append((*sample.box, sample.face_id))
            return [rows[frame] for frame in sorted(rows)]
        for row in model(path, tracking=tracking).load():  # a frame without a face has a row too
            found = rows.setdefault(row["frame"], [])
            if row["left"] is not None:
                found.append((row["left"], row["top"], row["right"], row["bottom"], row["face"]))
        return [rows[frame] for frame in sorted(rows)]

    return run


def before() -> Way:
    """Detect by the MediaPipe package in each frame, as commit 2c5e006 did, which had no model of its own."""
    import numpy as np
    import onnxruntime
    from evenface.faces.align import cut, square_of  # type: ignore[import-not-found]
    from evenface.faces.detector import MediaPipe  # type: ignore[import-not-found]
    from evenface.faces.video import open_film  # type: ignore[import-not-found]
    from evenface.serving.following import Numbers  # type: ignore[import-not-found]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session, detector = onnxruntime.InferenceSession(sys.argv[2], options), MediaPipe()
    taken, *others = session.get_inputs()  # mesh points of zeros: the network of the crop alone decides
    size = taken.shape[2]

    def run(path: str, expressions: bool) -> Rows:
        film, numbers = open_film(path), Numbers()
        rows: Rows = []
        for frame, image in film.frames(range(len(film.times))):
            faces = sorted(detector(image), key=lambda face: -face.side)
            crops = [np.asarray(cut(image, square_of(face, 0.1), size).convert("L")) for face in faces]
            ids = numbers.of(faces, float(film.times[frame]))
            rows.append([(*face.box, number) for face, number in zip(faces, ids, strict=True)])
            if crops and expressions:
                batch = np.stack(crops)[:, np.newaxis, :, :, np.newaxis]
                for view in (batch, np.ascontiguousarray(batch[:, :, :, ::-1])):
                    zeros = {one.name: np.zeros((len(view), *one.shape[1:]), np.float32) for one in others}
                    session.run(None, {taken.name: view, **zeros})
        return rows

    return run


def frames_of(path: str) -> Iterator[Any]:
    """Iterate over the frames of a video in BGR."""
    import cv2

    capture = cv2.VideoCapture(path)
    while True:
        received, frame = capture.read()
        if not received:
            return
        yield frame


def face_mesh() -> Way:
    """Track landmarks by MediaPipe's FaceMesh, which has no expressions."""
    import cv2
    import mediapipe

    def run(path: str, _: bool) -> Rows:
        rows: Rows = []
        with mediapipe.solutions.face_mesh.FaceMesh(max_num_faces=8) as mesh:
            for frame in frames_of(path):
                height, width = frame.shape[:2]
                found = mesh.process(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)).multi_face_landmarks or []
                boxes = []
                for face in found:
                    x, y = [point.x * width for point in face.landmark], [point.y * height for point in face.landmark]
                    boxes.append((min(x), min(y), max(x), max(y), 0))
                rows.append(boxes)
        return rows

    return run


def fer() -> Way:
    """Detect faces and expressions by the package fer in each frame, with its default detector (Haar cascade)."""
    from fer import FER  # type: ignore[import-not-found]

    detector = FER()

    def run(path: str, expressions: bool) -> Rows:
        rows: Rows = []
        for frame in frames_of(path):
            if expressions:
                boxes = [one["box"] for one in detector.detect_emotions(frame)]
            else:
                boxes = list(detector.find_faces(frame))
            rows.append([(float(x), float(y), float(x + w), float(y + h), 0) for x, y, w, h in boxes])
        return rows

    return run


WAYS: dict[str, Callable[[], Way]] = {
    "detected": lambda: current(tracking=False),
    "tracked": lambda: current(tracking=True),
    "before": before,
    "face_mesh": face_mesh,
    "fer": fer,
}


def main() -> None:
    """Run one way on the videos; the last line on the screen is the result."""
    run = WAYS[sys.argv[1]]()
    run(sys.argv[3], True)
    found: dict[str, dict[str, Any]] = {}
    for path in sys.argv[3:]:
        found[path] = {}
        for kind, expressions in (("whole", True), ("faces", False)):
            if found[path] and path != sys.argv[3]:
                break
            start = time.process_time()
            rows = run(path, expressions)
            found[path][f"{kind}_s"] = time.process_time() - start
        found[path] |= {"frames": len(rows), "faces": rows}
    print()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
