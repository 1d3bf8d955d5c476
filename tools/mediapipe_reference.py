"""Print what MediaPipe itself detects in pictures, as JSON; run in an environment of ``mediapipe-reference.txt``.

``python tools/mediapipe_reference.py PICTURE...`` returns for each picture the detections of the short-range and the
full-range detector, as :class:`evenface.preprocessing.blazeface.DetectionModel` does, and the landmarks of the face
nearest to the middle, in pixels of the picture; and once the pairs of landmarks that MediaPipe connects in some parts.
"""

import json
import sys
from typing import Any

import numpy as np
from mediapipe.python.solutions import face_mesh
from mediapipe.python.solutions.face_detection import FaceDetection
from PIL import Image

PARTS = ("RIGHT_EYE", "LEFT_EYE", "RIGHT_EYEBROW", "LEFT_EYEBROW", "LIPS", "FACE_OVAL", "TESSELATION")


def detections(model: Any, picture: Image.Image) -> list[list[float]]:
    """Return score, box and six points of each face."""
    faces = []
    for detection in model.process(np.asarray(picture)).detections or []:
        box = detection.location_data.relative_bounding_box
        corners = [box.xmin, box.ymin, box.xmin + box.width, box.ymin + box.height]
        points = [value for point in detection.location_data.relative_keypoints for value in (point.x, point.y)]
        places = np.array([*corners, *points])
        faces.append([float(detection.score[0]), *(places * np.tile(picture.size, 8)).tolist()])
    return faces


def landmarks(model: Any, picture: Image.Image) -> list[list[float]] | None:
    """Return x, y and z of each landmark."""
    faces = model.process(np.asarray(picture)).multi_face_landmarks or []
    points = [np.array([(point.x, point.y, point.z) for point in face.landmark]) for face in faces]
    if not points:
        return None
    nearest = min(points, key=lambda face: float(np.hypot(*(face[:, :2].mean(axis=0) - 0.5))))
    places: list[list[float]] = (nearest * [picture.width, picture.height, picture.width]).tolist()
    return places


def main() -> None:
    """Print the results for the pictures of the command line."""
    short_range, full_range = (FaceDetection(model_selection=number) for number in (0, 1))
    mesh = face_mesh.FaceMesh(static_image_mode=True, max_num_faces=2)
    pictures = []
    for path in sys.argv[1:]:
        with Image.open(path) as file:
            picture = file.convert("RGB")
        models = {"short_range": short_range, "full_range": full_range}
        faces = {name: detections(model, picture) for name, model in models.items()}
        pictures.append({**faces, "mesh": landmarks(mesh, picture)})
    parts = {part: sorted(getattr(face_mesh, f"FACEMESH_{part}")) for part in PARTS}
    print(json.dumps({"pictures": pictures, "parts": parts}))


if __name__ == "__main__":
    main()
