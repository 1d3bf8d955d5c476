"""What manifests say of people besides who they are: age, sex and the like, and the groups that are made of it."""

import pandas as pd

ATTRIBUTES = ("age", "age_group", "sex", "gender", "ancestry", "ethnicity", "race", "skin_tone")
"""Columns of a manifest that are taken for attributes of the person who is shown."""
AGES = {18: "under 18", 30: "18 to 29", 45: "30 to 44", 60: "45 to 59"}
"""Upper ends of the groups of ages in years, and their names."""
OLDEST = "60 and over"


def attributes_of(table: pd.DataFrame) -> list[str]:
    """Name the attributes of people that a table has."""
    return [name for name in ATTRIBUTES if name in table.columns and bool(table[name].notna().any())]


def groups_of(values: pd.Series, name: str) -> pd.Series:
    """Say to which group of an attribute each value belongs.

    Parameters
    ----------
    values : Series
        What is known of each sample.
    name : str
        The attribute. Ages in years are put into bands: under 18, 18 to 29, 30 to 44, 45 to 59, 60 and over. All other
        values are groups as they are.

    Returns
    -------
    Series of str
        Missing where the value is.
    """
    if name == "age" and pd.api.types.is_numeric_dtype(values):
        bands = pd.cut(
            values.astype("float64"), [-1.0, *AGES, float("inf")], right=False, labels=[*AGES.values(), OLDEST]
        )
        return bands.astype("string")
    if pd.api.types.is_float_dtype(values) and bool((values.dropna() % 1 == 0).all()):
        values = values.astype("Int64")
    return values.astype("string")
