"""RAF-DB, basic expressions: 15,339 faces from the internet, seven expressions, about 40 annotators each.

Li, Deng and Du, *Reliable crowdsourcing and deep locality-preserving learning for expression recognition
in the wild*, CVPR 2017.
"""

from pathlib import Path
from typing import Any, Literal

from evenface.data.datasets.layout import SourceFacts, absent_files, check_root, folders_within, naming
from evenface.data.labels import EXPRESSIONS
from evenface.data.manifest import Manifest, make_table
from evenface.utils.errors import InputError
from evenface.utils.files import listed
from evenface.utils.tables import read_text

CLASSES = EXPRESSIONS[:7]
CODES = {1: "surprise", 2: "fear", 3: "disgust", 4: "happy", 5: "sad", 6: "angry", 7: "neutral"}
LABELS = "EmoLabel/list_patition_label.txt"  # the authors' own spelling
FACTS = SourceFacts(
    "RAF-DB: faces from the internet, about 40 annotators each",
    "7 expressions",
    f"Expected {LABELS} and Image/aligned/ or Image/original/ of the official folder basic.",
    "W. Deng, Beijing University of Posts and Telecommunications",
    "For non-commercial research only, on request to its authors",
    "http://whdeng.cn/RAF/model1.html",
)

Images = Literal["aligned", "original"]


def read(root: Path, *, images: Images = "aligned") -> Manifest:
    """Read the official folder ``basic``."""
    check_root(root, "rafdb")
    tops = folders_within(root, 2)
    root = next(
        (top for top in tops if (top / LABELS).is_file()), root / "basic" if (root / "basic").is_dir() else root
    )
    path = root / LABELS
    for part in (path, root / "Image" / images):
        if not part.exists():
            raise InputError(
                f"rafdb: {part} does not exist", f"Expected {LABELS} and Image/{images}/ of the official folder basic."
            )
    with naming("rafdb"):
        lines = enumerate(read_text(path).split("\n"), 1)
    rows = [_row(line, number, path.name, images) for number, line in lines if line.strip()]
    if not rows:
        raise InputError(f"rafdb: {path} is empty")
    names: set[str] = set()
    for row in rows:
        if row["sample"] in names:
            raise InputError(f"rafdb: duplicate sample name {row['sample']!r} in {path.name}")
        names.add(row["sample"])
    notes = absent_files(root, [row["path"] for row in rows], "rafdb", path.name)
    return Manifest(make_table(rows), CLASSES, "rafdb", root, tuple(notes))


def _row(line: str, number: int, file: str, images: Images) -> dict[str, Any]:
    cells = line.split()
    side = cells[0].split("_")[0]
    if len(cells) != 2 or side not in ("train", "test"):
        raise InputError(
            f"rafdb: line {number} of {file} is {line.strip()!r}, expected a line such as 'train_00001.jpg 5'"
        )
    if cells[1] not in map(str, CODES):
        known = listed(f"{code} {name}" for code, name in CODES.items())
        raise InputError(f"rafdb: line {number} of {file} has the label {cells[1]}", f"Known: {known}.")
    stem, suffix = Path(cells[0]).stem, Path(cells[0]).suffix
    image = f"{stem}_aligned{suffix}" if images == "aligned" else cells[0]
    label = CLASSES.index(CODES[int(cells[1])])
    return {"sample": stem, "path": f"Image/{images}/{image}", "label": label, "split": side}
