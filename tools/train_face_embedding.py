"""Fit the face embedding of pseudo-subjects to synthetic people, measure it on others, and write it as ONNX.

Run: ``python tools/train_face_embedding.py`` (a minute of processor time; an hour more where the people are not in the
cache and are rendered). It is fitted to the people of the bundled model and of the demo, and measured on 120 others,
drawn by another seed and framed differently. No real face is used.

The embedding has two layers: a fixed bank of oriented filters, whose responses are pooled, and a linear projection
that separates people best: linear discriminant analysis (Fisher 1936; of faces: Belhumeur 1997), in closed form.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from scipy.linalg import eigh
from sklearn.metrics import adjusted_rand_score, roc_auc_score
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, grid_sample, interpolate, normalize

from evenface.config import load_recipe
from evenface.data.leakage import grey_thumbnails
from evenface.preprocessing import pseudo_subjects
from evenface.training.data import prepare_store

SIZE, WIDTH, SEED, VIEWS, SHRINKAGE = pseudo_subjects.SIDE, 64, 0, 4, 0.02
RADIUS, SCALES, ORIENTATIONS = 4, (1.0, 2.0), 4
OUTPUT = Path(pseudo_subjects.__file__).parent / "face_models" / f"{pseudo_subjects.MODEL}.onnx"
GREY = {"size": SIZE, "channels": 1}
TRAINED = ("evenface-synthetic", {"name": "demo", "data": {"source": "synthetic-demo", **GREY}})
HELD_OUT = {"name": "others", "data": {"source": "synthetic", "people": 120, "total": 3003, "seed": 1000, **GREY}}


class FaceEmbedding(nn.Module):
    """Grey faces (B, 1, 48, 48), 0 to 255, to unit vectors (B, 64); a face and its mirror image have the same one."""

    kernels: Tensor
    mirrored: Tensor
    mean: Tensor
    projection: Tensor

    def __init__(self) -> None:
        super().__init__()
        y, x = torch.meshgrid(*[torch.arange(-RADIUS, RADIUS + 1.0)] * 2, indexing="ij")
        kernels = []
        for scale in SCALES:
            bell = torch.exp(-(x * x + y * y) / (2 * scale**2))
            for angle in (math.pi * k / ORIENTATIONS for k in range(ORIENTATIONS)):
                kernel = (x * math.cos(angle) + y * math.sin(angle)) * bell
                kernels.append(kernel / kernel.abs().sum())
        self.register_buffer("kernels", torch.stack(kernels)[:, None])
        # The mirror image has the angle pi - a in place of a: 0 becomes its opposite, the others are exchanged.
        count = len(kernels)
        mirrored = []
        for index in range(2 * count):
            half, scale, k = index // count, index % count // ORIENTATIONS, index % ORIENTATIONS
            half, k = (1 - half, 0) if k == 0 else (half, ORIENTATIONS - k)
            mirrored.append(half * count + scale * ORIENTATIONS + k)
        self.register_buffer("mirrored", torch.tensor([*mirrored, 2 * count]))

    def features(self, images: Tensor) -> Tensor:
        """Pool oriented gradients and grey values in 11 x 11 cells, whatever the brightness, contrast and side."""
        centred = images - images.mean(dim=(1, 2, 3), keepdim=True)
        standard = centred / ((centred * centred).mean(dim=(1, 2, 3), keepdim=True).sqrt() + 1.0)
        response = conv2d(standard, self.kernels, padding=RADIUS)
        pooled = (avg_pool2d(torch.cat([response.relu(), (-response).relu()], dim=1), 8, 4) + 1e-4).sqrt()
        pooled = pooled / (pooled * pooled).sum(dim=1, keepdim=True).sqrt()
        cells = torch.cat([pooled, 0.15 * avg_pool2d(standard, 8, 4)], dim=1)
        return (cells + cells[:, self.mirrored].flip(3))[..., :6].flatten(1)

    def fit(self, features: np.ndarray, people: np.ndarray) -> None:
        """Set the projection to the linear discriminants of people."""
        mean = features.mean(axis=0)
        centres = np.stack([features[people == person].mean(axis=0) for person in range(people.max() + 1)])
        within, between = np.cov((features - centres[people]).T), np.cov((centres - mean).T)
        within += SHRINKAGE * np.trace(within) / len(within) * np.eye(len(within))
        _, vectors = eigh(between, within, subset_by_index=[len(within) - WIDTH, len(within) - 1])
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("projection", torch.tensor(vectors, dtype=torch.float32))

    def forward(self, images: Tensor) -> Tensor:
        """Embed faces."""
        return normalize((self.features(images) - self.mean) @ self.projection)


def vary(images: Tensor, random: torch.Generator) -> Tensor:
    """Vary framing, resolution, light, contrast, noise and occlusion of faces (B, 1, 48, 48)."""

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(len(images), *shape, generator=random) * (high - low) + low

    angle, zoom = uniform(-0.25, 0.25), uniform(0.72, 1.12)
    rows = [
        torch.stack([angle.cos() * zoom, -angle.sin() * zoom, uniform(-0.16, 0.16)], dim=1),
        torch.stack([angle.sin() * zoom, angle.cos() * zoom, uniform(-0.16, 0.16)], dim=1),
    ]
    grid = nn.functional.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    images = grid_sample(images, grid, padding_mode="reflection", align_corners=False) / 255
    small = int(torch.randint(20, SIZE + 1, (), generator=random))
    images = interpolate(interpolate(images, size=small, mode="area"), size=SIZE, mode="bilinear")
    images = images.clamp(1e-3, 1) ** uniform(-0.7, 0.7, 1, 1, 1).exp()
    slope = torch.linspace(-1, 1, SIZE)
    light = uniform(-0.5, 0.5, 1, 1, 1) * slope + uniform(-0.5, 0.5, 1, 1, 1) * slope[:, None]
    images = images * (1 + light) + torch.randn(images.shape, generator=random) * uniform(0, 0.06, 1, 1, 1)
    y, x, place = torch.arange(SIZE)[:, None], torch.arange(SIZE), uniform(-16, 48, 2, 1, 1)
    hidden = (y - place[:, :1]).abs().lt(8) & (x - place[:, 1:]).abs().lt(8) & (uniform(0, 1, 1, 1, 1) < 0.5)
    return torch.where(hidden, uniform(0, 1, 1, 1, 1), images) * 255


def read_faces(*recipes: str | Mapping[str, object]) -> tuple[Tensor, np.ndarray]:
    """Prepare the faces of each recipe and number their people."""
    faces, people, count = [], [], 0
    for recipe in recipes:
        store = prepare_store(load_recipe(recipe))
        faces.append(torch.from_numpy(grey_thumbnails(store.images, SIZE))[:, None])
        subjects = np.unique(store.manifest.table["subject"].astype(str), return_inverse=True)[1]
        people.append(subjects + count)
        count += int(subjects.max()) + 1
    return torch.cat(faces), np.concatenate(people)


def batches(faces: Tensor) -> list[Tensor]:
    """Cut faces into batches of 256."""
    return [faces[start : start + 256] for start in range(0, len(faces), 256)]


def measure(vectors: np.ndarray, people: np.ndarray) -> None:
    """Print how well pairs and clusters of faces are those of one person."""
    first, second = np.triu_indices(len(people), 1)
    same, cosine = people[first] == people[second], (vectors @ vectors.T)[first, second]
    some = np.random.default_rng(SEED).choice(len(same), 400_000, replace=False)
    print(f"{len(people)} faces of {people.max() + 1} other people: AUC {roc_auc_score(same[some], cosine[some]):.3f}")
    for threshold in (0.7, 0.75, 0.8, 0.85, 0.9):
        clusters = pseudo_subjects.cluster_vectors(vectors, threshold)
        joined = clusters[first] == clusters[second]
        print(
            f"threshold {threshold}: {len(np.unique(clusters))} clusters, adjusted Rand index "
            f"{adjusted_rand_score(people, clusters):.3f}, pairs: precision {same[joined].mean():.3f}, recall "
            f"{joined[same].mean():.4f}",
            flush=True,
        )


@torch.inference_mode()
def main() -> None:
    """Fit and write the embedding, and measure it."""
    faces, people = read_faces(*TRAINED)
    network, random = FaceEmbedding(), torch.Generator().manual_seed(SEED)
    views = [[part, *(vary(part, random) for _ in range(VIEWS))] for part in batches(faces)]
    features = torch.cat([torch.stack([network.features(view) for view in part], dim=1) for part in views])
    network.fit(features.flatten(0, 1).numpy().astype(np.float64), np.repeat(people, VIEWS + 1))
    print(f"fitted to {len(faces)} faces of {people.max() + 1} people", flush=True)
    torch.onnx.export(
        network, (faces[:2],), str(OUTPUT), input_names=["faces"], output_names=["vectors"],
        dynamic_axes={"faces": {0: "n"}, "vectors": {0: "n"}}, dynamo=False,
    )  # fmt: skip
    print(f"{OUTPUT}: {OUTPUT.stat().st_size / 1e6:.2f} MB", flush=True)
    others, names = read_faces(HELD_OUT)
    measure(torch.cat([network(part) for part in batches(others)]).numpy(), names)


if __name__ == "__main__":
    main()
