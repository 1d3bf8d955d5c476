"""Pain E-Motion Faces Database (PEMF): 272 short clips of 68 people: neutral, posed pain, and two kinds of real pain.

Fernandes-Magalhaes et al., *Pain E-Motion Faces Database (PEMF): pain-related micro-clips for emotion research*,
Behavior Research Methods 55, 2023.
"""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from evenface.data.datasets.layout import SourceFacts, check_root, files_below, folders
from evenface.data.manifest import Manifest, make_table, read_attributes
from evenface.utils.errors import InputError
from evenface.utils.files import IMAGE_SUFFIXES, VIDEO_SUFFIXES, listed, user_path
from evenface.utils.registry import nearest

TABLES = (".csv", ".tsv", ".xlsx", ".xls")
CONDITIONS = {"N": "neutral", "L": "laser", "A": "algometer", "P": "posed"}
CLASSES = {"neutral": "neutral", "laser": "phasic", "algometer": "tonic"}
PATTERN = r"\b(?P<subject>S\d{3})/?(?P<condition>algom|laser|neutral|posed|[ALNP](?=[-\d]*(?:\.|/|$)))"
EXPECTED = "Expected paths such as Clips/Original/S001/Laser Pain/Laser Pain S001.mp4, or S001L.mp4."
FACTS = SourceFacts(
    "PEMF: 68 people, neutral, in posed pain and in pain by laser and by pressure",
    "3 classes: neutral, phasic and tonic pain; or others by condition",
    EXPECTED,
    "Roy Fernandes-Magalhaes et al., with their paper",
    "Published by its authors with their paper in Behavior Research Methods: the terms stated there apply",
)


def read(
    root: Path,
    *,
    version: Literal["original", "modified"] = "original",
    conditions: Mapping[str, str] | None = None,
    pattern: str = PATTERN,
    people: str | None = None,
) -> Manifest:
    """Read the videos, or folders of images if there are no videos."""
    check_root(root, "pemf")
    classes = _classes(conditions)
    paths, notes = _clips_of_version(root, version)
    clips, unmatched = _parse_paths(paths, _compile(pattern))
    if unmatched:
        notes.append(
            f"{len(unmatched)} of {len(paths)} clips are excluded, as pattern does not match their path, such as "
            f"{unmatched[0]}"
        )
    excluded = Counter(condition for _, _, condition in clips if condition not in classes)
    if excluded:
        notes.append(f"clips excluded: {', '.join(f'{n} of {name}' for name, n in sorted(excluded.items()))}")
    rows = _rows([clip for clip in clips if clip[2] in classes], classes)
    if not rows:
        raise InputError(
            f"pemf: none of the {len(paths)} clips in {root} is of {listed(classes)}, such as {paths[0]}", EXPECTED
        )
    if people is not None:
        notes += _add_attributes(rows, root / user_path(people))
    elif tables := [name for name in files_below(root) if name.lower().endswith(TABLES)]:
        notes.append(f"tables that are not read: {listed(tables)}; people: FILE.csv adds sex and age of subjects")
    names = tuple(dict.fromkeys(classes.values()))
    return Manifest(make_table(rows), names, "pemf", root, tuple(notes), content="clips")


def _add_attributes(rows: list[dict[str, Any]], path: Path) -> list[str]:
    """Add the attributes in a table of subjects to their rows, and return a note on subjects it lacks."""
    subjects = {row["subject"] for row in rows}
    table = read_attributes(path, subjects)
    for row in rows:
        row |= {name: table[name].get(row["subject"]) for name in table.columns}
    missing = sorted(subjects - set(table.index))
    return [f"subjects missing in {path.name}: {listed(missing)}"] if missing else []


def _classes(conditions: Mapping[str, str] | None) -> dict[str, str]:
    classes = dict(CLASSES if conditions is None else conditions)
    for name in classes:
        if name not in CONDITIONS.values():
            raise InputError(f"pemf: unknown condition {name!r} in conditions", nearest(name, CONDITIONS.values()))
    if len(set(classes.values())) < 2:
        raise InputError(
            f"pemf: expected at least two classes in conditions, found {listed(set(classes.values()))}",
            "Map conditions to two or more classes: {neutral: no pain, laser: pain}.",
        )
    return classes


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise InputError(f"pemf: pattern must be a regular expression, got {pattern!r}: {error}") from error
    if not {"subject", "condition"} <= set(compiled.groupindex):
        raise InputError(
            f"pemf: pattern must have the groups subject and condition, {pattern!r} has {listed(compiled.groupindex)}",
            "Write them as (?P<subject>...) and (?P<condition>...).",
        )
    return compiled


def _clips_of_version(root: Path, version: str) -> tuple[list[str], list[str]]:
    """List the clips of one version, and a note on the other."""
    files = files_below(root)
    clips = [name for name in files if name.lower().endswith(VIDEO_SUFFIXES)]
    if not clips:
        clips = sorted({name.rpartition("/")[0] for name in files if name.lower().endswith(IMAGE_SUFFIXES)} - {""})
        # Frames are distributed in colour and in grey: each clip is read once.
        clips = [name for name in clips if "colour" in name.lower()] or clips
    if not clips:
        content = listed([*folders(root), *(name for name in files if "/" not in name)])
        raise InputError(f"pemf: no videos and no folders of images in {root}, which has {content}", EXPECTED)
    versions = {name: set(name.lower().split("/")) & {"original", "modified"} for name in clips}
    if not any(versions.values()):
        return clips, []
    chosen = [name for name in clips if version in versions[name]]
    if not chosen:
        raise InputError(f"pemf: no clips of version {version} in {root}, only others such as {clips[0]}", EXPECTED)
    other = len(clips) - len(chosen)
    return chosen, [f"version {version}: {other} clips of the other version are excluded"] if other else []


def _parse_paths(paths: list[str], pattern: re.Pattern[str]) -> tuple[list[tuple[str, str, str]], list[str]]:
    """Return (path, subject, condition) of the paths that match, and the paths that do not."""
    clips, unmatched = [], []
    for path in paths:
        match = pattern.search(path)
        condition = CONDITIONS.get(match["condition"][:1].upper()) if match else None
        if match and condition:
            clips.append((path, match["subject"].upper(), condition))
        else:
            unmatched.append(path)
    return clips, unmatched


def _rows(clips: list[tuple[str, str, str]], classes: dict[str, str]) -> list[dict[str, Any]]:
    names = list(dict.fromkeys(classes.values()))
    counts = Counter(clip[1:] for clip in clips)
    numbers: Counter[tuple[str, str]] = Counter()
    rows = []
    for path, subject, condition in clips:
        numbers[subject, condition] += 1
        name = f"{subject}{condition[0].upper()}"
        if counts[subject, condition] > 1:
            name = f"{name}-{numbers[subject, condition]}"
        label = names.index(classes[condition])
        rows.append(
            {"sample": name, "path": path, "label": label, "subject": subject, "clip": name, "condition": condition}
        )
    return rows
