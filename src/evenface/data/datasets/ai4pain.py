"""AI4Pain 2024: 65 people without pain and at two levels of electrical pain, as videos.

Fernandez-Rojas et al., *The AI4Pain Grand Challenge 2024: advancing pain assessment with multimodal fNIRS and facial
video analysis*, ACIIW 2024. The layout is that which a public program reads: ``Train/video/<subject>/`` and
``Validation/video/<subject>/`` with one video of the baseline, such as ``1_baseline.mp4``, and one for each stimulus,
such as ``1_pain_low_3.mp4``.
"""

import re
from collections import Counter
from pathlib import Path
from typing import Any

from evenface.data.datasets.layout import SourceFacts, check_root, files_below, folders, side_of
from evenface.data.manifest import Manifest, make_table
from evenface.utils.errors import InputError
from evenface.utils.files import VIDEO_SUFFIXES, listed

CLASSES = ("no pain", "low pain", "high pain")
BASELINE = re.compile(r"(?P<subject>\d+)_.*baseline.*", re.IGNORECASE)
STIMULUS = re.compile(r"(?P<subject>\d+)_[^_]*pain[^_]*_(?P<level>low|high)_\d+", re.IGNORECASE)
EXPECTED = (
    "Expected Train/ and Validation/ with video/<subject>/1_baseline.mp4, 1_pain_low_1.mp4 and 1_pain_high_1.mp4; the "
    "editions of 2025 and 2026 have no videos."
)
FACTS = SourceFacts(
    "AI4Pain 2024: 65 people without pain and at two levels of electrical pain",
    "3 levels: no, low and high pain",
    EXPECTED,
    "R. Fernandez-Rojas et al., University of Canberra",
    "Given to participants of the challenge, under a signed agreement",
    "https://sites.google.com/view/ai4pain",
)


def read(root: Path) -> Manifest:
    """Read the labelled videos of each set; those of rest between the stimuli are excluded."""
    check_root(root, "ai4pain")
    rows: list[dict[str, Any]] = []
    others: Counter[str] = Counter()
    for name in folders(root):
        side = side_of(name)
        for file in files_below(root / name) if side else ():
            if file.lower().endswith(VIDEO_SUFFIXES):
                row = _row(f"{name}/{file}", side)
                others.update([name] if row is None else ())
                rows += [row] if row else []
    if not rows:
        found = f"none of the {sum(others.values())} videos in {root} is named so" if others else f"no videos in {root}"
        raise InputError(f"ai4pain: {found}, which has {listed(folders(root))}", EXPECTED)
    absent = [name for label, name in enumerate(CLASSES) if all(row["label"] != label for row in rows)]
    if absent:
        raise InputError(f"ai4pain: no videos of {listed(absent)} in {root}", EXPECTED)
    notes = [f"videos of {name} without a level are excluded: {count}" for name, count in sorted(others.items())]
    return Manifest(make_table(rows), CLASSES, "ai4pain", root, tuple(notes), "clips", "ordinal")


def _row(path: str, side: str | None) -> dict[str, Any] | None:
    """Return the row of a video; None if its name has no level."""
    sample = Path(path).stem
    stimulus = STIMULUS.fullmatch(sample)
    match = stimulus or BASELINE.fullmatch(sample)
    if match is None:
        return None
    label = 0 if stimulus is None else 1 if stimulus["level"].lower() == "low" else 2
    sample = f"{path.partition('/')[0]}/{sample}"
    return {
        "sample": sample,
        "path": path,
        "label": label,
        "subject": match["subject"],
        "clip": sample,
        "split": side,
    }
