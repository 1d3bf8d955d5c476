"""RAF-DB, basic expressions: 15,339 faces from the internet, seven expressions, about 40 annotators each.

Li, Deng and Du, *Reliable crowdsourcing and deep locality-preserving learning for expression recognition
in the wild*, CVPR 2017.
"""

from pathlib import Path
from typing import Any, Literal

from evenface.data.datasets.layout import absent_files, check_root, folders, listed
from evenface.data.labels import EXPRESSIONS
from evenface.data.manifest import Manifest, make_table
from evenface.utils.errors import InputError
from evenface.utils.tables import read_text

LICENCE = "For non-commercial research only, on request to its authors: http://whdeng.cn/RAF/model1.html"

CLASSES = EXPRESSIONS[:7]
CODES = {1: "surprise", 2: "fear", 3: "disgust", 4: "happy", 5: "sad", 6: "angry", 7: "neutral"}
LABELS = "EmoLabel/list_patition_label.txt"  # the authors' own spelling

Images = Literal["aligned", "original"]


def read(root: Path, *, images: Images = "aligned") -> Manifest:
    """Read the official folder ``basic``."""
    check_root(root, "rafdb")
    inner = [root / name for name in folders(root)]
    tops = [root, *inner, *(top / name for top in inner for name in folders(top))]
    root = next(
        (top for top in tops if (top / LABELS).is_file()), root / "basic" if (root / "basic").is_dir() else root
    )
    path = root / LABELS
    for part in (path, root / "Image" / images):
        if not part.exists():
            raise InputError(
                f"rafdb: there is no {part}", f"Expected {LABELS} and Image/{images}/ of the official folder basic."
            )
    rows = [_row(line, number, path.name, images) for number, line in _lines(path)]
    if not rows:
        raise InputError(f"rafdb: {path} has no lines")
    seen: set[str] = set()
    for row in rows:
        if row["sample"] in seen:
            raise InputError(f"rafdb: {row['sample']} stands twice in {path.name}")
        seen.add(row["sample"])
    notes = absent_files(root, [row["path"] for row in rows], "rafdb", path.name)
    return Manifest(make_table(rows), CLASSES, "rafdb", root, tuple(notes))


def _lines(path: Path) -> list[tuple[int, str]]:
    try:
        text = read_text(path)
    except InputError as error:
        raise InputError(f"rafdb: {error.message}", error.hint) from None
    return [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def _row(line: str, number: int, name: str, images: Images) -> dict[str, Any]:
    words = line.split()
    side = words[0].split("_")[0]
    if len(words) != 2 or side not in ("train", "test"):
        raise InputError(f"rafdb: line {number} of {name} is {line.strip()!r}, expected such as 'train_00001.jpg 5'")
    if words[1] not in map(str, CODES):
        known = listed(f"{code} {word}" for code, word in CODES.items())
        raise InputError(f"rafdb: line {number} of {name} has the label {words[1]}", f"Known are {known}.")
    stem, suffix = Path(words[0]).stem, Path(words[0]).suffix
    file = f"{stem}_aligned{suffix}" if images == "aligned" else words[0]
    label = CLASSES.index(CODES[int(words[1])])
    return {"sample": stem, "path": f"Image/{images}/{file}", "label": label, "split": side}
