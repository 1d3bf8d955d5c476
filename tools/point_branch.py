"""Second input of the bundled model: mesh points of the face, and the network that takes them, from drawn faces alone.

Faces with mixed units are drawn, reduced to the quality of small photographs, cropped as for prediction, and their mesh
points found. A small network learns from the points the intensity of every unit, and the expressions that drawn people
show with such units. No image and no label of a real person is used.
"""

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from evenface.config.recipe import FaceCrop
from evenface.inference.input_spec import InputSpec
from evenface.inference.onnx_graph import ExportModule
from evenface.inference.onnx_model import POINTS
from evenface.methods.base import Method
from evenface.preprocessing.detect_align import crop_faces
from evenface.preprocessing.mesh_points import USED, align_points, crop_points, mirrored_rows, symmetric_reference
from evenface.synthesis.actions import AUS, LABELS
from evenface.synthesis.people import make_person
from evenface.synthesis.renderer import Renderer
from evenface.synthesis.variety import (
    compose_varied_face,
    draw_mixed_units,
    draw_varied_expression,
    tighten,
    vary_person,
)
from evenface.utils.files import atomic_write
from evenface.utils.progress import progress

Array = NDArray[Any]
CHUNK, CHUNKS, PER_PERSON = 500, 24, 4
SEED, DRAWN = 4000, 72
OWN_SHARE = 0.3
"""Share of faces that show an expression as drawn people do; the units of the others are mixed."""
STEPS, BATCH, HIDDEN = 4000, 128, 192
UNIT_WEIGHT = 0.4
"""Weight of the points in the intensity of a unit; the image has the rest. Expressions are the sum of both logits."""
MOST = 5.0
"""Largest intensity of a unit."""


def draw_chunk(folder: Path, number: int, crop: FaceCrop, size: int) -> Path:
    """Draw faces with their units, crops and mesh points into a file, unless it is there."""
    path = folder / f"faces-{number:03d}.npz"
    if path.exists():
        return path
    renderer = Renderer(DRAWN, samples=1)
    units, crops = np.empty((CHUNK, len(AUS)), np.float32), np.empty((CHUNK, size, size), np.uint8)
    for row in range(CHUNK):
        rng = np.random.default_rng([SEED, number, row])
        person = vary_person(make_person(SEED, (number * CHUNK + row) // PER_PERSON))
        state, scene = compose_varied_face(person, LABELS[int(rng.integers(len(LABELS)))], row % PER_PERSON)
        if rng.random() >= OWN_SHARE:
            state = replace(state, units=draw_mixed_units(person, rng))
        image = Image.fromarray(renderer.render(person, [state], tighten(scene))[0]).convert("L")
        units[row], crops[row] = state.units.values.mean(1), cropped(worsen(image, rng), crop, size)
    with atomic_write(path) as temporary:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, units=units, crops=crops, points=crop_points(crops))
        temporary.write_bytes(buffer.getvalue())
    return path


def worsen(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Reduce a drawn face to the resolution, contrast, noise and compression of a small photograph."""
    side = int(rng.integers(40, 60))
    how = Image.Resampling.BILINEAR if rng.random() < 0.5 else Image.Resampling.LANCZOS
    small = image.resize((side, side), how)
    if rng.random() < 0.4:
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=int(rng.integers(40, 95)))
        small = Image.open(buffer).convert("L")
    pixels = np.asarray(small.resize((48, 48), Image.Resampling.BICUBIC), np.float32)
    pixels = (pixels - pixels.mean()) * np.exp(rng.normal(0, 0.25)) + pixels.mean() + rng.normal(0, 20)
    pixels = 255 * (pixels.clip(1, 255) / 255) ** np.exp(rng.normal(0, 0.2))
    noisy = pixels + rng.normal(0, rng.uniform(0, 6), pixels.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def cropped(image: Image.Image, crop: FaceCrop, size: int) -> Array:
    """Crop the largest face as for prediction; all of the image where none is found."""
    faces = crop_faces(image.convert("RGB"), crop.replace(which="largest"), size)
    return np.asarray((faces[0][1] if faces else image.resize((size, size))).convert("L"))


def draw_pool(folder: Path, crop: FaceCrop, size: int) -> dict[str, Array]:
    """Draw all faces, or read those that were drawn before; those without a mesh are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    with progress("drawing faces with mixed units", CHUNKS) as bar:
        for number in range(CHUNKS):
            parts.append(dict(np.load(draw_chunk(folder, number, crop, size))))
            bar(1)
    pool = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    seen = ~np.isnan(pool["points"][:, 0, 0])
    return {name: values[seen] for name, values in pool.items()}


def expressions_of(units: Array) -> Tensor:
    """Return the probability of each expression given units (N, len(AUS)), as drawn people show them.

    A small network learns it from the units of many people and expressions, which need not be drawn for that. Units
    that no expression has alone get a mixture.
    """
    count = 28_000
    people = [make_person(SEED, index) for index in range(300)]
    rng = np.random.default_rng([SEED, 0])
    labels = np.arange(count) % len(LABELS)
    shown = np.stack(
        [
            draw_varied_expression(people[row % len(people)], LABELS[label], rng).values.mean(1)
            for row, label in enumerate(labels)
        ]
    )
    torch.manual_seed(0)
    inputs, targets = torch.from_numpy(shown).float(), torch.from_numpy(labels)
    network = nn.Sequential(nn.Linear(len(AUS), 64), nn.GELU(), nn.Linear(64, len(LABELS)))
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    for _ in range(1500):
        rows = torch.randint(0, count, (256,))
        noisy = inputs[rows] + 0.05 * torch.randn(len(rows), len(AUS))
        _step(optimizer, functional.cross_entropy(network(noisy), targets[rows], label_smoothing=0.1))
    with torch.no_grad():
        shares = torch.softmax(network(torch.from_numpy(units).float()), 1)
    even = shares / shares.mean(0)
    return even / even.sum(1, keepdim=True)


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()


class PointBranch(nn.Module):
    """Layers on aligned points (N, len(USED), 3): logits of expressions, then of units, (N, classes + units)."""

    mean: Tensor
    deviation: Tensor
    mirrored: Tensor

    def __init__(self, points: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", points.mean(0))
        self.register_buffer("deviation", points.std(0) + 1e-6)
        self.register_buffer("mirrored", torch.from_numpy(mirrored_rows()))
        self.layers = nn.Sequential(
            nn.Linear(points[0].numel(), HIDDEN),
            nn.GELU(),
            nn.Dropout(0.3),
            nn.Linear(HIDDEN, HIDDEN // 2),
            nn.GELU(),
            nn.Dropout(0.2),
            nn.Linear(HIDDEN // 2, len(LABELS) + len(AUS)),
        )

    def mirror(self, points: Tensor) -> Tensor:
        """Return the points of mirrored faces."""
        return points[:, self.mirrored] * torch.tensor([-1.0, 1.0, 1.0])

    def view(self, points: Tensor, noise: Tensor | float = 0.0) -> Tensor:
        """Compute the logits of one view, with noise in standard deviations of each coordinate."""
        values = ((points - self.mean) / self.deviation).flatten(1)
        return self.layers(values + noise * torch.randn_like(values) if self.training else values)  # type: ignore[no-any-return]

    def forward(self, points: Tensor) -> Tensor:
        """Compute the mean logits of faces and their mirror images."""
        return (self.view(points) + self.view(self.mirror(points))) / 2


@dataclass(frozen=True)
class TrainedBranch:
    """A trained branch, and the reference that its points are aligned to."""

    network: PointBranch
    reference: Array


def train_branch(pool: dict[str, Array], seed: int = 0) -> TrainedBranch:
    """Train the branch on the faces of a pool."""
    reference = symmetric_reference(pool["points"])
    points = torch.from_numpy(align_points(pool["points"], reference))
    units, expressions = torch.from_numpy(pool["units"]).clamp(0, 1), expressions_of(pool["units"])
    torch.manual_seed(seed)
    network = PointBranch(points)
    optimizer = torch.optim.AdamW(network.layers.parameters(), 2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=STEPS)
    for step in range(STEPS):
        rows = torch.randint(0, len(points), (BATCH,))
        shown = network.mirror(points[rows]) if step % 2 else points[rows]
        logits = network.view(shown, 0.3 * torch.rand(BATCH, 1))
        of_classes, of_units = logits[:, : len(LABELS)], logits[:, len(LABELS) :]
        loss = functional.cross_entropy(of_classes, expressions[rows])
        _step(optimizer, loss + 2 * functional.binary_cross_entropy_with_logits(of_units, units[rows]))
        schedule.step()
    return TrainedBranch(network.eval(), reference)


class TwoInputs(ExportModule):
    """The image network as exported, and the branch: the sum of logits of expressions, the weighted mean of units.

    Where the points are all zero, as without a mesh, the outputs are those of the image network.
    """

    def __init__(self, method: Method, spec: InputSpec, branch: PointBranch, names: tuple[str, ...]) -> None:
        super().__init__(method, spec)
        self.branch = branch
        self.rows = [len(LABELS) + AUS.index(int(name.removeprefix("AU"))) for name in names]

    def examples(self) -> dict[str, Tensor]:
        """Return two samples of each input."""
        return super().examples() | {POINTS: torch.ones(2, len(USED), 3)}

    def forward(self, stored: Tensor, points: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        """Compute probabilities (B, C) and intensities (B, T) from crops and points."""
        alone, values = super().forward(stored)
        logits = self.branch(points)
        both = torch.softmax(torch.log(alone.clamp_min(1e-9)) + logits[:, : len(LABELS)], 1)
        mixed = (1 - UNIT_WEIGHT) * values + UNIT_WEIGHT * MOST * torch.sigmoid(logits[:, self.rows])
        seen = (points != 0).any(2).any(1, keepdim=True)
        return torch.where(seen, both, alone), torch.where(seen, mixed, values)
