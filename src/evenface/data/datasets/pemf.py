"""Pain E-Motion Faces Database (PEMF): 272 short clips of 68 people, each at rest, posing pain and in pain twice.

Fernandes-Magalhaes et al., *Pain E-Motion Faces Database (PEMF): pain-related micro-clips for emotion research*,
Behavior Research Methods 55, 2023.
"""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from evenface.data.attributes import read_attributes
from evenface.data.datasets.layout import check_root, files_below, folders, listed
from evenface.data.manifest import Manifest, make_table
from evenface.utils.errors import InputError
from evenface.utils.file_types import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from evenface.utils.files import user_path
from evenface.utils.registry import nearest

LICENCE = "Published by its authors with their paper in Behavior Research Methods: the terms stated there apply."

TABLES = (".csv", ".tsv", ".xlsx", ".xls")
CONDITIONS = {"N": "neutral", "L": "laser", "A": "algometer", "P": "posed"}
CLASSES = {"neutral": "neutral", "laser": "phasic", "algometer": "tonic"}
PATTERN = r"\b(?P<subject>S\d{3})/?(?P<condition>algom|laser|neutral|posed|[ALNP](?=[-\d]*(?:\.|/|$)))"
EXPECTED = "Expected such as Clips/Original/S001/Laser Pain/Laser Pain S001.mp4, or S001L.mp4."


def read(
    root: Path,
    *,
    version: Literal["original", "modified"] = "original",
    conditions: Mapping[str, str] | None = None,
    pattern: str = PATTERN,
    people: str | None = None,
) -> Manifest:
    """Read the videos, or the folders of pictures where there are no videos."""
    check_root(root, "pemf")
    classes = _classes(conditions)
    found, notes = _version(root, version)
    known, strange = _understand(found, _compile(pattern))
    if strange:
        notes.append(f"{len(strange)} of {len(found)} clips are left out: pattern does not match, such as {strange[0]}")
    left = Counter(condition for _, _, condition in known if condition not in classes)
    if left:
        notes.append(f"clips left out: {', '.join(f'{n} of {name}' for name, n in sorted(left.items()))}")
    rows = _rows([clip for clip in known if clip[2] in classes], classes)
    if not rows:
        raise InputError(
            f"pemf: none of the {len(found)} clips in {root} is of {listed(classes)}, such as {found[0]}", EXPECTED
        )
    if people is not None:
        notes += _with_attributes(rows, root / user_path(people))
    elif tables := [name for name in files_below(root) if name.lower().endswith(TABLES)]:
        notes.append(f"tables that are not read: {listed(tables)}; people: FILE.csv adds sex and age of the people")
    names = tuple(dict.fromkeys(classes.values()))
    return Manifest(make_table(rows), names, "pemf", root, tuple(notes), content="clips")


def _with_attributes(rows: list[dict[str, Any]], path: Path) -> list[str]:
    """Add what a table says of the people to their rows, and say whom it lacks."""
    subjects = {row["subject"] for row in rows}
    table = read_attributes(path, subjects)
    for row in rows:
        row |= {name: table[name].get(row["subject"]) for name in table.columns}
    lacking = sorted(subjects - set(table.index))
    return [f"people who are not in {path.name}: {listed(lacking)}"] if lacking else []


def _classes(conditions: Mapping[str, str] | None) -> dict[str, str]:
    classes = dict(CLASSES if conditions is None else conditions)
    for name in classes:
        if name not in CONDITIONS.values():
            raise InputError(f"pemf: conditions names {name!r}", nearest(name, CONDITIONS.values()))
    if len(set(classes.values())) < 2:
        raise InputError(f"pemf: at least two classes are needed, conditions has {listed(set(classes.values()))}")
    return classes


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise InputError(f"pemf: pattern is no regular expression: {error}") from error
    if not {"subject", "condition"} <= set(compiled.groupindex):
        raise InputError(
            f"pemf: pattern must have the groups subject and condition, {pattern!r} has {listed(compiled.groupindex)}",
            "Write them as (?P<subject>...) and (?P<condition>...).",
        )
    return compiled


def _version(root: Path, version: str) -> tuple[list[str], list[str]]:
    """List the clips of one version, and say what else lies there."""
    files = files_below(root)
    clips = [name for name in files if name.lower().endswith(VIDEO_SUFFIXES)]
    if not clips:
        clips = sorted({name.rpartition("/")[0] for name in files if name.lower().endswith(IMAGE_SUFFIXES)} - {""})
        # Frames lie there in colour and in grey: a clip is read once.
        clips = [name for name in clips if "colour" in name.lower()] or clips
    if not clips:
        holds = listed([*folders(root), *(name for name in files if "/" not in name)])
        raise InputError(f"pemf: no videos and no folders of pictures in {root}, which holds {holds}", EXPECTED)
    kind = {name: set(name.lower().split("/")) & {"original", "modified"} for name in clips}
    if not any(kind.values()):
        return clips, []
    chosen = [name for name in clips if version in kind[name]]
    if not chosen:
        raise InputError(f"pemf: no clips of version {version} in {root}, such as {clips[0]}", EXPECTED)
    other = len(clips) - len(chosen)
    return chosen, [f"version {version}: {other} clips of the other version are left out"] if other else []


def _understand(found: list[str], pattern: re.Pattern[str]) -> tuple[list[tuple[str, str, str]], list[str]]:
    """Read (path, person, condition) from each path; give also the paths that do not match."""
    known, strange = [], []
    for path in found:
        match = pattern.search(path)
        condition = CONDITIONS.get(match["condition"][:1].upper()) if match else None
        if match and condition:
            known.append((path, match["subject"].upper(), condition))
        else:
            strange.append(path)
    return known, strange


def _rows(clips: list[tuple[str, str, str]], classes: dict[str, str]) -> list[dict[str, Any]]:
    names = list(dict.fromkeys(classes.values()))
    several = Counter(clip[1:] for clip in clips)
    seen: Counter[tuple[str, str]] = Counter()
    rows = []
    for path, subject, condition in clips:
        seen[subject, condition] += 1
        name = f"{subject}{condition[0].upper()}"
        if several[subject, condition] > 1:
            name = f"{name}-{seen[subject, condition]}"
        label = names.index(classes[condition])
        rows.append(
            {"sample": name, "path": path, "label": label, "subject": subject, "clip": name, "condition": condition}
        )
    return rows
