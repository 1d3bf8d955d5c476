"""Train a network on drawn people alone, and measure on real faces of FER2013 which part of the drawing helps.

``python -m benchmarks.synthetic_people --data FER2013 --cache FOLDER`` draws faces of each condition, finds their mesh
points, trains a small network with two heads (seven expressions, intensity of each action unit) on the crop that the
points align, on the points, and on both, and measures it on a fixed sample of the Training side. FER2013 is a folder
with ``train/<class>/*.png``. With ``--public`` it is measured on ``validation/`` (PublicTest) without the images that
also occur in ``train/``. Arrays of drawn faces are kept in FOLDER and used again.
"""

import hashlib
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import map_coordinates
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.common import Figure, Result, parser, report
from evenface.evaluation.metrics import recall
from evenface.preprocessing.blazeface import session
from evenface.preprocessing.detect_align import Square, cut
from evenface.synthesis.actions import AUS, LABELS
from evenface.synthesis.geometry import Light, State
from evenface.synthesis.images import Look, compose, plan_faces
from evenface.synthesis.people import Person, make_person
from evenface.synthesis.props import Props
from evenface.synthesis.renderer import Renderer, Scene

Array = NDArray[Any]
IMPLIED = {12: "happy", 6: "happy", 1: "surprise", 2: "surprise", 5: "surprise", 26: "surprise"} | {
    4: "angry",
    9: "disgust",
    15: "sad",
}
"""Class that implies an action unit; each is compared with neutral."""
SIDE = 48
DRAWN = 72
"""Side of drawn faces: one sample per pixel, reduced by the crop."""
PER_PERSON = 14
RIGID = np.array([33, 133, 362, 263, 168, 6, 197, 1, 2, 98, 327, 234, 454, 10, 151, 9])
"""Mesh points that expressions move little."""
# fmt: off
EXPRESSIVE = np.array(sorted({
    61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146, 78, 191, 80, 81, 82, 13,
    312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95, 70, 63, 105, 66, 107, 55, 65, 52, 53, 46, 300,
    293, 334, 296, 336, 285, 295, 282, 283, 276, 33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160,
    161, 246, 263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466, 1, 2, 98, 327, 168, 6,
    197, 195, 5, 4, 48, 278, 64, 294, 49, 279, 129, 358, 203, 423, 206, 426, 50, 280, 205, 425, 9, 8, 151, 10, 152,
    199, 200, 18, 172, 397, 234, 454, 117, 346, 101, 330, 36, 266, 207, 427, 187, 411, 57, 287, 212, 432,
}))
# fmt: on
Change = Callable[[Person, State, Scene], tuple[Person, State, Scene]]


def unchanged(person: Person, state: State, scene: Scene) -> tuple[Person, State, Scene]:
    return person, state, scene


def without_strong_units(person: Person, state: State, scene: Scene) -> tuple[Person, State, Scene]:
    return person, replace(state, strong=False), scene


def without_hard_light(person: Person, state: State, scene: Scene) -> tuple[Person, State, Scene]:
    return person, replace(state, light=Light()), replace(scene, clutter=0.0)


def without_props(person: Person, state: State, scene: Scene) -> tuple[Person, State, Scene]:
    return person, state, replace(scene, props=Props())


def without_children(person: Person, state: State, scene: Scene) -> tuple[Person, State, Scene]:
    return make_person(person.seed, person.index), state, scene


CONDITIONS: dict[str, tuple[Look, Change]] = {
    "plain": ("plain", unchanged),
    "varied": ("varied", unchanged),
    "varied, units of plain strength": ("varied", without_strong_units),
    "varied, one soft light": ("varied", without_hard_light),
    "varied, no glasses, hats or hands": ("varied", without_props),
    "varied, adults with brows as drawn": ("varied", without_children),
}


def draw(name: str, faces: int, seed: int) -> dict[str, Array]:
    """Draw grey faces of a condition, with labels, unit intensities, poses and people."""
    look, change = CONDITIONS[name]
    counts = {label: (faces + row) // len(LABELS) for row, label in enumerate(LABELS)}
    samples = plan_faces(counts, max(faces // PER_PERSON, 1), seed)
    renderer = Renderer(DRAWN, samples=1)
    images = np.empty((faces, DRAWN, DRAWN), np.uint8)
    units, poses = np.empty((faces, len(AUS)), np.float32), np.empty((faces, 3), np.float32)
    for row, sample in enumerate(samples):
        person, state, scene = change(*compose(seed, sample, look))
        images[row] = np.asarray(Image.fromarray(renderer.render(person, [state], scene)[0]).convert("L"))
        units[row] = state.units.values.mean(1)
        poses[row] = state.pose.yaw, state.pose.pitch, state.pose.roll
    labels = np.array([LABELS.index(sample.label) for sample in samples])
    people = np.array([sample.person for sample in samples])
    return {"images": images, "labels": labels, "units": units, "poses": poses, "people": people}


def mesh_points(images: Array) -> Array:
    """Return the mesh (N, 468, 3) of faces that fill their images, in sides of the image, found twice."""
    size = images.shape[1]
    margin = size // 4
    found = np.empty((len(images), 468, 3), np.float32)
    for row, image in enumerate(images):
        framed = Image.fromarray(np.pad(image, margin, mode="edge")).convert("RGB")
        square = Square((framed.width / 2, framed.height / 2), size * 1.3, 0.0)
        for _ in range(2):
            view = np.asarray(cut(framed, square, 192))[np.newaxis]
            points = session("mesh").run(None, {"image": view})[0].reshape(-1, 3) / 192
            x, y = square.to_image(points[:, 0], points[:, 1])
            right, left = (np.array([x[list(eye)].mean(), y[list(eye)].mean()]) for eye in ((33, 133), (362, 263)))
            side = float(np.clip(1.5 * max(np.ptp(x), np.ptp(y)), 0.7 * size, 1.9 * size))
            across, down = left - right
            middle = (float(x.min() + x.max()) / 2, float(y.min() + y.max()) / 2)
            depth = points[:, 2] * square.side
            square = Square(middle, side, float(np.arctan2(down, across)))
        found[row] = np.stack([(x - margin) / size, (y - margin) / size, depth / size], 1)
    return found


def align(points: Array, reference: Array) -> Array:
    """Move, scale and rotate each mesh in space so that its rigid points are nearest to those of ``reference``."""
    centre = reference[RIGID].mean(0)
    target = reference[RIGID] - centre
    aligned = np.empty_like(points)
    for row, mesh in enumerate(points):
        middle = mesh[RIGID].mean(0)
        own = mesh[RIGID] - middle
        left, _, right = np.linalg.svd(own.T @ target)
        turn = left @ np.diag([1, 1, np.sign(np.linalg.det(left @ right))]) @ right
        aligned[row] = (mesh - middle) @ turn * (np.linalg.norm(target) / np.linalg.norm(own)) + reference[RIGID].mean(
            0
        )
    return aligned


def features(points: Array, reference: Array) -> Array:
    return align(points, reference)[:, EXPRESSIVE].reshape(len(points), -1)


def crop(images: Array, points: Array, reference: Array) -> Array:
    """Cut upright crops in which the rigid points are where ``reference`` has them, eyes 0.38 of the side apart."""
    eyes = [reference[list(eye), :2].mean(0) for eye in ((33, 133), (362, 263))]
    scale = 0.38 / np.linalg.norm(eyes[1] - eyes[0])
    goal = (reference[RIGID, :2] - (eyes[0] + eyes[1]) / 2) * scale + np.array([0.5, 0.36])
    middle = goal.mean(0)
    off = goal - middle
    steps = (np.arange(SIDE) + 0.5) / SIDE
    x, y = (values - centre for values, centre in zip(np.meshgrid(steps, steps), middle, strict=True))
    crops = np.empty((len(images), SIDE, SIDE), np.uint8)
    for row, (image, mesh) in enumerate(zip(images, points, strict=True)):
        centre = mesh[RIGID, :2].mean(0)
        own = mesh[RIGID, :2] - centre
        cos = (off * own).sum() / (off**2).sum()
        sin = (off[:, 0] * own[:, 1] - off[:, 1] * own[:, 0]).sum() / (off**2).sum()
        at = [(sin * x + cos * y + centre[1]) * len(image) - 0.5, (cos * x - sin * y + centre[0]) * len(image) - 0.5]
        crops[row] = map_coordinates(image.astype(np.float32), at, order=1, mode="nearest").clip(0, 255)
    return crops


class TwoStreams(nn.Module):
    """Convolutions on the crop and two layers on the points, each with a head, and a head on both."""

    def __init__(self, points: int, outputs: int, width: int = 24) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        sizes = [(1, width, 5, 2), (width, width, 3, 1)]
        sizes += [(width * a, width * b, 3, 1) for a, b in ((1, 2), (2, 2), (2, 4), (4, 4))]
        for number, (channels, out, kernel, stride) in enumerate(sizes):
            if number in (2, 4):
                layers.append(nn.MaxPool2d(2))
            layers += [
                nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False),
                nn.BatchNorm2d(out),
                nn.ReLU(),
            ]
        self.convolutions = nn.Sequential(*layers)
        self.shape = nn.Sequential(nn.Linear(points, 256), nn.GELU(), nn.Dropout(0.3), nn.Linear(256, 128), nn.GELU())
        self.dropout = nn.Dropout(0.3)
        self.heads = nn.ModuleList([nn.Linear(size, outputs) for size in (4 * width + 128, 4 * width, 128)])

    def forward(self, images: Tensor, points: Tensor) -> list[Tensor]:
        """Return the outputs from both, from the crop and from the points, each (B, classes + units)."""
        seen = self.dropout(self.convolutions(images).mean((2, 3)))
        shape = self.dropout(self.shape(points))
        streams = (torch.cat([seen, shape], 1), seen, shape)
        return [head(stream) for head, stream in zip(self.heads, streams, strict=True)]


def standardise(images: Tensor) -> Tensor:
    return (images - images.mean((1, 2, 3), keepdim=True)) / (images.std((1, 2, 3), keepdim=True) + 0.02)


class Degrade:
    """Augmentation: affine, gamma, contrast, blur, half size, quantised cosines as of JPEG, noise, erased patch."""

    def __init__(self, seed: int) -> None:
        self.random = torch.Generator().manual_seed(seed)
        k, i = np.mgrid[:8, :8]
        basis = np.sqrt(np.where(k == 0, 1, 2) / 8) * np.cos(np.pi * (2 * i + 1) * k / 16)
        self.cosines = torch.tensor(basis, dtype=torch.float32)
        self.steps = 1 + torch.arange(8.0)[:, None] + torch.arange(8.0)

    def _normal(self, images: Tensor, deviation: float) -> Tensor:
        return deviation * torch.randn(len(images), 1, 1, 1, generator=self.random)

    def _uniform(self, images: Tensor) -> Tensor:
        return torch.rand(len(images), 1, 1, 1, generator=self.random)

    def __call__(self, images: Tensor) -> Tensor:
        """Return changed and standardised images (B, 1, H, W); input 0 to 1."""
        images = self._move(images).clamp(1e-3, 1) ** torch.exp(self._normal(images, 0.35))
        mean = images.mean((1, 2, 3), keepdim=True)
        images = (images - mean) * torch.exp(self._normal(images, 0.35)) + mean + self._normal(images, 0.12)
        images = self._compress(self._soften(images.clamp(0, 1)))
        images = images + self._uniform(images) ** 2 * 0.06 * torch.randn(images.shape, generator=self.random)
        return standardise(self._erase(images.clamp(0, 1)))

    def _move(self, images: Tensor) -> Tensor:
        turn, scale, aspect = (self._normal(images, spread).flatten() for spread in (0.14, 0.1, 0.05))
        flip = torch.where(self._uniform(images).flatten() < 0.5, -1.0, 1.0)
        scale, aspect = 0.92 * torch.exp(scale), torch.exp(aspect)
        rows = [turn.cos() * scale * aspect * flip, -turn.sin() * scale, self._normal(images, 0.06).flatten()]
        rows += [turn.sin() * scale * flip, turn.cos() * scale / aspect, self._normal(images, 0.06).flatten()]
        grid = functional.affine_grid(torch.stack(rows, 1).view(-1, 2, 3), list(images.shape), align_corners=False)
        return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)

    def _soften(self, images: Tensor) -> Tensor:
        chosen = self._uniform(images)
        blurred = functional.avg_pool2d(functional.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
        small = functional.interpolate(images, scale_factor=0.5, mode="area")
        halved = functional.interpolate(small, size=images.shape[-2:], mode="bilinear")
        return torch.where(chosen < 0.15, blurred, torch.where(chosen > 0.85, halved, images))

    def _compress(self, images: Tensor) -> Tensor:
        blocks = images.view(len(images), SIDE // 8, 8, SIDE // 8, 8).transpose(2, 3)
        strength = torch.where(self._uniform(images) < 0.4, 0.002 + 0.018 * self._uniform(images), 1e-5)
        step = strength[..., None] * self.steps
        blocks = self.cosines.T @ (torch.round(self.cosines @ blocks @ self.cosines.T / step) * step) @ self.cosines
        return blocks.transpose(2, 3).reshape(images.shape)

    def _erase(self, images: Tensor) -> Tensor:
        for row in torch.nonzero(self._uniform(images).flatten() < 0.3).flatten().tolist():
            height, width = torch.randint(5, 18, (2,), generator=self.random).tolist()
            top = int(torch.randint(0, SIDE - height, (1,), generator=self.random))
            left = int(torch.randint(0, SIDE - width, (1,), generator=self.random))
            images[row, :, top : top + height, left : left + width] = torch.rand(1, generator=self.random)
        return images


def train(crops: Array, shapes: Array, labels: Array, units: Array, steps: int, seed: int, width: int) -> TwoStreams:
    """Train on crops and standardised points; the averaged weights are returned."""
    torch.manual_seed(seed)
    degrade, batch = Degrade(seed), 64
    images, points = torch.from_numpy(crops)[:, None], torch.from_numpy(shapes).float()
    classes, intensities = torch.from_numpy(labels), torch.from_numpy(units).float()
    network = TwoStreams(points.shape[1], len(LABELS) + units.shape[1], width)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.1)
    ema = torch.optim.swa_utils.get_ema_multi_avg_fn(0.99)  # type: ignore[no-untyped-call]
    average = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=ema, use_buffers=True)
    order = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        if len(order) < batch:
            order = torch.cat([order, torch.randperm(len(images), generator=degrade.random)])
        rows, order = order[:batch], order[batch:]
        noise = 0.3 * torch.rand(len(rows), 1, generator=degrade.random)
        jitter = noise * torch.randn(len(rows), points.shape[1], generator=degrade.random)
        loss = torch.zeros(())
        outputs = network(degrade(images[rows].float() / 255), points[rows] + jitter)
        for share, output in zip((1.0, 0.5, 0.5), outputs, strict=True):
            of_classes, of_units = output.split([len(LABELS), units.shape[1]], 1)
            loss = loss + share * functional.cross_entropy(of_classes, classes[rows], label_smoothing=0.1)
            loss = loss + share * 2 * functional.binary_cross_entropy_with_logits(of_units, intensities[rows])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        average.update_parameters(network)
    return cast(TwoStreams, average.module.eval())


@torch.no_grad()
def predict(network: TwoStreams, crops: Array, shapes: Array) -> dict[str, Array]:
    """Return outputs (N, classes + units), mean over each image and its mirror image, by what they are based on."""
    batches = []
    for start in range(0, len(crops), 256):
        images = standardise(torch.from_numpy(crops[start : start + 256])[:, None].float() / 255)
        points = torch.from_numpy(shapes[start : start + 256]).float()
        pairs = zip(network(images, points), network(images.flip(3), points), strict=True)
        batches.append([(one + other) / 2 for one, other in pairs])
    both, seen, shape = (torch.cat(parts).numpy() for parts in zip(*batches, strict=True))
    return {"crop": seen, "points": shape, "both": both + (seen + shape) / 2}


def auc(scores: Array, positive: Array) -> float:
    """Compute the area under the ROC curve from ranks."""
    ranks = np.argsort(np.argsort(scores))
    count = int(positive.sum())
    return float((ranks[positive].sum() - count * (count - 1) / 2) / (count * (len(scores) - count)))


def measure(outputs: Array, labels: Array) -> dict[str, Any]:
    """Compute balanced accuracy, recall of each class, and the AUC of each unit for the class that implies it."""
    confusion = np.zeros((len(LABELS), len(LABELS)), np.int64)
    np.add.at(confusion, (labels, outputs[:, : len(LABELS)].argmax(1)), 1)
    recalls = recall(confusion)
    areas = {}
    for unit, implied in IMPLIED.items():
        rows = np.isin(labels, [LABELS.index(implied), LABELS.index("neutral")])
        scores = outputs[rows, len(LABELS) + AUS.index(unit)]
        areas[f"AU{unit}"] = round(auc(scores, labels[rows] == LABELS.index(implied)), 4)
    return {
        "accuracy": round(float(np.trace(confusion) / confusion.sum()), 4),
        "balanced_accuracy": round(float(recalls.mean()), 4),
        "recall": dict(zip(LABELS, recalls.round(4).tolist(), strict=True)),
        "auc": areas,
        "mean_auc": round(float(np.mean(list(areas.values()))), 4),
    }


def read_real(root: Path, public: bool, each: int) -> tuple[Array, Array]:
    """Read a fixed sample of FER2013's Training side, or PublicTest without images that are also in Training."""
    known = {_digest(path) for path in (root / "train").glob("*/*.png")} if public else set()
    images, labels = [], []
    for number, label in enumerate(LABELS):
        paths = sorted((root / ("validation" if public else "train") / label).glob("*.png"))
        order = range(len(paths)) if public else np.random.default_rng(123).permutation(len(paths))[:each]
        for path in (paths[row] for row in order):
            image = np.asarray(Image.open(path).convert("L"))
            if _digest(path) not in known and (public or image.std() > 5):
                images.append(image)
                labels.append(number)
    return np.stack(images), np.array(labels)


def _digest(path: Path) -> str:
    return hashlib.sha256(np.asarray(Image.open(path).convert("L")).tobytes()).hexdigest()


def save_sheet(path: Path, real: tuple[Array, Array], drawn: Mapping[str, Array], columns: int = 16) -> None:
    """Save rows of real faces of each class, and under each a row of drawn ones; real faces are for looking only."""
    rows = []
    for number in range(len(LABELS)):
        for images, labels in (real, (drawn["images"], drawn["labels"])):
            chosen = np.random.default_rng(number).permutation(np.flatnonzero(labels == number))[:columns]
            tiles = [
                Image.fromarray(image).resize((DRAWN, DRAWN), Image.Resampling.BICUBIC) for image in images[chosen]
            ]
            rows.append(np.concatenate([np.asarray(tile) for tile in tiles], 1))
    Image.fromarray(np.concatenate(rows)).save(path)


def cached(path: Path, make: Callable[[], Mapping[str, Array]]) -> dict[str, Array]:
    """Load arrays, or make and store them."""
    if not path.exists():
        arrays: dict[str, Any] = dict(make())
        np.savez(path, **arrays)
    with np.load(path) as stored:
        return dict(stored)


def drawn_with_points(folder: Path, name: str, faces: int, seed: int) -> dict[str, Array]:
    """Load drawn faces of a condition with their mesh points, or draw them."""
    stem = f"{name.replace(',', '').replace(' ', '-')}-{faces}-{seed}"
    began = time.process_time()
    drawn = cached(folder / f"{stem}.npz", lambda: draw(name, faces, seed))
    print(f"{name}: {faces} faces, {(time.process_time() - began) / faces * 1e3:.1f} ms each", flush=True)
    return drawn | cached(folder / f"{stem}-points.npz", lambda: {"points": mesh_points(drawn["images"])})


def evaluate(
    drawn: Mapping[str, Array], real: tuple[Array, Array, Array], steps: int, seeds: Sequence[int], width: int
) -> dict[str, Any]:
    """Train with each seed and measure on real images, labels and points."""
    images, labels, found = real
    reference = drawn["points"].mean(0)
    shapes, others = features(drawn["points"], reference), features(found, reference)
    mean, deviation = shapes.mean(0), shapes.std(0) + 1e-6
    crops, real_crops = crop(drawn["images"], drawn["points"], reference), crop(images, found, reference)
    by_seed = {}
    for seed in seeds:
        rows = (shapes - mean) / deviation
        network = train(crops, rows, drawn["labels"], drawn["units"], steps, seed, width)
        outputs = predict(network, real_crops, (others - mean) / deviation)
        by_seed[str(seed)] = {name: measure(values, labels) for name, values in outputs.items()}
    return by_seed


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--data", type=Path, required=True, help="folder of FER2013 with train/ and validation/")
    options.add_argument("--cache", type=Path, required=True, help="folder for arrays of drawn faces")
    options.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS))
    options.add_argument("--faces", type=int, nargs="+", default=[4200], help="numbers of drawn faces")
    options.add_argument("--steps", type=int, default=1200, help="batches of 64")
    options.add_argument("--seeds", type=int, nargs="+", default=[0])
    options.add_argument("--width", type=int, default=24, help="channels of the first convolution")
    options.add_argument("--population", type=int, default=2000, help="seed of the drawn people")
    options.add_argument("--public", action="store_true", help="measure on PublicTest instead of Training")
    options.add_argument("--sheet", type=Path, help="contact sheet to write, real faces beside those of each condition")
    given = options.parse_args()
    torch.set_num_threads(1)
    given.cache.mkdir(parents=True, exist_ok=True)
    images, labels = read_real(given.data, given.public, 500)
    stem = f"real-{hashlib.sha256(images.tobytes()).hexdigest()[:8]}"
    found = cached(given.cache / f"{stem}-points.npz", lambda: {"points": mesh_points(images)})["points"]
    settings = {
        key: value for key, value in vars(given).items() if key not in ("data", "cache", "sheet", "out", "date")
    }
    side = "PublicTest without copies" if given.public else "a sample of Training"
    results: dict[str, Any] = {}
    for name, faces in itertools.product(given.conditions, given.faces):
        drawn = drawn_with_points(given.cache, name, faces, given.population)
        if given.sheet is not None:
            save_sheet(given.sheet.with_stem(f"{given.sheet.stem}-{name}"), (images, labels), drawn)
        results[f"{name}, {faces} faces"] = evaluate(
            drawn, (images, labels, found), given.steps, given.seeds, given.width
        )
        # After each condition, as all of them take an hour.
        data = f"FER2013, {side}, {len(labels)} faces"
        report(Result("synthetic-people", data, settings, results, tabulate(results)), given)


def tabulate(results: Mapping[str, Mapping[str, Any]]) -> list[Figure]:
    """Return a line per condition, kind of input and metric: mean and range over seeds."""
    figures = []
    for name, by_seed in results.items():
        for inputs, key in itertools.product(("crop", "points", "both"), ("balanced_accuracy", "mean_auc")):
            values = [measured[inputs][key] for measured in by_seed.values()]
            title = f"{name}, {inputs}: {key.replace('_', ' ')}"
            figures.append(Figure(title, float(np.mean(values)), (min(values), max(values))))
    return figures


if __name__ == "__main__":
    main()
