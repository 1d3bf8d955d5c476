"""What manifests say of people besides who they are: age, sex and the like, and the groups that are made of it."""

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from evenface.utils.errors import InputError
from evenface.utils.tables import read_delimited

ATTRIBUTES = ("age", "age_group", "sex", "gender", "ancestry", "ethnicity", "race", "skin_tone")
"""Columns of a manifest that are taken for attributes of the person who is shown."""
AGES = {18: "under 18", 30: "18 to 29", 45: "30 to 44", 60: "45 to 59"}
"""Upper ends of the groups of ages in years, and their names."""
OLDEST = "60 and over"


def attribute_columns(table: pd.DataFrame) -> list[str]:
    """Name the attributes of people that a table has."""
    return [name for name in ATTRIBUTES if name in table.columns and bool(table[name].notna().any())]


SEXES = {"f": "female", "w": "female", "woman": "female", "m": "male", "man": "male"}


def read_attributes(path: Path, people: Collection[str]) -> pd.DataFrame:
    """Load a table of people and their attributes."""
    table = read_delimited(path)
    known = {name.casefold(): name for name in people}
    named = {column: table[column].str.casefold().map(known) for column in table.columns}
    best = max(named, key=lambda column: int(named[column].notna().sum()), default=None)
    if best is None or not named[best].notna().any():
        raise InputError(f"{path}: no column names people of the data, such as {min(people)}")
    chosen = [column for column in table.columns if column != best and column.strip().lower() in ATTRIBUTES]
    if not chosen:
        raise InputError(
            f"{path}: there is no attribute of people, the columns are {', '.join(table.columns)}",
            f"Call one {', '.join(ATTRIBUTES)}.",
        )
    own = table.loc[named[best].notna(), chosen].set_axis(named[best].dropna(), axis=0)
    own.columns = [column.strip().lower() for column in chosen]
    if own.index.has_duplicates:
        raise InputError(f"{path}: {own.index[own.index.duplicated()][0]} has several rows")
    for column in own.columns:
        if column in ("sex", "gender"):
            plain = own[column].str.lower()
            own[column] = plain.map(SEXES).fillna(plain)
        elif column == "age":
            own[column] = pd.to_numeric(own[column], errors="coerce").astype("float64")
    return own


def attribute_groups(values: pd.Series, name: str) -> pd.Series:
    """Say to which group of an attribute each value belongs."""
    if name == "age" and pd.api.types.is_numeric_dtype(values):
        bands = pd.cut(
            values.astype("float64"), [-1.0, *AGES, float("inf")], right=False, labels=[*AGES.values(), OLDEST]
        )
        return bands.astype("string")
    if pd.api.types.is_float_dtype(values) and bool((values.dropna() % 1 == 0).all()):
        values = values.astype("Int64")
    return values.astype("string")
