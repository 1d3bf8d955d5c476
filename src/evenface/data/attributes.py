"""Attributes of subjects in a manifest (age, sex, ancestry, skin tone ...), and the groups formed by them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from evenface.utils.errors import InputError
from evenface.utils.extras import LazyModule
from evenface.utils.tables import read_delimited

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LazyModule("pandas")

ATTRIBUTES = ("age", "age_group", "sex", "gender", "ancestry", "ethnicity", "race", "skin_tone")
"""Columns of a manifest that are attributes of the subject."""
AGES = {18: "under 18", 30: "18 to 29", 45: "30 to 44", 60: "45 to 59"}
"""Upper ends of age groups in years, exclusive, and their names."""
OLDEST = "60 and over"
SEXES = {"f": "female", "w": "female", "woman": "female", "m": "male", "man": "male"}


def attribute_columns(table: pd.DataFrame) -> list[str]:
    """Return the attribute columns of a table that have values."""
    return [name for name in ATTRIBUTES if name in table.columns and bool(table[name].notna().any())]


def read_attributes(path: Path, subjects: Collection[str]) -> pd.DataFrame:
    """Load a table of subjects and their attributes; one row per subject, whose name is the index."""
    table = read_delimited(path)
    known = {name.casefold(): name for name in subjects}
    matches = {column: table[column].str.casefold().map(known) for column in table.columns}
    best = max(matches, key=lambda column: int(matches[column].notna().sum()), default=None)
    if best is None or not matches[best].notna().any():
        raise InputError(
            f"{path}: no column has names of subjects of the dataset, such as {min(subjects)}",
            "Add a column with the names of the subjects.",
        )
    chosen = [column for column in table.columns if column != best and column.strip().lower() in ATTRIBUTES]
    if not chosen:
        raise InputError(
            f"{path}: no column is an attribute of subjects, found {', '.join(table.columns)}",
            f"Name a column {', '.join(ATTRIBUTES[:-1])} or {ATTRIBUTES[-1]}.",
        )
    attributes = table.loc[matches[best].notna(), chosen].set_axis(matches[best].dropna(), axis=0)
    attributes.columns = [column.strip().lower() for column in chosen]
    if attributes.index.has_duplicates:
        name = attributes.index[attributes.index.duplicated()][0]
        raise InputError(f"{path}: the subject {name} has several rows", "Keep one row per subject.")
    for column in attributes.columns:
        if column in ("sex", "gender"):
            lower = attributes[column].str.lower()
            attributes[column] = lower.map(SEXES).fillna(lower)
        elif column == "age":
            attributes[column] = pd.to_numeric(attributes[column], errors="coerce").astype("float64")
    return attributes


def attribute_groups(values: pd.Series, name: str) -> pd.Series:
    """Return the group of each value of an attribute: an age group, or the value as text."""
    if name == "age" and pd.api.types.is_numeric_dtype(values):
        bands = pd.cut(
            values.astype("float64"), [-1.0, *AGES, float("inf")], right=False, labels=[*AGES.values(), OLDEST]
        )
        return bands.astype("string")
    if pd.api.types.is_float_dtype(values) and bool((values.dropna() % 1 == 0).all()):
        values = values.astype("Int64")
    return values.astype("string")
