"""Fit the reference geometry of head pose estimation to synthetic people whose pose is known.

Run: ``python tools/fit_head_pose.py``. It draws faces with random poses and expressions, detects their mesh, rotates
each mesh back by the pose it was drawn with, and averages over people (generalised Procrustes). Each point is weighted
by the inverse of its variance across people and expressions, so that the nose bridge counts and the jaw hardly does.
"""

from dataclasses import replace

import numpy as np
from PIL import Image

from evenface.config.recipe import FaceCrop
from evenface.preprocessing.detect_align import find_faces, square_of
from evenface.preprocessing.face_mesh import find_points
from evenface.preprocessing.head_pose import REFERENCE, axes, best_rotation, head_pose
from evenface.preprocessing.target import MESH_MARGIN
from evenface.synthesis.actions import LABELS
from evenface.synthesis.geometry import Pose
from evenface.synthesis.images import FacePlan, compose_face
from evenface.synthesis.people import make_person
from evenface.synthesis.renderer import Renderer
from evenface.utils.progress import progress

SEED, SIZE, FITTED, TESTED = 77, 256, 240, 80


def draw_meshes(people: range) -> tuple[np.ndarray, np.ndarray]:
    """Draw one face per person; return meshes (N, 468, 3) and poses (N, 3) of those that were detected."""
    renderer, meshes, poses = Renderer(SIZE), [], []
    with progress("drawing faces", len(people)) as advance:
        for index in people:
            rng = np.random.default_rng([SEED, index])
            person = make_person(SEED, index)
            state, scene = compose_face(person, FacePlan(index, LABELS[index % len(LABELS)], 0))
            pose = Pose(*(float(limit * rng.uniform(-1, 1)) for limit in (40, 25, 25)))
            image = renderer.render(person, [replace(state, pose=pose)], replace(scene, aim=pose))[0]
            picture = Image.fromarray(image)
            faces = find_faces(picture, FaceCrop().detector)
            points = find_points(picture, square_of(faces[0], MESH_MARGIN)) if faces else None
            if points is not None:
                meshes.append(axes(points))
                poses.append((pose.yaw, pose.pitch, pose.roll))
            advance(1)
    return np.array(meshes), np.array(poses)


def fit(meshes: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Return the mean upright geometry and the weights of its points, (468, 4)."""
    upright = np.stack([mesh @ Pose(*pose).matrix() for mesh, pose in zip(meshes, poses, strict=True)])
    weights = np.ones(upright.shape[1])
    for _ in range(10):
        centred = upright - np.average(upright, axis=1, weights=weights)[:, None]
        scaled = centred / np.sqrt(np.average((centred**2).sum(-1), axis=1, weights=weights))[:, None, None]
        mean = scaled.mean(axis=0)
        weights = 1 / (1e-4 + ((scaled - mean) ** 2).sum(-1).mean(axis=0))
        weights /= weights.sum()
    return np.column_stack([mean, weights])


def main() -> None:
    """Fit, print the errors on other people, and write the reference geometry."""
    meshes, poses = draw_meshes(range(FITTED))
    reference = fit(meshes, poses)
    np.save(REFERENCE, reference.astype(np.float16))
    meshes, poses = draw_meshes(range(FITTED, FITTED + TESTED))
    estimated = np.array([head_pose(mesh * [1, -1, -1], reference) for mesh in meshes])
    error = np.abs(estimated - poses)
    slope = [float(np.polyfit(poses[:, axis], estimated[:, axis], 1)[0]) for axis in range(3)]
    print(f"{len(meshes)} people; mean absolute error of yaw, pitch, roll: {error.mean(axis=0).round(2)} degrees")
    print(f"largest {error.max(axis=0).round(1)}, slope {np.round(slope, 3)}")
    turns = [best_rotation(mesh, reference).T @ Pose(*pose).matrix() for mesh, pose in zip(meshes, poses, strict=True)]
    angle = np.rad2deg(np.arccos(np.clip([(np.trace(turn) - 1) / 2 for turn in turns], -1, 1)))
    print(f"mean angle between rotations {np.mean(angle):.2f} degrees")


if __name__ == "__main__":
    main()
